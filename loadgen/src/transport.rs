//! A connection's bytes, plain or over TLS, for both ends.
//!
//! What is sent over TLS is gathered first, so that small writes share a record, and sealed when the task is about to wait:
//! `poll_recv`, `poll_drained` and `flush` do that. What arrives is decrypted in the buffer that it was received in.

use std::cell::{Ref, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::task::Poll;

use codecs::tls::{self, ClientConfig, Negotiated, Phase, ServerConfig, Session, TlsError};
use runtime::{Core, Received, Slice, Socket};

/// Plaintext that waits for more is sealed from this size on.
const PENDING_BYTES_MAX: usize = 64 * 1024;
/// Pieces from this size on aren't copied to where they wait.
const ALONE_BYTES_MIN: usize = 16 * 1024;
/// Sealed bytes from this size on are sent from where they are.
const OWNED_BYTES_MIN: usize = 4 * 1024;

/// What a connection has to say.
pub(crate) enum Input {
    Data(Slice),
    End,
    Failed(Fault),
}

/// How a connection failed.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    Tls(TlsError),
}

pub(crate) struct Transport {
    socket: Socket,
    tls: Option<Box<Tls>>,
}

struct Tls {
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

impl Transport {
    pub(crate) fn plain(socket: Socket) -> Transport {
        Transport { socket, tls: None }
    }

    /// Begins a handshake with a server that has to prove that it is `name`.
    pub(crate) fn client(
        core: &Core,
        socket: Socket,
        config: &ClientConfig,
        name: &str,
    ) -> Result<Transport, TlsError> {
        let mut hello = Vec::new();
        let session = Session::client(config, Some(name), &mut hello)?;
        socket.send(&hello);
        Ok(Transport { socket, tls: Some(Box::new(Tls::new(core, session))) })
    }

    /// Waits for a client's handshake.
    pub(crate) fn server(core: &Core, socket: Socket, config: &ServerConfig) -> Result<Transport, TlsError> {
        let session = Session::server(config)?;
        Ok(Transport { socket, tls: Some(Box::new(Tls::new(core, session))) })
    }

    /// Ready once bytes can be exchanged.
    pub(crate) fn poll_handshake(&self) -> Poll<Result<(), Fault>> {
        match &self.tls {
            None => Poll::Ready(Ok(())),
            Some(tls) => tls.poll_handshake(&self.socket),
        }
    }

    /// What was agreed on, if this is TLS and the handshake is done.
    pub(crate) fn negotiated(&self) -> Option<Ref<'_, Negotiated>> {
        let state = self.tls.as_ref()?.state.borrow();
        Ref::filter_map(state, |state| state.session.negotiated()).ok()
    }

    /// The protocol that ALPN decided on is HTTP/2.
    pub(crate) fn is_h2(&self) -> bool {
        self.negotiated().is_some_and(|negotiated| negotiated.alpn.as_deref() == Some(b"h2"))
    }

    /// The next bytes, the end, or the failure; registers the running task if there is none of them yet.
    #[inline]
    pub(crate) fn poll_recv(&self) -> Poll<Input> {
        match &self.tls {
            None => self.socket.poll_recv().map(|received| match received {
                Received::Data(slice) => Input::Data(slice),
                Received::End => Input::End,
                Received::Failed(error) => Input::Failed(Fault::Io(error)),
            }),
            Some(tls) => tls.poll_recv(&self.socket),
        }
    }

    pub(crate) async fn recv(&self) -> Input {
        poll_fn(|_| self.poll_recv()).await
    }

    /// Puts bytes back to the front of the queue.
    pub(crate) fn unrecv(&self, slice: Slice) {
        match &self.tls {
            None => self.socket.unrecv(slice),
            Some(tls) => tls.state.borrow_mut().plain.push_front(slice),
        }
    }

    /// Whether the connection has shown an end, a failure or input.
    #[inline]
    pub(crate) fn has_input(&self) -> bool {
        match &self.tls {
            None => self.socket.has_input(),
            Some(tls) => tls.has_input(&self.socket),
        }
    }

    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) {
        match &self.tls {
            None => self.socket.send(bytes),
            Some(tls) => tls.send(&self.socket, bytes),
        }
    }

    /// Queues a slice; a large one isn't copied.
    #[inline]
    pub(crate) fn send_slice(&self, slice: Slice) {
        match &self.tls {
            None => self.socket.send_slice(slice),
            Some(tls) => tls.send(&self.socket, &slice),
        }
    }

    /// Hands on what was gathered: before waiting for anything but this connection.
    #[inline]
    pub(crate) fn flush(&self) {
        if let Some(tls) = &self.tls {
            tls.state.borrow_mut().flush(&tls.core, &self.socket);
        }
    }

    /// Bytes queued and not yet taken by the kernel.
    #[inline]
    pub(crate) fn unsent_bytes(&self) -> usize {
        let pending = self.tls.as_ref().map_or(0, |tls| tls.state.borrow().pending.len());
        self.socket.unsent_bytes() + pending
    }

    /// Ready once at most `below` bytes are queued, or the connection has failed.
    #[inline]
    pub(crate) fn poll_drained(&self, below: usize) -> Poll<io::Result<()>> {
        self.flush();
        self.socket.poll_drained(below)
    }

    pub(crate) async fn drained(&self, below: usize) -> io::Result<()> {
        poll_fn(|_| self.poll_drained(below)).await
    }

    /// Sends what is queued and ends in order.
    pub(crate) fn close_lingering(self) {
        self.say_goodbye();
        self.socket.close_lingering();
    }

    /// As dropping it, with TLS's word that this was all.
    pub(crate) fn close(self) {
        self.say_goodbye();
    }

    fn say_goodbye(&self) {
        let Some(tls) = &self.tls else { return };
        let mut state = tls.state.borrow_mut();
        state.flush(&tls.core, &self.socket);
        let State { session, sealed, .. } = &mut *state;
        session.close_notify(sealed);
        state.send_sealed(&tls.core, &self.socket);
    }
}

impl Tls {
    fn new(core: &Core, session: Session) -> Tls {
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

    fn poll_handshake(&self, socket: &Socket) -> Poll<Result<(), Fault>> {
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

    fn poll_recv(&self, socket: &Socket) -> Poll<Input> {
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
    fn has_input(&self, socket: &Socket) -> bool {
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

    fn send(&self, socket: &Socket, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        if state.pending.is_empty() && bytes.len() >= ALONE_BYTES_MIN && !state.session.is_handshaking() {
            return state.seal(&self.core, socket, bytes);
        }
        state.pending.extend_from_slice(bytes);
        if state.pending.len() >= PENDING_BYTES_MAX {
            state.flush(&self.core, socket);
        }
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
