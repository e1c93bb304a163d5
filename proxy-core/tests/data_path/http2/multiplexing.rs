//! Many streams on few connections: sharing, flow control, connections that come to their end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use h2::server::Builder;
use http::Response;

use super::client::{Ask, H2, begin, exchange};
use super::origin::{H2Origin, Seen};
use super::raw::{DATA, PING, REFUSED_STREAM, Raw, WINDOW_UPDATE, frame, get, go_away, reset};
use crate::harness::{Driver, Origin, Proxy, config, eventually};
use crate::timeouts::Deaf;

/// A proxy in front of an HTTP/2 endpoint.
fn in_front_of(driver: Driver, endpoint: std::net::SocketAddr, fields: &str, cluster: &str) -> Proxy {
    let routes = "routes: [{ match: { prefix: / }, cluster: app }]";
    let app = format!("{{ name: app, protocol: http2, {cluster} endpoints: ['{endpoint}'] }}");
    Proxy::start(driver, &config(&format!("http2: {{ concurrent_streams_max: 300 }}, {fields} {routes}"), &app))
}

/// Asks so many times at once on one connection.
fn at_once(h2: &H2, count: usize, path: &str) -> Vec<u16> {
    h2.run(async {
        let asks = (0..count).map(|_| tokio::spawn(exchange(h2.send.clone(), Ask::new("GET", path))));
        let mut statuses = Vec::new();
        for ask in asks.collect::<Vec<_>>() {
            statuses.push(ask.await.expect("a task").map_or(0, |answer| answer.status));
        }
        statuses
    })
}

/// An origin that answers after a moment, and knows how many requests it had at once.
fn busy_origin(seen: &Arc<Seen>, streams_max: u32) -> (H2Origin, Arc<AtomicUsize>) {
    let most = Arc::new(AtomicUsize::new(0));
    let (now, top) = (Arc::new(AtomicUsize::new(0)), most.clone());
    let mut builder = Builder::new();
    builder.max_concurrent_streams(streams_max);
    let origin = H2Origin::serving(seen, &builder, move |_, mut respond| {
        let (now, top) = (now.clone(), top.clone());
        Box::pin(async move {
            top.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            let _ = respond.send_response(Response::new(()), true);
        })
    });
    (origin, most)
}

fn many_streams_share_one_connection(driver: Driver) {
    let seen = Arc::new(Seen::default());
    let (origin, most) = busy_origin(&seen, 1000);
    let proxy = in_front_of(driver, origin.address, "", "");
    let h2 = H2::connect(proxy.web);
    assert_eq!(at_once(&h2, 1, "/"), [200], "the endpoint's limit is known from here");
    assert_eq!(at_once(&h2, 200, "/"), [200; 200]);
    assert_eq!(seen.accepted(), 1);
    assert!(most.load(Ordering::SeqCst) > 100, "{most:?} at once");
}

fn connections_fill_up_to_the_endpoints_limit_and_no_further(driver: Driver) {
    let seen = Arc::new(Seen::default());
    let (origin, _) = busy_origin(&seen, 10);
    let proxy = in_front_of(driver, origin.address, "", "");
    let h2 = H2::connect(proxy.web);
    // What the endpoint allows is not known yet: what it refuses is sent again.
    assert_eq!(at_once(&h2, 200, "/"), [200; 200]);
    let accepted = seen.accepted();
    assert!((10..=25).contains(&accepted), "{accepted} connections for 200 requests, 10 on each");
    assert_eq!(at_once(&h2, 100, "/"), [200; 100]);
    assert_eq!(seen.accepted(), accepted, "there is room on those");
}

fn requests_over_the_bound_wait_for_a_stream_not_for_a_connection(driver: Driver) {
    let seen = Arc::new(Seen::default());
    let (origin, most) = busy_origin(&seen, 10);
    let proxy = in_front_of(driver, origin.address, "", "breaker: { connections_max: 1 },");
    let h2 = H2::connect(proxy.web);
    assert_eq!(at_once(&h2, 1, "/"), [200]);
    assert_eq!(at_once(&h2, 100, "/"), [200; 100]);
    assert_eq!((seen.accepted(), most.load(Ordering::SeqCst)), (1, 10));
    assert_eq!(proxy.stat("cluster.app.upstream_rq_pending_active"), 0);
}

fn who_waits_for_another_endpoint_gets_the_place_of_a_connection_that_has_nothing_to_do(driver: Driver) {
    let seen = Arc::new(Seen::default());
    let (one, two) = (busy_origin(&seen, 10).0, busy_origin(&seen, 10).0);
    let cluster = format!("breaker: {{ connections_max: 1 }}, endpoints: ['{}', '{}']", one.address, two.address);
    let app = format!("{{ name: app, protocol: http2, {cluster} }}");
    let proxy = Proxy::start(driver, &config("routes: [{ match: { prefix: / }, cluster: app }]", &app));
    let h2 = H2::connect(proxy.web);
    // In turn at both, for which there is one connection: each time the other's has to go.
    let began = Instant::now();
    assert_eq!(at_once(&h2, 4, "/"), [200; 4]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

fn an_endpoint_that_cannot_be_reached_fails_all_who_wait_at_once(driver: Driver) {
    let deaf = Deaf::new();
    let proxy = in_front_of(driver, deaf.address, "", "connect_timeout: 200ms,");
    let h2 = H2::connect(proxy.web);
    let began = Instant::now();
    assert_eq!(at_once(&h2, 50, "/"), [503; 50]);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(4), "one after the other: {took:?}");
}

fn a_slow_reader_stops_its_own_stream_only(driver: Driver) {
    const BODY_BYTES: usize = 16 << 20;
    let seen = Arc::new(Seen::default());
    let origin = H2Origin::serving(&seen, &Builder::new(), move |request, mut respond| {
        Box::pin(async move {
            let size = if request.uri().path() == "/large" { BODY_BYTES } else { 10 };
            let mut stream = respond.send_response(Response::new(()), false).expect("sent");
            let _ = stream.send_data(vec![b'x'; size].into(), true);
            let _ = std::future::poll_fn(|context| stream.poll_reset(context)).await;
        })
    });
    let proxy = in_front_of(driver, origin.address, "", "");
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(64 << 20).initial_window_size(64 << 10);
    let h2 = H2::connect_with(proxy.web, &builder);
    let ask = |path: &str| Ask::new("GET", path);
    h2.ask(&ask("/small")).expect("an answer");
    let before = proxy.resident_bytes();
    let stuck: Vec<_> = (0..20)
        .map(|_| {
            let (response, _) = h2.run(begin(h2.send.clone(), ask("/large").request(), true)).expect("sent");
            h2.run(response).expect("a head").into_body()
        })
        .collect();
    for _ in 0..50 {
        assert_eq!(h2.ask(&ask("/small")).expect("an answer").body.len(), 10);
    }
    let grown = proxy.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for 20 streams that nobody reads");
    for mut body in stuck {
        let (bytes, _) = h2.run(super::client::collect(&mut body)).expect("the whole body");
        assert_eq!(bytes.len(), BODY_BYTES);
    }
}

fn uploads_that_nobody_takes_stop_no_others(driver: Driver) {
    let seen = Arc::new(Seen::default());
    let mut builder = Builder::new();
    builder.initial_connection_window_size(64 << 20).initial_window_size(64 << 10);
    let origin = H2Origin::serving(&seen, &builder, move |request, mut respond| {
        Box::pin(async move {
            let stalls = request.uri().path() == "/stall";
            let mut body = request.into_body();
            if stalls {
                let _ = std::future::poll_fn(|context| respond.poll_reset(context)).await;
                return;
            }
            let (bytes, _) = super::client::collect(&mut body).await.expect("the whole body");
            let mut stream = respond.send_response(Response::new(()), false).expect("sent");
            let _ = stream.send_data(bytes.len().to_string().into(), true);
        })
    });
    let proxy = in_front_of(driver, origin.address, "", "");
    let h2 = H2::connect(proxy.web);
    let before = proxy.resident_bytes();
    let stalled: Vec<_> = (0..100)
        .map(|_| {
            let request = Ask::new("POST", "/stall").request();
            let (response, mut body) = h2.run(begin(h2.send.clone(), request, false)).expect("sent");
            body.send_data(vec![b'x'; 1 << 20].into(), true).expect("queued");
            (response, body)
        })
        .collect();
    // Each comes as far as it may.
    h2.until("they stall", || proxy.stat("cluster.app.upstream_rq_active") == 100);
    for _ in 0..20 {
        let got = h2.ask(&Ask::new("POST", "/read").body(vec![b'x'; 1 << 20], true)).expect("an answer");
        assert_eq!((got.status, got.body.as_slice()), (200, &b"1048576"[..]));
    }
    let grown = proxy.resident_bytes().saturating_sub(before);
    // A stream's window, and what is queued for the endpoint, each.
    assert!(grown < 100 * (600 << 10), "{grown} bytes");
    drop(stalled);
    h2.until("nothing is under way", || proxy.stat("cluster.app.upstream_rq_active") == 0);
    assert_eq!(h2.ask(&Ask::new("POST", "/read").body(b"x".to_vec(), true)).expect("an answer").status, 200);
}

/// Crumbs of streams that nobody takes, each in a receive buffer that is otherwise full of what others upload.
fn crumbs_that_nobody_takes_hold_no_buffers(driver: Driver) {
    const CRUMBS: usize = 600;
    let seen = Arc::new(Seen::default());
    let mut builder = Builder::new();
    builder.initial_connection_window_size(64 << 20).initial_window_size(1 << 10);
    let origin = H2Origin::serving(&seen, &builder, move |request, mut respond| {
        Box::pin(async move {
            if request.uri().path() == "/stall" {
                let _ = std::future::poll_fn(|context| respond.poll_reset(context)).await;
                return;
            }
            let mut body = request.into_body();
            let (bytes, _) = super::client::collect(&mut body).await.expect("the whole body");
            let mut stream = respond.send_response(Response::new(()), false).expect("sent");
            let _ = stream.send_data(bytes.len().to_string().into(), true);
        })
    });
    let proxy = in_front_of(driver, origin.address, "", "");
    let h2 = H2::connect(proxy.web);
    let (_response, mut stalled) =
        h2.run(begin(h2.send.clone(), Ask::new("POST", "/stall").request(), false)).expect("sent");
    h2.until("it is under way", || proxy.stat("cluster.app.upstream_rq_active") == 1);
    let before = proxy.resident_bytes();
    for at in 0..CRUMBS {
        // As many bytes as a receive buffer has, but for the crumb.
        stalled.send_data(vec![b'x'; 600].into(), false).expect("sent");
        let got = h2.ask(&Ask::new("POST", "/read").body(vec![b'x'; 60_000], true)).expect("an answer");
        assert_eq!((got.status, got.body.as_slice()), (200, &b"60000"[..]), "{at}");
    }
    let grown = proxy.resident_bytes().saturating_sub(before);
    assert!(grown < 12 << 20, "{grown} bytes for {CRUMBS} crumbs");
    stalled.send_reset(h2::Reason::CANCEL);
    h2.until("nothing is under way", || proxy.stat("cluster.app.upstream_rq_active") == 0);
}

/// An endpoint spoken by hand: `first` has the first connection, the others answer everything.
fn scripted(first: impl Fn(&mut Raw) + Send + Sync + 'static) -> Origin {
    let number = AtomicUsize::new(0);
    Origin::new(move |peer| {
        let Some(mut raw) = Raw::endpoint(peer.wire) else { return };
        if number.fetch_add(1, Ordering::SeqCst) == 0 {
            first(&mut raw);
        }
        while let Some(stream) = raw.request() {
            raw.answer(stream);
        }
    })
}

fn a_go_away_moves_what_was_not_processed(driver: Driver) {
    let origin = scripted(|raw| {
        for _ in 0..6 {
            raw.request();
        }
        // The first three were processed, says the endpoint.
        raw.send(go_away(5, 0));
        for stream in [1, 3, 5] {
            raw.answer(stream);
        }
    });
    let proxy = in_front_of(driver, origin.address, "", "");
    let h2 = H2::connect(proxy.web);
    let statuses = h2.run(async {
        // Methods that must not be sent twice unless nobody has seen them.
        let asks: Vec<_> = (0..6).map(|_| tokio::spawn(exchange(h2.send.clone(), Ask::new("POST", "/")))).collect();
        let mut statuses = Vec::new();
        for ask in asks {
            statuses.push(ask.await.expect("a task").map_or(0, |answer| answer.status));
        }
        statuses
    });
    assert_eq!(statuses, [200; 6]);
    assert_eq!(origin.accepted(), 2);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_success"), 3);
    eventually("the first connection is closed", || origin.open() == 1);
}

fn a_go_away_of_a_client_leaves_its_requests_alone(driver: Driver) {
    let origin = scripted(|_| {});
    let proxy = in_front_of(driver, origin.address, "", "");
    let mut raw = Raw::client(proxy.web);
    // It names the last of the streams that we opened, which is none.
    raw.send([get(1), get(3), go_away(0, 0)].concat());
    for _ in 0..2 {
        raw.expect(super::raw::HEADERS);
    }
    eventually("both are counted", || proxy.stat("http.web.downstream_rq_2xx") == 2);
}

fn connections_are_counted_under_the_version_that_they_speak(driver: Driver) {
    let origin = scripted(|_| {});
    let proxy = in_front_of(driver, origin.address, "", "");
    let counted = || ["1", "2"].map(|version| proxy.stat(&format!("http.web.downstream_cx_http{version}_total")));
    let silent = std::net::TcpStream::connect(proxy.web).expect("connects");
    let mut raw = Raw::client(proxy.web);
    raw.send(get(1));
    raw.expect(super::raw::HEADERS);
    eventually("both are accepted", || proxy.stat("http.web.downstream_cx_total") == 2);
    assert_eq!(counted(), [0, 1]);
    drop(silent);
    let mut client = crate::harness::Client::connect(proxy.web);
    for _ in 0..2 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(counted(), [1, 1]);
}

fn a_refused_stream_is_sent_again_a_few_times(driver: Driver) {
    let origin = scripted(|raw| {
        for _ in 0..3 {
            let stream = raw.request().expect("a request");
            raw.send(reset(stream, REFUSED_STREAM));
        }
    });
    let proxy = in_front_of(driver, origin.address, "", "");
    let h2 = H2::connect(proxy.web);
    assert_eq!(h2.ask(&Ask::new("POST", "/")).expect("an answer").status, 200);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry"), 3);
    let origin = scripted(|raw| {
        while let Some(stream) = raw.request() {
            raw.send(reset(stream, REFUSED_STREAM));
        }
    });
    let proxy = in_front_of(driver, origin.address, "", "");
    let h2 = H2::connect(proxy.web);
    assert_eq!(h2.ask(&Ask::new("POST", "/")).expect("an answer").status, 503, "not for ever");
    assert!(proxy.stat("cluster.app.upstream_rq_retry") < 10);
}

fn a_request_that_ends_its_connections_is_sent_again_once(driver: Driver) {
    const CONNECTIONS: usize = 6;
    let (kills, deadly) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, ends, all) = (kills.clone(), deadly.clone(), Barrier::new(CONNECTIONS));
    let origin = Origin::new(move |peer| {
        let Some(mut raw) = Raw::endpoint(peer.wire) else { return };
        while let Some(stream) = raw.request() {
            if ends.load(Ordering::SeqCst) {
                counted.fetch_add(1, Ordering::SeqCst);
                return;
            }
            all.wait();
            raw.answer(stream);
        }
    });
    let routes = "routes: [{ match: { prefix: /retried }, cluster: app, retry: { on: reset, attempts: 2 } }, \
                  { match: { prefix: / }, cluster: app }]";
    let app = format!("{{ name: app, protocol: http2, concurrent_streams_max: 1, endpoints: ['{}'] }}", origin.address);
    let proxy = Proxy::start(driver, &config(routes, &app));
    let h2 = H2::connect(proxy.web);
    for (method, path, sent) in [("GET", "/", 2), ("POST", "/", 1), ("GET", "/retried", 4), ("POST", "/retried", 3)] {
        // There are more connections that have answered before, as those have that close just as a request goes out.
        deadly.store(false, Ordering::SeqCst);
        assert_eq!(at_once(&h2, CONNECTIONS, "/"), [200; CONNECTIONS]);
        deadly.store(true, Ordering::SeqCst);
        kills.store(0, Ordering::SeqCst);
        assert_eq!(h2.ask(&Ask::new(method, path)).expect("an answer").status, 503);
        assert_eq!(kills.load(Ordering::SeqCst), sent, "{method} {path}");
    }
}

fn a_stream_reset_for_another_reason_is_not_sent_again(driver: Driver) {
    let origin = scripted(|raw| {
        let stream = raw.request().expect("a request");
        raw.send(reset(stream, 2));
    });
    let proxy = in_front_of(driver, origin.address, "", "");
    let h2 = H2::connect(proxy.web);
    assert_eq!(h2.ask(&Ask::new("GET", "/")).expect("an answer").status, 503);
    assert_eq!(h2.ask(&Ask::new("GET", "/")).expect("an answer").status, 200, "the connection goes on");
    assert_eq!(origin.accepted(), 1);
}

fn endpoints_that_close_when_idle_cause_no_error(driver: Driver) {
    // Answers one request and closes, half of the time with a word.
    let number = AtomicUsize::new(0);
    let origin = Origin::new(move |peer| {
        let Some(mut raw) = Raw::endpoint(peer.wire) else { return };
        let Some(stream) = raw.request() else { return };
        raw.answer(stream);
        if number.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            raw.send(go_away(stream, 0));
        }
    });
    let proxy = in_front_of(driver, origin.address, "", "");
    let h2 = H2::connect(proxy.web);
    for _ in 0..60 {
        assert_eq!(h2.ask(&Ask::new("GET", "/")).expect("an answer").status, 200);
    }
}

fn upstream_connections_end_when_idle_or_used_up(driver: Driver) {
    let origin = scripted(|_| {});
    let proxy = in_front_of(driver, origin.address, "", "idle_timeout: 100ms,");
    let h2 = H2::connect(proxy.web);
    assert_eq!(h2.ask(&Ask::new("GET", "/")).expect("an answer").status, 200);
    eventually("the idle connection is closed", || origin.open() == 0);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_idle_timeout"), 1);
    assert_eq!(h2.ask(&Ask::new("GET", "/")).expect("an answer").status, 200);
    let origin = scripted(|_| {});
    let proxy = in_front_of(driver, origin.address, "", "requests_per_connection_max: 3,");
    let h2 = H2::connect(proxy.web);
    for _ in 0..7 {
        assert_eq!(h2.ask(&Ask::new("GET", "/")).expect("an answer").status, 200);
    }
    assert_eq!(origin.accepted(), 3);
    eventually("those that are used up are closed", || origin.open() == 1);
}

fn client_connections_end_when_idle_or_used_up(driver: Driver) {
    let origin = scripted(|_| {});
    let proxy = in_front_of(driver, origin.address, "timeouts: { idle: 150ms },", "");
    let mut raw = Raw::client(proxy.web);
    raw.send(get(1));
    raw.expect(super::raw::HEADERS);
    let end = raw.expect(super::raw::GOAWAY);
    assert_eq!((end.code(), end.payload[..4].to_vec()), (0, vec![0, 0, 0, 1]));
    raw.wire.expect_end();
    let proxy = in_front_of(driver, origin.address, "requests_per_connection_max: 3,", "");
    let mut raw = Raw::client(proxy.web);
    for stream in [1, 3, 5] {
        raw.send(get(stream));
    }
    let notice = raw.expect(super::raw::GOAWAY);
    assert_eq!(notice.payload[..4], 0x7fff_ffffu32.to_be_bytes(), "requests may be on their way");
    raw.send(get(7));
    let end = raw.expect(super::raw::GOAWAY);
    assert_eq!((end.code(), &end.payload[..4]), (0, &7u32.to_be_bytes()[..]));
    raw.wire.expect_end();
    assert_eq!(proxy.stat("http.web.downstream_rq_2xx"), 4);
}

fn a_reset_without_a_reason_is_one_all_the_same(driver: Driver) {
    let origin = Origin::new(|peer| {
        let Some(mut raw) = Raw::endpoint(peer.wire) else { return };
        let Some(stream) = raw.request() else { return };
        assert_eq!(raw.expect(super::raw::RST_STREAM).stream, stream);
        // Told: the test waits for the end.
    });
    let proxy = in_front_of(driver, origin.address, "", "");
    let mut raw = Raw::client(proxy.web);
    raw.send(get(1));
    eventually("it is under way", || proxy.stat("cluster.app.upstream_rq_active") == 1);
    raw.send(reset(1, 0));
    let began = Instant::now();
    eventually("it is given up", || proxy.stat("cluster.app.upstream_rq_active") == 0);
    assert!(began.elapsed() < Duration::from_secs(10), "by the reset, not by a timeout");
    eventually("the endpoint hears of it", || origin.open() == 0);
}

fn uploads_stop_where_the_endpoint_does_not_read(driver: Driver) {
    let origin = Origin::new(|peer| {
        let Some(mut raw) = Raw::endpoint(peer.wire) else { return };
        let Some(stream) = raw.request() else { return };
        let mut read = 0;
        while read < 65_535 {
            read += raw.expect(DATA).payload.len();
        }
        raw.send(frame(PING, 0, 0, b"ping-one"));
        raw.expect(PING);
        assert_eq!(read, 65_535, "not a byte more than the window");
        raw.send(frame(WINDOW_UPDATE, 0, 0, &8_000_000u32.to_be_bytes()));
        raw.send(frame(WINDOW_UPDATE, 0, stream, &8_000_000u32.to_be_bytes()));
        while read < 4_000_000 {
            read += raw.expect(DATA).payload.len();
        }
        raw.answer(stream);
        raw.request();
    });
    let proxy = in_front_of(driver, origin.address, "", "");
    let h2 = H2::connect(proxy.web);
    let before = proxy.resident_bytes();
    let ask = Ask::new("POST", "/").body(vec![b'x'; 4_000_000], true);
    assert_eq!(h2.ask(&ask).expect("an answer").status, 200);
    let grown = proxy.resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
}

on_both_drivers!(
    many_streams_share_one_connection,
    connections_fill_up_to_the_endpoints_limit_and_no_further,
    requests_over_the_bound_wait_for_a_stream_not_for_a_connection,
    who_waits_for_another_endpoint_gets_the_place_of_a_connection_that_has_nothing_to_do,
    an_endpoint_that_cannot_be_reached_fails_all_who_wait_at_once,
    a_slow_reader_stops_its_own_stream_only,
    a_go_away_moves_what_was_not_processed,
    a_go_away_of_a_client_leaves_its_requests_alone,
    connections_are_counted_under_the_version_that_they_speak,
    a_refused_stream_is_sent_again_a_few_times,
    a_request_that_ends_its_connections_is_sent_again_once,
    a_stream_reset_for_another_reason_is_not_sent_again,
    endpoints_that_close_when_idle_cause_no_error,
    upstream_connections_end_when_idle_or_used_up,
    client_connections_end_when_idle_or_used_up,
    a_reset_without_a_reason_is_one_all_the_same,
    uploads_that_nobody_takes_stop_no_others,
    crumbs_that_nobody_takes_hold_no_buffers,
    uploads_stop_where_the_endpoint_does_not_read,
);
