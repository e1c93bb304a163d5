//! What the data path knows of one request, or of one TCP connection, when it is over.

use std::net::SocketAddr;

use codecs::tls::CertificateFacts;

use super::flag::Flags;

/// Fields of the messages, looked up by lower-case name. The request's pseudo-fields are `:method`, `:path`,
/// `:authority` and `:scheme`; `:path` is the path as the client sent it.
pub trait Fields {
    fn request(&self, name: &[u8]) -> Option<&[u8]>;
    fn response(&self, name: &[u8]) -> Option<&[u8]>;
    fn trailer(&self, name: &[u8]) -> Option<&[u8]>;
}

/// For TCP connections.
pub struct NoFields;

impl Fields for NoFields {
    fn request(&self, _: &[u8]) -> Option<&[u8]> {
        None
    }

    fn response(&self, _: &[u8]) -> Option<&[u8]> {
        None
    }

    fn trailer(&self, _: &[u8]) -> Option<&[u8]> {
        None
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Http10,
    Http11,
    Http2,
    Http3,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
            Protocol::Http3 => "HTTP/3",
        }
    }
}

/// Moments in the life of a request or connection, by the names of `COMMON_DURATION`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Point {
    /// `DS_RX_BEG`: first byte of the request.
    RequestBegin,
    /// `DS_RX_HDR_END`: end of the request's head.
    RequestHeadEnd,
    /// `DS_RX_END`: last byte of the request.
    RequestEnd,
    /// `US_CX_BEG`: connecting began; unmarked when a connection was reused.
    UpstreamConnectBegin,
    /// `US_CX_END`: connected.
    UpstreamConnectEnd,
    /// `US_TX_BEG`: first byte of the request sent upstream.
    UpstreamSendBegin,
    /// `US_TX_END`: last byte of the request sent upstream.
    UpstreamSendEnd,
    /// `US_RX_BEG`: first byte of the response.
    UpstreamReceiveBegin,
    /// `US_RX_BODY_BEG`: first byte of the response's body.
    UpstreamBodyBegin,
    /// `US_RX_END`: last byte of the response.
    UpstreamReceiveEnd,
    /// `DS_TX_BEG`: first byte of the response sent down.
    ResponseBegin,
    /// `DS_TX_END`: last byte of the response sent down.
    ResponseEnd,
    /// `DS_CX_BEG`: the client's connection was accepted.
    ConnectionBegin,
    /// `DS_CX_END`: the client's connection ended.
    ConnectionEnd,
}

impl Point {
    pub(super) const NAMES: [(&'static str, Point); 14] = [
        ("DS_RX_BEG", Point::RequestBegin),
        ("DS_RX_HDR_END", Point::RequestHeadEnd),
        ("DS_RX_END", Point::RequestEnd),
        ("US_CX_BEG", Point::UpstreamConnectBegin),
        ("US_CX_END", Point::UpstreamConnectEnd),
        ("US_TX_BEG", Point::UpstreamSendBegin),
        ("US_TX_END", Point::UpstreamSendEnd),
        ("US_RX_BEG", Point::UpstreamReceiveBegin),
        ("US_RX_BODY_BEG", Point::UpstreamBodyBegin),
        ("US_RX_END", Point::UpstreamReceiveEnd),
        ("DS_TX_BEG", Point::ResponseBegin),
        ("DS_TX_END", Point::ResponseEnd),
        ("DS_CX_BEG", Point::ConnectionBegin),
        ("DS_CX_END", Point::ConnectionEnd),
    ];
}

const UNMARKED: u64 = u64::MAX;

/// When each point was passed, in microseconds of one clock that the caller chooses (the core's own will do).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing([u64; Point::NAMES.len()]);

impl Default for Timing {
    fn default() -> Timing {
        Timing([UNMARKED; Point::NAMES.len()])
    }
}

impl Timing {
    /// Marking again overwrites: a retry's points replace the first try's.
    #[inline]
    pub fn mark(&mut self, point: Point, clock_us: u64) {
        self.0[point as usize] = clock_us;
    }

    #[inline]
    pub fn get(&self, point: Point) -> Option<u64> {
        Some(self.0[point as usize]).filter(|&clock_us| clock_us != UNMARKED)
    }

    /// Microseconds from one point to another; `None` if either was not passed or they came the other way round.
    pub fn between_us(&self, from: Point, to: Point) -> Option<u64> {
        self.get(to)?.checked_sub(self.get(from)?)
    }
}

/// All that a line can show, borrowed from whoever served the request. `None`, empty text and an unmarked point print
/// as `-` (JSON: null).
pub struct Record<'a> {
    /// `grpc-status` of the response to a call.
    pub grpc_status: Option<u32>,
    pub fields: &'a dyn Fields,
    /// Wall clock at the start, microseconds since 1970.
    pub start_unix_us: u64,
    /// From the start to the end of the request or connection.
    pub duration_us: u64,
    pub timing: Timing,
    /// A TCP connection rather than a request.
    pub tcp: bool,
    pub protocol: Option<Protocol>,
    pub upstream_protocol: Option<Protocol>,
    /// 0 = no response.
    pub status: u16,
    /// Why this status: `via_upstream`, `route_not_found`, …
    pub status_details: &'a str,
    pub flags: Flags,
    /// Why we closed the client's connection.
    pub termination_details: &'a str,
    /// Why the connection to the endpoint failed.
    pub upstream_failure: &'a str,
    /// Body bytes of the request; of a TCP connection all bytes from the client.
    pub bytes_received: u64,
    /// Body bytes of the response; of a TCP connection all bytes to the client.
    pub bytes_sent: u64,
    pub request_head_bytes: u64,
    pub response_head_bytes: u64,
    pub response_trailer_bytes: u64,
    /// Heads, bodies and framing as they were on the wire.
    pub downstream_wire_bytes_received: u64,
    pub downstream_wire_bytes_sent: u64,
    pub upstream_wire_bytes_received: u64,
    pub upstream_wire_bytes_sent: u64,
    pub route: &'a str,
    pub listener: &'a str,
    pub cluster: &'a str,
    pub upstream: Option<SocketAddr>,
    /// As the endpoint is written in the config.
    pub upstream_name: &'a str,
    pub upstream_local: Option<SocketAddr>,
    /// Endpoints tried, the last one too.
    pub upstream_attempted: &'a [SocketAddr],
    /// Tries; 0 = none was made.
    pub attempts: u32,
    /// 0 = none.
    pub upstream_connection_id: u64,
    /// The client: from PROXY protocol or x-forwarded-for where trusted.
    pub downstream_remote: Option<SocketAddr>,
    /// The peer of the connection.
    pub downstream_direct_remote: Option<SocketAddr>,
    pub downstream_local: Option<SocketAddr>,
    pub connection_id: u64,
    /// `TLSv1.3`; empty without TLS, as those below are.
    pub tls_version: &'a str,
    pub tls_cipher: &'a str,
    pub tls_group: &'a str,
    /// The name that the client asked for by TLS.
    pub requested_server_name: &'a str,
    /// Of the certificate that the client showed.
    pub peer: Option<&'a CertificateFacts>,
    pub handshake_us: Option<u64>,
    /// Of the connection to the endpoint; empty without TLS.
    pub upstream_tls_version: &'a str,
    pub upstream_tls_cipher: &'a str,
    /// Of the certificate that the endpoint showed.
    pub upstream_peer: Option<&'a CertificateFacts>,
    /// Unique within the process; also the seed of `UNIQUE_ID`. 0 = none.
    pub stream_id: u64,
}

impl<'a> Record<'a> {
    /// A record in which nothing is known yet.
    pub fn new(fields: &'a dyn Fields) -> Record<'a> {
        Record {
            fields,
            grpc_status: None,
            start_unix_us: 0,
            duration_us: 0,
            timing: Timing::default(),
            tcp: false,
            protocol: None,
            upstream_protocol: None,
            status: 0,
            status_details: "",
            flags: Flags::NONE,
            termination_details: "",
            upstream_failure: "",
            bytes_received: 0,
            bytes_sent: 0,
            request_head_bytes: 0,
            response_head_bytes: 0,
            response_trailer_bytes: 0,
            downstream_wire_bytes_received: 0,
            downstream_wire_bytes_sent: 0,
            upstream_wire_bytes_received: 0,
            upstream_wire_bytes_sent: 0,
            route: "",
            listener: "",
            cluster: "",
            upstream: None,
            upstream_name: "",
            upstream_local: None,
            upstream_attempted: &[],
            attempts: 0,
            upstream_connection_id: 0,
            downstream_remote: None,
            downstream_direct_remote: None,
            downstream_local: None,
            connection_id: 0,
            tls_version: "",
            tls_cipher: "",
            tls_group: "",
            requested_server_name: "",
            peer: None,
            handshake_us: None,
            upstream_tls_version: "",
            upstream_tls_cipher: "",
            upstream_peer: None,
            stream_id: 0,
        }
    }
}
