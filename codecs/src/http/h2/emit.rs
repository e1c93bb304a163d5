//! Heads and trailers to header blocks, and blocks to frames.

use super::frame::{self, FRAME_HEADER_BYTES, Kind, flags};
use super::hpack::Encoder;
use crate::http::{Field, FieldId};

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

/// The same with what is known of the name, so that it needn't be looked up again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldRef<'a> {
    /// In any case.
    pub name: &'a [u8],
    pub value: &'a [u8],
    /// What `name` is.
    pub id: FieldId,
    /// Must never be put into a compression table (RFC 7541 6.2.3).
    pub never_indexed: bool,
}

impl<'a> FieldRef<'a> {
    /// A parsed field; `text` is what its spans refer to.
    #[must_use]
    #[inline]
    pub fn of(field: &Field, text: &'a [u8]) -> FieldRef<'a> {
        FieldRef {
            name: field.name.of(text),
            value: field.value.of(text),
            id: field.id,
            never_indexed: field.never_indexed,
        }
    }

    /// Bytes of its line in a head of HTTP/1: `name: value` and CRLF.
    #[must_use]
    pub fn line_bytes(&self) -> usize {
        self.name.len() + self.value.len() + 4
    }
}

impl<'a> From<FieldLine<'a>> for FieldRef<'a> {
    #[inline]
    fn from((name, value, never_indexed): FieldLine<'a>) -> FieldRef<'a> {
        FieldRef { name, value, id: FieldId::of(name), never_indexed }
    }
}

/// A head or trailers without fields.
pub const NO_FIELDS: [FieldLine<'static>; 0] = [];

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
#[inline]
pub fn field_lines<'a>(text: &'a [u8], fields: &'a [Field]) -> impl Iterator<Item = FieldRef<'a>> {
    fields.iter().filter(|field| !field.hop_by_hop).map(|field| FieldRef::of(field, text))
}

/// The fields of text in the form that HTTP/1 has, `name: value` and CRLF; lines without a colon, as the empty one at the
/// end, are passed over. For heads that were put together as text.
pub fn text_lines(mut text: &[u8]) -> impl Iterator<Item = FieldRef<'_>> {
    core::iter::from_fn(move || {
        while !text.is_empty() {
            let end = memchr::memchr(b'\n', text).map_or(text.len(), |at| at + 1);
            let (line, rest) = text.split_at(end);
            text = rest;
            if let Some(colon) = memchr::memchr(b':', line) {
                return Some((&line[..colon], line[colon + 1..].trim_ascii(), false).into());
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
        method => encoder.pseudo(out, b":method", METHOD_GET, method),
    }
    if line.method != b"CONNECT" || line.protocol.is_some() {
        match line.scheme {
            b"https" => Encoder::indexed(out, SCHEME_HTTPS),
            _ => Encoder::indexed(out, SCHEME_HTTP),
        }
        match line.path {
            b"/" => Encoder::indexed(out, PATH_ROOT),
            path => encoder.pseudo(out, b":path", PATH_ROOT, path),
        }
    }
    if !line.authority.is_empty() {
        encoder.pseudo(out, b":authority", AUTHORITY, line.authority);
    }
    if let Some(protocol) = line.protocol {
        encoder.pseudo(out, b":protocol", 0, protocol);
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
    encoder.pseudo(out, b":status", STATUS_200, &digits);
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
