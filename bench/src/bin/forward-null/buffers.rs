//! Receive buffers that the kernel picks from a provided ring, and that we give back once their bytes are sent.

use std::io;
use std::mem::size_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::ring::Ring;

/// Number of the only buffer group.
pub(crate) const GROUP: u16 = 0;

/// Buffers that must be back before starved receives start again. Small, so that clients that don't read can't starve
/// the others by holding most of the buffers.
const REPLENISHED_MIN: u16 = 32;

pub(crate) struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    count: u16,
    buffer_bytes: u32,
    /// Next free entry; ahead of the kernel's copy until [`Buffers::publish`].
    tail: u16,
    published_tail: u16,
    /// Buffers that are with the kernel or about to be.
    free: u16,
}

impl Buffers {
    /// Maps `count` (a power of two) buffers of `buffer_bytes` and registers them; the mapping lives as long as the
    /// process.
    pub(crate) fn new(ring: &Ring, count: u16, buffer_bytes: u32) -> io::Result<Self> {
        let entries = map(usize::from(count) * size_of::<BufRingEntry>())?.cast::<BufRingEntry>();
        let memory = map(usize::from(count) * buffer_bytes as usize)?;
        // SAFETY: a fresh anonymous mapping is zeroed and page-aligned, and it is never unmapped.
        unsafe { ring.register_buffers(entries.as_ptr() as u64, count, GROUP)? };
        let mut buffers = Self { entries, memory, count, buffer_bytes, tail: 0, published_tail: 0, free: 0 };
        for buffer in 0..count {
            buffers.give_back(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// First byte of a buffer.
    pub(crate) fn start(&self, buffer: u16) -> *mut u8 {
        debug_assert!(buffer < self.count);
        // SAFETY: a buffer's number is below `count`, so the offset lies within the mapping.
        unsafe { self.memory.as_ptr().add(usize::from(buffer) * self.buffer_bytes as usize) }
    }

    /// Notes that the kernel took a buffer.
    pub(crate) fn taken(&mut self) {
        self.free -= 1;
    }

    /// Puts a buffer back into the ring; the kernel sees it after [`Buffers::publish`].
    pub(crate) fn give_back(&mut self, buffer: u16) {
        let slot = usize::from(self.tail & (self.count - 1));
        // SAFETY: `slot` is below `count`; the kernel reads an entry only once the published tail has passed it. The
        // fields are written one by one because the last one of entry 0 doubles as the ring's tail.
        unsafe {
            let entry = self.entries.as_ptr().add(slot);
            (*entry).set_addr(self.start(buffer) as u64);
            (*entry).set_len(self.buffer_bytes);
            (*entry).set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
        self.free += 1;
    }

    /// Makes the buffers given back visible to the kernel.
    pub(crate) fn publish(&mut self) {
        if self.tail == self.published_tail {
            return;
        }
        self.published_tail = self.tail;
        // SAFETY: `entries` is the base of the registered ring; the tail is a u16 in its first entry, which the kernel
        // reads with acquire semantics.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    /// Whether enough buffers are back for receives that ended with ENOBUFS to be worth arming again.
    pub(crate) fn is_replenished(&self) -> bool {
        self.free >= REPLENISHED_MIN.min(self.count / 4).max(1)
    }
}

/// Anonymous zeroed memory that is never unmapped.
fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice aliases nothing.
    let address = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}
