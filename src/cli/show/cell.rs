//! Cells of tables: text made plain, with a colour where it shows a state.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cli::show::Style;
use crate::cli::show::text::{age, moment, plain};
use crate::domain::Timestamp;

/// Colours of words that name a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Good,
    Bad,
    Weak,
}

impl Tone {
    /// Zero-width characters stand for the colour while widths are measured; text from outside never has them, because
    /// they are made plain. Below, what they stand for. Source: ECMA-48, section 8.3.117.
    const MARKS: [(Self, char, &'static str); 3] = [
        (Self::Good, '\u{2061}', "\u{1b}[32m"),
        (Self::Bad, '\u{2062}', "\u{1b}[31m"),
        (Self::Weak, '\u{2063}', "\u{1b}[2m"),
    ];
    const END: char = '\u{2064}';
    const RESET: &'static str = "\u{1b}[0m";

    fn mark(self) -> char {
        let found = Self::MARKS.iter().find(|(tone, ..)| *tone == self);
        found.map_or(Self::END, |(_, mark, _)| *mark)
    }
}

/// Whether a character stands for a colour.
pub(super) fn is_mark(character: char) -> bool {
    character == Tone::END || Tone::MARKS.iter().any(|(_, mark, _)| *mark == character)
}

/// One cell; its text is made plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
    /// The text that follows without a colour.
    rest: String,
    /// A shorter text where lines have a width.
    narrow: Option<String>,
}

impl Cell {
    /// A word that names a state, in its colour.
    pub(crate) fn status(word: &str) -> Self {
        let tone = match word {
            "success" | "delivered" | "active" | "done" => Some(Tone::Good),
            "failed" | "timeout" | "dead" | "disabled" | "probing" | "blocked" => Some(Tone::Bad),
            "cancelled" | "held" | "skipped" => Some(Tone::Weak),
            _ => None,
        };
        Self {
            tone,
            ..Self::from(word)
        }
    }

    /// A point in time, as it is or by its age.
    pub(crate) fn moment(at: Timestamp, now: Timestamp) -> Self {
        Self {
            narrow: Some(age(at, now)),
            ..Self::from(moment(at))
        }
    }

    /// The same as it is shown where lines have a width.
    pub(super) fn narrowed(mut self) -> Self {
        if let Some(narrow) = self.narrow.take() {
            self.text = narrow;
        }
        self
    }

    /// The text without its colour and what follows.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The same with only the beginning of its text.
    pub(super) fn shortened(mut self, to: &str) -> Self {
        to.clone_into(&mut self.text);
        self
    }

    /// How many columns of a terminal it takes.
    pub(super) fn width(&self) -> usize {
        self.text.width() + self.rest.width()
    }

    /// The same in so many columns at most, the end cut off.
    pub(super) fn cut_to(mut self, width: usize) -> Self {
        if self.width() <= width {
            return self;
        }
        let own = self.text.width();
        if own > width {
            self.text = beginning(&self.text, width);
            self.rest.clear();
        } else {
            self.rest = beginning(&self.rest, width - own);
        }
        self
    }

    /// Text in the colour of what is good.
    pub(crate) fn good(text: &str) -> Self {
        Self {
            tone: Some(Tone::Good),
            ..Self::from(text)
        }
    }

    /// Text in the colour of what is bad.
    pub(crate) fn bad(text: &str) -> Self {
        Self {
            tone: Some(Tone::Bad),
            ..Self::from(text)
        }
    }

    /// A count: red when it is not zero.
    pub(crate) fn alarming(count: u64) -> Self {
        Self {
            tone: (count > 0).then_some(Tone::Bad),
            ..Self::from(count)
        }
    }

    /// The same with more text behind it, without a colour.
    pub(crate) fn and(mut self, rest: &str) -> Self {
        self.rest = plain(rest);
        self
    }

    /// The text, marked with its colour where the output has colours, for [`Screen::line`](super::Screen::line).
    pub(crate) fn marked(&self, style: Style) -> String {
        match self.tone.filter(|_| style.colour) {
            Some(tone) => format!("{}{}{}{}", tone.mark(), self.text, Tone::END, self.rest),
            None => format!("{}{}", self.text, self.rest),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self {
            text: plain(text),
            tone: None,
            rest: String::new(),
            narrow: None,
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<u64> for Cell {
    fn from(count: u64) -> Self {
        Self::from(crate::domain::with_commas(count))
    }
}

/// A cell, or nothing.
impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(content: Option<T>) -> Self {
        content.map_or_else(|| Self::from("-"), Into::into)
    }
}

/// Puts colours where their marks are.
pub(super) fn paint(text: &str) -> String {
    let mut painted = String::with_capacity(text.len());
    for character in text.chars() {
        match Tone::MARKS.iter().find(|(_, mark, _)| *mark == character) {
            Some((_, _, colour)) => painted.push_str(colour),
            None if character == Tone::END => painted.push_str(Tone::RESET),
            None => painted.push(character),
        }
    }
    painted
}

/// As much of the text as has room in so many columns of a terminal, with `…` at its end.
fn beginning(text: &str, width: usize) -> String {
    let mut shown = String::new();
    let mut left = width.saturating_sub(1);
    for character in text.chars() {
        let Some(rest) = left.checked_sub(character.width().unwrap_or(0)) else {
            break;
        };
        left = rest;
        shown.push(character);
    }
    if width > 0 {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_cut_at_the_width_of_its_characters() {
        let cut = |text: &str, width| Cell::from(text).cut_to(width).marked(Style::default());
        assert_eq!(cut("billing", 7), "billing");
        assert_eq!(cut("billing", 5), "bill…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("日本語", 0), "");
        let status = Cell::status("dead").and(" (exhausted)");
        assert_eq!(status.cut_to(9).marked(Style::default()), "dead (ex…");
    }
}
