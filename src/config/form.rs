//! Forms of values: each reads a value from a node, shows it in the notation of the file, and describes it as JSON Schema.

use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::document::{Node, Value as NodeValue};
use crate::config::reader::{Context, items, text};
use crate::config::report::quoted;
use crate::config::schema::forms::{self, For, described, or_null};
use crate::config::units::{self, UnitError, written_duration, written_size};
use crate::domain::similar;

/// How a value is written.
pub(super) trait Form {
    /// The type that it is read as.
    type Value;

    /// `null` is a value, and not as if the key were left out.
    const TAKES_NULL: bool = false;

    /// Reads a value; reports errors in it.
    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<Self::Value>;

    /// Returns the value in the notation of the file, without secrets.
    fn show(&self, value: &Self::Value) -> Value;

    /// Describes the values that can be written.
    fn schema(&self, writer: For) -> Value;

    /// Returns the built-in value as the schema documents it; `None` if it does not.
    fn documented(&self, built_in: &Self::Value) -> Option<Value> {
        Some(self.show(built_in))
    }

    /// The message if the key is required and missing.
    fn missing(&self) -> &'static str {
        "missing"
    }

    /// Returns the name under which a key is shown.
    fn shown_name(&self, key: &str) -> String {
        key.to_owned()
    }

    /// Adds the value of a key to those that are shown.
    fn put(&self, key: &str, value: &Self::Value, shown: &mut Map<String, Value>) {
        shown.insert(self.shown_name(key), self.show(value));
    }

    /// Adds the schema of a key.
    fn declare(&self, key: Key<'_>, writer: For, properties: &mut Map<String, Value>) {
        properties.insert(key.name.to_owned(), key.schema(self.schema(writer)));
    }

    /// Adds the keys below `path` whose changes need a restart.
    fn at_start(&self, _path: &str, _found: &mut Vec<String>) {}
}

/// A key of a mapping, as its declaration describes it.
#[derive(Debug)]
pub(super) struct Key<'k> {
    pub(super) name: &'k str,
    pub(super) sentence: &'k str,
    /// Its changes need a restart.
    pub(super) restart: bool,
    /// `None` if the key cannot be left out, else the documented default.
    pub(super) default: Option<Option<Value>>,
}

impl Key<'_> {
    /// Returns the schema of its values with everything else that is declared.
    pub(super) fn schema(self, values: Value) -> Value {
        let restart = if self.restart {
            " Changes need a restart."
        } else {
            ""
        };
        let schema = described(&format!("{}{restart}", self.sentence), values);
        let Some(default) = self.default else {
            return schema;
        };
        let mut schema = or_null(schema);
        if let (Value::Object(schema), Some(default)) = (&mut schema, default) {
            schema.insert("default".to_owned(), default);
        }
        schema
    }
}

/// `true` or `false`, unquoted.
pub(super) const FLAG: By<bool> = By {
    read: |node, context| unquoted(node, "true or false", context, |text| text.parse().ok()),
    show: |value| json!(value),
    schema: |_| json!({"type": "boolean"}),
};

/// One of some words.
#[derive(Debug)]
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Clone + PartialEq> Form for Choice<T> {
    type Value = T;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<T> {
        let found = text(node, context)?;
        let value = self.0.iter().find(|(word, _)| *word == found);
        if value.is_none() {
            let known: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
            let hint = meant(found, &known).map(|meant| format!(": did you mean {meant}?"));
            let (known, found) = (known.join(", "), quoted(found));
            let hint = hint.unwrap_or_default();
            context.error(
                node,
                format!("expected one of {known}, found {found}{hint}"),
            );
        }
        value.map(|(_, value)| value.clone())
    }

    fn show(&self, value: &T) -> Value {
        let found = self.0.iter().find(|(_, known)| known == value);
        json!(found.map_or("", |(word, _)| word))
    }

    fn schema(&self, _: For) -> Value {
        let words: Vec<_> = self.0.iter().map(|(word, _)| word).collect();
        json!({"type": "string", "enum": words})
    }
}

/// A whole number within a range.
#[derive(Debug)]
pub(super) struct Whole<T>(RangeInclusive<u64>, PhantomData<T>);

impl<T> Whole<T> {
    pub(super) const fn of(range: RangeInclusive<u64>) -> Self {
        Self(range, PhantomData)
    }
}

impl<T: TryFrom<u64> + Serialize> Form for Whole<T> {
    type Value = T;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<T> {
        let what = format!("a whole number from {} to {}", self.0.start(), self.0.end());
        let number = unquoted(node, &what, context, |text| {
            let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|_| is_decimal);
            number.filter(|number| self.0.contains(number))
        });
        T::try_from(number?).ok()
    }

    fn show(&self, value: &T) -> Value {
        json!(value)
    }

    fn schema(&self, _: For) -> Value {
        json!({"type": "integer", "minimum": self.0.start(), "maximum": self.0.end()})
    }
}

/// A number within a range.
#[derive(Debug)]
pub(super) struct Number(pub(super) RangeInclusive<f64>);

impl Form for Number {
    type Value = f64;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<f64> {
        let what = format!("a number from {} to {}", self.0.start(), self.0.end());
        unquoted(node, &what, context, |text| {
            let is_part = |byte: u8| byte.is_ascii_digit() || b".eE+-".contains(&byte);
            let number = text.parse().ok().filter(|_| text.bytes().all(is_part));
            number.filter(|number| self.0.contains(number))
        })
    }

    /// As people write it: 2 instead of 2.0.
    fn show(&self, value: &f64) -> Value {
        match format!("{value}").parse::<u64>() {
            Ok(whole) => json!(whole),
            Err(_) => json!(value),
        }
    }

    fn schema(&self, _: For) -> Value {
        let (least, most) = (self.show(self.0.start()), self.show(self.0.end()));
        json!({"type": "number", "minimum": least, "maximum": most})
    }
}

/// A duration.
#[derive(Debug)]
pub(super) struct Lasting {
    pub(super) may_be_zero: bool,
    /// The longest, if it is shorter than any duration may be.
    pub(super) most: Option<Duration>,
}

/// A duration longer than nothing.
pub(super) const POSITIVE: Lasting = Lasting {
    may_be_zero: false,
    most: None,
};

impl Form for Lasting {
    type Value = Duration;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<Duration> {
        let duration = or_report(units::duration(text(node, context)?), node, context)?;
        if duration.is_zero() && !self.may_be_zero {
            context.error(node, "expected a duration longer than 0");
            return None;
        }
        if let Some(most) = self.most.filter(|most| duration > *most) {
            context.error(node, format!("expected at most {}", written_duration(most)));
            return None;
        }
        Some(duration)
    }

    fn show(&self, value: &Duration) -> Value {
        json!(written_duration(*value))
    }

    fn schema(&self, _: For) -> Value {
        let number = if self.may_be_zero {
            "[0-9]+"
        } else {
            "0*[1-9][0-9]*"
        };
        json!({"type": "string", "pattern": format!("^{number}(ms|s|m|h|d)$")})
    }
}

/// A size larger than nothing, in bytes.
#[derive(Debug)]
pub(super) struct Size {
    /// The largest with the words for it, if it is smaller than any size may be.
    pub(super) most: Option<(usize, &'static str)>,
}

/// A size without an upper limit.
pub(super) const SIZE: Size = Size { most: None };

impl Form for Size {
    type Value = u64;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<u64> {
        let bytes = or_report(units::size(text(node, context)?), node, context)?;
        let message = match self.most {
            Some((most, words)) => {
                let fits = usize::try_from(bytes).is_ok_and(|bytes| (1..=most).contains(&bytes));
                (!fits).then_some(words)
            }
            None => (bytes == 0).then_some("expected a size larger than 0"),
        };
        if let Some(message) = message {
            context.error(node, message);
            return None;
        }
        Some(bytes)
    }

    fn show(&self, value: &u64) -> Value {
        json!(written_size(*value))
    }

    fn schema(&self, _: For) -> Value {
        json!({"type": "string", "pattern": "^0*[1-9][0-9]*(B|KiB|MiB|GiB|TiB)$"})
    }
}

/// A text of at least one character.
#[derive(Debug)]
pub(super) struct Text {
    /// The most characters, if they are bounded here.
    pub(super) most: Option<usize>,
}

/// A text without an upper limit.
pub(super) const TEXT: Text = Text { most: None };

impl Form for Text {
    type Value = String;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<String> {
        let text = text(node, context)?;
        let found = text.chars().count();
        if let Some(most) = self.most.filter(|most| found > *most) {
            let message = format!("expected at most {most} characters, found {found}");
            context.error(node, message);
        }
        Some(text.to_owned())
    }

    fn show(&self, value: &String) -> Value {
        json!(value)
    }

    fn schema(&self, _: For) -> Value {
        match self.most {
            Some(most) => json!({"type": "string", "minLength": 1, "maxLength": most}),
            None => forms::text(),
        }
    }
}

/// A value, or `null` for none.
#[derive(Debug)]
pub(super) struct Optional<F>(pub(super) F);

impl<F: Form> Form for Optional<F> {
    type Value = Option<F::Value>;

    const TAKES_NULL: bool = true;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<Self::Value> {
        if node.is_null() {
            return Some(None);
        }
        self.0.read(node, context).map(Some)
    }

    fn show(&self, value: &Self::Value) -> Value {
        value.as_ref().map_or(Value::Null, |it| self.0.show(it))
    }

    fn schema(&self, writer: For) -> Value {
        self.0.schema(writer)
    }

    fn shown_name(&self, key: &str) -> String {
        self.0.shown_name(key)
    }
}

/// A value whose default depends on other keys, and is described in the key's sentence.
#[derive(Debug)]
pub(super) struct ByOthers<F>(pub(super) F);

impl<F: Form> Form for ByOthers<F> {
    type Value = F::Value;

    const TAKES_NULL: bool = F::TAKES_NULL;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<Self::Value> {
        self.0.read(node, context)
    }

    fn show(&self, value: &Self::Value) -> Value {
        self.0.show(value)
    }

    fn schema(&self, writer: For) -> Value {
        self.0.schema(writer)
    }

    fn documented(&self, _: &Self::Value) -> Option<Value> {
        None
    }

    fn shown_name(&self, key: &str) -> String {
        self.0.shown_name(key)
    }
}

/// A form made of functions.
#[derive(Debug)]
pub(super) struct By<T> {
    pub(super) read: fn(&Node, &mut Context<'_>) -> Option<T>,
    pub(super) show: fn(&T) -> Value,
    pub(super) schema: fn(For) -> Value,
}

impl<T> Form for By<T> {
    type Value = T;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<T> {
        (self.read)(node, context)
    }

    fn show(&self, value: &T) -> Value {
        (self.show)(value)
    }

    fn schema(&self, writer: For) -> Value {
        (self.schema)(writer)
    }
}

/// A list.
#[derive(Debug)]
pub(super) struct List<F> {
    /// Its description in messages.
    pub(super) what: &'static str,
    pub(super) item: F,
}

impl<F: Form> Form for List<F> {
    type Value = Vec<F::Value>;

    fn read(&self, node: &Node, context: &mut Context<'_>) -> Option<Self::Value> {
        items(node, self.what, context, |node, context| {
            self.item.read(node, context)
        })
    }

    fn show(&self, value: &Self::Value) -> Value {
        Value::Array(value.iter().map(|item| self.item.show(item)).collect())
    }

    fn schema(&self, writer: For) -> Value {
        json!({"type": "array", "items": self.item.schema(writer)})
    }
}

/// A value that has to be a plain scalar: in quotes it would be text.
fn unquoted<T>(
    node: &Node,
    what: &str,
    context: &mut Context<'_>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    match &node.value {
        _ if node.refused => return None,
        NodeValue::Scalar(scalar) if scalar.plain => {
            let value = parse(&scalar.text);
            if value.is_none() {
                context.error(node, format!("expected {what}"));
            }
            return value;
        }
        NodeValue::Scalar(_) => context.error(node, format!("expected {what}, without quotes")),
        NodeValue::Sequence(_) | NodeValue::Mapping(_) => context.expected(node, what),
    }
    None
}

/// The words for yes and no, each with those that a field may have instead, the most likely first.
const INSTEAD: [(&[&str], &[&str]); 2] = [
    (&["false", "no", "off"], &["none", "never"]),
    (&["true", "yes", "on"], &["per_subscription", "auto"]),
];

/// The word that is most likely meant by one that is not known.
fn meant<'k>(found: &str, known: &[&'k str]) -> Option<&'k str> {
    let found_in = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(found));
    let instead = INSTEAD.iter().find(|(words, _)| found_in(words));
    let mut instead = instead.iter().flat_map(|(_, instead)| *instead);
    let instead = instead.find_map(|word| known.iter().find(|known| *known == word));
    instead
        .copied()
        .or_else(|| similar(found, known.iter().copied()))
}

/// Reports why a text is not a valid value.
fn or_report<T>(parsed: Result<T, UnitError>, node: &Node, context: &mut Context<'_>) -> Option<T> {
    parsed
        .map_err(|error| context.error(node, error.to_string()))
        .ok()
}
