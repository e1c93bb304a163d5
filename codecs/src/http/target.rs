//! Request targets in their four forms (RFC 9112 section 3.2).

use super::authority::is_authority;
use super::span::to_u32;
use super::{ErrorKind, Method, Scheme, Span, TargetForm};

/// A request target taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) form: TargetForm,
    pub(crate) path: Span,
    pub(crate) query_start: u32,
    pub(crate) authority: Option<Span>,
    pub(crate) scheme: Option<Scheme>,
}

/// Takes apart the target at `span`, which must consist of visible bytes. Fragments and bytes above 0x7f are refused; the
/// other characters that RFC 3986 excludes (`|`, `"`, `[` and so on) are common in queries and can't confuse framing.
#[inline]
pub(crate) fn parse(input: &[u8], span: Span, method: Method) -> Result<Target, ErrorKind> {
    let target = span.of(input);
    if !target.is_ascii() {
        return Err(ErrorKind::InvalidTarget);
    }
    if method == Method::Connect {
        return authority_form(target, span);
    }
    if let [b'/', ..] = target {
        return path_and_query(input, span, Target { form: TargetForm::Origin, ..Target::of(span) });
    }
    other_form(input, span, method)
}

impl Target {
    fn of(path: Span) -> Target {
        Target { form: TargetForm::Origin, path, query_start: path.end, authority: None, scheme: None }
    }
}

fn authority_form(target: &[u8], span: Span) -> Result<Target, ErrorKind> {
    if !is_authority(target, true) {
        return Err(ErrorKind::InvalidTarget);
    }
    let nothing = Span { start: span.end, end: span.end };
    Ok(Target { form: TargetForm::Authority, authority: Some(span), ..Target::of(nothing) })
}

#[inline]
fn path_and_query(input: &[u8], path: Span, target: Target) -> Result<Target, ErrorKind> {
    let query_start = match memchr::memchr2(b'?', b'#', path.of(input)) {
        None => path.end,
        Some(at) => {
            let after = &path.of(input)[at..];
            if memchr::memchr(b'#', after).is_some() {
                return Err(ErrorKind::InvalidTarget);
            }
            path.start + to_u32(at)
        }
    };
    Ok(Target { path, query_start, ..target })
}

#[cold]
fn other_form(input: &[u8], span: Span, method: Method) -> Result<Target, ErrorKind> {
    let target = span.of(input);
    if target == b"*" {
        return match method {
            Method::Options => Ok(Target { form: TargetForm::Asterisk, ..Target::of(span) }),
            _ => Err(ErrorKind::AsteriskFormNotAllowed),
        };
    }
    let Some(colon) = memchr::memmem::find(target, b"://") else {
        return Err(match is_authority(target, true) {
            true => ErrorKind::AuthorityFormNotAllowed,
            false => ErrorKind::InvalidTarget,
        });
    };
    let scheme = match &target[..colon] {
        name if name.eq_ignore_ascii_case(b"http") => Scheme::Http,
        name if name.eq_ignore_ascii_case(b"https") => Scheme::Https,
        name if !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)) => {
            return Err(ErrorKind::InvalidScheme);
        }
        _ => return Err(ErrorKind::InvalidTarget),
    };
    let authority_start = colon + 3;
    let rest = &target[authority_start..];
    let authority_len = memchr::memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
    let authority_end = authority_start + authority_len;
    if !is_authority(&target[authority_start..authority_end], false) {
        return Err(ErrorKind::InvalidHost);
    }
    let path = match target.get(authority_end) {
        Some(b'/') => Span::new(authority_end..target.len()),
        // The path is empty, so it is `/`: the second slash of `://` is as good a one as any.
        None => Span::new(colon + 2..colon + 3),
        // `http://host?query` would need a slash between host and query that isn't in the input. Nobody sends it.
        Some(_) => return Err(ErrorKind::InvalidTarget),
    };
    let absolute = Target {
        form: TargetForm::Absolute,
        authority: Some(Span::new(authority_start..authority_end).shifted(span.start)),
        scheme: Some(scheme),
        ..Target::of(span)
    };
    path_and_query(input, path.shifted(span.start), absolute)
}
