//! Peers that mean harm: what they do costs them their connection, not others theirs, and nothing malformed passes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{Ask, H2};
use super::origin::{H2Origin, Seen};
use super::raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, GET, GOAWAY, HEADERS, PING, PREFACE,
    PRIORITY, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, block, frame, get, reset,
};
use crate::harness::{Driver, Origin, Proxy, config, eventually};

fn proxy_to(driver: Driver, endpoint: std::net::SocketAddr, fields: &str) -> Proxy {
    let app = format!("{{ name: app, protocol: http2, endpoints: ['{endpoint}'] }}");
    Proxy::start(driver, &config(&format!("{fields} routes: [{{ match: {{ prefix: / }}, cluster: app }}]"), &app))
}

struct Setting {
    proxy: Proxy,
    seen: Arc<Seen>,
    neighbour: H2,
}

impl Setting {
    fn new(driver: Driver, fields: &str) -> Setting {
        let seen = Arc::new(Seen::default());
        let origin = H2Origin::new(&seen, &h2::server::Builder::new());
        let proxy = proxy_to(driver, origin.address, fields);
        let neighbour = H2::connect(proxy.web);
        Setting { proxy, seen, neighbour }
    }

    #[track_caller]
    fn neighbour_is_well(&self) {
        let got = self.neighbour.ask(&Ask::new("GET", "/small")).expect("an answer");
        assert_eq!((got.status, got.body.as_slice()), (200, &b"small"[..]));
    }

    /// Sends, and has to be told to calm down.
    #[track_caller]
    fn is_calmed(&self, counter: &str, bytes: &[u8]) {
        let mut raw = Raw::client(self.proxy.web);
        raw.send(bytes);
        let end = raw.expect(GOAWAY);
        let why = String::from_utf8_lossy(&end.payload[8..]).into_owned();
        assert_eq!(end.code(), ENHANCE_YOUR_CALM, "{counter}: {why}");
        assert_eq!(self.proxy.stat(&format!("http.web.http2.{counter}")), 1, "{counter}: {why}");
        self.neighbour_is_well();
    }
}

/// A request whose body is to come.
fn post(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut all = vec![(":method", "POST"), (":scheme", "http"), (":path", "/echo"), (":authority", "app.test")];
    all.extend_from_slice(fields);
    frame(HEADERS, END_HEADERS, stream, &block(&all))
}

fn floods_end_their_connection_and_no_other(driver: Driver) {
    let setting = Setting::new(driver, "");
    setting.neighbour_is_well();
    let rapid: Vec<u8> = (0..400).flat_map(|at| [get(at * 2 + 1), reset(at * 2 + 1, 8)].concat()).collect();
    setting.is_calmed("reset_flood", &rapid);
    let silent: Vec<u8> = (0..400).flat_map(|at| [get(at * 2 + 1), reset(at * 2 + 1, 0)].concat()).collect();
    let before = setting.proxy.stat("http.web.http2.reset_flood");
    let mut raw = Raw::client(setting.proxy.web);
    raw.send(silent);
    assert_eq!(raw.expect(GOAWAY).code(), ENHANCE_YOUR_CALM);
    assert_eq!(setting.proxy.stat("http.web.http2.reset_flood"), before + 1);
    let sent = setting.proxy.stat("cluster.app.upstream_rq_total");
    assert!(sent < 50, "{sent} requests of those that were taken back at once were sent to the endpoint");
    let pieces = frame(CONTINUATION, 0, 1, b"");
    let flood = [frame(HEADERS, END_STREAM, 1, &block(&GET)), pieces.repeat(10_000)].concat();
    setting.is_calmed("continuation_flood", &flood);
    setting.is_calmed("settings_flood", &frame(SETTINGS, 0, 0, &[]).repeat(1000));
    setting.is_calmed("ping_flood", &frame(PING, 0, 0, b"ping-ing").repeat(1000));
    let flood = [post(1, &[]), frame(DATA, 0, 1, &[]).repeat(1000)].concat();
    setting.is_calmed("inbound_empty_frames_flood", &flood);
    let flood = [post(1, &[]), frame(DATA, 0, 1, b"x").repeat(15_000)].concat();
    setting.is_calmed("inbound_small_frames_flood", &flood);
    let priority = frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]);
    setting.is_calmed("inbound_priority_frames_flood", &priority.repeat(1000));
    let update = frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes());
    setting.is_calmed("inbound_window_update_frames_flood", &update.repeat(5000));
    setting.is_calmed("ignored_frame_flood", &frame(0xbe, 0, 0, b"?").repeat(5000));
    // Uppercase: each is a stream error.
    let wrong = |at: u32| frame(HEADERS, END_HEADERS | END_STREAM, at * 2 + 1, &block(&[("Wrong", "1")]));
    setting.is_calmed("stream_error_flood", &(0..400).flat_map(wrong).collect::<Vec<_>>());
    eventually("nothing is under way", || setting.proxy.stat("http.web.downstream_rq_active") == 0);
    assert_eq!(setting.proxy.stat("http.web.downstream_cx_http2_active"), 1);
}

/// A table entry of 4000 bytes, referred to by one byte each.
fn a_header_bomb_is_refused_before_it_unfolds(driver: Driver) {
    let setting = Setting::new(driver, "");
    setting.neighbour_is_well();
    let before = setting.proxy.resident_bytes();
    for _ in 0..20 {
        let mut bomb = vec![0x40, 1, b'x', 127, 0xa1, 0x1e];
        bomb.extend_from_slice(&[b'v'; 4000]);
        let bomb = [block(&GET), bomb, vec![0xbe; 12_000]].concat();
        let mut raw = Raw::client(setting.proxy.web);
        raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb));
        // 431, or the end of the connection: both are in order.
        let answer = raw.read().and_then(|_| {
            loop {
                let frame = raw.read()?;
                if matches!(frame.kind, HEADERS | GOAWAY) {
                    break Ok(frame);
                }
            }
        });
        assert!(answer.is_ok(), "{answer:?}");
    }
    assert_eq!(setting.seen.count(), 1, "only the neighbour's");
    let grown = setting.proxy.resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
    setting.neighbour_is_well();
}

fn a_head_over_the_limit_is_a_431(driver: Driver) {
    let setting = Setting::new(driver, "");
    let large = "v".repeat(30_000);
    let ask = Ask::new("GET", "/small").with("x-a", &large).with("x-b", &large).with("x-c", &large);
    assert_eq!(setting.neighbour.ask(&ask).expect("an answer").status, 431);
    let mut many = Ask::new("GET", "/small");
    for at in 0..500 {
        many = many.with("x-a", &at.to_string());
    }
    assert_eq!(setting.neighbour.ask(&many).expect("an answer").status, 431);
    let crumbs: Vec<String> = (0..4000).map(|at| format!("a{at}=0123456789")).collect();
    let mut cookies = Ask::new("GET", "/small");
    for crumb in &crumbs {
        cookies = cookies.with("cookie", crumb);
    }
    assert_eq!(setting.neighbour.ask(&cookies).expect("an answer").status, 431, "crumbs count");
    setting.neighbour_is_well();
    assert_eq!(setting.seen.count(), 1);
    assert_eq!(setting.proxy.stat("http.web.downstream_rq_active"), 0);
}

fn windows_that_stay_shut_are_given_up(driver: Driver) {
    let setting = Setting::new(driver, "timeouts: { stream_idle: 300ms },");
    let began = Instant::now();
    // INITIAL_WINDOW_SIZE = 0.
    let mut raw = Raw::client_with(setting.proxy.web, &[(4, 0)]);
    for at in 0..100 {
        raw.send(get(at * 2 + 1));
    }
    for _ in 0..100 {
        raw.expect(RST_STREAM);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    eventually("nothing is held", || setting.proxy.stat("http.web.downstream_rq_active") == 0);
    raw.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]));
    raw.send(get(201));
    raw.expect(HEADERS);
    assert_eq!(raw.expect(DATA).payload, b"small", "the connection goes on");
    setting.neighbour_is_well();
}

fn malformed_requests_never_reach_the_endpoint(driver: Driver) {
    let setting = Setting::new(driver, "");
    let with = |name: &'static str, value: &'static str| [&GET[..], &[(name, value)]].concat();
    let without = |name: &str| GET.iter().copied().filter(|(field, _)| *field != name).collect::<Vec<_>>();
    let instead = |name: &str, value: &'static str| {
        GET.iter().map(|(field, old)| (*field, if *field == name { value } else { old })).collect::<Vec<_>>()
    };
    let heads = [
        with("Upper", "1"),
        with("connection", "close"),
        with("keep-alive", "timeout=5"),
        with("proxy-connection", "close"),
        with("transfer-encoding", "chunked"),
        with("upgrade", "websocket"),
        with("te", "gzip"),
        with("x", "a\r\nb: c"),
        with("x", "a\nb"),
        with("x", "a\0b"),
        with("x", " a"),
        with("x y", "a"),
        with("x:", "a"),
        with("", "a"),
        with(":path", "/other"),
        with(":status", "200"),
        with(":unknown", "1"),
        with("host", "other.test"),
        with("content-length", "5"),
        with("content-length", "-1"),
        [vec![("x", "before")], GET.to_vec()].concat(),
        without(":method"),
        without(":scheme"),
        without(":path"),
        instead(":path", ""),
        instead(":path", "small"),
        instead(":path", "/a b"),
        instead(":path", "/a\r\nx: y"),
        instead(":method", "G T"),
        instead(":authority", "a@b"),
        instead(":authority", "a b"),
    ];
    let mut raw = Raw::client(setting.proxy.web);
    for (at, head) in heads.iter().enumerate() {
        let stream = at as u32 * 2 + 1;
        raw.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(head)));
        let refused = loop {
            let frame = raw.read().unwrap_or_else(|broken| panic!("{head:?}: {broken:?}"));
            if frame.stream == stream || frame.kind == GOAWAY {
                break frame;
            }
        };
        // A stream error, or an answer that isn't the endpoint's.
        let by_us = refused.kind == RST_STREAM || (refused.kind == HEADERS && refused.payload[0] != 0x88);
        assert!(by_us, "{head:?}: {refused:?}");
        assert_eq!(setting.seen.begun(), 0, "{head:?}");
    }
    setting.neighbour_is_well();
}

fn a_body_of_another_length_than_promised_is_reset(driver: Driver) {
    let setting = Setting::new(driver, "");
    let mut raw = Raw::client(setting.proxy.web);
    for (stream, body) in [(1, "too long for it"), (3, "abc")] {
        raw.send(post(stream, &[("content-length", "5")]));
        raw.send(frame(DATA, END_STREAM, stream, body.as_bytes()));
        let refused = raw.expect(RST_STREAM);
        assert_eq!((refused.stream, refused.code()), (stream, 1), "PROTOCOL_ERROR");
    }
    eventually("nothing is under way", || setting.proxy.stat("http.web.downstream_rq_active") == 0);
    assert_eq!(setting.seen.count(), 0, "no whole request");
    setting.neighbour_is_well();
}

/// What an endpoint answers instead of a response, and what the client gets: never a 200.
fn endpoints_that_talk_nonsense_are_dropped(driver: Driver) {
    let interim = frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "103")]));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("not HTTP/2", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()),
        ("a frame that is too large", frame(DATA, 0, 1, &[0; 40_000])),
        ("data on a stream that nobody opened", frame(DATA, 0, 99, b"x")),
        ("a window of nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("settings of a wrong length", frame(SETTINGS, 0, 0, b"12345")),
        ("an index that is in no table", frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0x03])),
        ("data before the head", frame(DATA, 0, 1, b"x")),
        ("trailers before the head", frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x", "1")]))),
        ("a head without status", frame(HEADERS, END_HEADERS, 1, &block(&[("x", "1")]))),
        ("an uppercase name", frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "200"), ("X", "1")]))),
        ("a connection's field", frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "200"), ("connection", "a")]))),
        ("a status of no kind", frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "20")]))),
        ("a switch of protocols", frame(HEADERS, END_HEADERS, 1, &block(&[(":status", "101")]))),
        ("an end with an interim head", frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(":status", "103")]))),
        ("interim heads without end", interim.repeat(5000)),
        ("a push", frame(5, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])),
        ("pieces of a head without end", {
            let head = frame(HEADERS, 0, 1, &block(&[(":status", "200")]));
            [head, frame(CONTINUATION, 0, 1, b"").repeat(10_000)].concat()
        }),
    ];
    for (what, bytes) in cases {
        let origin = Origin::new(move |peer| {
            let Some(mut raw) = Raw::endpoint(peer.wire) else { return };
            raw.request();
            raw.send(&bytes);
            while raw.read().is_ok() {}
        });
        let proxy = proxy_to(driver, origin.address, "");
        let h2 = H2::connect(proxy.web);
        let began = Instant::now();
        let got = h2.ask(&Ask::new("GET", "/small")).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(got.status, 502, "{what}");
        assert!(began.elapsed() < Duration::from_secs(5), "{what}: {:?}", began.elapsed());
        assert_eq!(proxy.stat("cluster.app.upstream_rq_active"), 0, "{what}");
        assert_eq!(proxy.stat("cluster.app.upstream_rq_retry"), 0, "{what}: it has seen the request");
    }
}

fn interim_heads_without_end_are_a_bad_response_over_http1_too(driver: Driver) {
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let origin = Origin::new(move |mut peer| {
        if peer.request().is_ok() {
            while peer.wire.send(interim.repeat(20)) {}
        }
    });
    let app = format!("{{ name: app, endpoints: ['{}'] }}", origin.address);
    let proxy = Proxy::start(driver, &config("routes: [{ match: { prefix: / }, cluster: app }]", &app));
    let h2 = H2::connect(proxy.web);
    assert_eq!(h2.ask(&Ask::new("GET", "/")).expect("an answer").status, 502);
    eventually("its connection is closed", || origin.open() == 0);
}

fn an_endpoint_that_floods_loses_its_connection_only(driver: Driver) {
    let origin = Origin::new(move |peer| {
        let Some(mut raw) = Raw::endpoint(peer.wire) else { return };
        raw.request();
        raw.send(frame(PING, 0, 0, b"ping-ing").repeat(2000));
        while raw.read().is_ok() {}
    });
    let proxy = proxy_to(driver, origin.address, "");
    let h2 = H2::connect(proxy.web);
    assert_eq!(h2.ask(&Ask::new("POST", "/")).expect("an answer").status, 502);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_protocol_error"), 1);
    eventually("its connection is closed", || origin.open() == 0);
}

/// The GOAWAY; whatever comes before it is left unanswered.
#[track_caller]
fn end(raw: &mut Raw) -> Frame {
    loop {
        let frame = raw.read().expect("a frame");
        if frame.kind == GOAWAY {
            return frame;
        }
    }
}

fn what_a_client_begins_it_has_to_end_in_time(driver: Driver) {
    let setting = Setting::new(driver, "timeouts: { header: 300ms },");
    setting.neighbour_is_well();
    let begun = frame(HEADERS, END_STREAM, 1, &block(&GET));
    let whole = frame(SETTINGS, 0, 0, &[]);
    let beginnings = [
        ("the preface only", PREFACE.to_vec()),
        ("half of the first SETTINGS", [PREFACE, &whole[..5]].concat()),
        ("a head without its end", [PREFACE, &whole, &begun].concat()),
        ("half a frame", [PREFACE, &whole, &begun[..20]].concat()),
        ("a frame's first byte", [PREFACE, &whole, &get(1), &begun[..1]].concat()),
        ("half a CONTINUATION", [PREFACE, &whole, &begun, &frame(CONTINUATION, 0, 1, b"abc")[..11]].concat()),
    ];
    for (at, (what, bytes)) in beginnings.iter().enumerate() {
        let mut raw = Raw { wire: crate::harness::Client::connect(setting.proxy.web).wire };
        let began = Instant::now();
        raw.send(bytes);
        let end = end(&mut raw);
        let took = began.elapsed();
        assert_eq!(end.code(), ENHANCE_YOUR_CALM, "{what}");
        assert!((295..3000).contains(&took.as_millis()), "{what}: {took:?}");
        raw.wire.expect_end();
        assert_eq!(setting.proxy.stat("http.web.downstream_rq_header_timeout"), at as u64 + 1, "{what}");
    }
    // CONTINUATION after CONTINUATION doesn't help.
    let mut raw = Raw::client(setting.proxy.web);
    raw.send(&begun);
    let began = Instant::now();
    while raw.send(frame(CONTINUATION, 0, 1, b"")) && began.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(25));
    }
    assert!(began.elapsed() < Duration::from_secs(3), "the proxy waits for ever");
    assert_eq!(setting.proxy.stat("http.web.http2.continuation_flood"), 0);
    // Who was idle meanwhile isn't late, nor is a body.
    setting.neighbour_is_well();
    let mut raw = Raw::client(setting.proxy.web);
    raw.send(post(1, &[]));
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(50));
        raw.send(frame(DATA, 0, 1, b"slow"));
    }
    raw.send(frame(DATA, END_STREAM, 1, b""));
    raw.expect(HEADERS);
    assert_eq!(setting.proxy.stat("http.web.downstream_rq_header_timeout"), 7);
    assert_eq!(setting.proxy.stat("http.web.downstream_cx_protocol_error"), 0);
}

fn settings_have_to_be_acknowledged(driver: Driver) {
    let setting = Setting::new(driver, "http2: { settings_timeout: 300ms },");
    // Which also lets it acknowledge.
    setting.neighbour_is_well();
    let mut deaf = Raw::client(setting.proxy.web);
    deaf.send(get(1));
    let mut silent = Raw { wire: crate::harness::Client::connect(setting.proxy.web).wire };
    silent.send(PREFACE);
    for raw in [&mut deaf, &mut silent] {
        assert_eq!(end(raw).code(), 4, "SETTINGS_TIMEOUT");
    }
    assert_eq!(setting.proxy.stat("http.web.http2.settings_timeout"), 2);
    std::thread::sleep(Duration::from_millis(400));
    setting.neighbour_is_well();
}

fn an_endpoint_has_to_acknowledge_settings(driver: Driver) {
    let origin = Origin::new(|peer| {
        let Some(mut raw) = Raw::endpoint(peer.wire) else { return };
        while let Ok(frame) = raw.read() {
            if frame.kind == HEADERS {
                raw.answer(frame.stream);
            }
        }
    });
    let app = "{ name: app, protocol: http2, http2: { settings_timeout: 300ms }, endpoints: ['ADDRESS'] }"
        .replace("ADDRESS", &origin.address.to_string());
    let proxy = Proxy::start(driver, &config("routes: [{ match: { prefix: / }, cluster: app }]", &app));
    let h2 = H2::connect(proxy.web);
    assert_eq!(h2.ask(&Ask::new("GET", "/")).expect("an answer").status, 200);
    h2.until("the connection is given up", || proxy.stat("cluster.app.http2.settings_timeout") == 1);
    eventually("its connection is closed", || origin.open() == 0);
    assert_eq!(h2.ask(&Ask::new("GET", "/")).expect("an answer").status, 200, "on another");
}

fn budgets_are_what_the_config_says(driver: Driver) {
    let setting = Setting::new(driver, "http2: { budgets: { pings: { burst: 5, per_sec: 0 } } },");
    let mut raw = Raw::client(setting.proxy.web);
    raw.send(frame(PING, 0, 0, b"ping-ing").repeat(5));
    for _ in 0..5 {
        raw.expect(PING);
    }
    setting.is_calmed("ping_flood", &frame(PING, 0, 0, b"ping-ing").repeat(6));
}

on_both_drivers!(
    what_a_client_begins_it_has_to_end_in_time,
    settings_have_to_be_acknowledged,
    an_endpoint_has_to_acknowledge_settings,
    budgets_are_what_the_config_says,
    floods_end_their_connection_and_no_other,
    a_header_bomb_is_refused_before_it_unfolds,
    a_head_over_the_limit_is_a_431,
    windows_that_stay_shut_are_given_up,
    malformed_requests_never_reach_the_endpoint,
    a_body_of_another_length_than_promised_is_reset,
    endpoints_that_talk_nonsense_are_dropped,
    interim_heads_without_end_are_a_bad_response_over_http1_too,
    an_endpoint_that_floods_loses_its_connection_only,
);
