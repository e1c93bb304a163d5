//! Flow-control windows (RFC 9113 section 5.2), of a stream or of the connection.

use super::frame::MAX_31_BITS;

const WINDOW_MAX: i64 = MAX_31_BITS as i64;

/// What we may still send. Below zero after the peer lowered SETTINGS_INITIAL_WINDOW_SIZE (section 6.9.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SendWindow(i64);

impl SendWindow {
    pub(super) fn new(size: u32) -> SendWindow {
        SendWindow(i64::from(size))
    }

    #[inline]
    pub(super) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// `bytes` are at most `available`.
    #[inline]
    pub(super) fn debit(&mut self, bytes: usize) {
        self.0 -= bytes as i64;
    }

    /// Adds what WINDOW_UPDATE or a changed initial size gives; `false` if that exceeds the largest window.
    #[must_use]
    pub(super) fn adjust(&mut self, by: i64) -> bool {
        self.0 += by;
        self.0 <= WINDOW_MAX
    }
}

/// What the peer may still send, and what has been consumed but not yet announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ReceiveWindow {
    /// What the peer may send now.
    available: i64,
    /// Received and not yet released by the consumer.
    held: u32,
    /// Released and not yet announced.
    released: u32,
    /// How large the window is when nothing is held.
    size: u32,
}

impl ReceiveWindow {
    pub(super) fn new(available: u32, size: u32) -> ReceiveWindow {
        ReceiveWindow { available: i64::from(available), held: 0, released: 0, size }
    }

    /// Takes `bytes` that arrived into account; `false` if the peer wasn't allowed to send them. None may always come, also
    /// while the window is below zero because ours became known late (RFC 9113 6.9.1).
    #[must_use]
    #[inline]
    pub(super) fn debit(&mut self, bytes: u32) -> bool {
        self.available -= i64::from(bytes);
        self.held = self.held.saturating_add(bytes);
        self.available >= 0 || bytes == 0
    }

    /// Takes `bytes` that were consumed into account, never more than were held. Says what WINDOW_UPDATE should announce
    /// once it is worth a frame: half the window.
    #[must_use]
    #[inline]
    pub(super) fn release(&mut self, bytes: u32) -> Option<u32> {
        self.release_from(bytes, i64::from(self.size / 2))
    }

    /// The same for a window that streams share: what some of them hold for long must not keep back what others need, so
    /// half of what is left is worth a frame.
    #[must_use]
    #[inline]
    pub(super) fn release_shared(&mut self, bytes: u32) -> Option<u32> {
        let left = i64::from(self.size) - i64::from(self.held.saturating_sub(bytes));
        self.release_from(bytes, left / 2)
    }

    /// Takes `bytes` into account and announces what has come together if that is at least `worth`.
    #[inline]
    fn release_from(&mut self, bytes: u32, worth: i64) -> Option<u32> {
        let bytes = bytes.min(self.held);
        self.held -= bytes;
        self.released += bytes;
        if self.released == 0 || i64::from(self.released) < worth {
            return None;
        }
        let increment = core::mem::take(&mut self.released);
        self.available += i64::from(increment);
        Some(increment)
    }

    /// The peer may send nothing now.
    pub(super) fn is_filled(&self) -> bool {
        self.available <= 0
    }

    /// The peer has learned of another initial size.
    pub(super) fn adjust(&mut self, by: i64) {
        self.available += by;
    }

    /// This is the window that its sender knows, and nothing is lost of its size.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn accounts_for(self, sender: SendWindow, held: Option<usize>) {
        assert_eq!(self.available, sender.0, "both sides know the same window");
        assert_eq!(self.sum(), i64::from(self.size), "nothing is lost");
        assert!(held.is_none_or(|held| held == self.held as usize), "{held:?} are held, not {}", self.held);
    }

    /// Everything that is accounted for adds up to the window's size; for tests.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn sum(&self) -> i64 {
        self.available + i64::from(self.held) + i64::from(self.released)
    }
}
