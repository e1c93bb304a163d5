//! gRPC-Web: calls from clients that can't see trailers, and often nothing but text.
//!
//! A request is told from gRPC by its content type alone; in the form for text, its body and the response's are base64,
//! encoded in pieces that may each end with padding. A response's trailers travel at the end of its body, in a frame
//! with a flag of its own.

use codecs::http::h1::Trailers;
use codecs::http::h2::{FieldRef, field_lines};
use codecs::http::{BodyLength, FieldId, RequestHead};
use runtime::Slice;

use super::body;
use super::client::Client;
use super::exchange::Exchange;
use super::grpc::{self, Grpc};
use crate::fault::Fault;

const WEB: &[u8] = b"application/grpc-web";
const WEB_TEXT: &[u8] = b"application/grpc-web-text";
/// Marks the frame that holds trailers.
const TRAILERS_FLAG: u8 = 0x80;
/// A flag and a length of four bytes.
const FRAME_HEADER_BYTES: u8 = 5;

/// How the client of a call speaks gRPC-Web.
pub(super) struct Web {
    /// The body of the request is base64.
    text_request: bool,
    /// The response's is to be.
    text_response: bool,
    /// What follows the content type's name: `+proto`, say, or nothing.
    suffix: Vec<u8>,
    reply_content_type: Vec<u8>,
    /// The content type of the response, if that is the answer to a call and so is translated.
    content_type_down: Option<Vec<u8>>,
    decoder: Decoder,
    frames: Frames,
}

/// What follows a content type that is `kind`.
fn suffix_of<'v>(value: &'v [u8], kind: &[u8]) -> Option<&'v [u8]> {
    let (name, rest) = value.split_at_checked(kind.len())?;
    (name.eq_ignore_ascii_case(kind) && matches!(rest.first(), None | Some(b'+' | b';'))).then_some(rest)
}

impl Web {
    /// `None` if the content type is another.
    pub(super) fn of(value: &[u8], head: &RequestHead, input: &[u8]) -> Option<Web> {
        let (text_request, suffix) = match suffix_of(value, WEB_TEXT) {
            Some(suffix) => (true, suffix),
            None => (false, suffix_of(value, WEB)?),
        };
        let accepts = |kind| {
            let values = head.fields.iter().filter(|field| field.id == FieldId::Accept);
            let mut entries = values.flat_map(|field| field.value.of(input).split(|byte| *byte == b','));
            entries.any(|entry| suffix_of(entry.trim_ascii(), kind).is_some())
        };
        let text_response = accepts(WEB_TEXT) || (text_request && !accepts(WEB));
        let reply_content_type = [if text_response { WEB_TEXT } else { WEB }, b"+proto"].concat();
        Some(Web {
            text_request,
            text_response,
            suffix: suffix.to_vec(),
            reply_content_type,
            content_type_down: None,
            decoder: Decoder::default(),
            frames: Frames::default(),
        })
    }

    /// The content type that the endpoint gets.
    pub(super) fn upstream_content_type(&self) -> Vec<u8> {
        [grpc::CONTENT_TYPE, &self.suffix].concat()
    }

    /// The content type of a response whose own is gRPC's.
    fn content_type(&self, upstream: &[u8]) -> Vec<u8> {
        let kind = if self.text_response { WEB_TEXT } else { WEB };
        match upstream.get(grpc::CONTENT_TYPE.len()..) {
            Some(suffix) if !suffix.is_empty() => [kind, suffix].concat(),
            _ => self.reply_content_type.clone(),
        }
    }

    pub(super) fn reply_content_type(&self) -> &[u8] {
        &self.reply_content_type
    }

    /// The frame with which the response's body ends, if it is translated.
    pub(super) fn end_of_response(&self, trailers: Option<Trailers<'_>>) -> Option<Vec<u8>> {
        self.content_type_down.is_some().then(|| self.trailers(trailers))
    }

    /// The frame that ends a translated response that broke off, with these lines; `None` if it broke off within a message.
    pub(super) fn end_of_broken_response(&self, lines: &[u8]) -> Option<Vec<u8>> {
        (self.content_type_down.is_some() && self.frames.is_between()).then(|| self.frame(lines))
    }

    fn trailers(&self, trailers: Option<Trailers<'_>>) -> Vec<u8> {
        let mut lines = Vec::new();
        if let Some(trailers) = trailers {
            for FieldRef { name, value, .. } in field_lines(trailers.bytes, trailers.fields) {
                lines.extend(name.iter().map(u8::to_ascii_lowercase));
                lines.extend_from_slice(b": ");
                lines.extend_from_slice(value);
                lines.extend_from_slice(b"\r\n");
            }
        }
        self.frame(&lines)
    }

    fn frame(&self, lines: &[u8]) -> Vec<u8> {
        let mut frame = vec![TRAILERS_FLAG, 0, 0, 0, 0];
        frame.extend_from_slice(lines);
        // Trailers are bounded far below 4 GiB.
        let len = (frame.len() - 5) as u32;
        frame[1..5].copy_from_slice(&len.to_be_bytes());
        if self.text_response { base64(&frame) } else { frame }
    }
}

impl Grpc {
    /// The content type of a translated response.
    pub(super) fn content_type_down(&self) -> Option<&[u8]> {
        self.web.as_ref()?.content_type_down.as_deref()
    }
}

impl Exchange<'_> {
    /// Makes the request's head what it is without gRPC-Web.
    pub(super) fn translate_request(&mut self) {
        let Some(web) = &self.grpc.web else { return };
        let request = &mut self.scratch.request;
        request.te_trailers = true;
        for field in &mut request.fields {
            let differs = field.id == FieldId::ContentType || (field.id == FieldId::ContentLength && web.text_request);
            field.hop_by_hop |= differs;
        }
        if web.text_request && !request.body.is_empty() {
            request.body = BodyLength::Chunked;
        }
    }

    /// A piece of the request's body as the endpoint gets it; it may be empty.
    pub(super) fn translate_up(&mut self, piece: Slice) -> Result<Slice, Fault> {
        match &mut self.grpc.web {
            Some(web) if web.text_request => {
                let decoded = web.decoder.decode(&piece).map_err(|Malformed| Fault::BadGrpcWeb)?;
                Ok(self.downstream.world.core.own(decoded.into_boxed_slice()))
            }
            _ => Ok(piece),
        }
    }

    /// The request's body has ended: a fault if that was in the middle of something.
    pub(super) fn check_end_of_request(&self) -> Result<(), Fault> {
        match &self.grpc.web {
            Some(web) if web.decoder.count > 0 => Err(Fault::BadGrpcWeb),
            _ => Ok(()),
        }
    }

    /// Makes the response's head what gRPC-Web has, if it is the answer to a call.
    pub(super) fn translate_response(&mut self) {
        let Some(web) = &mut self.grpc.web else { return };
        let scratch = &mut *self.scratch;
        let (response, input) = (&mut scratch.response, scratch.response_input.bytes());
        let Some(field) = response.field(FieldId::ContentType) else { return };
        let content_type = field.value.of(input);
        if !grpc::is_content_type(content_type) {
            return;
        }
        web.content_type_down = Some(web.content_type(content_type));
        for field in &mut response.fields {
            let is_length = field.id == FieldId::ContentLength && !response.body.is_empty();
            field.hop_by_hop |= is_length || field.id == FieldId::ContentType;
        }
        // Trailers follow what there is of a body.
        if !response.body.is_empty() {
            response.body = BodyLength::Chunked;
        }
    }

    /// A piece of the response's body as the client gets it.
    pub(super) fn translate_down(&mut self, piece: Slice) -> Slice {
        match &mut self.grpc.web {
            Some(web) if web.content_type_down.is_some() => {
                web.frames.pass(&piece);
                match web.text_response {
                    true => self.downstream.world.core.own(base64(&piece).into_boxed_slice()),
                    false => piece,
                }
            }
            _ => piece,
        }
    }

    /// Ends a translated response that broke off, with the frame of these lines; false if it can't be ended but by breaking
    /// off.
    pub(super) fn end_web_call(&mut self, lines: &[u8]) -> bool {
        let Some(frame) = self.grpc.web.as_ref().and_then(|web| web.end_of_broken_response(lines)) else {
            return false;
        };
        // Where the connection's end is the response's, it has to look broken.
        if self.stream().is_none() && (self.scratch.response.body != BodyLength::Chunked || self.old_client()) {
            return false;
        }
        let frame = self.downstream.world.core.own(frame.into_boxed_slice());
        self.seen.sent_bytes += self.send_down(frame, true);
        match &self.client {
            Client::Http1 => {
                self.seen.sent_bytes += body::send_end(&self.downstream.socket, None, true, &mut self.scratch.out);
            }
            Client::Http2(stream) => stream.finish(None),
        }
        true
    }
}

/// Where a body is among its messages, each of which has a flag and its length in front.
#[derive(Default)]
struct Frames {
    /// Bytes of the header that are there.
    header: u8,
    /// Bytes of the message that are still to come.
    left: u32,
}

impl Frames {
    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.header < FRAME_HEADER_BYTES {
                // The flag goes out on the left when the length is whole.
                self.left = self.left << 8 | u32::from(if self.header == 0 { 0 } else { byte });
                self.header += 1;
                bytes = rest;
            }
            if self.header == FRAME_HEADER_BYTES {
                let taken = bytes.len().min(self.left as usize);
                bytes = &bytes[taken..];
                self.left -= taken as u32;
                if self.left == 0 {
                    self.header = 0;
                }
            }
        }
    }

    /// Every message that began is whole.
    fn is_between(&self) -> bool {
        self.header == 0
    }
}

/// The text isn't base64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

/// Decodes base64 that comes in any pieces, and may have padding at the end of each group of four.
#[derive(Default)]
struct Decoder {
    bits: u32,
    /// Letters of the group so far, padding included.
    count: u8,
    padding: u8,
}

impl Decoder {
    fn decode(&mut self, text: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
        for &letter in text {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' if self.count >= 2 => {
                    self.padding += 1;
                    0
                }
                _ => return Err(Malformed),
            };
            if self.padding > 0 && letter != b'=' {
                return Err(Malformed);
            }
            self.bits = self.bits << 6 | u32::from(value);
            self.count += 1;
            if self.count == 4 {
                let [_, bytes @ ..] = self.bits.to_be_bytes();
                out.extend_from_slice(&bytes[..3 - usize::from(self.padding)]);
                *self = Decoder::default();
            }
        }
        Ok(out)
    }
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut whole = [0; 4];
        whole[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(whole);
        for at in 0..4 {
            out.push(match at <= group.len() {
                true => LETTERS[(bits >> (18 - 6 * at) & 63) as usize],
                false => b'=',
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_comes_back_in_any_pieces() {
        for len in 0..40u8 {
            let bytes: Vec<u8> = (0..len).map(|at| at.wrapping_mul(77)).collect();
            let (first, second) = bytes.split_at(bytes.len() / 2);
            // Two groups with padding each, one after the other.
            let text = [base64(first), base64(second)].concat();
            for size in 1..=text.len().max(1) {
                let mut decoder = Decoder::default();
                let decoded: Vec<u8> =
                    text.chunks(size).flat_map(|piece| decoder.decode(piece).expect("base64")).collect();
                assert_eq!(decoded, bytes);
                assert_eq!(decoder.count, 0);
            }
        }
        assert_eq!(base64(b"foobar!"), b"Zm9vYmFyIQ==");
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for bad in ["=", "A===", "AA=A", "A A=", "AA-A", "\u{e4}AAA"] {
            assert_eq!(Decoder::default().decode(bad.as_bytes()), Err(Malformed), "{bad}");
        }
    }

    #[test]
    fn messages_are_told_apart_in_any_pieces() {
        let body = [&b"\0\0\0\0\x05hello"[..], b"\0\0\0\0\0", &[1, 0, 0, 1, 44], &[7; 300]].concat();
        let ends = [0, 10, 15, 320];
        for size in 1..=body.len() {
            let (mut frames, mut at) = (Frames::default(), 0);
            for piece in body.chunks(size) {
                frames.pass(piece);
                at += piece.len();
                assert_eq!(frames.is_between(), ends.contains(&at), "{at}");
            }
        }
    }

    #[test]
    fn trailers_are_a_frame_of_their_own() {
        let value = b"application/grpc-web+proto";
        let web = Web::of(value, &RequestHead::default(), b"").expect("gRPC-Web");
        assert_eq!(web.trailers(None), [0x80, 0, 0, 0, 0]);
        assert_eq!(web.upstream_content_type(), b"application/grpc+proto");
        assert_eq!(web.content_type(b"application/grpc"), b"application/grpc-web+proto");
        let text = Web::of(b"application/grpc-web-text", &RequestHead::default(), b"").expect("gRPC-Web");
        assert_eq!(text.content_type(b"application/grpc+json"), b"application/grpc-web-text+json");
        assert!(Web::of(b"application/grpc", &RequestHead::default(), b"").is_none());
        assert!(Web::of(b"application/grpc-websocket", &RequestHead::default(), b"").is_none());
    }
}
