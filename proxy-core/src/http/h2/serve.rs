//! A client's HTTP/2 connection: a task that reads and sends for its streams, and an exchange for each request.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use codecs::http::h2::{ErrorCode, ErrorKind, Role};

use super::keepalive::{Silence, Watch};
use super::{Carrier, Failure, Mux, Opened};
use crate::core::DRAIN_IDLE_MS;
use crate::http::exchange;
use crate::listener::Downstream;
use crate::snapshot::Serve;
use crate::stats::{HttpStat, Lane};
use crate::transport::Transport;

/// Slices read in a row before it is the turn of others.
const SLICES_AT_ONCE: usize = 16;
/// How long the last bytes, a GOAWAY among them, may take.
const LAST_BYTES_MS: u64 = 1_000;

impl Carrier for Rc<Downstream> {
    fn transport(&self) -> &Transport {
        &self.socket
    }

    fn stream_ended(&self) {}
}

/// Why a connection ends.
enum End {
    /// The client has gone.
    Gone,
    /// The client broke the protocol or a budget; GOAWAY is queued.
    Broken(codecs::http::h2::Error),
    /// The client took too long over something.
    Late(ErrorKind),
    Idle,
    /// The client didn't answer a PING.
    Silent,
    /// Drained, or over its age: every stream was served.
    Served,
    CutOff,
}

struct Connection {
    downstream: Rc<Downstream>,
    mux: Rc<Mux>,
    stats: Lane,
    /// Requests that were read and not yet begun.
    opened: Vec<Opened>,
    requests: u64,
    /// When the last stream ended.
    idle_since_ms: u64,
    silence: Watch,
    /// A GOAWAY without a last stream was sent; the final one follows at this time.
    final_at_ms: Option<u64>,
    final_sent: bool,
}

pub(crate) async fn serve(downstream: Box<Downstream>) {
    let config = downstream.listener.config();
    let Serve::Http(http) = &config.listener.serve else { return };
    let stats = config.serve_stats.clone();
    downstream.count_http2_begin(&stats);
    let downstream: Rc<Downstream> = Rc::from(downstream);
    let core = &downstream.world.core;
    let mux = Mux::new(core, Box::new(downstream.clone()), Role::Server, &http.http2.limits);
    drop(config);
    let mut connection = Connection {
        downstream: downstream.clone(),
        mux,
        stats: stats.clone(),
        opened: Vec::new(),
        requests: 0,
        idle_since_ms: core.now_ms(),
        silence: Watch::new(core.now_ms()),
        final_at_ms: None,
        final_sent: false,
    };
    let timer = core.timer();
    let end = poll_fn(|context| connection.poll(context, &timer)).await;
    let is_gone = matches!(end, End::Gone | End::Silent);
    connection.finish(end, &timer).await;
    downstream.count_http2_end(&stats);
    // What the client still sends must not turn into a reset that overtakes the last words.
    if !is_gone && let Ok(downstream) = Rc::try_unwrap(downstream) {
        downstream.socket.close_lingering();
    }
}

impl Connection {
    fn poll(&mut self, context: &mut Context<'_>, timer: &runtime::Timer) -> Poll<End> {
        self.mux.attend(context);
        let mut read_all = false;
        for _ in 0..SLICES_AT_ONCE {
            match self.mux.receive(&mut self.opened) {
                Ok(true) => self.silence.heard(self.downstream.world.core.now_ms()),
                Ok(false) => {
                    read_all = true;
                    break;
                }
                Err(error) => {
                    self.start();
                    return Poll::Ready(error.map_or(End::Gone, End::Broken));
                }
            }
        }
        self.start();
        self.count();
        self.mux.serve_blocked();
        if let Some(end) = self.check_time(timer) {
            return Poll::Ready(end);
        }
        if !read_all {
            context.waker().wake_by_ref();
        }
        // Also sends what waits to be encrypted.
        self.downstream.socket.watch();
        Poll::Pending
    }

    fn count(&mut self) {
        let counts = self.mux.take_counts();
        if counts.resets_received > 0 {
            self.stats.add(HttpStat::Http2RxReset, counts.resets_received);
        }
        if counts.stream_errors > 0 {
            self.stats.add(HttpStat::Http2RxMessagingError, counts.stream_errors);
        }
    }

    /// Starts an exchange for each request.
    fn start(&mut self) {
        for Opened { stream, too_large } in self.opened.drain(..) {
            self.requests += 1;
            let core = &self.downstream.world.core;
            let exchange = exchange::run_stream(self.downstream.clone(), stream, too_large, self.requests);
            core.spawn_recycled(exchange);
        }
    }

    /// Ends by time: idle, over age, drained.
    fn check_time(&mut self, timer: &runtime::Timer) -> Option<End> {
        let world = &self.downstream.world;
        let now_ms = world.core.now_ms();
        let config = self.downstream.listener.config();
        let Serve::Http(http) = &config.listener.serve else { return Some(End::Served) };
        if world.cut_off() {
            return Some(End::CutOff);
        }
        if self.mux.live() > 0 {
            self.idle_since_ms = now_ms;
        }
        let used_up = http.requests_per_connection_max > 0 && self.requests >= http.requests_per_connection_max;
        let over_age = self.downstream.over_age(http.connection_duration_max_ms);
        if self.final_at_ms.is_none() && (self.downstream.listener.closing() || over_age || used_up) {
            if over_age {
                self.stats.inc(HttpStat::DownstreamCxMaxDurationReached);
            } else if used_up {
                self.stats.inc(HttpStat::DownstreamCxMaxRequestsReached);
            } else {
                self.stats.inc(self.downstream.listener.closing_stat());
            }
            self.mux.go_away_notice();
            self.final_at_ms = Some(now_ms + DRAIN_IDLE_MS);
        }
        let mut next_ms = match self.silence.check(&self.mux, &http.http2.keepalive, now_ms) {
            Silence::Until(next_ms) => next_ms,
            Silence::TooLong => {
                self.stats.inc(HttpStat::Http2KeepaliveTimeout);
                return Some(End::Silent);
            }
        };
        let head_due_ms = self.mux.head_due_ms(http.header_timeout_ms);
        if now_ms >= head_due_ms {
            return Some(End::Late(ErrorKind::HeadTimeout));
        }
        let settings_due_ms = self.mux.settings_due_ms(http.http2.settings_timeout_ms);
        if now_ms >= settings_due_ms {
            return Some(End::Late(ErrorKind::SettingsTimeout));
        }
        next_ms = next_ms.min(head_due_ms).min(settings_due_ms);
        match self.final_at_ms {
            Some(at_ms) if now_ms >= at_ms => {
                if !std::mem::replace(&mut self.final_sent, true) {
                    self.mux.go_away(ErrorCode::NoError);
                }
                if self.mux.live() == 0 {
                    return Some(End::Served);
                }
            }
            Some(at_ms) => next_ms = next_ms.min(at_ms),
            None => {}
        }
        if http.idle_timeout_ms > 0 && self.mux.live() == 0 {
            let idle_at_ms = self.idle_since_ms + http.idle_timeout_ms;
            if now_ms >= idle_at_ms {
                self.stats.inc(HttpStat::DownstreamCxIdleTimeout);
                return Some(End::Idle);
            }
            next_ms = next_ms.min(idle_at_ms);
        }
        if http.connection_duration_max_ms > 0 && self.final_at_ms.is_none() {
            next_ms = next_ms.min(self.downstream.born_us() / 1_000 + http.connection_duration_max_ms + 1);
        }
        match next_ms {
            u64::MAX => timer.clear(),
            next_ms => timer.set(next_ms),
        }
        None
    }

    /// Ends the streams, waits for their exchanges to let go, and closes.
    async fn finish(self, end: End, timer: &runtime::Timer) {
        match &end {
            End::Idle => self.mux.go_away(ErrorCode::NoError),
            End::Broken(error) => {
                self.stats.inc(HttpStat::DownstreamCxProtocolError);
                self.stats.inc(HttpStat::of_http2_error(error.kind));
                tracing::debug!(peer = %self.downstream.remote, error = error.kind.as_str(), "HTTP/2 connection ended");
            }
            End::Late(kind) => {
                self.mux.give_up(*kind);
                self.stats.inc(HttpStat::of_http2_error(*kind));
            }
            End::Gone | End::Silent | End::Served | End::CutOff => {}
        }
        self.stats.inc(match end {
            End::Gone => HttpStat::DownstreamCxDestroyRemote,
            _ => HttpStat::DownstreamCxDestroyLocal,
        });
        self.mux.end(Failure::Gone);
        let core = &self.downstream.world.core;
        let until_ms = core.now_ms() + LAST_BYTES_MS;
        timer.set(until_ms);
        let is_gone = matches!(end, End::Gone | End::Silent);
        poll_fn(|context| {
            self.mux.attend(context);
            let sent = is_gone || self.downstream.socket.poll_drained(0).is_ready();
            if (self.mux.live() == 0 && sent) || core.now_ms() >= until_ms {
                return Poll::Ready(());
            }
            timer.set(until_ms);
            self.downstream.socket.watch();
            Poll::Pending
        })
        .await;
    }
}
