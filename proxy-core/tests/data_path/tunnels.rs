//! Connections that stop being HTTP: upgrades and CONNECT.

use std::time::Duration;

use crate::harness::{Broken, Client, Driver, Origin, Proxy, config, eventually, http, noise};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-key: k\r\n\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: a\r\n\r\n";

/// Accepts the upgrade and sends back whatever comes, until the client ends; then says "bye".
fn echoing() -> Origin {
    Origin::new(|mut peer| {
        let Ok(request) = peer.request() else { return };
        assert!(request.field("connection").is_some_and(|options| options.eq_ignore_ascii_case("upgrade")));
        peer.wire.send(format!("{SWITCHED}first"));
        while let Ok(bytes) = peer.wire.exactly(1) {
            peer.wire.send(bytes);
        }
        peer.wire.send("bye");
    })
}

#[track_caller]
fn upgraded(client: &mut Client) {
    let head = client.wire.head().expect("a response");
    assert_eq!((head.status(), head.field("sec-websocket-accept")), (101, Some("a")));
    assert!(head.field("upgrade").is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket")));
    assert!(head.field("connection").is_some_and(|options| options.eq_ignore_ascii_case("upgrade")));
}

fn an_upgrade_passes_bytes_both_ways(driver: Driver) {
    let origin = echoing();
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    client.send(UPGRADE);
    upgraded(&mut client);
    assert_eq!(client.wire.exactly(5).expect("bytes with the head"), b"first");
    let raw = "\0\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    client.send(raw);
    assert_eq!(client.wire.exactly(raw.len()).expect("an echo"), raw.as_bytes());
    assert_eq!(origin.request().field("upgrade").map(str::to_lowercase), Some("websocket".into()));
    client.wire.end();
    let (rest, broken) = client.wire.rest();
    assert_eq!((rest.as_slice(), broken), (&b"bye"[..], Broken::Closed), "the other direction lives on");
}

fn bytes_sent_before_the_101_reach_the_origin_after_it(driver: Driver) {
    let origin = echoing();
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    client.send(format!("{UPGRADE}early"));
    upgraded(&mut client);
    assert_eq!(client.wire.exactly(10).expect("an echo"), b"firstearly");
}

fn a_protocol_that_is_not_allowed_is_refused(driver: Driver) {
    let origin = Origin::saying("plain");
    let proxy = Proxy::to(driver, &origin);
    let request = UPGRADE.replace("WebSocket", "spdy/3");
    let mut client = proxy.client();
    assert_eq!(client.ask(&request).status(), 403);
    assert_eq!(client.get("/").text(), "plain", "the connection goes on");
    assert_eq!(origin.requests().len(), 1);
    // An offer of HTTP/2 may be ignored.
    let offer =
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n\r\n";
    assert_eq!(client.ask(offer).text(), "plain");
    let request = origin.requests().pop().expect("a request");
    assert_eq!((request.field("upgrade"), request.field("http2-settings")), (None, None));
    let proxy = Proxy::start(driver, &http(&[&origin], "upgrades: [],", ""));
    assert_eq!(proxy.client().ask(UPGRADE).status(), 403);
}

fn an_origin_that_does_not_upgrade_just_answers(driver: Driver) {
    let origin = Origin::saying("no thanks");
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.ask(UPGRADE);
        assert_eq!((response.status(), response.text().as_str()), (200, "no thanks"));
    }
    assert_eq!(origin.accepted(), 1);
}

fn much_passes_through_a_tunnel_unharmed(driver: Driver) {
    let body = noise(8 << 20);
    let sent = body.clone();
    let origin = Origin::new(move |mut peer| {
        if peer.request().is_ok() {
            peer.wire.send(SWITCHED);
            let Ok(bytes) = peer.wire.exactly(sent.len()) else { return };
            peer.wire.send(if bytes == sent { bytes } else { b"differs".to_vec() });
        }
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    client.send(UPGRADE);
    upgraded(&mut client);
    client.send(&body);
    let (bytes, broken) = client.wire.rest();
    assert!(bytes == body && broken == Broken::Closed);
}

fn a_tunnel_ends_on_both_sides(driver: Driver) {
    let origin = echoing();
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    client.send(UPGRADE);
    upgraded(&mut client);
    client.wire.reset();
    eventually("the origin sees the client go", || origin.open() == 0);
    // The other way round: the origin's reset must not look like an end.
    let origin = Origin::new(|mut peer| {
        if peer.request().is_ok() {
            peer.wire.send(SWITCHED);
            std::thread::sleep(Duration::from_millis(50));
            peer.wire.reset();
        }
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    client.send(UPGRADE);
    upgraded(&mut client);
    assert_eq!(client.wire.rest().1, Broken::Reset);
    eventually("nothing is active", || proxy.stat("http.web.downstream_cx_upgrades_active") == 0);
}

fn an_idle_tunnel_is_closed_and_a_busy_one_is_not(driver: Driver) {
    let origin = echoing();
    let proxy = Proxy::start(driver, &http(&[&origin], "timeouts: { idle: 300ms },", ""));
    let mut client = proxy.client();
    client.send(UPGRADE);
    upgraded(&mut client);
    client.wire.exactly(5).expect("bytes");
    for _ in 0..8 {
        client.send("x");
        assert_eq!(client.wire.exactly(1).expect("an echo"), b"x");
        std::thread::sleep(Duration::from_millis(70));
    }
    client.wire.rest();
    eventually("the origin's side is closed, too", || origin.open() == 0);
}

fn connect_is_refused_unless_configured(driver: Driver) {
    let origin = Origin::saying("x");
    let proxy = Proxy::to(driver, &origin);
    let response = proxy.client().ask("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n");
    assert_eq!(response.status(), 405);
    assert!(response.field("allow").is_some());
    assert_eq!(origin.accepted(), 0);
}

fn connect_makes_a_tunnel_where_configured(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        peer.wire.send("banner");
        while let Ok(bytes) = peer.wire.exactly(1) {
            peer.wire.send(bytes);
        }
        peer.wire.send("end");
    });
    let app = format!("{{ name: app, endpoints: ['{}'] }}", origin.address);
    let routes = "connect: true, routes: [{ match: { host: db.test, methods: CONNECT }, cluster: app }]";
    let proxy = Proxy::start(driver, &config(routes, &app));
    assert_eq!(proxy.client().ask("CONNECT other:1 HTTP/1.1\r\nhost: other:1\r\n\r\n").status(), 404);
    let mut client = proxy.client();
    client.send("CONNECT db.test:5432 HTTP/1.1\r\nhost: db.test:5432\r\n\r\nearly");
    let head = client.wire.head().expect("a response");
    assert_eq!((head.status(), head.field("content-length"), head.field("transfer-encoding")), (200, None, None));
    assert_eq!(client.wire.exactly(11).expect("bytes"), b"bannerearly");
    client.wire.end();
    assert_eq!(client.wire.rest(), (b"end".to_vec(), Broken::Closed));
}

fn connect_to_nobody_is_a_503(driver: Driver) {
    let routes = "connect: true, routes: [{ match: {}, cluster: app }]";
    let proxy = Proxy::start(driver, &config(routes, "{ name: app, endpoints: ['127.0.0.1:1'] }"));
    assert_eq!(proxy.client().ask("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n").status(), 503);
}

on_both_drivers!(
    an_upgrade_passes_bytes_both_ways,
    bytes_sent_before_the_101_reach_the_origin_after_it,
    a_protocol_that_is_not_allowed_is_refused,
    an_origin_that_does_not_upgrade_just_answers,
    much_passes_through_a_tunnel_unharmed,
    a_tunnel_ends_on_both_sides,
    an_idle_tunnel_is_closed_and_a_busy_one_is_not,
    connect_is_refused_unless_configured,
    connect_makes_a_tunnel_where_configured,
    connect_to_nobody_is_a_503,
);
