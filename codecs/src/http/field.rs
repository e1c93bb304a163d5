//! One field of a head or of trailers, and sets of well-known fields.

use super::{FieldId, Span};

/// One field line. 20 bytes; kept in a reused `Vec`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// The name as it was sent, in any case.
    pub name: Span,
    /// The value without the whitespace around it.
    pub value: Span,
    pub id: FieldId,
    /// Ends at this hop and is not forwarded: a connection-specific field (RFC 9110 7.6.1), one nominated in
    /// `Connection`, or a `Content-Length` that this message must not have.
    pub hop_by_hop: bool,
    /// Sent so that no hop may put it into a compression table, and to be sent on in the same way (RFC 7541 6.2.3).
    pub never_indexed: bool,
}

/// A set of well-known fields; a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FieldSet(u128);

impl FieldSet {
    pub const EMPTY: FieldSet = FieldSet(0);

    /// The set of `ids`; `FieldId::Other` can't be in a set and is left out.
    #[must_use]
    pub const fn of(ids: &[FieldId]) -> FieldSet {
        let mut bits = 0;
        let mut at = 0;
        while at < ids.len() {
            bits |= 1u128 << ids[at] as u8;
            at += 1;
        }
        FieldSet(bits & !1)
    }

    #[must_use]
    #[inline]
    pub const fn contains(self, id: FieldId) -> bool {
        self.0 >> (id as u8) & 1 != 0
    }

    #[must_use]
    pub const fn with(self, id: FieldId) -> FieldSet {
        self.union(FieldSet::of(&[id]))
    }

    #[must_use]
    pub const fn union(self, other: FieldSet) -> FieldSet {
        FieldSet(self.0 | other.0)
    }
}
