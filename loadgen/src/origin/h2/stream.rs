//! What is kept of a request on a stream.

use codecs::http::h2::StreamRef;

use crate::origin::answer::Answer;
use crate::ws;

pub(super) enum State {
    /// The request's body is still coming; then it is answered.
    Reading(Answer),
    /// Its time hasn't come.
    Delayed(Answer),
    /// The rest of the body: bytes sent, and bytes left.
    Sending {
        sent: u64,
        left: u64,
    },
    Echo(Box<Echo>),
}

/// A stream whose DATA comes back.
pub(super) struct Echo {
    pub(super) kind: EchoKind,
    /// To be sent, from `at` on.
    pub(super) queue: Vec<u8>,
    pub(super) at: usize,
    /// Received and not released yet: what came back isn't out, so a client that doesn't read can't send more.
    pub(super) owed: usize,
    /// Nothing is added to the queue any more.
    pub(super) complete: bool,
}

pub(super) enum EchoKind {
    /// Messages as they come, trailers at the end.
    Grpc,
    WebSocket(ws::Echo),
}

impl Echo {
    pub(super) fn new(kind: EchoKind) -> Box<Echo> {
        Box::new(Echo { kind, queue: Vec::new(), at: 0, owed: 0, complete: false })
    }

    pub(super) fn waiting(&self) -> &[u8] {
        &self.queue[self.at..]
    }

    /// Drops what has been sent.
    pub(super) fn advance(&mut self, n: usize) {
        self.at += n;
        if self.at == self.queue.len() {
            self.queue.clear();
            self.at = 0;
        }
    }
}

/// States by the slots of their streams.
#[derive(Default)]
pub(super) struct Streams {
    slots: Vec<Option<(StreamRef, State)>>,
}

impl Streams {
    #[inline]
    pub(super) fn get(&mut self, stream: StreamRef) -> Option<&mut State> {
        let (known, state) = self.slots.get_mut(stream.slot as usize)?.as_mut()?;
        (*known == stream).then_some(state)
    }

    #[inline]
    pub(super) fn insert(&mut self, stream: StreamRef, state: State) {
        let slot = stream.slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some((stream, state));
    }

    #[inline]
    pub(super) fn remove(&mut self, stream: StreamRef) -> Option<State> {
        let place = self.slots.get_mut(stream.slot as usize)?;
        place.take_if(|(known, _)| *known == stream).map(|(_, state)| state)
    }
}
