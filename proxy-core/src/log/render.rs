//! Record → line. No allocation beyond the growth of the line's buffer, but for lists of a
//! certificate's names.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use codecs::tls::CertificateFacts;

use super::format::{
    Address, End, Header, Number, Operator, Part, PathOf, PeerText, Piece, Spec, StatusForm, Text, Unit, Validity,
    Value,
};
use super::format::{Side, digits};
use super::record::{Fields, Record};

impl Spec {
    /// Appends the record's line, with its newline.
    pub fn render(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Text(value) => {
                    if !value.append(record, escape_text, out) {
                        out.push(b'-');
                    }
                }
                Piece::JsonText(value) => {
                    if !value.append(record, escape_json, out) {
                        out.push(b'-');
                    }
                }
                Piece::Json(value) => json(value, record, out),
            }
        }
    }
}

/// Names of the statuses of gRPC, as Envoy writes them.
const GRPC_NAMES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

fn json(value: &Value, record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    let quoted = !value.operator.numeric();
    if quoted {
        out.push(b'"');
    }
    if !value.append(record, escape_json, out) {
        out.truncate(start);
        out.extend_from_slice(b"null");
    } else if quoted {
        out.push(b'"');
    }
}

/// Writes bytes that come from outside so that they can't end a string or a line.
type Escape = fn(&[u8], &mut Vec<u8>);

/// `"`, `\` and everything that isn't printable ASCII as `\xHH`.
pub(super) fn escape_text(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' | 0..0x20 | 0x7f.. => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
}

/// JSON's escapes; bytes that aren't UTF-8 become U+FFFD.
pub(super) fn escape_json(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' => out.extend_from_slice(&[b'\\', letter as u8]),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                letter if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') => {
                    // Writing to a Vec can't fail.
                    let _ = write!(out, "\\u{:04x}", letter as u32);
                }
                letter => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

impl Value {
    /// Appends the value, or nothing and false when the record has none.
    fn append(&self, record: &Record<'_>, escape: Escape, out: &mut Vec<u8>) -> bool {
        let mut put = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) if !bytes.is_empty() => {
                escape(&bytes[..bytes.len().min(self.bytes_max)], out);
                true
            }
            _ => false,
        };
        match &self.operator {
            Operator::Text(text) => self.text(*text, record, escape, out),
            Operator::Peer(end, part) => peer_of(*end, record).is_some_and(|peer| self.peer(*part, peer, escape, out)),
            Operator::PeerTime(end, bound, format) => peer_of(*end, record).is_some_and(|peer| {
                let unix_s = match bound {
                    Validity::Start => peer.not_before_s,
                    Validity::End => peer.not_after_s,
                };
                let unix_us = u64::try_from(unix_s).unwrap_or(0).saturating_mul(1_000_000);
                self.cut(out, |out| format.append(unix_us, out))
            }),
            Operator::Header(header) => put(header.find(record.fields)),
            Operator::Path(path) => put(path.find(record.fields)),
            Operator::QueryParameter(name) => put(query_parameter(record.fields, name)),
            Operator::Query => put(record.fields.request(b":path").and_then(|path| split_query(path).1)),
            Operator::Constant(bytes) => put(Some(bytes)),
            Operator::GrpcStatus(form) => record.grpc_status.is_some_and(|status| {
                let name = GRPC_NAMES.get(status as usize);
                match (form, name) {
                    (StatusForm::Camel, Some((name, _))) | (StatusForm::Snake, Some((_, name))) => {
                        self.append_text(name, escape, out)
                    }
                    _ => self.cut(out, |out| digits(u64::from(status), 1, b'0', out)),
                }
            }),
            Operator::Absent => false,
            Operator::StartTime(format) => self.cut(out, |out| format.append(record.start_unix_us, out)),
            Operator::EmitTime(format) => {
                self.cut(out, |out| format.append(record.start_unix_us + record.duration_us, out))
            }
            Operator::Between(from, to, unit) => match record.timing.between_us(*from, *to) {
                Some(us) => {
                    let amount = match unit {
                        Unit::Ms => us / 1_000,
                        Unit::Us => us,
                        Unit::Ns => us.saturating_mul(1_000),
                    };
                    digits(amount, 1, b'0', out);
                    true
                }
                None => false,
            },
            Operator::Number(number) => number_of(*number, record).is_some_and(|number| {
                digits(number, 1, b'0', out);
                true
            }),
            Operator::Address(address, part) => match address_of(*address, record) {
                Some(address) => self.cut(out, |out| append_address(address, *part, out)),
                None => false,
            },
            Operator::Flags { long } => append_list(out, record.flags.iter(), |flag, out| {
                out.extend_from_slice(if *long { flag.long() } else { flag.short() }.as_bytes());
            }),
            Operator::AttemptedHosts { ports } => append_list(out, record.upstream_attempted.iter(), |host, out| {
                append_address(*host, if *ports { Part::Whole } else { Part::Ip }, out);
            }),
            Operator::Details { spaces } => {
                let start = out.len();
                let there = self.append_text(record.status_details, escape, out);
                if !spaces {
                    out[start..].iter_mut().filter(|byte| **byte == b' ').for_each(|byte| *byte = b'_');
                }
                there
            }
        }
    }

    fn text(&self, text: Text, record: &Record<'_>, escape: Escape, out: &mut Vec<u8>) -> bool {
        let text = match text {
            Text::Protocol => record.protocol.map_or("", super::Protocol::name),
            Text::UpstreamProtocol => record.upstream_protocol.map_or("", super::Protocol::name),
            Text::TerminationDetails => record.termination_details,
            Text::UpstreamFailure => record.upstream_failure,
            Text::Route => record.route,
            Text::Listener => record.listener,
            Text::Cluster => record.cluster,
            Text::UpstreamName => record.upstream_name,
            Text::UpstreamNameWithoutPort => {
                record.upstream_name.rsplit_once(':').map_or(record.upstream_name, |(host, _)| host)
            }
            Text::LogType => {
                if record.tcp {
                    "TcpConnectionEnd"
                } else {
                    "DownstreamEnd"
                }
            }
            Text::TlsVersion => record.tls_version,
            Text::TlsCipher => record.tls_cipher,
            Text::TlsGroup => record.tls_group,
            Text::UpstreamTlsVersion => record.upstream_tls_version,
            Text::UpstreamTlsCipher => record.upstream_tls_cipher,
            Text::RequestedServerName => record.requested_server_name,
            Text::StreamId | Text::UniqueId if record.stream_id == 0 => "",
            Text::StreamId => return self.cut(out, |out| digits(record.stream_id, 1, b'0', out)),
            Text::UniqueId => return self.cut(out, |out| append_unique(record, out)),
        };
        self.append_text(text, escape, out)
    }

    fn peer(&self, part: PeerText, peer: &CertificateFacts, escape: Escape, out: &mut Vec<u8>) -> bool {
        let several;
        let text = match part {
            PeerText::Subject => &peer.subject,
            PeerText::Issuer => &peer.issuer,
            PeerText::Serial => &peer.serial,
            PeerText::Fingerprint => {
                several = peer.sha256_hex();
                &several
            }
            PeerText::Uri | PeerText::Dns | PeerText::Email | PeerText::Ip => {
                several = match part {
                    PeerText::Uri => peer.uris.join(","),
                    PeerText::Dns => peer.dns.join(","),
                    PeerText::Email => peer.emails.join(","),
                    _ => peer.ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
                };
                &several
            }
        };
        self.append_text(text, escape, out)
    }

    fn append_text(&self, text: &str, escape: Escape, out: &mut Vec<u8>) -> bool {
        escape(&text.as_bytes()[..text.len().min(self.bytes_max)], out);
        !text.is_empty()
    }

    /// Appends text of our own making, cut to the operator's length.
    fn cut(&self, out: &mut Vec<u8>, append: impl FnOnce(&mut Vec<u8>)) -> bool {
        let start = out.len();
        append(out);
        out.truncate(start.saturating_add(self.bytes_max));
        true
    }
}

/// The certificate that this end has shown.
fn peer_of<'a>(end: End, record: &Record<'a>) -> Option<&'a CertificateFacts> {
    match end {
        End::Client => record.peer,
        End::Endpoint => record.upstream_peer,
    }
}

impl Header {
    fn find<'a>(&self, fields: &'a dyn Fields) -> Option<&'a [u8]> {
        let get = |name: &[u8]| match self.side {
            Side::Request => fields.request(name),
            Side::Response => fields.response(name),
            Side::Trailer => fields.trailer(name),
        };
        let value = get(&self.name).or_else(|| self.alternative.as_deref().and_then(get))?;
        Some(if self.without_query { split_query(value).0 } else { value })
    }
}

impl PathOf {
    fn find<'a>(&self, fields: &'a dyn Fields) -> Option<&'a [u8]> {
        let original = if self.original { fields.request(b"x-envoy-original-path") } else { None };
        let path = original.or_else(|| if self.current { fields.request(b":path") } else { None })?;
        Some(if self.query { path } else { split_query(path).0 })
    }
}

/// Path, and query without its question mark.
fn split_query(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', path) {
        Some(at) => (&path[..at], Some(&path[at + 1..])),
        None => (path, None),
    }
}

/// The first parameter of this name, percent-encoded as it came.
fn query_parameter<'a>(fields: &'a dyn Fields, name: &[u8]) -> Option<&'a [u8]> {
    let query = split_query(fields.request(b":path")?).1?;
    let query = &query[..memchr::memchr(b'#', query).unwrap_or(query.len())];
    query.split(|&byte| byte == b'&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

fn number_of(number: Number, record: &Record<'_>) -> Option<u64> {
    Some(match number {
        Number::DurationMs => record.duration_us / 1_000,
        Number::BytesReceived => record.bytes_received,
        Number::BytesSent => record.bytes_sent,
        Number::RequestHeadBytes => record.request_head_bytes,
        Number::ResponseHeadBytes => record.response_head_bytes,
        Number::ResponseTrailerBytes => record.response_trailer_bytes,
        Number::DownstreamWireReceived => record.downstream_wire_bytes_received,
        Number::DownstreamWireSent => record.downstream_wire_bytes_sent,
        Number::UpstreamWireReceived => record.upstream_wire_bytes_received,
        Number::UpstreamWireSent => record.upstream_wire_bytes_sent,
        Number::Status => u64::from(record.status),
        Number::Attempts => u64::from(record.attempts),
        Number::HandshakeMs => record.handshake_us? / 1_000,
        Number::ConnectionId => record.connection_id,
        Number::UpstreamConnectionId if record.upstream_connection_id == 0 => return None,
        Number::UpstreamConnectionId => record.upstream_connection_id,
    })
}

fn address_of(address: Address, record: &Record<'_>) -> Option<SocketAddr> {
    match address {
        Address::Upstream => record.upstream,
        Address::UpstreamLocal => record.upstream_local,
        Address::Downstream => record.downstream_remote,
        Address::DownstreamDirect => record.downstream_direct_remote,
        Address::DownstreamLocal => record.downstream_local,
    }
}

fn append_address(address: SocketAddr, part: Part, out: &mut Vec<u8>) {
    // Writing to a Vec can't fail.
    let _ = match part {
        Part::Whole => write!(out, "{address}"),
        Part::Ip => write!(out, "{}", address.ip()),
        Part::Port => write!(out, "{}", address.port()),
        Part::Network(bits) => match address.ip() {
            IpAddr::V4(ip) => {
                let bits = u32::from(bits).min(32);
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                write!(out, "{}/{bits}", std::net::Ipv4Addr::from_bits(ip.to_bits() & mask))
            }
            IpAddr::V6(ip) => {
                let bits = u32::from(bits).min(128);
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                write!(out, "{}/{bits}", std::net::Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
        },
    };
}

/// Items with commas between them; false when there are none.
fn append_list<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, append: impl Fn(T, &mut Vec<u8>)) -> bool {
    let start = out.len();
    for item in items {
        if out.len() > start {
            out.push(b',');
        }
        append(item, out);
    }
    out.len() > start
}

/// A version 8 UUID of start time, connection and stream: unique among the requests of one process.
fn append_unique(record: &Record<'_>, out: &mut Vec<u8>) {
    let high = record.start_unix_us << 4;
    // The finalizer of splitmix64 spreads the two counters over all bits.
    let mut low = record.stream_id ^ record.connection_id.rotate_left(32);
    low = (low ^ low >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    low = (low ^ low >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    low ^= low >> 31;
    let _ = write!(
        out,
        "{:08x}-{:04x}-8{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high >> 4 & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    );
}
