//! Heads of HTTP/1 messages.

use super::lines::{self, Malformed};
use super::{HeadScanner, classify};
use crate::Status;
use crate::http::span::to_u32;
use crate::http::validate::Facts;
use crate::http::{
    BodyLength, Error, ErrorKind, Field, FieldId, HeadLimits, Method, RequestHead, ResponseHead, Side, Span, Version,
    target,
};

/// What a listener accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestOptions {
    /// Accept HTTP/1.0; otherwise 505.
    pub http10: bool,
}

impl Default for RequestOptions {
    fn default() -> RequestOptions {
        RequestOptions { http10: true }
    }
}

/// Parses the request head at the start of `input` into `head`. `Complete(n)`: it takes the first `n` bytes, leading empty
/// lines and the empty line at its end included. `Partial`: call again with more. On an error `head` holds what was
/// understood up to there (method, target), for the log.
///
/// # Errors
/// The first violation of RFC 9112 or of `limits`, as soon as the bytes so far show it.
pub fn parse_request(
    input: &[u8],
    limits: &HeadLimits,
    options: &RequestOptions,
    head: &mut RequestHead,
) -> Result<Status<usize>, Error> {
    parse_request_resumed(input, limits, options, &mut HeadScanner::default(), head)
}

/// As [`parse_request`], continuing a scan: pass the same `scanner`, at first the default, with the same input and more
/// bytes behind it until the result is `Complete`.
///
/// # Errors
/// As [`parse_request`].
pub fn parse_request_resumed(
    input: &[u8],
    limits: &HeadLimits,
    options: &RequestOptions,
    scanner: &mut HeadScanner,
    head: &mut RequestHead,
) -> Result<Status<usize>, Error> {
    head.clear();
    request(input, limits, *options, scanner, head).map_err(|kind| Error::new(kind, Side::Request))
}

/// Parses the response head at the start of `input` into `head`; `request_method` is what it answers, which decides
/// whether a body follows (RFC 9112 6.3). Results as with [`parse_request`].
///
/// # Errors
/// The first violation of RFC 9112 or of `limits`.
pub fn parse_response(
    input: &[u8],
    limits: &HeadLimits,
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<Status<usize>, Error> {
    parse_response_resumed(input, limits, request_method, &mut HeadScanner::default(), head)
}

/// As [`parse_response`], continuing a scan as in [`parse_request_resumed`].
///
/// # Errors
/// As [`parse_response`].
pub fn parse_response_resumed(
    input: &[u8],
    limits: &HeadLimits,
    request_method: Method,
    scanner: &mut HeadScanner,
    head: &mut ResponseHead,
) -> Result<Status<usize>, Error> {
    head.clear();
    response(input, limits, request_method, scanner, head).map_err(|kind| Error::new(kind, Side::Response))
}

fn request(
    input: &[u8],
    limits: &HeadLimits,
    options: RequestOptions,
    scanner: &mut HeadScanner,
    head: &mut RequestHead,
) -> Result<Status<usize>, ErrorKind> {
    let Status::Complete(end) = scanner.advance(input, limits, limits.request_line_bytes_max)? else {
        classify::request_prefix(input.get(scanner.head_start as usize..).unwrap_or_default())?;
        return Ok(Status::Partial);
    };
    head.fields_end = to_u32(end - 2);
    let start = scanner.head_start as usize;
    let mut facts = Facts::default();
    request_lines(&input[..end], start, head, &mut facts)?;
    if head.version == Version::Http10 && !options.http10 {
        return Err(ErrorKind::UnsupportedVersion);
    }
    let target = target::parse(input, head.target, head.method)?;
    head.target_form = target.form;
    head.path = target.path;
    head.query_start = target.query_start;
    head.scheme = target.scheme;
    head.authority = facts.authority(input, target.authority, target.scheme, head.version)?;
    head.body = facts.request_body(head.method, head.version)?;
    let persistence = facts.persistence(input, head.version, &mut head.fields)?;
    head.keep_alive = persistence.keep_alive;
    head.upgrade = persistence.upgrade;
    head.expect_continue = facts.expect_continue(head.version, head.body)?;
    head.te_trailers = facts.te_trailers();
    Ok(Status::Complete(end))
}

/// Reads the lines of `input`, which ends with the head's empty line, from `start` on.
fn request_lines(input: &[u8], start: usize, head: &mut RequestHead, facts: &mut Facts) -> Result<(), ErrorKind> {
    let fields_start = lines::request_line(input, start, head).map_err(|Malformed| {
        note_start(&input[start..], start, head);
        classify::request(&input[start..])
    })?;
    lines::fields(input, fields_start, &mut head.fields, |field| facts.note(input, field))
}

/// Method and target of a head that was refused, for the log; left empty if even they can't be told apart.
#[cold]
fn note_start(lines: &[u8], start: usize, head: &mut RequestHead) {
    let Some(method_len) = memchr::memchr(b' ', lines) else { return };
    let method = &lines[..method_len];
    let rest = &lines[method_len + 1..];
    let Some(target_len) = memchr::memchr2(b' ', b'\r', rest) else { return };
    let printable = rest[..target_len].iter().all(u8::is_ascii_graphic);
    if printable && super::super::is_token(method) {
        head.method = Method::of(method);
        head.method_span = Span::new(start..start + method_len);
        head.target = Span::new(start + method_len + 1..start + method_len + 1 + target_len);
        head.path = head.target;
        head.query_start = head.path.end;
    }
}

fn response(
    input: &[u8],
    limits: &HeadLimits,
    request_method: Method,
    scanner: &mut HeadScanner,
    head: &mut ResponseHead,
) -> Result<Status<usize>, ErrorKind> {
    let Status::Complete(end) = scanner.advance(input, limits, u32::MAX)? else {
        classify::response_prefix(input.get(scanner.head_start as usize..).unwrap_or_default())?;
        return Ok(Status::Partial);
    };
    head.fields_end = to_u32(end - 2);
    let mut facts = Facts::default();
    response_lines(&input[..end], scanner.head_start as usize, head, &mut facts)?;
    let persistence = facts.persistence(input, head.version, &mut head.fields)?;
    head.keep_alive = persistence.keep_alive;
    head.upgrade = persistence.upgrade;
    response_body(&facts, request_method, head)?;
    Ok(Status::Complete(end))
}

/// As [`request_lines`].
fn response_lines(input: &[u8], start: usize, head: &mut ResponseHead, facts: &mut Facts) -> Result<(), ErrorKind> {
    let fields_start =
        lines::status_line(input, start, head).map_err(|Malformed| classify::status_line(&input[start..]))?;
    lines::fields(input, fields_start, &mut head.fields, |field| facts.note(input, field))
}

/// Length of a response's body, and what it means for the connection (RFC 9112 6.3).
fn response_body(facts: &Facts, request_method: Method, head: &mut ResponseHead) -> Result<(), ErrorKind> {
    let declared = facts.framing(head.version)?;
    let declares_bytes = declared.is_some_and(|body| !body.is_empty());
    match head.status {
        100..=199 => {
            // The next response would follow at once, and an origin that sends a body here is beyond repair.
            if declares_bytes {
                return Err(ErrorKind::BodyNotAllowed);
            }
            drop_content_length(&mut head.fields);
            head.tunnel = head.status == 101;
        }
        200..=299 if request_method == Method::Connect => {
            drop_content_length(&mut head.fields);
            head.tunnel = true;
        }
        204 => {
            // Allowed no body, but an origin that declares one may send it all the same: don't read on after this.
            if declares_bytes {
                head.keep_alive = false;
            }
            drop_content_length(&mut head.fields);
        }
        304 => {}
        _ if request_method == Method::Head => {}
        _ => {
            head.body = declared.unwrap_or(BodyLength::UntilClose);
            if head.body == BodyLength::UntilClose {
                head.keep_alive = false;
            }
        }
    }
    Ok(())
}

/// A 1xx, 204 or tunnel must not carry `Content-Length` (RFC 9110 8.6): it isn't forwarded.
fn drop_content_length(fields: &mut [Field]) {
    for field in fields {
        field.hop_by_hop |= field.id == FieldId::ContentLength;
    }
}
