//! Tables without borders, as wide as the terminal: a row is a line. If there is no room, first whole columns go, by
//! their rank, then ends of text. Output for programs is whole.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement};
use unicode_width::UnicodeWidthStr;

use crate::cli::show::cell::{Cell, paint};
use crate::cli::show::{Style, short};

/// Spaces between columns.
const GAP: u16 = 2;
/// The fewest columns of a terminal for text that is cut or wrapped.
const CUT_LEAST: usize = 12;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    heading: &'static str,
    kind: Kind,
    /// Those with a higher rank are left out earlier; of rank 0 none is.
    rank: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Cut where there is not enough room.
    Text,
    /// Cut only as a last resort.
    Whole,
    /// Aligned right.
    Number,
    /// Ids of events or deliveries, shortened as far as they stay different.
    Id,
}

impl Column {
    /// Text that may be cut.
    pub(crate) const fn text(heading: &'static str) -> Self {
        Self::new(heading, Kind::Text)
    }

    /// A word, a name or a time.
    pub(crate) const fn whole(heading: &'static str) -> Self {
        Self::new(heading, Kind::Whole)
    }

    /// A number.
    pub(crate) const fn number(heading: &'static str) -> Self {
        Self::new(heading, Kind::Number)
    }

    /// An id of an event or a delivery.
    pub(crate) const fn id(heading: &'static str) -> Self {
        Self::new(heading, Kind::Id)
    }

    /// The same, left out where there is not enough room: those with the highest rank first.
    pub(crate) const fn ranked(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    const fn new(heading: &'static str, kind: Kind) -> Self {
        Self {
            heading,
            kind,
            rank: 0,
        }
    }
}

/// Rows below a heading.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Pairs of a name and a value, without headings. Long values are wrapped.
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
        if self.columns.is_empty() {
            return self.render_pairs(style);
        }
        let mut shown = self.clone();
        let mut header: Vec<_> = self.headings().collect();
        if let Some(width) = style.width {
            let widths = shown.fit(width.into());
            let cut = shown.headings().zip(widths);
            header = cut.map(|(cell, width)| cell.cut_to(width)).collect();
        }
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        table.set_header(header.iter().map(|cell| cell.marked(style)));
        for row in &shown.rows {
            table.add_row(row.iter().map(|cell| cell.marked(style)));
        }
        table.set_content_arrangement(ContentArrangement::Disabled);
        for (column, Column { kind, .. }) in table.column_iter_mut().zip(&shown.columns) {
            if *kind == Kind::Number {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        lines(&mut table)
    }

    fn render_pairs(&self, style: Style) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| cell.marked(style)));
        }
        table.set_content_arrangement(ContentArrangement::Disabled);
        let names = self.rows.iter().filter_map(|row| row.first());
        let names = names.map(Cell::width).max().unwrap_or(0);
        // Columns of a few characters cannot be read: then the terminal itself breaks the lines.
        let least = names + usize::from(GAP) + CUT_LEAST;
        if let Some(width) = style.width.filter(|width| usize::from(*width) >= least) {
            if let Some(column) = table.column_mut(0) {
                column.set_constraint(comfy_table::ColumnConstraint::ContentWidth);
            }
            table.set_width(width);
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        lines(&mut table)
    }

    fn headings(&self) -> impl Iterator<Item = Cell> {
        self.columns.iter().map(|column| Cell::from(column.heading))
    }

    /// Leaves out what has no room in lines of this width; answers how wide columns are at most.
    fn fit(&mut self, width: usize) -> Vec<usize> {
        let rows = std::mem::take(&mut self.rows).into_iter();
        self.rows = rows
            .map(|row| row.into_iter().map(Cell::narrowed).collect())
            .collect();
        self.shorten_ids();
        while self.least().iter().sum::<usize>() + self.gaps() > width {
            let ranked = self.columns.iter().enumerate();
            let last = ranked.max_by_key(|(_, column)| column.rank);
            let Some((index, Column { rank: 1.., .. })) = last else {
                break;
            };
            self.columns.remove(index);
            for row in &mut self.rows {
                row.remove(index);
            }
        }
        let room = width.saturating_sub(self.gaps());
        let widths = shares(&self.contents(), &self.least(), room);
        for row in &mut self.rows {
            let cells = std::mem::take(row).into_iter().zip(&widths);
            *row = cells.map(|(cell, width)| cell.cut_to(*width)).collect();
        }
        widths
    }

    fn shorten_ids(&mut self) {
        for (index, column) in self.columns.iter().enumerate() {
            if column.kind != Kind::Id {
                continue;
            }
            let cells = self.rows.iter().filter_map(|row| row.get(index));
            let short = short::ids(cells.map(Cell::text));
            for (row, id) in self.rows.iter_mut().zip(short) {
                if let Some(cell) = row.get_mut(index) {
                    *cell = cell.clone().shortened(&id);
                }
            }
        }
    }

    fn gaps(&self) -> usize {
        self.columns.len().saturating_sub(1) * usize::from(GAP)
    }

    /// The widths of columns in which nothing is cut.
    fn contents(&self) -> Vec<usize> {
        let columns = self.columns.iter().enumerate();
        let widths = columns.map(|(index, column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(index));
            let widest = cells.map(Cell::width).max().unwrap_or(0);
            widest.max(column.heading.width())
        });
        widths.collect()
    }

    /// The widths that columns need at least.
    fn least(&self) -> Vec<usize> {
        let columns = self.columns.iter().zip(self.contents());
        let least = columns.map(|(column, content)| match column.kind {
            Kind::Text => content.min(CUT_LEAST),
            Kind::Whole | Kind::Number | Kind::Id => content,
        });
        least.collect()
    }
}

/// How wide columns are that need `least` and would like `contents`, in `room`: what is left over goes in equal parts to those
/// that need more, and where even the least has no room, the widest give way.
fn shares(contents: &[usize], least: &[usize], room: usize) -> Vec<usize> {
    let mut widths = least.to_vec();
    let mut total: usize = widths.iter().sum();
    while total < room {
        let columns = widths.iter_mut().zip(contents);
        let wanting = columns.filter(|(width, content)| **width < **content);
        let Some((narrowest, _)) = wanting.min_by_key(|(width, _)| **width) else {
            break;
        };
        *narrowest += 1;
        total += 1;
    }
    while total > room {
        let Some(widest) = widths.iter_mut().max().filter(|width| **width > 1) else {
            break;
        };
        *widest -= 1;
        total -= 1;
    }
    widths
}

/// The lines of a table, painted, each with its end.
fn lines(table: &mut comfy_table::Table) -> String {
    let last = table.column_count().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { GAP }));
    }
    let mut shown = String::new();
    for line in table.lines() {
        shown.push_str(paint(&line).trim_end());
        shown.push('\n');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::whole("name"),
        Column::number("count").ranked(1),
        Column::text("what"),
    ];

    fn table() -> Table {
        let mut table = Table::new(&COLUMNS);
        table.row(vec![
            Cell::from("a"),
            Cell::from(1234),
            Cell::status("failed"),
        ]);
        table.row(vec![
            Cell::from("long-name"),
            Cell::alarming(0),
            Cell::from("one two three \u{1b}[2J"),
        ]);
        table
    }

    fn of_width(width: u16) -> Style {
        Style {
            colour: false,
            width: Some(width),
        }
    }

    #[test]
    fn columns_are_aligned_and_text_is_plain() {
        assert_eq!(
            table().render(Style::default()),
            "name       count  what\na          1,234  failed\nlong-name      0  one two three \\u{1b}[2J\n"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_text_before_it_leaves_out_columns() {
        assert_eq!(
            table().render(of_width(32)),
            "name       count  what\na          1,234  failed\nlong-name      0  one two three…\n"
        );
        assert_eq!(
            table().render(of_width(26)),
            "name       what\na          failed\nlong-name  one two three …\n"
        );
    }

    #[test]
    fn no_row_is_wider_than_the_terminal_however_narrow() {
        for width in 6..60 {
            let shown = table().render(of_width(width));
            let widest = shown.lines().map(UnicodeWidthStr::width).max().unwrap();
            assert!(widest <= width.into(), "{width}\n{shown}");
            assert_eq!(shown.lines().count(), 3, "{width}\n{shown}");
        }
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
            paint(&Cell::status("dead").marked(colours)),
            "\u{1b}[31mdead\u{1b}[0m"
        );
        assert_eq!(Cell::status("dead").marked(Style::default()), "dead");
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
