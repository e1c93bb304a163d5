//! What both sides' settings have in common: ciphers, groups, versions, time, certificates with their keys.

use super::names::CIPHER_SUITES;
use crate::tls::error::{ConfigError, Part, Place};
use crate::tls::{Certificate, CertificateFacts, Clock, Version};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime, pem};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{Error, InconsistentKeys, SupportedProtocolVersion, version};
use std::sync::Arc;
use std::time::Duration;

/// What computes, with the groups and ciphers that the settings want.
pub(super) fn provider(post_quantum: bool, cipher_suites: &[String]) -> Result<Arc<CryptoProvider>, ConfigError> {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![X25519, SECP256R1, SECP384R1];
    if post_quantum {
        provider.kx_groups.insert(0, X25519MLKEM768);
    }
    provider.cipher_suites = if cipher_suites.is_empty() {
        CIPHER_SUITES.iter().map(|(_, suite)| *suite).collect()
    } else {
        let mut suites = Vec::with_capacity(cipher_suites.len());
        for (index, wanted) in cipher_suites.iter().enumerate() {
            let Some((_, suite)) = CIPHER_SUITES.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)) else {
                let known: Vec<&str> = CIPHER_SUITES.iter().map(|(name, _)| *name).collect();
                let message = format!("no cipher suite {wanted:?}; there are {}", known.join(", "));
                return Err(ConfigError::new(Place::CipherSuite(index), message));
            };
            suites.push(*suite);
        }
        suites
    };
    Ok(Arc::new(provider))
}

/// The versions between the bounds, for which there must be ciphers.
pub(super) fn versions(
    min: Version,
    max: Version,
    provider: &CryptoProvider,
) -> Result<Vec<&'static SupportedProtocolVersion>, ConfigError> {
    if min > max {
        return Err(ConfigError::new(Place::Versions, "the lowest version is above the highest"));
    }
    let known = [(Version::Tls13, &version::TLS13), (Version::Tls12, &version::TLS12)];
    let wanted: Vec<_> =
        known.into_iter().filter(|(version, _)| (min..=max).contains(version)).map(|(_, known)| known).collect();
    for version in &wanted {
        if !provider.cipher_suites.iter().any(|suite| suite.version() == *version) {
            let name = if version.version == rustls::ProtocolVersion::TLSv1_3 { "1.3" } else { "1.2" };
            return Err(ConfigError::new(Place::Versions, format!("no cipher suite for TLS {name}")));
        }
    }
    Ok(wanted)
}

/// ALPN as it is sent.
pub(super) fn alpn(protocols: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, ConfigError> {
    match protocols.iter().position(|protocol| !(1..=255).contains(&protocol.len())) {
        Some(index) => Err(ConfigError::new(Place::Alpn(index), "a protocol's name has 1 to 255 bytes")),
        None => Ok(protocols.to_vec()),
    }
}

/// The caller's clock.
#[derive(Debug)]
pub(super) struct Time(pub(super) Arc<dyn Clock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.unix_s())))
    }
}

/// The certificates in a PEM, at least one.
pub(super) fn certificates(pem: &[u8], place: Place) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| unreadable(&error, place))?;
    if certificates.is_empty() {
        let key = PrivateKeyDer::from_pem_slice(pem).is_ok();
        let message = if key { "no certificate in the PEM, only a private key" } else { "no certificate in the PEM" };
        return Err(ConfigError::new(place, message));
    }
    for (index, certificate) in certificates.iter().enumerate() {
        if CertificateFacts::from_der(certificate).is_none() {
            return Err(ConfigError::new(place, format!("certificate {} in the PEM can't be read", index + 1)));
        }
    }
    Ok(certificates)
}

/// The revocation lists in a PEM; none if it is empty.
pub(super) fn revocation_lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, ConfigError> {
    if pem.is_empty() {
        return Ok(Vec::new());
    }
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(&error, Place::Crl))?;
    if lists.is_empty() {
        return Err(ConfigError::new(Place::Crl, "no certificate revocation list in the PEM"));
    }
    Ok(lists)
}

fn unreadable(error: &pem::Error, place: Place) -> ConfigError {
    let why = match error {
        pem::Error::MissingSectionEnd { .. } => "a section without its END line".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line that isn't one".to_owned(),
        pem::Error::Base64Decode(_) => "base64 that isn't".to_owned(),
        other => other.to_string(),
    };
    ConfigError::new(place, format!("the PEM can't be read: {why}"))
}

fn key(pem: &[u8], place: Place) -> Result<PrivateKeyDer<'static>, ConfigError> {
    let holds = |text: &str| memchr::memmem::find(pem, text.as_bytes()).is_some();
    // The older way to encrypt keeps the plain kind's BEGIN line and adds fields.
    if holds("ENCRYPTED PRIVATE KEY") || holds("Proc-Type: 4,ENCRYPTED") {
        return Err(ConfigError::new(place, "encrypted private keys are not supported"));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            let certificate = CertificateDer::from_pem_slice(pem).is_ok();
            let message =
                if certificate { "no private key in the PEM, only a certificate" } else { "no private key in the PEM" };
            ConfigError::new(place, message)
        }
        other => unreadable(&other, place),
    })
}

/// A certificate with its key, checked to belong together, and what it says.
pub(super) fn certified_key(
    certificate: &Certificate,
    index: usize,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, CertificateFacts), ConfigError> {
    let place = |part| Place::Certificate(index, part);
    let chain = certificates(&certificate.chain_pem, place(Part::Chain))?;
    let unread = || ConfigError::new(place(Part::Chain), "the first certificate in the PEM can't be read");
    let facts = chain.first().and_then(|first| CertificateFacts::from_der(first)).ok_or_else(unread)?;
    let key = key(&certificate.key_pem, place(Part::Key))?;
    let mut certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            ConfigError::new(place(Part::Key), "the private key does not belong to the certificate")
        }
        Error::InvalidCertificate(_) => {
            ConfigError::new(place(Part::Chain), "the first certificate in the PEM can't be used for TLS")
        }
        _ => ConfigError::new(
            place(Part::Key),
            "the private key can't be used; RSA from 2048 bits, P-256, P-384, P-521 and Ed25519 can",
        ),
    })?;
    certified.ocsp.clone_from(&certificate.ocsp_der);
    if certified.ocsp.as_ref().is_some_and(Vec::is_empty) {
        return Err(ConfigError::new(place(Part::Ocsp), "the OCSP response is empty"));
    }
    Ok((certified, facts))
}
