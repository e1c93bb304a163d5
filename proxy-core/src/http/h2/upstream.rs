//! HTTP/2 connections to endpoints: many requests share a few connections a core.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use codecs::http::h2::{ErrorCode, Limits, Role};

use super::{Carrier, Mux};
use crate::cluster::{Cluster, Connection, Endpoint};
use crate::fault::Fault;
use crate::stats::ClusterStat;
use crate::transport::Transport;

const SLICES_AT_ONCE: usize = 16;

/// The HTTP/2 connections of one core to one endpoint.
#[derive(Default)]
pub(crate) struct Pool {
    connections: RefCell<Vec<Rc<Mux>>>,
    /// One is being made: who comes meanwhile waits for it instead of making another.
    connecting: Cell<bool>,
    waiters: RefCell<Vec<Waker>>,
    /// What the endpoint chose last, where it may choose (ALPN): then nobody waits for somebody else's connection.
    chose_http1: Cell<bool>,
    /// Times that something changed; who waits looks again when it differs.
    changes: Cell<u64>,
}

impl Pool {
    fn find(&self, streams_max: u32) -> Option<Rc<Mux>> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|mux| !mux.is_leaving());
        connections.iter().find(|mux| mux.can_open(streams_max)).cloned()
    }

    fn changed(&self) {
        self.changes.set(self.changes.get() + 1);
        for waker in self.waiters.take() {
            waker.wake();
        }
    }

    /// Connections are given up as their requests end.
    pub(crate) fn retire(&self) {
        for mux in self.connections.take() {
            mux.wake_task();
        }
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

/// A connection on which a request can be sent: one that is there, or a new one if all are full.
pub(crate) async fn lease(cluster: &Rc<Cluster>, endpoint: &Rc<Endpoint>) -> Result<Leased, Fault> {
    let pool = &endpoint.http2;
    loop {
        let streams_max = cluster.config().concurrent_streams_max;
        if let Some(mux) = pool.find(streams_max) {
            return Ok(Leased::Http2(mux));
        }
        if !pool.connecting.get() || pool.chose_http1.get() {
            let connecting = Connecting::new(endpoint);
            let connection = cluster.connect(endpoint, false).await?;
            let is_http2 = connection.socket.is_http2(cluster.config().protocol);
            pool.chose_http1.set(!is_http2);
            let leased = match is_http2 {
                true => Leased::Http2(start(cluster, connection)),
                false => Leased::Http1(connection),
            };
            drop(connecting);
            return Ok(leased);
        }
        let seen = pool.changes.get();
        poll_fn(|context| match pool.changes.get() == seen {
            true => {
                pool.waiters.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
            false => Poll::Ready(()),
        })
        .await;
    }
}

/// Marks that a connection is being made, however that ends.
struct Connecting(Rc<Endpoint>);

impl Connecting {
    fn new(endpoint: &Rc<Endpoint>) -> Connecting {
        endpoint.http2.connecting.set(true);
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
    let limits = Limits {
        header_list_bytes_max: config.limits.head_bytes_max,
        fields_max: config.limits.fields_max,
        stream_window_bytes: 256 * 1024,
        connection_window_bytes: 4 * 1024 * 1024,
        ..Limits::default()
    };
    cluster.stats.inc(ClusterStat::UpstreamCxHttp2Total);
    let mux = Mux::new(&core, Box::new(connection), Role::Client, &limits);
    endpoint.http2.connections.borrow_mut().push(mux.clone());
    let driven = Driven { cluster: cluster.clone(), endpoint, mux: mux.clone(), idle_since_ms: core.now_ms() };
    core.spawn(drive(driven));
    mux
}

struct Driven {
    cluster: Rc<Cluster>,
    endpoint: Rc<Endpoint>,
    mux: Rc<Mux>,
    idle_since_ms: u64,
}

/// The connection's task: reads, and sends what waited for room, until the connection ends.
async fn drive(mut driven: Driven) {
    let timer = driven.cluster.core.timer();
    poll_fn(|context| driven.poll(context, &timer)).await;
    let pool = &driven.endpoint.http2;
    pool.connections.borrow_mut().retain(|mux| !Rc::ptr_eq(mux, &driven.mux));
    driven.mux.end(false);
    pool.changed();
}

impl Driven {
    fn poll(&mut self, context: &mut Context<'_>, timer: &runtime::Timer) -> Poll<()> {
        self.mux.attend(context);
        let established = self.mux.takes_connect_protocol().is_some();
        let mut opened = Vec::new();
        let mut read_all = false;
        for _ in 0..SLICES_AT_ONCE {
            match self.mux.receive(&mut opened) {
                Ok(true) => {}
                Ok(false) => {
                    read_all = true;
                    break;
                }
                Err(error) => {
                    if let Some(error) = error {
                        self.cluster.stats.inc(ClusterStat::UpstreamCxProtocolError);
                        let error = error.kind.as_str();
                        tracing::debug!(endpoint = %self.endpoint.address, error, "HTTP/2 connection ended");
                    }
                    return Poll::Ready(());
                }
            }
        }
        self.cluster.stats.add(ClusterStat::UpstreamCxRxBytesTotal, self.mux.take_counts().received_bytes);
        if !established && self.mux.takes_connect_protocol().is_some() {
            self.endpoint.http2.changed();
        }
        self.mux.serve_blocked();
        if self.is_over(timer) {
            self.mux.go_away(ErrorCode::NoError);
            return Poll::Ready(());
        }
        if !read_all {
            context.waker().wake_by_ref();
        }
        self.mux.transport().watch();
        Poll::Pending
    }

    /// Idle for too long, or leaving with nothing under way.
    fn is_over(&mut self, timer: &runtime::Timer) -> bool {
        let now_ms = self.cluster.core.now_ms();
        if self.mux.live() > 0 {
            self.idle_since_ms = now_ms;
            timer.clear();
            return false;
        }
        if self.mux.is_leaving() || !self.endpoint.http2.holds(&self.mux) {
            return true;
        }
        let timeout_ms = self.cluster.config().idle_timeout_ms;
        if timeout_ms == 0 {
            return false;
        }
        if now_ms >= self.idle_since_ms + timeout_ms {
            self.cluster.stats.inc(ClusterStat::UpstreamCxIdleTimeout);
            return true;
        }
        timer.set(self.idle_since_ms + timeout_ms);
        false
    }
}
