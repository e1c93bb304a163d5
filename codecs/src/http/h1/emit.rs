//! Writing HTTP/1 messages: every function appends to a buffer. Nothing is checked here but in debug builds: names and
//! values come from parsed messages or from a config that has been compiled.

use super::Trailers;
use crate::http::{Field, FieldSet, RequestHead, ResponseHead, is_field_name, is_field_value, standard_reason};

/// `METHOD path HTTP/1.1`; `path` with its query.
#[inline]
pub fn request_line(out: &mut Vec<u8>, method: &[u8], path: &[u8]) {
    const VERSION: &[u8] = b" HTTP/1.1\r\n";
    out.reserve(method.len() + 1 + path.len() + VERSION.len());
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(path);
    out.extend_from_slice(VERSION);
}

/// `HTTP/1.1 status reason`; an empty `reason` means the standard one.
#[inline]
pub fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    if status == 200 && (reason.is_empty() || reason == b"OK") {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    let reason = if reason.is_empty() { standard_reason(status).as_bytes() } else { reason };
    let digit = |value: u16| b'0' + (value % 10) as u8;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// `name: value`
#[inline]
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(is_field_name(name), "{}", String::from_utf8_lossy(name));
    debug_assert!(is_field_value(value), "{}", String::from_utf8_lossy(value));
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The empty line after the fields.
#[inline]
pub fn end_of_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// `content-length: length`
#[inline]
pub fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// `transfer-encoding: chunked`
#[inline]
pub fn transfer_encoding_chunked(out: &mut Vec<u8>) {
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
}

/// Copies the fields of `input` that neither end at this hop nor are in `drop`. Neighbours are copied together as they
/// were sent, so that a head without anything to drop is one copy. `fields_end` is the head's.
#[inline]
pub fn fields(out: &mut Vec<u8>, input: &[u8], fields: &[Field], fields_end: u32, drop: FieldSet) {
    fields_where(out, input, fields, fields_end, |field| !drop.contains(field.id));
}

/// As [`fields`], with a predicate for what to keep; hop-by-hop fields are dropped before it is asked.
#[inline]
pub fn fields_where(
    out: &mut Vec<u8>,
    input: &[u8],
    fields: &[Field],
    fields_end: u32,
    mut keep: impl FnMut(&Field) -> bool,
) {
    let mut copy = |from: u32, to: u32| {
        out.extend_from_slice(input.get(from as usize..to as usize).unwrap_or_default());
    };
    let mut run = None;
    for field in fields {
        match (run, !field.hop_by_hop && keep(field)) {
            (None, true) => run = Some(field.name.start),
            // A line begins where the one before it ended: lines are never folded.
            (Some(from), false) => {
                copy(from, field.name.start);
                run = None;
            }
            _ => {}
        }
    }
    if let Some(from) = run {
        copy(from, fields_end);
    }
}

impl RequestHead {
    /// Copies the fields to send on; see [`fields`].
    #[inline]
    pub fn copy_fields(&self, out: &mut Vec<u8>, input: &[u8], drop: FieldSet) {
        fields(out, input, &self.fields, self.fields_end, drop);
    }
}

impl ResponseHead {
    /// Copies the fields to send on; see [`fields`].
    #[inline]
    pub fn copy_fields(&self, out: &mut Vec<u8>, input: &[u8], drop: FieldSet) {
        fields(out, input, &self.fields, self.fields_end, drop);
    }
}

/// What comes before the payload of a chunk: its size in hexadecimal. A chunk of 0 bytes would end the body, so that
/// nothing is written for it; leave out [`chunk_end`], too.
#[inline]
pub fn chunk_head(out: &mut Vec<u8>, len: u64) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    if len == 0 {
        return;
    }
    let mut digits = [0; 18];
    let mut at = digits.len() - 2;
    digits[at..].copy_from_slice(b"\r\n");
    let mut left = len;
    while left > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[(left & 15) as usize];
        left >>= 4;
    }
    out.extend_from_slice(&digits[at..]);
}

/// What comes after the payload of a chunk.
#[inline]
pub fn chunk_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// The last chunk with the trailers that don't end at this hop.
#[inline]
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<Trailers<'_>>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        fields(out, trailers.bytes, trailers.fields, trailers.fields_end(), FieldSet::EMPTY);
    }
    out.extend_from_slice(b"\r\n");
}

/// A number in decimal digits.
#[inline]
pub fn decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Seconds since 1970 as an HTTP date, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 5.6.7); 29 bytes until the year 10000.
pub fn date(out: &mut Vec<u8>, unix_secs: u64) {
    const DAYS: [&[u8; 5]; 7] = [b"Thu, ", b"Fri, ", b"Sat, ", b"Sun, ", b"Mon, ", b"Tue, ", b"Wed, "];
    const MONTHS: [&[u8; 5]; 12] = [
        b" Jan ", b" Feb ", b" Mar ", b" Apr ", b" May ", b" Jun ", b" Jul ", b" Aug ", b" Sep ", b" Oct ", b" Nov ",
        b" Dec ",
    ];
    let (days, secs) = (unix_secs / 86_400, unix_secs % 86_400);
    let (year, month, day) = civil(days);
    let two = |number: u64| [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    out.extend_from_slice(DAYS[(days % 7) as usize]);
    out.extend_from_slice(&two(day));
    out.extend_from_slice(MONTHS[(month - 1) as usize % 12]);
    decimal(out, year);
    for (separator, number) in [(b' ', secs / 3600), (b':', secs / 60 % 60), (b':', secs % 60)] {
        out.push(separator);
        out.extend_from_slice(&two(number));
    }
    out.extend_from_slice(b" GMT");
}

/// Year, month and day of a day since 1970-01-01. Years are counted from March, so that a leap day comes last, in eras of
/// 400 years, which all have the same length.
fn civil(days: u64) -> (u64, u64, u64) {
    const ERA_DAYS: u64 = 146_097;
    let from_march_of_year_0 = days + 719_468;
    let (era, day_of_era) = (from_march_of_year_0 / ERA_DAYS, from_march_of_year_0 % ERA_DAYS);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / (ERA_DAYS - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}
