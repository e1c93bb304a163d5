//! The proxy of a run: its lanes, and what its control thread would do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use corelane::config;
use corelane::control::{Answers, Cores, acks};
use corelane::lanes::Lanes;
use corelane::log::Lines;
use corelane::stats::{Kind, Registry};
use runtime::Bell;
use runtime::sim::Simulation;

use crate::config::PROXY;

pub(crate) struct Proxy {
    lanes: Lanes,
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
    pub(crate) fn start(simulation: &mut Simulation, cores: usize) -> Result<Proxy, String> {
        let bells = (0..cores).map(|_| Bell::new()).collect::<std::io::Result<Vec<Bell>>>();
        let bells = bells.map_err(|error| format!("no bells: {error}"))?;
        let registry = Registry::new(cores);
        let (lines, sinks) = Lines::without_writer(&registry);
        let (lanes, parts) = Lanes::prepare(&bells, registry.server(), sinks);
        let start = |(id, (bell, parts))| simulation.add_core(PROXY, id, bell, |core| corelane::core::run(core, parts));
        let cores = bells.into_iter().zip(parts).enumerate().map(start).collect();
        Ok(Proxy { lanes, cores, registry, lines, version: 0, logged: HashMap::new() })
    }

    /// Compiles a config and sends it to the cores.
    ///
    /// # Errors
    /// The config's mistakes.
    pub(crate) fn load(&mut self, yaml: &str) -> Result<Answers, String> {
        let model = config::parse("simulated.yaml", yaml).map_err(|mistakes| format!("{mistakes}\n{yaml}"))?;
        self.version += 1;
        let inputs = config::Inputs { registry: &self.registry, resolved: &HashMap::new(), version: self.version };
        let snapshot = config::compile(&model, &inputs).map_err(|mistakes| mistakes.to_string())?;
        let (acks, answers) = acks(self.lanes.count());
        self.lanes.publish(&Arc::new(snapshot), acks);
        Ok(answers)
    }

    pub(crate) fn drain(&mut self, timeout: Duration) -> Answers {
        let (acks, answers) = acks(self.lanes.count());
        self.lanes.drain(timeout, acks);
        answers
    }

    pub(crate) fn stop(&mut self) {
        self.lanes.stop();
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
