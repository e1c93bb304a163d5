//! YAML text → a tree of nodes with their places.
//!
//! Built on the event parser below serde-saphyr rather than on serde: serde stops at the first mistake and hides
//! duplicate keys, and a config is to be told everything that is wrong with it at once. Anchors, aliases and merge keys
//! (`<<`) are resolved here; tags other than the core schema's aren't supported.

use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle};

use super::diagnostics::{Diagnostic, Diagnostics};
use super::source::Span;

/// Largest config file.
pub(crate) const FILE_BYTES_MAX: usize = 64 << 20;
/// Nodes of the tree, with every alias counted in full: what keeps a "billion laughs" file small.
pub(crate) const NODES_MAX: usize = 2_000_000;
/// Collections inside each other, aliases counted in full.
pub(crate) const DEPTH_MAX: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) shape: Shape,
}

#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
    /// Couldn't be read; already reported.
    Broken,
}

#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Not quoted, not a block: may stand for a number, a boolean or nothing.
    pub(crate) plain: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn entries(&self) -> &[Entry] {
        if let Shape::Mapping(entries) = &self.shape { entries } else { &[] }
    }

    pub(crate) fn items(&self) -> &[Node] {
        if let Shape::Sequence(items) = &self.shape { items } else { &[] }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Shape::Scalar(scalar) = &self.shape { Some(&scalar.text) } else { None }
    }

    /// Nothing written, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.shape, Shape::Scalar(Scalar { text, plain: true })
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, in a person's words: "the number 15", "a list".
    pub(crate) fn describe(&self) -> String {
        match &self.shape {
            Shape::Scalar(_) if self.is_null() => "nothing".to_string(),
            Shape::Scalar(Scalar { text, plain: true }) if matches!(text.as_str(), "true" | "false") => {
                format!("the boolean `{text}`")
            }
            Shape::Scalar(Scalar { text, plain: true }) if text.parse::<f64>().is_ok() => {
                format!("the number {text}")
            }
            Shape::Scalar(Scalar { text, .. }) => format!("the text \"{}\"", shown(text)),
            Shape::Sequence(items) if items.is_empty() => "an empty list".to_string(),
            Shape::Sequence(_) => "a list".to_string(),
            Shape::Mapping(entries) if entries.is_empty() => "an empty mapping".to_string(),
            Shape::Mapping(_) => "a mapping".to_string(),
            Shape::Broken => "something unreadable".to_string(),
        }
    }

    /// The same node with no place in any file.
    pub(crate) fn unplaced(mut self) -> Node {
        self.span = Span::default();
        self.shape = match self.shape {
            Shape::Sequence(items) => Shape::Sequence(items.into_iter().map(Node::unplaced).collect()),
            Shape::Mapping(entries) => {
                let unplaced =
                    |entry: Entry| Entry { key_span: Span::default(), value: entry.value.unplaced(), ..entry };
                Shape::Mapping(entries.into_iter().map(unplaced).collect())
            }
            shape => shape,
        };
        self
    }

    /// Nodes in this subtree, itself included, and its depth.
    fn measure(&self) -> (usize, usize) {
        let children: Vec<&Node> = match &self.shape {
            Shape::Sequence(items) => items.iter().collect(),
            Shape::Mapping(entries) => entries.iter().map(|entry| &entry.value).collect(),
            Shape::Scalar(_) | Shape::Broken => return (1, 0),
        };
        let measured = children.iter().map(|child| child.measure());
        measured.fold((1, 1), |(nodes, depth), (n, d)| (nodes + n, depth.max(d + 1)))
    }
}

/// A text as messages quote it: not too long, control characters escaped.
pub(crate) fn shown(text: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    let mut shown = String::new();
    for c in text.chars().take(SHOWN_CHARS) {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Parses one document. `None` after a mistake that leaves nothing to read further (it is in `diagnostics`).
pub(crate) fn parse(text: &str, diagnostics: &mut Diagnostics) -> Option<Node> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes", text.len());
        diagnostics.push(Diagnostic::error(Span::default(), message).expected(format!("at most {FILE_BYTES_MAX}")));
        return None;
    }
    let options = granit_parser::options! { emit_comments: false, emit_unresolved_aliases: true };
    let mut tree = Tree { diagnostics, stack: Vec::new(), anchors: HashMap::new(), root: None, nodes: 0 };
    let mut documents = 0;
    for item in Parser::new_from_str_with_options(text, options) {
        let (event, span) = match item {
            Ok(item) => item,
            Err(error) => {
                let span = point(error.marker());
                tree.diagnostics.push(Diagnostic::error(span, format!("not valid YAML: {}", error.info())));
                return None;
            }
        };
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > 1 {
                let error = Diagnostic::error(place(&span), "a second YAML document starts here");
                tree.diagnostics.push(error.expected("one document a file"));
                return None;
            }
        }
        tree.event(event, &span)?;
    }
    let root = tree.root.take().filter(|root| !root.is_null());
    if root.is_none() {
        diagnostics
            .push(Diagnostic::error(Span::default(), "the file is empty").expected("`listeners` and `clusters`"));
    }
    root
}

fn point(marker: &granit_parser::Marker) -> Span {
    Span { line: marker.line() as u32, column: marker.col() as u32 + 1, width: 1 }
}

fn place(span: &granit_parser::Span) -> Span {
    let (start, end) = (span.start, span.end);
    let width = match end.line() == start.line() {
        true => end.col().saturating_sub(start.col()).max(1) as u32,
        // Goes on below: underline to the end of the line.
        false => u32::MAX,
    };
    Span { width, ..point(&start) }
}

/// A collection whose end hasn't come yet.
struct Open {
    span: Span,
    anchor: usize,
    inside: Inside,
}

enum Inside {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Entry>, key: Option<(String, Span)>, keys: HashMap<String, Span> },
}

struct Tree<'a> {
    diagnostics: &'a mut Diagnostics,
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
}

impl Tree<'_> {
    /// Takes one event; `None` if a bound was passed.
    fn event(&mut self, event: Event<'_>, span: &granit_parser::Span) -> Option<()> {
        let at = place(span);
        let tag_at = span.tag_span().map_or(at, |span| place(&span));
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let mut plain = style == ScalarStyle::Plain;
                match tag.as_deref().map(granit_parser::Tag::core_suffix) {
                    None | Some(Some("int" | "bool" | "float" | "null")) => {}
                    Some(Some("str")) => plain = false,
                    Some(_) => self.unsupported_tag(tag_at),
                }
                let shape = Shape::Scalar(Scalar { text: text.into_owned(), plain });
                self.finish(Node { span: at, shape }, anchor, 1)
            }
            Event::SequenceStart(_, anchor, tag) => {
                if tag.is_some_and(|tag| tag.core_suffix() != Some("seq")) {
                    self.unsupported_tag(tag_at);
                }
                self.open(at, anchor, Inside::Sequence(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                if tag.is_some_and(|tag| tag.core_suffix() != Some("map")) {
                    self.unsupported_tag(tag_at);
                }
                self.open(at, anchor, Inside::Mapping { entries: Vec::new(), key: None, keys: HashMap::new() })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.stack.pop() else { return Some(()) };
                let shape = match open.inside {
                    Inside::Sequence(items) => Shape::Sequence(items),
                    Inside::Mapping { entries, .. } => Shape::Mapping(self.merge(entries)),
                };
                self.finish(Node { span: open.span, shape }, open.anchor, 1)
            }
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::UnresolvedAlias(name) => {
                let error = Diagnostic::error(at, format!("unknown anchor `*{name}`"));
                self.diagnostics.push(error.expected(format!("`&{name}` before it in the file")));
                self.finish(Node { span: at, shape: Shape::Broken }, 0, 1)
            }
            _ => Some(()),
        }
    }

    fn unsupported_tag(&mut self, at: Span) {
        self.diagnostics.push(Diagnostic::error(at, "YAML tags (`!name`) aren't supported here"));
    }

    fn alias(&mut self, anchor: usize, at: Span) -> Option<()> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            self.diagnostics.push(Diagnostic::error(at, "this alias stands inside the node that it refers to"));
            return self.finish(Node { span: at, shape: Shape::Broken }, 0, 1);
        };
        let (nodes, depth) = node.measure();
        if self.stack.len() + depth > DEPTH_MAX {
            return self.too_deep(at);
        }
        self.finish(node, 0, nodes)
    }

    fn too_deep(&mut self, at: Span) -> Option<()> {
        let error = Diagnostic::error(at, "lists and mappings are nested too deeply here");
        self.diagnostics.push(error.expected(format!("at most {DEPTH_MAX} levels")));
        None
    }

    fn open(&mut self, span: Span, anchor: usize, inside: Inside) -> Option<()> {
        if self.stack.len() >= DEPTH_MAX {
            return self.too_deep(span);
        }
        self.stack.push(Open { span, anchor, inside });
        Some(())
    }

    /// Puts a finished node where it belongs: into the open collection, as its next key, or at the root.
    fn finish(&mut self, node: Node, anchor: usize, nodes: usize) -> Option<()> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            let error = Diagnostic::error(node.span, "the config grows too large here");
            self.diagnostics.push(error.expected(format!("at most {NODES_MAX} values, aliases counted in full")));
            return None;
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        match &mut open.inside {
            Inside::Sequence(items) => items.push(node),
            Inside::Mapping { entries, key, keys } => match key.take() {
                None => *key = Some(self.diagnostics.key(node)),
                Some((key, key_span)) => {
                    if entries.is_empty() && open.span.width <= 1 && open.span.line == key_span.line {
                        // A block mapping has no bracket of its own to point at: its first key stands for it.
                        open.span.width = if open.span.column == key_span.column { key_span.width } else { 1 };
                    }
                    if let Some(first) = keys.get(&key) {
                        let error = Diagnostic::error(key_span, format!("`{key}` is given twice"));
                        self.diagnostics.push(error.note("first given here", *first));
                    } else {
                        keys.insert(key.clone(), key_span);
                        entries.push(Entry { key, key_span, value: node });
                    }
                }
            },
        }
        Some(())
    }

    /// Replaces `<<: *base` by the entries of the base that the mapping doesn't have itself.
    fn merge(&mut self, mut entries: Vec<Entry>) -> Vec<Entry> {
        let Some(index) = entries.iter().position(|entry| entry.key == "<<") else { return entries };
        let bases = entries.remove(index).value;
        let bases = match bases.shape {
            Shape::Sequence(items) => items,
            _ => vec![bases],
        };
        let mut own: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        for base in bases {
            match base.shape {
                Shape::Mapping(inherited) => {
                    entries.extend(inherited.into_iter().filter(|entry| own.insert(entry.key.clone())));
                }
                Shape::Broken => {}
                _ => {
                    let error = Diagnostic::error(base.span, format!("`<<` merges {}", base.describe()));
                    self.diagnostics.push(error.expected("an alias of a mapping, or a list of them"));
                }
            }
        }
        entries
    }
}

impl Diagnostics {
    /// A mapping key must be a scalar; anything else is reported and becomes a key that no field has.
    fn key(&mut self, node: Node) -> (String, Span) {
        if let Shape::Scalar(scalar) = node.shape {
            return (scalar.text, node.span);
        }
        self.push(Diagnostic::error(node.span, format!("{} as a key", node.describe())).expected("a name"));
        (String::new(), node.span)
    }
}
