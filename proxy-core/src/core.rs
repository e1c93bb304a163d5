//! One core's world: the snapshot that it runs, the live state that outlives snapshots, and the task that looks after
//! both.
//!
//! A new snapshot comes by mailbox. The core reconciles by name: clusters keep their pools, listeners their sockets and
//! connections; a request under way keeps the `Generation` that it began with. Then it acknowledges.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use codecs::http::h1::emit;
use runtime::mailbox::{Receiver, Sender};
use runtime::{Accepted, Core, Prepared, Timer, Watcher};

use crate::cluster::Cluster;
use crate::control::Ack;
use crate::http::Scratch;
use crate::listener::Listener;
use crate::log;
use crate::overload::Actions;
use crate::snapshot::Snapshot;
use crate::stats::{Block, Lane, ServerStat};

/// How often idle upstream connections are looked through for expired ones.
const SWEEP_MS: u64 = 1_000;
/// The same while draining, when the end of the last connection is awaited.
const DRAIN_SWEEP_MS: u64 = 20;
/// While draining, a keep-alive connection gets this long for a request that may be on its way already.
pub(crate) const DRAIN_IDLE_MS: u64 = 500;
/// Cores take a snapshot over at different moments, at most this far apart: the rollout's patience. Meanwhile one may hand
/// over connections of a listener that another has closed already, or hasn't opened yet.
const HAND_OVER_MS: u64 = 10_000;
/// What happens again and again is told in this time once; all is counted.
const TELL_AGAIN_MS: u64 = 10_000;
/// A turn of the loop that took longer kept others waiting; it is counted.
const TURN_OVERRUN_US: u64 = 10_000;
/// Boxes of per-request state that are kept for reuse.
const SCRATCH_KEPT_MAX: usize = 1024;

/// What the control thread tells a core.
pub enum Message {
    Snapshot(Arc<Snapshot>, Ack),
    /// Stop accepting, end keep-alive connections as their responses go out; cut off what is left after `timeout_ms`.
    /// Acknowledged when nothing is left.
    Drain {
        timeout_ms: u64,
        ack: Ack,
    },
    /// Answered by writing the number down, which shows that the core gets round.
    Beat {
        number: u64,
        actions: Actions,
    },
    Stop,
}

/// A fresh connection that another core handed over.
pub struct HandOver {
    pub(crate) listener: SocketAddr,
    pub(crate) accepted: Accepted,
    pub(crate) from: usize,
}

/// What a core needs to start.
pub struct Parts {
    pub cores: usize,
    pub messages: Receiver<Message>,
    /// From each core, to each core; the own place is empty.
    pub incoming: Vec<Option<Receiver<HandOver>>>,
    pub outgoing: Vec<Option<Sender<HandOver>>>,
    /// Hand-overs adopted: lane = receiving core, cell = sending core.
    pub adopted: Arc<runtime::counters::Page>,
    /// The last beat that each core has answered.
    pub answered: Arc<runtime::counters::Page>,
    pub server_stats: Arc<Block>,
    pub log: log::Sink,
    /// To listen with before the core makes any.
    pub sockets: Vec<Prepared>,
}

pub(crate) struct Generation {
    pub(crate) snapshot: Arc<Snapshot>,
    /// By `ClusterId`.
    pub(crate) clusters: Vec<Rc<Cluster>>,
}

pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) cores: usize,
    janitor: Watcher,
    generation: RefCell<Rc<Generation>>,
    // Ordered, so that the same seed does the same in a simulation.
    clusters: RefCell<BTreeMap<String, Rc<Cluster>>>,
    listeners: RefCell<BTreeMap<SocketAddr, Rc<Listener>>>,
    /// Listeners that left the config, and until when connections that another core hands over may still be theirs.
    closed: RefCell<Vec<(Rc<Listener>, u64)>>,
    /// Connections of listeners that this core doesn't have yet, and until when they wait for them.
    early: RefCell<Vec<(HandOver, u64)>>,
    pub(crate) peers: RefCell<Vec<Option<Sender<HandOver>>>>,
    /// Hand-overs sent to each core.
    pub(crate) handed: RefCell<Vec<u64>>,
    pub(crate) adopted: Arc<runtime::counters::Page>,
    /// Wakers of the downstream connections' tasks, to tell them of a drain.
    connections: RefCell<Vec<Option<Waker>>>,
    connections_free: RefCell<Vec<usize>>,
    live: Cell<usize>,
    draining: Cell<bool>,
    drain_ack: RefCell<Option<Ack>>,
    drain_deadline_ms: Cell<u64>,
    answered: Arc<runtime::counters::Page>,
    overload: Cell<Actions>,
    pub(crate) server_stats: Lane,
    /// The same of all cores.
    server_block: Arc<Block>,
    /// When it was last told that the process has too many connections.
    crowd_told_ms: Cell<Option<u64>>,
    pub(crate) log: RefCell<log::Sink>,
    #[expect(clippy::vec_box, reason = "taken by whole exchanges: moving a pointer, not a kilobyte")]
    scratch: RefCell<Vec<Box<Scratch>>>,
    date: RefCell<(u64, Vec<u8>)>,
    next_id: Cell<u64>,
}

/// The core's first task: takes messages and looks after idle connections until it is told to stop.
pub async fn run(core: Core, parts: Parts) {
    let Parts { cores, mut messages, incoming, outgoing, adopted, answered, server_stats, log, sockets } = parts;
    core.provide(sockets);
    let snapshot = Arc::new(Snapshot::empty());
    let world = Rc::new(World {
        core: core.clone(),
        cores,
        janitor: core.watcher(),
        generation: RefCell::new(Rc::new(Generation { snapshot, clusters: Vec::new() })),
        clusters: RefCell::default(),
        listeners: RefCell::default(),
        closed: RefCell::default(),
        early: RefCell::default(),
        peers: RefCell::new(outgoing),
        handed: RefCell::new(vec![0; cores]),
        adopted,
        connections: RefCell::default(),
        connections_free: RefCell::default(),
        live: Cell::new(0),
        draining: Cell::new(false),
        drain_ack: RefCell::default(),
        drain_deadline_ms: Cell::new(u64::MAX),
        answered,
        overload: Cell::default(),
        server_stats: server_stats.lane(core.id()),
        server_block: server_stats,
        crowd_told_ms: Cell::new(None),
        log: RefCell::new(log),
        scratch: RefCell::default(),
        date: RefCell::new((u64::MAX, Vec::new())),
        next_id: Cell::new(core.random() >> 16),
    });
    let sweep = core.timer();
    sweep.set(core.now_ms() + SWEEP_MS);
    for incoming in incoming.into_iter().flatten() {
        core.spawn(adopt(world.clone(), incoming));
    }
    while world.next_event(&mut messages, &sweep).await {}
    world.let_go();
    core.stop();
}

async fn adopt(world: Rc<World>, mut incoming: Receiver<HandOver>) {
    while let Some(message) = incoming.recv(&world.core).await {
        world.adopted.add(world.core.id(), message.from, 1);
        let until_ms = world.core.now_ms() + HAND_OVER_MS;
        world.serve_handed_over(message, until_ms);
    }
}

impl World {
    /// Waits for a message, a tick or an idle connection's end; false when the core is to stop.
    async fn next_event(self: &Rc<World>, messages: &mut Receiver<Message>, sweep: &Timer) -> bool {
        let mut woken = false;
        let message = {
            let mut next = std::pin::pin!(messages.recv(&self.core));
            poll_fn(|context| {
                if let Poll::Ready(message) = next.as_mut().poll(context) {
                    return Poll::Ready(Some(message));
                }
                // Any wake without a message is the timer's or an idle connection's.
                if std::mem::replace(&mut woken, true) || sweep.expired() { Poll::Ready(None) } else { Poll::Pending }
            })
            .await
        };
        match message {
            None => self.sweep(sweep),
            Some(None | Some(Message::Stop)) => return false,
            Some(Some(Message::Snapshot(snapshot, ack))) => match self.take(&snapshot) {
                deaf if deaf.is_empty() => ack.done(),
                deaf => ack.failed(&deaf.join("; ")),
            },
            Some(Some(Message::Beat { number, actions })) => {
                self.answered.add(self.core.id(), 0, number - self.answered.get(self.core.id(), 0));
                self.set_overload(actions);
            }
            Some(Some(Message::Drain { timeout_ms, ack })) => self.drain(timeout_ms, ack, sweep),
        }
        if self.drained()
            && let Some(ack) = self.drain_ack.take()
        {
            ack.done();
        }
        true
    }

    /// The end: what the core and its parts hold of each other goes, so that nothing is left of it in a process that
    /// runs on (a simulation's).
    fn let_go(&self) {
        self.listeners.take();
        self.closed.take();
        self.early.take();
        self.clusters.take();
        self.peers.borrow_mut().iter_mut().for_each(|peer| *peer = None);
        *self.generation.borrow_mut() =
            Rc::new(Generation { snapshot: Arc::new(Snapshot::empty()), clusters: Vec::new() });
    }

    fn serve_handed_over(self: &Rc<World>, message: HandOver, until_ms: u64) {
        match self.listener(message.listener) {
            Some(listener) => listener.serve(self, message.accepted),
            // The snapshot by which it was accepted is on its way here.
            None => self.early.borrow_mut().push((message, until_ms)),
        }
    }

    /// Who serves a connection that another core accepted on this address.
    fn listener(&self, address: SocketAddr) -> Option<Rc<Listener>> {
        let there = self.listeners.borrow().get(&address).cloned();
        let left = || self.closed.borrow().iter().map(|(left, _)| left).find(|left| left.address() == address).cloned();
        there.or_else(left)
    }

    fn sweep(&self, timer: &Timer) {
        let generation = self.generation.borrow().clone();
        generation.clusters.iter().for_each(|cluster| cluster.sweep());
        if timer.expired() {
            timer.set(self.core.now_ms() + if self.draining.get() { DRAIN_SWEEP_MS } else { SWEEP_MS });
        }
        self.closed.borrow_mut().retain(|(_, until_ms)| self.core.now_ms() < *until_ms);
        self.early.borrow_mut().retain(|(_, until_ms)| self.core.now_ms() < *until_ms);
        let counts = self.core.loop_counts();
        let stats = &self.server_stats;
        stats.set(ServerStat::LoopTurns, counts.turns);
        stats.set(ServerStat::LoopCompletionOverflow, counts.driver.overflows);
        stats.set(ServerStat::LoopBuffersExhausted, counts.driver.buffers_exhausted);
        let (buffers, in_use) = self.core.receive_buffers();
        stats.set(ServerStat::LoopReceiveBuffers, buffers as u64);
        stats.set(ServerStat::LoopReceiveBuffersInUse, in_use as u64);
        stats.set(ServerStat::LoopSockets, self.core.sockets_open() as u64);
        stats.set(ServerStat::LoopTasks, self.core.tasks_live() as u64);
        if counts.turn_us_max > TURN_OVERRUN_US {
            stats.inc(ServerStat::LoopTurnOverrun);
        }
        self.log.borrow_mut().flush();
        if self.draining.get() && self.core.now_ms() >= self.drain_deadline_ms.get() {
            self.wake_connections();
        }
    }

    /// Takes over a snapshot; see the module's description. Returns what could not be done, a sentence each.
    fn take(self: &Rc<World>, snapshot: &Arc<Snapshot>) -> Vec<String> {
        let mut old = std::mem::take(&mut *self.clusters.borrow_mut());
        let clusters: Vec<_> = snapshot
            .clusters
            .iter()
            .map(|config| match old.remove(&config.name) {
                Some(cluster) => {
                    cluster.reconcile(config);
                    cluster
                }
                None => Cluster::new(&self.core, self.cores, self.janitor, config),
            })
            .collect();
        let names = snapshot.clusters.iter().map(|config| config.name.clone());
        *self.clusters.borrow_mut() = names.zip(clusters.iter().cloned()).collect();
        old.values().for_each(|cluster| cluster.retire());
        let generation = Rc::new(Generation { snapshot: snapshot.clone(), clusters });
        *self.generation.borrow_mut() = generation.clone();
        self.take_listeners(&generation)
    }

    fn take_listeners(self: &Rc<World>, generation: &Rc<Generation>) -> Vec<String> {
        let mut deaf = Vec::new();
        let mut old = std::mem::take(&mut *self.listeners.borrow_mut());
        let mut listeners = BTreeMap::new();
        for config in &generation.snapshot.listeners {
            // One that now serves something else is another listener: open connections go on as what they are.
            let like = |_: &SocketAddr, listener: &mut Rc<Listener>| {
                listener.address() == config.address && listener.serves_like(config)
            };
            let listener = match old.extract_if(.., like).next() {
                Some((_, listener)) => {
                    listener.reconcile(config, generation);
                    listener
                }
                None => match Listener::open(self, config, generation) {
                    Ok(listener) => listener,
                    Err(error) => {
                        deaf.push(format!("listener `{}` cannot listen on {}: {error}", config.name, config.address));
                        continue;
                    }
                },
            };
            listeners.insert(config.address, listener);
        }
        *self.listeners.borrow_mut() = listeners;
        // Taken first: what this snapshot doesn't have either goes on waiting.
        let early = self.early.take();
        for (message, until_ms) in early {
            self.serve_handed_over(message, until_ms);
        }
        if !old.is_empty() {
            let until_ms = self.core.now_ms() + HAND_OVER_MS;
            for listener in old.into_values() {
                listener.close();
                self.closed.borrow_mut().push((listener, until_ms));
            }
            self.wake_connections();
        }
        deaf
    }

    fn drain(&self, timeout_ms: u64, ack: Ack, sweep: &Timer) {
        self.draining.set(true);
        *self.drain_ack.borrow_mut() = Some(ack);
        self.drain_deadline_ms.set(self.core.now_ms() + timeout_ms);
        self.listeners.borrow().values().for_each(|listener| listener.stop_accepting());
        self.wake_connections();
        sweep.set(self.core.now_ms() + DRAIN_SWEEP_MS);
        let generation = self.generation.borrow().clone();
        generation.clusters.iter().for_each(|cluster| cluster.drain());
    }

    fn set_overload(&self, actions: Actions) {
        let before = self.overload.replace(actions);
        if before.stop_accepting != actions.stop_accepting {
            self.listeners.borrow().values().for_each(|listener| listener.wake());
        }
        if actions.disable_keepalive && !before.disable_keepalive {
            self.wake_connections();
        }
    }

    /// What is being done about overload.
    pub(crate) fn overload(&self) -> Actions {
        self.overload.get()
    }

    /// Whether the process has as many connections of clients as it may.
    pub(crate) fn is_crowded(&self) -> bool {
        let bound = self.generation.borrow().snapshot.connections_max;
        if bound == 0 || self.server_block.gauge(ServerStat::TotalConnections) < u64::from(bound) {
            return false;
        }
        if may_tell(&self.crowd_told_ms, self.core.now_ms()) {
            tracing::warn!(connections_max = bound, "the process has as many connections as it may: others are closed");
        }
        true
    }

    fn drained(&self) -> bool {
        let accepting = self.listeners.borrow().values().any(|listener| listener.accepting());
        self.draining.get() && !accepting && self.live.get() == 0 && self.core.sockets_open() == 0
    }

    fn wake_connections(&self) {
        for waker in self.connections.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }

    /// Counts a downstream connection, and remembers its task's waker, until the guard is dropped.
    pub(crate) fn register(self: &Rc<World>, waker: Waker) -> Registered {
        let place = self.connections_free.borrow_mut().pop();
        let mut connections = self.connections.borrow_mut();
        let place = place.unwrap_or_else(|| {
            connections.push(None);
            connections.len() - 1
        });
        connections[place] = Some(waker);
        self.live.set(self.live.get() + 1);
        Registered { world: self.clone(), place }
    }

    /// Responses should end their connections.
    pub(crate) fn draining(&self) -> bool {
        self.draining.get()
    }

    /// The drain's time is up.
    pub(crate) fn cut_off(&self) -> bool {
        self.core.now_ms() >= self.drain_deadline_ms.get()
    }

    pub(crate) fn next_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    pub(crate) fn take_scratch(&self) -> Box<Scratch> {
        self.scratch.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_scratch(&self, mut scratch: Box<Scratch>) {
        scratch.clear();
        let mut kept = self.scratch.borrow_mut();
        if kept.len() < SCRATCH_KEPT_MAX {
            kept.push(scratch);
        }
    }

    /// Appends a `date` field; the text is made once a second.
    pub(crate) fn emit_date(&self, out: &mut Vec<u8>) {
        let now = self.core.unix_us() / 1_000_000;
        let mut date = self.date.borrow_mut();
        if date.0 != now {
            date.1.clear();
            emit::date(&mut date.1, now);
            date.0 = now;
        }
        emit::field(out, b"date", &date.1);
    }
}

/// Whether what was last told at `told_ms` may be told again.
pub(crate) fn may_tell(told_ms: &Cell<Option<u64>>, now_ms: u64) -> bool {
    let may = told_ms.get().is_none_or(|told_ms| now_ms >= told_ms + TELL_AGAIN_MS);
    if may {
        told_ms.set(Some(now_ms));
    }
    may
}

pub(crate) struct Registered {
    world: Rc<World>,
    place: usize,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.world.connections.borrow_mut()[self.place] = None;
        self.world.connections_free.borrow_mut().push(self.place);
        self.world.live.set(self.world.live.get() - 1);
    }
}
