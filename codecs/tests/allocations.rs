//! In steady state the codec allocates nothing: heads, decoders and buffers are reused.

use codecs::http::h1::{self, BodyDecoder, BodyPart, RequestOptions, emit};
use codecs::http::h2::{self, Connection, Event, FieldLine, Limits, Message, RequestLine, Role, field_lines};
use codecs::http::{FieldId, FieldSet, HeadLimits, Method, RequestHead, ResponseHead};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // Not when the thread is being torn down.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call is passed on unchanged to the system's allocator, which upholds the contract; counting touches only
// a constant-initialised thread-local cell, which doesn't allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's obligations are those of `System.alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations are those of `System.dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's obligations are those of `System.realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Exchange {
    limits: HeadLimits,
    request: RequestHead,
    response: ResponseHead,
    body: BodyDecoder,
    out: Vec<u8>,
}

impl Exchange {
    /// One request and its chunked response with trailers, through the codec and out again.
    fn run(&mut self) -> usize {
        let request: &[u8] =
            b"GET /a?b HTTP/1.1\r\nHost: example.com\r\nConnection: x-a\r\nX-A: 1\r\nAccept: */*\r\n\r\n";
        let response: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nServer: o\r\n\r\n";
        let body: &[u8] = b"5;x\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";
        let Exchange { limits, request: head, response: answer, body: decoder, out } = self;
        out.clear();
        h1::parse_request(request, limits, &RequestOptions::default(), head).expect("a request");
        emit::request_line(out, head.method_span.of(request), head.path.of(request));
        head.copy_fields(out, request, FieldSet::of(&[FieldId::Accept]));
        emit::end_of_head(out);
        h1::parse_response(response, limits, Method::Get, answer).expect("a response");
        emit::status_line(out, answer.status, answer.reason.of(response));
        answer.copy_fields(out, response, FieldSet::EMPTY);
        emit::transfer_encoding_chunked(out);
        emit::end_of_head(out);
        decoder.reset(answer.body);
        let mut at = 0;
        while !decoder.is_done() {
            let event = decoder.decode(&body[at..]).expect("a body");
            if let BodyPart::Data(range) = event.part {
                emit::chunk_head(out, range.len() as u64);
                out.extend_from_slice(&body[at..][range]);
                emit::chunk_end(out);
            }
            at += event.consumed;
        }
        emit::last_chunk(out, decoder.trailers());
        out.len()
    }
}

#[test]
fn a_keep_alive_exchange_allocates_nothing_once_warm() {
    let limits = HeadLimits::default();
    let mut exchange = Exchange {
        limits,
        request: RequestHead::default(),
        response: ResponseHead::default(),
        body: BodyDecoder::for_response(codecs::http::BodyLength::None, &limits),
        out: Vec::new(),
    };
    let len = exchange.run();
    let before = ALLOCATIONS.get();
    assert!(before > 0, "the first exchange fills the buffers");
    for _ in 0..100 {
        assert_eq!(exchange.run(), len);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

/// One side of an HTTP/2 connection.
struct Peer {
    connection: Connection,
    message: Message,
    out: Vec<u8>,
}

impl Peer {
    fn new(role: Role) -> Peer {
        let mut out = Vec::new();
        let connection = Connection::new(role, &Limits::default(), &mut out);
        Peer { connection, message: Message::default(), out }
    }

    /// Takes what `from` has said and answers requests; how many messages ended.
    fn take(&mut self, from: &mut Peer) -> usize {
        let (mut at, mut ended) = (0, 0);
        loop {
            let step = self.connection.receive(&from.out[at..], &mut self.message, &mut self.out).expect("no error");
            let input = &from.out[at..];
            at += step.consumed;
            match step.event {
                Event::NeedMore => break,
                Event::Request { stream, .. } => {
                    let fields = field_lines(&self.message.text, &self.message.request.fields);
                    self.connection.send_response(stream, 200, fields, false, &mut self.out).expect("open");
                }
                Event::Data { stream, range, end_stream } => {
                    self.connection.release(stream, range.len(), &mut self.out);
                    ended += usize::from(end_stream);
                    if end_stream && self.connection.is_open(stream) {
                        let payload = &input[range];
                        let granted = self.connection.data_frame(stream, payload.len(), false, &mut self.out);
                        assert_eq!(granted.expect("open").bytes, payload.len());
                        self.out.extend_from_slice(payload);
                        let trailers: [FieldLine<'_>; 1] = [(b"grpc-status", b"0", false)];
                        self.connection.send_trailers(stream, trailers, &mut self.out).expect("open");
                    }
                }
                Event::Trailers { .. } => ended += 1,
                _ => {}
            }
        }
        from.out.clear();
        from.connection.output_sent();
        ended
    }
}

/// A round of eight streams at once, each with a body and trailers, over a connection.
fn http2_round(client: &mut Peer, server: &mut Peer) -> usize {
    let line = RequestLine { method: b"POST", scheme: b"https", authority: b"a", path: b"/a.b/C", protocol: None };
    for number in 0..8u8 {
        let unique = [b'a' + number; 20];
        let fields: [FieldLine<'_>; 4] = [
            (b"Content-Type", b"application/grpc", false),
            (b"X-Request-Id", &unique, false),
            (b"cookie", b"a=1", false),
            (b"te", b"trailers", false),
        ];
        let stream = client.connection.send_request(&line, fields, false, &mut client.out).expect("a stream");
        client.connection.data_frame(stream, 100, true, &mut client.out).expect("open");
        client.out.extend_from_slice(&[number; 100]);
    }
    assert_eq!(server.take(client), 8);
    client.take(server)
}

#[test]
fn http2_streams_allocate_nothing_once_warm() {
    let (mut client, mut server) = (Peer::new(Role::Client), Peer::new(Role::Server));
    server.take(&mut client);
    client.take(&mut server);
    for _ in 0..200 {
        assert_eq!(http2_round(&mut client, &mut server), 8);
    }
    let before = ALLOCATIONS.get();
    for _ in 0..200 {
        assert_eq!(http2_round(&mut client, &mut server), 8);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert!(h2::is_preface(h2::PREFACE) == h1::Status::Complete(true));
}
