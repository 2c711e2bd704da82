//! The new text of a file that is JSON: it stays JSON, as other programs may read it, too.
//!
//! JSON has no comments, so that only space and a comma stand between two parts. Parts that stay are copied as they
//! are, and the space between two of them stays. New ones are written as the file is: in lines of their own
//! where the others are, indented by as much.

use serde::de::IgnoredAny;
use serde_json::Value as Json;

use crate::config::document::{Document, Node, Root, Value};
use crate::config::edit::places::{Part, Places};
use crate::config::edit::render::double_quoted;
use crate::config::edit::steps::{Alter, Step, as_new, steps};
use crate::config::edit::want::{Reading, Want};

/// The indentation of a new file.
const STEP: &str = "  ";

/// Whether a text is JSON.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Whether a file is to stay, or to become, JSON.
pub(super) fn is_for(document: &Document) -> bool {
    let is_new = document.text.trim().is_empty();
    let extension = document.path.extension();
    is_json(&document.text) || is_new && extension.is_some_and(|it| it.eq_ignore_ascii_case("json"))
}

/// The text of a JSON file after a change; `None` if it would not be JSON any more.
pub(super) fn edited(document: &Document, alter: &Alter) -> Option<String> {
    let places = Places::new(document);
    let new = match &document.root {
        Root::Broken => return None,
        Root::Empty => {
            let editor = Editor::new(places, None);
            let newline = places.newline();
            format!("{}{newline}", editor.written(&as_new(alter)?, Some("")))
        }
        Root::Node(root) => {
            let editor = Editor::new(places, Some(root));
            let new = editor.value(root, alter, Reading::Exact);
            let before = places.slice(0..root.mark.start);
            let after = places.slice(root.end..places.len());
            format!("{before}{new}{after}")
        }
    };
    is_json(&new).then_some(new)
}

struct Editor<'t> {
    places: Places<'t>,
    /// The indentation of a level; `None` if all is in one line.
    step: Option<String>,
    colon: &'static str,
    comma: &'static str,
}

impl<'t> Editor<'t> {
    /// Takes the style of the file whose outermost mapping is `root`.
    fn new(places: Places<'t>, root: Option<&Node>) -> Self {
        let part = root.and_then(|root| places.parts(root)?.first().copied());
        let step = match part {
            Some(part) => indentation(places, part.start).map(str::to_owned),
            None => Some(STEP.to_owned()),
        };
        let colon = part.and_then(|part| {
            let after = places.after_colon(part.key?)?;
            Some(after == part.value.mark.start)
        });
        let is_tight = colon == Some(true);
        Self {
            places,
            step: step.filter(|step| !step.is_empty()),
            colon: if is_tight { ":" } else { ": " },
            comma: if is_tight { "," } else { ", " },
        }
    }

    /// A value after a change.
    fn value(&self, node: &Node, alter: &Alter, reading: Reading) -> String {
        match alter {
            Alter::Set(want) if !want.is_said_by(node, reading) => {}
            Alter::Fields(_) => {}
            Alter::Keep | Alter::Remove | Alter::Set(_) => return self.text(node).to_owned(),
        }
        let line = self.line_of(node);
        match (steps(node, alter, reading), self.places.parts(node)) {
            (Some(steps), Some(parts)) => self.collection(node, &parts, &steps, reading),
            _ => self.written(&as_new(alter).unwrap_or(Want::Null), line),
        }
    }

    fn collection(
        &self,
        node: &Node,
        parts: &[Part<'_>],
        steps: &[Step],
        reading: Reading,
    ) -> String {
        let (opening, closing) = match &node.value {
            Value::Sequence(_) => ("[", "]"),
            Value::Mapping(_) | Value::Scalar(_) => ("{", "}"),
        };
        if steps.is_empty() {
            return format!("{opening}{closing}");
        }
        let between = Between::of(self, node, parts);
        let mut text = format!("{opening}{}", between.begin);
        let mut last = None;
        for (number, step) in steps.iter().enumerate() {
            let here = match step {
                Step::Old(index, _) => Some(*index),
                Step::New(..) => None,
            };
            match (last, here) {
                _ if number == 0 => {}
                (Some(last), Some(here)) if last + 1 == here => {
                    text.push_str(between.gaps.get(here).copied().unwrap_or_default());
                }
                _ => text.push_str(&between.comma),
            }
            match step {
                Step::Old(index, alter) => {
                    let part = parts.get(*index);
                    text.extend(part.map(|part| self.part(*part, alter, reading)));
                }
                Step::New(key, want) => {
                    if let Some(key) = key {
                        text.push_str(&double_quoted(key));
                        text.push_str(self.colon);
                    }
                    text.push_str(&self.written(want, between.line.as_deref()));
                }
            }
            last = here;
        }
        text + &between.end + closing
    }

    /// A part that stays, with its value after a change.
    fn part(&self, part: Part<'_>, alter: &Alter, reading: Reading) -> String {
        let reading = part.key.map_or(reading, |key| reading.within(key));
        let head = self.places.slice(part.start..part.value.mark.start);
        format!("{head}{}", self.value(part.value, alter, reading))
    }

    /// A new value; if it takes several lines, they follow a line that is indented by `line`, if at all.
    fn written(&self, want: &Want, line: Option<&str>) -> String {
        let is_number = |text: &str| {
            let json = serde_json::from_str(text);
            json.is_ok_and(|json: Json| !json.is_string() && !json.is_array() && !json.is_object())
        };
        match want {
            Want::Null => "null".to_owned(),
            Want::Bool(value) => value.to_string(),
            Want::Number(text) | Want::Written { text, plain: true } if is_number(text) => {
                text.clone()
            }
            Want::Number(text) | Want::Text(text) | Want::Written { text, .. } => {
                double_quoted(text)
            }
            Want::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.written(item, None)).collect();
                format!("[{}]", items.join(self.comma))
            }
            Want::Map(fields) => self.mapping(fields, None),
            Want::Block(fields) => self.mapping(fields, line),
        }
    }

    fn mapping(&self, fields: &[(String, Want)], line: Option<&str>) -> String {
        let lines = line
            .zip(self.step.as_deref())
            .filter(|_| !fields.is_empty());
        let within = lines.map(|(line, step)| format!("{line}{step}"));
        let entries = fields.iter().map(|(key, want)| {
            let value = self.written(want, within.as_deref());
            format!("{}{}{value}", double_quoted(key), self.colon)
        });
        let entries: Vec<_> = entries.collect();
        let newline = self.places.newline();
        match (line, within) {
            (Some(line), Some(within)) => {
                let entries = entries.join(&format!(",{newline}{within}"));
                format!("{{{newline}{within}{entries}{newline}{line}}}")
            }
            _ => format!("{{{}}}", entries.join(self.comma)),
        }
    }

    fn text(&self, node: &Node) -> &'t str {
        self.places.slice(node.mark.start..node.end)
    }

    /// The indentation of the line in which a value begins; `None` if all is in one line.
    fn line_of(&self, node: &Node) -> Option<&'t str> {
        self.step.as_ref()?;
        let line = self
            .places
            .slice(self.places.line_start(node.mark.start)..node.mark.start);
        line.get(..line.len() - line.trim_start().len())
    }
}

/// The texts between the parts of a collection.
struct Between<'t> {
    begin: String,
    /// Before the part with each number.
    gaps: Vec<&'t str>,
    /// Between parts that were not neighbours before.
    comma: String,
    end: String,
    /// The indentation of new parts that take several lines.
    line: Option<String>,
}

impl<'t> Between<'t> {
    fn of(editor: &Editor<'t>, node: &Node, parts: &[Part<'_>]) -> Between<'t> {
        let places = editor.places;
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return Between::within_empty(editor, node);
        };
        let ends = parts.iter().map(|part| places.part_end(*part));
        let begins = std::iter::once(node.mark.start + 1).chain(ends);
        let gaps = begins.zip(parts.iter().map(|part| part.start));
        let gaps: Vec<&str> = gaps.map(|(begin, end)| places.slice(begin..end)).collect();
        let begin = places.slice(node.mark.start + 1..first.start);
        let end = places.slice(places.part_end(*last)..node.end.saturating_sub(1));
        let own_lines = indentation(places, first.start).filter(|_| begin.contains('\n'));
        let comma = match (gaps.get(1), own_lines) {
            (Some(gap), _) => (*gap).to_owned(),
            (None, Some(_)) => format!(",{begin}"),
            (None, None) => editor.comma.to_owned(),
        };
        let is_long = |part: &Part<'_>| editor.text(part.value).contains('\n');
        Between {
            begin: begin.to_owned(),
            gaps,
            comma,
            end: end.to_owned(),
            line: own_lines
                .filter(|_| parts.iter().any(is_long))
                .map(str::to_owned),
        }
    }

    /// Between the first parts of a collection that had none: in lines of their own if what holds it has them.
    fn within_empty(editor: &Editor<'t>, node: &Node) -> Between<'t> {
        let gaps = Vec::new();
        let places = editor.places;
        let before = places.slice(places.line_start(node.mark.start)..node.mark.start);
        let line = editor
            .line_of(node)
            .filter(|_| !before.contains(['{', '[']));
        let Some((line, step)) = line.zip(editor.step.as_deref()) else {
            return Between {
                begin: String::new(),
                gaps,
                comma: editor.comma.to_owned(),
                end: String::new(),
                line: None,
            };
        };
        let newline = places.newline();
        let begin = format!("{newline}{line}{step}");
        Between {
            comma: format!(",{begin}"),
            begin,
            gaps,
            end: format!("{newline}{line}"),
            line: Some(format!("{line}{step}")),
        }
    }
}

/// The indentation of the line of a byte, if only space stands before it and it is not the first line.
fn indentation(places: Places<'_>, at: usize) -> Option<&str> {
    let line = places.line_start(at);
    let before = places.slice(line..at);
    (line > 0 && before.trim().is_empty()).then_some(before)
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
