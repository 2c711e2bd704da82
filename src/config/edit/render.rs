//! Writes values as YAML: scalars plain where that reads back as the same text, else quoted; lists and mappings in one
//! line where they fit, else in block style.

use crate::config::edit::want::{Want, reads_as_text};

/// The longest line that a new list or mapping in flow style may make, in characters.
const WIDTH: usize = 100;

/// How the texts of a value are quoted where they could be plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Quotes {
    /// Only where they must be.
    #[default]
    None,
    Single,
    Double,
}

/// Whether a text can stand without quotes, in its own line and within a flow collection, and stays a text.
fn can_be_plain(text: &str) -> bool {
    let is_safe = |character: char| {
        character.is_alphanumeric() || " -_./:@%+=~*!$&^();'#<>|\\".contains(character)
    };
    let first = text.chars().next();
    first.is_some_and(|first| first.is_alphanumeric() || "/._$(^".contains(first))
        && text.chars().all(is_safe)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && text != "..."
        && text != "."
        && reads_as_text(text)
}

/// A text as a scalar.
pub(super) fn text(text: &str, quotes: Quotes) -> String {
    let is_simple = text
        .chars()
        .all(|character| !character.is_control() && !is_special(character));
    match quotes {
        Quotes::None if can_be_plain(text) => text.to_owned(),
        Quotes::Single if is_simple => format!("'{}'", text.replace('\'', "''")),
        Quotes::None | Quotes::Single | Quotes::Double => double_quoted(text),
    }
}

/// Characters that YAML, or a reader of it, may take as a line break or ignore.
fn is_special(character: char) -> bool {
    matches!(
        character,
        '\u{85}' | '\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

/// A text in double quotes, as YAML and JSON read it.
pub(super) fn double_quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            character if character.is_control() || is_special(character) => {
                let code = u32::from(character);
                quoted.push_str(&format!("\\u{code:04X}"));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// A mapping's key.
pub(super) fn key(name: &str) -> String {
    text(name, Quotes::None)
}

/// A value in one line, as it may stand in flow style.
pub(super) fn inline(want: &Want, quotes: Quotes) -> String {
    match want {
        Want::Null => "null".to_owned(),
        Want::Bool(value) => value.to_string(),
        Want::Number(number) => number.clone(),
        Want::Text(words) => text(words, quotes),
        // A plain scalar that parsers do not read as text stays plain, as quotes would make it one.
        Want::Written { text, plain: true } if !reads_as_text(text) && !text.contains(',') => {
            text.clone()
        }
        Want::Written { text: words, .. } => text(words, quotes),
        Want::List(items) => {
            let items: Vec<_> = items.iter().map(|item| inline(item, quotes)).collect();
            format!("[{}]", items.join(", "))
        }
        Want::Map(fields) | Want::Block(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, want)| format!("{}: {}", key(name), inline(want, quotes)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

/// How new lines are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    /// By how much a level is indented more than the one around it.
    pub(super) step: usize,
    pub(super) quotes: Quotes,
}

impl Lines {
    /// `key: value` in lines, each indented by `indent` and more.
    pub(super) fn entry(self, name: &str, want: &Want, indent: usize) -> Vec<String> {
        let begin = format!("{}{}:", " ".repeat(indent), key(name));
        let value = inline(want, self.quotes);
        if !self.is_block(want, begin.chars().count() + 1) {
            return vec![format!("{begin} {value}")];
        }
        let mut lines = vec![begin];
        lines.extend(self.block(want, indent + self.step));
        lines
    }

    /// Whether a value is better written over several lines, in a line with `before` characters before it.
    pub(super) fn is_block(self, want: &Want, before: usize) -> bool {
        let is_long = before + inline(want, self.quotes).chars().count() > WIDTH;
        match want {
            Want::List(items) => is_long && !items.is_empty(),
            Want::Map(fields) => is_long && !fields.is_empty(),
            Want::Block(fields) => !fields.is_empty(),
            Want::Null | Want::Bool(_) | Want::Number(_) | Want::Text(_) | Want::Written { .. } => {
                false
            }
        }
    }

    /// The lines of a list or mapping in block style.
    pub(super) fn block(self, want: &Want, indent: usize) -> Vec<String> {
        match want {
            Want::List(items) => items.iter().map(|item| self.item(item, indent)).collect(),
            Want::Map(fields) | Want::Block(fields) => fields
                .iter()
                .flat_map(|(name, want)| self.entry(name, want, indent))
                .collect(),
            Want::Null | Want::Bool(_) | Want::Number(_) | Want::Text(_) | Want::Written { .. } => {
                vec![format!(
                    "{}{}",
                    " ".repeat(indent),
                    inline(want, self.quotes)
                )]
            }
        }
    }

    /// An item of a list in block style.
    pub(super) fn item(self, want: &Want, indent: usize) -> String {
        format!("{}- {}", " ".repeat(indent), inline(want, self.quotes))
    }
}
