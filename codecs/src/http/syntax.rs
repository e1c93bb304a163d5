//! Small grammar that fields are made of: tokens, lists, numbers (RFC 9110 section 5.6).

/// A number of decimal digits and nothing else; `None` when it isn't one or exceeds 64 bits.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Elements of a comma-separated list without the whitespace around them; some may be empty.
pub(crate) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(trimmed)
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether `bytes` is a token (RFC 9110 5.6.2): what methods, field names and codings are made of.
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| TOKEN_BYTES[*byte as usize])
}

/// Whether `name` can be a field name.
#[must_use]
pub fn is_field_name(name: &[u8]) -> bool {
    is_token(name)
}

/// Whether `value` can be a field value: no control characters but tabs, no whitespace around it (RFC 9110 5.5).
#[must_use]
pub fn is_field_value(value: &[u8]) -> bool {
    // Every byte is looked at, so that many can be at once.
    let controls = value.iter().fold(false, |found, &byte| found | ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f));
    !controls && trimmed(value).len() == value.len()
}

/// Whether `bytes` is a token without upper case: a field name as HTTP/2 has it (RFC 9113 8.2.1).
pub(crate) fn is_lower_case_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| TOKEN_BYTES[*byte as usize] && !byte.is_ascii_uppercase())
}

static TOKEN_BYTES: [bool; 256] = byte_table(b"!#$%&'*+-.^_`|~");

/// Letters, digits and `others`.
pub(crate) const fn byte_table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}
