//! A value as it is to stand in the file, made from JSON or taken from another place of the file.

use serde_json::Value as Json;

use crate::config::document::{Node, Value};

/// The wanted value of a place. Not `Debug`: it may be a secret.
#[derive(Clone, PartialEq)]
pub(super) enum Want {
    Null,
    Bool(bool),
    /// As it is to be written.
    Number(String),
    /// Whatever it looks like, a text.
    Text(String),
    /// A scalar of the file: in a plain one the reader of the field decides what it is.
    Written {
        text: String,
        plain: bool,
    },
    List(Vec<Want>),
    Map(Vec<(String, Want)>),
    /// A mapping that takes several lines, however short, such as a subscription.
    Block(Vec<(String, Want)>),
}

/// How strictly a text is distinguished from other scalars that look like it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// `"1"` and `1` differ.
    Exact,
    /// The readers of the field take every scalar as text: `"1"` and `1` are the same.
    Texts,
}

/// Fields of subscriptions in which the readers take every scalar as text.
const TEXTS: [&str; 7] = [
    "url",
    "title",
    "description",
    "events",
    "headers",
    "forward_headers",
    "tls",
];

impl Reading {
    /// That of the value of a key.
    pub(super) fn within(self, key: &Node) -> Self {
        match &key.value {
            Value::Scalar(scalar) if TEXTS.contains(&scalar.text.as_str()) => Self::Texts,
            Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => self,
        }
    }
}

impl Want {
    pub(super) fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Number(number.to_string()),
            Json::String(text) => Self::Text(text.clone()),
            Json::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Json::Object(fields) => Self::Map(
                fields
                    .iter()
                    .map(|(key, value)| (key.clone(), Self::from_json(value)))
                    .collect(),
            ),
        }
    }

    pub(super) fn from_node(node: &Node) -> Self {
        match &node.value {
            _ if node.is_null() => Self::Null,
            Value::Scalar(scalar) => Self::Written {
                text: scalar.text.clone(),
                plain: scalar.plain,
            },
            Value::Sequence(items) => Self::List(items.iter().map(Self::from_node).collect()),
            Value::Mapping(entries) => Self::Map(
                entries
                    .iter()
                    .map(|entry| (entry.name().to_owned(), Self::from_node(&entry.value)))
                    .collect(),
            ),
        }
    }

    /// Whether a node already has this value. The order of a mapping's keys does not matter.
    pub(super) fn is_said_by(&self, node: &Node, reading: Reading) -> bool {
        match (self, &node.value) {
            (Self::Null, _) => node.is_null(),
            (Self::Bool(value), Value::Scalar(scalar)) => {
                scalar.plain && scalar.text == value.to_string()
            }
            (Self::Number(number), Value::Scalar(scalar)) => scalar.plain && scalar.text == *number,
            (Self::Text(text), Value::Scalar(scalar)) => {
                let is_text =
                    reading == Reading::Texts || !scalar.plain || reads_as_text(&scalar.text);
                scalar.text == *text && is_text && !node.is_null()
            }
            (Self::Written { text, plain }, Value::Scalar(scalar)) => {
                let same_kind = *plain == scalar.plain || reads_as_text(text);
                scalar.text == *text && same_kind && !node.is_null()
            }
            (Self::List(wants), Value::Sequence(items)) => {
                wants.len() == items.len()
                    && wants
                        .iter()
                        .zip(items)
                        .all(|(want, item)| want.is_said_by(item, reading))
            }
            (Self::Map(wants) | Self::Block(wants), Value::Mapping(entries)) => {
                wants.len() == entries.len()
                    && wants.iter().all(|(key, want)| {
                        entries.iter().any(|entry| {
                            entry.name() == key && want.is_said_by(&entry.value, reading)
                        })
                    })
            }
            (
                Self::Bool(_)
                | Self::Number(_)
                | Self::Text(_)
                | Self::Written { .. }
                | Self::List(_)
                | Self::Map(_)
                | Self::Block(_),
                _,
            ) => false,
        }
    }
}

/// Words that YAML 1.1 or 1.2 reads as something other than text.
const WORDS: [&str; 16] = [
    "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity", ".nan",
    ".inf", "+.inf", "-.inf",
];

/// Whether a plain scalar is a text to every YAML parser: no null, boolean, number or date of YAML 1.1 or 1.2.
pub(super) fn reads_as_text(plain: &str) -> bool {
    let lower = plain.to_ascii_lowercase();
    if plain.is_empty() || plain == "~" || WORDS.contains(&lower.as_str()) {
        return false;
    }
    let digits = lower.trim_start_matches(['+', '-', '.']);
    let is_numeric = |byte: u8| byte.is_ascii_digit() || b"_.,:+-eoxtz abcdf".contains(&byte);
    let begins_with_digit = digits
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_digit());
    !(begins_with_digit && digits.bytes().all(is_numeric))
}
