//! Clients and origins that stall, vanish, never read or come in thousands.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::harness::{Broken, Client, Driver, Origin, Proxy, config, eventually, http, noise, ok};

/// An origin that sends this much as fast as it can, as often as it is asked.
fn flood(bytes: usize) -> Origin {
    let response = ok(noise(bytes));
    Origin::new(move |mut peer| {
        while peer.request().is_ok() {
            if !peer.wire.send(&response) {
                return;
            }
        }
    })
}

fn a_slow_reader_costs_little_memory_and_gets_everything(driver: Driver) {
    let body = noise(20 << 20);
    let origin = flood(body.len());
    let proxy = Proxy::to(driver, &origin);
    proxy.client().get("/warm");
    let before = proxy.resident_bytes();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = client.wire.head().expect("a head");
    assert_eq!(head.field("content-length"), Some(body.len().to_string().as_str()));
    let mut got = client.wire.exactly(100_000).expect("a beginning");
    // Long enough for the origin to send all of it, if anybody took it.
    std::thread::sleep(Duration::from_millis(300));
    let grown = proxy.resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more for a response that nobody reads");
    while got.len() < body.len() {
        let piece = (body.len() - got.len()).min(1 << 20);
        got.extend(client.wire.exactly(piece).expect("more"));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(got == body);
}

fn a_slow_origin_costs_little_memory_and_gets_everything(driver: Driver) {
    let body = noise(20 << 20);
    let origin = Origin::new(|mut peer| {
        let Ok(head) = peer.wire.head() else { return };
        std::thread::sleep(Duration::from_millis(300));
        let length = head.field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let body = peer.wire.exactly(length).unwrap_or_default();
        peer.remember(crate::harness::Message { body, ..head });
        peer.wire.send(ok("taken"));
    });
    let proxy = Proxy::to(driver, &origin);
    let before = proxy.resident_bytes();
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len()));
    client.send(&body);
    let grown = proxy.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more for a request that nobody reads");
    assert_eq!(client.response().text(), "taken");
    assert!(origin.request().body == body);
}

fn the_last_response_arrives_whole_at_a_client_that_sends_its_next_request(driver: Driver) {
    let body = noise(1_000_000);
    let origin = flood(body.len());
    let proxy = Proxy::start(driver, &http(&[&origin], "requests_per_connection_max: 1,", ""));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = client.wire.head().expect("a head");
    assert_eq!(head.field("connection"), Some("close"));
    // The kernel has taken all of it: the proxy has nothing more to send and ends the connection.
    eventually("the exchange is over", || proxy.stat("http.web.downstream_cx_active") == 0);
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        std::thread::sleep(Duration::from_millis(30));
    }
    let (rest, end) = client.wire.rest();
    assert_eq!((rest.len(), end), (body.len(), Broken::Closed));
    assert!(rest == body);
}

fn a_client_that_never_reads_is_cut_off(driver: Driver) {
    let origin = flood(64 << 20);
    let proxy = Proxy::start(driver, &http(&[&origin], "timeouts: { stream_idle: 300ms },", ""));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the origin isn't held for ever", || origin.accepted() == 1 && origin.open() == 0);
    eventually("nor is the connection", || proxy.stat("http.web.downstream_cx_active") == 0);
    assert_eq!(client.wire.rest().1, Broken::Reset);
}

fn pipelining_without_reading_costs_little_memory(driver: Driver) {
    let body = "x".repeat(4000);
    let routes = format!("routes: [{{ match: {{ prefix: / }}, respond: {{ status: 200, body: {body} }} }}]");
    let proxy = Proxy::start(driver, &config(&routes, ""));
    proxy.client().get("/");
    let before = proxy.resident_bytes();
    let mut client = proxy.client();
    client.wire.stream.set_write_timeout(Some(Duration::from_millis(500))).expect("timeout");
    let requests = "GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
    // 40,000 responses of 4 KB, unless the proxy stops reading, which it should.
    let taken = (0..40).take_while(|_| client.wire.send(&requests)).count();
    let grown = proxy.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more for {taken},000 responses that nobody reads");
}

fn a_client_that_vanishes_in_its_response_frees_the_origin(driver: Driver) {
    let origin = flood(64 << 20);
    let proxy = Proxy::to(driver, &origin);
    for by_reset in [true, false] {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        client.wire.exactly(100_000).expect("a beginning");
        assert_eq!(origin.open(), 1);
        // A close with unread bytes resets, too.
        if by_reset {
            client.wire.reset();
        } else {
            drop(client);
        }
        eventually("the origin sees it", || origin.open() == 0);
    }
    eventually("nothing is under way", || proxy.stat("cluster.app.upstream_rq_active") == 0);
    assert_eq!(proxy.stat("http.web.downstream_cx_active"), 0);
}

fn a_client_that_vanishes_in_its_request_frees_the_origin(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        let _ = peer.request();
    });
    let proxy = Proxy::to(driver, &origin);
    for (round, by_reset) in [true, false].into_iter().enumerate() {
        for framing in ["content-length: 1000", "transfer-encoding: chunked"] {
            let mut client = proxy.client();
            client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n5\r\nhello\r\n"));
            eventually("it arrives", || origin.open() == 1);
            if by_reset {
                client.wire.reset();
            } else {
                drop(client);
            }
            eventually("the origin sees it", || origin.open() == 0);
        }
        assert_eq!(origin.accepted(), 2 * (round + 1));
    }
    assert!(origin.requests().is_empty(), "half a request never looks whole");
}

fn a_client_that_vanishes_while_it_waits_frees_the_origin(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        if peer.request().is_ok() {
            peer.wire.rest();
        }
    });
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("it arrives", || origin.requests().len() == 1);
    client.wire.reset();
    eventually("the origin sees it", || origin.open() == 0);
}

fn connections_that_say_nothing_harm_nobody(driver: Driver) {
    let origin = Origin::saying("x");
    let proxy = Proxy::to(driver, &origin);
    let mut silent: Vec<Client> = (0..100).map(|_| proxy.client()).collect();
    for client in silent.iter_mut().step_by(2) {
        client.send("G");
    }
    for (at, client) in silent.into_iter().enumerate() {
        if at % 3 == 0 {
            client.wire.reset();
        }
    }
    assert_eq!(proxy.client().get("/").text(), "x");
    eventually("all of them are gone", || proxy.stat("http.web.downstream_cx_active") == 0);
    assert_eq!(origin.requests().len(), 1);
}

/// Holds everybody until so many are there.
struct Gate {
    wanted: usize,
    arrived: Mutex<usize>,
    all: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut arrived = self.arrived.lock().expect("the gate");
        *arrived += 1;
        self.all.notify_all();
        let open = |arrived: &mut usize| *arrived < self.wanted;
        let _ = self.all.wait_timeout_while(arrived, crate::harness::DEADLINE, open);
    }
}

fn two_thousand_requests_may_be_under_way_at_once(driver: Driver) {
    const CLIENTS: usize = 2_000;
    let gate = Arc::new(Gate { wanted: CLIENTS, arrived: Mutex::new(0), all: Condvar::new() });
    let held = gate.clone();
    let origin = Origin::answering(move |request| {
        held.pass();
        ok(request.target())
    });
    let bounds =
        "breaker: { connections_max: 4000, pending_max: 4000, requests_max: 4000 }, idle_connections_max: 4000,";
    let proxy = Proxy::start(driver, &http(&[&origin], "", bounds));
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| proxy.client()).collect();
    for round in 0..2 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.response().text(), format!("/{number}"), "round {round}");
        }
    }
    assert_eq!(origin.accepted(), CLIENTS, "the second round uses the connections of the first");
    assert_eq!(proxy.stat("http.web.downstream_cx_active"), CLIENTS as u64);
}

fn origins_that_misbehave_by_turns_never_confuse_responses(driver: Driver) {
    let turn = Arc::new(AtomicUsize::new(0));
    let origin = Origin::new({
        move |mut peer| {
            while let Ok(request) = peer.request() {
                let body = format!("{}:{}", request.target(), request.text());
                match turn.fetch_add(1, Ordering::SeqCst) % 7 {
                    0 => return,
                    1 => return peer.wire.reset(),
                    2 => {
                        peer.wire.send(ok(body));
                        return;
                    }
                    3 => {
                        peer.wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len() + 1));
                        return;
                    }
                    4 => drop(peer.wire.trickle(ok(body))),
                    5 => drop(peer.wire.send([ok(body), b"junk".to_vec()].concat())),
                    _ => drop(peer.wire.send(ok(body))),
                }
            }
        }
    });
    let proxy = Proxy::to(driver, &origin);
    let good = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (proxy, good, failed) = (&proxy, &good, &failed);
            scope.spawn(move || {
                let mut client = proxy.client();
                for number in 0..60 {
                    let path = format!("/{worker}-{number}");
                    client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
                    match client.wire.response() {
                        Ok(response) if response.status() == 200 => {
                            good.fetch_add(1, Ordering::SeqCst);
                            if response.text() != format!("{path}:") {
                                failed.store(true, Ordering::SeqCst);
                            }
                        }
                        Ok(response) if response.status() == 503 => {}
                        Ok(response) => panic!("{response:?}"),
                        // The response that the origin broke off.
                        Err(_) => client = proxy.client(),
                    }
                }
            });
        }
    });
    assert!(!failed.into_inner(), "somebody got another's response");
    assert!(good.into_inner() > 100);
    eventually("nothing is under way", || proxy.stat("cluster.app.upstream_rq_active") == 0);
}

on_both_drivers!(
    a_slow_reader_costs_little_memory_and_gets_everything,
    a_slow_origin_costs_little_memory_and_gets_everything,
    a_client_that_never_reads_is_cut_off,
    the_last_response_arrives_whole_at_a_client_that_sends_its_next_request,
    pipelining_without_reading_costs_little_memory,
    a_client_that_vanishes_in_its_response_frees_the_origin,
    a_client_that_vanishes_in_its_request_frees_the_origin,
    a_client_that_vanishes_while_it_waits_frees_the_origin,
    connections_that_say_nothing_harm_nobody,
    two_thousand_requests_may_be_under_way_at_once,
    origins_that_misbehave_by_turns_never_confuse_responses,
);
