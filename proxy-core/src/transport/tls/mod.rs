//! A connection whose bytes are encrypted.
//!
//! Receiving decrypts only when it is asked for bytes, one received slice at a time and where it lies, so the socket's
//! bounds are those of a plain connection. Sending gathers what is small: a head and a short body become one record, which
//! is made when a record's worth is there or when the owner is about to wait. An idle connection holds no buffer.
//!
//! An end of the peer's bytes without its word that they are complete (close_notify) is a failure, not an end: whatever
//! has a length of its own is whole all the same, and whatever hasn't may have been cut by anybody on the way.

mod handshake;
mod receive;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::Poll;

use codecs::tls::{Session, TlsError};
use runtime::{Core, Received, Slice, Socket, Watcher};

pub(crate) use handshake::Refused;

use crate::tls::TlsFacts;

/// The plaintext of a full record: as much as is gathered.
const RECORD_BYTES: usize = 16 * 1024;
/// What is left of a large piece behind whole records waits for more if it is shorter.
const REMNANT_BYTES_MAX: usize = 4 * 1024;
/// Records of so much plaintext are copied into the socket's blocks; larger ones are handed over.
const COPIED_BYTES_MAX: usize = 2 * 1024;
/// Output buffers kept for reuse by a core's connections.
const SPARES_MAX: usize = 64;

/// Hears of failures after the handshake, to count them.
pub(crate) type Failures = Rc<dyn Fn(&TlsError)>;

pub(crate) struct TlsTransport {
    core: Core,
    state: RefCell<State>,
    /// Who looks after the connection while it is idle.
    watcher: Cell<Option<Watcher>>,
    facts: Rc<TlsFacts>,
    failures: Failures,
    socket: Socket,
}

struct State {
    session: Session,
    /// The beginning of a record whose rest hasn't come.
    partial: Vec<u8>,
    /// Decrypted, not yet taken.
    plain: VecDeque<Slice>,
    /// Sent by the owner, not yet encrypted.
    out: Vec<u8>,
    input: Input,
    /// We have said that we send no more.
    closed: bool,
}

/// How the peer's bytes go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Input {
    Open,
    /// The peer has said that it sends no more.
    Ended,
    /// They ended without a word.
    Truncated,
    /// Nothing goes in or out any more.
    Broken,
}

/// What calls need for their duration; one a core.
#[derive(Default)]
struct Scratch {
    spans: Vec<Range<usize>>,
    records: Vec<u8>,
    spares: Vec<Vec<u8>>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = const {
        Cell::new(Scratch { spans: Vec::new(), records: Vec::new(), spares: Vec::new() })
    };
}

/// A thread that is ending has none left; then it is made anew.
fn with_scratch<T>(run: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    scratch.spans.clear();
    scratch.records.clear();
    let result = run(&mut scratch);
    let _ = SCRATCH.try_with(|place| place.set(scratch));
    result
}

impl TlsTransport {
    pub(super) fn facts(&self) -> &Rc<TlsFacts> {
        &self.facts
    }

    pub(super) fn poll_recv(&self) -> Poll<Received> {
        self.watcher.set(None);
        let mut state = self.state.borrow_mut();
        loop {
            if let Some(received) = self.ready(&mut state) {
                return Poll::Ready(received);
            }
            match self.socket.poll_recv() {
                Poll::Ready(received) => self.take(&mut state, received),
                Poll::Pending => {
                    self.seal(&mut state);
                    return Poll::Pending;
                }
            }
        }
    }

    pub(super) fn try_recv(&self) -> Option<Received> {
        let mut state = self.state.borrow_mut();
        loop {
            if let Some(received) = self.ready(&mut state) {
                return Some(received);
            }
            let received = self.socket.try_recv()?;
            self.take(&mut state, received);
        }
    }

    pub(super) fn unrecv(&self, slice: Slice) {
        if !slice.is_empty() {
            self.state.borrow_mut().plain.push_front(slice);
        }
    }

    /// Takes in what carries no data (tickets, new keys), so that an idle connection isn't taken for a broken one.
    pub(super) fn has_input(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let mut taken = false;
        loop {
            if !state.plain.is_empty() || state.input != Input::Open {
                return true;
            }
            match self.socket.try_recv() {
                Some(received) => self.take(&mut state, received),
                None => break,
            }
            taken = true;
        }
        self.seal(&mut state);
        if taken && let Some(watcher) = self.watcher.get() {
            self.socket.watch_by(watcher);
        }
        false
    }

    pub(super) fn poll_readable(&self) -> Poll<()> {
        if self.has_input() {
            return Poll::Ready(());
        }
        self.watch();
        Poll::Pending
    }

    pub(super) fn send(&self, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        if state.closed || state.input == Input::Broken || bytes.is_empty() {
            return;
        }
        if state.out.capacity() == 0 {
            state.out = with_scratch(|scratch| scratch.spares.pop().unwrap_or_default());
        }
        if state.out.len() + bytes.len() > RECORD_BYTES {
            return self.seal_with(&mut state, bytes);
        }
        state.out.extend_from_slice(bytes);
    }

    /// What waits to be encrypted counts as it is.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.socket.unsent_bytes() + self.state.borrow().out.len()
    }

    pub(super) fn poll_drained(&self, below: usize) -> Poll<io::Result<()>> {
        let mut state = self.state.borrow_mut();
        if let Some(error) = broken(&state) {
            return Poll::Ready(Err(error));
        }
        if state.out.len() > below {
            self.seal(&mut state);
        }
        let drained = self.socket.poll_drained(below - state.out.len());
        if drained.is_pending() {
            self.seal(&mut state);
        }
        drained
    }

    pub(super) fn watch(&self) {
        self.watcher.set(None);
        self.seal(&mut self.state.borrow_mut());
        self.socket.watch();
    }

    pub(super) fn watch_by(&self, watcher: Watcher) {
        self.watcher.set(Some(watcher));
        self.seal(&mut self.state.borrow_mut());
        self.socket.watch_by(watcher);
    }

    pub(super) fn error(&self) -> Option<io::Error> {
        self.socket.error().or_else(|| broken(&self.state.borrow()))
    }

    pub(super) fn shutdown_write(&self) {
        with_scratch(|scratch| {
            if self.state.borrow_mut().finish(&mut scratch.records) {
                self.socket.send(&scratch.records);
            }
        });
        self.socket.shutdown_write();
    }

    pub(super) fn close_lingering(mut self) {
        self.socket.linger_when_dropped();
    }

    pub(super) fn reset(mut self) {
        self.state.get_mut().closed = true;
        self.socket.reset_when_dropped();
    }

    /// Encrypts what is gathered and queues it.
    fn seal(&self, state: &mut State) {
        if state.out.capacity() == 0 {
            return;
        }
        let mut plain = std::mem::take(&mut state.out);
        let sealed = with_scratch(|scratch| {
            let sealed = if plain.len() <= COPIED_BYTES_MAX {
                let sealed = state.session.encrypt(&plain, &mut scratch.records);
                self.socket.send(&scratch.records);
                sealed
            } else {
                let mut records = Vec::new();
                let sealed = state.session.encrypt(&plain, &mut records);
                self.socket.send_slice(self.core.own(records.into_boxed_slice()));
                sealed
            };
            plain.clear();
            if scratch.spares.len() < SPARES_MAX && plain.capacity() <= RECORD_BYTES {
                scratch.spares.push(plain);
            }
            sealed
        });
        if let Err(error) = sealed {
            self.give_up(state, &error);
        }
    }

    /// Encrypts what is gathered together with `bytes`, in full records as far as it goes, and queues it.
    fn seal_with(&self, state: &mut State, bytes: &[u8]) {
        let mut records = Vec::new();
        let sealed = state.encrypt_with(bytes, &mut records);
        self.socket.send_slice(self.core.own(records.into_boxed_slice()));
        if let Err(error) = sealed {
            self.give_up(state, &error);
        }
    }

    fn give_up(&self, state: &mut State, error: &TlsError) {
        state.input = Input::Broken;
        state.out = Vec::new();
        (self.failures)(error);
    }
}

impl State {
    fn encrypt_with(&mut self, bytes: &[u8], records: &mut Vec<u8>) -> Result<(), TlsError> {
        let (first, rest) = bytes.split_at(bytes.len().min(RECORD_BYTES - self.out.len().min(RECORD_BYTES)));
        let remnant = rest.len() % RECORD_BYTES;
        let kept = if remnant < REMNANT_BYTES_MAX { remnant } else { 0 };
        let (whole, kept) = rest.split_at(rest.len() - kept);
        if self.out.is_empty() {
            // One run of full records.
            self.session.encrypt(&bytes[..first.len() + whole.len()], records)?;
        } else {
            self.session.encrypt_parts(&[&self.out, first], records)?;
            self.session.encrypt(whole, records)?;
        }
        self.out.clear();
        self.out.extend_from_slice(kept);
        Ok(())
    }

    /// Encrypts what is gathered and our word that it was all; false if there is nothing to say.
    fn finish(&mut self, records: &mut Vec<u8>) -> bool {
        if self.closed || self.input == Input::Broken {
            return false;
        }
        self.closed = true;
        let out = std::mem::take(&mut self.out);
        if !out.is_empty() && self.session.encrypt(&out, records).is_err() {
            return !records.is_empty();
        }
        self.session.close_notify(records);
        true
    }
}

fn broken(state: &State) -> Option<io::Error> {
    (state.input == Input::Broken).then(|| io::Error::from(io::ErrorKind::InvalidData))
}

impl Drop for TlsTransport {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        with_scratch(|scratch| {
            if state.finish(&mut scratch.records) {
                self.socket.send_last(&scratch.records);
            }
        });
    }
}
