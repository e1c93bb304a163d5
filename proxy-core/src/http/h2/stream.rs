//! One stream, as an exchange holds it: what has arrived, what is to be sent.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use codecs::http::h1::Trailers;
use codecs::http::h2::{ErrorCode, FieldRef, Message, SendError, StreamRef, field_lines, text_lines};
use runtime::{Core, Slice};

use super::{IDLE_MAX, Mux, Pumped, SPARE_MAX, State};
use crate::tls::TlsFacts;

/// Frames that a stream sends before it is another's turn.
const FRAMES_AT_ONCE: usize = 8;

/// State with queues that have room for more isn't kept for the next stream.
const KEPT_ITEMS_MAX: usize = 32;

/// What has arrived on a stream.
pub(crate) enum Inbound {
    /// The head of a request, or the final one of a response.
    Head(Box<Message>),
    /// 1xx.
    Interim(Box<Message>),
    Data(Slice),
    /// Trailers; nothing follows.
    Trailers(Box<Message>),
    /// The peer has ended the stream.
    End,
    /// The stream was reset, or its connection has gone.
    Failed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// By the peer, with RST_STREAM.
    Reset(ErrorCode),
    /// The peer has not processed the request, and says so: it may be sent again, whatever it is.
    Refused,
    /// The connection ended.
    Gone,
    /// The peer broke the protocol or a limit.
    Malformed,
}

/// State of a stream between its exchange and its connection; used again for another stream.
#[derive(Default)]
pub(super) struct Shared {
    id: Cell<StreamRef>,
    inbox: RefCell<Inbox>,
    outbox: RefCell<Outbox>,
    waker: RefCell<Option<Waker>>,
    /// What RST_STREAM says if the stream is given up before its end.
    code: Cell<ErrorCode>,
}

#[derive(Default)]
struct Inbox {
    items: VecDeque<Inbound>,
    ended: bool,
    failed: Option<Failure>,
}

#[derive(Default)]
pub(super) struct Outbox {
    pub(super) queued: VecDeque<Slice>,
    queued_bytes: usize,
    pub(super) ending: Ending,
    /// In the mux's line of those that wait for room.
    in_line: bool,
    /// The exchange waits until so few bytes are queued.
    wake_below: Option<usize>,
}

/// What follows the queue.
#[derive(Default)]
pub(super) enum Ending {
    #[default]
    Open,
    /// END_STREAM with the last byte.
    Data,
    /// Lines of trailers, as HTTP/1 has them.
    Trailers(Vec<u8>),
    Ended,
}

impl Shared {
    /// Begins anew for another stream.
    pub(super) fn begin(&self, id: StreamRef) {
        self.id.set(id);
        self.code.set(ErrorCode::Cancel);
        let mut inbox = self.inbox.borrow_mut();
        (inbox.ended, inbox.failed) = (false, None);
        let mut outbox = self.outbox.borrow_mut();
        (outbox.ending, outbox.in_line, outbox.wake_below) = (Ending::Open, false, None);
    }

    /// Drops what is queued; how many items its queues have room for.
    fn clear(&self) -> usize {
        let (mut inbox, mut outbox) = (self.inbox.borrow_mut(), self.outbox.borrow_mut());
        inbox.items.clear();
        outbox.queued.clear();
        outbox.queued_bytes = 0;
        self.waker.take();
        inbox.items.capacity().max(outbox.queued.capacity())
    }

    pub(super) fn id(&self) -> StreamRef {
        self.id.get()
    }

    pub(super) fn put(&self, item: Inbound) {
        self.inbox.borrow_mut().items.push_back(item);
    }

    /// Data waits as what a socket received does: small pieces behind others are copied, or frames of a byte each would
    /// pin a receive buffer each.
    pub(super) fn put_data(&self, core: &Core, slice: Slice) {
        let mut inbox = self.inbox.borrow_mut();
        let last = match inbox.items.back_mut() {
            Some(Inbound::Data(last)) => Some(last),
            _ => None,
        };
        if let Some(slice) = core.join(last, slice) {
            inbox.items.push_back(Inbound::Data(slice));
        }
    }

    pub(super) fn end(&self) {
        self.inbox.borrow_mut().ended = true;
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn failed(&self, failure: Failure) {
        let mut inbox = self.inbox.borrow_mut();
        // A stream that the peer has ended is whole, whatever comes after.
        if inbox.failed.is_none() {
            inbox.failed = Some(failure);
        }
        drop(inbox);
        self.wake();
    }

    pub(super) fn reset_by_peer(&self, code: ErrorCode, is_response: bool) {
        // NO_ERROR after a whole response: the endpoint wants no more of the request (RFC 9113 8.1). A client that resets
        // wants no response, whatever it calls that.
        if code == ErrorCode::NoError && is_response && self.inbox.borrow().ended {
            return;
        }
        self.failed(if code == ErrorCode::RefusedStream { Failure::Refused } else { Failure::Reset(code) });
    }

    /// Its turn in the mux's line is over: `all` says that nothing is left.
    pub(super) fn had_turn(&self, all: bool) {
        let mut outbox = self.outbox.borrow_mut();
        outbox.in_line = !all;
        let wake = all || outbox.wake_below.is_some_and(|below| outbox.queued_bytes <= below);
        drop(outbox);
        if wake {
            self.wake();
        }
    }

    pub(super) fn outbox(&self) -> RefMut<'_, Outbox> {
        self.outbox.borrow_mut()
    }
}

impl Outbox {
    /// `bytes` of the first piece were sent.
    pub(super) fn sent(&mut self, bytes: usize, ended: bool) {
        self.queued_bytes -= bytes;
        if self.queued.front().is_some_and(Slice::is_empty) {
            self.queued.pop_front();
        }
        if ended {
            self.ending = Ending::Ended;
        }
    }

    pub(super) fn drop_all(&mut self) {
        self.queued.clear();
        self.queued_bytes = 0;
        self.ending = Ending::Ended;
    }

    /// The queue is empty: sends what ends the stream, if it is to end.
    pub(super) fn end_stream(&mut self, state: &mut State, id: StreamRef) {
        let sent = match &self.ending {
            Ending::Open | Ending::Ended => return,
            Ending::Data => state.connection.data_frame(id, 0, true, &mut state.out).map(drop),
            Ending::Trailers(text) => state.connection.send_trailers(id, text_lines(text), &mut state.out),
        };
        // A stream that is closed already needs no end.
        let _ = sent;
        self.ending = Ending::Ended;
    }
}

pub(crate) struct Stream {
    mux: Rc<Mux>,
    shared: Rc<Shared>,
    /// That of `shared`, which may be far away.
    id: StreamRef,
}

impl Stream {
    pub(super) fn new(mux: Rc<Mux>, shared: Rc<Shared>) -> Stream {
        let id = shared.id();
        Stream { mux, shared, id }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Brings near what an answer on the stream needs, which was last touched when its request began.
    pub(crate) fn prefetch(&self) {
        runtime::prefetch(&*self.shared);
        if let Some(place) = self.mux.state.borrow().connection.place_of(self.id) {
            runtime::prefetch(place);
        }
    }

    /// What has arrived next, if anything has. Taking data opens the windows for as much again.
    pub(crate) fn try_recv(&self) -> Option<Inbound> {
        let mut inbox = self.shared.inbox.borrow_mut();
        let item = inbox.items.pop_front();
        let (ended, failed) = (inbox.ended, inbox.failed);
        drop(inbox);
        match item {
            Some(Inbound::Data(slice)) => {
                self.release(slice.len());
                Some(Inbound::Data(slice))
            }
            Some(item) => Some(item),
            // A message that is whole stays so, whatever came after it.
            None if ended => Some(Inbound::End),
            None => failed.map(|_| Inbound::Failed),
        }
    }

    fn release(&self, bytes: usize) {
        let mux = &self.mux;
        let mut state = mux.state.borrow_mut();
        let State { connection, out, .. } = &mut *state;
        connection.release(self.id, bytes, out);
        mux.flush(&mut state);
    }

    /// Gives a head's memory back for the next one.
    pub(crate) fn recycle(&self, message: Box<Message>) {
        let mut state = self.mux.state.borrow_mut();
        if state.spare.len() < SPARE_MAX {
            state.spare.push(message);
        }
    }

    /// What the handshake of its connection led to.
    pub(crate) fn tls(&self) -> Option<Rc<TlsFacts>> {
        self.mux.transport().tls().cloned()
    }

    /// How the stream failed, if it did.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let inbox = self.shared.inbox.borrow();
        inbox.failed
    }

    /// Registers the running task for whatever happens next on the stream, after sending what can be sent.
    pub(crate) fn watch(&self, context: &Context<'_>) {
        self.push();
        let mut waker = self.shared.waker.borrow_mut();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
    }

    /// Whether at most `below` bytes wait for windows; whoever is told to wait has to [`watch`](Stream::watch).
    pub(crate) fn poll_drained(&self, below: usize) -> Poll<()> {
        if self.shared.outbox.borrow().queued_bytes > below {
            self.push();
        }
        let mut outbox = self.shared.outbox.borrow_mut();
        let waits = outbox.queued_bytes > below;
        outbox.wake_below = waits.then_some(below);
        if waits { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Bytes that wait for windows.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.shared.outbox.borrow().queued_bytes
    }

    /// Sends a response's head, interim or final.
    pub(crate) fn send_response<'a>(
        &self,
        status: u16,
        fields: impl IntoIterator<Item = FieldRef<'a>>,
        end_stream: bool,
    ) {
        let mux = &self.mux;
        let mut state = mux.state.borrow_mut();
        let State { connection, out, .. } = &mut *state;
        // A stream that is gone is noticed by whoever reads it.
        let _: Result<(), SendError> = connection.send_response(self.id, status, fields, end_stream, out);
        if end_stream {
            self.shared.outbox.borrow_mut().ending = Ending::Ended;
        }
        mux.flush(&mut state);
    }

    /// Queues payload; it is sent at the latest when the task waits.
    pub(crate) fn send_slice(&self, slice: Slice) {
        let mut outbox = self.shared.outbox.borrow_mut();
        if slice.is_empty() || !matches!(outbox.ending, Ending::Open) {
            return;
        }
        outbox.queued_bytes += slice.len();
        if let Some(slice) = self.mux.core.join(outbox.queued.back_mut(), slice) {
            outbox.queued.push_back(slice);
        }
    }

    /// Ends our direction behind what is queued.
    pub(crate) fn finish(&self, trailers: Option<Trailers<'_>>) {
        let ending = trailers.map_or(Ending::Data, |trailers| {
            let mut lines = Vec::new();
            for field in field_lines(trailers.bytes, trailers.fields) {
                codecs::http::h1::emit::field(&mut lines, field.name, field.value);
            }
            Ending::Trailers(lines)
        });
        self.end_with(ending);
    }

    /// The same with trailers of our own, in lines as HTTP/1 has them.
    pub(crate) fn finish_with(&self, lines: Vec<u8>) {
        self.end_with(Ending::Trailers(lines));
    }

    fn end_with(&self, ending: Ending) {
        {
            let mut outbox = self.shared.outbox.borrow_mut();
            if !matches!(outbox.ending, Ending::Open) {
                return;
            }
            outbox.ending = ending;
        }
        self.push();
    }

    /// Its end is sent, or stands behind what is queued.
    pub(crate) fn is_ending(&self) -> bool {
        !matches!(self.shared.outbox.borrow().ending, Ending::Open)
    }

    /// All that was to be sent is on its way.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.shared.outbox.borrow().ending, Ending::Ended)
    }

    /// Sends what there is room for, and gets in line for the rest.
    fn push(&self) {
        let mux = &self.mux;
        {
            let outbox = self.shared.outbox.borrow();
            if outbox.in_line || (outbox.queued.is_empty() && matches!(outbox.ending, Ending::Open | Ending::Ended)) {
                return;
            }
        }
        let mut state = mux.state.borrow_mut();
        if state.over {
            self.shared.outbox.borrow_mut().drop_all();
            return;
        }
        if mux.pump(&mut state, &self.shared, FRAMES_AT_ONCE) != Pumped::All {
            self.shared.outbox.borrow_mut().in_line = true;
            state.blocked.push_back(self.shared.clone());
            mux.wake_task();
        }
        mux.flush(&mut state);
    }

    /// What a reset says if the stream is dropped before its end; CANCEL if nothing else is said.
    pub(crate) fn give_up_with(&self, code: ErrorCode) {
        self.shared.code.set(code);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let (mux, id) = (&self.mux, self.id);
        {
            let mut state = mux.state.borrow_mut();
            let State { connection, out, streams, .. } = &mut *state;
            let unread: usize = self.shared.inbox.borrow_mut().items.drain(..).map(|item| item.len()).sum();
            connection.release(id, unread, out);
            connection.reset(id, self.shared.code.get(), out);
            if let Some(place) = streams.get_mut(id.slot as usize)
                && place.as_ref().is_some_and(|shared| shared.id() == id)
            {
                *place = None;
            }
            // Dropped here: what is queued, and its buffers, must not wait for the next stream.
            let room = self.shared.clear();
            if Rc::strong_count(&self.shared) == 1 && room <= KEPT_ITEMS_MAX && state.idle.len() < IDLE_MAX {
                state.idle.push(self.shared.clone());
            }
            mux.flush(&mut state);
        }
        mux.live.set(mux.live.get() - 1);
        mux.carrier.stream_ended();
        mux.wake_task();
    }
}

impl Inbound {
    /// Bytes that count for flow control.
    fn len(&self) -> usize {
        match self {
            Inbound::Data(slice) => slice.len(),
            _ => 0,
        }
    }
}
