//! One run: a cluster, its clients, faults until the time is over, and the verdict.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use super::faults::{Struck, heal, strike};
use super::final_read::{ends, read_log, rotate};
use super::load::{Cx, Load, Running};
use super::schedule::{Kind, Schedule, Step};
use crate::checker::{History, Read, check, report};
use crate::cluster::{Cluster, Plan};
use crate::raw::Conn;

const TOPIC: &str = "chaos";
pub const PARTITIONS: i32 = 4;
/// How long producers may wait for an acknowledgement once all nodes are back.
const PROGRESS_LIMIT: Duration = Duration::from_secs(60);
const SYNC_LIMIT: Duration = Duration::from_secs(120);

/// What a run is made of.
pub struct Chaos {
    pub name: String,
    pub plan: Plan,
    pub seed: u64,
    pub kinds: Vec<Kind>,
    pub length: Duration,
}

/// What a run was.
#[derive(Debug)]
pub struct Summary {
    pub rounds: usize,
    pub sent: usize,
    pub acknowledged: usize,
    pub read: usize,
    pub commits: usize,
    /// Longest wait for an acknowledgement after everything was healed.
    pub slowest: Duration,
}

/// Runs it. The error names the seed and the folder with the logs.
pub fn chaos(chaos: &Chaos) -> anyhow::Result<Summary> {
    eprintln!("=== {}: MILLRACE_CHAOS_SEED={} for {:?}, {:?}", chaos.name, chaos.seed, chaos.length, chaos.kinds);
    let mut cluster = Cluster::start(&chaos.plan)?;
    let mut story = Story::default();
    let outcome = faults_and_verdict(chaos, &mut cluster, &mut story);
    outcome.map_err(|e| {
        let kept =
            keep(chaos, &mut cluster, &story, &e).map_or_else(|e| e.to_string(), |dir| dir.display().to_string());
        anyhow::anyhow!("{} with MILLRACE_CHAOS_SEED={} (logs in {kept}): {e:#}", chaos.name, chaos.seed)
    })
}

/// What happened when, for the reader of a failure.
#[derive(Default)]
struct Story(Vec<String>);

impl Story {
    fn tell(&mut self, cx: &Cx, what: String) {
        let line = format!("{:8.3} {what}", cx.since().as_secs_f64());
        eprintln!("{line}");
        self.0.push(line);
    }
}

fn faults_and_verdict(chaos: &Chaos, cluster: &mut Cluster, story: &mut Story) -> anyhow::Result<Summary> {
    // Everything is read in the end, so nothing may grow too old.
    cluster.create_topic(TOPIC, PARTITIONS, 3, &[("min.insync.replicas", "2"), ("retention.ms", "-1")])?;
    let addrs: BTreeMap<_, _> = cluster.brokers().into_iter().map(|id| (id, cluster.addr(id))).collect();
    let cx = Cx::new(&Load::new(TOPIC, PARTITIONS), addrs);
    let running = Running::start(&cx);
    let worked = rounds(chaos, cluster, story, &running);
    // Whatever went wrong, clients end; a failed run has no verdict.
    let finished = running.finish(|| match &worked {
        Ok(_) => ends(|id| reach(cluster, id), TOPIC),
        Err(_) => Ok(vec![-1; PARTITIONS as usize]),
    });
    let (rounds, slowest) = worked?;
    let mut history = finished?;
    history.log = read_log(|id| reach(cluster, id), TOPIC)?;
    second_read(cluster, &cx, &mut history)?;
    let violations = check(&history);
    anyhow::ensure!(violations.is_empty(), "{} violations\n{}", violations.len(), report(&violations));
    let complaints = cx.complaints.lock().unwrap_or_else(|e| e.into_inner()).clone();
    anyhow::ensure!(complaints.is_empty(), "clients complain:\n{}", complaints.join("\n"));
    let mut alarms = cluster.alarms();
    if chaos.kinds.contains(&Kind::DiskFull) {
        const EXPECTED: [&str; 4] = ["disk full", "no space left", "No space left", "os error 28"];
        alarms.retain(|line| !EXPECTED.iter().any(|part| line.contains(part)));
    }
    anyhow::ensure!(alarms.is_empty(), "nodes printed:\n{}", alarms.join("\n"));
    Ok(Summary {
        rounds,
        slowest,
        sent: history.sends.len(),
        acknowledged: history.acknowledged(),
        read: history.reads.len(),
        commits: history.commits.len(),
    })
}

/// A broker by its id, any by −1.
fn reach(cluster: &Cluster, id: i32) -> anyhow::Result<Conn> {
    cluster.connect(if id < 0 { cluster.brokers()[0] } else { id })
}

/// The same log again from other replicas: it counts as one more reader.
fn second_read(cluster: &mut Cluster, cx: &Cx, history: &mut History) -> anyhow::Result<()> {
    rotate(cluster, TOPIC)?;
    let again = read_log(|id| reach(cluster, id), TOPIC)?;
    anyhow::ensure!(
        again.len() == history.log.len(),
        "one replica has {} records and another {}",
        history.log.len(),
        again.len()
    );
    let session = cx.session();
    history.reads.extend(again.iter().map(|l| Read { session, at: l.at, epoch: Some(l.epoch) }));
    Ok(())
}

fn rounds(
    chaos: &Chaos,
    cluster: &mut Cluster,
    story: &mut Story,
    running: &Running,
) -> anyhow::Result<(usize, Duration)> {
    let begin = Instant::now();
    let cx = &running.cx;
    let (mut count, mut slowest) = (0, running.wait_progress(PROGRESS_LIMIT)?);
    for step in Schedule::new(chaos.seed, &chaos.kinds, PARTITIONS) {
        if begin.elapsed() > chaos.length {
            break;
        }
        let struck = round(cluster, story, cx, &step)?;
        story.tell(cx, format!("round {count}: heal"));
        heal(cluster, TOPIC, &struck)?;
        let waited = running.wait_progress(PROGRESS_LIMIT).map_err(|e| e.context(cluster.logs()))?;
        slowest = slowest.max(waited);
        if step.settle {
            cluster.wait_in_sync(TOPIC, SYNC_LIMIT)?;
        }
        let acknowledged = cx.acknowledged.load(std::sync::atomic::Ordering::Relaxed);
        story.tell(cx, format!("round {count}: well again after {waited:?}, {acknowledged} acknowledged"));
        count += 1;
        std::thread::sleep(step.rest);
    }
    cluster.wait_whole(SYNC_LIMIT)?;
    cluster.wait_in_sync(TOPIC, SYNC_LIMIT)?;
    Ok((count, slowest))
}

fn round(cluster: &mut Cluster, story: &mut Story, cx: &Cx, step: &Step) -> anyhow::Result<Vec<Struck>> {
    let mut struck = Vec::new();
    for fault in std::iter::once(&step.first).chain(&step.second) {
        match strike(cluster, TOPIC, fault)? {
            Some(met) => {
                story.tell(cx, format!("{fault:?} met {:?} for {:?}", met.nodes, step.hold));
                struck.push(met);
            }
            None => story.tell(cx, format!("{fault:?} met nobody")),
        }
        std::thread::sleep(step.hold);
    }
    Ok(struck)
}

/// Copies what helps to understand a failure out of the folder that is about to vanish.
fn keep(
    chaos: &Chaos,
    cluster: &mut Cluster,
    story: &Story,
    error: &anyhow::Error,
) -> anyhow::Result<std::path::PathBuf> {
    let dir = std::env::temp_dir().join(format!("millrace-chaos-{}-{}", chaos.name, chaos.seed));
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("story.txt"), format!("{}\n\n{error:#}\n", story.0.join("\n")))?;
    for id in cluster.ids() {
        let from = cluster.spec(id).dir.path().to_owned();
        for name in ["stdout.log", "stderr.log"] {
            fs::copy(from.join(name), dir.join(format!("node-{id}-{name}")))?;
        }
    }
    Ok(dir)
}
