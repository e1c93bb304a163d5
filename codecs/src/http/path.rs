//! Paths in the one form that everybody reads alike (RFC 3986 section 6.2.2), or a reason why there is none.
//!
//! What one reader takes for a name and another for a way up the tree gets a request past a rule that stands for the
//! path. So dot segments are resolved before anybody looks, escapes are written in one way, and what can't be given one
//! meaning is refused. The query is nobody's business here.

/// What is done to paths.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PathRules {
    /// Resolve dot segments, write escapes in one way, take `\` for `/`, refuse what has no single meaning.
    pub normalize: bool,
    /// Make one of several slashes in a row.
    pub merge_slashes: bool,
    pub escaped_slashes: EscapedSlashes,
    /// Refuse `;`.
    pub refuse_parameters: bool,
}

/// What becomes of `%2F` and `%5C`, slashes to some and parts of a name to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EscapedSlashes {
    /// They stay, unless a dot segment is hidden between them.
    #[default]
    Keep,
    Refuse,
    /// They are slashes from here on.
    Decode,
    /// The client is sent to the path with slashes.
    Redirect,
}

/// Why a path has no single meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathError {
    /// More `..` than there are segments in front of them.
    AboveRoot,
    /// `%` without two hexadecimal digits behind it.
    BadEscape,
    /// `%00`; NUL as it is gets into no head.
    Nul,
    /// A character in more bytes of UTF-8 than it takes: some decoders read `%c0%ae` as a dot.
    OverlongUtf8,
    EscapedSlash,
    /// A dot segment between escaped slashes, `/a/..%2fb`: one to whoever decodes them.
    HiddenDotSegment,
    /// A dot segment with parameters, `/..;/`: one to whoever takes parameters off first.
    DotSegmentParameters,
    Parameters,
    /// A dot segment that a rewrite made of a prefix and what followed it.
    Rewritten,
}

impl PathRules {
    /// One look at `path` (without query): true says that nothing is to be done to it. False says to look closer.
    #[must_use]
    #[inline]
    pub fn leave(&self, path: &[u8]) -> bool {
        let Some(behind) = path.get(1..) else { return true };
        if *self == PathRules::default() {
            return true;
        }
        // Without a way out of the loop it takes many bytes at once.
        let pairs = path.iter().zip(behind);
        let noted = pairs.fold(false, |noted, (before, byte)| {
            noted | (*byte == b'%') | (*byte == b'\\') | ((*before == b'/') & ((*byte == b'.') | (*byte == b'/')))
        });
        !(noted || self.refuse_parameters && memchr::memchr(b';', path).is_some())
    }

    /// Writes what `path` (of visible ASCII, without query, beginning with `/`) is to be into `out`, which is emptied first and needs
    /// no more bytes than `path` has. Says whether the client is to be sent there.
    pub fn apply(&self, path: &[u8], out: &mut Vec<u8>) -> Result<bool, PathError> {
        out.clear();
        let unescaped = self.decode(path, out)?;
        if self.normalize {
            resolve(out)?;
        }
        if self.merge_slashes {
            out.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
        }
        Ok(unescaped && self.escaped_slashes == EscapedSlashes::Redirect)
    }

    /// Characters one by one; says whether an escaped slash has become one.
    fn decode(&self, path: &[u8], out: &mut Vec<u8>) -> Result<bool, PathError> {
        let mut unescaped = false;
        let mut rest = path;
        while let [byte, behind @ ..] = rest {
            rest = behind;
            match byte {
                b'%' => match escaped(behind) {
                    Some(value) => {
                        rest = &behind[2..];
                        if self.normalize && is_overlong(value, rest) {
                            return Err(PathError::OverlongUtf8);
                        }
                        unescaped |= self.put_escaped(value, &behind[..2], out)?;
                    }
                    None if self.normalize => return Err(PathError::BadEscape),
                    None => out.push(b'%'),
                },
                b';' if self.refuse_parameters => return Err(PathError::Parameters),
                byte => out.push(self.slash_or(*byte)),
            }
        }
        Ok(unescaped)
    }

    /// One escape, of `value`, which came with these `digits`.
    fn put_escaped(&self, value: u8, digits: &[u8], out: &mut Vec<u8>) -> Result<bool, PathError> {
        match (value, self.escaped_slashes) {
            (b'/' | b'\\', EscapedSlashes::Refuse) => return Err(PathError::EscapedSlash),
            (b'/' | b'\\', EscapedSlashes::Decode | EscapedSlashes::Redirect) => {
                out.push(self.slash_or(value));
                return Ok(true);
            }
            _ => {}
        }
        if !self.normalize {
            out.push(b'%');
            out.extend_from_slice(digits);
            return Ok(false);
        }
        match value {
            0 => return Err(PathError::Nul),
            value if is_unreserved(value) => out.push(value),
            _ => {
                out.push(b'%');
                out.extend(digits.iter().map(u8::to_ascii_uppercase));
            }
        }
        Ok(false)
    }

    /// Browsers take a backslash for a slash before they send it, and so do some servers; no URI has one (RFC 3986 2).
    fn slash_or(&self, byte: u8) -> u8 {
        if byte == b'\\' && self.normalize { b'/' } else { byte }
    }
}

/// Whether a path that was put together, without query, has a segment that leads elsewhere (`.` or `..`).
#[must_use]
pub fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|segment| !matches!(classify(segment), Ok(Segment::Name)))
}

/// The byte that the two digits in front stand for.
fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| digits.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

/// Characters that mean the same escaped or not (RFC 3986 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Whether a sequence that begins with `lead` is longer than its character needs, which the byte behind it tells.
fn is_overlong(lead: u8, behind: &[u8]) -> bool {
    let second = behind.strip_prefix(b"%").and_then(escaped);
    matches!(
        (lead, second),
        (0xc0 | 0xc1, Some(0x80..=0xbf))
            | (0xe0, Some(0x80..=0x9f))
            | (0xf0, Some(0x80..=0x8f))
            | (0xf8, Some(0x80..=0x87))
            | (0xfc, Some(0x80..=0x83))
    )
}

#[derive(PartialEq)]
enum Segment {
    Name,
    /// `.`
    Here,
    /// `..`
    Up,
}

/// What a segment of a decoded path is to everybody; an error where that depends on the reader.
fn classify(segment: &[u8]) -> Result<Segment, PathError> {
    let mut parts = split_at_escapes(segment, &[b"%2F", b"%5C"]);
    if let (Some(_), Some(_)) = (parts.next(), parts.next()) {
        let mut parts = split_at_escapes(segment, &[b"%2F", b"%5C"]);
        return match parts.any(|part| plain_or_with_parameters(part) != Ok(Segment::Name)) {
            true => Err(PathError::HiddenDotSegment),
            false => Ok(Segment::Name),
        };
    }
    plain_or_with_parameters(segment)
}

fn plain_or_with_parameters(segment: &[u8]) -> Result<Segment, PathError> {
    let of = |name: &[u8]| match name {
        b"." => Segment::Here,
        b".." => Segment::Up,
        _ => Segment::Name,
    };
    let name = split_at_escapes(segment, &[b"%3B"]).next().unwrap_or_default();
    let name = name.split(|byte| *byte == b';').next().unwrap_or_default();
    match of(name) {
        Segment::Name => Ok(Segment::Name),
        dots if name.len() == segment.len() => Ok(dots),
        _ => Err(PathError::DotSegmentParameters),
    }
}

/// The parts between these escapes, written in upper case.
fn split_at_escapes<'s>(segment: &'s [u8], escapes: &'s [&[u8]]) -> impl Iterator<Item = &'s [u8]> {
    let mut rest = Some(segment);
    std::iter::from_fn(move || {
        let all = rest?;
        let ends = memchr::memchr_iter(b'%', all);
        match ends.into_iter().find(|at| escapes.iter().any(|escape| all[*at..].starts_with(escape))) {
            Some(at) => {
                rest = Some(&all[at + 3..]);
                Some(&all[..at])
            }
            None => rest.take(),
        }
    })
}

/// Takes `.` and `..` out of a path, in place (RFC 3986 5.2.4).
fn resolve(path: &mut Vec<u8>) -> Result<(), PathError> {
    // What is in front of `write` is done, what is behind `read` isn't begun.
    let (mut read, mut write) = (1, 1);
    while read <= path.len() {
        let end = memchr::memchr(b'/', &path[read..]).map(|at| read + at);
        let segment = read..end.unwrap_or(path.len());
        match classify(&path[segment.clone()])? {
            Segment::Name => {
                // With its slash, if one follows.
                let whole = segment.start..end.map_or(path.len(), |end| end + 1);
                let len = whole.len();
                path.copy_within(whole, write);
                write += len;
            }
            Segment::Here => {}
            Segment::Up if write == 1 => return Err(PathError::AboveRoot),
            Segment::Up => write = memchr::memrchr(b'/', &path[..write - 1]).map_or(1, |at| at + 1),
        }
        read = segment.end + 1;
    }
    path.truncate(write.max(1));
    Ok(())
}

#[cfg(test)]
mod tests;
