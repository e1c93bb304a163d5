//! The operators: Envoy's names, what they read and which arguments they take.

use super::parse::Mistake;
use super::time::TimeFormat;
use crate::log::record::Point;

#[derive(Clone, PartialEq, Debug)]
pub(in crate::log) enum Operator {
    StartTime(TimeFormat),
    EmitTime(TimeFormat),
    /// From one point to another.
    Between(Point, Point, Unit),
    Number(Number),
    Text(Text),
    Peer(End, PeerText),
    /// When the certificate begins or ends to be valid.
    PeerTime(End, Validity, TimeFormat),
    Address(Address, Part),
    Header(Header),
    Path(PathOf),
    QueryParameter(Box<[u8]>),
    Query,
    Flags {
        long: bool,
    },
    /// `RESPONSE_CODE_DETAILS`; spaces become underscores unless allowed.
    Details {
        spaces: bool,
    },
    AttemptedHosts {
        ports: bool,
    },
    /// Known when the format is read: the host's name, the environment.
    Constant(Box<[u8]>),
    GrpcStatus(StatusForm),
    /// Belongs to something that no connection has here: always missing.
    Absent,
}

impl Operator {
    /// Whether its JSON form is a number.
    pub(in crate::log) fn numeric(&self) -> bool {
        match self {
            Operator::Between(..) | Operator::Number(_) | Operator::GrpcStatus(StatusForm::Number) => true,
            Operator::Address(_, part) => *part == Part::Port,
            _ => false,
        }
    }
}

/// How `grpc-status` is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log) enum StatusForm {
    /// `DeadlineExceeded`
    Camel,
    /// `DEADLINE_EXCEEDED`
    Snake,
    Number,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log) enum Unit {
    Ms,
    Us,
    Ns,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log) enum Number {
    DurationMs,
    BytesReceived,
    BytesSent,
    RequestHeadBytes,
    ResponseHeadBytes,
    ResponseTrailerBytes,
    DownstreamWireReceived,
    DownstreamWireSent,
    UpstreamWireReceived,
    UpstreamWireSent,
    Status,
    Attempts,
    HandshakeMs,
    ConnectionId,
    UpstreamConnectionId,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log) enum Text {
    Protocol,
    UpstreamProtocol,
    TerminationDetails,
    UpstreamFailure,
    Route,
    Listener,
    Cluster,
    UpstreamName,
    UpstreamNameWithoutPort,
    LogType,
    StreamId,
    UniqueId,
    TlsVersion,
    TlsCipher,
    TlsGroup,
    UpstreamTlsVersion,
    UpstreamTlsCipher,
    RequestedServerName,
}

/// Whose certificate it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log) enum End {
    Client,
    Endpoint,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log) enum Validity {
    Start,
    End,
}

/// What a peer's certificate says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log) enum PeerText {
    Subject,
    Issuer,
    Serial,
    Fingerprint,
    Uri,
    Dns,
    Email,
    Ip,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log) enum Address {
    Upstream,
    UpstreamLocal,
    Downstream,
    DownstreamDirect,
    DownstreamLocal,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log) enum Part {
    Whole,
    Ip,
    /// The network of this many bits, `10.1.0.0/16`.
    Network(u8),
    Port,
}

/// A field of a message, by lower-case name.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::log) struct Header {
    pub(in crate::log) side: Side,
    pub(in crate::log) name: Box<[u8]>,
    /// Looked at when the first is missing.
    pub(in crate::log) alternative: Option<Box<[u8]>>,
    /// Cut at the question mark.
    pub(in crate::log) without_query: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log) enum Side {
    Request,
    Response,
    Trailer,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log) struct PathOf {
    pub(in crate::log) query: bool,
    /// Look at `x-envoy-original-path`.
    pub(in crate::log) original: bool,
    /// Look at `:path` (after the original's).
    pub(in crate::log) current: bool,
}

enum Reader {
    Plain(fn() -> Operator),
    With(fn(Option<&str>) -> Result<Operator, Mistake>),
}

use Reader::{Plain, With};

/// Every operator. What can't occur yet is listed too, so that formats of other proxies load.
const OPERATORS: &[(&str, Reader)] = &[
    ("START_TIME", With(|format| Ok(Operator::StartTime(TimeFormat::parse(format)?)))),
    ("EMIT_TIME", With(|format| Ok(Operator::EmitTime(TimeFormat::parse(format)?)))),
    ("DURATION", Plain(|| Operator::Number(Number::DurationMs))),
    ("REQUEST_DURATION", Plain(|| Operator::Between(Point::RequestBegin, Point::RequestEnd, Unit::Ms))),
    ("REQUEST_TX_DURATION", Plain(|| Operator::Between(Point::RequestBegin, Point::UpstreamSendEnd, Unit::Ms))),
    ("RESPONSE_DURATION", Plain(|| Operator::Between(Point::RequestBegin, Point::UpstreamReceiveBegin, Unit::Ms))),
    ("RESPONSE_TX_DURATION", Plain(|| Operator::Between(Point::UpstreamReceiveBegin, Point::ResponseEnd, Unit::Ms))),
    ("COMMON_DURATION", With(common_duration)),
    ("BYTES_RECEIVED", Plain(|| Operator::Number(Number::BytesReceived))),
    ("BYTES_SENT", Plain(|| Operator::Number(Number::BytesSent))),
    ("REQUEST_HEADERS_BYTES", Plain(|| Operator::Number(Number::RequestHeadBytes))),
    ("RESPONSE_HEADERS_BYTES", Plain(|| Operator::Number(Number::ResponseHeadBytes))),
    ("RESPONSE_TRAILERS_BYTES", Plain(|| Operator::Number(Number::ResponseTrailerBytes))),
    ("DOWNSTREAM_WIRE_BYTES_RECEIVED", Plain(|| Operator::Number(Number::DownstreamWireReceived))),
    ("DOWNSTREAM_WIRE_BYTES_SENT", Plain(|| Operator::Number(Number::DownstreamWireSent))),
    ("DOWNSTREAM_HEADER_BYTES_RECEIVED", Plain(|| Operator::Number(Number::RequestHeadBytes))),
    ("DOWNSTREAM_HEADER_BYTES_SENT", Plain(|| Operator::Number(Number::ResponseHeadBytes))),
    ("UPSTREAM_WIRE_BYTES_RECEIVED", Plain(|| Operator::Number(Number::UpstreamWireReceived))),
    ("UPSTREAM_WIRE_BYTES_SENT", Plain(|| Operator::Number(Number::UpstreamWireSent))),
    ("REQ", With(|arguments| header(Side::Request, arguments, false))),
    ("REQUEST_HEADER", With(|arguments| header(Side::Request, arguments, false))),
    ("REQ_WITHOUT_QUERY", With(|arguments| header(Side::Request, arguments, true))),
    ("RESP", With(|arguments| header(Side::Response, arguments, false))),
    ("RESPONSE_HEADER", With(|arguments| header(Side::Response, arguments, false))),
    ("TRAILER", With(|arguments| header(Side::Trailer, arguments, false))),
    ("RESPONSE_TRAILER", With(|arguments| header(Side::Trailer, arguments, false))),
    ("PATH", With(path)),
    ("QUERY_PARAM", With(query_parameter)),
    ("QUERY_PARAMS", With(query)),
    ("PROTOCOL", Plain(|| Operator::Text(Text::Protocol))),
    ("UPSTREAM_PROTOCOL", Plain(|| Operator::Text(Text::UpstreamProtocol))),
    ("STREAM_ID", Plain(|| Operator::Text(Text::StreamId))),
    ("UNIQUE_ID", Plain(|| Operator::Text(Text::UniqueId))),
    ("RESPONSE_CODE", Plain(|| Operator::Number(Number::Status))),
    ("RESPONSE_CODE_DETAILS", With(details)),
    ("RESPONSE_FLAGS", Plain(|| Operator::Flags { long: false })),
    ("RESPONSE_FLAGS_LONG", Plain(|| Operator::Flags { long: true })),
    ("CONNECTION_TERMINATION_DETAILS", Plain(|| Operator::Text(Text::TerminationDetails))),
    ("ROUTE_NAME", Plain(|| Operator::Text(Text::Route))),
    ("LISTENER_NAME", Plain(|| Operator::Text(Text::Listener))),
    ("UPSTREAM_CLUSTER", Plain(|| Operator::Text(Text::Cluster))),
    ("UPSTREAM_CLUSTER_RAW", Plain(|| Operator::Text(Text::Cluster))),
    ("ACCESS_LOG_TYPE", Plain(|| Operator::Text(Text::LogType))),
    ("UPSTREAM_HOST", Plain(|| Operator::Address(Address::Upstream, Part::Whole))),
    ("UPSTREAM_HOST_NAME", Plain(|| Operator::Text(Text::UpstreamName))),
    ("UPSTREAM_HOST_NAME_WITHOUT_PORT", Plain(|| Operator::Text(Text::UpstreamNameWithoutPort))),
    ("UPSTREAM_HOSTS_ATTEMPTED", Plain(|| Operator::AttemptedHosts { ports: true })),
    ("UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT", Plain(|| Operator::AttemptedHosts { ports: false })),
    ("UPSTREAM_REMOTE_ADDRESS", Plain(|| Operator::Address(Address::Upstream, Part::Whole))),
    ("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", With(|bits| network(Address::Upstream, bits))),
    ("UPSTREAM_REMOTE_PORT", Plain(|| Operator::Address(Address::Upstream, Part::Port))),
    ("UPSTREAM_LOCAL_ADDRESS", Plain(|| Operator::Address(Address::UpstreamLocal, Part::Whole))),
    ("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", With(|bits| network(Address::UpstreamLocal, bits))),
    ("UPSTREAM_LOCAL_PORT", Plain(|| Operator::Address(Address::UpstreamLocal, Part::Port))),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", Plain(|| Operator::Number(Number::Attempts))),
    ("UPSTREAM_CONNECTION_ID", Plain(|| Operator::Number(Number::UpstreamConnectionId))),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", Plain(|| Operator::Text(Text::UpstreamFailure))),
    ("DOWNSTREAM_REMOTE_ADDRESS", Plain(|| Operator::Address(Address::Downstream, Part::Whole))),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", With(|bits| network(Address::Downstream, bits))),
    ("DOWNSTREAM_REMOTE_PORT", Plain(|| Operator::Address(Address::Downstream, Part::Port))),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Plain(|| Operator::Address(Address::DownstreamDirect, Part::Whole))),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", With(|bits| network(Address::DownstreamDirect, bits))),
    ("DOWNSTREAM_DIRECT_REMOTE_PORT", Plain(|| Operator::Address(Address::DownstreamDirect, Part::Port))),
    ("DOWNSTREAM_LOCAL_ADDRESS", Plain(|| Operator::Address(Address::DownstreamLocal, Part::Whole))),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", With(|bits| network(Address::DownstreamLocal, bits))),
    ("DOWNSTREAM_LOCAL_PORT", Plain(|| Operator::Address(Address::DownstreamLocal, Part::Port))),
    ("CONNECTION_ID", Plain(|| Operator::Number(Number::ConnectionId))),
    ("HOSTNAME", Plain(hostname)),
    ("ENVIRONMENT", With(environment)),
    ("REQUESTED_SERVER_NAME", With(|_| Ok(Operator::Text(Text::RequestedServerName)))),
    ("DOWNSTREAM_TRANSPORT_FAILURE_REASON", Plain(|| Operator::Absent)),
    ("DOWNSTREAM_HANDSHAKE_DURATION", Plain(|| Operator::Number(Number::HandshakeMs))),
    ("DOWNSTREAM_TLS_VERSION", Plain(|| Operator::Text(Text::TlsVersion))),
    ("DOWNSTREAM_TLS_CIPHER", Plain(|| Operator::Text(Text::TlsCipher))),
    ("DOWNSTREAM_TLS_GROUP", Plain(|| Operator::Text(Text::TlsGroup))),
    ("DOWNSTREAM_TLS_SESSION_ID", Plain(|| Operator::Absent)),
    ("DOWNSTREAM_PEER_SUBJECT", Plain(|| Operator::Peer(End::Client, PeerText::Subject))),
    ("DOWNSTREAM_PEER_ISSUER", Plain(|| Operator::Peer(End::Client, PeerText::Issuer))),
    ("DOWNSTREAM_PEER_SERIAL", Plain(|| Operator::Peer(End::Client, PeerText::Serial))),
    ("DOWNSTREAM_PEER_FINGERPRINT_256", Plain(|| Operator::Peer(End::Client, PeerText::Fingerprint))),
    ("DOWNSTREAM_PEER_URI_SAN", Plain(|| Operator::Peer(End::Client, PeerText::Uri))),
    ("DOWNSTREAM_PEER_DNS_SAN", Plain(|| Operator::Peer(End::Client, PeerText::Dns))),
    ("DOWNSTREAM_PEER_EMAIL_SAN", Plain(|| Operator::Peer(End::Client, PeerText::Email))),
    ("DOWNSTREAM_PEER_IP_SAN", Plain(|| Operator::Peer(End::Client, PeerText::Ip))),
    ("DOWNSTREAM_PEER_CERT_V_START", With(|format| validity(End::Client, Validity::Start, format))),
    ("DOWNSTREAM_PEER_CERT_V_END", With(|format| validity(End::Client, Validity::End, format))),
    ("DOWNSTREAM_LOCAL_URI_SAN", Plain(|| Operator::Absent)),
    ("UPSTREAM_TLS_VERSION", Plain(|| Operator::Text(Text::UpstreamTlsVersion))),
    ("UPSTREAM_TLS_CIPHER", Plain(|| Operator::Text(Text::UpstreamTlsCipher))),
    ("UPSTREAM_TLS_SESSION_ID", Plain(|| Operator::Absent)),
    ("UPSTREAM_PEER_SUBJECT", Plain(|| Operator::Peer(End::Endpoint, PeerText::Subject))),
    ("UPSTREAM_PEER_ISSUER", Plain(|| Operator::Peer(End::Endpoint, PeerText::Issuer))),
    ("UPSTREAM_PEER_SERIAL", Plain(|| Operator::Peer(End::Endpoint, PeerText::Serial))),
    ("UPSTREAM_PEER_FINGERPRINT_256", Plain(|| Operator::Peer(End::Endpoint, PeerText::Fingerprint))),
    ("UPSTREAM_PEER_URI_SAN", Plain(|| Operator::Peer(End::Endpoint, PeerText::Uri))),
    ("UPSTREAM_PEER_DNS_SAN", Plain(|| Operator::Peer(End::Endpoint, PeerText::Dns))),
    ("UPSTREAM_PEER_EMAIL_SAN", Plain(|| Operator::Peer(End::Endpoint, PeerText::Email))),
    ("UPSTREAM_PEER_IP_SAN", Plain(|| Operator::Peer(End::Endpoint, PeerText::Ip))),
    ("UPSTREAM_PEER_CERT_V_START", With(|format| validity(End::Endpoint, Validity::Start, format))),
    ("UPSTREAM_PEER_CERT_V_END", With(|format| validity(End::Endpoint, Validity::End, format))),
    ("VIRTUAL_CLUSTER_NAME", Plain(|| Operator::Absent)),
    ("FILTER_CHAIN_NAME", Plain(|| Operator::Absent)),
    ("GRPC_STATUS", With(grpc_status)),
    ("GRPC_STATUS_NUMBER", Plain(|| Operator::GrpcStatus(StatusForm::Number))),
];

/// Names of all operators.
pub fn operators() -> impl Iterator<Item = &'static str> {
    OPERATORS.iter().map(|(name, _)| *name)
}

/// Compiles an operator.
pub(super) fn operator(name: &str, arguments: Option<&str>) -> Result<Operator, Mistake> {
    match OPERATORS.iter().find(|(known, _)| *known == name) {
        Some((_, Plain(operator))) => match arguments {
            None => Ok(operator()),
            Some(_) => Err(Mistake::new(format!("%{name}% takes no arguments"))),
        },
        Some((_, With(read))) => {
            read(arguments).map_err(|mistake| Mistake { message: format!("%{name}%: {}", mistake.message), ..mistake })
        }
        None => Err(Mistake { message: format!("%{name}% is no operator"), nearest: nearest(name) }),
    }
}

fn validity(end: End, bound: Validity, format: Option<&str>) -> Result<Operator, Mistake> {
    Ok(Operator::PeerTime(end, bound, TimeFormat::parse(format)?))
}

fn grpc_status(form: Option<&str>) -> Result<Operator, Mistake> {
    Ok(Operator::GrpcStatus(match form {
        None | Some("CAMEL_STRING") => StatusForm::Camel,
        Some("SNAKE_STRING") => StatusForm::Snake,
        Some("NUMBER") => StatusForm::Number,
        Some(_) => return Err(Mistake::new("takes CAMEL_STRING, SNAKE_STRING or NUMBER")),
    }))
}

fn common_duration(arguments: Option<&str>) -> Result<Operator, Mistake> {
    let usage = "takes START:END or START:END:UNIT, such as (DS_RX_BEG:US_TX_BEG:us)";
    let mut parts = arguments.unwrap_or_default().split(':');
    let (Some(from), Some(to)) = (parts.next(), parts.next()) else { return Err(Mistake::new(usage)) };
    let point = |name: &str| {
        let found = Point::NAMES.iter().find(|(known, _)| *known == name).map(|(_, point)| *point);
        found.ok_or_else(|| {
            let names: Vec<_> = Point::NAMES.iter().map(|(name, _)| *name).collect();
            Mistake::new(format!("`{name}` is none of {}", names.join(" ")))
        })
    };
    let unit = match (parts.next(), parts.next()) {
        (None | Some("ms"), None) => Unit::Ms,
        (Some("us"), None) => Unit::Us,
        (Some("ns"), None) => Unit::Ns,
        _ => return Err(Mistake::new(usage)),
    };
    Ok(Operator::Between(point(from)?, point(to)?, unit))
}

fn header(side: Side, arguments: Option<&str>, without_query: bool) -> Result<Operator, Mistake> {
    let usage = "takes the name of a field, or two as NAME?OTHER";
    let (name, alternative) = match arguments.unwrap_or_default().split_once('?') {
        Some((name, other)) => (name, Some(other)),
        None => (arguments.unwrap_or_default(), None),
    };
    for name in std::iter::once(name).chain(alternative) {
        let letters = name.strip_prefix(':').unwrap_or(name);
        if letters.is_empty() {
            return Err(Mistake::new(usage));
        }
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&b);
        if let Some(bad) = letters.chars().find(|&letter| !letter.is_ascii() || !token(letter as u8)) {
            return Err(Mistake::new(format!("{usage}; `{bad}` can't stand in one")));
        }
        let pseudo = matches!(name.to_ascii_lowercase().as_str(), ":method" | ":path" | ":authority" | ":scheme");
        if name.starts_with(':') && !(pseudo && side == Side::Request) && !name.eq_ignore_ascii_case(":status") {
            return Err(Mistake::new(format!("there is no field `{name}`")));
        }
    }
    let lower = |name: &str| name.to_ascii_lowercase().into_bytes().into_boxed_slice();
    if side == Side::Response && name.eq_ignore_ascii_case(":status") {
        return Ok(Operator::Number(Number::Status));
    }
    Ok(Operator::Header(Header { side, name: lower(name), alternative: alternative.map(lower), without_query }))
}

fn path(arguments: Option<&str>) -> Result<Operator, Mistake> {
    let usage = "takes WQ or NQ (with or without query), then ORIG, PATH or ORIG_OR_PATH, such as (NQ:ORIG_OR_PATH)";
    let mut parts = arguments.unwrap_or_default().split(':');
    let query = match parts.next() {
        None | Some("" | "WQ") => true,
        Some("NQ") => false,
        Some(_) => return Err(Mistake::new(usage)),
    };
    let (original, current) = match (parts.next(), parts.next()) {
        (None | Some("" | "ORIG_OR_PATH"), None) => (true, true),
        (Some("ORIG"), None) => (true, false),
        (Some("PATH"), None) => (false, true),
        _ => return Err(Mistake::new(usage)),
    };
    Ok(Operator::Path(PathOf { query, original, current }))
}

fn query_parameter(arguments: Option<&str>) -> Result<Operator, Mistake> {
    match arguments {
        Some(name) if !name.is_empty() => Ok(Operator::QueryParameter(name.as_bytes().into())),
        _ => Err(Mistake::new("takes the name of a query parameter")),
    }
}

fn query(arguments: Option<&str>) -> Result<Operator, Mistake> {
    match arguments {
        None | Some("" | "ORIG") => Ok(Operator::Query),
        Some(_) => Err(Mistake::new("takes ORIG, or nothing")),
    }
}

fn details(arguments: Option<&str>) -> Result<Operator, Mistake> {
    match arguments {
        None => Ok(Operator::Details { spaces: false }),
        Some("ALLOW_WHITESPACES") => Ok(Operator::Details { spaces: true }),
        Some(_) => Err(Mistake::new("takes ALLOW_WHITESPACES, or nothing")),
    }
}

fn network(address: Address, arguments: Option<&str>) -> Result<Operator, Mistake> {
    let part = match arguments {
        None => Part::Ip,
        Some(bits) => match bits.parse() {
            Ok(bits @ 0..=128) => Part::Network(bits),
            _ => return Err(Mistake::new("takes the bits of a network's prefix, 0 to 128")),
        },
    };
    Ok(Operator::Address(address, part))
}

fn hostname() -> Operator {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Operator::Constant(name.trim().as_bytes().into())
}

fn environment(arguments: Option<&str>) -> Result<Operator, Mistake> {
    match arguments {
        Some(name) if !name.is_empty() && !name.contains(['=', '\0']) => {
            let value = std::env::var_os(name).unwrap_or_default();
            Ok(Operator::Constant(std::os::unix::ffi::OsStrExt::as_bytes(value.as_os_str()).into()))
        }
        _ => Err(Mistake::new("takes the name of an environment variable")),
    }
}

/// The operator that takes the fewest edits, if they are few.
fn nearest(name: &str) -> Option<&'static str> {
    let (edits, known) = operators().map(|known| (edits(name, known), known)).min()?;
    (edits <= 2.max(name.len() / 3)).then_some(known)
}

/// Levenshtein distance in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_a_typo_finds_its_neighbour() {
        let names: std::collections::HashSet<_> = OPERATORS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), OPERATORS.len());
        assert_eq!(nearest("RESPONSE_CODES"), Some("RESPONSE_CODE"));
        assert_eq!(nearest("BYTE_SENT"), Some("BYTES_SENT"));
        assert_eq!(nearest("ZZZZZZZZZZZZ"), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
