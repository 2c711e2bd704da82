//! The forms of values that many keys share.

use serde_json::{Map, Value, json};

/// The writer of values that the schema is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum For {
    /// People, in the file, who also refer to secrets and files.
    File,
    /// Clients of the API, who do not, and who send back values that were shown.
    Api,
}

/// A mapping of these keys and no others.
pub(in crate::config) fn object(properties: Map<String, Value>) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// The same mapping, in which these keys cannot be left out.
pub(in crate::config) fn require(mut object: Value, required: &[&str]) -> Value {
    if let Value::Object(object) = &mut object {
        object.insert("required".to_owned(), json!(required));
    }
    object
}

/// A schema with its description, which comes first.
pub(in crate::config) fn described(description: &str, schema: Value) -> Value {
    let mut all = Map::new();
    all.insert("description".to_owned(), json!(description));
    if let Value::Object(schema) = schema {
        all.extend(schema);
    }
    Value::Object(all)
}

/// A key that is shown and cannot be set.
pub(in crate::config) fn read_only(description: &str, schema: Value) -> Value {
    let mut schema = described(description, schema);
    if let Value::Object(schema) = &mut schema {
        schema.insert("readOnly".to_owned(), json!(true));
    }
    schema
}

/// The same schema, with null beside what it allows.
pub(in crate::config) fn or_null(mut schema: Value) -> Value {
    let Value::Object(parts) = &mut schema else {
        return schema;
    };
    if let Some(kind) = parts.get_mut("type")
        && let Value::String(name) = &*kind
    {
        *kind = json!([name, "null"]);
    }
    for (part, null) in [("enum", Value::Null), ("anyOf", json!({"type": "null"}))] {
        if let Some(Value::Array(allowed)) = parts.get_mut(part) {
            allowed.push(null);
        }
    }
    schema
}

/// Text of at least one character.
pub(in crate::config) fn text() -> Value {
    json!({"type": "string", "minLength": 1})
}

/// A secret in the file: a literal or where it is found.
pub(in crate::config) fn secret() -> Value {
    json!({"anyOf": [text(), reference()]})
}

/// Whether a schema is that of a reference to a secret.
pub(in crate::config) fn is_reference(schema: &Value) -> bool {
    schema.get("minProperties").is_some()
}

/// How a secret is shown that has no fingerprint.
pub(in crate::config) fn redacted() -> Value {
    json!({"redacted": true})
}

/// The same, as clients send it back.
pub(in crate::config) fn redacted_schema() -> Value {
    let about = "A value that is secret: given back, it stays.";
    let properties = [(
        "redacted".to_owned(),
        described(about, json!({"const": true})),
    )];
    require(object(Map::from_iter(properties)), &["redacted"])
}

/// Where a secret is found.
pub(in crate::config) fn reference() -> Value {
    let sources = [
        ("env", "The name of an environment variable."),
        ("file", "The path of a file."),
        (
            "credential",
            "The name of a file in $CREDENTIALS_DIRECTORY.",
        ),
    ];
    let sources = sources.map(|(key, sentence)| (key.to_owned(), described(sentence, text())));
    let mut reference = object(Map::from_iter(sources));
    if let Value::Object(reference) = &mut reference {
        reference.insert("minProperties".to_owned(), json!(1));
        reference.insert("maxProperties".to_owned(), json!(1));
    }
    reference
}

/// In a file a text needs no quotes, so that 123 and true are texts as well; not if the schema restricts the text.
pub(in crate::config) fn take_plain_scalars(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(take_plain_scalars),
        Value::Object(parts) => {
            let is_text = match parts.get("type") {
                Some(Value::String(name)) => name == "string",
                Some(Value::Array(names)) => names.contains(&json!("string")),
                _ => false,
            };
            if is_text && !parts.contains_key("pattern") && !parts.contains_key("const") {
                widen(parts);
            }
            parts.values_mut().for_each(take_plain_scalars);
        }
        _ => {}
    }
}

fn widen(parts: &mut Map<String, Value>) {
    if let Some(Value::Array(words)) = parts.get_mut("enum") {
        let numbers = words.iter().filter_map(|word| word.as_str()?.parse().ok());
        let numbers: Vec<f64> = numbers.collect();
        if numbers.is_empty() {
            return;
        }
        words.extend(numbers.into_iter().map(|number| json!(number)));
    }
    if let Some(kind) = parts.get_mut("type") {
        let mut names = match kind.take() {
            Value::Array(names) => names,
            one => vec![one],
        };
        for plain in [json!("number"), json!("boolean")] {
            if !names.contains(&plain) {
                names.push(plain);
            }
        }
        *kind = Value::Array(names);
    }
}
