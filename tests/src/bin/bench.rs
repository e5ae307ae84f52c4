//! `bench [--rows a,b] [--brokers millrace,kafka,kafka-fsync] [--repeats 3] [--scale 1.0] [--pinned] [--json FILE]`
//!
//! Prints one markdown table. `--list` names the rows; a name that ends in `*` stands for all that begin so, and
//! `cluster-*` are those of three nodes.

use anyhow::Context;
use millrace_tests::bench::report::Report;
use millrace_tests::bench::scenarios::{Bench, MEMORY, Row};
use millrace_tests::bench::{Options, Variant};
use millrace_tests::bench::{cluster, scenarios};

fn rows() -> impl Iterator<Item = &'static Row> {
    scenarios::ROWS.iter().chain(&cluster::ROWS)
}

/// The rows that the user named.
fn chosen(names: &str) -> anyhow::Result<Vec<String>> {
    let mut out = Vec::new();
    for name in names.split(',') {
        let before = out.len();
        let fits = |row: &str| name.strip_suffix('*').map_or(row == name, |start| row.starts_with(start));
        out.extend(rows().map(|(row, _)| (*row).to_owned()).filter(|row| fits(row)));
        anyhow::ensure!(out.len() > before, "unknown row {name}");
    }
    Ok(out)
}

fn main() -> anyhow::Result<()> {
    let mut options = Options {
        variants: vec![Variant::Millrace, Variant::Kafka, Variant::KafkaFsync],
        rows: rows().map(|(name, _)| (*name).to_owned()).filter(|name| name != MEMORY).collect(),
        repeats: 3,
        scale: 1.0,
        pinned: false,
    };
    let mut json = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--rows" => options.rows = chosen(&value()?)?,
            "--brokers" => options.variants = value()?.split(',').map(Variant::parse).collect::<Result<_, _>>()?,
            "--repeats" => options.repeats = value()?.parse()?,
            "--scale" => options.scale = value()?.parse()?,
            "--json" => json = Some(value()?),
            "--pinned" => options.pinned = true,
            "--list" => {
                rows().for_each(|(name, _)| println!("{name}"));
                return Ok(());
            }
            _ => anyhow::bail!("unknown argument {arg}"),
        }
    }
    let bench = run(options)?;
    println!("{}", bench.report.table(&bench.options));
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_string_pretty(&bench.report.json())?)?;
    }
    Ok(())
}

/// Brokers alternate inside each repeat, so that a change of the machine meets both.
fn run(options: Options) -> anyhow::Result<Bench> {
    let mut bench = Bench { options: options.clone(), report: Report::default() };
    for name in &options.rows {
        let (_, measure) = rows().find(|(n, _)| n == name).with_context(|| format!("unknown row {name}"))?;
        for repeat in 0..options.repeats {
            for variant in &options.variants {
                eprintln!("--- {name}, {}, {} of {}", variant.name(), repeat + 1, options.repeats);
                if let Err(e) = measure(&mut bench, *variant) {
                    bench.report.noisy.push(format!("{name} on {} failed: {e:#}", variant.name()));
                    eprintln!("{name} on {} failed: {e:#}", variant.name());
                }
            }
        }
    }
    Ok(bench)
}
