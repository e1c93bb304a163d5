//! The simulated driver: completions as io_uring has them, from a simulated network.
//!
//! It keeps to what makes io_uring hard: operations end later than they were asked for, a cancelled one may still
//! bring something, receives are multishot and take their buffers from a bounded number of lent ones, and the memory
//! of a send is read until its completion. That the memory is still what it was is checked each time it is read.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::{DriverCounts, completion};
use crate::buffers::Pool;
use crate::descriptor::{Descriptor, simulated_socket};
use crate::sim::network::{Acceptance, Network, Operation, Passage, Receipt, Sending};
use crate::table::{Action, Key, Phase, Table};

/// Buffers that are lent at once, at most.
const LENT_MAX: u16 = 1024;

enum Result {
    Accept(std::result::Result<Descriptor, i32>),
    Connect(i32),
    /// What a receive brought, and the buffer that it took.
    Data(u16, Vec<u8>),
    Receive(i32),
    Send(i32),
}

struct Completion {
    /// When the core can see it.
    visible_us: u64,
    key: Key,
    result: Result,
    more: bool,
}

/// Part of a send as it was handed over: where it begins and how long it is.
type Part = (usize, usize);

pub(crate) struct Sim {
    network: Rc<RefCell<Network>>,
    core: usize,
    completions: VecDeque<Completion>,
    lent: VecDeque<u16>,
    wanted: u16,
    wanted_least: u16,
    exhausted_before: u64,
    starved: VecDeque<Key>,
    /// The sends under way, by place in the table.
    sending: Vec<Vec<Part>>,
    /// When the core wants to run again by itself.
    pub(crate) wake_us: u64,
    pub(crate) counts: DriverCounts,
}

impl Sim {
    pub(crate) fn new(network: Rc<RefCell<Network>>, core: usize, lent: u16) -> Sim {
        Sim {
            network,
            core,
            completions: VecDeque::new(),
            lent: VecDeque::new(),
            wanted: lent,
            wanted_least: lent,
            exhausted_before: 0,
            starved: VecDeque::new(),
            sending: Vec::new(),
            wake_us: 0,
            counts: DriverCounts::default(),
        }
    }

    /// When the next completion can be seen.
    pub(crate) fn next_completion_us(&self) -> Option<u64> {
        self.completions.front().map(|completion| completion.visible_us)
    }

    /// Buffers that the network has, or that completions carry which nobody has seen.
    pub(crate) fn lent(&self) -> usize {
        self.lent.len() + self.completions.iter().filter(|one| matches!(one.result, Result::Data(..))).count()
    }

    /// Operations whose last completion the core has not seen.
    pub(crate) fn outstanding(&self) -> usize {
        let waiting = self.completions.iter().filter(|completion| !completion.more).count();
        waiting + self.network.borrow().outstanding(self.core)
    }

    /// Notes when the core wants to run again; a simulation never waits here.
    pub(crate) fn enter(&mut self, timeout_us: Option<u64>) {
        let network = &mut *self.network.borrow_mut();
        self.counts.system_calls += 1;
        self.wake_us = match timeout_us {
            None => u64::MAX,
            Some(0) => network.now_us,
            Some(us) if network.random.chance(network.faults.late) => {
                network.now_us + us + network.random.size(network.faults.late_us.max(1))
            }
            Some(us) => network.now_us + us,
        };
    }

    pub(crate) fn has_completions(&self) -> bool {
        self.next_completion_us().is_some_and(|at| at <= self.network.borrow().now_us)
    }

    pub(crate) fn relax(&mut self) {
        if self.counts.buffers_exhausted == self.exhausted_before {
            self.wanted = (self.wanted / 2).max(self.wanted_least);
        }
        self.exhausted_before = self.counts.buffers_exhausted;
    }

    pub(crate) fn prepare(&mut self, table: &mut Table, pool: &Pool) {
        while self.lent.len() < self.wanted as usize
            && let Some((id, _)) = pool.lend()
        {
            self.lent.push_back(id);
        }
        // No more than there are buffers for, oldest first, as the ring's driver does it.
        let fed = self.starved.len().min(self.lent.len());
        for key in self.starved.drain(..fed) {
            table.fed(key);
        }
    }

    pub(crate) fn perform(&mut self, table: &mut Table, index: u32, action: Action) {
        let network = &mut *self.network.borrow_mut();
        let entry = &mut table.entries[index as usize];
        let key = Key { index, generation: entry.generation };
        let core = self.core;
        if let Action::Close { fd, reset } = action {
            return network.close(simulated_socket(fd), reset);
        }
        let number = simulated_socket(entry.fd);
        match action {
            Action::Accept => network.arm(number, Operation::new(core, key, false)),
            Action::Receive { once } => network.arm(number, Operation::new(core, key, once)),
            Action::Connect => {
                let Some(remote) = entry.remote.as_deref().and_then(crate::sys::RawAddress::parse) else { return };
                network.connect(number, remote, Operation::new(core, key, true));
            }
            Action::Send => {
                let parts: Vec<Part> = entry.next_send().map(|part| (part.as_ptr().addr(), part.len())).collect();
                let total = parts.iter().map(|(_, len)| len).sum();
                if self.sending.len() <= index as usize {
                    self.sending.resize_with(index as usize + 1, Vec::new);
                }
                self.sending[index as usize] = parts;
                network.arm_send(number, Sending { core, key, total, taken: 0, cancelled: false });
            }
            Action::StopReceiving => return network.stop_receiving(number),
            Action::CancelAll => return network.cancel_all(number),
            Action::ShutdownWrite => return network.shutdown(number),
            Action::Close { .. } => return,
        }
        entry.outstanding += 1;
    }

    /// The simulated kernel's part, then the completions that can be seen.
    pub(crate) fn reap(&mut self, table: &mut Table, pool: &Pool, budget: usize) -> bool {
        let network = Rc::clone(&self.network);
        let network = &mut *network.borrow_mut();
        let looks = if network.random.chance(network.faults.split) { network.random.size(16) } else { u64::MAX };
        for _ in 0..looks {
            let Some(number) = network.take_due(self.core) else { break };
            self.progress(network, table, number);
        }
        let now_us = network.now_us;
        for _ in 0..budget {
            let Some(completion) = self.completions.pop_front_if(|first| first.visible_us <= now_us) else { break };
            self.counts.completions += 1;
            self.complete(table, pool, completion);
        }
        // The doorbell is looked at in every turn.
        false
    }

    fn complete(&mut self, table: &mut Table, pool: &Pool, completion: Completion) {
        let Completion { key, result, more, .. } = completion;
        match result {
            Result::Accept(accepted) => completion::accept(table, key, accepted, more),
            Result::Connect(result) => completion::connect(table, key, result),
            Result::Data(id, bytes) => {
                let slice = pool.filled_with(id, &bytes);
                completion::receive(table, pool, key, bytes.len() as i32, Some(slice), more);
            }
            Result::Receive(result) => {
                if completion::receive(table, pool, key, result, None, more) {
                    self.counts.buffers_exhausted += 1;
                    self.wanted = (self.wanted * 2).min(LENT_MAX);
                    self.starved.push_back(key);
                }
            }
            Result::Send(result) => completion::send(table, key, result),
        }
    }

    fn post(&mut self, network: &mut Network, key: Key, result: Result, more: bool) {
        let wanted = network.now_us + network.random.below(network.faults.completion_us + 1);
        // Completions are seen in the order in which they were posted.
        let visible_us = self.completions.back().map_or(wanted, |last| last.visible_us.max(wanted));
        self.completions.push_back(Completion { visible_us, key, result, more });
    }

    /// Whatever can be done for a socket's operations.
    fn progress(&mut self, network: &mut Network, table: &Table, number: u32) {
        if let Some((key, errno)) = network.connected(number) {
            self.post(network, key, Result::Connect(-errno), false);
        }
        while let Some((key, acceptance)) = network.accepted(number) {
            match acceptance {
                Acceptance::Connection { socket, more } => {
                    self.post(network, key, Result::Accept(Ok(Descriptor::simulated(socket))), more);
                }
                Acceptance::Failed(errno) => self.post(network, key, Result::Accept(Err(errno)), false),
            }
        }
        if let Some((key, receipt)) = network.received(number, !self.lent.is_empty()) {
            match (receipt, self.lent.front().copied()) {
                (Receipt::Data { bytes, more }, Some(id)) => {
                    self.lent.pop_front();
                    self.post(network, key, Result::Data(id, bytes), more);
                }
                (Receipt::Data { .. } | Receipt::NoBuffer, _) => {
                    self.post(network, key, Result::Receive(-libc::ENOBUFS), false);
                }
                (Receipt::Ended(errno), _) => self.post(network, key, Result::Receive(-errno), false),
            }
        }
        self.progress_send(network, table, number);
    }

    fn progress_send(&mut self, network: &mut Network, table: &Table, number: u32) {
        let Some((key, taken, total)) = network.sending(number) else { return };
        match network.passage(number) {
            Passage::Wait => {}
            Passage::Over(result) => self.post(network, key, Result::Send(result), false),
            Passage::Take(n) => {
                let bytes = self.read_chain(table, key, taken, n.min(total - taken));
                network.transmit(number, &bytes);
            }
        }
    }

    /// Reads a part of what a send was given, as a kernel would: from the memory that it was told, now.
    fn read_chain(&self, table: &Table, key: Key, from: usize, n: usize) -> Vec<u8> {
        let entry = &table.entries[key.index as usize];
        assert!(
            entry.phase != Phase::Free && entry.generation == key.generation,
            "an entry is free while its send is outstanding"
        );
        let mut bytes = Vec::with_capacity(n);
        let (mut skip, mut left) = (from, n);
        for (place, (address, len)) in self.sending[key.index as usize].iter().enumerate() {
            let part = entry.send.get(place);
            let same = part.is_some_and(|part| part.as_ptr().addr() == *address && part.len() >= *len);
            assert!(same, "a chain has changed while its send is outstanding");
            let Some(part) = part else { break };
            let start = skip.min(*len);
            let end = (start + left).min(*len);
            bytes.extend_from_slice(&part[start..end]);
            (skip, left) = (skip - start, left - (end - start));
        }
        bytes
    }
}
