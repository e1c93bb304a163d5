//! The proxy of a run: its lanes, and what its control thread would do.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelane::config;
use corelane::control::{Ack, Answers, Cores, acks};
use corelane::lanes::Lanes;
use corelane::log::Lines;
use corelane::snapshot::Snapshot;
use corelane::stats::{Kind, Registry};
use runtime::sim::{Random, Simulation};
use runtime::{Bell, Core};

use crate::config::{PROXY, control_machine};

/// What the control thread has to do, one after the other.
enum Order {
    Publish {
        snapshot: Arc<Snapshot>,
        acks: Vec<Ack>,
        /// What it does in between: a pause before each core, ms.
        pauses_ms: Vec<u64>,
    },
    Drain {
        timeout: Duration,
        acks: Vec<Ack>,
    },
}

/// The control thread's hold on the cores.
struct Control {
    lanes: Lanes,
    orders: VecDeque<Order>,
    /// A task is at it.
    busy: bool,
}

impl Order {
    fn takes_no_time(&self) -> bool {
        match self {
            Order::Publish { pauses_ms, .. } => pauses_ms.iter().all(|pause_ms| *pause_ms == 0),
            Order::Drain { .. } => true,
        }
    }
}

pub(crate) struct Proxy {
    control: Rc<RefCell<Control>>,
    /// How long the control thread may pause between two cores, ms.
    control_ms_max: u64,
    pub(crate) cores: Vec<usize>,
    registry: Arc<Registry>,
    lines: Lines,
    version: u64,
    /// Lines of the access log by exchange.
    logged: HashMap<String, Vec<String>>,
}

impl Proxy {
    /// # Errors
    /// There is no core to be had.
    pub(crate) fn start(simulation: &mut Simulation, cores: usize, control_ms_max: u64) -> Result<Proxy, String> {
        let bells = (0..cores).map(|_| Bell::new()).collect::<std::io::Result<Vec<Bell>>>();
        let bells = bells.map_err(|error| format!("no bells: {error}"))?;
        let registry = Registry::new(cores);
        let (lines, sinks) = Lines::without_writer(&registry);
        let (lanes, parts) = Lanes::prepare(&bells, registry.server(), sinks);
        let start = |(id, (bell, parts))| simulation.add_core(PROXY, id, bell, |core| corelane::core::run(core, parts));
        let cores = bells.into_iter().zip(parts).enumerate().map(start).collect();
        let control = Rc::new(RefCell::new(Control { lanes, orders: VecDeque::new(), busy: false }));
        Ok(Proxy { control, control_ms_max, cores, registry, lines, version: 0, logged: HashMap::new() })
    }

    /// Compiles a config and sends it to the cores, to one after the other.
    ///
    /// # Errors
    /// The config's mistakes; there is no core to be had.
    pub(crate) fn load(
        &mut self,
        simulation: &mut Simulation,
        random: &mut Random,
        yaml: &str,
    ) -> Result<Answers, String> {
        let model = config::parse("simulated.yaml", yaml).map_err(|mistakes| format!("{mistakes}\n{yaml}"))?;
        self.version += 1;
        let inputs = config::Inputs { registry: &self.registry, resolved: &HashMap::new(), version: self.version };
        let snapshot = config::compile(&model, &inputs).map_err(|mistakes| mistakes.to_string())?;
        let (acks, answers) = acks(self.cores.len());
        let pauses = self.version > 1 && random.chance(500);
        let pause_ms = |_| if pauses && random.chance(600) { random.size(self.control_ms_max) } else { 0 };
        let pauses_ms = (0..self.cores.len()).map(pause_ms).collect();
        self.order(simulation, Order::Publish { snapshot: Arc::new(snapshot), acks, pauses_ms })?;
        Ok(answers)
    }

    /// # Errors
    /// There is no core to be had.
    pub(crate) fn drain(&mut self, simulation: &mut Simulation, timeout: Duration) -> Result<Answers, String> {
        let (acks, answers) = acks(self.cores.len());
        self.order(simulation, Order::Drain { timeout, acks })?;
        Ok(answers)
    }

    /// Gives the control thread something to do. While it is at something that takes time, it is a task of a core of its
    /// own.
    fn order(&mut self, simulation: &mut Simulation, order: Order) -> Result<(), String> {
        let mut control = self.control.borrow_mut();
        if !control.busy && order.takes_no_time() {
            match order {
                Order::Publish { snapshot, acks, .. } => control.lanes.publish(&snapshot, acks),
                Order::Drain { timeout, acks } => control.lanes.drain(timeout, acks),
            }
            return Ok(());
        }
        control.orders.push_back(order);
        if !std::mem::replace(&mut control.busy, true) {
            drop(control);
            let bell = Bell::new().map_err(|error| format!("no bell: {error}"))?;
            let control = self.control.clone();
            simulation.add_core(control_machine(), 0, bell, |core| work(core, control));
        }
        Ok(())
    }

    pub(crate) fn stop(&mut self) {
        self.control.borrow_mut().lanes.stop();
    }

    /// Takes in what was logged.
    pub(crate) fn read_log(&mut self) {
        for line in String::from_utf8_lossy(&self.lines.take()).lines() {
            let id = line.split(' ').next().unwrap_or_default();
            self.logged.entry(id.into()).or_default().push(line.into());
        }
    }

    /// Lines of the access log that an exchange has.
    pub(crate) fn logged(&self, id: u64) -> &[String] {
        self.logged.get(&id.to_string()).map_or(&[], Vec::as_slice)
    }

    /// Gauges that are below zero, or, of a proxy that is `empty`, not zero.
    pub(crate) fn wrong_gauges(&self, empty: bool) -> Option<String> {
        for block in self.registry.blocks() {
            for entry in block.scope().entries().iter().filter(|entry| entry.kind == Kind::Gauge) {
                let sum = block.signed_sum(entry);
                let counts_things = entry.name.ends_with("_active") || entry.name.contains("_active.");
                if sum < 0 || (empty && counts_things && sum != 0) {
                    return Some(format!("{} of {:?} {} is {sum}", entry.name, block.scope(), block.name()));
                }
            }
        }
        None
    }
}

/// Does what the control thread has to do.
async fn work(thread: Core, control: Rc<RefCell<Control>>) {
    loop {
        let order = control.borrow_mut().orders.pop_front();
        match order {
            None => break,
            Some(Order::Drain { timeout, acks }) => control.borrow_mut().lanes.drain(timeout, acks),
            Some(Order::Publish { snapshot, acks, pauses_ms }) => {
                for (core, (ack, pause_ms)) in acks.into_iter().zip(pauses_ms).enumerate() {
                    if pause_ms > 0 {
                        thread.sleep_ms(pause_ms).await;
                    }
                    control.borrow_mut().lanes.publish_to(core, &snapshot, ack);
                }
            }
        }
    }
    control.borrow_mut().busy = false;
    thread.stop();
}
