//! Clients that are slow, silent or endless.

use std::time::Duration;

use crate::harness::Driver;
use crate::raw::{END_HEADERS, END_STREAM, GET, HEADERS, PREFACE, SETTINGS, block, frame};
use crate::siege::{Attack, Besieged, TIMEOUT};

/// The attacked listener's `http` with these fields, routed to everybody's cluster.
fn http(fields: &str) -> String {
    format!("http: {{ {fields} routes: [{{ match: {{}}, cluster: app }}] }}")
}

/// Files of certificates that the repository has for examples.
fn tls(fields: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tls");
    let folder = folder.display();
    format!("tls: {{ certificates: [{{ chain: {folder}/cert.pem, key: {folder}/key.pem }}], {fields} }}, {}", http(""))
}

fn handshakes_that_trickle(driver: Driver) {
    let besieged = Besieged::new(driver, &tls("handshake_timeout: 1500ms,"), "");
    besieged.withstands(&Attack {
        // A record of 512 bytes that doesn't come whole.
        first: b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".into(),
        trickle: vec![b'x'],
        counter: "listener.ssl.handshake_timeout",
        ..Attack::default()
    });
}

fn handshakes_that_never_begin(driver: Driver) {
    let besieged = Besieged::new(driver, &tls("handshake_timeout: 1500ms,"), "");
    besieged.withstands(&Attack { counter: "listener.ssl.handshake_timeout", ..Attack::default() });
}

fn garbage_for_tls(driver: Driver) {
    let besieged = Besieged::new(driver, &tls(""), "");
    let hello = |rest: &[u8]| [b"\x16\x03\x01\0\x20", rest].concat();
    for first in [
        hello(&[0xff; 32]),
        hello(&[0; 32]),
        b"\x16\x03\x01\xff\xff".to_vec(),
        b"\x17\x03\x03\0\x20xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".to_vec(),
        vec![0xff; 4096],
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
    ] {
        besieged.withstands(&Attack {
            connections: 200,
            first,
            timeout: Duration::ZERO,
            counter: "listener.ssl.connection_error",
            ..Attack::default()
        });
    }
}

fn proxy_headers_that_trickle(driver: Driver) {
    let listener = format!("proxy_protocol: true, first_bytes_timeout: 1500ms, {}", http(""));
    let besieged = Besieged::new(driver, &listener, "");
    for first in [&b"PROXY TCP4 1"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\xd8", b""] {
        let trickle = if first.is_empty() { vec![] } else { vec![b'1'] };
        let first = first.into();
        besieged.withstands(&Attack {
            first,
            trickle,
            counter: "listener.downstream_pre_cx_timeout",
            ..Attack::default()
        });
    }
}

fn heads_that_trickle(driver: Driver) {
    let besieged = Besieged::new(driver, &http("timeouts: { header: 1500ms },"), "");
    for (first, trickle) in [
        (&b"GET / HTTP/1.1\r\nhost: a\r\n"[..], &b"x: y\r\n"[..]),
        (b"GET /", b"x"),
        (b"G", b"E"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx: ", b"y"),
        // What may become HTTP/2's preface is given a second.
        (b"PRI * HTTP/2.0\r", b""),
    ] {
        besieged.withstands(&Attack {
            first: first.into(),
            trickle: trickle.into(),
            timeout: TIMEOUT + Duration::from_secs(1),
            counter: "http.attacked.downstream_rq_header_timeout",
            ..Attack::default()
        });
    }
}

fn heads_that_stop_without_a_timeout_for_heads(driver: Driver) {
    let besieged = Besieged::new(driver, &http("timeouts: { stream_idle: 1500ms },"), "");
    besieged.withstands(&Attack {
        first: b"GET / HTTP/1.1\r\nhost: a\r\n".into(),
        counter: "http.attacked.downstream_rq_idle_timeout",
        ..Attack::default()
    });
}

fn heads_without_end(driver: Driver) {
    let besieged = Besieged::new(driver, &http("limits: { fields_max: 10000 },"), "");
    let line = [b"x: ".as_slice(), &[b'y'; 1000], b"\r\n"].concat();
    for (first, counter) in [
        ([b"GET / HTTP/1.1\r\nhost: a\r\n".as_slice(), &line.repeat(65)].concat(), "head_too_large"),
        ([b"GET / HTTP/1.1\r\nhost: a\r\nx: ".as_slice(), &[b'y'; 65_000]].concat(), "head_too_large"),
        ([b"GET /".as_slice(), &[b'y'; 9_000]].concat(), "line_too_long"),
    ] {
        let counter: &'static str = match counter {
            "head_too_large" => "http.attacked.downstream_rq_head_too_large",
            _ => "http.attacked.downstream_rq_line_too_long",
        };
        let (connections, timeout, bytes_max) = (200, Duration::ZERO, 80 << 10);
        besieged.withstands(&Attack { connections, first, timeout, bytes_max, counter, ..Attack::default() });
    }
    // Just below the limit and no end: that much is held, until the timeout.
    let besieged = Besieged::new(driver, &http("limits: { fields_max: 10000 }, timeouts: { header: 1500ms },"), "");
    besieged.withstands(&Attack {
        first: [b"GET / HTTP/1.1\r\nhost: a\r\n".as_slice(), &line.repeat(58)].concat(),
        bytes_max: 140 << 10,
        counter: "http.attacked.downstream_rq_header_timeout",
        ..Attack::default()
    });
}

fn bodies_that_trickle(driver: Driver) {
    let besieged = Besieged::new(driver, &http("timeouts: { request: 1500ms },"), "");
    for (framing, trickle) in [("content-length: 100000", &b"x"[..]), ("transfer-encoding: chunked", b"1\r\nx\r\n")] {
        besieged.withstands(&Attack {
            first: format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n").into_bytes(),
            trickle: trickle.into(),
            bytes_max: 40 << 10,
            counter: "http.attacked.downstream_rq_timeout",
            ..Attack::default()
        });
    }
}

fn bodies_that_stop(driver: Driver) {
    let besieged = Besieged::new(driver, &http("timeouts: { stream_idle: 1500ms },"), "");
    besieged.withstands(&Attack {
        first: b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nhello".into(),
        bytes_max: 40 << 10,
        counter: "http.attacked.downstream_rq_idle_timeout",
        ..Attack::default()
    });
}

fn connections_without_a_request(driver: Driver) {
    let besieged = Besieged::new(driver, &http("timeouts: { idle: 1500ms },"), "");
    // The second have had an answer: the burst and the connections to the endpoint are in it.
    for (first, bytes_max) in [(&b""[..], 6 << 10), (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", 24 << 10)] {
        besieged.withstands(&Attack {
            connections: 1000,
            first: first.into(),
            bytes_max,
            counter: "http.attacked.downstream_cx_idle_timeout",
            ..Attack::default()
        });
    }
}

/// What a client may cost that doesn't read: 256 KiB that wait for it, as much that is received, and what was on its way.
const UNREAD_BYTES_MAX: u64 = 1 << 20;

fn readers_that_do_not_read(driver: Driver) {
    let besieged = Besieged::new(driver, &http("timeouts: { stream_idle: 1500ms },"), "");
    besieged.withstands(&Attack {
        connections: 100,
        first: b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n".into(),
        reads: false,
        bytes_max: UNREAD_BYTES_MAX,
        counter: "http.attacked.downstream_rq_idle_timeout",
        ..Attack::default()
    });
}

/// More of them than half of all receive buffers have room for, and the timeout is far away.
fn readers_that_would_take_every_buffer(driver: Driver) {
    let besieged = Besieged::new(driver, &http(""), "");
    besieged.sheds(&Attack {
        connections: 650,
        first: b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n".into(),
        reads: false,
        timeout: Duration::from_secs(5),
        counter: "http.attacked.downstream_rq_overload_close",
        ..Attack::default()
    });
}

/// A client that has said the preface and these settings.
fn http2(settings: &[u8], frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, settings), &frames.concat()].concat()
}

fn http2_that_never_ends_a_head(driver: Driver) {
    let besieged = Besieged::new(driver, &http("timeouts: { idle: 1500ms },"), "");
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&GET));
    for (frames, trickle) in [
        // Nothing but settings; a frame without its end, byte by byte; a head without its last frame.
        (vec![], vec![]),
        (vec![head[..12].to_vec()], vec![0]),
        (vec![frame(HEADERS, END_STREAM, 1, &block(&GET))], vec![]),
    ] {
        besieged.withstands(&Attack {
            first: http2(&[], &frames),
            trickle,
            bytes_max: 24 << 10,
            counter: "http.attacked.downstream_cx_idle_timeout",
            ..Attack::default()
        });
    }
}

fn http2_bodies_that_stop(driver: Driver) {
    let besieged = Besieged::new(driver, &http("timeouts: { stream_idle: 1500ms, idle: 500ms },"), "");
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    besieged.withstands(&Attack {
        first: http2(&[], &[frame(HEADERS, END_HEADERS, 1, &block(&fields))]),
        timeout: TIMEOUT * 2,
        bytes_max: 64 << 10,
        counter: "http.attacked.downstream_rq_idle_timeout",
        ..Attack::default()
    });
}

fn http2_windows_that_stay_shut(driver: Driver) {
    let besieged = Besieged::new(driver, &http("timeouts: { stream_idle: 1500ms, idle: 500ms },"), "");
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/large"), (":authority", "a")];
    besieged.withstands(&Attack {
        connections: 100,
        // INITIAL_WINDOW_SIZE = 0.
        first: http2(&[0, 4, 0, 0, 0, 0], &[frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))]),
        timeout: TIMEOUT * 2,
        bytes_max: UNREAD_BYTES_MAX,
        counter: "http.attacked.downstream_rq_idle_timeout",
        ..Attack::default()
    });
}

on_both_drivers!(
    handshakes_that_trickle,
    handshakes_that_never_begin,
    garbage_for_tls,
    proxy_headers_that_trickle,
    heads_that_trickle,
    heads_that_stop_without_a_timeout_for_heads,
    heads_without_end,
    bodies_that_trickle,
    bodies_that_stop,
    connections_without_a_request,
    readers_that_do_not_read,
    readers_that_would_take_every_buffer,
    http2_that_never_ends_a_head,
    http2_bodies_that_stop,
    http2_windows_that_stay_shut,
);
