//! A simulated network and clock: cores of any number on one thread, everything that happens by chance from one seed.
//!
//! [`Simulation`] runs whole cores, a turn at a time, in an order that the seed chooses; what they run on is the same
//! loop, table, executor, timers and mailboxes that run on a kernel. When nothing is left to do the clock jumps to the
//! next thing that is due. The same program with the same seed does the same, byte for byte: [`Simulation::hash`] says
//! whether it did.
//!
//! Programs must get what they do by chance from the core (`Core::random`) or from the seed, and must not look at an
//! order that differs between runs (a `HashMap`'s, say).

mod faults;
pub(crate) mod network;
mod random;
mod site;
mod trace;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

pub use faults::Faults;
pub use network::Injuries;
pub use random::Random;
pub(crate) use site::{Site, dropped};

use crate::buffers::Pool;
use crate::core::Core;
use crate::doorbell::{self, Bell};
use crate::driver::Driver;
use crate::driver::sim::Sim;
use crate::host::Host;
use network::Network;

/// Cores on one simulated network.
///
/// One at a time on a thread. A panic of a task passes through `step`; the simulation is of no use then, except for its
/// hash and story.
pub struct Simulation {
    network: Rc<RefCell<Network>>,
    lanes: Vec<Lane>,
    random: Random,
    /// The core whose turn was the last.
    ran_last: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// Stopped; sockets close until then, µs.
    Closing(u64),
    Over,
}

struct Lane {
    // Dropped first: the pool must outlive the driver.
    driver: Driver,
    core: Core,
    bell: Bell,
    stage: Stage,
    /// Doesn't run before.
    stalled_until_us: u64,
    /// When the core wakes for its mail.
    mail_us: Option<u64>,
}

/// Notes things into a simulation's trace, and asks what the network did; for tasks.
#[derive(Clone)]
pub struct Recorder(Rc<RefCell<Network>>);

impl Simulation {
    pub fn new(seed: u64, faults: Faults) -> Simulation {
        site::forget_dropped();
        let mut random = Random::new(seed);
        let network = Network::new(random.fork(), faults);
        Simulation { network: Rc::new(RefCell::new(network)), lanes: Vec::new(), random, ran_last: 0 }
    }

    /// Adds a core on the machine with the address `machine`; `id` and `main` as in [`crate::run`]. Its first turn
    /// comes with a `step`. Returns its number in the simulation.
    pub fn add_core<F: Future<Output = ()> + 'static>(
        &mut self,
        machine: IpAddr,
        id: usize,
        bell: Bell,
        main: impl FnOnce(Core) -> F,
    ) -> usize {
        let mut network = self.network.borrow_mut();
        let number = network.add_core(machine);
        let (lent, buffers) = (network.faults.buffers_lent, network.faults.receive_buffers_max);
        drop(network);
        let host = Host::Simulated(Site::new(Rc::clone(&self.network), machine));
        let driver = Driver::Sim(Box::new(Sim::new(Rc::clone(&self.network), number, lent)));
        let core = Core::new(id, bell.number(), host, Pool::simulated(buffers), driver.name());
        {
            let _entered = doorbell::enter(bell.number(), &core.0.executor);
            core.spawn(main(core.clone()));
        }
        self.lanes.push(Lane { driver, core, bell, stage: Stage::Running, stalled_until_us: 0, mail_us: None });
        number
    }

    /// Runs one turn of one core, after the clock has gone on to where there is one to run. False: nothing will happen
    /// any more.
    ///
    /// # Errors
    /// What a core's loop fails with.
    ///
    /// # Panics
    /// If a task panics, or if the runtime breaks a promise that it gives to the kernel.
    pub fn step(&mut self) -> io::Result<bool> {
        loop {
            for socket in site::take_dropped() {
                self.network.borrow_mut().close(socket, false);
            }
            self.network.borrow_mut().run_events();
            self.look_for_mail();
            let now_us = self.now_us();
            let ready: Vec<usize> = (0..self.lanes.len()).filter(|lane| self.due_us(*lane) <= now_us).collect();
            if ready.is_empty() {
                let lanes = (0..self.lanes.len()).map(|lane| self.due_us(lane));
                let event = self.network.borrow().next_event_us().unwrap_or(u64::MAX);
                let next = lanes.min().unwrap_or(u64::MAX).min(event);
                if next == u64::MAX {
                    return Ok(false);
                }
                self.network.borrow_mut().now_us = next;
                continue;
            }
            let lane = self.random.pick(&ready);
            self.turn(lane)?;
            return Ok(true);
        }
    }

    /// When a core has something to do.
    fn due_us(&self, lane: usize) -> u64 {
        let Lane { driver: Driver::Sim(driver), stage, stalled_until_us, mail_us, .. } = &self.lanes[lane] else {
            return u64::MAX;
        };
        if *stage == Stage::Over {
            return u64::MAX;
        }
        let mut due = driver.wake_us.min(driver.next_completion_us().unwrap_or(u64::MAX));
        due = due.min(mail_us.unwrap_or(u64::MAX));
        if self.network.borrow().is_due(lane) {
            due = 0;
        }
        due.max(*stalled_until_us)
    }

    fn look_for_mail(&mut self) {
        let now_us = self.now_us();
        let most = self.network.borrow().faults.mail_us;
        for lane in &mut self.lanes {
            if lane.mail_us.is_none() && lane.bell.doorbell.signal.is_pending() {
                lane.mail_us = Some(now_us + self.random.below(most + 1));
            }
        }
    }

    fn turn(&mut self, number: usize) -> io::Result<()> {
        self.ran_last = number;
        let lane = &mut self.lanes[number];
        lane.mail_us = None;
        let inner = &*lane.core.0;
        let _entered = doorbell::enter(lane.bell.number(), &inner.executor);
        {
            let mut network = self.network.borrow_mut();
            let now_us = network.now_us;
            network.trace.note(now_us, "turn", &[number as u64], || format!("core {number}"));
        }
        // Here the core comes out of the kernel: the time that it read on its way in is over.
        inner.tick();
        match lane.stage {
            Stage::Running => {
                inner.turn(&mut lane.driver, &lane.bell)?;
                if inner.stopping() {
                    lane.stage = Stage::Closing(inner.close_all());
                }
            }
            Stage::Closing(deadline_us) => {
                if inner.wind_down(&mut lane.driver, deadline_us)? {
                    lane.stage = Stage::Over;
                }
            }
            Stage::Over => {}
        }
        let mut network = self.network.borrow_mut();
        let (from, to) = network.faults.turn_us;
        network.now_us += self.random.between(from, to);
        if self.random.chance(network.faults.stall) {
            lane.stalled_until_us = network.now_us + self.random.size(network.faults.stall_us.max(1));
        }
        Ok(())
    }

    /// Checks what must hold after a turn, of the core whose turn it was: no turn changes what another core has.
    ///
    /// # Errors
    /// What doesn't hold.
    pub fn check(&self) -> Result<(), String> {
        self.check_lane(self.ran_last)
    }

    /// Checks the same of every core.
    ///
    /// # Errors
    /// What doesn't hold.
    pub fn check_all(&self) -> Result<(), String> {
        (0..self.lanes.len()).try_for_each(|number| self.check_lane(number))
    }

    fn check_lane(&self, number: usize) -> Result<(), String> {
        let Some(Lane { driver: Driver::Sim(driver), core, .. }) = self.lanes.get(number) else { return Ok(()) };
        let inner = &*core.0;
        let pool = inner.pool.check(driver.lent());
        pool.and_then(|()| inner.table.borrow().check(driver.outstanding()))
            .map_err(|what| format!("core {number}: {what}"))
    }

    /// Whether a core has stopped and closed everything.
    pub fn is_over(&self, core: usize) -> bool {
        self.lanes[core].stage == Stage::Over
    }

    /// A core's handle, to look at it.
    pub fn core(&self, core: usize) -> &Core {
        &self.lanes[core].core
    }

    /// The simulated clock, µs.
    pub fn now_us(&self) -> u64 {
        self.network.borrow().now_us
    }

    /// Goes on with other faults; what is under way keeps the fate that it has.
    pub fn set_faults(&mut self, faults: Faults) {
        self.network.borrow_mut().faults = faults;
    }

    pub fn injuries(&self) -> Injuries {
        self.network.borrow().injuries
    }

    /// Sockets of all cores and those that wait to be accepted.
    pub fn sockets(&self) -> usize {
        self.network.borrow().open()
    }

    /// Of everything that has happened, with times and bytes.
    pub fn hash(&self) -> u64 {
        self.network.borrow().trace.hash()
    }

    /// How much has happened.
    pub fn events(&self) -> u64 {
        self.network.borrow().trace.events()
    }

    /// Every line of the story goes to `teller` from now on.
    pub fn tell(&mut self, teller: impl FnMut(&str) + 'static) {
        self.network.borrow_mut().trace.tell(Box::new(teller));
    }

    pub fn recorder(&self) -> Recorder {
        Recorder(Rc::clone(&self.network))
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // Tasks hold their core, and the core its tasks.
        for lane in &self.lanes {
            let _entered = doorbell::enter(lane.bell.number(), &lane.core.0.executor);
            lane.core.0.close_all();
        }
        site::forget_dropped();
    }
}

impl Recorder {
    /// A line of the story, and part of the hash.
    pub fn note(&self, kind: &str, line: &str) {
        let mut network = self.0.borrow_mut();
        let now_us = network.now_us;
        network.trace.bytes(line.as_bytes());
        network.trace.note(now_us, kind, &[], || line.to_owned());
    }

    /// Whether the network itself has broken the connection whose end has this address, which it had alone.
    pub fn was_torn(&self, local: SocketAddr) -> bool {
        self.0.borrow().was_torn(local)
    }

    /// Since when the end of a connection with these addresses has taken all that was sent to it; `None` if it hasn't.
    pub fn heard_us(&self, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
        self.0.borrow().heard_us(local, remote)
    }

    pub fn injuries(&self) -> Injuries {
        self.0.borrow().injuries
    }
}
