//! Access logs: what stands on a line, and the thread that writes lines.
//!
//! ```text
//! config text ── format/ ──▶ Spec (pieces: literals and operators)
//!                              │ Spec::render(&Record)        on the core, into a reused buffer
//!                              ▼
//!                        Sink (a core's batches) ── ring ──▶ Writer (one thread): files, stdout, reopening
//! ```
//!
//! A core never waits for a disk: a batch goes into a ring, and when the ring is full the batch is dropped and its lines
//! counted. Values that come from a peer are escaped, so nobody can forge a line.

pub mod flag;
mod format;
mod record;
mod render;
mod sink;
mod writer;

pub use flag::{Flag, Flags};
pub use format::{Destination, FormatError, Spec, TEXT_DEFAULT, TEXT_DEFAULT_TCP, Template, check, operators};
pub use record::{Fields, NoFields, Point, Protocol, Record, Timing};
pub use sink::Sink;
pub use writer::{Control, Lines, Writer};

#[cfg(test)]
mod tests;
