//! What happened, in words, for whoever looks into a failing seed.

use std::fmt;

/// Lines that are kept; a run that fails is cut off at the failure, so the last ones matter.
const LINES_MAX: usize = 200_000;

/// Writes lines down if somebody wants them.
#[derive(Debug, Default)]
pub struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    pub fn new(wanted: bool) -> Trace {
        Trace { lines: wanted.then(Vec::new) }
    }

    pub fn is_wanted(&self) -> bool {
        self.lines.is_some()
    }

    /// Notes what happened at `now_us`.
    pub fn note(&mut self, now_us: u64, text: fmt::Arguments<'_>) {
        if let Some(lines) = &mut self.lines
            && lines.len() < LINES_MAX
        {
            lines.push(format!("{:>6}.{:03} {text}", now_us / 1000, now_us % 1000));
        }
    }

    pub fn take(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}
