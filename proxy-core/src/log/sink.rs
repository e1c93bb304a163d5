//! A core's end of the access logs: lines are rendered into a batch, batches go through a ring to the writer's thread.

use std::sync::Arc;
use std::thread::Thread;

use rtrb::{Consumer, Producer, PushError};

use super::format::{Destination, Spec};
use super::record::Record;
use super::writer::RING_BATCHES;
use crate::stats::{Lane, ServerStat};

/// A batch goes to the writer once it is this long, however often the core flushes.
const BATCH_BYTES: usize = 32 * 1024;

/// Lines of one core for one destination.
pub(super) struct Batch {
    pub(super) destination: Arc<Destination>,
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
}

/// What a core writes access logs with. Nothing here waits or locks; in steady state nothing makes a system call and
/// nothing allocates, because the writer hands emptied buffers back.
pub struct Sink {
    pub(super) full: Producer<Batch>,
    pub(super) empty: Consumer<Vec<u8>>,
    /// One for each destination in use.
    pub(super) open: Vec<Batch>,
    /// The core's lane of the server's block.
    pub(super) lane: Lane,
    pub(super) writer: Thread,
}

impl Sink {
    /// Renders a line and keeps it until [`Sink::flush`], or until there is a batch of them.
    pub fn write(&mut self, spec: &Spec, record: &Record<'_>) {
        let at = self.batch_of(&spec.destination);
        let Some(batch) = self.open.get_mut(at) else { return };
        spec.render(record, &mut batch.bytes);
        batch.lines += 1;
        if batch.bytes.len() >= BATCH_BYTES {
            self.hand_over(at);
        }
    }

    /// Hands all lines to the writer. The core calls this from a timer, a few times a second, and when it stops.
    pub fn flush(&mut self) {
        // What nothing was written to since the last flush is forgotten with its buffer.
        self.open.retain(|batch| batch.lines > 0);
        (0..self.open.len()).for_each(|at| self.hand_over(at));
    }

    /// Whether a flush would hand anything over.
    pub fn is_empty(&self) -> bool {
        self.open.iter().all(|batch| batch.lines == 0)
    }

    fn batch_of(&mut self, destination: &Arc<Destination>) -> usize {
        // After a reload the same file is another Arc, so the names decide.
        let same = |batch: &Batch| Arc::ptr_eq(&batch.destination, destination) || batch.destination == *destination;
        if let Some(at) = self.open.iter().position(same) {
            return at;
        }
        let bytes = self.empty.pop().unwrap_or_default();
        self.open.push(Batch { destination: Arc::clone(destination), bytes, lines: 0 });
        self.open.len() - 1
    }

    fn hand_over(&mut self, at: usize) {
        let Some(batch) = self.open.get_mut(at) else { return };
        let next = self.empty.pop().unwrap_or_default();
        let bytes = std::mem::replace(&mut batch.bytes, next);
        let lines = std::mem::take(&mut batch.lines);
        let full = Batch { destination: Arc::clone(&batch.destination), bytes, lines };
        if let Err(PushError::Full(mut refused)) = self.full.push(full) {
            self.lane.add(ServerStat::AccessLogDropped, refused.lines);
            refused.bytes.clear();
            batch.bytes = refused.bytes;
        }
        if self.full.slots() < RING_BATCHES / 2 {
            self.writer.unpark();
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.flush();
    }
}
