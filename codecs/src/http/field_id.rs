//! Well-known field names as small numbers, found by a perfect hash over the name's words.
//!
//! A name of up to 32 bytes is read as at most four overlapping 64-bit words. Folded together they pick one of 512 slots,
//! which holds the only well-known name that it can be; comparing the words decides. No byte loop, no string hashing:
//! a few nanoseconds a field.

macro_rules! field_ids {
    ($($id:ident = $name:literal,)*) => {
        /// A well-known field name, or `Other`.
        #[repr(u8)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
        pub enum FieldId {
            #[default]
            Other,
            $(#[doc = $name] $id,)*
        }

        const NAMES: &[&str] = &["", $($name,)*];

        impl FieldId {
            /// Every well-known name, without `Other`.
            pub const ALL: &[FieldId] = &[$(FieldId::$id,)*];
        }

        const BY_NUMBER: [FieldId; NAMES.len()] = [FieldId::Other, $(FieldId::$id,)*];
    };
}

// The fields that the validator looks at come first.
field_ids! {
    Host = "host",
    Connection = "connection",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    Expect = "expect",
    Te = "te",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    Trailer = "trailer",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XForwardedClientCert = "x-forwarded-client-cert",
    XRequestId = "x-request-id",
    XRealIp = "x-real-ip",
    Forwarded = "forwarded",
    Via = "via",
    Server = "server",
    Date = "date",
    UserAgent = "user-agent",
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    AcceptCharset = "accept-charset",
    AcceptRanges = "accept-ranges",
    Cookie = "cookie",
    SetCookie = "set-cookie",
    Location = "location",
    ContentType = "content-type",
    ContentEncoding = "content-encoding",
    ContentLanguage = "content-language",
    ContentLocation = "content-location",
    ContentRange = "content-range",
    ContentDisposition = "content-disposition",
    ContentSecurityPolicy = "content-security-policy",
    Authorization = "authorization",
    ProxyAuthorization = "proxy-authorization",
    ProxyAuthenticate = "proxy-authenticate",
    WwwAuthenticate = "www-authenticate",
    CacheControl = "cache-control",
    Pragma = "pragma",
    Age = "age",
    Expires = "expires",
    Vary = "vary",
    Etag = "etag",
    LastModified = "last-modified",
    IfMatch = "if-match",
    IfNoneMatch = "if-none-match",
    IfModifiedSince = "if-modified-since",
    IfUnmodifiedSince = "if-unmodified-since",
    IfRange = "if-range",
    Range = "range",
    Referer = "referer",
    Origin = "origin",
    RetryAfter = "retry-after",
    Allow = "allow",
    Link = "link",
    MaxForwards = "max-forwards",
    StrictTransportSecurity = "strict-transport-security",
    UpgradeInsecureRequests = "upgrade-insecure-requests",
    Dnt = "dnt",
    Priority = "priority",
    EarlyData = "early-data",
    AltSvc = "alt-svc",
    SecWebsocketKey = "sec-websocket-key",
    SecWebsocketAccept = "sec-websocket-accept",
    SecWebsocketVersion = "sec-websocket-version",
    SecWebsocketProtocol = "sec-websocket-protocol",
    SecWebsocketExtensions = "sec-websocket-extensions",
    Http2Settings = "http2-settings",
    AccessControlAllowOrigin = "access-control-allow-origin",
    AccessControlAllowMethods = "access-control-allow-methods",
    AccessControlAllowHeaders = "access-control-allow-headers",
    AccessControlAllowCredentials = "access-control-allow-credentials",
    AccessControlExposeHeaders = "access-control-expose-headers",
    AccessControlMaxAge = "access-control-max-age",
    AccessControlRequestMethod = "access-control-request-method",
    AccessControlRequestHeaders = "access-control-request-headers",
    SecFetchDest = "sec-fetch-dest",
    SecFetchMode = "sec-fetch-mode",
    SecFetchSite = "sec-fetch-site",
    SecFetchUser = "sec-fetch-user",
    SecChUa = "sec-ch-ua",
    SecChUaMobile = "sec-ch-ua-mobile",
    SecChUaPlatform = "sec-ch-ua-platform",
    XContentTypeOptions = "x-content-type-options",
    XFrameOptions = "x-frame-options",
    XXssProtection = "x-xss-protection",
    XPoweredBy = "x-powered-by",
    XEnvoyAttemptCount = "x-envoy-attempt-count",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    GrpcTimeout = "grpc-timeout",
    GrpcStatus = "grpc-status",
    GrpcMessage = "grpc-message",
    GrpcEncoding = "grpc-encoding",
}

impl FieldId {
    /// The well-known name that `name` is in any case, or `Other`.
    #[must_use]
    #[inline]
    pub fn of(name: &[u8]) -> FieldId {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return FieldId::Other;
        }
        let words = words(name);
        let number = SLOTS[slot(&words, name.len())] as usize;
        let known = &KNOWN[number];
        let same = known.len as usize == name.len()
            && equal(words[0], known.words[0])
            && equal(words[1], known.words[1])
            && equal(words[2], known.words[2])
            && equal(words[3], known.words[3]);
        if same { BY_NUMBER[number] } else { FieldId::Other }
    }

    /// The name in lower case; empty for `Other`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

/// Longest well-known name.
const NAME_BYTES_MAX: usize = 32;
const SLOT_BITS: u32 = 9;
/// Found by search so that no two names share a slot; `table` refuses to compile otherwise.
const MULTIPLIER: u64 = 0x0d77_2946_e2dc_5411;
const LOWER_CASE: u64 = 0x2020_2020_2020_2020;

struct Known {
    words: [u64; 4],
    len: u8,
}

static KNOWN: [Known; NAMES.len()] = {
    let mut known = [const { Known { words: [0; 4], len: 0 } }; NAMES.len()];
    let mut at = 1;
    while at < NAMES.len() {
        assert!(NAMES[at].len() <= NAME_BYTES_MAX);
        known[at] = Known { words: words(NAMES[at].as_bytes()), len: NAMES[at].len() as u8 };
        at += 1;
    }
    known
};

static SLOTS: [u8; 1 << SLOT_BITS] = {
    assert!(NAMES.len() <= 128, "FieldSet has 128 bits");
    let mut slots = [0; 1 << SLOT_BITS];
    let mut at = 1;
    while at < NAMES.len() {
        let slot = slot(&words(NAMES[at].as_bytes()), NAMES[at].len());
        assert!(slots[slot] == 0, "two names share a slot: choose another MULTIPLIER");
        slots[slot] = at as u8;
        at += 1;
    }
    slots
};

/// A name's bytes as overlapping little-endian words; with the length they determine it.
#[inline]
const fn words(name: &[u8]) -> [u64; 4] {
    let n = name.len();
    if let (Some(first), Some(last)) = (name.first_chunk::<16>(), name.last_chunk::<16>())
        && n > 16
    {
        let (first, last) = (u128::from_le_bytes(*first), u128::from_le_bytes(*last));
        return [first as u64, (first >> 64) as u64, last as u64, (last >> 64) as u64];
    }
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        return [u64::from_le_bytes(*first), u64::from_le_bytes(*last), 0, 0];
    }
    if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        return [u32::from_le_bytes(*first) as u64 | (u32::from_le_bytes(*last) as u64) << 32, 0, 0, 0];
    }
    if n == 0 {
        return [0; 4];
    }
    [name[0] as u64 | (name[n / 2] as u64) << 8 | (name[n - 1] as u64) << 16, 0, 0, 0]
}

#[inline]
const fn slot(words: &[u64; 4], len: usize) -> usize {
    let folded = (words[0] | LOWER_CASE)
        ^ (words[1] | LOWER_CASE).rotate_left(11)
        ^ (words[2] | LOWER_CASE).rotate_left(27)
        ^ (words[3] | LOWER_CASE).rotate_left(43)
        ^ len as u64;
    (folded.wrapping_mul(MULTIPLIER) >> (64 - SLOT_BITS)) as usize
}

/// Whether `word` spells `lower` in any case. Letters of the known name have bit 6 set, hyphens and digits don't: only
/// letters may differ in the case bit, so that no control character passes for a hyphen.
#[inline]
const fn equal(word: u64, lower: u64) -> bool {
    word | (lower >> 1 & LOWER_CASE) == lower
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for &id in FieldId::ALL {
            let name = id.name();
            assert_eq!(FieldId::of(name.as_bytes()), id, "{name}");
            assert_eq!(FieldId::of(name.to_ascii_uppercase().as_bytes()), id, "{name}");
        }
    }

    #[test]
    fn a_name_that_differs_in_one_byte_is_not_found() {
        for &id in FieldId::ALL {
            let name = id.name().as_bytes();
            for at in 0..name.len() {
                for byte in 0..=255u8 {
                    let mut other = name.to_vec();
                    other[at] = byte;
                    let expected = FieldId::ALL
                        .iter()
                        .copied()
                        .find(|id| other.eq_ignore_ascii_case(id.name().as_bytes()))
                        .unwrap_or_default();
                    assert_eq!(FieldId::of(&other), expected, "{:?}", String::from_utf8_lossy(&other));
                }
            }
            assert_eq!(
                FieldId::of(&name[1..]),
                FieldId::ALL.iter().copied().find(|i| i.name().as_bytes() == &name[1..]).unwrap_or_default()
            );
        }
        assert_eq!(FieldId::of(b""), FieldId::Other);
        assert_eq!(FieldId::of(&[b'a'; 33]), FieldId::Other);
    }
}
