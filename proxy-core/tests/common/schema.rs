//! A small validator for the part of JSON Schema that our schema uses. An unknown keyword fails, so that the schema
//! can't say what nobody checks.

use serde_json::Value as Json;

/// # Errors
/// The place and the reason.
pub fn check(schema: &Json, value: &Json) -> Result<(), String> {
    at(schema, schema, value, "")
}

fn at(root: &Json, schema: &Json, value: &Json, place: &str) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().ok_or(format!("{place}: no schema"))? {
        keyword_holds(root, schema, keyword, rule, value, place)?;
    }
    Ok(())
}

fn keyword_holds(
    root: &Json,
    schema: &Json,
    keyword: &str,
    rule: &Json,
    value: &Json,
    place: &str,
) -> Result<(), String> {
    let list = || rule.as_array().cloned().unwrap_or_default();
    let matching = || list().iter().filter(|branch| at(root, branch, value, place).is_ok()).count();
    let reasons = || {
        let errors = list().into_iter().filter_map(|branch| at(root, &branch, value, place).err());
        errors.collect::<Vec<_>>().join(" / ")
    };
    let holds = match keyword {
        "$schema" | "$defs" | "title" | "description" | "default" | "$comment" | "items" | "additionalProperties" => {
            true
        }
        "$ref" => {
            let pointer = rule.as_str().and_then(|r| r.strip_prefix('#')).ok_or("a foreign $ref")?;
            let target = root.pointer(pointer).ok_or(format!("{pointer} leads nowhere"))?;
            return at(root, target, value, place);
        }
        "type" => {
            let names = if rule.is_array() { list() } else { vec![rule.clone()] };
            names.iter().any(|name| has_type(name.as_str().unwrap_or_default(), value))
                && items_hold(root, schema, value, place)?
        }
        "properties" => return properties_hold(root, schema, value, place),
        "required" => match list().iter().find(|name| value.get(name.as_str().unwrap_or_default()).is_none()) {
            Some(missing) => return Err(format!("{place}: lacks {missing}")),
            None => true,
        },
        "enum" => list().contains(value),
        "minimum" => value.as_i64().is_none_or(|v| v >= rule.as_i64().unwrap_or(i64::MIN)),
        "maximum" => value.as_i64().is_none_or(|v| v <= rule.as_i64().unwrap_or(i64::MAX)),
        "pattern" => {
            value.as_str().is_none_or(|text| regex::Regex::new(rule.as_str().unwrap()).unwrap().is_match(text))
        }
        "allOf" => list().iter().try_for_each(|branch| at(root, branch, value, place)).map(|()| true)?,
        "anyOf" if matching() == 0 => return Err(format!("{place}: none of several: {}", reasons())),
        "anyOf" => true,
        "oneOf" => matching() == 1,
        "not" => at(root, rule, value, place).is_err(),
        unknown => return Err(format!("{place}: the schema has an unknown keyword {unknown}")),
    };
    if holds { Ok(()) } else { Err(format!("{place}: {value} against {keyword}: {rule}")) }
}

fn has_type(name: &str, value: &Json) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    }
}

fn items_hold(root: &Json, schema: &Json, value: &Json, place: &str) -> Result<bool, String> {
    if let (Some(items), Some(list)) = (schema.get("items"), value.as_array()) {
        for (index, item) in list.iter().enumerate() {
            at(root, items, item, &format!("{place}/{index}"))?;
        }
    }
    if let (Some(values), Some(map), None) = (
        schema.get("additionalProperties").filter(|rule| rule.is_object()),
        value.as_object(),
        schema.get("properties"),
    ) {
        for (name, value) in map {
            at(root, values, value, &format!("{place}/{name}"))?;
        }
    }
    Ok(true)
}

fn properties_hold(root: &Json, schema: &Json, value: &Json, place: &str) -> Result<(), String> {
    for (name, value) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(rule) => at(root, rule, value, &format!("{place}/{name}"))?,
            None if schema.get("additionalProperties") == Some(&Json::Bool(false)) => {
                return Err(format!("{place}: unknown field {name}"));
            }
            None => {}
        }
    }
    Ok(())
}
