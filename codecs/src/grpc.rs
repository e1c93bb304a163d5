//! gRPC over HTTP/2 (its protocol's PROTOCOL-HTTP2 page): what its fields say, and where messages begin and end.

pub mod web;

use crate::http::h1::emit;
use crate::http::{Field, FieldId};

/// The content type of a call; a suffix or parameters may follow.
pub const CONTENT_TYPE: &[u8] = b"application/grpc";

/// Digits of a timeout, by the specification.
const TIMEOUT_DIGITS_MAX: usize = 8;
/// A flag and a length of four bytes.
const FRAME_HEADER_BYTES: u8 = 5;

/// What follows a content type that is `kind`: nothing, `+` and a suffix, or parameters. `None` if it is another.
fn suffix_of<'v>(value: &'v [u8], kind: &[u8]) -> Option<&'v [u8]> {
    let (name, rest) = value.split_at_checked(kind.len())?;
    (name.eq_ignore_ascii_case(kind) && matches!(rest.first(), None | Some(b'+' | b';'))).then_some(rest)
}

/// Whether this is the content type of gRPC itself; gRPC-Web is another.
#[must_use]
pub fn is_content_type(value: &[u8]) -> bool {
    suffix_of(value, CONTENT_TYPE).is_some()
}

/// Milliseconds that the client gives a call: 1 to 8 digits and a unit, rounded up. Anything else is no timeout and is
/// left to the endpoint to judge.
#[must_use]
pub fn timeout_ms(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > TIMEOUT_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0u64, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => amount * 3_600_000,
        b'M' => amount * 60_000,
        b'S' => amount * 1_000,
        b'm' => amount,
        b'u' => amount.div_ceil(1_000),
        b'n' => amount.div_ceil(1_000_000),
        _ => return None,
    })
}

/// The number in `grpc-status`, of fields that are a head's or trailers.
#[must_use]
pub fn status_in(fields: &[Field], bytes: &[u8]) -> Option<u32> {
    let value = fields.iter().find(|field| field.id == FieldId::GrpcStatus)?.value.of(bytes);
    std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// Appends how a call ended, as lines: `grpc-status`, and `grpc-message` if there is one.
pub fn emit_result(out: &mut Vec<u8>, status: u32, message: &[u8]) {
    out.extend_from_slice(b"grpc-status: ");
    emit::decimal(out, u64::from(status));
    out.extend_from_slice(b"\r\n");
    let message = message.trim_ascii_end();
    if !message.is_empty() {
        out.extend_from_slice(b"grpc-message: ");
        percent_encode(out, message);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends text as `grpc-message` has it: printable ASCII but for the percent sign, the rest percent-encoded.
fn percent_encode(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => out.push(byte),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
}

/// Where a body is among its messages, each of which has a flag and its length in front.
#[derive(Debug, Default)]
pub struct Frames {
    /// Bytes of the header that are there.
    header: u8,
    /// Bytes of the message that are still to come.
    left: u32,
}

impl Frames {
    /// Takes the next piece of the body into account.
    pub fn pass(&mut self, mut bytes: &[u8]) {
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
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.header == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_of_grpc_are_told_from_those_that_begin_alike() {
        for yes in ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=utf-8"] {
            assert!(is_content_type(yes.as_bytes()), "{yes}");
        }
        for no in ["application/grpc-web", "application/grpc-web+proto", "application/grpcx", "application/grp", ""] {
            assert!(!is_content_type(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn timeouts_have_one_to_eight_digits_and_a_unit() {
        let good = [
            ("1H", 3_600_000),
            ("2M", 120_000),
            ("3S", 3_000),
            ("100m", 100),
            ("1u", 1),
            ("1001u", 2),
            ("1000000n", 1),
            ("0m", 0),
            ("99999999H", 359_999_996_400_000),
        ];
        for (text, ms) in good {
            assert_eq!(timeout_ms(text.as_bytes()), Some(ms), "{text}");
        }
        for bad in ["", "S", "1", "1s", "123456789m", "-1S", "+1S", "1 S", "1.5S", "1SS", "\u{661}S"] {
            assert_eq!(timeout_ms(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn messages_are_encoded_so_that_no_line_can_be_forged() {
        let mut out = Vec::new();
        emit_result(&mut out, 14, "50% of \u{fc}\r\nx: y\n".as_bytes());
        assert_eq!(out, b"grpc-status: 14\r\ngrpc-message: 50%25 of %C3%BC%0D%0Ax: y\r\n");
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
}
