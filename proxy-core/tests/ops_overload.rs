//! Too many connections, too little memory, too few descriptors, cores that stall: what the process does, and that it
//! recovers by itself.

mod ops;

use std::io::{ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ops::client::{self, Client};
use ops::origin::Origin;
use ops::proxy::{Proxy, simple, two_cpus};
use ops::{free_address, wait_until};

on_both_drivers!(
    without_memory_http2_clients_get_a_goaway,
    connections_wait_while_none_is_accepted,
    connections_over_a_bound_are_closed_and_told_of_once,
);

const ACTIONS: &str = "overload.envoy.overload_actions";

/// With one step that begins at half of `memory_max`.
fn config(listen: SocketAddr, origin: &Origin, step: &str, memory_max: &str) -> String {
    let steps = ["disable_keepalive", "stop_accepting", "shed_requests"];
    let steps: Vec<String> =
        steps.iter().map(|name| format!("{name}_percent: {}", if *name == step { 50 } else { 0 })).collect();
    let overload = format!("overload: {{ memory_max: {memory_max}, {} }}", steps.join(", "));
    format!("{overload}\n{}", simple(listen, &[origin.address]))
}

/// Less than the process has, and far more.
const LITTLE: &str = "16MiB";
const PLENTY: &str = "1000GiB";

fn wait_for_step(proxy: &Proxy, name: &str, active: u64) {
    wait_until(name, || proxy.stat(&format!("{ACTIONS}.{name}.active")) == active);
}

#[test]
fn without_memory_connections_end_with_their_response() {
    let origin = Origin::start("origin");
    let listen = free_address();
    let proxy = Proxy::start("auto", &config(listen, &origin, "disable_keepalive", PLENTY));
    let mut idle = Client::connect(listen).expect("connects");
    assert!(!idle.get("/").expect("a response").closes());

    assert_eq!(proxy.reload(&config(listen, &origin, "disable_keepalive", LITTLE)).status, 200);
    wait_for_step(&proxy, "disable_http_keepalive", 1);
    assert!(idle.ends(), "an idle connection is closed");
    wait_until("a response that ends its connection", || {
        let mut client = Client::connect(listen).expect("connects");
        let response = client.get("/").expect("a response");
        assert_eq!(response.status, 200);
        response.closes() && client.ends()
    });
    assert!(proxy.stat("http.web.downstream_cx_overload_disable_keepalive") >= 1);
    assert!(proxy.stat("overload.memory.pressure") >= 50);
    assert_eq!(proxy.stat("http.web.downstream_cx_drain_close"), 0);

    assert_eq!(proxy.reload(&config(listen, &origin, "disable_keepalive", PLENTY)).status, 200);
    wait_for_step(&proxy, "disable_http_keepalive", 0);
    wait_until("a connection that stays", || {
        !Client::connect(listen).expect("connects").get("/").expect("a response").closes()
    });
    assert_eq!(proxy.stat(&format!("{ACTIONS}.disable_http_keepalive.entered")), 1);
    proxy.wait_for_log("overload over: responses end their connections");
    assert_eq!(proxy.log.count("overload: responses end their connections"), 1);
    assert_eq!(proxy.log.count("overload over: responses end their connections"), 1);
}

struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;
/// A status of 200 in a header block.
const OK: u8 = 0x88;

/// `None` at the end.
fn next_frame(input: &mut impl Read) -> std::io::Result<Option<Frame>> {
    let mut head = [0; 9];
    if input.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut head[1..])?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    input.read_exact(&mut payload)?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Ok(Some(Frame { kind: head[3], stream, payload }))
}

/// The next frame of this kind: its stream and its payload.
#[track_caller]
fn frame(client: &mut TcpStream, kind: u8) -> (u32, Vec<u8>) {
    loop {
        let frame = next_frame(client).expect("a frame").expect("the connection is open");
        if frame.kind == kind {
            return (frame.stream, frame.payload);
        }
    }
}

/// The response on this stream is a 200.
#[track_caller]
fn answered(client: &mut TcpStream, stream: u8) {
    let (on, block) = frame(client, HEADERS);
    assert_eq!((on, block[0]), (u32::from(stream), OK));
}

/// A GET of `/` on this stream, without a body.
fn http2_get(stream: u8) -> Vec<u8> {
    let block = b"\x82\x86\x84\x01\x04test";
    [&[0, 0, block.len() as u8, 1, 0x05, 0, 0, 0, stream], &block[..]].concat()
}

fn without_memory_http2_clients_get_a_goaway(driver: &str) {
    let origin = Origin::start("origin");
    let listen = free_address();
    let proxy = Proxy::start(driver, &config(listen, &origin, "disable_keepalive", PLENTY));
    let connect = || {
        let mut client = TcpStream::connect(listen).expect("connects");
        client.set_read_timeout(Some(ops::DEADLINE)).expect("a timeout");
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("sends");
        client.write_all(&http2_get(1)).expect("sends");
        answered(&mut client, 1);
        client
    };
    let mut idle = connect();
    assert_eq!(proxy.reload(&config(listen, &origin, "disable_keepalive", LITTLE)).status, 200);
    // A notice first, for all streams: what the client sends until it has read that is still answered.
    assert_eq!(frame(&mut idle, GOAWAY), (0, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0].to_vec()));
    idle.write_all(&http2_get(3)).expect("sends");
    // Then the last stream, and the end. A test that was held up for half a second came too late, and is told so.
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).expect("an orderly end");
    let mut rest = &rest[..];
    let (mut answered_3, mut last) = (false, None);
    while let Some(frame) = next_frame(&mut rest).expect("whole frames") {
        match frame.kind {
            HEADERS => answered_3 |= frame.stream == 3 && frame.payload[0] == OK,
            GOAWAY => last = Some(frame.payload),
            _ => {}
        }
    }
    let expected = if answered_3 { 3 } else { 1 };
    assert_eq!(last.as_deref(), Some(&[0, 0, 0, expected, 0, 0, 0, 0][..]));
    assert_eq!(proxy.stat("http.web.downstream_cx_overload_disable_keepalive"), 1);
    assert_eq!(proxy.stat("http.web.downstream_cx_drain_close"), 0);
    // A connection that comes meanwhile is served, too, and sent away.
    let mut late = connect();
    assert_eq!(frame(&mut late, GOAWAY).0, 0);

    assert_eq!(proxy.reload(&config(listen, &origin, "disable_keepalive", PLENTY)).status, 200);
    wait_for_step(&proxy, "disable_http_keepalive", 0);
    let mut stays = connect();
    for stream in [3, 5, 7] {
        stays.write_all(&http2_get(stream)).expect("sends");
        answered(&mut stays, stream);
    }
    assert_eq!(proxy.stat("http.web.downstream_cx_overload_disable_keepalive"), 2);
}

#[test]
fn without_memory_requests_are_refused() {
    let origin = Origin::start("origin");
    let listen = free_address();
    let proxy = Proxy::start("auto", &config(listen, &origin, "shed_requests", LITTLE));
    wait_until("a refusal", || client::once(listen, "GET", "/").expect("a response").status == 503);
    let mut client = Client::connect(listen).expect("connects");
    let refused = client.get("/").expect("a response");
    assert_eq!((refused.status, refused.text().as_str()), (503, "overloaded\n"));
    assert_eq!(refused.header("x-envoy-local-overloaded"), Some("true"));
    assert!(!refused.closes(), "the connection is good for later");
    let call = "content-type: application/grpc\r\nte: trailers\r\ncontent-length: 0\r\n";
    let refused = client.request("POST", "/service/method", call).expect("a response");
    assert_eq!((refused.status, refused.header("grpc-status")), (200, Some("14")), "{}", refused.head);
    assert!(proxy.stat("http.web.downstream_rq_overload_close") >= 3);
    assert_eq!(proxy.stat(&format!("{ACTIONS}.stop_accepting_requests.active")), 1);

    assert_eq!(proxy.reload(&config(listen, &origin, "shed_requests", PLENTY)).status, 200);
    wait_until("service on the same connection", || client.get("/").expect("a response").status == 200);
    proxy.wait_for_log("overload over: requests are refused");
}

fn connections_wait_while_none_is_accepted(driver: &str) {
    let origin = Origin::start("origin");
    let listen = free_address();
    let proxy = Proxy::start(driver, &config(listen, &origin, "stop_accepting", PLENTY));
    let mut open = Client::connect(listen).expect("connects");
    assert_eq!(open.get("/").expect("a response").status, 200);
    assert_eq!(proxy.reload(&config(listen, &origin, "stop_accepting", LITTLE)).status, 200);
    wait_for_step(&proxy, "stop_accepting_connections", 1);
    // The core may accept until it hears of it.
    let mut waiting = None;
    wait_until("a connection that isn't accepted", || {
        let mut client = Client::connect(listen).expect("the kernel queues it");
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n").expect("sends");
        client.stream.get_ref().set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        match client.receive() {
            Ok(response) => assert_eq!(response.status, 200),
            Err(error) if error.kind() == ErrorKind::WouldBlock => waiting = Some(client),
            Err(error) => panic!("{error}"),
        }
        waiting.is_some()
    });
    let mut waiting = waiting.expect("one that waits");
    assert_eq!(open.get("/").expect("a response").status, 200, "open connections go on");

    assert_eq!(proxy.reload(&config(listen, &origin, "stop_accepting", PLENTY)).status, 200);
    waiting.stream.get_ref().set_read_timeout(Some(ops::DEADLINE)).expect("a timeout");
    assert_eq!(waiting.receive().expect("the response that was waited for").status, 200);
    assert_eq!(client::once(listen, "GET", "/").expect("a response").status, 200);
    proxy.wait_for_log("overload over: connections are not accepted");
}

fn connections_over_a_bound_are_closed_and_told_of_once(driver: &str) {
    let origin = Origin::start("origin");
    let (first, second) = (free_address(), free_address());
    let text = simple(first, &[origin.address]).replace(
        "clusters:",
        &format!(
            "  - name: other\n    address: '{second}'\n    connections_max: 1\n    http: {{ routes: [{{ match: {{ prefix: / }}, cluster: app }}] }}\nclusters:"
        ),
    );
    let proxy = Proxy::start(driver, &format!("connections_max: 2\n{text}"));
    let connect = |address| {
        let mut client = Client::connect(address).expect("connects");
        assert_eq!(client.get("/").expect("a response").status, 200);
        client
    };
    let refused = |address| Client::connect(address).and_then(|mut client| client.get("/")).is_err();
    let stat = |address: SocketAddr, name: &str| {
        proxy.stat(&format!("listener.{}.{name}", address.to_string().replace(':', "_")))
    };
    let one = connect(second);
    assert!(refused(second) && refused(second));
    assert_eq!((stat(second, "downstream_cx_overflow"), stat(second, "downstream_global_cx_overflow")), (2, 0));
    let two = connect(first);
    assert!(refused(first) && refused(first) && refused(first));
    assert_eq!((stat(first, "downstream_cx_overflow"), stat(first, "downstream_global_cx_overflow")), (0, 3));
    assert_eq!(proxy.stat("server.total_connections"), 2);
    proxy.wait_for_log("the process has as many");
    assert_eq!(proxy.log.count("listener `other` has as many connections as it may"), 1);
    assert_eq!(proxy.log.count("the process has as many connections as it may"), 1);

    drop((one, two));
    wait_until("the connections' end", || proxy.stat("server.total_connections") == 0);
    drop((connect(second), connect(first)));
}

#[test]
fn a_core_that_stalls_is_told_of_while_the_others_serve() {
    let origin = Origin::start("origin");
    let listen = free_address();
    let cpus = two_cpus();
    if !cpus.contains(',') {
        eprintln!("left out: there is one CPU only");
        return;
    }
    let proxy = Proxy::start_with(&simple(listen, &[origin.address]), &["--cores", &cpus], |_| {});
    let stalled = proxy.stall("core-0");
    proxy.wait_for_log("a core doesn't get round");
    assert_eq!((proxy.stat("server.watchdog_miss"), proxy.stat("server.watchdog_mega_miss")), (1, 1));
    // The kernel gives each core its share of the connections, and the other core answers those that are its own.
    let answered = || {
        let mut client = Client::connect(listen).expect("connects");
        client.stream.get_ref().set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        client.get("/").is_ok_and(|response| response.status == 200)
    };
    wait_until("an answer of the other core", answered);
    let reload = proxy.reload(&simple(listen, &[origin.address]));
    assert_eq!(reload.status, 400);
    assert!(reload.text().contains("core 0 gave no answer within 10s"), "{}", reload.text());
    assert!(!reload.text().contains("core 1"), "{}", reload.text());
    drop(stalled);
    proxy.wait_for_log("a core that was late gets round again");
    assert_eq!(proxy.reload(&simple(listen, &[origin.address])).status, 200);
    for _ in 0..10 {
        assert_eq!(client::once(listen, "GET", "/").expect("a response").status, 200);
    }
    assert_eq!(proxy.log.count("a core doesn't get round"), 1);
}

#[test]
fn a_cluster_without_addresses_is_no_healthy_upstream_until_it_has_some() {
    let origin = Origin::start("origin");
    let listen = free_address();
    let log = "access_log: { path: stdout, format: '%RESPONSE_CODE% %RESPONSE_FLAGS%' }\n";
    let full = format!("{log}{}", simple(listen, &[origin.address]));
    // A name of which there are no addresses: a cluster without endpoints is refused.
    let empty = full.replace(&format!("['{}']", origin.address), "['nowhere.invalid:80']");
    assert_ne!(full, empty);
    let proxy = Proxy::start("auto", &full);
    let mut client = Client::connect(listen).expect("connects");
    assert_eq!(client.get("/").expect("a response").status, 200);
    assert_eq!(proxy.reload(&empty).status, 200);
    let refused = client.get("/").expect("a response");
    assert_eq!((refused.status, refused.text().as_str()), (503, "no healthy upstream\n"));
    assert_eq!(proxy.reload(&full).status, 200);
    assert_eq!(client.get("/").expect("a response").status, 200);
    wait_until("the log", || proxy.out.all().len() == 3);
    assert_eq!(proxy.out.all(), ["200 -", "503 UH", "200 -"]);
}
