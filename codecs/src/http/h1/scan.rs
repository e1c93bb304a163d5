//! The strict scan for the end of a head.

use crate::Status;
use crate::http::span::to_u32;
use crate::http::{ErrorKind, HeadLimits};

/// Empty lines tolerated before a request line (RFC 9112 2.2: some clients send one after a body).
pub const LEADING_CRLF_MAX: u32 = 2;

/// Finds the end of a head and remembers how far it got, so that a head which arrives byte by byte is read once, not once
/// a byte. Start with the default; pass the same input with more bytes behind it each time. Once a head is complete, the
/// next call begins with the next head.
///
/// It accepts CRLF as the only line end, and enforces the limits on the bytes that are
/// there even while the head is incomplete.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    /// Bytes before this one have been looked at.
    scanned: u32,
    /// Where the line that isn't complete yet begins.
    line_start: u32,
    /// Where the start line begins, behind empty lines.
    pub(super) head_start: u32,
    /// Where the CRLF of the start line is.
    pub(super) first_line_end: u32,
    /// Complete lines from the start line on.
    pub(super) lines: u32,
    leading: u32,
    /// A head's end or an error was found: the next call begins anew.
    finished: bool,
}

impl HeadScanner {
    /// Whether anything of a head has arrived (empty lines before it don't count): what a header timeout starts from.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.scanned > self.head_start
    }

    /// Looks at the bytes that are new. `Complete(end)`: the head, its empty line included, ends before `end`.
    /// `first_line_max` bounds the start line and is answered with its own error.
    #[inline]
    pub(super) fn advance(
        &mut self,
        input: &[u8],
        limits: &HeadLimits,
        first_line_max: u32,
    ) -> Result<Status<usize>, ErrorKind> {
        if self.finished {
            *self = HeadScanner::default();
        }
        let result = self.scan(input, limits, first_line_max);
        self.finished = result != Ok(Status::Partial);
        result
    }

    #[inline]
    fn scan(&mut self, input: &[u8], limits: &HeadLimits, first_line_max: u32) -> Result<Status<usize>, ErrorKind> {
        let from = self.scanned as usize;
        for at in memchr::memchr_iter(b'\n', input.get(from..).unwrap_or_default()) {
            let line_end = to_u32(from + at);
            if line_end == self.line_start || input[from + at - 1] != b'\r' {
                return Err(ErrorKind::BareLf);
            }
            let line_bytes = line_end - 1 - self.line_start;
            if line_bytes == 0 {
                if self.lines > 0 {
                    let head_bytes = line_end + 1 - self.head_start;
                    return match head_bytes > limits.head_bytes_max {
                        true => Err(ErrorKind::HeadTooLarge),
                        false => Ok(Status::Complete(line_end as usize + 1)),
                    };
                }
                self.leading_line(line_end)?;
                continue;
            }
            if self.lines == 0 {
                self.first_line_end = line_end - 1;
                if line_bytes > first_line_max {
                    return Err(ErrorKind::RequestLineTooLong);
                }
            }
            self.lines += 1;
            if self.lines - 1 > limits.fields_max.min(HeadLimits::FIELDS_MAX) {
                return Err(ErrorKind::TooManyFields);
            }
            self.line_start = line_end + 1;
        }
        // Never back, even if a caller passes less than before.
        self.scanned = self.scanned.max(to_u32(input.len()));
        self.partial(limits, first_line_max)
    }

    fn leading_line(&mut self, line_end: u32) -> Result<(), ErrorKind> {
        self.leading += 1;
        self.line_start = line_end + 1;
        self.head_start = line_end + 1;
        if self.leading > LEADING_CRLF_MAX { Err(ErrorKind::LeadingEmptyLines) } else { Ok(()) }
    }

    #[cold]
    fn partial(&self, limits: &HeadLimits, first_line_max: u32) -> Result<Status<usize>, ErrorKind> {
        let head_bytes = self.scanned - self.head_start;
        // The CR of the line's end may be there already and doesn't count.
        if self.lines == 0 && head_bytes > first_line_max.saturating_add(1) {
            return Err(ErrorKind::RequestLineTooLong);
        }
        if head_bytes > limits.head_bytes_max {
            return Err(ErrorKind::HeadTooLarge);
        }
        Ok(Status::Partial)
    }
}
