//! A client that speaks HTTP/2: streams side by side, bodies both ways, windows that open late.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;

use codecs::http::h2::{ErrorCode, FieldLine, RequestLine, Role, StreamRef};

use super::{Work, connect};
use crate::ask::{Ask, Verb};
use crate::http2::{Got, Link};
use crate::ledger::Outcome;
use crate::message::{self, ID};
use crate::pattern;
use crate::stage::Stage;

/// An exchange that takes longer than this has hung, ms.
const PATIENCE_MS: u64 = 600_000;

/// A stream's exchange.
struct Flight {
    stream: StreamRef,
    ask: Ask,
    head: bool,
    is_origins: bool,
    status: u16,
    body_bytes: u64,
    /// The client gives up when it has received so many.
    gives_up_at: u64,
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
            let Ok(stream) =
                self.link.connection.send_request(&line, fields.iter().copied(), !has_body, &mut self.link.out)
            else {
                self.stage.ledger.violation("a stream can't be opened although it could".into());
                return;
            };
            if has_body {
                let mut body = Vec::new();
                pattern::fill(&mut body, ask.id, 0, ask.body);
                self.link.send_body(stream, body, true);
            }
            let gives_up = self.stage.random.chance(self.stage.profile.aborts);
            let gives_up_at = if gives_up { self.stage.random.size(ask.response.max(1)) } else { u64::MAX };
            let flight = Flight { stream, ask, head: false, is_origins: false, status: 0, body_bytes: 0, gives_up_at };
            self.flights.insert(stream.id, flight);
        }
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
                if end {
                    self.finish(stream);
                }
            }
            Got::Data { stream, bytes, end } => {
                let Some(flight) = self.flights.get_mut(&stream.id) else { return };
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
            Got::End { stream } => self.finish(stream),
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
                // A preface that comes by and by, over more than a second or into the end of a drain, is taken for HTTP/1.
                let by_and_by = self.stage.profile.is_sluggish() || self.stage.ledger.is_leaving(self.work.listener);
                if self.link.connection.is_established() || !by_and_by {
                    self.stage.ledger.violation(format!("the proxy's HTTP/2: {what}"));
                }
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

    fn finish(&mut self, stream: StreamRef) {
        let Some(flight) = self.flights.get(&stream.id) else { return };
        if flight.is_origins && flight.body_bytes != flight.ask.response_bytes() {
            let (bytes, id, asked) = (flight.body_bytes, flight.ask.id, flight.ask.response_bytes());
            self.stage.ledger.violation(format!("{bytes} bytes of body {id}, {asked} were asked for"));
        }
        let outcome = if flight.is_origins { Outcome::Answer(flight.status) } else { Outcome::Refused(flight.status) };
        // An answer may come before the request was sent whole.
        if self.link.is_sending(stream) {
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
