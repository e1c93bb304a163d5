//! An origin that speaks HTTP/2.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;

use codecs::http::RequestHead;
use codecs::http::h2::{ErrorCode, FieldLine, Role, StreamRef};
use runtime::Socket;

use super::call::Serving;
use super::tunnel::Tunnel;
use crate::ask::{Ask, Ending, Verb};
use crate::http2::{Got, Link, Then};
use crate::message::{GOT, ID, field};
use crate::pattern;
use crate::stage::Stage;

struct Visitor {
    stream: StreamRef,
    ask: Ask,
    place: usize,
    got: u64,
    /// When it is answered, ms; MAX while it isn't known.
    due_ms: u64,
    answered: bool,
    call: Option<Serving>,
}

struct Origin {
    stage: Stage,
    link: Link,
    from: SocketAddr,
    visitors: BTreeMap<u32, Visitor>,
    tunnels: BTreeMap<u32, Tunnel>,
    /// Requests that came on the connection: id and which visit.
    came: Vec<(u64, usize)>,
    over: bool,
    /// Ends when nothing is under way any more.
    closing: bool,
    /// Resets the connection.
    resets: bool,
    idle_ms: u64,
    requests: u64,
}

pub(crate) async fn serve(mut stage: Stage, socket: Socket) {
    let Some(from) = socket.peer_address() else { return };
    let link = Link::new(Role::Server, socket, &mut stage.random);
    let idle_ms = stage.random.size(stage.profile.origin_idle_ms_max);
    Origin {
        stage,
        link,
        from,
        visitors: BTreeMap::new(),
        tunnels: BTreeMap::new(),
        came: Vec::new(),
        over: false,
        closing: false,
        resets: false,
        idle_ms,
        requests: 0,
    }
    .run()
    .await;
}

impl Origin {
    async fn run(mut self) {
        let timer = self.stage.core.timer();
        let mut active_ms = self.stage.core.now_ms();
        poll_fn(|_| {
            let now_ms = self.stage.core.now_ms();
            while let Some(got) = self.link.next(&mut self.stage) {
                self.take(got);
                active_ms = now_ms;
            }
            self.answer_due(now_ms);
            let mut due_ms = self.link.pump(&mut self.stage);
            self.cut();
            if self.over || self.resets {
                return Poll::Ready(());
            }
            if self.visitors.is_empty() && self.tunnels.is_empty() {
                // Who has just connected is given time.
                let idle_until_ms = if self.requests > 0 { active_ms + self.idle_ms } else { u64::MAX };
                if now_ms >= idle_until_ms && !self.closing {
                    let ledger = &self.stage.ledger;
                    ledger.orderly_closes.set(ledger.orderly_closes.get() + 1);
                    ledger.recorder.note("origin", &format!("ends its idle connection with {}", self.from));
                    self.closing = true;
                    self.link.go_away();
                }
                if self.closing {
                    self.link.pump(&mut self.stage);
                    return Poll::Ready(());
                }
                due_ms = due_ms.min(idle_until_ms);
            }
            let answers = self.visitors.values().filter(|visitor| !visitor.answered).map(|visitor| visitor.due_ms);
            let due_ms = due_ms.min(answers.min().unwrap_or(u64::MAX));
            if due_ms == u64::MAX {
                timer.clear();
            } else {
                timer.set(due_ms);
            }
            Poll::Pending
        })
        .await;
        if self.resets {
            self.link.socket.reset();
        } else {
            self.link.socket.close_lingering();
        }
    }

    fn take(&mut self, got: Got) {
        match got {
            Got::Request { stream, end, head, text } => self.begin(stream, end, &head, &text),
            Got::Data { stream, bytes, end } => {
                if let Some(tunnel) = self.tunnels.get_mut(&stream.id) {
                    return tunnel.take(&bytes, end, &mut self.stage, &mut self.link);
                }
                let Some(visitor) = self.visitors.get_mut(&stream.id) else { return };
                let checked = match &mut visitor.call {
                    Some(serving) => serving.data(visitor.got as usize, &bytes),
                    None => pattern::check(visitor.ask.id, visitor.got, &bytes),
                };
                if let Err(what) = checked {
                    self.stage.ledger.violation(format!("at the origin: {what}"));
                }
                visitor.got += bytes.len() as u64;
                if visitor.answered
                    && let Some(serving) = &mut visitor.call
                {
                    serving.answer(stream, &mut self.link);
                }
                if end {
                    self.ended(stream);
                }
            }
            Got::Trailers { stream, .. } => self.ended(stream),
            Got::Reset { stream, .. } => {
                self.tunnels.remove(&stream.id);
                let removed = self.visitors.remove(&stream.id);
                let unanswered = removed.is_some_and(|visitor| !visitor.answered);
                if unanswered && self.stage.random.chance(self.stage.profile.unasked) {
                    self.link.answer_late(stream, &mut self.stage.random);
                }
            }
            Got::GoAway { .. } => self.closing = true,
            Got::Refused => {
                let refused = &self.stage.ledger.refused_streams;
                refused.set(refused.get() + 1);
            }
            Got::Broken(what) => self.stage.ledger.violation(format!("the proxy's HTTP/2 at the origin: {what}")),
            Got::Over { .. } => self.over = true,
            Got::Response { .. } => self.stage.ledger.violation("the proxy answers an origin".into()),
        }
    }

    fn begin(&mut self, stream: StreamRef, end: bool, head: &RequestHead, text: &[u8]) {
        let path = String::from_utf8_lossy(head.path.of(text)).into_owned();
        if let Some(protocol) = head.protocol {
            self.requests += 1;
            let tunnel = Tunnel::begin(stream, &path, protocol.of(text), &mut self.stage, &mut self.link);
            self.tunnels.insert(stream.id, tunnel);
            return;
        }
        let Some(ask) = Ask::of_path(&path) else {
            return self.stage.ledger.violation(format!("the proxy asks for {path}"));
        };
        let id = field(text, &head.fields, ID);
        if id != Some(&ask.id.to_string()) || head.method_span.of(text) != ask.verb.name().as_bytes() {
            return self.stage.ledger.violation(format!("the head of {} came with the path of {id:?}", ask.id));
        }
        self.requests += 1;
        let place = self.stage.ledger.visit(&ask, self.from);
        self.came.push((ask.id, place));
        let due_ms = if ask.early { self.stage.core.now_ms() + ask.delay_ms } else { u64::MAX };
        let call = ask.call.map(|call| Serving::new(call, ask.id));
        if let Some(serving) = &call
            && let Err(what) = serving.check(head, text)
        {
            self.stage.ledger.violation(format!("call {} at the origin: {what}", ask.id));
        }
        let visitor = Visitor { stream, ask, place, got: 0, due_ms, answered: false, call };
        self.visitors.insert(stream.id, visitor);
        if end {
            self.ended(stream);
        }
    }

    /// The request is there whole.
    fn ended(&mut self, stream: StreamRef) {
        let Some(visitor) = self.visitors.get_mut(&stream.id) else { return };
        let ask = &visitor.ask;
        if visitor.got != ask.body {
            let (got, id, body) = (visitor.got, ask.id, ask.body);
            self.stage.ledger.violation(format!("{got} bytes of the body of {id}, not {body}"));
        }
        self.stage.ledger.visited(ask.id, visitor.place, |visit| visit.whole = true);
        visitor.due_ms = visitor.due_ms.min(self.stage.core.now_ms() + ask.delay_ms);
        if let Some(serving) = &mut visitor.call {
            serving.ended = true;
            if visitor.answered {
                serving.answer(stream, &mut self.link);
            }
        }
    }

    fn answer_due(&mut self, now_ms: u64) {
        let due = |visitor: &&mut Visitor| !visitor.answered && visitor.due_ms <= now_ms;
        let mut done = Vec::new();
        for visitor in self.visitors.values_mut().filter(due) {
            visitor.answered = true;
            let (stream, ask) = (visitor.stream, &visitor.ask);
            let has_body = !matches!(ask.status, 204 | 304);
            // A body of no bytes that was announced is whole with its head.
            let announced_empty = ask.response == 0 && !ask.response_chunked;
            let bare = ask.call.is_some_and(|call| call.bare);
            let end = !has_body || ask.verb == Verb::Head || announced_empty || bare;
            let refuses = matches!(ask.ending, Ending::NoAnswer | Ending::Reset);
            let breach = ask.ending.is_breach() && (refuses || !end);
            self.stage
                .ledger
                .visited(ask.id, visitor.place, |visit| (visit.breach, visit.answered) = (breach, !breach));
            if refuses {
                let code = self.stage.random.pick(&[ErrorCode::InternalError, ErrorCode::Cancel]);
                self.link.reset(stream, code);
                done.push(stream.id);
                continue;
            }
            if ask.ending == Ending::Close {
                // What follows on other streams is turned away.
                let closes = &self.stage.ledger.orderly_closes;
                closes.set(closes.get() + 1);
                self.closing = true;
                self.link.go_away();
            }
            if let Some(serving) = &mut visitor.call {
                let cut = breach.then(|| self.stage.random.below(ask.response.max(1)) as usize);
                match serving.begin(stream, cut, &mut self.link) {
                    true => done.push(stream.id),
                    false => serving.answer(stream, &mut self.link),
                }
                continue;
            }
            let (id, got, length) = (ask.id.to_string(), visitor.got.to_string(), ask.response.to_string());
            let fields: [FieldLine<'_>; 3] = [
                (ID.as_bytes(), id.as_bytes(), false),
                (GOT.as_bytes(), got.as_bytes(), false),
                (b"content-length", length.as_bytes(), false),
            ];
            let counted = has_body && !ask.response_chunked;
            let fields = &fields[..if counted { 3 } else { 2 }];
            let link = &mut self.link;
            // An error means that the stream is gone; its event has come or will.
            let _ = link.connection.send_response(stream, ask.status, fields.iter().copied(), end, &mut link.out);
            if end {
                done.push(stream.id);
                continue;
            }
            let mut body = Vec::new();
            pattern::fill(&mut body, ask.id, 0, ask.response);
            if breach {
                body.truncate(self.stage.random.below(ask.response.max(1)) as usize);
            }
            link.send_body(stream, body, if breach { Then::More } else { Then::End });
        }
        for id in done {
            self.visitors.remove(&id);
        }
    }

    /// Ends what is to be broken off, and lets go of what is sent whole.
    fn cut(&mut self) {
        let mut done = Vec::new();
        for visitor in self.visitors.values().filter(|visitor| visitor.answered) {
            let goes_on = visitor.call.as_ref().is_some_and(Serving::goes_on);
            if !self.link.is_sending(visitor.stream) && !goes_on {
                self.resets |= visitor.ask.ending == Ending::ResetInBody;
                done.push((visitor.stream, visitor.ask.ending.is_breach()));
            }
        }
        for (stream, cut) in done {
            self.visitors.remove(&stream.id);
            if cut {
                self.link.reset(stream, ErrorCode::InternalError);
            }
        }
        let link = &mut self.link;
        self.tunnels.retain(|_, tunnel| !tunnel.is_over(link));
        if self.resets {
            let breaks = &self.stage.ledger.breaks;
            breaks.set(breaks.get() + 1);
            // It is done to all of them; answers may be on their way.
            for (id, place) in &self.came {
                self.stage.ledger.visited(*id, *place, |visit| visit.dragged_along = true);
            }
        }
    }
}
