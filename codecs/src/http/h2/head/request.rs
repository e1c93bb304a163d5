//! Heads of requests (RFC 9113 8.3.1, 8.5; RFC 8441 section 4).

use super::{Message, Part, Problem, Repeated, Section, of_validator, section};
use crate::http::authority::is_authority;
use crate::http::h2::Limits;
use crate::http::h2::error::ErrorKind;
use crate::http::h2::hpack::Decoder;
use crate::http::{BodyLength, Method, RequestHead, Scheme, Span, TargetForm, Version, is_token, target};

/// Decodes a block to a request's head; then says how many bytes of DATA follow, where the head says so.
///
/// # Errors
/// The outer one: the connection can't go on. The inner one: the message is refused; what was understood of it is in the
/// head, for the log.
pub(in crate::http::h2) fn request(
    block: &[u8],
    decoder: &mut Decoder,
    limits: &Limits,
    end_stream: bool,
    repeated: &mut Repeated,
    message: &mut Message,
) -> Result<Result<Option<u64>, Problem>, ErrorKind> {
    if let Some(expected) = repeated.recall(block, end_stream, decoder, message) {
        return Ok(Ok(expected));
    }
    let changes = decoder.changes();
    let result = decode(block, decoder, limits, end_stream, message)?;
    if let Ok(expected) = result {
        repeated.note(block, end_stream, (changes, decoder), message, expected);
    }
    Ok(result)
}

fn decode(
    block: &[u8],
    decoder: &mut Decoder,
    limits: &Limits,
    end_stream: bool,
    message: &mut Message,
) -> Result<Result<Option<u64>, Problem>, ErrorKind> {
    let Message { text, request: head, .. } = message;
    head.clear();
    head.version = Version::Http2;
    head.keep_alive = true;
    let section = section(block, decoder, limits, Part::Request, text, &mut head.fields)?;
    head.fields_end = section.fields_end;
    Ok(conclude(text, &section, limits, end_stream, head))
}

fn conclude(
    text: &[u8],
    section: &Section,
    limits: &Limits,
    end_stream: bool,
    head: &mut RequestHead,
) -> Result<Option<u64>, Problem> {
    let pseudo = &section.pseudo;
    if let Some(method) = pseudo.method {
        head.method = Method::of(method.of(text));
        head.method_span = method;
    }
    head.path = pseudo.path.unwrap_or_default();
    head.query_start = head.path.end;
    head.target = head.path;
    head.authority = pseudo.authority.unwrap_or_default();
    if let Some(problem) = section.problem {
        return Err(problem);
    }
    if head.path.len() > limits.path_bytes_max as usize {
        return Err(Problem::TooLarge(ErrorKind::PathTooLong));
    }
    if !is_token(pseudo.method.ok_or(ErrorKind::MissingPseudoField)?.of(text)) {
        return Err(ErrorKind::InvalidMethod.into());
    }
    if head.method == Method::Connect && pseudo.protocol.is_none() {
        connect_target(text, section, head)?;
    } else {
        target(text, section, head)?;
    }
    head.authority =
        section.facts.authority(text, pseudo.authority, head.scheme, Version::Http2).map_err(of_validator)?;
    head.te_trailers = section.facts.te_trailers();
    Ok(body(section, end_stream, head)?)
}

/// CONNECT has an authority with a port and nothing else (RFC 9113 8.5).
fn connect_target(text: &[u8], section: &Section, head: &mut RequestHead) -> Result<(), ErrorKind> {
    let authority = section.pseudo.authority.ok_or(ErrorKind::MissingPseudoField)?;
    if section.pseudo.scheme.is_some() || section.pseudo.path.is_some() {
        return Err(ErrorKind::UnknownPseudoField);
    }
    if !is_authority(authority.of(text), true) {
        return Err(ErrorKind::InvalidAuthority);
    }
    head.target = authority;
    head.target_form = TargetForm::Authority;
    head.path = Span { start: authority.end, end: authority.end };
    head.query_start = authority.end;
    Ok(())
}

fn target(text: &[u8], section: &Section, head: &mut RequestHead) -> Result<(), ErrorKind> {
    let pseudo = &section.pseudo;
    let (Some(scheme), Some(path)) = (pseudo.scheme, pseudo.path) else { return Err(ErrorKind::MissingPseudoField) };
    head.scheme = Some(match scheme.of(text) {
        b"http" => Scheme::Http,
        b"https" => Scheme::Https,
        name if name.eq_ignore_ascii_case(b"http") => Scheme::Http,
        name if name.eq_ignore_ascii_case(b"https") => Scheme::Https,
        _ => return Err(ErrorKind::InvalidScheme),
    });
    if let Some(protocol) = pseudo.protocol {
        // Only CONNECT has a protocol, and then it has a scheme, a path and an authority as any other request.
        if head.method != Method::Connect || pseudo.authority.is_none() || !is_token(protocol.of(text)) {
            return Err(ErrorKind::UnknownPseudoField);
        }
        head.protocol = Some(protocol);
    }
    if pseudo.authority.is_some_and(|authority| !is_authority(authority.of(text), false)) {
        return Err(ErrorKind::InvalidAuthority);
    }
    let bytes = path.of(text);
    if !(bytes.starts_with(b"/") || bytes == b"*") || !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(ErrorKind::InvalidPath);
    }
    // An extended CONNECT's path is one as of a GET, not the authority of a tunnel.
    let method = if head.protocol.is_some() { Method::Get } else { head.method };
    let target = target::parse(text, path, method).map_err(of_validator)?;
    head.target_form = target.form;
    head.query_start = target.query_start;
    Ok(())
}

/// Length of the body. What follows a CONNECT is the tunnel's.
fn body(section: &Section, end_stream: bool, head: &mut RequestHead) -> Result<Option<u64>, ErrorKind> {
    let declared = section.facts.framing(Version::Http2).map_err(of_validator)?;
    if head.method == Method::Connect {
        return match declared {
            Some(body) if !body.is_empty() => Err(ErrorKind::BodyNotAllowed),
            _ => Ok(None),
        };
    }
    let (body, expected) = super::response::declared_body(declared, end_stream)?;
    head.body = body;
    head.expect_continue = section.facts.expect_continue(Version::Http2, body).map_err(of_validator)?;
    debug_assert!(!end_stream || matches!(body, BodyLength::None | BodyLength::Length(0)));
    Ok(expected)
}
