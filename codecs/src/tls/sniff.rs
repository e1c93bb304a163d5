//! Is this the beginning of TLS, and for whom? A look at the first bytes of a connection that ends nothing and answers
//! nothing: for passing TLS on by its server name, and for listeners that carry TLS and plain bytes.
//!
//! Life cycle: call [`sniff`] with all that has arrived until it says `Complete`; the bytes stay where they are, for
//! whoever takes the connection. Until the hello is whole a call looks at record headers only, so that many small chunks
//! cost little.
//!
//! Limits: [`HELLO_BYTES_MAX`]. Specification: RFC 8446, section 4.1.2; RFC 6066, section 3; RFC 7301.

use super::record::{HANDSHAKE, HEADER_BYTES, PLAINTEXT_BYTES_MAX};
use crate::{Fault, Scope, Status};
use core::fmt;
use std::borrow::Cow;

/// A ClientHello that is longer, or that needs more than twice as much in records, is refused: those with post-quantum
/// key shares take 2 KiB, with an encrypted inner hello 4 KiB.
pub const HELLO_BYTES_MAX: usize = 32 * 1024;

/// What a connection begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sniffed {
    /// Certainly not TLS. Said as soon as one of the first three bytes tells.
    Plain,
    Tls(Hello),
}

/// What a client says before anything is encrypted. Anybody can write it: it chooses, it doesn't authenticate.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hello {
    /// The name that the client wants, in lower case and without a final dot; `None` if it sent none or not a name.
    pub server_name: Option<Box<str>>,
    /// The protocols that it offers, in its order.
    pub alpn: Vec<Box<[u8]>>,
}

/// Why what looks like TLS isn't a ClientHello. The peer's fault, and the end of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// More than [`HELLO_BYTES_MAX`].
    TooLong,
    /// Lengths that don't fit, or another message first.
    Malformed,
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
            Error::TooLong => "tls.hello_too_long",
            Error::Malformed => "tls.hello_malformed",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for Error {}

/// Says what the connection that begins with `input` carries.
///
/// # Errors
/// What begins as TLS but can't become a ClientHello.
pub fn sniff(input: &[u8]) -> Result<Status<Sniffed>, Error> {
    if !may_be_tls(input) {
        return Ok(Status::Complete(Sniffed::Plain));
    }
    match message(input)? {
        None => Ok(Status::Partial),
        Some(message) => Ok(Status::Complete(Sniffed::Tls(parse(&message)?))),
    }
}

/// Whether `input`, as far as it goes, begins as a handshake record does: of its type, of major version 3. No method of
/// HTTP and no preface of another protocol that we know begins like that.
#[must_use]
pub fn may_be_tls(input: &[u8]) -> bool {
    input.first().is_none_or(|first| *first == HANDSHAKE)
        && input.get(1).is_none_or(|major| *major == 3)
        && input.get(2).is_none_or(|minor| *minor <= 4)
}

/// The hello without the header of its message, if all of it is there; joined if several records carry it.
fn message(input: &[u8]) -> Result<Option<Cow<'_, [u8]>>, Error> {
    let mut joined: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    let mut rest = input;
    // Counts before it copies: while the last record is missing nothing is joined.
    let Some((records, length)) = extent(input)? else {
        return Ok(None);
    };
    for _ in 0..records {
        let Some((payload, behind)) = record(rest)? else {
            return Ok(None);
        };
        if records == 1 {
            joined = Cow::Borrowed(payload);
        } else {
            joined.to_mut().extend_from_slice(payload);
        }
        rest = behind;
    }
    Ok(Some(match joined {
        Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(4..4 + length).ok_or(Error::Malformed)?),
        Cow::Owned(mut bytes) => {
            bytes.truncate(4 + length);
            bytes.drain(..4.min(bytes.len()));
            Cow::Owned(bytes)
        }
    }))
}

/// How many records the hello takes and how long it is, once the last of them is there.
fn extent(input: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let mut header = [0_u8; 4];
    let (mut seen, mut records, mut rest) = (0_usize, 0, input);
    loop {
        if input.len() - rest.len() > 2 * HELLO_BYTES_MAX {
            return Err(Error::TooLong);
        }
        let Some((payload, behind)) = record(rest)? else {
            return Ok(None);
        };
        for (place, byte) in header.iter_mut().skip(seen).zip(payload) {
            *place = *byte;
        }
        seen += payload.len();
        records += 1;
        rest = behind;
        if header[0] != 1 {
            return Err(Error::Malformed);
        }
        if seen >= header.len() {
            let length = usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
            if length > HELLO_BYTES_MAX {
                return Err(Error::TooLong);
            }
            if seen >= header.len() + length {
                return Ok(Some((records, length)));
            }
        }
    }
}

/// A payload and what is behind it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// The payload of the handshake record at the start of `input`, and what is behind it.
fn record(input: &[u8]) -> Result<Option<Split<'_>>, Error> {
    if !may_be_tls(input) {
        return Err(Error::Malformed);
    }
    let Some((header, rest)) = input.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    // A record without content would let a client go on for ever.
    if length == 0 || length > PLAINTEXT_BYTES_MAX {
        return Err(Error::Malformed);
    }
    Ok(rest.split_at_checked(length))
}

/// Reads big-endian lengths and what they cover.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Error::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, Error> {
        Ok(self.take(bytes)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    /// What a length of so many bytes covers.
    fn vector(&mut self, length_bytes: usize) -> Result<Reader<'a>, Error> {
        let length = self.number(length_bytes)?;
        Ok(Reader(self.take(length)?))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse(message: &[u8]) -> Result<Hello, Error> {
    let mut reader = Reader(message);
    reader.take(2 + 32)?; // version, random
    reader.vector(1)?; // session id
    reader.vector(2)?; // cipher suites
    reader.vector(1)?; // compression methods
    let mut hello = Hello::default();
    if reader.is_empty() {
        return Ok(hello);
    }
    let mut extensions = reader.vector(2)?;
    while !extensions.is_empty() {
        let kind = extensions.number(2)?;
        let mut content = extensions.vector(2)?;
        match kind {
            0 => hello.server_name = server_name(&mut content)?,
            16 => hello.alpn = protocols(&mut content)?,
            _ => {}
        }
    }
    Ok(hello)
}

fn server_name(content: &mut Reader<'_>) -> Result<Option<Box<str>>, Error> {
    let mut list = content.vector(2)?;
    while !list.is_empty() {
        let kind = list.number(1)?;
        let name = list.vector(2)?.0;
        if kind == 0 {
            return Ok(host_name(name));
        }
    }
    Ok(None)
}

/// `name` as it is compared: what isn't made of a name's characters is none, so nothing strange reaches routes and logs.
fn host_name(name: &[u8]) -> Option<Box<str>> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let fits = !name.is_empty()
        && name.len() <= 253
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    let name = str::from_utf8(name).ok().filter(|_| fits)?;
    Some(name.to_ascii_lowercase().into_boxed_str())
}

fn protocols(content: &mut Reader<'_>) -> Result<Vec<Box<[u8]>>, Error> {
    let mut list = content.vector(2)?;
    let mut protocols = Vec::new();
    while !list.is_empty() {
        protocols.push(list.vector(1)?.0.into());
    }
    Ok(protocols)
}
