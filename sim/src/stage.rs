//! What every client and origin of a run has, and the small things that they do alike.

use std::future::poll_fn;
use std::task::Poll;

use runtime::sim::Random;
use runtime::{Core, Received, Socket, Timer};

use crate::ledger::Ledger;
use crate::profile::Profile;

pub(crate) struct Stage {
    pub(crate) core: Core,
    pub(crate) ledger: Ledger,
    pub(crate) profile: Profile,
    pub(crate) random: Random,
}

impl Stage {
    /// Another of the same, with chances of its own.
    pub(crate) fn fork(&mut self) -> Stage {
        Stage {
            core: self.core.clone(),
            ledger: self.ledger.clone(),
            profile: self.profile.clone(),
            random: self.random.fork(),
        }
    }

    /// When to go on: mostly at once.
    pub(crate) fn pause_ms(&mut self) -> u64 {
        let pauses = self.random.chance(self.profile.pauses);
        if pauses { self.random.size(self.profile.pause_ms_max) } else { 0 }
    }
}

/// Something that a peer does by and by: not before a time.
#[derive(Default)]
pub(crate) struct Pace {
    not_before_ms: u64,
}

impl Pace {
    /// Whether it may go on now.
    pub(crate) fn may(&self, core: &Core) -> bool {
        core.now_ms() >= self.not_before_ms
    }

    /// It was done once more: perhaps there is a pause now.
    pub(crate) fn step(&mut self, stage: &mut Stage) {
        self.not_before_ms = stage.core.now_ms() + stage.pause_ms();
    }

    /// When it may go on, ms; MAX if it may now.
    pub(crate) fn due_ms(&self, core: &Core) -> u64 {
        if self.may(core) { u64::MAX } else { self.not_before_ms }
    }
}

/// The next that arrives; `None`: nothing has until `deadline_ms`.
pub(crate) async fn recv_until(core: &Core, socket: &Socket, timer: &Timer, deadline_ms: u64) -> Option<Received> {
    if deadline_ms < u64::MAX {
        timer.set(deadline_ms);
    }
    let received = poll_fn(|_| match socket.poll_recv() {
        Poll::Ready(received) => Poll::Ready(Some(received)),
        Poll::Pending if core.now_ms() >= deadline_ms => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await;
    timer.clear();
    received
}
