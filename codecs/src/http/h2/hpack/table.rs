//! The dynamic table (RFC 7541 section 2.3.2): first in, first out, bounded by a size.
//!
//! Entries lie one after the other in one buffer as lines, `name: value` and CRLF, which is what they are decoded to: a
//! field that is sent by index is one copy. Eviction costs nothing. When the buffer has grown to twice the table's size,
//! the dead bytes at its front are closed up: once per table's worth.

use super::{COLON, ENTRY_OVERHEAD_BYTES, LINE_END};
use crate::http::FieldId;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Position among all bytes ever inserted.
    start: usize,
    pub(super) name_len: u32,
    value_len: u32,
    pub(super) id: FieldId,
    /// What the decoder found out about it; the table only keeps it.
    pub(super) flaws: u8,
}

impl Entry {
    /// Name and value.
    fn bytes(&self) -> usize {
        self.name_len as usize + self.value_len as usize
    }
}

/// What a line has besides name and value.
const AROUND_BYTES: usize = COLON.len() + LINE_END.len();

#[derive(Debug)]
pub(super) struct Table {
    bytes: Vec<u8>,
    /// Position, among all bytes ever inserted, of the first one in `bytes`.
    base: usize,
    /// Oldest first.
    entries: VecDeque<Entry>,
    size: usize,
    size_max: usize,
    /// Entries ever inserted; wraps.
    inserted: u32,
}

impl Table {
    pub(super) fn new(size_max: usize) -> Table {
        Table { bytes: Vec::new(), base: 0, entries: VecDeque::new(), size: 0, size_max, inserted: 0 }
    }

    pub(super) fn size_max(&self) -> usize {
        self.size_max
    }

    /// Size as RFC 7541 4.1 counts it.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Entries ever inserted, modulo 2^32: the number of the newest one.
    pub(super) fn inserted(&self) -> u32 {
        self.inserted
    }

    /// Entry at `index`, where 0 is the newest, and its line.
    #[inline]
    pub(super) fn line(&self, index: usize) -> Option<(&[u8], &Entry)> {
        let at = self.entries.len().checked_sub(index + 1)?;
        let entry = self.entries.get(at)?;
        let start = entry.start - self.base;
        Some((self.bytes.get(start..start + entry.bytes() + AROUND_BYTES)?, entry))
    }

    /// Name and value of the entry at `index`.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let (line, entry) = self.line(index)?;
        let name = line.get(..entry.name_len as usize)?;
        Some((name, line.get(name.len() + COLON.len()..line.len() - LINE_END.len())?))
    }

    /// Changes the largest size and evicts what no longer fits.
    pub(super) fn resize(&mut self, size_max: usize) {
        self.size_max = size_max;
        self.evict(size_max);
    }

    /// Inserts an entry; one that is larger than the whole table empties it (RFC 7541 4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8], id: FieldId, flaws: u8) {
        let bytes = name.len() + value.len();
        let cost = bytes + ENTRY_OVERHEAD_BYTES;
        if cost > self.size_max {
            self.evict(0);
            return;
        }
        self.evict(self.size_max - cost);
        if self.bytes.len() + bytes + AROUND_BYTES > 2 * self.size_max {
            self.close_up();
        }
        let start = self.base + self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(COLON);
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(LINE_END);
        let (name_len, value_len) = (name.len() as u32, value.len() as u32);
        self.entries.push_back(Entry { start, name_len, value_len, id, flaws });
        self.size += cost;
        self.inserted = self.inserted.wrapping_add(1);
    }

    fn evict(&mut self, size: usize) {
        while self.size > size
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.bytes() + ENTRY_OVERHEAD_BYTES;
        }
    }

    fn close_up(&mut self) {
        let end = self.base + self.bytes.len();
        let first = self.entries.front().map_or(end, |entry| entry.start);
        let live = first - self.base;
        self.bytes.copy_within(live.., 0);
        self.bytes.truncate(end - first);
        self.base = first;
    }
}
