//! Standard output, as what it is: a terminal of some width and with colours, or something that a program reads.

use std::io::{self, Write};

use serde_json::Value;

use crate::cli::show::cell::{is_mark, paint};
use crate::cli::show::{Style, Table, gate};
use crate::config::Environment;
use crate::domain::{Clock, SystemClock, Timestamp};

/// Where results go.
pub(crate) struct Screen<'o> {
    out: Box<dyn Write + 'o>,
    /// The abilities of the output.
    pub(crate) style: Style,
    /// The time, for ages.
    pub(crate) now: Timestamp,
}

impl<'o> Screen<'o> {
    /// Results go to `out`, as of `now`.
    pub(crate) fn new(out: impl Write + 'o, style: Style, now: Timestamp) -> Self {
        let out = Box::new(out);
        Self { out, style, now }
    }

    /// Results go to standard output, as of now.
    pub(crate) fn of_stdout(environment: &Environment) -> Self {
        let style = Style::of_stdout(environment);
        Self::new(io::stdout(), style, SystemClock::new().wall())
    }

    /// Writes text in lines, made plain but for the colours of cells.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{}", painted_lines(text, self.style))?;
        self.out.flush()
    }

    /// Begins again: on a terminal at its top, otherwise after an empty line.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn begin_again(&mut self) -> io::Result<()> {
        self.now = SystemClock::new().wall();
        // Cursor to the top, everything erased. Source: ECMA-48, sections 8.3.21 and 8.3.39.
        let begin: &[u8] = match self.style.width {
            Some(_) => b"\x1b[H\x1b[2J",
            None => b"\n",
        };
        self.out.write_all(begin)
    }

    /// Writes a table.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        self.out.write_all(table.render(self.style).as_bytes())
    }

    /// Writes a value on one line, for programs.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn json(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.out, "{}", gate::json(value))?;
        self.out.flush()
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// They cannot be written.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.flush()
    }
}

/// The text in lines, in which the marks of colours are what they stand for.
fn painted_lines(text: &str, style: Style) -> String {
    let mut shown = String::new();
    for part in text.split_inclusive(is_mark) {
        let mark = part
            .chars()
            .next_back()
            .filter(|last| style.colour && is_mark(*last));
        let rest = mark.map_or(part, |mark| part.trim_end_matches(mark));
        shown.push_str(&gate::lines(rest));
        shown.extend(mark);
    }
    paint(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::show::Cell;

    #[test]
    fn a_line_has_our_colours_and_nothing_else_that_steers() {
        let colours = Style {
            colour: true,
            width: None,
        };
        let line = |style| format!("\u{1b}[2J{}\r\n", Cell::bad("no\u{9b}").marked(style));
        assert_eq!(
            painted_lines(&line(colours), colours),
            "\\u{1b}[2J\u{1b}[31mno\\u{9b}\u{1b}[0m\\r\n"
        );
        let plain = Style::default();
        assert_eq!(
            painted_lines(&line(plain), plain),
            "\\u{1b}[2Jno\\u{9b}\\r\n"
        );
        assert_eq!(painted_lines("\u{2062}a", plain), "\\u{2062}a");
    }
}
