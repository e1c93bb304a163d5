//! Requests and responses of every shape, one after the other on a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Driver, Origin, Proxy, config, eventually, http, ok};

fn keep_alive_carries_many_requests_on_one_connection(driver: Driver) {
    let origin = Origin::answering(|request| ok(request.target()));
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for number in 0..50 {
        let response = client.get(&format!("/{number}"));
        assert_eq!((response.status(), response.text()), (200, format!("/{number}")));
        assert_eq!(response.field("connection"), None);
        assert!(response.field("date").is_some_and(|date| date.ends_with(" GMT")), "a date is added");
    }
    assert_eq!(origin.accepted(), 1, "the upstream connection is used again, too");
}

fn pipelined_requests_are_answered_in_order(driver: Driver) {
    let origin = Origin::answering(|request| {
        // The first is the slowest.
        let number: u64 = request.target()[1..].parse().unwrap_or(0);
        std::thread::sleep(Duration::from_millis(30u64.saturating_sub(number)));
        ok(format!("{}:{}", request.target(), request.text()))
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    let requests: String = (0..30)
        .map(|number| match number % 3 {
            0 => format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"),
            1 => format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"),
            _ => format!("PUT /{number} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n"),
        })
        .collect();
    client.send(requests);
    for number in 0..30 {
        let body = ["", "abc", "xy"][number % 3];
        assert_eq!(client.response().text(), format!("/{number}:{body}"));
    }
}

fn a_request_that_asks_to_close_is_the_last(driver: Driver) {
    let origin = Origin::saying("bye");
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\nGET /more HTTP/1.1\r\nhost: a\r\n\r\n");
    let response = client.response();
    assert_eq!((response.text().as_str(), response.field("connection")), ("bye", Some("close")));
    client.wire.expect_end();
    assert_eq!(origin.requests().len(), 1);
    // The client's wish doesn't concern the upstream connection.
    assert_eq!(origin.request().field("connection"), None);
    proxy.client().get("/");
    assert_eq!(origin.accepted(), 1);
}

fn head_has_the_length_but_no_body(driver: Driver) {
    let origin = Origin::answering(|request| match request.target() {
        "/length" => b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec(),
        "/chunked" => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        "/none" => b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        _ => ok("next"),
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for (path, length) in [("/length", Some("1000")), ("/chunked", None), ("/none", None)] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        let head = client.wire.head().expect("a head");
        assert_eq!((head.status(), head.field("content-length")), (200, length), "{path}");
        assert_eq!(client.get("/next").text(), "next", "after {path}");
    }
}

fn responses_without_a_body_end_with_their_head(driver: Driver) {
    let origin = Origin::answering(|request| match request.target() {
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\ncontent-length: 500\r\n\r\n".to_vec(),
        "/empty" => ok(""),
        _ => ok("next"),
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    assert_eq!(client.get("/204").status(), 204);
    let unchanged = client.get("/304");
    assert_eq!((unchanged.status(), unchanged.field("etag")), (304, Some("\"a\"")));
    assert_eq!(client.get("/empty").field("content-length"), Some("0"));
    assert_eq!(client.get("/next").text(), "next");
    assert_eq!(origin.accepted(), 1);
}

fn a_client_that_waits_for_100_gets_it_from_the_origin(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        let Ok(head) = peer.wire.head() else { return };
        assert_eq!(head.field("expect"), Some("100-continue"));
        peer.wire.send("HTTP/1.1 100 Continue\r\n\r\n");
        let body = peer.wire.exactly(5).unwrap_or_default();
        peer.wire.send(ok(body));
        let _ = peer.wire.head();
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.wire.head().expect("an interim response").status(), 100);
    client.send("hello");
    assert_eq!(client.response().text(), "hello");
}

fn a_refusal_instead_of_100_ends_the_connection(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        if peer.wire.head().is_ok() {
            peer.wire.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nbig");
            peer.wire.rest();
        }
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status(), response.text().as_str()), (413, "big"));
    // Whether the body still comes is the client's choice, so that nothing behind it can be trusted.
    client.wire.expect_end();
    eventually("the upstream connection isn't used again", || origin.open() == 0);
}

fn early_hints_are_passed_on(driver: Driver) {
    let origin = Origin::sending(
        "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </b.css>\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone",
    );
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        for link in ["</a.css>", "</b.css>"] {
            let hint = client.wire.head().expect("a hint");
            assert_eq!((hint.status(), hint.field("link")), (103, Some(link)));
        }
        assert_eq!(client.response().text(), "done");
    }
    // HTTP/1.0 doesn't know them.
    let mut old = proxy.client();
    old.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.response().text(), "done");
}

fn http_10_closes_unless_keep_alive_is_asked_for(driver: Driver) {
    let origin = Origin::saying("old");
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    let response = client.ask("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((response.text().as_str(), response.field("connection")), ("old", Some("close")));
    client.wire.expect_end();
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.ask("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
        assert_eq!((response.text().as_str(), response.field("connection")), ("old", Some("keep-alive")));
    }
    let request = origin.requests().remove(0);
    assert_eq!(request.start, "GET / HTTP/1.1", "every hop speaks its own version");
    assert!(request.field("host").is_some(), "which demands a host");
}

fn an_http_10_origin_is_understood(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        if peer.request().is_ok() {
            peer.wire.send("HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nold");
        }
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for connections in 1..4 {
        let response = client.get("/");
        assert_eq!((response.start.as_str(), response.text().as_str()), ("HTTP/1.1 200 OK", "old"));
        assert_eq!(origin.accepted(), connections);
    }
}

fn http_10_can_be_refused(driver: Driver) {
    let origin = Origin::saying("no");
    let proxy = Proxy::start(driver, &http(&[&origin], "http10: false,", ""));
    let mut client = proxy.client();
    let response = client.ask("GET / HTTP/1.0\r\n\r\n");
    assert!(matches!(response.status(), 426 | 505), "{response:?}");
    client.wire.expect_end();
    assert_eq!(proxy.client().get("/").status(), 200);
}

fn a_response_with_an_unknown_status_and_reason_passes_unchanged(driver: Driver) {
    let origin = Origin::sending("HTTP/1.1 299 Quite \u{e9} fine\r\ncontent-length: 0\r\nx-b: 1\r\nX-A: 2\r\n\r\n");
    let proxy = Proxy::to(driver, &origin);
    let response = proxy.client().get("/");
    assert_eq!(response.start, "HTTP/1.1 299 Quite \u{e9} fine");
    assert_eq!((response.field("x-b"), response.field("X-A")), (Some("1"), Some("2")));
}

fn requests_per_connection_are_bounded_on_both_sides(driver: Driver) {
    let origin = Origin::saying("x");
    let proxy =
        Proxy::start(driver, &http(&[&origin], "requests_per_connection_max: 3,", "requests_per_connection_max: 2,"));
    for _ in 0..2 {
        let mut client = proxy.client();
        assert_eq!(client.get("/").field("connection"), None);
        assert_eq!(client.get("/").field("connection"), None);
        assert_eq!(client.get("/").field("connection"), Some("close"));
        client.wire.expect_end();
    }
    assert_eq!(origin.accepted(), 3);
}

fn methods_and_targets_arrive_as_they_were_sent(driver: Driver) {
    let origin = Origin::saying("x");
    // `{}` matches OPTIONS *, too, whose path isn't below `/`.
    let app = format!("{{ name: app, endpoints: ['{}'] }}", origin.address);
    let proxy = Proxy::start(driver, &config("routes: [{ match: {}, cluster: app }]", &app));
    let mut client = proxy.client();
    for line in ["PURGE /a%20b?x=%2f&y HTTP/1.1", "OPTIONS * HTTP/1.1", "get /lower HTTP/1.1", "GET /?? HTTP/1.1"] {
        assert_eq!(client.ask(&format!("{line}\r\nhost: a\r\n\r\n")).status(), 200, "{line}");
        assert_eq!(origin.requests().pop().expect("a request").start, line);
    }
    client.ask("GET http://a:81/p?q HTTP/1.1\r\nhost: a:81\r\n\r\n");
    let absolute = origin.requests().pop().expect("a request");
    assert_eq!((absolute.start.as_str(), absolute.field("host")), ("GET /p?q HTTP/1.1", Some("a:81")));
}

fn a_client_that_ends_its_direction_still_gets_its_response(driver: Driver) {
    let origin = Origin::answering(|_| {
        std::thread::sleep(Duration::from_millis(50));
        ok("late")
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    client.wire.end();
    assert_eq!(client.response().text(), "late");
    client.wire.expect_end();
}

fn garbage_from_the_origin_is_a_502(driver: Driver) {
    let garbage = [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nserver: x\n\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
    ];
    let turn = Arc::new(AtomicUsize::new(0));
    let origin = Origin::answering({
        let turn = turn.clone();
        move |_| garbage[turn.load(Ordering::SeqCst)].as_bytes().to_vec()
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for (at, text) in garbage.iter().enumerate() {
        turn.store(at, Ordering::SeqCst);
        assert_eq!(client.get("/").status(), 502, "{text:?}");
        assert_eq!(origin.accepted(), at + 1, "such a connection isn't kept");
    }
    assert_eq!(origin.requests().len(), garbage.len(), "nothing is tried twice");
}

fn replies_of_the_proxy_keep_the_connection(driver: Driver) {
    let routes = "routes: [{ match: { exact: /a }, respond: { status: 200, body: hello, content_type: text/x } },
        { match: { exact: /b }, respond: { status: 204 } }, { match: { exact: /c }, respond: { status: 404 } }]";
    let proxy = Proxy::start(driver, &config(routes, ""));
    let mut client = proxy.client();
    for _ in 0..3 {
        let response = client.get("/a");
        assert_eq!((response.text().as_str(), response.field("content-type")), ("hello", Some("text/x")));
        assert!(response.field("date").is_some());
        let bare = client.get("/b");
        assert_eq!((bare.status(), bare.field("content-length")), (204, None));
        assert_eq!(client.get("/c").status(), 404);
        let nowhere = client.get("/nowhere");
        assert_eq!(nowhere.status(), 404);
        assert!(nowhere.text().contains("no route"));
        client.send("HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(client.wire.head().expect("a head").field("content-length"), Some("5"));
    }
    // The body of a request that was answered without it is no request.
    let body = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(client.post("/a", body).text(), "hello");
    assert_eq!(client.get("/a").text(), "hello");
    client.wire.expect_silence(Duration::from_millis(50));
}

on_both_drivers!(
    keep_alive_carries_many_requests_on_one_connection,
    pipelined_requests_are_answered_in_order,
    a_request_that_asks_to_close_is_the_last,
    head_has_the_length_but_no_body,
    responses_without_a_body_end_with_their_head,
    a_client_that_waits_for_100_gets_it_from_the_origin,
    a_refusal_instead_of_100_ends_the_connection,
    early_hints_are_passed_on,
    http_10_closes_unless_keep_alive_is_asked_for,
    an_http_10_origin_is_understood,
    http_10_can_be_refused,
    a_response_with_an_unknown_status_and_reason_passes_unchanged,
    requests_per_connection_are_bounded_on_both_sides,
    methods_and_targets_arrive_as_they_were_sent,
    a_client_that_ends_its_direction_still_gets_its_response,
    garbage_from_the_origin_is_a_502,
    replies_of_the_proxy_keep_the_connection,
);
