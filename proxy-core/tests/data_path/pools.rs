//! Balancing, pools of connections, second tries, bounds.

use std::collections::HashMap;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::harness::{Client, Driver, Origin, Proxy, config, eventually, http, ok};

fn weighted(origins: &[(&Origin, u32)], cluster: &str) -> String {
    let endpoints: Vec<String> = origins
        .iter()
        .map(|(origin, weight)| format!("{{ address: '{}', weight: {weight} }}", origin.address))
        .collect();
    config(
        "routes: [{ match: { prefix: / }, cluster: app }]",
        &format!("{{ name: app, {cluster} endpoints: [{}] }}", endpoints.join(", ")),
    )
}

fn shares(client: &mut Client, requests: usize) -> HashMap<String, usize> {
    let mut shares = HashMap::new();
    for _ in 0..requests {
        *shares.entry(client.get("/").text()).or_default() += 1;
    }
    shares
}

fn round_robin_follows_the_weights_exactly(driver: Driver) {
    let (a, b, c) = (Origin::saying("a"), Origin::saying("b"), Origin::saying("c"));
    let proxy = Proxy::start(driver, &http(&[&a, &b, &c], "", ""));
    let mut client = proxy.client();
    let first: Vec<String> = (0..3).map(|_| client.get("/").text()).collect();
    for _ in 0..10 {
        let round: Vec<String> = (0..3).map(|_| client.get("/").text()).collect();
        assert_eq!(round, first, "each in turn");
    }
    let proxy = Proxy::start(driver, &weighted(&[(&a, 1), (&b, 2), (&c, 5)], ""));
    let shares = shares(&mut proxy.client(), 80);
    assert_eq!((shares["a"], shares["b"], shares["c"]), (10, 20, 50));
}

fn random_gives_everybody_a_share(driver: Driver) {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let proxy = Proxy::start(driver, &weighted(&[(&a, 1), (&b, 3)], "balance: random,"));
    let shares = shares(&mut proxy.client(), 400);
    // Expected 100 with a standard deviation of 8.7.
    assert!((50..=150).contains(&shares["a"]), "{shares:?}");
}

fn least_request_avoids_the_busy_endpoint(driver: Driver) {
    let busy = Origin::answering(|request| {
        if request.target() == "/hold" {
            std::thread::sleep(Duration::from_secs(5));
        }
        ok("busy")
    });
    let free = Origin::saying("free");
    let proxy = Proxy::start(driver, &http(&[&busy, &free], "", "balance: least_request,"));
    // Requests that hang at one endpoint: it then has more under way than the other ever gets.
    let mut held = Vec::new();
    while busy.requests().len() < 3 {
        let before = (busy.requests().len(), free.requests().len());
        let mut client = proxy.client();
        client.send("GET /hold HTTP/1.1\r\nhost: a\r\n\r\n");
        eventually("it arrives", || (busy.requests().len(), free.requests().len()) != before);
        held.push(client);
    }
    let shares = shares(&mut proxy.client(), 100);
    // Both choices fall on the busy endpoint a quarter of the time.
    let busy_share = shares.get("busy").copied().unwrap_or(0);
    assert!((5..=48).contains(&busy_share), "{shares:?}");
}

fn connections_are_used_again_most_recent_first(driver: Driver) {
    let gate = Arc::new(Barrier::new(4));
    let held = gate.clone();
    let origin = Origin::answering(move |request| {
        if request.target() == "/together" {
            held.wait();
        }
        ok("x")
    });
    let proxy = Proxy::to(driver, &origin);
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /together HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
    assert_eq!(origin.accepted(), 4, "four at once need four connections");
    for _ in 0..10 {
        for client in &mut clients {
            client.get("/");
        }
    }
    assert_eq!(origin.accepted(), 4);
    eventually("they are idle", || proxy.stat("cluster.app.upstream_cx_active") == 4);
}

fn idle_connections_are_bounded_and_expire(driver: Driver) {
    let gate = Arc::new(Barrier::new(4));
    let held = gate.clone();
    let origin = Origin::answering(move |_| {
        held.wait();
        ok("x")
    });
    let proxy = Proxy::start(driver, &http(&[&origin], "", "idle_connections_max: 2, idle_timeout: 300ms,"));
    let mut clients: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    eventually("two are closed at once", || origin.open() <= 2);
    eventually("the others expire", || origin.open() == 0);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_idle_timeout"), 2);
}

fn an_upstream_close_before_reuse_is_never_an_error(driver: Driver) {
    // Closes after every response, without having said so.
    let origin = Origin::new(|mut peer| {
        if peer.request().is_ok() {
            peer.wire.send(ok("x"));
        }
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for number in 0..200 {
        let response = match number % 2 {
            0 => client.get("/"),
            _ => {
                // A POST can't be sent twice, so it must not meet the closed connection at all.
                eventually("the proxy has seen the close", || proxy.stat("cluster.app.upstream_cx_active") == 0);
                client.post("/", "body")
            }
        };
        assert_eq!(response.status(), 200, "request {number}: {response:?}");
    }
    assert_eq!(origin.requests().len(), 200);
}

/// An origin that answers the first request of each connection and closes on the second, having read it.
fn closing_on_the_second() -> Origin {
    Origin::new(|mut peer| {
        if peer.request().is_ok() {
            peer.wire.send(ok("x"));
            let _ = peer.request();
        }
    })
}

fn an_idempotent_request_on_a_stale_connection_is_sent_once_more(driver: Driver) {
    let origin = closing_on_the_second();
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT"] {
        assert_eq!(client.get("/warm").status(), 200);
        let before = origin.requests().len();
        client.send(format!("{method} /second HTTP/1.1\r\nhost: a\r\n\r\n"));
        let head = client.wire.head().expect("a response");
        assert_eq!(head.status(), 200, "{method}");
        if method != "HEAD" {
            client.wire.exactly(1).expect("the body");
        }
        assert_eq!(origin.requests().len() - before, 2, "{method}: once on the stale connection, once on a fresh one");
        // What is kept now is a connection that has answered once: drop it.
        client.send("POST /third HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        client.response();
    }
    assert!(proxy.stat("cluster.app.upstream_rq_retry") >= 5);
}

fn a_post_on_a_stale_connection_is_not_sent_again(driver: Driver) {
    let origin = closing_on_the_second();
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for body in ["body", "", "body", ""] {
        assert_eq!(client.get("/warm").status(), 200);
        let before = origin.requests().len();
        assert_eq!(client.post("/", body).status(), 503, "{body:?}");
        assert_eq!(origin.requests().len() - before, 1, "{body:?}");
    }
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry"), 0);
}

fn a_fresh_connection_that_closes_is_an_error_at_once(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        let _ = peer.request();
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    let response = client.get("/");
    assert_eq!(response.status(), 503);
    assert!(response.text().contains("connection termination"), "{}", response.text());
    assert_eq!(origin.requests().len(), 1);
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    listener.local_addr().expect("an address").to_string()
}

fn a_refused_connection_goes_to_another_endpoint(driver: Driver) {
    let origin = Origin::saying("alive");
    let app = format!("{{ name: app, endpoints: ['{}', '{}'] }}", nobody(), origin.address);
    let proxy = Proxy::start(driver, &config("routes: [{ match: { prefix: / }, cluster: app }]", &app));
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "alive");
        // Nothing was sent yet, so that this holds for every method.
        assert_eq!(client.post("/", "x").text(), "alive");
    }
    assert!(proxy.stat("cluster.app.upstream_cx_connect_fail") >= 1);
}

fn nobody_to_connect_to_is_a_503(driver: Driver) {
    let app = format!("{{ name: app, endpoints: ['{}', '{}'] }}", nobody(), nobody());
    let routes = "access_log: { path: $dir/log, format: '%RESPONSE_CODE% %RESPONSE_FLAGS%' },
        routes: [{ match: { prefix: / }, cluster: app }]";
    let proxy = Proxy::start(driver, &config(routes, &app));
    let mut client = proxy.client();
    let response = client.get("/");
    assert_eq!(response.status(), 503);
    assert!(response.text().contains("remote connection failure"), "{}", response.text());
    assert_eq!(client.get("/").status(), 503, "the client's connection stays");
    eventually("the flag is in the log", || proxy.file("log").starts_with("503 UF\n503 UF\n"));
}

fn a_name_that_resolves_to_nothing_is_a_503(driver: Driver) {
    let app = "{ name: app, endpoints: ['nowhere.invalid:80'] }";
    let proxy = Proxy::start(driver, &config("routes: [{ match: { prefix: / }, cluster: app }]", app));
    let response = proxy.client().get("/");
    assert_eq!(response.status(), 503);
    assert!(response.text().contains("no healthy upstream"), "{}", response.text());
}

fn waiting_requests_get_their_turn_on_a_bounded_pool(driver: Driver) {
    let origin = Origin::answering(|_| {
        std::thread::sleep(Duration::from_millis(20));
        ok("x")
    });
    let proxy = Proxy::start(driver, &http(&[&origin], "", "breaker: { connections_max: 2 },"));
    let mut clients: Vec<Client> = (0..12).map(|_| proxy.client()).collect();
    for _ in 0..2 {
        clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
        clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    }
    assert!(origin.open() <= 2, "{} connections", origin.open());
    assert!(proxy.stat("cluster.app.upstream_cx_overflow") > 0);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_pending_active"), 0);
}

fn more_than_the_pending_bound_overflows(driver: Driver) {
    let origin = Origin::answering(|_| {
        std::thread::sleep(Duration::from_millis(300));
        ok("x")
    });
    let proxy = Proxy::start(driver, &http(&[&origin], "", "breaker: { connections_max: 1, pending_max: 2 },"));
    let mut clients: Vec<Client> = (0..6).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    let responses: Vec<_> = clients.iter_mut().map(Client::response).collect();
    let refused: Vec<_> = responses.iter().filter(|response| response.status() == 503).collect();
    assert_eq!(refused.len(), 3, "one is served, two wait, three are refused");
    for response in refused {
        assert_eq!(response.field("x-envoy-overloaded"), Some("true"));
    }
    assert_eq!(proxy.stat("cluster.app.upstream_rq_pending_overflow"), 3);
}

fn more_than_the_request_bound_overflows(driver: Driver) {
    let origin = Origin::answering(|_| {
        std::thread::sleep(Duration::from_millis(200));
        ok("x")
    });
    let proxy = Proxy::start(driver, &http(&[&origin], "", "breaker: { requests_max: 2 },"));
    let mut clients: Vec<Client> = (0..5).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    let served = clients.iter_mut().filter_map(|client| (client.response().status() == 200).then_some(())).count();
    assert_eq!(served, 2);
    assert_eq!(clients[0].get("/").status(), 200, "there is room again");
}

fn a_client_that_gives_up_waiting_leaves_the_queue(driver: Driver) {
    let origin = Origin::answering(|_| {
        std::thread::sleep(Duration::from_millis(150));
        ok("x")
    });
    let proxy = Proxy::start(driver, &http(&[&origin], "", "breaker: { connections_max: 1 },"));
    let mut first = proxy.client();
    first.send("GET /first HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("it is under way", || origin.requests().len() == 1);
    let mut gone = proxy.client();
    gone.send("GET /gone HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("it waits", || proxy.stat("cluster.app.upstream_rq_pending_active") == 1);
    let mut last = proxy.client();
    last.send("GET /last HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("both wait", || proxy.stat("cluster.app.upstream_rq_pending_active") == 2);
    gone.wire.reset();
    assert_eq!((first.response().status(), last.response().status()), (200, 200));
    assert!(origin.requests().iter().all(|request| request.target() != "/gone"));
}

on_both_drivers!(
    round_robin_follows_the_weights_exactly,
    random_gives_everybody_a_share,
    least_request_avoids_the_busy_endpoint,
    connections_are_used_again_most_recent_first,
    idle_connections_are_bounded_and_expire,
    an_upstream_close_before_reuse_is_never_an_error,
    an_idempotent_request_on_a_stale_connection_is_sent_once_more,
    a_post_on_a_stale_connection_is_not_sent_again,
    a_fresh_connection_that_closes_is_an_error_at_once,
    a_refused_connection_goes_to_another_endpoint,
    nobody_to_connect_to_is_a_503,
    a_name_that_resolves_to_nothing_is_a_503,
    waiting_requests_get_their_turn_on_a_bounded_pool,
    more_than_the_pending_bound_overflows,
    more_than_the_request_bound_overflows,
    a_client_that_gives_up_waiting_leaves_the_queue,
);
