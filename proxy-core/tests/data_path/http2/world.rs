//! The proxy between peers of both versions: every client version meets every endpoint version.

use std::sync::Arc;

use super::client::{Answer, Ask, H2, Peer};
use super::origin::{H2Origin, Seen, http1};
use crate::harness::{Driver, Origin, Proxy, config};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    Http1,
    Http2,
}

use Version::{Http1, Http2};

pub(super) struct World {
    pub(super) proxy: Proxy,
    _http1: Origin,
    _http2: H2Origin,
    seen: [Arc<Seen>; 2],
}

/// One of the four.
pub(super) struct Pairing<'w> {
    pub(super) client: Version,
    pub(super) endpoint: Version,
    pub(super) world: &'w World,
    pub(super) seen: &'w Seen,
}

impl World {
    pub(super) fn new(driver: Driver, fields: &str) -> World {
        let seen = [Arc::new(Seen::default()), Arc::new(Seen::default())];
        let one = http1(&seen[0]);
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        let two = H2Origin::new(&seen[1], &builder);
        let proxy = Proxy::start(driver, &two_clusters(&one.address.to_string(), &two.address.to_string(), fields));
        World { proxy, _http1: one, _http2: two, seen }
    }

    pub(super) fn each(&self, mut check: impl FnMut(&Pairing<'_>)) {
        for (client, endpoint) in [(Http1, Http1), (Http1, Http2), (Http2, Http1), (Http2, Http2)] {
            let seen = &*self.seen[usize::from(endpoint == Http2)];
            eprintln!("client {client:?}, endpoint {endpoint:?}");
            check(&Pairing { client, endpoint, world: self, seen });
        }
    }
}

/// Hosts `http1.test` and `http2.test` go to endpoints of that version.
pub(super) fn two_clusters(http1: &str, http2: &str, fields: &str) -> String {
    config(
        &format!(
            "{fields} routes: [{{ match: {{ prefix: /, host: http1.test }}, cluster: one }}, \
             {{ match: {{ prefix: /, host: http2.test }}, cluster: two }}]"
        ),
        &format!("{{ name: one, endpoints: ['{http1}'] }}, {{ name: two, protocol: http2, endpoints: ['{http2}'] }}"),
    )
}

impl Pairing<'_> {
    pub(super) fn host(&self) -> &'static str {
        if self.endpoint == Http1 { "http1.test" } else { "http2.test" }
    }

    pub(super) fn peer(&self) -> Peer {
        match self.client {
            Http1 => Peer::Http1(self.world.proxy.client()),
            Http2 => Peer::Http2(H2::connect(self.world.proxy.web)),
        }
    }

    pub(super) fn ask(&self, method: &str, path: &str) -> Ask {
        let mut ask = Ask::new(method, path);
        ask.host = self.host().into();
        ask
    }

    /// Asks on a connection of its own.
    #[track_caller]
    pub(super) fn answer(&self, ask: &Ask) -> Answer {
        self.peer().ask(ask).unwrap_or_else(|error| panic!("{:?} to {:?}: {error}", self.client, self.endpoint))
    }
}
