//! The client's side of a call of gRPC, on a stream of an HTTP/2 connection.

use codecs::http::h2::{FieldLine, RequestLine, StreamRef};
use codecs::http::{Field, ResponseHead};

use super::http2::Flight;
use crate::ask::Ask;
use crate::call::{CONTENT_TYPE, Call, DEADLINE_EXCEEDED, STATUS, TIMEOUT, Wire};
use crate::http2::{Link, Then};
use crate::ledger::Outcome;
use crate::message::{ID, field};

/// What a call has sent and is to get.
pub(super) struct Calling {
    call: Call,
    up: Wire,
    down: Wire,
    /// Messages that were sent.
    sent: usize,
    ended: bool,
    began_ms: u64,
}

/// Begins a call; `None` if there is no room for its stream.
pub(super) fn open(link: &mut Link, ask: &Ask, call: Call) -> Option<StreamRef> {
    let (path, id) = (ask.path(), ask.id.to_string());
    let line = RequestLine {
        method: b"POST",
        scheme: b"http",
        authority: b"sim.example",
        path: path.as_bytes(),
        protocol: None,
    };
    let timeout = call.timeout();
    let fields: [FieldLine<'_>; 3] = [
        (ID.as_bytes(), id.as_bytes(), false),
        (b"content-type", CONTENT_TYPE.as_bytes(), false),
        (b"te", b"trailers", false),
    ];
    let timeout = timeout.as_ref().map(|timeout| (TIMEOUT.as_bytes(), timeout.as_bytes(), false));
    let fields = fields.into_iter().chain(timeout);
    link.connection.send_request(&line, fields, false, &mut link.out).ok()
}

impl Calling {
    pub(super) fn new(call: Call, id: u64, now_ms: u64) -> Calling {
        Calling { call, up: call.wire_up(id), down: call.wire_down(id), sent: 0, ended: false, began_ms: now_ms }
    }

    /// Sends the messages whose turn it is when so many bytes have come down.
    pub(super) fn send(&mut self, stream: StreamRef, got: usize, link: &mut Link) {
        if self.ended {
            return;
        }
        let all = self.up.ends.len();
        let may = if self.call.in_turns { all.min(self.down.whole(got) + 1) } else { all };
        // The last message's answer is awaited before the end, too.
        self.ended = !self.call.in_turns || self.down.whole(got) == all;
        if may > self.sent || self.ended {
            let bytes = self.up.bytes[self.up.until(self.sent)..self.up.until(may)].to_vec();
            link.send_body(stream, bytes, if self.ended { Then::End } else { Then::More });
            self.sent = may;
        }
    }

    /// The head of the response; what it ends the call with, if it does.
    pub(super) fn head(
        &self,
        flight: &Flight,
        end: bool,
        head: &ResponseHead,
        text: &[u8],
        now_ms: u64,
    ) -> Result<Option<Outcome>, String> {
        if head.status != 200 {
            return Err(format!("it gets the status {}", head.status));
        }
        match end {
            true => self.end(flight.is_origins, flight, &head.fields, text, now_ms).map(Some),
            false if flight.is_origins => Ok(None),
            false => Err("a head of the proxy's that isn't its end".into()),
        }
    }

    pub(super) fn data(&self, is_origins: bool, at: usize, bytes: &[u8], end: bool) -> Result<(), String> {
        if end {
            return Err("it ends without trailers".into());
        }
        if is_origins { self.down.check(at, bytes) } else { Err("a body of the proxy's".into()) }
    }

    pub(super) fn trailers(
        &self,
        flight: &Flight,
        fields: &[Field],
        text: &[u8],
        now_ms: u64,
    ) -> Result<Outcome, String> {
        self.end(field(text, fields, ID).is_some(), flight, fields, text, now_ms)
    }

    fn end(
        &self,
        is_origins: bool,
        flight: &Flight,
        fields: &[Field],
        text: &[u8],
        now_ms: u64,
    ) -> Result<Outcome, String> {
        let status: Option<u32> = field(text, fields, STATUS).and_then(|status| status.parse().ok());
        let Some(status) = status else { return Err("it ends without a status".into()) };
        if !is_origins {
            let early = status == DEADLINE_EXCEEDED && now_ms < self.began_ms + self.call.timeout_ms;
            return if early { Err("its deadline came too early".into()) } else { Ok(Outcome::Status(status)) };
        }
        if field(text, fields, ID) != Some(&flight.ask.id.to_string()) {
            return Err("its end is another's".into());
        }
        if status != self.call.status {
            return Err(format!("it ends with {status}, not {}", self.call.status));
        }
        let got = flight.body_bytes as usize;
        if got != self.down.bytes.len() {
            return Err(format!("{got} bytes of messages, {} were sent", self.down.bytes.len()));
        }
        Ok(Outcome::Answer(200))
    }
}
