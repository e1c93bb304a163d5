//! From nodes to typed values: every field is tried, every mistake is collected.

use std::cell::RefCell;
use std::collections::HashMap;

use super::diagnostics::{Diagnostic, Diagnostics};
use super::nearest::nearest;
use super::record::{Field, Presence, Record};
use super::shape::{Shape, Shapes};
use super::source::{Source, Span, Spanned};
use super::yaml::{self, Node};

/// A type that can stand in a config file.
pub(crate) trait Value: Sized {
    /// Reads a node; `None` if it can't be, which has then been reported.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;

    /// What may be written, for the JSON Schema and the reference.
    fn shape(shapes: &mut Shapes) -> Shape;

    /// The value of a field that isn't there and has no default.
    fn absent() -> Option<Self> {
        None
    }

    /// Left out when the config is dumped.
    fn is_absent(&self) -> bool {
        false
    }
}

/// What reading needs to know of the whole file.
pub(crate) struct Reader<'a> {
    pub(crate) diagnostics: &'a mut Diagnostics,
    /// Names of the clusters in the file, gathered before anything is read.
    pub(crate) clusters: HashMap<String, Span>,
}

impl Reader<'_> {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Reports that `node` isn't what belongs there.
    pub(crate) fn mismatch(&mut self, node: &Node, expected: &str) {
        if !matches!(node.shape, yaml::Shape::Broken) {
            self.push(Diagnostic::error(node.span, format!("found {}", node.describe())).expected(expected));
        }
    }

    /// Reports a name that isn't one of a few.
    pub(crate) fn no_such_choice(&mut self, node: &Node, what: &str, names: &'static [&'static str]) {
        let Some(text) = node.text().filter(|_| !node.is_null()) else {
            return self.mismatch(node, &super::record::or_list(names));
        };
        let error = Diagnostic::error(node.span, format!("`{text}` is not {what}"));
        let near = nearest(text, names.iter().copied());
        self.push(error.expected(super::record::or_list(names)).nearest(near));
    }

    /// Checks a mapping against its record: a mapping at all, no unknown fields, no missing ones, no two of which only
    /// one may be. `None` if there is nothing to read fields from.
    pub(crate) fn record(&mut self, node: &Node, record: &'static Record) -> Option<()> {
        match &node.shape {
            yaml::Shape::Mapping(_) => {}
            yaml::Shape::Broken => return None,
            _ => {
                self.mismatch(node, &format!("{}: a mapping with {}", record.title, record.required_list()));
                return None;
            }
        }
        let unknown = node.entries().iter().filter(|entry| record.field(&entry.key).is_none());
        // A field that was misspelt isn't missing, too.
        let meant: Vec<&str> =
            unknown.filter_map(|entry| self.unknown_field(record, &entry.key, entry.key_span)).collect();
        for field in record.fields.iter().filter(|field| matches!(field.presence, Presence::Required)) {
            if node.get(field.name).is_none() && !meant.contains(&field.name) {
                let error = Diagnostic::error(node.span, format!("{} lacks `{}`", record.title, field.name));
                self.push(error.expected(format!("`{}`: {}", field.name, field.words())));
            }
        }
        for group in record.one_of {
            self.one_of(node, record, group, meant.iter().any(|name| group.names.contains(name)));
        }
        Some(())
    }

    /// Returns the field that was probably meant.
    fn unknown_field(&mut self, record: &'static Record, key: &str, span: Span) -> Option<&'static str> {
        let names = record.fields.iter().map(|field| field.name);
        let elsewhere = super::model::records().iter().find(|other| other.field(key).is_some());
        let message = match key {
            "<<" => "`<<` can be given once only".to_string(),
            key => format!("unknown field `{key}` in {}", record.title),
        };
        let mut error = Diagnostic::error(span, message).expected(record.field_list());
        let known = super::record::name_elsewhere(key).filter(|name| record.field(name).is_some());
        let near = known.or_else(|| nearest(key, names));
        let elsewhere = elsewhere.map(|other| format!("`{key}` is a field of {}", other.title));
        error.help = match (near, elsewhere) {
            (Some(near), Some(elsewhere)) => Some(format!("did you mean `{near}`? {elsewhere}")),
            (Some(near), None) => Some(format!("did you mean `{near}`?")),
            (None, elsewhere) => elsewhere,
        };
        self.push(error);
        near
    }

    fn one_of(&mut self, node: &Node, record: &'static Record, group: &'static super::record::OneOf, meant: bool) {
        let given: Vec<_> = node.entries().iter().filter(|entry| group.names.contains(&entry.key.as_str())).collect();
        let list = super::record::or_list(group.names);
        match given.as_slice() {
            [] if group.required && !meant => {
                let error = Diagnostic::error(node.span, format!("{} has none of {list}", record.title));
                self.push(error.expected(format!("exactly one of {list}")));
            }
            [] | [_] => {}
            [first, rest @ ..] => {
                for entry in rest {
                    let message = format!("`{}` and `{}` exclude each other", first.key, entry.key);
                    let most = if group.required { "exactly" } else { "at most" };
                    let error = Diagnostic::error(entry.key_span, message).expected(format!("{most} one of {list}"));
                    self.push(error.note(format!("`{}` is given here", first.key), first.key_span));
                }
            }
        }
    }

    /// Reads one field. A field with a mistake takes its default where it has one, so that the reading goes on.
    pub(crate) fn field<T: Value>(&mut self, node: &Node, field: &'static Field) -> Option<T> {
        let read = node.get(field.name).and_then(|value| T::read(value, self));
        read.or_else(|| match field.presence {
            Presence::Required => None,
            Presence::Optional => T::absent(),
            Presence::Default(text) => T::read(&default_node(text)?, self),
        })
    }
}

/// The node that a default's text stands for.
pub(crate) fn default_node(text: &'static str) -> Option<Node> {
    thread_local! {
        static NODES: RefCell<HashMap<&'static str, Option<Node>>> = RefCell::default();
    }
    NODES.with_borrow_mut(|nodes| {
        let parse = || {
            let mut diagnostics = Diagnostics::new(Source::new("default", text));
            // A default of nothing ("") is an empty text, not an empty file.
            let quoted = if text.is_empty() { "''" } else { text };
            yaml::parse(quoted, &mut diagnostics).map(Node::unplaced)
        };
        nodes.entry(text).or_insert_with(parse).clone()
    })
}

impl<T: Value> Value for Option<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if node.is_null() { Some(None) } else { T::read(node, reader).map(Some) }
    }

    fn shape(shapes: &mut Shapes) -> Shape {
        T::shape(shapes)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Value> Value for Spanned<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(|value| Spanned { value, span: node.span })
    }

    fn shape(shapes: &mut Shapes) -> Shape {
        T::shape(shapes)
    }
}

/// A list. Items with mistakes are left out, so that the reading goes on.
impl<T: Value> Value for Vec<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let yaml::Shape::Sequence(items) = &node.shape else {
            let shape = Self::shape(&mut Shapes::default());
            reader.mismatch(node, &shape.one);
            return None;
        };
        Some(items.iter().filter_map(|item| T::read(item, reader)).collect())
    }

    fn shape(shapes: &mut Shapes) -> Shape {
        let item = T::shape(shapes);
        let schema = serde_json::json!({ "type": "array", "items": item.schema });
        Shape::new(format!("a list of {}", item.many), format!("lists of {}", item.many), schema)
    }
}
