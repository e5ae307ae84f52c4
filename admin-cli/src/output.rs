//! Tables that are readable on a screen and easy to cut apart in a pipe.

use std::io::{self, Write};
use std::process::ExitCode;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};

/// A table of columns; those whose heading starts with `#` are numbers.
pub fn table(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(headings.iter().map(|h| h.trim_start_matches('#')));
    for row in rows {
        table.add_row(row.into_iter().zip(headings).map(|(text, heading)| {
            let cell = Cell::new(text);
            if heading.starts_with('#') { cell.set_alignment(CellAlignment::Right) } else { cell }
        }));
    }
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Numbers separated by commas.
pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(",")
}

/// Writes to standard output. A reader that has seen enough is no error.
pub fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millrace: cannot write: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_blanks() {
        let rows = vec![vec!["orders".into(), "12".into()], vec!["a".into(), "3".into()]];
        assert_eq!(
            table(&["TOPIC", "#PARTITIONS"], rows),
            "TOPIC   PARTITIONS\norders          12\na                3\n"
        );
    }
}
