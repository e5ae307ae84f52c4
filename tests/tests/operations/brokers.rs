//! A broker that comes, and one that is emptied and goes.

use millrace_tests::cluster::{Cluster, Plan};
use millrace_tests::harness::Peer;

use super::steady::Steady;
use super::{LIMIT, TOPIC, alone, millrace};

const NEW: i32 = 4;
const PARTITIONS: i32 = 6;

/// The replicas of partition 0 and all brokers that have a replica of the topic.
fn placed(cluster: &Cluster) -> anyhow::Result<(Vec<i32>, Vec<i32>)> {
    let views = cluster.leaders(TOPIC)?;
    let mut all: Vec<i32> = views.iter().flat_map(|view| view.replicas.clone()).collect();
    all.sort_unstable();
    all.dedup();
    Ok((views[0].replicas.clone(), all))
}

#[test]
fn a_broker_joins_is_drained_and_leaves() -> anyhow::Result<()> {
    let _alone = alone();
    let plan = Plan::combined(Peer::Millrace, 3).broker(NEW);
    let mut cluster = plan.lay_out()?;
    (1..=3).try_for_each(|id| cluster.spawn(id))?;
    cluster.wait_whole(LIMIT)?;
    cluster.create_topic(TOPIC, PARTITIONS, 3, &[])?;
    let steady = Steady::start(&cluster, TOPIC)?;
    steady.go_on(&mut cluster, 200)?;
    cluster.start_node(NEW)?;
    // Replicas move to it by hand.
    for partition in 0..PARTITIONS {
        let with_new = format!("{NEW},{},{}", 1 + partition % 3, 1 + (partition + 1) % 3);
        millrace(&cluster, &["partitions", "reassign", TOPIC, &partition.to_string(), "--replicas", &with_new])?;
    }
    cluster.wait("the end of the reassignments", LIMIT, |cluster| {
        Ok(cluster.ask(|conn| conn.reassigning())?.is_empty().then_some(()))
    })?;
    cluster.wait_in_sync(TOPIC, LIMIT)?;
    assert_eq!(placed(&cluster)?, (vec![NEW, 1, 2], vec![1, 2, 3, NEW]));
    steady.go_on(&mut cluster, 200)?;
    // One that cannot end, because its target stands still, is shown and taken back.
    let before = placed(&cluster)?.0;
    cluster.stop(3)?;
    millrace(&cluster, &["partitions", "reassign", TOPIC, "0", "--replicas", "4,1,3"])?;
    let moving = millrace(&cluster, &["partitions", "moving"])?;
    assert!(moving.contains(TOPIC), "{moving}");
    millrace(&cluster, &["partitions", "cancel", TOPIC])?;
    assert!(cluster.ask(|conn| conn.reassigning())?.is_empty());
    assert_eq!(placed(&cluster)?.0, before);
    cluster.start_node(3)?;
    cluster.wait_in_sync(TOPIC, LIMIT)?;
    // It is emptied; the command returns when the others have everything.
    millrace(&cluster, &["brokers", "drain", &NEW.to_string()])?;
    assert_eq!(placed(&cluster)?.1, vec![1, 2, 3]);
    cluster.stop(NEW)?;
    millrace(&cluster, &["brokers", "unregister", &NEW.to_string()])?;
    let described = millrace(&cluster, &["cluster", "describe"])?;
    assert!(!described.contains(&cluster.addr(NEW).to_string()), "{described}");
    steady.go_on(&mut cluster, 200)?;
    let count = steady.check(&cluster, TOPIC)?;
    eprintln!("{count} acknowledged, all read once");
    assert_eq!(cluster.alarms(), Vec::<String>::new());
    Ok(())
}
