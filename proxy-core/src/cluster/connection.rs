//! One connection to an endpoint, from the handshake to its end.

use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use super::{Cluster, Endpoint};
use crate::fault::Fault;
use crate::snapshot;
use crate::stats::{ClusterStat, EndpointStat};
use crate::tls;
use crate::transport::{Refused, Transport};

/// What a connection that doesn't come up counts as.
const REFUSED: (ClusterStat, Fault) = (ClusterStat::UpstreamCxConnectFail, Fault::ConnectFailed);
const TIMEOUT: (ClusterStat, Fault) = (ClusterStat::UpstreamCxConnectTimeout, Fault::ConnectTimeout);

pub(crate) struct Connection {
    pub(crate) socket: Transport,
    pub(crate) endpoint: Rc<Endpoint>,
    pub(crate) cluster: Rc<Cluster>,
    /// Exchanges that it has carried, this one included.
    pub(crate) requests: u64,
    /// It carried another exchange before this one.
    pub(crate) reused: bool,
    pub(super) idle_since_ms: u64,
    /// The definition of the cluster that it was made by.
    pub(super) made_for: Arc<snapshot::Cluster>,
    /// Microseconds that it took to come up, TLS included.
    pub(crate) connect_us: u64,
    end: End,
}

/// Counts the end of a connection when it is dropped.
struct End {
    endpoint: Rc<Endpoint>,
    cluster: Rc<Cluster>,
    born_us: u64,
    remote: bool,
}

impl Connection {
    pub(super) async fn open(
        cluster: &Rc<Cluster>,
        endpoint: &Rc<Endpoint>,
        timeout_ms: u64,
        first: &[u8],
    ) -> Result<Connection, Fault> {
        let core = &cluster.core;
        let born_us = core.now_us();
        let failed = |(stat, fault), why: &dyn fmt::Display| {
            cluster.stats.inc(stat);
            endpoint.stats.inc(EndpointStat::CxConnectFail);
            *endpoint.failure.borrow_mut() = Some(why.to_string().into());
            fault
        };
        let socket = core.start_connect(endpoint.address).map_err(|error| failed(REFUSED, &error))?;
        cluster.connections.set(cluster.connections.get() + 1);
        cluster.stats.inc(ClusterStat::UpstreamCxTotal);
        cluster.stats.gauge_inc(ClusterStat::UpstreamCxActive);
        endpoint.stats.inc(EndpointStat::CxTotal);
        endpoint.stats.gauge_inc(EndpointStat::CxActive);
        let end = End { endpoint: endpoint.clone(), cluster: cluster.clone(), born_us, remote: false };
        let timer = core.timer();
        let deadline_ms = core.now_ms() + timeout_ms.max(1);
        timer.set(deadline_ms);
        let connected = poll_fn(|_| match socket.poll_connected() {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(failed(REFUSED, &error))),
            Poll::Pending if timer.expired() => Poll::Ready(Err(failed(TIMEOUT, &"connection timeout"))),
            Poll::Pending => Poll::Pending,
        })
        .await;
        connected?;
        socket.send(first);
        let name = endpoint.config.borrow().name.clone();
        let name = endpoint.server_name().unwrap_or_else(|| tls::host(&name));
        let secured = cluster.tls.secure(core, socket, name, endpoint.address, deadline_ms).await;
        let socket = secured.map_err(|refused| match refused {
            Refused::Timeout => failed(TIMEOUT, &refused),
            _ => failed(REFUSED, &refused),
        })?;
        let connect_us = core.now_us() - born_us;
        cluster.stats.observe_us(ClusterStat::UpstreamCxConnectMs, connect_us);
        Ok(Connection {
            socket,
            endpoint: endpoint.clone(),
            cluster: cluster.clone(),
            requests: 0,
            reused: false,
            idle_since_ms: 0,
            made_for: cluster.config(),
            connect_us,
            end,
        })
    }

    /// Drops a connection that the endpoint has ended.
    pub(crate) fn closed_by_remote(mut self) {
        self.end.remote = true;
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        self.socket.reset();
    }

    /// Lets a failed exchange say that the endpoint ended the connection.
    pub(crate) fn mark_remote(&mut self) {
        self.end.remote = true;
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let stats = &self.cluster.stats;
        stats.gauge_dec(ClusterStat::UpstreamCxActive);
        stats.inc(ClusterStat::UpstreamCxDestroy);
        stats.inc(match self.remote {
            true => ClusterStat::UpstreamCxDestroyRemote,
            false => ClusterStat::UpstreamCxDestroyLocal,
        });
        stats.observe_us(ClusterStat::UpstreamCxLengthMs, self.cluster.core.now_us() - self.born_us);
        self.endpoint.stats.gauge_dec(EndpointStat::CxActive);
        self.cluster.connections.set(self.cluster.connections.get() - 1);
        self.cluster.waiting.wake_one();
    }
}
