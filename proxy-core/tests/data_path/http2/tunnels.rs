//! WebSocket in all four pairings: `Upgrade` and extended CONNECT (RFC 8441), and what is between them.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::Builder;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response};

use super::client::{H2, fields_of};
use super::origin::{Got, H2Origin, Seen, got_http2};
use super::world::{Version, two_clusters};
use crate::harness::{Broken, Client, Driver, Origin, Proxy, eventually, noise};

const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Switches and sends back what comes; `reset` in the path ends it with a reset after 5 bytes.
fn http1_origin(seen: &Arc<Seen>) -> Origin {
    let seen = seen.clone();
    Origin::new(move |mut peer| {
        let Ok(request) = peer.request() else { return };
        seen.note(&Got { path: request.target().into(), fields: request.fields.clone(), ..Got::default() });
        peer.wire.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: {ACCEPT}\r\nsec-websocket-protocol: chat\r\n\r\n"
        ));
        if request.target() == "/reset" {
            let _ = peer.wire.exactly(5);
            return peer.wire.reset();
        }
        while let Ok(byte) = peer.wire.exactly(1) {
            let more = peer.wire.taken();
            peer.wire.send([byte, more].concat());
        }
        seen.note_reset();
        peer.wire.send("bye");
    })
}

fn http2_origin(seen: &Arc<Seen>) -> H2Origin {
    let mut builder = Builder::new();
    builder.enable_connect_protocol();
    let noting = seen.clone();
    H2Origin::serving(seen, &builder, move |request, mut respond| {
        let seen = noting.clone();
        Box::pin(async move {
            let mut got = got_http2(&request);
            got.method = request.extensions().get::<Protocol>().map(|name| name.as_str().into()).unwrap_or_default();
            seen.note(&got);
            let response = Response::builder().header("sec-websocket-protocol", "chat").body(()).expect("a response");
            let mut stream = respond.send_response(response, false).expect("sent");
            let mut body = request.into_body();
            while let Some(Ok(piece)) = body.data().await {
                if got.path == "/reset" {
                    return stream.send_reset(h2::Reason::INTERNAL_ERROR);
                }
                let _ = body.flow_control().release_capacity(piece.len());
                let _ = stream.send_data(piece, false);
            }
            seen.note_reset();
            let _ = stream.send_data("bye".into(), true);
        })
    })
}

struct World {
    proxy: Proxy,
    seen: [Arc<Seen>; 2],
    _origins: (Origin, H2Origin),
}

impl World {
    fn new(driver: Driver, fields: &str) -> World {
        let seen = [Arc::new(Seen::default()), Arc::new(Seen::default())];
        let (one, two) = (http1_origin(&seen[0]), http2_origin(&seen[1]));
        let proxy = Proxy::start(driver, &two_clusters(&one.address.to_string(), &two.address.to_string(), fields));
        World { proxy, seen, _origins: (one, two) }
    }

    fn each(&self, mut check: impl FnMut(Tunnel, &Seen)) {
        for (host, seen) in [("http1.test", &self.seen[0]), ("http2.test", &self.seen[1])] {
            for client in [Version::Http1, Version::Http2] {
                eprintln!("client {client:?}, endpoint {host}");
                check(self.open(client, host, "/chat"), seen);
            }
        }
    }

    #[track_caller]
    fn open(&self, client: Version, host: &str, path: &str) -> Tunnel {
        if client == Version::Http1 {
            let mut client = self.proxy.client();
            client.send(format!(
                "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-key: {KEY}\r\nsec-websocket-version: 13\r\n\r\n"
            ));
            let head = client.wire.head().expect("a response");
            assert_eq!((head.status(), head.field("sec-websocket-accept")), (101, Some(ACCEPT)));
            assert_eq!(head.field("sec-websocket-protocol"), Some("chat"));
            assert_eq!(head.field("upgrade"), Some("websocket"));
            return Tunnel::Http1(client);
        }
        let h2 = H2::connect(self.proxy.web);
        let uri = format!("http://{host}{path}");
        let request = Request::builder().method(Method::CONNECT).uri(uri).version(http::Version::HTTP_2);
        let request = request.extension(Protocol::from_static("websocket")).header("sec-websocket-version", "13");
        h2.until("extended CONNECT is offered", || h2.send.is_extended_connect_protocol_enabled());
        let (response, send) =
            h2.run(super::client::begin(h2.send.clone(), request.body(()).expect("a request"), false)).expect("sent");
        let response = h2.run(response).expect("a response");
        assert_eq!(response.status(), 200);
        let fields = fields_of(response.headers());
        assert_eq!(super::client::all(&fields, "sec-websocket-protocol"), ["chat"]);
        for name in ["sec-websocket-accept", "upgrade", "connection"] {
            assert!(super::client::all(&fields, name).is_empty(), "{name}");
        }
        Tunnel::Http2(h2, send, response.into_body())
    }
}

enum Tunnel {
    Http1(Client),
    Http2(H2, SendStream<Bytes>, RecvStream),
}

impl Tunnel {
    fn send(&mut self, bytes: &[u8], last: bool) {
        match self {
            Tunnel::Http1(client) => {
                let (mut stream, bytes) = (client.wire.stream.try_clone().expect("a socket"), bytes.to_vec());
                std::thread::spawn(move || {
                    let _ = std::io::Write::write_all(&mut stream, &bytes);
                    if last {
                        let _ = stream.shutdown(std::net::Shutdown::Write);
                    }
                });
            }
            Tunnel::Http2(h2, send, _) => {
                send.send_data(Bytes::copy_from_slice(bytes), last).expect("sent");
                h2.run(tokio::task::yield_now());
            }
        }
    }

    /// Everything to the end, and whether that was a clean one.
    fn rest(&mut self) -> (Vec<u8>, bool) {
        match self {
            Tunnel::Http1(client) => {
                let (bytes, broken) = client.wire.rest();
                (bytes, broken == Broken::Closed)
            }
            Tunnel::Http2(h2, _, body) => h2.run(async {
                let mut bytes = Vec::new();
                while let Some(piece) = body.data().await {
                    let Ok(piece) = piece else { return (bytes, false) };
                    let _ = body.flow_control().release_capacity(piece.len());
                    bytes.extend_from_slice(&piece);
                }
                (bytes, true)
            }),
        }
    }

    fn reset(self) {
        match self {
            Tunnel::Http1(client) => client.wire.reset(),
            Tunnel::Http2(h2, mut send, _) => {
                send.send_reset(h2::Reason::CANCEL);
                h2.run(async { tokio::time::sleep(Duration::from_millis(20)).await });
            }
        }
    }
}

fn what_is_sent_comes_back_and_each_direction_ends_for_itself(driver: Driver) {
    let world = World::new(driver, "");
    let body = noise(1 << 20);
    world.each(|mut tunnel, seen| {
        tunnel.send(&body, true);
        let (bytes, clean) = tunnel.rest();
        assert!(clean && bytes.len() == body.len() + 3, "{} bytes, clean: {clean}", bytes.len());
        assert!(bytes.starts_with(&body) && bytes.ends_with(b"bye"));
        let got = seen.last();
        assert_eq!(got.all("sec-websocket-version"), ["13"]);
        match got.method.as_str() {
            // Over HTTP/2 a key means nothing; over HTTP/1.1 there has to be one.
            "websocket" => assert!(got.all("sec-websocket-key").is_empty() && got.all("upgrade").is_empty()),
            _ => assert_eq!((got.all("sec-websocket-key").len(), got.all("upgrade")), (1, vec!["websocket"])),
        }
    });
    assert_eq!(world.proxy.stat("http.web.downstream_cx_upgrades_total"), 4);
    eventually("no tunnel is left", || world.proxy.stat("http.web.downstream_cx_upgrades_active") == 0);
}

fn a_reset_passes_through_in_both_directions(driver: Driver) {
    let world = World::new(driver, "");
    world.each(|mut tunnel, _| {
        tunnel.send(b"hello", false);
        eventually("it is open", || world.proxy.stat("http.web.downstream_cx_upgrades_active") == 1);
        tunnel.reset();
        eventually("it is closed", || world.proxy.stat("http.web.downstream_cx_upgrades_active") == 0);
    });
    for host in ["http1.test", "http2.test"] {
        for client in [Version::Http1, Version::Http2] {
            let mut tunnel = world.open(client, host, "/reset");
            tunnel.send(b"hello", false);
            assert!(!tunnel.rest().1, "{client:?} to {host}: a reset must not look like an end");
        }
    }
}

fn an_idle_tunnel_ends(driver: Driver) {
    let world = World::new(driver, "timeouts: { idle: 200ms },");
    world.each(|mut tunnel, _| {
        let began = Instant::now();
        let (bytes, _) = tunnel.rest();
        assert!(bytes.is_empty() && began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    });
    eventually("no tunnel is left", || world.proxy.stat("http.web.downstream_cx_upgrades_active") == 0);
}

/// The endpoint has ended its direction and opens its window only later: what the client sent last must not be lost.
fn what_waits_for_windows_is_sent_before_a_tunnel_ends(driver: Driver) {
    let body = noise(300_000);
    let seen = Arc::new(Seen::default());
    let mut builder = Builder::new();
    builder.enable_connect_protocol();
    let (noting, expected) = (seen.clone(), body.clone());
    let origin = H2Origin::serving(&seen, &builder, move |request, mut respond| {
        let (seen, expected) = (noting.clone(), expected.clone());
        Box::pin(async move {
            let mut stream = respond.send_response(Response::new(()), false).expect("sent");
            let _ = stream.send_data("ended".into(), true);
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut bytes = Vec::new();
            let mut body = request.into_body();
            let ended = poll_fn(|context| {
                while let std::task::Poll::Ready(piece) = body.poll_data(context) {
                    let Some(piece) = piece else { return std::task::Poll::Ready(true) };
                    let Ok(piece) = piece else { return std::task::Poll::Ready(false) };
                    let _ = body.flow_control().release_capacity(piece.len());
                    bytes.extend_from_slice(&piece);
                }
                std::task::Poll::Pending
            })
            .await;
            seen.note(&Got { path: format!("{ended} {}", bytes == expected), ..Got::default() });
        })
    });
    let proxy = Proxy::start(driver, &two_clusters("127.0.0.1:1", &origin.address.to_string(), ""));
    let world = World { proxy, seen: [seen.clone(), seen.clone()], _origins: (Origin::saying(""), origin) };
    let mut client = world.proxy.client();
    client.send(
        "GET /a HTTP/1.1\r\nhost: http2.test\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\n\r\n",
    );
    assert_eq!(client.wire.head().expect("a head").status(), 101);
    client.send(&body);
    client.wire.end();
    assert_eq!(client.wire.rest(), (b"ended".to_vec(), Broken::Closed));
    eventually("the endpoint has read all", || seen.count() > 0);
    assert_eq!(seen.last().path, "true true");
}

on_both_drivers!(
    what_is_sent_comes_back_and_each_direction_ends_for_itself,
    a_reset_passes_through_in_both_directions,
    an_idle_tunnel_ends,
    what_waits_for_windows_is_sent_before_a_tunnel_ends,
);
