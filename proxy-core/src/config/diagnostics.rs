//! What is wrong with a config file and where: collected, sorted by position, rendered with the line and a caret.

use std::fmt;
use std::sync::Arc;

use super::source::{Source, Span};

/// More than this many mistakes are counted, not kept: a file that isn't a config at all would drown its reader.
pub(crate) const DIAGNOSTICS_MAX: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The config is refused.
    Error,
    /// The config works, probably not as meant.
    Warning,
}

/// One mistake.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub severity: Severity,
    /// What was found, in one sentence without a full stop.
    pub message: String,
    pub span: Span,
    /// What belongs there.
    pub expected: Option<String>,
    /// The likeliest repair.
    pub help: Option<String>,
    /// Another place in the file that matters ("first used here").
    pub note: Option<(String, Span)>,
}

impl Diagnostic {
    pub fn error(span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Error, message: message.into(), span, expected: None, help: None, note: None }
    }

    pub fn warning(span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(span, message) }
    }

    pub fn expected(mut self, expected: impl Into<String>) -> Diagnostic {
        self.expected = Some(expected.into());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// Adds "did you mean ...?" where there is a near name; keeps an earlier help otherwise.
    pub fn nearest(mut self, name: Option<&str>) -> Diagnostic {
        if let Some(name) = name {
            self.help = Some(format!("did you mean `{name}`?"));
        }
        self
    }

    pub fn note(mut self, note: impl Into<String>, span: Span) -> Diagnostic {
        self.note = Some((note.into(), span));
        self
    }
}

/// All mistakes of one file. `Display` renders the whole report, one block a mistake, errors and warnings in the order
/// of the file, a count last.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    source: Arc<Source>,
    list: Vec<Diagnostic>,
    left_out: usize,
}

impl Diagnostics {
    pub fn new(source: Arc<Source>) -> Diagnostics {
        Diagnostics { source, list: Vec::new(), left_out: 0 }
    }

    pub fn push(&mut self, diagnostic: Diagnostic) {
        // Aliases show one node at several places of the tree: one mistake, reported once.
        if self.list.iter().rev().take(64).any(|d| d.span == diagnostic.span && d.message == diagnostic.message) {
            return;
        }
        if self.list.len() < DIAGNOSTICS_MAX { self.list.push(diagnostic) } else { self.left_out += 1 }
    }

    /// Errors and warnings in the order of the file.
    pub fn list(&self) -> impl Iterator<Item = &Diagnostic> {
        let mut sorted: Vec<&Diagnostic> = self.list.iter().collect();
        sorted.sort_by_key(|d| (d.span.line, d.span.column));
        sorted.into_iter()
    }

    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list().filter(|d| d.severity == Severity::Error)
    }

    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list().filter(|d| d.severity == Severity::Warning)
    }

    pub fn has_errors(&self) -> bool {
        self.left_out > 0 || self.list.iter().any(|d| d.severity == Severity::Error)
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn write_one(&self, f: &mut fmt::Formatter<'_>, diagnostic: &Diagnostic) -> fmt::Result {
        let severity = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{severity}: {}", printable(&diagnostic.message))?;
        let note_line = diagnostic.note.as_ref().map_or(0, |(_, span)| span.line);
        let gutter = digits(diagnostic.span.line.max(note_line));
        self.write_place(f, "-->", gutter, diagnostic.span)?;
        if let Some(expected) = &diagnostic.expected {
            writeln!(f, "{:gutter$} = expected: {}", "", printable(expected))?;
        }
        if let Some(help) = &diagnostic.help {
            writeln!(f, "{:gutter$} = help: {}", "", printable(help))?;
        }
        if let Some((note, span)) = &diagnostic.note {
            writeln!(f, "{:gutter$} = note: {}", "", printable(note))?;
            self.write_place(f, ":::", gutter, *span)?;
        }
        Ok(())
    }

    /// The position, the line it is in and a caret under it.
    fn write_place(&self, f: &mut fmt::Formatter<'_>, arrow: &str, gutter: usize, span: Span) -> fmt::Result {
        let name = printable(&self.source.name);
        if span.line == 0 {
            return writeln!(f, "{:gutter$}{arrow} {name}", "");
        }
        writeln!(f, "{:gutter$}{arrow} {name}:{}:{}", "", span.line, span.column)?;
        let Some(line) = self.source.line(span.line) else { return Ok(()) };
        let (line, column) = crop(line, span.column);
        let width = span.width.clamp(1, (line.chars().count() as u32 + 1).saturating_sub(column - 1).max(1));
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{:>gutter$} | {}", span.line, printable(&line).trim_end())?;
        writeln!(f, "{:gutter$} | {}{}", "", " ".repeat(column as usize - 1), "^".repeat(width as usize))
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in self.list() {
            self.write_one(f, diagnostic)?;
            writeln!(f)?;
        }
        if self.left_out > 0 {
            writeln!(f, "... and {} more that aren't shown\n", self.left_out)?;
        }
        let (errors, warnings) = (self.errors().count() + self.left_out, self.warnings().count());
        let name = printable(&self.source.name);
        match (errors, warnings) {
            (0, 0) => Ok(()),
            (_, 0) => writeln!(f, "{name}: {}", counted(errors, "error")),
            (0, _) => writeln!(f, "{name}: {}", counted(warnings, "warning")),
            _ => writeln!(f, "{name}: {}, {}", counted(errors, "error"), counted(warnings, "warning")),
        }
    }
}

impl std::error::Error for Diagnostics {}

fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

fn digits(n: u32) -> usize {
    n.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Text of the file as it may go to a terminal: one cell a character, no control characters.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Cuts a long line to a window around the column. Returns the window and the column inside it (from 1).
fn crop(line: &str, column: u32) -> (String, u32) {
    const WINDOW: usize = 140;
    const BEFORE: usize = 60;
    let chars = line.chars().count();
    let column = (column.max(1) as usize).min(chars + 1);
    if chars <= WINDOW {
        return (line.to_string(), column as u32);
    }
    let start = column.saturating_sub(BEFORE + 1);
    let window: String = line.chars().skip(start).take(WINDOW).collect();
    let (prefix, suffix) = (if start > 0 { "…" } else { "" }, if start + WINDOW < chars { "…" } else { "" });
    ((format!("{prefix}{window}{suffix}")), (column - start + prefix.chars().count()) as u32)
}
