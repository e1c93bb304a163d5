//! Picking an endpoint: weighted round robin, least request (power of choices), random.

use std::rc::Rc;
use std::sync::Arc;

use super::Endpoint;
use crate::snapshot::{self, Balance};

pub(super) struct State {
    policy: Balance,
    weights: Vec<u32>,
    /// Sum of the weights; 0 = no endpoint.
    total: u64,
    equal: bool,
    /// Where equal weights go round.
    next: usize,
    /// Smooth weighted round robin (nginx's): each pick adds the weights and takes the total from the winner, which
    /// spreads a heavy endpoint's turns instead of bunching them.
    current: Vec<i64>,
    seed: u64,
}

impl State {
    /// `seed` puts the cores at different places of the round, so that they don't all begin with the same endpoint.
    pub(super) fn new(seed: u64) -> State {
        State {
            policy: Balance::RoundRobin,
            weights: Vec::new(),
            total: 0,
            equal: true,
            next: 0,
            current: Vec::new(),
            seed,
        }
    }

    pub(super) fn rebuild(&mut self, policy: Balance, endpoints: &[Arc<snapshot::Endpoint>]) {
        self.policy = policy;
        self.weights = endpoints.iter().map(|endpoint| endpoint.weight).collect();
        self.total = self.weights.iter().copied().map(u64::from).sum();
        self.equal = self.weights.windows(2).all(|pair| pair[0] == pair[1]);
        self.next = if self.weights.is_empty() { 0 } else { (self.seed % self.weights.len() as u64) as usize };
        self.current = vec![0; self.weights.len()];
    }

    /// An index into `endpoints`; `None` when there is none (or all weights are 0).
    pub(super) fn pick(&mut self, endpoints: &[Rc<Endpoint>], mut random: impl FnMut() -> u64) -> Option<usize> {
        if self.total == 0 || endpoints.len() != self.weights.len() {
            return None;
        }
        if endpoints.len() == 1 {
            return Some(0);
        }
        Some(match self.policy {
            Balance::RoundRobin if self.equal => {
                self.next = (self.next + 1) % endpoints.len();
                self.next
            }
            Balance::RoundRobin => self.smooth(),
            Balance::Random => self.weighted(random()),
            Balance::LeastRequest { choices } => {
                let first = self.weighted(random());
                (1..choices.max(2)).fold(first, |best, _| {
                    let other = self.weighted(random());
                    if load(&endpoints[other]) < load(&endpoints[best]) { other } else { best }
                })
            }
        })
    }

    fn smooth(&mut self) -> usize {
        let mut best = 0;
        for at in 0..self.current.len() {
            self.current[at] += i64::from(self.weights[at]);
            if self.current[at] > self.current[best] {
                best = at;
            }
        }
        self.current[best] -= self.total as i64;
        best
    }

    fn weighted(&self, random: u64) -> usize {
        if self.equal {
            return (random % self.weights.len() as u64) as usize;
        }
        let mut left = random % self.total;
        for (at, weight) in self.weights.iter().enumerate() {
            match left.checked_sub(u64::from(*weight)) {
                None => return at,
                Some(rest) => left = rest,
            }
        }
        0
    }
}

fn load(endpoint: &Endpoint) -> u32 {
    endpoint.active()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Block, Scope};

    fn endpoints(weights: &[u32]) -> (Vec<Arc<snapshot::Endpoint>>, Vec<Rc<Endpoint>>) {
        let configs: Vec<_> = (0u16..)
            .zip(weights)
            .map(|(port, weight)| {
                Arc::new(snapshot::Endpoint {
                    name: String::new(),
                    address: ([127, 0, 0, 1], port).into(),
                    weight: *weight,
                    stats: Block::detached(Scope::Endpoint, "e", 1),
                })
            })
            .collect();
        let live = configs.iter().map(|config| Rc::new(Endpoint::new(config.clone(), config.stats.lane(0))));
        let live = live.collect();
        (configs, live)
    }

    fn shares(policy: Balance, weights: &[u32], picks: usize) -> Vec<usize> {
        let (configs, live) = endpoints(weights);
        let mut state = State::new(0);
        state.rebuild(policy, &configs);
        let mut seed = 1u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 20
        };
        let mut counts = vec![0; weights.len()];
        for _ in 0..picks {
            counts[state.pick(&live, &mut random).expect("an endpoint")] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_follows_the_weights_exactly() {
        assert_eq!(shares(Balance::RoundRobin, &[1, 1, 1], 300), [100, 100, 100]);
        assert_eq!(shares(Balance::RoundRobin, &[1, 2, 5], 800), [100, 200, 500]);
    }

    #[test]
    fn a_heavy_endpoint_takes_its_turns_apart() {
        let (configs, live) = endpoints(&[1, 3]);
        let mut state = State::new(0);
        state.rebuild(Balance::RoundRobin, &configs);
        let picks: Vec<_> = (0..8).map(|_| state.pick(&live, || 0).expect("an endpoint")).collect();
        assert_eq!(picks.iter().filter(|pick| **pick == 0).count(), 2);
        assert!(picks.windows(2).all(|pair| pair != [0, 0]), "{picks:?}");
    }

    #[test]
    fn random_follows_the_weights_roughly() {
        let counts = shares(Balance::Random, &[1, 3], 40_000);
        assert!((9_000..11_000).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn least_request_avoids_the_busy_endpoint() {
        let (configs, live) = endpoints(&[1, 1]);
        live[0].active.set(50);
        let mut state = State::new(0);
        state.rebuild(Balance::LeastRequest { choices: 2 }, &configs);
        let mut turn = 0u64;
        let picks = (0..100).filter(|_| {
            state.pick(&live, || {
                turn += 1;
                turn
            }) == Some(0)
        });
        assert_eq!(picks.count(), 0, "each pair of choices holds the idle endpoint");
    }

    #[test]
    fn an_empty_or_weightless_cluster_has_nobody_to_pick() {
        for weights in [&[][..], &[0, 0]] {
            let (configs, live) = endpoints(weights);
            let mut state = State::new(0);
            state.rebuild(Balance::RoundRobin, &configs);
            assert_eq!(state.pick(&live, || 7), None);
        }
    }
}
