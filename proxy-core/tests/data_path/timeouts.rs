//! What may take how long.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::harness::{Broken, Driver, Origin, Proxy, config, eventually, http, ok};

/// An origin that reads and never answers.
fn silent() -> Origin {
    Origin::new(|mut peer| {
        if peer.request().is_ok() {
            peer.wire.rest();
        }
    })
}

/// The grid of the runtime's timers: a timeout counts from the tick in which it was set, so it may end early by less
/// than this.
const TICK: Duration = Duration::from_millis(1);

/// Runs `timed` and says whether it took about as long as it should: not less, and not minutes.
#[track_caller]
fn takes<T>(at_least_ms: u64, timed: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = timed();
    let took = began.elapsed();
    assert!(took + TICK > Duration::from_millis(at_least_ms), "after {took:?} already");
    assert!(took < Duration::from_millis(at_least_ms) + Duration::from_secs(8), "only after {took:?}");
    result
}

/// A listener whose queue is full: connecting to it takes for ever.
pub(crate) struct Deaf {
    pub(crate) address: SocketAddr,
    _listener: tokio::net::TcpListener,
    _queued: Vec<std::net::TcpStream>,
    _runtime: tokio::runtime::Runtime,
}

impl Deaf {
    pub(crate) fn new() -> Deaf {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let entered = runtime.enter();
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("an address");
        let listener = socket.listen(1).expect("a listener");
        let address = listener.local_addr().expect("an address");
        drop(entered);
        let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
        let queued = std::iter::from_fn(|| connect().ok()).take(64).collect();
        Deaf { address, _listener: listener, _queued: queued, _runtime: runtime }
    }
}

fn an_endpoint_that_does_not_take_the_connection_is_a_503(driver: Driver) {
    let deaf = Deaf::new();
    let app = format!("{{ name: app, connect_timeout: 150ms, endpoints: ['{}'] }}", deaf.address);
    let proxy = Proxy::start(driver, &config("routes: [{ match: { prefix: / }, cluster: app }]", &app));
    let mut client = proxy.client();
    let response = takes(150, || client.get("/"));
    assert_eq!(response.status(), 503);
    assert!(response.text().contains("connection timeout"), "{}", response.text());
    assert!(proxy.stat("cluster.app.upstream_cx_connect_timeout") >= 1);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_active"), 0);
}

fn an_endpoint_that_does_not_take_the_connection_is_passed_over(driver: Driver) {
    let (deaf, origin) = (Deaf::new(), Origin::saying("alive"));
    let app = format!("{{ name: app, connect_timeout: 100ms, endpoints: ['{}', '{}'] }}", deaf.address, origin.address);
    let proxy = Proxy::start(driver, &config("routes: [{ match: { prefix: / }, cluster: app }]", &app));
    let mut client = proxy.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "alive");
    }
}

fn a_route_timeout_is_a_504(driver: Driver) {
    let origin = silent();
    let app = format!("{{ name: app, endpoints: ['{}'] }}", origin.address);
    let routes = "routes: [{ match: { prefix: / }, cluster: app, timeout: 200ms }]";
    let proxy = Proxy::start(driver, &config(routes, &app));
    let mut client = proxy.client();
    let response = takes(200, || client.get("/"));
    assert_eq!((response.status(), response.text().as_str()), (504, "upstream request timeout\n"));
    assert_eq!(client.post("/", "x").status(), 504, "the client's connection stays");
    eventually("the origin sees that nobody waits", || origin.open() == 0);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_timeout"), 2);
}

fn a_route_timeout_counts_from_the_end_of_the_request_to_the_end_of_the_response(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        while let Ok(request) = peer.request() {
            peer.wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345");
            if request.target() == "/stall" {
                peer.wire.rest();
                return;
            }
            peer.wire.send("67890");
        }
    });
    let app = format!("{{ name: app, endpoints: ['{}'] }}", origin.address);
    let routes = "routes: [{ match: { prefix: / }, cluster: app, timeout: 300ms }]";
    let proxy = Proxy::start(driver, &config(routes, &app));
    let mut client = proxy.client();
    // A slow upload isn't the origin's fault.
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n");
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(50));
        client.send("x");
    }
    assert_eq!(client.response().text(), "1234567890");
    client.send("GET /stall HTTP/1.1\r\nhost: a\r\n\r\n");
    let (bytes, broken) = takes(300, || client.wire.rest());
    assert!(broken == Broken::Reset, "{broken:?}: {:?}", String::from_utf8_lossy(&bytes));
}

fn a_route_without_a_timeout_waits(driver: Driver) {
    let origin = Origin::answering(|_| {
        std::thread::sleep(Duration::from_millis(400));
        ok("late")
    });
    let app = format!("{{ name: app, endpoints: ['{}'] }}", origin.address);
    let proxy = Proxy::start(driver, &config("routes: [{ match: {}, cluster: app, timeout: 0s }]", &app));
    assert_eq!(proxy.client().get("/").text(), "late");
}

fn a_head_that_takes_too_long_is_a_408(driver: Driver) {
    let origin = Origin::saying("x");
    let proxy = Proxy::start(driver, &http(&[&origin], "timeouts: { header: 200ms },", ""));
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "x");
    // Waiting between requests isn't a request that takes long.
    std::thread::sleep(Duration::from_millis(300));
    let response = takes(200, || client.ask("GET / HTTP/1.1\r\nhost: a\r\n"));
    assert_eq!((response.status(), response.field("connection")), (408, Some("close")));
    client.wire.expect_end();
    // A byte now and then doesn't help.
    let mut slow = proxy.client();
    let trickled = (0..100).take_while(|_| {
        std::thread::sleep(Duration::from_millis(20));
        slow.wire.send("G")
    });
    assert!(trickled.count() < 100, "the proxy listens for ever");
    assert_eq!(proxy.stat("http.web.downstream_rq_header_timeout"), 2);
    assert_eq!(origin.requests().len(), 1);
}

fn what_may_become_http2_does_not_escape_the_header_timeout(driver: Driver) {
    let origin = Origin::saying("x");
    let proxy = Proxy::start(driver, &http(&[&origin], "timeouts: { header: 200ms },", ""));
    for beginning in ["P", "PRI * HTTP/2.0\r\n\r\nS"] {
        let mut client = proxy.client();
        client.send(beginning);
        let (bytes, _) = takes(200, || client.wire.rest());
        let answer = String::from_utf8_lossy(&bytes).into_owned();
        assert!(answer.starts_with("HTTP/1.1 408 ") || answer.starts_with("HTTP/1.1 505 "), "{beginning:?}: {answer}");
    }
    let mut client = proxy.client();
    client.wire.trickle("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.response().text(), "x");
}

fn a_request_that_takes_too_long_is_a_408(driver: Driver) {
    let origin = silent();
    let proxy = Proxy::start(driver, &http(&[&origin], "timeouts: { request: 200ms },", ""));
    for request in ["POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nxx", "POST / HTTP/1.1\r\nhost"] {
        let mut client = proxy.client();
        let response = takes(200, || client.ask(request));
        assert_eq!((response.status(), response.field("connection")), (408, Some("close")), "{request:?}");
        client.wire.expect_end();
    }
    eventually("the origin isn't left with half a request", || origin.open() == 0);
    assert!(origin.requests().is_empty());
    assert_eq!(proxy.stat("http.web.downstream_rq_timeout"), 2);
}

fn a_complete_request_does_not_run_into_the_request_timeout(driver: Driver) {
    let origin = Origin::answering(|_| {
        std::thread::sleep(Duration::from_millis(300));
        ok("late")
    });
    let proxy = Proxy::start(driver, &http(&[&origin], "timeouts: { request: 100ms },", ""));
    assert_eq!(proxy.client().get("/").text(), "late");
}

fn an_idle_stream_is_ended(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        if let Ok(head) = peer.wire.head() {
            if head.target() == "/begun" {
                peer.wire.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n12");
            }
            peer.wire.rest();
        }
    });
    let proxy = Proxy::start(driver, &http(&[&origin], "timeouts: { stream_idle: 200ms },", ""));
    let mut client = proxy.client();
    let response = takes(200, || client.get("/silent"));
    assert_eq!(response.status(), 504, "the client has done its part");
    let mut client = proxy.client();
    let unfinished = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nx";
    let response = takes(200, || client.ask(unfinished));
    assert_eq!((response.status(), response.field("connection")), (408, Some("close")), "the client hasn't");
    let mut client = proxy.client();
    client.send("GET /begun HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(takes(200, || client.wire.rest()).1, Broken::Reset);
    eventually("the origin sees that nobody waits", || origin.open() == 0);
    assert_eq!(proxy.stat("http.web.downstream_rq_idle_timeout"), 3);
}

fn a_slow_stream_is_not_idle(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        while peer.request().is_ok() {
            peer.wire.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n");
            for _ in 0..8 {
                std::thread::sleep(Duration::from_millis(80));
                peer.wire.send("x");
            }
        }
    });
    let proxy = Proxy::start(driver, &http(&[&origin], "timeouts: { stream_idle: 400ms },", ""));
    assert_eq!(proxy.client().get("/").text(), "xxxxxxxx");
}

fn a_route_has_its_own_idle_timeout(driver: Driver) {
    let origin = silent();
    let app = format!("{{ name: app, endpoints: ['{}'] }}", origin.address);
    let routes = "routes: [{ match: { prefix: / }, cluster: app, idle_timeout: 150ms }]";
    let proxy = Proxy::start(driver, &config(routes, &app));
    assert_eq!(takes(150, || proxy.client().get("/")).status(), 504);
}

fn an_idle_keep_alive_connection_is_closed(driver: Driver) {
    let origin = Origin::saying("x");
    let proxy = Proxy::start(driver, &http(&[&origin], "timeouts: { idle: 200ms },", ""));
    let mut fresh = proxy.client();
    takes(150, || fresh.wire.expect_end());
    let mut client = proxy.client();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(80));
        assert_eq!(client.get("/").text(), "x");
    }
    takes(200, || client.wire.expect_end());
    assert_eq!(proxy.stat("http.web.downstream_cx_idle_timeout"), 2);
}

fn an_old_connection_is_ended_with_a_response(driver: Driver) {
    let origin = Origin::saying("x");
    let proxy = Proxy::start(driver, &http(&[&origin], "timeouts: { connection_duration_max: 300ms },", ""));
    let mut client = proxy.client();
    assert_eq!(client.get("/").field("connection"), None);
    takes(100, || client.wire.expect_end());
    assert_eq!(proxy.stat("http.web.downstream_cx_max_duration_reached"), 1);
}

on_both_drivers!(
    an_endpoint_that_does_not_take_the_connection_is_a_503,
    an_endpoint_that_does_not_take_the_connection_is_passed_over,
    a_route_timeout_is_a_504,
    a_route_timeout_counts_from_the_end_of_the_request_to_the_end_of_the_response,
    a_route_without_a_timeout_waits,
    a_head_that_takes_too_long_is_a_408,
    what_may_become_http2_does_not_escape_the_header_timeout,
    a_request_that_takes_too_long_is_a_408,
    a_complete_request_does_not_run_into_the_request_timeout,
    an_idle_stream_is_ended,
    a_slow_stream_is_not_idle,
    a_route_has_its_own_idle_timeout,
    an_idle_keep_alive_connection_is_closed,
    an_old_connection_is_ended_with_a_response,
);
