//! Base64 (RFC 4648 section 4), as headers have it and as gRPC-Web streams it.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text of these bytes, with padding at its end.
#[must_use]
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut whole = [0; 4];
        whole[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(whole);
        for at in 0..4 {
            out.push(match at <= group.len() {
                true => LETTERS[(bits >> (18 - 6 * at) & 63) as usize],
                false => b'=',
            });
        }
    }
    out
}

/// The text isn't base64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// Decodes text that comes in any pieces, and may have padding at the end of each group of four.
#[derive(Debug, Default)]
pub struct Decoder {
    bits: u32,
    /// Letters of the group so far, padding included.
    count: u8,
    padding: u8,
}

impl Decoder {
    /// The bytes of the groups that end in `text`.
    ///
    /// # Errors
    /// A letter isn't one, or padding isn't where it belongs.
    pub fn decode(&mut self, text: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
        for &letter in text {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' if self.count >= 2 => {
                    self.padding += 1;
                    0
                }
                _ => return Err(Malformed),
            };
            if self.padding > 0 && letter != b'=' {
                return Err(Malformed);
            }
            self.bits = self.bits << 6 | u32::from(value);
            self.count += 1;
            if self.count == 4 {
                let [_, bytes @ ..] = self.bits.to_be_bytes();
                out.extend_from_slice(&bytes[..3 - usize::from(self.padding)]);
                *self = Decoder::default();
            }
        }
        Ok(out)
    }

    /// Every group that began is whole: the text may end here.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_own_examples() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text.as_bytes());
            assert_eq!(Decoder::default().decode(text.as_bytes()), Ok(bytes.as_bytes().to_vec()));
        }
    }

    #[test]
    fn it_comes_back_in_any_pieces() {
        for len in 0..40u8 {
            let bytes: Vec<u8> = (0..len).map(|at| at.wrapping_mul(77)).collect();
            let (first, second) = bytes.split_at(bytes.len() / 2);
            // Two groups with padding each, one after the other.
            let text = [encode(first), encode(second)].concat();
            for size in 1..=text.len().max(1) {
                let mut decoder = Decoder::default();
                let decoded: Vec<u8> =
                    text.chunks(size).flat_map(|piece| decoder.decode(piece).expect("base64")).collect();
                assert_eq!(decoded, bytes);
                assert!(decoder.is_between());
            }
        }
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for bad in ["=", "A===", "AA=A", "A A=", "AA-A", "\u{e4}AAA"] {
            assert_eq!(Decoder::default().decode(bad.as_bytes()), Err(Malformed), "{bad}");
        }
        let mut unfinished = Decoder::default();
        assert_eq!(unfinished.decode(b"AAAAAA="), Ok(vec![0; 3]));
        assert!(!unfinished.is_between());
    }
}
