//! A cluster of three under fire: nothing that was acknowledged may be lost, moved, doubled or reordered, whatever is
//! killed, paused, cut off or filled up. `tests/src/checker/README.md` says what is judged.
//!
//! `MILLRACE_CHAOS_SEED` repeats a seed, `MILLRACE_CHAOS_FAULTS=kill,cut` chooses faults, `MILLRACE_CHAOS_SECONDS` the
//! length of each run, `MILLRACE_SOAK_MINUTES` repeats the mixed run with new seeds for so long. `PEER=kafka` tries the
//! test itself.
#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use millrace_tests::chaos::{Chaos, Kind, chaos};
use millrace_tests::cluster::{Net, Plan};
use millrace_tests::harness::Peer;

/// One cluster at a time: they would disturb each other's clocks, not each other's data.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
const DISK_MIB: u64 = 512;

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

/// The same faults in every short run, so that a change is what makes the difference; new ones in a long one.
fn seed() -> u64 {
    let new = number("MILLRACE_SOAK_MINUTES").is_some_and(|minutes| minutes > 0);
    let fallback = if new { rand::random_range(0..1_000_000) } else { 5 };
    number("MILLRACE_CHAOS_SEED").unwrap_or(fallback)
}

fn plan(kinds: &[Kind]) -> Plan {
    let mut plan = Plan::combined(Peer::from_env(), 3)
        .set("offsets.topic.num.partitions", "3")
        .set("replica.lag.time.max.ms", "4000");
    if plan.peer == Peer::Kafka {
        // Millrace finds a dead or silent broker faster than this by itself.
        plan = plan.set("broker.session.timeout.ms", "4000").set("broker.heartbeat.interval.ms", "500");
    }
    if kinds.iter().any(|kind| kind.needs_net()) {
        plan = plan.namespaces();
    }
    if kinds.contains(&Kind::Delay) {
        plan = plan.lines();
    }
    if kinds.contains(&Kind::Clock) {
        plan = plan.clocks();
    }
    if kinds.contains(&Kind::DiskFull) {
        plan = plan.ramdisk(DISK_MIB);
    }
    plan
}

/// The kinds that this machine can do.
fn possible(kinds: &[Kind]) -> Vec<Kind> {
    let root = Net::possible();
    let lines = Net::lines_possible();
    let fits = |kind: &Kind| match kind {
        Kind::Delay => lines,
        kind => root || !(kind.needs_net() || *kind == Kind::DiskFull),
    };
    if !root {
        eprintln!("cuts and full disks need root, ip and nft: left out");
    }
    if !lines {
        eprintln!("delays need that and /dev/net/tun: left out");
    }
    kinds.iter().copied().filter(fits).collect()
}

fn run(name: &str, kinds: &[Kind], seconds: u64, seed: u64) {
    let kinds = match std::env::var("MILLRACE_CHAOS_FAULTS") {
        Ok(names) => names.split(',').map(|name| Kind::parse(name).unwrap()).collect(),
        Err(_) => possible(kinds),
    };
    if kinds.is_empty() {
        return;
    }
    let length = Duration::from_secs(number("MILLRACE_CHAOS_SECONDS").unwrap_or(seconds));
    match chaos(&Chaos { name: name.to_owned(), plan: plan(&kinds), seed, kinds, length }) {
        Ok(summary) => eprintln!("{name}: {summary:?}"),
        Err(e) => panic!("{e:?}"),
    }
}

#[test]
fn kills() {
    let _alone = alone();
    run("kills", &[Kind::Kill, Kind::Massacre, Kind::Pause], 25, seed());
}

#[test]
fn cuts() {
    let _alone = alone();
    run("cuts", &[Kind::Isolate, Kind::Cut, Kind::Lose], 30, seed());
}

#[test]
fn restarts_and_reassignments() {
    let _alone = alone();
    run("moves", &[Kind::Restart, Kind::Reassign], 25, seed());
}

#[test]
fn clocks_and_delays() {
    let _alone = alone();
    run("clocks", &[Kind::Clock, Kind::Delay, Kind::Kill], 30, seed());
}

#[test]
fn disks() {
    let _alone = alone();
    run("disks", &[Kind::DiskFull], 15, seed());
}

#[test]
fn everything_mixed() {
    let _alone = alone();
    let kinds: Vec<Kind> = Kind::ALL.iter().map(|(_, kind)| *kind).filter(|k| *k != Kind::DiskSlow).collect();
    let limit = Duration::from_secs(60 * number("MILLRACE_SOAK_MINUTES").unwrap_or(0));
    let begin = Instant::now();
    run("mixed", &kinds, 40, seed());
    while begin.elapsed() < limit {
        run("mixed", &kinds, 120, seed());
        // A slow disk needs a real one.
        run("slow", &[Kind::DiskSlow, Kind::Kill, Kind::Restart], 60, seed());
    }
}
