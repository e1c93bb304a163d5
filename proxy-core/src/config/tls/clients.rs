//! TLS of clusters.

use std::sync::Arc;

use codecs::tls::{Certificate, ClientConfig, ClientSettings, ConfigError, Part, Place, Roots};

use super::{Alpn, Cluster, Loader, System, matcher, suites, version};
use crate::config::diagnostics::Diagnostic;
use crate::config::model;
use crate::config::source::Span;
use crate::config::values::{Fingerprint, Sni};
use crate::snapshot;

/// Where systems keep the authorities that they trust: Debian, Red Hat, SUSE, Alpine.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Sessions that a core keeps for a cluster, to resume them.
const SESSIONS_MAX: usize = 256;

/// What a client's settings are made of.
struct Contents {
    ca: Vec<u8>,
    crl: Vec<u8>,
    certificate: Option<Certificate>,
}

impl Loader<'_> {
    /// `None` after a mistake, which has been reported. `alpn` is offered.
    pub(super) fn cluster(&mut self, tls: &model::ClusterTls, alpn: Alpn, before: Option<&Cluster>) -> Option<Cluster> {
        let contents = self.contents(tls);
        let read = self.files.take();
        let contents = contents?;
        if let Some(before) = before
            && before.of == (tls.clone(), alpn)
            && before.read == read
        {
            self.check_own(tls, &before.made.config);
            return Some(before.clone());
        }
        let made = client_config(tls, alpn, contents);
        match made {
            Ok(config) => {
                self.check_own(tls, &config);
                let made = Arc::new(snapshot::ClusterTls {
                    config,
                    named: tls.sni.as_ref().is_some_and(|sni| sni.name().is_some()),
                    by_host: tls.sni.as_ref().is_some_and(|sni| **sni == Sni::Auto),
                });
                Some(Cluster { made, of: (tls.clone(), alpn), read })
            }
            Err(error) => {
                self.refuse(span_of(tls, &error), error);
                None
            }
        }
    }

    fn contents(&mut self, tls: &model::ClusterTls) -> Option<Contents> {
        let ca = match &tls.ca {
            Some(ca) => self.read(ca),
            None if tls.verify => self.system_roots(tls),
            None => Some(Vec::new()),
        };
        let crl = self.read_all(&tls.crl);
        let certificate = tls.certificate.as_ref().map(|certificate| {
            let (chain, key) = (self.read(&certificate.chain), self.read(&certificate.key));
            Some(Certificate { chain_pem: chain?, key_pem: key?, ..Certificate::default() })
        });
        Some(Contents {
            ca: ca?,
            crl: crl?,
            certificate: match certificate {
                Some(certificate) => Some(certificate?),
                None => None,
            },
        })
    }

    fn system_roots(&mut self, tls: &model::ClusterTls) -> Option<Vec<u8>> {
        let found = SYSTEM_ROOTS.iter().find_map(|path| self.files.read(path).ok());
        if found.is_none() {
            let error = Diagnostic::error(tls.min_version.span, "this system has no list of trusted authorities");
            self.diagnostics.push(error.expected(format!("`ca`, or one of {}", SYSTEM_ROOTS.join(", "))));
        }
        found
    }

    fn check_own(&mut self, tls: &model::ClusterTls, config: &ClientConfig) {
        if let (Some(certificate), Some(facts)) = (&tls.certificate, config.certificate()) {
            self.check_dates(certificate.chain.span, facts);
        }
    }
}

fn client_config(tls: &model::ClusterTls, alpn: Alpn, contents: Contents) -> Result<ClientConfig, ConfigError> {
    let roots = match &tls.ca {
        Some(_) => Roots::from_pem(&contents.ca)?,
        None => Roots::of_system(&contents.ca),
    };
    let settings = ClientSettings {
        crl_pem: contents.crl,
        server_name: tls.sni.as_ref().and_then(|sni| sni.name()).map(str::to_owned),
        allowed_sans: tls.sans.iter().map(|san| matcher(san)).collect(),
        pinned: tls.pinned.iter().map(Fingerprint::bytes).collect(),
        verify: tls.verify,
        certificate: contents.certificate,
        alpn: alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
        min_version: version(*tls.min_version),
        max_version: version(tls.max_version),
        tickets_max: if tls.session_resumption { SESSIONS_MAX } else { 0 },
        post_quantum: tls.post_quantum,
        cipher_suites: suites(&tls.cipher_suites),
        ..ClientSettings::new(roots)
    };
    ClientConfig::new(&settings, Arc::new(System))
}

/// Where the mistake stands in the file.
fn span_of(tls: &model::ClusterTls, error: &ConfigError) -> Span {
    let certificate = tls.certificate.as_ref();
    let found = match error.place {
        Place::Certificate(_, Part::Key) => certificate.map(|certificate| certificate.key.span),
        Place::Certificate(..) | Place::Certificates => certificate.map(|certificate| certificate.chain.span),
        Place::Ca => tls.ca.as_ref().map(|ca| ca.span),
        Place::Crl => tls.crl.first().map(|crl| crl.span),
        Place::AllowedSan(index) => tls.sans.get(index).map(|san| san.span),
        Place::CipherSuite(index) => tls.cipher_suites.get(index).map(|suite| suite.span),
        Place::ServerName => tls.sni.as_ref().map(|name| name.span),
        Place::Versions | Place::Alpn(_) => None,
    };
    found.unwrap_or(tls.min_version.span)
}
