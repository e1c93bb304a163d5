//! Names, references, plain text, and "one or several".

use super::{Refusal, Text};
use crate::config::diagnostics::Diagnostic;
use crate::config::nearest::nearest;
use crate::config::reader::{Reader, Value};
use crate::config::shape::{Shape, Shapes};
use crate::config::yaml::{self, Node};

/// A name of a listener, route or cluster. It becomes part of counter names, so it stays plain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(pub String);

const NAME_BYTES_MAX: usize = 128;

impl Text for Name {
    const ONE: &'static str = "a name of letters, digits, `_`, `-` and `.`";
    const MANY: &'static str = "names";

    fn parse(text: &str) -> Result<Self, Refusal> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if text.is_empty() {
            return Err(Refusal::because("a name can't be empty"));
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(Refusal::because(format!("a name can have {NAME_BYTES_MAX} characters at most")));
        }
        if let Some(wrong) = text.chars().find(|c| !allowed(*c)) {
            let meant: String = text.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
            return Err(Refusal::because(format!("`{wrong}` can't be part of a name")).mean(meant));
        }
        Ok(Name(text.to_string()))
    }
}

/// The name of a cluster of the same file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClusterName(pub String);

impl Value for ClusterName {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(name) = node.text().filter(|_| !node.is_null()) else {
            reader.mismatch(node, "the name of a cluster");
            return None;
        };
        if !reader.clusters.contains_key(name) {
            let mut names: Vec<&str> = reader.clusters.keys().map(String::as_str).collect();
            names.sort_unstable();
            let expected = match names.as_slice() {
                [only] => format!("`{only}`"),
                [] => "a cluster under `clusters`, of which the file has none".to_string(),
                names if names.len() <= 12 => format!("one of {}", crate::config::record::or_list(names)),
                names => format!("one of the {} clusters under `clusters`", names.len()),
            };
            let error = Diagnostic::error(node.span, format!("there is no cluster `{name}`")).expected(expected);
            let near = nearest(name, names);
            let error = error.nearest(near);
            reader.push(error);
        }
        Some(ClusterName(name.to_string()))
    }

    fn shape(_: &mut Shapes) -> Shape {
        Shape::new("the name of a cluster", "names of clusters", serde_json::json!({ "type": "string" }))
    }
}

/// Any text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub String);

impl Text for Words {
    const ONE: &'static str = "a text";
    const MANY: &'static str = "texts";

    fn parse(text: &str) -> Result<Self, Refusal> {
        Ok(Words(text.to_string()))
    }
}

/// A list that may be written without brackets when it has one item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> std::ops::Deref for OneOrMany<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Value> Value for OneOrMany<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.shape {
            yaml::Shape::Sequence(_) => Vec::read(node, reader).map(OneOrMany),
            _ => T::read(node, reader).map(|one| OneOrMany(vec![one])),
        }
    }

    fn shape(shapes: &mut Shapes) -> Shape {
        let item = T::shape(shapes);
        let schema = serde_json::json!({ "anyOf": [
            item.schema,
            { "type": "array", "items": item.schema },
        ]});
        Shape::new(format!("{}, or a list of them", item.one), item.many, schema)
    }
}

impl<T: serde::Serialize> serde::Serialize for OneOrMany<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

super::serialize_as_text!(Name, ClusterName, Words);
