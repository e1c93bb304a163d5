//! HTTP from a client: the life of a connection, request after request.
//!
//! What only a request needs (its future, heads, buffers) is taken from the core's reserve when the first byte arrives
//! and given back at the end: a connection that waits between requests holds a socket, a timer and little else.

mod account;
mod added;
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
mod path;
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

/// How long the preface of HTTP/2 may take, once it has begun to look like one.
const PREFACE_MS: u64 = 1_000;

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
    if may_be_http2 && downstream.socket.tls().is_some_and(|facts| facts.alpn.as_deref() == Some(b"h2")) {
        // Agreed on: the preface is owed.
        let core = downstream.world.core.clone();
        return core.recycled(h2::serve::serve(downstream)).await;
    }
    let timer = downstream.world.core.timer();
    let mut requests = 0;
    let next = loop {
        match wait(&downstream, &timer).await {
            Waited::Request(first) => {
                let core = &downstream.world.core;
                let mut first = first;
                if std::mem::take(&mut may_be_http2) {
                    let Some((bytes, is_http2)) = core.recycled(begins_http2(&downstream, &timer, first)).await else {
                        break Next::Gone;
                    };
                    if is_http2 {
                        downstream.socket.unrecv(bytes);
                        drop(timer);
                        let core = core.clone();
                        return core.recycled(h2::serve::serve(downstream)).await;
                    }
                    first = bytes;
                }
                if requests == 0 {
                    stats.inc(HttpStat::DownstreamCxHttp1Total);
                }
                requests += 1;
                match core.recycled(exchange::run(&downstream, &timer, first, requests)).await {
                    Next::KeepAlive => {}
                    next => break next,
                }
            }
            waited => break count_wait(&downstream, &stats, &waited),
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

/// Reads on until the first bytes show whether they are HTTP/2's preface; `None` when the client has gone. What is
/// undecided for too long goes on as HTTP/1, whose timeouts look after it.
async fn begins_http2(downstream: &Downstream, timer: &Timer, first: Slice) -> Option<(Slice, bool)> {
    if let Status::Complete(is_http2) = is_preface(&first) {
        return Some((first, is_http2));
    }
    // Copied, so that waiting holds no receive buffer.
    let mut bytes = first.to_vec();
    drop(first);
    let (world, config) = (&downstream.world, downstream.listener.config());
    let patience_ms = match &config.listener.serve {
        Serve::Http(http) if http.header_timeout_ms > 0 => http.header_timeout_ms.min(PREFACE_MS),
        _ => PREFACE_MS,
    };
    let until_ms = world.core.now_ms() + patience_ms;
    timer.set(until_ms);
    loop {
        let received = poll_fn(|_| match downstream.socket.poll_recv() {
            Poll::Pending if world.core.now_ms() >= until_ms || world.cut_off() => Poll::Ready(None),
            received => received.map(Some),
        })
        .await;
        match received {
            Some(Received::Data(slice)) => bytes.extend_from_slice(&slice),
            Some(Received::End | Received::Failed(_)) => return None,
            None => return Some((world.core.own(bytes.into_boxed_slice()), false)),
        }
        if let Status::Complete(is_http2) = is_preface(&bytes) {
            return Some((world.core.own(bytes.into_boxed_slice()), is_http2));
        }
    }
}

fn count_wait(downstream: &Downstream, stats: &Lane, waited: &Waited) -> Next {
    match waited {
        Waited::Request(_) | Waited::Gone => return Next::Gone,
        Waited::IdleTimeout => stats.inc(HttpStat::DownstreamCxIdleTimeout),
        Waited::Drained => stats.inc(downstream.listener.closing_stat()),
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
        } else if std::mem::replace(&mut close_at, u64::MAX) < u64::MAX {
            // An overload is over.
            timer.clear();
            if idle_until.min(age_until) < u64::MAX {
                timer.set(idle_until.min(age_until));
            }
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
