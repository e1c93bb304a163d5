//! One HTTP/2 connection, to a client or to an endpoint: a [`Mux`] that the connection's task drives, and the [`Stream`]s
//! that exchanges hold.
//!
//! Bytes come in through [`Mux::receive`], which sorts what they mean into the inboxes of streams and wakes whoever waits
//! there. Streams send through the mux at once, as far as windows and the connection's queue allow; what doesn't fit
//! stays with the stream and is sent in turn when there is room ([`Mux::send_blocked`]).

mod keepalive;
mod receive;
pub(crate) mod serve;
mod stream;
pub(crate) mod upstream;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use codecs::http::ErrorKind;
use codecs::http::h2::{self, Connection, FieldRef, Limits, Message, OpenError, RequestLine, Role, StreamRef};
use runtime::Core;

use stream::Shared;
pub(crate) use stream::{Failure, Inbound, Stream};

use crate::transport::Transport;

/// Bytes on the connection's queue above which streams keep what they have to send.
const QUEUED_BYTES_MAX: usize = 128 * 1024;
/// Payload up to this size is copied behind its frame's header.
const COPIED_BYTES_MAX: usize = 2 * 1024;
/// Streams that are begun on a connection before an endpoint has ever said how many it takes (RFC 9113 6.5.2 advises no
/// fewer than 100).
const STREAMS_UNKNOWN_MAX: u32 = 100;
/// Head buffers that are kept for the next streams.
const SPARE_MAX: usize = 256;
/// States of streams that are kept for the next.
const IDLE_MAX: usize = 256;

/// Whose connection it is.
pub(crate) trait Carrier {
    fn transport(&self) -> &Transport;
    /// A stream has ended: there may be room for another.
    fn stream_ended(&self);
}

pub(crate) struct Mux {
    core: Core,
    role: Role,
    carrier: Box<dyn Carrier>,
    state: RefCell<State>,
    /// The task that drives the connection.
    task: RefCell<Option<Waker>>,
    /// Who waits for the peer's SETTINGS.
    waiters: RefCell<Vec<Waker>>,
    /// Requests that wait for them, or that have just been told of them: the connection is in use.
    awaiting: Cell<usize>,
    /// Streams that exchanges hold.
    live: Cell<usize>,
    /// Requests that were sent.
    requests: Cell<u64>,
    /// Something was sent on behalf of a stream since the connection's task last looked.
    touched: Cell<bool>,
    began_ms: u64,
}

struct State {
    connection: Connection,
    out: Vec<u8>,
    message: Box<Message>,
    #[expect(clippy::vec_box, reason = "given to streams as they are: moving a pointer, not a head")]
    spare: Vec<Box<Message>>,
    /// By the codec's slot.
    streams: Vec<Option<Rc<Shared>>>,
    idle: Vec<Rc<Shared>>,
    /// Streams that have something to send and no room, first come first served.
    blocked: VecDeque<Rc<Shared>>,
    /// The beginning of a frame whose rest hasn't arrived.
    partial: Vec<u8>,
    /// What the peer has begun and not ended: a head, or a frame that isn't DATA.
    unfinished: Option<Unfinished>,
    /// No stream goes on from here.
    over: bool,
    ticked_ms: u64,
    counts: Counts,
}

#[derive(Clone, Copy)]
struct Unfinished {
    since_ms: u64,
    /// The stream whose header block it is; 0 while it is a frame of which nothing is known.
    stream: u32,
}

/// What the connection's owner counts; taken by [`Mux::take_counts`].
#[derive(Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) resets_received: u64,
    pub(crate) stream_errors: u64,
    pub(crate) received_bytes: u64,
}

/// A request that a client began.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    /// The head is over a limit; only its start line is known.
    pub(crate) too_large: Option<ErrorKind>,
}

/// Counts a request that waits for the peer's SETTINGS.
struct Awaiting(Rc<Mux>);

impl Awaiting {
    fn new(mux: &Rc<Mux>) -> Awaiting {
        mux.awaiting.set(mux.awaiting.get() + 1);
        Awaiting(mux.clone())
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        self.0.awaiting.set(self.0.awaiting.get() - 1);
        // Perhaps nobody wants the connection now.
        self.0.wake_task();
    }
}

impl Mux {
    pub(crate) fn new(core: &Core, carrier: Box<dyn Carrier>, role: Role, limits: &Limits) -> Rc<Mux> {
        let mut out = Vec::with_capacity(256);
        let connection = Connection::new(role, limits, &mut out);
        let mux = Mux {
            core: core.clone(),
            role,
            carrier,
            state: RefCell::new(State {
                connection,
                out,
                message: Box::default(),
                spare: Vec::new(),
                streams: Vec::new(),
                idle: Vec::new(),
                blocked: VecDeque::new(),
                partial: Vec::new(),
                unfinished: None,
                over: false,
                ticked_ms: core.now_ms(),
                counts: Counts::default(),
            }),
            task: RefCell::default(),
            waiters: RefCell::default(),
            awaiting: Cell::new(0),
            live: Cell::new(0),
            requests: Cell::new(0),
            touched: Cell::new(false),
            began_ms: core.now_ms(),
        };
        mux.flush(&mut mux.state.borrow_mut());
        Rc::new(mux)
    }

    pub(crate) fn transport(&self) -> &Transport {
        self.carrier.transport()
    }

    /// Streams that exchanges hold.
    pub(crate) fn live(&self) -> usize {
        self.live.get()
    }

    /// Requests are under way, or wait to begin on this very connection.
    fn is_used(&self) -> bool {
        self.live.get() + self.awaiting.get() > 0
    }

    pub(crate) fn take_counts(&self) -> Counts {
        std::mem::take(&mut self.state.borrow_mut().counts)
    }

    /// Makes the calling task the one that drives the connection, and says whether streams have sent since it last did.
    fn attend(&self, context: &Context<'_>) {
        self.touched.set(false);
        let mut task = self.task.borrow_mut();
        if task.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            *task = Some(context.waker().clone());
        }
    }

    /// Wakes the connection's task, once a turn.
    fn wake_task(&self) {
        if !self.touched.replace(true)
            && let Some(task) = &*self.task.borrow()
        {
            task.wake_by_ref();
        }
    }

    /// Hands what was put together to the transport.
    fn flush(&self, state: &mut State) {
        if !state.out.is_empty() {
            self.transport().send(&state.out);
            state.out.clear();
            // What encrypts waits until its owner waits, so that many streams' bytes go out together.
            if self.transport().is_deferred() {
                self.wake_task();
            }
        }
    }

    /// A handle for a stream that the codec has begun.
    fn adopt(self: &Rc<Mux>, state: &mut State, id: StreamRef) -> Stream {
        let shared = state.idle.pop().unwrap_or_default();
        shared.begin(id);
        let slot = id.slot as usize;
        if state.streams.len() <= slot {
            state.streams.resize(slot + 1, None);
        }
        state.streams[slot] = Some(shared.clone());
        self.live.set(self.live.get() + 1);
        Stream::new(self.clone(), shared)
    }

    /// Sends what streams kept for want of room, a frame each in turn.
    fn send_blocked(&self) {
        let mut state = self.state.borrow_mut();
        let mut stuck = 0;
        while stuck < state.blocked.len() {
            if self.is_full() {
                break;
            }
            let Some(shared) = state.blocked.pop_front() else { break };
            let pumped = self.pump(&mut state, &shared, 1);
            stuck = if pumped == Pumped::Nothing { stuck + 1 } else { 0 };
            shared.had_turn(pumped == Pumped::All);
            if pumped != Pumped::All {
                state.blocked.push_back(shared);
            }
        }
        self.flush(&mut state);
    }

    /// For the connection's task: sends what waits while there is room, and sees to it that room wakes the task.
    fn serve_blocked(&self) {
        while self.poll_room().is_ready() && !self.state.borrow().blocked.is_empty() {
            self.send_blocked();
            // Windows are what is missing; they come with input.
            if !self.is_full() {
                break;
            }
        }
    }

    fn is_full(&self) -> bool {
        self.transport().unsent_bytes() > QUEUED_BYTES_MAX
    }

    /// Ready once the connection's queue is short again; the peer reads, so its budget of replies is full again.
    fn poll_room(&self) -> Poll<()> {
        match self.transport().poll_drained(QUEUED_BYTES_MAX / 2) {
            Poll::Ready(_) => {
                self.state.borrow_mut().connection.output_sent();
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Sends as much of a stream as there is room for, `frames` frames at most.
    fn pump(&self, state: &mut State, shared: &Shared, frames: usize) -> Pumped {
        let mut outbox = shared.outbox();
        let mut sent = Pumped::Nothing;
        for _ in 0..frames {
            let last = outbox.queued.len() == 1 && matches!(outbox.ending, stream::Ending::Data);
            let Some(front) = outbox.queued.front_mut() else { break };
            if self.is_full() {
                break;
            }
            let granted = state.connection.data_frame(shared.id(), front.len(), last, &mut state.out);
            let Ok(granted) = granted else {
                outbox.drop_all();
                return Pumped::All;
            };
            if granted.bytes == 0 && !granted.ended {
                break;
            }
            sent = Pumped::Some;
            let piece = front.split_to(granted.bytes);
            if piece.len() <= COPIED_BYTES_MAX {
                state.out.extend_from_slice(&piece);
            } else {
                self.flush(state);
                self.transport().send_slice(piece);
                self.wake_if_deferred();
            }
            outbox.sent(granted.bytes, granted.ended);
        }
        if outbox.queued.is_empty() {
            outbox.end_stream(state, shared.id());
            return Pumped::All;
        }
        sent
    }

    fn wake_if_deferred(&self) {
        if self.transport().is_deferred() {
            self.wake_task();
        }
    }

    /// The first step of a graceful end: clients begin no more requests when they have read it.
    fn go_away_notice(&self) {
        let mut state = self.state.borrow_mut();
        let State { connection, out, .. } = &mut *state;
        connection.go_away_notice(out);
        self.flush(&mut state);
    }

    fn ping(&self) {
        let mut state = self.state.borrow_mut();
        let State { connection, out, .. } = &mut *state;
        connection.ping(*b"corelane", out);
        self.flush(&mut state);
    }

    /// When the peer is too late with what it has begun, if it may take `timeout_ms` (0: for ever, and MAX is the answer):
    /// the preface and its first SETTINGS, a head, a frame.
    fn head_due_ms(&self, timeout_ms: u64) -> u64 {
        let state = self.state.borrow();
        let since_ms = match state.unfinished {
            _ if timeout_ms == 0 => return u64::MAX,
            _ if !state.connection.is_established() => self.began_ms,
            Some(unfinished) => unfinished.since_ms,
            None => return u64::MAX,
        };
        since_ms + timeout_ms
    }

    /// When the peer is too late to acknowledge our SETTINGS (RFC 9113 6.5.3), if it may take `timeout_ms`; MAX if it has,
    /// or may take for ever (0).
    fn settings_due_ms(&self, timeout_ms: u64) -> u64 {
        match timeout_ms > 0 && !self.state.borrow().connection.is_acknowledged() {
            true => self.began_ms + timeout_ms,
            false => u64::MAX,
        }
    }

    /// Tells the peer that its connection ends, and why.
    fn give_up(&self, kind: h2::ErrorKind) {
        let mut state = self.state.borrow_mut();
        let State { connection, out, .. } = &mut *state;
        connection.give_up(kind, out);
        self.flush(&mut state);
    }

    fn go_away(&self, code: h2::ErrorCode) {
        let mut state = self.state.borrow_mut();
        let State { connection, out, .. } = &mut *state;
        connection.go_away(code, out);
        self.flush(&mut state);
    }

    /// Whether a request can be sent now, with `streams_max` at once, and `unknown_max` until the peer has said how many it
    /// takes.
    fn can_open(&self, streams_max: u32, unknown_max: u32) -> bool {
        let state = self.state.borrow();
        let max = if state.connection.is_established() { streams_max } else { streams_max.min(unknown_max) };
        !state.over && state.connection.can_open().is_ok() && state.connection.open_streams() < max as usize
    }

    /// Requests were begun on it.
    pub(crate) fn has_carried_any(&self) -> bool {
        self.requests.get() > 0
    }

    /// It has carried as many requests as it may; 0 is no bound.
    fn is_used_up(&self, requests_max: u64) -> bool {
        requests_max > 0 && self.requests.get() >= requests_max
    }

    /// Streams that the peer takes at once; `None` until it has said so.
    fn peer_streams_max(&self) -> Option<u32> {
        let state = self.state.borrow();
        state.connection.is_established().then(|| state.connection.peer().concurrent_streams_max)
    }

    /// No request can be sent on this connection any more.
    pub(crate) fn is_leaving(&self) -> bool {
        let state = self.state.borrow();
        state.over || matches!(state.connection.can_open(), Err(OpenError::Draining | OpenError::Exhausted))
    }

    /// Whether extended CONNECT is offered; `None` while the peer's SETTINGS are awaited.
    pub(crate) fn takes_connect_protocol(&self) -> Option<bool> {
        let state = self.state.borrow();
        state.connection.is_established().then(|| state.connection.peer().connect_protocol)
    }

    /// Waits for the peer's SETTINGS and says whether they offer extended CONNECT (RFC 8441).
    pub(crate) async fn offers_connect_protocol(self: &Rc<Mux>) -> bool {
        let _awaiting = Awaiting::new(self);
        std::future::poll_fn(|context| {
            if self.state.borrow().over {
                return Poll::Ready(false);
            }
            match self.takes_connect_protocol() {
                Some(offered) => Poll::Ready(offered),
                None => {
                    self.waiters.borrow_mut().push(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The peer has sent its SETTINGS: it has taken the connection.
    pub(crate) fn has_answered(&self) -> bool {
        self.state.borrow().connection.is_established()
    }

    /// Sends a request's head on a new stream. `fields` are without Host.
    ///
    /// # Errors
    /// The connection takes no more streams.
    pub(crate) fn request<'a>(
        self: &Rc<Mux>,
        line: &RequestLine<'_>,
        fields: impl IntoIterator<Item = FieldRef<'a>>,
        end_stream: bool,
    ) -> Result<Stream, OpenError> {
        let mut state = self.state.borrow_mut();
        if state.over {
            return Err(OpenError::Draining);
        }
        let State { connection, out, .. } = &mut *state;
        let id = connection.send_request(line, fields, end_stream, out)?;
        self.requests.set(self.requests.get() + 1);
        let stream = self.adopt(&mut state, id);
        if end_stream {
            stream.shared().outbox().ending = stream::Ending::Ended;
        }
        self.flush(&mut state);
        Ok(stream)
    }

    /// Ends every stream: nothing more comes or goes.
    fn end(&self, failure: Failure) {
        let mut state = self.state.borrow_mut();
        state.over = true;
        self.waiters.take().into_iter().for_each(Waker::wake);
        state.blocked.clear();
        for shared in state.streams.drain(..).flatten() {
            shared.failed(failure);
        }
    }
}

/// How much of what a stream has was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pumped {
    All,
    Some,
    Nothing,
}

impl State {
    fn find(&self, id: StreamRef) -> Option<&Rc<Shared>> {
        self.streams.get(id.slot as usize)?.as_ref().filter(|shared| shared.id().id == id.id)
    }

    /// The message that was just decoded, with another put in its place for the next.
    fn take_message(&mut self) -> Box<Message> {
        let next = self.spare.pop().unwrap_or_default();
        std::mem::replace(&mut self.message, next)
    }

    fn deliver(&mut self, id: StreamRef, put: impl FnOnce(&Shared, Box<Message>)) {
        if let Some(shared) = self.find(id).cloned() {
            let message = self.take_message();
            put(&shared, message);
            shared.wake();
        }
    }
}
