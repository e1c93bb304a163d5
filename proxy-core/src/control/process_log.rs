//! The log of the process: what it tells of itself on standard error, not the access log.
//!
//! Events come from every thread, cores among them, so an event only puts its line into a bounded queue; one thread
//! writes. When standard error is stuck, lines are dropped and their number is told later.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Registry, fmt, reload};

/// Lines under way to the thread that writes.
const QUEUE_LINES: usize = 4_096;

/// How long [`ProcessLog::flush`] waits for a standard error that is stuck.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

enum Message {
    Line(Vec<u8>),
    /// Answered when everything before it has been written.
    Flush(SyncSender<()>),
}

/// Changes what is logged while the process runs. Clones change the same log.
#[derive(Clone)]
pub struct ProcessLog {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// The process has one log; its subscriber lives for ever, and so does its queue.
static QUEUE: OnceLock<SyncSender<Message>> = OnceLock::new();

/// Starts the log of the whole process. `level` is a level or a filter such as `info,corelane::control=debug`.
///
/// # Errors
/// The filter can't be read, the process has a log already, or there is no thread to be had.
pub fn start(level: &str) -> Result<ProcessLog, String> {
    let (queue, messages) = mpsc::sync_channel(QUEUE_LINES);
    let dropped = Arc::new(AtomicU64::new(0));
    let lost = Arc::clone(&dropped);
    std::thread::Builder::new()
        .name("process-log".into())
        .spawn(move || write(&messages, &lost))
        .map_err(|error| format!("no thread for the log: {error}"))?;
    let (filter, handle) = reload::Layer::new(parse(level)?);
    let lines = queue.clone();
    let layer =
        fmt::layer().with_ansi(false).with_writer(move || Line { queue: lines.clone(), dropped: Arc::clone(&dropped) });
    let subscriber = tracing_subscriber::registry().with(filter).with(layer);
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
    let _ = QUEUE.set(queue);
    Ok(ProcessLog { filter: handle })
}

/// Waits until what was logged before has been written. The last thing to do before the process ends.
pub fn flush() {
    let Some(queue) = QUEUE.get() else { return };
    let (done, written) = mpsc::sync_channel(1);
    if queue.try_send(Message::Flush(done)).is_ok() {
        // A standard error that is stuck must not keep the process from ending.
        let _ = written.recv_timeout(FLUSH_TIMEOUT);
    }
}

fn write(messages: &Receiver<Message>, dropped: &AtomicU64) {
    while let Ok(message) = messages.recv() {
        // When standard error is gone, nobody is left to tell.
        match message {
            Message::Line(line) => drop(io::stderr().lock().write_all(&line)),
            Message::Flush(done) => drop(done.try_send(())),
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            drop(writeln!(io::stderr().lock(), "({lost} lines of the log were dropped: standard error was stuck)"));
        }
    }
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(filter).map_err(|error| format!("`{filter}`: {error}"))
}

impl ProcessLog {
    /// A log that nobody writes to, for tests. It works while the second part lives.
    #[cfg(test)]
    #[cfg(test)]
    pub(super) fn detached() -> (ProcessLog, reload::Layer<EnvFilter, Registry>) {
        let (layer, filter) = reload::Layer::new(EnvFilter::new("info"));
        (ProcessLog { filter }, layer)
    }

    /// What is logged, as a filter.
    pub fn filter(&self) -> String {
        self.filter.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Logs this level and above, of everything. Envoy's names of levels are known too.
    ///
    /// # Errors
    /// There is no such level.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        let level = match level {
            "trace" | "debug" | "info" | "error" | "off" => level,
            "warn" | "warning" => "warn",
            "critical" => "error",
            _ => return Err(format!("unknown level `{level}`: trace, debug, info, warning, error and off are known")),
        };
        self.set_filter(level)
    }

    /// Logs what a filter such as `info,corelane::control=debug` lets through.
    ///
    /// # Errors
    /// The filter can't be read.
    pub fn set_filter(&self, filter: &str) -> Result<(), String> {
        self.filter.reload(parse(filter)?).map_err(|error| error.to_string())
    }
}

/// Takes one event's line when it is formatted.
struct Line {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Write for Line {
    /// The formatter hands over whole lines.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Line(line.to_vec())) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
