//! The epoll driver: edge-triggered readiness, one system call for each receive and send.
//!
//! Every stream is registered once for both directions. An armed receive means "read when the edge comes"; arming it
//! reads at once, because the edge may have passed while it wasn't armed. A send that would block stays in flight until
//! the next writable edge.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::{DriverCounts, accept_error_is_of_connection};
use crate::buffers::{Pool, RECEIVE_BUFFER_BYTES};
use crate::descriptor::Descriptor;
use crate::sys;
use crate::table::{Action, GENERATION_MASK, Key, Phase, SEND_PARTS_MAX, Table, flag};

const EVENTS_MAX: usize = 256;
/// Connections accepted from one listener in a turn, so that a flood of them doesn't hold up requests.
const ACCEPTS_MAX: usize = 64;
const DOORBELL: u64 = u64::MAX;

pub(crate) struct Epoll {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
    starved: Vec<Key>,
    /// Listeners that had more to accept than their turn allowed.
    unfinished: Vec<Key>,
    pub(crate) counts: DriverCounts,
}

fn tag(key: Key) -> u64 {
    u64::from(key.generation) << 32 | u64::from(key.index)
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

impl Epoll {
    pub(crate) fn new(doorbell: RawFd) -> io::Result<Epoll> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let driver = Epoll {
            epoll,
            events: Vec::with_capacity(EVENTS_MAX),
            starved: Vec::new(),
            unfinished: Vec::new(),
            counts: DriverCounts::default(),
        };
        driver.register(doorbell, libc::EPOLLIN, DOORBELL)?;
        Ok(driver)
    }

    fn register(&self, fd: RawFd, events: i32, tag: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: (events | libc::EPOLLET) as u32, u64: tag };
        // SAFETY: the event is a local that the kernel copies.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub(crate) fn enter(&mut self, timeout_us: Option<u64>) -> io::Result<()> {
        if !self.unfinished.is_empty() {
            return self.wait(0);
        }
        // Rounded up: waking before a deadline would only wait again.
        let timeout_ms = timeout_us.map_or(-1, |us| us.div_ceil(1_000).min(3_600_000) as i32);
        self.wait(timeout_ms)
    }

    fn wait(&mut self, timeout_ms: i32) -> io::Result<()> {
        self.counts.system_calls += 1;
        self.events.clear();
        let room = self.events.capacity() as i32;
        // SAFETY: the vector has capacity for `room` events.
        let n = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), room, timeout_ms) };
        if n < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        // SAFETY: the kernel has written `n` events.
        unsafe { self.events.set_len(n as usize) };
        Ok(())
    }

    pub(crate) fn reap(&mut self, table: &mut Table, pool: &Pool) -> bool {
        let mut rung = false;
        for key in std::mem::take(&mut self.unfinished) {
            if table.find(key).is_some() {
                self.accept(table, key.index);
            }
        }
        for at in 0..self.events.len() {
            let event = self.events[at];
            self.counts.completions += 1;
            if event.u64 == DOORBELL {
                rung = true;
                continue;
            }
            let key = Key { index: event.u64 as u32, generation: (event.u64 >> 32) as u32 & GENERATION_MASK };
            self.happened(table, pool, key, event.events as i32);
        }
        self.events.clear();
        rung
    }

    fn happened(&mut self, table: &mut Table, pool: &Pool, key: Key, events: i32) {
        let Some(entry) = table.find(key) else { return };
        match entry.phase {
            Phase::Listening => {
                if entry.has(flag::RECEIVING) {
                    self.accept(table, key.index);
                }
            }
            Phase::Connecting => table.connected(key.index, connect_result(table.entries[key.index as usize].fd)),
            _ => {
                let (sending, receiving) = (entry.has(flag::SENDING), entry.has(flag::RECEIVING));
                if sending && events & (libc::EPOLLOUT | libc::EPOLLERR | libc::EPOLLHUP) != 0 {
                    self.send(table, key.index);
                }
                let readable = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLERR | libc::EPOLLHUP;
                if receiving && events & readable != 0 {
                    self.receive(table, pool, key.index, events & !(libc::EPOLLIN | libc::EPOLLOUT) != 0);
                }
            }
        }
    }

    pub(crate) fn prepare(&mut self, table: &mut Table, pool: &Pool) {
        if pool.can_lend() {
            for key in self.starved.drain(..) {
                table.fed(key);
            }
        }
    }

    pub(crate) fn perform(&mut self, table: &mut Table, pool: &Pool, index: u32, action: Action) {
        match action {
            Action::Accept => {
                // A second registration is refused (EEXIST) and changes nothing.
                let key = Key { index, generation: table.entries[index as usize].generation };
                match self.register(table.entries[index as usize].fd, libc::EPOLLIN, tag(key)) {
                    Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
                        table.accept_failed(index, error.raw_os_error().unwrap_or(0));
                    }
                    _ => self.accept(table, index),
                }
            }
            Action::Connect => self.connect(table, index),
            Action::Receive { .. } => {
                if self.register_stream(table, index) {
                    // The edge that announced an end may have passed while the receive wasn't armed.
                    self.receive(table, pool, index, true);
                }
            }
            Action::StopReceiving => table.receive_stopped(index),
            Action::Send => self.send(table, index),
            Action::ShutdownWrite => sys::shutdown(table.entries[index as usize].fd, libc::SHUT_WR),
            // Nothing is ever outstanding here.
            Action::CancelAll => {}
            Action::Close { fd, reset } => {
                if reset {
                    sys::reset_on_close(fd);
                }
                sys::close(fd);
            }
        }
    }

    /// Registers an accepted stream at its first receive; a connected one is registered already. False: it failed.
    fn register_stream(&mut self, table: &mut Table, index: u32) -> bool {
        let entry = &table.entries[index as usize];
        if entry.has(flag::CONNECT_ISSUED) {
            return true;
        }
        let key = Key { index, generation: entry.generation };
        let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP;
        let result = self.register(entry.fd, events, tag(key));
        table.entries[index as usize].flags |= flag::CONNECT_ISSUED;
        match result {
            Ok(()) => true,
            Err(error) => {
                table.receive_ended(index, error.raw_os_error().unwrap_or(libc::EBADF));
                false
            }
        }
    }

    fn connect(&mut self, table: &mut Table, index: u32) {
        let entry = &table.entries[index as usize];
        let Some(remote) = entry.remote.as_deref() else { return };
        // SAFETY: pointer and length describe a valid address that the kernel copies.
        let result = unsafe { libc::connect(entry.fd, ptr::from_ref(&remote.storage).cast(), remote.len) };
        let failed = if result < 0 { errno() } else { 0 };
        self.counts.system_calls += 1;
        let key = Key { index, generation: entry.generation };
        let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP;
        if let Err(error) = self.register(entry.fd, events, tag(key)) {
            return table.connected(index, error.raw_os_error().unwrap_or(libc::EBADF));
        }
        if failed != libc::EINPROGRESS {
            table.connected(index, failed);
        }
    }

    /// `ending`: the edge announced the peer's end or a failure, which only reading on brings to light.
    fn receive(&mut self, table: &mut Table, pool: &Pool, index: u32, ending: bool) {
        loop {
            let entry = &table.entries[index as usize];
            if entry.has(flag::PAUSED) || matches!(entry.phase, Phase::Free | Phase::Dying) {
                // The edge is used up although more may be there, so the receive counts as stopped even if the pause
                // ends before the table gets round to it; arming again reads the rest.
                return table.receive_stopped(index);
            }
            let (fd, key) = (entry.fd, Key { index, generation: entry.generation });
            let Some((id, memory)) = pool.lend() else {
                self.counts.buffers_exhausted += 1;
                self.starved.push(key);
                table.starved(index);
                return table.receive_stopped(index);
            };
            self.counts.system_calls += 1;
            // SAFETY: a lent buffer has room for RECEIVE_BUFFER_BYTES and is ours until `filled` or `unlend`.
            let n = unsafe { libc::recv(fd, memory.as_ptr().cast(), RECEIVE_BUFFER_BYTES, libc::MSG_DONTWAIT) };
            if n > 0 {
                table.received(pool, index, pool.filled(id, n as usize));
                if (n as usize) < RECEIVE_BUFFER_BYTES && !ending {
                    // A short read has emptied the socket, and whatever comes later makes a new edge.
                    return;
                }
                continue;
            }
            pool.unlend(id);
            if n == 0 {
                return table.receive_ended(index, 0);
            }
            return match errno() {
                libc::EINTR => continue,
                libc::EAGAIN => {}
                failed => table.receive_ended(index, failed),
            };
        }
    }

    fn send(&mut self, table: &mut Table, index: u32) {
        loop {
            let entry = &table.entries[index as usize];
            let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; SEND_PARTS_MAX];
            let mut count = 0;
            let mut total = 0;
            for (part, slice) in parts.iter_mut().zip(entry.next_send()) {
                *part = libc::iovec { iov_base: slice.as_ptr().cast_mut().cast(), iov_len: slice.len() };
                count += 1;
                total += slice.len();
            }
            self.counts.system_calls += 1;
            let n = if count == 1 {
                // SAFETY: the part is a live slice of the chain.
                unsafe { libc::send(entry.fd, parts[0].iov_base, parts[0].iov_len, libc::MSG_NOSIGNAL) }
            } else {
                // SAFETY: all-zero bytes are a valid msghdr.
                let mut header: libc::msghdr = unsafe { std::mem::MaybeUninit::zeroed().assume_init() };
                header.msg_iov = parts.as_mut_ptr();
                header.msg_iovlen = count;
                // SAFETY: the parts are live slices of the chain; the call returns before they change.
                unsafe { libc::sendmsg(entry.fd, &raw const header, libc::MSG_NOSIGNAL) }
            };
            if n < 0 {
                match errno() {
                    libc::EINTR => continue,
                    // Stays in flight until the next writable edge.
                    libc::EAGAIN => return,
                    failed => return table.send_failed(index, failed),
                }
            }
            table.sent(index, n as usize);
            let entry = &mut table.entries[index as usize];
            if entry.send_bytes == 0 {
                return;
            }
            entry.flags |= flag::SENDING;
            if (n as usize) < total {
                // Short: the buffer is full; the writable edge is still to come.
                return;
            }
        }
    }

    fn accept(&mut self, table: &mut Table, index: u32) {
        for _ in 0..ACCEPTS_MAX {
            let entry = &table.entries[index as usize];
            if entry.has(flag::PAUSED) {
                return table.receive_stopped(index);
            }
            self.counts.system_calls += 1;
            let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            // SAFETY: null pointers: the address isn't wanted.
            let fd = unsafe { libc::accept4(entry.fd, ptr::null_mut(), ptr::null_mut(), flags) };
            if fd >= 0 {
                // SAFETY: the kernel has just made the descriptor for us; nobody else owns it.
                table.accepted(index, unsafe { Descriptor::from_kernel(fd) });
                continue;
            }
            match errno() {
                libc::EAGAIN => return,
                failed if accept_error_is_of_connection(failed) => {}
                failed => return table.accept_failed(index, failed),
            }
        }
        let generation = table.entries[index as usize].generation;
        self.unfinished.push(Key { index, generation });
    }
}

/// SO_ERROR after the first edge of a connect.
fn connect_result(fd: RawFd) -> i32 {
    let mut error = 0i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointers describe a local integer.
    let result = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, ptr::from_mut(&mut error).cast(), &raw mut len)
    };
    if result < 0 { errno() } else { error }
}
