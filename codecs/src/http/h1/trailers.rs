//! Trailer fields: collected while they arrive, parsed at the end of the body (RFC 9112 section 7.1.2).

use super::lines;
use crate::http::span::to_u32;
use crate::http::validate::note_trailer;
use crate::http::{ErrorKind, Field};

/// Trailer fields, with the bytes that their spans refer to.
#[derive(Clone, Copy, Debug)]
pub struct Trailers<'a> {
    pub bytes: &'a [u8],
    pub fields: &'a [Field],
}

const EMPTY_LINE: &[u8] = b"\r\n";

impl Trailers<'_> {
    /// Where the empty line after the last field begins.
    #[must_use]
    pub fn fields_end(&self) -> u32 {
        to_u32(self.bytes.len().saturating_sub(EMPTY_LINE.len()))
    }
}

/// The trailers of one body as they are collected.
#[derive(Debug, Default)]
pub(super) struct Section {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    lines: u32,
}

impl Section {
    /// Back to empty, keeping the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
        self.lines = 0;
    }

    pub(super) fn trailers(&self) -> Option<Trailers<'_>> {
        (!self.fields.is_empty()).then_some(Trailers { bytes: &self.bytes, fields: &self.fields })
    }

    /// Keeps the next bytes of a line, if with the empty line at the end they stay within `bytes_max`.
    pub(super) fn push(&mut self, bytes: &[u8], bytes_max: usize) -> Result<(), ErrorKind> {
        if self.bytes.len() + bytes.len() + EMPTY_LINE.len() > bytes_max {
            return Err(ErrorKind::TrailersTooLarge);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn end_line(&mut self, fields_max: u32) -> Result<(), ErrorKind> {
        self.lines += 1;
        if self.lines > fields_max { Err(ErrorKind::TooManyTrailers) } else { Ok(()) }
    }

    /// Parses the lines, which are all there now.
    pub(super) fn parse(&mut self) -> Result<(), ErrorKind> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        self.bytes.extend_from_slice(EMPTY_LINE);
        lines::fields(&self.bytes, 0, &mut self.fields, note_trailer)
    }
}
