//! In steady state the codec allocates nothing: heads, decoders and buffers are reused.

use codecs::http::h1::{self, BodyDecoder, BodyPart, RequestOptions, emit};
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
