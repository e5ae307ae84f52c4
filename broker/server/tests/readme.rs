//! The table of APIs in the root README is what the API table says. With `MILLRACE_UPDATE_README` set it is written
//! instead of compared.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::PathBuf;

use millrace_broker::api::table::ROWS;

const BEGIN: &str = "<!-- apis -->\n";
const END: &str = "<!-- /apis -->\n";
/// APIs side by side in one line of the table.
const COLUMNS: usize = 3;

fn table() -> String {
    let mut out = String::new();
    writeln!(out, "|{}", " API | versions |".repeat(COLUMNS)).unwrap();
    writeln!(out, "|{}", "---|---|".repeat(COLUMNS)).unwrap();
    let lines = ROWS.len().div_ceil(COLUMNS);
    for line in 0..lines {
        out.push('|');
        for column in 0..COLUMNS {
            match ROWS.get(column * lines + line) {
                Some(row) => write!(out, " {} | {}–{} |", row.name, row.advertised_min(), row.max).unwrap(),
                None => out.push_str(" | |"),
            }
        }
        out.push('\n');
    }
    out
}

#[test]
fn the_readme_lists_the_apis_that_are_served() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md"));
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the README has a place for the table");
    let (old, after) = rest.split_once(END).expect("the table has an end");
    let new = table();
    if std::env::var_os("MILLRACE_UPDATE_README").is_some() {
        std::fs::write(&path, [before, BEGIN, &new, END, after].concat()).unwrap();
    } else {
        assert_eq!(old, new, "`make fix` brings the README up to date");
    }
}
