//! HPACK: header compression for HTTP/2 (RFC 7541).
//!
//! The decoder writes fields as text (`name: value` and CRLF), the form that heads refer to in every version, and keeps
//! with each entry of its table what was found out about name and value, so that a field that is sent by index isn't
//! checked again. The encoder finds repeated fields by a small hash table that may forget but never lies.

mod decode;
mod encode;
mod huffman;
mod integer;
mod statics;
mod table;

pub(crate) use decode::{Block, Decoder, Line};
pub(crate) use encode::Encoder;

/// What an entry costs besides its name and value (RFC 7541 4.1); header lists are measured the same way.
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = 32;

/// Between name and value of a line, and after the value.
const COLON: &[u8] = b": ";
const LINE_END: &[u8] = b"\r\n";

/// A header block that can't be decoded: the tables of both sides differ from here on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Invalid;

#[cfg(test)]
mod tests;
