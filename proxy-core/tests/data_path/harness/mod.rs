//! Starts proxies, plays clients and origins.

mod origin;
mod proxy;
mod wire;

#[allow(unused_imports, reason = "named by other test binaries")]
pub(crate) use origin::Peer;
pub(crate) use origin::{Origin, ok};
pub(crate) use proxy::{Driver, Proxy, config, http, run};
pub(crate) use wire::{Broken, Client, Message, Wire};

use std::time::{Duration, Instant};

/// No wait in a test is longer: whoever gets here has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Makes a test of each function, once a driver.
macro_rules! on_both_drivers {
    ($($test:ident),* $(,)?) => {
        mod uring {
            $(#[test] fn $test() { $crate::harness::run($crate::harness::Driver::Uring, super::$test); })*
        }
        mod epoll {
            $(#[test] fn $test() { $crate::harness::run($crate::harness::Driver::Epoll, super::$test); })*
        }
    };
}

/// Waits until the condition holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "not within the deadline: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Bytes that don't repeat soon, so that lost, doubled or swapped pieces show.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
