//! A client that speaks HTTP/2: streams side by side, bodies both ways, windows that open late.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;

use codecs::http::h2::{ErrorCode, FieldLine, RequestLine, Role, StreamRef};

use super::call::{self, Calling};
use super::{Work, broke_http2, connect};
use crate::ask::{Ask, Verb};
use crate::http2::{Got, Link, Then};
use crate::ledger::Outcome;
use crate::message::{self, ID};
use crate::pattern;
use crate::stage::Stage;

/// An exchange that takes longer than this has hung, ms.
const PATIENCE_MS: u64 = 600_000;

/// A stream's exchange.
pub(super) struct Flight {
    pub(super) stream: StreamRef,
    pub(super) ask: Ask,
    pub(super) head: bool,
    pub(super) is_origins: bool,
    pub(super) status: u16,
    pub(super) body_bytes: u64,
    /// The client gives up when it has received so many.
    pub(super) gives_up_at: u64,
    pub(super) call: Option<Calling>,
}

struct Client<'a> {
    stage: &'a mut Stage,
    work: &'a mut Work,
    link: Link,
    flights: BTreeMap<u32, Flight>,
    /// Streams that this connection may carry yet.
    left: u64,
    over: bool,
}

pub(crate) async fn run(mut stage: Stage, mut work: Work) {
    while work.exchanges > 0 {
        let Some(socket) = connect(&mut stage, work.listener).await else {
            work.give_up(&mut stage);
            break;
        };
        let link = Link::new(Role::Client, socket, &mut stage.random);
        let left = stage.random.between(1, 30);
        let client = Client { stage: &mut stage, work: &mut work, link, flights: BTreeMap::new(), left, over: false };
        client.run().await;
    }
    stage.ledger.clients.set(stage.ledger.clients.get() - 1);
}

impl Client<'_> {
    async fn run(mut self) {
        let timer = self.stage.core.timer();
        let mut deadline_ms = self.stage.core.now_ms() + PATIENCE_MS;
        poll_fn(|_| {
            let core = self.stage.core.clone();
            while let Some(got) = self.link.next(self.stage) {
                self.take(got);
                deadline_ms = core.now_ms() + PATIENCE_MS;
            }
            self.open();
            let may_open = self.left > 0 && self.work.exchanges > 0 && !self.link.connection.is_draining();
            let due_ms = self.link.pump(self.stage);
            if self.over || (self.flights.is_empty() && !may_open) {
                return Poll::Ready(());
            }
            if core.now_ms() >= deadline_ms {
                let ids: Vec<u64> = self.flights.values().map(|flight| flight.ask.id).collect();
                self.stage.ledger.violation(format!("exchanges {ids:?} hang"));
                return Poll::Ready(());
            }
            timer.set(deadline_ms.min(due_ms));
            Poll::Pending
        })
        .await;
        if !self.over {
            self.link.go_away();
            self.link.pump(self.stage);
        }
    }

    /// Begins as many exchanges as may be under way.
    fn open(&mut self) {
        while !self.over
            && self.left > 0
            && (self.flights.len() as u64) < self.work.at_once
            && self.link.connection.is_established()
            && self.link.connection.can_open().is_ok()
        {
            let Some(ask) = self.work.next(self.stage) else { return };
            self.left -= 1;
            self.stage.ledger.sent(ask.id, self.link.socket.local_address(), true);
            let gives_up = self.stage.random.chance(self.stage.profile.aborts);
            let gives_up_at = if gives_up { self.stage.random.size(ask.response.max(1)) } else { u64::MAX };
            let stream = match ask.call {
                Some(call) => call::open(&mut self.link, &ask, call),
                None => self.send(&ask),
            };
            let Some(stream) = stream else {
                self.stage.ledger.violation("a stream can't be opened although it could".into());
                return;
            };
            let calling = ask.call.map(|call| Calling::new(call, ask.id, self.stage.core.now_ms()));
            let mut flight = Flight {
                stream,
                ask,
                head: false,
                is_origins: false,
                status: 0,
                body_bytes: 0,
                gives_up_at,
                call: calling,
            };
            if let Some(calling) = &mut flight.call {
                calling.send(stream, 0, &mut self.link);
            }
            self.flights.insert(stream.id, flight);
        }
    }

    /// Sends a request; `None` if there is no room for its stream.
    fn send(&mut self, ask: &Ask) -> Option<StreamRef> {
        let (path, id, length) = (ask.path(), ask.id.to_string(), ask.body.to_string());
        let line = RequestLine {
            method: ask.verb.name().as_bytes(),
            scheme: b"http",
            authority: b"sim.example",
            path: path.as_bytes(),
            protocol: None,
        };
        let fields: [FieldLine<'_>; 2] =
            [(ID.as_bytes(), id.as_bytes(), false), (b"content-length", length.as_bytes(), false)];
        let has_body = matches!(ask.verb, Verb::Put | Verb::Post);
        let fields = &fields[..if has_body && !ask.chunked { 2 } else { 1 }];
        let link = &mut self.link;
        let stream = link.connection.send_request(&line, fields.iter().copied(), !has_body, &mut link.out).ok()?;
        if has_body {
            let mut body = Vec::new();
            pattern::fill(&mut body, ask.id, 0, ask.body);
            link.send_body(stream, body, Then::End);
        }
        Some(stream)
    }

    fn take(&mut self, got: Got) {
        match got {
            Got::Response { stream, end, head, text } => {
                let Some(flight) = self.flights.get_mut(&stream.id) else { return };
                flight.head = true;
                flight.status = head.status;
                match message::check_response(&text, &head.fields, head.status, &flight.ask) {
                    Ok(is_origins) => flight.is_origins = is_origins,
                    Err(what) => self.stage.ledger.violation(what),
                }
                if let Some(calling) = &flight.call {
                    let ended = calling.head(flight, end, &head, &text, self.stage.core.now_ms());
                    return self.judge_call(stream, ended);
                }
                if end {
                    self.finish(stream);
                }
            }
            Got::Data { stream, bytes, end } => {
                let Some(flight) = self.flights.get_mut(&stream.id) else { return };
                if let Some(calling) = &mut flight.call {
                    let at = flight.body_bytes as usize;
                    let checked = calling.data(flight.is_origins, at, &bytes, end);
                    flight.body_bytes += bytes.len() as u64;
                    calling.send(stream, flight.body_bytes as usize, &mut self.link);
                    if flight.body_bytes >= flight.gives_up_at {
                        self.link.reset(stream, ErrorCode::Cancel);
                        self.end(stream, Outcome::Abandoned);
                    }
                    return self.judge_call(stream, checked.map(|()| None));
                }
                if flight.is_origins
                    && let Err(what) = pattern::check(flight.ask.id, flight.body_bytes, &bytes)
                {
                    self.stage.ledger.violation(what);
                }
                flight.body_bytes += bytes.len() as u64;
                if end {
                    self.finish(stream);
                } else if flight.body_bytes >= flight.gives_up_at {
                    self.link.reset(stream, ErrorCode::Cancel);
                    self.end(stream, Outcome::Abandoned);
                }
            }
            Got::Trailers { stream, fields, text } => {
                let Some(flight) = self.flights.get(&stream.id) else { return };
                match &flight.call {
                    Some(calling) => {
                        let ended = calling.trailers(flight, &fields, &text, self.stage.core.now_ms());
                        self.judge_call(stream, ended.map(Some));
                    }
                    None => self.finish(stream),
                }
            }
            Got::Reset { stream, code } => {
                let Some(flight) = self.flights.get(&stream.id) else { return };
                let outcome = match code {
                    ErrorCode::RefusedStream => Outcome::NotTaken,
                    _ => Outcome::Broken { orderly: false, head: flight.head },
                };
                self.end(stream, outcome);
            }
            Got::GoAway { last_stream } => {
                let above: Vec<StreamRef> =
                    self.flights.range(last_stream.saturating_add(1)..).map(|(_, flight)| flight.stream).collect();
                above.into_iter().for_each(|stream| self.end(stream, Outcome::NotTaken));
            }
            Got::Broken(what) => {
                broke_http2(self.stage, self.work.listener, &self.link.connection, &what);
                self.over = true;
            }
            Got::Over { orderly } => {
                self.over = true;
                let all: Vec<(StreamRef, bool)> =
                    self.flights.values().map(|flight| (flight.stream, flight.head)).collect();
                for (stream, head) in all {
                    let outcome = match head {
                        // The protocol tells an end from a break: a body without its end is never whole.
                        true => Outcome::Broken { orderly: false, head },
                        false => Outcome::NoAnswer { orderly },
                    };
                    self.end(stream, outcome);
                }
            }
            Got::Refused => {}
            Got::Request { .. } => self.stage.ledger.violation("the proxy asks a client".into()),
        }
    }

    /// What came of a call: `None`: it goes on.
    fn judge_call(&mut self, stream: StreamRef, ended: Result<Option<Outcome>, String>) {
        match ended {
            Ok(None) => {}
            Ok(Some(outcome)) => self.end_answered(stream, outcome),
            Err(what) => {
                let id = self.flights.get(&stream.id).map(|flight| flight.ask.id);
                self.stage.ledger.violation(format!("call {id:?}: {what}"));
            }
        }
    }

    fn finish(&mut self, stream: StreamRef) {
        let Some(flight) = self.flights.get(&stream.id) else { return };
        if flight.is_origins && flight.body_bytes != flight.ask.response_bytes() {
            let (bytes, id, asked) = (flight.body_bytes, flight.ask.id, flight.ask.response_bytes());
            self.stage.ledger.violation(format!("{bytes} bytes of body {id}, {asked} were asked for"));
        }
        let outcome = if flight.is_origins { Outcome::Answer(flight.status) } else { Outcome::Refused(flight.status) };
        self.end_answered(stream, outcome);
    }

    fn end_answered(&mut self, stream: StreamRef, outcome: Outcome) {
        // An answer may come before the request was sent whole.
        if self.link.connection.is_open(stream) {
            self.link.reset(stream, ErrorCode::NoError);
        }
        self.end(stream, outcome);
    }

    fn end(&mut self, stream: StreamRef, outcome: Outcome) {
        if let Some(flight) = self.flights.remove(&stream.id) {
            self.stage.ledger.end(flight.ask.id, self.work.listener, outcome, &[]);
        }
    }
}
