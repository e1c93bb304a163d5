//! The control thread: whatever may take its time. One thread, pinned to nothing, runs one single-threaded runtime with
//! the admin API, config rollouts, name resolution and signals. It reaches the cores through [`Cores`] alone.
//!
//! ```text
//! SIGHUP ───────┐
//! file change ──┼──▶ rollout: load ▶ compile ▶ publish ──▶ cores (mailboxes) ──▶ acknowledge
//! admin POST ───┤        ▲
//! DNS answer ───┘        └── the last good config stays when a new one is refused
//!
//! SIGTERM, /drain_listeners, /quitquitquit ──▶ lifecycle: drain ▶ stop
//! ```

mod admin;
mod certificates;
mod cores;
mod dns;
mod lifecycle;
mod memory;
mod notify;
mod overload;
pub mod process_log;
mod rollout;
mod signals;
mod watch;
mod watchdog;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch as channel};

use crate::config::Model;
use crate::log;
use crate::snapshot::Snapshot;
use crate::stats::{FLUSH_INTERVAL_MS, Lane, Registry, ServerStat};

pub use cores::{Ack, Answers, Cores, acks};
pub use notify::Notifier;
pub use process_log::ProcessLog;

/// How often it looks whether the process has what it needs and the cores get round.
const TICK: Duration = Duration::from_millis(250);

/// What the control thread is started with.
pub struct Inputs {
    /// The first config, already read, so that its mistakes are shown before anything starts.
    pub model: Model,
    /// Where it came from and comes from again; `None` for the built-in one.
    pub config_path: Option<PathBuf>,
    /// Overrides the config's.
    pub drain_timeout: Option<Duration>,
    pub registry: Arc<Registry>,
    /// Running cores, without a snapshot yet.
    pub cores: Box<dyn Cores>,
    pub logs: log::Control,
    pub process_log: ProcessLog,
    /// Cores whose thread is pinned.
    pub pinned: usize,
    /// Shown by `/server_info`: option and value.
    pub command_line: Vec<(String, String)>,
    /// Name servers to ask instead of those of `/etc/resolv.conf`.
    pub name_servers: Vec<SocketAddr>,
    pub held: Held,
    pub notifier: Option<Notifier>,
}

/// Addresses that the process has already.
#[derive(Default)]
pub struct Held {
    /// Sockets that were passed to the process; cores listen with them whenever a config has their address.
    pub inherited: Vec<SocketAddr>,
    /// Bound for the first config.
    pub bound: Vec<SocketAddr>,
    /// The admin API's socket, non-blocking.
    pub admin: Option<std::net::TcpListener>,
}

/// What the process is doing, by Envoy's names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerState {
    Live,
    Draining,
    PreInitializing,
    Initializing,
}

impl ServerState {
    pub fn name(self) -> &'static str {
        match self {
            ServerState::Live => "LIVE",
            ServerState::Draining => "DRAINING",
            ServerState::PreInitializing => "PRE_INITIALIZING",
            ServerState::Initializing => "INITIALIZING",
        }
    }
}

/// The running control thread.
pub struct Handle {
    admin: SocketAddr,
    state: channel::Receiver<ServerState>,
    join: JoinHandle<()>,
}

impl Handle {
    /// Where the admin API listens, with the port that it got.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub fn state(&self) -> ServerState {
        *self.state.borrow()
    }

    /// Waits until the process shall end. By then the cores have been told to stop.
    pub fn wait(self) {
        if self.join.join().is_err() {
            tracing::error!("the control thread had panicked");
        }
        process_log::flush();
    }
}

/// Starts the control thread and waits until every core serves by the first snapshot.
///
/// # Errors
/// Why nothing can start: the admin address, a listener's address, an access log's file. The cores have been told to
/// stop then.
pub fn start(inputs: Inputs) -> Result<Handle, String> {
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime for the control thread: {error}"))?;
    let (ready, outcome) = std::sync::mpsc::sync_channel(1);
    let join = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || runtime.block_on(run(inputs, started, ready)))
        .map_err(|error| format!("no control thread: {error}"))?;
    match outcome.recv() {
        Ok(Ok((admin, state))) => Ok(Handle { admin, state, join }),
        Ok(Err(why)) => {
            process_log::flush();
            Err(why)
        }
        Err(_) => Err("the control thread ended before it was ready".into()),
    }
}

type Ready = std::sync::mpsc::SyncSender<Result<(SocketAddr, channel::Receiver<ServerState>), String>>;

async fn run(mut inputs: Inputs, started: Instant, ready: Ready) {
    let name_servers = std::mem::take(&mut inputs.name_servers);
    let held = std::mem::take(&mut inputs.held);
    let (orders, lifecycle) = mpsc::unbounded_channel();
    let (reloads, requests) = mpsc::unbounded_channel();
    let (state, states) = channel::channel(ServerState::Initializing);
    let shared = Arc::new(Shared {
        lane: inputs.registry.server().control_lane(),
        registry: inputs.registry,
        cores: Mutex::new(inputs.cores),
        logs: inputs.logs,
        process_log: inputs.process_log,
        config_path: inputs.config_path,
        drain_timeout: inputs.drain_timeout,
        command_line: inputs.command_line,
        pinned: inputs.pinned,
        started,
        state,
        notifier: inputs.notifier,
        health_failed: AtomicBool::new(false),
        current: Mutex::new(None),
        orders,
        reloads,
    });
    let begun = begin(&shared, inputs.model, name_servers, held).await;
    let (admin, signals, rollout) = match begun {
        Ok(begun) => begun,
        Err(why) => {
            shared.cores().stop();
            // `start` waits for this.
            let _ = ready.send(Err(why));
            return;
        }
    };
    let address = admin.local_addr();
    let _ = ready.send(address.map(|address| (address, states)).map_err(|error| error.to_string()));
    shared.tell_ready();
    tokio::spawn(notify::keep_alive(Arc::clone(&shared)));
    tokio::spawn(admin::serve(admin, Arc::clone(&shared)));
    tokio::spawn(rollout.run(requests));
    tokio::spawn(keep_time(Arc::clone(&shared)));
    tokio::spawn(keep_watch(Arc::clone(&shared)));
    tokio::spawn(obey(signals, Arc::clone(&shared)));
    lifecycle::run(shared, lifecycle).await;
}

async fn begin(
    shared: &Arc<Shared>,
    model: Model,
    name_servers: Vec<SocketAddr>,
    mut held: Held,
) -> Result<(TcpListener, signals::Signals, rollout::Rollout), String> {
    let signals = signals::Signals::new().map_err(|error| format!("signals: {error}"))?;
    let address = model.admin.address.0;
    let bound = match held.admin.take() {
        Some(admin) => TcpListener::from_std(admin),
        None => TcpListener::bind(address).await,
    };
    let admin = bound.map_err(|error| format!("admin address {address}: {error}"))?;
    let rollout = rollout::Rollout::begin(Arc::clone(shared), model, name_servers, held).await?;
    shared.set_state(ServerState::Live);
    let initialization_us = shared.started.elapsed().as_micros() as u64;
    shared.lane.observe_us(ServerStat::InitializationTimeMs, initialization_us);
    Ok((admin, signals, rollout))
}

/// What happens at fixed intervals.
async fn keep_time(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(FLUSH_INTERVAL_MS));
    loop {
        ticks.tick().await;
        shared.registry.flush();
        // What the last connections of an old config held on to.
        shared.registry.retire_unused();
        certificates::rotate_tickets(&shared);
    }
}

/// What is looked at every [`TICK`].
async fn keep_watch(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(TICK);
    // Ticks that were missed are over.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut overload = overload::Overload::new(shared.registry.overload().control_lane());
    let mut watchdog = watchdog::Watchdog::default();
    loop {
        ticks.tick().await;
        let settings = shared.current().map_or_else(Default::default, |current| current.snapshot.overload);
        let actions = overload.look(&settings);
        let late = {
            let mut cores = shared.cores();
            let late = cores.late();
            cores.beat(actions);
            late
        };
        watchdog.look(&shared.lane, &late);
    }
}

async fn obey(mut signals: signals::Signals, shared: Arc<Shared>) {
    loop {
        match signals.next().await {
            signals::Received::Reload => drop(shared.reload(rollout::Cause::Signal)),
            signals::Received::Terminate => shared.order(lifecycle::Order::Terminate),
            signals::Received::ReopenLogs => shared.logs.reopen(),
        }
    }
}

/// The config in use.
#[derive(Clone)]
struct Current {
    model: Arc<Model>,
    snapshot: Arc<Snapshot>,
    since: SystemTime,
}

/// What the parts of the control thread have in common. Its locks are held for moments and by this thread alone.
struct Shared {
    registry: Arc<Registry>,
    lane: Lane,
    cores: Mutex<Box<dyn Cores>>,
    logs: log::Control,
    process_log: ProcessLog,
    config_path: Option<PathBuf>,
    drain_timeout: Option<Duration>,
    command_line: Vec<(String, String)>,
    pinned: usize,
    started: Instant,
    state: channel::Sender<ServerState>,
    notifier: Option<Notifier>,
    /// `/healthcheck/fail`: load balancers before us shall take us out, though we serve.
    health_failed: AtomicBool,
    /// `None` until the first rollout.
    current: Mutex<Option<Current>>,
    orders: mpsc::UnboundedSender<lifecycle::Order>,
    reloads: mpsc::UnboundedSender<rollout::Request>,
}

impl Shared {
    fn cores(&self) -> MutexGuard<'_, Box<dyn Cores>> {
        self.cores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Option<Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_current(&self, current: Current) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(current);
    }

    fn set_state(&self, state: ServerState) {
        self.state.send_replace(state);
    }

    /// The state that the outside sees: a failed health check looks like draining.
    fn state(&self) -> ServerState {
        match *self.state.borrow() {
            ServerState::Live if self.health_failed.load(Ordering::Relaxed) => ServerState::Draining,
            state => state,
        }
    }

    fn draining(&self) -> bool {
        *self.state.borrow() == ServerState::Draining
    }

    fn drain_timeout(&self) -> Duration {
        let configured = || self.current().map_or(0, |current| current.snapshot.drain_timeout_ms);
        self.drain_timeout.unwrap_or_else(|| Duration::from_millis(configured()))
    }

    fn order(&self, order: lifecycle::Order) {
        // The lifecycle ends last.
        let _ = self.orders.send(order);
    }

    /// Asks for a reload; the outcome comes through the channel.
    fn reload(&self, cause: rollout::Cause) -> oneshot::Receiver<rollout::Outcome> {
        let (reply, outcome) = oneshot::channel();
        let _ = self.reloads.send(rollout::Request { cause, reply });
        outcome
    }

    /// Brings the server's gauges up to date before they are read.
    fn refresh_gauges(&self) {
        let lane = &self.lane;
        lane.set(ServerStat::Uptime, self.started.elapsed().as_secs());
        lane.set(ServerStat::Live, u64::from(self.state() == ServerState::Live));
        lane.set(ServerStat::State, self.state() as u64);
        lane.set(ServerStat::Concurrency, self.registry.cores() as u64);
        lane.set(ServerStat::WorkersPinned, self.pinned as u64);
        lane.set(ServerStat::Version, version_number(env!("CARGO_PKG_VERSION")));
        let memory = memory::read();
        lane.set(ServerStat::MemoryAllocated, memory.anonymous_bytes);
        lane.set(ServerStat::MemoryHeapSize, memory.heap_bytes);
        lane.set(ServerStat::MemoryPhysicalSize, memory.resident_bytes);
        if let Some(current) = self.current() {
            certificates::refresh_gauges(self, &current);
            let snapshot = current.snapshot;
            let listeners = snapshot.listeners.len() as u64;
            let (active, draining) = if self.draining() { (0, listeners) } else { (listeners, 0) };
            lane.set(ServerStat::TotalListenersActive, active);
            lane.set(ServerStat::TotalListenersDraining, draining);
            lane.set(ServerStat::ActiveClusters, snapshot.clusters.len() as u64);
            lane.set(ServerStat::ConfigVersion, snapshot.version);
        }
    }
}

/// `1.2.3` → 1_002_003.
fn version_number(version: &str) -> u64 {
    let number = |part: &str| part.split(|letter: char| !letter.is_ascii_digit()).next()?.parse::<u64>().ok();
    version.split('.').take(3).fold(0, |sum, part| sum * 1_000 + number(part).unwrap_or(0))
}

#[cfg(test)]
mod tests;
