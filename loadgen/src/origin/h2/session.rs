//! What arrives on a connection.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::task::Poll;

use codecs::http::h2::{Connection, ErrorCode, Event, Message, NO_FIELDS, Role, StreamRef};
use codecs::http::{FieldId, Method};

use super::STREAMS_MAX;
use super::stream::{Echo, EchoKind, State, Streams};
use crate::h2;
use crate::origin::answer::Answer;
use crate::origin::serve::Origin;
use crate::transport::{Input, Transport};
use crate::ws;

pub(super) struct Session<'a> {
    pub(super) origin: &'a Origin,
    pub(super) transport: &'a Transport,
    pub(super) connection: Connection,
    /// Frames that are gathered, sent at the end of a turn.
    pub(super) out: Vec<u8>,
    /// Received and not consumed: the beginning of a frame.
    carry: Vec<u8>,
    pub(super) streams: Streams,
    /// Streams with something to send, in turn; and those whose windows are used up.
    pub(super) sending: VecDeque<StreamRef>,
    pub(super) blocked: Vec<StreamRef>,
    /// A content-length in digits, while it is sent.
    pub(super) length: Vec<u8>,
    /// When delayed answers are due, µs, with their streams.
    due: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// No more requests; the connection ends with the last answer.
    closing: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(origin: &'a Origin, transport: &'a Transport) -> Session<'a> {
        let mut out = Vec::with_capacity(4096);
        let connection = Connection::new(Role::Server, &h2::limits(STREAMS_MAX), &mut out);
        Session {
            origin,
            transport,
            connection,
            out,
            carry: Vec::new(),
            streams: Streams::default(),
            sending: VecDeque::new(),
            blocked: Vec::new(),
            length: Vec::with_capacity(20),
            due: BinaryHeap::new(),
            closing: false,
        }
    }

    /// Nothing is left to do on a connection that takes no more requests.
    pub(super) fn is_done(&self) -> bool {
        self.closing && self.connection.open_streams() == 0
    }

    /// When the next delayed answer is due, µs.
    pub(super) fn due_us(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((due_us, _, _))| *due_us)
    }

    /// Takes everything that has come. False: the client has ended the connection.
    ///
    /// # Errors
    /// The connection has failed; true if the client is to be told.
    pub(super) fn receive(&mut self) -> Result<bool, bool> {
        loop {
            match self.transport.poll_recv() {
                Poll::Ready(Input::Data(slice)) if self.carry.is_empty() => {
                    let consumed = self.consume(&slice)?;
                    self.carry.extend_from_slice(&slice[consumed..]);
                }
                Poll::Ready(Input::Data(slice)) => {
                    let mut carry = std::mem::take(&mut self.carry);
                    carry.extend_from_slice(&slice);
                    let consumed = self.consume(&carry)?;
                    carry.drain(..consumed);
                    self.carry = carry;
                }
                Poll::Ready(Input::End) => return Ok(false),
                Poll::Ready(Input::Failed(_)) => return Err(false),
                Poll::Pending => return Ok(true),
            }
        }
    }

    fn consume(&mut self, input: &[u8]) -> Result<usize, bool> {
        let origin = self.origin;
        let message = &mut *origin.message.borrow_mut();
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let step = self.connection.receive(rest, message, &mut self.out).map_err(|_| true)?;
            at += step.consumed;
            if step.event == Event::NeedMore {
                return Ok(at);
            }
            self.take(step.event, rest, message);
        }
    }

    fn take(&mut self, event: Event, input: &[u8], message: &Message) {
        match event {
            Event::Request { stream, end_stream } => self.request(stream, end_stream, message),
            Event::Data { stream, range, end_stream } => self.data(stream, &input[range], end_stream),
            Event::Trailers { stream } => self.request_ended(stream),
            Event::Reset { stream, .. } | Event::StreamError { stream, .. } => self.forget(stream),
            Event::HeadTooLarge { stream, kind, .. } => {
                let status = kind.request_status();
                let _ = self.connection.send_response(stream, status, NO_FIELDS, true, &mut self.out);
                self.connection.reset(stream, ErrorCode::NoError, &mut self.out);
            }
            Event::Window { stream: Some(stream) } => {
                if let Some(at) = self.blocked.iter().position(|blocked| *blocked == stream) {
                    self.blocked.swap_remove(at);
                    self.sending.push_back(stream);
                }
            }
            Event::Window { stream: None } | Event::SettingsChanged => self.sending.extend(self.blocked.drain(..)),
            Event::GoAway { .. } => self.closing = true,
            Event::NeedMore | Event::Response { .. } | Event::Interim { .. } | Event::PingAck { .. } => {}
        }
    }

    #[inline]
    fn request(&mut self, stream: StreamRef, end_stream: bool, message: &Message) {
        let (head, text) = (&message.request, &message.text);
        if head.method == Method::Connect {
            let is_websocket = head.protocol.is_some_and(|protocol| protocol.of(text) == b"websocket");
            return self.connect(stream, is_websocket, end_stream);
        }
        if head.field(FieldId::ContentType).is_some_and(|field| field.value.of(text).starts_with(b"application/grpc")) {
            return self.call(stream, end_stream);
        }
        let answer = self.origin.answer(text, head);
        if end_stream {
            return self.answer(stream, &answer);
        }
        if head.expect_continue {
            let _ = self.connection.send_response(stream, 100, NO_FIELDS, false, &mut self.out);
        }
        self.streams.insert(stream, State::Reading(answer));
    }

    fn connect(&mut self, stream: StreamRef, is_websocket: bool, end_stream: bool) {
        let status = if is_websocket { 200 } else { 501 };
        let refused = !is_websocket || end_stream;
        let _ = self.connection.send_response(stream, status, NO_FIELDS, refused, &mut self.out);
        if refused {
            return self.connection.reset(stream, ErrorCode::NoError, &mut self.out);
        }
        self.streams.insert(stream, State::Echo(Echo::new(EchoKind::WebSocket(ws::Echo::default()))));
    }

    fn call(&mut self, stream: StreamRef, end_stream: bool) {
        let fields = [(&b"content-type"[..], &b"application/grpc"[..], false)];
        let _ = self.connection.send_response(stream, 200, fields, false, &mut self.out);
        self.streams.insert(stream, State::Echo(Echo::new(EchoKind::Grpc)));
        if end_stream {
            self.request_ended(stream);
        }
    }

    /// DATA: dropped, or sent back.
    fn data(&mut self, stream: StreamRef, data: &[u8], end_stream: bool) {
        let Some(State::Echo(echo)) = self.streams.get(stream) else {
            self.connection.release(stream, data.len(), &mut self.out);
            if end_stream {
                self.request_ended(stream);
            }
            return;
        };
        let was_waiting = !echo.waiting().is_empty();
        echo.owed += data.len();
        match &mut echo.kind {
            EchoKind::Grpc => echo.queue.extend_from_slice(data),
            EchoKind::WebSocket(frames) => {
                echo.complete |= frames.feed(data, &mut echo.queue).unwrap_or(true) || end_stream;
            }
        }
        if end_stream {
            self.request_ended(stream);
        } else if !was_waiting {
            self.sending.push_back(stream);
        }
    }

    /// The client has said everything.
    #[inline]
    fn request_ended(&mut self, stream: StreamRef) {
        match self.streams.get(stream) {
            Some(State::Reading(answer)) => {
                let answer = *answer;
                self.answer(stream, &answer);
            }
            Some(State::Echo(echo)) => {
                echo.complete = true;
                // It may be in the queue already; then it is found done there.
                self.sending.push_back(stream);
            }
            Some(State::Delayed(_) | State::Sending { .. }) | None => {}
        }
    }

    /// Answers when it is time.
    #[inline]
    fn answer(&mut self, stream: StreamRef, answer: &Answer) {
        if answer.delay_us == 0 {
            return self.respond(stream, answer);
        }
        let due_us = self.origin.core.now_us() + answer.delay_us;
        self.due.push(Reverse((due_us, stream.id, stream.slot)));
        self.streams.insert(stream, State::Delayed(*answer));
    }

    /// Sends the answers whose time has come.
    pub(super) fn answer_due(&mut self) {
        // As the timers do, on a grid of 1 ms.
        let now_ms = self.origin.core.now_ms();
        while let Some(Reverse((due_us, id, slot))) = self.due.peek().copied()
            && due_us.div_ceil(1000) <= now_ms
        {
            self.due.pop();
            let stream = StreamRef { id, slot };
            if let Some(State::Delayed(answer)) = self.streams.get(stream) {
                let answer = *answer;
                self.respond(stream, &answer);
            }
        }
    }

    /// Drops what is kept of a stream.
    #[inline]
    pub(super) fn forget(&mut self, stream: StreamRef) {
        if let Some(State::Echo(echo)) = self.streams.remove(stream) {
            self.connection.release(stream, echo.owed, &mut self.out);
        }
    }

    /// Takes no more requests.
    pub(super) fn close(&mut self) {
        if !self.closing {
            self.closing = true;
            self.connection.go_away(ErrorCode::NoError, &mut self.out);
        }
    }
}
