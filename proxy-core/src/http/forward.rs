//! Sending a request on and its response back.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use codecs::http::{BodyLength, ErrorKind};

use super::body::Piece;
use super::exchange::Exchange;
use super::h2::Failure;
use super::headers;
use super::upstream::{Lease, Upstream};
use crate::cluster::{Cluster, Endpoint};
use crate::fault::Fault;
use crate::log::Point;
use crate::relay::QUEUED_BYTES_MAX;
use crate::snapshot::{Forward, Retry, Route};
use crate::stats::{ClusterStat, EndpointStat};

/// How far a try has come.
pub(super) struct Try<'r> {
    pub(super) route: &'r Route,
    pub(super) retry: Option<&'r Retry>,
    pub(super) upstream: Upstream,
    pub(super) head_done: bool,
    /// The head of the response is kept back until it is certain that it won't be thrown away.
    pub(super) held: bool,
    /// The response isn't wanted: the request is to be tried again.
    pub(super) thrown_away: bool,
    pub(super) response_done: bool,
    /// A side doesn't take what is queued to it, so that the other isn't read.
    pub(super) stuck: bool,
    /// Body bytes of the request that have left: then it can't be sent again.
    pub(super) body_sent: bool,
    /// The request's body is sent in chunks.
    pub(super) chunked_up: bool,
    /// The response's body is sent down in chunks.
    pub(super) chunked_down: bool,
    pub(super) sent_us: u64,
    pub(super) up_bytes: u64,
    pub(super) down_bytes: u64,
    /// Interim heads of an HTTP/1 response; with HTTP/2 the codec counts them.
    pub(super) interims: u32,
}

/// Times that a request is sent again that endpoints refused or haven't begun. Connections that were made together come to
/// their ends together (an endpoint may count their requests), so one that was refused on the first may well be refused
/// on the next. What closed its connection instead is sent again once: it may be why the connection closed.
const REPEATS_MAX: u32 = 5;

/// How a try ended that brought no response to pass on.
enum Failed {
    /// `repeatable`: the endpoint can't have acted on the request. `refused`: it said so.
    By { fault: Fault, repeatable: bool, refused: bool },
    /// The response is one to try again after.
    ThrownAway,
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
        self.translate_request();
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
            let edits = &route.request_headers;
            let leased = match self.lease_ready(cluster, edits, again) {
                Ok(Lease::Ready(upstream)) => Ok(upstream),
                // In memory of its own: most exchanges don't have to wait, and stay small.
                Ok(Lease::Wait(endpoint)) => {
                    let core = &self.downstream.world.core;
                    core.recycled(self.lease(cluster, edits, again, endpoint)).await
                }
                Err(fault) => Err(fault),
            };
            let upstream = match leased {
                Ok(upstream) => upstream,
                Err(fault) if self.wants_retry(forward, cluster, fault, false) => {
                    self.back_off().await?;
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            let endpoint = upstream.endpoint().clone();
            if !self.http.access_logs.is_empty() {
                (self.seen.upstream_tls, self.seen.upstream_failure) = (upstream.tls(), None);
            }
            let active = Active::new(&endpoint);
            let result = match upstream {
                Upstream::Http1(connection) if self.is_plain_connect() => return self.connect_tunnel(connection).await,
                upstream => self.attempt(route, forward, upstream).await,
            };
            drop(active);
            match result {
                Ok(()) => {
                    if again {
                        cluster.stats.inc(ClusterStat::UpstreamRqRetrySuccess);
                    }
                    self.end_tries(cluster, true);
                    return Ok(());
                }
                Err(Failed::ThrownAway) => self.back_off().await?,
                // The endpoint closed a kept connection just as the request went out: it hasn't seen the request, and
                // this method may be sent twice anyway. Or it said that it hasn't processed the stream.
                Err(Failed::By { fault: Fault::UpstreamClosed, repeatable: true, refused }) => {
                    again = true;
                    self.repeats += 1;
                    self.repeated_closed |= !refused;
                    cluster.stats.inc(ClusterStat::UpstreamRqRetry);
                    self.scratch.response_input.clear();
                    self.scratch.scanner = Default::default();
                }
                Err(Failed::By { fault, refused, .. }) => {
                    endpoint.stats.inc(match fault {
                        Fault::ResponseTimeout | Fault::TryTimeout => EndpointStat::RqTimeout,
                        _ => EndpointStat::RqError,
                    });
                    count_fault(cluster, fault);
                    if !self.wants_retry(forward, cluster, fault, refused) {
                        return Err(fault);
                    }
                    self.back_off().await?;
                }
            }
        }
    }

    fn wants_retry(&mut self, forward: &Forward, cluster: &Rc<Cluster>, fault: Fault, refused: bool) -> bool {
        let Some(retry) = &forward.retry else { return false };
        retry.wants_fault(fault, refused) && self.may_retry(retry, cluster)
    }

    fn start_route_timeout(&mut self, forward: &Forward) {
        if forward.timeout_ms > 0 {
            // A call may have less time than that.
            let until = self.downstream.world.core.now_ms() + forward.timeout_ms;
            self.deadlines.route = self.deadlines.route.min(until);
        }
    }

    /// Sends the request on one connection.
    async fn attempt(&mut self, route: &Route, forward: &Forward, mut upstream: Upstream) -> Result<(), Failed> {
        let cluster = upstream.cluster().clone();
        cluster.stats.inc(ClusterStat::UpstreamRqTotal);
        if let Upstream::Http1(connection) = &mut upstream {
            connection.requests += 1;
            connection.socket.send(&self.scratch.upstream_head.text);
        }
        let sent_us = self.downstream.world.core.now_us();
        self.seen.timing.mark(Point::UpstreamSendBegin, sent_us);
        let mut attempt = Try {
            route,
            retry: forward.retry.as_ref(),
            head_done: false,
            held: false,
            thrown_away: false,
            stuck: false,
            response_done: false,
            body_sent: false,
            chunked_up: self.scratch.request.body == BodyLength::Chunked,
            chunked_down: false,
            sent_us,
            up_bytes: self.scratch.upstream_head.text.len() as u64,
            down_bytes: 0,
            interims: 0,
            upstream,
        };
        self.send_again(&mut attempt, forward);
        let result = poll_fn(|context| self.poll_attempt(&mut attempt, forward, context)).await;
        cluster.stats.add(ClusterStat::UpstreamCxTxBytesTotal, attempt.up_bytes);
        if matches!(attempt.upstream, Upstream::Http1(_)) {
            cluster.stats.add(ClusterStat::UpstreamCxRxBytesTotal, attempt.down_bytes);
        }
        match result {
            Ok(()) if self.scratch.response.tunnel => {
                let fault = |fault| Failed::By { fault, repeatable: false, refused: false };
                self.tunnel(attempt.upstream).await.map_err(fault)
            }
            Ok(()) if attempt.thrown_away => {
                self.count_response(&attempt);
                attempt.upstream.reset();
                Err(Failed::ThrownAway)
            }
            Ok(()) => {
                self.finish_attempt(attempt);
                Ok(())
            }
            Err(fault) => {
                let repeatable = self.may_repeat(&attempt);
                let refused = matches!(&attempt.upstream, Upstream::Http2(call) if call.stream.failure() == Some(Failure::Refused));
                give_up(attempt.upstream, fault);
                Err(Failed::By { fault, repeatable, refused })
            }
        }
    }

    /// Begins a try with what an earlier one sent of the body, be it only its end.
    fn send_again(&mut self, attempt: &mut Try<'_>, forward: &Forward) {
        if !self.sent_before().is_empty() {
            attempt.body_sent = true;
            let payload = self.downstream.world.core.own(self.sent_before().into());
            attempt.up_bytes += attempt.upstream.send_up(payload, attempt.chunked_up, &mut self.scratch.out);
        }
        if self.request_done {
            if !self.scratch.request.body.is_empty() {
                self.send_end_up(attempt);
            }
            if attempt.retry.is_some() {
                self.start_try_timeout(forward);
                self.arm();
            }
        }
    }

    /// Whether the endpoint can't have acted on a request that failed: then it may be sent once more.
    fn may_repeat(&self, attempt: &Try<'_>) -> bool {
        if attempt.body_sent || self.response_started || attempt.down_bytes > 0 || self.repeats >= REPEATS_MAX {
            return false;
        }
        let may_have_met_the_end =
            |reused| reused && !self.repeated_closed && self.scratch.request.method.is_idempotent();
        match &attempt.upstream {
            Upstream::Http1(connection) => may_have_met_the_end(connection.reused),
            Upstream::Http2(call) => match call.stream.failure() {
                Some(Failure::Refused) => true,
                Some(Failure::Gone) => may_have_met_the_end(call.reused),
                Some(Failure::Reset(_) | Failure::Malformed) | None => false,
            },
        }
    }

    /// Counts a response that came whole, or as far as it was wanted.
    fn count_response(&mut self, attempt: &Try<'_>) {
        let world = &self.downstream.world;
        let cluster = attempt.upstream.cluster();
        let took_us = world.core.now_us() - attempt.sent_us;
        cluster.stats.observe_us(ClusterStat::UpstreamRqTime, took_us);
        cluster.stats.inc(ClusterStat::UpstreamRqCompleted);
        cluster.stats.status(self.seen.status);
        attempt.upstream.endpoint().stats.inc(match self.seen.status {
            500.. => EndpointStat::RqError,
            _ => EndpointStat::RqSuccess,
        });
        self.seen.timing.mark(Point::UpstreamReceiveEnd, world.core.now_us());
    }

    fn finish_attempt(&mut self, attempt: Try<'_>) {
        self.count_response(&attempt);
        let cluster = attempt.upstream.cluster().clone();
        let Upstream::Http1(connection) = attempt.upstream else { return };
        let reusable = self.scratch.response.keep_alive
            && self.request_done
            && self.scratch.response.body != BodyLength::UntilClose
            && cluster.settings().proxy_protocol.is_none();
        if reusable && !self.downstream.world.draining() {
            cluster.keep(connection);
        }
    }

    fn poll_attempt(
        &mut self,
        attempt: &mut Try<'_>,
        forward: &Forward,
        context: &Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        // Needed soon, and far away if it is a while since the request was sent.
        runtime::prefetch(&*self.scratch);
        attempt.stuck = false;
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
        if let Some(fault) = self.check().or_else(|| self.check_hoarding(attempt.stuck)) {
            return Poll::Ready(Err(fault));
        }
        self.watch_client(context);
        attempt.upstream.watch(context);
        Poll::Pending
    }

    /// Passes on what has arrived of the request's body.
    fn upload(&mut self, attempt: &mut Try<'_>, forward: &Forward) -> Result<(), Fault> {
        loop {
            // An endpoint that fails or answers early is the download's business.
            match attempt.upstream.poll_drained(QUEUED_BYTES_MAX) {
                Poll::Pending => {
                    attempt.stuck = true;
                    attempt.upstream.cluster().stats.inc(ClusterStat::UpstreamFlowControlBackedUpTotal);
                    return Ok(());
                }
                Poll::Ready(Err(())) => return Ok(()),
                Poll::Ready(Ok(())) => {}
            }
            match self.next_of_request() {
                Piece::Nothing => return Ok(()),
                Piece::Ended | Piece::Failed => return Err(Fault::ClientGone),
                Piece::Bad(kind) => return Err(Fault::BadRequest(kind)),
                Piece::Data(payload, wire) => {
                    attempt.body_sent = true;
                    self.seen.received_bytes += wire;
                    self.seen.request_body_bytes += payload.len() as u64;
                    self.touch();
                    let payload = self.translate_up(payload)?;
                    // An empty chunk would be the last.
                    if payload.is_empty() {
                        continue;
                    }
                    if let Some(retry) = attempt.retry {
                        self.remember_sent(&payload, retry, attempt.upstream.cluster());
                    }
                    attempt.up_bytes += attempt.upstream.send_up(payload, attempt.chunked_up, &mut self.scratch.out);
                }
                Piece::End(wire) => {
                    self.seen.received_bytes += wire;
                    self.touch();
                    self.check_end_of_request()?;
                    self.end_of_request(attempt, forward);
                    return Ok(());
                }
            }
        }
    }

    fn send_end_up(&mut self, attempt: &mut Try<'_>) {
        let scratch = &mut *self.scratch;
        let trailers = match &scratch.request_trailers {
            Some(message) => Some(message.trailers()),
            None => scratch.request_body.trailers(),
        };
        attempt.up_bytes += attempt.upstream.end_up(trailers, attempt.chunked_up, &mut scratch.out);
    }

    fn end_of_request(&mut self, attempt: &mut Try<'_>, forward: &Forward) {
        self.send_end_up(attempt);
        self.request_done = true;
        let now_us = self.downstream.world.core.now_us();
        self.seen.timing.mark(Point::RequestEnd, now_us);
        self.seen.timing.mark(Point::UpstreamSendEnd, now_us);
        self.start_route_timeout(forward);
        self.start_try_timeout(forward);
        self.arm();
    }
}

/// Ends a try that failed.
fn give_up(mut upstream: Upstream, fault: Fault) {
    let stats = &upstream.cluster().stats;
    let by_remote = matches!(fault, Fault::UpstreamClosed | Fault::ResponseCutOff);
    if matches!(upstream, Upstream::Http1(_)) {
        stats.inc(ClusterStat::UpstreamCxDestroyWithActiveRq);
        stats.inc(match by_remote {
            true => ClusterStat::UpstreamCxDestroyRemoteWithActiveRq,
            false => ClusterStat::UpstreamCxDestroyLocalWithActiveRq,
        });
    }
    if let Upstream::Http1(connection) = &mut upstream
        && by_remote
    {
        connection.mark_remote();
    }
    // What is still queued (a body's beginning) must not look like a complete request.
    upstream.reset();
}

pub(super) fn count_fault(cluster: &Cluster, fault: Fault) {
    let stats = &cluster.stats;
    match fault {
        Fault::ResponseTimeout => stats.inc(ClusterStat::UpstreamRqTimeout),
        Fault::TryTimeout => stats.inc(ClusterStat::UpstreamRqPerTryTimeout),
        Fault::BadResponse(kind) => {
            stats.inc(ClusterStat::UpstreamCxProtocolError);
            if matches!(kind, ErrorKind::HeadTooLarge | ErrorKind::TooManyFields) {
                stats.inc(ClusterStat::UpstreamHttp1HeadTooLarge);
            }
        }
        Fault::UpstreamClosed | Fault::ResponseCutOff => stats.inc(ClusterStat::UpstreamRqRxReset),
        Fault::ConnectFailed | Fault::ConnectTimeout => stats.inc(ClusterStat::UpstreamRqPendingFailureEject),
        Fault::ClientGone | Fault::RequestIdle | Fault::ResponseIdle | Fault::Hoarding | Fault::Drained => {
            stats.inc(ClusterStat::UpstreamRqTxReset);
        }
        _ => {}
    }
}
