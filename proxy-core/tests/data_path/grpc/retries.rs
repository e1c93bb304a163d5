//! Requests that are sent again.

use super::in_front_of;
use super::peer::{Outcome, Server, call};
use crate::harness::{Driver, Origin, Proxy, config, noise, ok};

on_both_drivers!(
    a_call_is_tried_again_after_its_status,
    a_status_that_is_not_named_is_passed_on,
    attempts_end,
    nothing_is_tried_again_once_something_went_down,
    a_body_is_sent_again_up_to_a_bound,
    requests_of_every_kind_are_tried_again,
    the_end_of_an_empty_body_is_sent_again,
    a_try_has_a_time_of_its_own,
    retries_are_bounded,
);

const ON_UNAVAILABLE: &str = "retry: { on_grpc: unavailable, attempts: 2 }";

#[track_caller]
fn assert_ok(outcome: &Outcome, body: &[u8]) {
    assert_eq!((outcome.status, outcome.grpc_status(), outcome.reset), (200, Some("0"), None), "{outcome:?}");
    assert!(outcome.body == body, "{} bytes", outcome.body.len());
}

fn a_call_is_tried_again_after_its_status(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", ON_UNAVAILABLE, "");
    // In the head alone, and in trailers behind a head.
    for path in ["/t/Only/14/2", "/t/Late/14/2"] {
        let outcome = call(proxy.web, path, &[], &[b"again"], false);
        assert_eq!((outcome.grpc_status(), outcome.body.as_slice()), (Some("14"), &b"again"[..]), "{outcome:?}");
    }
    assert_eq!(server.seen().iter().map(|seen| seen.body.as_slice()).collect::<Vec<_>>(), [b"again"; 6]);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry"), 4);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_success"), 2);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_backoff_exponential"), 4);
    assert_eq!(proxy.stat("cluster.app.grpc.total"), 2);
}

fn a_status_that_is_not_named_is_passed_on(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", ON_UNAVAILABLE, "");
    for path in ["/t/Only/13/1", "/t/Late/13/1"] {
        assert_eq!(call(proxy.web, path, &[], &[b"x"], false).grpc_status(), Some("13"));
    }
    assert_eq!(server.seen().len(), 2);
}

fn attempts_end(driver: Driver) {
    let server = Server::start();
    let log = "access_log: [{ path: '$dir/log', format: \"%RESPONSE_FLAGS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\\n\" }],";
    let proxy = in_front_of(driver, &server, log, ON_UNAVAILABLE, "");
    let outcome = call(proxy.web, "/t/Late/14", &[], &[b"x"], false);
    assert_eq!((outcome.grpc_status(), outcome.trailers["x-left"].as_bytes()), (Some("14"), &b"over"[..]));
    assert_eq!(server.seen().len(), 3);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_limit_exceeded"), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_success"), 0);
    crate::harness::eventually("a line", || proxy.file("log") == "URX 3\n");
}

fn nothing_is_tried_again_once_something_went_down(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", ON_UNAVAILABLE, "");
    let outcome = call(proxy.web, "/t/Unary/14", &[], &[b"x"], false);
    assert_eq!((outcome.body.as_slice(), outcome.grpc_status()), (&b"x"[..], Some("14")));
    assert_eq!(server.seen().len(), 1);
    // Messages flow as they come, all the same.
    assert_ok(&call(proxy.web, "/t/Echo", &[], &[b"one", b"two"], true).with_status(200), b"onetwo");
}

fn a_body_is_sent_again_up_to_a_bound(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", ON_UNAVAILABLE, "");
    let body = noise(64 << 10);
    let outcome = call(proxy.web, "/t/Late/14/1", &[], &[&body], false);
    assert!(outcome.body == body, "{} bytes", outcome.body.len());
    let outcome = call(proxy.web, "/t/Only/14/1", &[], &[&body, b"more"], false);
    assert_eq!((outcome.grpc_status(), outcome.body.len()), (Some("14"), 0));
    assert_eq!(server.seen().len(), 3);
    assert_eq!(proxy.stat("cluster.app.retry_or_shadow_abandoned"), 1);
}

fn requests_of_every_kind_are_tried_again(driver: Driver) {
    let server = Server::start();
    for (on, path) in [
        ("on: reset", "/t/Reset/0/1"),
        ("on: 5xx", "/t/Status/500/1"),
        ("on: gateway_error", "/t/Status/503/1"),
        ("on: refused_stream", "/t/Refuse/0/1"),
        ("on_statuses: [429]", "/t/Status/429/1"),
    ] {
        let proxy = in_front_of(driver, &server, "", &format!("retry: {{ {on} }}"), "");
        let outcome = call(proxy.web, path, &[("content-type", "text/plain")], &[b"x"], false);
        assert_eq!((outcome.status, outcome.body.as_slice()), (200, &b"x"[..]), "{on}");
    }
    // HTTP/1.1 on both sides; the body is sent again as it was framed.
    let origin = Origin::answering(|request| match request.field("x-first").is_some() && request.text() != "second" {
        true => b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy".to_vec(),
        false => ok(&request.body),
    });
    let route = "routes: [{ match: {}, cluster: app, retry: { on: [connect_failure, gateway_error], attempts: 3 } }]";
    let clusters = format!("{{ name: app, endpoints: ['{}', '127.0.0.1:1'] }}", origin.address);
    let proxy = Proxy::start(driver, &config(route, &clusters));
    let answer =
        proxy.client().ask("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "abc"));
    let answer = proxy.client().ask("POST / HTTP/1.1\r\nhost: a\r\nx-first: 1\r\ncontent-length: 3\r\n\r\nabc");
    assert_eq!((answer.status(), answer.text().as_str()), (503, "busy"));
    assert_eq!(origin.requests().iter().filter(|request| request.text() == "abc").count(), 5);
}

fn the_end_of_an_empty_body_is_sent_again(driver: Driver) {
    let server = Server::start();
    // Without a policy: the endpoint says that it did nothing.
    let proxy = in_front_of(driver, &server, "", "", "");
    for path in ["/t/Refuse/0/1", "/t/Refuse/1/1"] {
        let outcome = call(proxy.web, path, &[], &[b""], false);
        assert_eq!(outcome.status, 200);
        assert!(!outcome.is_only_head, "{outcome:?}");
    }
    assert_eq!(server.seen().len(), 4);
}

fn a_try_has_a_time_of_its_own(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", "retry: { on: reset, per_try_timeout: 100ms }", "");
    let outcome = call(proxy.web, "/t/Hang/0/1", &[], &[b"x"], false);
    assert_ok(&outcome, b"x");
    assert_eq!(proxy.stat("cluster.app.upstream_rq_per_try_timeout"), 1);
    let outcome = call(proxy.web, "/t/Hang", &[], &[b"x"], false);
    assert_eq!((outcome.status, outcome.grpc_status()), (200, Some("4")));
    assert_eq!(proxy.stat("cluster.app.upstream_rq_per_try_timeout"), 3);
}

fn retries_are_bounded(driver: Driver) {
    let server = Server::start();
    let route = "retry: { on: reset, per_try_timeout: 300ms, attempts: 1 }";
    let proxy = in_front_of(driver, &server, "", route, "breaker: { retries_max: 1 },");
    let web = proxy.web;
    let calls: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || call(web, "/t/Hang", &[], &[b"x"], false).grpc_status().map(str::to_string))
        })
        .collect();
    for call in calls {
        assert_eq!(call.join().expect("a call").as_deref(), Some("4"));
    }
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry"), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_overflow"), 3);
}

impl Outcome {
    fn with_status(mut self, status: u16) -> Outcome {
        self.status = status;
        self
    }
}
