//! What is sent before an upgrade was accepted (WebSocket smuggling): it is the tunnel's when the endpoint switches, and
//! nobody's request.

use crate::harness::{Client, Driver, Proxy, config};
use crate::run::SMUGGLED;
use crate::upstreams::Upstream;

const UPGRADE: &str = "GET /upgrade HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn early(driver: Driver, upstream: &Upstream) {
    let app = format!("{{ name: app, endpoints: ['{}'] }}", upstream.address);
    let proxy = Proxy::start(driver, &config("routes: [{ match: { prefix: / }, cluster: app }]", &app));
    for round in 1..=3 {
        let mut client = proxy.client();
        client.send([UPGRADE, SMUGGLED, SMUGGLED].concat());
        assert_eq!(client.wire.head().expect("a head").status(), 101);
        assert_eq!(client.wire.exactly(2 * SMUGGLED.len()).expect("an echo"), [SMUGGLED, SMUGGLED].concat().as_bytes());
        client.send("hello");
        assert_eq!(client.wire.exactly(5).expect("an echo"), b"hello");
        drop(client);
        let probe = |client: &mut Client| assert_eq!(client.get("/probe").text(), "GET /probe with 0 bytes");
        probe(&mut proxy.client());
        let targets: Vec<String> =
            upstream.recorder.requests().iter().map(|request| request.target().to_string()).collect();
        assert_eq!(targets, ["/upgrade", "/probe"].repeat(round));
    }
}

fn early_bytes_are_the_tunnel_s(driver: Driver) {
    early(driver, &Upstream::none());
}

fn early_bytes_are_the_tunnel_s_behind_nginx(driver: Driver) {
    early(driver, &Upstream::nginx());
}

fn early_bytes_are_the_tunnel_s_behind_haproxy(driver: Driver) {
    early(driver, &Upstream::haproxy());
}

fn early_bytes_are_the_tunnel_s_behind_envoy(driver: Driver) {
    early(driver, &Upstream::envoy());
}

on_both_drivers!(
    early_bytes_are_the_tunnel_s,
    early_bytes_are_the_tunnel_s_behind_nginx,
    early_bytes_are_the_tunnel_s_behind_haproxy,
    early_bytes_are_the_tunnel_s_behind_envoy,
);
