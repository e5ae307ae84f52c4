//! The suites of other people's clients: a broker, or a cluster of three, is started for each, a script runs it and
//! prints `name TAB pass|fail|skip TAB detail`, and the lines are compared with a checked-in list.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::cluster::{Cluster, Plan};
use crate::harness::{Broker, Peer, Spec, cache_dir, kafka_jars, repo_root};

/// What the suites run against, and what is done with the results.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    pub peer: Peer,
    /// Write the lists instead of comparing with them.
    pub record: bool,
    /// Three brokers with replication factor 3 instead of one.
    pub cluster: bool,
    /// kgo cuts its own connections every second or so.
    pub chaos: bool,
}

/// One suite: its script is `tests/suites/NAME.sh`, its list `tests/suites/expected/NAME.tsv`, and for a cluster
/// `tests/suites/expected/cluster/NAME.tsv`.
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

    /// Whether the suite says anything about a cluster: the conformance run compares single nodes.
    pub fn fits(&self, mode: Mode) -> bool {
        !(mode.cluster && self.reference)
    }

    fn expected_file(&self, mode: Mode) -> PathBuf {
        let dir = if mode.cluster { "expected/cluster" } else { "expected" };
        repo_root().join(format!("tests/suites/{dir}/{}.tsv", self.name))
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

    /// Runs the suite against a fresh broker or cluster.
    pub fn run(&self, mode: Mode) -> anyhow::Result<Outcome> {
        let start = Instant::now();
        let reference = self.reference.then(|| Broker::start(&Spec::new(Peer::Kafka)?)).transpose()?;
        let mut served = self.serve(mode)?;
        let lines = self.lines(&served, mode, reference.as_ref())?;
        let mut failed = if mode.record {
            self.write(&lines, mode)?;
            Vec::new()
        } else if self.reference {
            // The conformance run has its own list of accepted differences.
            lines
                .iter()
                .filter(|(_, l)| l.result != "pass")
                .map(|(name, l)| format!("{name}\t{}\t{}", l.result, l.detail))
                .collect()
        } else {
            let list = fs::read_to_string(self.expected_file(mode)).context("no list of expected results")?;
            compare(&lines, &parse(&list))
        };
        failed.extend(served.problems().into_iter().map(|p| format!("{}.log\tfail\t{p}", self.name)));
        if let Err(e) = served.stop()
            && failed.is_empty()
        {
            failed.push(format!("{}.stop\tfail\t{}", self.name, format!("{e:#}").replace('\n', " ")));
        }
        Ok(Outcome { passed: lines.len() - failed.len().min(lines.len()), failed, took: start.elapsed() })
    }

    fn serve(&self, mode: Mode) -> anyhow::Result<Served> {
        const BROKERS: i32 = 3;
        if mode.cluster {
            let plan = self.settings.iter().fold(Plan::combined(mode.peer, BROKERS), |plan, (k, v)| plan.set(k, v));
            return Ok(Served::Three(Box::new(Cluster::start(&plan)?)));
        }
        let mut spec = self.settings.iter().fold(Spec::new(mode.peer)?, |spec, (k, v)| spec.set(k, v));
        if let Some(port) = self.port {
            spec.port = port;
        }
        Ok(Served::One(Box::new(Broker::start(&spec)?)))
    }

    fn lines(&self, served: &Served, mode: Mode, reference: Option<&Broker>) -> anyhow::Result<BTreeMap<String, Line>> {
        let raw = served.dir().join("suite.log");
        let mut command = Command::new("bash");
        command
            .arg(self.script())
            .env("BROKERS", served.bootstrap())
            .env("RAW_LOG", &raw)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        if mode.cluster {
            command.env("RF", "3").env("IDS", "1,2,3");
        }
        if mode.chaos {
            command.env("KGO_TEST_CHAOS", "1");
        }
        if let Some(reference) = reference {
            command.env("REFERENCE_PORT", reference.port().to_string());
        }
        if mode.peer == Peer::Kafka {
            command.env("PEER", "kafka");
        }
        let out = command.output()?;
        let lines = parse(&String::from_utf8_lossy(&out.stdout));
        let shown = fs::read_to_string(&raw).unwrap_or_default();
        if let Some(keep) = std::env::var_os("MILLRACE_SUITE_LOGS") {
            fs::create_dir_all(&keep)?;
            fs::write(PathBuf::from(&keep).join(format!("{}.log", self.name)), &shown)?;
            fs::write(PathBuf::from(&keep).join(format!("{}.tsv", self.name)), &out.stdout)?;
            fs::write(PathBuf::from(keep).join(format!("{}.broker.log", self.name)), served.log_text())?;
        }
        anyhow::ensure!(!lines.is_empty(), "{} printed no line\n{}", self.name, last(&shown));
        Ok(lines)
    }

    fn write(&self, lines: &BTreeMap<String, Line>, mode: Mode) -> anyhow::Result<()> {
        let old = parse(&fs::read_to_string(self.expected_file(mode)).unwrap_or_default());
        let mut text = String::from("# name\tresult\treason, where it is not a pass\n");
        for (name, line) in lines {
            let kept = old.get(name).filter(|o| o.result == line.result || o.result == EITHER);
            let result = kept.map_or(line.result.as_str(), |o| o.result.as_str());
            let reason = kept.filter(|_| result != "pass").map_or("", |o| o.detail.as_str());
            text += &format!("{name}\t{result}\t{reason}\n");
        }
        Ok(fs::write(self.expected_file(mode), text)?)
    }
}

/// What serves a suite.
enum Served {
    One(Box<Broker>),
    Three(Box<Cluster>),
}

impl Served {
    fn bootstrap(&self) -> String {
        match self {
            Served::One(broker) => broker.addr(),
            Served::Three(cluster) => cluster.bootstrap(),
        }
    }

    fn dir(&self) -> PathBuf {
        match self {
            Served::One(broker) => broker.spec.dir.path().to_owned(),
            Served::Three(cluster) => cluster.spec(1).dir.path().to_owned(),
        }
    }

    fn log_text(&self) -> String {
        match self {
            Served::One(broker) => broker.log_text(),
            Served::Three(cluster) => cluster.log_texts(),
        }
    }

    /// Lines of the log that no suite explains. Nothing happens to a cluster here, so it has no reason to warn either.
    fn problems(&mut self) -> Vec<String> {
        match self {
            Served::One(broker) => broker.problems().into_iter().map(|p| p.0).collect(),
            Served::Three(cluster) => {
                let ended = cluster.fail_if_dead().err().map(|e| format!("{e:#}").replace('\n', " "));
                ended.into_iter().chain(cluster.alarms()).collect()
            }
        }
    }

    fn stop(self) -> anyhow::Result<()> {
        match self {
            Served::One(broker) => broker.stop().map(|_| ()),
            Served::Three(mut cluster) => cluster.ids().into_iter().try_for_each(|id| cluster.stop(id).map(|_| ())),
        }
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
