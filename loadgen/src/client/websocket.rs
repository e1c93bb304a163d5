//! One WebSocket over HTTP/1.1: upgrades, then sends a message for each ticket and waits for its echo.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use codecs::Status;
use codecs::http::h1::parse_response;
use codecs::http::{FieldId, HeadLimits, Method, ResponseHead};
use runtime::{Slice, Timer};

use super::connect::{self, AHEAD_TIMEOUT_MS, Retry};
use super::failure::{Failed, Failure};
use super::lane::Lane;
use super::request::WEBSOCKET_KEY;
use super::response::Answer;
use super::schedule::Ticket;
use crate::transport::{Input, Transport};
use crate::ws::{self, Found};

struct Connection {
    lane: Rc<Lane>,
    transport: Option<Transport>,
    timer: Timer,
    reader: ws::Reader,
    retry: Retry,
}

/// Sends messages on one connection after the other until the schedule has no more.
pub(crate) async fn run(lane: Rc<Lane>, index: usize) {
    let mut connection = Connection {
        transport: None,
        timer: lane.core.timer(),
        reader: ws::Reader::default(),
        retry: Retry::default(),
        lane: lane.clone(),
    };
    let timeout_ms = AHEAD_TIMEOUT_MS.min(lane.plan.timeout_us.div_ceil(1000));
    connection.timer.set(lane.core.now_ms() + timeout_ms);
    connection.transport = connection.connect().await.ok();
    lane.ready();
    loop {
        let ticket = poll_fn(|context| lane.schedule.poll_ticket(index, lane.core.now_us(), context)).await;
        let Some(ticket) = ticket else { break };
        connection.serve(ticket).await;
    }
    connection.say_goodbye();
    lane.ended();
}

impl Connection {
    async fn serve(&mut self, ticket: Ticket) {
        let lane = self.lane.clone();
        lane.started(ticket);
        match self.exchange(ticket).await {
            Ok(answer) => {
                self.retry.succeeded();
                lane.answered(ticket, &answer);
            }
            Err(failed) => {
                self.transport = None;
                lane.failed(ticket, &failed);
                self.retry.failed(&lane, &failed).await;
            }
        }
    }

    async fn exchange(&mut self, ticket: Ticket) -> Result<Answer, Failed> {
        let deadline_us = ticket.due_us + self.lane.plan.timeout_us;
        if self.lane.core.now_us() >= deadline_us {
            // It waited for a free connection until its time was up.
            return Err(Failure::Timeout.into());
        }
        self.timer.set(deadline_us.div_ceil(1000));
        if self.transport.as_ref().is_none_or(Transport::has_input) {
            self.transport = None;
            self.transport = Some(self.connect().await?);
        }
        let Connection { lane, transport: Some(transport), reader, timer, .. } = self else {
            return Err(Failure::Other.into());
        };
        transport.send_slice(lane.request.clone());
        let mut bytes = 0;
        loop {
            let slice = receive(transport, timer).await?;
            bytes += slice.len() as u64;
            let mut input = &slice[..];
            match reader.feed(&mut input, &lane.plan.message) {
                Ok(Found::NeedMore) => {}
                Ok(Found::Message) if input.is_empty() => break,
                Ok(Found::Message) => return Err(Failed::bad_response(&"bytes behind the message")),
                Ok(Found::Close) => return Err(Failure::ClosedEarly.into()),
                Err(reason) => return Err(Failed::bad_response(&reason)),
            }
        }
        let body_bytes = lane.plan.message.len() as u64;
        Ok(Answer { status: 101, keep_alive: true, bytes, body_bytes, grpc_status: None })
    }

    /// A connection that the server has made a WebSocket of.
    async fn connect(&mut self) -> Result<Transport, Failed> {
        self.reader = ws::Reader::default();
        let transport = connect::connect(&self.lane, &self.timer).await?;
        transport.send(&self.lane.plan.request);
        let (mut received, mut head) = (Vec::new(), ResponseHead::default());
        loop {
            received.extend_from_slice(&receive(&transport, &self.timer).await?);
            let parsed = parse_response(&received, &HeadLimits::default(), Method::Get, &mut head);
            match parsed.map_err(|error| Failed::bad_response(&error))? {
                Status::Partial => continue,
                Status::Complete(n) if head.status == 101 && n == received.len() => break,
                Status::Complete(_) if head.status == 101 => {
                    return Err(Failed::bad_response(&"bytes behind the upgrade that nobody asked for"));
                }
                Status::Complete(_) => {
                    let detail = format!("the WebSocket was refused with status {}", head.status);
                    return Err(Failed::bad_response(&detail));
                }
            }
        }
        let accept = head.field(FieldId::SecWebsocketAccept).map(|field| field.value.of(&received));
        if accept != Some(&ws::accept(WEBSOCKET_KEY.as_bytes())) {
            return Err(Failed::bad_response(&"sec-websocket-accept is no answer to the key"));
        }
        Ok(transport)
    }

    fn say_goodbye(self) {
        let Some(transport) = self.transport else { return };
        let mut close = Vec::new();
        ws::Head { last: true, opcode: ws::CLOSE, mask: Some([0; 4]), bytes: 0 }.emit(&mut close);
        transport.send(&close);
        transport.close();
    }
}

async fn receive(transport: &Transport, timer: &Timer) -> Result<Slice, Failed> {
    poll_fn(|_| match transport.poll_recv() {
        Poll::Ready(Input::Data(slice)) => Poll::Ready(Ok(slice)),
        Poll::Ready(Input::End) => Poll::Ready(Err(Failure::ClosedEarly.into())),
        Poll::Ready(Input::Failed(fault)) => Poll::Ready(Err(Failed::connection(&fault))),
        Poll::Pending if timer.expired() => Poll::Ready(Err(Failure::Timeout.into())),
        Poll::Pending => Poll::Pending,
    })
    .await
}
