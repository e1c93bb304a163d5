//! What drivers report to the table. The driver has checked the generation.

use super::flag::*;
use super::{BULK_BYTES_MIN, Key, Phase, RECEIVED_BYTES_HIGH, SMALL_RECEIVES_MAX, Table};
use crate::buffers::{Pool, Slice};
use crate::descriptor::Descriptor;

/// Accepted connections that may wait for their task; accepting pauses above.
const ACCEPTED_MAX: usize = 1024;
/// Pause in accepting when descriptors or memory are short.
const ACCEPT_RETRY_MS: u64 = 100;

impl Table {
    /// Bytes arrived. `pool` serves for copying small pieces that join a queue.
    #[inline]
    pub(crate) fn received(&mut self, pool: &Pool, index: u32, slice: Slice) {
        let entry = &mut self.entries[index as usize];
        if entry.phase != Phase::Open || slice.is_empty() {
            return;
        }
        let len = slice.len();
        entry.small_receives = if len < BULK_BYTES_MIN { entry.small_receives.saturating_add(1) } else { 0 };
        if entry.small_receives >= SMALL_RECEIVES_MAX {
            entry.flags &= !BULK;
        }
        entry.received_bytes += len;
        if let Some(slice) = pool.join(entry.received.back_mut(), slice) {
            entry.received.push_back(slice);
        }
        if entry.received_bytes >= RECEIVED_BYTES_HIGH {
            entry.flags |= PAUSED | BULK;
            self.mark(index);
        }
        self.wake(index);
    }

    /// The receive is over for now (cancelled, or the kernel ended the multishot): it may be armed again.
    pub(crate) fn receive_stopped(&mut self, index: u32) {
        self.entries[index as usize].flags &= !(RECEIVING | STOPPING);
        self.mark(index);
        if self.entries[index as usize].phase == Phase::Listening {
            self.wake(index);
        }
    }

    pub(crate) fn starved(&mut self, index: u32) {
        self.entries[index as usize].flags |= STARVED;
    }

    pub(crate) fn fed(&mut self, key: Key) {
        if let Some(entry) = self.find(key) {
            entry.flags &= !STARVED;
            self.mark(key.index);
        }
    }

    /// The peer's end arrived, or the connection failed with an errno.
    pub(crate) fn receive_ended(&mut self, index: u32, errno: i32) {
        let entry = &mut self.entries[index as usize];
        entry.flags |= ENDED;
        if errno != 0 && entry.error == 0 {
            entry.error = errno;
        }
        if entry.phase == Phase::Lingering || (entry.phase == Phase::Flushing && errno != 0) {
            entry.phase = Phase::Dying;
        }
        self.mark(index);
        self.wake(index);
    }

    /// The first `n` bytes of the chain are sent.
    #[inline]
    pub(crate) fn sent(&mut self, index: u32, mut n: usize) {
        let entry = &mut self.entries[index as usize];
        entry.flags &= !SENDING;
        entry.send_bytes -= n.min(entry.send_bytes);
        while let Some(front) = entry.send.front_mut() {
            if n < front.len() {
                front.advance(n);
                break;
            }
            n -= front.len();
            entry.send.pop_front();
        }
        if entry.send_bytes <= entry.wake_below && entry.wake_below != usize::MAX {
            entry.wake_below = usize::MAX;
            self.wake(index);
        }
        let entry = &self.entries[index as usize];
        if entry.send_bytes > 0 || entry.has(SHUT_WANTED) || entry.phase != Phase::Open {
            self.mark(index);
        }
    }

    pub(crate) fn send_failed(&mut self, index: u32, errno: i32) {
        let entry = &mut self.entries[index as usize];
        entry.flags &= !SENDING;
        if entry.error == 0 {
            entry.error = errno;
        }
        entry.send.clear();
        entry.send_bytes = 0;
        if matches!(entry.phase, Phase::Flushing | Phase::Lingering) {
            entry.phase = Phase::Dying;
        }
        self.mark(index);
        self.wake(index);
    }

    pub(crate) fn connected(&mut self, index: u32, errno: i32) {
        let entry = &mut self.entries[index as usize];
        entry.remote = None;
        if entry.phase == Phase::Connecting {
            entry.phase = Phase::Open;
            if errno != 0 {
                entry.error = errno;
                entry.flags |= ENDED;
            }
        }
        self.mark(index);
        self.wake(index);
    }

    pub(crate) fn accepted(&mut self, index: u32, fd: Descriptor) {
        let entry = &mut self.entries[index as usize];
        if entry.phase != Phase::Listening {
            return;
        }
        entry.accepted.push_back(fd);
        if entry.accepted.len() >= ACCEPTED_MAX {
            entry.flags |= PAUSED;
            self.mark(index);
        }
        self.wake(index);
    }

    /// Accepting failed for want of something; it is tried again after a pause.
    pub(crate) fn accept_failed(&mut self, index: u32, errno: i32) {
        let entry = &mut self.entries[index as usize];
        entry.flags = (entry.flags & !(RECEIVING | STOPPING)) | STARVED;
        entry.error = errno;
        let key = Key { index, generation: entry.generation };
        self.accept_retries.push_back((self.now_ms + ACCEPT_RETRY_MS, key));
        self.wake(index);
        self.mark(index);
    }
}
