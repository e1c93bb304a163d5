//! Authorities: `host[:port]` (RFC 3986 section 3.2, RFC 9110 section 4.2).

use super::Scheme;
use super::syntax::{byte_table, decimal};

/// Whether `bytes` is `host[:port]` without user information: a name, an IPv4 address or a bracketed IPv6 address.
/// Commas are refused although RFC 3986 has them in names: here they come from merged fields.
#[inline]
pub(crate) fn is_authority(bytes: &[u8], port_required: bool) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    // Names and IPv4 addresses, which are nearly all there is, need one pass and no escapes.
    let host_len = bytes.iter().position(|byte| !plain(byte)).unwrap_or(bytes.len());
    let (host, port) = match bytes.get(host_len) {
        None => (bytes, None),
        Some(b':') if is_port(&bytes[host_len + 1..], port_required) => return host_len > 0,
        Some(_) => split_port(bytes),
    };
    port.map_or(!port_required, |port| is_port(port, port_required))
        && (host_len == bytes.len() || is_host(host))
        && !host.is_empty()
}

/// A decimal port, which may be empty unless `required`: RFC 3986 has `host:`.
fn is_port(port: &[u8], required: bool) -> bool {
    match decimal(port) {
        Some(number) => number <= 65_535 && port.len() <= 5,
        None => port.is_empty() && !required,
    }
}

fn is_host(host: &[u8]) -> bool {
    if let [b'[', address @ .., b']'] = host {
        let Ok(address) = core::str::from_utf8(address) else { return false };
        return address.parse::<core::net::Ipv6Addr>().is_ok();
    }
    let mut rest = host;
    while let [byte, tail @ ..] = rest {
        rest = match byte {
            b'%' => match tail {
                [high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => tail,
                _ => return false,
            },
            byte if HOST_BYTES[*byte as usize] => tail,
            _ => return false,
        };
    }
    !host.is_empty()
}

/// Host and port of an authority; the port is what follows the last colon outside brackets.
fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    match authority.iter().rposition(|byte| matches!(byte, b':' | b']')) {
        Some(at) if authority[at] == b':' => (&authority[..at], Some(&authority[at + 1..])),
        _ => (authority, None),
    }
}

pub(crate) fn without_default_port(authority: &[u8], scheme: Option<Scheme>) -> &[u8] {
    match (split_port(authority), scheme) {
        ((host, Some(b"")), _) => host,
        ((host, Some(b"80")), Some(Scheme::Http)) | ((host, Some(b"443")), Some(Scheme::Https)) => host,
        _ => authority,
    }
}

/// What a host may consist of besides escapes.
static HOST_BYTES: [bool; 256] = byte_table(b"-._~!$&'()*+;=");
