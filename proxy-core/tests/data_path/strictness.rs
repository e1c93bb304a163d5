//! Messages that some servers read one way and some another: they are refused, the connection ends, and no origin sees
//! anything of them. The codec's own tests know every kind; these see that refusals hold from end to end.

use crate::harness::{Broken, Driver, Origin, Proxy, http};

/// What would be smuggled.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/// Request heads that must be refused, with the status.
const REFUSED: &[(&str, u16)] = &[
    ("GET / HTTP/1.1\nhost: a\n\n", 400),
    ("GET / HTTP/1.1\r\nhost: a\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n host: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: a\r\nx(y): z\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: a:99999\r\n\r\n", 400),
    ("GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("GET  / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1 \r\nhost: a\r\n\r\n", 400),
    ("GET /\r\nhost: a\r\n\r\n", 400),
    ("GET /#x HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("GET a HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("G{T / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
    ("GET / HTTP/1.2\r\nhost: a\r\n\r\n", 505),
    ("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 505),
    ("\x16\x03\x01\x02\0\x01\0\x01", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551616\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: a\r\nconnection: host\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nhost: a\r\nconnection: content-length\r\ncontent-length: 0\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: a\r\nconnection: x-forwarded-for\r\nx-forwarded-for: 1.1.1.1\r\n\r\n", 400),
];

fn ambiguous_heads_are_refused_and_reach_nobody(driver: Driver) {
    let origin = Origin::saying("reached");
    let proxy = Proxy::to(driver, &origin);
    for (head, status) in REFUSED {
        let mut client = proxy.client();
        client.send(format!("{head}{SMUGGLED}"));
        let response = client.response();
        assert_eq!(response.status(), *status, "{head:?}");
        assert_eq!(response.field("connection"), Some("close"), "{head:?}");
        client.wire.expect_end();
    }
    assert_eq!(origin.accepted(), 0);
    let errors = proxy.stat("http.web.downstream_cx_protocol_error");
    assert_eq!(errors, REFUSED.len() as u64);
}

fn the_preface_of_http2_is_refused_where_it_is_off(driver: Driver) {
    let origin = Origin::saying("reached");
    let proxy = Proxy::start(driver, &http(&[&origin], "http2: { enabled: false },", ""));
    let mut client = proxy.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.response().status(), 505);
    client.wire.expect_end();
    assert_eq!(origin.accepted(), 0);
}

fn a_refused_head_may_come_in_pieces_after_a_good_request(driver: Driver) {
    let origin = Origin::saying("good");
    let proxy = Proxy::to(driver, &origin);
    for (head, status) in REFUSED.iter().step_by(4) {
        let mut client = proxy.client();
        assert_eq!(client.get("/").text(), "good");
        // It may be answered before all of it was sent.
        let _ = head.as_bytes().chunks(3).all(|piece| client.wire.send(piece));
        let _ = client.wire.send(SMUGGLED);
        assert_eq!(client.response().status(), *status, "{head:?}");
        client.wire.expect_end();
    }
    assert!(origin.requests().iter().all(|request| request.target() == "/"));
}

fn broken_chunks_end_the_request_and_both_connections(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        // A request that came whole would be remembered.
        let _ = peer.request();
    });
    let proxy = Proxy::to(driver, &origin);
    let bodies = [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
        "5\r\nhello\r\n0\r\nx: y\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "g\r\n\r\n",
        "\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
    ];
    for body in bodies {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}{SMUGGLED}"));
        assert_eq!(client.response().status(), 400, "{body:?}");
        client.wire.expect_end();
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
    crate::harness::eventually("every upstream connection is dropped", || origin.open() == 0);
}

fn what_is_over_a_limit_is_refused_and_what_is_at_it_is_not(driver: Driver) {
    let origin = Origin::saying("ok");
    let limits = "limits: { head_bytes_max: 2KiB, fields_max: 10, request_line_bytes_max: 100, \
                  chunk_line_bytes_max: 20, trailer_bytes_max: 64 },";
    let proxy = Proxy::start(driver, &http(&[&origin], limits, ""));
    let status = |request: String| {
        let mut client = proxy.client();
        client.send(request);
        let response = client.response();
        if response.status() != 200 {
            client.wire.expect_end();
        }
        response.status()
    };
    // "GET " + path + " HTTP/1.1"
    let line = |bytes: usize| format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(bytes - 14));
    assert_eq!((status(line(100)), status(line(101))), (200, 414));
    assert_eq!(status(format!("GET /{}", "x".repeat(5000))), 414, "even without its end");
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(count - 1));
    assert_eq!((status(fields(10)), status(fields(11))), (200, 431));
    let empty = "GET / HTTP/1.1\r\nhost: a\r\nx: \r\n\r\n".len();
    let head = |bytes: usize| format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(bytes - empty));
    assert_eq!((status(head(2048)), status(head(2049))), (200, 431));
    assert_eq!(status(format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(4000))), 431, "even without its end");
    let chunk = |line: usize, trailers: usize| {
        let (extension, trailer) = ("e".repeat(line - 2), "t".repeat(trailers - 7));
        format!(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1;{extension}\r\nx\r\n0\r\nt: {trailer}\r\n\r\n"
        )
    };
    assert_eq!((status(chunk(20, 64)), status(chunk(21, 64)), status(chunk(20, 65))), (200, 400, 431));
    for (stat, count) in [("too_large", 0), ("head_too_large", 2), ("too_many_fields", 1), ("line_too_long", 2)] {
        if count > 0 {
            assert_eq!(proxy.stat(&format!("http.web.downstream_rq_{stat}")), count, "{stat}");
        }
    }
}

fn the_default_limits_are_those_of_the_documentation(driver: Driver) {
    let origin = Origin::saying("ok");
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    assert_eq!(client.get(&format!("/{}", "x".repeat(8000))).status(), 200);
    assert_eq!(client.ask(&format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(99))).status(), 200);
    let field = format!("x: {}\r\n", "y".repeat(19_000));
    assert_eq!(client.ask(&format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", field.repeat(3))).status(), 200);
    assert_eq!(proxy.client().get(&format!("/{}", "x".repeat(8200))).status(), 414);
    let mut many = proxy.client();
    assert_eq!(many.ask(&format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(100))).status(), 431);
    let mut large = proxy.client();
    let _ = large.wire.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", field.repeat(4)));
    assert_eq!(large.response().status(), 431);
}

fn responses_over_a_limit_are_a_502(driver: Driver) {
    let origin = Origin::answering(|request| {
        let head = match request.target() {
            "/head" => format!("x: {}\r\n", "y".repeat(2000)),
            "/fields" => "x: y\r\n".repeat(10),
            _ => String::new(),
        };
        format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{head}\r\n").into_bytes()
    });
    let proxy = Proxy::start(driver, &http(&[&origin], "", "limits: { head_bytes_max: 1KiB, fields_max: 10 },"));
    let mut client = proxy.client();
    assert_eq!(client.get("/head").status(), 502);
    assert_eq!(client.get("/fields").status(), 502);
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_protocol_error"), 2);
}

fn two_requests_in_one_body_stay_one(driver: Driver) {
    // The lengths are right: whatever looks like a request in a body is body.
    let origin = Origin::saying("ok");
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    assert_eq!(client.post("/a", SMUGGLED).status(), 200);
    let chunk = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    assert_eq!(
        client.ask(&format!("POST /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunk}")).status(),
        200
    );
    client.wire.end();
    assert_eq!(client.wire.rest(), (Vec::new(), Broken::Closed));
    let targets: Vec<String> = origin.requests().iter().map(|request| request.target().to_string()).collect();
    assert_eq!(targets, ["/a", "/b"]);
}

on_both_drivers!(
    ambiguous_heads_are_refused_and_reach_nobody,
    the_preface_of_http2_is_refused_where_it_is_off,
    a_refused_head_may_come_in_pieces_after_a_good_request,
    broken_chunks_end_the_request_and_both_connections,
    what_is_over_a_limit_is_refused_and_what_is_at_it_is_not,
    the_default_limits_are_those_of_the_documentation,
    responses_over_a_limit_are_a_502,
    two_requests_in_one_body_stay_one,
);
