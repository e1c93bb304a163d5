//! One core's live state of a cluster: its endpoints with their pools, what is under way, who waits for a connection.
//!
//! State is kept by name and address over new snapshots, so a reload that doesn't touch a cluster doesn't touch its
//! pools. Bounds are the core's share of the cluster's.

mod balance;
mod connection;
mod named;
mod waiting;

use std::cell::{Cell, Ref, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use runtime::{Core, Watcher};

pub(crate) use connection::Connection;
use waiting::Waiting;

use crate::fault::Fault;
use crate::http::h2::upstream::Pool;
use crate::snapshot;
use crate::stats::{ClusterStat, Lane};
use crate::tls::UpstreamTls;

/// Connect attempts for one request, each at an endpoint picked anew: nothing was sent yet, so trying again is safe.
pub(crate) const CONNECT_ATTEMPTS_MAX: u32 = 3;

pub(crate) struct Cluster {
    pub(crate) core: Core,
    cores: usize,
    /// The task that is woken when an idle connection ends.
    janitor: Watcher,
    config: RefCell<Arc<snapshot::Cluster>>,
    pub(crate) stats: Lane,
    tls: UpstreamTls,
    endpoints: RefCell<Vec<Rc<Endpoint>>>,
    balance: RefCell<balance::State>,
    /// Open connections, idle ones too.
    connections: Cell<u32>,
    requests: Cell<u32>,
    retries: Cell<u32>,
    waiting: Waiting,
    draining: Cell<bool>,
}

pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) config: RefCell<Arc<snapshot::Endpoint>>,
    pub(crate) stats: Lane,
    /// Requests and sessions under way.
    active: Cell<u32>,
    /// Idle connections, the most recently used last.
    idle: RefCell<Vec<Connection>>,
    pub(crate) http2: Pool,
    /// No longer in the config: connections aren't kept.
    retired: Cell<bool>,
    /// Why the last connection that didn't come up didn't.
    failure: RefCell<Option<Rc<str>>>,
    /// Where each request names the server (`sni: auto`): this endpoint by each name, with pools of its own.
    named: named::Endpoints,
}

impl Cluster {
    pub(crate) fn new(core: &Core, cores: usize, janitor: Watcher, config: &Arc<snapshot::Cluster>) -> Rc<Cluster> {
        let cluster = Cluster {
            core: core.clone(),
            cores,
            janitor,
            config: RefCell::new(config.clone()),
            tls: UpstreamTls::new(config, &config.stats.lane(core.id())),
            stats: config.stats.lane(core.id()),
            endpoints: RefCell::default(),
            balance: RefCell::new(balance::State::new(core.random())),
            connections: Cell::new(0),
            requests: Cell::new(0),
            retries: Cell::new(0),
            waiting: Waiting::default(),
            draining: Cell::default(),
        };
        cluster.take_endpoints(config);
        Rc::new(cluster)
    }

    /// Takes over a new definition; endpoints that stay keep their pools.
    pub(crate) fn reconcile(&self, config: &Arc<snapshot::Cluster>) {
        let before = std::mem::replace(&mut *self.config.borrow_mut(), config.clone());
        if self.tls.take(config) || !before.connects_like(config) {
            // Connections that speak something else are no use any more.
            self.close_idle();
        }
        self.take_endpoints(config);
        self.waiting.wake_all();
    }

    fn take_endpoints(&self, config: &Arc<snapshot::Cluster>) {
        let mut old = std::mem::take(&mut *self.endpoints.borrow_mut());
        let mut endpoints = Vec::with_capacity(config.endpoints.len());
        for endpoint in &config.endpoints {
            let known = old.iter().position(|known| known.address == endpoint.address);
            endpoints.push(match known {
                Some(at) => {
                    let known = old.swap_remove(at);
                    known.take(endpoint);
                    known
                }
                None => Rc::new(Endpoint::new(endpoint.clone(), endpoint.stats.lane(self.core.id()))),
            });
        }
        *self.endpoints.borrow_mut() = endpoints;
        old.iter().for_each(|endpoint| endpoint.retire());
        self.balance.borrow_mut().rebuild(config.balance, &config.endpoints);
    }

    /// The cluster has left the config. Its endpoints stay for the requests that began before: they may yet have to
    /// pick one.
    pub(crate) fn retire(&self) {
        self.endpoints.borrow().iter().for_each(|endpoint| endpoint.retire());
        self.waiting.wake_all();
    }

    /// To look at for a moment, on the path of requests: the count of references belongs to all cores.
    pub(crate) fn settings(&self) -> Ref<'_, Arc<snapshot::Cluster>> {
        self.config.borrow()
    }

    pub(crate) fn config(&self) -> Arc<snapshot::Cluster> {
        self.config.borrow().clone()
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.get()
    }

    fn share(&self, bound: u32) -> u32 {
        bound.div_ceil(self.cores as u32)
    }

    /// Admits one request: the guard counts it until dropped.
    pub(crate) fn admit(self: &Rc<Cluster>) -> Result<Admitted, Fault> {
        let bound = self.share(self.config.borrow().breaker.requests_max);
        if self.requests.get() >= bound {
            self.stats.inc(ClusterStat::UpstreamRqActiveOverflow);
            self.stats.inc(ClusterStat::UpstreamRqPendingOverflow);
            return Err(Fault::Overflow);
        }
        self.requests.set(self.requests.get() + 1);
        self.stats.gauge_inc(ClusterStat::UpstreamRqActive);
        Ok(Admitted(self.clone()))
    }

    /// Admits one retry: the guard counts it until dropped. `None` at the bound.
    pub(crate) fn admit_retry(self: &Rc<Cluster>) -> Option<Retrying> {
        let bound = self.share(self.config.borrow().breaker.retries_max);
        if self.retries.get() >= bound {
            self.stats.set(ClusterStat::CircuitBreakersDefaultRqRetryOpen, 1);
            return None;
        }
        self.retries.set(self.retries.get() + 1);
        Some(Retrying(self.clone()))
    }

    /// An endpoint by the cluster's policy, another than `except` if there is a choice.
    pub(crate) fn pick(&self, except: Option<SocketAddr>) -> Result<Rc<Endpoint>, Fault> {
        let endpoints = self.endpoints.borrow();
        let mut balance = self.balance.borrow_mut();
        let mut picked = balance.pick(&endpoints, || self.core.random());
        for _ in 0..endpoints.len().min(8) {
            if picked.is_none_or(|at| Some(endpoints[at].address) != except) {
                break;
            }
            picked = balance.pick(&endpoints, || self.core.random());
        }
        picked.map(|at| endpoints[at].clone()).ok_or_else(|| {
            self.stats.inc(ClusterStat::UpstreamCxNoneHealthy);
            Fault::NoEndpoint
        })
    }

    /// A kept connection to the endpoint that is still good; those that aren't are dropped on the way.
    pub(crate) fn kept(&self, endpoint: &Rc<Endpoint>) -> Option<Connection> {
        loop {
            let mut connection = endpoint.idle.borrow_mut().pop()?;
            self.stats.gauge_dec(ClusterStat::UpstreamCxIdle);
            if connection.socket.has_input() {
                connection.closed_by_remote();
                continue;
            }
            connection.reused = true;
            self.stats.inc(ClusterStat::UpstreamCxReused);
            return Some(connection);
        }
    }

    /// A fresh connection, waiting for room under the cluster's bound and for the handshake. Whoever had to wait and may
    /// reuse takes a connection that came back meanwhile instead. `first` goes out before anything else, TLS included.
    pub(crate) async fn connect(
        self: &Rc<Cluster>,
        endpoint: &Rc<Endpoint>,
        may_reuse: bool,
        first: &[u8],
    ) -> Result<Connection, Fault> {
        let config = self.config();
        let bound = self.share(config.breaker.connections_max);
        let room =
            || self.connections.get() < bound || (may_reuse && !endpoint.idle.borrow().is_empty()) || self.evict_idle();
        self.stats.inc(ClusterStat::UpstreamRqPendingTotal);
        if !room() {
            self.wait_for(room, &config).await?;
            if may_reuse && let Some(connection) = self.kept(endpoint) {
                return Ok(connection);
            }
        }
        Connection::open(self, endpoint, config.connect_timeout_ms, first).await
    }

    /// Waits until there may be one more connection.
    pub(crate) async fn wait_for_room(self: &Rc<Cluster>) -> Result<(), Fault> {
        let config = self.config();
        let bound = self.share(config.breaker.connections_max);
        let room = || self.connections.get() < bound || self.evict_idle();
        if room() { Ok(()) } else { self.wait_for(room, &config).await }
    }

    async fn wait_for(&self, room: impl FnMut() -> bool, config: &snapshot::Cluster) -> Result<(), Fault> {
        self.stats.inc(ClusterStat::UpstreamCxOverflow);
        if self.waiting.len() >= self.share(config.breaker.pending_max) as usize {
            self.stats.inc(ClusterStat::UpstreamRqPendingOverflow);
            return Err(Fault::Overflow);
        }
        self.stats.set(ClusterStat::CircuitBreakersDefaultCxOpen, 1);
        self.stats.gauge_inc(ClusterStat::UpstreamRqPendingActive);
        let _counted = Pending(self);
        self.waiting.until(room).await;
        if self.waiting.len() == 0 {
            self.stats.set(ClusterStat::CircuitBreakersDefaultCxOpen, 0);
        }
        Ok(())
    }

    /// An HTTP/2 connection has nothing under way: whoever waits for room can have its place.
    pub(crate) fn http2_idle(&self) {
        self.waiting.wake_one();
    }

    /// Closes an idle connection of any endpoint to make room for another.
    fn evict_idle(&self) -> bool {
        let endpoints = self.endpoints.borrow();
        let victim = endpoints.iter().find_map(|endpoint| endpoint.take_oldest());
        if victim.is_some() {
            self.stats.gauge_dec(ClusterStat::UpstreamCxIdle);
        } else {
            // These close a moment later: whoever waits is woken then.
            endpoints.iter().any(|endpoint| endpoint.retire_idle());
        }
        drop(endpoints);
        victim.is_some()
    }

    /// Takes a connection back whose exchange ended cleanly, or closes it if it may not be kept.
    pub(crate) fn keep(self: &Rc<Cluster>, mut connection: Connection) {
        if connection.socket.has_input() {
            return connection.closed_by_remote();
        }
        let endpoint = connection.endpoint.clone();
        if !self.may_keep(&connection, &endpoint) {
            return;
        }
        connection.idle_since_ms = self.core.now_ms();
        connection.socket.watch_by(self.janitor);
        self.stats.gauge_inc(ClusterStat::UpstreamCxIdle);
        endpoint.idle.borrow_mut().push(connection);
        self.waiting.wake_one();
    }

    fn may_keep(&self, connection: &Connection, endpoint: &Endpoint) -> bool {
        let config = self.settings();
        let used_up =
            config.requests_per_connection_max > 0 && connection.requests >= config.requests_per_connection_max;
        if used_up {
            self.stats.inc(ClusterStat::UpstreamCxMaxRequests);
        }
        let full = endpoint.idle.borrow().len() >= config.idle_connections_max as usize;
        !used_up && !full && !endpoint.retired.get() && connection.made_for.connects_like(&config)
    }

    /// Drops idle connections that have ended or were idle for too long.
    pub(crate) fn sweep(&self) {
        let timeout_ms = self.config.borrow().idle_timeout_ms;
        let oldest_ms = if timeout_ms == 0 { 0 } else { self.core.now_ms().saturating_sub(timeout_ms) };
        // One at a time: what a connection's end leads to may look at the endpoints.
        let endpoints = (0..).map_while(|at| self.endpoints.borrow().get(at).cloned());
        for endpoint in endpoints.flat_map(|endpoint| endpoint.with_named()) {
            let unfit = |connection: &mut Connection| {
                connection.socket.has_input() || (timeout_ms > 0 && connection.idle_since_ms <= oldest_ms)
            };
            let gone: Vec<Connection> = endpoint.idle.borrow_mut().extract_if(.., unfit).collect();
            for connection in gone {
                self.stats.gauge_dec(ClusterStat::UpstreamCxIdle);
                match connection.socket.has_input() {
                    true => connection.closed_by_remote(),
                    false => self.stats.inc(ClusterStat::UpstreamCxIdleTimeout),
                }
            }
        }
    }

    /// The core drains: idle connections close, and from here on each as soon as it is idle.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.close_idle();
    }

    /// Closes every idle connection; none of the others takes another request.
    fn close_idle(&self) {
        while self.evict_idle() {}
        let endpoints = self.endpoints.borrow();
        endpoints.iter().flat_map(Endpoint::with_named).for_each(|endpoint| endpoint.http2.retire());
    }
}

impl Endpoint {
    fn new(config: Arc<snapshot::Endpoint>, stats: Lane) -> Endpoint {
        Endpoint {
            address: config.address,
            config: RefCell::new(config),
            stats,
            active: Cell::new(0),
            idle: RefCell::default(),
            http2: Pool::default(),
            retired: Cell::new(false),
            failure: RefCell::default(),
            named: named::Endpoints::default(),
        }
    }

    /// Why the last connection that didn't come up didn't; for logs.
    pub(crate) fn failure(&self) -> Option<Rc<str>> {
        self.failure.borrow().clone()
    }

    fn retire(&self) {
        self.retired.set(true);
        self.http2.retire();
        for connection in self.idle.take() {
            connection.cluster.stats.gauge_dec(ClusterStat::UpstreamCxIdle);
        }
        self.named.each(|endpoint| endpoint.retire());
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    pub(crate) fn active(&self) -> u32 {
        self.active.get()
    }

    pub(crate) fn begin(&self) {
        self.active.set(self.active.get() + 1);
        self.named.with_whole(Endpoint::begin);
    }

    pub(crate) fn end(&self) {
        self.active.set(self.active.get().saturating_sub(1));
        self.named.with_whole(Endpoint::end);
    }
}

/// A retry under way.
pub(crate) struct Retrying(Rc<Cluster>);

impl Drop for Retrying {
    fn drop(&mut self) {
        self.0.retries.set(self.0.retries.get() - 1);
        self.0.stats.set(ClusterStat::CircuitBreakersDefaultRqRetryOpen, 0);
    }
}

/// One request that the cluster has admitted.
pub(crate) struct Admitted(Rc<Cluster>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get() - 1);
        self.0.stats.gauge_dec(ClusterStat::UpstreamRqActive);
    }
}

struct Pending<'a>(&'a Cluster);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.stats.gauge_dec(ClusterStat::UpstreamRqPendingActive);
    }
}
