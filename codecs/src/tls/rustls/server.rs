//! A server's configuration.

use super::error::{cause_of, describe};
use super::handshake::Handshake;
use super::provider::{self, Time};
use super::roots::Roots;
use super::verify::{Clients, Pins};
use crate::tls::error::{ConfigError, Part, Place, TlsError};
use crate::tls::{CertificateFacts, ClientAuth, Clock, ServerSettings, TicketKeys};
use aws_lc_rs::digest;
use core::fmt;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
    StoresServerSessions, UnbufferedServerConnection, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};
use std::collections::HashMap;
use std::sync::Arc;

/// What a server's connections share. A clone is the same config; [`ServerConfig::for_core`] makes one that shares no
/// counts with other cores.
#[derive(Clone)]
pub struct ServerConfig {
    config: Arc<rustls::ServerConfig>,
    certificates: Arc<Certificates>,
    facts: Arc<[CertificateFacts]>,
    session_ids_max: usize,
}

impl ServerConfig {
    /// Makes a config of settings.
    ///
    /// # Errors
    /// The first mistake in the settings.
    pub fn new(settings: &ServerSettings, clock: Arc<dyn Clock>) -> Result<ServerConfig, ConfigError> {
        let provider = provider::provider(settings.post_quantum, &settings.cipher_suites)?;
        let versions = provider::versions(settings.min_version, settings.max_version, &provider)?;
        let (certificates, facts) = Certificates::new(settings, &provider)?;
        let certificates = Arc::new(certificates);
        let builder = rustls::ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(Time(clock)))
            .with_protocol_versions(&versions)
            .map_err(|error| ConfigError::new(Place::Versions, error.to_string()))?;
        let verifier = client_verifier(settings.client_auth.as_ref(), &provider)?;
        let mut config = builder
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = provider::alpn(&settings.alpn)?;
        config.session_storage = session_storage(settings.session_ids_max);
        // One is enough: a client that resumes several connections at once gets more with each.
        config.send_tls13_tickets = usize::from(settings.tickets.is_some());
        if let Some(keys) = &settings.tickets {
            config.ticketer = Arc::new(Tickets { keys: Arc::clone(keys), scope: scope(settings.client_auth.as_ref()) });
        }
        config.max_early_data_size = 0;
        // Clients know better which cipher costs them less, unless somebody has said what is wanted here.
        config.ignore_client_order = !settings.cipher_suites.is_empty();
        // The records behind the handshake are ours to make.
        config.enable_secret_extraction = true;
        Ok(ServerConfig {
            config: Arc::new(config),
            certificates,
            facts: facts.into(),
            session_ids_max: settings.session_ids_max,
        })
    }

    /// A copy whose reference counts, which every connection writes to, are no other core's. Tickets are still common.
    #[must_use]
    pub fn for_core(&self) -> ServerConfig {
        let certificates = Arc::new(self.certificates.copy());
        let mut config = rustls::ServerConfig::clone(&self.config);
        config.cert_resolver = Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>;
        config.session_storage = session_storage(self.session_ids_max);
        ServerConfig {
            config: Arc::new(config),
            certificates,
            facts: Arc::clone(&self.facts),
            session_ids_max: self.session_ids_max,
        }
    }

    /// What the certificates say, in the order of the settings.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateFacts] {
        &self.facts
    }

    pub(in crate::tls) fn handshake(&self) -> Result<Handshake, TlsError> {
        UnbufferedServerConnection::new(Arc::clone(&self.config))
            .map(Handshake::server)
            .map_err(|error| TlsError::new(cause_of(&error), describe(&error)))
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig").field("certificates", &self.facts).finish_non_exhaustive()
    }
}

fn session_storage(sessions_max: usize) -> Arc<dyn StoresServerSessions> {
    if sessions_max == 0 { Arc::new(NoServerSessionStorage {}) } else { ServerSessionMemoryCache::new(sessions_max) }
}

/// Binds tickets to what is demanded of clients: rustls takes a client's certificate out of a ticket without verifying
/// it again, and a ticket may have been made where none was asked for.
fn scope(client_auth: Option<&ClientAuth>) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    if let Some(auth) = client_auth {
        for part in [&auth.ca_pem, &auth.crl_pem] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.update(&[u8::from(auth.required), u8::from(auth.crl_only_leaf)]);
        context.update(format!("{:?}{:?}", auth.allowed_sans, auth.pinned).as_bytes());
    }
    let mut scope = [0; 32];
    scope.copy_from_slice(context.finish().as_ref());
    scope
}

fn client_verifier(
    auth: Option<&ClientAuth>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, ConfigError> {
    let Some(auth) = auth else {
        return Ok(Arc::new(NoClientAuth));
    };
    if let Some((index, mistake)) =
        auth.allowed_sans.iter().enumerate().find_map(|(index, matcher)| Some((index, matcher.mistake()?)))
    {
        return Err(ConfigError::new(Place::AllowedSan(index), mistake));
    }
    let roots = Roots::from_pem(&auth.ca_pem)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots.0, Arc::clone(provider))
        .with_crls(provider::revocation_lists(&auth.crl_pem)?)
        .enforce_revocation_expiration();
    if auth.crl_only_leaf {
        builder = builder.only_check_end_entity_revocation();
    }
    if !auth.required {
        builder = builder.allow_unauthenticated();
    }
    let inner = builder.build().map_err(|error| verifier_error(&error))?;
    Ok(Arc::new(Clients { inner, allowed: auth.allowed_sans.clone(), pins: Pins(auth.pinned.clone()) }))
}

pub(super) fn verifier_error(error: &VerifierBuilderError) -> ConfigError {
    match error {
        VerifierBuilderError::InvalidCrl(_) => {
            ConfigError::new(Place::Crl, "a certificate revocation list in the PEM can't be read")
        }
        _ => ConfigError::new(Place::Ca, "no authority to trust"),
    }
}

/// The caller's keys, for one kind of config.
#[derive(Debug)]
struct Tickets {
    keys: Arc<TicketKeys>,
    scope: [u8; 32],
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.keys.lifetime_s()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.seal(&self.scope, plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.keys.open(&self.scope, cipher)
    }
}

/// The certificates by name. For each name those that are for it, elliptic curves first.
#[derive(Debug)]
struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    exact: HashMap<Box<str>, Vec<usize>>,
    /// By what follows the `*.`.
    wildcard: HashMap<Box<str>, Vec<usize>>,
    default: Vec<usize>,
}

impl Certificates {
    fn new(
        settings: &ServerSettings,
        provider: &CryptoProvider,
    ) -> Result<(Certificates, Vec<CertificateFacts>), ConfigError> {
        if settings.certificates.is_empty() {
            return Err(ConfigError::new(Place::Certificates, "a server needs a certificate"));
        }
        let (mut keys, mut facts, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for (index, certificate) in settings.certificates.iter().enumerate() {
            let (key, said) = provider::certified_key(certificate, index, provider)?;
            names.push(names_of(&certificate.names, &said, index)?);
            keys.push(Arc::new(key));
            facts.push(said);
        }
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by_key(|index| keys[*index].key.algorithm() == SignatureAlgorithm::RSA);
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for index in &order {
            for name in &names[*index] {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut wildcard, suffix),
                    None => (&mut exact, name.as_str()),
                };
                let entry: &mut Vec<usize> = table.entry(name.into()).or_default();
                if !entry.contains(index) {
                    entry.push(*index);
                }
            }
        }
        let related = |index: &usize| *index == 0 || names[*index].iter().any(|name| names[0].contains(name));
        let default = order.into_iter().filter(related).collect();
        Ok((Certificates { keys, exact, wildcard, default }, facts))
    }

    fn copy(&self) -> Certificates {
        Certificates {
            keys: self.keys.iter().map(|key| Arc::new(CertifiedKey::clone(key))).collect(),
            exact: self.exact.clone(),
            wildcard: self.wildcard.clone(),
            default: self.default.clone(),
        }
    }

    fn candidates(&self, name: Option<&str>) -> &[usize] {
        let Some(name) = name else {
            return &self.default;
        };
        let lower;
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            &lower
        } else {
            name
        };
        let parent = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(name).or_else(parent).unwrap_or(&self.default)
    }

    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let candidates = self.candidates(name);
        let usable = candidates.iter().find(|index| self.keys[**index].key.choose_scheme(schemes).is_some());
        // Without a usable one the first makes the handshake fail for the right reason.
        usable.or(candidates.first()).map(|index| &self.keys[*index])
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes()).cloned()
    }
}

/// The names that a certificate is chosen for, in lower case.
fn names_of(given: &[String], facts: &CertificateFacts, index: usize) -> Result<Vec<String>, ConfigError> {
    for name in given {
        let host = name.strip_prefix("*.").unwrap_or(name);
        if host.is_empty() || host.contains(['*', '/', ':', ' ']) {
            let message = format!("{name:?} isn't a name; example.com and *.example.com are");
            return Err(ConfigError::new(Place::Certificate(index, Part::Names), message));
        }
    }
    let said = if facts.dns.is_empty() { facts.common_name.as_slice() } else { &facts.dns };
    let names = if given.is_empty() { said } else { given };
    Ok(names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect())
}
