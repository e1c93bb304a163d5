//! Whole proxy lanes on a simulated network and clock, everything from one seed.
//!
//! A run has a proxy of one to three cores, built like the real one: its config is compiled from YAML, its cores run
//! [`corelane::core::run`] with mailboxes between them, and what drives them is the same [`corelane::control::Cores`]
//! that the control thread has. Clients and origins are tasks on further cores of the same network, so the same is done
//! to them: bytes split anywhere, buffers of any size, resets and ends at any point, delays of everything.
//!
//! Each exchange has a number, which is in its path, in a header and in every byte of its bodies, so that nobody can get
//! what is another's without notice. After the last, [`rules`] judges every exchange; between any two turns the
//! runtime's invariants are checked, and at the end the proxy is drained and must be empty.
//!
//! Plain text only: what TLS draws by chance isn't ours to draw. Its records run through the same sockets.

mod ask;
mod call;
mod chatter;
mod client;
mod config;
mod http2;
mod ledger;
mod message;
mod origin;
mod pattern;
mod profile;
mod proxy;
pub mod rules;
mod run;
mod stage;

pub use run::{Failure, Report, Run};

/// Seeds that have failed once; each stands for a mistake that was put right. Lines of `seed  what it found`.
pub const PAST: &str = include_str!("../seeds.txt");

/// The seeds of [`PAST`].
pub fn past_seeds() -> Vec<u64> {
    let lines = PAST.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}
