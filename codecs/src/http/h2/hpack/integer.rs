//! Integers with a prefix (RFC 7541 section 5.1).

use super::Invalid;

/// No length or index in a block that we accept comes near it, and sums of a few can't overflow.
const VALUE_MAX: u64 = 1 << 28;

/// Reads the integer at `at`, whose first byte has `prefix_bits` for it, and moves `at` behind it.
#[inline]
pub(super) fn decode(block: &[u8], at: &mut usize, prefix_bits: u8) -> Result<usize, Invalid> {
    let mask = 0xff_u8 >> (8 - prefix_bits);
    let first = block.get(*at).ok_or(Invalid)? & mask;
    *at += 1;
    if first < mask { Ok(usize::from(first)) } else { decode_rest(block, at, mask) }
}

fn decode_rest(block: &[u8], at: &mut usize, mask: u8) -> Result<usize, Invalid> {
    let mut value = u64::from(mask);
    // Four bytes of seven bits say everything up to VALUE_MAX; zeros beyond them would be legal but mean nothing good.
    for shift in [0, 7, 14, 21] {
        let byte = *block.get(*at).ok_or(Invalid)?;
        *at += 1;
        value += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return if value <= VALUE_MAX { usize::try_from(value).map_err(|_| Invalid) } else { Err(Invalid) };
        }
    }
    Err(Invalid)
}

/// Writes `value`; the first byte has `pattern` above its `prefix_bits`.
#[inline]
pub(super) fn encode(out: &mut Vec<u8>, value: usize, prefix_bits: u8, pattern: u8) {
    let mask = 0xff_u8 >> (8 - prefix_bits);
    if value < usize::from(mask) {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask);
    let mut left = value - usize::from(mask);
    while left >= 0x80 {
        out.push(0x80 | (left & 0x7f) as u8);
        left >>= 7;
    }
    out.push(left as u8);
}
