//! The thread that writes access logs. It alone touches files: a slow or full disk stalls it, then rings fill up and
//! cores drop batches and count them.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};

use super::format::{Destination, Spec};
use super::sink::{Batch, Sink};
use crate::stats::{Lane, Registry, ServerStat};

/// Batches under way from one core.
pub(super) const RING_BATCHES: usize = 64;
/// One write to a destination gathers up to this much.
const WRITE_BYTES: usize = 64 * 1024;
/// How often rings are looked at: soon again when the last look found something, else ever less often. A
/// wake costs the core a system call, so a core wakes the writer only when its ring is half full, which happens when a
/// burst follows a pause.
const POLL_BUSY: Duration = Duration::from_millis(10);
const POLL_IDLE_MAX: Duration = Duration::from_millis(500);
/// A destination without a line for this long is closed; the next line opens it again.
const CLOSE_IDLE: Duration = Duration::from_secs(60);
/// A buffer grown over this by a burst is not handed back.
const BUFFER_KEPT_BYTES: usize = 128 * 1024;

#[derive(Default)]
struct Orders {
    stop: AtomicBool,
    /// Counts up with each order to reopen.
    reopen: AtomicU64,
    /// Order up to which files have been reopened.
    reopened: AtomicU64,
}

/// The running writer. Dropping it leaves the thread running; [`Writer::stop`] ends it with nothing left behind.
pub struct Writer {
    control: Control,
    join: JoinHandle<()>,
}

/// Gives orders to the writer from any thread.
#[derive(Clone)]
pub struct Control {
    orders: Arc<Orders>,
    thread: Thread,
}

impl Control {
    /// Closes all files and opens them again by name, after what is queued has gone to the old ones (log rotation).
    pub fn reopen(&self) {
        self.orders.reopen.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }

    /// Whether all orders to reopen have been carried out.
    pub fn reopened(&self) -> bool {
        self.orders.reopened.load(Ordering::SeqCst) == self.orders.reopen.load(Ordering::SeqCst)
    }
}

impl Writer {
    /// Starts the thread; returns a sink for each of the registry's cores, in order.
    ///
    /// # Errors
    /// The system's, when it has no thread to give.
    pub fn start(registry: &Registry) -> io::Result<(Writer, Vec<Sink>)> {
        let orders = Arc::new(Orders::default());
        let (ends, rings) = rings(registry.cores());
        let state =
            State { rings, outputs: HashMap::new(), lane: registry.log_writer_lane(), orders: Arc::clone(&orders) };
        let join = std::thread::Builder::new().name("access-log".into()).spawn(move || state.run())?;
        let sinks = sinks(registry, ends, join.thread());
        Ok((Writer { control: Control { orders, thread: join.thread().clone() }, join }, sinks))
    }

    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Writes all that is queued and ends the thread. Call it when the cores have dropped or flushed their sinks.
    pub fn stop(self) {
        self.control.orders.stop.store(true, Ordering::SeqCst);
        self.control.thread.unpark();
        if self.join.join().is_err() {
            tracing::error!("the access log's thread had panicked");
        }
    }
}

/// A core's end of its ring, and the writer's.
type CoreEnd = (Producer<Batch>, Consumer<Vec<u8>>);
type WriterEnd = (Consumer<Batch>, Producer<Vec<u8>>);

fn rings(cores: usize) -> (Vec<CoreEnd>, Vec<WriterEnd>) {
    let pair = |_| {
        let (full, batches) = RingBuffer::new(RING_BATCHES);
        let (emptied, empty) = RingBuffer::new(RING_BATCHES);
        ((full, empty), (batches, emptied))
    };
    (0..cores).map(pair).unzip()
}

fn sinks(registry: &Registry, ends: Vec<CoreEnd>, writer: &Thread) -> Vec<Sink> {
    let sink = |(core, (full, empty))| {
        let (lane, writer) = (registry.server().lane(core), writer.clone());
        Sink { full, empty, open: Vec::new(), lane, writer }
    };
    ends.into_iter().enumerate().map(sink).collect()
}

/// What sinks without a writer hand over, for whoever wants to look at it.
pub struct Lines(Vec<WriterEnd>);

impl Lines {
    /// A sink for each of the registry's cores, in order, that no thread writes for.
    pub fn without_writer(registry: &Registry) -> (Lines, Vec<Sink>) {
        let (ends, rings) = rings(registry.cores());
        (Lines(rings), sinks(registry, ends, &std::thread::current()))
    }

    /// What was handed over since the last call, of all logs.
    pub fn take(&mut self) -> Vec<u8> {
        let batches = self.0.iter_mut().flat_map(|(batches, _)| std::iter::from_fn(|| batches.pop().ok()));
        batches.flat_map(|batch| batch.bytes).collect()
    }
}

impl Spec {
    /// Tries to open the log's file, so that a config whose log can't be written is refused and not discovered later.
    ///
    /// # Errors
    /// The system's.
    pub fn try_open(&self) -> io::Result<()> {
        match &*self.destination {
            // Opening a pipe would wait for its reader.
            Destination::File(path) if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) => Ok(()),
            Destination::File(path) => OpenOptions::new().append(true).create(true).open(path).map(drop),
            Destination::Stdout | Destination::Stderr => Ok(()),
        }
    }
}

struct State {
    rings: Vec<WriterEnd>,
    outputs: HashMap<Arc<Destination>, Output>,
    lane: Lane,
    orders: Arc<Orders>,
}

impl State {
    fn run(mut self) {
        let mut pause = POLL_BUSY;
        loop {
            // Read before the rings, so that what was queued before the order is still written.
            let stop = self.orders.stop.load(Ordering::SeqCst);
            let reopen = self.orders.reopen.load(Ordering::SeqCst);
            let busy = self.gather();
            let now = Instant::now();
            self.outputs.iter_mut().for_each(|(destination, output)| output.write(destination, &self.lane));
            if reopen != self.orders.reopened.load(Ordering::SeqCst) {
                self.reopen();
                self.orders.reopened.store(reopen, Ordering::SeqCst);
            }
            if stop {
                return;
            }
            self.outputs.retain(|_, output| now.saturating_duration_since(output.used) < CLOSE_IDLE);
            pause = if busy { POLL_BUSY } else { POLL_IDLE_MAX.min(pause * 2) };
            std::thread::park_timeout(pause);
        }
    }

    /// Takes what the rings hold now. Returns whether there was anything.
    fn gather(&mut self) -> bool {
        let mut busy = false;
        for (batches, emptied) in &mut self.rings {
            // Only as many as a ring holds, so that one busy core doesn't keep the others waiting.
            for _ in 0..RING_BATCHES {
                let Ok(mut batch) = batches.pop() else { break };
                busy = true;
                let output = self.outputs.entry(Arc::clone(&batch.destination)).or_insert_with(Output::new);
                output.bytes.append(&mut batch.bytes);
                output.lines += batch.lines;
                output.used = Instant::now();
                if output.bytes.len() >= WRITE_BYTES {
                    output.write(&batch.destination, &self.lane);
                }
                if batch.bytes.capacity() <= BUFFER_KEPT_BYTES {
                    // No room means that the core has buffers enough.
                    let _ = emptied.push(batch.bytes);
                }
            }
        }
        busy
    }

    fn reopen(&mut self) {
        let files = self.outputs.iter_mut().filter(|(destination, _)| matches!(***destination, Destination::File(_)));
        for (_, output) in files {
            output.file = None;
            self.lane.inc(ServerStat::AccessLogReopened);
        }
    }
}

struct Output {
    /// `None` for stdout and stderr, before the first line and after an error.
    file: Option<File>,
    bytes: Vec<u8>,
    lines: u64,
    used: Instant,
    /// The last write failed; said once in the process's log.
    failing: bool,
}

impl Output {
    fn new() -> Output {
        Output { file: None, bytes: Vec::new(), lines: 0, used: Instant::now(), failing: false }
    }

    fn write(&mut self, destination: &Destination, lane: &Lane) {
        if self.bytes.is_empty() {
            return;
        }
        match self.try_write(destination) {
            Ok(()) => {
                lane.add(ServerStat::AccessLogWritten, self.lines);
                lane.add(ServerStat::AccessLogWrittenBytes, self.bytes.len() as u64);
                if std::mem::take(&mut self.failing) {
                    tracing::info!(log = %destination, "the access log is written again");
                }
            }
            Err(error) => {
                lane.inc(ServerStat::AccessLogWriteFailed);
                lane.add(ServerStat::AccessLogDropped, self.lines);
                self.file = None;
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(log = %destination, %error, "the access log can't be written; lines are lost");
                }
            }
        }
        self.bytes.clear();
        self.bytes.shrink_to(2 * WRITE_BYTES);
        self.lines = 0;
    }

    fn try_write(&mut self, destination: &Destination) -> io::Result<()> {
        match destination {
            Destination::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(&self.bytes)?;
                out.flush()
            }
            Destination::Stderr => io::stderr().lock().write_all(&self.bytes),
            Destination::File(path) => {
                let file = match &mut self.file {
                    Some(file) => file,
                    closed => closed.insert(OpenOptions::new().append(true).create(true).open(path)?),
                };
                file.write_all(&self.bytes)
            }
        }
    }
}
