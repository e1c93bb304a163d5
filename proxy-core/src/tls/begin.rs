//! A client's connection from its first bytes to the end of the handshake.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use codecs::Status;
use codecs::tls::sniff::{self, Sniffed};
use codecs::tls::{ServerConfig, TlsError};
use runtime::Received;

use super::DOWNSTREAM;
use crate::listener::{Config, Downstream};
use crate::snapshot;
use crate::stats::{Lane, ListenerStat};
use crate::transport::{Failures, Refused, TlsTransport, Transport};

/// A listener's TLS on one core.
pub(crate) struct CoreTls {
    server: ServerConfig,
    handshake_timeout_ms: u64,
    allow_plain: bool,
    failures: Failures,
}

impl CoreTls {
    pub(crate) fn new(tls: &snapshot::ListenerTls, stats: Lane) -> CoreTls {
        CoreTls {
            server: tls.config.for_core(),
            handshake_timeout_ms: tls.handshake_timeout_ms,
            allow_plain: tls.allow_plain,
            failures: Rc::new(move |error: &TlsError| DOWNSTREAM.failed(&stats, error, false)),
        }
    }
}

/// Shakes hands, if the client wants to. `None` is the end of the connection, which has been counted.
pub(crate) async fn secure(mut downstream: Box<Downstream>, config: &Config, tls: &CoreTls) -> Option<Box<Downstream>> {
    if tls.allow_plain {
        let begins_plain = |bytes: &[u8]| match sniff::may_be_tls(bytes) {
            false => Some(true),
            // The type and the version: no more is needed to tell.
            true => (bytes.len() >= 3).then_some(false),
        };
        if first_bytes(&downstream, config, begins_plain).await? {
            config.stats.inc(ListenerStat::PlainOnTls);
            return Some(downstream);
        }
    }
    let world = downstream.world.clone();
    let deadline_ms = match tls.handshake_timeout_ms {
        0 => u64::MAX,
        timeout_ms => world.core.now_ms() + timeout_ms,
    };
    let Transport::Plain(socket) = downstream.socket else { return None };
    let failures = tls.failures.clone();
    let accepted =
        TlsTransport::accept(&world.core, socket, &tls.server, deadline_ms, || world.cut_off(), failures).await;
    match accepted {
        Ok(transport) => {
            let transport = Transport::Tls(transport);
            if let Some(facts) = transport.tls() {
                DOWNSTREAM.established(&config.stats, facts);
            }
            downstream.socket = transport;
            Some(downstream)
        }
        Err(refused) => {
            DOWNSTREAM.refused(&config.stats, &refused);
            if matches!(refused, Refused::Timeout) {
                config.stats.inc(ListenerStat::DownstreamCxTransportSocketConnectTimeout);
            }
            let (peer, listener) = (downstream.direct_remote, &config.listener.name);
            // One in a while is told to whoever looks at the log; all of them to whoever asks for more.
            match downstream.listener.may_tell_refusal() {
                true => tracing::info!(%peer, listener, "TLS handshake failed: {refused}"),
                false => tracing::debug!(%peer, listener, "TLS handshake failed: {refused}"),
            }
            None
        }
    }
}

/// The server name that the client asks for, of a connection that is passed on as it is. `None` is the end of it.
pub(crate) async fn server_name(downstream: &Downstream, config: &Config) -> Option<Option<Box<str>>> {
    let look = |bytes: &[u8]| match sniff::sniff(bytes) {
        Ok(Status::Partial) => None,
        Ok(Status::Complete(Sniffed::Plain)) => Some(Ok(None)),
        Ok(Status::Complete(Sniffed::Tls(hello))) => Some(Ok(hello.server_name)),
        Err(error) => Some(Err(error)),
    };
    match first_bytes(downstream, config, look).await? {
        Ok(name) => Some(name),
        Err(error) => {
            config.stats.inc(ListenerStat::SniHelloBad);
            tracing::debug!(peer = %downstream.direct_remote, %error, "bad TLS hello");
            None
        }
    }
}

/// Reads until `look` can tell what the connection begins with. The bytes stay, for whoever takes it. `None`: the client
/// left, or took too long.
async fn first_bytes<T>(downstream: &Downstream, config: &Config, look: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
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
