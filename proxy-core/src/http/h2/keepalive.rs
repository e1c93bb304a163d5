//! PINGs on a connection that has been silent, to notice a peer that went without a word (RFC 9113 6.7).

use super::Mux;
use crate::snapshot::Keepalive;

/// What the silence of a peer comes to.
pub(super) enum Silence {
    /// To be looked at again at this time; never, if it is MAX.
    Until(u64),
    /// A PING was not answered in time.
    TooLong,
}

/// How long a peer has been silent.
pub(super) struct Watch {
    heard_ms: u64,
    /// A PING was sent then, and nothing has arrived since.
    asked_ms: Option<u64>,
}

impl Watch {
    pub(super) fn new(now_ms: u64) -> Watch {
        Watch { heard_ms: now_ms, asked_ms: None }
    }

    /// Something has arrived: whatever it is, the peer lives.
    pub(super) fn heard(&mut self, now_ms: u64) {
        (self.heard_ms, self.asked_ms) = (now_ms, None);
    }

    /// Asks when it is time to.
    pub(super) fn check(&mut self, mux: &Mux, keepalive: &Keepalive, now_ms: u64) -> Silence {
        if keepalive.interval_ms == 0 {
            return Silence::Until(u64::MAX);
        }
        let ask_at_ms = self.heard_ms + keepalive.interval_ms;
        match self.asked_ms {
            Some(asked_ms) if now_ms >= asked_ms + keepalive.timeout_ms => Silence::TooLong,
            Some(asked_ms) => Silence::Until(asked_ms + keepalive.timeout_ms),
            None if now_ms >= ask_at_ms => {
                mux.ping();
                self.asked_ms = Some(now_ms);
                Silence::Until(now_ms + keepalive.timeout_ms)
            }
            None => Silence::Until(ask_at_ms),
        }
    }
}
