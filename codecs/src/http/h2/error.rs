//! Errors of HTTP/2: the codes on the wire, and what was wrong in words of our own.

use crate::{Fault, Scope};
use core::fmt;

/// An error code of RST_STREAM and GOAWAY (RFC 9113 section 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(u32)]
pub enum ErrorCode {
    #[default]
    NoError = 0x0,
    ProtocolError = 0x1,
    InternalError = 0x2,
    FlowControlError = 0x3,
    SettingsTimeout = 0x4,
    StreamClosed = 0x5,
    FrameSizeError = 0x6,
    RefusedStream = 0x7,
    Cancel = 0x8,
    CompressionError = 0x9,
    ConnectError = 0xa,
    EnhanceYourCalm = 0xb,
    InadequateSecurity = 0xc,
    Http11Required = 0xd,
}

impl ErrorCode {
    /// The code that a peer sent; an unknown one counts as INTERNAL_ERROR, as section 7 allows.
    #[must_use]
    pub fn of(code: u32) -> ErrorCode {
        match code {
            0x0 => ErrorCode::NoError,
            0x1 => ErrorCode::ProtocolError,
            0x3 => ErrorCode::FlowControlError,
            0x4 => ErrorCode::SettingsTimeout,
            0x5 => ErrorCode::StreamClosed,
            0x6 => ErrorCode::FrameSizeError,
            0x7 => ErrorCode::RefusedStream,
            0x8 => ErrorCode::Cancel,
            0x9 => ErrorCode::CompressionError,
            0xa => ErrorCode::ConnectError,
            0xb => ErrorCode::EnhanceYourCalm,
            0xc => ErrorCode::InadequateSecurity,
            0xd => ErrorCode::Http11Required,
            _ => ErrorCode::InternalError,
        }
    }
}

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $kind:ident = $code:ident $token:literal,)*) => {
        /// What was wrong. Each kind has a token for logs and counters, and the code that the peer is told.
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

            /// The code of the RST_STREAM or GOAWAY that goes to the peer.
            #[must_use]
            pub const fn code(self) -> ErrorCode {
                match self { $(ErrorKind::$kind => ErrorCode::$code,)* }
            }
        }
    };
}

error_kinds! {
    // Frames: nearly always the end of the connection.
    /// The connection doesn't begin with the client's preface (RFC 9113 3.4).
    InvalidPreface = ProtocolError "http2.invalid_preface",
    /// The first frame isn't SETTINGS.
    MissingSettings = ProtocolError "http2.missing_settings",
    /// Longer than our SETTINGS_MAX_FRAME_SIZE.
    FrameTooLarge = FrameSizeError "http2.frame_too_large",
    /// A length that this type of frame can't have.
    InvalidFrameSize = FrameSizeError "http2.invalid_frame_size",
    /// As much padding as payload, or more.
    InvalidPadding = ProtocolError "http2.invalid_padding",
    /// A stream where there must be none, none where there must be one, or one that this side can't open.
    InvalidStreamId = ProtocolError "http2.invalid_stream_id",
    /// A frame other than HEADERS or PRIORITY on a stream that nobody has opened.
    IdleStream = ProtocolError "http2.idle_stream",
    /// A frame on a stream that its sender had ended.
    StreamClosed = StreamClosed "http2.stream_closed",
    /// Something else between HEADERS and its CONTINUATION.
    ContinuationExpected = ProtocolError "http2.continuation_expected",
    UnexpectedContinuation = ProtocolError "http2.unexpected_continuation",
    /// PUSH_PROMISE from a client, or although we disabled it.
    UnexpectedPush = ProtocolError "http2.unexpected_push_promise",
    InvalidSetting = ProtocolError "http2.invalid_setting",
    /// SETTINGS_INITIAL_WINDOW_SIZE above 2^31 - 1.
    InvalidInitialWindow = FlowControlError "http2.invalid_initial_window",
    /// A stream that depends on itself.
    SelfDependency = ProtocolError "http2.self_dependency",
    ZeroWindowUpdate = ProtocolError "http2.zero_window_update",
    /// A window that would exceed 2^31 - 1.
    WindowOverflow = FlowControlError "http2.window_overflow",
    /// More DATA than the window allowed.
    WindowExceeded = FlowControlError "http2.window_exceeded",
    /// A header block that isn't valid HPACK (RFC 7541).
    InvalidHeaderBlock = CompressionError "http2.invalid_header_block",
    /// A GOAWAY that names a later stream than the one before it.
    GoAwayIncreased = ProtocolError "http2.goaway_increased",

    // Messages: the end of their stream (RFC 9113 8.1.1).
    /// More streams than our SETTINGS_MAX_CONCURRENT_STREAMS.
    TooManyStreams = RefusedStream "http2.too_many_streams",
    InvalidFieldName = ProtocolError "http2.invalid_field_name",
    InvalidFieldValue = ProtocolError "http2.invalid_characters",
    /// `connection`, `keep-alive`, `proxy-connection`, `transfer-encoding` or `upgrade` (RFC 9113 8.2.2).
    ConnectionSpecificField = ProtocolError "http2.connection_header_rejected",
    /// `te` with another value than `trailers`.
    InvalidTe = ProtocolError "http2.invalid_te",
    /// A pseudo-header field that doesn't exist or doesn't belong into this message.
    UnknownPseudoField = ProtocolError "http2.unknown_pseudo_header",
    DuplicatePseudoField = ProtocolError "http2.duplicate_pseudo_header",
    PseudoFieldAfterFields = ProtocolError "http2.pseudo_header_after_headers",
    MissingPseudoField = ProtocolError "http2.missing_pseudo_header",
    InvalidMethod = ProtocolError "http2.invalid_method",
    InvalidPath = ProtocolError "http2.invalid_path",
    InvalidScheme = ProtocolError "http2.invalid_scheme",
    InvalidAuthority = ProtocolError "http2.invalid_authority",
    /// Neither `:authority` nor `host`.
    MissingAuthority = ProtocolError "http2.missing_authority",
    SeveralHosts = ProtocolError "http2.several_hosts",
    /// `host` and `:authority` differ.
    AuthorityMismatch = ProtocolError "http2.authority_mismatch",
    InvalidStatus = ProtocolError "http2.invalid_status",
    InvalidContentLength = ProtocolError "http2.invalid_content_length",
    /// More or fewer bytes of DATA than `content-length` says.
    ContentLengthMismatch = ProtocolError "http2.content_length_mismatch",
    /// DATA or a length where the message can't have a body.
    BodyNotAllowed = ProtocolError "http2.body_disallowed",
    /// A field in trailers that would change framing or routing.
    ForbiddenTrailer = ProtocolError "http2.forbidden_trailer",
    /// A second header block that doesn't end the stream.
    TrailersWithoutEnd = ProtocolError "http2.trailers_without_end_stream",
    /// A 1xx response that ends the stream.
    InterimWithEnd = ProtocolError "http2.interim_with_end_stream",
    /// One 1xx response after the other.
    TooManyInterims = EnhanceYourCalm "http2.too_many_interim_responses",
    /// DATA before the response's head.
    DataBeforeHead = ProtocolError "http2.data_before_headers",

    // Sizes: a head can be answered with `status`.
    /// More than `header_list_bytes_max`, counted after decoding.
    HeaderListTooLarge = EnhanceYourCalm "http2.headers_too_large",
    TooManyFields = EnhanceYourCalm "http2.too_many_headers",
    PathTooLong = EnhanceYourCalm "http2.path_too_long",
    TrailersTooLarge = EnhanceYourCalm "http2.trailers_too_large",

    // Abuse: the end of the connection.
    /// Streams that the peer opened and reset again.
    TooManyResets = EnhanceYourCalm "http2.too_many_resets",
    /// Streams that the peer made us reset.
    TooManyStreamErrors = EnhanceYourCalm "http2.too_many_stream_errors",
    /// A header block in too many frames.
    ContinuationFlood = EnhanceYourCalm "http2.continuation_flood",
    /// A header block of more than `header_block_bytes_max`, or one that decodes to many times the list's limit.
    HeaderBlockTooLarge = EnhanceYourCalm "http2.header_block_too_large",
    SettingsFlood = EnhanceYourCalm "http2.settings_flood",
    PingFlood = EnhanceYourCalm "http2.ping_flood",
    EmptyDataFlood = EnhanceYourCalm "http2.empty_data_flood",
    /// DATA in crumbs.
    SmallDataFlood = EnhanceYourCalm "http2.small_data_flood",
    PriorityFlood = EnhanceYourCalm "http2.priority_flood",
    WindowUpdateFlood = EnhanceYourCalm "http2.window_update_flood",
    /// Frames that have no effect: of unknown types, on streams that are gone, on streams that we refused.
    IgnoredFrameFlood = EnhanceYourCalm "http2.ignored_frame_flood",
    /// The peer asks and doesn't read the answers.
    TooManyReplies = EnhanceYourCalm "http2.outbound_control_flood",

    // Time, which the caller measures: the end of the connection, by `Connection::give_up`.
    /// The preface, the first SETTINGS, a head or another frame that the peer began and didn't end in time.
    HeadTimeout = EnhanceYourCalm "http2.header_timeout",
    /// Our SETTINGS weren't acknowledged in time (RFC 9113 6.5.3).
    SettingsTimeout = SettingsTimeout "http2.settings_timeout",
}

impl ErrorKind {
    /// Status to answer a request with whose head was too large.
    #[must_use]
    pub const fn request_status(self) -> u16 {
        match self {
            ErrorKind::PathTooLong => 414,
            ErrorKind::HeaderListTooLarge | ErrorKind::TooManyFields | ErrorKind::TrailersTooLarge => 431,
            _ => 400,
        }
    }
}

/// The end of a connection that the peer is to blame for. GOAWAY has been written: send it and close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Error {
    pub kind: ErrorKind,
}

impl Error {
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        self.kind.code()
    }

    #[must_use]
    pub const fn fault(self) -> Fault {
        Fault::Peer
    }

    #[must_use]
    pub const fn scope(self) -> Scope {
        Scope::Connection
    }

    /// The token for access logs and counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.kind.as_str()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for Error {}

/// Why a frame can't be sent on a stream. Ours to avoid, except that a peer may have reset the stream meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// The stream is gone, or this side has ended it.
    Closed,
    /// DATA or trailers before a final head, or a second final head.
    OutOfOrder,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Closed => "the stream is closed",
            SendError::OutOfOrder => "out of order",
        })
    }
}

impl core::error::Error for SendError {}

/// Why a client can't open a stream now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS is reached: later, or on another connection.
    TooManyStreams,
    /// The peer sent GOAWAY, or the connection failed: on another connection.
    Draining,
    /// All 2^30 stream identifiers are used up: on another connection.
    Exhausted,
    /// The peer hasn't offered extended CONNECT (RFC 8441 section 3), or not yet.
    NoConnectProtocol,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OpenError::TooManyStreams => "as many streams as the peer allows",
            OpenError::Draining => "the connection is draining",
            OpenError::Exhausted => "no stream identifiers left",
            OpenError::NoConnectProtocol => "the peer takes no extended CONNECT",
        })
    }
}

impl core::error::Error for OpenError {}
