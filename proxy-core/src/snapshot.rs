//! What the cores read: one immutable value per accepted config, indexed by small ids.
//!
//! `config::compile` makes it, `control::rollout` sends one `Arc` of it to each core, and the core reconciles its live
//! state with it by name. A snapshot that reaches a core can't fail: every check has been made by then.
//! Durations are milliseconds; `0` means "off" wherever a field's comment says so.

use std::net::SocketAddr;
use std::sync::Arc;

/// One accepted config, whole.
pub struct Snapshot {
    /// Counts up with each accepted config or endpoint change, from 1.
    pub version: u64,
    pub listeners: Vec<Arc<Listener>>,
    /// Indexed by `ClusterId`.
    pub clusters: Vec<Arc<Cluster>>,
    /// Access logs that listeners write to, indexed by `LogId`.
    pub logs: Vec<Arc<crate::log::Spec>>,
    /// How long a drain may take before what is left is cut off.
    pub drain_timeout_ms: u64,
    /// Downstream connections at once over all listeners and cores; 0 = unlimited.
    pub connections_max: u32,
    pub overload: Overload,
}

/// From which pressure on, in percent, what is done; 0 = never.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Overload {
    /// Resident memory that counts as 100 percent, beside the bounds of control groups.
    pub memory_max: Option<u64>,
    pub disable_keepalive_percent: u32,
    pub stop_accepting_percent: u32,
    pub shed_requests_percent: u32,
}

impl Snapshot {
    /// What a core runs before its first config: nothing.
    pub(crate) fn empty() -> Snapshot {
        Snapshot {
            version: 0,
            listeners: Vec::new(),
            clusters: Vec::new(),
            logs: Vec::new(),
            drain_timeout_ms: 0,
            connections_max: 0,
            overload: Overload::default(),
        }
    }
}

pub type ClusterId = u32;
pub type LogId = u32;

pub struct Listener {
    pub name: String,
    pub address: SocketAddr,
    pub backlog: u32,
    /// Downstream connections at once over all cores; 0 = unlimited.
    pub connections_max: u32,
    /// Expect a PROXY protocol header (v1 or v2) first on every connection.
    pub proxy_protocol: bool,
    /// How long the PROXY header (and later other first bytes) may take.
    pub first_bytes_timeout_ms: u64,
    /// Clients speak TLS. The same `Arc` as before where nothing has changed.
    pub tls: Option<Arc<ListenerTls>>,
    pub stats: Arc<crate::stats::Block>,
    pub serve: Serve,
}

impl Listener {
    /// Whether it is of the same kind of service as another, and so can go on with its socket.
    pub fn serves_like(&self, other: &Listener) -> bool {
        std::mem::discriminant(&self.serve) == std::mem::discriminant(&other.serve)
    }
}

#[derive(Debug)]
pub struct ListenerTls {
    /// Each core makes its own copy.
    pub config: codecs::tls::ServerConfig,
    /// 0 = off.
    pub handshake_timeout_ms: u64,
    /// Connections that don't begin with TLS are served as they are.
    pub allow_plain: bool,
}

#[derive(Debug)]
pub struct ClusterTls {
    /// Each core makes its own copy.
    pub config: codecs::tls::ClientConfig,
    /// The config says the server's name; otherwise it is the endpoint's.
    pub named: bool,
    /// Each request says it with its Host (`sni: auto`).
    pub by_host: bool,
}

#[expect(clippy::large_enum_variant, reason = "one a listener; a box would cost each request a hop")]
pub enum Serve {
    Http(Http),
    Tcp(Tcp),
}

pub struct Tcp {
    pub cluster: ClusterId,
    /// Clusters by the server name that a client asks for, before `cluster`; `None`: nobody looks.
    pub sni: Option<SniTable>,
    /// Nothing in either direction for this long closes both sides; 0 = off.
    pub idle_timeout_ms: u64,
    /// Connect attempts, each at an endpoint picked anew.
    pub connect_attempts_max: u32,
    pub access_logs: Vec<LogId>,
    pub stats: Arc<crate::stats::Block>,
}

/// Exact names, then the longest suffix, then any name.
#[derive(Debug, Default)]
pub struct SniTable {
    /// Lower case.
    pub exact: std::collections::HashMap<Box<str>, ClusterId>,
    /// (".example.com", cluster), longest first.
    pub suffix: Vec<(Box<str>, ClusterId)>,
    pub any: Option<ClusterId>,
}

impl SniTable {
    pub fn find(&self, name: &str) -> Option<ClusterId> {
        let suffix = || self.suffix.iter().find(|(suffix, _)| name.ends_with(&**suffix)).map(|(_, cluster)| *cluster);
        self.exact.get(name).copied().or_else(suffix).or(self.any)
    }
}

pub struct Http {
    pub routes: RouteTable,
    pub limits: HttpLimits,
    /// Keep-alive connection without a request; 0 = off.
    pub idle_timeout_ms: u64,
    /// From the first byte of a request to the end of its head; 0 = off.
    pub header_timeout_ms: u64,
    /// From the first byte of a request to the end of its body; 0 = off.
    pub request_timeout_ms: u64,
    /// No byte in either direction of an exchange for this long; 0 = off.
    pub stream_idle_timeout_ms: u64,
    /// Longest life of a downstream connection, then it is drained; 0 = off.
    pub connection_duration_max_ms: u64,
    /// Requests on one downstream connection, then it is closed; 0 = unlimited.
    pub requests_per_connection_max: u64,
    pub http2: Http2,
    /// What is done to paths before routes see them.
    pub paths: codecs::http::PathRules,
    /// Translate gRPC-Web.
    pub grpc_web: bool,
    pub forwarding: Forwarding,
    /// Accept HTTP/1.0 requests.
    pub http10: bool,
    /// Refuse CONNECT unless set.
    pub connect: bool,
    /// Upgrade protocols passed on as a tunnel, lower case ("websocket"); empty refuses all.
    pub upgrades: Vec<String>,
    /// Value of the `server` response field; `None` passes the upstream's on.
    pub server_name: Option<String>,
    pub access_logs: Vec<LogId>,
    pub stats: Arc<crate::stats::Block>,
}

/// When the peer of an HTTP/2 connection is asked whether it is still there.
pub struct Keepalive {
    /// Silence after which a PING is sent; 0 = off.
    pub interval_ms: u64,
    /// How long the answer may take.
    pub timeout_ms: u64,
}

/// What HTTP/2 clients may do.
pub struct Http2 {
    pub keepalive: Keepalive,
    pub enabled: bool,
    /// How long our SETTINGS may go unacknowledged; 0 = for ever.
    pub settings_timeout_ms: u64,
    pub limits: codecs::http::h2::Limits,
}

pub struct HttpLimits {
    pub head_bytes_max: u32,
    pub fields_max: u32,
    pub request_line_bytes_max: u32,
    pub chunk_line_bytes_max: u32,
    pub trailer_bytes_max: u32,
}

pub struct Forwarding {
    /// The client is the peer of the connection (edge); otherwise the rightmost x-forwarded-for entry is trusted.
    pub use_remote_address: bool,
    /// How many proxies in front of us are trusted.
    pub trusted_hops: u32,
    /// Don't append to x-forwarded-for.
    pub skip_xff_append: bool,
    pub generate_request_id: bool,
    /// Keep an x-request-id that comes from outside.
    pub preserve_external_request_id: bool,
    /// Name to add as `via`, both ways.
    pub via: Option<String>,
    pub client_cert: ClientCert,
    pub client_cert_details: codecs::tls::xfcc::Details,
}

/// What becomes of `x-forwarded-client-cert`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClientCert {
    /// Dropped.
    #[default]
    Sanitize,
    /// Passed on if the client has shown a certificate.
    ForwardOnly,
    /// The same, with the client's own appended.
    AppendForward,
    /// Replaced by the client's own.
    SanitizeSet,
    /// Passed on, whoever sent it.
    AlwaysForwardOnly,
}

/// Routes of one listener. A host's candidates are its own routes, then those of its longest matching suffixes,
/// then those for any host, each in file order; the first that matches wins.
pub struct RouteTable {
    pub routes: Vec<Arc<Route>>,
    /// Lower-case host without port → indices into `routes`, already merged with suffix and any-host routes.
    pub exact: std::collections::HashMap<Box<str>, Box<[u32]>>,
    /// (".example.com", merged indices), longest first.
    pub suffix: Vec<(Box<str>, Box<[u32]>)>,
    pub any: Box<[u32]>,
}

pub struct Route {
    pub name: String,
    pub path: PathMatch,
    /// Empty = any method.
    pub methods: Vec<String>,
    pub headers: Vec<HeaderMatch>,
    pub query: Vec<QueryMatch>,
    pub action: Action,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
}

pub enum PathMatch {
    /// Path starts with this.
    Prefix(String),
    Exact(String),
    /// The whole path (without query) matches.
    Regex(regex::bytes::Regex),
}

pub struct HeaderMatch {
    /// Lower case; ":authority", ":method" and ":path" too.
    pub name: String,
    pub value: ValueMatch,
    pub invert: bool,
}

pub struct QueryMatch {
    /// As it stands in the request, percent-encoded.
    pub name: String,
    pub value: ValueMatch,
    pub invert: bool,
}

pub enum ValueMatch {
    Present,
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(regex::bytes::Regex),
}

pub enum Action {
    Forward(Forward),
    Redirect(Redirect),
    Direct(Direct),
}

pub struct Forward {
    pub cluster: ClusterId,
    /// From the end of the request to the end of the response, all tries together; 0 = off.
    pub timeout_ms: u64,
    /// Overrides the listener's stream idle timeout; `None` keeps it, `Some(0)` = off.
    pub idle_timeout_ms: Option<u64>,
    /// Replaces the matched prefix (or the whole path for `Exact` and `Regex`).
    pub prefix_rewrite: Option<String>,
    /// Replaces Host.
    pub host_rewrite: Option<String>,
    pub retry: Option<Retry>,
}

/// When a request that failed is sent again.
pub struct Retry {
    pub on: RetryOn,
    /// Statuses of responses.
    pub statuses: Vec<u16>,
    /// Statuses of gRPC; a bit each.
    pub call_statuses: u32,
    /// Tries beside the first.
    pub attempts: u32,
    /// From the end of the request to the first of the response that is passed on, each try; 0 = off.
    pub per_try_timeout_ms: u64,
    /// A request with a longer body is sent once only.
    pub buffer_bytes_max: u32,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent of each other, as in the file")]
pub struct RetryOn {
    pub connect_failure: bool,
    pub refused_stream: bool,
    pub reset: bool,
    pub gateway_error: bool,
    pub server_error: bool,
}

pub struct Redirect {
    pub status: u16,
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<String>,
    pub prefix_rewrite: Option<String>,
    pub strip_query: bool,
}

pub struct Direct {
    pub status: u16,
    pub body: Vec<u8>,
    /// Value of content-type.
    pub content_type: String,
}

#[derive(Default)]
pub struct HeaderEdits {
    /// Applied in this order: remove, then set, then add. Names are lower case.
    pub remove: Vec<String>,
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
}

pub struct Cluster {
    pub name: String,
    pub balance: Balance,
    pub endpoints: Vec<Arc<Endpoint>>,
    pub connect_timeout_ms: u64,
    /// Idle upstream connection; 0 = off.
    pub idle_timeout_ms: u64,
    /// Keep-alive connections kept idle for each core and endpoint.
    pub idle_connections_max: u32,
    /// Requests on one upstream connection, then it is closed; 0 = unlimited.
    pub requests_per_connection_max: u64,
    pub protocol: Protocol,
    pub keepalive: Keepalive,
    /// Streams of one HTTP/2 connection at once.
    pub concurrent_streams_max: u32,
    /// How long an HTTP/2 endpoint may leave our SETTINGS unacknowledged; 0 = for ever.
    pub http2_settings_timeout_ms: u64,
    /// What an HTTP/2 endpoint may do.
    pub http2_limits: codecs::http::h2::Limits,
    pub breaker: Breaker,
    /// Send a PROXY protocol header to endpoints.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Speak TLS to endpoints. The same `Arc` as before where nothing has changed.
    pub tls: Option<Arc<ClusterTls>>,
    /// Limits on response heads.
    pub limits: HttpLimits,
    pub stats: Arc<crate::stats::Block>,
}

impl Cluster {
    /// Whether connections made for `other` are good for this cluster.
    pub(crate) fn connects_like(&self, other: &Cluster) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (one, two) => one.is_none() && two.is_none(),
        };
        same_tls && self.protocol == other.protocol
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balance {
    RoundRobin,
    LeastRequest { choices: u32 },
    Random,
}

/// What endpoints speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Http1,
    Http2,
    /// As the TLS handshake says.
    Auto,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyVersion {
    V1,
    V2,
}

/// Bounds of a cluster over all cores (each core holds its share of them).
pub struct Breaker {
    pub connections_max: u32,
    pub pending_max: u32,
    pub requests_max: u32,
    pub retries_max: u32,
}

pub struct Endpoint {
    /// As written in the config ("db.internal:9001").
    pub name: String,
    pub address: SocketAddr,
    pub weight: u32,
    pub stats: Arc<crate::stats::Block>,
}
