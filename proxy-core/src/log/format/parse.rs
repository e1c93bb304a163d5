//! Text → pieces, with errors that point at the operator.

use super::operator;
use super::{Piece, Value};

/// A mistake in a format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FormatError {
    /// Names of the members that lead to the text, outermost first; empty for a text format.
    pub member: Vec<String>,
    /// Where in the text, in bytes.
    pub offset: usize,
    /// How many bytes of the text are wrong; at least 1 unless the text ended too early.
    pub width: usize,
    pub message: String,
    /// A valid operator that was probably meant.
    pub nearest: Option<&'static str>,
}

impl FormatError {
    pub(super) fn within(mut self, member: &str) -> FormatError {
        self.member.insert(0, member.to_owned());
        self
    }
}

impl std::fmt::Display for FormatError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match self.nearest {
            Some(nearest) => write!(f, "; did you mean %{nearest}%?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FormatError {}

/// Checks one text.
///
/// # Errors
/// The first operator that can't be read.
pub fn check(format: &str) -> Result<(), FormatError> {
    text(format).map(drop)
}

/// A mistake before it is known where the operator stands.
pub(super) struct Mistake {
    pub(super) message: String,
    pub(super) nearest: Option<&'static str>,
}

impl Mistake {
    pub(super) fn new(message: impl Into<String>) -> Mistake {
        Mistake { message: message.into(), nearest: None }
    }
}

pub(super) fn text(format: &str) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut at = 0;
    while let Some(found) = format[at..].find('%') {
        literal.extend_from_slice(&format.as_bytes()[at..at + found]);
        at += found;
        if format[at + 1..].starts_with('%') {
            literal.push(b'%');
            at += 2;
            continue;
        }
        let token = Token::read(&format[at..]).map_err(|(message, width)| FormatError {
            member: Vec::new(),
            offset: at,
            width,
            message,
            nearest: None,
        })?;
        let operator = operator::operator(token.name, token.arguments).map_err(|mistake| FormatError {
            member: Vec::new(),
            offset: at,
            width: token.width,
            message: mistake.message,
            nearest: mistake.nearest,
        })?;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
        }
        pieces.push(Piece::Text(Value { operator, bytes_max: token.bytes_max }));
        at += token.width;
    }
    literal.extend_from_slice(&format.as_bytes()[at..]);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal.into()));
    }
    Ok(pieces)
}

/// `%NAME(ARGUMENTS):LENGTH%` taken apart.
struct Token<'a> {
    name: &'a str,
    arguments: Option<&'a str>,
    bytes_max: usize,
    /// Of the whole operator, with both percent signs.
    width: usize,
}

impl<'a> Token<'a> {
    /// Reads an operator at the start of `text`, which is a percent sign. The error has the width of what is wrong.
    fn read(text: &'a str) -> Result<Token<'a>, (String, usize)> {
        let name_end = 1 + text[1..]
            .find(|letter: char| !(letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'))
            .unwrap_or(text.len() - 1);
        let name = &text[1..name_end];
        if name.is_empty() {
            return Err(("a percent sign begins an operator such as %PROTOCOL%; write %% for the sign".into(), 1));
        }
        let mut rest = &text[name_end..];
        let mut arguments = None;
        if let Some(inner) = rest.strip_prefix('(') {
            let Some(end) = inner.find(')') else {
                return Err((format!("%{name}( has no closing parenthesis"), name_end + 1));
            };
            arguments = Some(&inner[..end]);
            rest = &inner[end + 1..];
        }
        let mut bytes_max = usize::MAX;
        if let Some(length) = rest.strip_prefix(':') {
            let digits = length.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(length.len());
            bytes_max = length[..digits]
                .parse()
                .map_err(|_| (format!("%{name}…: is followed by no length in bytes"), text.len() - rest.len() + 1))?;
            rest = &length[digits..];
        }
        let width = text.len() - rest.len();
        if !rest.starts_with('%') {
            return Err((format!("%{name} is not closed by a percent sign"), width));
        }
        Ok(Token { name, arguments, bytes_max, width: width + 1 })
    }
}
