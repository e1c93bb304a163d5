//! Types of single values: what they accept, what they say when they don't.

mod address;
mod http;
mod quantity;
mod text;
mod tls;

pub use address::{Address, EndpointAddress};
pub use http::{FieldName, FieldValue, HostHeader, HostPattern, MatchName, Method, Path, Regex, TokenText};
pub use quantity::{ByteCount, Duration, Int};
pub use text::{ClusterName, Name, OneOrMany, Words};
pub use tls::{AlpnName, FilePath, Fingerprint, SanText, ServerName, Sni};

use super::diagnostics::Diagnostic;
use super::reader::{Reader, Value};
use super::shape::{Shape, Shapes};
use super::yaml::{self, Node};

/// Why a text isn't a value of its type.
#[derive(Default)]
pub struct Refusal {
    /// What is wrong: "the port is missing"; without it: "is not {what}".
    why: Option<String>,
    help: Option<String>,
}

impl Refusal {
    fn because(why: impl Into<String>) -> Refusal {
        Refusal { why: Some(why.into()), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Refusal {
        self.help = Some(help.into());
        self
    }

    fn mean(self, text: impl std::fmt::Display) -> Refusal {
        self.help(format!("did you mean `{text}`?"))
    }
}

/// A value written as a scalar, checked by its own rules.
pub trait Text: Sized {
    /// With article: "a duration such as `15s`".
    const ONE: &'static str;
    const MANY: &'static str;

    fn parse(text: &str) -> Result<Self, Refusal>;

    /// A regular expression for editors, where a simple one says it.
    fn pattern() -> Option<&'static str> {
        None
    }
}

impl<T: Text> Value for T {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(text) = node.text().filter(|_| !node.is_null()) else {
            reader.mismatch(node, T::ONE);
            return None;
        };
        match T::parse(text) {
            Ok(value) => Some(value),
            Err(refusal) => {
                let shown = yaml::shown(text);
                let what = T::ONE.split([':', ',']).next().unwrap_or(T::ONE);
                let what = what.split(" such as ").next().unwrap_or(what);
                let message = match refusal.why {
                    Some(why) => format!("`{shown}`: {why}"),
                    None => format!("`{shown}` is not {what}"),
                };
                let mut error = Diagnostic::error(node.span, message).expected(T::ONE);
                error.help = refusal.help;
                reader.push(error);
                None
            }
        }
    }

    fn shape(_: &mut Shapes) -> Shape {
        // YAML leaves a plain 10 a number; where a text is meant it is one.
        let schema = match T::pattern() {
            Some(pattern) => serde_json::json!({ "type": "string", "pattern": pattern }),
            None => serde_json::json!({ "type": ["string", "number", "boolean"] }),
        };
        Shape::new(T::ONE, T::MANY, schema)
    }
}

impl Value for bool {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let plain = matches!(&node.shape, yaml::Shape::Scalar(scalar) if scalar.plain);
        match node.text() {
            Some("true") if plain => Some(true),
            Some("false") if plain => Some(false),
            Some(text) if !node.is_null() => {
                let error = Diagnostic::error(node.span, format!("{} is not a boolean", node.describe()));
                let meant = match text.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "1" | "true" | "y" | "enabled" => Some("true"),
                    "no" | "off" | "0" | "false" | "n" | "disabled" => Some("false"),
                    _ => None,
                };
                reader.push(error.expected("`true` or `false`").nearest(meant));
                None
            }
            _ => {
                reader.mismatch(node, "`true` or `false`");
                None
            }
        }
    }

    fn shape(_: &mut Shapes) -> Shape {
        Shape::new("`true` or `false`", "booleans", serde_json::json!({ "type": "boolean" }))
    }
}

/// Serialises as the text in the first field.
macro_rules! serialize_as_text {
    ($($type:ty),+) => {
        $(impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        })+
    };
}
use serialize_as_text;
