//! Figures by row and broker, and the table made of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Options, Variant};

/// All figures of a run, in the order in which rows first appeared.
#[derive(Default)]
pub struct Report {
    order: Vec<String>,
    values: BTreeMap<(String, Variant), Vec<f64>>,
    /// Measurements during which something else used the machine.
    pub noisy: Vec<String>,
}

impl Report {
    /// Adds one measurement of a row; names carry their unit.
    pub fn add(&mut self, row: &str, variant: Variant, value: f64) {
        if !self.order.iter().any(|r| r == row) {
            self.order.push(row.to_owned());
        }
        self.values.entry((row.to_owned(), variant)).or_default().push(value);
        eprintln!("{row} | {} | {}", variant.name(), figure(value));
    }

    /// One markdown table: median (smallest–largest) of each broker, and Millrace over Kafka.
    pub fn table(&self, options: &Options) -> String {
        let mut out = String::from("| figure |");
        for v in &options.variants {
            out += &format!(" {} |", v.name());
        }
        out += " millrace / kafka |\n|---|";
        out += &"---|".repeat(options.variants.len() + 1);
        for row in &self.order {
            out += &format!("\n| {row} |");
            for v in &options.variants {
                out += &self.values.get(&(row.clone(), *v)).map_or(" |".to_owned(), |x| format!(" {} |", cell(x)));
            }
            out += &self.ratio(row).map_or(" |".to_owned(), |r| format!(" {r:.2} × |"));
        }
        for line in &self.noisy {
            out += &format!("\n\nNoisy: {line}");
        }
        out
    }

    fn ratio(&self, row: &str) -> Option<f64> {
        let ours = self.values.get(&(row.to_owned(), Variant::Millrace))?;
        let theirs = self.values.get(&(row.to_owned(), Variant::Kafka))?;
        let theirs = median(theirs);
        (theirs != 0.0).then(|| median(ours) / theirs)
    }

    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .values
            .iter()
            .map(|((row, v), x)| json!({ "row": row, "broker": v.name(), "median": median(x), "values": x }))
            .collect();
        json!({ "rows": rows, "noisy": self.noisy })
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

fn cell(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match values.len() {
        1 => figure(values[0]),
        _ => format!("{} ({}–{})", figure(median(values)), figure(low), figure(high)),
    }
}

/// Three significant digits.
fn figure(value: f64) -> String {
    match value.abs() {
        x if x >= 100.0 => format!("{value:.0}"),
        x if x >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_cells() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(cell(&[100.4, 50.0, 200.0]), "100 (50.0–200)");
    }
}
