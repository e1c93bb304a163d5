//! Files and settings of TLS → what cores shake hands with. Made when a config is read, so that `corelane check` finds a
//! key that doesn't belong to its certificate; what hasn't changed since the config before stays the same, with its
//! sessions.

mod clients;
mod files;
mod servers;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use codecs::tls::{
    CertificateFacts, Clock, ConfigError, Part, Place, SanKind, SanMatcher, SanPattern, TicketKeys, Version,
};

use super::diagnostics::{Diagnostic, Diagnostics};
use super::model::{self, File, San, TlsVersion};
use super::source::{Span, Spanned};
use super::values::{OneOrMany, Words};
use crate::snapshot;
use files::{Files, Read};

/// Protocols by their names in ALPN, the preferred first.
type Alpn = &'static [&'static str];

/// What a listener agrees on where the config says nothing.
fn alpn_of_listener(listener: &model::Listener) -> Alpn {
    match &listener.http {
        Some(http) if http.http2.enabled => &["h2", "http/1.1"],
        Some(_) => &["http/1.1"],
        None => &[],
    }
}

/// What is offered to the endpoints of a cluster that HTTP routes go to.
fn alpn_of_cluster(cluster: &model::Cluster) -> Alpn {
    match cluster.protocol {
        model::UpstreamProtocol::Http1 => &["http/1.1"],
        model::UpstreamProtocol::Http2 => &["h2"],
        model::UpstreamProtocol::Auto => &["h2", "http/1.1"],
    }
}

/// What was made of the files that TLS is configured with.
#[derive(Clone, Default)]
pub struct Tls {
    listeners: HashMap<String, Listener>,
    clusters: HashMap<String, Cluster>,
}

#[derive(Clone)]
struct Listener {
    made: Arc<snapshot::ListenerTls>,
    tickets: Option<Arc<TicketKeys>>,
    of: (model::ListenerTls, Alpn),
    read: Vec<Read>,
}

#[derive(Clone)]
struct Cluster {
    made: Arc<snapshot::ClusterTls>,
    of: (model::ClusterTls, Alpn),
    read: Vec<Read>,
}

impl Tls {
    pub(super) fn listener(&self, name: &str) -> Option<Arc<snapshot::ListenerTls>> {
        self.listeners.get(name).map(|listener| Arc::clone(&listener.made))
    }

    pub(super) fn cluster(&self, name: &str) -> Option<Arc<snapshot::ClusterTls>> {
        self.clusters.get(name).map(|cluster| Arc::clone(&cluster.made))
    }

    /// The files that were read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let reads = self.listeners.values().map(|listener| &listener.read);
        reads.chain(self.clusters.values().map(|cluster| &cluster.read)).flatten().map(|read| read.path.as_path())
    }

    /// Whether a file's content is what was read of it.
    pub fn is_as_read(&self, path: &Path) -> bool {
        let now = std::fs::read(path).ok();
        let reads = self.listeners.values().map(|listener| &listener.read);
        let mut reads = reads.chain(self.clusters.values().map(|cluster| &cluster.read)).flatten();
        reads.find(|read| read.path == path).is_none_or(|read| now.as_deref() == Some(read.content.as_slice()))
    }

    /// Keys of tickets, to be rotated by whoever has the clock.
    pub fn tickets(&self) -> impl Iterator<Item = &TicketKeys> {
        self.listeners.values().filter_map(|listener| listener.tickets.as_deref())
    }
}

/// Keys stay out of logs.
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("listeners", &self.listeners.len())
            .field("clusters", &self.clusters.len())
            .finish_non_exhaustive()
    }
}

/// The system's time.
#[derive(Debug)]
struct System;

impl Clock for System {
    fn unix_s(&self) -> u64 {
        unix_s()
    }
}

pub(crate) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reads and makes what `file` has of TLS; files are looked for from the folder of the config called `name`.
pub(super) fn load(file: &File, name: &str, before: &Tls, diagnostics: &mut Diagnostics) -> Tls {
    let folder = Path::new(name).parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let mut loader = Loader { files: Files::new(folder), diagnostics };
    let mut tls = Tls::default();
    for listener in &file.listeners {
        if let Some(settings) = &listener.tls {
            let name = &listener.name.0;
            let made = loader.listener(settings, alpn_of_listener(listener), before.listeners.get(name));
            tls.listeners.extend(made.map(|made| (name.clone(), made)));
        }
    }
    let routes = file.listeners.iter().filter_map(|listener| listener.http.as_ref()).flat_map(|http| &http.routes);
    let http: Vec<&str> = routes.filter_map(|route| route.cluster.as_ref()).map(|name| name.0.as_str()).collect();
    for cluster in &file.clusters {
        if let Some(settings) = &cluster.tls {
            let name = &cluster.name.0;
            let alpn = if http.contains(&name.as_str()) { alpn_of_cluster(cluster) } else { &[] };
            let made = loader.cluster(settings, alpn, before.clusters.get(name));
            tls.clusters.extend(made.map(|made| (name.clone(), made)));
        }
    }
    tls
}

struct Loader<'a> {
    files: Files,
    diagnostics: &'a mut Diagnostics,
}

impl Loader<'_> {
    /// Reports what can't be made of the settings; `span` is where it stands.
    fn refuse(&mut self, span: Span, error: ConfigError) {
        let expected = match error.place {
            Place::Certificates => "at least one certificate",
            Place::Certificate(_, Part::Chain) => {
                "a PEM with the certificate first, then those that lead to its authority"
            }
            Place::Certificate(_, Part::Key) => "a PEM with the private key of the certificate, not encrypted",
            Place::Certificate(_, Part::Ocsp) => "an OCSP response in DER",
            Place::Certificate(_, Part::Names) => "names such as `example.com` and `*.example.com`",
            Place::Ca => "a PEM with certificates of authorities",
            Place::Crl => "a PEM with certificate revocation lists",
            Place::AllowedSan(_) => "a name that a certificate can have",
            Place::CipherSuite(_) => "IANA's name of a cipher suite",
            Place::Versions => "versions with a cipher suite, the lower one first",
            Place::Alpn(_) => "a protocol's name",
            Place::ServerName => "a host name or an IP address",
        };
        self.diagnostics.push(Diagnostic::error(span, error.message).expected(expected));
    }

    /// A file's content; `None` if it can't be read, which has then been reported.
    fn read(&mut self, path: &Spanned<super::FilePath>) -> Option<Vec<u8>> {
        match self.files.read(&path.0) {
            Ok(content) => Some(content),
            Err(error) => {
                let whole = self.files.whole(&path.0);
                let error = Diagnostic::error(path.span, format!("can't read {}: {error}", whole.display()));
                self.diagnostics.push(error.expected("a file that the process can read"));
                None
            }
        }
    }

    /// All of several PEMs in one.
    fn read_all(&mut self, paths: &OneOrMany<Spanned<super::FilePath>>) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        let mut whole = true;
        for path in paths.iter() {
            match self.read(path) {
                Some(content) => {
                    all.extend_from_slice(&content);
                    all.push(b'\n');
                }
                None => whole = false,
            }
        }
        whole.then_some(all)
    }

    /// Warns of a certificate that nobody will take.
    fn check_dates(&mut self, span: Span, facts: &CertificateFacts) {
        let now = unix_s() as i64;
        let (what, when) = match facts {
            facts if facts.not_after_s < now => ("expired", facts.not_after_s),
            facts if facts.not_before_s > now => ("isn't valid before", facts.not_before_s),
            _ => return,
        };
        let mut date = Vec::new();
        codecs::http::h1::emit::date(&mut date, when.max(0) as u64);
        let message = match what {
            "expired" => format!("the certificate expired on {}", String::from_utf8_lossy(&date)),
            what => format!("the certificate {what} {}", String::from_utf8_lossy(&date)),
        };
        self.diagnostics.push(Diagnostic::warning(span, message).help("peers that verify it will refuse it"));
    }
}

const fn version(version: TlsVersion) -> Version {
    match version {
        TlsVersion::Tls12 => Version::Tls12,
        TlsVersion::Tls13 => Version::Tls13,
    }
}

fn suites(names: &OneOrMany<Spanned<Words>>) -> Vec<String> {
    names.iter().map(|name| name.0.clone()).collect()
}

fn matcher(san: &San) -> SanMatcher {
    let kinds = [(SanKind::Dns, &san.dns), (SanKind::Uri, &san.uri), (SanKind::Email, &san.email)];
    let given = kinds.into_iter().find_map(|(kind, text)| Some((kind, text.as_ref()?.0.as_str())));
    let address = || (SanKind::Ip, san.ip.as_ref().map_or("", |ip| ip.0.as_str()));
    let (kind, text) = given.unwrap_or_else(address);
    let pattern = match (text.strip_prefix('*'), text.strip_suffix('*')) {
        (Some(suffix), _) => SanPattern::Suffix(suffix.to_string()),
        (None, Some(prefix)) => SanPattern::Prefix(prefix.to_string()),
        (None, None) => SanPattern::Exact(text.to_string()),
    };
    SanMatcher { kind, pattern }
}
