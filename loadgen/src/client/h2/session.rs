//! A connection: bytes to events, events to answers, requests to bytes.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Poll;

use codecs::http::h2::{Connection, ErrorCode, Event, Message, OpenError, Role, StreamRef};

use super::flight::{Flight, Flights, grpc_status};
use crate::client::failure::{Failed, Failure};
use crate::client::job::Exchange;
use crate::client::lane::Lane;
use crate::client::response::{Answer, GRPC_STATUS_NONE};
use crate::client::schedule::Ticket;
use crate::h2;
use crate::transport::{Input, Transport};
use crate::ws::Found;

/// Bytes queued for a server above which no more bodies are sent.
const QUEUED_BYTES_MAX: usize = 256 * 1024;
/// Payloads from this size on are sent from where they are.
const OWNED_BYTES_MIN: usize = 2048;

pub(super) struct Session {
    lane: Rc<Lane>,
    transport: Transport,
    connection: Connection,
    /// Frames that are gathered, sent at the end of a step.
    out: Vec<u8>,
    /// Received and not consumed: the beginning of a frame.
    carry: Vec<u8>,
    flights: Flights,
    /// Streams with a body to send, in turn; and those whose windows are used up.
    sending: VecDeque<StreamRef>,
    blocked: Vec<StreamRef>,
    /// WebSocket: open streams without a message under way.
    idle: Vec<StreamRef>,
    /// Tickets of requests that a GOAWAY says weren't looked at.
    unprocessed: Vec<Ticket>,
    served: u64,
    /// Why the server says that it goes away.
    farewell: Option<String>,
    /// A stream that was opened ahead could not be.
    refused: Option<Failed>,
}

impl Session {
    pub(super) fn new(lane: Rc<Lane>, transport: Transport) -> Session {
        let mut out = Vec::with_capacity(1024);
        let connection = Connection::new(Role::Client, &h2::limits(0), &mut out);
        Session {
            lane,
            transport,
            connection,
            out,
            carry: Vec::new(),
            flights: Flights::default(),
            sending: VecDeque::new(),
            blocked: Vec::new(),
            idle: Vec::new(),
            unprocessed: Vec::new(),
            served: 0,
            farewell: None,
            refused: None,
        }
    }

    #[inline]
    pub(super) fn in_flight(&self) -> usize {
        self.flights.in_flight()
    }

    pub(super) fn served(&self) -> u64 {
        self.served
    }

    pub(super) fn is_draining(&self) -> bool {
        self.connection.is_draining()
    }

    /// Requests that may be under way at once.
    pub(super) fn streams_max(&self) -> usize {
        let asked = self.lane.plan.streams as usize;
        asked.min((self.connection.peer().concurrent_streams_max as usize).max(1))
    }

    /// When the oldest request under way was due, µs.
    pub(super) fn oldest_us(&self) -> Option<u64> {
        self.flights.iter().filter_map(|flight| flight.ticket).map(|ticket| ticket.due_us).min()
    }

    fn is_websocket(&self) -> bool {
        self.lane.plan.exchange == Exchange::WebSocketH2
    }

    /// Whether requests can be sent; opens the streams of WebSocket ahead.
    pub(super) fn prepare(&mut self) -> Result<bool, Failed> {
        if let Some(failed) = self.refused.take() {
            return Err(failed);
        }
        if !self.connection.is_established() || !self.is_websocket() {
            return Ok(self.connection.is_established());
        }
        let room = self.streams_max();
        for _ in self.flights.iter().count()..room {
            self.open(None).map_err(|error| Failed::bad_response(&error))?;
        }
        Ok(self.idle.len() >= room)
    }

    /// Sends the ticket's request.
    #[inline]
    pub(super) fn start(&mut self, ticket: Ticket) -> Result<(), OpenError> {
        if let Some(stream) = self.idle.pop() {
            self.flights.resume(stream, ticket);
            self.sending.push_back(stream);
            return Ok(());
        }
        self.open(Some(ticket))
    }

    fn open(&mut self, ticket: Option<Ticket>) -> Result<(), OpenError> {
        let is_websocket = self.is_websocket();
        let has_body = !is_websocket && !self.lane.request.is_empty();
        let head = &self.lane.plan.head;
        let end_stream = !is_websocket && !has_body;
        let stream = self.connection.send_request(&head.line(), head.fields(), end_stream, &mut self.out)?;
        self.flights.insert(Flight {
            stream,
            ticket,
            sent: 0,
            status: 0,
            bytes: 0,
            body_bytes: 0,
            grpc_status: (self.lane.plan.exchange == Exchange::Grpc).then_some(GRPC_STATUS_NONE),
            reader: is_websocket.then(Box::default),
        });
        if has_body {
            self.sending.push_back(stream);
        }
        Ok(())
    }

    /// Takes everything that has come. False: the server has ended the connection.
    ///
    /// # Errors
    /// The connection has failed.
    pub(super) fn receive(&mut self) -> Result<bool, Failed> {
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
                Poll::Ready(Input::Failed(fault)) => return Err(Failed::connection(&fault)),
                Poll::Pending => return Ok(true),
            }
        }
    }

    fn consume(&mut self, input: &[u8]) -> Result<usize, Failed> {
        let lane = self.lane.clone();
        let message = &mut *lane.message.borrow_mut();
        let mut at = 0;
        loop {
            let rest = &input[at..];
            let step = match self.connection.receive(rest, message, &mut self.out) {
                Ok(step) => step,
                Err(error) => {
                    // Says why before the connection is closed.
                    self.flush();
                    return Err(Failed::bad_response(&error));
                }
            };
            at += step.consumed;
            if step.event == Event::NeedMore {
                return Ok(at);
            }
            self.take(step.event, rest, step.consumed as u64, message);
        }
    }

    /// `bytes` of `input` made the event.
    fn take(&mut self, event: Event, input: &[u8], bytes: u64, message: &Message) {
        match event {
            Event::Response { stream, end_stream } => {
                let Some(flight) = self.flights.get(stream) else { return };
                flight.bytes += bytes;
                flight.status = message.response.status;
                if flight.reader.is_some() {
                    return self.opened(stream, message.response.tunnel && !end_stream);
                }
                if end_stream {
                    if let Some(status) = &mut flight.grpc_status {
                        *status = grpc_status(&message.text, &message.response.fields);
                    }
                    self.finish_stream(stream);
                }
            }
            Event::Data { stream, range, end_stream } => {
                self.connection.release(stream, range.len(), &mut self.out);
                let Some(flight) = self.flights.get(stream) else { return };
                flight.bytes += bytes;
                flight.body_bytes += range.len() as u64;
                if flight.reader.is_some() {
                    self.echoed(stream, &input[range], end_stream);
                } else if end_stream {
                    self.finish_stream(stream);
                }
            }
            Event::Trailers { stream } => {
                let Some(flight) = self.flights.get(stream) else { return };
                flight.bytes += bytes;
                if let Some(status) = &mut flight.grpc_status {
                    *status = grpc_status(&message.text, &message.trailers);
                }
                self.finish_stream(stream);
            }
            Event::Reset { stream, code } => self.fail(stream, &Failed::stream_reset(code)),
            Event::StreamError { stream, kind } => self.fail(stream, &Failed::bad_response(&kind.as_str())),
            Event::HeadTooLarge { stream, kind, .. } => {
                self.connection.reset(stream, ErrorCode::Cancel, &mut self.out);
                self.fail(stream, &Failed::bad_response(&kind.as_str()));
            }
            Event::Window { stream: Some(stream) } => {
                if let Some(at) = self.blocked.iter().position(|blocked| *blocked == stream) {
                    self.blocked.swap_remove(at);
                    self.sending.push_back(stream);
                }
            }
            Event::Window { stream: None } | Event::SettingsChanged => self.sending.extend(self.blocked.drain(..)),
            Event::GoAway { last_stream, code, debug } => {
                let debug = String::from_utf8_lossy(&input[debug]);
                self.farewell = (code != ErrorCode::NoError).then(|| format!("GOAWAY with {code:?} {debug}"));
                self.forget_above(last_stream);
            }
            Event::NeedMore | Event::Interim { .. } | Event::Request { .. } | Event::PingAck { .. } => {}
        }
    }

    #[inline]
    fn finish_stream(&mut self, stream: StreamRef) {
        let Some(flight) = self.flights.remove(stream) else { return };
        // An answer that came before all of the body was sent.
        self.connection.reset(stream, ErrorCode::NoError, &mut self.out);
        self.served += 1;
        if let Some(ticket) = flight.ticket {
            self.lane.answered(ticket, &flight.answer());
        }
    }

    /// A stream of WebSocket is open, or was refused.
    fn opened(&mut self, stream: StreamRef, accepted: bool) {
        let Some(flight) = self.flights.get(stream) else { return };
        if accepted {
            match flight.ticket {
                Some(_) => self.sending.push_back(stream),
                None => self.idle.push(stream),
            }
            return;
        }
        let detail = format!("the WebSocket was refused with status {}", flight.status);
        self.connection.reset(stream, ErrorCode::Cancel, &mut self.out);
        self.fail(stream, &Failed::bad_response(&detail));
    }

    fn echoed(&mut self, stream: StreamRef, mut input: &[u8], end_stream: bool) {
        let lane = self.lane.clone();
        loop {
            let Some(flight) = self.flights.get(stream) else { return };
            let Some(reader) = &mut flight.reader else { return };
            let failed = match reader.feed(&mut input, &lane.plan.message) {
                Ok(Found::NeedMore) if !end_stream => return,
                Ok(Found::NeedMore | Found::Close) => Failed::from(Failure::ClosedEarly),
                Ok(Found::Message) => match self.flights.land(stream) {
                    Some((ticket, answer)) => {
                        self.served += 1;
                        // The message's bytes, without the frame around it.
                        let body_bytes = lane.plan.message.len() as u64;
                        lane.answered(ticket, &Answer { body_bytes, ..answer });
                        self.idle.push(stream);
                        continue;
                    }
                    None => Failed::bad_response(&"a message that nobody asked for"),
                },
                Err(reason) => Failed::bad_response(&reason),
            };
            self.connection.reset(stream, ErrorCode::Cancel, &mut self.out);
            return self.fail(stream, &failed);
        }
    }

    #[cold]
    fn fail(&mut self, stream: StreamRef, failed: &Failed) {
        let Some(flight) = self.flights.remove(stream) else { return };
        self.idle.retain(|idle| *idle != stream);
        match flight.ticket {
            Some(ticket) => self.lane.failed(ticket, failed),
            None => self.refused = Some(Failed { failure: failed.failure, detail: failed.detail.clone() }),
        }
    }

    /// Every request fails with the connection.
    pub(super) fn fail_all(&mut self, failed: &Failed) {
        let streams: Vec<StreamRef> = self.flights.iter().map(|flight| flight.stream).collect();
        streams.into_iter().for_each(|stream| self.fail(stream, failed));
    }

    /// Gives up the requests whose time is up.
    pub(super) fn expire(&mut self, is_late: impl Fn(Ticket) -> bool) {
        let late = self.flights.iter().filter(|flight| flight.ticket.is_some_and(&is_late));
        let late: Vec<StreamRef> = late.map(|flight| flight.stream).collect();
        for stream in late {
            self.connection.reset(stream, ErrorCode::Cancel, &mut self.out);
            self.fail(stream, &Failure::Timeout.into());
        }
    }

    /// What the server hasn't looked at can be sent elsewhere.
    fn forget_above(&mut self, last_stream: u32) {
        let above = self.flights.iter().filter(|flight| flight.stream.id > last_stream);
        let above: Vec<StreamRef> = above.map(|flight| flight.stream).collect();
        for stream in above {
            let ticket = self.flights.remove(stream).and_then(|flight| flight.ticket);
            self.unprocessed.extend(ticket);
        }
        self.idle.retain(|stream| stream.id <= last_stream);
    }

    pub(super) fn take_unprocessed(&mut self) -> impl Iterator<Item = Ticket> {
        self.unprocessed.drain(..)
    }

    /// The failure of requests that the connection ended with.
    pub(super) fn closed_early(&mut self) -> Failed {
        Failed { failure: Failure::ClosedEarly, detail: self.farewell.take() }
    }

    /// Sends of all bodies what the windows allow, a frame each in turn.
    pub(super) fn pump(&mut self) {
        if self.sending.is_empty() {
            return;
        }
        let body = self.lane.request.clone();
        let end_stream = !self.is_websocket();
        while let Some(stream) = self.sending.pop_front() {
            let queued = self.transport.unsent_bytes() + self.out.len();
            if queued > QUEUED_BYTES_MAX {
                self.sending.push_front(stream);
                self.flush();
                match self.transport.poll_drained(QUEUED_BYTES_MAX / 2) {
                    Poll::Ready(Ok(())) => continue,
                    // Reading will show why it failed.
                    Poll::Ready(Err(_)) | Poll::Pending => return,
                }
            }
            let Some(flight) = self.flights.get(stream) else { continue };
            let left = body.len() - flight.sent;
            // An error means that the stream is gone; its event has come or will.
            let Ok(granted) = self.connection.data_frame(stream, left, end_stream, &mut self.out) else { continue };
            let range = flight.sent..flight.sent + granted.bytes;
            flight.sent = range.end;
            let done = granted.bytes == left;
            if granted.bytes >= OWNED_BYTES_MIN {
                self.transport.send(&self.out);
                self.out.clear();
                self.transport.send_slice(body.slice(range));
            } else {
                self.out.extend_from_slice(&body[range]);
            }
            match granted.bytes {
                _ if done => {}
                0 => self.blocked.push(stream),
                _ => self.sending.push_back(stream),
            }
        }
    }

    #[inline]
    pub(super) fn flush(&mut self) {
        if !self.out.is_empty() {
            self.transport.send(&self.out);
            self.out.clear();
        }
        self.transport.flush();
    }

    /// Says goodbye.
    pub(super) fn finish(mut self) -> Transport {
        self.connection.go_away(ErrorCode::NoError, &mut self.out);
        self.flush();
        self.transport
    }
}
