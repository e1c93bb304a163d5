//! HTTP/2 connections to endpoints: many requests share a few connections a core.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use codecs::http::h2::{ErrorCode, ErrorKind, Role};

use super::keepalive::{Silence, Watch};
use super::{Carrier, Failure, Mux, STREAMS_UNKNOWN_MAX};
use crate::cluster::{Cluster, Connection, Endpoint};
use crate::fault::Fault;
use crate::stats::ClusterStat;
use crate::transport::Transport;

const SLICES_AT_ONCE: usize = 16;
/// How long a connection that nobody has used yet is kept when none are to be kept.
const UNUSED_MS: u64 = 100;

/// The HTTP/2 connections of one core to one endpoint.
pub(crate) struct Pool {
    connections: RefCell<Vec<Rc<Mux>>>,
    /// One is being made: who comes meanwhile waits for it instead of making another.
    connecting: Cell<bool>,
    /// Connections that were begun.
    attempts: Cell<u64>,
    /// The last one that could not be made, by its number: all who waited for it fail with it.
    failed: Cell<Option<(u64, Fault)>>,
    /// Streams that the endpoint takes on a connection, as its last SETTINGS said: fresh connections begin with it.
    streams_max: Cell<u32>,
    /// With `auto`: the endpoint chose HTTP/1.1, so requests have connections of their own.
    http1: Cell<bool>,
    waiters: RefCell<Vec<Waker>>,
    /// Times that something changed; who waits looks again when it differs.
    changes: Cell<u64>,
}

impl Default for Pool {
    fn default() -> Pool {
        Pool {
            connections: RefCell::default(),
            connecting: Cell::default(),
            attempts: Cell::default(),
            failed: Cell::default(),
            streams_max: Cell::new(STREAMS_UNKNOWN_MAX),
            http1: Cell::default(),
            waiters: RefCell::default(),
            changes: Cell::default(),
        }
    }
}

impl Pool {
    /// A connection with room for another stream.
    fn find(&self, cluster: &Cluster) -> Option<Rc<Mux>> {
        let config = cluster.settings();
        let last = config.requests_per_connection_max;
        let mut connections = self.connections.borrow_mut();
        connections.retain(|mux| !mux.is_leaving() && !mux.is_used_up(last));
        let unknown_max = self.streams_max.get();
        connections.iter().find(|mux| mux.can_open(config.concurrent_streams_max, unknown_max)).cloned()
    }

    fn changed(&self) {
        self.changes.set(self.changes.get() + 1);
        for waker in self.waiters.take() {
            waker.wake();
        }
    }

    fn wait(&self, context: &Context<'_>) {
        self.waiters.borrow_mut().push(context.waker().clone());
    }

    /// Connections are given up as their requests end.
    pub(crate) fn retire(&self) {
        for mux in self.connections.take() {
            mux.wake_task();
        }
    }

    /// Gives up a connection without streams, if there is one: it closes soon.
    pub(crate) fn retire_idle(&self) -> bool {
        let mut connections = self.connections.borrow_mut();
        let Some(at) = connections.iter().position(|mux| !mux.is_used() && mux.has_answered()) else { return false };
        connections.swap_remove(at).wake_task();
        true
    }

    fn holds(&self, mux: &Rc<Mux>) -> bool {
        self.connections.borrow().iter().any(|held| Rc::ptr_eq(held, mux))
    }
}

/// What an attempt to get a connection came to.
pub(crate) enum Leased {
    Http2(Rc<Mux>),
    /// The endpoint chose HTTP/1.1.
    Http1(Connection),
}

/// A connection that is there and has room for another stream.
pub(crate) fn find(cluster: &Rc<Cluster>, endpoint: &Rc<Endpoint>) -> Option<Rc<Mux>> {
    endpoint.http2.find(cluster)
}

/// A connection on which a request can be sent: one that is there, or a new one if all are full.
pub(crate) async fn lease(cluster: &Rc<Cluster>, endpoint: &Rc<Endpoint>) -> Result<Leased, Fault> {
    let pool = &endpoint.http2;
    loop {
        if let Some(mux) = pool.find(cluster) {
            return Ok(Leased::Http2(mux));
        }
        if pool.http1.get() {
            return lease_http1(cluster, endpoint).await;
        }
        if !pool.connecting.get() {
            let connecting = Connecting::new(endpoint);
            match wait_for_room(cluster, pool).await? {
                true => cluster.core.spawn(establish(cluster.clone(), connecting)),
                // A stream has come free before.
                false => continue,
            }
        }
        let (attempt, seen) = (pool.attempts.get(), pool.changes.get());
        poll_fn(|context| match pool.changes.get() == seen {
            true => {
                pool.wait(context);
                Poll::Pending
            }
            false => Poll::Ready(()),
        })
        .await;
        if let Some((number, fault)) = pool.failed.get()
            && number == attempt
        {
            return Err(fault);
        }
    }
}

/// Waits until there may be one more connection (true), or there is room on one that exists.
async fn wait_for_room(cluster: &Rc<Cluster>, pool: &Pool) -> Result<bool, Fault> {
    let mut room = pin!(cluster.wait_for_room());
    poll_fn(|context| match room.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(result.map(|()| true)),
        Poll::Pending if pool.find(cluster).is_some() => Poll::Ready(Ok(false)),
        Poll::Pending => {
            pool.wait(context);
            Poll::Pending
        }
    })
    .await
}

/// Makes a connection for all who wait. It goes on if they leave: the next ones will want it.
async fn establish(cluster: Rc<Cluster>, connecting: Connecting) {
    let endpoint = connecting.0.clone();
    let pool = &endpoint.http2;
    match cluster.connect(&endpoint, false, b"").await {
        Ok(connection) if connection.socket.is_http2(cluster.settings().protocol) => drop(start(&cluster, connection)),
        Ok(connection) => {
            pool.http1.set(true);
            cluster.keep(connection);
        }
        Err(fault) => pool.failed.set(Some((pool.attempts.get(), fault))),
    }
}

/// A connection to an endpoint that chose HTTP/1.1 before; it may choose anew.
async fn lease_http1(cluster: &Rc<Cluster>, endpoint: &Rc<Endpoint>) -> Result<Leased, Fault> {
    if let Some(connection) = cluster.kept(endpoint) {
        return Ok(Leased::Http1(connection));
    }
    let connection = cluster.connect(endpoint, true, b"").await?;
    if connection.reused || !connection.socket.is_http2(cluster.settings().protocol) {
        return Ok(Leased::Http1(connection));
    }
    endpoint.http2.http1.set(false);
    Ok(Leased::Http2(start(cluster, connection)))
}

/// Marks that a connection is being made, however that ends.
struct Connecting(Rc<Endpoint>);

impl Connecting {
    fn new(endpoint: &Rc<Endpoint>) -> Connecting {
        let pool = &endpoint.http2;
        pool.connecting.set(true);
        pool.attempts.set(pool.attempts.get() + 1);
        Connecting(endpoint.clone())
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.http2.connecting.set(false);
        self.0.http2.changed();
    }
}

impl Carrier for Connection {
    fn transport(&self) -> &Transport {
        &self.socket
    }

    fn stream_ended(&self) {
        self.endpoint.http2.changed();
    }
}

/// Begins to speak HTTP/2 on a fresh connection.
fn start(cluster: &Rc<Cluster>, connection: Connection) -> Rc<Mux> {
    let (core, endpoint) = (cluster.core.clone(), connection.endpoint.clone());
    let config = cluster.config();
    cluster.stats.inc(ClusterStat::UpstreamCxHttp2Total);
    let mux = Mux::new(&core, Box::new(connection), Role::Client, &config.http2_limits);
    endpoint.http2.connections.borrow_mut().push(mux.clone());
    let (cluster, idle_since_ms) = (cluster.clone(), core.now_ms());
    let silence = Watch::new(idle_since_ms);
    let driven =
        Driven { cluster, endpoint, mux: mux.clone(), idle_since_ms, silence, next_ms: 0, failure: Failure::Gone };
    core.spawn(drive(driven));
    mux
}

struct Driven {
    cluster: Rc<Cluster>,
    endpoint: Rc<Endpoint>,
    mux: Rc<Mux>,
    idle_since_ms: u64,
    silence: Watch,
    /// When to look at the clock again.
    next_ms: u64,
    /// What those hear whose streams end with the connection.
    failure: Failure,
}

/// The connection's task: reads, and sends what waited for room, until the connection ends.
async fn drive(mut driven: Driven) {
    let timer = driven.cluster.core.timer();
    poll_fn(|context| driven.poll(context, &timer)).await;
    let pool = &driven.endpoint.http2;
    pool.connections.borrow_mut().retain(|mux| !Rc::ptr_eq(mux, &driven.mux));
    driven.mux.end(driven.failure);
    pool.changed();
}

impl Driven {
    fn poll(&mut self, context: &mut Context<'_>, timer: &runtime::Timer) -> Poll<()> {
        self.mux.attend(context);
        let established = self.mux.has_answered();
        let mut opened = Vec::new();
        let mut read_all = false;
        for _ in 0..SLICES_AT_ONCE {
            match self.mux.receive(&mut opened) {
                Ok(true) => self.silence.heard(self.cluster.core.now_ms()),
                Ok(false) => {
                    read_all = true;
                    break;
                }
                Err(error) => {
                    if let Some(error) = error {
                        // Requests under way count it themselves.
                        match self.mux.live() {
                            0 => self.cluster.stats.inc(ClusterStat::UpstreamCxProtocolError),
                            _ => self.failure = Failure::Malformed,
                        }
                        let error = error.kind.as_str();
                        tracing::debug!(endpoint = %self.endpoint.address, error, "HTTP/2 connection ended");
                    }
                    return Poll::Ready(());
                }
            }
        }
        self.cluster.stats.add(ClusterStat::UpstreamCxRxBytesTotal, self.mux.take_counts().received_bytes);
        // What it takes may have changed, and what waits for it may go on.
        if let Some(streams_max) = self.mux.peer_streams_max()
            && (!established || streams_max != self.endpoint.http2.streams_max.get())
        {
            self.endpoint.http2.streams_max.set(streams_max);
            self.endpoint.http2.changed();
        }
        self.mux.serve_blocked();
        self.next_ms = u64::MAX;
        if self.is_over() {
            self.mux.go_away(ErrorCode::NoError);
            return Poll::Ready(());
        }
        if self.is_silent() {
            self.cluster.stats.inc(ClusterStat::Http2KeepaliveTimeout);
            return Poll::Ready(());
        }
        let timeout_ms = self.cluster.settings().http2_settings_timeout_ms;
        if self.is_past(self.mux.settings_due_ms(timeout_ms)) {
            self.mux.give_up(ErrorKind::SettingsTimeout);
            self.cluster.stats.inc(ClusterStat::Http2SettingsTimeout);
            return Poll::Ready(());
        }
        match self.next_ms {
            u64::MAX => timer.clear(),
            next_ms => timer.set(next_ms),
        }
        // Woken at the end of each stream, and when the endpoint first answers.
        if !self.mux.is_used() && self.mux.has_answered() {
            self.cluster.http2_idle();
        }
        if !read_all {
            context.waker().wake_by_ref();
        }
        self.mux.transport().watch();
        Poll::Pending
    }

    /// Whether a time has come; if not, it is one to look at the clock again.
    fn is_past(&mut self, at_ms: u64) -> bool {
        self.next_ms = self.next_ms.min(at_ms);
        self.cluster.core.now_ms() >= at_ms
    }

    /// A PING wasn't answered. Only asked while requests are under way: nobody waits for an idle connection.
    fn is_silent(&mut self) -> bool {
        let now_ms = self.cluster.core.now_ms();
        if self.mux.live() == 0 {
            self.silence.heard(now_ms);
            return false;
        }
        let silence = self.silence.check(&self.mux, &self.cluster.settings().keepalive, now_ms);
        match silence {
            Silence::TooLong => true,
            Silence::Until(next_ms) => self.is_past(next_ms),
        }
    }

    /// Idle for too long, or leaving with nothing under way.
    fn is_over(&mut self) -> bool {
        if self.mux.is_used() {
            self.idle_since_ms = self.cluster.core.now_ms();
            return false;
        }
        if self.mux.is_leaving() {
            return true;
        }
        if self.cluster.draining() || self.endpoint.is_retired() {
            // Whoever a fresh one was made for gets to use it.
            return self.is_past(self.idle_since_ms + if self.mux.requests.get() == 0 { UNUSED_MS } else { 0 });
        }
        let config = self.cluster.settings();
        let (timeout_ms, used_up) = (config.idle_timeout_ms, self.mux.is_used_up(config.requests_per_connection_max));
        drop(config);
        if used_up {
            self.cluster.stats.inc(ClusterStat::UpstreamCxMaxRequests);
            return true;
        }
        if !self.endpoint.http2.holds(&self.mux) {
            return true;
        }
        if timeout_ms == 0 || !self.is_past(self.idle_since_ms + timeout_ms) {
            return false;
        }
        self.cluster.stats.inc(ClusterStat::UpstreamCxIdleTimeout);
        true
    }
}
