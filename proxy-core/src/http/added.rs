//! Fields that a proxy adds to what it passes on: x-forwarded-for and -proto, x-request-id, via.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use codecs::http::{FieldId, FieldSet, RequestHead, Version};

use crate::snapshot::Forwarding;

/// Fields that the forwarding rules add, and those that they replace.
pub(super) struct Added {
    pub(super) drop: FieldSet,
    pub(super) forwarded_for: bool,
    pub(super) forwarded_proto: bool,
    pub(super) request_id: bool,
}

impl Added {
    pub(super) fn new(head: &RequestHead, forwarding: &Forwarding) -> Added {
        let edge = forwarding.use_remote_address;
        let has = |id| head.field(id).is_some();
        let forwarded_for = edge && !forwarding.skip_xff_append;
        let forwarded_proto = !forwarded_scheme_counts(forwarding) || !has(FieldId::XForwardedProto);
        let outside = edge && forwarding.trusted_hops == 0;
        let request_id = forwarding.generate_request_id
            && (!has(FieldId::XRequestId) || (outside && !forwarding.preserve_external_request_id));
        let mut drop = FieldSet::EMPTY;
        if forwarded_for {
            drop = drop.with(FieldId::XForwardedFor);
        }
        if forwarded_proto {
            drop = drop.with(FieldId::XForwardedProto);
        }
        if request_id {
            drop = drop.with(FieldId::XRequestId);
        }
        Added { drop, forwarded_for, forwarded_proto, request_id }
    }
}

/// Behind a trusted proxy its word about the scheme counts.
fn forwarded_scheme_counts(forwarding: &Forwarding) -> bool {
    !forwarding.use_remote_address || forwarding.trusted_hops > 0
}

/// The scheme that the client used: `own`, of the connection, or what a trusted proxy says that it was.
pub(super) fn scheme(head: &RequestHead, input: &[u8], forwarding: &Forwarding, own: &'static str) -> &'static str {
    if !forwarded_scheme_counts(forwarding) {
        return own;
    }
    match head.field(FieldId::XForwardedProto).map(|field| field.value.of(input)) {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => "https",
        Some(scheme) if scheme.eq_ignore_ascii_case(b"http") => "http",
        _ => own,
    }
}

pub(super) fn emit_forwarded_for(out: &mut Vec<u8>, head: &RequestHead, input: &[u8], remote: SocketAddr) {
    out.extend_from_slice(b"x-forwarded-for: ");
    for field in head.fields.iter().filter(|field| field.id == FieldId::XForwardedFor) {
        out.extend_from_slice(field.value.of(input));
        out.extend_from_slice(b", ");
    }
    emit_ip(out, remote);
    out.extend_from_slice(b"\r\n");
}

fn emit_ip(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let mut text = [0; 16];
            let mut at = 0;
            for octet in ip.octets() {
                for (bound, unit) in [(100, 100), (10, 10), (0, 1)] {
                    text[at] = b'0' + octet / unit % 10;
                    at += usize::from(octet >= bound);
                }
                text[at] = b'.';
                at += 1;
            }
            out.extend_from_slice(&text[..at - 1]);
        }
        IpAddr::V6(ip) => {
            let _ = write!(out, "{ip}");
        }
    }
}

/// A random UUID (RFC 9562, version 4).
pub(super) fn emit_request_id(out: &mut Vec<u8>, high: u64, low: u64) {
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    let (high, low) = (hex(high), hex(low));
    let mut line = *b"x-request-id: 00000000-0000-0000-0000-000000000000\r\n";
    line[14..22].copy_from_slice(&high[..8]);
    line[23..27].copy_from_slice(&high[8..12]);
    line[28..32].copy_from_slice(&high[12..]);
    line[33..37].copy_from_slice(&low[..4]);
    line[38..50].copy_from_slice(&low[4..]);
    out.extend_from_slice(&line);
}

/// The sixteen hexadecimal digits of a number, eight at once.
fn hex(number: u64) -> [u8; 16] {
    let eight = |half: u64| {
        // A digit to each byte: halves are put apart, then quarters, then eighths.
        let half = (half | half << 16) & 0x0000_ffff_0000_ffff;
        let half = (half | half << 8) & 0x00ff_00ff_00ff_00ff;
        let nibbles = (half | half << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
        nibbles + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)
    };
    (u128::from(eight(number >> 32)) << 64 | u128::from(eight(number & 0xffff_ffff))).to_be_bytes()
}

pub(super) fn emit_via(out: &mut Vec<u8>, version: Version, name: &str) {
    let number = match version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2.0",
    };
    let _ = write!(out, "via: {number} {name}\r\n");
}

#[cfg(test)]
mod tests {
    use super::{emit_ip, emit_request_id};

    #[test]
    fn addresses_are_written_as_the_library_writes_them() {
        let mut edges = vec![[0, 0, 0, 0], [255, 255, 255, 255], [127, 0, 0, 1], [10, 100, 99, 9]];
        edges.extend((0..=255).map(|octet| [octet, 1, octet, 20]));
        for octets in edges {
            let mut out = Vec::new();
            emit_ip(&mut out, (octets, 80).into());
            assert_eq!(String::from_utf8(out).unwrap(), std::net::Ipv4Addr::from(octets).to_string());
        }
        let mut out = Vec::new();
        emit_ip(&mut out, "[::ffff:1.2.3.4]:80".parse().unwrap());
        emit_ip(&mut out, "[2001:db8::1]:80".parse().unwrap());
        assert_eq!(out, b"1.2.3.42001:db8::1");
    }

    #[test]
    fn request_ids_are_random_uuids() {
        let mut high = 0x0123_4567_89ab_cdef_u64;
        for low in [0, u64::MAX, 0xfedc_ba98_7654_3210] {
            let mut out = Vec::new();
            emit_request_id(&mut out, high, low);
            let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xfff);
            let (d, e) = (low >> 48 & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
            let expected = format!("x-request-id: {a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}\r\n");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
            high = high.rotate_left(20) ^ low;
        }
    }
}
