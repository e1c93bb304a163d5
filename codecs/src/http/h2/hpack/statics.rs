//! The static table (RFC 7541 appendix A).

use crate::http::FieldId;

/// Entries of the static table; dynamic ones are numbered from the next.
pub(super) const STATIC_ENTRIES: usize = 61;

pub(super) struct Static {
    /// `name: value` and CRLF.
    pub(super) line: &'static [u8],
    pub(super) name_len: usize,
    pub(super) id: FieldId,
}

macro_rules! entry {
    ($name:literal, $value:literal, $id:ident) => {
        Static { line: concat!($name, ": ", $value, "\r\n").as_bytes(), name_len: $name.len(), id: FieldId::$id }
    };
}

/// The table; index 1 is the first entry.
pub(super) static STATIC: [Static; STATIC_ENTRIES] = STATIC_VALUE;
const STATIC_VALUE: [Static; STATIC_ENTRIES] = [
    entry!(":authority", "", Other),
    entry!(":method", "GET", Other),
    entry!(":method", "POST", Other),
    entry!(":path", "/", Other),
    entry!(":path", "/index.html", Other),
    entry!(":scheme", "http", Other),
    entry!(":scheme", "https", Other),
    entry!(":status", "200", Other),
    entry!(":status", "204", Other),
    entry!(":status", "206", Other),
    entry!(":status", "304", Other),
    entry!(":status", "400", Other),
    entry!(":status", "404", Other),
    entry!(":status", "500", Other),
    entry!("accept-charset", "", AcceptCharset),
    entry!("accept-encoding", "gzip, deflate", AcceptEncoding),
    entry!("accept-language", "", AcceptLanguage),
    entry!("accept-ranges", "", AcceptRanges),
    entry!("accept", "", Accept),
    entry!("access-control-allow-origin", "", AccessControlAllowOrigin),
    entry!("age", "", Age),
    entry!("allow", "", Allow),
    entry!("authorization", "", Authorization),
    entry!("cache-control", "", CacheControl),
    entry!("content-disposition", "", ContentDisposition),
    entry!("content-encoding", "", ContentEncoding),
    entry!("content-language", "", ContentLanguage),
    entry!("content-length", "", ContentLength),
    entry!("content-location", "", ContentLocation),
    entry!("content-range", "", ContentRange),
    entry!("content-type", "", ContentType),
    entry!("cookie", "", Cookie),
    entry!("date", "", Date),
    entry!("etag", "", Etag),
    entry!("expect", "", Expect),
    entry!("expires", "", Expires),
    entry!("from", "", Other),
    entry!("host", "", Host),
    entry!("if-match", "", IfMatch),
    entry!("if-modified-since", "", IfModifiedSince),
    entry!("if-none-match", "", IfNoneMatch),
    entry!("if-range", "", IfRange),
    entry!("if-unmodified-since", "", IfUnmodifiedSince),
    entry!("last-modified", "", LastModified),
    entry!("link", "", Link),
    entry!("location", "", Location),
    entry!("max-forwards", "", MaxForwards),
    entry!("proxy-authenticate", "", ProxyAuthenticate),
    entry!("proxy-authorization", "", ProxyAuthorization),
    entry!("range", "", Range),
    entry!("referer", "", Referer),
    entry!("refresh", "", Other),
    entry!("retry-after", "", RetryAfter),
    entry!("server", "", Server),
    entry!("set-cookie", "", SetCookie),
    entry!("strict-transport-security", "", StrictTransportSecurity),
    entry!("transfer-encoding", "", TransferEncoding),
    entry!("user-agent", "", UserAgent),
    entry!("vary", "", Vary),
    entry!("via", "", Via),
    entry!("www-authenticate", "", WwwAuthenticate),
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
