//! Ranges into the bytes that a message was parsed from.

use core::ops::Range;

/// A half-open range of bytes in the input that was parsed; positions count from the start of that input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// The span of `range`. Inputs are bounded far below 4 GiB by `HeadLimits`; larger positions saturate.
    #[must_use]
    pub fn new(range: Range<usize>) -> Span {
        Span { start: to_u32(range.start), end: to_u32(range.end) }
    }

    /// The bytes it names; empty when `input` is not the one that was parsed and too short.
    #[must_use]
    #[inline]
    pub fn of(self, input: &[u8]) -> &[u8] {
        input.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    #[must_use]
    #[inline]
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    #[must_use]
    #[inline]
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The same bytes when `by` more come before them.
    #[inline]
    pub(crate) fn shifted(self, by: u32) -> Span {
        Span { start: self.start.saturating_add(by), end: self.end.saturating_add(by) }
    }
}

impl From<Span> for Range<usize> {
    fn from(span: Span) -> Range<usize> {
        span.start as usize..span.end as usize
    }
}

#[inline]
pub(crate) fn to_u32(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
