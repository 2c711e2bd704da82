//! The JSON types of a field's values. The readers handle only YAML, where 123 is a text as well; a client of the API
//! that sends a number instead of a text gets an error.

use serde_json::{Map, Value};

use crate::config::report::push_key;

/// The values of fields whose JSON type differs from that in the schemas `properties`, in the order of the fields: each
/// with its path and the expected type. Only errors that the readers do not find are reported: numbers and booleans instead of texts,
/// texts instead of numbers. Unknown keys are left to the readers.
#[must_use]
pub(crate) fn wrong_types(
    fields: &Map<String, Value>,
    properties: &Map<String, Value>,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (key, value) in fields {
        if let Some(schema) = properties.get(key) {
            look(value, schema, key, &mut found);
        }
    }
    found
}

/// Walks down a value beside its schema. The depth is that of the schema.
fn look(value: &Value, schema: &Value, path: &str, found: &mut Vec<(String, String)>) {
    if let Some(forms) = schema.get("anyOf").and_then(Value::as_array) {
        if let Some(form) = form_of(value, forms) {
            look(value, form, path, found);
        }
        return;
    }
    if let Some(expected) = wrong(value, schema) {
        found.push((
            path.to_owned(),
            format!("expected {expected}, found {}", kind(value)),
        ));
        return;
    }
    match value {
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else {
                return;
            };
            for (index, item) in items.iter().enumerate() {
                look(item, schema, &format!("{path}[{index}]"), found);
            }
        }
        Value::Object(entries) => {
            for (key, value) in entries {
                if let Some(schema) = of_key(schema, key) {
                    let mut path = path.to_owned();
                    push_key(&mut path, key);
                    look(value, schema, &path, found);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The form that a value most likely has: of its type and with its keys, or text for a number or a boolean.
fn form_of<'s>(value: &Value, forms: &'s [Value]) -> Option<&'s Value> {
    let has_keys = |form: &Value| match value {
        Value::Object(entries) => entries.keys().all(|key| of_key(form, key).is_some()),
        _ => true,
    };
    let fits = |form: &&Value| has_type(value, form) && has_keys(form);
    let is_text = |form: &&Value| wrong(value, form).is_some();
    forms
        .iter()
        .find(fits)
        .or_else(|| forms.iter().find(is_text))
}

fn of_key<'s>(schema: &'s Value, key: &str) -> Option<&'s Value> {
    let own = schema.get("properties").and_then(|own| own.get(key));
    own.or_else(|| {
        schema
            .get("additionalProperties")
            .filter(|any| any.is_object())
    })
}

/// The expected type of a value, if it has another one that a reader would accept.
fn wrong(value: &Value, schema: &Value) -> Option<&'static str> {
    if has_type(value, schema) || schema.get("type").is_none() {
        return None;
    }
    match value {
        Value::Number(_) | Value::Bool(_) if names(schema).contains(&"string") => Some("text"),
        Value::String(_) if names(schema).contains(&"integer") => Some("a whole number"),
        _ => None,
    }
}

fn names(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn has_type(value: &Value, schema: &Value) -> bool {
    let names = names(schema);
    let own = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() && names.contains(&"integer") => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    names.contains(&own)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::schema::subscription_properties;

    fn found(fields: &Value) -> Vec<String> {
        let wrong = wrong_types(fields.as_object().unwrap(), &subscription_properties());
        let line = |(path, message): &(String, String)| format!("{path}: {message}");
        wrong.iter().map(line).collect()
    }

    #[test]
    fn numbers_are_no_texts_and_texts_no_numbers() {
        let wrong = json!({
            "title": 123, "description": true, "url": 1, "events": ["a", 2], "secret": 123_456_789_012_u64,
            "headers": {"X-A": "b", "X-B": 1}, "give_up_on": [404, "410"], "concurrency": "5",
            "signature": {"standard": {"prefix": 1}}, "tls": {"min_version": 1.2}, "timeout": 5,
            "rate_limit": false, "method": "POST", "when": true,
        });
        assert_eq!(
            found(&wrong),
            [
                "title: expected text, found a number",
                "description: expected text, found a boolean",
                "url: expected text, found a number",
                "events[1]: expected text, found a number",
                "secret: expected text, found a number",
                "headers.X-B: expected text, found a number",
                "give_up_on[1]: expected a whole number, found text",
                "concurrency: expected a whole number, found text",
                "signature.standard.prefix: expected text, found a number",
                "tls.min_version: expected text, found a number",
                "timeout: expected text, found a number",
                "rate_limit: expected text, found a boolean",
                "when: expected text, found a boolean",
            ]
        );
    }

    #[test]
    fn what_is_right_or_for_the_readers_is_left_alone() {
        let right = json!({
            "title": null, "url": "x", "events": [], "headers": ["a: b"], "signature": ["github", {"hookshot": {"algorithm": "sha1"}}],
            "retry": {"initial": "1s", "factor": 2, "jitter": 0}, "auto_disable": {"dead": 3}, "concurrency": -1, "active": "x",
            "nonsense": 1, "match": {"/live": true, "/n": 7, "/a": "b"}, "previous_secrets": {}, "tls": {"ca_file": null}, "notify_after": 5,
        });
        assert_eq!(found(&right), Vec::<String>::new());
        let redacted = json!({"headers": {"X-A": {"redacted": true}}, "signature": "none", "retry": {"schedule": ["1s"]}});
        assert_eq!(found(&redacted), Vec::<String>::new());
    }
}
