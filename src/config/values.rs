//! The values of the scalars of a YAML text: `serde_yaml` reads the text along the nodes that `layout` found.
//!
//! `serde_yaml` checks the syntax. Each scalar is requested as text, so a plain one comes as written (`1.2`, `yes`)
//! and its meaning is left to the reader of the field. Where the two parsers see a different shape the file is refused.

use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::config::document::{Entry, Node, Value};
use crate::config::escapes::Rewritten;

/// Why a text is not YAML.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// From 1.
    pub(super) line: usize,
    /// From 1, in characters.
    pub(super) column: usize,
    pub(super) message: String,
    /// The syntax is right, but the two parsers see different shapes.
    pub(super) is_ambiguous: bool,
}

/// Line and column of the end of a text, from 1: the place of an error if the text ends too early.
fn end(text: &str) -> (usize, usize) {
    let text = text.trim_end();
    let last = text.rsplit('\n').next().unwrap_or_default();
    (text.matches('\n').count() + 1, last.chars().count() + 1)
}

/// Fills in the text of all scalars of the first document of `text`.
pub(super) fn fill(root: &mut Node, rewritten: &Rewritten) -> Result<(), SyntaxError> {
    let text = &rewritten.text;
    let Some(document) = serde_yaml::Deserializer::from_str(text).next() else {
        return Ok(());
    };
    Fill(root).deserialize(document).map_err(|error| {
        let problem = syntax_problem(rewritten);
        let (line, column) = error.location().map_or_else(
            || end(text),
            |location| (location.line(), location.column()),
        );
        SyntaxError {
            line,
            column,
            is_ambiguous: problem.is_none(),
            // YAML that has two readings is not called invalid.
            message: problem.map_or_else(
                || AMBIGUOUS.to_owned(),
                |problem| format!("not valid YAML: {problem}"),
            ),
        }
    })
}

/// The parser's message about the syntax alone, with a hint. Only this is shown: its words are fixed texts,
/// while an error of [`Fill`] may quote a value.
fn syntax_problem(rewritten: &Rewritten) -> Option<String> {
    let document = serde_yaml::Deserializer::from_str(&rewritten.text).next()?;
    let error = IgnoredAny::deserialize(document).err()?.to_string();
    let (problem, context) = error.split_once(", while ").unwrap_or((&error, ""));
    let problem = problem.split(" at line ").next().unwrap_or_default();
    let hint = HINTS.iter().find(|(words, _)| problem.contains(words));
    let context = context.split_once(" at line ").map(|(what, place)| {
        let place = original(place, rewritten);
        format!(" ({what}, begun at line {place})")
    });
    let hint = hint.map_or(String::new(), |(_, hint)| format!(": {hint}"));
    Some(format!("{problem}{}{hint}", context.unwrap_or_default()))
}

/// A place in the parser's words, `2 column 5`, in the text as it was.
fn original(place: &str, rewritten: &Rewritten) -> String {
    let numbers = place.split_once(" column ").and_then(|(line, column)| {
        let (line, column) = (line.parse().ok()?, column.parse().ok()?);
        Some((line, rewritten.original_column(line, column)))
    });
    numbers.map_or_else(
        || place.to_owned(),
        |(line, column)| format!("{line} column {column}"),
    )
}

/// Hints for the parser's messages.
const HINTS: [(&str, &str); 4] = [
    (
        "mapping values are not allowed",
        "is a text with a colon not quoted, or the indentation wrong?",
    ),
    (
        "cannot start any token",
        "quote a text that begins with @ % or `, and indent with spaces, not tabs",
    ),
    ("end of stream", "a quote is not closed"),
    (
        "did not find expected",
        "is a bracket, brace or quote not closed, a comma missing, or the indentation wrong?",
    ),
];

/// The message if the two parsers see different shapes.
const AMBIGUOUS: &str =
    "the layout is ambiguous, expected plain block or flow style, keys without a leading ?";

struct Fill<'n>(&'n mut Node);

impl<'de> DeserializeSeed<'de> for Fill<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match &mut self.0.value {
            Value::Scalar(scalar) => deserializer.deserialize_str(Text(&mut scalar.text)),
            Value::Sequence(items) => deserializer.deserialize_seq(Items(items)),
            Value::Mapping(entries) => deserializer.deserialize_map(Entries(entries)),
        }
    }
}

struct Text<'n>(&'n mut String);

impl Visitor<'_> for Text<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        text.clone_into(self.0);
        Ok(())
    }
}

struct Items<'n>(&'n mut Vec<Node>);

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for node in self.0 {
            items
                .next_element_seed(Fill(node))?
                .ok_or_else(|| A::Error::custom(AMBIGUOUS))?;
        }
        Ok(())
    }
}

struct Entries<'n>(&'n mut Vec<Entry>);

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        for entry in self.0 {
            entries
                .next_key_seed(Fill(&mut entry.key))?
                .ok_or_else(|| A::Error::custom(AMBIGUOUS))?;
            entries.next_value_seed(Fill(&mut entry.value))?;
        }
        Ok(())
    }
}
