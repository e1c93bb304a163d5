//! Sending a request on and its response back.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use codecs::Status;
use codecs::http::h1::{emit, parse_response_resumed};
use codecs::http::{BodyLength, ErrorKind};
use runtime::{Received, Slice};

use super::body::{Http1Body, Piece};
use super::client::Client;
use super::exchange::Exchange;
use super::h2::{Failure, Inbound};
use super::headers;
use super::retry::Verdict;
use super::upstream::Upstream;
use crate::cluster::{Cluster, Endpoint};
use crate::fault::Fault;
use crate::listener::head_limits;
use crate::log::Point;
use crate::relay::QUEUED_BYTES_MAX;
use crate::snapshot::{Forward, Retry, Route};
use crate::stats::{ClusterStat, EndpointStat};

/// How far a try has come.
struct Try<'r> {
    route: &'r Route,
    retry: Option<&'r Retry>,
    upstream: Upstream,
    head_done: bool,
    /// The head of the response is kept back until it is certain that it won't be thrown away.
    held: bool,
    /// The response isn't wanted: the request is to be tried again.
    thrown_away: bool,
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
    /// Interim heads of an HTTP/1 response; with HTTP/2 the codec counts them.
    interims: u32,
}

/// Times that a request is sent again. Connections that were made together come to their ends together (an endpoint may
/// count their requests), so one that was refused on the first may well be refused on the next.
const REPEATS_MAX: u32 = 5;
/// Interim heads before a final one; nobody sends more than a few.
const INTERIM_HEADS_MAX: u32 = 100;

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
            let upstream = match self.lease(cluster, again).await {
                Ok(upstream) => upstream,
                Err(fault) if self.wants_retry(forward, cluster, fault, false) => {
                    self.back_off().await?;
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            let endpoint = upstream.endpoint().clone();
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
                Err(Failed::By { fault: Fault::UpstreamClosed, repeatable: true, .. })
                    if self.repeats < REPEATS_MAX =>
                {
                    again = true;
                    self.repeats += 1;
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
            connection.socket.send(&self.scratch.upstream_head);
        }
        let sent_us = self.downstream.world.core.now_us();
        self.seen.timing.mark(Point::UpstreamSendBegin, sent_us);
        let mut attempt = Try {
            route,
            retry: forward.retry.as_ref(),
            head_done: false,
            held: false,
            thrown_away: false,
            response_done: false,
            body_sent: false,
            chunked_up: self.scratch.request.body == BodyLength::Chunked,
            chunked_down: false,
            sent_us,
            up_bytes: self.scratch.upstream_head.len() as u64,
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
        if attempt.body_sent || self.response_started || attempt.down_bytes > 0 {
            return false;
        }
        match &attempt.upstream {
            Upstream::Http1(connection) => {
                self.repeats == 0 && connection.reused && self.scratch.request.method.is_idempotent()
            }
            Upstream::Http2(call) => match call.stream.failure() {
                Some(Failure::Refused) => true,
                Some(Failure::Gone) => call.reused && self.scratch.request.method.is_idempotent(),
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

    /// Passes down what has arrived of the response.
    fn download(&mut self, attempt: &mut Try<'_>) -> Result<(), Fault> {
        while !attempt.response_done {
            if attempt.head_done {
                match self.poll_client_drained(QUEUED_BYTES_MAX) {
                    Ok(true) => {}
                    Ok(false) => {
                        let cluster = attempt.upstream.cluster();
                        cluster.stats.inc(ClusterStat::UpstreamFlowControlPausedReadingTotal);
                        return Ok(());
                    }
                    Err(()) => return Err(Fault::ClientGone),
                }
            }
            let moved = match (&attempt.upstream, attempt.head_done) {
                (Upstream::Http1(_), false) => self.download_http1_head(attempt)?,
                (Upstream::Http2(_), false) => self.download_http2_head(attempt)?,
                (_, true) => self.download_body(attempt)?,
            };
            if !moved {
                return Ok(());
            }
            self.touch();
        }
        Ok(())
    }

    /// Passes down the next piece of the response's body; false if there is none.
    fn download_body(&mut self, attempt: &mut Try<'_>) -> Result<bool, Fault> {
        let scratch = &mut *self.scratch;
        match attempt.upstream.next_of_response(&mut scratch.response_body, &mut scratch.response_trailers) {
            Piece::Nothing => return Ok(false),
            Piece::Data(payload, wire) => {
                attempt.down_bytes += wire;
                if attempt.held {
                    self.pass_head(attempt);
                }
                let payload = self.translate_down(payload);
                self.seen.response_body_bytes += payload.len() as u64;
                self.seen.sent_bytes += self.send_down(payload, attempt.chunked_down);
            }
            Piece::End(wire) => {
                attempt.down_bytes += wire;
                if attempt.held && !self.is_kept_with_trailers(attempt) {
                    return Ok(true);
                }
                self.end_of_response(attempt);
            }
            // Nothing has gone down: to the client and to a retry it never began.
            Piece::Ended | Piece::Failed if attempt.held => return Err(Fault::UpstreamClosed),
            Piece::Ended if self.scratch.response_body.ends_with_connection() => self.end_of_response(attempt),
            Piece::Ended | Piece::Failed => {
                attempt.upstream.cluster().stats.inc(ClusterStat::UpstreamRqBodyIncomplete);
                return Err(Fault::ResponseCutOff);
            }
            Piece::Bad(_) => return Err(Fault::ResponseCutOff),
        }
        Ok(true)
    }

    /// Takes the head of a response, or an interim one, from a stream; false if there is none yet.
    fn download_http2_head(&mut self, attempt: &mut Try<'_>) -> Result<bool, Fault> {
        let Upstream::Http2(call) = &attempt.upstream else { return Ok(false) };
        let (mut message, interim) = match call.stream.try_recv() {
            None => return Ok(false),
            Some(Inbound::Head(message)) => (message, false),
            Some(Inbound::Interim(message)) => (message, true),
            Some(_) if call.stream.failure() == Some(Failure::Malformed) => {
                return Err(Fault::BadResponse(ErrorKind::InvalidStatusLine));
            }
            Some(_) => return Err(Fault::UpstreamClosed),
        };
        self.seen.timing.mark(Point::UpstreamReceiveBegin, self.downstream.world.core.now_us());
        let scratch = &mut *self.scratch;
        attempt.down_bytes += message.text.len() as u64;
        std::mem::swap(&mut scratch.response, &mut message.response);
        scratch.response_input.exchange(&mut message.text);
        call.stream.recycle(message);
        if interim {
            self.pass_interim();
            self.scratch.response_input.clear();
            return Ok(true);
        }
        self.begin_response(attempt)?;
        Ok(true)
    }

    fn download_http1_head(&mut self, attempt: &mut Try<'_>) -> Result<bool, Fault> {
        let Upstream::Http1(connection) = &attempt.upstream else { return Ok(false) };
        match connection.socket.try_recv() {
            None => Ok(false),
            Some(Received::Data(slice)) => self.download_head(attempt, slice).map(|()| true),
            Some(Received::End | Received::Failed(_)) => Err(Fault::UpstreamClosed),
        }
    }

    fn download_head(&mut self, attempt: &mut Try<'_>, slice: Slice) -> Result<(), Fault> {
        let Upstream::Http1(connection) = &attempt.upstream else { return Ok(()) };
        let world = &self.downstream.world;
        if attempt.down_bytes == 0 {
            self.seen.timing.mark(Point::UpstreamReceiveBegin, world.core.now_us());
            self.scratch.scanner = Default::default();
        }
        let scratch = &mut *self.scratch;
        attempt.down_bytes += slice.len() as u64;
        scratch.response_input.add(slice);
        let limits = head_limits(&connection.cluster.settings().limits);
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
        scratch.response_input.finish(consumed, &connection.socket);
        attempt.down_bytes -= rest as u64;
        if scratch.response.is_interim() {
            attempt.interims += 1;
            if attempt.interims > INTERIM_HEADS_MAX {
                return Err(Fault::BadResponse(ErrorKind::InvalidStatusLine));
            }
            self.pass_interim();
            self.scratch.response_input.clear();
            self.scratch.scanner = Default::default();
            return Ok(());
        }
        scratch.response_body = Http1Body::of_response(scratch.response.body, &limits);
        self.begin_response(attempt)
    }

    /// The final head is there: passes it down.
    fn begin_response(&mut self, attempt: &mut Try<'_>) -> Result<(), Fault> {
        if self.scratch.response.tunnel && self.upgrade.is_none() {
            return Err(Fault::BadResponse(ErrorKind::InvalidStatusLine));
        }
        self.seen.status = self.scratch.response.status;
        self.seen.details = "via_upstream";
        attempt.head_done = true;
        if self.grpc.is_call {
            self.note_call_head();
        }
        if let Some(retry) = attempt.retry {
            match self.judge_head(retry, attempt.upstream.cluster()) {
                Verdict::PassOn => self.deadlines.attempt = u64::MAX,
                Verdict::Hold => {
                    attempt.held = true;
                    return Ok(());
                }
                Verdict::ThrowAway => {
                    (attempt.thrown_away, attempt.response_done) = (true, true);
                    return Ok(());
                }
            }
        }
        self.pass_head(attempt);
        Ok(())
    }

    /// A response that was held has ended without a body: whether it is passed on.
    fn is_kept_with_trailers(&mut self, attempt: &mut Try<'_>) -> bool {
        if let Some(retry) = attempt.retry
            && self.judge_trailers(retry, attempt.upstream.cluster()) == Verdict::ThrowAway
        {
            (attempt.thrown_away, attempt.response_done) = (true, true);
            return false;
        }
        self.pass_head(attempt);
        true
    }

    /// Passes the response's head down.
    fn pass_head(&mut self, attempt: &mut Try<'_>) {
        if std::mem::take(&mut attempt.held) {
            self.deadlines.attempt = u64::MAX;
        }
        self.translate_response();
        attempt.chunked_down = headers::emit_response(self, attempt.route);
        if self.http.access_logs.is_empty() {
            self.scratch.response_input.clear();
        }
        if self.scratch.response.tunnel {
            attempt.response_done = true;
        } else if self.scratch.response.body.is_empty() {
            self.end_of_response(attempt);
        }
    }

    /// 100 and 103 and the like go down as they came, except to HTTP/1.0 (RFC 9110 15.2).
    fn pass_interim(&mut self) {
        if self.old_client() {
            return;
        }
        let scratch = &mut *self.scratch;
        let input = scratch.response_input.bytes();
        scratch.out.clear();
        if let Client::Http2(stream) = &self.client {
            // Expectations are met by windows; whoever asked for 100 gets it all the same.
            scratch.response.copy_fields(&mut scratch.out, input, codecs::http::FieldSet::EMPTY);
            self.seen.sent_bytes += scratch.out.len() as u64;
            return stream.send_response(scratch.response.status, &scratch.out, false);
        }
        emit::status_line(&mut scratch.out, scratch.response.status, scratch.response.reason.of(input));
        scratch.response.copy_fields(&mut scratch.out, input, codecs::http::FieldSet::EMPTY);
        emit::end_of_head(&mut scratch.out);
        self.seen.sent_bytes += scratch.out.len() as u64;
        self.downstream.socket.send(&scratch.out);
    }

    /// The response ended with its head, its last byte, or the connection.
    fn end_of_response(&mut self, attempt: &mut Try<'_>) {
        if self.grpc.is_call {
            self.note_call_trailers();
        }
        self.end_down(attempt.chunked_down);
        attempt.response_done = true;
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
        Fault::ClientGone | Fault::RequestIdle | Fault::ResponseIdle | Fault::Drained => {
            stats.inc(ClusterStat::UpstreamRqTxReset);
        }
        _ => {}
    }
}
