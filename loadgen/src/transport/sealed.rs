//! The TLS of a connection: records in, plaintext out, and the other way.

use std::cell::{Ref, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::task::Poll;

use codecs::tls::{self, Negotiated, Phase, Session, TlsError};
use runtime::{Core, Received, Slice, Socket};

use super::{Fault, Input};

/// Plaintext that waits for more is sealed from this size on.
const PENDING_BYTES_MAX: usize = 64 * 1024;
/// Pieces from this size on aren't copied to where they wait.
const ALONE_BYTES_MIN: usize = 16 * 1024;
/// Sealed bytes from this size on are sent from where they are.
const OWNED_BYTES_MIN: usize = 4 * 1024;

pub(super) struct Tls {
    core: Core,
    state: RefCell<State>,
}

struct State {
    session: Session,
    /// The beginning of a record, as the session left it.
    carry: Vec<u8>,
    /// Decrypted and not yet taken.
    plain: VecDeque<Slice>,
    ranges: Vec<Range<usize>>,
    /// To be encrypted.
    pending: Vec<u8>,
    /// To be sent.
    sealed: Vec<u8>,
    ended: bool,
    failed: Option<TlsError>,
}

impl Tls {
    pub(super) fn new(core: &Core, session: Session) -> Tls {
        let state = State {
            session,
            carry: Vec::new(),
            plain: VecDeque::new(),
            ranges: Vec::new(),
            pending: Vec::new(),
            sealed: Vec::new(),
            ended: false,
            failed: None,
        };
        Tls { core: core.clone(), state: RefCell::new(state) }
    }

    pub(super) fn poll_handshake(&self, socket: &Socket) -> Poll<Result<(), Fault>> {
        let mut state = self.state.borrow_mut();
        loop {
            if let Some(error) = &state.failed {
                return Poll::Ready(Err(Fault::Tls(error.clone())));
            }
            if !state.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            match socket.poll_recv() {
                Poll::Ready(Received::Data(slice)) => state.take(&self.core, socket, slice),
                Poll::Ready(Received::End) => state.end(),
                Poll::Ready(Received::Failed(error)) => return Poll::Ready(Err(Fault::Io(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    pub(super) fn poll_recv(&self, socket: &Socket) -> Poll<Input> {
        let mut state = self.state.borrow_mut();
        loop {
            if let Some(slice) = state.plain.pop_front() {
                return Poll::Ready(Input::Data(slice));
            }
            if let Some(error) = &state.failed {
                return Poll::Ready(Input::Failed(Fault::Tls(error.clone())));
            }
            if state.ended {
                return Poll::Ready(Input::End);
            }
            match socket.poll_recv() {
                Poll::Ready(Received::Data(slice)) => state.take(&self.core, socket, slice),
                Poll::Ready(Received::End) => state.end(),
                Poll::Ready(Received::Failed(error)) => return Poll::Ready(Input::Failed(Fault::Io(error))),
                Poll::Pending => {
                    state.flush(&self.core, socket);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Tickets for later sessions come on an idle connection too: they are taken here, and are no input.
    pub(super) fn has_input(&self, socket: &Socket) -> bool {
        let mut state = self.state.borrow_mut();
        while state.plain.is_empty() && !state.ended && state.failed.is_none() {
            match socket.try_recv() {
                Some(Received::Data(slice)) => state.take(&self.core, socket, slice),
                Some(Received::End | Received::Failed(_)) => return true,
                None => return false,
            }
        }
        true
    }

    pub(super) fn send(&self, socket: &Socket, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        if state.pending.is_empty() && bytes.len() >= ALONE_BYTES_MIN && !state.session.is_handshaking() {
            return state.seal(&self.core, socket, bytes);
        }
        state.pending.extend_from_slice(bytes);
        if state.pending.len() >= PENDING_BYTES_MAX {
            state.flush(&self.core, socket);
        }
    }

    pub(super) fn unrecv(&self, slice: Slice) {
        self.state.borrow_mut().plain.push_front(slice);
    }

    /// Bytes that wait to be sealed.
    pub(super) fn pending_bytes(&self) -> usize {
        self.state.borrow().pending.len()
    }

    pub(super) fn negotiated(&self) -> Option<Ref<'_, Negotiated>> {
        Ref::filter_map(self.state.borrow(), |state| state.session.negotiated()).ok()
    }

    pub(super) fn flush(&self, socket: &Socket) {
        self.state.borrow_mut().flush(&self.core, socket);
    }

    /// Sends what is pending, and the word that this was all.
    pub(super) fn say_goodbye(&self, socket: &Socket) {
        let state = &mut *self.state.borrow_mut();
        state.flush(&self.core, socket);
        state.session.close_notify(&mut state.sealed);
        state.send_sealed(&self.core, socket);
    }
}

impl State {
    /// Decrypts what was received.
    fn take(&mut self, core: &Core, socket: &Socket, mut slice: Slice) {
        while !self.carry.is_empty() && !slice.is_empty() && self.failed.is_none() {
            // What the record lacks and no more, so that those behind it can be decrypted where they are.
            let missing = match tls::missing_bytes(&self.carry) {
                0 => slice.len(),
                missing => missing.min(slice.len()),
            };
            self.carry.extend_from_slice(&slice[..missing]);
            slice.advance(missing);
            if tls::missing_bytes(&self.carry) == 0 {
                let mut carry = std::mem::take(&mut self.carry);
                let consumed = self.decrypt(&mut carry);
                let State { ranges, plain, .. } = self;
                plain.extend(ranges.drain(..).map(|range| core.own(carry[range].into())));
                carry.drain(..consumed);
                self.carry = carry;
            }
        }
        if !slice.is_empty() && self.failed.is_none() {
            self.take_in_place(core, slice);
        }
        self.send_sealed(core, socket);
        if !self.session.is_handshaking() {
            self.flush(core, socket);
        }
    }

    fn take_in_place(&mut self, core: &Core, mut slice: Slice) {
        let Some(bytes) = slice.unique() else {
            let mut copy = slice.to_vec();
            let consumed = self.decrypt(&mut copy);
            let State { ranges, plain, .. } = self;
            plain.extend(ranges.drain(..).map(|range| core.own(copy[range].into())));
            self.carry.extend_from_slice(&copy[consumed..]);
            return;
        };
        let consumed = self.decrypt(bytes);
        let State { ranges, plain, carry, .. } = self;
        carry.extend_from_slice(&slice[consumed..]);
        plain.extend(ranges.drain(..).filter(|range| !range.is_empty()).map(|range| slice.slice(range)));
    }

    /// Leaves in `ranges` where plaintext is; returns how much was consumed.
    fn decrypt(&mut self, bytes: &mut [u8]) -> usize {
        match self.session.receive(bytes, &mut self.ranges, &mut self.sealed) {
            Ok(received) => {
                self.ended |= received.phase == Phase::PeerClosed;
                received.consumed
            }
            Err(error) => {
                self.failed = Some(error);
                bytes.len()
            }
        }
    }

    /// The peer's bytes are over.
    fn end(&mut self) {
        match self.session.end_of_input() {
            Ok(()) => self.ended = true,
            Err(error) => self.failed = Some(error),
        }
    }

    fn flush(&mut self, core: &Core, socket: &Socket) {
        if self.pending.is_empty() || self.session.is_handshaking() {
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        self.seal(core, socket, &pending);
        pending.clear();
        self.pending = pending;
    }

    fn seal(&mut self, core: &Core, socket: &Socket, plaintext: &[u8]) {
        if let Err(error) = self.session.encrypt(plaintext, &mut self.sealed) {
            self.failed.get_or_insert(error);
        }
        self.send_sealed(core, socket);
    }

    fn send_sealed(&mut self, core: &Core, socket: &Socket) {
        if self.sealed.len() >= OWNED_BYTES_MIN {
            socket.send_slice(core.own(std::mem::take(&mut self.sealed).into_boxed_slice()));
        } else if !self.sealed.is_empty() {
            socket.send(&self.sealed);
            self.sealed.clear();
        }
    }
}
