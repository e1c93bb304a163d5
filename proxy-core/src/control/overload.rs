//! How near the process is to its bounds, and what is done about it.
//!
//! The control thread looks every [`super::TICK`], so a request costs nothing but a look at a flag of its core. A step
//! begins at its threshold and ends [`HYSTERESIS_PERCENT`] below it, so that it doesn't flicker.

use std::path::{Path, PathBuf};

use super::memory;
use crate::overload::Actions;
use crate::snapshot;
use crate::stats::{Lane, OverloadStat};

/// A step ends when pressure is this many points below where it began.
const HYSTERESIS_PERCENT: u64 = 5;

/// Percentages; may be beyond 100.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Pressure {
    descriptors: u64,
    memory: u64,
}

/// One step's row of everything.
struct Step {
    what: &'static str,
    threshold: fn(&snapshot::Overload) -> u32,
    flag: fn(&mut Actions) -> &mut bool,
    active: OverloadStat,
    entered: OverloadStat,
}

const STEPS: [Step; 3] = [
    Step {
        what: "responses end their connections",
        threshold: |settings| settings.disable_keepalive_percent,
        flag: |actions| &mut actions.disable_keepalive,
        active: OverloadStat::EnvoyOverloadActionsDisableHttpKeepaliveActive,
        entered: OverloadStat::EnvoyOverloadActionsDisableHttpKeepaliveEntered,
    },
    Step {
        what: "connections are not accepted",
        threshold: |settings| settings.stop_accepting_percent,
        flag: |actions| &mut actions.stop_accepting,
        active: OverloadStat::EnvoyOverloadActionsStopAcceptingConnectionsActive,
        entered: OverloadStat::EnvoyOverloadActionsStopAcceptingConnectionsEntered,
    },
    Step {
        what: "requests are refused",
        threshold: |settings| settings.shed_requests_percent,
        flag: |actions| &mut actions.shed_requests,
        active: OverloadStat::EnvoyOverloadActionsStopAcceptingRequestsActive,
        entered: OverloadStat::EnvoyOverloadActionsStopAcceptingRequestsEntered,
    },
];

pub(super) struct Overload {
    lane: Lane,
    actions: Actions,
    /// The process's own control group and those above it, where they are of version 2.
    groups: Vec<PathBuf>,
}

impl Overload {
    pub(super) fn new(lane: Lane) -> Overload {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Overload { lane, actions: Actions::default(), groups: groups(&own, Path::new("/sys/fs/cgroup")) }
    }

    /// Looks, counts and logs what begins and ends, and says what is to be done.
    pub(super) fn look(&mut self, settings: &snapshot::Overload) -> Actions {
        let pressure = Pressure {
            descriptors: percent(open_descriptors(), runtime::descriptors_max()),
            memory: self.memory_pressure(settings),
        };
        self.lane.set(OverloadStat::DescriptorsPressure, pressure.descriptors);
        self.lane.set(OverloadStat::MemoryPressure, pressure.memory);
        self.decide(settings, pressure)
    }

    fn decide(&mut self, settings: &snapshot::Overload, pressure: Pressure) -> Actions {
        let highest = pressure.descriptors.max(pressure.memory);
        for step in &STEPS {
            let threshold = u64::from((step.threshold)(settings));
            let active = (step.flag)(&mut self.actions);
            let holds = if *active { highest + HYSTERESIS_PERCENT > threshold } else { highest >= threshold };
            let now = threshold > 0 && holds;
            if std::mem::replace(active, now) == now {
                continue;
            }
            let Pressure { descriptors, memory } = pressure;
            self.lane.set(step.active, u64::from(now));
            if now {
                self.lane.inc(step.entered);
                tracing::warn!(descriptors_percent = descriptors, memory_percent = memory, "overload: {}", step.what);
            } else {
                let what = step.what;
                tracing::info!(descriptors_percent = descriptors, memory_percent = memory, "overload over: {what}");
            }
        }
        self.actions
    }

    fn memory_pressure(&self, settings: &snapshot::Overload) -> u64 {
        let own = settings.memory_max.map_or(0, |max| percent(memory::read().resident_bytes, max));
        self.groups.iter().filter_map(|group| group_pressure(group)).fold(own, u64::max)
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    (u128::from(part) * 100 / u128::from(whole.max(1))) as u64
}

fn open_descriptors() -> u64 {
    const FOLDER: &str = "/proc/self/fd";
    // Linux 6.2 and later say the number as the folder's size; before, it is 0 and they have to be gone through.
    match std::fs::metadata(FOLDER).map(|folder| folder.len()) {
        Ok(0) => std::fs::read_dir(FOLDER).map_or(0, |entries| entries.count() as u64),
        Ok(count) => count,
        Err(_) => 0,
    }
}

/// Folders of the control group that a line `0::/path` names and of those above it, as far as they bound memory.
fn groups(own: &str, root: &Path) -> Vec<PathBuf> {
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let folder = root.join(path);
    let above = folder.ancestors().take_while(|folder| folder.starts_with(root));
    above.filter(|folder| folder.join("memory.max").exists()).map(Path::to_path_buf).collect()
}

/// A control group's memory in percent of its bound; `None` without one. The page cache isn't counted: the kernel takes
/// it back before it kills anybody.
fn group_pressure(folder: &Path) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let max = read("memory.max")?.trim().parse::<u64>().ok()?;
    let current = read("memory.current")?.trim().parse::<u64>().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let part = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse::<u64>().ok()
    };
    let cache = part("active_file").unwrap_or(0) + part("inactive_file").unwrap_or(0);
    Some(percent(current.saturating_sub(cache), max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Block, Scope};

    const SETTINGS: snapshot::Overload = snapshot::Overload {
        memory_max: None,
        disable_keepalive_percent: 80,
        stop_accepting_percent: 0,
        shed_requests_percent: 90,
    };

    #[test]
    fn steps_begin_at_their_threshold_and_end_five_points_below_it() {
        let block = Block::detached(Scope::Overload, "", 1);
        let mut overload = Overload { lane: block.control_lane(), actions: Actions::default(), groups: Vec::new() };
        let mut at = |descriptors, memory| {
            let actions = overload.decide(&SETTINGS, Pressure { descriptors, memory });
            (actions.disable_keepalive, actions.stop_accepting, actions.shed_requests)
        };
        assert_eq!(at(79, 0), (false, false, false));
        assert_eq!(at(0, 80), (true, false, false), "the larger of the two counts");
        assert_eq!(at(120, 0), (true, false, true), "0 is never");
        assert_eq!(at(86, 86), (true, false, true), "it holds until it is five points below");
        assert_eq!(at(85, 0), (true, false, false));
        assert_eq!(at(76, 0), (true, false, false));
        assert_eq!(at(75, 75), (false, false, false));
        assert_eq!(at(80, 0), (true, false, false));
        assert_eq!(block.sum(OverloadStat::EnvoyOverloadActionsDisableHttpKeepaliveEntered), 2);
        assert_eq!(block.sum(OverloadStat::EnvoyOverloadActionsStopAcceptingRequestsEntered), 1);
        assert_eq!(block.sum(OverloadStat::EnvoyOverloadActionsDisableHttpKeepaliveActive), 1);
        assert_eq!(block.sum(OverloadStat::EnvoyOverloadActionsStopAcceptingRequestsActive), 0);
    }

    #[test]
    fn a_control_groups_memory_is_read_without_its_page_cache_and_those_above_count() {
        let root = std::env::temp_dir().join(format!("corelane-groups-{}", std::process::id()));
        let inner = root.join("system/proxy");
        std::fs::create_dir_all(&inner).expect("folders");
        let write = |folder: &Path, name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
        write(&inner, "memory.max", "max\n");
        write(&inner, "memory.current", "900\n");
        write(&root.join("system"), "memory.max", "1000\n");
        write(&root.join("system"), "memory.current", "900\n");
        write(&root.join("system"), "memory.stat", "anon 500\ninactive_file 250\nactive_file 150\n");
        let found = groups("0::/system/proxy\n", &root);
        assert_eq!(found, [inner.clone(), root.join("system")]);
        let pressures: Vec<_> = found.iter().map(|group| group_pressure(group)).collect();
        std::fs::remove_dir_all(&root).expect("removed");
        assert_eq!(pressures, [None, Some(50)]);
        assert_eq!(groups("5:memory:/old\n", &root), Vec::<PathBuf>::new());
    }

    #[test]
    fn open_descriptors_are_counted() {
        let before = open_descriptors();
        let held: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").expect("opens")).collect();
        // Other tests open and close theirs meanwhile.
        assert!(before > 0 && open_descriptors() >= before + 50, "{before}");
        drop(held);
    }
}
