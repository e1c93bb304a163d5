//! The endpoint's side of an exchange: an HTTP/1 connection that it has to itself for now, or a stream of an HTTP/2 one.

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use codecs::http::h1::Trailers;
use codecs::http::h2::{ErrorCode, Message, OpenError, RequestLine};
use codecs::http::{FieldId, Method};
use runtime::Slice;

use super::body::{self, Http1Body, Piece};
use super::exchange::Exchange;
use super::forward::count_fault;
use super::h2::upstream::{self as http2, Leased};
use super::h2::{Inbound, Mux, Stream};
use crate::cluster::{CONNECT_ATTEMPTS_MAX, Cluster, Connection, Endpoint};
use crate::fault::Fault;
use crate::log::Point;
use crate::relay::Pipe;
use crate::snapshot::{HeaderEdits, Protocol};
use crate::stats::ClusterStat;
use crate::tcp::proxy_header;
use crate::tls::{TlsFacts, host};

pub(super) enum Upstream {
    Http1(Connection),
    Http2(Call),
}

/// What a first look for a connection came to.
pub(super) enum Lease {
    Ready(Upstream),
    /// There is none yet to this endpoint.
    Wait(Rc<Endpoint>),
}

/// A request on a stream.
pub(super) struct Call {
    pub(super) stream: Stream,
    endpoint: Rc<Endpoint>,
    cluster: Rc<Cluster>,
    /// The connection has carried others before.
    pub(super) reused: bool,
}

impl Upstream {
    pub(super) fn endpoint(&self) -> &Rc<Endpoint> {
        match self {
            Upstream::Http1(connection) => &connection.endpoint,
            Upstream::Http2(call) => &call.endpoint,
        }
    }

    pub(super) fn cluster(&self) -> &Rc<Cluster> {
        match self {
            Upstream::Http1(connection) => &connection.cluster,
            Upstream::Http2(call) => &call.cluster,
        }
    }

    /// What the handshake with the endpoint led to.
    pub(super) fn tls(&self) -> Option<Rc<TlsFacts>> {
        match self {
            Upstream::Http1(connection) => connection.socket.tls().cloned(),
            Upstream::Http2(call) => call.stream.tls(),
        }
    }

    /// Registers the running task for whatever the endpoint does next.
    pub(super) fn watch(&self, context: &Context<'_>) {
        match self {
            Upstream::Http1(connection) => connection.socket.watch(),
            Upstream::Http2(call) => call.stream.watch(context),
        }
    }

    pub(super) fn poll_drained(&self, below: usize) -> Poll<Result<(), ()>> {
        match self {
            Upstream::Http1(connection) => connection.socket.poll_drained(below).map_err(drop),
            Upstream::Http2(call) if call.stream.failure().is_some() => Poll::Ready(Err(())),
            Upstream::Http2(call) => call.stream.poll_drained(below).map(Ok),
        }
    }

    /// Sends payload of the request; returns the bytes on the wire.
    pub(super) fn send_up(&self, payload: Slice, chunked: bool, out: &mut Vec<u8>) -> u64 {
        match self {
            Upstream::Http1(connection) => body::send_payload(&connection.socket, payload, chunked, out),
            Upstream::Http2(call) => {
                let len = payload.len() as u64;
                call.stream.send_slice(payload);
                len
            }
        }
    }

    /// Ends the request's body; returns the bytes on the wire.
    pub(super) fn end_up(&self, trailers: Option<Trailers<'_>>, chunked: bool, out: &mut Vec<u8>) -> u64 {
        match self {
            Upstream::Http1(connection) => body::send_end(&connection.socket, trailers, chunked, out),
            Upstream::Http2(call) => {
                call.stream.finish(trailers.filter(|trailers| !trailers.fields.is_empty()));
                0
            }
        }
    }

    /// What comes next of the response's body.
    pub(super) fn next_of_response(&self, http1: &mut Http1Body, trailers: &mut Option<Box<Message>>) -> Piece {
        let call = match self {
            Upstream::Http1(connection) => return http1.next(&connection.socket),
            Upstream::Http2(call) => call,
        };
        loop {
            return match call.stream.try_recv() {
                None => Piece::Nothing,
                Some(Inbound::Data(slice)) => {
                    let len = slice.len() as u64;
                    Piece::Data(slice, len)
                }
                Some(Inbound::Trailers(message)) => {
                    *trailers = Some(message);
                    continue;
                }
                Some(Inbound::End) => Piece::End(0),
                Some(Inbound::Failed | Inbound::Head(_) | Inbound::Interim(_)) => Piece::Failed,
            };
        }
    }

    pub(super) fn pipe(&self) -> Pipe<'_> {
        match self {
            Upstream::Http1(connection) => Pipe::Transport(&connection.socket),
            Upstream::Http2(call) => Pipe::Stream(&call.stream),
        }
    }

    /// Ends it so that what was sent doesn't look complete.
    pub(super) fn reset(self) {
        match self {
            Upstream::Http1(connection) => connection.reset(),
            Upstream::Http2(call) => call.stream.give_up_with(ErrorCode::Cancel),
        }
    }
}

impl Exchange<'_> {
    /// CONNECT to a host, as opposed to an extended one that names a protocol.
    pub(super) fn is_plain_connect(&self) -> bool {
        self.scratch.request.method == Method::Connect && self.scratch.request.protocol.is_none()
    }

    /// Picks an endpoint, and takes a connection to it if one is there: a kept one, or a stream of one that has room.
    pub(super) fn lease_ready(
        &mut self,
        cluster: &Rc<Cluster>,
        edits: &HeaderEdits,
        fresh: bool,
    ) -> Result<Lease, Fault> {
        let endpoint = self.pick(cluster, edits, None)?;
        if !self.may_share(cluster, fresh) {
            return Ok(Lease::Wait(endpoint));
        }
        if let Some(connection) = cluster.kept(&endpoint) {
            return Ok(Lease::Ready(Upstream::Http1(connection)));
        }
        if self.wants_http2(cluster)
            && self.upgrade.is_none()
            && let Some(mux) = http2::find(cluster, &endpoint)
            && let Some(upstream) = self.call(&mux, cluster, edits, &endpoint)?
        {
            return Ok(Lease::Ready(upstream));
        }
        Ok(Lease::Wait(endpoint))
    }

    /// A connection to `endpoint`, or to another if it doesn't come up, up to three: waits until there is one.
    pub(super) async fn lease(
        &mut self,
        cluster: &Rc<Cluster>,
        edits: &HeaderEdits,
        fresh: bool,
        mut endpoint: Rc<Endpoint>,
    ) -> Result<Upstream, Fault> {
        let header = proxy_header(cluster.settings().proxy_protocol, self.downstream);
        let (may_share, is_http2) = (self.may_share(cluster, fresh), self.wants_http2(cluster));
        for attempt in 1.. {
            let now_us = self.downstream.world.core.now_us();
            self.seen.timing.mark(Point::UpstreamConnectBegin, now_us);
            let leased = match is_http2 {
                true => self.guarded(self.lease_http2(cluster, edits, &endpoint)).await,
                false => self.guarded(cluster.connect(&endpoint, may_share, &header)).await.map(Upstream::Http1),
            };
            match leased {
                Ok(Upstream::Http1(connection)) if !is_http2 => {
                    if !connection.reused {
                        self.seen.timing.mark(Point::UpstreamConnectEnd, now_us + connection.connect_us);
                        cluster.stats.inc(ClusterStat::UpstreamCxHttp1Total);
                    }
                    return Ok(Upstream::Http1(connection));
                }
                Ok(upstream) => return Ok(upstream),
                Err(fault) => self.not_connected(cluster, &endpoint, fault, attempt)?,
            }
            endpoint = self.pick(cluster, edits, Some(endpoint.address))?;
            if may_share && let Some(connection) = cluster.kept(&endpoint) {
                return Ok(Upstream::Http1(connection));
            }
        }
        Err(Fault::ConnectFailed)
    }

    /// The next endpoint to try.
    fn pick(
        &mut self,
        cluster: &Rc<Cluster>,
        edits: &HeaderEdits,
        except: Option<SocketAddr>,
    ) -> Result<Rc<Endpoint>, Fault> {
        let endpoint = cluster.pick(except)?;
        self.seen.attempts += 1;
        if self.seen.upstream != Some(endpoint.address) {
            self.seen.upstream = Some(endpoint.address);
            if !self.http.access_logs.is_empty() {
                self.seen.upstream_name.clone_from(&endpoint.config.borrow().name);
            }
        }
        let by_host = cluster.settings().tls.as_ref().is_some_and(|tls| tls.by_host);
        Ok(if by_host { self.by_host(endpoint, edits) } else { endpoint })
    }

    /// Whether a connection that has carried other requests will do, and this one may be kept for others.
    fn may_share(&self, cluster: &Cluster, fresh: bool) -> bool {
        !fresh && cluster.settings().proxy_protocol.is_none() && !self.is_plain_connect()
    }

    fn wants_http2(&self, cluster: &Cluster) -> bool {
        cluster.settings().protocol != Protocol::Http1 && !self.is_plain_connect()
    }

    /// The endpoint by the name in the request's Host, as it is sent; as it is if there is none.
    fn by_host(&self, endpoint: Rc<Endpoint>, edits: &HeaderEdits) -> Rc<Endpoint> {
        let (head, input) = (&self.scratch.request, self.scratch.request_input.bytes());
        let value = self.scratch.upstream_head.host(head, input, edits);
        let Ok(value) = std::str::from_utf8(value) else { return endpoint };
        match host(value) {
            "" => endpoint,
            name if name.bytes().any(|byte| byte.is_ascii_uppercase()) => endpoint.named(&name.to_ascii_lowercase()),
            name => endpoint.named(name),
        }
    }

    /// There is no connection to the endpoint: ends the request, unless another endpoint may be tried.
    fn not_connected(
        &mut self,
        cluster: &Cluster,
        endpoint: &Endpoint,
        fault: Fault,
        attempt: u32,
    ) -> Result<(), Fault> {
        let failed = matches!(fault, Fault::ConnectFailed | Fault::ConnectTimeout);
        if failed && !self.http.access_logs.is_empty() {
            self.seen.upstream_failure = endpoint.failure();
        }
        if failed && attempt < CONNECT_ATTEMPTS_MAX {
            return Ok(());
        }
        count_fault(cluster, fault);
        Err(fault)
    }

    /// A stream on a connection to the endpoint, with the request's head sent; or a connection, if it speaks HTTP/1.
    async fn lease_http2(
        &self,
        cluster: &Rc<Cluster>,
        edits: &HeaderEdits,
        endpoint: &Rc<Endpoint>,
    ) -> Result<Upstream, Fault> {
        loop {
            let mux = match http2::lease(cluster, endpoint).await? {
                Leased::Http1(connection) => {
                    cluster.stats.inc(ClusterStat::UpstreamCxHttp1Total);
                    return Ok(Upstream::Http1(connection));
                }
                Leased::Http2(mux) => mux,
            };
            if self.upgrade.is_some() && !mux.offers_connect_protocol().await {
                return Err(Fault::UpgradeUnsupported);
            }
            if let Some(upstream) = self.call(&mux, cluster, edits, endpoint)? {
                return Ok(upstream);
            }
        }
    }

    /// A stream on the connection, with the request's head sent; `None` if it has just closed or filled up.
    fn call(
        &self,
        mux: &Rc<Mux>,
        cluster: &Rc<Cluster>,
        edits: &HeaderEdits,
        endpoint: &Rc<Endpoint>,
    ) -> Result<Option<Upstream>, Fault> {
        let reused = mux.has_answered() && mux.has_carried_any();
        match self.send_http2_head(mux, edits) {
            Ok(stream) => {
                let (endpoint, cluster) = (endpoint.clone(), cluster.clone());
                Ok(Some(Upstream::Http2(Call { stream, endpoint, cluster, reused })))
            }
            Err(OpenError::Draining | OpenError::Exhausted | OpenError::TooManyStreams) => Ok(None),
            Err(OpenError::NoConnectProtocol) => Err(Fault::UpgradeUnsupported),
        }
    }

    /// Sends the request's head on a new stream.
    fn send_http2_head(&self, mux: &Rc<Mux>, edits: &HeaderEdits) -> Result<Stream, OpenError> {
        let (head, input) = (&self.scratch.request, self.scratch.request_input.bytes());
        let sent = &self.scratch.upstream_head;
        let upgrade = self.upgrade.as_deref();
        let line = RequestLine {
            method: if upgrade.is_some() { b"CONNECT" } else { head.method_span.of(input) },
            scheme: if mux.transport().is_encrypted() { b"https" } else { b"http" },
            authority: sent.host(head, input, edits),
            path: sent.path(),
            protocol: upgrade,
        };
        // The authority has a place of its own; a key has no meaning over HTTP/2 (RFC 8441 5).
        let is_left_out = |id| id == FieldId::Host || (upgrade.is_some() && id == FieldId::SecWebsocketKey);
        let fields = sent.passed(head, input, edits).chain(sent.added()).filter(|field| !is_left_out(field.id));
        let te = head.te_trailers.then(|| (&b"te"[..], &b"trailers"[..], false).into());
        mux.request(&line, fields.chain(te), head.body.is_empty() && upgrade.is_none())
    }
}
