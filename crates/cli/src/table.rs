//! Aligned columns without lines: easy to read, easy to cut.

use crate::words;
use comfy_table::{CellAlignment, ContentArrangement, Table as Grid, presets};
use std::fmt;

/// Rows under a header. A column named with a leading `>` is aligned to the right.
pub(crate) struct Table {
    grid: Grid,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let mut table = Self::facts();
        table.grid.set_header(columns.iter().map(|column| column.trim_start_matches('>')));
        for (at, column) in columns.iter().enumerate() {
            if let Some(shown) = table.grid.column_mut(at) {
                shown.set_padding((0, 2));
                if column.starts_with('>') {
                    shown.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        table
    }

    /// Names and values, without a header.
    pub(crate) fn facts() -> Self {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .force_no_tty();
        Self { grid }
    }

    /// Adds a row. Line ends and control characters are shown as escapes, so that a row stays a row.
    pub(crate) fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells = cells.into_iter().map(|cell| words::plain(cell.as_ref()).replace('\n', "\\n"));
        self.grid.add_row(cells.collect::<Vec<_>>());
        self.grid.column_iter_mut().for_each(|column| {
            column.set_padding((0, 2));
        });
    }
}

impl fmt::Display for Table {
    /// Every line ends with a line feed and without blanks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.grid.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_are_trimmed() {
        let mut table = Table::new(&["NAME", ">SIZE", "KIND"]);
        table.row(["a", "1 B", "index"]);
        table.row(["longer\nname", "170 MB", ""]);
        assert_eq!(
            table.to_string(),
            "NAME            SIZE  KIND\na                1 B  index\nlonger\\nname  170 MB\n"
        );
    }

    #[test]
    fn facts_have_no_header() {
        let mut table = Table::facts();
        table.row(["name", "x"]);
        table.row(["longer", "\u{1b}[1m"]);
        assert_eq!(table.to_string(), "name    x\nlonger  \\u{1b}[1m\n");
    }
}
