//! The tables of docs/configuration.md, from the declarations of the fields.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::model;
use super::record::{Field, Presence, Record};
use super::shape::Shapes;

/// A section with a table for each kind of mapping, as Markdown.
pub fn markdown() -> String {
    let mut text = String::new();
    for record in model::records() {
        section(&mut text, record);
    }
    text
}

fn section(text: &mut String, record: &Record) {
    let _ = writeln!(text, "### {}\n\n{}\n", record.name, unwrapped(record.docs));
    for group in record.one_of {
        let most = if group.required { "Exactly" } else { "At most" };
        let _ = writeln!(text, "{most} one of {}.\n", super::record::or_list(group.names));
    }
    text.push_str("| field | what it is | default |\n|---|---|---|\n");
    for field in record.fields {
        let shape = (field.shape)(&mut Shapes::default());
        let docs = unwrapped(field.docs);
        let _ = writeln!(
            text,
            "| `{}` | {docs}{}<br>*{}*{} | {} |",
            field.name,
            choices(&shape.schema),
            shape.one,
            links(&shape.schema),
            default(field)
        );
    }
    text.push('\n');
}

/// Documentation as one line, fit for a table.
fn unwrapped(docs: &str) -> String {
    docs.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn default(field: &Field) -> String {
    match field.presence {
        Presence::Required => "required".to_string(),
        Presence::Optional => "none".to_string(),
        Presence::Default("") => "`''`".to_string(),
        Presence::Default(text) => format!("`{text}`"),
    }
}

/// What each name of a choice means.
fn choices(schema: &Json) -> String {
    match schema.get("$comment").and_then(Json::as_str) {
        Some(comment) => format!(" {}", unwrapped(comment)),
        None => String::new(),
    }
}

/// Links to the sections of the mappings in a schema.
fn links(schema: &Json) -> String {
    let mut names = Vec::new();
    collect(schema, &mut names);
    names.iter().map(|name| format!(" → [{name}](#{name})")).collect()
}

fn collect(schema: &Json, names: &mut Vec<String>) {
    match schema {
        Json::Object(map) => {
            let name = map.get("$ref").and_then(Json::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
            if let Some(name) = name.filter(|name| !names.iter().any(|known| known == name)) {
                names.push(name.to_string());
            }
            map.values().for_each(|value| collect(value, names));
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}
