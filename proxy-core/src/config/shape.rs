//! What may be written where: the source of the JSON Schema and of the reference in docs/configuration.md.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::reader::default_node;
use super::record::{Presence, Record};
use super::yaml;

/// The shape of a value.
pub(crate) struct Shape {
    /// In words: "a duration such as `15s`".
    pub(crate) one: String,
    /// Several of them: "durations".
    pub(crate) many: String,
    /// As JSON Schema (draft 2020-12).
    pub(crate) schema: Json,
}

impl Shape {
    pub(crate) fn new(one: impl Into<String>, many: impl Into<String>, schema: Json) -> Shape {
        Shape { one: one.into(), many: many.into(), schema }
    }
}

/// The records met so far while shapes are described.
#[derive(Default)]
pub(crate) struct Shapes {
    /// In the order of the first meeting.
    pub(crate) records: Vec<&'static Record>,
    definitions: BTreeMap<&'static str, Json>,
}

impl Shapes {
    /// A record's shape; its definition is described at the first meeting.
    pub(crate) fn record(&mut self, record: &'static Record) -> Shape {
        if !self.definitions.contains_key(record.name) {
            self.records.push(record);
            self.definitions.insert(record.name, Json::Null);
            let definition = self.definition(record);
            self.definitions.insert(record.name, definition);
        }
        let schema = json!({ "$ref": format!("#/$defs/{}", record.name) });
        Shape::new(record.title, record.title_many, schema)
    }

    fn definition(&mut self, record: &'static Record) -> Json {
        let mut properties = Map::new();
        for field in record.fields {
            let mut schema = match (field.shape)(self).schema {
                Json::Object(schema) => schema,
                other => Map::from_iter([("allOf".to_string(), json!([other]))]),
            };
            schema.insert("description".to_string(), json!(field.docs.trim()));
            if let Presence::Default(text) = field.presence {
                schema.insert("default".to_string(), default_node(text).as_ref().map_or(json!(""), to_json));
            }
            properties.insert(field.name.to_string(), Json::Object(schema));
        }
        let required: Vec<&str> =
            record.fields.iter().filter(|f| matches!(f.presence, Presence::Required)).map(|f| f.name).collect();
        let groups: Vec<Json> = record.one_of.iter().map(exclusive).collect();
        let mut definition = json!({
            "type": "object",
            "description": record.docs.trim(),
            "properties": properties,
            "additionalProperties": false,
        });
        if !required.is_empty() {
            definition["required"] = json!(required);
        }
        if !groups.is_empty() {
            definition["allOf"] = json!(groups);
        }
        definition
    }
}

/// "Exactly one of" or "at most one of" as a schema.
fn exclusive(group: &super::record::OneOf) -> Json {
    let mut branches: Vec<Json> = group.names.iter().map(|name| json!({ "required": [name] })).collect();
    if !group.required {
        branches.push(json!({ "not": { "anyOf": branches } }));
    }
    json!({ "oneOf": branches })
}

/// A node as JSON, plain scalars with their types.
pub(crate) fn to_json(node: &yaml::Node) -> Json {
    match &node.shape {
        yaml::Shape::Scalar(_) if node.is_null() => Json::Null,
        yaml::Shape::Scalar(yaml::Scalar { text, plain: true }) => match text.as_str() {
            "true" => json!(true),
            "false" => json!(false),
            text => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
        },
        yaml::Shape::Scalar(scalar) => json!(scalar.text),
        yaml::Shape::Sequence(items) => items.iter().map(to_json).collect(),
        yaml::Shape::Mapping(entries) => {
            Json::Object(entries.iter().map(|entry| (entry.key.clone(), to_json(&entry.value))).collect())
        }
        yaml::Shape::Broken => Json::Null,
    }
}

/// The JSON Schema of a whole file whose root is `record`.
pub(crate) fn json_schema(record: &'static Record) -> Json {
    let mut shapes = Shapes::default();
    let root = shapes.record(record);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Corelane configuration",
        "$ref": root.schema["$ref"],
        "$defs": shapes.definitions,
    })
}
