//! What the HTTP/1 codec costs: parsing and emitting heads, and decoding chunks. A proxied request is one `request` and
//! one `response`, forwarded each.

use codecs::http::h1::{self, BodyDecoder, BodyPart, HeadScanner, RequestOptions, emit};
use codecs::http::{BodyLength, FieldId, FieldSet, HeadLimits, Method, RequestHead, ResponseHead};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

/// What wrk sends.
const SMALL_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
/// What a browser sends.
const BROWSER_REQUEST: &[u8] = b"GET /assets/app-3f9c2d.js?v=17 HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: */*\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/\r\nConnection: keep-alive\r\n\
    Cookie: session=7d1b4c0a9e5f4f6a8d2c3b1e0f9a8b7c; theme=dark; consent=1\r\nSec-Fetch-Dest: script\r\n\
    Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: same-origin\r\nIf-None-Match: \"5f3a-62b1\"\r\nPriority: u=2\r\n\r\n";
/// What nginx answers.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.26.3\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Content-Type: text/plain\r\nContent-Length: 100\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Connection: keep-alive\r\nETag: \"5f3a-64\"\r\nAccept-Ranges: bytes\r\n\r\n";

fn parse_request(input: &[u8], limits: &HeadLimits, head: &mut RequestHead) {
    let result = h1::parse_request(black_box(input), limits, &RequestOptions::default(), head);
    assert!(matches!(result, Ok(h1::Status::Complete(_))));
}

/// Parse, and emit as a proxy does with its own forwarding fields.
fn forward_request(input: &[u8], limits: &HeadLimits, head: &mut RequestHead, out: &mut Vec<u8>) {
    const REPLACED: FieldSet = FieldSet::of(&[FieldId::XForwardedFor, FieldId::XForwardedProto, FieldId::XRequestId]);
    parse_request(input, limits, head);
    out.clear();
    emit::request_line(out, head.method_span.of(input), head.path.of(input));
    head.copy_fields(out, input, REPLACED);
    emit::field(out, b"x-forwarded-for", b"192.0.2.1");
    emit::field(out, b"x-forwarded-proto", b"http");
    emit::field(out, b"x-request-id", b"0b2c7e1a-5d4f-4c3b-9a8e-7f6d5c4b3a29");
    emit::end_of_head(out);
}

fn forward_response(input: &[u8], limits: &HeadLimits, head: &mut ResponseHead, out: &mut Vec<u8>) {
    let result = h1::parse_response(black_box(input), limits, Method::Get, head);
    assert!(matches!(result, Ok(h1::Status::Complete(_))));
    out.clear();
    emit::status_line(out, head.status, head.reason.of(input));
    head.copy_fields(out, input, FieldSet::EMPTY);
    emit::end_of_head(out);
}

fn heads(c: &mut Criterion) {
    let limits = HeadLimits::default();
    let (mut request, mut response, mut out) = (RequestHead::default(), ResponseHead::default(), Vec::new());
    for (name, input) in [("small", SMALL_REQUEST), ("browser", BROWSER_REQUEST)] {
        let mut group = c.benchmark_group("request");
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(format!("{name}/parse"), |b| b.iter(|| parse_request(input, &limits, &mut request)));
        group.bench_function(format!("{name}/forward"), |b| {
            b.iter(|| forward_request(input, &limits, &mut request, &mut out));
        });
    }
    let mut group = c.benchmark_group("response");
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    group.bench_function("forward", |b| b.iter(|| forward_response(RESPONSE, &limits, &mut response, &mut out)));
}

/// A browser's head that arrives a byte at a time must cost a scan a head, not a scan a byte.
fn trickle(c: &mut Criterion) {
    let limits = HeadLimits::default();
    let options = RequestOptions::default();
    let mut head = RequestHead::default();
    c.bench_function("request/browser/byte_at_a_time", |b| {
        b.iter(|| {
            let mut scanner = HeadScanner::default();
            for end in 1..=BROWSER_REQUEST.len() {
                let input = black_box(&BROWSER_REQUEST[..end]);
                h1::parse_request_resumed(input, &limits, &options, &mut scanner, &mut head).expect("a request");
            }
        });
    });
}

fn bodies(c: &mut Criterion) {
    let limits = HeadLimits::default();
    for size in [16, 1024, 16 * 1024] {
        let mut input = Vec::new();
        for _ in 0..16 {
            emit::chunk_head(&mut input, size);
            input.resize(input.len() + size as usize, b'x');
            emit::chunk_end(&mut input);
        }
        emit::last_chunk(&mut input, None);
        let mut decoder = BodyDecoder::new(BodyLength::Chunked, &limits);
        c.bench_function(&format!("chunked/16x{size}"), |b| {
            b.iter(|| {
                decoder.reset(BodyLength::Chunked);
                let (mut at, mut payload) = (0, 0);
                while !decoder.is_done() {
                    let event = decoder.decode(black_box(&input[at..])).expect("a body");
                    if let BodyPart::Data(range) = event.part {
                        payload += range.len();
                    }
                    at += event.consumed;
                }
                payload
            });
        });
    }
}

criterion_group!(benches, heads, trickle, bodies);
criterion_main!(benches);
