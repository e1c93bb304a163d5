//! Cores that don't get round: each is sent a beat, and one that doesn't answer in time is counted and told of once.

use std::time::Duration;

use crate::stats::{Lane, ServerStat};

/// A core that hasn't answered for this long missed a beat (Envoy's default).
const MISS: Duration = Duration::from_millis(200);
/// For this long: whoever waits for it notices (Envoy's default).
const MEGA_MISS: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
enum Missed {
    #[default]
    Nothing,
    One,
    Many,
}

#[derive(Default)]
pub(super) struct Watchdog {
    /// What was counted of the beat that each core owes.
    missed: Vec<Missed>,
}

impl Watchdog {
    /// Takes how long each core has owed an answer; returns whether all are alive.
    pub(super) fn look(&mut self, lane: &Lane, late: &[Duration]) -> bool {
        self.missed.resize(late.len(), Missed::Nothing);
        for (core, (late, missed)) in late.iter().zip(&mut self.missed).enumerate() {
            let now = match *late {
                late if late >= MEGA_MISS => Missed::Many,
                late if late >= MISS => Missed::One,
                _ => Missed::Nothing,
            };
            if *missed < Missed::One && now >= Missed::One {
                lane.inc(ServerStat::WatchdogMiss);
            }
            if *missed < Missed::Many && now == Missed::Many {
                lane.inc(ServerStat::WatchdogMegaMiss);
                tracing::error!(core, ?late, "a core doesn't get round: its connections wait");
            }
            if *missed == Missed::Many && now == Missed::Nothing {
                tracing::warn!(core, "a core that was late gets round again");
            }
            // A beat that is owed stays counted until it is answered.
            *missed = if now == Missed::Nothing { now } else { now.max(*missed) };
        }
        self.missed.iter().all(|missed| *missed < Missed::Many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Block, Scope};

    #[test]
    fn a_late_core_is_counted_once_a_beat() {
        let block = Block::detached(Scope::Server, "", 2);
        let lane = block.control_lane();
        let mut watchdog = Watchdog::default();
        let mut look = |late_ms: [u64; 2]| watchdog.look(&lane, &late_ms.map(Duration::from_millis));
        assert!(look([0, 199]));
        assert!(look([0, 200]));
        assert!(look([0, 450]));
        assert!(!look([0, 1_000]));
        assert!(!look([0, 9_000]));
        let counts = || (block.sum(ServerStat::WatchdogMiss), block.sum(ServerStat::WatchdogMegaMiss));
        assert_eq!(counts(), (1, 1));
        assert!(look([0, 0]));
        assert!(!look([2_000, 0]), "the other core, at once both");
        assert_eq!(counts(), (2, 2));
    }
}
