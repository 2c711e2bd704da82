//! Tables without borders, as wide as the terminal; what a program reads is never wrapped.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement};

use crate::cli::show::Style;
use crate::cli::show::text::plain;

/// Spaces between columns.
const GAP: u16 = 2;
/// The fewest characters of a column that is wrapped.
const WRAPPED_LEAST: u16 = 12;

/// Colours of words that say how something stands.
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
    /// What follows without a colour.
    rest: String,
}

impl Cell {
    /// A word that says how something stands, in its colour.
    pub(crate) fn standing(word: &str) -> Self {
        let tone = match word {
            "success" | "delivered" | "active" | "done" => Some(Tone::Good),
            "failed" | "timeout" | "dead" | "disabled" => Some(Tone::Bad),
            "cancelled" | "held" | "skipped" => Some(Tone::Weak),
            _ => None,
        };
        Self {
            tone,
            ..Self::from(word)
        }
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

    /// What is there: red when it is not zero.
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

/// Rows below a heading.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// A heading that begins with `>` belongs to a column of numbers, which is aligned right; with `*`, to one that is
    /// never wrapped.
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these headings.
    ///
    /// `>` before one: the column has numbers, and is aligned right. `*`: it has what is copied, and is never wrapped.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Pairs of a name and what it is, without headings.
    pub(crate) fn pairs() -> Self {
        Self::new(&[])
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Adds a name and what it is.
    pub(crate) fn pair(&mut self, name: &str, cell: impl Into<Cell>) {
        self.row(vec![Cell::from(name), cell.into()]);
    }

    /// The table with a line end after each line.
    pub(crate) fn render(&self, style: Style) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        if !self.headings.is_empty() {
            let names = self.headings.iter();
            table.set_header(names.map(|name| name.trim_start_matches(['>', '*'])));
        }
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| cell.marked(style)));
        }
        let last = table.column_count().saturating_sub(1);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if index == last { 0 } else { GAP }));
            if self.heading(index).starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
            if self.is_whole(index) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let contents = table.column_max_content_widths();
        table.set_content_arrangement(ContentArrangement::Disabled);
        if let Some(width) = style.width.filter(|width| self.fits(&contents, *width)) {
            table.set_width(width);
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        let mut shown = String::new();
        for line in table.lines() {
            shown.push_str(paint(&line).trim_end());
            shown.push('\n');
        }
        shown
    }

    fn heading(&self, column: usize) -> &str {
        self.headings.get(column).copied().unwrap_or("")
    }

    /// Whether a column is never wrapped.
    fn is_whole(&self, column: usize) -> bool {
        let is_name = self.headings.is_empty() && column == 0;
        is_name || self.heading(column).starts_with(['>', '*'])
    }

    /// Whether enough room is left for what may be wrapped. Columns of a few characters cannot be read: then the terminal
    /// itself breaks the lines.
    fn fits(&self, contents: &[u16], width: u16) -> bool {
        let least = contents.iter().enumerate().map(|(column, content)| {
            let least = if self.is_whole(column) {
                *content
            } else {
                WRAPPED_LEAST.min(*content)
            };
            u32::from(least) + u32::from(GAP)
        });
        least.sum::<u32>() <= u32::from(width) + u32::from(GAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["*name", ">count", "what"]);
        table.row(vec![
            Cell::from("a"),
            Cell::from(1234),
            Cell::standing("failed"),
        ]);
        table.row(vec![
            Cell::from("long-name"),
            Cell::alarming(0),
            Cell::from("one two three \u{1b}[2J"),
        ]);
        table
    }

    #[test]
    fn columns_are_aligned_and_text_is_plain() {
        assert_eq!(
            table().render(Style::default()),
            "name       count  what\na          1,234  failed\nlong-name      0  one two three \\u{1b}[2J\n"
        );
    }

    #[test]
    fn a_narrow_terminal_wraps_text_and_not_ids() {
        let narrow = Style {
            colour: false,
            width: Some(32),
        };
        let shown = table().render(narrow);
        assert!(
            shown.lines().all(|line| line.chars().count() <= 32),
            "{shown}"
        );
        assert!(shown.contains("long-name      0  one two three"), "{shown}");
    }

    #[test]
    fn a_terminal_that_is_too_narrow_breaks_the_lines_itself() {
        let narrow = Style {
            colour: false,
            width: Some(20),
        };
        assert_eq!(table().render(narrow), table().render(Style::default()));
    }

    #[test]
    fn colours_take_no_width() {
        let colours = Style {
            colour: true,
            width: None,
        };
        let shown = table().render(colours);
        let expected = "a          1,234  \u{1b}[31mfailed\u{1b}[0m\n";
        assert!(shown.contains(expected), "{shown:?}");
        assert_eq!(
            paint(&Cell::standing("dead").marked(colours)),
            "\u{1b}[31mdead\u{1b}[0m"
        );
        assert_eq!(Cell::standing("dead").marked(Style::default()), "dead");
    }

    #[test]
    fn text_from_outside_cannot_paint() {
        let colours = Style {
            colour: true,
            width: None,
        };
        assert_eq!(
            paint(&Cell::from("\u{2062}x").marked(colours)),
            "\\u{2062}x"
        );
    }
}
