//! A connection to an endpoint, from its first byte to the end of the handshake.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use codecs::tls::{ClientConfig, TlsError};
use runtime::{Core, Socket};

use super::UPSTREAM;
use crate::snapshot::{self, ClusterTls};
use crate::stats::Lane;
use crate::transport::{Failures, Refused, TlsTransport, Transport};

/// Of handshakes that fail one is told in this time; all are counted.
const REFUSAL_LOG_MS: u64 = 10_000;

/// A cluster's TLS on one core, if it has any.
pub(crate) struct UpstreamTls {
    used: RefCell<Option<Rc<Used>>>,
    failures: Failures,
    stats: Lane,
    told_ms: Cell<Option<u64>>,
}

struct Used {
    of: Arc<ClusterTls>,
    /// This core's copy, with the sessions to resume.
    client: ClientConfig,
}

impl UpstreamTls {
    pub(crate) fn new(config: &snapshot::Cluster, stats: &Lane) -> UpstreamTls {
        let counted = stats.clone();
        let tls = UpstreamTls {
            used: RefCell::default(),
            failures: Rc::new(move |error: &TlsError| UPSTREAM.failed(&counted, error, false)),
            stats: stats.clone(),
            told_ms: Cell::new(None),
        };
        tls.take(config);
        tls
    }

    /// Takes over a new definition; whether it differs: then connections that were made by the old one are of no use.
    pub(crate) fn take(&self, config: &snapshot::Cluster) -> bool {
        let mut used = self.used.borrow_mut();
        let same = match (used.as_ref(), &config.tls) {
            (Some(used), Some(new)) => Arc::ptr_eq(&used.of, new),
            (None, None) => true,
            _ => false,
        };
        if !same {
            let make = |tls: &Arc<ClusterTls>| Rc::new(Used { of: tls.clone(), client: tls.config.for_core() });
            *used = config.tls.as_ref().map(make);
        }
        !same
    }

    /// Shakes hands where the cluster wants it. `name` is the server's, if the config doesn't say it.
    pub(crate) async fn secure(
        &self,
        core: &Core,
        socket: Socket,
        name: &str,
        address: SocketAddr,
        deadline_ms: u64,
    ) -> Result<Transport, Refused> {
        let Some(used) = self.used.borrow().clone() else { return Ok(Transport::Plain(socket)) };
        let name = (!used.of.named).then_some(name);
        let failures = self.failures.clone();
        match TlsTransport::connect(core, socket, &used.client, name, deadline_ms, failures).await {
            Ok(transport) => {
                let transport = Transport::Tls(transport);
                if let Some(facts) = transport.tls() {
                    UPSTREAM.established(&self.stats, facts);
                }
                Ok(transport)
            }
            Err(refused) => {
                UPSTREAM.refused(&self.stats, &refused);
                self.tell(core, address, &refused);
                Err(refused)
            }
        }
    }

    /// One in a while is told to whoever looks at the log; all of them to whoever asks for more.
    fn tell(&self, core: &Core, endpoint: SocketAddr, refused: &Refused) {
        let now_ms = core.now_ms();
        if self.told_ms.get().is_none_or(|told_ms| now_ms >= told_ms + REFUSAL_LOG_MS) {
            self.told_ms.set(Some(now_ms));
            tracing::warn!(%endpoint, "TLS handshake failed: {refused}");
        } else {
            tracing::debug!(%endpoint, "TLS handshake failed: {refused}");
        }
    }
}

/// The host of "host:port" or "[address]:port".
pub(crate) fn host(name: &str) -> &str {
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_to_verify_is_the_endpoint_without_its_port() {
        assert_eq!(host("app.internal:8443"), "app.internal");
        assert_eq!(host("10.0.0.1:8443"), "10.0.0.1");
        assert_eq!(host("[2001:db8::7]:8443"), "2001:db8::7");
    }
}
