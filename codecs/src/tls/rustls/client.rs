//! A client's configuration.

use super::error::{cause_of, describe};
use super::handshake::Handshake;
use super::provider::{self, Time};
use super::server::verifier_error;
use super::verify::{Anybody, Expected, Pins, Servers};
use crate::tls::error::{Cause, ConfigError, Place, TlsError};
use crate::tls::{CertificateFacts, ClientSettings, Clock};
use core::fmt;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{
    ClientSessionMemoryCache, ResolvesClientCert, Resumption, UnbufferedClientConnection, WebPkiServerVerifier,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::sync::Arc;

/// What a client's connections share. A clone is the same config; [`ClientConfig::for_core`] makes one with tickets of
/// its own.
#[derive(Clone)]
pub struct ClientConfig {
    config: Arc<rustls::ClientConfig>,
    server_name: Option<ServerName<'static>>,
    certificate: Option<Arc<(CertifiedKey, CertificateFacts)>>,
    tickets_max: usize,
}

impl ClientConfig {
    /// Makes a config of settings.
    ///
    /// # Errors
    /// The first mistake in the settings.
    pub fn new(settings: &ClientSettings, clock: Arc<dyn Clock>) -> Result<ClientConfig, ConfigError> {
        let provider = provider::provider(settings.post_quantum, &settings.cipher_suites)?;
        let versions = provider::versions(settings.min_version, settings.max_version, &provider)?;
        let certificate = match &settings.certificate {
            Some(certificate) => Some(Arc::new(provider::certified_key(certificate, 0, &provider)?)),
            None => None,
        };
        let builder = rustls::ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(Time(clock)))
            .with_protocol_versions(&versions)
            .map_err(|error| ConfigError::new(Place::Versions, error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier(settings, &provider)?);
        let mut config = match &certificate {
            Some(certificate) => builder.with_client_cert_resolver(resolver(certificate)),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = provider::alpn(&settings.alpn)?;
        config.resumption = resumption(settings.tickets_max);
        config.enable_early_data = false;
        // The records behind the handshake are ours to make.
        config.enable_secret_extraction = true;
        Ok(ClientConfig {
            config: Arc::new(config),
            server_name: settings.server_name.as_deref().map(server_name).transpose()?,
            certificate,
            tickets_max: settings.tickets_max,
        })
    }

    /// A copy that shares neither reference counts nor tickets with other cores.
    #[must_use]
    pub fn for_core(&self) -> ClientConfig {
        let mut config = rustls::ClientConfig::clone(&self.config);
        config.resumption = resumption(self.tickets_max);
        if let Some(certificate) = &self.certificate {
            config.client_auth_cert_resolver = resolver(certificate);
        }
        ClientConfig { config: Arc::new(config), ..self.clone() }
    }

    /// What our own certificate says, if there is one.
    #[must_use]
    pub fn certificate(&self) -> Option<&CertificateFacts> {
        self.certificate.as_ref().map(|certificate| &certificate.1)
    }

    pub(in crate::tls) fn handshake(&self, name: Option<&str>) -> Result<Handshake, TlsError> {
        let name = match (name, &self.server_name) {
            (Some(name), _) => server_name(name).map_err(|error| TlsError::new(Cause::Internal, error.message))?,
            (None, Some(name)) => name.clone(),
            (None, None) => return Err(TlsError::new(Cause::Internal, "no server name")),
        };
        UnbufferedClientConnection::new(Arc::clone(&self.config), name)
            .map(Handshake::client)
            .map_err(|error| TlsError::new(cause_of(&error), describe(&error)))
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

fn resumption(tickets_max: usize) -> Resumption {
    if tickets_max == 0 {
        return Resumption::disabled();
    }
    Resumption::store(Arc::new(ClientSessionMemoryCache::new(tickets_max)))
}

fn resolver(certificate: &(CertifiedKey, CertificateFacts)) -> Arc<dyn ResolvesClientCert> {
    Arc::new(SingleCertAndKey::from(certificate.0.clone()))
}

fn server_name(name: &str) -> Result<ServerName<'static>, ConfigError> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| ConfigError::new(Place::ServerName, format!("{name:?} is neither a DNS name nor an IP address")))
}

fn verifier(
    settings: &ClientSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, ConfigError> {
    if let Some((index, mistake)) =
        settings.allowed_sans.iter().enumerate().find_map(|(index, matcher)| Some((index, matcher.mistake()?)))
    {
        return Err(ConfigError::new(Place::AllowedSan(index), mistake));
    }
    let pins = Pins(settings.pinned.clone());
    if !settings.verify {
        if !settings.allowed_sans.is_empty() {
            return Err(ConfigError::new(Place::AllowedSan(0), "names mean nothing while verification is off"));
        }
        return Ok(Arc::new(Anybody { algorithms: provider.signature_verification_algorithms, pins }));
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::clone(&settings.roots.0), Arc::clone(provider))
        .with_crls(provider::revocation_lists(&settings.crl_pem)?)
        .enforce_revocation_expiration()
        .build()
        .map_err(|error| verifier_error(&error))?;
    let expected = if !settings.allowed_sans.is_empty() {
        Expected::OneOf(settings.allowed_sans.clone())
    } else if let Some(name) = &settings.verify_name {
        Expected::Other(server_name(name)?)
    } else {
        Expected::Asked
    };
    Ok(Arc::new(Servers { inner, expected, pins }))
}
