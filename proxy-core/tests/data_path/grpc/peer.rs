//! Peers of gRPC on another implementation of HTTP/2: a server whose calls do what their paths say, and a client.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};

use crate::harness::{DEADLINE, eventually};

/// What the server saw of a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// The client reset the call.
    pub(crate) reset: Option<Reason>,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

impl Server {
    pub(crate) fn start() -> Server {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("non-blocking");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = seen.clone();
        std::thread::spawn(move || {
            let serve = async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve_connection(stream, shared.clone()));
                }
            };
            runtime().block_on(tokio::task::LocalSet::new().run_until(serve));
        });
        Server { address, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("calls").clone()
    }

    /// Waits until a call was reset, and says with what.
    #[track_caller]
    pub(crate) fn reset(&self) -> Reason {
        let reset = || self.seen().iter().find_map(|seen| seen.reset);
        eventually("the server to see a reset", || reset().is_some());
        reset().expect("a reset")
    }
}

async fn serve_connection(stream: tokio::net::TcpStream, seen: Arc<Mutex<Vec<Seen>>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let path = request.uri().path().to_string();
        let (number, before) = {
            let mut seen = seen.lock().expect("calls");
            let before = seen.iter().filter(|seen| seen.path == path).count();
            let fields = request.headers().clone();
            seen.push(Seen { path, fields, ..Seen::default() });
            (seen.len() - 1, before)
        };
        let seen = seen.clone();
        tokio::spawn(async move {
            serve_call(request, respond, before, |put| put(&mut seen.lock().expect("calls")[number])).await;
        });
    }
}

fn head(status: u16) -> Response<()> {
    Response::builder().status(status).header("content-type", "application/grpc").body(()).expect("a head")
}

fn trailers(status: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().expect("a value"));
    trailers.insert("x-left", "over".parse().expect("a value"));
    trailers
}

/// Sends all of it, as the window allows.
async fn send(stream: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let granted = match std::future::poll_fn(|context| stream.poll_capacity(context)).await {
            Some(granted) => granted?,
            None => return Ok(()),
        };
        stream.send_data(bytes.split_to(granted.min(bytes.len())), false)?;
    }
    Ok(())
}

/// Paths are `/t/KIND/ARGUMENT/TIMES`: what to do, with which status, and how many calls to this path before it is an
/// ordinary one.
async fn serve_call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    before: usize,
    note: impl Fn(&dyn Fn(&mut Seen)),
) {
    let path = request.uri().path().to_string();
    let mut parts = path.split('/').skip(2);
    let (mut kind, argument) = (parts.next().unwrap_or(""), parts.next().unwrap_or("0"));
    if parts.next().is_some_and(|times| before >= times.parse().expect("a number")) {
        kind = "Unary";
    }
    let mut body = request.into_body();
    if kind == "Echo" {
        let mut stream = respond.send_response(head(200), false).expect("a head");
        while let Some(Ok(piece)) = body.data().await {
            let _ = body.flow_control().release_capacity(piece.len());
            note(&|seen| seen.body.extend_from_slice(&piece));
            if send(&mut stream, piece.clone()).await.is_err() {
                break;
            }
        }
        let _ = stream.send_trailers(trailers("0"));
        return;
    }
    if kind == "Refuse" {
        return respond.send_reset(Reason::REFUSED_STREAM);
    }
    let mut whole = Vec::new();
    let waits = !matches!(kind, "Begin" | "Hang");
    while let Some(Ok(piece)) = if waits { body.data().await } else { None } {
        let _ = body.flow_control().release_capacity(piece.len());
        note(&|seen| seen.body.extend_from_slice(&piece));
        whole.extend_from_slice(&piece);
    }
    match kind {
        "Reset" => respond.send_reset(Reason::INTERNAL_ERROR),
        "Status" => {
            let status: u16 = argument.parse().expect("a status");
            let head = Response::builder().status(status).body(()).expect("a head");
            let _ = respond.send_response(head, true);
        }
        "Only" => {
            let mut head = head(200);
            head.headers_mut().extend(trailers(argument));
            let _ = respond.send_response(head, true);
        }
        "Late" => {
            let mut stream = respond.send_response(head(200), false).expect("a head");
            let _ = stream.send_trailers(trailers(argument));
        }
        "Hang" => {
            let reset = std::future::poll_fn(|context| respond.poll_reset(context)).await;
            note(&|seen| seen.reset = reset.as_ref().ok().copied());
        }
        "Begin" => {
            let mut stream = respond.send_response(head(200), false).expect("a head");
            let _ = send(&mut stream, Bytes::from_static(b"first")).await;
            let reset = std::future::poll_fn(|context| stream.poll_reset(context)).await;
            note(&|seen| seen.reset = reset.as_ref().ok().copied());
        }
        "Break" | "BreakBetween" => {
            let mut stream = respond.send_response(head(200), false).expect("a head");
            let whole = if kind == "Break" { Bytes::from_static(b"first") } else { whole.into() };
            let _ = send(&mut stream, whole).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        _ => {
            let mut stream = respond.send_response(head(200), false).expect("a head");
            let _ = send(&mut stream, whole.into()).await;
            let _ = stream.send_trailers(trailers(argument));
        }
    }
}

/// How a call went, as its client sees it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) status: u16,
    pub(crate) head: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
    pub(crate) reset: Option<Reason>,
    /// The head ended the response.
    pub(crate) is_only_head: bool,
}

impl Outcome {
    /// `grpc-status`, wherever it is.
    pub(crate) fn grpc_status(&self) -> Option<&str> {
        let value = self.trailers.get("grpc-status").or(self.head.get("grpc-status"));
        value.map(|value| value.to_str().expect("text"))
    }

    pub(crate) fn message(&self) -> &str {
        let value = self.trailers.get("grpc-message").or(self.head.get("grpc-message"));
        value.map_or("", |value| value.to_str().expect("text"))
    }
}

/// A call with a body in pieces, each sent when as much as was sent before has come back if `in_turn`.
pub(crate) fn call(address: SocketAddr, path: &str, fields: &[(&str, &str)], body: &[&[u8]], in_turn: bool) -> Outcome {
    let work = async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
        let (client, connection) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::spawn(connection);
        let mut client = client.ready().await.expect("ready");
        let mut request = Request::post(format!("http://a.test{path}")).header("te", "trailers");
        if !fields.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let (response, mut stream) = client.send_request(request, body.is_empty()).expect("sent");
        let body: Vec<Bytes> = body.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
        if in_turn {
            return converse(response, stream, body).await;
        }
        let sending = tokio::spawn(async move {
            for piece in body {
                if send(&mut stream, piece).await.is_err() {
                    return;
                }
            }
            let _ = stream.send_data(Bytes::new(), true);
        });
        let outcome = collect(response).await;
        sending.abort();
        outcome
    };
    runtime().block_on(async { tokio::time::timeout(DEADLINE, work).await.expect("within the deadline") })
}

/// Begins a call, waits until its first message is there if there is to be one, and gives it up.
pub(crate) fn cancel(address: SocketAddr, path: &str, after: Duration) {
    runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
        let (client, connection) = h2::client::handshake(stream).await.expect("a handshake");
        tokio::spawn(connection);
        let mut client = client.ready().await.expect("ready");
        let request = Request::post(format!("http://a.test{path}")).header("content-type", "application/grpc");
        let (response, mut stream) = client.send_request(request.body(()).expect("a request"), false).expect("sent");
        tokio::time::sleep(after).await;
        stream.send_reset(Reason::CANCEL);
        drop(response);
        tokio::time::sleep(Duration::from_millis(100)).await;
    });
}

async fn collect(response: h2::client::ResponseFuture) -> Outcome {
    let mut outcome = Outcome::default();
    let response = match response.await {
        Ok(response) => response,
        Err(error) => return Outcome { reset: error.reason(), ..outcome },
    };
    outcome.status = response.status().as_u16();
    outcome.head = response.headers().clone();
    let mut body = response.into_body();
    outcome.is_only_head = body.is_end_stream();
    while let Some(piece) = body.data().await {
        match piece {
            Ok(piece) => {
                let _ = body.flow_control().release_capacity(piece.len());
                outcome.body.extend_from_slice(&piece);
            }
            Err(error) => return Outcome { reset: error.reason(), ..outcome },
        }
    }
    match body.trailers().await {
        Ok(trailers) => outcome.trailers = trailers.unwrap_or_default(),
        Err(error) => outcome.reset = error.reason(),
    }
    outcome
}

async fn converse(response: h2::client::ResponseFuture, mut stream: SendStream<Bytes>, pieces: Vec<Bytes>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut pieces = pieces.into_iter();
    send(&mut stream, pieces.next().expect("a piece")).await.expect("sent");
    let response = response.await.expect("a response");
    outcome.head = response.headers().clone();
    let mut body = response.into_body();
    let mut sent = 1;
    while let Some(piece) = body.data().await {
        let piece = piece.expect("data");
        let _ = body.flow_control().release_capacity(piece.len());
        outcome.body.extend_from_slice(&piece);
        match pieces.next() {
            Some(piece) => {
                sent += 1;
                send(&mut stream, piece).await.expect("sent");
            }
            None if sent > 0 => {
                sent = 0;
                stream.send_data(Bytes::new(), true).expect("ended");
            }
            None => {}
        }
    }
    outcome.trailers = body.trailers().await.expect("trailers").unwrap_or_default();
    outcome
}
