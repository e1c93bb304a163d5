//! Our HTTP/2 against one of another make, the `h2` crate, over a pipe in memory: both roles.

use bytes::Bytes;
use codecs::http::h2::{
    Connection, ErrorCode, Event, FieldLine, Limits, Message, NO_FIELDS, RequestLine, Role, StreamRef, field_lines,
};
use codecs::http::{BodyLength, FieldId};
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Bytes that fit the pipe: small, so that both sides see pieces of frames.
const PIPE_BYTES: usize = 3000;
const STREAMS: usize = 40;

/// Our side of the pipe.
struct Ours {
    io: DuplexStream,
    connection: Connection,
    message: Message,
    input: Vec<u8>,
    out: Vec<u8>,
    /// Bodies that are being sent.
    bodies: Vec<Body>,
}

struct Body {
    stream: StreamRef,
    bytes: Vec<u8>,
    sent: usize,
    /// Everything is in `bytes`.
    complete: bool,
    /// Bytes come from the peer: released when they have been sent.
    echo: bool,
    trailers: Option<String>,
}

impl Ours {
    fn new(io: DuplexStream, role: Role, limits: &Limits) -> Ours {
        let mut out = Vec::new();
        let connection = Connection::new(role, limits, &mut out);
        Ours { io, connection, message: Message::default(), input: Vec::new(), out, bodies: Vec::new() }
    }

    /// The next event and its DATA; `None` when the peer has closed.
    async fn event(&mut self) -> Option<(Event, Vec<u8>)> {
        loop {
            let step = self.connection.receive(&self.input, &mut self.message, &mut self.out).expect("no error");
            let data = match &step.event {
                Event::Data { range, .. } => self.input[range.clone()].to_vec(),
                _ => Vec::new(),
            };
            self.input.drain(..step.consumed);
            if step.event != Event::NeedMore {
                return Some((step.event, data));
            }
            if !self.exchange().await {
                return None;
            }
        }
    }

    /// Sends and receives until something has come.
    async fn exchange(&mut self) -> bool {
        let mut buffer = [0; 1024];
        let (mut reader, mut writer) = tokio::io::split(&mut self.io);
        loop {
            let read = if self.out.is_empty() {
                reader.read(&mut buffer).await
            } else {
                tokio::select! {
                    read = reader.read(&mut buffer) => read,
                    written = writer.write(&self.out) => {
                        let Ok(written) = written else { return false };
                        self.out.drain(..written);
                        if self.out.is_empty() {
                            self.connection.output_sent();
                        }
                        continue;
                    }
                }
            };
            let Ok(read @ 1..) = read else { return false };
            self.input.extend_from_slice(&buffer[..read]);
            return true;
        }
    }

    async fn flush(&mut self) {
        while !self.out.is_empty() {
            let Ok(()) = self.io.write_all(&self.out).await else { return };
            self.out.clear();
        }
    }

    /// Sends of all bodies what the windows allow.
    fn send_bodies(&mut self) {
        let Ours { connection, out, bodies, .. } = self;
        bodies.retain_mut(|body| {
            loop {
                let left = body.bytes.len() - body.sent;
                let end = body.complete && body.trailers.is_none();
                if left == 0 && !end {
                    break;
                }
                let Ok(granted) = connection.data_frame(body.stream, left, end, out) else { return false };
                out.extend_from_slice(&body.bytes[body.sent..][..granted.bytes]);
                body.sent += granted.bytes;
                if body.echo {
                    connection.release(body.stream, granted.bytes, out);
                }
                if granted.ended {
                    return false;
                }
                if granted.bytes == 0 {
                    return true;
                }
            }
            match body.trailers.take_if(|_| body.complete) {
                Some(sum) => {
                    let trailers: [FieldLine<'_>; 1] = [(b"x-sum", sum.as_bytes(), false)];
                    connection.send_trailers(body.stream, trailers, out).expect("an open stream");
                    false
                }
                None => true,
            }
        });
    }

    /// Answers every request with its fields that begin with `x-` and with its body, and trailers with the body's length.
    async fn serve(&mut self) {
        while let Some((event, data)) = self.event().await {
            match event {
                Event::Request { stream, end_stream } => {
                    let (head, text) = (&self.message.request, &self.message.text);
                    let fields = field_lines(text, &head.fields).filter(|field| field.name.starts_with(b"x-"));
                    self.connection.send_response(stream, 200, fields, false, &mut self.out).expect("open");
                    let trailers = Some("0".to_owned());
                    let bytes = Vec::new();
                    self.bodies.push(Body { stream, bytes, sent: 0, complete: end_stream, echo: true, trailers });
                }
                Event::Data { stream, end_stream, .. } => {
                    let body = self.bodies.iter_mut().find(|body| body.stream == stream).expect("a body");
                    body.bytes.extend_from_slice(&data);
                    body.complete = end_stream;
                    body.trailers = Some(body.bytes.len().to_string());
                }
                Event::Trailers { stream } => {
                    assert_eq!(self.message.trailers[0].value.of(&self.message.text), b"trailer");
                    self.bodies.iter_mut().find(|body| body.stream == stream).expect("a body").complete = true;
                }
                Event::Reset { stream, code } => {
                    assert_eq!(code, ErrorCode::Cancel);
                    self.bodies.retain(|body| body.stream != stream);
                }
                Event::Window { .. } | Event::SettingsChanged | Event::PingAck { .. } | Event::GoAway { .. } => {}
                other => panic!("{other:?}"),
            }
            self.send_bodies();
        }
    }
}

/// Fields that take many frames and both codings, most of which come again with the next stream.
fn fields(stream: usize) -> Vec<(String, String)> {
    let mut fields = vec![
        ("x-same".to_owned(), "the same every time".to_owned()),
        ("x-number".to_owned(), stream.to_string()),
        ("x-bytes".to_owned(), "{}|~^`<>\\".repeat(stream)),
        ("x-empty".to_owned(), String::new()),
    ];
    if stream % 7 == 3 {
        fields.push(("x-large".to_owned(), "0123456789abcdef".repeat(2000)));
    }
    fields
}

fn body(stream: usize) -> Vec<u8> {
    (0..stream * 1777 % 100_000).map(|at| (at * 31 + stream) as u8).collect()
}

async fn peer_reads(mut body: h2::RecvStream, release: bool) -> (Vec<u8>, Option<http::HeaderMap>) {
    let mut bytes = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.expect("DATA");
        bytes.extend_from_slice(&part);
        if release {
            body.flow_control().release_capacity(part.len()).expect("capacity");
        }
    }
    (bytes, body.trailers().await.expect("trailers"))
}

async fn peer_sends(mut to: h2::SendStream<Bytes>, mut bytes: Bytes, trailers: bool) {
    while !bytes.is_empty() {
        to.reserve_capacity(bytes.len());
        let granted = poll_fn(|context| to.poll_capacity(context)).await.expect("open").expect("capacity");
        to.send_data(bytes.split_to(granted.min(bytes.len())), false).expect("open");
    }
    if trailers {
        let mut map = http::HeaderMap::new();
        map.insert("x-end", http::HeaderValue::from_static("trailer"));
        to.send_trailers(map).expect("open");
    } else {
        to.send_data(Bytes::new(), true).expect("open");
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async {
        tokio::time::timeout(std::time::Duration::from_secs(60), test).await.expect("in time");
    }));
}

fn small_windows() -> Limits {
    Limits { stream_window_bytes: 5000, connection_window_bytes: 70_000, ..Limits::default() }
}

fn serves_many_streams(limits: Limits, window: u32) {
    run(async move {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        tokio::task::spawn_local(async move { Ours::new(ours, Role::Server, &limits).serve().await });
        let (client, connection) = h2::client::Builder::new()
            .initial_window_size(window)
            .max_header_list_size(1 << 20)
            .handshake::<_, Bytes>(theirs)
            .await
            .expect("a handshake");
        tokio::task::spawn_local(connection);
        let exchanges: Vec<_> = (0..STREAMS)
            .map(|stream| {
                let client = client.clone();
                tokio::task::spawn_local(async move {
                    let mut client = client.ready().await.expect("ready");
                    let mut request = http::Request::post(format!("https://example.com/{stream}?q"));
                    for (name, value) in fields(stream) {
                        request = request.header(name, value);
                    }
                    let (response, to) = client.send_request(request.body(()).expect("valid"), false).expect("open");
                    let sending = peer_sends(to, body(stream).into(), stream % 2 == 0);
                    let receiving = async {
                        let response = response.await.expect("a response");
                        assert_eq!(response.status(), 200);
                        for (name, value) in fields(stream) {
                            assert_eq!(response.headers()[&name], value.as_str());
                        }
                        peer_reads(response.into_body(), true).await
                    };
                    let ((), (bytes, trailers)) = tokio::join!(sending, receiving);
                    assert_eq!(bytes, body(stream));
                    assert_eq!(trailers.expect("trailers")["x-sum"], bytes.len().to_string().as_str());
                })
            })
            .collect();
        for exchange in exchanges {
            exchange.await.expect("no panic");
        }
    });
}

#[test]
fn serves_many_streams_in_large_windows() {
    serves_many_streams(Limits::default(), 1 << 20);
}

#[test]
fn serves_many_streams_in_small_windows() {
    serves_many_streams(small_windows(), 3000);
}

/// Echoes as `Ours::serve` does.
async fn peer_serves(io: DuplexStream, window: u32) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(window).max_concurrent_streams(10).max_header_list_size(1 << 20);
    let mut connection = builder.handshake::<_, Bytes>(io).await.expect("a handshake");
    while let Some(accepted) = connection.accept().await {
        let Ok((request, mut respond)) = accepted else { return };
        tokio::task::spawn_local(async move {
            let mut response = http::Response::builder().status(201);
            for (name, value) in request.headers() {
                response = response.header(name, value);
            }
            let (bytes, _) = peer_reads(request.into_body(), true).await;
            let to = respond.send_response(response.body(()).expect("valid"), false).expect("open");
            peer_sends(to, bytes.into(), true).await;
        });
    }
}

#[derive(Default)]
struct Answer {
    status: u16,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    done: bool,
}

fn asks_many_times(limits: &Limits, window: u32) {
    run(async move {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        tokio::task::spawn_local(peer_serves(theirs, window));
        let mut ours = Ours::new(ours, Role::Client, limits);
        let mut streams: Vec<(StreamRef, usize)> = Vec::new();
        let mut answers: Vec<Answer> = (0..STREAMS).map(|_| Answer::default()).collect();
        while !answers.iter().all(|answer| answer.done) {
            while streams.len() < STREAMS && ours.connection.is_established() && ours.connection.can_open().is_ok() {
                let number = streams.len();
                let path = format!("/{number}");
                let fields = fields(number);
                let fields =
                    fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes(), number.is_multiple_of(3)));
                let line = RequestLine {
                    method: b"POST",
                    scheme: b"http",
                    authority: b"example.com",
                    path: path.as_bytes(),
                    protocol: None,
                };
                let stream = ours.connection.send_request(&line, fields, false, &mut ours.out).expect("a stream");
                streams.push((stream, number));
                let bytes = body(number);
                ours.bodies.push(Body { stream, bytes, sent: 0, complete: true, echo: false, trailers: None });
                assert!(ours.connection.open_streams() <= 100);
            }
            ours.send_bodies();
            let (event, data) = ours.event().await.expect("an event");
            let number = |stream: StreamRef| streams.iter().find(|known| known.0 == stream).expect("known").1;
            match event {
                Event::Response { stream, end_stream } => {
                    let answer = &mut answers[number(stream)];
                    let (head, text) = (&ours.message.response, &ours.message.text);
                    answer.status = head.status;
                    assert_eq!(head.body, BodyLength::Chunked);
                    let fields = field_lines(text, &head.fields).filter(|field| field.name.starts_with(b"x-"));
                    answer.fields = fields.map(|field| (field.name.to_vec(), field.value.to_vec())).collect();
                    answer.done = end_stream;
                }
                Event::Data { stream, end_stream, .. } => {
                    ours.connection.release(stream, data.len(), &mut ours.out);
                    answers[number(stream)].body.extend_from_slice(&data);
                    assert!(!end_stream);
                }
                Event::Trailers { stream } => answers[number(stream)].done = true,
                Event::Window { .. } | Event::SettingsChanged => {}
                other => panic!("{other:?}"),
            }
        }
        for (number, answer) in answers.iter().enumerate() {
            assert_eq!(answer.status, 201);
            let sent: Vec<_> =
                fields(number).into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect();
            assert_eq!(answer.fields, sent);
            assert_eq!(answer.body, body(number));
        }
        assert_eq!(ours.connection.open_streams(), 0);
    });
}

#[test]
fn asks_many_times_in_large_windows() {
    asks_many_times(&Limits::default(), 1 << 20);
}

#[test]
fn asks_many_times_in_small_windows() {
    asks_many_times(&small_windows(), 3000);
}

#[test]
fn resets_of_the_peer_leave_the_others_alone() {
    run(async {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        tokio::task::spawn_local(async move { Ours::new(ours, Role::Server, &small_windows()).serve().await });
        let (client, connection) = h2::client::handshake(theirs).await.expect("a handshake");
        tokio::task::spawn_local(connection);
        for number in 0..50usize {
            let mut client = client.clone().ready().await.expect("ready");
            let request = http::Request::post("https://example.com/").body(()).expect("valid");
            let (response, mut to) = client.send_request(request, false).expect("open");
            if number % 2 == 0 {
                to.send_data(vec![0; 2000].into(), false).expect("open");
                to.send_reset(h2::Reason::CANCEL);
                continue;
            }
            let exchange = async {
                let (bytes, _) = peer_reads(response.await.expect("a response").into_body(), true).await;
                assert_eq!(bytes, body(number));
            };
            tokio::join!(peer_sends(to, body(number).into(), false), exchange);
        }
    });
}

#[test]
fn our_resets_and_our_goaway_are_understood() {
    run(async {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let mut ours = Ours::new(ours, Role::Server, &Limits::default());
        let (client, connection) = h2::client::handshake::<_>(theirs).await.expect("a handshake");
        let closed = tokio::task::spawn_local(connection);
        let ask = |mut client: h2::client::SendRequest<Bytes>| {
            let request = http::Request::get("https://example.com/").body(()).expect("valid");
            client.send_request(request, true).expect("open").0
        };
        let (first, second) = (ask(client.clone()), {
            let client = client.clone().ready().await.expect("ready");
            ask(client)
        });
        drop(client);
        let mut streams = Vec::new();
        while streams.len() < 2 {
            if let Some((Event::Request { stream, .. }, _)) = ours.event().await {
                streams.push(stream);
            }
        }
        ours.connection.reset(streams[0], ErrorCode::RefusedStream, &mut ours.out);
        ours.connection.go_away_notice(&mut ours.out);
        ours.connection.go_away(ErrorCode::NoError, &mut ours.out);
        ours.connection.send_response(streams[1], 204, NO_FIELDS, true, &mut ours.out).expect("open");
        assert_eq!(ours.connection.open_streams(), 0);
        ours.flush().await;
        let reset = first.await.expect_err("a reset");
        assert_eq!(reset.reason(), Some(h2::Reason::REFUSED_STREAM));
        assert_eq!(second.await.expect("a response").status(), 204);
        closed.await.expect("no panic").expect("closed in order");
    });
}

#[test]
fn the_peer_s_goaway_ends_our_connection_in_order() {
    run(async {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let mut ours = Ours::new(ours, Role::Client, &Limits::default());
        let peer = tokio::task::spawn_local(async move {
            let mut connection = h2::server::Builder::new().handshake::<_, Bytes>(theirs).await.expect("a handshake");
            let (_, mut respond) = connection.accept().await.expect("a request").expect("valid");
            connection.graceful_shutdown();
            respond.send_response(http::Response::new(()), true).expect("open");
            let () = poll_fn(|context| connection.poll_closed(context)).await.expect("closed in order");
        });
        let line = RequestLine { method: b"GET", scheme: b"http", authority: b"a", path: b"/", protocol: None };
        let stream = ours.connection.send_request(&line, NO_FIELDS, true, &mut ours.out).expect("a stream");
        let (mut answered, mut drained) = (false, false);
        while let Some((event, _)) = ours.event().await {
            match event {
                Event::Response { stream: answer, end_stream: true } => {
                    assert_eq!(answer, stream);
                    assert_eq!(ours.message.response.body, BodyLength::None);
                    assert!(ours.message.response.field(FieldId::Server).is_none());
                    answered = true;
                }
                Event::GoAway { last_stream, code, .. } => {
                    assert!(last_stream >= stream.id && code == ErrorCode::NoError);
                    drained = true;
                }
                Event::SettingsChanged => {}
                other => panic!("{other:?}"),
            }
            if answered && drained && ours.connection.open_streams() == 0 {
                break;
            }
        }
        assert!(ours.connection.can_open().is_err());
        while ours.event().await.is_some() {}
        peer.await.expect("no panic");
    });
}
