//! Endpoints that are silent, slow or endless. Their clients are many and wait; requests to other endpoints don't.

use std::net::SocketAddr;
use std::time::Duration;

use crate::harness::{Driver, Origin, Peer};
use crate::siege::{Attack, Besieged, TIMEOUT};

/// Everything on the attacked listener goes to this endpoint, for as long as the route allows.
fn in_front_of(driver: Driver, endpoint: SocketAddr, cluster: &str) -> Besieged {
    let listener = "http: { routes: [{ match: {}, cluster: hostile, timeout: 1500ms }] }";
    Besieged::new(driver, listener, &format!("{{ name: hostile, {cluster} endpoints: ['{endpoint}'] }}"))
}

fn waiting(counter: &'static str) -> Attack {
    Attack {
        connections: 200,
        first: b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".into(),
        bytes_max: 64 << 10,
        counter,
        gauge: Some("cluster.hostile.upstream_rq_active"),
        ..Attack::default()
    }
}

/// Sends these bytes at once, then this one for ever.
fn trickling(first: &'static str, more: &'static str) -> Origin {
    Origin::new(move |mut peer: Peer| {
        let _ = peer.request().is_ok_and(|_| {
            peer.wire.send(first);
            while peer.wire.send(more) {
                std::thread::sleep(Duration::from_millis(100));
            }
            true
        });
    })
}

fn that_say_nothing(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        let _ = peer.request().is_ok_and(|_| {
            peer.wire.rest();
            true
        });
    });
    in_front_of(driver, origin.address, "").withstands(&waiting("cluster.hostile.upstream_rq_timeout"));
}

fn that_trickle_a_head(driver: Driver) {
    for more in ["x", "x: y\r\n"] {
        let origin = trickling("HTTP/1.1 200 OK\r\n", more);
        in_front_of(driver, origin.address, "").withstands(&waiting("cluster.hostile.upstream_rq_timeout"));
    }
}

fn that_send_interim_heads_for_ever(driver: Driver) {
    let origin = trickling("", "HTTP/1.1 103 Early Hints\r\n\r\n");
    in_front_of(driver, origin.address, "").withstands(&waiting("cluster.hostile.upstream_rq_timeout"));
}

fn that_trickle_a_body(driver: Driver) {
    for (head, more) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", "x"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
        ("HTTP/1.1 200 OK\r\n\r\n", "x"),
    ] {
        let origin = trickling(head, more);
        in_front_of(driver, origin.address, "").withstands(&waiting("cluster.hostile.upstream_rq_timeout"));
    }
}

/// The kernel completes the handshake; nobody ever looks at the connection.
fn that_never_accept(driver: Driver) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("an address");
    let attack = Attack { connections: 100, ..waiting("cluster.hostile.upstream_rq_timeout") };
    in_front_of(driver, address, "").withstands(&attack);
}

/// A request's body that nobody takes: what waits for the endpoint is bounded, and so is how long.
fn that_never_read(driver: Driver) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("an address");
    let http = "http: { timeouts: { stream_idle: 1500ms }, routes: [{ match: {}, cluster: hostile }] }";
    let besieged = Besieged::new(driver, http, &format!("{{ name: hostile, endpoints: ['{address}'] }}"));
    besieged.withstands(&Attack {
        connections: 40,
        first: [&b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n"[..], &vec![b'x'; 4_000_000]]
            .concat(),
        bytes_max: 1 << 20,
        counter: "http.attacked.downstream_rq_idle_timeout",
        gauge: Some("cluster.hostile.upstream_rq_active"),
        ..Attack::default()
    });
}

fn that_answer_with_a_head_without_end(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        let _ = peer.request().is_ok_and(|_| {
            peer.wire.send(format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(100_000)));
            peer.wire.rest();
            true
        });
    });
    let attack = Attack {
        timeout: Duration::ZERO,
        bytes_max: 160 << 10,
        ..waiting("cluster.hostile.upstream_cx_protocol_error")
    };
    in_front_of(driver, origin.address, "").withstands(&attack);
}

/// Through TCP: both sides are silent.
fn that_say_nothing_over_tcp(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        peer.wire.rest();
    });
    let clusters = format!("{{ name: hostile, endpoints: ['{}'] }}", origin.address);
    let besieged = Besieged::new(driver, "tcp: { cluster: hostile, idle_timeout: 1500ms }", &clusters);
    besieged.withstands(&Attack {
        connections: 200,
        first: b"hello".into(),
        timeout: TIMEOUT,
        counter: "tcp.attacked.idle_timeout",
        ..Attack::default()
    });
}

on_both_drivers!(
    that_say_nothing,
    that_trickle_a_head,
    that_send_interim_heads_for_ever,
    that_trickle_a_body,
    that_never_accept,
    that_never_read,
    that_answer_with_a_head_without_end,
    that_say_nothing_over_tcp,
);
