//! HTTP from a client: the life of a connection, request after request.
//!
//! What only a request needs (its future, heads, buffers) is taken from the core's reserve when the first byte arrives
//! and given back at the end: a connection that waits between requests holds a socket, a timer and little else.

mod account;
mod body;
mod client;
mod client_cert;
mod discard;
mod download;
mod exchange;
mod forward;
mod grpc;
mod grpc_web;
pub(crate) mod h2;
mod head_input;
mod headers;
mod reply;
mod retry;
mod route;
mod scratch;
mod tunnel;
mod upstream;

use std::future::poll_fn;
use std::task::Poll;

use codecs::Status;
use codecs::http::h2::is_preface;
use runtime::{Received, Slice, Timer};

pub(crate) use scratch::Scratch;

use crate::core::DRAIN_IDLE_MS;
use crate::listener::Downstream;
use crate::snapshot::Serve;
use crate::stats::{HttpStat, Lane};

/// What becomes of the connection after an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    KeepAlive,
    /// Everything was read: close when the response is sent.
    Close,
    /// The client may still be sending: close so that the response survives.
    Linger,
    /// The response broke off: the client has to notice.
    Reset,
    /// The client has gone.
    Gone,
}

/// What ends the wait for a request.
enum Waited {
    Request(Slice),
    Gone,
    IdleTimeout,
    Drained,
    OverAge,
}

pub(crate) async fn serve(downstream: Box<Downstream>) {
    let config = downstream.listener.config();
    let stats = config.serve_stats.clone();
    let mut may_be_http2 = matches!(&config.listener.serve, Serve::Http(http) if http.http2.enabled);
    drop(config);
    downstream.count_http_begin(&stats);
    let timer = downstream.world.core.timer();
    let mut requests = 0;
    let next = loop {
        match wait(&downstream, &timer).await {
            Waited::Request(first) => {
                let core = &downstream.world.core;
                if may_be_http2 {
                    match is_preface(&first) {
                        Status::Complete(false) => may_be_http2 = false,
                        Status::Complete(true) => {
                            downstream.socket.unrecv(first);
                            drop(timer);
                            let core = core.clone();
                            return core.recycled(h2::serve::serve(downstream)).await;
                        }
                        Status::Partial => {
                            match wait(&downstream, &timer).await {
                                Waited::Request(second) => {
                                    let both = [&*first, &*second].concat();
                                    downstream.socket.unrecv(core.own(both.into_boxed_slice()));
                                    continue;
                                }
                                // What there is isn't the preface; whose error it is, HTTP/1 says.
                                waited => break count_wait(&stats, &waited),
                            }
                        }
                    }
                }
                requests += 1;
                match core.recycled(exchange::run(&downstream, &timer, first, requests)).await {
                    Next::KeepAlive => {}
                    next => break next,
                }
            }
            waited => break count_wait(&stats, &waited),
        }
    };
    stats.inc(match next {
        Next::Gone => HttpStat::DownstreamCxDestroyRemote,
        _ => HttpStat::DownstreamCxDestroyLocal,
    });
    downstream.count_http_end(&stats);
    match next {
        Next::Linger => downstream.socket.close_lingering(),
        Next::Reset => downstream.socket.reset(),
        Next::KeepAlive | Next::Close | Next::Gone => {}
    }
}

fn count_wait(stats: &Lane, waited: &Waited) -> Next {
    match waited {
        Waited::Request(_) | Waited::Gone => return Next::Gone,
        Waited::IdleTimeout => stats.inc(HttpStat::DownstreamCxIdleTimeout),
        Waited::Drained => stats.inc(HttpStat::DownstreamCxDrainClose),
        Waited::OverAge => stats.inc(HttpStat::DownstreamCxMaxDurationReached),
    }
    Next::Close
}

/// Waits for the first bytes of a request.
async fn wait(downstream: &Downstream, timer: &Timer) -> Waited {
    let (world, listener) = (&downstream.world, &downstream.listener);
    if let Some(Received::Data(slice)) = downstream.socket.try_recv() {
        return Waited::Request(slice);
    }
    let since_ms = world.core.now_ms();
    let (idle_ms, duration_max_ms) = match &listener.config().listener.serve {
        Serve::Http(http) => (http.idle_timeout_ms, http.connection_duration_max_ms),
        Serve::Tcp(_) => (0, 0),
    };
    let idle_until = if idle_ms > 0 { since_ms + idle_ms } else { u64::MAX };
    let age_until = if duration_max_ms > 0 { downstream.born_us() / 1_000 + duration_max_ms } else { u64::MAX };
    timer.clear();
    if idle_until.min(age_until) < u64::MAX {
        timer.set(idle_until.min(age_until));
    }
    let mut close_at = u64::MAX;
    poll_fn(|_| {
        match downstream.socket.poll_recv() {
            Poll::Ready(Received::Data(slice)) => return Poll::Ready(Waited::Request(slice)),
            Poll::Ready(Received::End | Received::Failed(_)) => return Poll::Ready(Waited::Gone),
            Poll::Pending => {}
        }
        let now_ms = world.core.now_ms();
        if listener.closing() {
            // A request may be on its way, however long the wait was: closing now would lose it.
            close_at = close_at.min(now_ms + DRAIN_IDLE_MS);
            if now_ms >= close_at || world.cut_off() {
                return Poll::Ready(Waited::Drained);
            }
            timer.set(close_at);
        }
        if now_ms >= idle_until {
            return Poll::Ready(Waited::IdleTimeout);
        }
        if now_ms >= age_until {
            return Poll::Ready(Waited::OverAge);
        }
        Poll::Pending
    })
    .await
}
