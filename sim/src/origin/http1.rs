//! An origin that speaks HTTP/1.1.

use std::net::SocketAddr;

use codecs::Status;
use codecs::http::h1::{BodyDecoder, BodyPart, RequestOptions, emit, parse_request};
use codecs::http::{HeadLimits, RequestHead};
use runtime::{Received, Socket, Timer};

use super::{drained, tcp, unasked};
use crate::ask::{Ask, Ending};
use crate::client::http1::emit_body;
use crate::client::tcp::TUNNEL_PATH;
use crate::message::{GOT, ID, field};
use crate::pattern;
use crate::stage::{Stage, recv_until};

struct Connection {
    stage: Stage,
    socket: Socket,
    timer: Timer,
    input: Vec<u8>,
    from: SocketAddr,
    is_fresh: bool,
    /// Something was said unasked: nothing else will be.
    has_spoken: bool,
    /// The proxy had taken it long before this request was sent.
    is_late: bool,
}

/// The connection is over.
struct Over;

pub(crate) async fn serve(stage: Stage, socket: Socket) {
    let timer = stage.core.timer();
    let Some(from) = socket.peer_address() else { return };
    let mut connection =
        Connection { stage, socket, timer, input: Vec::new(), from, is_fresh: true, has_spoken: false, is_late: false };
    while let Ok(true) = connection.exchange().await {
        if connection.speak().await.is_err() {
            break;
        }
    }
    if connection.input.is_empty() {
        return;
    }
    connection.socket.close_lingering();
}

impl Connection {
    /// One exchange; whether another may follow.
    async fn exchange(&mut self) -> Result<bool, Over> {
        let mut head = RequestHead::default();
        let Some(ask) = self.read_head(&mut head).await? else { return Ok(false) };
        let place = self.stage.ledger.visit(&ask, self.from);
        if self.has_spoken {
            self.stage.ledger.visited(ask.id, place, |visit| visit.spoken_over = true);
            return self.speaks_over(&ask.id.to_string());
        }
        let got = if ask.early { 0 } else { self.read_body(&head, &ask, place).await? };
        if ask.delay_ms > 0 {
            self.stage.core.sleep_ms(ask.delay_ms).await;
        }
        if ask.ending.is_breach() {
            self.stage.ledger.visited(ask.id, place, |visit| visit.breach = true);
        }
        match ask.ending {
            Ending::NoAnswer => return Ok(false),
            Ending::Reset => return self.reset(),
            _ => {}
        }
        let (mut out, last) = self.answer(&ask, got);
        let cut = matches!(ask.ending, Ending::CutOff | Ending::ResetInBody);
        if cut {
            let keep = self.stage.random.below(out.len() as u64) as usize;
            out.truncate(keep);
        }
        let mut rest = &out[..];
        while !rest.is_empty() {
            let n = if self.stage.random.chance(200) {
                self.stage.random.size(rest.len() as u64)
            } else {
                rest.len() as u64
            };
            self.socket.send(&rest[..n as usize]);
            rest = &rest[n as usize..];
            if rest.is_empty() && !cut {
                self.stage.ledger.visited(ask.id, place, |visit| visit.answered = true);
            }
            let pause_ms = self.stage.pause_ms();
            if pause_ms > 0 {
                self.stage.core.sleep_ms(pause_ms).await;
            }
            if !drained(&self.socket).await {
                return Err(Over);
            }
        }
        match ask.ending {
            Ending::ResetInBody => return self.reset(),
            Ending::CutOff => return Ok(false),
            _ => {}
        }
        if ask.early {
            // What is left of the request is read, so that the answer isn't lost with a reset.
            self.read_body(&head, &ask, place).await?;
        }
        Ok(!last && head.keep_alive)
    }

    /// Perhaps says something that nobody has asked for, behind the response or a while later.
    async fn speak(&mut self) -> Result<(), Over> {
        if self.has_spoken || !self.input.is_empty() || !self.stage.random.chance(self.stage.profile.unasked) {
            return Ok(());
        }
        if self.stage.random.chance(500) {
            let until_ms = self.stage.core.now_ms() + self.stage.random.size(self.stage.profile.origin_idle_ms_max);
            match recv_until(&self.stage.core, &self.socket, &self.timer, until_ms).await {
                Some(Received::Data(slice)) => {
                    self.input.extend_from_slice(&slice);
                    return Ok(());
                }
                Some(Received::End | Received::Failed(_)) => return Err(Over),
                None => {}
            }
        }
        let bytes = unasked::draw(&mut self.stage.random);
        self.stage.ledger.recorder.note("origin", &format!("says {} bytes unasked to {}", bytes.len(), self.from));
        self.stage.ledger.unasked.set(self.stage.ledger.unasked.get() + 1);
        self.has_spoken = true;
        self.socket.send(&bytes);
        Ok(())
    }

    /// The first bytes behind something unasked are here: whether the proxy had taken that for so long that it can't have
    /// sent them before.
    fn came_late(&self) -> bool {
        let Some(here) = self.socket.local_address() else { return false };
        let heard_us = self.stage.ledger.recorder.heard_us(self.from, here);
        let now_us = self.stage.core.now_us();
        self.socket.unsent_bytes() == 0
            && heard_us.is_some_and(|heard_us| now_us > heard_us + self.stage.profile.lag_us())
    }

    fn reset(&mut self) -> Result<bool, Over> {
        self.socket.reset_when_dropped();
        self.input.clear();
        Err(Over)
    }

    /// The next request's head; `None`: the connection ends before it.
    async fn read_head(&mut self, head: &mut RequestHead) -> Result<Option<Ask>, Over> {
        let limits = HeadLimits::default();
        let idle_ms = self.stage.random.size(self.stage.profile.origin_idle_ms_max);
        // Who has just connected is given time: the proxy doesn't send again what met the end of a fresh connection.
        let is_fresh = std::mem::take(&mut self.is_fresh);
        let deadline_ms = if is_fresh { u64::MAX } else { self.stage.core.now_ms() + idle_ms };
        loop {
            let parsed = parse_request(&self.input, &limits, &RequestOptions::default(), head);
            match parsed {
                Ok(Status::Complete(n)) if head.path.of(&self.input) == TUNNEL_PATH.as_bytes() => {
                    return self.tunnel(head, n).await;
                }
                Ok(Status::Complete(n)) => {
                    let ask = self.check(head);
                    self.input.drain(..n);
                    return ask.map(Some);
                }
                Ok(Status::Partial) => {}
                Err(error) => {
                    let text = String::from_utf8_lossy(&self.input).into_owned();
                    self.stage.ledger.violation(format!("the proxy sends no request: {error}: {text}"));
                    return Err(Over);
                }
            }
            let until_ms = if self.input.is_empty() { deadline_ms } else { u64::MAX };
            match recv_until(&self.stage.core, &self.socket, &self.timer, until_ms).await {
                Some(Received::Data(slice)) => {
                    if self.has_spoken && self.input.is_empty() {
                        self.is_late = self.came_late();
                    }
                    self.input.extend_from_slice(&slice);
                }
                Some(Received::End | Received::Failed(_)) => return Err(Over),
                None => {
                    self.stage.ledger.orderly_closes.set(self.stage.ledger.orderly_closes.get() + 1);
                    self.stage.ledger.recorder.note("origin", &format!("ends its idle connection with {}", self.from));
                    return Ok(None);
                }
            }
        }
    }

    /// A request came on a connection on which something had been said unasked: the proxy may have taken it for the
    /// answer.
    fn speaks_over(&mut self, what: &str) -> Result<bool, Over> {
        if self.is_late {
            let what = format!("{what} was sent on a connection on which an answer to nothing had come");
            self.stage.ledger.violation(what);
        }
        self.stage.ledger.orderly_closes.set(self.stage.ledger.orderly_closes.get() + 1);
        self.reset()
    }

    /// The connection becomes a tunnel, and ends with it.
    async fn tunnel(&mut self, head: &RequestHead, consumed: usize) -> Result<Option<Ask>, Over> {
        if self.has_spoken {
            return self.speaks_over("an upgrade").map(|_| None);
        }
        if head.upgrade.map(|upgrade| upgrade.of(&self.input)) != Some(b"websocket") {
            self.stage.ledger.violation("a tunnel's request came without its upgrade".into());
            return Err(Over);
        }
        let rest: Box<[u8]> = self.input.drain(..).skip(consumed).collect();
        let mut out = Vec::new();
        emit::status_line(&mut out, 101, b"Switching Protocols");
        emit::field(&mut out, b"connection", b"upgrade");
        emit::field(&mut out, b"upgrade", b"websocket");
        emit::end_of_head(&mut out);
        self.socket.send(&out);
        if !rest.is_empty() {
            self.socket.unrecv(self.stage.core.own(rest));
        }
        tcp::converse(&mut self.stage, &mut self.socket).await;
        Err(Over)
    }

    fn check(&self, head: &RequestHead) -> Result<Ask, Over> {
        let text = String::from_utf8_lossy(head.path.of(&self.input)).into_owned();
        let Some(ask) = Ask::of_path(&text) else {
            self.stage.ledger.violation(format!("the proxy asks for {text}"));
            return Err(Over);
        };
        let id = field(&self.input, &head.fields, ID);
        let method = head.method_span.of(&self.input);
        if id != Some(&ask.id.to_string()) || method != ask.verb.name().as_bytes() {
            self.stage.ledger.violation(format!("the head of {} came with the path of {id:?}", ask.id));
            return Err(Over);
        }
        Ok(ask)
    }

    /// Reads the body, or what is left of it.
    async fn read_body(&mut self, head: &RequestHead, ask: &Ask, place: usize) -> Result<u64, Over> {
        let mut decoder = BodyDecoder::new(head.body, &HeadLimits::default());
        let mut got = 0;
        while !decoder.is_done() && !head.body.is_empty() {
            let event = match decoder.decode(&self.input) {
                Ok(event) => event,
                Err(error) => {
                    self.stage.ledger.violation(format!("the body of {} is none: {error}", ask.id));
                    return Err(Over);
                }
            };
            if let BodyPart::Data(range) = &event.part {
                if let Err(what) = pattern::check(ask.id, got, &self.input[range.clone()]) {
                    self.stage.ledger.violation(format!("at the origin: {what}"));
                    return Err(Over);
                }
                got += range.len() as u64;
            }
            self.input.drain(..event.consumed);
            if event.part == BodyPart::NeedMore {
                let pause_ms = self.stage.pause_ms();
                if pause_ms > 0 {
                    self.stage.core.sleep_ms(pause_ms).await;
                }
                match self.socket.recv().await {
                    Received::Data(slice) => self.input.extend_from_slice(&slice),
                    Received::End | Received::Failed(_) => return Err(Over),
                }
            }
        }
        if got != ask.body {
            self.stage.ledger.violation(format!("{got} bytes of the body of {}, not {}", ask.id, ask.body));
            return Err(Over);
        }
        self.stage.ledger.visited(ask.id, place, |visit| visit.whole = true);
        Ok(got)
    }

    /// The answer's bytes, and whether it ends the connection.
    fn answer(&mut self, ask: &Ask, got: u64) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        if self.stage.random.chance(30) {
            emit::status_line(&mut out, 103, b"Early Hints");
            emit::end_of_head(&mut out);
        }
        emit::status_line(&mut out, ask.status, b"Simulated");
        emit::field(&mut out, ID.as_bytes(), ask.id.to_string().as_bytes());
        emit::field(&mut out, GOT.as_bytes(), got.to_string().as_bytes());
        let until_close = ask.ending == Ending::UntilClose;
        let last = until_close || ask.ending == Ending::Close;
        if last {
            emit::field(&mut out, b"connection", b"close");
        }
        let has_body = !matches!(ask.status, 204 | 304);
        if has_body && !until_close {
            match ask.response_chunked {
                true => emit::transfer_encoding_chunked(&mut out),
                false => emit::content_length(&mut out, ask.response),
            }
        }
        emit::end_of_head(&mut out);
        let chunked = ask.response_chunked && !until_close;
        if has_body && ask.verb != crate::ask::Verb::Head {
            emit_body(&mut out, ask.id, ask.response, chunked, &mut self.stage);
        }
        (out, last)
    }
}
