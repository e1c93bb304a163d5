//! The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: codes of the same length are consecutive numbers in the order of their symbols, and longer codes
//! follow shorter ones. So the lengths are all that needs to be written down; the rest is worked out by the compiler.
//!
//! Decoding looks at the next ten bits at once, which hold a whole symbol for nearly everything that heads consist of.

use super::Invalid;

const SYMBOLS: usize = 257;
const END_OF_STRING: u16 = 256;
const LENGTH_MAX: usize = 30;

/// Bits of each symbol's code; the last one is the end of the string, which never occurs.
#[rustfmt::skip]
static LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// The codes, the symbols in the order of their codes, and where the codes of each length begin.
struct Code {
    codes: [u32; SYMBOLS],
    sorted: [u16; SYMBOLS],
    first_code: [u32; LENGTH_MAX + 1],
    first_symbol: [u16; LENGTH_MAX + 2],
}

static CODE: Code = CODE_VALUE;
const CODE_VALUE: Code = {
    let mut made = Code {
        codes: [0; SYMBOLS],
        sorted: [0; SYMBOLS],
        first_code: [0; LENGTH_MAX + 1],
        first_symbol: [0; LENGTH_MAX + 2],
    };
    let (mut code, mut length, mut count) = (0u32, 1, 0);
    while length <= LENGTH_MAX {
        code <<= 1;
        made.first_code[length] = code;
        made.first_symbol[length] = count as u16;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                made.codes[symbol] = code;
                made.sorted[count] = symbol as u16;
                code += 1;
                count += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    assert!(count == SYMBOLS && code == 1 << LENGTH_MAX, "the lengths make no complete code");
    made.first_symbol[LENGTH_MAX + 1] = count as u16;
    made
};

const FAST_BITS: usize = 10;

/// Symbol and length of the code that begins with these bits; length 0 for longer codes.
static FAST: [(u8, u8); 1 << FAST_BITS] = {
    let mut fast = [(0, 0); 1 << FAST_BITS];
    let mut symbol = 0;
    while symbol < SYMBOLS {
        let length = LENGTHS[symbol] as usize;
        if length <= FAST_BITS {
            let first = (CODE_VALUE.codes[symbol] as usize) << (FAST_BITS - length);
            let mut at = 0;
            while at < 1 << (FAST_BITS - length) {
                fast[first + at] = (symbol as u8, length as u8);
                at += 1;
            }
        }
        symbol += 1;
    }
    fast
};

/// Appends what `input` stands for.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    // The shortest code has 5 bits.
    out.reserve(input.len() * 8 / 5 + 1);
    let mut rest = input;
    // The next bits, the first one on top, and how many of them have been accounted for.
    let (mut bits, mut count) = (0u64, 0u32);
    loop {
        if count < 32 {
            (bits, count) = refill(&mut rest, bits, count);
            // What is left is padding: fewer than 8 bits, the first ones of the end of the string, all ones.
            if count < 8 && bits.leading_ones() >= count {
                return Ok(());
            }
        }
        let (symbol, length) = match FAST[(bits >> (64 - FAST_BITS)) as usize] {
            (_, 0) => decode_long(bits),
            (symbol, length) => (u16::from(symbol), u32::from(length)),
        };
        if length > count || symbol == END_OF_STRING {
            return Err(Invalid);
        }
        out.push(symbol as u8);
        bits <<= length;
        count -= length;
    }
}

#[inline]
fn refill(rest: &mut &[u8], mut bits: u64, mut count: u32) -> (u64, u32) {
    if let Some(word) = rest.first_chunk::<8>() {
        // Bits of a byte that doesn't fit whole come in again next time, and are the same.
        bits |= u64::from_be_bytes(*word) >> count;
        let bytes = (64 - count) / 8;
        *rest = &rest[bytes as usize..];
        return (bits, count + bytes * 8);
    }
    while let [byte, tail @ ..] = *rest
        && count <= 56
    {
        bits |= u64::from(*byte) << (56 - count);
        count += 8;
        *rest = tail;
    }
    if rest.is_empty() {
        bits |= u64::MAX.checked_shr(count).unwrap_or(0);
    }
    (bits, count)
}

/// A code of more than `FAST_BITS` bits at the top of `bits`.
#[cold]
fn decode_long(bits: u64) -> (u16, u32) {
    let top = (bits >> 32) as u32;
    for length in FAST_BITS + 1..=LENGTH_MAX {
        let offset = (top >> (32 - length)).wrapping_sub(CODE.first_code[length]);
        let symbols = CODE.first_symbol[length + 1] - CODE.first_symbol[length];
        if offset < u32::from(symbols) {
            return (CODE.sorted[usize::from(CODE.first_symbol[length]) + offset as usize], length as u32);
        }
    }
    (END_OF_STRING, LENGTH_MAX as u32)
}

/// Bytes that `bytes` take when encoded.
#[inline]
pub(super) fn encoded_len(bytes: &[u8]) -> usize {
    let bits: usize = bytes.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum();
    bits.div_ceil(8)
}

/// Appends the code of `bytes`.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0u64, 0u32);
    for byte in bytes {
        let length = u32::from(LENGTHS[usize::from(*byte)]);
        bits = bits << length | u64::from(CODE.codes[usize::from(*byte)]);
        count += length;
        if count >= 32 {
            count -= 32;
            out.extend_from_slice(&((bits >> count) as u32).to_be_bytes());
        }
    }
    while count >= 8 {
        count -= 8;
        out.push((bits >> count) as u8);
    }
    if count > 0 {
        out.push((bits << (8 - count)) as u8 | 0xff >> count);
    }
}
