//! Errors of HTTP messages: what was wrong, in which direction, and what to answer.

use crate::{Fault, Scope};
use core::fmt;

/// Which kind of message an error was found in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Request,
    Response,
}

/// A message that can't be accepted. Always the peer's fault, and always the end of the connection: after a message that
/// breaks the rules of framing nobody can tell where the next one begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error {
    pub kind: ErrorKind,
    pub side: Side,
}

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:literal $token:literal,)*) => {
        /// What was wrong. Each kind has a token for logs (Envoy's name where it has one) and a status.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u8)]
        pub enum ErrorKind { $($(#[$doc])* $kind,)* }

        impl ErrorKind {
            pub const ALL: &[ErrorKind] = &[$(ErrorKind::$kind,)*];

            /// The token for access logs and counters; no spaces.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorKind::$kind => $token,)* }
            }

            /// Status to answer a request with.
            #[must_use]
            pub const fn request_status(self) -> u16 {
                match self { $(ErrorKind::$kind => $status,)* }
            }
        }
    };
}

error_kinds! {
    /// A line ends with LF without CR.
    BareLf = 400 "http1.bare_lf",
    /// A CR that no LF follows.
    BareCr = 400 "http1.bare_cr",
    Nul = 400 "http1.nul",
    /// More empty lines before the start line than tolerated.
    LeadingEmptyLines = 400 "http1.leading_empty_lines",
    InvalidRequestLine = 400 "http1.invalid_request_line",
    InvalidMethod = 400 "http1.invalid_method",
    InvalidTarget = 400 "http1.invalid_url",
    /// Neither HTTP/1.0 nor HTTP/1.1, or a version that isn't allowed here.
    UnsupportedVersion = 505 "http1.unsupported_version",
    InvalidStatusLine = 400 "http1.invalid_status_line",
    InvalidFieldName = 400 "http1.invalid_field_name",
    /// A name that is another's for servers that take `_` for `-`, as `X_Forwarded_For`.
    AmbiguousFieldName = 400 "http1.ambiguous_field_name",
    InvalidFieldValue = 400 "http1.invalid_characters",
    /// A field line without a colon.
    MissingColon = 400 "http1.missing_colon",
    SpaceBeforeColon = 400 "http1.space_before_colon",
    /// A field continued on the next line (RFC 9112 5.2).
    ObsFold = 400 "http1.obs_fold",

    HeadTooLarge = 431 "http1.headers_too_large",
    RequestLineTooLong = 414 "http1.request_line_too_long",
    TooManyFields = 431 "http1.too_many_headers",
    /// More than `CONNECTION_OPTIONS_MAX` options in `Connection`.
    TooManyConnectionOptions = 431 "http1.too_many_connection_options",

    InvalidContentLength = 400 "http1.invalid_content_length",
    /// More than one `Content-Length`, or a list in one, be they equal or not.
    SeveralContentLengths = 400 "http1.several_content_lengths",
    ContentLengthWithTransferEncoding = 400 "http1.content_length_and_chunked_not_allowed",
    /// An empty element or a parameter in `Transfer-Encoding`.
    InvalidTransferEncoding = 400 "http1.invalid_transfer_encoding",
    /// A coding that nobody has registered.
    UnknownTransferCoding = 400 "http1.unknown_transfer_coding",
    /// A registered coding other than `chunked`.
    UnsupportedTransferCoding = 501 "http1.unsupported_transfer_coding",
    ChunkedNotLast = 400 "http1.chunked_not_last",
    ChunkedTwice = 400 "http1.chunked_twice",
    TransferEncodingInHttp10 = 400 "http1.transfer_encoding_not_allowed",
    /// A length on a message that can't have a body, where ignoring it isn't safe.
    BodyNotAllowed = 400 "http1.body_disallowed",

    MissingHost = 400 "missing_host_header",
    SeveralHosts = 400 "http1.several_hosts",
    InvalidHost = 400 "http1.invalid_host",
    /// `Host` and the target's authority differ.
    HostMismatch = 400 "http1.host_mismatch",
    InvalidScheme = 400 "http1.invalid_scheme",
    /// `*` with a method other than OPTIONS.
    AsteriskFormNotAllowed = 400 "http1.asterisk_form_not_allowed",
    /// `host:port` with a method other than CONNECT.
    AuthorityFormNotAllowed = 400 "http1.authority_form_not_allowed",
    /// `Connection` names a field that must not be removed.
    ForbiddenConnectionOption = 400 "http1.connection_header_rejected",

    /// `Expect` is something else than `100-continue`, or there are several.
    UnknownExpectation = 417 "http1.unknown_expectation",

    InvalidChunkSize = 400 "http1.invalid_chunk_size",
    ChunkSizeOverflow = 400 "http1.chunk_size_overflow",
    InvalidChunkExtension = 400 "http1.invalid_chunk_extension",
    /// No CRLF where a chunk's size says that it ends.
    InvalidChunkEnd = 400 "http1.invalid_chunk_end",
    ChunkLineTooLong = 400 "http1.chunk_line_too_long",
    /// Extensions out of proportion to the payload.
    ChunkOverheadTooLarge = 400 "http1.chunk_overhead_too_large",
    TrailersTooLarge = 431 "http1.trailers_too_large",
    TooManyTrailers = 431 "http1.too_many_trailers",
    /// A field in trailers that would change framing or routing.
    ForbiddenTrailer = 400 "http1.forbidden_trailer",
    /// The connection ended before the message did.
    Truncated = 400 "http1.truncated",
}

impl Error {
    #[must_use]
    pub const fn new(kind: ErrorKind, side: Side) -> Error {
        Error { kind, side }
    }

    #[must_use]
    pub const fn fault(self) -> Fault {
        Fault::Peer
    }

    #[must_use]
    pub const fn scope(self) -> Scope {
        Scope::Connection
    }

    /// Status to answer the client with: 502 when it is the origin that broke the rules.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self.side {
            Side::Request => self.kind.request_status(),
            Side::Response => 502,
        }
    }

    /// The token for access logs and counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.kind.as_str()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Request => "request",
            Side::Response => "response",
        };
        write!(f, "{side}: {}", self.as_str())
    }
}

impl core::error::Error for Error {}
