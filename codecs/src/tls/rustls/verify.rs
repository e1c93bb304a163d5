//! Verifying peers' certificates: rustls-webpki does it; here is what our settings add.

use crate::tls::{CertificateFacts, SanMatcher};
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
            return result;
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
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

/// Takes every server for the one that was meant. It must still have the key of the certificate that it shows.
#[derive(Debug)]
pub(super) struct Anybody(pub(super) WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
