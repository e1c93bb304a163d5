//! Verifying peers' certificates: rustls-webpki does it; here is what our settings add.

use crate::tls::{CertificateFacts, SanMatcher};
use aws_lc_rs::digest;
use core::fmt;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use std::sync::Arc;

/// None of the certificate's names is allowed.
#[derive(Debug)]
pub(super) struct SanMismatch(String);

impl fmt::Display for SanMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "none of the certificate's names is allowed; it has {}", self.0)
    }
}

impl core::error::Error for SanMismatch {}

/// Checks the names of a certificate that has been verified.
fn check_names(matchers: &[SanMatcher], certificate: &CertificateDer<'_>) -> Result<(), Error> {
    if matchers.is_empty() {
        return Ok(());
    }
    let facts = CertificateFacts::from_der(certificate).ok_or(CertificateError::BadEncoding)?;
    if matchers.iter().any(|matcher| matcher.matches(&facts)) {
        return Ok(());
    }
    let names: Vec<String> = [&facts.dns, &facts.uris, &facts.emails]
        .into_iter()
        .flatten()
        .cloned()
        .chain(facts.ips.iter().map(ToString::to_string))
        .collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Err(CertificateError::Other(OtherError(Arc::new(SanMismatch(names)))).into())
}

/// The certificate is none of those that are pinned.
#[derive(Debug)]
pub(super) struct HashMismatch(String);

impl fmt::Display for HashMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate isn't pinned; its SHA-256 is {}", self.0)
    }
}

impl core::error::Error for HashMismatch {}

/// SHA-256 over the DER of certificates, one of which a peer must show; empty: any.
#[derive(Clone, Debug, Default)]
pub(super) struct Pins(pub(super) Vec<[u8; 32]>);

impl Pins {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        let hash = digest::digest(&digest::SHA256, certificate);
        if self.0.iter().any(|pinned| pinned == hash.as_ref()) {
            return Ok(());
        }
        let hash = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Err(CertificateError::Other(OtherError(Arc::new(HashMismatch(hash)))).into())
    }
}

/// The parts of a verifier that are passed on to another as they are.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.inner.verify_tls12_signature(message, certificate, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.inner.verify_tls13_signature(message, certificate, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.inner.supported_verify_schemes()
        }
    };
}

/// Verifies clients, then looks at their names.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
    pub(super) allowed: Vec<SanMatcher>,
    pub(super) pins: Pins,
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(certificate, intermediates, now)?;
        check_names(&self.allowed, certificate)?;
        self.pins.check(certificate)?;
        Ok(verified)
    }

    signatures!();
}

/// Which names a server must have.
#[derive(Debug)]
pub(super) enum Expected {
    /// The one that was asked for.
    Asked,
    Other(ServerName<'static>),
    OneOf(Vec<SanMatcher>),
}

/// Verifies servers.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) inner: Arc<WebPkiServerVerifier>,
    pub(super) expected: Expected,
    pub(super) pins: Pins,
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = if let Expected::Other(name) = &self.expected { name } else { asked };
        let result = self.inner.verify_server_cert(certificate, intermediates, name, ocsp, now);
        let Expected::OneOf(allowed) = &self.expected else {
            let verified = result?;
            self.pins.check(certificate)?;
            return Ok(verified);
        };
        match result {
            // The name is looked at last: whoever fails only there is verified otherwise.
            Ok(_)
            | Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {}
            Err(error) => return Err(error),
        }
        check_names(allowed, certificate)?;
        self.pins.check(certificate)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

/// Takes every server that shows a pinned certificate (any, if none is pinned) for the one that was meant. It must still
/// have the key of the certificate that it shows.
#[derive(Debug)]
pub(super) struct Anybody {
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    pub(super) pins: Pins,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.pins.check(certificate)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
