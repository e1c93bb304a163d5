//! TLS of listeners.

use std::sync::Arc;

use codecs::tls::{
    Certificate, ClientAuth, ConfigError, Part, Place, ServerConfig, ServerSettings, TICKET_KEY_BYTES, TicketKeys,
};

use super::{Alpn, Listener, Loader, System, matcher, suites, unix_s, version};
use crate::config::diagnostics::Diagnostic;
use crate::config::model;
use crate::config::source::Span;
use crate::config::values::Fingerprint;
use crate::snapshot;

/// RFC 8446, section 4.6.1: no ticket lives longer than a week.
const TICKET_ROTATION_MS_MAX: u64 = 7 * 24 * 3600 * 1000;

impl Loader<'_> {
    /// `None` after a mistake, which has been reported.
    pub(super) fn listener(
        &mut self,
        tls: &model::ListenerTls,
        alpn: Alpn,
        before: Option<&Listener>,
    ) -> Option<Listener> {
        let settings = self.server_settings(tls, alpn);
        let given = self.ticket_keys(tls);
        let read = self.files.take();
        let (mut settings, given) = (settings?, given?);
        if let Some(before) = before
            && before.of == (tls.clone(), alpn)
            && before.read == read
        {
            self.check_certificates(tls, &before.made.config);
            return Some(before.clone());
        }
        let tickets = self.tickets(tls, &given, before)?;
        settings.tickets.clone_from(&tickets);
        match ServerConfig::new(&settings, Arc::new(System)) {
            Ok(config) => {
                self.check_certificates(tls, &config);
                let made = Arc::new(snapshot::ListenerTls {
                    config,
                    handshake_timeout_ms: tls.handshake_timeout.ms,
                    allow_plain: tls.allow_plain,
                });
                Some(Listener { made, tickets, of: (tls.clone(), alpn), read })
            }
            Err(error) => {
                self.refuse(span_of(tls, &error), error);
                None
            }
        }
    }

    fn server_settings(&mut self, tls: &model::ListenerTls, alpn: Alpn) -> Option<ServerSettings> {
        // Everything is read before the first failure counts: all mistakes are reported.
        let certificates: Vec<Option<Certificate>> =
            tls.certificates.iter().map(|certificate| self.certificate(certificate)).collect();
        let client_auth = tls.client_auth.as_ref().map(|auth| self.client_auth(auth));
        let alpn: Vec<Vec<u8>> = match &tls.alpn {
            Some(names) => names.iter().map(|name| name.0.clone().into_bytes()).collect(),
            None => alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
        };
        Some(ServerSettings {
            certificates: certificates.into_iter().collect::<Option<_>>()?,
            alpn,
            min_version: version(*tls.min_version),
            max_version: version(tls.max_version),
            client_auth: match client_auth {
                Some(auth) => Some(auth?),
                None => None,
            },
            tickets: None,
            session_ids_max: 0,
            post_quantum: tls.post_quantum,
            cipher_suites: suites(&tls.cipher_suites),
        })
    }

    fn certificate(&mut self, certificate: &model::Certificate) -> Option<Certificate> {
        let chain = self.read(&certificate.chain);
        let key = self.read(&certificate.key);
        let ocsp = certificate.ocsp.as_ref().map(|ocsp| self.read(ocsp));
        Some(Certificate {
            chain_pem: chain?,
            key_pem: key?,
            ocsp_der: match ocsp {
                Some(ocsp) => Some(ocsp?),
                None => None,
            },
            names: certificate.names.iter().map(|name| name.0.clone()).collect(),
        })
    }

    fn client_auth(&mut self, auth: &model::ClientAuth) -> Option<ClientAuth> {
        let ca = self.read(&auth.ca);
        let crl = self.read_all(&auth.crl);
        Some(ClientAuth {
            ca_pem: ca?,
            crl_pem: crl?,
            crl_only_leaf: auth.crl_only_leaf,
            required: auth.mode == model::ClientAuthMode::Required,
            allowed_sans: auth.sans.iter().map(|san| matcher(san)).collect(),
            pinned: auth.pinned.iter().map(Fingerprint::bytes).collect(),
        })
    }

    /// The keys for tickets that files bring.
    fn ticket_keys(&mut self, tls: &model::ListenerTls) -> Option<Vec<[u8; TICKET_KEY_BYTES]>> {
        let mut keys = Vec::new();
        for path in tls.ticket_keys.iter() {
            let Some(content) = self.read(path) else { continue };
            match content.as_slice().try_into() {
                Ok(key) => keys.push(key),
                Err(_) => {
                    let message = format!("{} has {} bytes", path.0, content.len());
                    let error = Diagnostic::error(path.span, message).expected("a key for tickets: 80 random bytes");
                    self.diagnostics.push(error.help("`openssl rand 80` makes one"));
                }
            }
        }
        (keys.len() == tls.ticket_keys.len()).then_some(keys)
    }

    /// Keys of tickets: those that files bring, or those of the listener's earlier config, so that its clients resume.
    fn tickets(
        &mut self,
        tls: &model::ListenerTls,
        given: &[[u8; TICKET_KEY_BYTES]],
        before: Option<&Listener>,
    ) -> Option<Option<Arc<TicketKeys>>> {
        if !tls.session_tickets {
            return Some(None);
        }
        let rotation_ms = tls.ticket_rotation.ms;
        if !(1_000..=TICKET_ROTATION_MS_MAX).contains(&rotation_ms) {
            let message = format!("ticket keys can't be replaced every {}", tls.ticket_rotation.value);
            let error = Diagnostic::error(tls.ticket_rotation.span, message);
            self.diagnostics.push(error.expected("from `1s` to `7d`"));
            return None;
        }
        let of_before = |before: &&Listener| {
            let before = &before.of.0;
            before.ticket_rotation == tls.ticket_rotation && before.ticket_keys.is_empty()
        };
        let made = match given.split_first() {
            Some((current, others)) => TicketKeys::from_outside(current, others, rotation_ms / 1000),
            None => match before.filter(of_before).and_then(|before| before.tickets.clone()) {
                Some(keys) => return Some(Some(keys)),
                None => TicketKeys::new(rotation_ms / 1000, unix_s()),
            },
        };
        match made {
            Ok(keys) => Some(Some(Arc::new(keys))),
            Err(error) => {
                let message = format!("no keys for tickets: {error}");
                self.diagnostics.push(Diagnostic::error(tls.certificates.span, message));
                None
            }
        }
    }

    fn check_certificates(&mut self, tls: &model::ListenerTls, config: &ServerConfig) {
        for (certificate, facts) in tls.certificates.iter().zip(config.certificates()) {
            self.check_dates(certificate.chain.span, facts);
        }
    }
}

/// Where the mistake stands in the file.
fn span_of(tls: &model::ListenerTls, error: &ConfigError) -> Span {
    let auth = tls.client_auth.as_ref();
    let found = match error.place {
        Place::Certificate(index, part) => tls.certificates.get(index).map(|certificate| match part {
            Part::Key => certificate.key.span,
            Part::Ocsp => certificate.ocsp.as_ref().map_or(certificate.chain.span, |ocsp| ocsp.span),
            Part::Chain | Part::Names => certificate.chain.span,
        }),
        Place::Ca => auth.map(|auth| auth.ca.span),
        Place::Crl => auth.and_then(|auth| auth.crl.first()).map(|crl| crl.span),
        Place::AllowedSan(index) => auth.and_then(|auth| auth.sans.get(index)).map(|san| san.span),
        Place::CipherSuite(index) => tls.cipher_suites.get(index).map(|suite| suite.span),
        Place::Alpn(index) => tls.alpn.as_ref().and_then(|alpn| alpn.get(index)).map(|name| name.span),
        Place::Versions => Some(tls.min_version.span),
        Place::Certificates | Place::ServerName => None,
    };
    // A default stands nowhere in the file.
    found.filter(|span| span.line > 0).unwrap_or(tls.certificates.span)
}
