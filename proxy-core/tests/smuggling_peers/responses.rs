//! What endpoints send that two readers would end at different places. Nothing behind the first reading's end may reach
//! a client as an answer to its next request, or another's.

use crate::harness::{Broken, Driver, Message, Origin, Proxy, eventually, http, ok};

/// What an endpoint answers, and what the client gets.
struct Row {
    class: &'static str,
    method: &'static str,
    sent: &'static str,
    /// Status and body.
    got: Option<(u16, &'static str)>,
}

const EVIL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";

const fn row(class: &'static str, method: &'static str, sent: &'static str, status: u16, body: &'static str) -> Row {
    Row { class, method, sent, got: Some((status, body)) }
}

/// The head has been passed on when it shows that the body is broken: the client's connection is reset, which can't
/// look like the end of the response.
const fn broken(class: &'static str, sent: &'static str) -> Row {
    Row { class, method: "GET", sent, got: None }
}

/// Behind each, [`EVIL`] is sent as well.
const ROWS: &[Row] = &[
    row("bytes behind a response", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, "ok"),
    row(
        "bytes behind a response",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        200,
        "ok",
    ),
    row("bytes behind a response", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, ""),
    row(
        "CL and TE",
        "GET",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        502,
        "",
    ),
    row("TE and CL", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n", 502, ""),
    row("TE.TE", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 502, ""),
    row("TE.TE", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", 502, ""),
    row("TE.TE", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", 502, ""),
    row("TE.TE", "GET", "HTTP/1.1 200 OK\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 502, ""),
    row("TE in HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 502, ""),
    row("CL.CL", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 0\r\n\r\nok", 502, ""),
    row("CL.CL", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", 502, ""),
    row("CL", "GET", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok", 502, ""),
    row("CL", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\nok", 502, ""),
    row("CL", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551618\r\n\r\nok", 502, ""),
    row("response splitting", "GET", "HTTP/1.1 200 OK\nx: y\r\ncontent-length: 0\r\n\r\n", 502, ""),
    row("response splitting", "GET", "HTTP/1.1 200 OK\r\nx: y\nset-cookie: a\r\ncontent-length: 0\r\n\r\n", 502, ""),
    row("response splitting", "GET", "HTTP/1.1 200 OK\r\nx: y\rset-cookie: a\r\ncontent-length: 0\r\n\r\n", 502, ""),
    row("response splitting", "GET", "HTTP/1.1 200 OK\r\nx: y\0\r\ncontent-length: 0\r\n\r\n", 502, ""),
    row("response splitting", "GET", "HTTP/1.1 200 O\rK\r\ncontent-length: 0\r\n\r\n", 502, ""),
    row("HEAD with a body", "HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", 200, ""),
    row(
        "HEAD with a body",
        "HEAD",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
        200,
        "",
    ),
    row("204 with a body", "GET", "HTTP/1.1 204 No Content\r\n\r\nevil", 204, ""),
    row("204 with a length", "GET", "HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nevil", 204, ""),
    row("304 with a body", "GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil", 304, ""),
    row("1xx with a length", "GET", "HTTP/1.1 100 Continue\r\ncontent-length: 4\r\n\r\nevil", 502, ""),
    row("1xx with chunks", "GET", "HTTP/1.1 103 Early Hints\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 502, ""),
    row(
        "101 that nobody asked for",
        "GET",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        502,
        "",
    ),
    row("a 100 with a body", "GET", "HTTP/1.1 100 Continue\r\n\r\nevil", 502, ""),
    row("not HTTP", "GET", "ok\r\n\r\n", 502, ""),
    row("a version of later", "GET", "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n", 502, ""),
    row("an empty line before the response", "GET", "\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, ""),
    broken("chunk size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n"),
    broken("chunk size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n"),
    broken("chunk size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10000000000000002\r\nok\r\n0\r\n\r\n"),
    broken("chunk line end", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n"),
    broken("chunk extension", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x\ny\r\nok\r\n0\r\n\r\n"),
    broken("chunk end", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokX\r\n0\r\n\r\n"),
    broken(
        "trailers",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ncontent-length: 4\r\n\r\n",
    ),
];

/// The `at`th request of its kind, told by the row's number in the path.
fn origin() -> Origin {
    Origin::answering(|request: &Message| {
        match request.target().strip_prefix("/row/").and_then(|at| at.parse::<usize>().ok()) {
            Some(at) => {
                let row: &Row = &ROWS[at];
                [row.sent, EVIL].concat().into_bytes()
            }
            None => ok(request.target()),
        }
    })
}

fn nothing_behind_a_response_becomes_another_s(driver: Driver) {
    let origin = origin();
    let proxy = Proxy::start(driver, &http(&[&origin], "", ""));
    for (at, row) in ROWS.iter().enumerate() {
        let what = format!("{}: {:?}", row.class, row.sent);
        let mut client = proxy.client();
        client.send(format!("{} /row/{at} HTTP/1.1\r\nhost: a\r\n\r\n", row.method));
        let is_open = match row.got {
            Some((status, body)) => {
                let mut next = || if row.method == "HEAD" { client.wire.head() } else { client.wire.response() };
                let mut response = next();
                while response.as_ref().is_ok_and(|response| response.status() < 200) {
                    response = next();
                }
                let response = response.unwrap_or_else(|broken| panic!("{what}: {broken:?}"));
                let text = response.text();
                assert_eq!(response.status(), status, "{what}: {text:?}");
                assert!(text == body || status == 502 && !text.contains("evil"), "{what}: {text:?}");
                assert!(response.all("set-cookie").is_empty(), "{what}");
                response.field("connection") != Some("close")
            }
            None => {
                let got = client.wire.response();
                assert!(matches!(&got, Err(Broken::Reset | Broken::Closed)), "{what}: {got:?}");
                let rest = client.wire.taken();
                assert!(!String::from_utf8_lossy(&rest).contains("evil"), "{what}: {rest:?}");
                false
            }
        };
        // The same connection, and those of three others.
        if is_open {
            assert_eq!(client.get(&format!("/same/{at}")).text(), format!("/same/{at}"), "{what}");
        }
        for other in 0..3 {
            let target = format!("/other/{at}/{other}");
            assert_eq!(proxy.client().get(&target).text(), target, "{what}");
        }
    }
    // A response that lasts until its connection ends has no end that bytes could be behind.
    let endless = Origin::new(|mut peer| {
        let _ = peer.request().is_ok_and(|_| peer.wire.send(format!("HTTP/1.1 200 OK\r\n\r\n{EVIL}")));
    });
    let proxy = Proxy::start(driver, &http(&[&endless], "", ""));
    for _ in 0..2 {
        assert_eq!(proxy.client().get("/").text(), EVIL);
    }
    assert_eq!(endless.accepted(), 2);
}

/// Bytes that an endpoint sends while nobody waits for it would answer whoever comes next.
fn what_an_idle_endpoint_says_answers_nobody(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        while let Ok(request) = peer.request() {
            peer.wire.send(ok(request.target()));
            if request.target() == "/then-speaks" {
                peer.wire.send(EVIL);
            }
        }
    });
    let proxy = Proxy::start(driver, &http(&[&origin], "", ""));
    for at in 0..20 {
        assert_eq!(proxy.client().get("/then-speaks").text(), "/then-speaks");
        eventually("the connection is given up", || proxy.stat("cluster.app.upstream_cx_active") == 0);
        let target = format!("/{at}");
        assert_eq!(proxy.client().get(&target).text(), target);
    }
    assert_eq!(proxy.stat("http.web.downstream_rq_2xx"), 40);
}

on_both_drivers!(nothing_behind_a_response_becomes_another_s, what_an_idle_endpoint_says_answers_nobody);
