//! Clients: each asks for a number of exchanges, and says what became of every one.

mod call;
pub(crate) mod http1;
pub(crate) mod http2;
mod response;
pub(crate) mod tcp;
mod tunnel;

use std::net::SocketAddr;

use codecs::http::h2::Connection;

use crate::ask::Ask;
use crate::ledger::Outcome;
use crate::stage::Stage;

/// Connects that may fail in a row before a client gives up.
const CONNECTS_MAX: u32 = 8;

/// One client's work: exchanges with one listener.
pub(crate) struct Work {
    pub(crate) listener: SocketAddr,
    /// First segments of paths that the listener has.
    pub(crate) routes: Vec<&'static str>,
    pub(crate) exchanges: u32,
    /// Exchanges that are under way at once.
    pub(crate) at_once: u64,
}

impl Work {
    /// The next exchange, if there is one left.
    fn next(&mut self, stage: &mut Stage) -> Option<Ask> {
        self.exchanges = self.exchanges.checked_sub(1)?;
        let route = stage.random.pick(&self.routes);
        let ask = Ask::draw(stage.ledger.next_id(), route, &stage.profile, &mut stage.random);
        stage.ledger.begin(&ask);
        Some(ask)
    }

    /// There is nobody to talk to any more.
    fn give_up(&mut self, stage: &mut Stage) {
        while let Some(ask) = self.next(stage) {
            stage.ledger.end(ask.id, self.listener, Outcome::NotSent, &[]);
        }
    }
}

/// A connection to the listener; `None` if there is none to be had.
async fn connect(stage: &mut Stage, listener: SocketAddr) -> Option<runtime::Socket> {
    let mut failed = 0;
    while failed < CONNECTS_MAX {
        let opening = stage.ledger.is_opening(listener);
        if let Ok(socket) = stage.core.connect(listener).await {
            return Some(socket);
        }
        if opening {
            // The first is wanted, as soon as any core listens.
            stage.core.sleep_ms(1).await;
            continue;
        }
        failed += 1;
        let injuries = stage.ledger.recorder.injuries();
        if injuries.refused + injuries.hung + injuries.torn == 0 && !stage.ledger.is_leaving(listener) {
            stage.ledger.violation(format!("nobody answers at {listener}"));
        }
        let pause_ms = stage.random.between(1, 500);
        stage.core.sleep_ms(pause_ms).await;
    }
    None
}

/// The proxy has broken the rules of HTTP/2 on a connection.
fn broke_http2(stage: &Stage, listener: SocketAddr, connection: &Connection, what: &str) {
    // A preface that comes by and by, over more than a second or into the end of a drain, is taken for HTTP/1.
    let by_and_by = stage.profile.is_sluggish() || stage.ledger.is_leaving(listener);
    if connection.is_established() || !by_and_by {
        stage.ledger.violation(format!("the proxy's HTTP/2: {what}"));
    }
}
