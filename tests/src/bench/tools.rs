//! Kafka's own load tools, as users know them.

use std::process::{Command, Stdio};

use anyhow::Context;

use super::Options;
use crate::harness::kafka_jars;

fn java(options: &Options, class: &str, args: &[String]) -> anyhow::Result<String> {
    let libs = kafka_jars()?;
    let mut words: Vec<String> = Vec::new();
    if options.pinned {
        words.extend(["taskset", "-c", "1"].map(str::to_owned));
    }
    words.extend(["java".into(), "-Xmx512m".into(), "-cp".into(), format!("{}/*", libs.display()), class.to_owned()]);
    words.extend(args.iter().cloned());
    let out = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output().context("java")?;
    anyhow::ensure!(out.status.success(), "{class}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Returns MB (10⁶ bytes) per second as measured by the tool.
pub fn producer_performance(options: &Options, addr: &str, topic: &str, records: u64) -> anyhow::Result<f64> {
    let args = [
        "--bootstrap-server",
        addr,
        "--topic",
        topic,
        "--num-records",
        &records.to_string(),
        "--record-size",
        "1024",
        "--throughput",
        "-1",
        "--command-property",
        "acks=all",
        "linger.ms=5",
        "batch.size=131072",
    ];
    let text = java(options, "org.apache.kafka.tools.ProducerPerformance", &args.map(str::to_owned))?;
    let last = text.lines().rfind(|l| l.contains("records/sec")).context("no summary of ProducerPerformance")?;
    let per_second = last.split(',').find(|part| part.contains("records/sec")).context("no rate")?;
    let rate: f64 = per_second.trim().split(' ').next().context("no rate")?.parse()?;
    Ok(rate * 1024.0 / 1e6)
}

/// Returns MB (10⁶ bytes) per second as measured by the tool.
pub fn consumer_performance(options: &Options, addr: &str, topic: &str, records: u64) -> anyhow::Result<f64> {
    let args =
        ["--bootstrap-server", addr, "--topic", topic, "--num-records", &records.to_string(), "--timeout", "60000"];
    let text = java(options, "org.apache.kafka.tools.ConsumerPerformance", &args.map(str::to_owned))?;
    let last = text.lines().rfind(|l| !l.trim().is_empty()).context("no summary of ConsumerPerformance")?;
    let mib: f64 = last.split(',').nth(3).context("no rate")?.trim().parse()?;
    Ok(mib * 1024.0 * 1024.0 / 1e6)
}
