//! Header blocks to heads: the fields as text, the pseudo-header fields as what they stand for (RFC 9113 8.2 and 8.3).
//!
//! A block is decoded to its end even if its message is refused, as both sides' tables must stay the same. The first thing
//! that is wrong decides.

mod repeated;
mod request;
mod response;

pub(super) use repeated::Repeated;
pub(super) use request::request;
pub(super) use response::response;

use super::Limits;
use super::error::ErrorKind;
use super::hpack::{Block, Decoder, Line};
use super::limits::HEADER_LIST_FATAL_FACTOR;
use crate::http::h1::Trailers;
use crate::http::span::to_u32;
use crate::http::validate::{Facts, note_trailer};
use crate::http::{self, Field, FieldId, HeadLimits, RequestHead, ResponseHead, Span};

/// A content type beyond a head's limits isn't looked at if it is longer.
const CONTENT_TYPE_BYTES_MAX: usize = 256;

/// Where a connection puts heads and trailers. The next head or trailers overwrite it, so take what is to stay; heads and
/// text can be exchanged for others (`core::mem::swap`) without an allocation.
#[derive(Debug, Default)]
pub struct Message {
    /// The fields as HTTP/1 has them, `name: value` and CRLF, and an empty line. Before them may be lines of pseudo-header
    /// fields, which the spans of a head's method, path and so on refer to.
    pub text: Vec<u8>,
    /// Filled with [`Event::Request`](super::Event::Request).
    pub request: RequestHead,
    /// Filled with [`Event::Response`](super::Event::Response) and [`Event::Interim`](super::Event::Interim).
    pub response: ResponseHead,
    /// Filled with [`Event::Trailers`](super::Event::Trailers).
    pub trailers: Vec<Field>,
}

impl Message {
    /// The trailers with their text.
    #[must_use]
    pub fn trailers(&self) -> Trailers<'_> {
        Trailers { bytes: &self.text, fields: &self.trailers }
    }
}

/// What is wrong with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Problem {
    /// RFC 9113 8.1.1: the stream is reset.
    Malformed(ErrorKind),
    /// It can be answered.
    TooLarge(ErrorKind),
}

impl From<ErrorKind> for Problem {
    fn from(kind: ErrorKind) -> Problem {
        Problem::Malformed(kind)
    }
}

/// Which kind of section a block is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Request,
    Response,
    Trailers,
}

/// Values of the pseudo-header fields.
#[derive(Default)]
pub(super) struct Pseudo {
    pub(super) method: Option<Span>,
    pub(super) scheme: Option<Span>,
    pub(super) authority: Option<Span>,
    pub(super) path: Option<Span>,
    pub(super) protocol: Option<Span>,
    pub(super) status: Option<Span>,
}

/// A block that was decoded into text and fields.
pub(super) struct Section {
    pub(super) pseudo: Pseudo,
    pub(super) facts: Facts,
    /// Where the empty line after the last field begins.
    pub(super) fields_end: u32,
    pub(super) problem: Option<Problem>,
}

/// Decodes a block into `text` and `fields`, which are cleared first.
///
/// # Errors
/// The connection can't go on: the block is invalid, or so large when decoded that going on would be too much work.
pub(super) fn section(
    block: &[u8],
    decoder: &mut Decoder,
    limits: &Limits,
    part: Part,
    text: &mut Vec<u8>,
    fields: &mut Vec<Field>,
) -> Result<Section, ErrorKind> {
    text.clear();
    fields.clear();
    let list_max = limits.header_list_bytes_max as usize;
    let mut list_bytes = 0;
    let mut taking = Taking {
        limits,
        part,
        text,
        fields,
        pseudo: Pseudo::default(),
        facts: Facts::default(),
        in_fields: false,
        cookie_apart: false,
    };
    let mut problem = None;
    let (mut block, mut line) = (Block::new(block), Line::default());
    loop {
        let kept = taking.text.len();
        let is_read = matches!(problem, None | Some(Problem::TooLarge(_)));
        match decoder.next(&mut block, taking.text, is_read, &mut line) {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => return Err(ErrorKind::InvalidHeaderBlock),
        }
        list_bytes += line.list_bytes;
        if list_bytes > list_max.saturating_mul(HEADER_LIST_FATAL_FACTOR) {
            return Err(ErrorKind::HeaderBlockTooLarge);
        }
        if problem.is_none() && list_bytes > list_max {
            problem = Some(Problem::TooLarge(ErrorKind::HeaderListTooLarge));
        }
        if problem.is_none() {
            problem = taking.take(&line).err();
        }
        if problem.is_some() && !(is_read && taking.take_content_type(&line)) {
            taking.text.truncate(kept);
        }
    }
    if taking.cookie_apart && problem.is_none() {
        join_cookies(taking.text, taking.fields);
    }
    let Taking { pseudo, facts, .. } = taking;
    let fields_end = to_u32(text.len());
    text.extend_from_slice(b"\r\n");
    Ok(Section { pseudo, facts, fields_end, problem })
}

/// Decodes trailers.
pub(super) fn trailers(
    block: &[u8],
    decoder: &mut Decoder,
    limits: &Limits,
    message: &mut Message,
) -> Result<Result<(), Problem>, ErrorKind> {
    let section = section(block, decoder, limits, Part::Trailers, &mut message.text, &mut message.trailers)?;
    Ok(match section.problem {
        Some(Problem::TooLarge(_)) => Err(Problem::Malformed(ErrorKind::TrailersTooLarge)),
        Some(problem) => Err(problem),
        None => Ok(()),
    })
}

/// A section as its lines are taken.
struct Taking<'a> {
    limits: &'a Limits,
    part: Part,
    text: &'a mut Vec<u8>,
    fields: &'a mut Vec<Field>,
    pseudo: Pseudo,
    facts: Facts,
    in_fields: bool,
    /// Cookies that have other fields between them.
    cookie_apart: bool,
}

impl Taking<'_> {
    /// Takes the line that was appended to the text.
    #[inline]
    fn take(&mut self, line: &Line) -> Result<(), Problem> {
        if line.has_invalid_name() {
            return Err(ErrorKind::InvalidFieldName.into());
        }
        if line.has_invalid_value() {
            return Err(ErrorKind::InvalidFieldValue.into());
        }
        if self.text.get(line.name.start as usize) == Some(&b':') {
            return self.take_pseudo(line).map_err(Problem::from);
        }
        self.in_fields = true;
        if line.id == FieldId::Cookie && self.take_crumb(line) {
            return Ok(());
        }
        if self.fields.len() >= self.limits.fields_max.min(HeadLimits::FIELDS_MAX) as usize {
            return Err(Problem::TooLarge(ErrorKind::TooManyFields));
        }
        let never_indexed = line.never_indexed;
        let mut field = Field { name: line.name, value: line.value, id: line.id, hop_by_hop: false, never_indexed };
        match line.id {
            FieldId::Connection
            | FieldId::KeepAlive
            | FieldId::ProxyConnection
            | FieldId::TransferEncoding
            | FieldId::Upgrade => return Err(ErrorKind::ConnectionSpecificField.into()),
            FieldId::Te if !line.value.of(self.text).eq_ignore_ascii_case(b"trailers") => {
                return Err(ErrorKind::InvalidTe.into());
            }
            _ => {}
        }
        if self.part == Part::Trailers {
            note_trailer(&mut field).map_err(of_validator)?;
        } else {
            self.facts.note(self.text, &mut field).map_err(of_validator)?;
        }
        self.fields.push(field);
        Ok(())
    }

    /// Takes the content type from what is beyond the limits, so that a call can be told why it is refused.
    #[cold]
    fn take_content_type(&mut self, line: &Line) -> bool {
        let fits = line.id == FieldId::ContentType && line.value.len() <= CONTENT_TYPE_BYTES_MAX;
        if !fits || line.has_invalid_value() || self.fields.iter().any(|field| field.id == FieldId::ContentType) {
            return false;
        }
        let (name, value, never_indexed) = (line.name, line.value, line.never_indexed);
        self.fields.push(Field { name, value, id: line.id, hop_by_hop: false, never_indexed });
        true
    }

    fn take_pseudo(&mut self, line: &Line) -> Result<(), ErrorKind> {
        if self.in_fields {
            return Err(ErrorKind::PseudoFieldAfterFields);
        }
        let place = match (line.name.of(self.text), self.part) {
            (b":method", Part::Request) => &mut self.pseudo.method,
            (b":scheme", Part::Request) => &mut self.pseudo.scheme,
            (b":authority", Part::Request) => &mut self.pseudo.authority,
            (b":path", Part::Request) => &mut self.pseudo.path,
            (b":protocol", Part::Request) if self.limits.connect_protocol => &mut self.pseudo.protocol,
            (b":status", Part::Response) => &mut self.pseudo.status,
            _ => return Err(ErrorKind::UnknownPseudoField),
        };
        if place.replace(line.value).is_some() {
            return Err(ErrorKind::DuplicatePseudoField);
        }
        Ok(())
    }

    /// Joins a cookie with the one before it (RFC 9113 8.2.3); `false` if it is to be taken as a field, because it is the
    /// first one or isn't next to it.
    fn take_crumb(&mut self, line: &Line) -> bool {
        const SEPARATOR: &[u8; 2] = b"; ";
        let Some(cookie) = self.fields.last_mut().filter(|field| field.id == FieldId::Cookie) else {
            self.cookie_apart |= self.fields.iter().any(|field| field.id == FieldId::Cookie);
            return false;
        };
        cookie.never_indexed |= line.never_indexed;
        if line.value.is_empty() {
            self.text.truncate(line.name.start as usize);
            return true;
        }
        // The separator takes the place of the line's end before it, the value that of its own name.
        let end = cookie.value.end as usize;
        let value_at = end + SEPARATOR.len();
        if let Some(gap) = self.text.get_mut(end..value_at) {
            gap.copy_from_slice(SEPARATOR);
        }
        self.text.copy_within(line.value.start as usize.., value_at);
        self.text.truncate(self.text.len() - (line.value.start as usize - value_at));
        cookie.value.end = to_u32(value_at + line.value.len());
        true
    }
}

/// Writes all fields anew with the cookies joined in the place of the first one.
#[cold]
fn join_cookies(text: &mut Vec<u8>, fields: &mut Vec<Field>) {
    let old_start = fields.first().map_or(text.len(), |field| field.name.start as usize);
    let old_end = text.len();
    let mut kept = 0;
    let mut cookie = None;
    for at in 0..fields.len() {
        let mut field = fields[at];
        if field.id == FieldId::Cookie && cookie.is_some_and(|first| first != at) {
            continue;
        }
        // What is appended moves down by the old text when that is removed.
        let moved = |text: &Vec<u8>| text.len() - (old_end - old_start);
        let start = moved(text);
        text.extend_from_within(field.name.start as usize..field.value.end as usize);
        if field.id == FieldId::Cookie {
            cookie = Some(at);
            for other in fields[at + 1..].iter().filter(|other| other.id == FieldId::Cookie && !other.value.is_empty())
            {
                text.extend_from_slice(b"; ");
                text.extend_from_within(other.value.start as usize..other.value.end as usize);
                field.never_indexed |= other.never_indexed;
            }
        }
        let value_offset = (field.value.start - field.name.start) as usize;
        field.name = Span::new(start..start + field.name.len());
        field.value = Span::new(start + value_offset..moved(text));
        text.extend_from_slice(b"\r\n");
        fields[kept] = field;
        kept += 1;
    }
    fields.truncate(kept);
    text.drain(old_start..old_end);
}

/// What the validator that all versions share found, in words of this version.
#[cold]
pub(super) fn of_validator(kind: http::ErrorKind) -> ErrorKind {
    match kind {
        http::ErrorKind::SeveralHosts => ErrorKind::SeveralHosts,
        http::ErrorKind::InvalidHost => ErrorKind::InvalidAuthority,
        http::ErrorKind::HostMismatch => ErrorKind::AuthorityMismatch,
        http::ErrorKind::MissingHost => ErrorKind::MissingAuthority,
        http::ErrorKind::SeveralContentLengths | http::ErrorKind::InvalidContentLength => {
            ErrorKind::InvalidContentLength
        }
        http::ErrorKind::BodyNotAllowed => ErrorKind::BodyNotAllowed,
        http::ErrorKind::ForbiddenTrailer => ErrorKind::ForbiddenTrailer,
        http::ErrorKind::InvalidTarget
        | http::ErrorKind::AsteriskFormNotAllowed
        | http::ErrorKind::AuthorityFormNotAllowed => ErrorKind::InvalidPath,
        http::ErrorKind::InvalidScheme => ErrorKind::InvalidScheme,
        _ => ErrorKind::InvalidFieldValue,
    }
}

/// Decodes a block for the tables' sake only. `text` is used and left empty.
///
/// # Errors
/// As of [`section`].
pub(super) fn discard(
    block: &[u8],
    decoder: &mut Decoder,
    limits: &Limits,
    text: &mut Vec<u8>,
) -> Result<(), ErrorKind> {
    let fatal = (limits.header_list_bytes_max as usize).saturating_mul(HEADER_LIST_FATAL_FACTOR);
    let mut list_bytes = 0;
    let (mut block, mut line) = (Block::new(block), Line::default());
    text.clear();
    while decoder.next(&mut block, text, false, &mut line).map_err(|_| ErrorKind::InvalidHeaderBlock)? {
        text.clear();
        list_bytes += line.list_bytes;
        if list_bytes > fatal {
            return Err(ErrorKind::HeaderBlockTooLarge);
        }
    }
    Ok(())
}
