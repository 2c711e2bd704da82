//! JSON before and after an edit.

use serde_json::{Map, Value as Json, json};

use super::*;
use crate::config::edit::prepare::apply;
use crate::config::parse::parse;
use crate::config::report::Report;

/// How programs write JSON: tight, as Python does, over lines with two or four spaces or tabs, with CRLF.
fn written(json: &Json) -> Vec<String> {
    let tight = json.to_string();
    let pretty = serde_json::to_string_pretty(json).unwrap();
    let indented = |by: &str| {
        let line = |line: &str| {
            let text = line.trim_start();
            let depth = (line.len() - text.len()) / 2;
            format!("{}{text}\n", by.repeat(depth))
        };
        pretty.lines().map(line).collect::<String>()
    };
    let python = python(json);
    vec![
        indented("    "),
        indented("\t"),
        pretty.replace('\n', "\r\n"),
        pretty,
        tight,
        python,
    ]
}

fn python(json: &Json) -> String {
    match json {
        Json::Object(fields) => {
            let fields = fields.iter();
            let fields: Vec<_> = fields
                .map(|(key, value)| format!("{}: {}", Json::from(key.as_str()), python(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Json::Array(items) => {
            let items: Vec<_> = items.iter().map(python).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

fn document(text: &str, name: &str) -> Document {
    let mut report = Report::default();
    let document = parse(0, name.into(), text.as_bytes().to_vec(), &mut report);
    let (errors, _) = report.into_problems(std::slice::from_ref(&document));
    assert_eq!(errors[..], [], "{text}");
    document
}

fn in_subscriptions(name: &str, alter: Alter) -> Alter {
    let entries = Alter::Fields(vec![(name.to_owned(), alter)]);
    Alter::Fields(vec![("subscriptions".to_owned(), entries)])
}

fn create(name: &str, fields: &Json) -> Alter {
    let Want::Map(fields) = Want::from_json(fields) else {
        unreachable!("an object");
    };
    in_subscriptions(name, Alter::Set(Want::Block(fields)))
}

fn patch(name: &str, fields: &Json) -> Alter {
    let fields = fields.as_object().unwrap().iter().map(|(key, value)| {
        let alter = match value {
            Json::Null => Alter::Remove,
            value => Alter::Set(Want::from_json(value)),
        };
        (key.clone(), alter)
    });
    in_subscriptions(name, Alter::Fields(fields.collect()))
}

/// A series of edits: each with a subscription and its changed fields; `None` removes it.
fn steps_of_a_life() -> Vec<(&'static str, Option<Json>)> {
    vec![
        (
            "a",
            Some(json!({"url": "https://a.example/", "events": ["*"], "active": true})),
        ),
        (
            "b",
            Some(
                json!({"url": "https://b.example/\u{1f600}", "events": ["x.*", "y"], "title": "say \"\\hi\u{7f}\u{85}\n"}),
            ),
        ),
        (
            "a",
            Some(
                json!({"timeout": "10s", "headers": {"X-Team": "1", "X-B": "{{"}, "active": null}),
            ),
        ),
        (
            "a",
            Some(json!({"events": ["z", "*", "!no"], "concurrency": 7})),
        ),
        ("b", Some(json!({"url": null}))),
        ("a", Some(json!({"headers": {}}))),
        (
            "a",
            Some(json!({"headers": {"X-New": "yes"}, "events": []})),
        ),
        ("c", Some(json!({}))),
        ("b", None),
        ("c", Some(json!({"events": ["1", "null", "true", "0x1f"]}))),
        ("a", None),
        ("c", None),
        (
            "d",
            Some(json!({"retry": {"schedule": ["1s"], "max": 1.5}})),
        ),
    ]
}

#[test]
fn json_stays_json_whatever_is_edited() {
    for around in [
        json!({"subscriptions": {}}),
        json!({"log": {"level": "info"}, "subscriptions": {}, "include": []}),
        json!({"subscriptions": {"old": {"active": false}}}),
        json!({"subscriptions": null}),
    ] {
        for begin in written(&around) {
            let mut text = begin.clone();
            let mut model = around.clone();
            for (name, change) in steps_of_a_life() {
                if model["subscriptions"].is_null() {
                    model["subscriptions"] = Json::Object(Map::new());
                }
                let subscriptions = model["subscriptions"].as_object_mut().unwrap();
                let alter = match (&change, subscriptions.get_mut(name)) {
                    (None, _) => {
                        subscriptions.shift_remove(name);
                        in_subscriptions(name, Alter::Remove)
                    }
                    (Some(fields), None) => {
                        subscriptions.insert(name.to_owned(), fields.clone());
                        create(name, fields)
                    }
                    (Some(fields), Some(there)) => {
                        let there = there.as_object_mut().unwrap();
                        for (key, value) in fields.as_object().unwrap() {
                            match value {
                                Json::Null => drop(there.shift_remove(key)),
                                value => drop(there.insert(key.clone(), value.clone())),
                            }
                        }
                        patch(name, fields)
                    }
                };
                let new = apply(&document(&text, "a.yaml"), &alter);
                let new = new.unwrap_or_else(|| panic!("{name} {change:?} in {text}"));
                let read: Json = serde_json::from_str(&new).unwrap();
                assert_eq!(read, model, "{name} {change:?} in {text} gave {}", *new);
                text = new.to_string();
            }
            let has_lines = begin.trim().contains('\n');
            assert_eq!(text.trim().contains('\n'), has_lines, "{text}");
        }
    }
}

#[track_caller]
fn becomes(before: &str, alter: &Alter, after: &str) {
    let new = apply(&document(before, "a.yaml"), alter).unwrap();
    assert_eq!(*new, after, "\n--- is\n{}\n--- expected\n{after}", *new);
}

#[test]
fn new_parts_look_like_those_around_them() {
    let sub = json!({"url": "https://a.example", "events": ["*"]});
    becomes(
        "{\n  \"subscriptions\": {}\n}\n",
        &create("a", &sub),
        "{\n  \"subscriptions\": {\n    \"a\": {\n      \"url\": \"https://a.example\",\n      \"events\": [\"*\"]\n    }\n  }\n}\n",
    );
    becomes(
        r#"{"subscriptions":{"b":{}}}"#,
        &create("a", &sub),
        r#"{"subscriptions":{"b":{},"a":{"url":"https://a.example","events":["*"]}}}"#,
    );
    becomes(
        "{\n\t\"subscriptions\": {\n\t\t\"b\": {\"active\": false},\n\t\t\"c\": {\"active\": false}\n\t}\n}",
        &create("a", &sub),
        "{\n\t\"subscriptions\": {\n\t\t\"b\": {\"active\": false},\n\t\t\"c\": {\"active\": false},\n\t\t\"a\": {\"url\": \"https://a.example\", \"events\": [\"*\"]}\n\t}\n}",
    );
    becomes(
        "{\"subscriptions\": {\n  \"a\": {\n    \"active\": false,\n    \"url\": \"x\"\n  },\n  \"b\": {}\n}}\n",
        &patch("a", &json!({"url": null, "timeout": "1s"})),
        "{\"subscriptions\": {\n  \"a\": {\n    \"active\": false,\n    \"timeout\": \"1s\"\n  },\n  \"b\": {}\n}}\n",
    );
    becomes(
        "{\"subscriptions\": {\n  \"a\": {\n    \"active\": false\n  },\n  \"b\": {}\n}}\n",
        &in_subscriptions("b", Alter::Remove),
        "{\"subscriptions\": {\n  \"a\": {\n    \"active\": false\n  }\n}}\n",
    );
}

#[test]
fn a_new_file_is_what_its_name_says() {
    let alter = create("a", &json!({"active": false}));
    let new = |name: &str| apply(&document("", name), &alter).unwrap().to_string();
    assert_eq!(
        new("a.json"),
        "{\n  \"subscriptions\": {\n    \"a\": {\n      \"active\": false\n    }\n  }\n}\n"
    );
    assert_eq!(new("a.yaml"), "subscriptions:\n  a:\n    active: false\n");
}

/// Comments and quotes of YAML: edited as YAML, although it nearly is JSON.
#[test]
fn what_is_not_json_is_edited_as_yaml() {
    for text in [
        "{\"subscriptions\": {\"a\": {\"active\": false},}}",
        "{\"subscriptions\": {\"a\": {\"active\": false}}} # x",
        "{subscriptions: {a: {active: false}}}",
    ] {
        let alter = patch("a", &json!({"title": "new"}));
        let new = apply(&document(text, "a.json"), &alter).unwrap();
        assert!(!is_json(&new) && new.contains("title: new"), "{}", *new);
    }
}
