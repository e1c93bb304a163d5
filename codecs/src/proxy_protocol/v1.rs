//! Version 1: `PROXY TCP4 192.0.2.1 198.51.100.7 56324 443` and CRLF.

use super::{Addresses, Error, Header, Transport, Version, begins_as, same_family};
use crate::Status;
use crate::http::Span;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

/// The longest line that the protocol allows, CRLF included.
pub const BYTES_MAX: usize = 107;

const SIGNATURE: &[u8] = b"PROXY ";

pub(super) fn parse(input: &[u8]) -> Result<Status<(Header, usize)>, Error> {
    if !begins_as(input, SIGNATURE) {
        return Err(Error::NoSignature);
    }
    let window = &input[..input.len().min(BYTES_MAX)];
    let Some(lf) = memchr::memchr(b'\n', window) else {
        return if input.len() < BYTES_MAX { Ok(Status::Partial) } else { Err(Error::TooLong) };
    };
    let line = window[..lf].strip_suffix(b"\r").ok_or(Error::InvalidLine)?;
    let rest = line.strip_prefix(SIGNATURE).ok_or(Error::InvalidLine)?;
    let header = Header { version: Version::V1, addresses: addresses(rest)?, tlvs: Span::default() };
    Ok(Status::Complete((header, lf + 1)))
}

fn addresses(rest: &[u8]) -> Result<Addresses, Error> {
    let rest = core::str::from_utf8(rest).map_err(|_| Error::InvalidLine)?;
    let mut parts = rest.split(' ');
    let family = parts.next();
    // Whatever follows UNKNOWN is to be ignored.
    if family == Some("UNKNOWN") {
        return Ok(Addresses::Unknown);
    }
    let (Some(source), Some(destination), Some(source_port), Some(destination_port), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Error::InvalidLine);
    };
    let (source, destination) = match family {
        Some("TCP4") => (ip::<Ipv4Addr>(source)?, ip::<Ipv4Addr>(destination)?),
        Some("TCP6") => (ip::<Ipv6Addr>(source)?, ip::<Ipv6Addr>(destination)?),
        _ => return Err(Error::InvalidLine),
    };
    Ok(Addresses::Ip {
        source: SocketAddr::new(source, port(source_port)?),
        destination: SocketAddr::new(destination, port(destination_port)?),
        transport: Transport::Stream,
    })
}

fn ip<T: FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, Error> {
    text.parse::<T>().map(Into::into).map_err(|_| Error::InvalidAddress)
}

fn port(text: &str) -> Result<u16, Error> {
    let canonical = text == "0" || (!text.starts_with(['0', '+']));
    text.parse().ok().filter(|_| canonical).ok_or(Error::InvalidPort)
}

/// Appends the line for a TCP connection. Addresses of different families are both written as IPv6.
pub fn emit(out: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr) {
    let (source, destination) = same_family(source, destination);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let line = format_args!(
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    );
    // Writing to a Vec can't fail.
    let _ = core::fmt::Write::write_fmt(&mut Appended(out), line);
}

/// Appends the line for a connection whose addresses aren't to be told.
pub fn emit_unknown(out: &mut Vec<u8>) {
    out.extend_from_slice(b"PROXY UNKNOWN\r\n");
}

/// A `Vec` that text can be formatted into without an allocation of its own.
struct Appended<'a>(&'a mut Vec<u8>);

impl core::fmt::Write for Appended<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
