//! Records after the handshake: opened where they lie, sealed straight into what is to be sent.
//!
//! The handshake's library copies what it opens and what it seals; for an established connection we take its keys and do
//! these two steps ourselves, with the same ciphers of the same cryptographic library. What a record looks like: RFC
//! 8446, section 5 (TLS 1.3); RFC 5288 and RFC 7905 (TLS 1.2 with AES-GCM and ChaCha20-Poly1305). No others are offered.

use super::Version;
use super::error::Cause;
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use core::ops::Range;

/// Type, version and length in front of each record.
pub(super) const HEADER_BYTES: usize = 5;
/// The most plaintext in one record (RFC 8446, section 5.1).
pub(super) const PLAINTEXT_BYTES_MAX: usize = 1 << 14;
const TAG_BYTES: usize = 16;
const EXPLICIT_NONCE_BYTES: usize = 8;

pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// How many records may be sealed with one key of AES-GCM before an observer could tell it from noise: the bound that
/// the handshake's library has (draft-irtf-cfrg-aead-limits, section 5.1.1). ChaCha20-Poly1305 has none to reach.
const GCM_RECORDS_MAX: u64 = 1 << 24;

/// How many bytes are missing until the records in `input`, which begins with one, are whole; 0 if they are. With what
/// [`Session::receive`](super::Session::receive) left over, whoever keeps it knows how much to add of what arrives next,
/// so that the records behind can be decrypted where they are.
#[must_use]
pub fn missing_bytes(input: &[u8]) -> usize {
    let mut rest = input;
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        match behind.get(length..) {
            Some(next) => rest = next,
            None => return length - behind.len(),
        }
    }
    if rest.is_empty() { 0 } else { HEADER_BYTES - rest.len() }
}

/// The ciphers of TLS 1.3, and those of TLS 1.2 that we offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    Chacha20Poly1305,
}

impl Cipher {
    fn algorithm(self) -> &'static Algorithm {
        match self {
            Cipher::Aes128Gcm => &AES_128_GCM,
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::Chacha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

/// What surrounds the ciphertext.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Framing {
    /// TLS 1.3: the true type is encrypted behind the content; the nonce is implied.
    Inner,
    /// TLS 1.2, AES-GCM: the second part of the nonce is sent.
    Explicit,
    /// TLS 1.2, ChaCha20-Poly1305: the nonce is implied.
    Implied,
}

/// The keys of one direction.
pub(super) struct Keys {
    key: LessSafeKey,
    iv: [u8; 12],
    /// Of the next record. Unique by the order of records, which is what the nonce's safety rests on.
    sequence: u64,
    records_max: u64,
    framing: Framing,
}

impl Keys {
    pub(super) fn new(
        version: Version,
        cipher: Cipher,
        key: &[u8],
        iv: [u8; 12],
        sequence: u64,
    ) -> Result<Keys, Cause> {
        let gcm = cipher != Cipher::Chacha20Poly1305;
        Ok(Keys {
            key: LessSafeKey::new(UnboundKey::new(cipher.algorithm(), key).map_err(|_| Cause::Internal)?),
            iv,
            sequence,
            records_max: if gcm { GCM_RECORDS_MAX } else { u64::MAX },
            framing: match version {
                Version::Tls13 => Framing::Inner,
                Version::Tls12 if gcm => Framing::Explicit,
                Version::Tls12 => Framing::Implied,
            },
        })
    }

    /// Whether so few records are left that the keys have to be replaced, or the connection to end.
    pub(super) fn worn(&self) -> bool {
        // Leaves room for the messages that say so.
        self.sequence >= self.records_max - 16
    }

    #[cfg(test)]
    pub(super) fn wear_out(&mut self) {
        self.sequence = self.records_max - 16;
    }

    /// The most that may stand behind a record's header.
    pub(super) fn body_bytes_max(&self) -> usize {
        match self.framing {
            Framing::Inner => PLAINTEXT_BYTES_MAX + 256,
            Framing::Explicit | Framing::Implied => PLAINTEXT_BYTES_MAX + 2048,
        }
    }

    fn explicit_bytes(&self) -> usize {
        if self.framing == Framing::Explicit { EXPLICIT_NONCE_BYTES } else { 0 }
    }

    /// What a record of so much plaintext takes.
    pub(super) fn sealed_bytes(&self, plain_bytes: usize) -> usize {
        HEADER_BYTES + self.explicit_bytes() + plain_bytes + self.inner_type_bytes() + TAG_BYTES
    }

    fn inner_type_bytes(&self) -> usize {
        usize::from(self.framing == Framing::Inner)
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, part) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= part;
        }
        nonce
    }

    /// What is authenticated beside the content. `header` is the record's in TLS 1.3; in TLS 1.2 it's the sequence and
    /// the plaintext's length that count.
    fn associated(&self, header: [u8; HEADER_BYTES], plain_bytes: usize) -> Associated {
        if self.framing == Framing::Inner {
            return Associated::Tls13(header);
        }
        let mut bytes = [0; 13];
        bytes[..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..11].copy_from_slice(&[header[0], 3, 3]);
        bytes[11..].copy_from_slice(&length_bytes(plain_bytes));
        Associated::Tls12(bytes)
    }

    /// Appends a record with all of `plain`, which must fit into one.
    pub(super) fn seal(&mut self, kind: u8, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Cause> {
        let start = self.begin(kind, plain.len(), out)?;
        let (header, nonce) = (header_at(out, start), self.nonce());
        let associated = self.associated(header, plain.len());
        let content = start + HEADER_BYTES + self.explicit_bytes();
        out.resize(start + self.sealed_bytes(plain.len()), 0);
        let (ciphertext, tail) = out[content..].split_at_mut(plain.len());
        let inner = [kind];
        self.key
            .seal_out_of_place_scatter(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated),
                plain,
                ciphertext,
                &inner[..self.inner_type_bytes()],
                tail,
            )
            .map_err(|_| Cause::Internal)?;
        self.sequence += 1;
        Ok(())
    }

    /// Appends a record with what `parts` yield: `plain_bytes` together, which must fit into one.
    pub(super) fn seal_parts<'a>(
        &mut self,
        kind: u8,
        parts: impl Iterator<Item = &'a [u8]>,
        plain_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Cause> {
        let start = self.begin(kind, plain_bytes, out)?;
        let (header, nonce) = (header_at(out, start), self.nonce());
        let associated = self.associated(header, plain_bytes);
        let content = start + HEADER_BYTES + self.explicit_bytes();
        for part in parts {
            out.extend_from_slice(part);
        }
        if out.len() != content + plain_bytes {
            return Err(Cause::Internal);
        }
        out.resize(start + self.sealed_bytes(plain_bytes), 0);
        let (content, tail) = out[content..].split_at_mut(plain_bytes);
        let inner = [kind];
        self.key
            .seal_in_place_scatter(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated),
                content,
                &inner[..self.inner_type_bytes()],
                tail,
            )
            .map_err(|_| Cause::Internal)?;
        self.sequence += 1;
        Ok(())
    }

    /// Appends what stands in front of the ciphertext and returns where the record begins.
    fn begin(&self, kind: u8, plain_bytes: usize, out: &mut Vec<u8>) -> Result<usize, Cause> {
        if plain_bytes > PLAINTEXT_BYTES_MAX {
            return Err(Cause::Internal);
        }
        if self.sequence >= self.records_max {
            return Err(Cause::KeysExhausted);
        }
        let (start, sealed) = (out.len(), self.sealed_bytes(plain_bytes));
        out.reserve(sealed);
        let outer = if self.framing == Framing::Inner { APPLICATION_DATA } else { kind };
        let [high, low] = length_bytes(sealed - HEADER_BYTES);
        out.extend_from_slice(&[outer, 3, 3, high, low]);
        if self.framing == Framing::Explicit {
            out.extend_from_slice(&self.nonce()[4..]);
        }
        Ok(start)
    }

    /// Opens the record with this header where it lies and says what it is and where in `body` its content is.
    pub(super) fn open(&mut self, header: [u8; HEADER_BYTES], body: &mut [u8]) -> Result<(u8, Range<usize>), Cause> {
        let explicit = self.explicit_bytes();
        let overhead = explicit + TAG_BYTES + self.inner_type_bytes();
        if body.len() < overhead || (self.framing == Framing::Inner && header[0] != APPLICATION_DATA) {
            return Err(if header[0] == CHANGE_CIPHER_SPEC { Cause::Unexpected } else { Cause::BadRecord });
        }
        let mut nonce = self.nonce();
        if explicit > 0 {
            nonce[4..].copy_from_slice(&body[..explicit]);
        }
        let associated = self.associated(header, body.len() - explicit - TAG_BYTES);
        let plain = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut body[explicit..])
            .map_err(|_| Cause::BadRecord)?;
        self.sequence += 1;
        let (kind, length) = if self.framing == Framing::Inner {
            // The last byte that isn't padding is the type (RFC 8446, section 5.4).
            let end = plain.iter().rposition(|byte| *byte != 0).ok_or(Cause::Unexpected)?;
            (plain[end], end)
        } else {
            (header[0], plain.len())
        };
        if length > PLAINTEXT_BYTES_MAX {
            return Err(Cause::RecordOverflow);
        }
        Ok((kind, explicit..explicit + length))
    }
}

enum Associated {
    Tls13([u8; HEADER_BYTES]),
    Tls12([u8; 13]),
}

impl AsRef<[u8]> for Associated {
    fn as_ref(&self) -> &[u8] {
        match self {
            Associated::Tls13(bytes) => bytes,
            Associated::Tls12(bytes) => bytes,
        }
    }
}

/// Of a length that was checked to be below 2^16.
#[expect(clippy::cast_possible_truncation, reason = "callers have bounded it by a record's length")]
fn length_bytes(length: usize) -> [u8; 2] {
    debug_assert!(length < 1 << 16, "{length} bytes in a record");
    (length as u16).to_be_bytes()
}

fn header_at(out: &[u8], start: usize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header.copy_from_slice(&out[start..start + HEADER_BYTES]);
    header
}
