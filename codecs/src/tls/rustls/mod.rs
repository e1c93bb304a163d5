//! All that knows rustls.

pub(super) mod client;
mod error;
pub(super) mod handshake;
mod names;
mod provider;
pub(super) mod roots;
pub(super) mod server;
mod verify;

/// A verifier for a rustls client that a test sets up itself.
#[cfg(test)]
pub(super) fn test_verifier() -> std::sync::Arc<dyn rustls::client::danger::ServerCertVerifier> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    std::sync::Arc::new(verify::Anybody {
        algorithms: provider.signature_verification_algorithms,
        pins: verify::Pins::default(),
    })
}
