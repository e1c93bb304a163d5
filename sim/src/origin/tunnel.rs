//! The other end of a session over TCP or through a tunnel, whatever carries it.

use codecs::http::h2::{ErrorCode, NO_FIELDS, StreamRef};

use crate::client::tcp::{HEAD_BYTES, SECOND_TUNNEL_PATH, Talk};
use crate::http2::{Link, Then};
use crate::pattern;
use crate::stage::Stage;

/// What has come of a session.
#[derive(Default)]
pub(super) struct Hearing {
    head: Vec<u8>,
    talk: Option<Talk>,
    got: u64,
}

impl Hearing {
    /// More has come; false: it isn't what was sent.
    pub(super) fn take(&mut self, mut bytes: &[u8], stage: &Stage) -> bool {
        if self.talk.is_none() {
            let n = bytes.len().min(HEAD_BYTES - self.head.len());
            self.head.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            self.talk = Talk::of_head(&self.head);
        }
        let Some(talk) = self.talk else { return true };
        if let Err(what) = pattern::check(talk.id, self.got, bytes) {
            stage.ledger.violation(format!("at the origin: {what}"));
            return false;
        }
        self.got += bytes.len() as u64;
        true
    }

    /// It has ended: what is said to that, and whether it is broken off behind it; `None`: it isn't whole.
    pub(super) fn answer(&self, stage: &mut Stage) -> Option<(Vec<u8>, bool)> {
        let Hearing { talk, got, .. } = self;
        let Some(talk) = talk.filter(|talk| talk.up == *got) else {
            // What broke off must not look whole.
            stage.ledger.violation(format!("{got} bytes of {talk:?} and an orderly end, at the origin"));
            return None;
        };
        let breaks_off = stage.random.chance(stage.profile.breaches);
        let bytes = if breaks_off { stage.random.below(talk.down) } else { talk.down };
        if breaks_off {
            stage.ledger.broken_talks.borrow_mut().insert(talk.id);
        }
        let mut body = Vec::new();
        pattern::fill(&mut body, !talk.id, 0, bytes);
        Some((body, breaks_off))
    }
}

/// One through a stream of HTTP/2.
pub(super) struct Tunnel {
    stream: StreamRef,
    hearing: Hearing,
    /// Answered; true: to be broken off.
    answered: Option<bool>,
}

impl Tunnel {
    /// Extended CONNECT (RFC 8441) came.
    pub(super) fn begin(stream: StreamRef, path: &str, protocol: &[u8], stage: &mut Stage, link: &mut Link) -> Tunnel {
        if path != SECOND_TUNNEL_PATH || protocol != b"websocket" {
            stage.ledger.violation(format!("a tunnel to {path} for {}", String::from_utf8_lossy(protocol)));
        }
        let _ = link.connection.send_response(stream, 200, NO_FIELDS, false, &mut link.out);
        Tunnel { stream, hearing: Hearing::default(), answered: None }
    }

    pub(super) fn take(&mut self, bytes: &[u8], end: bool, stage: &mut Stage, link: &mut Link) {
        if self.hearing.take(bytes, stage)
            && end
            && let Some((body, breaks_off)) = self.hearing.answer(stage)
        {
            link.send_body(self.stream, body, if breaks_off { Then::More } else { Then::End });
            self.answered = Some(breaks_off);
        }
    }

    /// Nothing more is to be sent; breaks it off if that is its end.
    pub(super) fn is_over(&self, link: &mut Link) -> bool {
        let Some(breaks_off) = self.answered else { return false };
        if link.is_sending(self.stream) {
            return false;
        }
        if breaks_off {
            link.reset(self.stream, ErrorCode::InternalError);
        }
        true
    }
}
