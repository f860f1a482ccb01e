//! Tables for people.

use std::io::{self, Write};

use super::output::Safe;

/// How a cell stands out, where colours are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Dim,
    Bad,
}

/// Rows of cells under a header, in columns as wide as they must be.
pub(super) struct Table {
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    pub(super) fn new(header: &[&str]) -> Table {
        Table { rows: vec![header.iter().map(|cell| ((*cell).into(), Tone::Plain)).collect()] }
    }

    /// Adds a row. Control characters in it are made visible.
    pub(super) fn row(&mut self, cells: &[(&str, Tone)]) {
        let safe = |(text, tone): &(&str, Tone)| (Safe(text).to_string(), *tone);
        self.rows.push(cells.iter().map(safe).collect());
    }

    pub(super) fn write(&self, out: &mut impl Write, colour: bool) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|(text, _): &(String, Tone)| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut gap = 0;
            for ((text, tone), width) in row.iter().zip(&widths) {
                // Written before the next cell, so that no line ends in blanks.
                write!(out, "{:gap$}", "")?;
                write_toned(out, text, *tone, colour)?;
                gap = width - text.chars().count() + 2;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

fn write_toned(out: &mut impl Write, text: &str, tone: Tone, colour: bool) -> io::Result<()> {
    let code = match tone {
        Tone::Good => "32",
        Tone::Dim => "2",
        Tone::Bad => "31",
        Tone::Plain => return out.write_all(text.as_bytes()),
    };
    if colour { write!(out, "\x1b[{code}m{text}\x1b[0m") } else { out.write_all(text.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_foreign_text_stays_text() {
        let mut table = Table::new(&["ADDRESS", "HOST"]);
        table.row(&[("10.0.0.1", Tone::Good), ("a\x1b]0;x\x07\nb", Tone::Plain)]);
        table.row(&[("10.0.0.100", Tone::Plain), ("", Tone::Plain)]);
        let text = |colour| {
            let mut out = Vec::new();
            table.write(&mut out, colour).unwrap();
            String::from_utf8(out).unwrap()
        };
        let want = "ADDRESS     HOST\n10.0.0.1    a\\x1b]0;x\\x07\\nb\n10.0.0.100  \n";
        assert_eq!(text(false), want);
        assert!(text(true).contains("\x1b[32m10.0.0.1\x1b[0m    a"));
    }
}
