//! Encoding of header blocks (RFC 7541 section 6).
//!
//! A field is inserted into the dynamic table when it comes up the second time: what never repeats (identifiers, lengths,
//! dates of old) doesn't push out what does. Whether it came up before, and where it is in the table, is found by the hash
//! of name and value in arrays of fixed size. A collision makes the encoder forget, which costs bytes and nothing else,
//! because an entry is compared before it is used.

use super::statics::{STATIC_ENTRIES, name_index};
use super::table::Table;
use super::{ENTRY_OVERHEAD_BYTES, huffman, integer};
use crate::http::h2::emit::FieldRef;
use crate::http::{FieldId, FieldSet};

const SLOTS: usize = 128;
const NAME_SLOTS: usize = 64;

/// Fields whose value is a secret: an attacker who can watch lengths must not be able to guess it (RFC 7541 7.1.3).
const SENSITIVE: FieldSet = FieldSet::of(&[FieldId::Authorization, FieldId::ProxyAuthorization, FieldId::SetCookie]);
/// Shorter cookies can be guessed, too.
const GUESSABLE_COOKIE_BYTES: usize = 20;

/// One direction's encoder.
#[derive(Debug)]
pub(crate) struct Encoder {
    table: Table,
    /// The most that we use of what the peer offers.
    size_limit: usize,
    /// The lowest size that the peer asked for since the last block, if it asked: announced first (RFC 7541 4.2).
    lowest_due: Option<usize>,
    size_due: usize,
    /// Number of the newest entry with this hash of name and value; its number in the order of insertion.
    entries: [u32; SLOTS],
    /// The same by name.
    names: [u32; NAME_SLOTS],
    /// Hashes of fields that came up and were not inserted.
    seen: [u32; SLOTS],
    /// A name in lower case.
    lower: Vec<u8>,
}

impl Encoder {
    /// `size` is what both sides begin with, `size_limit` the most that we use.
    pub(crate) fn new(size: u32, size_limit: u32) -> Encoder {
        let (size, size_limit) = (size as usize, size_limit as usize);
        let mut encoder = Encoder {
            table: Table::new(size),
            size_limit,
            lowest_due: None,
            size_due: size,
            entries: [0; SLOTS],
            names: [0; NAME_SLOTS],
            seen: [0; SLOTS],
            lower: Vec::new(),
        };
        if size_limit < size {
            encoder.resize(size_limit as u32);
        }
        encoder
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE; takes effect with the next block.
    pub(crate) fn resize(&mut self, size: u32) {
        let size = (size as usize).min(self.size_limit);
        if size == self.size_due && self.lowest_due.is_none() {
            return;
        }
        self.lowest_due = Some(self.lowest_due.map_or(size, |lowest| lowest.min(size)));
        self.size_due = size;
    }

    /// To be called before the first field of a block.
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>) {
        let Some(lowest) = self.lowest_due.take() else { return };
        for size in [lowest, self.size_due] {
            if size != self.table.size_max() {
                self.table.resize(size);
                integer::encode(out, size, 5, 0x20);
            }
        }
    }

    /// Writes an entry of the static table.
    pub(crate) fn indexed(out: &mut Vec<u8>, index: usize) {
        integer::encode(out, index, 7, 0x80);
    }

    /// Writes a pseudo-header field; `index` is a static entry of its name, 0 if there is none.
    pub(crate) fn pseudo(&mut self, out: &mut Vec<u8>, name: &[u8], index: usize, value: &[u8]) {
        self.write(out, name, index, FieldId::Other, value, false);
    }

    /// Writes a field, its name in lower case; connection-specific ones, which HTTP/2 doesn't have, are left out
    /// (RFC 9113 8.2.2).
    #[inline]
    pub(crate) fn field(&mut self, out: &mut Vec<u8>, field: &FieldRef<'_>) {
        let FieldRef { name, value, id, never_indexed } = *field;
        match id {
            FieldId::Connection
            | FieldId::KeepAlive
            | FieldId::ProxyConnection
            | FieldId::TransferEncoding
            | FieldId::Upgrade => {}
            FieldId::Te if !value.eq_ignore_ascii_case(b"trailers") => {}
            FieldId::Other if name.iter().any(u8::is_ascii_uppercase) => {
                let mut lower = core::mem::take(&mut self.lower);
                lower.clear();
                lower.extend(name.iter().map(u8::to_ascii_lowercase));
                self.write(out, &lower, 0, FieldId::Other, value, never_indexed);
                self.lower = lower;
            }
            FieldId::Other => self.write(out, name, 0, FieldId::Other, value, never_indexed),
            id => {
                let never_indexed = never_indexed
                    || SENSITIVE.contains(id)
                    || (id == FieldId::Cookie && value.len() < GUESSABLE_COOKIE_BYTES);
                self.write(out, id.name().as_bytes(), name_index(id), id, value, never_indexed);
            }
        }
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        name: &[u8],
        static_name: usize,
        id: FieldId,
        value: &[u8],
        never_indexed: bool,
    ) {
        let name_hash = if id == FieldId::Other { hash(0, name) } else { mix(id as u64 + 1) };
        if never_indexed {
            let index = self.name_index(name, static_name, name_hash);
            return literal(out, index, name, value, 4, 0x10);
        }
        if id == FieldId::AcceptEncoding && value == b"gzip, deflate" {
            return Encoder::indexed(out, static_name);
        }
        let whole_hash = hash(name_hash, value);
        let slot = (whole_hash >> 32) as usize % SLOTS;
        if let Some(index) = self.find(self.entries[slot], |n, v| n == name && v == value) {
            return integer::encode(out, index, 7, 0x80);
        }
        let index = self.name_index(name, static_name, name_hash);
        // The low half, as the slot is made of the high one; never 0, which is what the array begins with.
        let mark = whole_hash as u32 | 1;
        let fits = name.len() + value.len() + ENTRY_OVERHEAD_BYTES <= self.table.size_max() / 2;
        if core::mem::replace(&mut self.seen[slot], mark) != mark || !fits {
            return literal(out, index, name, value, 4, 0x00);
        }
        literal(out, index, name, value, 6, 0x40);
        self.table.insert(name, value, id, 0);
        self.entries[slot] = self.table.inserted();
        self.names[name_hash as usize % NAME_SLOTS] = self.table.inserted();
    }

    fn name_index(&self, name: &[u8], static_name: usize, name_hash: u64) -> usize {
        if static_name != 0 {
            return static_name;
        }
        self.find(self.names[name_hash as usize % NAME_SLOTS], |n, _| n == name).unwrap_or(0)
    }

    /// Index of the entry that was inserted as number `number` if it is still there and what is wanted.
    fn find(&self, number: u32, is_wanted: impl Fn(&[u8], &[u8]) -> bool) -> Option<usize> {
        let age = self.table.inserted().wrapping_sub(number) as usize;
        if age >= self.table.len() {
            return None;
        }
        let (name, value) = self.table.get(age)?;
        is_wanted(name, value).then_some(STATIC_ENTRIES + 1 + age)
    }
}

#[inline]
fn literal(out: &mut Vec<u8>, name_index: usize, name: &[u8], value: &[u8], prefix_bits: u8, pattern: u8) {
    integer::encode(out, name_index, prefix_bits, pattern);
    if name_index == 0 {
        string(out, name);
    }
    string(out, value);
}

/// Writes a string literal, in the Huffman code where that is shorter.
#[inline]
fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let coded = huffman::encoded_len(bytes);
    out.reserve(bytes.len() + 8);
    if coded < bytes.len() {
        integer::encode(out, coded, 7, 0x80);
        huffman::encode(bytes, out);
    } else {
        integer::encode(out, bytes.len(), 7, 0x00);
        out.extend_from_slice(bytes);
    }
}

#[inline]
fn mix(value: u64) -> u64 {
    let product = u128::from(value ^ 0x9e37_79b9_7f4a_7c15) * u128::from(0xd6e8_feb8_6659_fd93_u64);
    (product as u64) ^ (product >> 64) as u64
}

#[inline]
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = seed ^ (bytes.len() as u64).rotate_left(32);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = word.first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word));
        hash = mix(hash ^ word);
    }
    let last = words.remainder().iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    mix(hash ^ last)
}
