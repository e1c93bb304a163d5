//! Heads of responses (RFC 9113 8.3.2).

use super::{Message, Part, Problem, Section, of_validator, section};
use crate::http::h2::Limits;
use crate::http::h2::error::ErrorKind;
use crate::http::h2::hpack::Decoder;
use crate::http::h2::streams::Asked;
use crate::http::{BodyLength, Field, FieldId, ResponseHead, Version};

/// Decodes a block to a response's head; results as of a request's.
pub(in crate::http::h2) fn response(
    block: &[u8],
    decoder: &mut Decoder,
    limits: &Limits,
    asked: Asked,
    end_stream: bool,
    message: &mut Message,
) -> Result<Result<Option<u64>, Problem>, ErrorKind> {
    let Message { text, response: head, .. } = message;
    head.clear();
    head.version = Version::Http2;
    head.keep_alive = true;
    let section = section(block, decoder, limits, Part::Response, text, &mut head.fields)?;
    head.fields_end = section.fields_end;
    Ok(conclude(text, &section, asked, end_stream, head))
}

fn conclude(
    text: &[u8],
    section: &Section,
    asked: Asked,
    end_stream: bool,
    head: &mut ResponseHead,
) -> Result<Option<u64>, Problem> {
    if let Some(status) = section.pseudo.status {
        head.status = status_of(status.of(text)).unwrap_or(0);
    }
    if let Some(problem) = section.problem {
        return Err(problem);
    }
    if section.pseudo.status.is_none() {
        return Err(ErrorKind::MissingPseudoField.into());
    }
    // HTTP/2 has no 101 (RFC 9113 8.6).
    if head.status == 0 || head.status == 101 {
        return Err(ErrorKind::InvalidStatus.into());
    }
    let declared = section.facts.framing(Version::Http2).map_err(of_validator)?;
    Ok(body(declared, asked, end_stream, head)?)
}

fn status_of(digits: &[u8]) -> Option<u16> {
    match digits {
        [first @ b'1'..=b'9', second @ b'0'..=b'9', third @ b'0'..=b'9'] => {
            let digit = |byte: &u8| u16::from(byte - b'0');
            Some(digit(first) * 100 + digit(second) * 10 + digit(third))
        }
        _ => None,
    }
}

/// Length of the body, and how much DATA may follow.
fn body(
    declared: Option<BodyLength>,
    asked: Asked,
    end_stream: bool,
    head: &mut ResponseHead,
) -> Result<Option<u64>, ErrorKind> {
    match head.status {
        100..=199 => {
            if end_stream {
                return Err(ErrorKind::InterimWithEnd);
            }
            if declared.is_some_and(|body| !body.is_empty()) {
                return Err(ErrorKind::BodyNotAllowed);
            }
            drop_content_length(&mut head.fields);
            Ok(None)
        }
        200..=299 if asked == Asked::Connect => {
            drop_content_length(&mut head.fields);
            head.tunnel = true;
            Ok(None)
        }
        204 => {
            drop_content_length(&mut head.fields);
            Ok(Some(0))
        }
        304 => Ok(Some(0)),
        _ if asked == Asked::Head => Ok(Some(0)),
        _ => {
            let (body, expected) = declared_body(declared, end_stream)?;
            head.body = body;
            Ok(expected)
        }
    }
}

/// Length of a body by `content-length` and END_STREAM, and how much DATA follows if that is known.
pub(super) fn declared_body(
    declared: Option<BodyLength>,
    end_stream: bool,
) -> Result<(BodyLength, Option<u64>), ErrorKind> {
    match (declared, end_stream) {
        (Some(body), true) if !body.is_empty() => Err(ErrorKind::ContentLengthMismatch),
        (Some(BodyLength::Length(length)), _) => Ok((BodyLength::Length(length), Some(length))),
        (_, true) => Ok((BodyLength::None, Some(0))),
        (_, false) => Ok((BodyLength::Chunked, None)),
    }
}

/// A 1xx, 204 or tunnel must not carry `content-length` (RFC 9110 8.6): it isn't forwarded.
fn drop_content_length(fields: &mut [Field]) {
    for field in fields {
        field.hop_by_hop |= field.id == FieldId::ContentLength;
    }
}
