//! Sending a request on and its response back.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use codecs::Status;
use codecs::http::h1::{BodyDecoder, BodyPart, emit, parse_response_resumed};
use codecs::http::{BodyLength, ErrorKind, Method};
use runtime::{Received, Slice};

use super::exchange::Exchange;
use super::headers;
use crate::cluster::{CONNECT_ATTEMPTS_MAX, Cluster, Connection, Endpoint};
use crate::fault::Fault;
use crate::listener::head_limits;
use crate::log::Point;
use crate::relay::{self, End, QUEUED_BYTES_MAX};
use crate::snapshot::{Forward, Route};
use crate::stats::{ClusterStat, EndpointStat, HttpStat};
use crate::tcp::proxy_header;
use crate::transport::Transport;

/// How far a try has come.
struct Try<'r> {
    route: &'r Route,
    connection: Connection,
    head_done: bool,
    response_done: bool,
    /// Body bytes of the request that have left: then it can't be sent again.
    body_sent: bool,
    /// The request's body is sent in chunks.
    chunked_up: bool,
    /// The response's body is sent down in chunks.
    chunked_down: bool,
    sent_us: u64,
    up_bytes: u64,
    down_bytes: u64,
}

/// Counts a request under way at an endpoint.
struct Active(Rc<Endpoint>);

impl Active {
    fn new(endpoint: &Rc<Endpoint>) -> Active {
        endpoint.begin();
        endpoint.stats.inc(EndpointStat::RqTotal);
        endpoint.stats.gauge_inc(EndpointStat::RqActive);
        Active(endpoint.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.end();
        self.0.stats.gauge_dec(EndpointStat::RqActive);
    }
}

impl Exchange<'_> {
    pub(super) async fn forward(
        &mut self,
        route: &Route,
        forward: &Forward,
        cluster: &Rc<Cluster>,
    ) -> Result<(), Fault> {
        let _admitted = cluster.admit()?;
        headers::emit_request(self, route, forward)?;
        if let Some(idle_ms) = forward.idle_timeout_ms {
            self.idle_timeout(idle_ms);
        }
        if self.request_done {
            self.start_route_timeout(forward);
        }
        self.arm();
        let mut again = false;
        loop {
            let connection = self.lease(cluster, again).await?;
            let endpoint = connection.endpoint.clone();
            let active = Active::new(&endpoint);
            let result = match self.scratch.request.method {
                Method::Connect => return self.connect_tunnel(connection).await,
                _ => self.attempt(route, forward, connection).await,
            };
            drop(active);
            match result {
                Ok(()) => {
                    if again {
                        cluster.stats.inc(ClusterStat::UpstreamRqRetrySuccess);
                    }
                    return Ok(());
                }
                // The endpoint closed a kept connection just as the request went out: it hasn't seen the request, and
                // this method may be sent twice anyway.
                Err((fault, true)) if !again && fault == Fault::UpstreamClosed => {
                    again = true;
                    cluster.stats.inc(ClusterStat::UpstreamRqRetry);
                    self.scratch.response_input.clear();
                    self.scratch.scanner = Default::default();
                }
                Err((fault, _)) => {
                    endpoint.stats.inc(match fault {
                        Fault::ResponseTimeout => EndpointStat::RqTimeout,
                        _ => EndpointStat::RqError,
                    });
                    count_fault(cluster, fault);
                    return Err(fault);
                }
            }
        }
    }

    fn start_route_timeout(&mut self, forward: &Forward) {
        if forward.timeout_ms > 0 {
            self.deadlines.route = self.downstream.world.core.now_ms() + forward.timeout_ms;
        }
    }

    /// A connection to an endpoint: a kept one, or a fresh one from up to three endpoints.
    async fn lease(&mut self, cluster: &Rc<Cluster>, fresh: bool) -> Result<Connection, Fault> {
        let mut except = None;
        let pooled =
            !fresh && cluster.config().proxy_protocol.is_none() && self.scratch.request.method != Method::Connect;
        for attempt in 1.. {
            let endpoint = cluster.pick(except)?;
            self.seen.attempts += 1;
            if self.seen.upstream != Some(endpoint.address) {
                self.seen.upstream = Some(endpoint.address);
                if !self.http.access_logs.is_empty() {
                    self.seen.upstream_name.clone_from(&endpoint.config.borrow().name);
                }
            }
            if pooled && let Some(connection) = cluster.kept(&endpoint) {
                return Ok(connection);
            }
            let now_us = self.downstream.world.core.now_us();
            self.seen.timing.mark(Point::UpstreamConnectBegin, now_us);
            match self.guarded(cluster.connect(&endpoint, pooled)).await {
                Ok(connection) => {
                    if !connection.reused {
                        self.seen.timing.mark(Point::UpstreamConnectEnd, now_us + connection.connect_us);
                        cluster.stats.inc(ClusterStat::UpstreamCxHttp1Total);
                    }
                    if let Some(version) = cluster.config().proxy_protocol {
                        connection.socket.send(&proxy_header(version, self.downstream));
                    }
                    return Ok(connection);
                }
                Err(Fault::ConnectFailed | Fault::ConnectTimeout) if attempt < CONNECT_ATTEMPTS_MAX => {
                    except = Some(endpoint.address);
                }
                Err(fault) => {
                    count_fault(cluster, fault);
                    return Err(fault);
                }
            }
        }
        Err(Fault::ConnectFailed)
    }

    /// Sends the request on one connection. The error says whether the same request may be sent once more.
    async fn attempt(
        &mut self,
        route: &Route,
        forward: &Forward,
        mut connection: Connection,
    ) -> Result<(), (Fault, bool)> {
        let cluster = connection.cluster.clone();
        cluster.stats.inc(ClusterStat::UpstreamRqTotal);
        connection.requests += 1;
        connection.socket.send(&self.scratch.upstream_head);
        let sent_us = self.downstream.world.core.now_us();
        self.seen.timing.mark(Point::UpstreamSendBegin, sent_us);
        let mut attempt = Try {
            route,
            head_done: false,
            response_done: false,
            body_sent: false,
            chunked_up: self.scratch.request.body == BodyLength::Chunked,
            chunked_down: false,
            sent_us,
            up_bytes: self.scratch.upstream_head.len() as u64,
            down_bytes: 0,
            connection,
        };
        let result = poll_fn(|_| self.poll_attempt(&mut attempt, forward)).await;
        cluster.stats.add(ClusterStat::UpstreamCxTxBytesTotal, attempt.up_bytes);
        cluster.stats.add(ClusterStat::UpstreamCxRxBytesTotal, attempt.down_bytes);
        match result {
            Ok(()) if self.scratch.response.tunnel => {
                self.tunnel(attempt.connection).await.map_err(|fault| (fault, false))
            }
            Ok(()) => {
                self.finish_attempt(attempt);
                Ok(())
            }
            Err(fault) => {
                let unseen = attempt.connection.reused && !attempt.body_sent && !self.response_started;
                let again = unseen && self.scratch.request.method.is_idempotent() && attempt.down_bytes == 0;
                if matches!(fault, Fault::UpstreamClosed | Fault::ResponseCutOff) {
                    attempt.connection.mark_remote();
                    cluster.stats.inc(ClusterStat::UpstreamCxDestroyRemoteWithActiveRq);
                } else {
                    cluster.stats.inc(ClusterStat::UpstreamCxDestroyLocalWithActiveRq);
                }
                cluster.stats.inc(ClusterStat::UpstreamCxDestroyWithActiveRq);
                // What is still queued (a body's beginning) must not look like a complete request.
                attempt.connection.reset();
                Err((fault, again))
            }
        }
    }

    fn finish_attempt(&mut self, attempt: Try<'_>) {
        let world = &self.downstream.world;
        let cluster = attempt.connection.cluster.clone();
        let took_us = world.core.now_us() - attempt.sent_us;
        cluster.stats.observe_us(ClusterStat::UpstreamRqTime, took_us);
        cluster.stats.inc(ClusterStat::UpstreamRqCompleted);
        cluster.stats.status(self.seen.status);
        attempt.connection.endpoint.stats.inc(match self.seen.status {
            500.. => EndpointStat::RqError,
            _ => EndpointStat::RqSuccess,
        });
        self.seen.timing.mark(Point::UpstreamReceiveEnd, world.core.now_us());
        let reusable = self.scratch.response.keep_alive
            && self.request_done
            && self.scratch.response.body != BodyLength::UntilClose
            && cluster.config().proxy_protocol.is_none();
        if reusable && !world.draining() {
            cluster.keep(attempt.connection);
        }
    }

    fn poll_attempt(&mut self, attempt: &mut Try<'_>, forward: &Forward) -> Poll<Result<(), Fault>> {
        if !self.request_done
            && let Err(fault) = self.upload(attempt, forward)
        {
            return Poll::Ready(Err(fault));
        }
        if let Err(fault) = self.download(attempt) {
            return Poll::Ready(Err(fault));
        }
        if attempt.response_done {
            return Poll::Ready(Ok(()));
        }
        if let Some(fault) = self.check() {
            return Poll::Ready(Err(fault));
        }
        self.downstream.socket.watch();
        attempt.connection.socket.watch();
        Poll::Pending
    }

    /// Passes on what has arrived of the request's body.
    fn upload(&mut self, attempt: &mut Try<'_>, forward: &Forward) -> Result<(), Fault> {
        let (down, up) = (&self.downstream.socket, &attempt.connection.socket);
        loop {
            // An endpoint that fails or answers early is the download's business.
            match up.poll_drained(QUEUED_BYTES_MAX) {
                Poll::Pending => {
                    let cluster = &attempt.connection.cluster;
                    cluster.stats.inc(ClusterStat::UpstreamFlowControlBackedUpTotal);
                    return Ok(());
                }
                Poll::Ready(Err(_)) => return Ok(()),
                Poll::Ready(Ok(())) => {}
            }
            let slice = match down.try_recv() {
                None => return Ok(()),
                Some(Received::Data(slice)) => slice,
                Some(Received::End | Received::Failed(_)) => return Err(Fault::ClientGone),
            };
            let sent = pass_on(&mut self.scratch.request_body, &slice, attempt.chunked_up, &mut self.scratch.out, up)
                .map_err(Fault::BadRequest)?;
            attempt.body_sent = true;
            self.seen.received_bytes += sent.consumed as u64;
            self.seen.request_body_bytes += sent.payload;
            attempt.up_bytes += sent.wire;
            self.deadlines.active = self.downstream.world.core.now_ms();
            if sent.end {
                down.unrecv(slice.slice(sent.consumed..slice.len()));
                self.request_done = true;
                let now_us = self.downstream.world.core.now_us();
                self.seen.timing.mark(Point::RequestEnd, now_us);
                self.seen.timing.mark(Point::UpstreamSendEnd, now_us);
                self.start_route_timeout(forward);
                self.arm();
                return Ok(());
            }
        }
    }

    /// Passes down what has arrived of the response.
    fn download(&mut self, attempt: &mut Try<'_>) -> Result<(), Fault> {
        while !attempt.response_done {
            if attempt.head_done {
                match self.downstream.socket.poll_drained(QUEUED_BYTES_MAX) {
                    Poll::Pending => {
                        let cluster = &attempt.connection.cluster;
                        cluster.stats.inc(ClusterStat::UpstreamFlowControlPausedReadingTotal);
                        return Ok(());
                    }
                    Poll::Ready(Err(_)) => return Err(Fault::ClientGone),
                    Poll::Ready(Ok(())) => {}
                }
            }
            let Some(received) = attempt.connection.socket.try_recv() else { return Ok(()) };
            self.touch();
            match received {
                Received::Data(slice) if attempt.head_done => self.download_body(attempt, &slice)?,
                Received::Data(slice) => self.download_head(attempt, slice)?,
                Received::End if attempt.head_done && self.scratch.response_body.on_eof().is_ok() => {
                    self.end_of_response(attempt);
                }
                Received::End | Received::Failed(_) if attempt.head_done => {
                    attempt.connection.cluster.stats.inc(ClusterStat::UpstreamRqBodyIncomplete);
                    return Err(Fault::ResponseCutOff);
                }
                Received::End | Received::Failed(_) => return Err(Fault::UpstreamClosed),
            }
        }
        Ok(())
    }

    fn download_head(&mut self, attempt: &mut Try<'_>, slice: Slice) -> Result<(), Fault> {
        let world = &self.downstream.world;
        if attempt.down_bytes == 0 {
            self.seen.timing.mark(Point::UpstreamReceiveBegin, world.core.now_us());
            self.scratch.scanner = Default::default();
        }
        let scratch = &mut *self.scratch;
        attempt.down_bytes += slice.len() as u64;
        scratch.response_input.add(slice);
        let limits = head_limits(&attempt.connection.cluster.config().limits);
        let parsed = parse_response_resumed(
            scratch.response_input.bytes(),
            &limits,
            scratch.request.method,
            &mut scratch.scanner,
            &mut scratch.response,
        );
        let consumed = match parsed {
            Ok(Status::Complete(consumed)) => consumed,
            Ok(Status::Partial) => {
                scratch.response_input.settle();
                return Ok(());
            }
            Err(error) => return Err(Fault::BadResponse(error.kind)),
        };
        let rest = scratch.response_input.bytes().len() - consumed;
        scratch.response_input.finish(consumed, &attempt.connection.socket);
        attempt.down_bytes -= rest as u64;
        if scratch.response.is_interim() {
            self.pass_interim();
            self.scratch.response_input.clear();
            self.scratch.scanner = Default::default();
            return Ok(());
        }
        if scratch.response.tunnel && scratch.request.upgrade.is_none() {
            return Err(Fault::BadResponse(ErrorKind::InvalidStatusLine));
        }
        scratch.response_body = BodyDecoder::for_response(scratch.response.body, &limits);
        self.seen.status = scratch.response.status;
        self.seen.details = "via_upstream";
        attempt.head_done = true;
        attempt.chunked_down = headers::emit_response(self, attempt.route);
        if self.http.access_logs.is_empty() {
            self.scratch.response_input.clear();
        }
        if self.scratch.response.tunnel {
            attempt.response_done = true;
        } else if self.scratch.response.body.is_empty() {
            self.end_of_response(attempt);
        }
        Ok(())
    }

    /// 100 and 103 and the like go down as they came, except to HTTP/1.0 (RFC 9110 15.2).
    fn pass_interim(&mut self) {
        if self.old_client() {
            return;
        }
        let scratch = &mut *self.scratch;
        let input = scratch.response_input.bytes();
        scratch.out.clear();
        emit::status_line(&mut scratch.out, scratch.response.status, scratch.response.reason.of(input));
        scratch.response.copy_fields(&mut scratch.out, input, codecs::http::FieldSet::EMPTY);
        emit::end_of_head(&mut scratch.out);
        self.seen.sent_bytes += scratch.out.len() as u64;
        self.downstream.socket.send(&scratch.out);
    }

    fn download_body(&mut self, attempt: &mut Try<'_>, slice: &Slice) -> Result<(), Fault> {
        let scratch = &mut *self.scratch;
        let down = &self.downstream.socket;
        let sent = pass_on(&mut scratch.response_body, slice, attempt.chunked_down, &mut scratch.out, down);
        let sent = sent.map_err(|_| Fault::ResponseCutOff)?;
        attempt.down_bytes += sent.consumed as u64;
        self.seen.response_body_bytes += sent.payload;
        self.seen.sent_bytes += sent.wire;
        if sent.end {
            attempt.connection.socket.unrecv(slice.slice(sent.consumed..slice.len()));
            attempt.response_done = true;
        }
        Ok(())
    }

    /// The response ended with its head, or with the connection.
    fn end_of_response(&mut self, attempt: &mut Try<'_>) {
        if attempt.chunked_down {
            let out = &mut self.scratch.out;
            out.clear();
            emit::last_chunk(out, None);
            self.seen.sent_bytes += out.len() as u64;
            self.downstream.socket.send(out);
        }
        attempt.response_done = true;
    }

    /// The connection is no longer HTTP: bytes both ways until both sides have ended. A reset stays a reset on the other
    /// side, or a transfer that broke off would look complete.
    async fn tunnel(&mut self, mut upstream: Connection) -> Result<(), Fault> {
        let world = &self.downstream.world;
        let stats = &self.config.serve_stats;
        stats.inc(HttpStat::DownstreamCxUpgradesTotal);
        stats.gauge_inc(HttpStat::DownstreamCxUpgradesActive);
        let idle_ms = self.http.idle_timeout_ms;
        let relayed =
            relay::relay(&world.core, &self.downstream.socket, &upstream.socket, idle_ms, || world.cut_off()).await;
        stats.gauge_dec(HttpStat::DownstreamCxUpgradesActive);
        self.seen.request_body_bytes += relayed.up_bytes;
        self.seen.response_body_bytes += relayed.down_bytes;
        self.seen.received_bytes += relayed.up_bytes;
        self.seen.sent_bytes += relayed.down_bytes;
        self.keep_alive = false;
        match relayed.end {
            End::Complete | End::Idle | End::CutOff => Ok(()),
            End::UpstreamFailed => {
                upstream.mark_remote();
                Err(Fault::ResponseCutOff)
            }
            End::ClientFailed => {
                upstream.reset();
                Err(Fault::ClientGone)
            }
        }
    }

    /// CONNECT: the endpoint is the other end of the tunnel.
    async fn connect_tunnel(&mut self, connection: Connection) -> Result<(), Fault> {
        let out = &mut self.scratch.out;
        out.clear();
        emit::status_line(out, 200, b"OK");
        emit::end_of_head(out);
        self.seen.sent_bytes += out.len() as u64;
        self.downstream.socket.send(out);
        self.response_started = true;
        self.seen.status = 200;
        self.tunnel(connection).await
    }
}

struct Passed {
    consumed: usize,
    payload: u64,
    wire: u64,
    end: bool,
}

/// Decodes a slice of a body and queues its payload at `to`, in chunks of its own if asked.
fn pass_on(
    decoder: &mut BodyDecoder,
    slice: &Slice,
    chunked: bool,
    out: &mut Vec<u8>,
    to: &Transport,
) -> Result<Passed, ErrorKind> {
    let mut passed = Passed { consumed: 0, payload: 0, wire: 0, end: false };
    let wire = Cell::new(0u64);
    let send = |bytes: &[u8]| {
        wire.set(wire.get() + bytes.len() as u64);
        to.send(bytes);
    };
    loop {
        let event = decoder.decode(&slice[passed.consumed..]).map_err(|error| error.kind)?;
        match event.part {
            BodyPart::Data(range) => {
                let len = range.len() as u64;
                passed.payload += len;
                if chunked {
                    out.clear();
                    emit::chunk_head(out, len);
                    send(out);
                }
                wire.set(wire.get() + len);
                to.send_slice(slice.slice(passed.consumed + range.start..passed.consumed + range.end));
                if chunked {
                    send(b"\r\n");
                }
            }
            BodyPart::NeedMore => {
                passed.consumed += event.consumed;
                break;
            }
            BodyPart::End => {
                passed.end = true;
                passed.consumed += event.consumed;
                if chunked {
                    out.clear();
                    emit::last_chunk(out, decoder.trailers());
                    send(out);
                }
                break;
            }
        }
        passed.consumed += event.consumed;
    }
    passed.wire = wire.get();
    Ok(passed)
}

fn count_fault(cluster: &Cluster, fault: Fault) {
    let stats = &cluster.stats;
    match fault {
        Fault::ResponseTimeout => stats.inc(ClusterStat::UpstreamRqTimeout),
        Fault::BadResponse(kind) => {
            stats.inc(ClusterStat::UpstreamCxProtocolError);
            if matches!(kind, ErrorKind::HeadTooLarge | ErrorKind::TooManyFields) {
                stats.inc(ClusterStat::UpstreamHttp1HeadTooLarge);
            }
        }
        Fault::UpstreamClosed | Fault::ResponseCutOff => stats.inc(ClusterStat::UpstreamRqRxReset),
        Fault::ConnectFailed | Fault::ConnectTimeout => stats.inc(ClusterStat::UpstreamRqPendingFailureEject),
        Fault::ClientGone | Fault::RequestIdle | Fault::ResponseIdle | Fault::Drained => {
            stats.inc(ClusterStat::UpstreamRqTxReset);
        }
        _ => {}
    }
}
