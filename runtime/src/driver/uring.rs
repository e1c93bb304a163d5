//! The io_uring driver.
//!
//! One ring a core, owned by its thread: SINGLE_ISSUER and DEFER_TASKRUN, so completions are posted only while the
//! core enters the kernel and never interrupt it. Every enter carries GETEVENTS: a deferred ring that is entered
//! without it doesn't run its completion work and stalls.
//!
//! Receives are multishot and take their buffers from a ring of lent ones, so an idle connection holds no buffer.
//! `user_data` is op (8 bits), generation (24), index (32); a completion whose generation is stale finds nobody, gives
//! its buffer back, and closes a descriptor that it carries.
//!
//! Unless told otherwise a ring is restricted for good to the operations below, before it takes the first: whoever gets
//! the process to queue another one, to open a file say, gets EACCES.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, register::Restriction, squeue};

use super::{DriverCounts, completion};
use crate::buffers::{Pool, RECEIVE_BUFFER_BYTES};
use crate::descriptor::Descriptor;
use crate::sys;
use crate::table::{Action, Entry, GENERATION_MASK, Key, SEND_PARTS_MAX, Table, flag};

const SUBMISSIONS: u32 = 1024;
const COMPLETIONS: u32 = 8192;
const BUFFER_GROUP: u16 = 0;
/// Places in the buffer ring: the most buffers that are lent at once.
const LENT_MAX: u16 = 1024;
/// Buffers lent at first; doubled whenever the kernel finds none.
const LENT_START: u16 = 64;

/// All that is ever submitted. Variants of an operation share its number: a multishot accept is an accept.
const OPERATIONS: [u8; 8] = [
    opcode::Accept::CODE,
    opcode::Connect::CODE,
    opcode::Recv::CODE,
    opcode::Send::CODE,
    opcode::SendMsg::CODE,
    opcode::PollAdd::CODE,
    opcode::AsyncCancel::CODE,
    opcode::Close::CODE,
];
/// All flags that an entry may have.
const ENTRY_FLAGS: squeue::Flags = squeue::Flags::BUFFER_SELECT.union(squeue::Flags::SKIP_SUCCESS);

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Op {
    Accept = 1,
    Connect = 2,
    Receive = 3,
    Send = 4,
    Doorbell = 5,
    /// Results of no interest (cancel, close).
    Ignored = 6,
}

impl Op {
    fn of(user_data: u64) -> Option<Op> {
        [Op::Accept, Op::Connect, Op::Receive, Op::Send, Op::Doorbell, Op::Ignored]
            .into_iter()
            .find(|op| *op as u64 == user_data >> 56)
    }
}

/// What a socket's receiving is to the kernel.
fn receiving_op(entry: &Entry) -> Op {
    if entry.has(flag::LISTENER) { Op::Accept } else { Op::Receive }
}

fn user_data(op: Op, index: u32, generation: u32) -> u64 {
    (op as u64) << 56 | u64::from(generation & GENERATION_MASK) << 32 | u64::from(index)
}

/// Header and parts of a gathered send; boxed, so that it stays put while the kernel reads it.
struct Gathered {
    header: libc::msghdr,
    parts: [libc::iovec; SEND_PARTS_MAX],
}

pub(crate) struct Uring {
    ring: IoUring,
    /// Number under which the ring's descriptor is registered, which saves a look-up at each enter.
    registered: Option<u32>,
    buffers: BufferRing,
    #[expect(clippy::vec_box, reason = "the kernel reads the headers, so they must not move when the vector grows")]
    gathered: Vec<Box<Gathered>>,
    gathered_free: Vec<u32>,
    /// Sockets that found no buffer.
    starved: VecDeque<Key>,
    doorbell: RawFd,
    doorbell_armed: bool,
    /// Prepared and not yet handed to the kernel.
    unsubmitted: u32,
    pub(crate) counts: DriverCounts,
}

/// The ring of buffers lent to the kernel, shared memory of which we write the entries and the tail.
struct BufferRing {
    memory: NonNull<BufRingEntry>,
    bytes: usize,
    tail: u16,
    lent: u16,
    wanted: u16,
    exhausted_before: u64,
}

impl BufferRing {
    fn new(ring: &IoUring) -> io::Result<BufferRing> {
        let bytes = size_of::<BufRingEntry>() * LENT_MAX as usize;
        // SAFETY: a fresh anonymous mapping.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or_else(|| io::Error::other("mmap gave no memory"))?;
        let buffers = BufferRing { memory, bytes, tail: 0, lent: 0, wanted: LENT_START, exhausted_before: 0 };
        // SAFETY: the mapping is page-aligned, has room for LENT_MAX entries and lives until `Drop`, which runs after
        // the ring is closed (field order in `Uring`).
        unsafe { ring.submitter().register_buf_ring_with_flags(memory.as_ptr() as u64, LENT_MAX, BUFFER_GROUP, 0) }?;
        Ok(buffers)
    }

    /// Wants fewer buffers after a time in which the kernel never ran out: what is over runs off as it is used.
    fn relax(&mut self, exhausted: u64) {
        if exhausted == self.exhausted_before {
            self.wanted = (self.wanted / 2).max(LENT_START);
        }
        self.exhausted_before = exhausted;
    }

    /// Lends buffers until `wanted` are with the kernel.
    fn top_up(&mut self, pool: &Pool) {
        let before = self.tail;
        while self.lent < self.wanted {
            let Some((id, memory)) = pool.lend() else { break };
            // SAFETY: the index is below LENT_MAX; the kernel reads an entry only after the tail below has passed it.
            let entry = unsafe { &mut *self.memory.as_ptr().add((self.tail & (LENT_MAX - 1)) as usize) };
            entry.set_addr(memory.as_ptr() as u64);
            entry.set_len(RECEIVE_BUFFER_BYTES as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            self.lent += 1;
        }
        if self.tail != before {
            // SAFETY: the tail lies in the mapping (it shares memory with the first entry's unused field).
            let tail = unsafe { BufRingEntry::tail(self.memory.as_ptr()).cast::<AtomicU16>() };
            // SAFETY: as above; aligned for a u16, and the kernel only reads it.
            unsafe { &*tail }.store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.bytes) };
    }
}

/// Sets up a ring with the best flags that the kernel takes. It takes nothing before it is enabled: see [`enable`].
fn build() -> io::Result<IoUring> {
    let mut last = io::Error::other("no flags tried");
    for (no_sqarray, defer) in [(true, true), (false, true), (false, false)] {
        let mut builder = IoUring::builder();
        builder.setup_r_disabled().setup_submit_all().setup_clamp().setup_cqsize(COMPLETIONS).dontfork();
        if no_sqarray {
            builder.setup_no_sqarray();
        }
        if defer {
            builder.setup_single_issuer().setup_defer_taskrun();
        } else {
            builder.setup_coop_taskrun();
        }
        match builder.build(SUBMISSIONS) {
            Ok(ring) => return Ok(ring),
            Err(error) => {
                // Only "unknown flag" is worth another try.
                let retry = error.raw_os_error() == Some(libc::EINVAL);
                last = error;
                if !retry {
                    break;
                }
            }
        }
    }
    Err(last)
}

/// Lets a ring begin. `restrict`: to [`OPERATIONS`] alone, and nothing can be registered with it any more.
fn enable(ring: &IoUring, restrict: bool) -> io::Result<()> {
    if restrict {
        let mut rules: Vec<Restriction> = OPERATIONS.into_iter().map(Restriction::sqe_op).collect();
        rules.push(Restriction::sqe_flags_allowed(ENTRY_FLAGS.bits()));
        ring.submitter().register_restrictions(&mut rules)?;
    }
    ring.submitter().register_enable_rings()
}

/// Sets up a trial ring and receives one byte through a multishot receive from a buffer ring, since a kernel may know
/// the opcode and not the flag. The error is fit for a log line.
pub(crate) fn probe(restrict: bool) -> Result<(), String> {
    let explain = |error: &io::Error| match error.raw_os_error() {
        Some(libc::ENOSYS) => "the kernel has no io_uring".to_owned(),
        Some(libc::EPERM | libc::EACCES) => match std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled") {
            Ok(value) if value.trim() != "0" => {
                format!("the sysctl kernel.io_uring_disabled is {}", value.trim())
            }
            _ => "io_uring_setup was refused, probably by a seccomp profile".to_owned(),
        },
        Some(libc::ENOMEM) => "no memory for a ring (RLIMIT_MEMLOCK?)".to_owned(),
        _ => format!("a trial ring failed: {error}"),
    };
    let ring = build().map_err(|error| explain(&error))?;
    trial(ring, restrict)
        .map_err(|error| format!("this kernel's io_uring is too old (6.1 or later is needed): {error}"))
}

fn trial(mut ring: IoUring, restrict: bool) -> io::Result<()> {
    let pool = Pool::new(1);
    let mut buffers = BufferRing::new(&ring)?;
    enable(&ring, restrict)?;
    buffers.wanted = 1;
    buffers.top_up(&pool);
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    io::Write::write_all(&mut ours, b"x")?;
    let receive = opcode::RecvMulti::new(Fd(theirs.as_raw_fd()), BUFFER_GROUP).build();
    // SAFETY: the descriptors and the buffer outlive the ring's use of them: the ring is dropped first.
    unsafe { ring.submission().push(&receive) }.map_err(io::Error::other)?;
    ring.submitter().submit_and_wait(1)?;
    let completion = ring.completion().next().ok_or_else(|| io::Error::other("no completion"))?;
    drop(ring);
    match completion.result() {
        1 if cqueue::more(completion.flags()) => Ok(()),
        n if n < 0 => Err(io::Error::from_raw_os_error(-n)),
        n => Err(io::Error::other(format!("a multishot receive gave {n}, flags {:#x}", completion.flags()))),
    }
}

impl Uring {
    /// `restrict`: to the operations that this driver uses.
    pub(crate) fn new(doorbell: RawFd, restrict: bool) -> io::Result<Uring> {
        let ring = build()?;
        let buffers = BufferRing::new(&ring)?;
        let registered = register_ring_descriptor(ring.as_raw_fd());
        enable(&ring, restrict)?;
        Ok(Uring {
            ring,
            registered,
            buffers,
            gathered: Vec::new(),
            gathered_free: Vec::new(),
            starved: VecDeque::new(),
            doorbell,
            doorbell_armed: false,
            unsubmitted: 0,
            counts: DriverCounts::default(),
        })
    }

    pub(crate) fn prepare(&mut self, table: &mut Table, pool: &Pool) {
        self.buffers.top_up(pool);
        // No more than there are buffers for, oldest first: the others would only starve again, behind these.
        let fed = self.starved.len().min(self.buffers.lent as usize);
        for key in self.starved.drain(..fed) {
            table.fed(key);
        }
        if !self.doorbell_armed {
            self.doorbell_armed = true;
            let poll = opcode::PollAdd::new(Fd(self.doorbell), libc::POLLIN as u32).multi(true);
            self.push(&poll.build().user_data(user_data(Op::Doorbell, 0, 0)));
        }
    }

    /// Once a second.
    pub(crate) fn relax(&mut self) {
        self.buffers.relax(self.counts.buffers_exhausted);
    }

    /// Queues one entry; when the queue is full, the kernel takes what is there first.
    #[inline]
    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: whatever an entry points at belongs to the table, to `gathered` or to the buffer ring, each of
            // which keeps it until the operation's last completion.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                self.unsubmitted += 1;
                return;
            }
            // Taking without waiting can only fail for a moment (EAGAIN, EBUSY, EINTR); the entries stay queued.
            let _ = self.enter_kernel(0, Some(0));
        }
    }

    pub(crate) fn perform(&mut self, table: &mut Table, index: u32, action: Action) {
        let (fd, generation) = {
            let entry = &table.entries[index as usize];
            (Fd(entry.fd), entry.generation)
        };
        let tag = |op| user_data(op, index, generation);
        let entry = match action {
            Action::Accept => opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build().user_data(tag(Op::Accept)),
            Action::Receive { once: false } => {
                opcode::RecvMulti::new(fd, BUFFER_GROUP).build().user_data(tag(Op::Receive))
            }
            Action::Receive { once: true } => opcode::Recv::new(fd, ptr::null_mut(), RECEIVE_BUFFER_BYTES as u32)
                .buf_group(BUFFER_GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT)
                .user_data(tag(Op::Receive)),
            Action::Connect => {
                let Some(remote) = table.entries[index as usize].remote.as_deref() else { return };
                let address = ptr::from_ref(&remote.storage).cast();
                opcode::Connect::new(fd, address, remote.len).build().user_data(tag(Op::Connect))
            }
            Action::Send => self.send(table, index).user_data(tag(Op::Send)),
            Action::StopReceiving => return self.cancel(tag(receiving_op(&table.entries[index as usize]))),
            Action::CancelAll => {
                let entry = &table.entries[index as usize];
                let in_flight = [
                    (entry.has(flag::RECEIVING), receiving_op(entry)),
                    (entry.has(flag::SENDING), Op::Send),
                    (entry.is_connecting(), Op::Connect),
                ];
                for (_, op) in in_flight.into_iter().filter(|(is_in_flight, _)| *is_in_flight) {
                    self.cancel(tag(op));
                }
                return;
            }
            Action::ShutdownWrite => return sys::shutdown(fd.0, libc::SHUT_WR),
            Action::Close { fd, reset } => {
                if reset {
                    sys::reset_on_close(fd);
                }
                self.push(&opcode::Close::new(Fd(fd)).build().flags(squeue::Flags::SKIP_SUCCESS).user_data(user_data(
                    Op::Ignored,
                    0,
                    0,
                )));
                return;
            }
        };
        table.entries[index as usize].outstanding += 1;
        self.push(&entry);
    }

    /// Cancels one operation. By its tag, which the kernel finds in a hash table: to cancel all of a descriptor it looks at
    /// everything that the ring waits for.
    fn cancel(&mut self, tag: u64) {
        let entry = opcode::AsyncCancel::new(tag).build().flags(squeue::Flags::SKIP_SUCCESS);
        self.push(&entry.user_data(user_data(Op::Ignored, 0, 0)));
    }

    /// One send of what comes next in the chain. MSG_WAITALL: the kernel goes on by itself after a short send.
    fn send(&mut self, table: &mut Table, index: u32) -> squeue::Entry {
        let entry = &mut table.entries[index as usize];
        let fd = Fd(entry.fd);
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        entry.send_slot = u32::MAX;
        if let (Some(only), 1) = (entry.send.front(), entry.send.len()) {
            return opcode::Send::new(fd, only.as_ptr(), only.len() as u32).flags(flags).build();
        }
        let slot = self.gathered_free.pop().unwrap_or_else(|| {
            // SAFETY: all-zero bytes are valid for both structs.
            self.gathered.push(Box::new(unsafe { MaybeUninit::zeroed().assume_init() }));
            (self.gathered.len() - 1) as u32
        });
        entry.send_slot = slot;
        let gathered = &mut *self.gathered[slot as usize];
        let mut count = 0;
        for (part, slice) in gathered.parts.iter_mut().zip(entry.next_send()) {
            *part = libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() };
            count += 1;
        }
        gathered.header.msg_iov = gathered.parts.as_mut_ptr();
        gathered.header.msg_iovlen = count;
        opcode::SendMsg::new(fd, ptr::from_ref(&gathered.header)).flags(flags as u32).build()
    }

    pub(crate) fn has_completions(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    pub(crate) fn reap(&mut self, table: &mut Table, pool: &Pool, budget: usize) -> bool {
        let mut rung = false;
        for _ in 0..budget {
            let Some(completion) = self.ring.completion().next() else { break };
            self.counts.completions += 1;
            rung |= self.complete(table, pool, &completion);
        }
        self.counts.overflows = u64::from(self.ring.completion().overflow());
        rung
    }

    fn complete(&mut self, table: &mut Table, pool: &Pool, completion: &cqueue::Entry) -> bool {
        let tag = completion.user_data();
        let key = Key { index: tag as u32, generation: (tag >> 32) as u32 & GENERATION_MASK };
        let (result, flags) = (completion.result(), completion.flags());
        let more = cqueue::more(flags);
        match Op::of(tag) {
            Some(Op::Receive) => self.complete_receive(table, pool, key, result, flags),
            Some(Op::Send) => self.complete_send(table, key, result),
            Some(Op::Accept) => {
                // SAFETY: the kernel has just made the descriptor for us; nobody else owns it.
                let accepted = (result >= 0).then(|| unsafe { Descriptor::from_kernel(result) });
                completion::accept(table, key, accepted.ok_or(-result), more);
            }
            Some(Op::Connect) => completion::connect(table, key, result),
            Some(Op::Doorbell) => {
                self.doorbell_armed = more;
                return true;
            }
            Some(Op::Ignored) | None => {}
        }
        false
    }

    fn complete_receive(&mut self, table: &mut Table, pool: &Pool, key: Key, result: i32, flags: u32) {
        // A buffer is taken back first, whoever it was for: ids are global and must never get lost.
        let slice = cqueue::buffer_select(flags).map(|id| {
            self.buffers.lent -= 1;
            pool.filled(id, result.max(0) as usize)
        });
        if completion::receive(table, pool, key, result, slice, cqueue::more(flags)) {
            self.counts.buffers_exhausted += 1;
            self.buffers.wanted = (self.buffers.wanted * 2).min(LENT_MAX);
            self.starved.push_back(key);
        }
    }

    fn complete_send(&mut self, table: &mut Table, key: Key, result: i32) {
        if let Some(entry) = table.find(key)
            && entry.send_slot != u32::MAX
        {
            self.gathered_free.push(entry.send_slot);
        }
        completion::send(table, key, result);
    }

    pub(crate) fn enter(&mut self, timeout_us: Option<u64>) -> io::Result<()> {
        let want = u32::from(timeout_us != Some(0));
        match self.enter_kernel(want, timeout_us) {
            Ok(()) => Ok(()),
            // Timed out, interrupted, or the kernel wants completions reaped before it takes more: all of them end
            // with another turn of the loop, and nothing that was queued is lost.
            Err(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
            Err(errno) => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn enter_kernel(&mut self, want: u32, timeout_us: Option<u64>) -> Result<(), i32> {
        const GETEVENTS: u32 = 1;
        const EXT_ARG: u32 = 1 << 3;
        const REGISTERED_RING: u32 = 1 << 4;
        /// io_uring_getevents_arg of the kernel's interface.
        #[repr(C)]
        struct Argument {
            sigmask: u64,
            sigmask_size: u32,
            min_wait_us: u32,
            timeout: u64,
        }
        self.ring.submission().sync();
        let timeout_us = timeout_us.unwrap_or(3_600_000_000);
        let timeout = libc::timespec {
            tv_sec: (timeout_us / 1_000_000) as i64,
            tv_nsec: (timeout_us % 1_000_000 * 1_000) as i64,
        };
        let argument =
            Argument { sigmask: 0, sigmask_size: 8, min_wait_us: 0, timeout: ptr::from_ref(&timeout) as u64 };
        let (fd, registered) = match self.registered {
            Some(number) => (number as i32, REGISTERED_RING),
            None => (self.ring.as_raw_fd(), 0),
        };
        let (arguments, size, extended) = match want {
            0 => (ptr::null(), 0, 0),
            _ => (ptr::from_ref(&argument), size_of::<Argument>(), EXT_ARG),
        };
        let flags = GETEVENTS | extended | registered;
        self.counts.system_calls += 1;
        // SAFETY: the argument and the timeout live until the call returns; the entries were queued by `push`.
        let taken =
            unsafe { libc::syscall(libc::SYS_io_uring_enter, fd, self.unsubmitted, want, flags, arguments, size) };
        if taken < 0 {
            // With entries to submit, errors come back only when none was taken... except for timing out, which can
            // only be waited for after all of them were.
            let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
            self.unsubmitted = self.ring.submission().len() as u32;
            return Err(errno);
        }
        self.unsubmitted = self.unsubmitted.saturating_sub(taken as u32);
        Ok(())
    }
}

/// IORING_REGISTER_RING_FDS; without it the plain descriptor does.
fn register_ring_descriptor(fd: RawFd) -> Option<u32> {
    const REGISTER_RING_FDS: u32 = 20;
    #[repr(C)]
    struct Update {
        offset: u32,
        reserved: u32,
        data: u64,
    }
    let mut update = Update { offset: u32::MAX, reserved: 0, data: fd as u64 };
    // SAFETY: one struct of the kernel's layout, which it fills in.
    let done = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_RING_FDS, &raw mut update, 1) };
    (done == 1).then_some(update.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbell::Doorbell;

    /// What a ring answers to one entry.
    fn answer(ring: &mut IoUring, entry: &squeue::Entry) -> i32 {
        // SAFETY: the entries of these tests point at static memory or at nothing.
        unsafe { ring.submission().push(entry) }.expect("there is room");
        ring.submitter().submit_and_wait(1).expect("it is taken");
        ring.completion().next().expect("an answer").result()
    }

    fn open_a_file() -> squeue::Entry {
        opcode::OpenAt::new(Fd(libc::AT_FDCWD), c"/".as_ptr()).flags(libc::O_DIRECTORY | libc::O_CLOEXEC).build()
    }

    #[test]
    fn a_restricted_ring_refuses_what_the_driver_does_not_use() {
        let bell = Doorbell::new().expect("a doorbell");
        let mut driver = Uring::new(bell.fd(), true).expect("a ring");
        assert_eq!(answer(&mut driver.ring, &open_a_file()), -libc::EACCES);
        assert_eq!(answer(&mut driver.ring, &opcode::Nop::new().build()), -libc::EACCES);
        let poll = opcode::PollAdd::new(Fd(bell.fd()), libc::POLLOUT as u32).build();
        assert_eq!(answer(&mut driver.ring, &poll.clone().flags(squeue::Flags::ASYNC)), -libc::EACCES, "a flag");
        assert_eq!(answer(&mut driver.ring, &poll), i32::from(libc::POLLOUT), "and goes on with what it does use");
        let registering = driver.ring.submitter().register_files(&[bell.fd()]).expect_err("refused");
        assert_eq!(registering.raw_os_error(), Some(libc::EACCES));
    }

    #[test]
    fn an_unrestricted_ring_takes_every_operation() {
        let bell = Doorbell::new().expect("a doorbell");
        let mut driver = Uring::new(bell.fd(), false).expect("a ring");
        let opened = answer(&mut driver.ring, &open_a_file());
        assert!(opened >= 0, "{opened}");
        sys::close(opened);
    }
}
