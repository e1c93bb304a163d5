//! Limits hold at their exact values, and as soon as the bytes so far exceed them.

use codecs::http::h1::{
    self, BodyDecoder, BodyPart, Error, ErrorKind, HeadScanner, LEADING_CRLF_MAX, RequestOptions, Status,
};
use codecs::http::{BodyLength, HeadLimits, Method, RequestHead, ResponseHead};

fn parse(input: &[u8], limits: &HeadLimits) -> Result<Status<usize>, Error> {
    h1::parse_request(input, limits, &RequestOptions::default(), &mut RequestHead::default())
}

fn kind(result: Result<Status<usize>, Error>) -> Option<(ErrorKind, u16)> {
    result.err().map(|error| (error.kind, error.status()))
}

/// A complete head of exactly `bytes`.
fn head_of(bytes: usize) -> Vec<u8> {
    let mut head = b"GET / HTTP/1.1\r\nHost: h\r\nPad: ".to_vec();
    head.resize(bytes - 4, b'x');
    head.extend_from_slice(b"\r\n\r\n");
    head
}

#[test]
fn the_defaults_are_as_documented() {
    let limits = HeadLimits::default();
    assert_eq!((limits.head_bytes_max, limits.fields_max, limits.request_line_bytes_max), (60 * 1024, 100, 8 * 1024));
}

#[test]
fn head_bytes() {
    let limits = HeadLimits::default();
    let max = limits.head_bytes_max as usize;
    assert_eq!(parse(&head_of(max), &limits), Ok(Status::Complete(max)));
    assert_eq!(kind(parse(&head_of(max + 1), &limits)), Some((ErrorKind::HeadTooLarge, 431)));
    // Without its end in sight, too.
    let endless = head_of(2 * max);
    assert_eq!(parse(&endless[..max], &limits), Ok(Status::Partial));
    assert_eq!(kind(parse(&endless[..max + 1], &limits)), Some((ErrorKind::HeadTooLarge, 431)));
    // Empty lines before the head aren't part of it.
    let led = [b"\r\n".repeat(LEADING_CRLF_MAX as usize), head_of(max)].concat();
    assert_eq!(parse(&led, &limits), Ok(Status::Complete(led.len())));
}

#[test]
fn request_line_bytes() {
    let limits = HeadLimits::default();
    let max = limits.request_line_bytes_max as usize;
    let line_of = |bytes: usize| format!("GET /{} HTTP/1.1", "a".repeat(bytes - 14));
    let rest = "\r\nHost: h\r\n\r\n";
    let fits = line_of(max) + rest;
    assert_eq!(parse(fits.as_bytes(), &limits), Ok(Status::Complete(fits.len())));
    assert_eq!(parse(&fits.as_bytes()[..=max], &limits), Ok(Status::Partial), "the CR isn't part of the line");
    let long = line_of(max + 1) + rest;
    assert_eq!(kind(parse(long.as_bytes(), &limits)), Some((ErrorKind::RequestLineTooLong, 414)));
    let endless = line_of(2 * max);
    assert_eq!(kind(parse(&endless.as_bytes()[..max + 2], &limits)), Some((ErrorKind::RequestLineTooLong, 414)));
}

#[test]
fn fields() {
    let limits = HeadLimits::default();
    let head_of = |fields: u32| {
        let others: String = (1..fields).map(|n| format!("A{n}: b\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: h\r\n{others}\r\n").into_bytes()
    };
    let fits = head_of(limits.fields_max);
    assert_eq!(parse(&fits, &limits), Ok(Status::Complete(fits.len())));
    let many = head_of(limits.fields_max + 1);
    assert_eq!(kind(parse(&many, &limits)), Some((ErrorKind::TooManyFields, 431)));
    assert_eq!(kind(parse(&many[..many.len() - 2], &limits)), Some((ErrorKind::TooManyFields, 431)), "no end yet");
    // A larger limit than there can be means the largest.
    let unlimited = HeadLimits { fields_max: u32::MAX, ..limits };
    let most = head_of(HeadLimits::FIELDS_MAX);
    assert_eq!(parse(&most, &unlimited), Ok(Status::Complete(most.len())));
    let many = head_of(HeadLimits::FIELDS_MAX + 1);
    assert_eq!(kind(parse(&many, &unlimited)), Some((ErrorKind::TooManyFields, 431)));
}

#[test]
fn response_heads() {
    let limits = HeadLimits { head_bytes_max: 64, ..HeadLimits::default() };
    let parse = |input: &[u8]| h1::parse_response(input, &limits, Method::Get, &mut ResponseHead::default());
    let long = format!("HTTP/1.1 200 {}\r\n\r\n", "a".repeat(64));
    assert_eq!(kind(parse(long.as_bytes())), Some((ErrorKind::HeadTooLarge, 502)));
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(64));
    assert_eq!(kind(parse(long.as_bytes())), Some((ErrorKind::HeadTooLarge, 502)));
}

fn decode(input: &[u8], limits: &HeadLimits) -> Result<bool, ErrorKind> {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, limits);
    let mut at = 0;
    loop {
        let event = decoder.decode(&input[at..]).map_err(|error| error.kind)?;
        at += event.consumed;
        if matches!(event.part, BodyPart::NeedMore | BodyPart::End) {
            return Ok(decoder.is_done());
        }
    }
}

#[test]
fn chunk_lines() {
    let limits = HeadLimits { chunk_line_bytes_max: 10, ..HeadLimits::default() };
    assert_eq!(decode(b"1;45678910\r\nx\r\n0\r\n\r\n", &limits), Ok(true));
    assert_eq!(decode(b"1;4567891011\r\nx\r\n0\r\n\r\n", &limits), Err(ErrorKind::ChunkLineTooLong));
    assert_eq!(decode(b"1;456789101", &limits), Err(ErrorKind::ChunkLineTooLong), "no end of line yet");
}

#[test]
fn extensions_out_of_proportion_to_the_payload() {
    let limits = HeadLimits::default();
    let padded = |chunks: usize| [b"1;".to_vec(), vec![b'a'; 500], b"\r\nx\r\n".to_vec()].concat().repeat(chunks);
    assert_eq!(decode(&padded(30), &limits), Ok(false));
    assert_eq!(decode(&padded(40), &limits), Err(ErrorKind::ChunkOverheadTooLarge));
    // However many small chunks with small extensions are fine.
    assert_eq!(decode(&b"1;a=bcdefghij\r\nx\r\n".repeat(100_000), &limits), Ok(false));
    assert_eq!(decode(&b"0000000000000001\r\nx\r\n".repeat(100_000), &limits), Ok(false));
}

#[test]
fn trailers() {
    let limits = HeadLimits { trailer_bytes_max: 20, fields_max: 2, ..HeadLimits::default() };
    assert_eq!(decode(b"0\r\nA: bcdefgh\r\nB: c\r\n\r\n", &limits), Ok(true), "20 bytes");
    assert_eq!(decode(b"0\r\nA: bcdefghi\r\nB: c\r\n\r\n", &limits), Err(ErrorKind::TrailersTooLarge));
    assert_eq!(decode(b"0\r\nA: bcdefghijklmnopqrstu", &limits), Err(ErrorKind::TrailersTooLarge), "no end yet");
    assert_eq!(decode(b"0\r\nA:\r\nB:\r\nC:\r\n", &limits), Err(ErrorKind::TooManyTrailers));
}

#[test]
fn a_scan_that_is_resumed_says_whether_a_head_has_begun() {
    let input = b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut scanner = HeadScanner::default();
    let mut head = RequestHead::default();
    let limits = HeadLimits::default();
    for end in 0..=input.len() {
        let result =
            h1::parse_request_resumed(&input[..end], &limits, &RequestOptions::default(), &mut scanner, &mut head);
        let complete = end == input.len();
        assert_eq!(result, Ok(if complete { Status::Complete(end) } else { Status::Partial }));
        if !complete && end != 1 {
            assert_eq!(scanner.has_begun(), end > 2, "after {end} bytes");
        }
    }
    assert_eq!(head.path.of(input), b"/");
}

#[test]
fn a_scanner_begins_anew_after_a_head_and_after_an_error() {
    let (limits, options) = (HeadLimits::default(), RequestOptions::default());
    let mut scanner = HeadScanner::default();
    let mut head = RequestHead::default();
    let mut parse = |input: &[u8]| h1::parse_request_resumed(input, &limits, &options, &mut scanner, &mut head);
    for path in ["/a", "/longer", "/b"] {
        let input = format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(parse(&input.as_bytes()[..20]), Ok(Status::Partial));
        assert_eq!(parse(input.as_bytes()), Ok(Status::Complete(input.len())));
    }
    let bad = b"GET / HTTP/1.1\r\nHost: h\r\nA: b\n";
    assert_eq!(parse(bad), parse(bad));
    assert!(parse(bad).is_err());
    // A caller that passes less than before gets an answer, not a panic.
    assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: h\r\n"), Ok(Status::Partial));
    assert_eq!(parse(b"GET "), Ok(Status::Partial));
    assert_eq!(parse(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"), Ok(Status::Complete(27)));
}
