//! The lines that a broker printed, and whether they give cause for concern.

/// A WARN or ERROR line that no test expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(pub String);

/// Judges log lines against the parts that a test expects.
pub struct LogScan<'a> {
    pub expected: &'a [String],
}

impl LogScan<'_> {
    /// Unexpected WARN and ERROR lines and panics, in order.
    pub fn problems(&self, text: &str) -> Vec<Problem> {
        text.lines()
            .filter(|line| is_alarming(line))
            .filter(|line| !self.expected.iter().any(|part| line.contains(part.as_str())))
            .map(|line| Problem(line.to_owned()))
            .collect()
    }
}

/// Levels stand as a word of their own near the start of a line; a panic says so anywhere.
fn is_alarming(line: &str) -> bool {
    const LEVEL_WORDS: usize = 6;
    let plain = strip_colour(line);
    plain.contains("panicked at")
        || plain
            .split_whitespace()
            .take(LEVEL_WORDS)
            .any(|word| matches!(word.trim_matches(|c: char| !c.is_ascii_alphabetic()), "WARN" | "ERROR" | "FATAL"))
}

fn strip_colour(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            for c in chars.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_levels_in_both_formats_and_panics() {
        let scan = LogScan { expected: &[] };
        let text = "2026-01-01T00:00:00Z  WARN log: slow\n\u{1b}[31mERROR\u{1b}[0m x\n[2026-01-01 00:00:00,1] ERROR y (k.S)\nthread 'main' panicked at src\n2026 INFO the WARNING is text";
        assert_eq!(scan.problems(text).len(), 4);
    }

    #[test]
    fn expected_parts_are_left_out() {
        let expected = vec!["slow".to_owned()];
        let scan = LogScan { expected: &expected };
        assert_eq!(scan.problems("x WARN slow disk\nx WARN other"), vec![Problem("x WARN other".into())]);
    }
}
