//! What arrives: frames told apart, one event at a time.

use super::{Connection, Phase, Role};
use crate::Status;
use crate::http::h2::budget::Budget;
use crate::http::h2::error::{Error, ErrorCode, ErrorKind};
use crate::http::h2::frame::{FRAME_HEADER_BYTES, FrameHeader, Kind, PREFACE, flags};
use crate::http::h2::head::Message;
use crate::http::h2::is_preface;
use crate::http::h2::streams::StreamRef;
use core::ops::Range;

/// What [`Connection::receive`] made of its input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Bytes at the start of the input that are done with; the rest is to be passed again.
    pub consumed: usize,
    pub event: Event,
}

/// What happened. Ranges refer to the input of the call that gave the event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Nothing more can be made of what is there: call again with the rest and more behind it.
    NeedMore,
    /// A request began; its head is in the message. With `end_stream` nothing follows.
    Request { stream: StreamRef, end_stream: bool },
    /// The final head of a response.
    Response { stream: StreamRef, end_stream: bool },
    /// The head of an interim response (1xx).
    Interim { stream: StreamRef },
    /// Part of a body; empty only with `end_stream`. To be released.
    Data { stream: StreamRef, range: Range<usize>, end_stream: bool },
    /// Trailers, which are in the message; nothing follows.
    Trailers { stream: StreamRef },
    /// A head beyond our limits, of which the start line and what came before the limit are in the message, and the
    /// content type. A server can answer with
    /// `kind.request_status()`; the stream is open until then, or until it is reset.
    HeadTooLarge { stream: StreamRef, kind: ErrorKind, end_stream: bool },
    /// The peer reset the stream.
    Reset { stream: StreamRef, code: ErrorCode },
    /// The peer broke a rule on a stream, which has been reset. Streams that never began have no slot: their events
    /// matter to counters only.
    StreamError { stream: StreamRef, kind: ErrorKind },
    /// A window that [`Connection::data_frame`] had found too small has grown: of the stream, or of the connection.
    Window { stream: Option<StreamRef> },
    /// The peer's SETTINGS: [`Connection::peer`] and the windows of all streams may have changed.
    SettingsChanged,
    /// The answer to [`Connection::ping`].
    PingAck { payload: [u8; 8] },
    /// The peer opens and takes no more streams. Of ours, those above `last_stream` were not processed and are gone: they can
    /// be retried elsewhere. The others go on. `debug` is text for logs.
    GoAway { last_stream: u32, code: ErrorCode, debug: Range<usize> },
}

impl Connection {
    /// Reads from `input`, which begins with what was not consumed before, up to the next event. Heads and trailers go to
    /// `message`; replies to the peer are appended to `out`.
    ///
    /// # Errors
    /// The peer broke a rule of the connection, or a budget is used up: GOAWAY is appended to `out`; send that and close.
    pub fn receive(&mut self, input: &[u8], message: &mut Message, out: &mut Vec<u8>) -> Result<Step, Error> {
        if let Phase::Failed(error) = self.phase {
            return Err(error);
        }
        self.advance(input, message, out).map_err(|kind| self.fail(kind, out))
    }

    fn advance(&mut self, input: &[u8], message: &mut Message, out: &mut Vec<u8>) -> Result<Step, ErrorKind> {
        let mut at = 0;
        if self.phase == Phase::Preface {
            match is_preface(input) {
                Status::Complete(true) => {
                    at = PREFACE.len();
                    self.phase = Phase::Settings;
                }
                Status::Complete(false) => return Err(ErrorKind::InvalidPreface),
                Status::Partial => return Ok(Step { consumed: 0, event: Event::NeedMore }),
            }
        }
        loop {
            let before = at;
            let event = match self.incoming.is_done() {
                true => self.next_frame(input, &mut at, message, out)?,
                false => self.next_data(input, &mut at, out),
            };
            match event {
                Some(event) => return Ok(Step { consumed: at, event }),
                None if at == before => return Ok(Step { consumed: at, event: Event::NeedMore }),
                None => {}
            }
        }
    }

    /// Reads a frame, of DATA only its header; without progress if it isn't all there.
    fn next_frame(
        &mut self,
        input: &[u8],
        at: &mut usize,
        message: &mut Message,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, ErrorKind> {
        let rest = input.get(*at..).unwrap_or_default();
        let Some(header) = FrameHeader::parse(rest) else { return Ok(None) };
        self.check(header)?;
        let length = header.length as usize;
        if header.kind == Kind::Data {
            let Some(padding) = data_padding(header, rest) else { return Ok(None) };
            *at += FRAME_HEADER_BYTES + usize::from(header.has(flags::PADDED));
            return self.data_frame_began(header, padding, *at, out);
        }
        let Some(payload) = rest.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length) else { return Ok(None) };
        let payload_at = *at + FRAME_HEADER_BYTES;
        *at = payload_at + length;
        match header.kind {
            Kind::Headers => self.headers_frame(header, payload, message, out),
            Kind::Continuation => self.continuation_frame(header, payload, message, out),
            Kind::Priority => self.priority_frame(header, payload, out),
            Kind::RstStream => self.rst_stream_frame(header, payload),
            Kind::Settings => self.settings_frame(header, payload, out),
            Kind::PushPromise => Err(ErrorKind::UnexpectedPush),
            Kind::Ping => self.ping_frame(header, payload, out),
            Kind::GoAway => self.go_away_frame(header, payload, payload_at),
            Kind::WindowUpdate => self.window_update_frame(header, payload, out),
            Kind::Data | Kind::Unknown => self.budgets.spend(Budget::Ignored).map(|()| None),
        }
    }

    /// What holds for every frame, known by its header.
    #[inline]
    fn check(&mut self, header: FrameHeader) -> Result<(), ErrorKind> {
        if self.phase == Phase::Settings {
            // The peer's SETTINGS come first (RFC 9113 3.4), and they acknowledge nothing.
            if header.kind != Kind::Settings || header.has(flags::ACK) {
                return Err(ErrorKind::MissingSettings);
            }
        }
        if header.length > self.limits.frame_bytes_max {
            return Err(ErrorKind::FrameTooLarge);
        }
        if let Some(stream) = self.block.stream()
            && (header.kind != Kind::Continuation || header.stream != stream)
        {
            return Err(ErrorKind::ContinuationExpected);
        }
        let wants_stream = match header.kind {
            Kind::Data | Kind::Headers | Kind::Priority | Kind::RstStream | Kind::Continuation => true,
            Kind::Settings | Kind::Ping | Kind::GoAway => false,
            Kind::WindowUpdate | Kind::PushPromise | Kind::Unknown => return Ok(()),
        };
        if wants_stream == (header.stream == 0) {
            return Err(ErrorKind::InvalidStreamId);
        }
        Ok(())
    }

    /// Streams are opened by clients, with odd numbers; push, which would open even ones, is off.
    pub(super) fn is_server(&self) -> bool {
        self.role == Role::Server
    }
}

/// Length of the padding of a DATA frame; `None` while the byte that says so isn't there.
fn data_padding(header: FrameHeader, frame: &[u8]) -> Option<u8> {
    // An empty frame can't have the byte: that is found out later.
    if !header.has(flags::PADDED) || header.length == 0 {
        return Some(0);
    }
    frame.get(FRAME_HEADER_BYTES).copied()
}
