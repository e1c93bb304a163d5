//! What arrives on a connection: bytes to events, events to answers.

use std::task::Poll;

use codecs::http::h2::{ErrorCode, Event, Message, StreamRef};

use super::flight::grpc_status;
use super::session::Session;
use crate::client::failure::{Failed, Failure};
use crate::client::response::Answer;
use crate::transport::Input;
use crate::ws::Found;

impl Session {
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
        self.ended += 1;
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
                        self.ended += 1;
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

    /// What the server hasn't looked at can be sent elsewhere.
    fn forget_above(&mut self, last_stream: u32) {
        let above = self.flights.iter().filter(|flight| flight.stream.id > last_stream);
        let above: Vec<StreamRef> = above.map(|flight| flight.stream).collect();
        for stream in above {
            let ticket = self.flights.remove(stream).and_then(|flight| flight.ticket);
            self.unprocessed.extend(ticket);
        }
        self.unprocessed.sort_unstable_by_key(|ticket| ticket.due_us);
        self.idle.retain(|stream| stream.id <= last_stream);
    }
}
