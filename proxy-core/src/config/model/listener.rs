//! Listeners and how they serve.

use super::{AccessLog, ClientCertDetail, ClientCertHeader, ListenerTls, Route, SniRoute};
use crate::config::record::{choice, record};
use crate::config::source::Spanned;
use crate::config::values::{Address, ByteCount, ClusterName, Duration, FieldValue, Int, Name, OneOrMany, TokenText};

record! {
    /// Accepts connections on an address, on every core.
    pub struct Listener as "listener", "a listener", "listeners";
    one_of ["http", "tcp"];
    {
        /// Unique among listeners; part of counter names.
        name: Spanned<Name> = required,
        /// IP address and port to listen on.
        address: Spanned<Address> = required,
        /// Connections that the kernel holds for each core until they are accepted; the system's `somaxconn` bounds it.
        backlog: Int<1, 65_535> = "4096",
        /// Connections open at once over all cores; more are closed at once. 0 is unlimited.
        connections_max: Int<0, { u32::MAX as u64 }> = "0",
        /// Expect a PROXY protocol header (version 1 or 2) first on every connection, and take the client's address
        /// from it. Only for listeners that nothing but a trusted proxy can reach.
        proxy_protocol: bool = "false",
        /// How long the first bytes (the PROXY protocol header, what tells TLS from plain, the server name) may take; then
        /// the connection is closed.
        first_bytes_timeout: Duration = "15s",
        /// Clients speak TLS.
        tls: Option<ListenerTls> = optional,
        /// Serve HTTP.
        http: Option<Http> = optional,
        /// Pass bytes on.
        tcp: Option<Tcp> = optional,
    }
}

record! {
    /// Passes a connection's bytes to an endpoint of a cluster and back.
    pub struct Tcp as "tcp", "a TCP service", "TCP services";
    {
        /// The cluster that connections go to.
        cluster: Spanned<ClusterName> = required,
        /// Clusters for connections whose client asks for these server names, by TLS; others go to `cluster`. TLS
        /// itself is passed on, unless the listener has `tls`.
        sni: Vec<SniRoute> = "[]",
        /// Without a byte in either direction for this long both sides are closed. `0s` turns it off.
        idle_timeout: Duration = "1h",
        /// Connect attempts for one connection, each at an endpoint picked anew.
        connect_attempts_max: Int<1, 100> = "1",
        /// Access logs of this listener, instead of the file's. `[]` is none.
        access_log: Option<OneOrMany<AccessLog>> = optional,
    }
}

record! {
    /// Serves HTTP and passes requests on by its routes.
    pub struct Http as "http", "an HTTP service", "HTTP services";
    {
        /// What to do with a request. Routes for the request's host come first, then those for the longest suffix of
        /// it, then those for any host; among these the first that matches, in the order of the file. A request that
        /// no route matches is answered with 404.
        routes: Vec<Route> = required,
        /// How long clients may take.
        timeouts: HttpTimeouts = "{}",
        /// How large requests may be, bodies apart.
        limits: HttpLimits = "{}",
        /// What is made of paths before routes see them.
        paths: Paths = "{}",
        /// HTTP/2, which clients speak who begin with its preface.
        http2: Http2 = "{}",
        /// Translate gRPC-Web (`application/grpc-web`, and `-text` for base64) to gRPC for upstreams, and back.
        grpc_web: bool = "false",
        /// Who the client is, and what upstreams are told of it.
        forwarding: Forwarding = "{}",
        /// Accept HTTP/1.0 requests; otherwise they are refused with 426.
        http10: bool = "true",
        /// Accept CONNECT requests and make them tunnels; otherwise they are refused.
        connect: bool = "false",
        /// Protocols that a client may upgrade to. Others are refused with 403, but for `h2c`, an offer that is ignored.
        upgrades: OneOrMany<TokenText> = "[websocket]",
        /// Value of the `server` header in responses. Without it the upstream's is passed on.
        server_name: Option<FieldValue> = optional,
        /// Requests on one connection, then it is closed. 0 is unlimited.
        requests_per_connection_max: Int<0, { u32::MAX as u64 }> = "0",
        /// Access logs of this listener, instead of the file's. `[]` is none.
        access_log: Option<OneOrMany<AccessLog>> = optional,
    }
}

record! {
    /// How long HTTP clients may take. `0s` turns a timeout off.
    pub struct HttpTimeouts as "http_timeouts", "the HTTP timeouts", "HTTP timeouts";
    {
        /// A keep-alive connection without a request; it is closed.
        idle: Duration = "1h",
        /// From the first byte of a request to the end of its head; then 408.
        header: Duration = "60s",
        /// From the first byte of a request to the end of its body; then 408.
        request: Duration = "0s",
        /// A request, from its first byte on, and its response without a byte in either direction; then 408, or 504 once
        /// the request is complete.
        stream_idle: Duration = "5m",
        /// A connection's age at which it is drained: the request under way is its last.
        connection_duration_max: Duration = "0s",
    }
}

record! {
    /// Bounds of what is read of a request, bodies apart.
    pub struct HttpLimits as "http_limits", "the HTTP limits", "HTTP limits";
    {
        /// The request line and all headers; then 431.
        head_bytes_max: ByteCount<1024, 0x10_0000> = "60KiB",
        /// Headers; then 431.
        fields_max: Int<1, 10_000> = "100",
        /// The request line; then 414.
        request_line_bytes_max: ByteCount<64, 0x10_0000> = "8KiB",
        /// A chunk's size line with its extensions; then 400.
        chunk_line_bytes_max: ByteCount<16, 0x1_0000> = "4KiB",
        /// All trailers after a chunked body; then 431.
        trailer_bytes_max: ByteCount<0, 0x10_0000> = "8KiB",
    }
}

record! {
    /// What is made of a request's path before routes see it. What they see is what is forwarded. Queries are never
    /// touched.
    pub struct Paths as "paths", "the path rules", "path rules";
    {
        /// Resolve `.` and `..`, escaped or not; decode letters, digits and `-._~`; write other escapes in upper case; take
        /// `\` for `/`. A path that climbs above the root or has no single meaning (`%` without two hexadecimal digits,
        /// `%00`, overlong UTF-8, `..;`) is refused with 400.
        normalize: bool = "true",
        /// Make one of several slashes in a row.
        merge_slashes: bool = "true",
        /// What becomes of `%2F` and `%5C`.
        escaped_slashes: EscapedSlashes = "redirect",
        /// What becomes of `;` and what follows it in a segment, which some servers take off before they look.
        parameters: PathParameters = "keep",
    }
}

choice! {
    /// What becomes of escaped slashes.
    pub enum EscapedSlashes, "a way to treat escaped slashes", "ways to treat escaped slashes" {
        /// They stay as they are. With `normalize`, those beside a dot segment (`..%2f`) are refused with 400.
        Keep = "keep",
        /// Refused with 400.
        Reject = "reject",
        /// They become slashes, before anything else is done.
        Unescape = "unescape",
        /// The same, and the client is sent there with 307; calls of gRPC are refused.
        Redirect = "redirect",
    }
}

choice! {
    /// What becomes of path parameters.
    pub enum PathParameters, "a way to treat path parameters", "ways to treat path parameters" {
        /// They stay as they are.
        Keep = "keep",
        /// Refused with 400.
        Reject = "reject",
    }
}

record! {
    /// What an HTTP/2 client may have under way.
    pub struct Http2 as "http2", "the HTTP/2 settings", "HTTP/2 settings";
    {
        /// Speak HTTP/2 with clients that begin with its preface.
        enabled: bool = "true",
        /// Streams of a connection at once.
        concurrent_streams_max: Int<1, { i32::MAX as u64 }> = "128",
        /// Bytes of one request's body that are received before they are passed on.
        stream_window: ByteCount<65_535, 0x7fff_ffff> = "256KiB",
        /// The same for all requests of a connection together. Without it there is room for all of them
        /// (`concurrent_streams_max` times `stream_window`): with less, uploads that endpoints don't read can stop others.
        connection_window: Option<ByteCount<65_535, 0x7fff_ffff>> = optional,
        /// Silence after which a client is sent a PING; `0s` turns it off.
        keepalive_interval: Duration = "0s",
        /// How long a client may take to answer it, with whatever it sends; then the connection is closed.
        keepalive_timeout: Duration = "20s",
        /// How long a client may take to acknowledge our SETTINGS; then the connection is closed (SETTINGS_TIMEOUT). `0s`
        /// turns it off.
        settings_timeout: Duration = "20s",
        /// A header block before it is decoded, over all its frames; beyond it the connection is closed.
        header_block_bytes_max: ByteCount<0x4000, 0x100_0000> = "128KiB",
        /// CONTINUATION frames of one header block; beyond them the connection is closed.
        continuation_frames_max: Int<1, 10_000> = "32",
        /// Replies (to SETTINGS, PING, errors) that the client hasn't read; beyond them the connection is closed.
        replies_max: Int<10, 1_000_000> = "1000",
        /// How often a client may do what costs us and brings it nothing; then the connection is closed.
        budgets: Http2Budgets = "{}",
    }
}

record! {
    /// How often an HTTP/2 client may do what costs us and brings it nothing. Useful work gives it back.
    pub struct Http2Budgets as "http2_budgets", "the HTTP/2 budgets", "HTTP/2 budgets";
    {
        /// Streams opened and reset.
        resets: Rate = "{ burst: 200, per_sec: 20 }",
        /// Streams that we had to reset for an error of the client's.
        stream_errors: Rate = "{ burst: 100, per_sec: 10 }",
        /// SETTINGS.
        settings: Rate = "{ burst: 32, per_sec: 2 }",
        /// PING.
        pings: Rate = "{ burst: 100, per_sec: 10 }",
        /// DATA without payload.
        empty_data: Rate = "{ burst: 100, per_sec: 10 }",
        /// DATA with fewer than 32 bytes of payload; 32 bytes of payload give one back, as does each DATA frame that is sent.
        small_data: Rate = "{ burst: 10000, per_sec: 10000 }",
        /// PRIORITY.
        priorities: Rate = "{ burst: 200, per_sec: 20 }",
        /// WINDOW_UPDATE, beyond four for each DATA frame that is sent.
        window_updates: Rate = "{ burst: 1000, per_sec: 100 }",
        /// Frames without effect.
        ignored: Rate = "{ burst: 1000, per_sec: 100 }",
    }
}

record! {
    /// How often something may be done.
    pub struct Rate as "rate", "a rate", "rates";
    {
        /// So often at once.
        burst: Int<1, 1_000_000> = required,
        /// So often more with each second.
        per_sec: Int<0, 1_000_000> = required,
    }
}

record! {
    /// Who the client is, and what upstreams are told of it.
    pub struct Forwarding as "forwarding", "the forwarding rules", "forwarding rules";
    {
        /// The client is whoever connects (this is the edge). Otherwise it is taken from `x-forwarded-for`.
        use_remote_address: bool = "true",
        /// Proxies in front of this one that are trusted. The client is found this many entries further left in
        /// `x-forwarded-for`.
        trusted_hops: Int<0, 64> = "0",
        /// Don't append the client to `x-forwarded-for`.
        skip_xff_append: bool = "false",
        /// What to do with `x-request-id`.
        request_id: RequestId = "generate",
        /// The name under which this proxy adds itself to `via`, in both directions. Without it there is no `via`.
        via: Option<TokenText> = optional,
        /// What becomes of `x-forwarded-client-cert`, which tells endpoints of the client's certificate.
        client_cert: ClientCertHeader = "sanitize",
        /// What is told of the client's certificate beside its fingerprint.
        client_cert_details: OneOrMany<ClientCertDetail> = "[]",
    }
}

choice! {
    /// What to do with `x-request-id`.
    pub enum RequestId, "a way to treat request ids", "request ids" {
        /// Every request from outside gets a new one; one from a trusted proxy is kept.
        Generate = "generate",
        /// An existing one is kept, whoever sent it; a request without gets one.
        Preserve = "preserve",
        /// Whatever comes is passed on; nothing is added.
        Pass = "pass",
    }
}
