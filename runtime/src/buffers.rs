//! One pool of buffers a core, and slices of them.
//!
//! Two kinds of memory: *receive buffers* (64 KiB, lent to the kernel by number) and *blocks* (4 KiB, in which small
//! pieces of output are gathered). A `Slice` is a counted view of either; the count isn't atomic, so a slice never
//! leaves its core. The last view to go gives the memory back to the pool.
//!
//! Large receive buffers cost small requests nothing: only the pages that were written are resident, and few buffers
//! circulate. What they could cost is a few bytes pinning 64 KiB; therefore small pieces that have to wait are copied
//! into blocks (`table.rs`), and a partly received head is copied out by whoever waits for its rest.

use std::alloc::Layout;
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::ptr::NonNull;

/// Bytes in a receive buffer.
pub const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;
/// Distance between receive buffers. Not a power of two: the first lines of all buffers, the only ones that small
/// messages touch, would otherwise fall into one set of the processor's caches.
const RECEIVE_BUFFER_STRIDE: usize = RECEIVE_BUFFER_BYTES + 5 * 64;
/// Bytes in a block.
pub const BLOCK_BYTES: usize = 4 * 1024;
/// Granularity at which memory goes back to the system.
const PAGE_BYTES: usize = 4096;
/// Receive buffers are allocated this many at a time.
const CHUNK_BUFFERS: usize = 64;
/// Pieces up to this size are copied into blocks when they join others that wait: cheaper than one more part in a gathered
/// send, and they don't pin a receive buffer.
pub(crate) const COPIED_BYTES_MAX: usize = 2048;
/// The same once slices hold more than half of the receive buffers that may exist, and for whatever waits: those who make
/// others wait must not take the last buffers, without which nobody is heard.
const COPIED_BYTES_MAX_SCARCE: usize = RECEIVE_BUFFER_BYTES / 4;
/// Blocks kept for reuse; more go back to the allocator.
const BLOCKS_KEPT_MAX: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Receive { id: u16 },
    Block,
    Heap,
}

struct Meta {
    refs: Cell<u32>,
    /// Blocks: bytes written so far; a slice that ends here may be extended by the owner of the chain.
    used: Cell<u32>,
    capacity: u32,
    kind: Kind,
    memory: NonNull<u8>,
    pool: NonNull<Shared>,
}

/// State that slices reach; lives until the pool and every slice are gone.
struct Shared {
    /// Metas and slices that point here, and one for the pool itself.
    holders: Cell<usize>,
    /// Receive buffers whose last view was dropped, newest last.
    free: RefCell<Vec<u16>>,
    blocks: RefCell<Vec<NonNull<Meta>>>,
    receive: RefCell<Vec<NonNull<Meta>>>,
    /// Memory of the receive buffers, where it is freed with the pool.
    chunks: RefCell<Vec<(NonNull<u8>, Layout)>>,
    lent: Cell<usize>,
    /// Slices hold more than half of the receive buffers that may exist.
    scarce: Cell<bool>,
    /// Fewest free buffers since the last trim.
    free_min: Cell<usize>,
    /// Buffers at the bottom of the free list whose pages were given back.
    trimmed: Cell<usize>,
}

/// A core's buffers. Clones aren't needed: the core owns it.
pub(crate) struct Pool {
    shared: NonNull<Shared>,
    buffers_max: usize,
    /// No kernel ever sees the memory, so it may go with the pool.
    simulated: bool,
}

/// A counted view of bytes in the pool; cut without copying.
pub struct Slice {
    meta: NonNull<Meta>,
    start: u32,
    end: u32,
}

impl Pool {
    /// `buffers_max`: receive buffers that may exist; the pool starts with one chunk of them.
    pub(crate) fn new(buffers_max: usize) -> Pool {
        Pool::make(buffers_max, false)
    }

    /// A simulated core's: there are many of them in a process's life, so its memory goes with it.
    pub(crate) fn simulated(buffers_max: usize) -> Pool {
        Pool::make(buffers_max, true)
    }

    fn make(buffers_max: usize, simulated: bool) -> Pool {
        let shared = Box::new(Shared {
            holders: Cell::new(1),
            free: RefCell::default(),
            blocks: RefCell::default(),
            receive: RefCell::default(),
            chunks: RefCell::default(),
            lent: Cell::new(0),
            scarce: Cell::new(false),
            free_min: Cell::new(0),
            trimmed: Cell::new(0),
        });
        Pool { shared: NonNull::from(Box::leak(shared)), buffers_max: buffers_max.min(1 << 15), simulated }
    }

    fn shared(&self) -> &Shared {
        // SAFETY: `holders` counts this pool, so the box is alive as long as `self`.
        unsafe { self.shared.as_ref() }
    }

    /// Takes a free receive buffer's number and memory, most recently used first (its lines are still in cache);
    /// grows the pool when none is free; `None` at the limit.
    pub(crate) fn lend(&self) -> Option<(u16, NonNull<u8>)> {
        let shared = self.shared();
        let mut free = shared.free.borrow_mut();
        let held = shared.receive.borrow().len() - free.len() - shared.lent.get();
        shared.scarce.set(held > self.buffers_max / 2);
        let popped = free.pop();
        shared.free_min.set(shared.free_min.get().min(free.len()));
        drop(free);
        let id = match popped {
            Some(id) => id,
            None => self.grow()?,
        };
        shared.lent.set(shared.lent.get() + 1);
        let meta = shared.receive.borrow()[id as usize];
        // SAFETY: metas of receive buffers live as long as `Shared`.
        Some((id, unsafe { meta.as_ref() }.memory))
    }

    fn grow(&self) -> Option<u16> {
        let shared = self.shared();
        let mut receive = shared.receive.borrow_mut();
        let first = receive.len();
        let count = CHUNK_BUFFERS.min(self.buffers_max.saturating_sub(first));
        if count == 0 {
            return None;
        }
        let layout = Layout::from_size_align(RECEIVE_BUFFER_STRIDE * count, 4096).ok()?;
        // SAFETY: the layout's size isn't zero. Chunks are kept for the process's life (a pool never shrinks), or until
        // the pool and every slice are gone, so every buffer's memory outlives its slices.
        let memory = NonNull::new(unsafe { std::alloc::alloc(layout) })?;
        if self.simulated {
            shared.chunks.borrow_mut().push((memory, layout));
        }
        let mut free = shared.free.borrow_mut();
        for slot in (0..count).rev() {
            free.push((first + slot) as u16);
        }
        for slot in 0..count {
            // SAFETY: within the allocation made above.
            let memory = unsafe { memory.add(slot * RECEIVE_BUFFER_STRIDE) };
            let id = (first + slot) as u16;
            let meta = Meta {
                refs: Cell::new(0),
                used: Cell::new(0),
                capacity: RECEIVE_BUFFER_BYTES as u32,
                kind: Kind::Receive { id },
                memory,
                pool: self.shared,
            };
            receive.push(NonNull::from(Box::leak(Box::new(meta))));
        }
        free.pop()
    }

    /// Gives the pages of buffers that nobody has needed since the last call back to the system. The free list is a
    /// stack, so those are at its bottom. Called once a second: what a burst of bulk data took doesn't stay.
    pub(crate) fn trim(&self) {
        let shared = self.shared();
        let free = shared.free.borrow();
        let idle = shared.free_min.replace(free.len());
        let trimmed = shared.trimmed.get().min(idle);
        let receive = shared.receive.borrow();
        for id in &free[trimmed..idle] {
            // SAFETY: metas of receive buffers live as long as `Shared`.
            let memory = unsafe { receive[*id as usize].as_ref() }.memory.as_ptr();
            let start = memory.addr().next_multiple_of(PAGE_BYTES);
            let end = (memory.addr() + RECEIVE_BUFFER_BYTES) / PAGE_BYTES * PAGE_BYTES;
            // SAFETY: whole pages within a buffer that has no views and isn't lent; its next reader writes it first.
            // Anonymous memory reads as zero afterwards.
            unsafe { libc::madvise(memory.with_addr(start).cast(), end - start, libc::MADV_DONTNEED) };
        }
        shared.trimmed.set(idle);
    }

    /// Gives back a lent buffer that holds nothing.
    pub(crate) fn unlend(&self, id: u16) {
        let shared = self.shared();
        shared.lent.set(shared.lent.get() - 1);
        shared.free.borrow_mut().push(id);
    }

    /// A lent buffer came back with `len` bytes in it.
    pub(crate) fn filled(&self, id: u16, len: usize) -> Slice {
        let shared = self.shared();
        shared.lent.set(shared.lent.get() - 1);
        let meta = shared.receive.borrow()[id as usize];
        // SAFETY: metas of receive buffers live as long as `Shared`.
        unsafe { meta.as_ref() }.refs.set(1);
        self.hold();
        debug_assert!(len <= RECEIVE_BUFFER_BYTES);
        Slice { meta, start: 0, end: len as u32 }
    }

    /// A lent buffer comes back with a copy of `bytes` (as many as fit) in it: what a kernel does, for a simulated one.
    pub(crate) fn filled_with(&self, id: u16, bytes: &[u8]) -> Slice {
        let bytes = &bytes[..bytes.len().min(RECEIVE_BUFFER_BYTES)];
        let meta = self.shared().receive.borrow()[id as usize];
        // SAFETY: metas of receive buffers live as long as `Shared`; the buffer is lent, so it has no views, and it has
        // room for RECEIVE_BUFFER_BYTES.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), meta.as_ref().memory.as_ptr(), bytes.len()) };
        self.filled(id, bytes.len())
    }

    /// Whether every receive buffer is exactly one of: free, lent (`lent` of them), or held by slices.
    ///
    /// # Errors
    /// The figures that don't add up.
    pub(crate) fn check(&self, lent: usize) -> Result<(), String> {
        let shared = self.shared();
        let receive = shared.receive.borrow();
        // SAFETY: metas of receive buffers live as long as `Shared`.
        let refs = |id: usize| unsafe { receive[id].as_ref() }.refs.get();
        let held = (0..receive.len()).filter(|id| refs(*id) > 0).count();
        let free = shared.free.borrow();
        let (made, counted) = (receive.len(), shared.lent.get());
        if lent != counted || free.len() + lent + held != made || free.iter().any(|id| refs(*id as usize) > 0) {
            let free = free.len();
            return Err(format!(
                "receive buffers: {free} free + {lent} lent ({counted} counted) + {held} held of {made} made"
            ));
        }
        Ok(())
    }

    fn hold(&self) {
        let shared = self.shared();
        shared.holders.set(shared.holders.get() + 1);
    }

    /// An empty block whose tail can be written through `Slice::extend`.
    pub(crate) fn block(&self) -> Slice {
        self.hold();
        let recycled = self.shared().blocks.borrow_mut().pop();
        let meta = recycled.unwrap_or_else(|| {
            let memory = Box::leak(Box::new([0u8; BLOCK_BYTES])).as_mut_ptr();
            self.meta(Kind::Block, NonNull::new(memory).unwrap_or(NonNull::dangling()), BLOCK_BYTES)
        });
        // SAFETY: blocks in the free list have no views; this is the only one.
        let block = unsafe { meta.as_ref() };
        block.refs.set(1);
        block.used.set(0);
        Slice { meta, start: 0, end: 0 }
    }

    /// A slice that is going to wait behind `last`, if anything waits: small pieces are copied behind it, as far as its
    /// block has room. Returns what is to be put behind `last`, if anything is.
    #[inline]
    pub(crate) fn join(&self, last: Option<&mut Slice>, slice: Slice) -> Option<Slice> {
        let scarce = self.shared().scarce.get();
        if slice.len() > COPIED_BYTES_MAX || (last.is_none() && !scarce) {
            let copied = scarce && slice.len() <= COPIED_BYTES_MAX_SCARCE && slice.is_received();
            return Some(if copied { self.heap(Box::from(&*slice)) } else { slice });
        }
        let mut bytes = &*slice;
        if let Some(last) = last {
            bytes = &bytes[last.extend(bytes)..];
        }
        if bytes.is_empty() {
            return None;
        }
        let mut block = self.block();
        block.extend(bytes);
        Some(block)
    }

    /// Bytes that the caller owns, as a slice; freed with its last view.
    pub(crate) fn heap(&self, bytes: Box<[u8]>) -> Slice {
        self.hold();
        let len = bytes.len();
        let memory = NonNull::from(Box::leak(bytes)).cast::<u8>();
        let meta = self.meta(Kind::Heap, memory, len);
        // SAFETY: just made.
        unsafe { meta.as_ref() }.refs.set(1);
        Slice { meta, start: 0, end: len as u32 }
    }

    fn meta(&self, kind: Kind, memory: NonNull<u8>, capacity: usize) -> NonNull<Meta> {
        let meta =
            Meta { refs: Cell::new(0), used: Cell::new(0), capacity: capacity as u32, kind, memory, pool: self.shared };
        NonNull::from(Box::leak(Box::new(meta)))
    }

    /// Receive buffers that exist, and those of them that slices hold.
    pub(crate) fn occupancy(&self) -> (usize, usize) {
        let shared = self.shared();
        let total = shared.receive.borrow().len();
        (total, total - shared.free.borrow().len() - shared.lent.get())
    }

    /// How many in a hundred of the buffers that may exist hold something.
    pub(crate) fn percent_in_use(&self) -> usize {
        self.occupancy().1 * 100 / self.buffers_max.max(1)
    }

    /// Whether a `lend` would succeed.
    pub(crate) fn can_lend(&self) -> bool {
        let shared = self.shared();
        !shared.free.borrow().is_empty() || shared.receive.borrow().len() < self.buffers_max
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        release_shared(self.shared);
    }
}

fn release_shared(shared: NonNull<Shared>) {
    // SAFETY: the caller holds one count of `holders`.
    let holders = unsafe { shared.as_ref() }.holders.get() - 1;
    // SAFETY: as above.
    unsafe { shared.as_ref() }.holders.set(holders);
    if holders > 0 {
        return;
    }
    // SAFETY: the last holder is gone: no slice and no pool refers to the box any more. The kernel's use of receive
    // memory has ended before a pool is dropped (the driver goes first); its chunks are kept all the same, see `grow`.
    let shared = unsafe { Box::from_raw(shared.as_ptr()) };
    for meta in shared.blocks.borrow().iter() {
        // SAFETY: blocks in the free list have no views.
        unsafe { free_block(*meta) };
    }
    for meta in shared.receive.borrow().iter() {
        // SAFETY: no view is left, and metas were leaked boxes.
        drop(unsafe { Box::from_raw(meta.as_ptr()) });
    }
    for (memory, layout) in shared.chunks.borrow().iter() {
        // SAFETY: allocated in `grow` with this layout; no view of it is left, and no kernel was ever lent it.
        unsafe { std::alloc::dealloc(memory.as_ptr(), *layout) };
    }
}

/// # Safety
/// `meta` is a block without views, not in any list that is used again.
unsafe fn free_block(meta: NonNull<Meta>) {
    // SAFETY: both were leaked boxes, made in `Pool::block`; the caller vouches that nothing else refers to them.
    unsafe {
        let meta = Box::from_raw(meta.as_ptr());
        drop(Box::from_raw(meta.memory.as_ptr().cast::<[u8; BLOCK_BYTES]>()));
    }
}

impl Slice {
    fn meta(&self) -> &Meta {
        // SAFETY: this view is counted in `refs`, so the meta is alive.
        unsafe { self.meta.as_ref() }
    }

    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops the first `n` bytes from the view (all of it, if it has fewer).
    pub fn advance(&mut self, n: usize) {
        self.start += n.min(self.len()) as u32;
    }

    /// Keeps only the first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        self.end = self.start + n.min(self.len()) as u32;
    }

    /// Splits off and returns the first `n` bytes (all, if it has fewer).
    pub fn split_to(&mut self, n: usize) -> Slice {
        let mut front = self.clone();
        front.truncate(n);
        self.advance(n);
        front
    }

    /// A view of part of this view.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Slice {
        let mut part = self.clone();
        part.truncate(range.end);
        part.advance(range.start);
        part
    }

    /// It is a view of a receive buffer.
    fn is_received(&self) -> bool {
        matches!(self.meta().kind, Kind::Receive { .. })
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        // SAFETY: `start` is within the memory.
        unsafe { self.meta().memory.as_ptr().add(self.start as usize) }
    }

    /// The bytes, to be changed in place; `None` while another view of the same memory exists. What decrypts where the
    /// bytes lie needs it.
    pub fn unique(&mut self) -> Option<&mut [u8]> {
        let meta = self.meta();
        if meta.refs.get() != 1 {
            return None;
        }
        let (memory, len) = (meta.memory, self.len());
        // SAFETY: [start, end) was initialised before the view was made. This is the only view, and the kernel fills or
        // sends only what is lent or in a chain, each of which would be another; the borrow keeps it the only one.
        Some(unsafe { std::slice::from_raw_parts_mut(memory.as_ptr().add(self.start as usize), len) })
    }

    /// Room behind this view that nobody else can see: 0 unless it ends where its block was written last.
    pub(crate) fn room(&self) -> usize {
        let meta = self.meta();
        if meta.kind == Kind::Block && meta.used.get() == self.end { (meta.capacity - self.end) as usize } else { 0 }
    }

    /// Appends as many of `bytes` as there is room for and returns their number. Bytes of earlier views of the block
    /// are untouched, so it may be under way to the kernel.
    pub(crate) fn extend(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room());
        if n == 0 {
            return 0;
        }
        // SAFETY: `room` says that [end, end + n) lies in the block and that no view reaches into it: views end at or
        // before `used`, which equals `end`. The kernel reads only ranges that views have.
        unsafe {
            let target = self.meta().memory.as_ptr().add(self.end as usize);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, n);
        }
        self.end += n as u32;
        self.meta().used.set(self.end);
        n
    }
}

impl Clone for Slice {
    fn clone(&self) -> Slice {
        let refs = &self.meta().refs;
        refs.set(refs.get() + 1);
        Slice { meta: self.meta, start: self.start, end: self.end }
    }
}

impl Drop for Slice {
    #[inline]
    fn drop(&mut self) {
        let meta = self.meta();
        let refs = meta.refs.get() - 1;
        meta.refs.set(refs);
        if refs == 0 {
            give_back(self.meta);
        }
    }
}

fn give_back(meta: NonNull<Meta>) {
    // SAFETY: the last view is being dropped; the meta is alive until freed below.
    let (kind, pool, memory, capacity) = unsafe {
        let meta = meta.as_ref();
        (meta.kind, meta.pool, meta.memory, meta.capacity as usize)
    };
    // SAFETY: this slice was counted in `holders`.
    let shared = unsafe { pool.as_ref() };
    match kind {
        Kind::Receive { id } => shared.free.borrow_mut().push(id),
        Kind::Block => {
            let mut blocks = shared.blocks.borrow_mut();
            if blocks.len() < BLOCKS_KEPT_MAX {
                blocks.push(meta);
            } else {
                // SAFETY: no view is left and it is in no list.
                unsafe { free_block(meta) };
            }
        }
        // SAFETY: both were leaked boxes, made in `Pool::heap`; no view is left.
        Kind::Heap => unsafe {
            drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(memory.as_ptr(), capacity)));
            drop(Box::from_raw(meta.as_ptr()));
        },
    }
    release_shared(pool);
}

impl Deref for Slice {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: [start, end) was written (by the kernel or `extend`) before the view was made and isn't written
        // again while views exist.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) }
    }
}

impl std::fmt::Debug for Slice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Slice({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests;
