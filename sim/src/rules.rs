//! What may become of an exchange.
//!
//! | the client saw | allowed if |
//! |---|---|
//! | the origin's answer | always; it was asked for, is whole, and came from a visit that the origin answered |
//! | 502, 503 or 504 of the proxy's | an *excuse* |
//! | `grpc-status` 14 of the proxy's, at once or behind messages | an excuse |
//! | `grpc-status` 4 of the proxy's | the call had a deadline, and it is over |
//! | a call that broke off with a reset | the client's own connection was torn: anything else is said with a status |
//! | what an origin said unasked | the request met it on its way: HTTP/1.1 can't tell it from the answer then |
//! | a response that broke off with a reset | the client's own connection was torn, or an excuse |
//! | a response that broke off with an orderly end | never: it would look whole where its length isn't known |
//! | an end without an answer | the client's own connection was torn, the listener was leaving and no origin saw the request, or an exchange that was under way on the same connection is excused: the proxy resets it with the response that broke off |
//!
//! An excuse is something that was done to the request's own attempts: an origin broke one off on purpose (or the connection that it shared), the network
//! tore a connection that one was on, or no origin saw the request while the network refused, hung or tore connections, or an
//! origin reset one that carries many requests or said something unasked.
//! A request that may not be sent again (POST, or one whose body was under way) has one more: that origins ended
//! connections in an orderly way, one of which it may have met, or refused streams for their number, of which it may have
//! been one.
//!
//! Whatever the client saw: a request that isn't idempotent reaches an origin once at most (unless its
//! route asks for retries), others no more often than
//! the proxy may try, and one that was refused unread (`connection: close` before it) not at all.

use std::collections::BTreeMap;

use runtime::sim::Recorder;

use crate::ask::CALLS;
use crate::call::{DEADLINE_EXCEEDED, UNAVAILABLE};
use crate::ledger::{Entry, Outcome, Visit};

/// Visits of a request that may be sent again: the first, and as often as the proxy repeats one at most (`REPEATS_MAX` in
/// its `http/forward.rs`).
const VISITS_MAX: usize = 1 + 5;

/// A route whose config asks for retries, of any method, and how many.
pub(crate) const RETRIED: &str = "retried";
const RECALLS: &str = CALLS[1];
pub(crate) const RETRIES: usize = 2;

/// Status of whole responses that origins give unasked.
pub(crate) const UNASKED: u16 = 598;

/// What the whole run allows.
pub(crate) struct World<'a> {
    pub(crate) entries: &'a BTreeMap<u64, Entry>,
    pub(crate) recorder: &'a Recorder,
    /// Connections that origins ended in an orderly way, and streams that they refused.
    pub(crate) turned_away: u64,
    /// Connections for many requests that origins reset.
    pub(crate) breaks: u64,
    /// Times that origins said something unasked.
    pub(crate) unasked: u64,
    /// The proxy was told to cut off what is left.
    pub(crate) cut_off: bool,
}

impl World<'_> {
    fn was_hurt(&self, visit: &Visit) -> bool {
        visit.breach || visit.dragged_along || visit.spoken_over || self.recorder.was_torn(visit.from)
    }

    fn excuse(&self, entry: &Entry) -> bool {
        let injuries = self.recorder.injuries();
        // The last try, where an answer can be one to try again after.
        let unseen = entry.visits.is_empty() || entry.ask.route == RECALLS;
        let may_repeat = entry.ask.verb.is_idempotent() && entry.ask.body == 0 && !entry.ask.chunked;
        entry.visits.iter().any(|visit| self.was_hurt(visit))
            || (unseen && injuries.refused + injuries.hung + injuries.torn + self.breaks > 0)
            || (unseen && !may_repeat && self.turned_away > 0)
            || (unseen && self.unasked > 0)
            || self.cut_off
    }

    /// # Errors
    /// Why the exchange may not have ended so.
    pub(crate) fn judge(&self, entry: &Entry) -> Result<(), String> {
        let Entry { ask, visits, .. } = entry;
        let Some(outcome) = &entry.outcome else { return Err("it never ended".into()) };
        let mates = || entry.mates.iter().filter_map(|mate| self.entries.get(mate)).any(|mate| self.excuse(mate));
        let torn = entry.client.is_some_and(|client| self.recorder.was_torn(client));
        let most = match ask.route.as_str() {
            RETRIED | RECALLS => VISITS_MAX + RETRIES,
            _ if ask.verb.is_idempotent() => VISITS_MAX,
            _ => 1,
        };
        if visits.len() > most {
            return Err(format!("{} visits of an origin are too many", visits.len()));
        }
        let allowed = match outcome {
            Outcome::Answer(status) => {
                let answered = visits.iter().any(|visit| visit.answered && !visit.breach);
                if *status != ask.status {
                    return Err(format!("the answer has status {status}"));
                }
                if !answered {
                    return Err("nobody has given that answer".into());
                }
                true
            }
            Outcome::Refused(UNASKED) => {
                visits.iter().any(|visit| visit.spoken_over) || (visits.is_empty() && self.unasked > 0)
            }
            Outcome::Refused(status) => {
                if !matches!(status, 502..=504) {
                    return Err(format!("the proxy answers {status}"));
                }
                self.excuse(entry)
            }
            // The client has looked at the time.
            Outcome::Status(DEADLINE_EXCEEDED) => ask.call.is_some_and(|call| call.timeout_ms > 0),
            Outcome::Status(UNAVAILABLE) => self.excuse(entry),
            Outcome::Status(_) => false,
            Outcome::Broken { orderly: true, head: true } => false,
            Outcome::Broken { .. } if ask.call.is_some() => torn || self.cut_off,
            Outcome::Broken { .. } => torn || self.excuse(entry) || mates(),
            Outcome::NoAnswer { .. } => torn || mates() || self.cut_off || (entry.leaving && visits.is_empty()),
            Outcome::NotTaken => visits.is_empty(),
            Outcome::NotSent => visits.is_empty(),
            Outcome::Abandoned => true,
        };
        if allowed { Ok(()) } else { Err(format!("nothing excuses {outcome:?}")) }
    }
}
