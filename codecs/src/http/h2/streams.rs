//! The streams of a connection: their states, found by identifier or by slot, and what is remembered of closed ones.

use super::flow::{ReceiveWindow, SendWindow};

/// Names a stream of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct StreamRef {
    /// The stream's identifier; never used again.
    pub id: u32,
    /// A number that no other open stream has, as small as possible; used again when the stream is closed.
    pub slot: u32,
}

impl StreamRef {
    /// A stream that never got a slot, because its first frame was refused.
    pub(super) fn without_slot(id: u32) -> StreamRef {
        StreamRef { id, slot: u32::MAX }
    }
}

/// What a response answers, as far as its framing depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    Plain,
    Head,
    Connect,
}

/// State of a stream (RFC 9113 5.1), which is open in at least one direction.
#[derive(Debug)]
pub(super) struct Stream {
    /// 0 for a free slot.
    pub(super) id: u32,
    pub(super) send_window: SendWindow,
    pub(super) receive_window: ReceiveWindow,
    /// Bytes of DATA that are still to come; `None` when the head doesn't say.
    pub(super) expected: Option<u64>,
    pub(super) asked: Asked,
    /// The peer hasn't ended the stream.
    pub(super) remote_open: bool,
    /// We haven't ended the stream.
    pub(super) local_open: bool,
    /// A final head has arrived.
    pub(super) head_received: bool,
    /// Interim heads that have arrived.
    pub(super) interims: u8,
    pub(super) head_sent: bool,
    /// We wanted to send more than the stream's window allowed.
    pub(super) blocked: bool,
}

/// How a stream ended, for frames that come late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// Both sides ended it, or it is so long ago that nothing should come any more.
    InOrder,
    /// We reset it: what the peer sent before it knew is ignored.
    ResetByUs,
    ResetByPeer,
}

/// How many resets are remembered one by one.
const RESETS_REMEMBERED: usize = 32;
/// Slots of the index in the beginning; a power of two.
const INDEX_SLOTS_MIN: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: Vec<Stream>,
    free: Vec<u32>,
    /// Slot + 1 of each open stream, 0 for nothing: open addressing by identifier, linear probing.
    index: Vec<u32>,
    resets: [(u32, bool); RESETS_REMEMBERED],
    reset_at: usize,
    /// Streams up to here may have been reset by us, and we no longer know.
    forgotten: u32,
}

impl Streams {
    /// Streams that are open in at least one direction.
    pub(super) fn open(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    #[inline]
    pub(super) fn get(&self, stream: StreamRef) -> Option<&Stream> {
        self.slots.get(stream.slot as usize).filter(|found| found.id == stream.id)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, stream: StreamRef) -> Option<&mut Stream> {
        self.slots.get_mut(stream.slot as usize).filter(|found| found.id == stream.id)
    }

    /// Where a stream's state is kept; nothing is read.
    #[inline]
    pub(super) fn place(&self, stream: StreamRef) -> Option<&Stream> {
        self.slots.get(stream.slot as usize)
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.slots.iter().filter(|stream| stream.id != 0)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().filter(|stream| stream.id != 0)
    }

    /// The open stream with this identifier.
    #[inline]
    pub(super) fn find(&self, id: u32) -> Option<StreamRef> {
        self.probe(id).map(|(_, slot)| StreamRef { id, slot })
    }

    /// Place in the index and slot of a stream.
    fn probe(&self, id: u32) -> Option<(usize, u32)> {
        let mask = self.index.len().checked_sub(1)?;
        let mut at = home(id, mask);
        // The index is never full, so there is a gap to end at.
        loop {
            let slot = self.index[at].checked_sub(1)?;
            if self.slots[slot as usize].id == id {
                return Some((at, slot));
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a stream, whose identifier is new. Inlined, so that it is put together where it stays.
    #[inline]
    pub(super) fn insert(&mut self, stream: Stream) -> StreamRef {
        let id = stream.id;
        if (self.open() + 1) * 2 > self.index.len() {
            self.grow();
        }
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = stream;
                slot
            }
            None => {
                self.slots.push(stream);
                (self.slots.len() - 1) as u32
            }
        };
        self.enter(id, slot);
        StreamRef { id, slot }
    }

    fn enter(&mut self, id: u32, slot: u32) {
        let mask = self.index.len() - 1;
        let mut at = home(id, mask);
        while self.index[at] != 0 {
            at = (at + 1) & mask;
        }
        self.index[at] = slot + 1;
    }

    fn grow(&mut self) {
        let len = (self.index.len() * 2).max(INDEX_SLOTS_MIN);
        self.index.clear();
        self.index.resize(len, 0);
        for slot in 0..self.slots.len() {
            if self.slots[slot].id != 0 {
                self.enter(self.slots[slot].id, slot as u32);
            }
        }
    }

    /// Removes a stream; frames that come late are judged by how it `ended`.
    pub(super) fn remove(&mut self, stream: StreamRef, ended: Ended) {
        self.remember(stream.id, ended);
        let Some((mut gap, slot)) = self.probe(stream.id) else { return };
        // Closes the gap, so that what was entered behind it is still found.
        let mask = self.index.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let Some(other) = self.index[at].checked_sub(1) else { break };
            let home = home(self.slots[other as usize].id, mask);
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.index[gap] = self.index[at];
                gap = at;
            }
        }
        self.index[gap] = 0;
        self.slots[slot as usize].id = 0;
        self.free.push(slot);
    }

    /// Notes how a stream ended that is not, or no longer, among the open ones.
    pub(super) fn remember(&mut self, id: u32, ended: Ended) {
        if ended == Ended::InOrder {
            return;
        }
        let (oldest, by_us) = core::mem::replace(&mut self.resets[self.reset_at], (id, ended == Ended::ResetByUs));
        if by_us {
            self.forgotten = self.forgotten.max(oldest);
        }
        self.reset_at = (self.reset_at + 1) % RESETS_REMEMBERED;
    }

    /// How a stream that isn't open any more ended.
    pub(super) fn ended(&self, id: u32) -> Ended {
        match self.resets.iter().find(|reset| reset.0 == id) {
            Some((_, true)) => Ended::ResetByUs,
            Some((_, false)) => Ended::ResetByPeer,
            None if id <= self.forgotten => Ended::ResetByUs,
            None => Ended::InOrder,
        }
    }

    /// Removes the streams above `last`, which the peer won't process.
    pub(super) fn remove_above(&mut self, last: u32) {
        for slot in 0..self.slots.len() {
            let id = self.slots[slot].id;
            if id > last {
                self.remove(StreamRef { id, slot: slot as u32 }, Ended::ResetByUs);
            }
        }
    }
}

/// Where the search for an identifier begins. Multiplying by the golden ratio spreads consecutive identifiers evenly, so
/// that runs, which removal has to walk, stay short.
#[inline]
fn home(id: u32, mask: usize) -> usize {
    let spread = (id >> 1).wrapping_mul(0x9e37_79b9);
    (spread >> (32 - mask.count_ones().min(31))) as usize & mask
}
