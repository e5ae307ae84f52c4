//! A rolling upgrade under load: the previous commit's program to this one, node by node, and back again while both
//! versions still run together. `tests/previous.sh` builds the older program; `MILLRACE_PREVIOUS_BROKER` names another.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use millrace_tests::chaos::{Cx, Load, Running, ends, read_log};
use millrace_tests::checker::{check, report};
use millrace_tests::cluster::{Cluster, Plan};
use millrace_tests::harness::{Peer, cache_dir, repo_root};
use millrace_tests::raw::Conn;

const TOPIC: &str = "upgrade";
const PARTITIONS: i32 = 4;
const LIMIT: Duration = Duration::from_secs(90);

fn previous() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("MILLRACE_PREVIOUS_BROKER") {
        return Some(PathBuf::from(path));
    }
    let out = Command::new("git")
        .args(["rev-parse", "--verify", "--quiet", "HEAD~1^{commit}"])
        .current_dir(repo_root())
        .output()
        .ok()?;
    let commit = String::from_utf8(out.stdout).ok()?;
    let path = cache_dir().join("previous").join(commit.trim()).join("millrace-broker");
    path.exists().then_some(path)
}

fn reach(cluster: &Cluster, id: i32) -> anyhow::Result<Conn> {
    cluster.connect(if id < 0 { cluster.brokers()[0] } else { id })
}

#[test]
fn a_rolling_upgrade_under_load_loses_nothing() -> anyhow::Result<()> {
    let Some(previous) = previous() else {
        eprintln!("skipped: the previous commit's broker is not built (tests/previous.sh)");
        return Ok(());
    };
    let plan = Plan::combined(Peer::Millrace, 3).set("offsets.topic.num.partitions", "3").binary(&previous);
    let mut cluster = Cluster::start(&plan)?;
    cluster.create_topic(TOPIC, PARTITIONS, 3, &[("retention.ms", "-1")])?;
    let addrs = cluster.brokers().into_iter().map(|id| (id, cluster.addr(id))).collect();
    let cx = Cx::new(&Load::new(TOPIC, PARTITIONS), addrs);
    let running = Running::start(&cx);
    running.wait_progress(LIMIT)?;
    let ids = cluster.ids();
    // The first goes up, back and up again: a mixed cluster must let an upgrade be taken back.
    let steps = [(ids[0], None), (ids[0], Some(previous)), (ids[0], None), (ids[1], None), (ids[2], None)];
    for (id, binary) in steps {
        eprintln!("node {id} to {}", binary.as_ref().map_or("this version", |_| "the previous version"));
        cluster.spec_mut(id)?.binary = binary;
        cluster.restart(id)?;
        cluster.wait_in_sync(TOPIC, LIMIT)?;
        running.wait_progress(LIMIT)?;
    }
    let mut history = running.finish(|| ends(|id| reach(&cluster, id), TOPIC))?;
    history.log = read_log(|id| reach(&cluster, id), TOPIC)?;
    let violations = check(&history);
    assert!(violations.is_empty(), "{} violations\n{}", violations.len(), report(&violations));
    assert_eq!(cx.complaints.lock().unwrap().clone(), Vec::<String>::new());
    assert_eq!(cluster.alarms(), Vec::<String>::new());
    eprintln!("{} acknowledged, {} reads", history.acknowledged(), history.reads.len());
    Ok(())
}
