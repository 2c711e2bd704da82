//! The new text of a file: only the bytes of the changed values differ.
//!
//! The edits of `yaml-edit` 0.3 itself are not used, only the places that it finds. Tried with it: it loses a comment
//! after a flow list over several lines when the value becomes a scalar, and comments inside a flow mapping when a key
//! goes; it sets nothing below a key without a value; and it does not take the readers into account, for which a plain
//! `1.2` may be text. It finds the places of keys and values right, in block and flow style, quoted, folded and literal
//! texts, CRLF, explicit keys (`? key`) and files without a newline at their end. A range in block style ends
//! after its last line, comment included; [`Places::end`] corrects that.
//!
//! Rules: of a field that stays only its value changes, and of a list or mapping only the parts that differ. A comment after
//! a value stays with it and goes with its line. Comment lines stay, except those inside a value that
//! goes. New lines come after the last one of the mapping or list, indented as its first.

use crate::config::document::{Document, Node, Root, Value};
use crate::config::edit::flow;
use crate::config::edit::places::{Part, Places};
use crate::config::edit::render::{Lines, Quotes, inline};
use crate::config::edit::splice::Splices;
use crate::config::edit::steps::{Alter, Step, as_new, steps};
use crate::config::edit::want::{Reading, Want};

/// The default indentation of a level.
const STEP: usize = 2;

/// The text of a file after a change; `None` if the file is written in a way that is not supported.
///
/// `quotes` are put around new texts unless those around them suggest otherwise.
pub(super) fn edited(document: &Document, alter: &Alter, quotes: Quotes) -> Option<String> {
    let mut editor = Editor {
        places: Places::new(document),
        splices: Splices::default(),
        step: STEP,
        quotes,
    };
    match &document.root {
        Root::Broken => return None,
        Root::Empty => editor.begin(&as_new(alter)?),
        Root::Node(root) => {
            editor.step = editor.step_of(root);
            editor.collection(root, alter)?;
        }
    }
    editor.splices.applied_to(&document.text)
}

struct Editor<'t> {
    places: Places<'t>,
    splices: Splices,
    /// By how much a level is indented.
    step: usize,
    quotes: Quotes,
}

impl Editor<'_> {
    /// Writes the first lines of a file that has only comments.
    fn begin(&mut self, want: &Want) {
        let lines = self.lines(Quotes::None).block(want, 0);
        self.insert_lines(self.places.len(), &lines);
    }

    /// By how much the subscriptions, or the first level below the root, are indented.
    fn step_of(&self, root: &Node) -> usize {
        let Value::Mapping(entries) = &root.value else {
            return STEP;
        };
        let nested = entries
            .iter()
            .map(|entry| &entry.value)
            .filter(|value| matches!(value.value, Value::Mapping(_)) && self.places.is_block(value))
            .map(|value| self.places.column(value.mark.start));
        nested.max().filter(|step| *step > 0).unwrap_or(STEP)
    }

    /// Changes an outermost mapping or list.
    fn collection(&mut self, node: &Node, alter: &Alter) -> Option<()> {
        if self.places.is_flow(node) {
            let new = flow::edited(self.places, node, alter, self.quotes, Reading::Exact);
            self.splices.replace(node.mark.start..node.end, new);
            return Some(());
        }
        let steps = steps(node, alter, Reading::Exact)?;
        self.block(node, steps, Reading::Exact)
    }

    /// Changes a mapping or list in block style part by part; `None` if it can only be rewritten.
    fn block(&mut self, node: &Node, steps: Vec<Step>, reading: Reading) -> Option<()> {
        let parts = self.places.parts(node)?;
        let first = *parts.first()?;
        let stays = |index: usize| {
            steps
                .iter()
                .any(|step| matches!(step, Step::Old(old, _) if *old == index))
        };
        let places = self.places;
        let own_lines = |part: &Part<'_>| places.is_first_in_line(part.start);
        let gone: Vec<bool> = (0..parts.len()).map(|index| !stays(index)).collect();
        self.remove(&parts, &gone)?;
        let indent = parts.iter().find(|part| own_lines(part)).map_or_else(
            || self.places.column(first.start),
            |part| self.places.column(part.start),
        );
        let quotes = self.quotes_in(&parts);
        let mut at = self.places.line_start(first.start);
        for step in steps {
            match step {
                Step::Old(index, alter) => {
                    let part = *parts.get(index)?;
                    self.part(part, &alter, indent, reading)?;
                    at = self.places.line_end(self.places.part_end(part));
                }
                Step::New(key, want) => {
                    let lines = match key {
                        Some(key) => self.lines(Quotes::None).entry(&key, &want, indent),
                        None => vec![self.lines(quotes).item(&want, indent)],
                    };
                    self.insert_lines(at, &lines);
                }
            }
        }
        Some(())
    }

    /// Removes the parts that are gone, comment lines between them left out.
    fn remove(&mut self, parts: &[Part<'_>], gone: &[bool]) -> Option<()> {
        let mut rest = parts.iter().zip(gone).peekable();
        if let Some((first, true)) = rest.peek().copied()
            && !self.places.is_first_in_line(first.start)
        {
            // Behind a dash or a colon: what follows moves there, unless comment lines are in between.
            let next = parts.iter().zip(gone).find(|(_, gone)| !**gone);
            let next = next.map(|(part, _)| part.start)?;
            let line = self.places.line_end(self.places.part_end(*first));
            if !self.places.slice(line..next).contains('#') {
                self.splices.replace(first.start..next, "");
                rest = parts.iter().zip(gone).peekable();
                while rest.next_if(|(part, _)| part.start < next).is_some() {}
            } else {
                let end = self.places.slice(0..line).trim_end().len();
                let start = self.places.slice(0..first.start).trim_end().len();
                self.splices.replace(start..end, "");
                rest.next();
            }
        }
        for (part, gone) in rest {
            if *gone {
                self.remove_lines(*part);
            }
        }
        Some(())
    }

    /// Changes the value of a part in block style.
    fn part(
        &mut self,
        part: Part<'_>,
        alter: &Alter,
        indent: usize,
        reading: Reading,
    ) -> Option<()> {
        let reading = match part.key {
            Some(key) => reading.within(key),
            None => reading,
        };
        let want = match alter {
            Alter::Keep => return Some(()),
            Alter::Set(want) if want.is_said_by(part.value, reading) => return Some(()),
            Alter::Remove => return None,
            Alter::Set(_) | Alter::Fields(_) => as_new(alter)?,
        };
        if let Some(steps) = steps(part.value, alter, reading) {
            if self.places.is_flow(part.value) && self.has_content(part.value) {
                let new = flow::edited(self.places, part.value, alter, self.quotes, reading);
                self.splices
                    .replace(part.value.mark.start..part.value.end, new);
                return Some(());
            }
            if self.can_edit(part.value, &steps) {
                return self.block(part.value, steps, reading);
            }
        }
        // A change of fields rewrites the value only if it names all fields that there are.
        if matches!(alter, Alter::Fields(_)) && !self.has_no_other(part.value, alter) {
            return None;
        }
        self.write(part, &want, indent)
    }

    /// Whether a collection in flow style has parts or comments.
    fn has_content(&self, node: &Node) -> bool {
        !is_empty(node) || self.places.slice(node.mark.start..node.end).contains('#')
    }

    /// Whether a change of fields names all that there are.
    fn has_no_other(&self, node: &Node, alter: &Alter) -> bool {
        match (&node.value, alter) {
            (Value::Mapping(entries), Alter::Fields(fields)) => entries
                .iter()
                .all(|entry| fields.iter().any(|(key, _)| key == entry.name())),
            (Value::Scalar(_), _) => node.is_null(),
            (Value::Mapping(_) | Value::Sequence(_), _) => false,
        }
    }

    /// Whether [`Editor::block`] can do it; if no part stays, it is rewritten.
    fn can_edit(&self, node: &Node, steps: &[Step]) -> bool {
        let has_old = steps.iter().any(|step| matches!(step, Step::Old(..)));
        let Some(parts) = self.places.parts(node).filter(|_| has_old) else {
            return false;
        };
        let begins_old = matches!(steps.first(), Some(Step::Old(..)));
        parts.iter().enumerate().all(|(index, part)| {
            self.places.is_first_in_line(part.start) || (index == 0 && begins_old)
        })
    }

    /// Replaces the old value by a new one.
    fn write(&mut self, part: Part<'_>, want: &Want, indent: usize) -> Option<()> {
        let value = part.value;
        let quotes = self.quotes_of(value);
        let lines = self.lines(quotes);
        let is_empty = self.places.is_nothing(value) || is_empty(value);
        let is_block = self.places.is_block(value);
        let before = self.places.column(self.places.part_end(part)) + 1;
        let as_block = part.key.is_some() && (is_block || is_empty) && lines.is_block(want, before);
        let after = match part.key {
            Some(key) => self.places.after_colon(key)?,
            None => part.start + 1,
        };
        if as_block {
            self.clear(part, after)?;
            let at = self.places.line_end(self.places.part_end(part));
            let lines = lines.block(want, indent + self.step);
            self.insert_lines(at, &lines);
        } else if is_block && self.begins_own_lines(value) || self.places.is_nothing(value) {
            self.splices
                .replace(after..after, format!(" {}", inline(want, quotes)));
            self.clear(part, after)?;
        } else if self.places.is_block_scalar(value) {
            self.write_over_block_scalar(value, &inline(want, quotes));
        } else {
            let range = value.mark.start..self.places.end(value);
            self.splices.replace(range, inline(want, quotes));
        }
        Some(())
    }

    /// Takes a value away, its key stays.
    fn clear(&mut self, part: Part<'_>, after: usize) -> Option<()> {
        let value = part.value;
        let end = self.places.end(value);
        if self.places.is_nothing(value) {
        } else if self.places.is_block(value) {
            if !self.begins_own_lines(value) {
                return None;
            }
            let range = self.places.line_start(value.mark.start)..self.places.line_end(end);
            self.splices.replace(range, "");
        } else {
            self.splices.replace(after..end, "");
        }
        Some(())
    }

    /// A comment after the indicator stays, the lines of the text go.
    fn write_over_block_scalar(&mut self, value: &Node, new: &str) {
        let header = self.places.slice(value.mark.start..value.end);
        let indicator = header
            .find(|character: char| character.is_whitespace())
            .unwrap_or(header.len());
        let start = value.mark.start;
        self.splices.replace(start..start + indicator, new);
        let body = self.places.line_end(start);
        let end = self.places.line_end(self.places.end(value));
        if body < end {
            self.splices.replace(body..end, "");
        }
    }

    fn begins_own_lines(&self, value: &Node) -> bool {
        self.places.is_first_in_line(value.mark.start)
    }

    /// Removes the lines of a part, and one of two empty lines that would meet.
    fn remove_lines(&mut self, part: Part<'_>) {
        let start = self.places.line_start(part.start);
        let mut end = self.places.line_end(self.places.part_end(part));
        let blank_before =
            start > 0 && self.places.is_blank_line(self.places.line_start(start - 1));
        if blank_before && end < self.places.len() && self.places.is_blank_line(end) {
            end = self.places.line_end(end);
        }
        self.splices.replace(start..end, "");
    }

    /// Puts lines where one begins, or at the end of the text.
    fn insert_lines(&mut self, at: usize, lines: &[String]) {
        let newline = self.places.newline();
        let is_open = at > 0 && !self.places.slice(0..at).ends_with('\n');
        let text: String = lines
            .iter()
            .map(|line| {
                if is_open {
                    format!("{newline}{line}")
                } else {
                    format!("{line}{newline}")
                }
            })
            .collect();
        self.splices.replace(at..at, text);
    }

    fn lines(&self, quotes: Quotes) -> Lines {
        Lines {
            step: self.step,
            quotes: if self.quotes == Quotes::None {
                quotes
            } else {
                self.quotes
            },
        }
    }

    fn quotes_of(&self, value: &Node) -> Quotes {
        if self.quotes == Quotes::None {
            self.places.quotes_of(value)
        } else {
            self.quotes
        }
    }

    fn quotes_in(&self, parts: &[Part<'_>]) -> Quotes {
        parts
            .first()
            .map_or(self.quotes, |part| self.quotes_of(part.value))
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(_) => node.is_null(),
        Value::Sequence(items) => items.is_empty(),
        Value::Mapping(entries) => entries.is_empty(),
    }
}
