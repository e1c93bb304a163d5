//! Drivers: what carries out the table's actions and reports what became of them. One file each, behind one enum; the
//! table and everything above it don't know which one runs.
//!
//! | driver | for |
//! |---|---|
//! | `uring` | the default: completions, multishot receives from a ring of lent buffers, one system call a turn |
//! | `epoll` | hosts that forbid io_uring (container runtimes' default seccomp profiles) |
//! | `sim` | simulations: a network and a clock that come from a seed; completions as `uring` has them |

mod completion;
pub(crate) mod epoll;
pub(crate) mod sim;
pub(crate) mod uring;

use std::io;
use std::os::fd::RawFd;

use crate::buffers::Pool;
use crate::table::{Action, Table};

/// Which driver to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DriverChoice {
    /// io_uring where a trial ring works, else epoll.
    #[default]
    Auto,
    Uring,
    Epoll,
}

/// The driver that was chosen, and why not the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen {
    pub name: &'static str,
    /// Set when `Auto` fell back: the reason in words, fit for a log line.
    pub fallback_reason: Option<String>,
}

impl DriverChoice {
    /// Tries the kernel once, without a core, and says what would run. `restrict_ring`: as in `Options`.
    pub fn probe(self, restrict_ring: bool) -> io::Result<Chosen> {
        match self {
            DriverChoice::Epoll => Ok(Chosen { name: "epoll", fallback_reason: None }),
            DriverChoice::Uring => match uring::probe(restrict_ring) {
                Ok(()) => Ok(Chosen { name: "uring", fallback_reason: None }),
                Err(reason) => Err(io::Error::other(reason)),
            },
            DriverChoice::Auto => Ok(match uring::probe(restrict_ring) {
                Ok(()) => Chosen { name: "uring", fallback_reason: None },
                Err(reason) => Chosen { name: "epoll", fallback_reason: Some(reason) },
            }),
        }
    }
}

pub(crate) enum Driver {
    Uring(Box<uring::Uring>),
    Epoll(Box<epoll::Epoll>),
    Sim(Box<sim::Sim>),
}

/// What a driver counts; read by the loop after each turn.
#[derive(Default, Clone, Copy)]
pub struct DriverCounts {
    /// System calls of the loop: enters, or epoll waits, receives and sends.
    pub system_calls: u64,
    pub completions: u64,
    /// Receives that found no free buffer.
    pub buffers_exhausted: u64,
    /// Completions that didn't fit the queue; any is an alarm.
    pub overflows: u64,
}

impl Driver {
    /// `doorbell`: readable when another thread has something for this core.
    pub(crate) fn new(choice: DriverChoice, doorbell: RawFd, restrict_ring: bool) -> io::Result<Driver> {
        match choice.probe(restrict_ring)?.name {
            "uring" => Ok(Driver::Uring(Box::new(uring::Uring::new(doorbell, restrict_ring)?))),
            _ => Ok(Driver::Epoll(Box::new(epoll::Epoll::new(doorbell)?))),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Driver::Uring(_) => "uring",
            Driver::Epoll(_) => "epoll",
            Driver::Sim(_) => "simulation",
        }
    }

    /// Sockets must be non-blocking.
    pub(crate) fn wants_nonblocking(&self) -> bool {
        matches!(self, Driver::Epoll(_))
    }

    /// Reports up to `budget` completions to the table; true when the doorbell was among them.
    pub(crate) fn reap(&mut self, table: &mut Table, pool: &Pool, budget: usize) -> bool {
        match self {
            Driver::Uring(driver) => driver.reap(table, pool, budget),
            Driver::Epoll(driver) => driver.reap(table, pool),
            Driver::Sim(driver) => driver.reap(table, pool, budget),
        }
    }

    /// Before the actions of a turn.
    pub(crate) fn prepare(&mut self, table: &mut Table, pool: &Pool) {
        match self {
            Driver::Uring(driver) => driver.prepare(table, pool),
            Driver::Epoll(driver) => driver.prepare(table, pool),
            Driver::Sim(driver) => driver.prepare(table, pool),
        }
    }

    #[inline]
    pub(crate) fn perform(&mut self, table: &mut Table, pool: &Pool, index: u32, action: Action) {
        match self {
            Driver::Uring(driver) => driver.perform(table, index, action),
            Driver::Epoll(driver) => driver.perform(table, pool, index, action),
            Driver::Sim(driver) => driver.perform(table, index, action),
        }
    }

    /// Hands over what was prepared and waits up to `timeout_us` (0: doesn't wait; `None`: until something happens).
    pub(crate) fn enter(&mut self, timeout_us: Option<u64>) -> io::Result<()> {
        match self {
            Driver::Uring(driver) => driver.enter(timeout_us),
            Driver::Epoll(driver) => driver.enter(timeout_us),
            Driver::Sim(driver) => {
                driver.enter(timeout_us);
                Ok(())
            }
        }
    }

    /// Whether completions are there that `reap` has not reported.
    pub(crate) fn has_completions(&mut self) -> bool {
        match self {
            Driver::Uring(driver) => driver.has_completions(),
            Driver::Epoll(_) => false,
            Driver::Sim(driver) => driver.has_completions(),
        }
    }

    /// Once a second: lets go of what a burst needed.
    pub(crate) fn relax(&mut self) {
        match self {
            Driver::Uring(driver) => driver.relax(),
            Driver::Epoll(_) => {}
            Driver::Sim(driver) => driver.relax(),
        }
    }

    pub(crate) fn counts(&self) -> DriverCounts {
        match self {
            Driver::Uring(driver) => driver.counts,
            Driver::Epoll(driver) => driver.counts,
            Driver::Sim(driver) => driver.counts,
        }
    }
}

/// Errors of accept that pass by themselves, or that concern one connection only (accept(2): a network error of the
/// new connection is reported as if it were accept's own).
pub(crate) fn accept_error_is_of_connection(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNABORTED
            | libc::EINTR
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::ENONET
    )
}
