//! What TLS is configured with: contents of files, not their names.

use super::{Roots, SanMatcher, TicketKeys, Version};
use core::fmt;
use std::sync::Arc;

/// Says what time it is, for certificates and tickets: nothing here has a clock.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Seconds since 1970-01-01 UTC.
    fn unix_s(&self) -> u64;
}

/// A certificate with its key.
#[derive(Clone, Default)]
pub struct Certificate {
    /// PEM: the certificate, then those that lead to its authority.
    pub chain_pem: Vec<u8>,
    /// PEM: PKCS #8, SEC 1 or PKCS #1, not encrypted.
    pub key_pem: Vec<u8>,
    /// DER: an OCSP response that is sent with the certificate.
    pub ocsp_der: Option<Vec<u8>>,
    /// The names that it is for, if not those that it says itself: `example.com` or `*.example.com`.
    pub names: Vec<String>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of logs.
        f.debug_struct("Certificate").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Whom a server wants to know.
#[derive(Clone, Debug, Default)]
pub struct ClientAuth {
    /// PEM: the authorities whose certificates count.
    pub ca_pem: Vec<u8>,
    /// PEM: their revocation lists; empty: nothing is revoked. With lists, each certificate needs one that covers it.
    pub crl_pem: Vec<u8>,
    /// Whether revocation of the client's own certificate is all that is looked for, not of those above it.
    pub crl_only_leaf: bool,
    /// Whether a client without a certificate is refused. One with a certificate that doesn't verify always is.
    pub required: bool,
    /// A verified certificate must have one of these names; empty: any.
    pub allowed_sans: Vec<SanMatcher>,
    /// A verified certificate must have one of these SHA-256 over its DER; empty: any.
    pub pinned: Vec<[u8; 32]>,
}

/// Settings of a [`ServerConfig`](super::ServerConfig). The default lacks certificates.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Chosen by the name that a client asks for: exact, then wildcard, then the first here and those with a name in
    /// common with it. Of several, the first that the client can verify, elliptic curves before RSA.
    pub certificates: Vec<Certificate>,
    /// In order of preference; empty: ALPN isn't spoken.
    pub alpn: Vec<Vec<u8>>,
    pub min_version: Version,
    pub max_version: Version,
    pub client_auth: Option<ClientAuth>,
    /// Keys for tickets that let clients resume; `None`: no tickets.
    pub tickets: Option<Arc<TicketKeys>>,
    /// How many sessions of TLS 1.2 are kept for clients without tickets, for each copy of the config; 0: none.
    pub session_ids_max: usize,
    /// Whether X25519MLKEM768 is offered, before the others.
    pub post_quantum: bool,
    /// IANA's names, in order of preference, which then counts before the client's; empty: all of them.
    pub cipher_suites: Vec<String>,
}

impl Default for ServerSettings {
    fn default() -> ServerSettings {
        ServerSettings {
            certificates: Vec::new(),
            alpn: Vec::new(),
            min_version: Version::Tls12,
            max_version: Version::Tls13,
            client_auth: None,
            tickets: None,
            session_ids_max: 0,
            post_quantum: false,
            cipher_suites: Vec::new(),
        }
    }
}

/// Settings of a [`ClientConfig`](super::ClientConfig).
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The authorities whose certificates count.
    pub roots: Roots,
    /// PEM: their revocation lists; empty: nothing is revoked.
    pub crl_pem: Vec<u8>,
    /// Sent, and verified if nothing else is said; `None`: each session must say it.
    pub server_name: Option<String>,
    /// Verified in place of the name that is sent.
    pub verify_name: Option<String>,
    /// The server's certificate must have one of these names, in place of the others; empty: see `verify_name`.
    pub allowed_sans: Vec<SanMatcher>,
    /// The server's certificate must have one of these SHA-256 over its DER, also where nothing else is verified; empty: any.
    pub pinned: Vec<[u8; 32]>,
    /// Whether the server's certificate is verified. Without it anybody on the way can be the server.
    pub verify: bool,
    /// Shown to a server that asks for one; names and OCSP don't matter.
    pub certificate: Option<Certificate>,
    /// In order of preference; empty: ALPN isn't spoken.
    pub alpn: Vec<Vec<u8>>,
    pub min_version: Version,
    pub max_version: Version,
    /// How many tickets are kept to resume with, for each copy of the config; 0: none.
    pub tickets_max: usize,
    /// Whether X25519MLKEM768 is offered, before the others.
    pub post_quantum: bool,
    /// IANA's names, in order of preference; empty: all of them.
    pub cipher_suites: Vec<String>,
}

impl ClientSettings {
    /// Verifies against `roots` the name that each session says.
    #[must_use]
    pub fn new(roots: Roots) -> ClientSettings {
        ClientSettings {
            roots,
            crl_pem: Vec::new(),
            server_name: None,
            verify_name: None,
            allowed_sans: Vec::new(),
            pinned: Vec::new(),
            verify: true,
            certificate: None,
            alpn: Vec::new(),
            min_version: Version::Tls12,
            max_version: Version::Tls13,
            tickets_max: 32,
            post_quantum: false,
            cipher_suites: Vec::new(),
        }
    }
}
