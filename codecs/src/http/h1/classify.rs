//! Names what is wrong with lines that were refused. Off the hot path: runs once, on a head that ends its connection.

use crate::http::ErrorKind;
use crate::http::is_token;

/// What is wrong with the request line that `head` begins with.
#[cold]
pub(super) fn request(head: &[u8]) -> ErrorKind {
    let line = first_line(head);
    method(line)
        .or_else(|| control_character(line))
        .or_else(|| request_line(line))
        .unwrap_or(ErrorKind::InvalidRequestLine)
}

/// What is wrong with the status line that `head` begins with.
#[cold]
pub(super) fn status_line(head: &[u8]) -> ErrorKind {
    let line = first_line(head);
    match control_character(line) {
        Some(kind) => kind,
        None if is_other_version(line.get(..8).unwrap_or_default()) => ErrorKind::UnsupportedVersion,
        None => ErrorKind::InvalidStatusLine,
    }
}

/// What is wrong with the form of field lines; `other` if nothing is.
#[cold]
pub(super) fn fields_or(lines: &[u8], other: ErrorKind) -> ErrorKind {
    split_lines(lines).find_map(field_line).unwrap_or(other)
}

/// What is wrong in the beginning of a request head that isn't complete: it must begin with a method. Tells another
/// protocol from HTTP without waiting for a line of it.
pub(super) fn request_prefix(bytes: &[u8]) -> Result<(), ErrorKind> {
    /// Longer than any registered method; what follows is checked when the head is complete.
    const PREFIX_BYTES: usize = 20;
    match &bytes[..bytes.len().min(PREFIX_BYTES)] {
        // A lone CR may be the first half of an empty line.
        [] | [b'\r'] => Ok(()),
        prefix => method(prefix).map_or(Ok(()), Err),
    }
}

/// What is wrong in the beginning of a response head that isn't complete.
pub(super) fn response_prefix(bytes: &[u8]) -> Result<(), ErrorKind> {
    const VERSION: &[u8] = b"HTTP/";
    let len = bytes.len().min(VERSION.len());
    if bytes[..len] == VERSION[..len] || bytes == b"\r" { Ok(()) } else { Err(ErrorKind::InvalidStatusLine) }
}

fn first_line(head: &[u8]) -> &[u8] {
    split_lines(head).next().unwrap_or_default()
}

/// Lines that end with CRLF; the scan has made sure that no LF stands alone.
fn split_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn control_character(line: &[u8]) -> Option<ErrorKind> {
    match memchr::memchr2(b'\r', 0, line) {
        Some(at) if line[at] == 0 => Some(ErrorKind::Nul),
        Some(_) => Some(ErrorKind::BareCr),
        None => None,
    }
}

/// What is wrong with the method that `line` begins with; it may be cut off.
fn method(line: &[u8]) -> Option<ErrorKind> {
    if let [b'\r', ..] = line {
        return Some(ErrorKind::BareCr);
    }
    let method = line.split(|byte| matches!(byte, b' ' | b'\r')).next().unwrap_or_default();
    if is_token(method) { None } else { Some(ErrorKind::InvalidMethod) }
}

fn request_line(line: &[u8]) -> Option<ErrorKind> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (_method, target, version) = (parts.next()?, parts.next(), parts.next());
    let (Some(target), Some(version), None) = (target, version, parts.next()) else {
        return Some(ErrorKind::InvalidRequestLine);
    };
    if target.is_empty() || version.is_empty() {
        return Some(ErrorKind::InvalidRequestLine);
    }
    if target.iter().any(u8::is_ascii_control) || core::str::from_utf8(target).is_err() {
        return Some(ErrorKind::InvalidTarget);
    }
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => None,
        version if is_other_version(version) => Some(ErrorKind::UnsupportedVersion),
        _ => Some(ErrorKind::InvalidRequestLine),
    }
}

/// `HTTP/` digit `.` digit: HTTP in a version that isn't spoken here.
fn is_other_version(version: &[u8]) -> bool {
    matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit() && version != b"HTTP/1.0" && version != b"HTTP/1.1")
}

fn field_line(line: &[u8]) -> Option<ErrorKind> {
    if let [b' ' | b'\t', ..] = line {
        return Some(ErrorKind::ObsFold);
    }
    if let Some(kind) = control_character(line) {
        return Some(kind);
    }
    if line.is_empty() {
        return None;
    }
    let Some(colon) = memchr::memchr(b':', line) else { return Some(ErrorKind::MissingColon) };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    match name {
        [.., b' ' | b'\t'] => Some(ErrorKind::SpaceBeforeColon),
        name if !is_token(name) => Some(ErrorKind::InvalidFieldName),
        _ if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') => Some(ErrorKind::InvalidFieldValue),
        _ => None,
    }
}
