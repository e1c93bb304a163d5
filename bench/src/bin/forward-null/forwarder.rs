//! The loop: completions in, submissions out.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd};

use bench::{Address, Options};
use io_uring::{cqueue, opcode, squeue, types};

use crate::buffers::{Buffers, GROUP};
use crate::pair::{GATHER_MAX, Gather, HIGH_WATER_BYTES, Half, LOW_WATER_BYTES, Pair, Slice};
use crate::ring::Ring;

const OP_ACCEPT: u8 = 1;
const OP_CONNECT: u8 = 2;
const OP_RECEIVE: u8 = 3;
const OP_SEND: u8 = 4;
/// Its completion says nothing: what it cancelled reports for itself.
const OP_CANCEL: u8 = 5;

const CLIENT: usize = 0;
const UPSTREAM: usize = 1;

/// One half of one pair.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    pair: usize,
    side: usize,
}

impl Place {
    fn opposite(self) -> Self {
        Self { side: self.side ^ 1, ..self }
    }
}

pub(crate) struct Forwarder {
    ring: Ring,
    buffers: Buffers,
    listener: TcpListener,
    /// Boxed: the kernel reads it while connects are in flight.
    upstream: Box<Address>,
    pairs: Vec<Pair>,
    free_pairs: Vec<usize>,
    /// Halves with bytes to send or an end to pass on, flushed once a turn.
    dirty: Vec<Place>,
    /// Halves whose receive ended for want of buffers.
    starved: Vec<(Place, u32)>,
    /// Accepting failed for want of descriptors; it starts again when a pair closes.
    accept_stalled: bool,
}

impl Forwarder {
    pub(crate) fn new(options: &Options) -> io::Result<Self> {
        let listener = bench::listen(options.listen)?;
        let ring = Ring::new()?;
        let buffers = Buffers::new(&ring, options.buffers, options.buffer_bytes)?;
        Ok(Self {
            ring,
            buffers,
            listener,
            upstream: Box::new(Address::new(options.upstream)),
            pairs: Vec::new(),
            free_pairs: Vec::new(),
            dirty: Vec::new(),
            starved: Vec::new(),
            accept_stalled: false,
        })
    }

    /// Forwards until the ring itself fails.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut batch = Vec::with_capacity(1024);
        self.arm_accept()?;
        loop {
            self.buffers.publish();
            self.ring.turn(&mut batch)?;
            for (user_data, result, flags) in batch.drain(..) {
                self.complete(user_data, result, flags)?;
            }
            self.flush_dirty()?;
            self.feed_starved()?;
        }
    }

    fn complete(&mut self, user_data: u64, result: i32, flags: u32) -> io::Result<()> {
        let (operation, generation, place) = unpack(user_data);
        match operation {
            OP_ACCEPT => return self.accepted(result, flags),
            OP_CANCEL => return Ok(()),
            _ => {}
        }
        // A buffer belongs to us from here on, whatever becomes of the pair.
        let buffer = cqueue::buffer_select(flags);
        if buffer.is_some() {
            self.buffers.taken();
        }
        let current = self.pairs.get(place.pair).is_some_and(|pair| pair.open && pair.generation == generation);
        if !current {
            if let Some(buffer) = buffer {
                self.buffers.give_back(buffer);
            }
            return Ok(());
        }
        match operation {
            OP_CONNECT => self.connected(place, result)?,
            OP_RECEIVE => self.received(place, result, buffer, cqueue::more(flags))?,
            OP_SEND => self.sent(place, result)?,
            _ => {}
        }
        self.finish_closing(place.pair)
    }

    fn accepted(&mut self, result: i32, flags: u32) -> io::Result<()> {
        if result >= 0 {
            self.open_pair(result)?;
        } else if matches!(-result, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) {
            self.accept_stalled = true;
            return Ok(());
        }
        if cqueue::more(flags) { Ok(()) } else { self.arm_accept() }
    }

    fn open_pair(&mut self, client: i32) -> io::Result<()> {
        let upstream = match self.upstream.socket(0) {
            Ok(socket) => socket.into_raw_fd(),
            Err(error) => {
                eprintln!("forward-null: refused a client: {error}");
                close(client);
                return Ok(());
            }
        };
        let number = self.free_pairs.pop().unwrap_or(self.pairs.len());
        let generation = self.pairs.get(number).map_or(0, |pair| (pair.generation + 1) & GENERATION_MASK);
        let halves = [Half::new(client), Half::new(upstream)];
        let pair = Pair { halves, generation, connecting: true, closing: false, open: true };
        match self.pairs.get_mut(number) {
            Some(place) => *place = pair,
            None => self.pairs.push(pair),
        }
        let place = Place { pair: number, side: UPSTREAM };
        let connect = opcode::Connect::new(types::Fd(upstream), self.upstream.as_ptr(), self.upstream.length());
        self.push(connect.build(), OP_CONNECT, place)
    }

    fn connected(&mut self, place: Place, result: i32) -> io::Result<()> {
        self.pairs[place.pair].connecting = false;
        if result < 0 {
            let error = io::Error::from_raw_os_error(-result);
            eprintln!("forward-null: can't connect to the upstream: {error}");
            self.close_pair(place.pair);
            return Ok(());
        }
        self.arm_receive(place)?;
        self.arm_receive(Place { side: CLIENT, ..place })
    }

    fn received(&mut self, place: Place, result: i32, buffer: Option<u16>, more: bool) -> io::Result<()> {
        let pair = &mut self.pairs[place.pair];
        pair.halves[place.side].receiving = more;
        match buffer {
            Some(buffer) if result > 0 && !pair.closing => {
                let target = &mut pair.halves[place.side ^ 1];
                target.queue.push_back(Slice { buffer, offset: 0, length: result as u32 });
                target.queued_bytes += result as usize;
                let is_full = target.queued_bytes > HIGH_WATER_BYTES;
                self.mark_dirty(place.opposite());
                if is_full {
                    self.pause(place)?;
                }
            }
            Some(buffer) => self.buffers.give_back(buffer),
            None => {}
        }
        let pair = &mut self.pairs[place.pair];
        match -result {
            0 => {
                pair.halves[place.side].ended = true;
                self.mark_dirty(place.opposite());
            }
            libc::ENOBUFS => {
                pair.halves[place.side].starved = true;
                let generation = pair.generation;
                self.starved.push((place, generation));
            }
            // Cancelled because of a full queue; whoever empties the queue arms it again.
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            error if error > 0 => self.close_pair(place.pair),
            _ => {}
        }
        self.arm_receive(place)
    }

    fn sent(&mut self, place: Place, result: i32) -> io::Result<()> {
        let pair = &mut self.pairs[place.pair];
        let half = &mut pair.halves[place.side];
        half.sending = false;
        if result < 0 {
            if !matches!(-result, libc::EINTR | libc::EAGAIN) {
                self.close_pair(place.pair);
                return Ok(());
            }
        } else {
            let buffers = &mut self.buffers;
            half.consume(result as usize, |buffer| buffers.give_back(buffer));
        }
        let has_more_to_do = !pair.halves[place.side].queue.is_empty() || source_has_ended(pair, place);
        let resumes = pair.halves[place.side].queued_bytes <= LOW_WATER_BYTES && pair.halves[place.side ^ 1].paused;
        if has_more_to_do {
            self.mark_dirty(place);
        }
        if resumes {
            self.pairs[place.pair].halves[place.side ^ 1].paused = false;
            self.arm_receive(place.opposite())?;
        }
        Ok(())
    }

    fn mark_dirty(&mut self, place: Place) {
        let half = &mut self.pairs[place.pair].halves[place.side];
        if !half.dirty {
            half.dirty = true;
            self.dirty.push(place);
        }
    }

    /// Starts a send on each dirty half that has none in flight, or passes the end of the stream on.
    fn flush_dirty(&mut self) -> io::Result<()> {
        let mut dirty = std::mem::take(&mut self.dirty);
        for place in dirty.drain(..) {
            let pair = &mut self.pairs[place.pair];
            pair.halves[place.side].dirty = false;
            if !pair.open || pair.closing || pair.halves[place.side].sending {
                continue;
            }
            if !pair.halves[place.side].queue.is_empty() {
                self.send(place)?;
            } else if source_has_ended(pair, place) {
                if !pair.halves[place.side].shut {
                    pair.halves[place.side].shut = true;
                    shut_down(pair.halves[place.side].fd, libc::SHUT_WR);
                }
                if pair.is_finished() {
                    self.close_pair(place.pair);
                    self.finish_closing(place.pair)?;
                }
            }
        }
        self.dirty = dirty;
        Ok(())
    }

    /// One send of all that is queued, up to [`GATHER_MAX`] buffers. The kernel retries short sends itself
    /// (MSG_WAITALL); if one is short all the same, the rest goes out with the next.
    fn send(&mut self, place: Place) -> io::Result<()> {
        const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let half = &mut self.pairs[place.pair].halves[place.side];
        half.sending = true;
        let fd = types::Fd(half.fd);
        let entry = if half.queue.len() == 1 {
            let slice = half.queue[0];
            // SAFETY: a slice lies within its buffer.
            let start = unsafe { self.buffers.start(slice.buffer).add(slice.offset as usize) };
            opcode::Send::new(fd, start, slice.length).flags(FLAGS).build()
        } else {
            let gather = half.gather.get_or_insert_with(Gather::new);
            let count = half.queue.len().min(GATHER_MAX);
            for (vector, slice) in gather.vectors.iter_mut().zip(&half.queue) {
                // SAFETY: as above.
                vector.iov_base = unsafe { self.buffers.start(slice.buffer).add(slice.offset as usize) }.cast();
                vector.iov_len = slice.length as usize;
            }
            gather.message.msg_iov = gather.vectors.as_mut_ptr();
            gather.message.msg_iovlen = count;
            opcode::SendMsg::new(fd, &raw const gather.message).flags(FLAGS as u32).build()
        };
        self.push(entry, OP_SEND, place)
    }

    /// Stops receiving on `place`. What arrives until the cancellation takes hold is kept.
    fn pause(&mut self, place: Place) -> io::Result<()> {
        let pair = &mut self.pairs[place.pair];
        let half = &mut pair.halves[place.side];
        if half.paused {
            return Ok(());
        }
        half.paused = true;
        if half.receiving {
            let target = pack(OP_RECEIVE, pair.generation, place);
            self.push(opcode::AsyncCancel::new(target).build(), OP_CANCEL, place)?;
        }
        Ok(())
    }

    fn arm_receive(&mut self, place: Place) -> io::Result<()> {
        let pair = &mut self.pairs[place.pair];
        let half = &mut pair.halves[place.side];
        if pair.closing || !half.may_receive() {
            return Ok(());
        }
        half.receiving = true;
        let entry = opcode::RecvMulti::new(types::Fd(half.fd), GROUP).build();
        self.push(entry, OP_RECEIVE, place)
    }

    fn arm_accept(&mut self) -> io::Result<()> {
        let accept = opcode::AcceptMulti::new(types::Fd(self.listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC);
        let entry = accept.build().user_data(pack(OP_ACCEPT, 0, Place { pair: 0, side: CLIENT }));
        // SAFETY: the entry points to no memory.
        unsafe { self.ring.push(&entry) }
    }

    /// Arms the receives that ended for want of buffers, once a good part of the buffers is back.
    fn feed_starved(&mut self) -> io::Result<()> {
        if self.starved.is_empty() || !self.buffers.is_replenished() {
            return Ok(());
        }
        self.buffers.publish();
        let mut starved = std::mem::take(&mut self.starved);
        for (place, generation) in starved.drain(..) {
            let pair = &mut self.pairs[place.pair];
            if pair.open && pair.generation == generation {
                pair.halves[place.side].starved = false;
                self.arm_receive(place)?;
            }
        }
        self.starved = starved;
        Ok(())
    }

    /// Shuts both sockets down, which completes whatever is outstanding on them.
    fn close_pair(&mut self, number: usize) {
        let pair = &mut self.pairs[number];
        if !pair.closing {
            pair.closing = true;
            for half in &pair.halves {
                shut_down(half.fd, libc::SHUT_RDWR);
            }
        }
    }

    /// Frees a closing pair once the kernel holds nothing of it.
    fn finish_closing(&mut self, number: usize) -> io::Result<()> {
        let pair = &mut self.pairs[number];
        if !pair.closing || !pair.open || pair.is_outstanding() {
            return Ok(());
        }
        pair.open = false;
        for half in &mut pair.halves {
            for slice in half.queue.drain(..) {
                self.buffers.give_back(slice.buffer);
            }
            close(half.fd);
        }
        self.free_pairs.push(number);
        if std::mem::take(&mut self.accept_stalled) { self.arm_accept() } else { Ok(()) }
    }

    fn push(&mut self, entry: squeue::Entry, operation: u8, place: Place) -> io::Result<()> {
        let generation = self.pairs[place.pair].generation;
        let entry = entry.user_data(pack(operation, generation, place));
        // SAFETY: entries point into receive buffers (never unmapped), the boxed upstream address (lives as long as the
        // forwarder) or a half's boxed gather list (its pair is only replaced when nothing is outstanding).
        unsafe { self.ring.push(&entry) }
    }
}

/// Whether all the bytes that will ever be queued on `place` have been.
fn source_has_ended(pair: &Pair, place: Place) -> bool {
    pair.halves[place.side ^ 1].ended
}

fn shut_down(fd: i32, how: i32) {
    // SAFETY: a plain system call on a descriptor that we own; failure means that the socket is gone already.
    unsafe { libc::shutdown(fd, how) };
}

fn close(fd: i32) {
    // SAFETY: we own the descriptor and forget it here.
    unsafe { libc::close(fd) };
}

const GENERATION_MASK: u32 = (1 << 24) - 1;

/// Operation (8 bits), generation (24), pair (31), side (1).
fn pack(operation: u8, generation: u32, place: Place) -> u64 {
    u64::from(operation) << 56 | u64::from(generation) << 32 | (place.pair as u64) << 1 | place.side as u64
}

fn unpack(user_data: u64) -> (u8, u32, Place) {
    let place = Place { pair: ((user_data as u32) >> 1) as usize, side: (user_data & 1) as usize };
    ((user_data >> 56) as u8, (user_data >> 32) as u32 & GENERATION_MASK, place)
}
