//! PROXY protocol, version 1 (a line of text) and 2 (binary): the addresses of a connection that another proxy has
//! accepted, sent ahead of its bytes.
//!
//! Life cycle: where a listener expects it, it comes first, once; call [`parse`] with all that has arrived until it says
//! `Complete`, then drop those bytes. An error ends the connection: nothing behind the header can be trusted. A listener
//! must never accept it from peers that it doesn't trust, as anybody can write it.
//!
//! Limits: [`V1_BYTES_MAX`], [`Limits::v2_bytes_max`]. Specification: "The PROXY protocol, Versions 1 & 2", Willy Tarreau.

mod v1;
mod v2;

pub use v1::{BYTES_MAX as V1_BYTES_MAX, emit as emit_v1, emit_unknown as emit_v1_unknown};
pub use v2::{Tlv, Tlvs, emit as emit_v2, emit_local as emit_v2_local, emit_with_tlvs as emit_v2_with_tlvs, tlv};

use crate::http::Span;
use crate::{Fault, Scope, Status};
use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Which version a header was written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    V1,
    V2,
}

/// What the proxied connection transports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    Stream,
    Datagram,
}

/// Whose connection it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Addresses {
    /// The proxy's own, a health check for instance (v2 `LOCAL`): the socket's addresses count.
    Local,
    /// Unknown to the proxy (v1 `UNKNOWN`, v2 `UNSPEC`): the socket's addresses count.
    Unknown,
    Ip {
        source: SocketAddr,
        destination: SocketAddr,
        transport: Transport,
    },
    /// UNIX sockets; the paths as they were sent, 108 bytes each, padded with zeros.
    Unix {
        source: Span,
        destination: Span,
        transport: Transport,
    },
}

/// A header that was parsed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub version: Version,
    pub addresses: Addresses,
    /// Type-length-value vectors behind the addresses (v2 only), checked; read them with [`Tlvs::new`].
    pub tlvs: Span,
}

impl Header {
    /// The client's address, if the header tells it.
    #[must_use]
    pub fn source(&self) -> Option<SocketAddr> {
        match self.addresses {
            Addresses::Ip { source, .. } => Some(source),
            _ => None,
        }
    }

    /// The address that the client connected to, if the header tells it.
    #[must_use]
    pub fn destination(&self) -> Option<SocketAddr> {
        match self.addresses {
            Addresses::Ip { destination, .. } => Some(destination),
            _ => None,
        }
    }
}

/// Bounds on what a peer may send as a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// A whole v2 header with its vectors.
    pub v2_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { v2_bytes_max: 4096 }
    }
}

/// Why bytes aren't a PROXY header. Always the peer's fault, and always the end of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Neither version's signature.
    NoSignature,
    /// A v1 line longer than the protocol allows, or a v2 header longer than the limit.
    TooLong,
    /// A v1 line that doesn't have the parts it must.
    InvalidLine,
    InvalidAddress,
    InvalidPort,
    /// A v2 version, command, family or transport that the protocol doesn't know.
    InvalidCommand,
    /// A v2 length too small for its addresses.
    InvalidLength,
    /// A vector that reaches beyond the header.
    InvalidTlv,
    ChecksumMismatch,
}

impl Error {
    #[must_use]
    pub const fn fault(self) -> Fault {
        Fault::Peer
    }

    #[must_use]
    pub const fn scope(self) -> Scope {
        Scope::Connection
    }

    /// The token for logs and counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Error::NoSignature => "proxy_proto.no_signature",
            Error::TooLong => "proxy_proto.too_long",
            Error::InvalidLine => "proxy_proto.invalid_line",
            Error::InvalidAddress => "proxy_proto.invalid_address",
            Error::InvalidPort => "proxy_proto.invalid_port",
            Error::InvalidCommand => "proxy_proto.invalid_command",
            Error::InvalidLength => "proxy_proto.invalid_length",
            Error::InvalidTlv => "proxy_proto.invalid_tlv",
            Error::ChecksumMismatch => "proxy_proto.checksum_mismatch",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for Error {}

/// Parses the header at the start of `input`. `Complete((header, n))`: it takes the first `n` bytes.
///
/// # Errors
/// As soon as the bytes so far can't become a header.
pub fn parse(input: &[u8], limits: &Limits) -> Result<Status<(Header, usize)>, Error> {
    match input.first() {
        None => Ok(Status::Partial),
        Some(b'P') => v1::parse(input),
        Some(_) => v2::parse(input, limits),
    }
}

/// Whether `input` begins as `signature` does, as far as it goes.
fn begins_as(input: &[u8], signature: &[u8]) -> bool {
    let len = input.len().min(signature.len());
    input[..len] == signature[..len]
}

/// Both addresses in one family: as IPv6 if they differ.
fn same_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    (
        SocketAddr::new(mapped(source.ip()).into(), source.port()),
        SocketAddr::new(mapped(destination.ip()).into(), destination.port()),
    )
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests;
