//! The static table (RFC 7541 appendix A).

use crate::http::FieldId;

/// Entries of the static table; dynamic ones are numbered from the next.
pub(super) const STATIC_ENTRIES: usize = 61;

pub(super) struct Static {
    pub(super) name: &'static [u8],
    pub(super) value: &'static [u8],
    pub(super) id: FieldId,
}

const fn entry(name: &'static str, value: &'static str, id: FieldId) -> Static {
    Static { name: name.as_bytes(), value: value.as_bytes(), id }
}

const fn field(id: FieldId) -> Static {
    entry(id.name(), "", id)
}

const fn pseudo(name: &'static str, value: &'static str) -> Static {
    entry(name, value, FieldId::Other)
}

/// The table; index 1 is the first entry.
pub(super) static STATIC: [Static; STATIC_ENTRIES] = STATIC_VALUE;
const STATIC_VALUE: [Static; STATIC_ENTRIES] = [
    pseudo(":authority", ""),
    pseudo(":method", "GET"),
    pseudo(":method", "POST"),
    pseudo(":path", "/"),
    pseudo(":path", "/index.html"),
    pseudo(":scheme", "http"),
    pseudo(":scheme", "https"),
    pseudo(":status", "200"),
    pseudo(":status", "204"),
    pseudo(":status", "206"),
    pseudo(":status", "304"),
    pseudo(":status", "400"),
    pseudo(":status", "404"),
    pseudo(":status", "500"),
    field(FieldId::AcceptCharset),
    entry("accept-encoding", "gzip, deflate", FieldId::AcceptEncoding),
    field(FieldId::AcceptLanguage),
    field(FieldId::AcceptRanges),
    field(FieldId::Accept),
    field(FieldId::AccessControlAllowOrigin),
    field(FieldId::Age),
    field(FieldId::Allow),
    field(FieldId::Authorization),
    field(FieldId::CacheControl),
    field(FieldId::ContentDisposition),
    field(FieldId::ContentEncoding),
    field(FieldId::ContentLanguage),
    field(FieldId::ContentLength),
    field(FieldId::ContentLocation),
    field(FieldId::ContentRange),
    field(FieldId::ContentType),
    field(FieldId::Cookie),
    field(FieldId::Date),
    field(FieldId::Etag),
    field(FieldId::Expect),
    field(FieldId::Expires),
    entry("from", "", FieldId::Other),
    field(FieldId::Host),
    field(FieldId::IfMatch),
    field(FieldId::IfModifiedSince),
    field(FieldId::IfNoneMatch),
    field(FieldId::IfRange),
    field(FieldId::IfUnmodifiedSince),
    field(FieldId::LastModified),
    field(FieldId::Link),
    field(FieldId::Location),
    field(FieldId::MaxForwards),
    field(FieldId::ProxyAuthenticate),
    field(FieldId::ProxyAuthorization),
    field(FieldId::Range),
    field(FieldId::Referer),
    entry("refresh", "", FieldId::Other),
    field(FieldId::RetryAfter),
    field(FieldId::Server),
    field(FieldId::SetCookie),
    field(FieldId::StrictTransportSecurity),
    entry("transfer-encoding", "", FieldId::TransferEncoding),
    field(FieldId::UserAgent),
    field(FieldId::Vary),
    field(FieldId::Via),
    field(FieldId::WwwAuthenticate),
];

/// Index of the first static entry with the name of each well-known field; 0 for none.
static NAME_INDEX: [u8; 128] = {
    let mut index = [0; 128];
    let mut at = STATIC_ENTRIES;
    while at > 0 {
        let id = STATIC_VALUE[at - 1].id;
        if id as usize != FieldId::Other as usize {
            index[id as usize] = at as u8;
        }
        at -= 1;
    }
    index
};

/// Index of the first static entry with this name; 0 for none.
#[inline]
pub(super) fn name_index(id: FieldId) -> usize {
    usize::from(NAME_INDEX[id as usize & 127])
}
