//! From a change as the API takes it to the change of each field of the file.
//!
//! Fields come as the API shows them, so that a definition can be sent back: values equal to those in force stay as
//! they are written, or unwritten; read-only keys are ignored; `{"redacted": true}` stands for the value in that place.
//! A reference to a secret or a path of a file is accepted only if it already is in that place: a token for the API
//! must not read the files and variables of the host.

use serde_json::{Map, Value as Json};

use crate::config::document::{Entry, Node, Value};
use crate::config::edit::steps::Alter;
use crate::config::edit::want::{Reading, Want};
use crate::config::reader::unknown_key;
use crate::config::report::push_key;
use crate::config::subscription::{Place, READ_ONLY, names};

pub(super) const ONLY_IN_FILE: &str = "can be set only in the file";

/// A problem with a value: its path in the subscription, and a message.
pub(super) type Wrong = (String, String);

/// A subscription before a change; empty for a new one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Before<'n> {
    /// Its entry in the file.
    pub(super) entry: Option<&'n Entry>,
    /// Its definition in force.
    pub(super) definition: Option<&'n Map<String, Json>>,
    /// The section `defaults`.
    pub(super) defaults: Option<&'n Node>,
    /// Fields that are written even if they equal those in force.
    pub(super) insisted: &'n [String],
}

impl<'n> Before<'n> {
    /// The node of a field, nulls included.
    pub(super) fn field(self, key: &str) -> Option<&'n Node> {
        self.entry?.value.child(key)
    }

    fn has_default(self, key: &str) -> bool {
        let default = self.defaults.and_then(|defaults| defaults.child(key));
        default.is_some_and(|node| !node.is_null())
    }
}

/// The changes of the given fields, `secret` and `previous_secrets` left out.
pub(super) fn fields(
    name: &str,
    given: &Map<String, Json>,
    is_whole: bool,
    before: Before<'_>,
) -> Result<Vec<(String, Alter)>, Vec<Wrong>> {
    let mut alters = Vec::new();
    let mut wrong = Vec::new();
    for (key, json) in given {
        match one(name, key, json, is_whole, before) {
            Ok(Some(alter)) => alters.push((key.clone(), alter)),
            Ok(None) => {}
            Err(problem) => wrong.push(problem),
        }
    }
    if is_whole && let Some(Value::Mapping(entries)) = before.entry.map(|entry| &entry.value.value)
    {
        let is_gone = |key: &str| !given.contains_key(key) && !is_secret(key);
        let gone = entries.iter().filter(|entry| is_gone(entry.name()));
        alters.extend(gone.map(|entry| (entry.name().to_owned(), Alter::Remove)));
    }
    if wrong.is_empty() {
        Ok(alters)
    } else {
        Err(wrong)
    }
}

fn is_secret(key: &str) -> bool {
    key == "secret" || key == "previous_secrets"
}

fn one(
    name: &str,
    key: &str,
    json: &Json,
    is_whole: bool,
    before: Before<'_>,
) -> Result<Option<Alter>, Wrong> {
    if READ_ONLY.contains(&key) || is_secret(key) {
        return Ok(None);
    }
    if key == "name" {
        let is_same = json.as_str() == Some(name);
        let wrong = || {
            (
                key.to_owned(),
                "cannot be changed: the name is the subscription's identity".to_owned(),
            )
        };
        return if is_same { Ok(None) } else { Err(wrong()) };
    }
    let known = names(Place::Route);
    if !known.contains(&key) {
        return Err((key.to_owned(), unknown_key(key, known)));
    }
    if json.is_null() && !is_whole {
        return Ok(Some(Alter::Remove));
    }
    let in_force = before.definition.and_then(|definition| definition.get(key));
    if in_force == Some(json) && !before.insisted.iter().any(|insisted| insisted == key) {
        return Ok(None);
    }
    if json.is_null() {
        let alter = if before.has_default(key) {
            Alter::Set(Want::Null)
        } else {
            Alter::Remove
        };
        return Ok(Some(alter));
    }
    let node = before.field(key);
    let want = match key {
        // The vault names the files of its values.
        "auth" if json.is_object() => return Ok(None),
        "url" => secret_or_text(key, json, node)?,
        "headers" => headers(json, node)?,
        "tls" => tls(json, node)?,
        "retry" | "auto_disable" => Want::from_json(&without_nulls(json)),
        _ => Want::from_json(json),
    };
    Ok(Some(Alter::Set(want)))
}

/// A text, or the value in this place of the file.
fn secret_or_text(path: &str, json: &Json, node: Option<&Node>) -> Result<Want, Wrong> {
    let Json::Object(fields) = json else {
        return Ok(Want::from_json(json));
    };
    let want = Want::from_json(json);
    let in_place = node.filter(|node| {
        let is_redacted = is_redacted(fields) && matches!(node.value, Value::Mapping(_));
        is_redacted || want.is_said_by(node, Reading::Texts)
    });
    in_place
        .map(Want::from_node)
        .ok_or_else(|| (path.to_owned(), ONLY_IN_FILE.to_owned()))
}

/// `{"redacted": true}`: how the API shows secrets.
pub(super) fn is_redacted(fields: &Map<String, Json>) -> bool {
    fields.len() == 1 && fields.get("redacted") == Some(&Json::Bool(true))
}

/// Headers stay a list if the file has one, where possible.
fn headers(json: &Json, node: Option<&Node>) -> Result<Want, Wrong> {
    let Json::Object(fields) = json else {
        return Ok(Want::from_json(json));
    };
    if let Some(pairs) = node.and_then(|node| pairs(fields, node)) {
        return Ok(pairs);
    }
    let mut wants = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let old = node.and_then(|node| node.child(name));
        let mut path = "headers".to_owned();
        push_key(&mut path, name);
        let want = secret_or_text(&path, value, old)?;
        wants.push((name.clone(), want));
    }
    Ok(Want::Map(wants))
}

/// The headers as `Name: Value` texts, if the file has them so.
fn pairs(fields: &Map<String, Json>, node: &Node) -> Option<Want> {
    let Value::Sequence(items) = &node.value else {
        return None;
    };
    let written = |name: &str, value: &str| {
        items.iter().find_map(|item| {
            let text = item.text()?;
            let (old_name, old_value) = text.split_once(':')?;
            let is_same = old_name.trim() == name && old_value.trim() == value;
            is_same.then(|| text.to_owned())
        })
    };
    let pairs = fields.iter().map(|(name, value)| {
        let value = value.as_str().filter(|value| value.trim() == *value)?;
        let pair = written(name, value).unwrap_or_else(|| format!("{name}: {value}"));
        Some(Want::Text(pair))
    });
    pairs.collect::<Option<_>>().map(Want::List)
}

fn tls(json: &Json, node: Option<&Node>) -> Result<Want, Wrong> {
    let json = without_nulls(json);
    if let Some(path) = json.get("ca_file") {
        let in_place = node.and_then(|node| node.child("ca_file"));
        let is_same = |node: &Node| Want::from_json(path).is_said_by(node, Reading::Texts);
        if !in_place.is_some_and(is_same) {
            return Err(("tls.ca_file".to_owned(), ONLY_IN_FILE.to_owned()));
        }
    }
    Ok(Want::from_json(&json))
}

/// A null in an object is as if its key were left out.
fn without_nulls(json: &Json) -> Json {
    match json {
        Json::Object(fields) => {
            let given = fields.iter().filter(|(_, value)| !value.is_null());
            Json::Object(
                given
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect(),
            )
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            json.clone()
        }
    }
}
