//! TCP listeners: bytes both ways, ends and failures of either side.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Broken, Client, Driver, Origin, Proxy, eventually, noise};

/// A listener `raw` with these fields of its `tcp`, in front of the endpoints.
fn config(tcp: &str, endpoints: &[String]) -> String {
    format!(
        "listeners: [{{ name: raw, address: '$raw', tcp: {{ {tcp} cluster: app }} }}]\n\
         clusters: [{{ name: app, endpoints: [{}] }}]\n",
        endpoints.iter().map(|endpoint| format!("'{endpoint}'")).collect::<Vec<_>>().join(", ")
    )
}

fn in_front_of(driver: Driver, origin: &Origin) -> Proxy {
    Proxy::start(driver, &config("", &[origin.address.to_string()]))
}

/// Says "hello" first, echoes until the client ends, then says "bye".
fn echoing() -> Origin {
    Origin::new(|mut peer| {
        peer.wire.send("hello");
        while let Ok(bytes) = peer.wire.exactly(1) {
            peer.wire.send(bytes);
        }
        peer.wire.send("bye");
    })
}

fn bytes_pass_both_ways_and_each_direction_ends_by_itself(driver: Driver) {
    let origin = echoing();
    let proxy = in_front_of(driver, &origin);
    let mut client = Client::connect(proxy.raw);
    assert_eq!(client.wire.exactly(5).expect("the endpoint speaks first"), b"hello");
    client.send("\0binary\r\n");
    assert_eq!(client.wire.exactly(9).expect("an echo"), b"\0binary\r\n");
    assert_eq!(proxy.stat("tcp.raw.downstream_cx_active"), 1);
    client.wire.end();
    assert_eq!(client.wire.rest(), (b"bye".to_vec(), Broken::Closed), "the other direction lives on");
    eventually("the session is over", || proxy.stat("tcp.raw.downstream_cx_active") == 0);
    assert_eq!(proxy.stat("tcp.raw.downstream_cx_rx_bytes_total"), 9);
    assert_eq!(proxy.stat("tcp.raw.downstream_cx_tx_bytes_total"), 17);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_active"), 0);
}

fn much_passes_unharmed_in_both_directions_at_once(driver: Driver) {
    let body = noise(8 << 20);
    let expected = body.clone();
    let origin = Origin::new(move |mut peer| {
        let mut sender = peer.wire.stream.try_clone().expect("a clone");
        let sent = expected.clone();
        let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, &sent));
        let came = peer.wire.exactly(expected.len());
        let _ = sending.join();
        peer.wire.send(if came.as_ref() == Ok(&expected) { "same" } else { "diff" });
    });
    let proxy = in_front_of(driver, &origin);
    let mut client = Client::connect(proxy.raw);
    let mut sender = client.wire.stream.try_clone().expect("a clone");
    let sent = body.clone();
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut sender, &sent));
    assert!(client.wire.exactly(body.len()).expect("all of it") == body);
    assert_eq!(client.wire.exactly(4).expect("a verdict"), b"same");
    sending.join().expect("a sender").expect("sent");
}

fn a_reset_stays_a_reset_on_the_other_side(driver: Driver) {
    let origin = Origin::new(|mut peer| {
        let Ok(_) = peer.wire.exactly(2) else { return };
        peer.wire.reset();
    });
    let proxy = in_front_of(driver, &origin);
    let mut client = Client::connect(proxy.raw);
    client.send("go");
    assert_eq!(client.wire.rest().1, Broken::Reset, "it must not look complete");

    let origin = Origin::new(|mut peer| {
        peer.wire.send("hello");
        let (_, broken) = peer.wire.rest();
        assert_eq!(broken, Broken::Reset, "nor to the endpoint");
    });
    let proxy = in_front_of(driver, &origin);
    let mut client = Client::connect(proxy.raw);
    client.wire.exactly(5).expect("a greeting");
    client.wire.reset();
    eventually("the endpoint sees it", || origin.open() == 0);
}

fn an_endpoint_that_refuses_is_passed_over_as_often_as_configured(driver: Driver) {
    let origin = echoing();
    let endpoints = ["127.0.0.1:1".to_string(), origin.address.to_string()];
    let proxy = Proxy::start(driver, &config("connect_attempts_max: 2,", &endpoints));
    for _ in 0..4 {
        let mut client = Client::connect(proxy.raw);
        assert_eq!(client.wire.exactly(5).expect("a greeting"), b"hello");
    }
    // By default there is one attempt: every second session ends at once.
    let proxy = Proxy::start(driver, &config("", &endpoints));
    let greeted = (0..4).filter(|_| Client::connect(proxy.raw).wire.exactly(5).is_ok()).count();
    assert_eq!(greeted, 2);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_connect_fail"), 2);
}

fn an_idle_session_is_closed_and_a_busy_one_is_not(driver: Driver) {
    let origin = echoing();
    let proxy = Proxy::start(driver, &config("idle_timeout: 300ms,", &[origin.address.to_string()]));
    let mut client = Client::connect(proxy.raw);
    client.wire.exactly(5).expect("a greeting");
    let began = Instant::now();
    while began.elapsed().as_millis() < 700 {
        client.send("x");
        assert_eq!(client.wire.exactly(1).expect("an echo"), b"x");
        std::thread::sleep(Duration::from_millis(50));
    }
    client.wire.expect_end();
    eventually("the endpoint's side is closed, too", || origin.open() == 0);
    assert_eq!(proxy.stat("tcp.raw.idle_timeout"), 1);
}

fn a_slow_reader_slows_the_endpoint_down_and_costs_little_memory(driver: Driver) {
    const BYTES: usize = 64 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let origin = Origin::new(move |mut peer| {
        let piece = noise(1 << 16);
        while counted.load(Ordering::SeqCst) < BYTES && peer.wire.send(&piece) {
            counted.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    let proxy = in_front_of(driver, &origin);
    let mut client = Client::connect(proxy.raw);
    client.wire.exactly(1).expect("a beginning");
    let (mut before, mut since) = (0, Instant::now());
    eventually("the endpoint is stopped", || {
        let now = sent.load(Ordering::SeqCst);
        if std::mem::replace(&mut before, now) != now {
            since = Instant::now();
        }
        since.elapsed() > Duration::from_millis(300)
    });
    assert!(before < BYTES, "all of it was taken while nobody read");
    assert!(proxy.resident_bytes() < 32 << 20, "{} bytes", proxy.resident_bytes());
    assert_eq!(1 + client.wire.rest().0.len(), BYTES);
    drop(client);
    eventually("it was counted at the session's end", || {
        proxy.stat("cluster.app.upstream_flow_control_paused_reading_total") > 0
    });
}

on_both_drivers!(
    bytes_pass_both_ways_and_each_direction_ends_by_itself,
    much_passes_unharmed_in_both_directions_at_once,
    a_reset_stays_a_reset_on_the_other_side,
    an_endpoint_that_refuses_is_passed_over_as_often_as_configured,
    an_idle_session_is_closed_and_a_busy_one_is_not,
    a_slow_reader_slows_the_endpoint_down_and_costs_little_memory,
);
