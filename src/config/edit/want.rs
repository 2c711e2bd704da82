//! A value as it is to stand in the file, made from JSON or taken from another place of the file.

use serde_json::Value as Json;

use crate::config::document::{Node, Value};
use crate::config::edit::render::reads_as_text;

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
