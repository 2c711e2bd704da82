//! The schema against the readers, the defaults, and files that are right.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{schema, subscription_properties};
use crate::config::subscription::Draft;
use crate::config::{Config, Environment, READ_ONLY, load};

/// The schemas of the keys of a mapping, wherever its forms have them.
fn properties(schema: &Value) -> Map<String, Value> {
    let mut found = Map::new();
    if let Some(Value::Object(properties)) = schema.get("properties") {
        found.extend(properties.clone());
    }
    for part in ["anyOf", "items", "additionalProperties"] {
        match schema.get(part) {
            Some(Value::Array(forms)) => {
                forms.iter().for_each(|form| found.extend(properties(form)));
            }
            Some(form) => found.extend(properties(form)),
            None => {}
        }
    }
    found
}

/// Returns the node at a path of keys.
fn at(path: &str) -> Value {
    let mut schema = schema();
    for key in path.split('.').filter(|key| !key.is_empty()) {
        schema = properties(&schema).get(key).unwrap().clone();
    }
    schema
}

/// The words that the readers expect instead of `zzzzzzzz` in a text of a configuration.
fn expected(text: &str) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, format!("{text}\n")).unwrap();
    let error = load(&path, &Environment::default()).unwrap_err();
    let messages = error.0.iter().map(|problem| &problem.message);
    let mut lists = messages.filter(|message| message.starts_with("unknown "));
    let list = lists.find_map(|message| message.split_once("expected one of "));
    let (_, list) = list.unwrap_or_else(|| panic!("{text}: {error}"));
    list.split(", ").map(str::to_owned).collect()
}

#[test]
fn it_has_the_keys_of_the_readers_and_no_others() {
    for (path, text) in [
        ("", "zzzzzzzz: 1"),
        ("listen", "listen: {zzzzzzzz: 1}"),
        ("ingest", "ingest: {zzzzzzzz: 1}"),
        ("ingest.tokens", "ingest: {tokens: [{zzzzzzzz: 1}]}"),
        ("store", "store: {zzzzzzzz: 1}"),
        ("store.retention", "store: {retention: {zzzzzzzz: 1}}"),
        ("network", "network: {zzzzzzzz: 1}"),
        ("admin", "admin: {zzzzzzzz: 1}"),
        ("admin.tokens", "admin: {tokens: [{zzzzzzzz: 1}]}"),
        ("notifications", "notifications: {zzzzzzzz: 1}"),
        ("notifications.smtp", "notifications: {smtp: {zzzzzzzz: 1}}"),
        (
            "notifications.webhook",
            "notifications: {webhook: {zzzzzzzz: 1}}",
        ),
        ("log", "log: {zzzzzzzz: 1}"),
        ("metrics", "metrics: {zzzzzzzz: 1}"),
        ("defaults", "defaults: {zzzzzzzz: 1}"),
        ("subscriptions", "subscriptions: {a: {zzzzzzzz: 1}}"),
        (
            "subscriptions.secret",
            "subscriptions: {a: {secret: {zzzzzzzz: 1}}}",
        ),
        (
            "subscriptions.previous_secrets",
            "subscriptions: {a: {previous_secrets: [{zzzzzzzz: 1}]}}",
        ),
        ("defaults.retry", "defaults: {retry: {zzzzzzzz: 1}}"),
        (
            "defaults.auto_disable",
            "defaults: {auto_disable: {zzzzzzzz: 1}}",
        ),
        ("defaults.tls", "defaults: {tls: {zzzzzzzz: 1}}"),
        (
            "defaults.signature.standard",
            "defaults: {signature: {standard: {zzzzzzzz: 1}}}",
        ),
        (
            "defaults.signature.hookshot",
            "defaults: {signature: {hookshot: {zzzzzzzz: 1}}}",
        ),
        (
            "defaults.signature.hmac",
            "defaults: {signature: {hmac: {zzzzzzzz: 1}}}",
        ),
    ] {
        let found: BTreeSet<String> = properties(&at(path)).keys().cloned().collect();
        assert_eq!(found, expected(text), "the keys of {path:?}");
    }
    let schemes = properties(&at("defaults.signature"));
    let mut known = expected("defaults: {signature: zzzzzzzz}");
    assert!(known.remove("none"));
    assert_eq!(schemes.keys().cloned().collect::<BTreeSet<_>>(), known);
}

#[test]
fn fields_of_the_api_are_those_of_a_definition() {
    let name = "a".parse().unwrap();
    let built_in = Draft::named(name).definition().fields();
    let properties = subscription_properties();
    for (key, default) in &built_in {
        let schema = properties.get(key).unwrap();
        assert_eq!(violation(default, schema), None, "{key}");
        let is_told = READ_ONLY.contains(&key.as_str());
        assert_eq!(
            schema.get("readOnly"),
            is_told.then_some(&json!(true)),
            "{key}"
        );
        if !is_told && key != "signature" {
            assert_eq!(schema.get("default"), Some(default), "{key}");
        }
    }
    let only_written: Vec<_> = properties
        .keys()
        .filter(|key| !built_in.contains_key(*key))
        .collect();
    assert_eq!(only_written, ["secret"]);
}

/// Defaults that a schema shows are those that are in force.
#[test]
fn defaults_are_the_built_in_ones() {
    let shown = Config::default().redacted();
    let mut compared = 0;
    for section in [
        "listen",
        "ingest",
        "store",
        "network",
        "admin",
        "notifications",
        "log",
        "metrics",
    ] {
        for (key, schema) in properties(&at(section)) {
            let Some(default) = schema.get("default") else {
                continue;
            };
            // Resolved where they are shown, and null where they follow something else.
            if ["path", "secrets_dir"].contains(&key.as_str()) {
                continue;
            }
            let in_force = &shown[section][&key];
            let is_same = in_force == default || *in_force == json!([default]);
            assert!(is_same, "{section}.{key}: {default} is not {in_force}");
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn every_key_is_described() {
    fn check(schema: &Value, path: &str) {
        for (key, schema) in properties(schema) {
            let path = format!("{path}.{key}");
            let is_option = path.contains("signature.");
            assert!(schema.get("description").is_some() || is_option, "{path}");
            check(&schema, &path);
        }
    }
    check(&schema(), "");
}

#[test]
fn files_that_are_right_fit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::fs::read_dir(root.join("tests/fixtures/config/valid")).unwrap();
    let files = folder.map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    let mut files: Vec<PathBuf> = files.collect();
    assert!(files.len() >= 6);
    files.push(root.join("config.example.yaml"));
    files.push(root.join("tests/fixtures/config/valid/conf.d/more.yaml"));
    let schema = schema();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let value: Value = serde_yaml::from_str(text.trim_start_matches('\u{feff}')).unwrap();
        assert_eq!(violation(&value, &schema), None, "{}", file.display());
    }
}

/// The definition that the API shows matches its documentation.
#[test]
fn definitions_fit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/valid");
    let variables = [
        (
            "SECRET",
            "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        ),
        ("URL", "https://partner.example.com/capability"),
        ("TOKEN", "0123456789abcdef0123456789abcdef"),
        ("SHORT", "short"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let environment = Environment {
        variables: variables.into_iter().map(owned).collect(),
    };
    let properties = subscription_properties();
    let mut fit = 0;
    for file in ["everything.yaml", "filters.yaml", "operation.yaml"] {
        let loaded = load(&root.join(file), &environment).unwrap();
        let config = loaded.config;
        for subscription in config.subscriptions.values() {
            for (key, value) in &subscription.definition.fields() {
                let schema = properties.get(key).unwrap();
                assert_eq!(violation(value, schema), None, "{file}: {key}");
                fit += 1;
            }
        }
    }
    assert!(fit > 200, "{fit}");
}

#[test]
fn what_is_wrong_does_not_fit() {
    for wrong in [
        json!({}),
        json!({"subscriptions": {}, "monitoring": {}}),
        json!({"subscriptions": {}, "metrics": {"histograms": false}}),
        json!({"subscriptions": [], "log": {}}),
        json!({"subscriptions": {"a": {"concurrency": 0}}}),
        json!({"subscriptions": {"a": {"timeout": 5}}}),
        json!({"subscriptions": {"a": {"active": "false"}}}),
        json!({"subscriptions": {"a": {"secret": {"vault": "x"}}}}),
        json!({"subscriptions": {"a": {"previous_secrets": [{"secret": "x"}]}}}),
        json!({"subscriptions": {"a": {"signature": {"github": {"x": 1}}}}}),
        json!({"subscriptions": {"a": {"retry": {"schedule": []}}}}),
        json!({"subscriptions": {"a": {"auto_disable": {"failures": 1}}}}),
        json!({"subscriptions": {"a": {"method": "GET"}}}),
        json!({"defaults": {"url": "https://a.example.com"}, "subscriptions": {}}),
        json!({"notifications": {"smtp": {"host": "x"}}, "subscriptions": {}}),
    ] {
        assert!(violation(&wrong, &schema()).is_some(), "{wrong}");
    }
}

/// The violation of a schema by a value, by the keywords that are used here except patterns and formats.
fn violation(value: &Value, schema: &Value) -> Option<String> {
    let wrong = |what: &str| Some(format!("{what} at {value}"));
    if let Some(kind) = schema.get("type") {
        let names = kind
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![kind.clone()]);
        if !names.iter().any(|name| is_a(value, name.as_str().unwrap())) {
            return wrong("type");
        }
    }
    if schema
        .get("enum")
        .is_some_and(|words| !words.as_array().unwrap().contains(value))
    {
        return wrong("enum");
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return wrong("const");
    }
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let length = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => u32::try_from(text.chars().count()).ok().map(f64::from),
        Value::Array(items) => u32::try_from(items.len()).ok().map(f64::from),
        Value::Object(entries) => u32::try_from(entries.len()).ok().map(f64::from),
        Value::Null | Value::Bool(_) => None,
    };
    let (least, most) = match value {
        Value::Number(_) => ("minimum", "maximum"),
        Value::String(_) => ("minLength", "maxLength"),
        Value::Array(_) => ("minItems", "maxItems"),
        _ => ("minProperties", "maxProperties"),
    };
    if let Some(length) = length
        && (number(least).is_some_and(|least| length < least)
            || number(most).is_some_and(|most| length > most))
    {
        return wrong(least);
    }
    if let Some(forms) = schema.get("anyOf").and_then(Value::as_array)
        && forms.iter().all(|form| violation(value, form).is_some())
    {
        return wrong("anyOf");
    }
    match value {
        Value::Array(items) => {
            let schema = schema.get("items")?;
            items.iter().find_map(|item| violation(item, schema))
        }
        Value::Object(entries) => {
            let required = schema.get("required").and_then(Value::as_array);
            let is_there = |key: &Value| entries.contains_key(key.as_str().unwrap());
            if !required.is_none_or(|keys| keys.iter().all(is_there)) {
                return wrong("required");
            }
            entries.iter().find_map(|(key, value)| {
                match schema.get("properties").and_then(|known| known.get(key)) {
                    Some(schema) => violation(value, schema),
                    None => match schema.get("additionalProperties") {
                        Some(Value::Bool(false)) => Some(format!("unknown key {key}")),
                        Some(schema) => violation(value, schema),
                        None => None,
                    },
                }
            })
        }
        _ => None,
    }
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
