//! Bodies in every framing, both ways; bodies that break off.

use std::time::Duration;

use crate::harness::{Broken, Driver, Origin, Proxy, config, eventually, http, noise, ok};

fn chunked_requests_lose_their_extensions_and_keep_their_trailers(driver: Driver) {
    let origin = Origin::saying("ok");
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    let response = client.ask(
        "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: Chunked\r\n\r\n\
         5;name=value;quoted=\"a;\\\"b\"\r\nhello\r\n1 ; x\r\n,\r\n006\r\n world\r\n0;last\r\nx-sum: 12\r\nconnection: x\r\n\r\n",
    );
    assert_eq!(response.text(), "ok");
    let request = origin.request();
    assert_eq!(request.text(), "hello, world");
    assert_eq!(request.all("transfer-encoding"), ["chunked"]);
    assert_eq!(request.trailers, [("x-sum".to_string(), "12".to_string())], "a trailer can't speak for the connection");
}

fn chunked_responses_lose_their_extensions_and_keep_their_trailers(driver: Driver) {
    let origin = Origin::sending(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
         4;ext\r\nwiki\r\n5\r\npedia\r\n0\r\nx-sum: 9\r\nx-more: y\r\n\r\n",
    );
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.text().as_str(), response.field("trailer")), ("wikipedia", Some("x-sum")));
        let trailers = [("x-sum".to_string(), "9".to_string()), ("x-more".to_string(), "y".to_string())];
        assert_eq!(response.trailers, trailers);
        assert_eq!(response.field("content-length"), None);
    }
    assert_eq!(origin.accepted(), 1);
}

fn a_body_until_close_becomes_chunks_for_http_11(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        if peer.request().is_ok() {
            peer.wire.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\none ");
            std::thread::sleep(Duration::from_millis(30));
            peer.wire.send("two");
        }
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.text().as_str(), response.field("transfer-encoding")), ("one two", Some("chunked")));
        assert_eq!(response.field("connection"), None, "the client's connection stays");
    }
    assert_eq!(origin.accepted(), 3);
}

fn bodies_without_a_length_end_with_the_connection_for_http_10(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        while let Ok(request) = peer.request() {
            if request.target() == "/close" {
                peer.wire.send("HTTP/1.1 200 OK\r\n\r\nuntil close");
                return;
            }
            peer.wire.send(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-t: 1\r\n\r\n",
            );
        }
    });
    let proxy = Proxy::to(driver, &origin);
    for (path, body) in [("/close", "until close"), ("/chunked", "abcde")] {
        let mut client = proxy.client();
        let response = client.ask(&format!("GET {path} HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"));
        assert_eq!((response.text().as_str(), response.field("connection")), (body, Some("close")), "{path}");
        assert_eq!((response.field("transfer-encoding"), response.field("content-length")), (None, None));
    }
}

fn large_bodies_arrive_whole_in_both_directions(driver: Driver) {
    let origin = Origin::answering(|request| ok(&request.body));
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    let body = noise(20 << 20);
    let sender = client.wire.stream.try_clone().expect("a second handle");
    let mut sender = crate::harness::Wire::new(sender);
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(sender.send(head));
            assert!(sender.send(&body));
        });
        assert!(client.response().body == body, "20 MiB up and down differ");
    });
    // The same in chunks of odd sizes, on the same connection.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(sender.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"));
            for chunk in body[..4 << 20].chunks(70_001) {
                assert!(sender.send([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()));
            }
            assert!(sender.send("0\r\n\r\n"));
        });
        assert!(client.response().body == body[..4 << 20], "4 MiB in chunks differ");
    });
    assert_eq!(origin.accepted(), 1);
}

fn a_large_chunked_response_arrives_whole(driver: Driver) {
    let body = noise(8 << 20);
    let sent = body.clone();
    let origin = Origin::new(move |mut peer| {
        while peer.request().is_ok() {
            peer.wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            for chunk in sent.chunks(33_333) {
                peer.wire.send([format!("{:X}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
            }
            peer.wire.send("0\r\n\r\n");
        }
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for _ in 0..2 {
        assert!(client.get("/").body == body);
    }
}

fn every_byte_of_an_exchange_may_come_alone(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        while peer.request().is_ok() {
            peer.wire.trickle(
                "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
                 HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-a: b\r\n\r\n3;e\r\nabc\r\n4\r\ndefg\r\n0\r\nt: u\r\n\r\n",
            );
        }
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for _ in 0..2 {
        assert!(client.wire.trickle(
            "POST /slow HTTP/1.1\r\nhost: a\r\nx-c: d\r\ntransfer-encoding: chunked\r\n\r\n2;z\r\nhe\r\n3\r\nllo\r\n0\r\nv: w\r\n\r\n"
        ));
        assert_eq!(client.wire.head().expect("a hint").status(), 103);
        let response = client.response();
        assert_eq!((response.text().as_str(), response.field("x-a")), ("abcdefg", Some("b")));
        assert_eq!(response.trailers, [("t".to_string(), "u".to_string())]);
        let request = origin.requests().pop().expect("a request");
        assert_eq!((request.text().as_str(), request.field("x-c")), ("hello", Some("d")));
        assert_eq!(request.trailers, [("v".to_string(), "w".to_string())]);
    }
}

/// What the client got of a response that the origin broke off, and how the connection ended.
fn broken_off(driver: Driver, response: &'static str, by_reset: bool) -> (Vec<u8>, Broken) {
    let origin = Origin::new(move |mut peer| {
        if peer.request().is_ok() {
            peer.wire.send(response);
            // So that the proxy has passed on what came before.
            std::thread::sleep(Duration::from_millis(60));
            if by_reset {
                peer.wire.reset();
            }
        }
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let result = client.wire.rest();
    assert_eq!(proxy.stat("cluster.app.upstream_rq_body_incomplete"), 1);
    result
}

fn a_response_that_breaks_off_never_looks_complete(driver: Driver) {
    for by_reset in [false, true] {
        let length = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n1234";
        let (bytes, broken) = broken_off(driver, length, by_reset);
        assert!(bytes.ends_with(b"1234") || bytes.is_empty());
        assert_eq!(broken, Broken::Reset, "reset by origin: {by_reset}");
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n1234\r\n";
        let (bytes, broken) = broken_off(driver, chunked, by_reset);
        assert!(!bytes.ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&bytes));
        assert_eq!(broken, Broken::Reset, "reset by origin: {by_reset}");
    }
    // Without framing only a reset tells that it isn't the end.
    let (_, broken) = broken_off(driver, "HTTP/1.1 200 OK\r\n\r\n1234", true);
    assert_eq!(broken, Broken::Reset);
}

fn broken_chunks_from_the_origin_break_the_response_off(driver: Driver) {
    for response in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n1234XX0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n1234\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
    ] {
        let origin = Origin::sending(response);
        let proxy = Proxy::to(driver, &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let (bytes, broken) = client.wire.rest();
        assert_eq!(broken, Broken::Reset, "{response}");
        assert!(!bytes.ends_with(b"0\r\n\r\n"));
        eventually("the upstream connection is dropped", || origin.open() == 0);
    }
}

fn an_answer_in_the_middle_of_an_upload_reaches_the_client(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        if peer.wire.head().is_ok() {
            peer.wire.send("HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 4\r\n\r\nstop");
            // Doesn't read the rest; closing with unread bytes resets the connection.
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let proxy = Proxy::to(driver, &origin);
    for _ in 0..5 {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 50000000\r\n\r\n");
        let mut sender = crate::harness::Wire::new(client.wire.stream.try_clone().expect("a second handle"));
        let upload = std::thread::spawn(move || {
            let piece = vec![b'x'; 100_000];
            // Ends when the proxy closes.
            let _ = (0..500).take_while(|_| sender.send(&piece)).count();
        });
        let response = client.response();
        assert_eq!((response.status(), response.text().as_str()), (413, "stop"));
        assert_ne!(client.wire.rest().1, Broken::TimedOut, "the connection ends");
        upload.join().expect("upload");
    }
    eventually("no upstream connection is left", || origin.open() == 0);
}

fn bytes_behind_a_response_spoil_the_connection_only(driver: Driver) {
    let origin = Origin::sending(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
    );
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for number in 1..=5 {
        assert_eq!(client.get("/").text(), "ok");
        assert_eq!(origin.accepted(), number, "a connection with something unasked for isn't used again");
    }
}

fn a_fixed_length_request_keeps_its_length(driver: Driver) {
    let origin = Origin::answering(|request| ok(&request.body));
    let proxy = Proxy::start(driver, &http(&[&origin], "", ""));
    let mut client = proxy.client();
    for body in ["", "x", "0\r\n\r\n"] {
        assert_eq!(client.post("/", body).text(), body);
        let request = origin.requests().pop().expect("a request");
        assert_eq!(request.field("content-length"), Some(body.len().to_string().as_str()));
        assert_eq!(request.field("transfer-encoding"), None);
    }
}

/// A reply of our own to a request whose body isn't there yet, or only in part.
fn a_reply_says_that_the_connection_ends_unless_the_body_is_there_or_known_to_be_short(driver: Driver) {
    let proxy = Proxy::start(driver, &config("routes: [{ match: { prefix: / }, respond: { status: 200 } }]", ""));
    for (framing, connection) in [
        ("content-length: 65536", None),
        ("content-length: 65537", Some("close")),
        ("transfer-encoding: chunked", Some("close")),
        ("transfer-encoding: chunked\r\n\r\n5\r\nx", Some("close")),
        ("transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0", None),
    ] {
        let response = proxy.client().ask(&format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n"));
        assert_eq!((response.status(), response.field("connection")), (200, connection), "{framing}");
    }
}

on_both_drivers!(
    a_reply_says_that_the_connection_ends_unless_the_body_is_there_or_known_to_be_short,
    chunked_requests_lose_their_extensions_and_keep_their_trailers,
    chunked_responses_lose_their_extensions_and_keep_their_trailers,
    a_body_until_close_becomes_chunks_for_http_11,
    bodies_without_a_length_end_with_the_connection_for_http_10,
    large_bodies_arrive_whole_in_both_directions,
    a_large_chunked_response_arrives_whole,
    every_byte_of_an_exchange_may_come_alone,
    a_response_that_breaks_off_never_looks_complete,
    broken_chunks_from_the_origin_break_the_response_off,
    an_answer_in_the_middle_of_an_upload_reaches_the_client,
    bytes_behind_a_response_spoil_the_connection_only,
    a_fixed_length_request_keeps_its_length,
);
