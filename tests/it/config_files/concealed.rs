//! A secret in a wrong place: whatever place of a configuration it stands in, nothing that is said shows it.

use std::path::Path;

use serde_yaml::{Mapping, Value};
use sidehook::config::{Problem, load_checked};

use super::environment;

/// What secrets look like, and the part of each that must not be seen.
const CANARIES: [(&str, &str); 9] = [
    ("whsec_Q2FuYXJ5Q2FuYXJ5Q2FuYXJ5Q2FuYXJ5", "q2fuyxj5q2fu"),
    ("whsk_Canary0Canary0Canary0", "canary0canary0"),
    ("sk_live_canarycanary", "canarycanary"),
    ("ghp_CanaryCanaryCanaryCanary01", "canarycanary"),
    ("c0a1n2a3r4y5c0a1n2a3r4y5c0a1n2a3", "n2a3r4y5"),
    (
        "eyJjYW5hcnkiOjF9.eyJjYW5hcnkiOjF9.Y2FuYXJ5Y2FuYXJ5",
        "eyjjyw5hcnki",
    ),
    ("https://canary:canarycanary@example.com/", "canarycanary"),
    (
        "-----BEGIN PRIVATE KEY-----\ncanarycanary\n-----END PRIVATE KEY-----",
        "canarycanary",
    ),
    ("4929123412341234", "4929123412341234"),
];

/// Files that together have every key.
const FILES: [&str; 4] = [
    "everything.yaml",
    "operation.yaml",
    "filters.yaml",
    "minimal.yaml",
];

/// What is said of problems, with what is shown of their lines.
fn said(problems: &[Problem]) -> String {
    let one = |problem: &Problem| {
        let excerpt = problem.excerpt.as_ref();
        let excerpt = excerpt.map_or("", |excerpt| excerpt.text.as_str());
        format!("{problem}\n{excerpt}\n")
    };
    problems.iter().map(one).collect()
}

/// Each value with one of its keys, items or scalars replaced by `canary`, or a key added.
fn variants(value: &Value, canary: &Value) -> Vec<Value> {
    let mut all = vec![canary.clone()];
    match value {
        Value::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                for variant in variants(item, canary) {
                    let mut items = items.clone();
                    items[index] = variant;
                    all.push(Value::Sequence(items));
                }
            }
            all.push(Value::Sequence(
                [items.clone(), vec![canary.clone()]].concat(),
            ));
        }
        Value::Mapping(entries) => {
            for changed in entries.keys() {
                let with = |entry: &dyn Fn(&Value) -> (Value, Value)| {
                    let entries = entries.iter().map(|(key, value)| {
                        if key == changed {
                            entry(value)
                        } else {
                            (key.clone(), value.clone())
                        }
                    });
                    Value::Mapping(entries.collect())
                };
                all.push(with(&|value| (canary.clone(), value.clone())));
                for variant in variants(&entries[changed], canary) {
                    all.push(with(&|_| (changed.clone(), variant.clone())));
                }
            }
            let mut more = entries.clone();
            more.insert(canary.clone(), Value::from(1));
            all.push(Value::Mapping(more));
        }
        _ => {
            // Where a text may be a reference, as one and beside it.
            for key in ["env", "file", "credential", "evn"] {
                let reference = Mapping::from_iter([(Value::from(key), canary.clone())]);
                all.push(Value::Mapping(reference));
            }
            let reference = Mapping::from_iter([(canary.clone(), Value::from("SECRET"))]);
            all.push(Value::Mapping(reference));
        }
    }
    all
}

#[test]
fn a_secret_is_shown_nowhere_wherever_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    let valid = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/valid");
    let (mut tried, mut shown) = (0, Vec::new());
    for file in FILES {
        let text = std::fs::read_to_string(valid.join(file)).unwrap();
        let whole: Value = serde_yaml::from_str(&text).unwrap();
        for (number, variant) in variants(&whole, &Value::from("CANARY")).iter().enumerate() {
            // In turn, so that each kind of place sees each of them.
            let (canary, hidden) = CANARIES[number % CANARIES.len()];
            let quoted = serde_json::to_string(canary).unwrap();
            let text = serde_yaml::to_string(variant)
                .unwrap()
                .replace("CANARY", &quoted);
            std::fs::write(&path, text).unwrap();
            let said = match load_checked(&path, &environment()) {
                Ok(loaded) => said(&loaded.warnings),
                Err(error) => said(&error.0),
            };
            tried += 1;
            if said.to_lowercase().contains(hidden) {
                let lines = said
                    .lines()
                    .filter(|line| line.to_lowercase().contains(hidden));
                shown.push(lines.collect::<Vec<_>>().join("\n"));
            }
        }
    }
    assert!(tried > 500, "{tried}");
    assert!(
        shown.is_empty(),
        "{} of {tried}:\n{}",
        shown.len(),
        shown.join("\n")
    );
}

/// Secrets that look like words are known by their place alone.
#[test]
fn what_stands_for_a_secret_is_not_shown_whatever_it_looks_like() {
    for place in [
        "secret: {env: hunter2}",
        "secret: {file: hunter2}",
        "secret: {credential: hunter2}",
        "secret: {hunter2: x}",
        "secret: {env: SECRET, hunter2: x}",
        "secret: [hunter2]",
        "previous_secrets: [{secret: {hunter2: x}, until: hunter2}]",
        "previous_secrets: [{secret: x, until: hunter2}]",
        "previous_secrets: hunter2",
        "secrets: hunter2",
        "headers: [hunter2]",
        "headers: [\"X-A: hunter2\", \"Host: hunter2\"]",
        "timeout: [hunter2]",
        "tls: hunter2",
        "retry: [hunter2]",
        "match: {hunter: hunter2}",
        "timeout: 5, previous_secrets: [], description: hunter2",
        "headers: {X-A: {hunter2: x}}",
        "headers: {X-A: {env: hunter2}}",
        // A brace too many, and other collections in the place of a key.
        "{secret: hunter2}",
        "{secret: hunter2}: x",
        "[hunter2]: x",
        "forward_headers: [\"Authorization: Bearer hunter2\"]",
        "headers: {\"X-Api-Key: hunter2\"}",
    ] {
        let text = format!(
            "subscriptions:\n  a: {{url: \"https://a.example\", events: [x], signature: github, {place}}}\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        let mut environment = environment();
        let there = folder.path().display().to_string();
        environment
            .variables
            .insert("CREDENTIALS_DIRECTORY".to_owned(), there);
        let error = said(&load_checked(&path, &environment).unwrap_err().0);
        assert!(!error.contains("hunter2"), "{place}: {error}");
    }
}

/// What hides a secret from whoever looks at the text as it is written.
#[test]
fn what_is_written_otherwise_than_it_is_read_is_not_shown() {
    for text in [
        r#"{"subscriptions": {}, "listen": {"events": "https:\/\/user:hunter2@a.example\/"}}"#,
        r#"{"subscriptions": {}, "log": {"level": "hunter2\/9x+Qa8LmZp0R2s=="}}"#,
        "subscriptions: {}\nlog: {level: \"whsec\\u005fhunter2hunter2\"}\n",
        "subscriptions: {}\nlog: {level: \"whsec_hunter2\\\n  hunter2\"}\n",
        "subscriptions: {}\nadmin: {allowed_hosts: [\"user:hunter2@127.0.0.1\"]}\n",
        "subscriptions: {}\nnotifications: {smtp: {host: \"apikey:hunter2@smtp.example.com:587\", from: a@example.com}}\n",
        "subscriptions:\n  a: {url: \"https://a.example\", events: [x], when: 'headers[\"x-token\"] = \"hunter2\"'}\n",
        "subscriptions:\n  ? {url: https://a.example/cap, secret: hunter2}\n",
        "subscriptions:\n  a:\n    ? secret: hunter2\n    : x\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        let found = load_checked(&path, &environment()).unwrap_err().0;
        for problem in found.iter().filter_map(|problem| problem.excerpt.as_ref()) {
            assert!(!problem.text.contains("hunter2"), "{text}: {problem:?}");
        }
    }
}

#[test]
fn what_is_shown_is_short_and_its_own_key_however_it_is_written() {
    let long = format!(
        "subscriptions: {{}}\nlog: {{level: {}}}\n",
        "aaa_".repeat(100_000)
    );
    let wide = format!("subscriptions:\n  a: {{title: {}}}\n", "、".repeat(100_000));
    let block = "subscriptions: {}\nnotifications:\n  smtp:\n    host: mail.example.com\n    from: a@example.com\n    username: u\n";
    for (text, line, shown) in [
        (long.as_str(), 2, "… level"),
        (wide.as_str(), 2, "… title"),
        (block, 3, "  smtp"),
        (
            "subscriptions: {}\nlog:\n  level: \"loud\"\n",
            3,
            "  level: \"loud\"",
        ),
        (
            "subscriptions: {}\nlog: {level: loud}\n",
            2,
            "… level: loud",
        ),
        ("subscriptions: {}\ningest:\n  - max_body\n", 2, "ingest"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        let found = load_checked(&path, &environment()).unwrap_err().0;
        let excerpts = found.iter().filter_map(|problem| problem.excerpt.as_ref());
        let found: Vec<_> = excerpts.map(|it| (it.line, it.text.as_str())).collect();
        assert!(found.contains(&(line, shown)), "{shown}: {found:?}");
    }
}
