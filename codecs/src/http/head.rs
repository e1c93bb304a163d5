//! Heads of requests and responses, filled by a codec, and the limits on their size.

use super::{Field, FieldId, Method, Span};

/// Version of HTTP that a message was sent with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[repr(u8)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

/// Scheme of an absolute-form target, or of `:scheme`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Scheme {
    Http,
    Https,
}

/// Which of the four forms a request target has (RFC 9112 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://authority/path?query`
    Absolute,
    /// `host:port`, with CONNECT only
    Authority,
    /// `*`, with OPTIONS only
    Asterisk,
}

/// How the end of a message's body is found (RFC 9112 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BodyLength {
    /// There is no body.
    #[default]
    None,
    /// Exactly as many bytes; `Content-Length: 0` is `Length(0)`.
    Length(u64),
    /// Of unknown length, with an end that the version marks, perhaps with trailers: chunked coding in HTTP/1.1,
    /// END_STREAM in HTTP/2.
    Chunked,
    /// Everything until the connection closes; responses only.
    UntilClose,
}

impl BodyLength {
    /// Not a byte follows the head.
    #[must_use]
    pub fn is_empty(self) -> bool {
        matches!(self, BodyLength::None | BodyLength::Length(0))
    }
}

/// Head of a request; spans refer to the input of the parse that filled it, or to the text that an HTTP/2 head was
/// decoded to.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    pub method: Method,
    pub method_span: Span,
    /// The request target as it was sent.
    pub target: Span,
    pub target_form: TargetForm,
    /// Path and query to send on: the target without scheme and authority, `/` if nothing is left, `*` for the
    /// asterisk-form; empty with CONNECT unless it is an extended one.
    pub path: Span,
    /// Where the `?` of `path` is, or `path.end` when it has no query.
    pub query_start: u32,
    /// Host and port: the target's authority if it has one, else the value of `Host`. Empty only with HTTP/1.0.
    pub authority: Span,
    /// Scheme of an absolute-form target, or of `:scheme`.
    pub scheme: Option<Scheme>,
    pub version: Version,
    pub fields: Vec<Field>,
    /// Where the empty line after the last field begins.
    pub fields_end: u32,
    pub body: BodyLength,
    /// The client wants to use the connection again.
    pub keep_alive: bool,
    /// A body waits for `100 Continue`.
    pub expect_continue: bool,
    /// Value of `Upgrade` when `Connection` nominates it (HTTP/1.1 only).
    pub upgrade: Option<Span>,
    /// Value of `:protocol`: extended CONNECT (RFC 8441; HTTP/2 only).
    pub protocol: Option<Span>,
    /// The client takes trailers (`TE: trailers`).
    pub te_trailers: bool,
}

/// Head of a response; spans as in [`RequestHead`].
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    pub status: u16,
    /// May be empty; may contain bytes above 0x7f.
    pub reason: Span,
    pub version: Version,
    pub fields: Vec<Field>,
    /// Where the empty line after the last field begins.
    pub fields_end: u32,
    pub body: BodyLength,
    /// The connection can carry another exchange after this message.
    pub keep_alive: bool,
    /// No message follows: raw bytes in both directions (101, or 2xx to CONNECT). `body` is `None`.
    pub tunnel: bool,
    /// Value of `Upgrade` when `Connection` nominates it.
    pub upgrade: Option<Span>,
}

impl RequestHead {
    /// A copy but for the fields.
    #[inline]
    pub(crate) fn without_fields(&self) -> RequestHead {
        RequestHead { fields: Vec::new(), ..*self }
    }

    /// The first field with a well-known name.
    #[must_use]
    pub fn field(&self, id: FieldId) -> Option<&Field> {
        self.fields.iter().find(|field| field.id == id)
    }

    /// Path without the query.
    #[must_use]
    pub fn path_only(&self) -> Span {
        Span { start: self.path.start, end: self.query_start }
    }

    /// Query without the `?`; `None` when there is no `?`.
    #[must_use]
    pub fn query(&self) -> Option<Span> {
        (self.query_start < self.path.end).then(|| Span { start: self.query_start + 1, end: self.path.end })
    }

    /// Back to the default, keeping the memory of `fields`.
    pub fn clear(&mut self) {
        let mut fields = core::mem::take(&mut self.fields);
        fields.clear();
        *self = RequestHead { fields, ..RequestHead::default() };
    }
}

impl ResponseHead {
    /// The first field with a well-known name.
    #[must_use]
    pub fn field(&self, id: FieldId) -> Option<&Field> {
        self.fields.iter().find(|field| field.id == id)
    }

    /// An interim response: the final one is still to come (RFC 9110 15.2). 101 is final.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Back to the default, keeping the memory of `fields`.
    pub fn clear(&mut self) {
        let mut fields = core::mem::take(&mut self.fields);
        fields.clear();
        *self = ResponseHead { fields, ..ResponseHead::default() };
    }
}

/// Bounds on what a peer may send around the payload. All are inclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadLimits {
    /// Start line, fields and the empty line after them.
    pub head_bytes_max: u32,
    /// Fields of a head, and fields of its trailers; at most [`HeadLimits::FIELDS_MAX`].
    pub fields_max: u32,
    /// Request line without its CRLF.
    pub request_line_bytes_max: u32,
    /// A chunk's size with its extensions, without the CRLF.
    pub chunk_line_bytes_max: u32,
    /// Everything around the payload of chunks in one body, over 16 bytes and the payload's own size again for each
    /// chunk: what stops a peer that hides megabytes in extensions.
    pub chunk_overhead_bytes_max: u32,
    /// Trailer fields with the empty line after them.
    pub trailer_bytes_max: u32,
}

impl HeadLimits {
    /// What `fields_max` can be at most; a larger value means this one.
    pub const FIELDS_MAX: u32 = 1024;
}

impl Default for HeadLimits {
    fn default() -> HeadLimits {
        HeadLimits {
            head_bytes_max: 60 * 1024,
            fields_max: 100,
            request_line_bytes_max: 8 * 1024,
            chunk_line_bytes_max: 1024,
            chunk_overhead_bytes_max: 16 * 1024,
            trailer_bytes_max: 8 * 1024,
        }
    }
}
