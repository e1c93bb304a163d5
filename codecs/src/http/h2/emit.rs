//! Heads and trailers to header blocks, and blocks to frames.

use super::frame::{self, FRAME_HEADER_BYTES, Kind, flags};
use super::hpack::{Encoder, Name};
use crate::http::Field;

// Indices of the static table (RFC 7541 appendix A).
const AUTHORITY: usize = 1;
const METHOD_GET: usize = 2;
const METHOD_POST: usize = 3;
const PATH_ROOT: usize = 4;
const SCHEME_HTTP: usize = 6;
const SCHEME_HTTPS: usize = 7;
const STATUS_200: usize = 8;

/// A field to send: name in any case, value, and whether it must never be put into a compression table.
pub type FieldLine<'a> = (&'a [u8], &'a [u8], bool);

/// What a request's pseudo-header fields say (RFC 9113 8.3.1).
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    pub method: &'a [u8],
    /// `http` or `https`; left out with a plain CONNECT.
    pub scheme: &'a [u8],
    /// Host and port; left out if empty.
    pub authority: &'a [u8],
    /// Path and query, or `*`; left out with a plain CONNECT.
    pub path: &'a [u8],
    /// Extended CONNECT (RFC 8441).
    pub protocol: Option<&'a [u8]>,
}

/// The fields of a parsed head or trailers that don't end at this hop; `text` is what their spans refer to.
pub fn field_lines<'a>(text: &'a [u8], fields: &'a [Field]) -> impl Iterator<Item = FieldLine<'a>> {
    let forwarded = fields.iter().filter(|field| !field.hop_by_hop);
    forwarded.map(|field| (field.name.of(text), field.value.of(text), field.never_indexed))
}

/// The fields of text in the form that HTTP/1 has, `name: value` and CRLF; lines without a colon, as the empty one at the
/// end, are passed over. For heads that were put together as text.
pub fn text_lines(mut text: &[u8]) -> impl Iterator<Item = FieldLine<'_>> {
    core::iter::from_fn(move || {
        while !text.is_empty() {
            let end = memchr::memchr(b'\n', text).map_or(text.len(), |at| at + 1);
            let (line, rest) = text.split_at(end);
            text = rest;
            if let Some(colon) = memchr::memchr(b':', line) {
                return Some((&line[..colon], line[colon + 1..].trim_ascii(), false));
            }
        }
        None
    })
}

/// Writes a request's pseudo-header fields.
pub(super) fn request_line(encoder: &mut Encoder, out: &mut Vec<u8>, line: &RequestLine<'_>) {
    match line.method {
        b"GET" => Encoder::indexed(out, METHOD_GET),
        b"POST" => Encoder::indexed(out, METHOD_POST),
        method => encoder.field(out, Name::Pseudo(b":method", METHOD_GET), method, false),
    }
    if line.method != b"CONNECT" || line.protocol.is_some() {
        match line.scheme {
            b"https" => Encoder::indexed(out, SCHEME_HTTPS),
            _ => Encoder::indexed(out, SCHEME_HTTP),
        }
        match line.path {
            b"/" => Encoder::indexed(out, PATH_ROOT),
            path => encoder.field(out, Name::Pseudo(b":path", PATH_ROOT), path, false),
        }
    }
    if !line.authority.is_empty() {
        encoder.field(out, Name::Pseudo(b":authority", AUTHORITY), line.authority, false);
    }
    if let Some(protocol) = line.protocol {
        encoder.field(out, Name::Pseudo(b":protocol", 0), protocol, false);
    }
}

/// Writes `:status`.
pub(super) fn status_line(encoder: &mut Encoder, out: &mut Vec<u8>, status: u16) {
    const IN_TABLE: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    if let Some(at) = IN_TABLE.iter().position(|entry| *entry == status) {
        return Encoder::indexed(out, STATUS_200 + at);
    }
    let digit = |value: u16| b'0' + (value % 10) as u8;
    let digits = [digit(status / 100), digit(status / 10), digit(status)];
    encoder.field(out, Name::Pseudo(b":status", STATUS_200), &digits, false);
}

/// Writes HEADERS with the block that `block` appends, and CONTINUATION if it exceeds `frame_bytes_max`.
pub(super) fn headers(
    out: &mut Vec<u8>,
    stream: u32,
    end_stream: bool,
    frame_bytes_max: usize,
    block: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    let block_start = start + FRAME_HEADER_BYTES;
    out.resize(block_start, 0);
    block(out);
    let first_flags = if end_stream { flags::END_STREAM } else { 0 };
    let len = out.len() - block_start;
    if len <= frame_bytes_max {
        let header = frame::header_bytes(len, Kind::Headers, first_flags | flags::END_HEADERS, stream);
        out[start..block_start].copy_from_slice(&header);
        return;
    }
    let header = frame::header_bytes(frame_bytes_max, Kind::Headers, first_flags, stream);
    out[start..block_start].copy_from_slice(&header);
    continuations(out, block_start + frame_bytes_max, stream, frame_bytes_max);
}

/// Turns everything from `from` on into CONTINUATION frames: moves the parts apart, from the last one on.
#[cold]
fn continuations(out: &mut Vec<u8>, from: usize, stream: u32, frame_bytes_max: usize) {
    let len = out.len() - from;
    let frames = len.div_ceil(frame_bytes_max);
    out.resize(out.len() + frames * FRAME_HEADER_BYTES, 0);
    for frame in (0..frames).rev() {
        let part = from + frame * frame_bytes_max..from + (frame * frame_bytes_max + frame_bytes_max).min(len);
        let at = part.start + frame * FRAME_HEADER_BYTES;
        let end_headers = if frame + 1 == frames { flags::END_HEADERS } else { 0 };
        let header = frame::header_bytes(part.len(), Kind::Continuation, end_headers, stream);
        out.copy_within(part, at + FRAME_HEADER_BYTES);
        out[at..at + FRAME_HEADER_BYTES].copy_from_slice(&header);
    }
}
