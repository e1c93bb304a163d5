//! gRPC-Web (its protocol's PROTOCOL-WEB page): calls from clients that can't see trailers, and often nothing but text.
//!
//! A request is told from gRPC by its content type alone; in the form for text, its body and the response's are
//! [base64](crate::base64), encoded in pieces that may each end with padding. A response's trailers travel at the end of
//! its body, in a frame with a flag of its own.

use super::suffix_of;
use crate::http::h1::Trailers;
use crate::http::h2::{FieldRef, field_lines};

/// Marks the frame that holds trailers.
const TRAILERS_FLAG: u8 = 0x80;

/// How a body is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Binary,
    /// In base64.
    Text,
}

impl Form {
    /// The content type, to which a suffix may be added.
    #[must_use]
    pub fn content_type(self) -> &'static [u8] {
        match self {
            Form::Binary => b"application/grpc-web",
            Form::Text => b"application/grpc-web-text",
        }
    }

    /// What follows a content type of this form: nothing, `+` and a suffix, or parameters. `None` if it is another.
    #[must_use]
    pub fn suffix_of(self, value: &[u8]) -> Option<&[u8]> {
        suffix_of(value, self.content_type())
    }
}

/// The form that a content type names, and what follows it. `None` if it isn't gRPC-Web's.
#[must_use]
pub fn form_of(value: &[u8]) -> Option<(Form, &[u8])> {
    [Form::Text, Form::Binary].into_iter().find_map(|form| Some((form, form.suffix_of(value)?)))
}

/// Trailers as lines, with names in lower case.
#[must_use]
pub fn trailer_lines(trailers: Option<Trailers<'_>>) -> Vec<u8> {
    let mut lines = Vec::new();
    if let Some(trailers) = trailers {
        for FieldRef { name, value, .. } in field_lines(trailers.bytes, trailers.fields) {
            lines.extend(name.iter().map(u8::to_ascii_lowercase));
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value);
            lines.extend_from_slice(b"\r\n");
        }
    }
    lines
}

/// The frame that ends a response, with the lines of its trailers, which are far shorter than 4 GiB; as bytes, in either
/// form.
#[must_use]
pub fn trailers_frame(lines: &[u8]) -> Vec<u8> {
    let mut frame = vec![TRAILERS_FLAG];
    frame.extend_from_slice(&(lines.len() as u32).to_be_bytes());
    frame.extend_from_slice(lines);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart_by_the_content_type() {
        assert_eq!(form_of(b"application/grpc-web+proto"), Some((Form::Binary, &b"+proto"[..])));
        assert_eq!(form_of(b"Application/grpc-web-text"), Some((Form::Text, &b""[..])));
        assert_eq!(form_of(b"application/grpc-web-text; a=b"), Some((Form::Text, &b"; a=b"[..])));
        for other in ["application/grpc", "application/grpc-websocket", "application/grpc-web-texts", ""] {
            assert_eq!(form_of(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn trailers_are_a_frame_of_their_own() {
        assert_eq!(trailers_frame(&trailer_lines(None)), [0x80, 0, 0, 0, 0]);
        assert_eq!(trailers_frame(b"a: b\r\n"), b"\x80\0\0\0\x06a: b\r\n");
    }
}
