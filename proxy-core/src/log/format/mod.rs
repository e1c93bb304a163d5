//! Formats of access logs: text and JSON templates with Envoy's operators, compiled to pieces.
//!
//! An operator is `%NAME%`, `%NAME(ARGUMENTS)%` or `%NAME(ARGUMENTS):LENGTH%`; `%%` is a percent sign.

mod operator;
mod parse;
mod time;

use std::path::PathBuf;
use std::sync::Arc;

pub use operator::operators;
pub(super) use operator::{
    Address, End, Header, Number, Operator, Part, PathOf, PeerText, Side, StatusForm, Text, Unit, Validity,
};
pub use parse::{FormatError, check};
pub(super) use time::digits;

/// Envoy's default.
pub const TEXT_DEFAULT: &str = concat!(
    r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% "#,
    r#"%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "#,
    r#""%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%""#,
    "\n"
);

/// For TCP listeners, where most of the default would be dashes.
pub const TEXT_DEFAULT_TCP: &str = concat!(
    r#"[%START_TIME%] "%DOWNSTREAM_REMOTE_ADDRESS% %LISTENER_NAME%" %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% "#,
    r#"%DURATION% "%UPSTREAM_CLUSTER%" "%UPSTREAM_HOST%""#,
    "\n"
);

/// Where lines go.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Destination {
    Stdout,
    Stderr,
    File(PathBuf),
}

impl Destination {
    /// `stdout`, `stderr` (also as `/dev/stdout`, `/dev/stderr`) or the path of a file.
    pub fn parse(text: &str) -> Destination {
        match text {
            "stdout" | "/dev/stdout" => Destination::Stdout,
            "stderr" | "/dev/stderr" => Destination::Stderr,
            path => Destination::File(PathBuf::from(path)),
        }
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Destination::Stdout => f.write_str("stdout"),
            Destination::Stderr => f.write_str("stderr"),
            Destination::File(path) => path.display().fmt(f),
        }
    }
}

/// A format as it is written: a text, or an object whose members are formats.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Template {
    Text(String),
    Object(Vec<(String, Template)>),
}

/// A compiled access log.
#[derive(Debug)]
pub struct Spec {
    pub(super) destination: Arc<Destination>,
    pub(super) pieces: Box<[Piece]>,
}

/// What a line is made of, in order.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Piece {
    Literal(Box<[u8]>),
    /// As text, `-` when missing.
    Text(Value),
    /// Inside a JSON string, `-` when missing.
    JsonText(Value),
    /// A whole JSON value: number, string or null.
    Json(Value),
}

/// An operator and the most bytes of it to show.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Value {
    pub(super) operator: Operator,
    pub(super) bytes_max: usize,
}

impl Spec {
    /// Compiles a log. A text gets its newline if it has none. Members of an object are sorted by name; a member that
    /// is one operator and nothing else keeps its type (numbers stay numbers, what is missing is null).
    ///
    /// # Errors
    /// The first operator that can't be read.
    pub fn new(destination: Destination, template: &Template) -> Result<Spec, FormatError> {
        let mut pieces = Vec::new();
        match template {
            Template::Text(text) => {
                pieces.extend(parse::text(text)?);
                if !text.ends_with('\n') {
                    push_literal(&mut pieces, b"\n");
                }
            }
            Template::Object(_) => {
                json(template, &mut pieces)?;
                push_literal(&mut pieces, b"\n");
            }
        }
        Ok(Spec { destination: Arc::new(destination), pieces: pieces.into() })
    }

    pub fn destination(&self) -> &Destination {
        &self.destination
    }
}

fn json(template: &Template, pieces: &mut Vec<Piece>) -> Result<(), FormatError> {
    match template {
        Template::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            push_literal(pieces, b"{");
            for (at, (name, member)) in members.into_iter().enumerate() {
                let mut opening = if at == 0 { Vec::new() } else { b",".to_vec() };
                push_json_string(&mut opening, name.as_bytes());
                opening.push(b':');
                push_literal(pieces, &opening);
                json(member, pieces).map_err(|error| error.within(name))?;
            }
            push_literal(pieces, b"}");
        }
        Template::Text(text) => {
            let parts = parse::text(text)?;
            if let [Piece::Text(value)] = &parts[..] {
                pieces.push(Piece::Json(value.clone()));
                return Ok(());
            }
            push_literal(pieces, b"\"");
            for part in parts {
                match part {
                    Piece::Literal(bytes) => {
                        let mut escaped = Vec::new();
                        super::render::escape_json(&bytes, &mut escaped);
                        push_literal(pieces, &escaped);
                    }
                    Piece::Text(value) | Piece::JsonText(value) | Piece::Json(value) => {
                        pieces.push(Piece::JsonText(value));
                    }
                }
            }
            push_literal(pieces, b"\"");
        }
    }
    Ok(())
}

fn push_json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    super::render::escape_json(text, out);
    out.push(b'"');
}

/// Appends a literal, joined with the one before it.
fn push_literal(pieces: &mut Vec<Piece>, bytes: &[u8]) {
    if let Some(Piece::Literal(last)) = pieces.last_mut() {
        *last = [&last[..], bytes].concat().into();
    } else {
        pieces.push(Piece::Literal(bytes.into()));
    }
}
