//! TCP sessions: pick an endpoint, connect, relay.

use std::net::SocketAddr;
use std::rc::Rc;

use codecs::proxy_protocol;

use crate::cluster::{Cluster, Connection};
use crate::fault::Fault;
use crate::listener::{Config, Downstream};
use crate::log::{Flags, NoFields, Point, Record};
use crate::relay::{self, End, Pipe};
use crate::snapshot::{ClusterId, ProxyVersion, Serve, Tcp};
use crate::stats::{ClusterStat, EndpointStat, ListenerStat, TcpStat};
use crate::tls::{self, TlsFacts};

pub(crate) async fn serve(downstream: Box<Downstream>, config: Rc<Config>) {
    let Serve::Tcp(tcp) = &config.listener.serve else { return };
    let stats = &config.serve_stats;
    downstream.count_tcp_begin(stats);
    let Some((cluster, server_name)) = pick_cluster(&downstream, &config, tcp).await else {
        stats.gauge_dec(TcpStat::DownstreamCxActive);
        stats.inc(TcpStat::DownstreamCxDestroyRemote);
        return;
    };
    let mut session = Session {
        cluster,
        server_name,
        flags: Flags::NONE,
        upstream: None,
        name: String::new(),
        attempts: 0,
        upstream_tls: None,
        upstream_failure: None,
        up_bytes: 0,
        down_bytes: 0,
    };
    let end = session.run(&downstream, &config, tcp).await;
    stats.gauge_dec(TcpStat::DownstreamCxActive);
    session.log(&downstream, &config, tcp);
    // A reset stays a reset on the other side, and what is cut off ends in one: a transfer that broke off would look
    // complete.
    if matches!(end, End::UpstreamFailed | End::CutOff | End::Hoarding) {
        downstream.socket.reset();
    }
}

/// The cluster for the server name that the client asks for; `None` if the connection is over.
async fn pick_cluster(downstream: &Downstream, config: &Config, tcp: &Tcp) -> Option<(ClusterId, Option<Box<str>>)> {
    let Some(table) = &tcp.sni else { return Some((tcp.cluster, None)) };
    let name = match downstream.socket.tls() {
        Some(facts) => facts.server_name.clone(),
        None => tls::server_name(downstream, config).await?,
    };
    let found = name.as_deref().and_then(|name| table.find(name));
    if found.is_some() {
        config.stats.inc(ListenerStat::SniRouted);
    }
    Some((found.unwrap_or(tcp.cluster), name))
}

struct Session {
    cluster: ClusterId,
    /// The name that the client asked for, of TLS that is passed on.
    server_name: Option<Box<str>>,
    flags: Flags,
    upstream: Option<SocketAddr>,
    name: String,
    attempts: u32,
    /// What the handshake with the endpoint led to.
    upstream_tls: Option<Rc<TlsFacts>>,
    /// Why the connection to the endpoint failed.
    upstream_failure: Option<Rc<str>>,
    up_bytes: u64,
    down_bytes: u64,
}

impl Session {
    async fn run(&mut self, downstream: &Downstream, config: &Config, tcp: &Tcp) -> End {
        let stats = &config.serve_stats;
        let cluster = &config.generation.clusters[self.cluster as usize];
        let header = proxy_header(cluster.settings().proxy_protocol, downstream);
        let upstream = match self.connect(cluster, tcp, &header).await {
            Ok(upstream) => upstream,
            Err(fault) => {
                if fault == Fault::NoEndpoint {
                    stats.inc(TcpStat::DownstreamCxNoRoute);
                }
                if let Some(flag) = fault.outcome().flag {
                    self.flags.set(flag);
                }
                stats.inc(TcpStat::DownstreamCxDestroyLocal);
                return End::Complete;
            }
        };
        self.upstream = Some(upstream.endpoint.address);
        self.upstream_tls = upstream.socket.tls().cloned();
        self.name.clone_from(&upstream.endpoint.config.borrow().name);
        upstream.endpoint.begin();
        upstream.endpoint.stats.inc(EndpointStat::RqTotal);
        upstream.endpoint.stats.gauge_inc(EndpointStat::RqActive);
        let world = &downstream.world;
        let (client, endpoint) = (Pipe::Transport(&downstream.socket), Pipe::Transport(&upstream.socket));
        let relayed = relay::relay(&world.core, &client, &endpoint, tcp.idle_timeout_ms, || world.cut_off()).await;
        upstream.endpoint.end();
        upstream.endpoint.stats.gauge_dec(EndpointStat::RqActive);
        (self.up_bytes, self.down_bytes) = (relayed.up_bytes, relayed.down_bytes);
        stats.add(TcpStat::DownstreamCxRxBytesTotal, relayed.up_bytes);
        stats.add(TcpStat::DownstreamCxTxBytesTotal, relayed.down_bytes);
        stats.add(TcpStat::DownstreamFlowControlPausedReadingTotal, relayed.up_pauses);
        cluster.stats.add(ClusterStat::UpstreamCxTxBytesTotal, relayed.up_bytes);
        cluster.stats.add(ClusterStat::UpstreamCxRxBytesTotal, relayed.down_bytes);
        cluster.stats.add(ClusterStat::UpstreamFlowControlPausedReadingTotal, relayed.down_pauses);
        match relayed.end {
            End::Idle => stats.inc(TcpStat::IdleTimeout),
            End::Hoarding => stats.inc(TcpStat::OverloadClose),
            End::CutOff => stats.inc(TcpStat::DownstreamCxDrainClose),
            End::Complete | End::ClientFailed | End::UpstreamFailed => {}
        }
        let remote = relayed.end == End::ClientFailed || (relayed.end == End::Complete && relayed.client_first);
        stats.inc(if remote { TcpStat::DownstreamCxDestroyRemote } else { TcpStat::DownstreamCxDestroyLocal });
        match relayed.end {
            End::UpstreamFailed => upstream.closed_by_remote(),
            End::ClientFailed | End::CutOff | End::Hoarding => upstream.reset(),
            End::Complete | End::Idle => {}
        }
        relayed.end
    }

    async fn connect(&mut self, cluster: &Rc<Cluster>, tcp: &Tcp, header: &[u8]) -> Result<Connection, Fault> {
        let mut last = Fault::ConnectFailed;
        let mut except = None;
        for _ in 0..tcp.connect_attempts_max.max(1) {
            let endpoint = cluster.pick(except)?;
            except = Some(endpoint.address);
            self.attempts += 1;
            match cluster.connect(&endpoint, false, header).await {
                Ok(connection) => {
                    self.upstream_failure = None;
                    return Ok(connection);
                }
                Err(fault) => {
                    self.upstream_failure = endpoint.failure();
                    last = fault;
                }
            }
        }
        cluster.stats.inc(ClusterStat::UpstreamCxConnectAttemptsExceeded);
        Err(last)
    }

    fn log(&self, downstream: &Downstream, config: &Config, tcp: &Tcp) {
        if tcp.access_logs.is_empty() {
            return;
        }
        let cluster = config.generation.clusters[self.cluster as usize].config();
        let core = &downstream.world.core;
        let mut record = Record::new(&NoFields);
        record.tcp = true;
        record.duration_us = downstream.age_us();
        record.start_unix_us = core.unix_us().saturating_sub(record.duration_us);
        record.timing.mark(Point::ConnectionBegin, downstream.born_us());
        record.timing.mark(Point::ConnectionEnd, core.now_us());
        record.flags = self.flags;
        record.bytes_received = self.up_bytes;
        record.bytes_sent = self.down_bytes;
        record.listener = &config.listener.name;
        record.cluster = &cluster.name;
        record.upstream = self.upstream;
        record.upstream_name = &self.name;
        record.attempts = self.attempts;
        record.upstream_failure = self.upstream_failure.as_deref().unwrap_or_default();
        if let Some(facts) = &self.upstream_tls {
            facts.log_upstream(&mut record);
        }
        record.downstream_remote = Some(downstream.remote);
        record.downstream_direct_remote = Some(downstream.direct_remote);
        record.downstream_local = Some(downstream.local);
        record.connection_id = downstream.id;
        record.requested_server_name = self.server_name.as_deref().unwrap_or_default();
        downstream.log_tls(&mut record);
        let mut sink = downstream.world.log.borrow_mut();
        for log in &tcp.access_logs {
            sink.write(&config.generation.snapshot.logs[*log as usize], &record);
        }
    }
}

/// A PROXY protocol header that names the client of a connection; empty where none is wanted.
pub(crate) fn proxy_header(version: Option<ProxyVersion>, downstream: &Downstream) -> Vec<u8> {
    let mut out = Vec::new();
    match version {
        None => {}
        Some(ProxyVersion::V1) => proxy_protocol::emit_v1(&mut out, downstream.remote, downstream.local),
        Some(ProxyVersion::V2) => proxy_protocol::emit_v2(&mut out, downstream.remote, downstream.local),
    }
    out
}
