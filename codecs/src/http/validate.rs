//! The validator: every rule about fields that framing, routing and persistence hang on, once for all versions.
//!
//! A codec feeds it each field as it is parsed ([`Facts::note`]) and then asks for the conclusions. Where RFC 9112 lets a
//! recipient choose between repairing and refusing, it refuses: two parsers that repair differently are what request
//! smuggling is made of. In particular:
//!
//! - `Content-Length` is digits only, once, not a list, never beside `Transfer-Encoding`.
//! - `Transfer-Encoding` is `chunked`, once, and never in HTTP/1.0.
//! - `Host` is there exactly once in HTTP/1.1, has the form host[:port] and agrees with the target's authority.
//! - `Connection` may nominate fields to be dropped, but not those in [`FORBIDDEN_OPTIONS`]: asking a proxy to remove
//!   `Host` or `X-Forwarded-For` is an attack on what is behind it, so that is an error.
//! - No name of a request is that of a field for framing or about the client, but for `_` in the place of `-`.
//! - `Expect` of a request is `100-continue`, once: who reads something else as that waits for a body that another
//!   doesn't expect any more, or takes for a request.

use super::authority::{is_authority, without_default_port};
use super::syntax::{decimal, elements, is_token};
use super::{BodyLength, ErrorKind, Field, FieldId, FieldSet, Method, Scheme, Span, Version};

/// Options in all `Connection` fields of one head that aren't `close`, `keep-alive`, `upgrade` or `te`. Each costs a pass
/// over the fields.
pub const CONNECTION_OPTIONS_MAX: usize = 32;

/// Fields that `Connection` can't remove: meant for every recipient of the message (RFC 9110 7.6.1), or ours to set.
const FORBIDDEN_OPTIONS: FieldSet = FieldSet::of(&[
    FieldId::Host,
    FieldId::ContentLength,
    FieldId::ContentType,
    FieldId::ContentEncoding,
    FieldId::ContentRange,
    FieldId::Range,
    FieldId::Expect,
    FieldId::Authorization,
    FieldId::Cookie,
    FieldId::SetCookie,
    FieldId::CacheControl,
    FieldId::Date,
    FieldId::Location,
    FieldId::Origin,
    FieldId::Forwarded,
    FieldId::Via,
    FieldId::XForwardedFor,
    FieldId::XForwardedProto,
    FieldId::XForwardedHost,
    FieldId::XForwardedPort,
    FieldId::XRealIp,
    FieldId::XRequestId,
]);

/// Fields whose names some servers see in others, too, because they take `_` for `-` (CGI and what has its environment
/// do): those that frame a message, and those that say who the client is, which a client must not say itself.
const NOT_WITH_UNDERSCORES: FieldSet = FieldSet::of(&[
    FieldId::ContentLength,
    FieldId::TransferEncoding,
    FieldId::XForwardedFor,
    FieldId::XForwardedProto,
    FieldId::XForwardedHost,
    FieldId::XForwardedPort,
    FieldId::XForwardedClientCert,
    FieldId::XRealIp,
    FieldId::XRequestId,
]);

/// Fields that decide where a message ends or goes: in trailers they can only be meant to deceive.
const FORBIDDEN_TRAILERS: FieldSet = FieldSet::of(&[FieldId::Host, FieldId::ContentLength, FieldId::TransferEncoding]);

/// Fields that have no meaning in trailers, or one that comes too late (RFC 9110 6.5.1): not sent on.
const DROPPED_TRAILERS: FieldSet = FieldSet::of(&[
    FieldId::Connection,
    FieldId::KeepAlive,
    FieldId::ProxyConnection,
    FieldId::Te,
    FieldId::Upgrade,
    FieldId::Trailer,
    FieldId::ContentEncoding,
    FieldId::ContentType,
    FieldId::ContentRange,
    FieldId::Authorization,
    FieldId::Cookie,
    FieldId::SetCookie,
    FieldId::Expect,
    FieldId::Range,
    FieldId::CacheControl,
    FieldId::Location,
    FieldId::MaxForwards,
    FieldId::Forwarded,
    FieldId::XForwardedFor,
    FieldId::XForwardedProto,
    FieldId::XForwardedHost,
    FieldId::XForwardedPort,
    FieldId::XRealIp,
    FieldId::XRequestId,
]);

/// What the fields of one head say about the message; filled field by field.
#[derive(Default)]
pub(crate) struct Facts {
    content_length: Option<u64>,
    chunked: bool,
    host: Option<Span>,
    upgrade: Option<Span>,
    upgrades: u32,
    close: bool,
    keep_alive: bool,
    wants_upgrade: bool,
    nominated: usize,
    expectations: u32,
    expect_continue: bool,
    te_trailers: bool,
    is_ambiguous: bool,
}

/// What a head means for its connection.
pub(crate) struct Persistence {
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: Option<Span>,
}

impl Facts {
    /// Takes one field into account and marks it if it ends at this hop.
    #[inline]
    pub(crate) fn note(&mut self, input: &[u8], field: &mut Field) -> Result<(), ErrorKind> {
        // The ids that matter come first; everything else leaves after one comparison.
        if (field.id as u8).wrapping_sub(1) >= FieldId::ProxyConnection as u8 {
            if field.id == FieldId::Other {
                self.is_ambiguous |= is_ambiguous(field.name.of(input));
            }
            return Ok(());
        }
        self.note_special(field.value.of(input), field)
    }

    fn note_special(&mut self, value: &[u8], field: &mut Field) -> Result<(), ErrorKind> {
        match field.id {
            FieldId::Host => {
                if self.host.is_some() {
                    return Err(ErrorKind::SeveralHosts);
                }
                self.host = Some(field.value);
            }
            FieldId::Connection => {
                field.hop_by_hop = true;
                self.connection(value)?;
            }
            FieldId::ContentLength => {
                if self.content_length.is_some() || value.contains(&b',') {
                    return Err(ErrorKind::SeveralContentLengths);
                }
                self.content_length = Some(decimal(value).ok_or(ErrorKind::InvalidContentLength)?);
            }
            FieldId::TransferEncoding => {
                field.hop_by_hop = true;
                self.transfer_encoding(value)?;
            }
            FieldId::Upgrade => {
                field.hop_by_hop = true;
                self.upgrades += 1;
                self.upgrade = Some(field.value);
            }
            FieldId::Expect => {
                self.expectations += 1;
                self.expect_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
            FieldId::Te => {
                field.hop_by_hop = true;
                self.te_trailers |= elements(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
            }
            FieldId::KeepAlive | FieldId::ProxyConnection => field.hop_by_hop = true,
            _ => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), ErrorKind> {
        for option in elements(value) {
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.wants_upgrade = true;
            } else if option.is_empty() || option.eq_ignore_ascii_case(b"te") {
                // Empty elements are allowed in lists (RFC 9110 5.6.1.2); TE is dropped anyway.
            } else if !is_token(option) {
                return Err(ErrorKind::InvalidFieldValue);
            } else {
                self.nominated += 1;
            }
        }
        if self.nominated > CONNECTION_OPTIONS_MAX {
            return Err(ErrorKind::TooManyConnectionOptions);
        }
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), ErrorKind> {
        for coding in elements(value) {
            if !is_token(coding) {
                return Err(ErrorKind::InvalidTransferEncoding);
            }
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            match (self.chunked, is_chunked) {
                (false, true) => self.chunked = true,
                (true, true) => return Err(ErrorKind::ChunkedTwice),
                (true, false) => return Err(ErrorKind::ChunkedNotLast),
                (false, false) => {
                    const REGISTERED: [&[u8]; 5] = [b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];
                    let registered = REGISTERED.iter().any(|name| coding.eq_ignore_ascii_case(name));
                    return Err(match registered {
                        true => ErrorKind::UnsupportedTransferCoding,
                        false => ErrorKind::UnknownTransferCoding,
                    });
                }
            }
        }
        Ok(())
    }

    /// Length of a request's body (RFC 9112 6.3).
    pub(crate) fn request_body(&self, method: Method, version: Version) -> Result<BodyLength, ErrorKind> {
        let body = self.framing(version)?.unwrap_or(BodyLength::None);
        // What follows a CONNECT is the tunnel's; a body before it has no meaning (RFC 9110 9.3.6).
        if method == Method::Connect && !body.is_empty() {
            return Err(ErrorKind::BodyNotAllowed);
        }
        Ok(body)
    }

    /// What the fields alone say about the body; `None` when they say nothing.
    pub(crate) fn framing(&self, version: Version) -> Result<Option<BodyLength>, ErrorKind> {
        match (self.content_length, self.chunked) {
            (Some(_), true) => Err(ErrorKind::ContentLengthWithTransferEncoding),
            (None, true) if version == Version::Http10 => Err(ErrorKind::TransferEncodingInHttp10),
            (None, true) => Ok(Some(BodyLength::Chunked)),
            (Some(length), false) => Ok(Some(BodyLength::Length(length))),
            (None, false) => Ok(None),
        }
    }

    /// The one valid authority of a request, whose fields have unambiguous names: of its target (`authority`) or of `Host`, which must agree.
    pub(crate) fn authority(
        &self,
        input: &[u8],
        authority: Option<Span>,
        scheme: Option<Scheme>,
        version: Version,
    ) -> Result<Span, ErrorKind> {
        if self.is_ambiguous {
            return Err(ErrorKind::AmbiguousFieldName);
        }
        let Some(host) = self.host else {
            return match (version, authority) {
                (Version::Http10, authority) => Ok(authority.unwrap_or_default()),
                // In HTTP/2 `:authority` takes the place of Host (RFC 9113 8.3.1).
                (Version::Http2, Some(authority)) => Ok(authority),
                (Version::Http11 | Version::Http2, _) => Err(ErrorKind::MissingHost),
            };
        };
        if !is_authority(host.of(input), false) {
            return Err(ErrorKind::InvalidHost);
        }
        let Some(authority) = authority else { return Ok(host) };
        let wanted = without_default_port(authority.of(input), scheme);
        if !without_default_port(host.of(input), scheme).eq_ignore_ascii_case(wanted) {
            return Err(ErrorKind::HostMismatch);
        }
        Ok(authority)
    }

    /// Marks the fields that `Connection` nominates, and says how the connection goes on.
    pub(crate) fn persistence(
        &self,
        input: &[u8],
        version: Version,
        fields: &mut [Field],
    ) -> Result<Persistence, ErrorKind> {
        if self.nominated > 0 {
            drop_nominated(input, fields)?;
        }
        let keep_alive = !self.close && (version == Version::Http11 || self.keep_alive);
        // HTTP/1.0 can't upgrade (RFC 9110 7.8), and two Upgrade fields are nothing to choose from.
        let upgrades = self.wants_upgrade && self.upgrades == 1 && version == Version::Http11;
        Ok(Persistence { keep_alive, upgrade: self.upgrade.filter(|_| upgrades) })
    }

    /// Whether the client waits for 100 before it sends the request's body. RFC 9110 10.1.1 leaves other expectations
    /// to be refused.
    pub(crate) fn expect_continue(&self, version: Version, body: BodyLength) -> Result<bool, ErrorKind> {
        if self.expectations != u32::from(self.expect_continue) {
            return Err(ErrorKind::UnknownExpectation);
        }
        Ok(self.expect_continue && version >= Version::Http11 && !body.is_empty())
    }

    pub(crate) fn te_trailers(&self) -> bool {
        self.te_trailers
    }
}

/// Whether the name, with `-` for `_`, is one of [`NOT_WITH_UNDERSCORES`].
#[inline]
fn is_ambiguous(name: &[u8]) -> bool {
    memchr::memchr(b'_', name).is_some() && is_another_with_hyphens(name)
}

#[cold]
fn is_another_with_hyphens(name: &[u8]) -> bool {
    let mut hyphens = [0; 32];
    let Some(hyphens) = hyphens.get_mut(..name.len()) else { return false };
    for (to, byte) in hyphens.iter_mut().zip(name) {
        *to = if *byte == b'_' { b'-' } else { *byte };
    }
    NOT_WITH_UNDERSCORES.contains(FieldId::of(hyphens))
}

#[cold]
fn drop_nominated(input: &[u8], fields: &mut [Field]) -> Result<(), ErrorKind> {
    for at in 0..fields.len() {
        if fields[at].id != FieldId::Connection {
            continue;
        }
        for option in elements(fields[at].value.of(input)).filter(|option| !option.is_empty()) {
            let id = FieldId::of(option);
            if FORBIDDEN_OPTIONS.contains(id) {
                return Err(ErrorKind::ForbiddenConnectionOption);
            }
            for field in fields.iter_mut() {
                field.hop_by_hop |= field.id == id && field.name.of(input).eq_ignore_ascii_case(option);
            }
        }
    }
    Ok(())
}

/// Checks a trailer field and marks it if it isn't to be sent on.
pub(crate) fn note_trailer(field: &mut Field) -> Result<(), ErrorKind> {
    if FORBIDDEN_TRAILERS.contains(field.id) {
        return Err(ErrorKind::ForbiddenTrailer);
    }
    field.hop_by_hop = DROPPED_TRAILERS.contains(field.id);
    Ok(())
}
