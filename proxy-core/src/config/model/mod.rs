//! The config file as types. Every field is declared once, here and in the files beside, with its documentation and
//! default; the reader, the JSON Schema and the tables of docs/configuration.md all come from these declarations.

mod cluster;
mod listener;
mod log;
mod overload;
mod route;
mod tls;

pub use cluster::{
    BalancePolicy, BreakerBounds, Cluster, Endpoint, FullEndpoint, ProxyHeader, ResponseLimits, UpstreamHttp2,
    UpstreamHttp2Budgets, UpstreamProtocol,
};
pub use listener::{
    EscapedSlashes, Forwarding, Http, Http2, Http2Budgets, HttpLimits, HttpTimeouts, Listener, PathParameters, Paths,
    Rate, RequestId, Tcp,
};
pub use log::{AccessLog, FullAccessLog, LogFormat};
pub use overload::Overload;
pub use route::{
    Fields, HeaderEdits, HeaderMatch, QueryMatch, Redirect, Respond, Retry, RetryCallStatus, RetryCause, Route,
    RouteMatch, Scheme,
};
pub use tls::{
    Certificate, ClientAuth, ClientAuthMode, ClientCertDetail, ClientCertHeader, ClientCertificate, ClusterTls,
    ListenerTls, San, SniRoute, TlsVersion,
};

use std::sync::{Arc, OnceLock};

use super::reader::Value as _;
use super::record::{Record, record};
use super::shape::Shapes;
use super::source::{Source, Spanned};
use super::values::{Address, Duration, Int, OneOrMany};

record! {
    /// The whole file.
    pub struct File as "file", "the file", "files";
    {
        /// The admin API: counters, health, config, drain.
        admin: Admin = "{}",
        /// Access logs of every listener that doesn't say otherwise. Without any, requests aren't logged.
        access_log: OneOrMany<AccessLog> = "[]",
        /// How long a graceful stop waits for what is under way before it cuts it off.
        drain_timeout: Duration = "10m",
        /// Connections of clients open at once over all listeners and cores; more are closed at once. 0 is unlimited.
        connections_max: Int<0, { u32::MAX as u64 }> = "0",
        /// What to do when descriptors or memory run out.
        overload: Overload = "{}",
        /// Where connections come in. At least one.
        listeners: Vec<Listener> = required,
        /// Where requests and connections go.
        clusters: Vec<Cluster> = "[]",
    }
}

record! {
    /// The admin API.
    pub struct Admin as "admin", "the admin API", "admin APIs";
    {
        /// Where it listens. Whoever reaches it can stop the process: keep it on loopback.
        address: Spanned<Address> = "127.0.0.1:9901",
    }
}

/// A config file as written: read, checked in itself, not yet compiled. Serialises to JSON that is a config again.
#[derive(Clone, Debug)]
pub struct Model {
    pub file: File,
    /// For messages of what comes after reading.
    pub(super) source: Arc<Source>,
    /// What works but probably isn't meant.
    pub(super) warnings: super::Diagnostics,
    /// What was made of the files that TLS is configured with.
    pub(super) tls: super::Tls,
}

impl Model {
    /// What works but probably isn't meant, to be shown to whoever loads the file.
    pub fn warnings(&self) -> &super::Diagnostics {
        &self.warnings
    }

    /// What was made of the files that TLS is configured with.
    pub fn tls(&self) -> &super::Tls {
        &self.tls
    }

    /// The name that the file was read by.
    pub fn name(&self) -> &str {
        &self.source.name
    }
}

impl std::ops::Deref for Model {
    type Target = File;
    fn deref(&self) -> &File {
        &self.file
    }
}

impl serde::Serialize for Model {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.file.serialize(serializer)
    }
}

/// Every kind of mapping that a config can contain, the file first.
pub(crate) fn records() -> &'static [&'static Record] {
    static RECORDS: OnceLock<Vec<&'static Record>> = OnceLock::new();
    RECORDS.get_or_init(|| {
        let mut shapes = Shapes::default();
        File::shape(&mut shapes);
        shapes.records
    })
}
