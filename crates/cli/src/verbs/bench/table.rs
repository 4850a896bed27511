//! Tables as text and as Markdown.

/// Rows under a heading.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) heading: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heading: &[&str]) -> Self {
        Self { heading: heading.iter().map(|&word| word.to_owned()).collect(), rows: Vec::new() }
    }

    /// Columns that line up, for a terminal.
    pub(super) fn to_text(&self) -> String {
        let lines: Vec<_> = std::iter::once(&self.heading).chain(&self.rows).collect();
        let width = |column: usize| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.heading.len()).map(width).collect();
        let line = |cells: &Vec<String>| {
            let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        lines.into_iter().map(line).collect()
    }

    pub(super) fn to_markdown(&self) -> String {
        // A bar in a cell would begin another.
        let line = |cells: &Vec<String>| format!("| {} |\n", cells.join(" | ").replace('\n', " "));
        let escaped = |cells: &Vec<String>| cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>();
        let rule = format!("|{}\n", "---|".repeat(self.heading.len()));
        let rows: String = self.rows.iter().map(|row| line(&escaped(row))).collect();
        line(&escaped(&self.heading)) + &rule + &rows
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    fn table() -> Table {
        let mut table = Table::new(&["", "ours"]);
        table.rows.push(vec!["a long name".to_owned(), "1".to_owned()]);
        table.rows.push(vec!["x".to_owned(), "failed: a | b".to_owned()]);
        table
    }

    #[test]
    fn text_lines_up() {
        assert_eq!(table().to_text(), "             ours\na long name  1\nx            failed: a | b\n");
    }

    #[test]
    fn markdown_keeps_cells_apart() {
        let expected = "|  | ours |\n|---|---|\n| a long name | 1 |\n| x | failed: a \\| b |\n";
        assert_eq!(table().to_markdown(), expected);
    }
}
