//! Calls that go through, and what their clients hear when they don't.

use std::time::{Duration, Instant};

use h2::Reason;

use super::in_front_of;
use super::peer::{Server, call, cancel};
use crate::harness::{Driver, Proxy, config, eventually, noise};

on_both_drivers!(
    calls_of_every_kind_pass_with_their_trailers,
    messages_as_large_as_may_be_pass_both_ways,
    faults_are_trailers_only_responses,
    a_head_over_the_limit_is_a_result_of_a_call,
    answers_of_routes_are_results_of_calls,
    a_fault_over_http1_is_a_result_too,
    other_requests_get_their_faults_as_before,
    an_answer_without_a_body_has_an_end_over_http1,
    a_call_ends_at_its_deadline,
    a_deadline_ends_a_response_that_has_begun,
    the_route_s_timeout_still_holds,
    a_response_that_breaks_off_ends_with_a_status,
    a_call_that_is_given_up_is_given_up_behind_us,
    calls_are_counted_by_status,
    the_status_is_in_the_access_log,
);

fn calls_of_every_kind_pass_with_their_trailers(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", "", "");
    let unary = call(proxy.web, "/t/Unary", &[("x-meta", "data")], &[b"hello"], false);
    assert_eq!((unary.status, unary.body.as_slice(), unary.grpc_status()), (200, &b"hello"[..], Some("0")));
    assert_eq!(unary.trailers["x-left"], "over");
    assert_eq!(unary.head["content-type"], "application/grpc");
    let seen = &server.seen()[0];
    assert_eq!((seen.fields["te"].as_bytes(), seen.fields["x-meta"].as_bytes()), (&b"trailers"[..], &b"data"[..]));
    let bidirectional = call(proxy.web, "/t/Echo", &[], &[b"one", b"two", b"three"], true);
    assert_eq!((bidirectional.body.as_slice(), bidirectional.grpc_status()), (&b"onetwothree"[..], Some("0")));
    let only = call(proxy.web, "/t/Only/5", &[], &[b"x"], false);
    assert!(only.is_only_head, "{only:?}");
    assert_eq!((only.grpc_status(), only.head["x-left"].as_bytes()), (Some("5"), &b"over"[..]));
    let late = call(proxy.web, "/t/Late/9", &[], &[b"x"], false);
    assert_eq!((late.trailers["grpc-status"].as_bytes(), late.body.len()), (&b"9"[..], 0));
}

fn messages_as_large_as_may_be_pass_both_ways(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", "", "");
    let message = noise(5 << 20);
    for path in ["/t/Echo", "/t/Unary"] {
        let outcome = call(proxy.web, path, &[], &[&message], false);
        assert_eq!(outcome.grpc_status(), Some("0"));
        assert!(outcome.body == message, "{path}: {} bytes", outcome.body.len());
    }
}

fn faults_are_trailers_only_responses(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", "", "breaker: { requests_max: 1 },");
    let lost = call(proxy.web, "/nowhere", &[], &[b"x"], false);
    assert!(lost.is_only_head, "{lost:?}");
    assert_eq!((lost.status, lost.grpc_status(), lost.message()), (200, Some("12"), "no route matches this request"));
    assert_eq!(lost.head["content-type"], "application/grpc");
    assert!(!lost.head.contains_key("content-length"));
    // Sub-types count, gRPC-Web doesn't where it isn't asked for.
    let typed = call(proxy.web, "/nowhere", &[("content-type", "application/grpc+proto")], &[], false);
    assert_eq!(typed.grpc_status(), Some("12"));
    let web = call(proxy.web, "/nowhere", &[("content-type", "application/grpc-web")], &[], false);
    assert_eq!((web.status, web.grpc_status()), (404, None));
    let dead = Proxy::start(
        driver,
        &config("routes: [{ match: {}, cluster: app }]", "{ name: app, endpoints: ['127.0.0.1:1'] }"),
    );
    let refused = call(dead.web, "/t/Unary", &[], &[b"x"], false);
    assert_eq!((refused.status, refused.grpc_status()), (200, Some("14")));
    assert!(refused.message().contains("remote connection failure"), "{}", refused.message());
}

/// Wherever in it the content type stands.
fn a_head_over_the_limit_is_a_result_of_a_call(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "limits: { head_bytes_max: 2KiB, fields_max: 20 },", "", "");
    let large = "v".repeat(3000);
    let many: Vec<(String, String)> = (0..30).map(|at| (format!("x-{at}"), at.to_string())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let content_type = ("content-type", "application/grpc+proto");
    for fields in [vec![content_type, ("x-large", &large)], vec![("x-large", &large), content_type], many] {
        let refused = call(proxy.web, "/t/Unary", &fields, &[], false);
        assert_eq!((refused.status, refused.grpc_status(), refused.is_only_head), (200, Some("2"), true), "{fields:?}");
    }
    let other = call(proxy.web, "/t/Unary", &[("x-large", &large), ("content-type", "text/plain")], &[], false);
    assert_eq!((other.status, other.grpc_status()), (431, None));
    assert!(server.seen().is_empty());
}

fn answers_of_routes_are_results_of_calls(driver: Driver) {
    let routes = "routes: [{ match: { prefix: /no }, respond: { status: 403, body: \"50% of ü\" }, \
                  response_headers: { set: { x-why: rules } } }, { match: { prefix: / }, redirect: { path: /new } }]";
    let proxy = Proxy::start(driver, &config(routes, ""));
    let denied = call(proxy.web, "/no", &[], &[b"x"], false);
    assert_eq!((denied.status, denied.grpc_status(), denied.message()), (200, Some("7"), "50%25 of %C3%BC"));
    assert_eq!(denied.head["x-why"], "rules");
    let moved = call(proxy.web, "/old", &[], &[], false);
    assert_eq!((moved.status, moved.grpc_status()), (200, Some("2")));
    assert!(moved.head["location"].to_str().expect("text").ends_with("/new"));
}

fn a_fault_over_http1_is_a_result_too(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", "", "");
    let mut client = proxy.client();
    for _ in 0..2 {
        let lost =
            client.ask("POST /x HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 2\r\n\r\nhi");
        assert_eq!((lost.status(), lost.field("grpc-status")), (200, Some("12")));
        assert_eq!((lost.field("content-length"), lost.body.len()), (Some("0"), 0));
    }
}

fn other_requests_get_their_faults_as_before(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", "", "");
    let lost = proxy.client().ask("GET /x HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpcish\r\n\r\n");
    assert_eq!((lost.status(), lost.field("grpc-status")), (404, None));
}

fn an_answer_without_a_body_has_an_end_over_http1(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", "", "");
    let mut client = proxy.client();
    for (status, length) in [(200, Some("0")), (404, Some("0")), (204, None), (304, None)] {
        let answer = client.ask(&format!("GET /t/Status/{status} HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert_eq!((answer.status(), answer.field("content-length")), (status, length));
    }
}

fn a_call_ends_at_its_deadline(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", "", "");
    let began = Instant::now();
    let late = call(proxy.web, "/t/Hang", &[("grpc-timeout", "150m")], &[b"x"], false);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(150) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!((late.status, late.grpc_status(), late.message()), (200, Some("4"), "upstream request timeout"));
    assert_eq!(server.reset(), Reason::CANCEL);
    // The endpoint hears of it as it came.
    assert_eq!(server.seen()[0].fields["grpc-timeout"], "150m");
    assert_eq!(proxy.stat("cluster.app.upstream_rq_timeout"), 1);
    // What isn't a timeout is none.
    let odd = call(proxy.web, "/t/Unary", &[("grpc-timeout", "0.1S")], &[b"x"], false);
    assert_eq!(odd.grpc_status(), Some("0"));
}

fn a_deadline_ends_a_response_that_has_begun(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", "", "");
    let late = call(proxy.web, "/t/Begin", &[("grpc-timeout", "200m")], &[b"x"], false);
    assert_eq!((late.body.as_slice(), late.reset, late.grpc_status()), (&b"first"[..], None, Some("4")));
    assert_eq!(server.reset(), Reason::CANCEL);
}

fn the_route_s_timeout_still_holds(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", "timeout: 100ms", "");
    let late = call(proxy.web, "/t/Hang", &[("grpc-timeout", "1H")], &[b"x"], false);
    assert_eq!(late.grpc_status(), Some("4"));
}

fn a_response_that_breaks_off_ends_with_a_status(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", "", "");
    let broken = call(proxy.web, "/t/Break", &[], &[b"x"], false);
    assert_eq!((broken.body.as_slice(), broken.reset, broken.grpc_status()), (&b"first"[..], None, Some("14")));
    let none = call(proxy.web, "/t/Reset", &[], &[b"x"], false);
    assert_eq!((none.status, none.grpc_status()), (200, Some("14")));
}

fn a_call_that_is_given_up_is_given_up_behind_us(driver: Driver) {
    for path in ["/t/Hang", "/t/Begin"] {
        let server = Server::start();
        let proxy = in_front_of(driver, &server, "", "", "");
        cancel(proxy.web, path, Duration::from_millis(100));
        assert_eq!(server.reset(), Reason::CANCEL);
        eventually("no request is under way", || proxy.stat("cluster.app.upstream_rq_active") == 0);
        assert_eq!(proxy.stat("cluster.app.grpc.failure"), 1);
    }
}

fn calls_are_counted_by_status(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", "", "");
    for path in ["/t/Unary", "/t/Unary", "/t/Only/16", "/t/Late/4", "/t/Unary/99"] {
        call(proxy.web, path, &[], &[b"x"], false);
    }
    call(proxy.web, "/t/Unary", &[("content-type", "text/plain")], &[b"x"], false);
    let counted = |name: &str| proxy.stat(&format!("cluster.app.grpc.{name}"));
    eventually("all calls are counted", || counted("total") == 5);
    assert_eq!([counted("0"), counted("16"), counted("4"), counted("1")], [2, 1, 1, 0]);
    assert_eq!((counted("success"), counted("failure")), (2, 3));
}

fn the_status_is_in_the_access_log(driver: Driver) {
    let server = Server::start();
    let log = "access_log: [{ path: '$dir/log', format: \"%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER% %RESPONSE_CODE%\\n\" }],";
    let proxy = in_front_of(driver, &server, log, "", "");
    for path in ["/t/Unary", "/t/Only/4", "/t/Late/99", "/nowhere"] {
        call(proxy.web, path, &[], &[b"x"], false);
    }
    call(proxy.web, "/t/Unary", &[("content-type", "text/plain")], &[b"x"], false);
    eventually("five lines", || proxy.file("log").lines().count() == 5);
    let expected = "OK OK 0 200\nDeadlineExceeded DEADLINE_EXCEEDED 4 200\n99 99 99 200\n\
                    Unimplemented UNIMPLEMENTED 12 200\n- - - 200\n";
    assert_eq!(proxy.file("log"), expected);
}
