//! Origins of both versions that do the same: what, the path says.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::{Request, Response};

use super::client::{Fields, all, collect, fields_of, map_of, runtime};
use crate::harness::{Message, Origin};

/// A request as the origin saw it.
#[derive(Clone, Debug, Default)]
pub(super) struct Got {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) host: String,
    pub(super) scheme: String,
    pub(super) fields: Fields,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Fields,
}

impl Got {
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        all(&self.fields, name)
    }
}

#[derive(Default)]
pub(super) struct Seen {
    accepted: AtomicUsize,
    begun: AtomicUsize,
    resets: AtomicUsize,
    got: Mutex<Vec<Got>>,
}

impl Seen {
    /// Connections that were ever made.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Requests whose head came.
    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Requests that broke off or were given up.
    pub(super) fn resets(&self) -> usize {
        self.resets.load(Ordering::SeqCst)
    }

    pub(super) fn last(&self) -> Got {
        self.got.lock().expect("a lock").last().cloned().expect("a request")
    }

    pub(super) fn count(&self) -> usize {
        self.got.lock().expect("a lock").len()
    }

    pub(super) fn note_reset(&self) {
        self.resets.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn note(&self, got: &Got) {
        self.got.lock().expect("a lock").push(got.clone());
    }
}

/// What is answered.
#[derive(Default)]
struct Script {
    status: u16,
    fields: Fields,
    body: Vec<u8>,
    length: bool,
    trailers: Fields,
    /// Breaks off after the body.
    cut: bool,
}

pub(super) const LARGE_VALUE_BYTES: usize = 20_000;

fn script(got: &Got) -> Script {
    let field = |name: &str, value: &str| (name.to_string(), value.to_string());
    let mut script = Script { status: 200, length: true, ..Script::default() };
    match got.path.as_str() {
        "/echo" => {
            script.body.clone_from(&got.body);
            script.length = got.all("x-unknown-length").is_empty();
            script.trailers.clone_from(&got.trailers);
            script.length &= got.trailers.is_empty();
        }
        "/nothing" => script.status = 204,
        "/unchanged" => {
            script.status = 304;
            script.fields.push(field("etag", "\"a\""));
        }
        "/early" => (script.status, script.body) = (413, b"too much".to_vec()),
        "/large" => script.fields.push(field("x-large", &"v".repeat(LARGE_VALUE_BYTES))),
        "/cookies" => script.fields.extend([field("set-cookie", "a=1"), field("set-cookie", "b=2")]),
        "/trailers" => {
            script.body = b"with trailers".to_vec();
            script.length = false;
            script.trailers.push(field("x-sum", "42"));
        }
        "/cut" => (script.body, script.length, script.cut) = (vec![b'x'; 100_000], false, true),
        "/cut-length" => (script.body, script.cut) = (vec![b'x'; 100_000], true),
        _ => script.body = b"small".to_vec(),
    }
    script
}

/// The HTTP/1.1 one.
pub(super) fn http1(seen: &Arc<Seen>) -> Origin {
    let seen = seen.clone();
    Origin::new(move |mut peer| {
        seen.accepted.fetch_add(1, Ordering::SeqCst);
        while let Ok(mut head) = peer.wire.head() {
            let mut got = got_http1(&head);
            seen.begun.fetch_add(1, Ordering::SeqCst);
            if got.path == "/hold" {
                seen.note(&got);
                let (_, _) = peer.wire.rest();
                seen.resets.fetch_add(1, Ordering::SeqCst);
                return;
            }
            if got.path == "/hints" {
                peer.wire.send("HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n");
            }
            if !got.all("expect").is_empty() {
                peer.wire.send("HTTP/1.1 100 Continue\r\n\r\n");
            }
            if got.path != "/early" && peer.wire.framed(&mut head).is_err() {
                seen.resets.fetch_add(1, Ordering::SeqCst);
                return;
            }
            (got.body, got.trailers) = (head.body, head.trailers);
            seen.note(&got);
            let script = script(&got);
            if !send_http1(&mut peer.wire, &got, &script) || got.path == "/early" {
                // What is left of the request is read, or the kernel would reset.
                peer.wire.end();
                peer.wire.rest();
                return;
            }
        }
    })
}

fn got_http1(head: &Message) -> Got {
    let mut got = Got {
        method: head.start.split(' ').next().unwrap_or_default().to_string(),
        path: head.target().to_string(),
        host: head.field("host").unwrap_or_default().to_string(),
        fields: head.fields.clone(),
        ..Got::default()
    };
    got.fields.retain(|(name, _)| name != "host");
    got
}

/// False if the connection isn't to go on.
fn send_http1(wire: &mut crate::harness::Wire, got: &Got, script: &Script) -> bool {
    let mut out =
        format!("HTTP/1.1 {} Whatever\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n", script.status);
    for (name, value) in &script.fields {
        out += &format!("{name}: {value}\r\n");
    }
    let bodiless = matches!(script.status, 204 | 304);
    let promised = script.body.len() + usize::from(script.cut) * 10;
    match (bodiless, script.length) {
        (true, _) => {}
        (_, true) => out += &format!("content-length: {promised}\r\n"),
        (_, false) => out += "transfer-encoding: chunked\r\n",
    }
    out += "\r\n";
    let mut out = out.into_bytes();
    if !bodiless && got.method != "HEAD" {
        if !script.length && !script.body.is_empty() {
            out.extend_from_slice(format!("{:x}\r\n", script.body.len()).as_bytes());
        }
        out.extend_from_slice(&script.body);
        if !script.length && !script.cut {
            out.extend_from_slice(if script.body.is_empty() { b"0\r\n" } else { b"\r\n0\r\n" });
            for (name, value) in &script.trailers {
                out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
    }
    wire.send(out) && !script.cut
}

pub(super) type Served = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An origin on HTTP/2; it ends with the test's process.
pub(super) struct H2Origin {
    pub(super) address: SocketAddr,
}

impl H2Origin {
    /// Does what [`script`] says.
    pub(super) fn new(seen: &Arc<Seen>, builder: &Builder) -> H2Origin {
        let noting = seen.clone();
        H2Origin::serving(seen, builder, move |request, respond| Box::pin(answer(noting.clone(), request, respond)))
    }

    pub(super) fn serving(
        seen: &Arc<Seen>,
        builder: &Builder,
        serve: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> Served + Send + Sync + 'static,
    ) -> H2Origin {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
        listener.set_nonblocking(true).expect("non-blocking");
        let address = listener.local_addr().expect("an address");
        let (shared, builder, serve) = (seen.clone(), builder.clone(), Arc::new(serve));
        std::thread::spawn(move || {
            runtime().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                while let Ok((socket, _)) = listener.accept().await {
                    shared.accepted.fetch_add(1, Ordering::SeqCst);
                    let (builder, serve) = (builder.clone(), serve.clone());
                    tokio::spawn(async move {
                        let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else { return };
                        while let Some(Ok((request, respond))) = connection.accept().await {
                            tokio::spawn(serve(request, respond));
                        }
                    });
                }
            });
        });
        H2Origin { address }
    }
}

pub(super) fn got_http2(request: &Request<RecvStream>) -> Got {
    let uri = request.uri();
    Got {
        method: request.method().to_string(),
        path: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        host: uri.authority().map(ToString::to_string).unwrap_or_default(),
        scheme: uri.scheme_str().unwrap_or_default().to_string(),
        fields: fields_of(request.headers()),
        ..Got::default()
    }
}

pub(super) async fn answer(seen: Arc<Seen>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut got = got_http2(&request);
    seen.begun.fetch_add(1, Ordering::SeqCst);
    let informational = |status: u16, fields: &[(&str, &str)]| {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        response.body(()).expect("a response")
    };
    if got.path == "/hold" {
        seen.note(&got);
        let _ = std::future::poll_fn(|context| respond.poll_reset(context)).await;
        seen.resets.fetch_add(1, Ordering::SeqCst);
        return;
    }
    if got.path == "/hints" {
        respond.send_informational(informational(103, &[("link", "</style.css>")])).expect("sent");
    }
    if !got.all("expect").is_empty() {
        respond.send_informational(informational(100, &[])).expect("sent");
    }
    if got.path != "/early" {
        let Ok((body, trailers)) = collect(&mut request.into_body()).await else {
            seen.resets.fetch_add(1, Ordering::SeqCst);
            return;
        };
        (got.body, got.trailers) = (body, trailers);
    }
    seen.note(&got);
    let script = script(&got);
    let mut response = Response::builder().status(script.status);
    for (name, value) in &script.fields {
        response = response.header(name, value);
    }
    let bodiless = matches!(script.status, 204 | 304);
    if script.length && !bodiless {
        response = response.header("content-length", script.body.len() + usize::from(script.cut) * 10);
    }
    let response = response.body(()).expect("a response");
    let ended = bodiless || got.method == "HEAD";
    let Ok(mut stream) = respond.send_response(response, ended) else { return };
    if ended {
        return;
    }
    let last = script.trailers.is_empty() && !script.cut;
    let _ = stream.send_data(script.body.into(), last);
    if !script.trailers.is_empty() {
        let _ = stream.send_trailers(map_of(&script.trailers));
    }
    if script.cut {
        // Let what there is go out first.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        stream.send_reset(h2::Reason::INTERNAL_ERROR);
    }
}
