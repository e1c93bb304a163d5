//! TLS 1.2 and 1.3, either end: bytes from the peer to plaintext, plaintext to bytes for the peer.
//!
//! Life cycle: a [`ServerConfig`] or a [`ClientConfig`] is made once from settings and shared. Each connection is a
//! [`Session`]: [`Session::receive`] takes what has arrived and decrypts it where it lies, [`Session::encrypt`] seals
//! what is to be sent, [`Session::close_notify`] ends it. An error ends the connection; what tells the peer so has been
//! appended to the output by then.
//!
//! rustls shakes hands and verifies certificates; everything that names it is in `rustls/`, so that its next version
//! touches nothing else. After the handshake `established.rs` and `record.rs` take over with the keys that were agreed
//! on: rustls would copy each record's plaintext into memory of its own, and keep what only a handshake needs. The
//! ciphers are those of aws-lc-rs in both.
//!
//! Not offered: 0-RTT data (it can be replayed), renegotiation, compression, ciphers without forward secrecy or without
//! authentication.
//!
//! Limits: [`RECORD_BYTES_MAX`], [`WAITING_BYTES_MAX`], [`sniff::HELLO_BYTES_MAX`]; certificates of a peer take 64 KiB
//! at most. Specifications: RFC 8446 (TLS 1.3), RFC 5246 (TLS 1.2), RFC 5280 (certificates), RFC 6125 (names).

mod certificate;
mod config;
mod der;
mod error;
mod established;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod record;
mod rustls;
mod san;
mod session;
pub mod sniff;
mod tickets;
pub mod xfcc;

pub use certificate::CertificateFacts;
pub use config::{Certificate, ClientAuth, ClientSettings, Clock, ServerSettings};
pub use error::{Cause, ConfigError, Part, Place, TlsError, alert_name};
pub use record::missing_bytes;
pub use rustls::client::ClientConfig;
pub use rustls::roots::Roots;
pub use rustls::server::ServerConfig;
pub use san::{SanKind, SanMatcher, SanPattern};
pub use session::{Phase, Received, Session};
pub use tickets::{TICKET_KEY_BYTES, TicketKeys};

/// The longest record, with its header: what an established connection may leave unconsumed is less.
pub const RECORD_BYTES_MAX: usize = record::HEADER_BYTES + record::PLAINTEXT_BYTES_MAX + 2048;

/// What a handshake may leave unconsumed is less.
pub const WAITING_BYTES_MAX: usize = rustls::handshake::WAITING_BYTES_MAX + RECORD_BYTES_MAX;

/// The versions of TLS that are spoken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    Tls12,
    Tls13,
}

impl Version {
    /// As logs and `%DOWNSTREAM_TLS_VERSION%` have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Version::Tls12 => "TLSv1.2",
            Version::Tls13 => "TLSv1.3",
        }
    }
}

/// What a handshake led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Negotiated {
    pub version: Version,
    /// IANA's name.
    pub cipher_suite: &'static str,
    /// IANA's name of the key exchange's group; `None` if a session of TLS 1.2 was resumed.
    pub group: Option<&'static str>,
    /// The protocol agreed on by ALPN.
    pub alpn: Option<Box<[u8]>>,
    /// The name that the client asked for, in lower case: on a server only.
    pub server_name: Option<Box<str>>,
    /// Whether an earlier session went on, so that no certificates were sent. Those of the earlier one still count.
    pub resumed: bool,
    /// The peer's chain as it sent it, DER, its own certificate first. Verified, unless verification is off.
    pub peer_certificates: Box<[Box<[u8]>]>,
}

#[cfg(test)]
mod tests;
