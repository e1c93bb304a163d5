//! What a connection's handshake led to.

use std::cell::RefCell;

use codecs::tls::xfcc::{self, Details};
use codecs::tls::{CertificateFacts, Session, Version};

use crate::log::Record;

/// Kept as long as the connection, for logs, headers and whoever asks for the protocol.
pub(crate) struct TlsFacts {
    /// `TLSv1.3`.
    pub(crate) version: &'static str,
    /// OpenSSL's name, as other proxies log it.
    pub(crate) cipher: &'static str,
    pub(crate) group: Option<&'static str>,
    pub(crate) alpn: Option<Box<[u8]>>,
    /// The name that the client asked for.
    pub(crate) server_name: Option<Box<str>>,
    /// An earlier session went on.
    pub(crate) resumed: bool,
    /// The peer's certificate, if it showed one.
    pub(crate) peer: Option<Box<Peer>>,
    pub(crate) handshake_us: u64,
}

/// A peer's certificate.
pub(crate) struct Peer {
    /// DER, its own certificate first; of an endpoint it isn't kept.
    chain: Box<[Box<[u8]>]>,
    pub(crate) facts: CertificateFacts,
    /// What `x-forwarded-client-cert` says of it, and which parts that has.
    element: RefCell<Option<(Details, Box<str>)>>,
}

impl Peer {
    /// Lends what `x-forwarded-client-cert` says of the certificate; false if nothing can be said.
    pub(crate) fn with_element(&self, by: &[String], details: Details, run: impl FnOnce(&str)) -> bool {
        let mut kept = self.element.borrow_mut();
        if kept.as_ref().is_none_or(|(of, _)| *of != details) {
            let mut element = String::new();
            if !xfcc::emit(&self.chain, by, details, &mut element) {
                return false;
            }
            *kept = Some((details, element.into_boxed_str()));
        }
        if let Some((_, element)) = kept.as_ref() {
            run(element);
        }
        true
    }
}

impl TlsFacts {
    /// `keeps_chain`: for what `x-forwarded-client-cert` is to say.
    pub(crate) fn of(session: &mut Session, handshake_us: u64, keeps_chain: bool) -> TlsFacts {
        let chain = session.take_peer_certificates();
        let facts = chain.first().and_then(|first| CertificateFacts::from_der(first));
        let chain = if keeps_chain { chain } else { Box::default() };
        let mut known = TlsFacts {
            version: "",
            cipher: "",
            group: None,
            alpn: None,
            server_name: None,
            resumed: false,
            peer: facts.map(|facts| Box::new(Peer { chain, facts, element: RefCell::default() })),
            handshake_us,
        };
        if let Some(negotiated) = session.negotiated() {
            known.version = match negotiated.version {
                Version::Tls12 => Version::Tls12.as_str(),
                Version::Tls13 => Version::Tls13.as_str(),
            };
            known.cipher = openssl_name(negotiated.cipher_suite);
            known.group = negotiated.group;
            known.alpn.clone_from(&negotiated.alpn);
            known.server_name.clone_from(&negotiated.server_name);
            known.resumed = negotiated.resumed;
        }
        known
    }
}

impl TlsFacts {
    /// Tells an access log what the handshake with the endpoint led to.
    pub(crate) fn log_upstream<'a>(&'a self, record: &mut Record<'a>) {
        record.upstream_tls_version = self.version;
        record.upstream_tls_cipher = self.cipher;
        record.upstream_peer = self.peer.as_ref().map(|peer| &peer.facts);
    }
}

/// OpenSSL's names of the suites of TLS 1.2; those of TLS 1.3 are IANA's.
fn openssl_name(iana: &'static str) -> &'static str {
    const NAMES: [(&str, &str); 6] = [
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
    ];
    NAMES.iter().find(|(name, _)| *name == iana).map_or(iana, |(_, openssl)| openssl)
}
