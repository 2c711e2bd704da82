//! Mappings and lists in flow style after a change: the pieces that stay are copied as they are, with the text between
//! them.

use std::ops::Range;

use crate::config::document::{Node, Value};
use crate::config::edit::places::{Part, Places};
use crate::config::edit::render::{Quotes, inline, key};
use crate::config::edit::steps::{Alter, Step, as_new, steps};
use crate::config::edit::want::{Reading, Want};

/// The text of a value in flow style after a change.
pub(super) fn edited(
    places: Places<'_>,
    node: &Node,
    alter: &Alter,
    quotes: Quotes,
    reading: Reading,
) -> String {
    let whole = places.slice(node.mark.start..node.end);
    let quotes_here = if quotes == Quotes::None {
        places.quotes_of(node)
    } else {
        quotes
    };
    match alter {
        Alter::Keep | Alter::Remove => return whole.to_owned(),
        Alter::Set(want) if want.is_said_by(node, reading) => return whole.to_owned(),
        Alter::Set(_) | Alter::Fields(_) => {}
    }
    let (Some(steps), Some(parts)) = (steps(node, alter, reading), places.parts(node)) else {
        return inline(&as_new(alter).unwrap_or(Want::Null), quotes_here);
    };
    let pieces = Pieces {
        places,
        node,
        parts,
        quotes,
        quotes_here,
        reading,
    };
    pieces.joined(&steps)
}

struct Pieces<'n> {
    places: Places<'n>,
    node: &'n Node,
    parts: Vec<Part<'n>>,
    /// To be put around all new texts, unless `None`.
    quotes: Quotes,
    quotes_here: Quotes,
    reading: Reading,
}

impl Pieces<'_> {
    fn joined(&self, steps: &[Step]) -> String {
        if self.parts.is_empty() {
            return self.filled(steps);
        }
        let mut text = String::new();
        // The text after the last piece that was written, up to the next one.
        let mut gap = self.gap(0).to_owned();
        let mut next = 0;
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Old(index, alter) => {
                    gap = self.without(gap, next..*index);
                    text.push_str(&gap);
                    if let Some(part) = self.parts.get(*index) {
                        text.push_str(&self.old(*part, alter));
                    }
                    gap = self.gap(index + 1).to_owned();
                    next = index + 1;
                }
                Step::New(name, want) => {
                    let new = self.written(name.as_deref(), want);
                    let old = |step: &Step| matches!(step, Step::Old(..));
                    let is_last = !steps.iter().skip(number).any(old);
                    if is_last && number > 0 {
                        gap = self.without(gap, next..self.parts.len());
                        next = self.parts.len();
                    }
                    let (before, after) = self.around_new(&gap, number == 0, is_last);
                    text.push_str(&before);
                    text.push_str(&new);
                    gap = after;
                }
            }
        }
        text.push_str(&self.without(gap, next..self.parts.len()));
        text
    }

    /// An empty collection with its first parts, before the bracket that closes it.
    fn filled(&self, steps: &[Step]) -> String {
        let new: Vec<String> = steps
            .iter()
            .filter_map(|step| match step {
                Step::New(name, want) => Some(self.written(name.as_deref(), want)),
                Step::Old(..) => None,
            })
            .collect();
        let whole = self.places.slice(self.node.mark.start..self.node.end);
        let (open, close) = whole
            .split_at_checked(whole.len().saturating_sub(1))
            .unwrap_or((whole, ""));
        format!("{open}{}{close}", new.join(", "))
    }

    fn written(&self, name: Option<&str>, want: &Want) -> String {
        match name {
            Some(name) => format!("{}: {}", key(name), inline(want, self.quotes)),
            None => inline(want, self.quotes_here),
        }
    }

    /// A gap after parts that stood behind it are gone.
    fn without(&self, gap: String, gone: Range<usize>) -> String {
        gone.fold(gap, |gap, index| merged(&gap, self.gap(index + 1)))
    }

    /// The text before the part with this number; after the last one, the end of the collection.
    fn gap(&self, index: usize) -> &str {
        let before = index.checked_sub(1).and_then(|index| self.parts.get(index));
        let start = before.map_or(self.node.mark.start, |part| self.places.part_end(*part));
        let end = self
            .parts
            .get(index)
            .map_or(self.node.end, |part| part.start);
        self.places.slice(start..end)
    }

    fn old(&self, part: Part<'_>, alter: &Alter) -> String {
        let whole = self.places.slice(part.start..self.places.part_end(part));
        let reading = part
            .key
            .map_or(self.reading, |key| self.reading.within(key));
        match alter {
            Alter::Keep | Alter::Remove => return whole.to_owned(),
            Alter::Set(want) if want.is_said_by(part.value, reading) => return whole.to_owned(),
            Alter::Set(_) | Alter::Fields(_) => {}
        }
        let value = match &part.value.value {
            Value::Scalar(_) => {
                let quotes = if self.quotes == Quotes::None {
                    self.places.quotes_of(part.value)
                } else {
                    self.quotes
                };
                inline(&as_new(alter).unwrap_or(Want::Null), quotes)
            }
            Value::Sequence(_) | Value::Mapping(_) => {
                edited(self.places, part.value, alter, self.quotes, reading)
            }
        };
        if self.places.is_nothing(part.value) {
            let colon = if whole.ends_with(':') { "" } else { ":" };
            let colon = if part.key.is_some() { colon } else { "" };
            return format!("{whole}{colon} {value}");
        }
        let head = self.places.slice(part.start..part.value.mark.start);
        format!("{head}{value}")
    }

    /// The texts before and after a new piece in a gap: on its own line where the others are.
    fn around_new(&self, gap: &str, is_first: bool, is_last: bool) -> (String, String) {
        if is_first {
            return (gap.to_owned(), ", ".to_owned());
        }
        let own_line = self
            .parts
            .iter()
            .find(|part| self.places.is_first_in_line(part.start));
        let (Some(part), Some(line)) = (own_line, gap.find('\n')) else {
            return (", ".to_owned(), gap.to_owned());
        };
        let indent = " ".repeat(self.places.column(part.start));
        let newline = self.places.newline();
        let (head, rest) = gap.split_at_checked(line + 1).unwrap_or((gap, ""));
        let has_comma = head.trim_start().starts_with(',');
        let before = if has_comma { "" } else { "," };
        let after = if has_comma || !is_last { "," } else { "" };
        (
            format!("{before}{head}{indent}"),
            format!("{after}{newline}{rest}"),
        )
    }
}

/// The gaps before and after a removed part, in one. Its comment goes if it had the line for itself; comment lines
/// stay.
fn merged(before: &str, after: &str) -> String {
    let is_opening = before.starts_with(['{', '[']);
    match (before.rfind('\n'), after.find('\n')) {
        (None, None) if is_closing(after) && !is_opening => without_comma(after).to_owned(),
        (Some(_), None) | (None, None) => {
            let end = if is_closing(after) {
                without_comma(after).trim_start()
            } else {
                ""
            };
            format!("{before}{end}")
        }
        (Some(last), Some(line)) => {
            let head = before.get(..=last).unwrap_or_default();
            format!("{head}{}", after.get(line + 1..).unwrap_or_default())
        }
        (None, Some(line)) if is_opening => {
            let line = if after.get(..line).unwrap_or_default().ends_with('\r') {
                line - 1
            } else {
                line
            };
            format!(
                "{}{}",
                before.trim_end(),
                after.get(line..).unwrap_or_default()
            )
        }
        (None, Some(_)) => after.to_owned(),
    }
}

/// Whether a gap without a line break ends the collection.
fn is_closing(gap: &str) -> bool {
    gap.ends_with(['}', ']'])
}

fn without_comma(gap: &str) -> &str {
    gap.strip_prefix(',').unwrap_or(gap)
}
