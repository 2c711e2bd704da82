//! `config.example.yaml` and the table of keys in `docs/configuration.md`: both are made from the schema, which is made
//! from the declarations of the keys. `UPDATE_PAGES=1 cargo test --test it pages` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sidehook::config::schema;

/// Where comments begin in the example.
const COLUMN: usize = 34;

/// The longest line of the example.
const WIDTH: usize = 150;

/// What stands above the keys.
const HEAD: &str = "\
# sidehook: every key with its default, so this file says the same as one with nothing but `subscriptions`.
# Check a file with `sidehook check --config FILE`.
#
# Durations: 250ms, 10s, 5m, 72h, 5d. Sizes: 64KiB, 1MiB, 10GiB. Relative paths are relative to the file that names
# them. A null is as if the key were left out, unless said otherwise. A secret is {env: NAME}, {file: path},
# {credential: name} (a file in $CREDENTIALS_DIRECTORY) or a text; `check` warns of texts.
";

const BILLING: &str = "  \
  # All invoices but drafts to a partner. It is not active, so that this file can be run as it is; an active one needs
  # a url and events.
  billing:                        # the name: [a-z0-9][a-z0-9_-]{0,63}
    active: false
";

/// What the keys of the first subscription have instead of their defaults.
const SAMPLES: [(&str, &str); 5] = [
    ("title", "Billing events"),
    ("description", "Invoices to the accounting partner"),
    ("url", "https://partner.example.com/hooks"),
    ("events", "[\"invoice.*\", \"!invoice.draft\"]"),
    ("secret", "\"\""),
];

const AUDIT: &str = "
  # Everything to a service in the private network, tried for three days. For this one network.allow_private needs the
  # address of the service.
  audit:
    active: false
    when_disabled: skip
    url: https://audit.internal.example
    events: [\"*\"]
    headers: {X-Team: billing}
    retry: {initial: 1s, factor: 2, max_interval: 1h, max_attempts: 100, max_age: 3d}
    timeout: 5s
";

#[test]
fn the_example_has_every_key_with_its_default() {
    assert_current("config.example.yaml", |_| example());
}

#[test]
fn the_documentation_has_every_key() {
    assert_current("docs/configuration.md", |page| {
        let (before, rest) = page.split_once("<!-- keys -->\n").unwrap();
        let (_, after) = rest.split_once("<!-- /keys -->").unwrap();
        format!("{before}<!-- keys -->\n{}<!-- /keys -->{after}", tables())
    });
}

/// Fails with the first line that differs from what the page should be; writes the page if asked to.
fn assert_current(page: &str, made: impl FnOnce(&str) -> String) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let found = fs::read_to_string(&path).unwrap();
    let made = made(&found);
    if std::env::var_os("UPDATE_PAGES").is_some() {
        fs::write(&path, &made).unwrap();
        return;
    }
    let lines = made.lines().zip(found.lines()).enumerate();
    for (index, (made, found)) in lines {
        let line = index + 1;
        assert_eq!(made, found, "{page}:{line} is not what the schema says");
    }
    assert_eq!(made, found, "{page} is not what the schema says");
}

fn properties(schema: &Value) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.cloned().unwrap_or_default()
}

fn sections() -> Map<String, Value> {
    properties(&schema())
}

fn subscription() -> Map<String, Value> {
    properties(&sections()["subscriptions"]["additionalProperties"])
}

fn sentence(schema: &Value) -> &str {
    schema["description"].as_str().unwrap()
}

/// A value in the notation of the file, on one line.
fn yaml(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(yaml).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| format!("{key}: {}", yaml(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn type_names(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn forms(schema: &Value) -> Vec<&Value> {
    let forms = schema.get("anyOf").and_then(Value::as_array);
    let forms = forms.map_or_else(|| vec![schema], |forms| forms.iter().collect());
    let is_null = |form: &&Value| form["type"] == "null";
    forms.into_iter().filter(|form| !is_null(form)).collect()
}

fn words(schema: &Value) -> Vec<&str> {
    let words = schema.get("enum").and_then(Value::as_array);
    let words = words.into_iter().flatten();
    words.filter_map(Value::as_str).collect()
}

/// A reference to a secret.
fn is_reference(schema: &Value) -> bool {
    schema.get("minProperties").is_some()
}

fn example() -> String {
    let mut text = HEAD.to_owned();
    for (key, schema) in sections() {
        text.push('\n');
        if key == "subscriptions" {
            text.push_str("subscriptions:\n");
            text.push_str(BILLING);
            continue;
        }
        write_key(0, &key, &schema, &mut text);
    }
    let shared = properties(&sections()["defaults"]);
    for (key, schema) in subscription() {
        if !shared.contains_key(&key) {
            let sample = SAMPLES.iter().find(|(known, _)| *known == key);
            let value = sample.map_or_else(|| yaml(&schema["default"]), |(_, it)| (*it).to_owned());
            write_line(4, &key, &value, &comment(&schema), &mut text);
        }
    }
    text + AUDIT
}

fn write_key(indent: usize, key: &str, schema: &Value, text: &mut String) {
    let nested = properties(schema);
    if nested.is_empty() || schema.get("default").is_some() {
        let value = yaml(schema.get("default").unwrap_or(&Value::Null));
        write_line(indent, key, &value, &comment(schema), text);
        return;
    }
    write_line(indent, key, "", sentence(schema), text);
    for (key, schema) in nested {
        write_key(indent + 2, &key, &schema, text);
    }
}

/// The sentence of a key, with what of its schema is not in it.
fn comment(schema: &Value) -> String {
    let mut comment = sentence(schema).to_owned();
    let mut words: Vec<_> = forms(schema).into_iter().flat_map(words).collect();
    words.dedup();
    if words.iter().any(|word| !comment.contains(word)) {
        let intro = if words.len() == 1 { "Or" } else { "One of" };
        comment.push_str(&format!(" {intro} {}.", words.join(", ")));
    }
    if let (Some(least), Some(most)) = (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        comment.push_str(&format!(
            " {} to {}.",
            with_commas(least),
            with_commas(most)
        ));
    }
    let mut keys: Vec<Vec<String>> = Vec::new();
    for form in forms(schema) {
        for it in [form, &form["items"]] {
            if !is_reference(it) && !properties(it).is_empty() {
                keys.push(properties(it).keys().cloned().collect());
            }
        }
    }
    // The options of signatures are in the documentation.
    if !keys.is_empty() && keys.len() < 3 {
        let keys = keys.iter().map(|keys| format!("{{{}}}", keys.join(", ")));
        comment.push_str(&format!(
            " Keys: {}.",
            keys.collect::<Vec<_>>().join(" or ")
        ));
    }
    comment
}

fn write_line(indent: usize, key: &str, value: &str, comment: &str, text: &mut String) {
    let space = if value.is_empty() { "" } else { " " };
    let mut line = format!("{:indent$}{key}:{space}{value}", "");
    line = format!("{line:<width$}", width = COLUMN - 1);
    line.push_str(" #");
    for word in comment.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = format!("{:COLUMN$}#", "");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

fn tables() -> String {
    let mut text = "### Sections\n\n".to_owned();
    text.push_str(TABLE);
    let required = schema()["required"].clone();
    for (key, schema) in sections() {
        let is_section = !["defaults", "subscriptions"].contains(&key.as_str());
        write_rows(&key, &schema, &required, is_section, &mut text);
    }
    let shared = properties(&sections()["defaults"]);
    let keys = subscription();
    let own = keys.keys().filter(|key| !shared.contains_key(*key));
    let own: Vec<_> = own.map(|key| format!("`{key}`")).collect();
    let (last, others) = own.split_last().unwrap();
    text.push_str(&format!(
        "\n### Subscriptions\n\n`defaults` takes the same keys, except {} and\n{last}. A name is `[a-z0-9][a-z0-9_-]{{0,63}}`.\n\n{TABLE}",
        others.join(", ")
    ));
    for (key, schema) in &keys {
        write_rows(key, schema, &Value::Null, key != "signature", &mut text);
    }
    text.push_str("\n### Signature options\n\nWhat each scheme sends is in [endpoints.md](endpoints.md#signatures).\n\n");
    text.push_str(TABLE);
    for form in forms(&keys["signature"]) {
        for (scheme, options) in properties(form) {
            for (key, schema) in properties(&options) {
                let key = format!("{scheme}.{key}");
                write_rows(&key, &schema, &options["required"], false, &mut text);
            }
        }
    }
    text
}

const TABLE: &str = "| key | value | default | meaning |\n| --- | --- | --- | --- |\n";

/// The row of a key, and those of the keys in its value.
fn write_rows(key: &str, schema: &Value, required: &Value, goes_down: bool, text: &mut String) {
    let name = key.rsplit('.').next().unwrap();
    let required = required.as_array().map(Vec::as_slice).unwrap_or_default();
    let default = match schema.get("default") {
        _ if required.iter().any(|it| it == name) => "required".to_owned(),
        None => String::new(),
        Some(Value::Null) => "none".to_owned(),
        Some(default) => format!("`{}`", yaml(default)),
    };
    let meaning = sentence(schema).replace('|', "\\|");
    text.push_str(&format!(
        "| `{key}` | {} | {default} | {meaning} |\n",
        values(schema)
    ));
    if !goes_down {
        return;
    }
    let mut seen = Vec::new();
    for form in forms(schema) {
        for (form, path) in [(form, key.to_owned()), (&form["items"], format!("{key}[]"))] {
            for (key, schema) in properties(form) {
                if !is_reference(form) && !seen.contains(&key) {
                    write_rows(
                        &format!("{path}.{key}"),
                        &schema,
                        &form["required"],
                        true,
                        text,
                    );
                    seen.push(key);
                }
            }
        }
    }
}

/// What may be written, in a few words.
fn values(schema: &Value) -> String {
    let forms = forms(schema);
    if forms.iter().any(|form| is_reference(form)) {
        let is_url = forms.iter().any(|form| form.get("pattern").is_some());
        return if is_url { "text or secret" } else { "secret" }.to_owned();
    }
    if forms.len() > 4 {
        return "scheme, or list of them".to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    for form in forms {
        let word = one_value(form);
        let is_list_of_them = word == "list" && words.len() == 1 && words[0] == "address";
        let word = if is_list_of_them {
            "list of them".to_owned()
        } else {
            word
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    let separator = if words
        .iter()
        .any(|word| word.starts_with('`') || word == "list of them")
    {
        ", "
    } else {
        " or "
    };
    words
        .join(separator)
        .replace("address, list", "address, or list")
}

fn one_value(schema: &Value) -> String {
    let words = words(schema);
    if !words.is_empty() {
        let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    let names = type_names(schema);
    let bound = |key: &str| schema[key].as_u64().map(with_commas).unwrap_or_default();
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    let word = match names.first().copied().unwrap_or_default() {
        "integer" => {
            let (least, most) = (bound("minimum"), bound("maximum"));
            return format!("whole number from {least} to {most}");
        }
        "number" => return format!("number from {} to {}", schema["minimum"], schema["maximum"]),
        "boolean" => "`true`, `false`",
        "array" => "list",
        "object" => "mapping",
        _ if pattern.contains("ms|s|m") => "duration",
        _ if pattern.contains("KiB") => "size",
        _ if pattern.contains("[smh]") => "rate",
        _ if pattern.contains("unix:") => "address",
        _ => "text",
    };
    word.to_owned()
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}
