//! Clients of both versions with one face.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request};
use tokio::runtime::Runtime;

use crate::harness::{Client, DEADLINE};

pub(super) type Fields = Vec<(String, String)>;

/// A request, whatever version carries it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) fields: Fields,
    pub(super) body: Option<Vec<u8>>,
    /// Say how long the body is.
    pub(super) length: bool,
    pub(super) trailers: Fields,
}

impl Ask {
    pub(super) fn new(method: &str, path: &str) -> Ask {
        Ask { method: method.into(), host: "app.test".into(), path: path.into(), ..Ask::default() }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Ask {
        self.fields.push((name.into(), value.into()));
        self
    }

    pub(super) fn body(mut self, body: impl Into<Vec<u8>>, length: bool) -> Ask {
        (self.body, self.length) = (Some(body.into()), length);
        self
    }

    /// As `h2` wants it.
    pub(super) fn request(&self) -> Request<()> {
        let uri = format!("http://{}{}", self.host, self.path);
        let method = Method::from_bytes(self.method.as_bytes()).expect("a method");
        let mut request = Request::builder().method(method).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in &self.fields {
            request = request.header(name, value);
        }
        if self.length {
            request = request.header("content-length", self.body.as_ref().map_or(0, Vec::len));
        }
        request.body(()).expect("a request")
    }
}

/// A response that came whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) fields: Fields,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Fields,
    pub(super) interim: Vec<(u16, Fields)>,
}

impl Answer {
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        all(&self.fields, name)
    }
}

pub(super) fn all<'f>(fields: &'f Fields, name: &str) -> Vec<&'f str> {
    let named = fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}

pub(super) fn fields_of(map: &HeaderMap) -> Fields {
    map.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into())).collect()
}

pub(super) fn map_of(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
        map.append(name, value.parse().expect("a value"));
    }
    map
}

pub(super) enum Peer {
    Http1(Client),
    Http2(H2),
}

impl Peer {
    /// A whole exchange; the error says how it broke off.
    pub(super) fn ask(&mut self, ask: &Ask) -> Result<Answer, String> {
        match self {
            Peer::Http1(client) => ask_http1(client, ask),
            Peer::Http2(h2) => h2.run(exchange(h2.send.clone(), ask.clone())).map_err(|error| format!("{error:?}")),
        }
    }
}

fn head_http1(ask: &Ask) -> String {
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", ask.method, ask.path, ask.host);
    for (name, value) in &ask.fields {
        head += &format!("{name}: {value}\r\n");
    }
    match &ask.body {
        Some(body) if ask.length => head += &format!("content-length: {}\r\n", body.len()),
        Some(_) => head += "transfer-encoding: chunked\r\n",
        None => {}
    }
    head + "\r\n"
}

fn ask_http1(client: &mut Client, ask: &Ask) -> Result<Answer, String> {
    let broken = |error| format!("{error:?}");
    let mut message = head_http1(ask).into_bytes();
    let mut answer = Answer::default();
    let mut writer = client.wire.stream.try_clone().expect("a socket");
    if let Some(body) = &ask.body {
        match ask.length {
            true => message.extend_from_slice(body),
            false => {
                for chunk in body.chunks(70_000) {
                    message.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    message.extend_from_slice(chunk);
                    message.extend_from_slice(b"\r\n");
                }
                message.extend_from_slice(b"0\r\n");
                for (name, value) in &ask.trailers {
                    message.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
                }
                message.extend_from_slice(b"\r\n");
            }
        }
    }
    // Another thread sends: a response may have to be read before all is sent.
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &message));
    let head = loop {
        let head = client.wire.head().map_err(broken)?;
        if !(100..=199).contains(&head.status()) {
            break head;
        }
        answer.interim.push((head.status(), head.fields));
    };
    let mut response = head;
    answer.status = response.status();
    if ask.method != "HEAD" && !matches!(answer.status, 204 | 304) {
        client.wire.framed(&mut response).map_err(broken)?;
    }
    if ask.fields.iter().all(|(name, _)| name != "x-early") {
        let _ = sending.join();
    }
    (answer.fields, answer.body, answer.trailers) = (response.fields, response.body, response.trailers);
    Ok(answer)
}

/// A client on one HTTP/2 connection.
pub(super) struct H2 {
    runtime: Runtime,
    pub(super) send: SendRequest<Bytes>,
}

impl H2 {
    pub(super) fn connect(address: SocketAddr) -> H2 {
        H2::connect_with(address, &h2::client::Builder::new())
    }

    pub(super) fn connect_with(address: SocketAddr, builder: &h2::client::Builder) -> H2 {
        let runtime = runtime();
        let send = within(&runtime, async {
            let socket = tokio::net::TcpStream::connect(address).await.expect("connects");
            socket.set_nodelay(true).expect("nodelay");
            let (send, connection) = builder.handshake(socket).await.expect("a handshake");
            tokio::spawn(async move {
                let _ = connection.await;
            });
            send
        });
        H2 { runtime, send }
    }

    /// Drives the connection until the future is done.
    #[track_caller]
    pub(super) fn run<F: Future>(&self, future: F) -> F::Output {
        within(&self.runtime, future)
    }

    /// Waits until the condition holds, driving the connection meanwhile.
    #[track_caller]
    pub(super) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        crate::harness::eventually(what, || {
            self.run(async { tokio::time::sleep(Duration::from_millis(1)).await });
            holds()
        });
    }

    pub(super) fn ask(&self, ask: &Ask) -> Result<Answer, h2::Error> {
        self.run(exchange(self.send.clone(), ask.clone()))
    }
}

pub(super) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[track_caller]
fn within<F: Future>(runtime: &Runtime, future: F) -> F::Output {
    runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await }).expect("within the deadline")
}

/// Begins a request: its response is to come, its body to be sent.
pub(super) async fn begin(
    send: SendRequest<Bytes>,
    request: Request<()>,
    end: bool,
) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
    send.ready().await?.send_request(request, end)
}

pub(super) async fn exchange(send: SendRequest<Bytes>, ask: Ask) -> Result<Answer, h2::Error> {
    let (mut response, mut body) = begin(send, ask.request(), ask.body.is_none()).await?;
    if let Some(bytes) = ask.body {
        let last = ask.trailers.is_empty();
        body.send_data(bytes.into(), last)?;
        if !last {
            body.send_trailers(map_of(&ask.trailers))?;
        }
    }
    let mut answer = Answer::default();
    let response = poll_fn(|context| {
        while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(context) {
            answer.interim.push((interim.status().as_u16(), fields_of(interim.headers())));
        }
        std::pin::Pin::new(&mut response).poll(context)
    })
    .await?;
    answer.status = response.status().as_u16();
    answer.fields = fields_of(response.headers());
    let mut body = response.into_body();
    (answer.body, answer.trailers) = collect(&mut body).await?;
    Ok(answer)
}

/// Reads a body to its end, opening the windows as it goes.
pub(super) async fn collect(body: &mut RecvStream) -> Result<(Vec<u8>, Fields), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        bytes.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len())?;
    }
    let trailers = body.trailers().await?;
    Ok((bytes, trailers.as_ref().map(fields_of).unwrap_or_default()))
}
