//! A connection and what is under way on it: requests to bytes. The other direction is `receive`.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Poll;

use codecs::http::h2::{Connection, ErrorCode, OpenError, Role, StreamRef};

use super::flight::{Flight, Flights};
use crate::client::failure::{Failed, Failure};
use crate::client::job::Exchange;
use crate::client::lane::Lane;
use crate::client::response::GRPC_STATUS_NONE;
use crate::client::schedule::Ticket;
use crate::h2;
use crate::transport::Transport;

/// Bytes queued for a server above which no more bodies are sent.
const QUEUED_BYTES_MAX: usize = 256 * 1024;
/// Payloads from this size on are sent from where they are.
const OWNED_BYTES_MIN: usize = 2048;

pub(super) struct Session {
    pub(super) lane: Rc<Lane>,
    pub(super) transport: Transport,
    pub(super) connection: Connection,
    /// Frames that are gathered, sent at the end of a step.
    pub(super) out: Vec<u8>,
    /// Received and not consumed: the beginning of a frame.
    pub(super) carry: Vec<u8>,
    pub(super) flights: Flights,
    /// Streams with a body to send, in turn; and those whose windows are used up.
    pub(super) sending: VecDeque<StreamRef>,
    pub(super) blocked: Vec<StreamRef>,
    /// WebSocket: open streams without a message under way.
    pub(super) idle: Vec<StreamRef>,
    /// Tickets of requests that a GOAWAY says weren't looked at.
    pub(super) unprocessed: Vec<Ticket>,
    /// Requests that have ended.
    pub(super) ended: u64,
    /// Why the server says that it goes away.
    pub(super) farewell: Option<String>,
    /// A stream that was opened ahead could not be.
    pub(super) refused: Option<Failed>,
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
            ended: 0,
            farewell: None,
            refused: None,
        }
    }

    #[inline]
    pub(super) fn in_flight(&self) -> usize {
        self.flights.in_flight()
    }

    /// It was for one request, which has ended.
    pub(super) fn is_spent(&self) -> bool {
        self.lane.plan.new_connections && self.ended > 0
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

    #[cold]
    pub(super) fn fail(&mut self, stream: StreamRef, failed: &Failed) {
        let Some(flight) = self.flights.remove(stream) else { return };
        self.idle.retain(|idle| *idle != stream);
        self.ended += 1;
        match flight.ticket {
            Some(ticket) => self.lane.failed(ticket, failed),
            None => self.refused = Some(Failed { failure: failed.failure, detail: failed.detail.clone() }),
        }
    }

    /// Every request fails with the connection.
    pub(super) fn fail_all(&mut self, failed: &Failed) {
        let streams: Vec<StreamRef> = self.flights.iter().map(|flight| flight.stream).collect();
        streams.into_iter().for_each(|stream| self.fail(stream, failed));
        self.unprocessed.drain(..).for_each(|ticket| self.lane.failed(ticket, failed));
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

    /// A ticket whose request has to be sent elsewhere, the latest first.
    pub(super) fn take_unprocessed(&mut self) -> Option<Ticket> {
        self.unprocessed.pop()
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

    /// Says goodbye and closes.
    pub(super) fn finish(mut self) {
        self.connection.go_away(ErrorCode::NoError, &mut self.out);
        self.flush();
        self.transport.close();
    }

    pub(super) fn reset(self) {
        self.transport.reset();
    }
}
