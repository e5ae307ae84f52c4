//! Three nodes on one machine: what the harness does to them, and that they come back. `PEER=kafka` tries the test.
#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use millrace_tests::bench::load::ready_batch;
use millrace_tests::chaos::{Cx, Load, Running, ends, read_log};
use millrace_tests::checker::{check, report};
use millrace_tests::cluster::{Cluster, Net, Plan, Plane};
use millrace_tests::harness::Peer;
use millrace_tests::raw::ProducePart;

const TOPIC: &str = "cluster";
const LIMIT: Duration = Duration::from_secs(60);
/// Four clusters at a time would measure the machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner())
}

/// Produces to the leader of partition 0 until it is acknowledged.
fn produce(cluster: &mut Cluster) -> anyhow::Result<i64> {
    let batch = ready_batch(100, 100);
    let mut turn = 0;
    cluster.wait("an acknowledged record", LIMIT, |cluster| {
        // As a client does that is not served: a broker that is cut off from the others may name an old leader.
        turn += 1;
        let asked = cluster.brokers()[turn % cluster.brokers().len()];
        let views = cluster.connect(asked).and_then(|mut conn| conn.partitions(TOPIC));
        let leader = views.map(|views| views.first().map_or(-1, |v| v.leader));
        let part = ProducePart { topic: TOPIC, partition: 0, batch: &batch };
        let answer = leader
            .and_then(|id| if id < 0 { anyhow::bail!("no leader") } else { cluster.connect(id) })
            .and_then(|mut conn| conn.produce(&part, -1));
        Ok(answer.ok().filter(|a| a.error == 0).map(|a| a.base_offset))
    })
}

/// Clients drop a connection whose broker gets another name.
#[test]
fn every_node_names_the_same_addresses() -> anyhow::Result<()> {
    let _alone = alone();
    let cluster = Cluster::start(&Plan::combined(Peer::from_env(), 3).named())?;
    for asked in cluster.brokers() {
        let mut named = cluster.connect(asked)?.broker_addresses()?;
        named.sort();
        let expected = |id| (id, format!("localhost:{}", cluster.addr(id).port()));
        assert_eq!(named, cluster.brokers().into_iter().map(expected).collect::<Vec<_>>());
    }
    Ok(())
}

#[test]
fn a_killed_leader_is_replaced_and_catches_up() -> anyhow::Result<()> {
    let _alone = alone();
    let mut cluster = Cluster::start(&Plan::combined(Peer::from_env(), 3))?;
    cluster.create_topic(TOPIC, 3, 3, &[])?;
    produce(&mut cluster)?;
    for _ in 0..2 {
        let leader = cluster.leader(TOPIC, 0)?;
        cluster.kill9(leader)?;
        let begin = Instant::now();
        produce(&mut cluster)?;
        eprintln!("acknowledged {:?} after the leader's end", begin.elapsed());
        // The broker that is asked may hear of it a moment later than the new leader.
        cluster
            .wait("another leader", LIMIT, |cluster| Ok(cluster.leader(TOPIC, 0).ok().filter(|now| *now != leader)))?;
        cluster.start_node(leader)?;
        cluster.wait_in_sync(TOPIC, LIMIT)?;
    }
    let active = cluster.active_controller()?;
    cluster.stop(active)?;
    produce(&mut cluster)?;
    cluster.wait("another active controller", LIMIT, |cluster| {
        Ok(cluster.active_controller().ok().filter(|now| *now != active))
    })?;
    cluster.start_node(active)?;
    cluster.wait_in_sync(TOPIC, LIMIT)?;
    assert_eq!(cluster.alarms(), Vec::<String>::new());
    Ok(())
}

/// Every node in turn: leaders move before it ends, so that no client is told of it by an error. A producer of librdkafka
/// would hide a retry; what it may not hide is a record that is given up, twice in the log, or out of order.
#[test]
fn a_rolling_restart_is_no_error_to_any_client() -> anyhow::Result<()> {
    let _alone = alone();
    let plan = Plan::combined(Peer::from_env(), 3).set("offsets.topic.num.partitions", "3");
    let mut cluster = Cluster::start(&plan)?;
    cluster.create_topic(TOPIC, 3, 3, &[("retention.ms", "-1")])?;
    let addrs = cluster.brokers().into_iter().map(|id| (id, cluster.addr(id))).collect();
    let load = Load { single: 0, churn: false, ..Load::new(TOPIC, 3) };
    let cx = Cx::new(&load, addrs);
    let running = Running::start(&cx);
    running.wait_progress(LIMIT)?;
    for id in cluster.ids() {
        cluster.restart(id)?;
        cluster.wait_in_sync(TOPIC, LIMIT)?;
        let slowest = running.wait_progress(LIMIT)?;
        eprintln!("node {id} restarted, the next acknowledgement came after {slowest:?}");
    }
    let any = |cluster: &Cluster, id: i32| cluster.connect(if id < 0 { cluster.brokers()[0] } else { id });
    let mut history = running.finish(|| ends(|id| any(&cluster, id), TOPIC))?;
    history.log = read_log(|id| any(&cluster, id), TOPIC)?;
    let violations = check(&history);
    assert!(violations.is_empty(), "{} violations\n{}", violations.len(), report(&violations));
    assert_eq!(history.acknowledged(), history.sends.len(), "records were given up");
    assert_eq!(history.log.len(), history.sends.len(), "records are twice in the log");
    assert_eq!(cx.complaints.lock().unwrap().clone(), Vec::<String>::new());
    assert_eq!(cluster.alarms(), Vec::<String>::new());
    eprintln!("{} acknowledged, {} commits", history.acknowledged(), history.commits.len());
    Ok(())
}

#[test]
fn brokers_and_controllers_apart() -> anyhow::Result<()> {
    let _alone = alone();
    let mut cluster = Cluster::start(&Plan::split(Peer::from_env(), 3, 3))?;
    cluster.create_topic(TOPIC, 3, 3, &[])?;
    let active = cluster.active_controller()?;
    assert!(cluster.controllers().contains(&active));
    cluster.kill9(active)?;
    let leader = cluster.wait("a leader", LIMIT, |cluster| Ok(cluster.leader(TOPIC, 0).ok()))?;
    cluster.kill9(leader)?;
    produce(&mut cluster)?;
    cluster.start_node(active)?;
    cluster.start_node(leader)?;
    cluster.wait_in_sync(TOPIC, LIMIT)?;
    assert_eq!(cluster.alarms(), Vec::<String>::new());
    Ok(())
}

#[test]
fn cuts_are_silent_and_heal() -> anyhow::Result<()> {
    let _alone = alone();
    if !Net::possible() {
        eprintln!("skipped: needs root, ip and nft");
        return Ok(());
    }
    let mut cluster = Cluster::start(&Plan::combined(Peer::from_env(), 3).namespaces())?;
    cluster.create_topic(TOPIC, 3, 3, &[])?;
    produce(&mut cluster)?;
    let leader = cluster.leader(TOPIC, 0)?;
    cluster.isolate(leader)?;
    assert!(cluster.connect(leader).is_err(), "a node that is cut off can be reached");
    produce(&mut cluster)?;
    cluster.heal()?;
    cluster.wait_in_sync(TOPIC, LIMIT)?;
    let (a, b) = (cluster.ids()[0], cluster.ids()[1]);
    cluster.cut(a, b, Plane::Controllers)?;
    cluster.cut(b, a, Plane::Brokers)?;
    cluster.lose(cluster.ids()[2], 5)?;
    produce(&mut cluster)?;
    cluster.heal()?;
    cluster.wait_in_sync(TOPIC, LIMIT)?;
    assert_eq!(cluster.alarms(), Vec::<String>::new());
    Ok(())
}

/// Shortest of some round trips to a broker.
fn round_trip(cluster: &Cluster, id: i32) -> anyhow::Result<Duration> {
    let mut conn = cluster.connect(id)?;
    let trips = (0..5).map(|_| {
        let begin = Instant::now();
        conn.brokers().map(|_| begin.elapsed())
    });
    Ok(trips.collect::<anyhow::Result<Vec<_>>>()?.into_iter().min().unwrap())
}

#[test]
fn delayed_and_early_nodes_work() -> anyhow::Result<()> {
    const DELAY: Duration = Duration::from_millis(80);
    const HOUR: i64 = 3600;
    let _alone = alone();
    if !Net::lines_possible() {
        eprintln!("skipped: needs root, ip, nft and /dev/net/tun");
        return Ok(());
    }
    let mut cluster = Cluster::start(&Plan::combined(Peer::from_env(), 3).lines().clocks())?;
    cluster.create_topic(TOPIC, 3, 3, &[])?;
    produce(&mut cluster)?;
    let leader = cluster.leader(TOPIC, 0)?;
    cluster.delay(leader, DELAY)?;
    assert!(round_trip(&cluster, leader)? >= DELAY / 2);
    produce(&mut cluster)?;
    cluster.heal()?;
    cluster.wait("undelayed answers", LIMIT, |cluster| Ok((round_trip(cluster, leader)? < DELAY / 2).then_some(())))?;
    // A clock that is set neither ends sessions nor puts replicas out of sync.
    for ahead in [HOUR, -HOUR, 0] {
        cluster.set_clock(leader, ahead)?;
        produce(&mut cluster)?;
        let view = cluster.leaders(TOPIC)?.remove(0);
        assert_eq!((view.leader, view.isr.len()), (leader, 3));
    }
    cluster.wait_in_sync(TOPIC, LIMIT)?;
    assert_eq!(cluster.alarms(), Vec::<String>::new());
    Ok(())
}

#[test]
fn a_paused_node_and_one_with_a_slow_disk_do_not_stop_the_others() -> anyhow::Result<()> {
    let _alone = alone();
    const SLOW: u64 = 200_000;
    let mut cluster = Cluster::start(&Plan::combined(Peer::from_env(), 3))?;
    cluster.create_topic(TOPIC, 1, 3, &[])?;
    produce(&mut cluster)?;
    let leader = cluster.leader(TOPIC, 0)?;
    cluster.pause(leader)?;
    produce(&mut cluster)?;
    cluster.resume(leader)?;
    cluster.wait_in_sync(TOPIC, LIMIT)?;
    let follower = cluster.brokers().into_iter().find(|id| Ok(*id) != cluster.leader(TOPIC, 0).map_err(|_| ()));
    let follower = follower.unwrap();
    if !cluster.slow_disk(follower, SLOW)? {
        eprintln!("this machine cannot slow a disk down");
    }
    produce(&mut cluster)?;
    cluster.normal_disk(follower)?;
    cluster.wait_in_sync(TOPIC, LIMIT)?;
    assert_eq!(cluster.alarms(), Vec::<String>::new());
    Ok(())
}
