//! Which route a request takes.

use codecs::http::{FieldId, RequestHead};

use super::reply::split_port;
use crate::snapshot::{HeaderMatch, PathMatch, QueryMatch, Route, RouteTable, ValueMatch};

/// Longest host that is looked up; longer ones match only routes for any host.
const HOST_BYTES_MAX: usize = 255;

/// Index of the first route that matches, among those for the request's host.
pub(super) fn find(table: &RouteTable, head: &RequestHead, input: &[u8]) -> Option<u32> {
    let candidates = candidates(table, head.authority.of(input));
    candidates.iter().copied().find(|at| matches(&table.routes[*at as usize], head, input))
}

fn candidates<'t>(table: &'t RouteTable, authority: &[u8]) -> &'t [u32] {
    if table.exact.is_empty() && table.suffix.is_empty() {
        return &table.any;
    }
    let (host, _) = split_port(authority);
    // A dot at the end names the same host.
    let host = host.strip_suffix(b".").unwrap_or(host);
    let mut lower = [0u8; HOST_BYTES_MAX];
    let Some(lower) = lower.get_mut(..host.len()) else { return &table.any };
    lower.copy_from_slice(host);
    lower.make_ascii_lowercase();
    let Ok(host) = std::str::from_utf8(lower) else { return &table.any };
    if let Some(exact) = table.exact.get(host) {
        return exact;
    }
    let suffix = table.suffix.iter().find(|(suffix, _)| host.len() > suffix.len() && host.ends_with(&**suffix));
    suffix.map_or(&*table.any, |(_, routes)| routes)
}

fn matches(route: &Route, head: &RequestHead, input: &[u8]) -> bool {
    let path = head.path_only().of(input);
    let path_matches = match &route.path {
        // `/` is every request: OPTIONS * and CONNECT, too, whose targets have no path.
        PathMatch::Prefix(prefix) => prefix == "/" || path.starts_with(prefix.as_bytes()),
        PathMatch::Exact(exact) => path == exact.as_bytes(),
        PathMatch::Regex(regex) => regex.is_match(path),
    };
    path_matches
        && (route.methods.is_empty() || {
            let method = head.method_span.of(input);
            route.methods.iter().any(|allowed| allowed.as_bytes() == method)
        })
        && route.headers.iter().all(|wanted| header_matches(wanted, head, input))
        && route.query.iter().all(|wanted| query_matches(wanted, head, input))
}

/// A field that appears several times counts as one, its values joined by commas (RFC 9110 5.3): a rule that was
/// written for one value can't be satisfied by slipping in another.
fn header_matches(wanted: &HeaderMatch, head: &RequestHead, input: &[u8]) -> bool {
    let found = match wanted.name.as_bytes() {
        b":method" => value_matches(&wanted.value, head.method_span.of(input)),
        b":path" => value_matches(&wanted.value, head.path.of(input)),
        b":authority" => value_matches(&wanted.value, head.authority.of(input)),
        name => {
            let id = FieldId::of(name);
            let named = head.fields.iter().filter(|field| match id {
                FieldId::Other => field.id == FieldId::Other && field.name.of(input).eq_ignore_ascii_case(name),
                id => field.id == id,
            });
            let mut values = named.map(|field| field.value.of(input));
            match (values.next(), values.next()) {
                (None, _) => false,
                (Some(value), None) => value_matches(&wanted.value, value),
                (Some(first), Some(second)) => {
                    let joined: Vec<&[u8]> = [first, second].into_iter().chain(values).collect();
                    value_matches(&wanted.value, &joined.join(&b','))
                }
            }
        }
    };
    found != wanted.invert
}

fn query_matches(wanted: &QueryMatch, head: &RequestHead, input: &[u8]) -> bool {
    let query = head.query().map_or(&b""[..], |query| query.of(input));
    let found = query.split(|byte| *byte == b'&').any(|pair| {
        let (name, value) = match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &b""[..]),
        };
        name == wanted.name.as_bytes() && value_matches(&wanted.value, value)
    });
    found != wanted.invert
}

fn value_matches(wanted: &ValueMatch, value: &[u8]) -> bool {
    match wanted {
        ValueMatch::Present => true,
        ValueMatch::Exact(exact) => value == exact.as_bytes(),
        ValueMatch::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
        ValueMatch::Suffix(suffix) => value.ends_with(suffix.as_bytes()),
        ValueMatch::Contains(part) => memchr::memmem::find(value, part.as_bytes()).is_some(),
        ValueMatch::Regex(regex) => regex.is_match(value),
    }
}
