mod budgets;
mod errors;
mod exchange;
mod flow;
mod heads;
mod repeated;
mod streams;

use super::frame::{Kind, flags, header};
use super::*;

/// A frame as it is on the wire.
fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    header(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

/// A header block of literals that aren't indexed.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for part in [name, value] {
            assert!(part.len() < 127 + 128);
            match part.len() {
                len @ ..127 => out.push(len as u8),
                len => out.extend_from_slice(&[127, (len - 127) as u8]),
            }
            out.extend_from_slice(part.as_bytes());
        }
    }
    out
}

const GET: &[(&str, &str)] = &[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
const POST: &[(&str, &str)] = &[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

fn with<'a>(fields: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [fields, more].concat()
}

/// HEADERS with all of a block.
fn headers(stream: u32, fields: &[(&str, &str)], end_stream: bool) -> Vec<u8> {
    let end_stream = if end_stream { flags::END_STREAM } else { 0 };
    frame(Kind::Headers, flags::END_HEADERS | end_stream, stream, &block(fields))
}

fn data(stream: u32, payload: &[u8], end_stream: bool) -> Vec<u8> {
    frame(Kind::Data, if end_stream { flags::END_STREAM } else { 0 }, stream, payload)
}

fn rst_stream(stream: u32) -> Vec<u8> {
    frame(Kind::RstStream, 0, stream, &8u32.to_be_bytes())
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    let mut payload = id.to_be_bytes().to_vec();
    payload.extend_from_slice(&value.to_be_bytes());
    frame(Kind::Settings, 0, 0, &payload)
}

#[test]
fn the_preface_is_told_from_other_beginnings() {
    use crate::Status;
    assert_eq!(is_preface(b""), Status::Partial);
    assert_eq!(is_preface(b"PRI * HTTP/2.0\r\n"), Status::Partial);
    assert_eq!(is_preface(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"), Status::Complete(true));
    assert_eq!(is_preface(b"PUT / HTTP/1.1"), Status::Complete(false));
    assert_eq!(is_preface(b"\x16\x03"), Status::Complete(false));
}

#[test]
fn every_error_kind_has_a_token_of_its_own() {
    let mut tokens: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.as_str()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), ErrorKind::ALL.len());
    assert!(tokens.iter().all(|token| token.starts_with("http2.") && !token.contains(' ')));
}

#[test]
fn what_a_client_and_a_server_say_first() {
    let mut out = Vec::new();
    let _ = Connection::new(Role::Client, &Limits::default(), &mut out);
    let expected = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
        \0\0\x12\x04\0\0\0\0\0\0\x02\0\0\0\0\0\x04\0\x04\0\0\0\x06\0\0\xf0\0\
        \0\0\x04\x08\0\0\0\0\0\x01\xff\0\x01";
    assert_eq!(out, expected);
    out.clear();
    let _ = Connection::new(Role::Server, &Limits::default(), &mut out);
    let expected = b"\0\0\x18\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x04\0\0\0\x06\0\0\xf0\0\0\x08\0\0\0\x01\
        \0\0\x04\x08\0\0\0\0\0\x01\xff\0\x01";
    assert_eq!(out, expected);
}
