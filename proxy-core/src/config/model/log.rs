//! Access logs.

use crate::config::diagnostics::Diagnostic;
use crate::config::reader::{Reader, Value};
use crate::config::record::record;
use crate::config::shape::{Shape, Shapes};
use crate::config::source::Span;
use crate::config::values::Words;
use crate::config::yaml::{self, Node};
use crate::log;

record! {
    /// An access log: a line for each request, or for each connection of a TCP service.
    pub struct FullAccessLog as "access_log", "an access log", "access logs";
    {
        /// A file, opened anew on SIGUSR1, or `stdout` or `stderr`.
        path: Words = required,
        /// The line: a text with operators such as `%RESPONSE_CODE%`, or a mapping of names and operators, which
        /// makes each line a JSON object. Without it, Envoy's default text for HTTP and a shorter one for TCP.
        format: Option<LogFormat> = optional,
    }
}

/// An access log as written short (just the path) or in full.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    pub path: String,
    pub format: Option<LogFormat>,
}

impl Value for AccessLog {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let log = match &node.shape {
            yaml::Shape::Mapping(_) => {
                let full = FullAccessLog::read(node, reader)?;
                AccessLog { path: full.path.0, format: full.format }
            }
            _ => AccessLog { path: Words::read(node, reader)?.0, format: None },
        };
        if log.path.is_empty() || log.path.ends_with('/') {
            let span = node.get("path").map_or(node.span, |path| path.span);
            let error = Diagnostic::error(span, format!("`{}` names no file", log.path));
            reader.push(error.expected("a path of a file, `stdout` or `stderr`"));
        }
        Some(log)
    }

    fn shape(shapes: &mut Shapes) -> Shape {
        let (short, full) = (Words::shape(shapes), FullAccessLog::shape(shapes));
        let schema = serde_json::json!({ "anyOf": [short.schema, full.schema] });
        Shape::new("a path, or a mapping with `path` and `format`", "access logs", schema)
    }
}

impl serde::Serialize for AccessLog {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", &self.path)?;
        if let Some(format) = &self.format {
            map.serialize_entry("format", format)?;
        }
        map.end()
    }
}

/// The line of an access log.
#[derive(Clone, Debug, PartialEq)]
pub enum LogFormat {
    Text(String),
    /// Names and what stands behind them, in the order of the file.
    Json(Vec<(String, LogFormat)>),
}

impl Value for LogFormat {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.shape {
            yaml::Shape::Scalar(scalar) if !node.is_null() => {
                check_format(&scalar.text, node, reader);
                Some(LogFormat::Text(scalar.text.clone()))
            }
            yaml::Shape::Mapping(entries) => {
                let read = |entry: &yaml::Entry, reader: &mut Reader<'_>| {
                    LogFormat::read(&entry.value, reader).map(|format| (entry.key.clone(), format))
                };
                Some(LogFormat::Json(entries.iter().filter_map(|entry| read(entry, reader)).collect()))
            }
            _ => {
                reader.mismatch(node, "a text with operators, or a mapping of names and such texts");
                None
            }
        }
    }

    fn shape(_: &mut Shapes) -> Shape {
        let schema = serde_json::json!({ "type": ["string", "number", "boolean", "object"] });
        Shape::new("a text with operators, or a mapping of names and such texts", "formats", schema)
    }
}

/// Reports every operator of a text that can't be read, at its own place in the file.
fn check_format(text: &str, node: &Node, reader: &mut Reader<'_>) {
    let mut from = node.span;
    let mut rest = text;
    while let Err(error) = log::check(rest) {
        let end = (error.offset + error.width.max(1)).min(rest.len());
        let wrong = rest.get(error.offset..end).filter(|wrong| !wrong.is_empty());
        let found = wrong.and_then(|wrong| reader.diagnostics.source().find(from, wrong));
        if let Some(span) = found {
            from = Span { column: span.column + span.width, ..span };
        }
        let nearest = error.nearest.map(|name| format!("%{name}%"));
        let diagnostic = Diagnostic::error(found.unwrap_or(node.span), error.message);
        reader.push(diagnostic.expected("operators such as `%RESPONSE_CODE%`").nearest(nearest.as_deref()));
        // After an operator that isn't closed, nobody knows where the next begins.
        let closed = wrong.is_some_and(|wrong| wrong.len() > 1 && wrong.ends_with('%'));
        let Some(after) = rest.get(end..).filter(|_| closed) else { return };
        rest = after;
    }
}

impl LogFormat {
    /// As the access log takes it.
    pub(crate) fn template(&self) -> log::Template {
        match self {
            LogFormat::Text(text) => log::Template::Text(text.clone()),
            LogFormat::Json(entries) => {
                let members = entries.iter().map(|(name, format)| (name.clone(), format.template()));
                log::Template::Object(members.collect())
            }
        }
    }
}

impl serde::Serialize for LogFormat {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            LogFormat::Text(text) => serializer.serialize_str(text),
            LogFormat::Json(entries) => serializer.collect_map(entries.iter().map(|(name, format)| (name, format))),
        }
    }
}
