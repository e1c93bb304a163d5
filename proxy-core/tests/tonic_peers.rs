//! gRPC between tonic on both sides: every kind of call, deadlines and cancellation. Messages are bytes: no code has to be
//! generated.

mod ops;

use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tokio_stream::{Stream, StreamExt};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

use ops::proxy::{Proxy, any_cpu};
use ops::{DEADLINE, free_address, wait_until};

on_both_drivers!(
    tonic_calls_tonic_in_every_way,
    tonic_s_statuses_and_metadata_arrive,
    tonic_s_deadlines_and_cancellations_arrive,
);

/// Messages as they are.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Plain;
    type Decoder = Plain;

    fn encoder(&mut self) -> Plain {
        Plain
    }

    fn decoder(&mut self) -> Plain {
        Plain
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(input.copy_to_bytes(input.remaining())))
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
type Boxed<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

/// Says when a call ended before it was answered.
struct Unanswered(Sender<()>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// A function as the service that tonic takes for a method.
struct Method<F>(F);

impl<F, Answer, In, Out> tonic::codegen::Service<Request<In>> for Method<F>
where
    F: FnMut(Request<In>) -> Answer,
    Answer: Future<Output = Result<Response<Out>, Status>>,
{
    type Response = Response<Out>;
    type Error = Status;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<In>) -> Answer {
        (self.0)(request)
    }
}

#[derive(Clone)]
struct Service {
    unanswered: Sender<()>,
}

impl tonic::server::NamedService for Service {
    const NAME: &'static str = "t.T";
}

impl Service {
    async fn unary(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        let meta = request.metadata().get("x-meta").cloned();
        let mut response = Response::new(request.into_inner());
        if let Some(meta) = meta {
            response.metadata_mut().insert("x-meta-back", meta);
        }
        Ok(response)
    }

    fn down(request: Request<Bytes>) -> Boxed<Messages> {
        let message = request.into_inner();
        let messages = (0..100).map(move |number| Ok([&message[..], number.to_string().as_bytes()].concat().into()));
        Box::pin(async { Ok(Response::new(Box::pin(tokio_stream::iter(messages)) as Messages)) })
    }

    async fn up(request: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
        let (mut messages, mut all) = (request.into_inner(), Vec::new());
        while let Some(message) = messages.message().await? {
            all.extend_from_slice(&message);
        }
        Ok(Response::new(all.into()))
    }

    fn both(request: Request<Streaming<Bytes>>) -> Boxed<Messages> {
        Box::pin(async { Ok(Response::new(Box::pin(request.into_inner()) as Messages)) })
    }
}

impl tonic::codegen::Service<http::Request<tonic::body::Body>> for Service {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let unanswered = self.unanswered.clone();
        Box::pin(async move {
            // The default is 4 MiB.
            let mut grpc = tonic::server::Grpc::new(Plain).max_decoding_message_size(16 << 20);
            let path = request.uri().path().to_owned();
            let slow = move |_: Request<Bytes>| {
                let unanswered = Unanswered(unanswered.clone());
                async move {
                    pending::<()>().await;
                    drop(unanswered);
                    Ok::<_, Status>(Response::new(Bytes::new()))
                }
            };
            let fail = |_: Request<Bytes>| async {
                Err::<Response<Bytes>, _>(Status::failed_precondition("not now: 100 % \u{fc}"))
            };
            Ok(match path.as_str() {
                "/t.T/Unary" => grpc.unary(Method(Service::unary), request).await,
                "/t.T/Down" => grpc.server_streaming(Method(Service::down), request).await,
                "/t.T/Up" => grpc.client_streaming(Method(Service::up), request).await,
                "/t.T/Both" => grpc.streaming(Method(Service::both), request).await,
                "/t.T/Slow" => grpc.unary(Method(slow), request).await,
                "/t.T/Fail" => grpc.unary(Method(fail), request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// A server that lives as long as the test process; the channel hears of each call that ended early.
fn server() -> (SocketAddr, Receiver<()>) {
    let (address, (unanswered, heard)) = (free_address(), channel());
    std::thread::spawn(move || {
        let serving = Server::builder().add_service(Service { unanswered }).serve(address);
        runtime().block_on(serving).expect("serves");
    });
    wait_until("the server to listen", || std::net::TcpStream::connect(address).is_ok());
    (address, heard)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn in_front_of(driver: &str, server: SocketAddr) -> (Proxy, SocketAddr) {
    let listen = free_address();
    let config = format!(
        "listeners:\n  - name: web\n    address: '{listen}'\n    http:\n      routes:\n\
        \x20       - {{ match: {{ prefix: /t.T/ }}, cluster: app, timeout: 1s }}\n\
         clusters:\n  - {{ name: app, protocol: http2, endpoints: ['{server}'] }}\n"
    );
    (Proxy::start_with(&config, &["--driver", driver, "--cores", &any_cpu()], |_| {}), listen)
}

type Client = tonic::client::Grpc<Channel>;

async fn client(address: SocketAddr) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an endpoint");
    let mut client = Client::new(endpoint.connect().await.expect("connects")).max_decoding_message_size(16 << 20);
    client.ready().await.expect("ready");
    client
}

fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}

async fn unary(client: &Client, method: &'static str, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let mut client = client.clone();
    client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    client.unary(request, path(method), Plain).await
}

async fn all(messages: Streaming<Bytes>) -> Vec<Bytes> {
    messages.map(|message| message.expect("a message")).collect().await
}

fn tonic_calls_tonic_in_every_way(driver: &str) {
    let (server, _heard) = server();
    let (proxy, listen) = in_front_of(driver, server);
    runtime().block_on(async {
        let mut client = client(listen).await;
        let asks = (0..200).map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let message = Bytes::from(number.to_string());
                let answer = unary(&client, "/t.T/Unary", Request::new(message.clone())).await.expect("an answer");
                assert_eq!(answer.into_inner(), message);
            })
        });
        for ask in asks.collect::<Vec<_>>() {
            ask.await.expect("no panic");
        }
        let large =
            Bytes::from((0..8_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>());
        let answer = unary(&client, "/t.T/Unary", Request::new(large.clone())).await.expect("an answer");
        assert!(answer.into_inner() == large);

        let request = Request::new(Bytes::from_static(b"n"));
        let down = client.server_streaming(request, path("/t.T/Down"), Plain).await.expect("a stream").into_inner();
        let expected: Vec<String> = (0..100).map(|number| format!("n{number}")).collect();
        assert_eq!(all(down).await, expected);

        client.ready().await.expect("ready");
        let parts = tokio_stream::iter(["a", "b", "c"].map(Bytes::from));
        let up = client.client_streaming(Request::new(parts), path("/t.T/Up"), Plain).await.expect("an answer");
        assert_eq!(up.into_inner(), "abc");

        // Both directions at once: each message goes out when the one before it has come back.
        client.ready().await.expect("ready");
        let (sender, requests) = tokio::sync::mpsc::channel(1);
        let requests = Request::new(tokio_stream::wrappers::ReceiverStream::new(requests));
        sender.send(Bytes::from("0")).await.expect("sent");
        let mut both = client.streaming(requests, path("/t.T/Both"), Plain).await.expect("a stream").into_inner();
        for number in 0..50 {
            let message = both.message().await.expect("a message").expect("not the end");
            assert_eq!(message, number.to_string());
            sender.send(Bytes::from((number + 1).to_string())).await.expect("sent");
        }
        drop(sender);
        assert_eq!(both.message().await.expect("a message").expect("the last"), "50");
        assert_eq!(both.message().await.expect("an end"), None);
    });
    wait_until("all calls to be counted", || proxy.stat("cluster.app.grpc.0") == 204);
    assert_eq!(proxy.stat("cluster.app.grpc.failure"), 0);
}

fn tonic_s_statuses_and_metadata_arrive(driver: &str) {
    let (server, _heard) = server();
    let (proxy, listen) = in_front_of(driver, server);
    runtime().block_on(async {
        let client = client(listen).await;
        let mut request = Request::new(Bytes::new());
        request.metadata_mut().insert("x-meta", "m".parse().expect("a value"));
        let answer = unary(&client, "/t.T/Unary", request).await.expect("an answer");
        assert_eq!(answer.metadata().get("x-meta-back").map(tonic::metadata::MetadataValue::as_bytes), Some(&b"m"[..]));
        let status = unary(&client, "/t.T/Fail", Request::new(Bytes::new())).await.expect_err("a status");
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "not now: 100 % \u{fc}"));
        let status = unary(&client, "/t.T/Other", Request::new(Bytes::new())).await.expect_err("a status");
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, "no such method"));
        let status = unary(&client, "/none.N/X", Request::new(Bytes::new())).await.expect_err("a status");
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, "no route matches this request"));
    });
    wait_until("all calls to be counted", || proxy.stat("cluster.app.grpc.total") == 3);
    assert_eq!((proxy.stat("cluster.app.grpc.9"), proxy.stat("cluster.app.grpc.12")), (1, 1));
}

fn tonic_s_deadlines_and_cancellations_arrive(driver: &str) {
    let (server, heard) = server();
    let (_proxy, listen) = in_front_of(driver, server);
    let slow = || Request::new(Bytes::new());
    runtime().block_on(async {
        let client = client(listen).await;
        // The client's deadline: tonic watches over it on both sides, too, and calls what it finds a cancellation.
        let mut request = slow();
        request.set_timeout(Duration::from_millis(300));
        let status = unary(&client, "/t.T/Slow", request).await.expect_err("a status");
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
        heard.recv_timeout(DEADLINE).expect("the server hears of it");
        // The route's, which the client doesn't know.
        let status = unary(&client, "/t.T/Slow", slow()).await.expect_err("a status");
        assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "upstream request timeout"));
        heard.recv_timeout(DEADLINE).expect("the server hears of it");
        // A client that gives up.
        let given_up = tokio::time::timeout(Duration::from_millis(300), unary(&client, "/t.T/Slow", slow())).await;
        assert!(given_up.is_err());
        // What it has to say goes out when it runs.
        unary(&client, "/t.T/Unary", slow()).await.expect("an answer");
        heard.recv_timeout(DEADLINE).expect("the server hears of it");
    });
}
