//! Decoding of header blocks (RFC 7541 sections 3 and 6).

use super::statics::{STATIC, STATIC_ENTRIES};
use super::table::Table;
use super::{COLON, ENTRY_OVERHEAD_BYTES, Invalid, LINE_END, huffman, integer};
use crate::http::span::to_u32;
use crate::http::{FieldId, Span, is_field_value, syntax};

/// Bits of [`Line::flaws`].
const FLAW_NAME: u8 = 1;
const FLAW_VALUE: u8 = 2;

/// A header block that is being decoded.
pub(crate) struct Block<'a> {
    bytes: &'a [u8],
    at: usize,
    /// A field has been seen: table sizes may no longer change (RFC 7541 4.2).
    in_fields: bool,
}

impl<'a> Block<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Block<'a> {
        Block { bytes, at: 0, in_fields: false }
    }
}

/// A field that was decoded. Spans refer to the text that it was appended to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    pub(crate) name: Span,
    pub(crate) value: Span,
    pub(crate) id: FieldId,
    pub(crate) never_indexed: bool,
    /// What the field adds to the size of the header list: name, value and 32 bytes.
    pub(crate) list_bytes: usize,
    flaws: u8,
}

impl Line {
    #[inline]
    fn fill(&mut self, start: usize, name_len: usize, value_len: usize, id: FieldId, flaws: u8) {
        let name_end = start + name_len;
        let value_start = name_end + COLON.len();
        self.name = Span { start: to_u32(start), end: to_u32(name_end) };
        self.value = Span { start: to_u32(value_start), end: to_u32(value_start + value_len) };
        self.id = id;
        self.list_bytes = name_len + value_len + ENTRY_OVERHEAD_BYTES;
        self.flaws = flaws;
    }

    /// The name isn't a token in lower case, perhaps behind a colon.
    pub(crate) fn has_invalid_name(&self) -> bool {
        self.flaws & FLAW_NAME != 0
    }

    pub(crate) fn has_invalid_value(&self) -> bool {
        self.flaws & FLAW_VALUE != 0
    }
}

/// An entry of either table.
struct Found<'a> {
    line: &'a [u8],
    name_len: usize,
    id: FieldId,
    flaws: u8,
}

/// One direction's decoder: the dynamic table and the bounds on it.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    /// What the peer may enlarge the table to.
    size_limit: usize,
    /// The next block has to begin with a change to at most `size_limit` (RFC 9113 4.3.1).
    update_due: bool,
    /// Times that what a block means may have changed.
    changes: u64,
}

impl Decoder {
    /// `size` is what both sides begin with, `announced` our SETTINGS_HEADER_TABLE_SIZE, which holds once it is acknowledged
    /// if it is smaller, at once if it is larger.
    pub(crate) fn new(size: u32, announced: u32) -> Decoder {
        let size = size as usize;
        Decoder { table: Table::new(size), size_limit: size.max(announced as usize), update_due: false, changes: 0 }
    }

    /// The peer has acknowledged our SETTINGS_HEADER_TABLE_SIZE.
    pub(crate) fn acknowledged(&mut self, size: u32) {
        self.changes += 1;
        self.size_limit = size as usize;
        self.update_due = self.table.size_max() > self.size_limit;
    }

    /// A block that comes again when this figure is the same, and which doesn't change it, means the same.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Decodes the next field into `line` and appends it to `text`; `false` at the end of the block. Without `keep` nothing
    /// that is only copied is appended, and the spans mean nothing: for what is left of a block that is refused.
    ///
    /// # Errors
    /// The block is invalid, and so is every block after it.
    #[inline]
    pub(crate) fn next(
        &mut self,
        block: &mut Block<'_>,
        text: &mut Vec<u8>,
        keep: bool,
        line: &mut Line,
    ) -> Result<bool, Invalid> {
        // The line isn't returned but filled in: a returned one was copied right after it was written, which stalls.
        loop {
            let Some(&first) = block.bytes.get(block.at) else {
                return if self.update_due { Err(Invalid) } else { Ok(false) };
            };
            if first & 0xe0 == 0x20 {
                self.resize(block)?;
                continue;
            }
            if self.update_due {
                return Err(Invalid);
            }
            block.in_fields = true;
            match first {
                0x80.. => self.indexed(block, text, keep, line)?,
                0x40..=0x7f => self.literal(block, text, 6, line)?,
                _ => self.literal(block, text, 4, line)?,
            }
            line.never_indexed = first & 0xf0 == 0x10;
            return Ok(true);
        }
    }

    fn resize(&mut self, block: &mut Block<'_>) -> Result<(), Invalid> {
        let size = integer::decode(block.bytes, &mut block.at, 5)?;
        if block.in_fields || size > self.size_limit {
            return Err(Invalid);
        }
        self.update_due = false;
        self.changes += 1;
        self.table.resize(size);
        Ok(())
    }

    #[inline]
    fn entry(&self, index: usize) -> Result<Found<'_>, Invalid> {
        if let Some(entry) = index.checked_sub(1).and_then(|at| STATIC.get(at)) {
            return Ok(Found { line: entry.line, name_len: entry.name_len, id: entry.id, flaws: 0 });
        }
        let at = index.checked_sub(STATIC_ENTRIES + 1).ok_or(Invalid)?;
        let (line, entry) = self.table.line(at).ok_or(Invalid)?;
        Ok(Found { line, name_len: entry.name_len as usize, id: entry.id, flaws: entry.flaws })
    }

    #[inline]
    fn indexed(
        &mut self,
        block: &mut Block<'_>,
        text: &mut Vec<u8>,
        keep: bool,
        line: &mut Line,
    ) -> Result<(), Invalid> {
        let index = integer::decode(block.bytes, &mut block.at, 7)?;
        let found = self.entry(index)?;
        let start = text.len();
        if keep {
            text.extend_from_slice(found.line);
        }
        let value_len = found.line.len() - found.name_len - COLON.len() - LINE_END.len();
        line.fill(start, found.name_len, value_len, found.id, found.flaws);
        Ok(())
    }

    /// A literal; one with an index of 6 bits goes into the table.
    fn literal(
        &mut self,
        block: &mut Block<'_>,
        text: &mut Vec<u8>,
        prefix_bits: u8,
        line: &mut Line,
    ) -> Result<(), Invalid> {
        let start = text.len();
        let index = integer::decode(block.bytes, &mut block.at, prefix_bits)?;
        let (id, mut flaws) = if index == 0 {
            string(block, text)?;
            let name = &text[start..];
            (FieldId::of(name), if is_name(name) { 0 } else { FLAW_NAME })
        } else {
            let Found { line: entry, name_len, id, flaws } = self.entry(index)?;
            text.extend_from_slice(entry.get(..name_len).unwrap_or_default());
            (id, flaws & FLAW_NAME)
        };
        let name_len = text.len() - start;
        text.extend_from_slice(COLON);
        let value_start = text.len();
        string(block, text)?;
        let value = &text[value_start..];
        if !is_field_value(value) {
            flaws |= FLAW_VALUE;
        }
        let value_len = value.len();
        if prefix_bits == 6 {
            self.changes += 1;
            let (name, rest) = text[start..].split_at(name_len);
            self.table.insert(name, &rest[COLON.len()..], id, flaws);
        }
        text.extend_from_slice(LINE_END);
        line.fill(start, name_len, value_len, id, flaws);
        Ok(())
    }

    /// Size of the table as RFC 7541 4.1 counts it.
    #[cfg(test)]
    pub(super) fn table_size(&self) -> usize {
        self.table.size()
    }
}

/// Appends the string literal that comes next (RFC 7541 5.2).
fn string(block: &mut Block<'_>, text: &mut Vec<u8>) -> Result<(), Invalid> {
    let is_huffman = block.bytes.get(block.at).is_some_and(|byte| byte & 0x80 != 0);
    let length = integer::decode(block.bytes, &mut block.at, 7)?;
    let bytes = block.bytes.get(block.at..block.at + length).ok_or(Invalid)?;
    block.at += length;
    if is_huffman {
        return huffman::decode(bytes, text);
    }
    text.extend_from_slice(bytes);
    Ok(())
}

/// A token in lower case; pseudo-header fields have a colon before it.
fn is_name(name: &[u8]) -> bool {
    syntax::is_lower_case_token(name.strip_prefix(b":").unwrap_or(name))
}
