//! Version 2: a signature of 12 bytes, version and command, family and transport, the length of the rest, addresses, and
//! vectors of a type, a length and a value.

use super::{Addresses, Error, Header, Limits, Transport, Version, begins_as, mapped, same_family};
use crate::Status;
use crate::http::Span;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family and length.
const FIXED_BYTES: usize = 16;
const UNIX_PATH_BYTES: usize = 108;

/// Types of vectors.
pub mod tlv {
    pub const ALPN: u8 = 0x01;
    pub const AUTHORITY: u8 = 0x02;
    pub const CRC32C: u8 = 0x03;
    pub const NOOP: u8 = 0x04;
    pub const UNIQUE_ID: u8 = 0x05;
    pub const SSL: u8 = 0x20;
    pub const NETNS: u8 = 0x30;
}

pub(super) fn parse(input: &[u8], limits: &Limits) -> Result<Status<(Header, usize)>, Error> {
    if !begins_as(input, SIGNATURE) {
        return Err(Error::NoSignature);
    }
    let Some(&[command, family, high, low]) = input.get(SIGNATURE.len()..FIXED_BYTES) else {
        return Ok(Status::Partial);
    };
    // Only the version's nibble and the two commands; everything else must be refused.
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Error::InvalidCommand),
    };
    let end = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if end > limits.v2_bytes_max as usize {
        return Err(Error::TooLong);
    }
    let Some(header) = input.get(..end) else { return Ok(Status::Partial) };
    let mut parsed = Header { version: Version::V2, addresses: Addresses::Local, tlvs: Span::new(end..end) };
    if !local {
        let (addresses, tlvs_start) = addresses(header, family)?;
        parsed.addresses = addresses;
        parsed.tlvs = Span::new(tlvs_start..end);
        check_tlvs(header, tlvs_start)?;
    }
    Ok(Status::Complete((parsed, end)))
}

/// The addresses of a whole header, and where they end.
fn addresses(header: &[u8], family: u8) -> Result<(Addresses, usize), Error> {
    let transport = match family & 0x0f {
        0 => None,
        1 => Some(Transport::Stream),
        2 => Some(Transport::Datagram),
        _ => return Err(Error::InvalidCommand),
    };
    let block = &header[FIXED_BYTES..];
    match (family >> 4, transport) {
        // Nothing says how long addresses of no family are, so that vectors can't be told from them.
        (0, _) | (1..=3, None) => Ok((Addresses::Unknown, header.len())),
        (1, Some(transport)) => {
            let (block, _) = block.split_first_chunk::<12>().ok_or(Error::InvalidLength)?;
            let [s0, s1, s2, s3, d0, d1, d2, d3, ports @ ..] = *block;
            let source = Ipv4Addr::new(s0, s1, s2, s3).into();
            let destination = Ipv4Addr::new(d0, d1, d2, d3).into();
            Ok((ip(source, destination, ports, transport), FIXED_BYTES + block.len()))
        }
        (2, Some(transport)) => {
            let (source, rest) = block.split_first_chunk::<16>().ok_or(Error::InvalidLength)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(Error::InvalidLength)?;
            let (ports, _) = rest.split_first_chunk::<4>().ok_or(Error::InvalidLength)?;
            let (source, destination) = (Ipv6Addr::from(*source), Ipv6Addr::from(*destination));
            Ok((ip(source.into(), destination.into(), *ports, transport), FIXED_BYTES + 36))
        }
        (3, Some(transport)) => {
            let (middle, end) = (FIXED_BYTES + UNIX_PATH_BYTES, FIXED_BYTES + 2 * UNIX_PATH_BYTES);
            if header.len() < end {
                return Err(Error::InvalidLength);
            }
            let (source, destination) = (Span::new(FIXED_BYTES..middle), Span::new(middle..end));
            Ok((Addresses::Unix { source, destination, transport }, end))
        }
        _ => Err(Error::InvalidCommand),
    }
}

fn ip(
    source: core::net::IpAddr,
    destination: core::net::IpAddr,
    [s0, s1, d0, d1]: [u8; 4],
    transport: Transport,
) -> Addresses {
    Addresses::Ip {
        source: SocketAddr::new(source, u16::from_be_bytes([s0, s1])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([d0, d1])),
        transport,
    }
}

/// One type-length-value vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tlv<'a> {
    /// See [`tlv`].
    pub kind: u8,
    pub value: &'a [u8],
}

/// The vectors of a header, in order; ends early at one that reaches beyond the bytes, which [`super::parse`] has refused.
#[derive(Clone, Debug)]
pub struct Tlvs<'a>(&'a [u8]);

impl<'a> Tlvs<'a> {
    /// The vectors in `bytes`: those of [`Header::tlvs`].
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Tlvs<'a> {
        Tlvs(bytes)
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Tlv<'a>;

    fn next(&mut self) -> Option<Tlv<'a>> {
        let ([kind, high, low], rest) = self.0.split_first_chunk::<3>()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        self.0 = rest;
        Some(Tlv { kind: *kind, value })
    }
}

/// All vectors lie within the header, and a checksum among them is right.
fn check_tlvs(header: &[u8], start: usize) -> Result<(), Error> {
    let mut tlvs = Tlvs::new(&header[start..]);
    for tlv in tlvs.by_ref().filter(|tlv| tlv.kind == tlv::CRC32C) {
        let sent = <[u8; 4]>::try_from(tlv.value).map_err(|_| Error::InvalidTlv)?;
        let at = (tlv.value.as_ptr() as usize).wrapping_sub(header.as_ptr() as usize);
        let (before, after) = (header.get(..at), header.get(at + 4..));
        let (Some(before), Some(after)) = (before, after) else { return Err(Error::InvalidTlv) };
        // The checksum counts itself as zeros.
        let sum = !crc32c(crc32c(crc32c(!0, before), &[0; 4]), after);
        if sum != u32::from_be_bytes(sent) {
            return Err(Error::ChecksumMismatch);
        }
    }
    if tlvs.0.is_empty() { Ok(()) } else { Err(Error::InvalidTlv) }
}

fn crc32c(state: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(state, |state, byte| CRC32C[usize::from(state as u8 ^ byte)] ^ state >> 8)
}

/// Castagnoli's polynomial, reflected, a byte at a time.
static CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut state = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            state = if state & 1 == 1 { 0x82f6_3b78 ^ state >> 1 } else { state >> 1 };
            bit += 1;
        }
        table[byte] = state;
        byte += 1;
    }
    table
};

/// Appends the header for a TCP connection. Addresses of different families are both written as IPv6.
pub fn emit(out: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr) {
    // Without vectors it always fits.
    let _ = emit_with_tlvs(out, source, destination, &[]);
}

/// As [`emit`], with vectors. `false`, and nothing appended, when they don't fit in the header's 16-bit length. A
/// `CRC32C` vector's value is replaced by the checksum.
#[must_use]
pub fn emit_with_tlvs(out: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr, tlvs: &[Tlv<'_>]) -> bool {
    let (source, destination) = same_family(source, destination);
    let address_bytes = if source.is_ipv4() { 12 } else { 36 };
    let value_len = |tlv: &Tlv<'_>| if tlv.kind == tlv::CRC32C { 4 } else { tlv.value.len() };
    let rest = tlvs.iter().fold(address_bytes, |sum, tlv| sum + 3 + value_len(tlv));
    let Ok(rest) = u16::try_from(rest) else { return false };
    let start = out.len();
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[0x21, if source.is_ipv4() { 0x11 } else { 0x21 }]);
    out.extend_from_slice(&rest.to_be_bytes());
    match (source, destination) {
        (SocketAddr::V4(source), SocketAddr::V4(destination)) => {
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
        }
        (source, destination) => {
            out.extend_from_slice(&mapped(source.ip()).octets());
            out.extend_from_slice(&mapped(destination.ip()).octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
    let mut checksum_at = None;
    for tlv in tlvs {
        out.push(tlv.kind);
        out.extend_from_slice(&(value_len(tlv) as u16).to_be_bytes());
        if tlv.kind == tlv::CRC32C {
            checksum_at = Some(out.len());
            out.extend_from_slice(&[0; 4]);
        } else {
            out.extend_from_slice(tlv.value);
        }
    }
    if let Some(at) = checksum_at {
        let sum = !crc32c(!0, &out[start..]);
        out[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    }
    true
}

/// Appends the header for a connection of the proxy's own, such as a health check.
pub fn emit_local(out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[0x20, 0, 0, 0]);
}
