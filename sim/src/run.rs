//! One run: a seed, from the first connection to an empty proxy.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use corelane::control::Answers;
use runtime::Bell;
use runtime::sim::{Random, Simulation};

use crate::ask::CALLS;
use crate::client::tcp::{SECOND_TUNNEL_PATH, TUNNEL_PATH, Via};
use crate::client::{self, Work};
use crate::config::{self, HTTP1_PORT, HTTP2_PORT, LATE, Plan, RAW, SECOND, TCP_PORT, WEB};
use crate::ledger::Ledger;
use crate::origin::{self, Speaks};
use crate::profile::Profile;
use crate::proxy::Proxy;
use crate::rules::World;
use crate::stage::Stage;

/// Turns after which a run counts as one that never ends.
const TURNS_MAX: u64 = 3_000_000;
/// Turns between two looks at what is costly to look at.
const LOOK_TURNS: u64 = 64;
/// How long the last drain may take, and one in mid-flight before it cuts off.
const DRAIN_MS_MAX: u64 = 700_000;

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub profile: &'static str,
    pub what: String,
}

/// A seed that didn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub profile: &'static str,
    /// Of all that happened.
    pub hash: u64,
    pub exchanges: usize,
    pub turns: u64,
    pub virtual_us: u64,
}

/// How to run seeds.
#[derive(Default)]
pub struct Run {
    /// Gets every line of the story.
    pub teller: Option<fn(&str)>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failure { seed, profile, what } = self;
        write!(f, "seed {seed} ({profile}): {what}\n  replay: cargo run -p corelane-sim -- --seed {seed} --story")
    }
}

impl Run {
    /// Runs one seed.
    ///
    /// # Errors
    /// What went wrong.
    pub fn seed(&self, seed: u64) -> Result<Report, Failure> {
        let mut random = Random::new(seed);
        let profile = Profile::draw(&mut random);
        let mut simulation = Simulation::new(random.next(), profile.faults.clone());
        if let Some(teller) = self.teller {
            simulation.tell(teller);
        }
        let name = profile.name;
        let failure = |what: String| Failure { seed, profile: name, what };
        // Where panics unwind: a task's passes through here.
        let result = catch_unwind(AssertUnwindSafe(|| play(&mut simulation, &profile, &mut random)));
        match result {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(what)) => Err(failure(what)),
            Err(panic) => {
                // What is left of it isn't in a state to be dropped.
                std::mem::forget(simulation);
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("(no text)");
                Err(failure(format!("a panic: {text}")))
            }
        }
    }
}

/// What happens to the proxy in the middle of the work.
enum Disturbance {
    Reload,
    Drain { timeout_ms: u64 },
}

struct Play<'a> {
    simulation: &'a mut Simulation,
    random: &'a mut Random,
    ledger: Ledger,
    proxy: Proxy,
    plan: Plan,
    turns: u64,
    /// Configs and drains that not all cores have acknowledged.
    pending: Vec<(&'static str, Answers)>,
    cut_off: bool,
    drain: Option<u64>,
    exchanges: usize,
}

fn play(simulation: &mut Simulation, profile: &Profile, random: &mut Random) -> Result<Report, String> {
    let name = profile.name;
    let ledger = Ledger::new(simulation.recorder());
    let plan = Plan::draw(random);
    let cores = random.between(1, 3) as usize;
    let proxy = Proxy::start(simulation, cores, profile.control_ms_max)?;
    let start_us = simulation.now_us();
    let mut play = Play {
        simulation,
        random,
        ledger,
        proxy,
        plan,
        turns: 0,
        pending: Vec::new(),
        cut_off: false,
        drain: None,
        exchanges: 0,
    };
    play.note(&format!("profile: {name}; {cores} cores; {} origins", play.plan.origins));
    play.add_origins(profile)?;
    play.load()?;
    play.settle("the first config", 60_000)?;
    play.add_clients(profile)?;
    play.work(profile)?;
    play.judge()?;
    play.end(profile)?;
    let (hash, now_us) = (play.simulation.hash(), play.simulation.now_us());
    let exchanges = play.exchanges;
    Ok(Report { profile: name, hash, exchanges, turns: play.turns, virtual_us: now_us - start_us })
}

impl Play<'_> {
    fn note(&self, line: &str) {
        self.ledger.recorder.note("run", line);
    }

    /// A turn, and what must hold after it. False: nothing will happen any more.
    fn step(&mut self) -> Result<bool, String> {
        let goes_on = self.simulation.step().map_err(|error| format!("a core's loop: {error}"))?;
        self.turns += 1;
        self.simulation.check()?;
        if let Some(what) = self.ledger.first_violation() {
            return Err(what);
        }
        if self.turns.is_multiple_of(LOOK_TURNS) || !goes_on {
            self.simulation.check_all()?;
            if let Some(what) = self.proxy.wrong_gauges(false) {
                return Err(what);
            }
            self.proxy.read_log();
            self.take_acknowledgements()?;
        }
        if self.turns > TURNS_MAX {
            return Err(format!("still going on after {TURNS_MAX} turns"));
        }
        Ok(goes_on)
    }

    fn take_acknowledgements(&mut self) -> Result<(), String> {
        let mut wrong = None;
        self.pending.retain_mut(|(what, answers)| match answers.try_all() {
            Some(failed) if failed.is_empty() => false,
            Some(failed) => {
                wrong = Some(format!("{what}: {}", failed.join("; ")));
                false
            }
            None => true,
        });
        if self.pending.is_empty() {
            self.ledger.all_open();
        }
        wrong.map_or(Ok(()), Err)
    }

    /// Steps until everything is acknowledged.
    fn settle(&mut self, what: &str, most_ms: u64) -> Result<(), String> {
        let deadline_us = self.simulation.now_us() + most_ms * 1_000;
        self.take_acknowledgements()?;
        while !self.pending.is_empty() {
            if !self.step()? || self.simulation.now_us() > deadline_us {
                return Err(format!("{what} isn't acknowledged after {most_ms} ms"));
            }
            self.take_acknowledgements()?;
        }
        Ok(())
    }

    fn stage(&mut self, profile: &Profile, core: &runtime::Core) -> Stage {
        Stage { core: core.clone(), ledger: self.ledger.clone(), profile: profile.clone(), random: self.random.fork() }
    }

    fn add_core(&mut self, machine: std::net::IpAddr) -> Result<runtime::Core, String> {
        let bell = Bell::new().map_err(|error| format!("no bell: {error}"))?;
        let number = self.simulation.add_core(machine, 0, bell, |_| async {});
        Ok(self.simulation.core(number).clone())
    }

    fn add_origins(&mut self, profile: &Profile) -> Result<(), String> {
        for origin in 0..self.plan.origins {
            let machine = config::origin_machine(origin);
            let core = self.add_core(machine)?;
            let speaks = [(HTTP1_PORT, Speaks::Http1), (HTTP2_PORT, Speaks::Http2), (TCP_PORT, Speaks::Tcp)];
            for (port, speaks) in speaks {
                let stage = self.stage(profile, &core);
                core.spawn(origin::listen(stage, (machine, port).into(), speaks));
            }
        }
        Ok(())
    }

    fn add_clients(&mut self, profile: &Profile) -> Result<(), String> {
        for _ in 0..self.random.between(1, 2) {
            let core = self.add_core(config::client_machine())?;
            for _ in 0..self.random.between(1, 4) {
                let stage = self.stage(profile, &core);
                self.ledger.clients.set(self.ledger.clients.get() + 1);
                if self.random.chance(200) {
                    let via = self.random.pick(&[
                        Via::Tcp,
                        Via::Tcp,
                        Via::Upgrade(TUNNEL_PATH),
                        Via::Upgrade(SECOND_TUNNEL_PATH),
                        Via::Connect(TUNNEL_PATH),
                        Via::Connect(SECOND_TUNNEL_PATH),
                    ]);
                    let listener = if via == Via::Tcp { RAW } else { WEB };
                    core.spawn(client::tcp::run(stage, listener, self.random.between(1, 3) as u32, via));
                    continue;
                }
                let second = self.plan.has_second && self.random.chance(400);
                let mut work = Work {
                    listener: if second { SECOND } else { WEB },
                    routes: vec!["plain", "retried", "second", "second"],
                    exchanges: self.random.between(1, 12) as u32,
                    at_once: self.random.between(1, 4),
                };
                let http2 = self.random.chance(500);
                if http2 {
                    work.routes.extend(CALLS);
                }
                match http2 {
                    true => core.spawn(client::http2::run(stage, work)),
                    false => core.spawn(client::http1::run(stage, work)),
                }
            }
        }
        Ok(())
    }

    /// Clients of a listener that is about to be there: the first core that listens gets all of them, and hands most of
    /// them to others that may not have heard of it yet.
    fn add_eager_clients(&mut self, profile: &Profile) -> Result<(), String> {
        let core = self.add_core(config::client_machine())?;
        for _ in 0..self.random.between(1, 6) {
            let stage = self.stage(profile, &core);
            self.ledger.clients.set(self.ledger.clients.get() + 1);
            let exchanges = self.random.between(1, 3) as u32;
            let work = Work { listener: LATE, routes: vec!["plain", "second"], exchanges, at_once: 1 };
            match self.random.chance(400) {
                true => core.spawn(client::http2::run(stage, work)),
                false => core.spawn(client::http1::run(stage, work)),
            }
        }
        Ok(())
    }

    fn load(&mut self) -> Result<(), String> {
        let had_second = self.ledger.is_leaving(SECOND);
        if !self.plan.has_second {
            self.ledger.leave(SECOND);
        } else if had_second {
            // Comes back; whoever is still on the old socket has to go all the same.
            self.note("the second listener comes back");
        }
        let yaml = self.plan.yaml();
        self.note("a config is loaded");
        let answers = self.proxy.load(self.simulation, self.random, &yaml)?;
        self.pending.push(("a config", answers));
        Ok(())
    }

    /// Everything that clients want, with what happens meanwhile.
    fn work(&mut self, profile: &Profile) -> Result<(), String> {
        let mut next_us = self.simulation.now_us();
        let mut coming: Vec<(u64, Disturbance)> = Vec::new();
        for _ in 0..self.random.below(4) {
            next_us += self.random.size(3_000_000);
            coming.push((next_us, Disturbance::Reload));
        }
        if self.random.chance(250) {
            let timeout_ms = self.random.pick(&[50, 1_000, 600_000]);
            next_us += self.random.size(2_000_000);
            coming.push((next_us, Disturbance::Drain { timeout_ms }));
        }
        coming.reverse();
        while self.ledger.clients.get() > 0 {
            if !self.step()? {
                return Err(format!("{} clients wait for ever", self.ledger.clients.get()));
            }
            let now_us = self.simulation.now_us();
            while let Some((_, disturbance)) = coming.pop_if(|(at, _)| *at <= now_us) {
                self.disturb(&disturbance, profile)?;
            }
            if self.drain.is_some_and(|at| now_us >= at) {
                self.cut_off = true;
            }
        }
        Ok(())
    }

    fn disturb(&mut self, disturbance: &Disturbance, profile: &Profile) -> Result<(), String> {
        match disturbance {
            Disturbance::Reload => {
                let had_late = self.plan.has_late;
                self.plan.change(self.random);
                self.load()?;
                if self.plan.has_late && !had_late && self.drain.is_none() {
                    self.ledger.open(LATE);
                    self.add_eager_clients(profile)?;
                }
                Ok(())
            }
            Disturbance::Drain { timeout_ms } => {
                self.note(&format!("a drain begins, for {timeout_ms} ms at most"));
                for listener in [WEB, SECOND, LATE, RAW] {
                    self.ledger.leave(listener);
                }
                let answers = self.proxy.drain(self.simulation, Duration::from_millis(*timeout_ms))?;
                self.pending.push(("a drain", answers));
                // Cores count milliseconds.
                self.drain = Some(self.simulation.now_us() / 1_000 * 1_000 + timeout_ms * 1_000);
                Ok(())
            }
        }
    }

    fn judge(&mut self) -> Result<(), String> {
        let (recorder, cut_off) = (&self.ledger.recorder, self.cut_off);
        let breaks = self.ledger.breaks.get();
        let unasked = self.ledger.unasked.get();
        let turned_away = self.ledger.orderly_closes.get() + self.ledger.refused_streams.get();
        let wrong = self.ledger.look(|entries| {
            let world = World { entries, recorder, turned_away, breaks, unasked, cut_off };
            entries.values().find_map(|entry| {
                let what = world.judge(entry).err()?;
                Some(format!("exchange {}: {what}\n  {:?}\n  {:?}", entry.ask.id, entry.ask, entry.visits))
            })
        });
        self.exchanges = self.ledger.look(std::collections::BTreeMap::len);
        wrong.map_or(Ok(()), Err)
    }

    /// Drains and stops the proxy, and looks whether anything is left.
    fn end(&mut self, profile: &Profile) -> Result<(), String> {
        self.settle("what came before the end", DRAIN_MS_MAX)?;
        if self.drain.is_none() {
            self.disturb(&Disturbance::Drain { timeout_ms: 600_000 }, profile)?;
        }
        self.settle("the drain", DRAIN_MS_MAX)?;
        for core in self.proxy.cores.clone() {
            let handle = self.simulation.core(core);
            let (sockets, buffers) = (handle.sockets_open(), handle.receive_buffers().1);
            if sockets + buffers > 0 {
                return Err(format!("drained core {core} has {sockets} sockets and holds {buffers} buffers"));
            }
        }
        if let Some(what) = self.proxy.wrong_gauges(true) {
            return Err(format!("drained, and {what}"));
        }
        self.proxy.stop();
        while self.proxy.cores.iter().any(|core| !self.simulation.is_over(*core)) {
            if !self.step()? {
                return Err("a core doesn't stop".into());
            }
        }
        self.proxy.read_log();
        self.check_log()
    }

    /// Every exchange has one line in the access log.
    fn check_log(&self) -> Result<(), String> {
        self.ledger.look(|entries| {
            for entry in entries.values() {
                let lines = self.proxy.logged(entry.ask.id);
                let answered = !entry.visits.is_empty();
                if lines.len() > 1 || (answered && lines.is_empty()) {
                    let (id, outcome) = (entry.ask.id, &entry.outcome);
                    return Err(format!("exchange {id} ({outcome:?}) has {} lines in the log: {lines:?}", lines.len()));
                }
            }
            Ok(())
        })
    }
}
