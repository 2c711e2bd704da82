//! The forms of values that many keys share.

use serde_json::{Map, Value, json};

/// Who writes values by the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// People, in the file, who also refer to secrets and files.
    File,
    /// Clients of the API, who do not, and who give back what was shown.
    Api,
}

/// Keys with their schemas, in order.
pub(super) fn keys<const N: usize>(keys: [(&str, Value); N]) -> Map<String, Value> {
    let owned = |(key, schema): (&str, Value)| (key.to_owned(), schema);
    keys.into_iter().map(owned).collect()
}

/// A mapping of these keys and no others.
pub(super) fn object(properties: Map<String, Value>) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// Says which keys of a mapping cannot be left out.
pub(super) fn require(object: &mut Value, required: &[&str]) {
    if let Value::Object(object) = object {
        object.insert("required".to_owned(), json!(required));
    }
}

/// A schema with its description, which comes first.
pub(super) fn described(description: &str, schema: Value) -> Value {
    let mut all = Map::new();
    all.insert("description".to_owned(), json!(description));
    if let Value::Object(schema) = schema {
        all.extend(schema);
    }
    Value::Object(all)
}

/// A key that may be left out: described, null as if it were left out, and what that means.
pub(super) fn key(description: &str, schema: Value, default: Value) -> Value {
    let mut schema = or_null(described(description, schema));
    if let Value::Object(schema) = &mut schema {
        schema.insert("default".to_owned(), default);
    }
    schema
}

/// The same schema, with null beside what it allows.
pub(super) fn or_null(mut schema: Value) -> Value {
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
pub(super) fn text() -> Value {
    json!({"type": "string", "minLength": 1})
}

pub(super) fn boolean() -> Value {
    json!({"type": "boolean"})
}

pub(super) fn whole(least: u64, most: u64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

pub(super) fn choice(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

pub(super) fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

/// A duration; `positive` ones are longer than nothing.
pub(super) fn duration(positive: bool) -> Value {
    let number = if positive { "0*[1-9][0-9]*" } else { "[0-9]+" };
    json!({"type": "string", "pattern": format!("^{number}(ms|s|m|h|d)$")})
}

/// A size larger than nothing.
pub(super) fn size() -> Value {
    json!({"type": "string", "pattern": "^0*[1-9][0-9]*(B|KiB|MiB|GiB|TiB)$"})
}

pub(super) fn pointer() -> Value {
    json!({"type": "string", "pattern": "^(/([^/~]|~[01])*)+$"})
}

/// `host:port` and what stands for it.
pub(super) fn address() -> Value {
    json!({"type": "string", "pattern": "^(unix:.+|systemd:.+|.+:[0-9]{1,5})$"})
}

pub(super) fn email() -> Value {
    json!({"type": "string", "format": "idn-email", "maxLength": 254, "pattern": "^[^@\\s]+@[^@\\s]+$"})
}

/// An e-mail address that may have a name.
pub(super) fn sender() -> Value {
    json!({"type": "string", "pattern": "^[^@\\s]+@[^@\\s]+$|^[^\\r\\n]*<[^@\\s]+@[^@\\s]+>\\s*$"})
}

/// A secret in the file: a literal or where it is found.
pub(super) fn secret() -> Value {
    json!({"anyOf": [text(), reference()]})
}

/// Where a secret is found.
pub(super) fn reference() -> Value {
    let mut reference = object(keys([
        (
            "env",
            described("The name of an environment variable.", text()),
        ),
        ("file", described("The path of a file.", text())),
        (
            "credential",
            described("The name of a file in $CREDENTIALS_DIRECTORY.", text()),
        ),
    ]));
    if let Value::Object(reference) = &mut reference {
        reference.insert("minProperties".to_owned(), json!(1));
        reference.insert("maxProperties".to_owned(), json!(1));
    }
    reference
}

/// In a file a text needs no quotes, so that 123 and true are texts as well; not where a text has a form of its own.
pub(super) fn take_plain_scalars(schema: &mut Value) {
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
