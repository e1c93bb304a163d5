//! A client connection and its upstream connection: two halves, each with what waits to be sent on it.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::RawFd;

/// Queued bytes at which the opposite side stops receiving.
pub(crate) const HIGH_WATER_BYTES: usize = 256 * 1024;
/// Queued bytes at which it starts again.
pub(crate) const LOW_WATER_BYTES: usize = 64 * 1024;
/// Buffers gathered into one send.
pub(crate) const GATHER_MAX: usize = 16;

/// Bytes of one receive buffer that are still to be sent.
#[derive(Clone, Copy)]
pub(crate) struct Slice {
    pub(crate) buffer: u16,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// What a gathered send points to; boxed, so that it stays in place while the kernel reads it.
pub(crate) struct Gather {
    pub(crate) message: libc::msghdr,
    pub(crate) vectors: [libc::iovec; GATHER_MAX],
}

impl Gather {
    pub(crate) fn new() -> Box<Self> {
        // SAFETY: msghdr and iovec are plain data for which all bits zero (null pointers, no bytes) is valid.
        Box::new(unsafe { mem::zeroed() })
    }
}

/// One connection.
pub(crate) struct Half {
    pub(crate) fd: RawFd,
    /// A multishot receive is armed.
    pub(crate) receiving: bool,
    /// The opposite queue is above the high-water mark: don't arm.
    pub(crate) paused: bool,
    /// The last receive ended because no buffer was free: don't arm until some are back.
    pub(crate) starved: bool,
    /// The peer has sent all it will.
    pub(crate) ended: bool,
    /// A send is with the kernel.
    pub(crate) sending: bool,
    /// On the list of halves to flush at the end of this turn.
    pub(crate) dirty: bool,
    /// We have sent all we will.
    pub(crate) shut: bool,
    pub(crate) queue: VecDeque<Slice>,
    pub(crate) queued_bytes: usize,
    pub(crate) gather: Option<Box<Gather>>,
}

impl Half {
    pub(crate) fn new(fd: RawFd) -> Self {
        Self {
            fd,
            receiving: false,
            paused: false,
            starved: false,
            ended: false,
            sending: false,
            dirty: false,
            shut: false,
            queue: VecDeque::new(),
            queued_bytes: 0,
            gather: None,
        }
    }

    pub(crate) fn may_receive(&self) -> bool {
        !self.receiving && !self.paused && !self.starved && !self.ended
    }

    /// Removes `sent` bytes from the front of the queue; calls `emptied` with each buffer that has none left.
    pub(crate) fn consume(&mut self, sent: usize, mut emptied: impl FnMut(u16)) {
        self.queued_bytes -= sent;
        let mut rest = sent;
        while let Some(slice) = self.queue.front_mut() {
            if rest < slice.length as usize {
                slice.offset += rest as u32;
                slice.length -= rest as u32;
                break;
            }
            rest -= slice.length as usize;
            emptied(slice.buffer);
            self.queue.pop_front();
        }
    }
}

/// A client connection (half 0) and its upstream connection (half 1).
pub(crate) struct Pair {
    pub(crate) halves: [Half; 2],
    /// Counts the uses of this place in the table, so that a completion of an earlier use is recognised.
    pub(crate) generation: u32,
    pub(crate) connecting: bool,
    /// Both sockets are shut down; the pair goes when nothing is outstanding.
    pub(crate) closing: bool,
    pub(crate) open: bool,
}

impl Pair {
    /// Whether the kernel still holds a request that will complete with this pair's number.
    pub(crate) fn is_outstanding(&self) -> bool {
        self.connecting || self.halves.iter().any(|half| half.receiving || half.sending)
    }

    /// Whether both directions have ended and all bytes are out.
    pub(crate) fn is_finished(&self) -> bool {
        self.halves.iter().all(|half| half.ended && half.queue.is_empty())
    }
}
