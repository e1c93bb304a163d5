//! The forwarder on edge-triggered epoll with non-blocking receives and sends: what a proxy of the classic design pays
//! at least.
//!
//! One receive buffer serves all connections: what was received is sent at once, and only what the target doesn't
//! take is copied aside, after which its source isn't read until all of it has gone out.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::process::ExitCode;

use bench::{Address, Options};
use clap::Parser;

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 512;
/// Receives in a row on one connection before the others get their turn.
const RECEIVES_PER_TURN_MAX: usize = 16;
/// Event number of the listener; connections are numbered by pair and side.
const LISTENER: u64 = u64::MAX;

const READABLE: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
const WRITABLE: u32 = (libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR) as u32;

const HUNG_UP: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;

const CLIENT: usize = 0;
const UPSTREAM: usize = 1;

fn main() -> ExitCode {
    let options = Options::parse();
    match Forwarder::new(&options).and_then(|mut forwarder| forwarder.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forward-epoll: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One connection.
struct Half {
    fd: RawFd,
    /// There may be something to receive: an edge came and no receive has said "nothing left" since.
    readable: bool,
    /// An edge told that the end of the stream, or an error, is among what there is to receive.
    hung_up: bool,
    /// The peer has sent all it will, and that was passed on or will be after `pending`.
    ended: bool,
    /// Bytes that the kernel didn't take yet, from `pending_start` on.
    pending: Vec<u8>,
    pending_start: usize,
}

impl Half {
    fn new(fd: RawFd) -> Self {
        Self { fd, readable: false, hung_up: false, ended: false, pending: Vec::new(), pending_start: 0 }
    }
}

/// A client connection (half 0) and its upstream connection (half 1).
struct Pair {
    halves: [Half; 2],
    open: bool,
    connected: bool,
}

struct Forwarder {
    epoll: RawFd,
    listener: TcpListener,
    upstream: Address,
    buffer: Vec<u8>,
    pairs: Vec<Pair>,
    free_pairs: Vec<usize>,
    /// Closed in this turn: reused from the next on, so that events already taken can't reach a new pair.
    closed_pairs: Vec<usize>,
    /// Halves that used up their turn with bytes left.
    unfinished: Vec<(usize, usize)>,
}

impl Forwarder {
    fn new(options: &Options) -> io::Result<Self> {
        let listener = bench::listen(options.listen)?;
        listener.set_nonblocking(true)?;
        // SAFETY: a plain system call.
        let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let forwarder = Self {
            epoll,
            listener,
            upstream: Address::new(options.upstream),
            buffer: vec![0; options.buffer_bytes as usize],
            pairs: Vec::new(),
            free_pairs: Vec::new(),
            closed_pairs: Vec::new(),
            unfinished: Vec::new(),
        };
        // Level-triggered: a client left in the queue for want of descriptors is offered again.
        forwarder.watch(forwarder.listener.as_raw_fd(), libc::EPOLLIN as u32, LISTENER)?;
        Ok(forwarder)
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
        loop {
            let timeout_ms = if self.unfinished.is_empty() { -1 } else { 0 };
            // SAFETY: `events` has room for the number given.
            let result = unsafe { libc::epoll_wait(self.epoll, events.as_mut_ptr(), EVENTS_MAX as i32, timeout_ms) };
            let count = match check(result) {
                Ok(count) => count as usize,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for (pair, side) in std::mem::take(&mut self.unfinished) {
                self.forward(pair, side);
            }
            for event in &events[..count] {
                match event.u64 {
                    LISTENER => self.accept()?,
                    place => self.ready((place >> 1) as usize, (place & 1) as usize, event.events),
                }
            }
            self.free_pairs.append(&mut self.closed_pairs);
        }
    }

    fn watch(&self, fd: RawFd, events: u32, number: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: number };
        // SAFETY: `event` lives through the call.
        check(unsafe { libc::epoll_ctl(self.epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) }).map(drop)
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let null = std::ptr::null_mut();
            // SAFETY: null pointers ask for no peer address.
            let result = unsafe { libc::accept4(self.listener.as_raw_fd(), null, std::ptr::null_mut(), flags) };
            match check(result) {
                Ok(client) => {
                    if let Err(error) = self.open_pair(client) {
                        eprintln!("forward-epoll: refused a client: {error}");
                        close(client);
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => return Ok(()),
                    Some(libc::EINTR | libc::ECONNABORTED) => {}
                    _ => return Err(error),
                },
            }
        }
    }

    fn open_pair(&mut self, client: RawFd) -> io::Result<()> {
        let upstream = self.upstream.socket(libc::SOCK_NONBLOCK)?;
        // SAFETY: the address is valid for the length given.
        let result = unsafe { libc::connect(upstream.as_raw_fd(), self.upstream.as_ptr(), self.upstream.length()) };
        if let Err(error) = check(result)
            && error.raw_os_error() != Some(libc::EINPROGRESS)
        {
            return Err(error);
        }
        let number = self.free_pairs.pop().unwrap_or(self.pairs.len());
        let events = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
        self.watch(upstream.as_raw_fd(), events, number as u64 * 2 + UPSTREAM as u64)?;
        self.watch(client, events, number as u64 * 2 + CLIENT as u64)?;
        let halves = [Half::new(client), Half::new(upstream.into_raw_fd())];
        let pair = Pair { halves, open: true, connected: false };
        match self.pairs.get_mut(number) {
            Some(place) => *place = pair,
            None => self.pairs.push(pair),
        }
        Ok(())
    }

    fn ready(&mut self, number: usize, side: usize, events: u32) {
        let pair = &mut self.pairs[number];
        if !pair.open {
            return;
        }
        if side == UPSTREAM && !pair.connected && events & WRITABLE != 0 {
            // A failed connect shows as an error of the first receive.
            pair.connected = true;
            self.forward(number, CLIENT);
        }
        if events & READABLE != 0 && self.pairs[number].open {
            let half = &mut self.pairs[number].halves[side];
            half.readable = true;
            half.hung_up |= events & HUNG_UP != 0;
            self.forward(number, side);
        }
        if events & WRITABLE != 0 && self.pairs[number].open && !self.pairs[number].halves[side].pending.is_empty() {
            match self.send_pending(number, side) {
                Ok(true) => self.forward(number, side ^ 1),
                Ok(false) => {}
                Err(_) => self.close_pair(number),
            }
        }
    }

    /// Receives from `side` and sends to the other until there is nothing left, the other takes no more, or the turn is
    /// used up.
    fn forward(&mut self, number: usize, side: usize) {
        for _ in 0..RECEIVES_PER_TURN_MAX {
            let pair = &mut self.pairs[number];
            let source = &pair.halves[side];
            let is_held = !pair.halves[side ^ 1].pending.is_empty();
            if !pair.open || !pair.connected || !source.readable || source.ended || is_held {
                return;
            }
            match receive(source.fd, &mut self.buffer) {
                Ok(0) => return self.pass_end(number, side),
                Ok(received) => match send(pair.halves[side ^ 1].fd, &self.buffer[..received]) {
                    Ok(sent) if sent < received => {
                        pair.halves[side ^ 1].pending.extend_from_slice(&self.buffer[sent..received]);
                        return;
                    }
                    // A receive that didn't fill the buffer took all there was, and what comes later brings a new edge;
                    // only the end of the stream may have had its edge already.
                    Ok(_) if received < self.buffer.len() && !pair.halves[side].hung_up => {
                        pair.halves[side].readable = false;
                        return;
                    }
                    Ok(_) => {}
                    Err(_) => return self.close_pair(number),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    pair.halves[side].readable = false;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.close_pair(number),
            }
        }
        self.unfinished.push((number, side));
    }

    fn pass_end(&mut self, number: usize, side: usize) {
        let pair = &mut self.pairs[number];
        pair.halves[side].ended = true;
        // SAFETY: the descriptor is open; failure means that the connection is gone, which the next receive reports.
        unsafe { libc::shutdown(pair.halves[side ^ 1].fd, libc::SHUT_WR) };
        if pair.halves.iter().all(|half| half.ended) {
            self.close_pair(number);
        }
    }

    /// Sends what `side` still owes; true if nothing is left.
    fn send_pending(&mut self, number: usize, side: usize) -> io::Result<bool> {
        let half = &mut self.pairs[number].halves[side];
        half.pending_start += send(half.fd, &half.pending[half.pending_start..])?;
        let is_done = half.pending_start == half.pending.len();
        if is_done {
            half.pending.clear();
            half.pending_start = 0;
        }
        Ok(is_done)
    }

    fn close_pair(&mut self, number: usize) {
        let pair = &mut self.pairs[number];
        if pair.open {
            pair.open = false;
            pair.halves.iter().for_each(|half| close(half.fd));
            self.closed_pairs.push(number);
        }
    }
}

fn receive(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is writable for the length given.
    let result = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

/// Bytes that the kernel took: none if the socket's buffer is full.
fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    loop {
        // SAFETY: the bytes are readable for the length given.
        let result = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
        if result >= 0 {
            return Ok(result as usize);
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock => return Ok(0),
            io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn close(fd: RawFd) {
    // SAFETY: we own the descriptor and forget it here.
    unsafe { libc::close(fd) };
}
