//! What the opening handshake of WebSocket (RFC 6455 4.2.2) asks of a proxy that translates it between versions of HTTP.

use crate::base64;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// Appended to the key before it is hashed (RFC 6455 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`, which is taken as it was sent.
#[must_use]
pub fn accept(key: &[u8]) -> Vec<u8> {
    base64::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()).as_ref())
}

/// A `Sec-WebSocket-Key` of 16 bytes that need not be secret.
#[must_use]
pub fn key(random: [u64; 2]) -> Vec<u8> {
    let [high, low] = random.map(u64::to_be_bytes);
    base64::encode(&[high, low].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_own_example() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys_are_sixteen_bytes() {
        assert_eq!(key([0, 1]), b"AAAAAAAAAAAAAAAAAAAAAQ==");
    }
}
