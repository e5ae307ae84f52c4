//! A rolling upgrade under load: an earlier commit's program to this one, node by node, and back again while both
//! versions still run together; then the level is raised that only this one knows, and there is no way back.
//! `tests/previous.sh` builds the older program, `MILLRACE_PREVIOUS_BROKER` names it.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use millrace_tests::chaos::{Cx, Load, Running, ends, read_log};
use millrace_tests::checker::{check, report};
use millrace_tests::cluster::{Cluster, Plan};
use millrace_tests::harness::Peer;
use millrace_tests::raw::Conn;

const TOPIC: &str = "upgrade";
const PARTITIONS: i32 = 4;
const LIMIT: Duration = Duration::from_secs(90);
/// Millrace's own feature, which gates its own records.
const FEATURE: &str = "millrace.version";
const INVALID_UPDATE_VERSION: i16 = 95;

fn previous() -> Option<PathBuf> {
    let path = std::env::var_os("MILLRACE_PREVIOUS_BROKER").filter(|path| !path.is_empty())?;
    let path = PathBuf::from(path);
    assert!(path.exists(), "MILLRACE_PREVIOUS_BROKER={} does not exist", path.display());
    Some(path)
}

fn reach(cluster: &Cluster, id: i32) -> anyhow::Result<Conn> {
    cluster.connect(if id < 0 { cluster.brokers()[0] } else { id })
}

/// Raises the level as far as this software knows it; `None` if that is done.
fn raise(cluster: &Cluster, id: i32) -> anyhow::Result<Option<String>> {
    let mut conn = cluster.connect(id)?;
    let level = conn.levels()?.highest(FEATURE);
    let (error, why) = conn.update_feature(FEATURE, level)?;
    anyhow::ensure!(error == 0 || error == INVALID_UPDATE_VERSION, "{FEATURE}={level}: error {error} ({why})");
    Ok((error != 0).then_some(why))
}

#[test]
fn a_rolling_upgrade_under_load_loses_nothing() -> anyhow::Result<()> {
    let Some(previous) = previous() else {
        eprintln!("skipped: make upgrade builds an earlier commit's broker and names it in MILLRACE_PREVIOUS_BROKER");
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
    let before = cluster.connect(ids[0])?.levels()?;
    // The first goes up, back and up again: a mixed cluster must let an upgrade be taken back.
    let steps = [(ids[0], None), (ids[0], Some(&previous)), (ids[0], None), (ids[1], None), (ids[2], None)];
    for (id, binary) in steps {
        eprintln!("node {id} to {}", binary.map_or("this version", |_| "the previous version"));
        cluster.spec_mut(id)?.binary = binary.cloned();
        cluster.restart(id)?;
        cluster.wait_in_sync(TOPIC, LIMIT)?;
        running.wait_progress(LIMIT)?;
        let levels = cluster.connect(id)?.levels()?;
        assert_eq!(levels.finalized, before.finalized, "nobody said so");
        if levels.highest(FEATURE) > before.highest(FEATURE) && id != ids[2] {
            let why = raise(&cluster, id)?.expect("a level that a node does not support");
            eprintln!("refused: {why}");
        }
    }
    let known = cluster.connect(ids[0])?.levels()?.highest(FEATURE);
    assert_eq!(raise(&cluster, ids[0])?, None);
    for id in &ids {
        cluster.wait("the level everywhere", LIMIT, |cluster| {
            Ok((cluster.connect(*id)?.levels()?.now(FEATURE) == known).then_some(()))
        })?;
    }
    if known > before.highest(FEATURE) {
        cluster.stop(ids[0])?;
        cluster.spec_mut(ids[0])?.binary = Some(previous);
        let printed = cluster.refused(ids[0], LIMIT)?;
        eprintln!("{}", printed.lines().last().unwrap_or_default());
        cluster.spec_mut(ids[0])?.binary = None;
        cluster.start_node(ids[0])?;
        cluster.wait_in_sync(TOPIC, LIMIT)?;
    }
    running.wait_progress(LIMIT)?;
    let mut history = running.finish(|| ends(|id| reach(&cluster, id), TOPIC))?;
    history.log = read_log(|id| reach(&cluster, id), TOPIC)?;
    let violations = check(&history);
    assert!(violations.is_empty(), "{} violations\n{}", violations.len(), report(&violations));
    assert_eq!(cx.complaints.lock().unwrap().clone(), Vec::<String>::new());
    assert_eq!(cluster.alarms(), Vec::<String>::new());
    let (acknowledged, reads, commits) = (history.acknowledged(), history.reads.len(), history.commits.len());
    eprintln!(
        "{FEATURE} {} to {known}; {acknowledged} acknowledged, {reads} reads, {commits} commits",
        before.now(FEATURE)
    );
    Ok(())
}
