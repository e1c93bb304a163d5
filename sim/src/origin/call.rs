//! The server's side of a call of gRPC.

use codecs::http::RequestHead;
use codecs::http::h2::{FieldLine, StreamRef};

use crate::call::{CONTENT_TYPE, Call, STATUS, TIMEOUT, Wire};
use crate::http2::{Link, Then};
use crate::message::{ID, field};

pub(super) struct Serving {
    call: Call,
    id: u64,
    up: Wire,
    down: Wire,
    /// Bytes of the client's messages that came, and of ours that were sent.
    got: usize,
    sent: usize,
    /// The client has sent all.
    pub(super) ended: bool,
    /// It is being broken off.
    cut: bool,
    finished: bool,
}

impl Serving {
    pub(super) fn new(call: Call, id: u64) -> Serving {
        let (up, down) = (call.wire_up(id), call.wire_down(id));
        Serving { call, id, up, down, got: 0, sent: 0, ended: false, cut: false, finished: false }
    }

    /// Whether the head is that of the call.
    pub(super) fn check(&self, head: &RequestHead, text: &[u8]) -> Result<(), String> {
        let kind = field(text, &head.fields, "content-type");
        if kind != Some(CONTENT_TYPE) || !head.te_trailers {
            return Err(format!("content type {kind:?}, trailers wanted: {}", head.te_trailers));
        }
        let timeout = field(text, &head.fields, TIMEOUT);
        match timeout == self.call.timeout().as_deref() {
            true => Ok(()),
            false => Err(format!("its time is {timeout:?}")),
        }
    }

    pub(super) fn data(&mut self, at: usize, bytes: &[u8]) -> Result<(), String> {
        self.got = at + bytes.len();
        self.up.check(at, bytes)
    }

    /// There is more to be sent than what is on its way.
    pub(super) fn goes_on(&self) -> bool {
        !self.cut && !self.finished
    }

    /// Sends the head; true: it is all there is. `cut`: after how many bytes of messages it is broken off.
    pub(super) fn begin(&mut self, stream: StreamRef, cut: Option<usize>, link: &mut Link) -> bool {
        let (id, status) = (self.id.to_string(), self.call.status.to_string());
        let fields: [FieldLine<'_>; 3] = [
            (ID.as_bytes(), id.as_bytes(), false),
            (b"content-type", CONTENT_TYPE.as_bytes(), false),
            (STATUS.as_bytes(), status.as_bytes(), false),
        ];
        let bare = self.call.bare;
        let fields = &fields[..if bare { 3 } else { 2 }];
        // An error means that the stream is gone; its event has come or will.
        let _ = link.connection.send_response(stream, 200, fields.iter().copied(), bare, &mut link.out);
        self.finished = bare;
        if let Some(cut) = cut {
            self.cut = true;
            link.send_body(stream, self.down.bytes[..cut].to_vec(), Then::More);
        }
        bare
    }

    /// Sends the messages whose turn it is, and the trailers behind the last.
    pub(super) fn answer(&mut self, stream: StreamRef, link: &mut Link) {
        if self.cut || self.finished {
            return;
        }
        let in_turns = self.call.in_turns;
        let until = if in_turns { self.down.until(self.up.whole(self.got)) } else { self.down.bytes.len() };
        self.finished = !in_turns || self.ended;
        let then = match self.finished {
            true => Then::Trailers(vec![(STATUS, self.call.status.to_string()), (ID, self.id.to_string())]),
            false => Then::More,
        };
        if until > self.sent || self.finished {
            link.send_body(stream, self.down.bytes[self.sent..until].to_vec(), then);
            self.sent = until;
        }
    }
}
