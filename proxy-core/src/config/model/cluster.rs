//! Clusters: endpoints and how to use them.

use super::{ClusterTls, Rate};
use crate::config::diagnostics::Diagnostic;
use crate::config::reader::{Reader, Value};
use crate::config::record::{choice, record};
use crate::config::shape::{Shape, Shapes};
use crate::config::source::Spanned;
use crate::config::values::{ByteCount, Duration, EndpointAddress, Int, Name, OneOrMany};
use crate::config::yaml::{self, Node};

record! {
    /// Endpoints that do the same work, and how they are used.
    pub struct Cluster as "cluster", "a cluster", "clusters";
    check check_cluster;
    {
        /// Unique among clusters; what routes refer to, and part of counter names.
        name: Spanned<Name> = required,
        /// How an endpoint is picked.
        balance: BalancePolicy = "round_robin",
        /// With `least_request`: endpoints drawn at random for each pick, of which the one with the fewest requests
        /// wins.
        choices: Int<2, 100> = "2",
        /// The endpoints: an address each, or a mapping with `address` and `weight`. At least one.
        endpoints: OneOrMany<Spanned<Endpoint>> = required,
        /// How long a connection to an endpoint may take to come up; then 503.
        connect_timeout: Duration = "5s",
        /// An idle connection to an endpoint; it is closed. `0s` turns it off.
        idle_timeout: Duration = "1h",
        /// Idle connections kept for each core and endpoint; more are closed.
        idle_connections_max: Int<0, 1_000_000> = "1024",
        /// Requests on one connection, then it is closed. 0 is unlimited.
        requests_per_connection_max: Int<0, { u32::MAX as u64 }> = "0",
        /// What endpoints speak.
        protocol: UpstreamProtocol = "http1",
        /// With HTTP/2: streams of one connection at once, if the endpoint allows as many; more take another connection.
        concurrent_streams_max: Int<1, { i32::MAX as u64 }> = "1024",
        /// With HTTP/2: silence of an endpoint that owes responses after which it is sent a PING; `0s` turns it off.
        keepalive_interval: Duration = "0s",
        /// How long an endpoint may take to answer it, with whatever it sends; then the connection is given up.
        keepalive_timeout: Duration = "20s",
        /// With HTTP/2: what an endpoint may do.
        http2: UpstreamHttp2 = "{}",
        /// How much may be under way at once.
        breaker: BreakerBounds = "{}",
        /// How large responses may be, bodies apart.
        limits: ResponseLimits = "{}",
        /// Speak TLS to endpoints.
        tls: Option<ClusterTls> = optional,
        /// Send a PROXY protocol header with the client's address first on every connection to an endpoint, in the clear
        /// before TLS where there is TLS.
        proxy_protocol: Option<ProxyHeader> = optional,
        /// How often endpoint names are resolved anew, where DNS names no lifetime.
        dns_refresh: Duration = "5s",
    }
}

fn check_cluster(cluster: &Cluster, node: &Node, reader: &mut Reader<'_>) {
    let at = |name: &str| node.get(name).map_or(node.span, |field| field.span);
    if node
        .get("endpoints")
        .is_some_and(|endpoints| matches!(&endpoints.shape, yaml::Shape::Sequence(items) if items.is_empty()))
    {
        let error = Diagnostic::error(at("endpoints"), format!("cluster `{}` has no endpoints", cluster.name.0));
        reader.push(error.expected("at least one address"));
    }
    if cluster.connect_timeout.ms == 0 {
        let error = Diagnostic::error(at("connect_timeout"), "a connect timeout can't be turned off");
        reader.push(error.expected("at least `1ms`"));
    }
    if cluster.dns_refresh.ms < 100 {
        let error = Diagnostic::error(at("dns_refresh"), format!("{} is too short", cluster.dns_refresh));
        reader.push(error.expected("at least `100ms`"));
    }
    if node.get("choices").is_some() && cluster.balance != BalancePolicy::LeastRequest {
        let message = format!("`choices` has no effect with `balance: {}`", cluster.balance.name());
        reader.push(Diagnostic::warning(at("choices"), message).help("it belongs to `balance: least_request`"));
    }
    if cluster.proxy_protocol.is_some() && cluster.protocol != UpstreamProtocol::Http1 {
        let message = "`proxy_protocol` names one client, and HTTP/2 connections carry many clients' requests";
        reader.push(
            Diagnostic::error(at("proxy_protocol"), message).expected("`protocol: http1`, or no `proxy_protocol`"),
        );
    }
    let mut seen: std::collections::HashMap<&EndpointAddress, crate::config::Span> = std::collections::HashMap::new();
    for endpoint in cluster.endpoints.iter() {
        if let Some(first) = seen.insert(&endpoint.address, endpoint.span) {
            let message = format!("endpoint {} is listed twice in cluster `{}`", endpoint.address, cluster.name.0);
            let warning = Diagnostic::warning(endpoint.span, message).note("first listed here", first);
            reader.push(warning.help("to give it a larger share, use `weight`"));
        }
    }
}

choice! {
    /// How an endpoint is picked.
    pub enum BalancePolicy, "a balancing policy", "balancing policies" {
        /// Each in turn, as often as its weight says.
        RoundRobin = "round_robin",
        /// The less busy of a few drawn at random, weighted.
        LeastRequest = "least_request",
        /// At random, weighted.
        Random = "random",
    }
}

choice! {
    /// What endpoints speak.
    pub enum UpstreamProtocol, "a protocol", "protocols" {
        /// HTTP/1.1, a request at a time on each connection.
        Http1 = "http1",
        /// HTTP/2, known beforehand: many requests share a few connections.
        Http2 = "http2",
        /// HTTP/2 if the endpoint chooses it in the TLS handshake (ALPN), else HTTP/1.1.
        Auto = "auto",
    }
}

choice! {
    /// Version of the PROXY protocol.
    pub enum ProxyHeader, "a version of the PROXY protocol", "versions" {
        /// Text.
        V1 = "v1",
        /// Binary.
        V2 = "v2",
    }
}

record! {
    /// What an HTTP/2 endpoint may do.
    pub struct UpstreamHttp2 as "upstream_http2", "the HTTP/2 settings of a cluster", "HTTP/2 settings of clusters";
    {
        /// Bytes of one response that are received before they are passed on.
        stream_window: ByteCount<65_535, 0x7fff_ffff> = "256KiB",
        /// How long an endpoint may take to acknowledge our SETTINGS; then the connection is given up (SETTINGS_TIMEOUT).
        /// `0s` turns it off.
        settings_timeout: Duration = "20s",
        /// A header block before it is decoded, over all its frames; beyond it the connection is given up.
        header_block_bytes_max: ByteCount<0x4000, 0x100_0000> = "128KiB",
        /// CONTINUATION frames of one header block; beyond them the connection is given up.
        continuation_frames_max: Int<1, 10_000> = "32",
        /// Replies (to SETTINGS, PING, errors) that the endpoint hasn't read; beyond them the connection is given up.
        replies_max: Int<10, 1_000_000> = "1000",
        /// How often an endpoint may do what costs us and brings nothing; then the connection is given up.
        budgets: UpstreamHttp2Budgets = "{}",
    }
}

record! {
    /// How often an HTTP/2 endpoint may do what costs us and brings nothing. Useful work gives it back.
    pub struct UpstreamHttp2Budgets as "upstream_http2_budgets", "the HTTP/2 budgets of a cluster",
        "HTTP/2 budgets of clusters";
    {
        /// Streams that we had to reset for an error of the endpoint's.
        stream_errors: Rate = "{ burst: 100, per_sec: 10 }",
        /// SETTINGS.
        settings: Rate = "{ burst: 32, per_sec: 2 }",
        /// PING.
        pings: Rate = "{ burst: 100, per_sec: 10 }",
        /// DATA without payload.
        empty_data: Rate = "{ burst: 100, per_sec: 10 }",
        /// PRIORITY.
        priorities: Rate = "{ burst: 200, per_sec: 20 }",
        /// WINDOW_UPDATE, beyond four for each DATA frame that is sent.
        window_updates: Rate = "{ burst: 1000, per_sec: 100 }",
        /// Frames without effect.
        ignored: Rate = "{ burst: 1000, per_sec: 100 }",
    }
}

record! {
    /// How much of a cluster may be under way at once, over all cores; each core holds its share. Requests over
    /// `connections_max` wait for a connection; those over the other two bounds are answered with 503. The defaults are
    /// above Envoy's 1024, which answer ordinary bursts with 503.
    pub struct BreakerBounds as "breaker", "the breaker", "breakers";
    {
        /// Connections.
        connections_max: Int<1, { u32::MAX as u64 }> = "10000",
        /// Requests that wait for a connection.
        pending_max: Int<1, { u32::MAX as u64 }> = "100000",
        /// Requests.
        requests_max: Int<1, { u32::MAX as u64 }> = "100000",
        /// Retries that routes ask for; beyond them a failure is passed on.
        retries_max: Int<1, { u32::MAX as u64 }> = "3",
    }
}

record! {
    /// Bounds of what is read of a response, bodies apart; beyond them the client gets 502.
    pub struct ResponseLimits as "response_limits", "the response limits", "response limits";
    {
        /// The status line and all headers.
        head_bytes_max: ByteCount<1024, 0x10_0000> = "60KiB",
        /// Headers.
        fields_max: Int<1, 10_000> = "100",
        /// A chunk's size line with its extensions.
        chunk_line_bytes_max: ByteCount<16, 0x1_0000> = "4KiB",
        /// All trailers after a chunked body.
        trailer_bytes_max: ByteCount<0, 0x10_0000> = "8KiB",
    }
}

record! {
    /// One endpoint. Short: just the address.
    pub struct FullEndpoint as "endpoint", "an endpoint", "endpoints";
    {
        /// IP address or host name, and port. Every address of a name is an endpoint.
        address: EndpointAddress = required,
        /// Its share of the work compared with the others.
        weight: Int<1, 65_535> = "1",
    }
}

/// An endpoint as written short or in full.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub address: EndpointAddress,
    pub weight: u32,
}

impl Value for Endpoint {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.shape {
            yaml::Shape::Mapping(_) => {
                let full = FullEndpoint::read(node, reader)?;
                Some(Endpoint { address: full.address, weight: full.weight.u32() })
            }
            _ => Some(Endpoint { address: EndpointAddress::read(node, reader)?, weight: 1 }),
        }
    }

    fn shape(shapes: &mut Shapes) -> Shape {
        let (short, full) = (EndpointAddress::shape(shapes), FullEndpoint::shape(shapes));
        let schema = serde_json::json!({ "anyOf": [short.schema, full.schema] });
        Shape::new(format!("{}, or a mapping with `address` and `weight`", short.one), "endpoints", schema)
    }
}

impl serde::Serialize for Endpoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("address", &self.address)?;
        map.serialize_entry("weight", &self.weight)?;
        map.end()
    }
}
