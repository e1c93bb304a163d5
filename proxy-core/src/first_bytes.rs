//! The first bytes of a client's connection, before it is known what it speaks: bounded in time, and left where they are
//! for whoever takes it on.

use std::future::poll_fn;
use std::task::Poll;

use codecs::Status;
use codecs::proxy_protocol::{self, Limits};
use runtime::Received;

use crate::listener::{Config, Downstream};
use crate::stats::ListenerStat;

/// Takes the PROXY protocol header off the front, and the client's address from it; false closes the connection.
pub(crate) async fn read_proxy_header(downstream: &mut Downstream, config: &Config) -> bool {
    let look = |bytes: &[u8]| match proxy_protocol::parse(bytes, &Limits::default()) {
        Ok(Status::Partial) => None,
        Ok(Status::Complete(parsed)) => Some(Ok(parsed)),
        Err(error) => Some(Err(error)),
    };
    match first_bytes(downstream, config, look).await {
        None => false,
        Some(Ok((header, len))) => {
            downstream.remote = header.source().unwrap_or(downstream.direct_remote);
            downstream.local = header.destination().unwrap_or(downstream.local);
            // All that came is one slice at the front of the queue.
            if let Some(Received::Data(mut slice)) = downstream.socket.try_recv() {
                slice.advance(len);
                downstream.socket.unrecv(slice);
            }
            true
        }
        Some(Err(error)) => {
            config.stats.inc(ListenerStat::DownstreamCxProxyProtocolError);
            tracing::debug!(peer = %downstream.direct_remote, %error, "bad PROXY protocol header");
            false
        }
    }
}

/// Reads until `look` can tell what the connection begins with. The bytes stay, for whoever takes it. `None`: the client
/// left, or took too long.
pub(crate) async fn first_bytes<T>(
    downstream: &Downstream,
    config: &Config,
    look: impl Fn(&[u8]) -> Option<T>,
) -> Option<T> {
    let core = &downstream.world.core;
    config.stats.gauge_inc(ListenerStat::DownstreamPreCxActive);
    let timer = core.timer();
    let timeout_ms = config.listener.first_bytes_timeout_ms;
    if timeout_ms > 0 {
        timer.set(core.now_ms() + timeout_ms);
    }
    let mut bytes = Vec::new();
    let seen = loop {
        let received = poll_fn(|_| match downstream.socket.poll_recv() {
            Poll::Pending if timer.expired() || downstream.world.cut_off() => Poll::Ready(None),
            received => received.map(Some),
        })
        .await;
        match received {
            Some(Received::Data(slice)) => bytes.extend_from_slice(&slice),
            Some(Received::End | Received::Failed(_)) => break None,
            None => {
                config.stats.inc(ListenerStat::DownstreamPreCxTimeout);
                break None;
            }
        }
        if let Some(seen) = look(&bytes) {
            break Some(seen);
        }
    };
    config.stats.gauge_dec(ListenerStat::DownstreamPreCxActive);
    downstream.socket.unrecv(core.own(bytes.into_boxed_slice()));
    seen
}
