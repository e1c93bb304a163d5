//! The table of sockets of one core: what every socket has received, has to send, and goes through.
//!
//! Tasks and drivers meet only here. A task takes received slices, appends to the send chain, asks for a close, and
//! notes itself as the one to wake; a driver reports what the kernel did. Neither calls the other: whatever a change
//! makes necessary is worked out by `next_action`, for every socket that was marked for attention, once a turn.
//!
//! Invariants (each from somebody's bug): memory given to the kernel belongs to the entry until its completion, so
//! dropping a future is always safe · at most one receive and one send in flight for a socket · an entry is freed when
//! nothing is outstanding, and its generation then changes, so late completions find nobody.

mod actions;
mod reports;

use std::collections::VecDeque;
use std::os::fd::RawFd;

use crate::buffers::{BLOCK_BYTES, COPIED_BYTES_MAX, Pool, Slice};
use crate::descriptor::Descriptor;
use crate::executor::TaskId;
use crate::sys::RawAddress;

/// Received and not yet taken: above this the receive is cancelled. The only backpressure there is.
pub const RECEIVED_BYTES_HIGH: usize = 256 * 1024;
/// Received and not yet taken: at or below this receiving goes on.
pub const RECEIVED_BYTES_LOW: usize = 64 * 1024;
/// Every connection begins as a bulk receiver (single receives), which is one that gets less than this several times in a
/// row no longer: then its receives are multishot. The kernel repeats a multishot receive up to 32 times before we hear of
/// the first, which could be megabytes of a response that nobody reads.
const BULK_BYTES_MIN: usize = 16 * 1024;
/// How often in a row: a large response, too, comes in small pieces now and then, where its sender is slow.
const SMALL_RECEIVES_MAX: u8 = 4;
/// How long a closed socket may take to send what is queued.
pub const FLUSH_TIMEOUT_MS: u64 = 10_000;
/// How long a lingering close waits for the peer's end (Envoy's delayed_close_timeout).
pub const LINGER_TIMEOUT_MS: u64 = 1_000;

/// Parts of one send at most.
pub(crate) const SEND_PARTS_MAX: usize = 16;
/// A send that has so many bytes takes no further part. More at once saves little, and costs a third of a large body where
/// TCP paces (BBR): a burst is then sent in steps, with a timer for each and a receiver that falls asleep in between.
const SEND_BYTES: usize = 32 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub(crate) index: u32,
    /// 24 bits, as it travels in user_data.
    pub(crate) generation: u32,
}

pub(crate) const GENERATION_MASK: u32 = (1 << 24) - 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Free,
    Listening,
    Connecting,
    Open,
    /// Closed by its task; the chain is still being sent.
    Flushing,
    /// Everything sent and our end shut; waits for the peer's end so that a reset can't overtake the last bytes.
    Lingering,
    /// Waits until nothing is outstanding, then the descriptor is closed.
    Dying,
}

/// What a driver has to do for a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Connect,
    Accept,
    /// `once`: a single receive, for bulk data; otherwise until cancelled.
    Receive {
        once: bool,
    },
    /// Stop receiving or accepting; what is on its way still arrives.
    StopReceiving,
    Send,
    ShutdownWrite,
    /// Cancel everything that is outstanding.
    CancelAll,
    /// Close the descriptor; the entry is free already.
    Close {
        fd: RawFd,
        reset: bool,
    },
}

pub(crate) mod flag {
    pub(crate) const ATTENTION: u16 = 1;
    /// A receive (or accept) is armed.
    pub(crate) const RECEIVING: u16 = 1 << 1;
    pub(crate) const STOPPING: u16 = 1 << 2;
    pub(crate) const BULK: u16 = 1 << 3;
    /// No buffer was free; waits for the driver to find one.
    pub(crate) const STARVED: u16 = 1 << 4;
    pub(crate) const SENDING: u16 = 1 << 5;
    /// The peer has sent its end.
    pub(crate) const ENDED: u16 = 1 << 6;
    pub(crate) const SHUT_WANTED: u16 = 1 << 7;
    pub(crate) const SHUT_DONE: u16 = 1 << 8;
    pub(crate) const CONNECT_ISSUED: u16 = 1 << 9;
    pub(crate) const LINGER: u16 = 1 << 10;
    pub(crate) const RESET: u16 = 1 << 11;
    pub(crate) const CANCEL_ISSUED: u16 = 1 << 12;
    /// Over the high-water mark until below the low one.
    pub(crate) const PAUSED: u16 = 1 << 13;
    /// Accepts connections, until it is freed.
    pub(crate) const LISTENER: u16 = 1 << 14;
}
use flag::*;

pub(crate) struct Entry {
    pub(crate) generation: u32,
    pub(crate) fd: RawFd,
    pub(crate) phase: Phase,
    pub(crate) flags: u16,
    /// Receives of less than [`BULK_BYTES_MIN`] in a row.
    small_receives: u8,
    /// Operations that the kernel has not finished.
    pub(crate) outstanding: u16,
    waiter: TaskId,
    /// First failure of either direction, as errno; 0 = none.
    error: i32,
    received_bytes: usize,
    pub(crate) send_bytes: usize,
    /// The waiter is woken when the chain has shrunk to this; MAX: not at all.
    wake_below: usize,
    received: VecDeque<Slice>,
    pub(crate) send: VecDeque<Slice>,
    /// The driver's handle of the gathered send in flight.
    pub(crate) send_slot: u32,
    pub(crate) remote: Option<Box<RawAddress>>,
    accepted: VecDeque<Descriptor>,
}

impl Entry {
    fn new() -> Entry {
        Entry {
            generation: 0,
            fd: -1,
            phase: Phase::Free,
            flags: 0,
            small_receives: 0,
            outstanding: 0,
            waiter: TaskId::NONE,
            error: 0,
            received_bytes: 0,
            send_bytes: 0,
            wake_below: usize::MAX,
            received: VecDeque::new(),
            send: VecDeque::new(),
            send_slot: 0,
            remote: None,
            accepted: VecDeque::new(),
        }
    }

    #[inline]
    pub(crate) fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    /// Whether the kernel is making the connection.
    pub(crate) fn is_connecting(&self) -> bool {
        self.has(CONNECT_ISSUED) && self.remote.is_some()
    }

    /// What the next send takes from the chain.
    #[inline]
    pub(crate) fn next_send(&self) -> impl Iterator<Item = &Slice> {
        let mut bytes = 0;
        self.send.iter().take(SEND_PARTS_MAX).take_while(move |part| {
            let has_room = bytes < SEND_BYTES;
            bytes += part.len();
            has_room
        })
    }
}

/// What a task finds when it asks for input.
#[derive(Debug)]
pub enum Received {
    /// Bytes, at least one.
    Data(Slice),
    /// The peer has ended its direction.
    End,
    /// The connection failed (reset, timed out); what had arrived before was handed out.
    Failed(std::io::Error),
}

pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
    free: Vec<u32>,
    /// Sockets that `next_action` has to look at, first come first served: those that wait for buffers would otherwise
    /// lose to the newest for ever.
    attention: VecDeque<u32>,
    /// Tasks that what happened concerns; drained into the executor.
    pub(crate) woken: Vec<TaskId>,
    /// (deadline, socket), each in order of time.
    flushing: VecDeque<(u64, Key)>,
    lingering: VecDeque<(u64, Key)>,
    accept_retries: VecDeque<(u64, Key)>,
    pub(crate) now_ms: u64,
    open: usize,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table {
            entries: Vec::new(),
            free: Vec::new(),
            attention: VecDeque::new(),
            woken: Vec::new(),
            flushing: VecDeque::new(),
            lingering: VecDeque::new(),
            accept_retries: VecDeque::new(),
            now_ms: 0,
            open: 0,
        }
    }

    /// Whether every entry's figures agree with what it holds. `outstanding`: operations that the driver knows of.
    ///
    /// # Errors
    /// The first entry that doesn't agree.
    pub(crate) fn check(&self, outstanding: usize) -> Result<(), String> {
        let sum = |queue: &VecDeque<Slice>| queue.iter().map(Slice::len).sum::<usize>();
        for (index, entry) in self.entries.iter().enumerate() {
            let (received, send) = (sum(&entry.received), sum(&entry.send));
            if (received, send) != (entry.received_bytes, entry.send_bytes) {
                let (counted, waiting) = (entry.received_bytes, entry.send_bytes);
                return Err(format!(
                    "socket {index} holds {received} received bytes and counts {counted}, {send} to send and counts \
                     {waiting}"
                ));
            }
        }
        let counted: usize = self.entries.iter().map(|entry| usize::from(entry.outstanding)).sum();
        let open = self.entries.iter().filter(|entry| entry.phase != Phase::Free).count();
        if open != self.open {
            return Err(format!("{open} sockets in the table, {} counted", self.open));
        }
        if counted != outstanding {
            return Err(format!("{counted} operations counted as outstanding, the driver has {outstanding}"));
        }
        Ok(())
    }

    /// Entries in use, closing ones included.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    pub(crate) fn add(&mut self, fd: Descriptor, phase: Phase, remote: Option<Box<RawAddress>>) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::new());
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[index as usize];
        entry.fd = fd.into_number();
        entry.phase = phase;
        // Bulk until it is known for small receives: see `BULK_BYTES_MIN`.
        entry.flags |= if phase == Phase::Listening { LISTENER } else { BULK };
        entry.remote = remote;
        self.open += 1;
        let key = Key { index, generation: entry.generation };
        self.mark(index);
        key
    }

    #[inline]
    fn mark(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        if !entry.has(ATTENTION) {
            entry.flags |= ATTENTION;
            self.attention.push_back(index);
        }
    }

    #[inline]
    pub(crate) fn take_marked(&mut self) -> Option<u32> {
        let index = self.attention.pop_front()?;
        self.entries[index as usize].flags &= !ATTENTION;
        Some(index)
    }

    /// The live entry behind a key that came back from the kernel.
    #[inline]
    pub(crate) fn find(&mut self, key: Key) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(key.index as usize)?;
        (entry.phase != Phase::Free && entry.generation == key.generation).then_some(entry)
    }

    #[inline]
    fn wake(&mut self, index: u32) {
        let waiter = std::mem::replace(&mut self.entries[index as usize].waiter, TaskId::NONE);
        if waiter != TaskId::NONE {
            self.woken.push(waiter);
        }
    }

    // What tasks do follows; the key is theirs, so the entry is live.

    #[inline]
    pub(crate) fn entry(&self, key: Key) -> &Entry {
        &self.entries[key.index as usize]
    }

    #[inline]
    pub(crate) fn wait(&mut self, key: Key, task: TaskId) {
        self.entries[key.index as usize].waiter = task;
    }

    #[inline]
    pub(crate) fn take_received(&mut self, key: Key) -> Option<Received> {
        let entry = &mut self.entries[key.index as usize];
        if let Some(slice) = entry.received.pop_front() {
            entry.received_bytes -= slice.len();
            if entry.has(PAUSED) && entry.received_bytes <= RECEIVED_BYTES_LOW {
                entry.flags &= !PAUSED;
                self.mark(key.index);
            }
            return Some(Received::Data(slice));
        }
        if entry.error != 0 {
            return Some(Received::Failed(std::io::Error::from_raw_os_error(entry.error)));
        }
        entry.has(ENDED).then_some(Received::End)
    }

    /// Whether `take_received` would give something.
    pub(crate) fn has_received(&self, key: Key) -> bool {
        let entry = self.entry(key);
        !entry.received.is_empty() || entry.error != 0 || entry.has(ENDED)
    }

    pub(crate) fn untake(&mut self, key: Key, slice: Slice) {
        if !slice.is_empty() {
            let entry = &mut self.entries[key.index as usize];
            entry.received_bytes += slice.len();
            entry.received.push_front(slice);
        }
    }

    pub(crate) fn error(&self, key: Key) -> Option<std::io::Error> {
        let errno = self.entry(key).error;
        (errno != 0).then(|| std::io::Error::from_raw_os_error(errno))
    }

    /// Copies bytes to the end of the chain.
    pub(crate) fn send_bytes(&mut self, pool: &Pool, key: Key, bytes: &[u8]) {
        let entry = &mut self.entries[key.index as usize];
        if entry.error != 0 || bytes.is_empty() || entry.has(SHUT_WANTED) {
            return;
        }
        append_copy(&mut entry.send, pool, bytes);
        entry.send_bytes += bytes.len();
        self.mark(key.index);
    }

    /// Appends a slice to the chain: by reference if large, copied if small.
    pub(crate) fn send_slice(&mut self, pool: &Pool, key: Key, slice: Slice) {
        if slice.len() <= COPIED_BYTES_MAX {
            return self.send_bytes(pool, key, &slice);
        }
        let entry = &mut self.entries[key.index as usize];
        if entry.error != 0 || entry.has(SHUT_WANTED) {
            return;
        }
        entry.send_bytes += slice.len();
        if let Some(slice) = pool.join(entry.send.back_mut(), slice) {
            entry.send.push_back(slice);
        }
        self.mark(key.index);
    }

    /// Whether the chain is at most `below` bytes long; if not, the waiter is woken when it is.
    pub(crate) fn is_drained(&mut self, key: Key, below: usize) -> bool {
        let entry = &mut self.entries[key.index as usize];
        let drained = entry.send_bytes <= below;
        entry.wake_below = if drained { usize::MAX } else { below };
        drained
    }

    /// Ends our direction once the chain is sent.
    pub(crate) fn shutdown_write(&mut self, key: Key) {
        self.entries[key.index as usize].flags |= SHUT_WANTED;
        self.mark(key.index);
    }

    /// The task has no more use for the socket.
    pub(crate) fn close(&mut self, key: Key, how: Close) {
        let deadline = self.now_ms + FLUSH_TIMEOUT_MS;
        let entry = &mut self.entries[key.index as usize];
        entry.waiter = TaskId::NONE;
        entry.wake_below = usize::MAX;
        entry.received.clear();
        entry.received_bytes = 0;
        entry.accepted.clear();
        let flush = entry.phase == Phase::Open && entry.error == 0;
        match how {
            Close::Reset => entry.flags |= RESET,
            Close::Linger if flush => entry.flags |= LINGER,
            Close::Linger | Close::Flush => {}
        }
        if flush && how != Close::Reset && (entry.send_bytes > 0 || how == Close::Linger) {
            entry.phase = Phase::Flushing;
            self.flushing.push_back((deadline, key));
        } else {
            entry.phase = Phase::Dying;
        }
        self.mark(key.index);
    }

    pub(crate) fn take_accepted(&mut self, key: Key) -> Option<std::io::Result<Descriptor>> {
        let entry = &mut self.entries[key.index as usize];
        if let Some(fd) = entry.accepted.pop_front() {
            if entry.has(PAUSED) && !entry.has(SHUT_WANTED) && entry.accepted.is_empty() {
                entry.flags &= !PAUSED;
                self.mark(key.index);
            }
            return Some(Ok(fd));
        }
        let errno = std::mem::take(&mut entry.error);
        (errno != 0).then(|| Err(std::io::Error::from_raw_os_error(errno)))
    }

    /// Stops accepting; what the kernel has accepted already still arrives.
    pub(crate) fn pause_accepting(&mut self, key: Key) {
        self.entries[key.index as usize].flags |= PAUSED | SHUT_WANTED;
        self.mark(key.index);
    }

    /// Goes on accepting after `pause_accepting`.
    pub(crate) fn resume_accepting(&mut self, key: Key) {
        self.entries[key.index as usize].flags &= !(PAUSED | SHUT_WANTED);
        self.mark(key.index);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Close {
    /// Send what is queued, then close.
    Flush,
    /// Send what is queued, shut our end, wait a moment for the peer's.
    Linger,
    /// Drop what is queued and reset the connection.
    Reset,
}

fn append_copy(chain: &mut VecDeque<Slice>, pool: &Pool, mut bytes: &[u8]) {
    if let Some(tail) = chain.back_mut() {
        bytes = &bytes[tail.extend(bytes)..];
    }
    while !bytes.is_empty() {
        let mut block = pool.block();
        bytes = &bytes[block.extend(bytes).min(BLOCK_BYTES)..];
        chain.push_back(block);
    }
}

#[cfg(test)]
mod tests;
