//! The suites of other people's clients: a broker is started for each, a script runs it and prints
//! `name TAB pass|fail|skip TAB detail`, and the lines are compared with a checked-in list.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::harness::{Broker, Peer, Spec, cache_dir, kafka_jars, repo_root};

/// One suite: its script is `tests/suites/NAME.sh`, its list `tests/suites/expected/NAME.tsv`.
pub struct Suite {
    pub name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    /// Some tests have the port in their text.
    port: Option<u16>,
    /// Whether Apache Kafka runs beside the broker under test.
    reference: bool,
}

const fn plain(name: &'static str) -> Suite {
    Suite { name, settings: &[], port: None, reference: false }
}

pub const SUITES: [Suite; 9] = [
    plain("kcat"),
    plain("python"),
    plain("kafkajs"),
    plain("kafka_go"),
    plain("tools"),
    Suite { settings: &[("num.partitions", "3")], port: Some(9092), ..plain("rdkafka") },
    Suite { settings: &[("auto.create.topics.enable", "false")], ..plain("rskafka") },
    Suite { settings: &[("num.partitions", "3")], ..plain("kgo") },
    Suite { reference: true, ..plain("conformance") },
];

/// The expected result of a test that a fast or slow machine decides.
const EITHER: &str = "either";

/// How a suite went.
pub struct Outcome {
    pub passed: usize,
    pub failed: Vec<String>,
    pub took: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    result: String,
    detail: String,
}

impl Suite {
    fn script(&self) -> PathBuf {
        repo_root().join(format!("tests/suites/{}.sh", self.name))
    }

    fn expected_file(&self) -> PathBuf {
        repo_root().join(format!("tests/suites/expected/{}.tsv", self.name))
    }

    /// Fetches and compiles what the suite needs.
    pub fn build(&self) -> anyhow::Result<()> {
        fs::create_dir_all(cache_dir())?;
        if matches!(self.name, "tools" | "conformance") {
            kafka_jars()?;
        }
        let done = Command::new("bash").arg(self.script()).arg("build").stdin(Stdio::null()).status()?;
        anyhow::ensure!(done.success(), "{} could not be built", self.name);
        Ok(())
    }

    /// Runs the suite against a fresh broker; `record` writes the list instead of comparing with it.
    pub fn run(&self, peer: Peer, record: bool) -> anyhow::Result<Outcome> {
        let start = Instant::now();
        let mut spec = Spec::new(peer)?;
        for (key, value) in self.settings {
            spec = spec.set(key, value);
        }
        if let Some(port) = self.port {
            spec.port = port;
        }
        let reference = self.reference.then(|| Broker::start(&Spec::new(Peer::Kafka)?)).transpose()?;
        let broker = Broker::start(&spec)?;
        let lines = self.lines(&broker, reference.as_ref())?;
        let mut failed = if record {
            self.write(&lines)?;
            Vec::new()
        } else if self.reference {
            // The conformance run has its own list of accepted differences.
            lines
                .iter()
                .filter(|(_, l)| l.result != "pass")
                .map(|(name, l)| format!("{name}\t{}\t{}", l.result, l.detail))
                .collect()
        } else {
            compare(&lines, &parse(&fs::read_to_string(self.expected_file()).context("no list of expected results")?))
        };
        failed.extend(broker.problems().into_iter().map(|p| format!("{}.log\tfail\t{}", self.name, p.0)));
        if let Err(e) = broker.stop()
            && failed.is_empty()
        {
            failed.push(format!("{}.stop\tfail\t{}", self.name, format!("{e:#}").replace('\n', " ")));
        }
        Ok(Outcome { passed: lines.len() - failed.len().min(lines.len()), failed, took: start.elapsed() })
    }

    fn lines(&self, broker: &Broker, reference: Option<&Broker>) -> anyhow::Result<BTreeMap<String, Line>> {
        let raw = broker.spec.dir.path().join("suite.log");
        let mut command = Command::new("bash");
        command
            .arg(self.script())
            .env("BROKERS", broker.addr())
            .env("RAW_LOG", &raw)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        if let Some(reference) = reference {
            command.env("REFERENCE_PORT", reference.port().to_string());
        }
        if broker.spec.peer == Peer::Kafka {
            command.env("PEER", "kafka");
        }
        let out = command.output()?;
        let lines = parse(&String::from_utf8_lossy(&out.stdout));
        let shown = fs::read_to_string(&raw).unwrap_or_default();
        if let Some(keep) = std::env::var_os("MILLRACE_SUITE_LOGS") {
            fs::create_dir_all(&keep)?;
            fs::write(PathBuf::from(&keep).join(format!("{}.log", self.name)), &shown)?;
            fs::write(PathBuf::from(&keep).join(format!("{}.tsv", self.name)), &out.stdout)?;
            fs::write(PathBuf::from(keep).join(format!("{}.broker.log", self.name)), broker.log_text())?;
        }
        anyhow::ensure!(!lines.is_empty(), "{} printed no line\n{}", self.name, last(&shown));
        Ok(lines)
    }

    fn write(&self, lines: &BTreeMap<String, Line>) -> anyhow::Result<()> {
        let old = parse(&fs::read_to_string(self.expected_file()).unwrap_or_default());
        let mut text = String::from("# name\tresult\treason, where it is not a pass\n");
        for (name, line) in lines {
            let kept = old.get(name).filter(|o| o.result == line.result || o.result == EITHER);
            let result = kept.map_or(line.result.as_str(), |o| o.result.as_str());
            let reason = kept.filter(|_| result != "pass").map_or("", |o| o.detail.as_str());
            text += &format!("{name}\t{result}\t{reason}\n");
        }
        Ok(fs::write(self.expected_file(), text)?)
    }
}

fn last(text: &str) -> &str {
    const SHOWN: usize = 2_000;
    let mut at = text.len().saturating_sub(SHOWN);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    &text[at..]
}

/// A name that appears more than once passes when all of its lines do.
fn parse(text: &str) -> BTreeMap<String, Line> {
    let mut out: BTreeMap<String, Line> = BTreeMap::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let mut cells = line.splitn(3, '\t');
        let (Some(name), Some(result)) = (cells.next(), cells.next()) else {
            continue;
        };
        let new = Line { result: result.to_owned(), detail: cells.next().unwrap_or("").to_owned() };
        let worse = out.get(name).is_none_or(|old| old.result == "pass");
        if worse {
            out.insert(name.to_owned(), new);
        }
    }
    out
}

/// A change of any result is a finding, a new skip as much as a failure.
fn compare(got: &BTreeMap<String, Line>, expected: &BTreeMap<String, Line>) -> Vec<String> {
    let mut out = Vec::new();
    for (name, line) in got {
        match expected.get(name) {
            Some(e) if e.result == line.result => {}
            // A test whose own text makes its result a matter of timing; it still has to run.
            Some(e) if e.result == EITHER && line.result != "skip" => {}
            Some(e) => out.push(format!("{name}\t{} instead of {}\t{}", line.result, e.result, line.detail)),
            None => out.push(format!("{name}\t{}, not in the list\t{}", line.result, line.detail)),
        }
    }
    out.extend(expected.keys().filter(|name| !got.contains_key(*name)).map(|name| format!("{name}\tdid not run\t")));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_is_a_finding() {
        let expected = parse("a\tpass\t\nb\tskip\tlater\nc\tpass\t\n");
        assert!(compare(&expected, &expected).is_empty());
        assert!(compare(&parse("a\tfail\t\n"), &parse("a\teither\ttiming\n")).is_empty());
        assert_eq!(compare(&parse("a\tskip\t\n"), &parse("a\teither\ttiming\n")).len(), 1);
        let got = parse("a\tskip\t\nb\tskip\t\nd\tpass\t\n");
        assert_eq!(
            compare(&got, &expected),
            ["a\tskip instead of pass\t", "d\tpass, not in the list\t", "c\tdid not run\t"]
        );
    }

    #[test]
    fn a_doubled_name_passes_only_as_a_whole() {
        assert_eq!(parse("a\tpass\t\na\tfail\tx\na\tpass\t\n")["a"].result, "fail");
    }
}
