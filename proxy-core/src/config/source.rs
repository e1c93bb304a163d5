//! The text of a config and positions in it.

use std::sync::Arc;

/// A config file's name (as given on the command line) and text.
#[derive(Debug, Default)]
pub struct Source {
    pub name: String,
    pub text: String,
}

impl Source {
    pub fn new(name: &str, text: &str) -> Arc<Source> {
        Arc::new(Source { name: name.to_string(), text: text.to_string() })
    }

    /// The first place of `needle` at or after `from`, within a few hundred lines.
    pub(crate) fn find(&self, from: Span, needle: &str) -> Option<Span> {
        const LINES_SEARCHED: usize = 500;
        let first = (from.line as usize).checked_sub(1)?;
        for (number, line) in self.text.lines().enumerate().skip(first).take(LINES_SEARCHED) {
            let skipped = if number == first { from.column as usize - 1 } else { 0 };
            let start = line.char_indices().nth(skipped).map_or(line.len(), |(at, _)| at);
            if let Some(at) = line[start..].find(needle) {
                let column = line[..start + at].chars().count() as u32 + 1;
                return Some(Span { line: number as u32 + 1, column, width: needle.chars().count().max(1) as u32 });
            }
        }
        None
    }

    /// A line by its number, from 1.
    pub fn line(&self, number: u32) -> Option<&str> {
        self.text.lines().nth((number as usize).checked_sub(1)?)
    }
}

/// Where something stands in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// From 1; 0 = the file as a whole.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// Characters to underline.
    pub width: u32,
}

/// A value with its place, for checks that come after reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: serde::Serialize> serde::Serialize for Spanned<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

/// Compared by value: where it stands doesn't matter.
impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}
