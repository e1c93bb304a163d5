//! Properties of gRPC and of base64.

use crate::base64;
use crate::grpc::web::{Form, form_of, trailers_frame};
use crate::grpc::{Frames, emit_result, is_content_type, timeout_ms};
use crate::http::h2::text_lines;

/// Bytes taken for several things: content types and timeouts mean one thing or nothing; a result is two lines at most,
/// whatever its message; base64 decodes the same in any pieces, as a plain decoder does, and what is encoded comes back;
/// messages end where a plain reader ends them.
pub fn grpc(data: &[u8]) {
    let Some((&seed, rest)) = data.split_first() else { return };
    fields(rest);
    text(rest, usize::from(seed));
    frames(rest, usize::from(seed));
}

fn fields(value: &[u8]) {
    let forms = [Form::Text, Form::Binary].iter().filter(|form| form.suffix_of(value).is_some()).count();
    assert_eq!(forms, usize::from(form_of(value).is_some()));
    assert!(forms == 0 || !is_content_type(value));
    if let Some(ms) = timeout_ms(value) {
        assert!(value.len() <= 9 && ms <= 99_999_999 * 3_600_000);
    }
    let mut lines = Vec::new();
    emit_result(&mut lines, 2, value);
    let lines: Vec<_> = text_lines(&lines).collect();
    assert!(lines.len() <= 2 && lines[0].name == b"grpc-status" && lines[0].value == b"2");
    if let [_, message] = lines[..] {
        assert!(message.name == b"grpc-message" && message.value.iter().all(|byte| (b' '..=b'~').contains(byte)));
        // Spaces in front are a field's own; other whitespace is escaped.
        let spaces = value.iter().take_while(|byte| **byte == b' ').count();
        assert_eq!(unescaped(message.value), value[spaces..].trim_ascii_end());
    }
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((&byte, next)) = rest.split_first() {
        rest = next;
        out.push(match (byte, rest) {
            (b'%', [high, low, behind @ ..]) => {
                rest = behind;
                let digits = [*high, *low];
                u8::from_str_radix(std::str::from_utf8(&digits).expect("digits"), 16).expect("digits")
            }
            _ => byte,
        });
    }
    out
}

fn decode(text: &[u8], step: usize) -> Option<(Vec<u8>, bool)> {
    let mut decoder = base64::Decoder::default();
    let mut out = Vec::new();
    for piece in text.chunks(step) {
        out.extend(decoder.decode(piece).ok()?);
    }
    Some((out, decoder.is_between()))
}

fn text(text: &[u8], seed: usize) {
    let whole = decode(text, text.len().max(1));
    for step in [1, 2 + seed] {
        assert_eq!(decode(text, step), whole, "in pieces of {step}");
    }
    if let Some((bytes, true)) = whole {
        assert_eq!(bytes, plainly_decoded(text));
    }
    // Encoded in two parts, each with padding of its own.
    let (first, second) = text.split_at(seed.min(text.len()));
    let encoded = [base64::encode(first), base64::encode(second)].concat();
    assert_eq!(decode(&encoded, encoded.len().max(1)), Some((text.to_vec(), true)));
}

/// Of whole groups, by the letters' places in the alphabet.
fn plainly_decoded(text: &[u8]) -> Vec<u8> {
    let alphabet: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*b"+/").collect();
    let mut out = Vec::new();
    for group in text.chunks(4) {
        let mut bits = String::new();
        for letter in group.iter().filter(|letter| **letter != b'=') {
            let place = alphabet.iter().position(|other| other == letter).expect("a letter");
            bits.push_str(&format!("{place:06b}"));
        }
        out.extend(
            bits.as_bytes()
                .chunks_exact(8)
                .map(|bits| u8::from_str_radix(std::str::from_utf8(bits).expect("bits"), 2).expect("bits")),
        );
    }
    out
}

fn frames(body: &[u8], seed: usize) {
    // The end of each message by its length.
    let mut ends = vec![0];
    let mut at = 0;
    while let Some(header) = body.get(at..at + 5) {
        at += 5 + u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        ends.push(at);
    }
    for step in [1, 2 + seed] {
        let (mut frames, mut at) = (Frames::default(), 0);
        for piece in body.chunks(step) {
            frames.pass(piece);
            at += piece.len();
            assert_eq!(frames.is_between(), ends.contains(&at), "at {at} in pieces of {step}");
        }
    }
    let mut after = Frames::default();
    after.pass(&trailers_frame(body));
    assert!(after.is_between());
}
