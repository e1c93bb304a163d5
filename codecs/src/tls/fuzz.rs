//! A property of records after the handshake, over any content; see [`crate::fuzz`].

use super::Cause;
use super::established::Established;
use super::record::{APPLICATION_DATA, Cipher, Keys};
use super::rustls::handshake::Finished;
use super::{Negotiated, Version};

/// Bytes of the longest key.
const KEY: [u8; 32] = [7; 32];

fn keys(version: Version, cipher: Cipher) -> Keys {
    let length = if cipher == Cipher::Aes128Gcm { 16 } else { 32 };
    Keys::new(version, cipher, &KEY[..length], [9; 12], 0).expect("a key of the right length")
}

/// What came of a stream of records.
#[derive(PartialEq, Debug, Default)]
struct Read {
    plain: Vec<u8>,
    /// What was said in return.
    out: Vec<u8>,
    closed: bool,
    cause: Option<Cause>,
}

fn read(version: Version, cipher: Cipher, stream: &[u8], step: usize) -> Read {
    let negotiated = Negotiated {
        version,
        cipher_suite: "",
        group: None,
        alpn: None,
        server_name: None,
        resumed: false,
        peer_certificates: Box::default(),
    };
    let (send, receive) = (keys(version, cipher), keys(version, cipher));
    let mut connection = Established::new(Finished { send, receive, rekeying: None, negotiated: Box::new(negotiated) });
    let mut read = Read::default();
    let mut input = Vec::new();
    for piece in stream.chunks(step) {
        input.extend_from_slice(piece);
        let mut ranges = Vec::new();
        let done = connection.receive(&mut input, 0, &mut ranges, &mut read.out);
        for range in ranges {
            read.plain.extend_from_slice(&input[range]);
        }
        match done {
            Ok(consumed) => drop(input.drain(..consumed)),
            Err(error) => {
                connection.tell(error.cause, &mut read.out);
                read.cause = Some(error.cause);
                break;
            }
        }
    }
    read.closed = connection.peer_closed;
    read
}

/// Records of any type and content, some damaged: any chunking gives the same bytes, the same end and the same words in
/// return, and what is application data throughout arrives whole.
pub fn records(data: &[u8]) {
    let Some((&seed, mut rest)) = data.split_first() else { return };
    let version = if seed & 1 > 0 { Version::Tls13 } else { Version::Tls12 };
    let cipher = [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Chacha20Poly1305][usize::from(seed >> 1) % 3];
    let mut peer = keys(version, cipher);
    let (mut stream, mut sent, mut ordinary) = (Vec::new(), Vec::new(), true);
    while let [kind, length, behind @ ..] = rest {
        let (content, next) = behind.split_at(usize::from(*length).min(behind.len()));
        let start = stream.len();
        peer.seal(20 + (kind & 7), content, &mut stream).expect("keys that aren't worn");
        sent.extend_from_slice(content);
        ordinary &= 20 + (kind & 7) == APPLICATION_DATA && !content.is_empty();
        if kind & 0x80 > 0 {
            let at = start + usize::from(kind >> 3 & 15) % (stream.len() - start);
            stream[at] ^= 1 << (length & 7);
            ordinary = false;
        }
        rest = next;
    }
    let whole = read(version, cipher, &stream, stream.len().max(1));
    for step in [1, 2 + usize::from(seed)] {
        assert_eq!(read(version, cipher, &stream, step), whole, "in pieces of {step}");
    }
    assert!(whole.plain.len() <= sent.len());
    assert!(!ordinary || (whole.cause.is_none() && whole.plain == sent));
}
