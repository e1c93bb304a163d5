//! What has to hold whatever version the client and the endpoint speak.

use super::client::{Peer, all};
use super::origin::LARGE_VALUE_BYTES;
use super::world::{Version, World};
use crate::harness::{Broken, Driver, eventually, noise};

fn small_requests_and_answers_without_a_body(driver: Driver) {
    let world = World::new(driver, "");
    world.each(|pairing| {
        let mut peer = pairing.peer();
        let mut ask = |method, path| peer.ask(&pairing.ask(method, path)).expect("an answer");
        let got = ask("GET", "/small");
        assert_eq!((got.status, got.body.as_slice()), (200, &b"small"[..]));
        assert_eq!(got.all("content-length"), ["5"]);
        assert_eq!(got.all("date").len(), 1);
        let got = ask("HEAD", "/small");
        assert_eq!((got.status, got.all("content-length"), got.body.len()), (200, vec!["5"], 0));
        let got = ask("GET", "/nothing");
        assert_eq!((got.status, got.all("content-length").len(), got.body.len()), (204, 0, 0));
        let got = ask("GET", "/unchanged");
        assert_eq!((got.status, got.all("etag"), got.body.len()), (304, vec!["\"a\""], 0));
        assert_eq!(ask("GET", "/small").body, b"small", "the connection goes on");
        let got = ask("DELETE", "/small?a=%20b&c");
        assert_eq!(got.status, 200);
        let seen = pairing.seen.last();
        assert_eq!((seen.method.as_str(), seen.path.as_str()), ("DELETE", "/small?a=%20b&c"));
    });
}

fn bodies_are_echoed_with_and_without_a_length(driver: Driver) {
    let world = World::new(driver, "");
    let body = noise(3 << 20);
    world.each(|pairing| {
        let mut peer = pairing.peer();
        for length in [true, false] {
            let ask = pairing.ask("POST", "/echo").body(body.clone(), length);
            let got = peer.ask(&ask).expect("an answer");
            assert!(got.body == body, "{} bytes came back", got.body.len());
            let known = got.all("content-length");
            assert_eq!(known, [body.len().to_string()]);
            let seen = pairing.seen.last();
            assert_eq!(seen.all("content-length").len(), usize::from(length), "{:?}", seen.fields);
            let got = peer.ask(&ask.with("x-unknown-length", "1")).expect("an answer");
            assert!(got.body == body && got.all("content-length").is_empty());
        }
        for length in [true, false] {
            let got = peer.ask(&pairing.ask("POST", "/echo").body(b"", length)).expect("an answer");
            assert_eq!((got.status, got.body.len()), (200, 0));
        }
    });
}

fn trailers_pass_both_ways(driver: Driver) {
    let world = World::new(driver, "");
    world.each(|pairing| {
        let mut ask = pairing.ask("POST", "/echo").with("te", "trailers").body(b"body", false);
        ask.trailers = vec![("x-one".into(), "1".into()), ("x-two".into(), "2".into())];
        let got = pairing.answer(&ask);
        assert_eq!(got.body, b"body");
        let seen = pairing.seen.last();
        assert_eq!(seen.trailers, ask.trailers);
        assert_eq!(got.trailers, ask.trailers);
        let got = pairing.answer(&pairing.ask("GET", "/trailers").with("te", "trailers"));
        assert_eq!((got.body.as_slice(), all(&got.trailers, "x-sum")), (&b"with trailers"[..], vec!["42"]));
    });
}

fn interim_responses_pass(driver: Driver) {
    let world = World::new(driver, "");
    world.each(|pairing| {
        let got = pairing.answer(&pairing.ask("GET", "/hints"));
        let hints: Vec<_> = got.interim.iter().map(|(status, fields)| (*status, all(fields, "link"))).collect();
        assert_eq!((got.status, hints), (200, vec![(103, vec!["</style.css>"])]));
        let ask = pairing.ask("POST", "/echo").with("expect", "100-continue").body(b"after", true);
        let got = pairing.answer(&ask);
        assert_eq!((got.status, got.body.as_slice()), (200, &b"after"[..]));
        assert_eq!(got.interim.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [100]);
    });
}

fn cookies_are_one_field_upstream_and_stay_apart_downstream(driver: Driver) {
    let world = World::new(driver, "");
    world.each(|pairing| {
        let mut ask = pairing.ask("GET", "/cookies");
        // Only HTTP/2 may split them (RFC 9113 8.2.3).
        match pairing.client {
            Version::Http1 => ask = ask.with("cookie", "a=1; b=2; c=3"),
            Version::Http2 => ask = ask.with("cookie", "a=1").with("cookie", "b=2").with("cookie", "c=3"),
        }
        let got = pairing.answer(&ask);
        assert_eq!(got.all("set-cookie"), ["a=1", "b=2"]);
        assert_eq!(pairing.seen.last().all("cookie").join("; "), "a=1; b=2; c=3");
        if pairing.endpoint == Version::Http1 {
            assert_eq!(pairing.seen.last().all("cookie").len(), 1);
        }
    });
}

fn large_fields_pass_both_ways(driver: Driver) {
    let world = World::new(driver, "");
    let value = "w".repeat(LARGE_VALUE_BYTES);
    world.each(|pairing| {
        let got = pairing.answer(&pairing.ask("GET", "/large").with("x-large", &value));
        assert_eq!(got.all("x-large"), ["v".repeat(LARGE_VALUE_BYTES)]);
        assert_eq!(pairing.seen.last().all("x-large"), [value.as_str()]);
    });
}

fn upstreams_are_told_host_client_and_scheme(driver: Driver) {
    let world = World::new(driver, "");
    world.each(|pairing| {
        let ask = pairing.ask("GET", "/small").with("x-forwarded-for", "10.1.2.3").with("x-forwarded-proto", "https");
        pairing.answer(&ask);
        let seen = pairing.seen.last();
        assert_eq!(seen.host, pairing.host());
        assert!(seen.all("host").len() <= usize::from(pairing.endpoint == Version::Http1), "{:?}", seen.fields);
        assert_eq!(seen.all("x-forwarded-proto"), ["http"], "an edge believes nobody");
        let chain = seen.all("x-forwarded-for").join(", ");
        assert!(chain.starts_with("10.1.2.3, 127."), "{chain}");
        assert_eq!(seen.all("x-request-id").len(), 1);
        if pairing.endpoint == Version::Http2 {
            assert_eq!(seen.scheme, "http");
        }
    });
}

fn what_belongs_to_a_connection_does_not_cross(driver: Driver) {
    let world = World::new(driver, "");
    world.each(|pairing| {
        let mut ask = pairing.ask("POST", "/echo").with("te", "trailers").body(b"a", false);
        if pairing.client == Version::Http1 {
            ask = ask.with("connection", "x-private, keep-alive, te").with("x-private", "1").with("keep-alive", "5");
            ask = ask.with("proxy-connection", "close");
        }
        let got = pairing.answer(&ask);
        let seen = pairing.seen.last();
        for name in ["connection", "x-private", "keep-alive", "proxy-connection", "upgrade"] {
            assert!(seen.all(name).is_empty(), "{name} reached the endpoint");
        }
        let te = if pairing.endpoint == Version::Http2 { vec!["trailers"] } else { vec![] };
        assert_eq!(seen.all("te"), te);
        for name in ["x-hop", "keep-alive", "connection"] {
            assert!(got.all(name).is_empty(), "{name} reached the client");
        }
        if pairing.client == Version::Http2 {
            assert!(got.all("transfer-encoding").is_empty());
        }
        if pairing.endpoint == Version::Http2 {
            assert!(seen.all("transfer-encoding").is_empty());
        }
    });
}

fn a_client_that_gives_up_is_noticed_by_the_endpoint(driver: Driver) {
    let world = World::new(driver, "");
    world.each(|pairing| {
        let (before, count) = (pairing.seen.resets(), pairing.seen.count());
        match pairing.peer() {
            Peer::Http1(mut client) => {
                client.send(format!("GET /hold HTTP/1.1\r\nhost: {}\r\n\r\n", pairing.host()));
                eventually("the request arrives", || pairing.seen.count() > count);
                client.wire.reset();
            }
            Peer::Http2(h2) => {
                let request = pairing.ask("GET", "/hold").request();
                let (response, _) = h2.run(super::client::begin(h2.send.clone(), request, true)).expect("sent");
                h2.until("the request arrives", || pairing.seen.count() > count);
                drop(response);
                h2.until("the endpoint notices", || pairing.seen.resets() > before);
                let got = h2.ask(&pairing.ask("GET", "/small")).expect("an answer");
                assert_eq!(got.body, b"small", "its neighbours live on");
            }
        }
        eventually("the endpoint notices", || pairing.seen.resets() > before);
    });
}

fn a_body_that_breaks_off_is_no_request(driver: Driver) {
    let world = World::new(driver, "");
    world.each(|pairing| {
        let (before, count, begun) = (pairing.seen.resets(), pairing.seen.count(), pairing.seen.begun());
        match pairing.peer() {
            Peer::Http1(mut client) => {
                let head = "POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\nhost:";
                client.send(format!("{head} {}\r\n\r\n5\r\nhello\r\n", pairing.host()));
                eventually("it is under way", || pairing.seen.begun() > begun);
                client.wire.reset();
            }
            Peer::Http2(h2) => {
                let request = pairing.ask("POST", "/echo").request();
                let (_response, mut body) =
                    h2.run(super::client::begin(h2.send.clone(), request, false)).expect("sent");
                body.send_data("hello".into(), false).expect("sent");
                h2.until("it is under way", || pairing.seen.begun() > begun);
                body.send_reset(h2::Reason::CANCEL);
                h2.until("the endpoint notices", || pairing.seen.resets() > before);
            }
        }
        eventually("the endpoint notices", || pairing.seen.resets() > before);
        assert_eq!(pairing.seen.count(), count, "no whole request");
    });
}

fn a_response_that_breaks_off_never_looks_complete(driver: Driver) {
    let world = World::new(driver, "");
    world.each(|pairing| {
        for path in ["/cut", "/cut-length"] {
            let error = pairing.peer().ask(&pairing.ask("GET", path)).expect_err("broken off");
            assert!(!error.contains("TimedOut"), "{error}");
            if pairing.client == Version::Http1 {
                assert_eq!(error, format!("{:?}", Broken::Reset));
            }
        }
    });
}

fn an_answer_before_the_request_is_complete_passes(driver: Driver) {
    let world = World::new(driver, "");
    world.each(|pairing| {
        let ask = pairing.ask("POST", "/early").with("x-early", "1").body(noise(3 << 20), true);
        let got = pairing.answer(&ask);
        assert_eq!((got.status, got.body.as_slice()), (413, &b"too much"[..]));
    });
}

on_both_drivers!(
    small_requests_and_answers_without_a_body,
    bodies_are_echoed_with_and_without_a_length,
    trailers_pass_both_ways,
    interim_responses_pass,
    cookies_are_one_field_upstream_and_stay_apart_downstream,
    large_fields_pass_both_ways,
    upstreams_are_told_host_client_and_scheme,
    what_belongs_to_a_connection_does_not_cross,
    a_client_that_gives_up_is_noticed_by_the_endpoint,
    a_body_that_breaks_off_is_no_request,
    a_response_that_breaks_off_never_looks_complete,
    an_answer_before_the_request_is_complete_passes,
);
