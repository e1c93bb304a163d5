//! A client's connection from its first bytes to the end of the handshake.

use std::rc::Rc;

use codecs::Status;
use codecs::tls::sniff::{self, Sniffed};
use codecs::tls::{ServerConfig, TlsError};

use super::DOWNSTREAM;
use crate::first_bytes::first_bytes;
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
