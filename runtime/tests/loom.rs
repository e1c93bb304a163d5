//! What cores share, under loom: every order of events that the memory model allows, on the files themselves.

#![allow(dead_code, unreachable_pub, reason = "the files have more than the models use, and are a library's")]

/// As in the library, made of loom's.
mod atomics {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering, fence};
}
#[path = "../src/counters.rs"]
mod counters;
#[path = "../src/signal.rs"]
mod signal;

use atomics::{AtomicBool, Ordering};
use loom::sync::{Arc, Notify};
use loom::thread;

/// Tries every order in which threads are interrupted at most twice: with more, the number of orders explodes, and nearly
/// every fault of this kind needs no more (what loom's own documentation says of it).
fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(run);
}

/// A core with what it sleeps on, and a mailbox of one message from each of two senders.
struct Core {
    signal: signal::Signal,
    event: Notify,
    mail: [AtomicBool; 2],
}

impl Core {
    fn new() -> Arc<Core> {
        let mail = [AtomicBool::new(false), AtomicBool::new(false)];
        Arc::new(Core { signal: signal::Signal::new(), event: Notify::new(), mail })
    }

    fn wake_if(&self, asleep: bool) {
        if asleep {
            self.event.notify();
        }
    }

    /// Turns until `look` has seen all that it waits for. A core that sleeps on beside a message is a deadlock, which
    /// loom reports.
    fn turn_until(&self, mut look: impl FnMut() -> bool) {
        loop {
            if self.signal.take_pending() && look() {
                return;
            }
            if self.signal.fall_asleep() {
                self.event.wait();
                self.signal.awake();
            }
        }
    }
}

#[test]
fn a_core_never_sleeps_beside_a_message() {
    model(|| {
        let core = Core::new();
        let senders = [0, 1].map(|sender| {
            let core = core.clone();
            thread::spawn(move || {
                core.mail[sender].store(true, Ordering::Release);
                core.wake_if(core.signal.ring());
            })
        });
        let mut got = [false; 2];
        core.turn_until(|| {
            for (got, mail) in got.iter_mut().zip(&core.mail) {
                *got |= mail.load(Ordering::Acquire);
            }
            got == [true; 2]
        });
        senders.into_iter().for_each(|sender| sender.join().expect("a sender"));
    });
}

#[test]
fn tasks_woken_from_elsewhere_are_all_woken_once() {
    model(|| {
        let core = Core::new();
        let wakers = [1, 2].map(|task| {
            let core = core.clone();
            thread::spawn(move || core.wake_if(core.signal.push_woken(task)))
        });
        let mut woken = Vec::new();
        core.turn_until(|| {
            core.signal.take_woken(|task| woken.push(task));
            woken.len() >= 2
        });
        woken.sort_unstable();
        assert_eq!(woken, [1, 2]);
        wakers.into_iter().for_each(|waker| waker.join().expect("a waker"));
    });
}

#[test]
fn sums_lose_no_count_and_never_go_back() {
    model(|| {
        let page = counters::Page::new(2, 1);
        let owners = [0, 1].map(|lane| {
            let page = page.clone();
            thread::spawn(move || {
                page.add(lane, 0, 1);
                page.add(lane, 0, 1);
            })
        });
        let (first, second) = (page.sum(0), page.sum(0));
        assert!(first <= second && second <= 4, "{first}, then {second}");
        owners.into_iter().for_each(|owner| owner.join().expect("an owner"));
        assert_eq!(page.sum(0), 4);
    });
}
