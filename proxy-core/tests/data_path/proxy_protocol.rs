//! The PROXY protocol, in and out, over HTTP and TCP.

use crate::harness::{Client, Driver, Origin, Proxy, eventually, ok};

const V1: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 5000 80\r\n";
const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// Version 2, PROXY over TCP4, the same addresses as `V1`.
fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend([192, 0, 2, 7, 198, 51, 100, 1, 0x13, 0x88, 0, 80]);
    header
}

fn http(driver: Driver, origin: &Origin, listener: &str, cluster: &str) -> Proxy {
    Proxy::start(
        driver,
        &format!(
            "listeners: [{{ name: web, address: '$web', {listener} http: {{ routes: [{{ match: {{}}, cluster: app }}] }} }}]\n\
             clusters: [{{ name: app, {cluster} endpoints: ['{}'] }}]\n",
            origin.address
        ),
    )
}

fn the_clients_address_comes_from_the_header(driver: Driver) {
    let origin = Origin::saying("ok");
    let proxy = http(driver, &origin, "proxy_protocol: true,", "");
    for (header, address) in [
        (V1.as_bytes().to_vec(), "192.0.2.7"),
        (v2(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 5000 80\r\n".to_vec(), "2001:db8::7"),
        // Health checks of a proxy in front: the connection speaks for itself.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), "127.0.0.1"),
    ] {
        let mut client = proxy.client();
        client.wire.trickle(&header);
        for _ in 0..2 {
            assert_eq!(client.ask(REQUEST).status(), 200);
            let request = origin.requests().pop().expect("a request");
            assert_eq!(request.field("x-forwarded-for"), Some(address), "{:?}", String::from_utf8_lossy(&header));
        }
    }
}

fn a_connection_without_a_valid_header_is_closed(driver: Driver) {
    let origin = Origin::saying("ok");
    let proxy = http(driver, &origin, "proxy_protocol: true, first_bytes_timeout: 300ms,", "");
    for bad in [REQUEST, "PROXY TCP4 nonsense\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n", "PROXY TCP4 1.2", ""] {
        let mut client = proxy.client();
        client.wire.send(bad);
        client.wire.expect_end();
    }
    assert!(origin.requests().is_empty());
    let mut client = proxy.client();
    client.send(format!("{V1}{REQUEST}"));
    assert_eq!(client.response().status(), 200, "others are served");
}

/// What an origin gets on its connection before the request, a line end or the version 2 header.
fn headed(len: usize) -> Origin {
    Origin::new(move |mut peer| {
        let Ok(header) = peer.wire.exactly(len) else { return };
        while let Ok(mut request) = peer.wire.request() {
            request.body.clone_from(&header);
            peer.remember(request);
            peer.wire.send(ok(""));
        }
    })
}

fn endpoints_are_told_of_the_client(driver: Driver) {
    let expected = "PROXY TCP4 192.0.2.7 198.51.100.1 5000 80\r\n";
    let origin = headed(expected.len());
    let proxy = http(driver, &origin, "proxy_protocol: true,", "proxy_protocol: v1,");
    let mut client = proxy.client();
    client.send(V1);
    assert_eq!(client.ask(REQUEST).status(), 200);
    assert_eq!(origin.request().text(), expected);

    let origin = headed(28);
    let proxy = http(driver, &origin, "proxy_protocol: true,", "proxy_protocol: v2,");
    let mut client = proxy.client();
    client.send(v2());
    assert_eq!(client.ask(REQUEST).status(), 200);
    assert_eq!(origin.request().body, v2());
}

fn connections_that_name_a_client_are_not_shared(driver: Driver) {
    let origin = headed(28);
    let proxy = http(driver, &origin, "proxy_protocol: true,", "proxy_protocol: v2,");
    for _ in 0..3 {
        let mut client = proxy.client();
        client.send(v2());
        assert_eq!(client.ask(REQUEST).status(), 200);
    }
    assert_eq!(origin.accepted(), 3);
}

fn tcp_sessions_read_and_write_it_too(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        let Ok(header) = peer.wire.exactly(V1.len()) else { return };
        peer.wire.send(header);
        while let Ok(bytes) = peer.wire.exactly(1) {
            peer.wire.send(bytes);
        }
    });
    let proxy = Proxy::start(
        driver,
        &format!(
            "listeners: [{{ name: raw, address: '$raw', proxy_protocol: true, tcp: {{ cluster: app }} }}]\n\
             clusters: [{{ name: app, proxy_protocol: v1, endpoints: ['{}'] }}]\n",
            origin.address
        ),
    );
    let mut client = Client::connect(proxy.raw);
    client.send([&v2()[..], b"payload"].concat());
    assert_eq!(client.wire.exactly(V1.len()).expect("the header"), V1.as_bytes());
    assert_eq!(client.wire.exactly(7).expect("an echo"), b"payload");
    client.wire.end();
    eventually("the session is over", || origin.open() == 0);
}

on_both_drivers!(
    the_clients_address_comes_from_the_header,
    a_connection_without_a_valid_header_is_closed,
    endpoints_are_told_of_the_client,
    connections_that_name_a_client_are_not_shared,
    tcp_sessions_read_and_write_it_too,
);
