//! One request and its response, from the first byte to the account: read the head → route → forward, redirect or
//! answer → account.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use codecs::Status;
use codecs::http::h1::{RequestOptions, parse_request_resumed};
use codecs::http::h2::ErrorCode;
use codecs::http::{ErrorKind, Method, Span, Version};
use runtime::{Received, Slice, Timer};

use super::body::Http1Body;
use super::client::Client;
use super::grpc::Grpc;
use super::h2::{Inbound, Stream};
use super::retry::Tries;
use super::{Next, Scratch, route};
use crate::fault::Fault;
use crate::listener::{Config, Downstream};
use crate::log::{Flags, Point, Timing};
use crate::relay::{HOARDING_CHECK_MS, hoarding_ms_max};
use crate::snapshot::{Action, Http, Route, Serve};
use crate::stats::HttpStat;
use crate::tls::TlsFacts;

/// An exchange under way. References are to what outlives it: the connection, and the definition that it began with.
pub(super) struct Exchange<'a> {
    pub(super) downstream: &'a Downstream,
    pub(super) config: &'a Config,
    pub(super) http: &'a Http,
    pub(super) timer: &'a Timer,
    pub(super) client: Client,
    pub(super) scratch: Box<Scratch>,
    pub(super) began_us: u64,
    pub(super) deadlines: Deadlines,
    /// The client wants to go on after this exchange, and so do we.
    pub(super) keep_alive: bool,
    /// The request was read to its end.
    pub(super) request_done: bool,
    /// The protocol that the client wants the connection, or the stream, to become.
    pub(super) upgrade: Option<Box<[u8]>>,
    /// Times that the request was sent again, retries by route apart.
    pub(super) repeats: u32,
    /// Once it was because its connection had closed under it.
    pub(super) repeated_closed: bool,
    /// Something of a final response has been sent.
    pub(super) response_started: bool,
    pub(super) grpc: Grpc,
    pub(super) tries: Tries,
    pub(super) seen: Seen,
}

/// When an exchange has to have come how far; milliseconds of the core's clock, MAX = never.
pub(super) struct Deadlines {
    /// End of the request.
    request: u64,
    /// End of the response.
    pub(super) route: u64,
    /// The same of one try, where a route retries.
    pub(super) attempt: u64,
    idle_ms: u64,
    /// When to look whether a side that takes nothing may go on so.
    hoarding: u64,
    pub(super) active: u64,
}

impl Deadlines {
    /// When it has been idle for too long, if nothing moves until then.
    fn idle_at(&self) -> u64 {
        if self.idle_ms > 0 { self.active + self.idle_ms } else { u64::MAX }
    }
}

/// What the account and the access log want to know.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) flags: Flags,
    pub(super) details: &'static str,
    pub(super) timing: Timing,
    pub(super) route: Option<u32>,
    /// Path and query as they came, if they were changed.
    pub(super) original_path: Option<Span>,
    pub(super) upstream: Option<SocketAddr>,
    pub(super) upstream_name: String,
    pub(super) attempts: u32,
    /// What the handshake with the endpoint led to, if there are logs to tell.
    pub(super) upstream_tls: Option<Rc<TlsFacts>>,
    /// Why the connection to the endpoint failed, if there are logs to tell.
    pub(super) upstream_failure: Option<Rc<str>>,
    pub(super) request_head_bytes: u64,
    pub(super) response_head_bytes: u64,
    pub(super) request_body_bytes: u64,
    pub(super) response_body_bytes: u64,
    /// On the wire, framing included.
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
}

/// A request on an HTTP/1 connection, whose first bytes have come.
pub(super) async fn run(downstream: &Downstream, timer: &Timer, first: Slice, number: u64) -> Next {
    let config = downstream.listener.config();
    let Serve::Http(http) = &config.listener.serve else { return Next::Close };
    let mut exchange = Exchange::new(downstream, &config, http, timer, Client::Http1);
    let next = match exchange.read_head(first).await {
        Ok(()) => {
            exchange.begin(number);
            exchange.answer().await
        }
        Err(fault) => exchange.fail(fault).await,
    };
    exchange.account();
    downstream.world.give_scratch(exchange.scratch);
    next
}

/// A request on a stream, whose head has come; `too_large` says that it is over a limit.
pub(super) async fn run_stream(downstream: Rc<Downstream>, stream: Stream, too_large: Option<ErrorKind>, number: u64) {
    let (config, timer) = (downstream.listener.config(), downstream.world.core.timer());
    let Serve::Http(http) = &config.listener.serve else { return };
    let mut exchange = Exchange::new(&downstream, &config, http, &timer, Client::Http2(stream));
    exchange.take_head();
    exchange.begin(number);
    let next = match too_large {
        // Reset as soon as it was opened: nothing is begun for it.
        _ if exchange.client_failed() => exchange.fail(Fault::ClientGone).await,
        None => exchange.answer().await,
        Some(kind) => exchange.fail(Fault::BadRequest(kind)).await,
    };
    if let Some(stream) = exchange.stream() {
        stream.give_up_with(match next {
            // The response is whole; what is left of the request isn't wanted (RFC 9113 8.1).
            Next::KeepAlive | Next::Close | Next::Linger => ErrorCode::NoError,
            Next::Reset => ErrorCode::InternalError,
            Next::Gone => ErrorCode::Cancel,
        });
        if next == Next::Reset {
            exchange.config.serve_stats.inc(HttpStat::Http2TxReset);
            exchange.config.serve_stats.inc(HttpStat::DownstreamRqTxReset);
        }
    }
    exchange.account();
    downstream.world.give_scratch(exchange.scratch);
}

impl<'a> Exchange<'a> {
    // Inlined, so that it is put together where it stays.
    #[inline(always)]
    fn new(
        downstream: &'a Downstream,
        config: &'a Config,
        http: &'a Http,
        timer: &'a Timer,
        client: Client,
    ) -> Exchange<'a> {
        let world = &downstream.world;
        let now_ms = world.core.now_ms();
        let mut exchange = Exchange {
            downstream,
            config,
            http,
            timer,
            client,
            scratch: world.take_scratch(),
            began_us: world.core.now_us(),
            deadlines: Deadlines {
                request: if http.request_timeout_ms > 0 { now_ms + http.request_timeout_ms } else { u64::MAX },
                route: u64::MAX,
                attempt: u64::MAX,
                idle_ms: http.stream_idle_timeout_ms,
                hoarding: u64::MAX,
                active: now_ms,
            },
            keep_alive: false,
            request_done: false,
            upgrade: None,
            repeats: 0,
            repeated_closed: false,
            response_started: false,
            grpc: Grpc::default(),
            tries: Tries::default(),
            seen: Seen::default(),
        };
        exchange.seen.timing.mark(Point::RequestBegin, exchange.began_us);
        exchange
    }

    /// Takes the head that came with the stream.
    fn take_head(&mut self) {
        let Client::Http2(stream) = &self.client else { return };
        let Some(Inbound::Head(mut message)) = stream.try_recv() else { return };
        let scratch = &mut *self.scratch;
        self.seen.request_head_bytes = message.text.len() as u64;
        self.seen.received_bytes = message.text.len() as u64;
        std::mem::swap(&mut scratch.request, &mut message.request);
        scratch.request_input.exchange(&mut message.text);
        stream.recycle(message);
        self.seen.timing.mark(Point::RequestHeadEnd, self.began_us);
    }

    async fn answer(&mut self) -> Next {
        if self.downstream.world.overload().shed_requests {
            self.config.serve_stats.inc(HttpStat::DownstreamRqOverloadClose);
            return self.fail(Fault::Overloaded).await;
        }
        let config = self.config;
        let result = match self.route() {
            Err(fault) => Err(fault),
            Ok(None) => Ok(()),
            Ok(Some(route)) => match &route.action {
                Action::Forward(forward) => {
                    self.config.serve_stats.inc(HttpStat::RqTotal);
                    self.forward(route, forward, &config.generation.clusters[forward.cluster as usize]).await
                }
                Action::Redirect(redirect) => {
                    self.reply_redirect(route, redirect);
                    Ok(())
                }
                Action::Direct(direct) => {
                    self.reply_direct(route, direct);
                    Ok(())
                }
            },
        };
        match result {
            Ok(()) => self.complete().await,
            Err(fault) => self.fail(fault).await,
        }
    }

    /// Reads until the head is complete. The header timeout starts with its first byte.
    async fn read_head(&mut self, first: Slice) -> Result<(), Fault> {
        let core = &self.downstream.world.core;
        self.seen.received_bytes += first.len() as u64;
        self.scratch.request_input.add(first);
        let options = RequestOptions { http10: self.http.http10 };
        let mut deadline = 0;
        loop {
            let scratch = &mut *self.scratch;
            let input = scratch.request_input.bytes();
            let parsed =
                parse_request_resumed(input, &self.config.limits, &options, &mut scratch.scanner, &mut scratch.request);
            match parsed.map_err(|error| Fault::BadRequest(error.kind))? {
                Status::Complete(consumed) => {
                    let rest = input.len() - consumed;
                    scratch.request_input.finish(consumed, &self.downstream.socket);
                    self.seen.request_head_bytes = consumed as u64;
                    self.seen.received_bytes -= rest as u64;
                    self.seen.timing.mark(Point::RequestHeadEnd, core.now_us());
                    return Ok(());
                }
                Status::Partial => scratch.request_input.settle(),
            }
            if deadline == 0 {
                let timeout_ms = self.http.header_timeout_ms;
                deadline = if timeout_ms > 0 { core.now_ms() + timeout_ms } else { u64::MAX };
                self.timer.clear();
            }
            let idle_at = self.deadlines.idle_at();
            let until = deadline.min(self.deadlines.request).min(idle_at);
            if until < u64::MAX {
                self.timer.set(until);
            }
            let received = poll_fn(|_| match self.downstream.socket.poll_recv() {
                Poll::Ready(received) => Poll::Ready(Ok(received)),
                Poll::Pending if core.now_ms() >= deadline => Poll::Ready(Err(Fault::HeaderTimeout)),
                Poll::Pending if core.now_ms() >= self.deadlines.request => Poll::Ready(Err(Fault::RequestTimeout)),
                Poll::Pending if core.now_ms() >= idle_at => Poll::Ready(Err(Fault::RequestIdle)),
                Poll::Pending if self.downstream.world.cut_off() => Poll::Ready(Err(Fault::Drained)),
                Poll::Pending => Poll::Pending,
            })
            .await?;
            let Received::Data(slice) = received else { return Err(Fault::ClientGone) };
            self.touch();
            self.seen.received_bytes += slice.len() as u64;
            self.scratch.request_input.add(slice);
        }
    }

    /// The head is there: what follows from it before anything is decided.
    fn begin(&mut self, number: u64) {
        let stats = &self.config.serve_stats;
        stats.inc(HttpStat::DownstreamRqTotal);
        stats.inc(match self.client {
            Client::Http1 => HttpStat::DownstreamRqHttp1Total,
            Client::Http2(_) => HttpStat::DownstreamRqHttp2Total,
        });
        stats.gauge_inc(HttpStat::DownstreamRqActive);
        self.begin_call();
        let scratch = &mut *self.scratch;
        let body = scratch.request.body;
        self.request_done = body.is_empty();
        scratch.request_body = Http1Body::of_request(body, &self.config.limits);
        if matches!(self.client, Client::Http2(_)) {
            // The connection's task looks after age, numbers and drains.
            self.keep_alive = true;
            return;
        }
        let last = self.http.requests_per_connection_max;
        let used_up = last > 0 && number >= last;
        if used_up {
            stats.inc(HttpStat::DownstreamCxMaxRequestsReached);
        }
        self.keep_alive = scratch.request.keep_alive
            && !used_up
            && !self.downstream.listener.closing()
            && !self.downstream.over_age(self.http.connection_duration_max_ms);
        if self.request_done {
            self.seen.timing.mark(Point::RequestEnd, self.downstream.world.core.now_us());
        }
    }

    /// The route, or why there is none; `None` if the client has been sent to another path.
    fn route(&mut self) -> Result<Option<&'a Route>, Fault> {
        if !self.settle_path()? {
            return Ok(None);
        }
        let scratch = &*self.scratch;
        let request = &scratch.request;
        if request.method == Method::Connect && request.protocol.is_none() && !self.http.connect {
            return Err(Fault::ConnectRefused);
        }
        let found = route::find(&self.http.routes, &scratch.request, scratch.request_input.bytes());
        let at = found.ok_or(Fault::NoRoute)?;
        self.seen.route = Some(at);
        Ok(Some(&self.http.routes.routes[at as usize]))
    }

    /// Ends an exchange whose response was sent whole.
    async fn complete(&mut self) -> Next {
        if self.stream().is_some() {
            return self.complete_stream().await;
        }
        if !self.request_done && self.keep_alive {
            self.discard_body().await;
        }
        match (self.request_done, self.keep_alive) {
            (true, true) => Next::KeepAlive,
            // The client may be sending its next request already. Closing now would answer that with a reset, which can
            // take the end of this response with it (RFC 9112 9.6).
            (true, false) if self.scratch.request.keep_alive => Next::Linger,
            (true, false) => Next::Close,
            (false, _) => {
                self.config.serve_stats.inc(HttpStat::DownstreamRqResponseBeforeRqComplete);
                Next::Linger
            }
        }
    }

    /// Waits until the client's windows have let all of the response out.
    async fn complete_stream(&mut self) -> Next {
        // A tunnel that was cut off: nothing will end it.
        if self.stream().is_some_and(|stream| !stream.is_ending()) {
            return if self.client_failed() { Next::Gone } else { Next::Reset };
        }
        (self.deadlines.route, self.deadlines.attempt) = (u64::MAX, u64::MAX);
        self.touch();
        self.arm();
        let mut unsent = usize::MAX;
        let sent = poll_fn(|context| {
            let Client::Http2(stream) = &self.client else { return Poll::Ready(Ok(())) };
            if stream.poll_drained(0).is_ready() && stream.is_finished() {
                return Poll::Ready(Ok(()));
            }
            let left = stream.unsent_bytes();
            if std::mem::replace(&mut unsent, left) != left {
                self.deadlines.active = self.downstream.world.core.now_ms();
            }
            if let Some(fault) = self.check().or_else(|| self.check_hoarding(true)) {
                return Poll::Ready(Err(fault));
            }
            self.watch_client(context);
            Poll::Pending
        })
        .await;
        match sent {
            Ok(()) => Next::KeepAlive,
            Err(fault) => {
                self.count_fault(fault);
                if fault == Fault::ClientGone { Next::Gone } else { Next::Reset }
            }
        }
    }

    async fn fail(&mut self, fault: Fault) -> Next {
        let outcome = fault.outcome();
        if let Some(flag) = outcome.flag {
            self.seen.flags.set(flag);
        }
        self.seen.details = outcome.details;
        self.count_fault(fault);
        match fault {
            Fault::ClientGone => return Next::Gone,
            _ if self.response_started && self.end_call(&outcome, fault) => {}
            _ if self.response_started => {
                self.config.serve_stats.inc(HttpStat::RqResetAfterDownstreamResponseStarted);
                return Next::Reset;
            }
            // Where the next request would begin is unknown.
            Fault::BadRequest(_)
            | Fault::HeaderTimeout
            | Fault::RequestTimeout
            | Fault::RequestIdle
            | Fault::Hoarding
            | Fault::BadGrpcWeb
            | Fault::Drained => {
                self.keep_alive = false;
                self.reply_fault(&outcome, fault);
                if self.stream().is_none() {
                    return Next::Linger;
                }
            }
            _ => self.reply_fault(&outcome, fault),
        }
        self.complete().await
    }

    /// The client speaks HTTP/1.0: no chunks, no interim responses.
    pub(super) fn old_client(&self) -> bool {
        self.scratch.request.version == Version::Http10
    }

    pub(super) fn idle_timeout(&mut self, idle_ms: u64) {
        self.deadlines.idle_ms = idle_ms;
    }

    /// Sets the timer to the next deadline.
    pub(super) fn arm(&self) {
        let deadlines = &self.deadlines;
        let idle = deadlines.idle_at();
        let request = if self.request_done { u64::MAX } else { deadlines.request };
        let next = deadlines.route.min(deadlines.attempt).min(request).min(idle).min(deadlines.hoarding);
        match next {
            u64::MAX => self.timer.clear(),
            next => self.timer.set(next),
        }
    }

    /// Something moved: the stream isn't idle.
    #[inline]
    pub(super) fn touch(&mut self) {
        self.deadlines.active = self.downstream.world.core.now_ms();
    }

    /// What becomes of an exchange of which a side takes nothing (`stuck`), as long as nothing moves.
    pub(super) fn check_hoarding(&mut self, stuck: bool) -> Option<Fault> {
        if !stuck {
            self.deadlines.hoarding = u64::MAX;
            return None;
        }
        let core = &self.downstream.world.core;
        let now = core.now_ms();
        if now - self.deadlines.active >= hoarding_ms_max(core) {
            return Some(Fault::Hoarding);
        }
        if now >= self.deadlines.hoarding || self.deadlines.hoarding == u64::MAX {
            self.deadlines.hoarding = now + HOARDING_CHECK_MS;
            self.arm();
        }
        None
    }

    /// What has become of the client and of the time meanwhile.
    pub(super) fn check(&self) -> Option<Fault> {
        if self.client_failed() {
            return Some(Fault::ClientGone);
        }
        if self.downstream.world.cut_off() {
            return Some(Fault::Drained);
        }
        if !self.timer.expired() {
            return None;
        }
        let (now, deadlines) = (self.downstream.world.core.now_ms(), &self.deadlines);
        if now >= deadlines.route {
            return Some(Fault::ResponseTimeout);
        }
        if now >= deadlines.attempt {
            return Some(Fault::TryTimeout);
        }
        if !self.request_done && now >= deadlines.request {
            return Some(Fault::RequestTimeout);
        }
        if now >= deadlines.idle_at() {
            return Some(if self.request_done { Fault::ResponseIdle } else { Fault::RequestIdle });
        }
        self.arm();
        None
    }

    /// Waits for something upstream while looking after the client and the clock.
    pub(super) async fn guarded<T>(&self, future: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let mut future = pin!(future);
        poll_fn(|context| {
            if let Poll::Ready(result) = future.as_mut().poll(context) {
                return Poll::Ready(result);
            }
            if let Some(fault) = self.check() {
                return Poll::Ready(Err(fault));
            }
            self.watch_client(context);
            Poll::Pending
        })
        .await
    }

    fn count_fault(&self, fault: Fault) {
        let stats = &self.config.serve_stats;
        stats.inc(match fault {
            Fault::BadRequest(kind) => {
                stats.inc(HttpStat::DownstreamCxProtocolError);
                match kind {
                    ErrorKind::HeadTooLarge => HttpStat::DownstreamRqHeadTooLarge,
                    ErrorKind::TooManyFields | ErrorKind::TooManyConnectionOptions => {
                        HttpStat::DownstreamRqTooManyFields
                    }
                    ErrorKind::RequestLineTooLong => HttpStat::DownstreamRqLineTooLong,
                    ErrorKind::TrailersTooLarge | ErrorKind::TooManyTrailers => HttpStat::DownstreamRqTrailersTooLarge,
                    _ => return,
                }
            }
            Fault::BadPath(_) => HttpStat::DownstreamRqFailedPathNormalization,
            Fault::ConnectRefused => HttpStat::DownstreamRqConnectRefused,
            Fault::UpgradeRefused => HttpStat::DownstreamRqWsOnNonWsRoute,
            Fault::HeaderTimeout => HttpStat::DownstreamRqHeaderTimeout,
            Fault::RequestTimeout => HttpStat::DownstreamRqTimeout,
            Fault::RequestIdle | Fault::ResponseIdle => HttpStat::DownstreamRqIdleTimeout,
            Fault::Hoarding => HttpStat::DownstreamRqOverloadClose,
            Fault::NoRoute => HttpStat::NoRoute,
            Fault::ClientGone => HttpStat::DownstreamRqRxReset,
            _ => return,
        });
    }
}
