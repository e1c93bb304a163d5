//! The lines of a head whose end is known: the characters of each part, strictly.
//!
//! Bytes are looked at eight at a time: what ends a part (a colon, a control character) is found by arithmetic on a word,
//! and what lies before it is then known to be free of it. A well-known field name needn't be checked character by
//! character, because it is recognised by comparing all of it.

use super::classify;
use crate::http::span::to_u32;
use crate::http::{ErrorKind, Field, FieldId, Method, RequestHead, ResponseHead, Span, Version, is_token};

/// A start line isn't what it must be; [`classify`] says why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte that is less than `bound` (at most 0x80). Only the lowest bit that is set is to be relied on:
/// the borrow may reach bytes above it.
#[inline]
const fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * bound as u64) & !word & HIGH
}

/// The same for each byte that is `byte`.
#[inline]
const fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * byte as u64), 1)
}

/// Where the first byte from `from` on is for which `stops` sets the high bit; the end if there is none.
#[inline]
fn find(bytes: &[u8], from: usize, stops: impl Fn(u64) -> u64) -> usize {
    let mut at = from;
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let found = stops(u64::from_le_bytes(*word));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    let word = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let found = stops(word);
    let found_at = if found == 0 { rest.len() } else { (found.trailing_zeros() / 8) as usize };
    at + found_at.min(rest.len())
}

/// Where the value (or the reason) that begins at `from` ends: at the first control character that isn't a tab.
#[inline]
fn value_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        at = find(bytes, at, |word| below(word, b' ') | equal(word, 0x7f));
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

/// Reads field lines from `from` to the empty line with which `bytes` end, and shows each field to `note` before it is
/// appended.
#[inline]
pub(super) fn fields(
    bytes: &[u8],
    from: usize,
    fields: &mut Vec<Field>,
    mut note: impl FnMut(&mut Field) -> Result<(), ErrorKind>,
) -> Result<(), ErrorKind> {
    let mut at = from;
    loop {
        let colon = find(bytes, at, |word| equal(word, b':'));
        let name = bytes.get(at..colon).unwrap_or_default();
        let id = FieldId::of(name);
        if colon == bytes.len() || (id == FieldId::Other && !is_token(name)) {
            // Nothing but the empty line is left.
            let lines = bytes.get(at..).unwrap_or_default();
            return if lines == b"\r\n" {
                Ok(())
            } else {
                Err(classify::fields_or(lines, ErrorKind::InvalidFieldName))
            };
        }
        let mut start = colon + 1;
        while let Some(b' ' | b'\t') = bytes.get(start) {
            start += 1;
        }
        let line_end = value_end(bytes, start);
        if bytes.get(line_end..line_end + 2) != Some(b"\r\n") {
            return Err(classify::fields_or(bytes.get(at..).unwrap_or_default(), ErrorKind::InvalidFieldName));
        }
        let mut end = line_end;
        while end > start && matches!(bytes.get(end - 1), Some(b' ' | b'\t')) {
            end -= 1;
        }
        let name = Span { start: to_u32(at), end: to_u32(colon) };
        let value = Span { start: to_u32(start), end: to_u32(end) };
        let mut field = Field { name, value, id, hop_by_hop: false, never_indexed: false };
        if let Err(kind) = note(&mut field) {
            // A folded line may be why this one means nothing.
            return Err(classify::fields_or(bytes.get(at..).unwrap_or_default(), kind));
        }
        fields.push(field);
        at = line_end + 2;
    }
}

/// Reads `METHOD target HTTP/1.x` and CRLF from `from` on; where the next line begins.
#[inline]
pub(super) fn request_line(bytes: &[u8], from: usize, head: &mut RequestHead) -> Result<usize, Malformed> {
    let method_end = find(bytes, from, |word| equal(word, b' '));
    let method = bytes.get(from..method_end).unwrap_or_default();
    head.method = Method::of(method);
    if head.method == Method::Other && !is_token(method) {
        return Err(Malformed);
    }
    let target_start = method_end + 1;
    let target_end = find(bytes, target_start, |word| below(word, b'!') | equal(word, 0x7f));
    let target = bytes.get(target_start..target_end).unwrap_or_default();
    if target.is_empty() || (!target.is_ascii() && core::str::from_utf8(target).is_err()) {
        return Err(Malformed);
    }
    head.method_span = Span { start: to_u32(from), end: to_u32(method_end) };
    head.target = Span { start: to_u32(target_start), end: to_u32(target_end) };
    head.version = match bytes.get(target_end..target_end + 11) {
        Some(b" HTTP/1.1\r\n") => Version::Http11,
        Some(b" HTTP/1.0\r\n") => Version::Http10,
        _ => return Err(Malformed),
    };
    Ok(target_end + 11)
}

/// Reads `HTTP/1.x status reason` and CRLF from `from` on; where the next line begins.
#[inline]
pub(super) fn status_line(bytes: &[u8], from: usize, head: &mut ResponseHead) -> Result<usize, Malformed> {
    let (version, rest) = bytes.get(from..).and_then(|line| line.split_first_chunk::<9>()).ok_or(Malformed)?;
    head.version = match version {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return Err(Malformed),
    };
    let code = rest.first_chunk::<3>().filter(|code| code.iter().all(u8::is_ascii_digit)).ok_or(Malformed)?;
    head.status = code.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    if head.status < 100 {
        return Err(Malformed);
    }
    // The space is missing where there is no reason, though RFC 9112 section 4 wants it.
    let reason_start = from + 12 + usize::from(rest.get(3) == Some(&b' '));
    let reason_end = if rest.get(3) == Some(&b' ') { value_end(bytes, reason_start) } else { reason_start };
    if bytes.get(reason_end..reason_end + 2) != Some(b"\r\n") {
        return Err(Malformed);
    }
    head.reason = Span { start: to_u32(reason_start), end: to_u32(reason_end) };
    Ok(reason_end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_find_what_bytes_find(bytes in proptest::collection::vec(any::<u8>(), 0..40), from in 0usize..8, bound in 1u8..=0x80, byte: u8) {
            let from = from.min(bytes.len());
            let first = |stops: &dyn Fn(u8) -> bool| {
                bytes[from..].iter().position(|byte| stops(*byte)).map_or(bytes.len(), |at| from + at)
            };
            prop_assert_eq!(find(&bytes, from, |word| below(word, bound)), first(&|it| it < bound));
            prop_assert_eq!(find(&bytes, from, |word| equal(word, byte)), first(&|it| it == byte));
            let both = find(&bytes, from, |word| below(word, bound) | equal(word, byte));
            prop_assert_eq!(both, first(&|it| it < bound || it == byte));
            let in_value = |it: u8| (it < b' ' && it != b'\t') || it == 0x7f;
            prop_assert_eq!(value_end(&bytes, from), first(&in_value));
        }
    }
}
