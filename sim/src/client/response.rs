//! Reads HTTP/1.1 responses and holds them against what was asked for.

use codecs::Status;
use codecs::http::h1::{BodyDecoder, BodyPart, parse_response};
use codecs::http::{BodyLength, HeadLimits, Method, ResponseHead};

use crate::ask::{Ask, Verb};
use crate::{message, pattern};

/// A response that is whole.
pub(super) struct Answer {
    pub(super) status: u16,
    /// It is the origin's, not the proxy's own.
    pub(super) is_origins: bool,
    pub(super) keep_alive: bool,
}

#[derive(Default)]
pub(super) struct Reader {
    input: Vec<u8>,
    head: ResponseHead,
    body: Option<BodyDecoder>,
    is_origins: bool,
    body_bytes: u64,
}

impl Reader {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Bytes that belong to no response that was read.
    pub(super) fn has_more(&self) -> bool {
        !self.input.is_empty()
    }

    /// The final head of the response has arrived; `None`: nothing has.
    pub(super) fn progress(&self) -> Option<bool> {
        (self.body.is_some() || self.has_more()).then_some(self.body.is_some())
    }

    /// The next response, if it is there whole.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn next(&mut self, ask: &Ask) -> Result<Option<Answer>, String> {
        let limits = HeadLimits::default();
        let method = if ask.verb == Verb::Head { Method::Head } else { Method::Get };
        while self.body.is_none() {
            let parsed = parse_response(&self.input, &limits, method, &mut self.head)
                .map_err(|error| format!("no response: {error}: {}", String::from_utf8_lossy(&self.input)))?;
            let Status::Complete(n) = parsed else { return Ok(None) };
            if !self.head.is_interim() {
                self.is_origins = message::check_response(&self.input, &self.head.fields, self.head.status, ask)?;
                self.body = Some(BodyDecoder::for_response(self.head.body, &limits));
                self.body_bytes = 0;
            }
            self.input.drain(..n);
        }
        let Some(body) = &mut self.body else { return Ok(None) };
        let mut at = 0;
        while !body.is_done() {
            let event = body.decode(&self.input[at..]).map_err(|error| format!("no body: {error}"))?;
            match event.part {
                BodyPart::Data(range) => {
                    let data = &self.input[at..][range];
                    if self.is_origins {
                        pattern::check(ask.id, self.body_bytes, data)?;
                    }
                    self.body_bytes += data.len() as u64;
                }
                BodyPart::NeedMore => {
                    at += event.consumed;
                    self.input.drain(..at);
                    return Ok(None);
                }
                BodyPart::End => {}
            }
            at += event.consumed;
        }
        self.input.drain(..at);
        self.finish(ask).map(Some)
    }

    /// The connection's orderly end: perhaps that of a body which lasts until then.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn end(&mut self, ask: &Ask) -> Result<Option<Answer>, String> {
        let whole = self.body.as_mut().is_some_and(|body| body.on_eof().is_ok());
        if whole && self.head.body == BodyLength::UntilClose { self.finish(ask).map(Some) } else { Ok(None) }
    }

    fn finish(&mut self, ask: &Ask) -> Result<Answer, String> {
        self.body = None;
        let bytes = self.body_bytes;
        if self.is_origins && bytes != ask.response_bytes() {
            return Err(format!("{bytes} bytes of body {}, {} were asked for", ask.id, ask.response_bytes()));
        }
        Ok(Answer { status: self.head.status, is_origins: self.is_origins, keep_alive: self.head.keep_alive })
    }
}
