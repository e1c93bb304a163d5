//! Signals to the process, as orders.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that mean something to us. From the moment this exists they no longer end the process.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    user1: Signal,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Received {
    /// SIGHUP.
    Reload,
    /// SIGTERM, SIGINT.
    Terminate,
    /// SIGUSR1.
    ReopenLogs,
}

impl Signals {
    pub(super) fn new() -> io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    pub(super) async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.hangup.recv() => Received::Reload,
            _ = self.terminate.recv() => Received::Terminate,
            _ = self.interrupt.recv() => Received::Terminate,
            _ = self.user1.recv() => Received::ReopenLogs,
        }
    }
}
