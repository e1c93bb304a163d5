//! Fresh seeds and those that have failed before.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use corelane_sim::{Failure, Run, past_seeds};

/// Fresh seeds that every run of the tests tries.
const FRESH: u64 = 256;
/// Lines of a failing seed's story that are shown.
const STORY_LINES: usize = 80;

/// Runs seeds on all processors; the failures, in order.
fn failures(seeds: &[u64]) -> Vec<Failure> {
    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    if let Err(failure) = Run::default().seed(*seed) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|failure| failure.seed);
    failed
}

/// What happened at last in a seed.
fn end_of_story(seed: u64) -> String {
    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let teller = |line: &str| {
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= STORY_LINES * 2 {
            lines.drain(..STORY_LINES);
        }
        if !line.contains(" turn ") {
            lines.push(line.to_owned());
        }
    };
    let _ = Run { teller: Some(teller) }.seed(seed);
    LINES.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
}

fn all_hold(seeds: &[u64]) {
    let failed = failures(seeds);
    if let Some(first) = failed.first() {
        let others: Vec<u64> = failed.iter().map(|failure| failure.seed).collect();
        let story = end_of_story(first.seed);
        panic!("{first}\n  (failing seeds: {others:?})\n\nthe end of its story:\n{story}\n");
    }
}

#[test]
fn fresh_seeds_hold() {
    // Different with every run, and short enough to be copied.
    let base = RandomState::new().build_hasher().finish() >> 24;
    all_hold(&(base..base + FRESH).collect::<Vec<u64>>());
}

#[test]
fn seeds_that_failed_once_hold() {
    all_hold(&past_seeds());
}

#[test]
fn a_seed_replays_byte_for_byte_and_another_is_another() {
    for seed in 0..16 {
        let run = |seed| Run::default().seed(seed).unwrap_or_else(|failure| panic!("{failure}"));
        let first = run(seed);
        assert_eq!(first, run(seed));
        assert_ne!(first.hash, run(seed + 100).hash);
    }
}
