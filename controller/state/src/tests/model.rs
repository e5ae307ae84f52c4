//! Whatever is decided in whatever order, the image keeps its rules, and a snapshot of it is the same image.

use millrace_metadata::command::{IsrChange, MorePartitions, NewTopic, Reassignment, TopicRef};
use millrace_metadata::{Command, Image, NO_NODE, NodeId, PartitionImage};
use proptest::prelude::*;

use super::{Cluster, registration};
use crate::{Draft, balance_leaders, elect_unclean, snapshot_records};

const BROKERS: NodeId = 4;

#[derive(Debug, Clone)]
enum Step {
    Create(u8, i32, i16),
    Delete(u8),
    Grow(u8, i32),
    Register(NodeId, u8, bool),
    Beat(NodeId, bool, bool),
    Fence(NodeId),
    Unregister(NodeId),
    /// A leader wants these members of its replicas in sync, as bits.
    Isr(u8, u8),
    Elect(bool),
    Reassign(u8, Option<Vec<NodeId>>),
    MinIsr(u8, u8),
    Sweep(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let broker = 1..=BROKERS;
    let topic = 0u8..3;
    prop_oneof![
        3 => (topic.clone(), 1..4i32, 1..5i16).prop_map(|(t, p, r)| Step::Create(t, p, r)),
        1 => topic.clone().prop_map(Step::Delete),
        1 => (topic.clone(), 1..6i32).prop_map(|(t, n)| Step::Grow(t, n)),
        3 => (broker.clone(), 0..4u8, any::<bool>()).prop_map(|(b, i, u)| Step::Register(b, i, u)),
        6 => (broker.clone(), any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(b, f, s)| Step::Beat(b, f, s)),
        2 => broker.clone().prop_map(Step::Fence),
        1 => broker.clone().prop_map(Step::Unregister),
        6 => (topic.clone(), any::<u8>()).prop_map(|(t, m)| Step::Isr(t, m)),
        1 => any::<bool>().prop_map(Step::Elect),
        2 => (topic.clone(), prop::option::of(prop::collection::vec(broker, 0..4))).prop_map(|(t, r)| Step::Reassign(t, r)),
        1 => (topic, 1..4u8).prop_map(|(t, m)| Step::MinIsr(t, m)),
        1 => any::<bool>().prop_map(Step::Sweep),
    ]
}

fn name(topic: u8) -> String {
    format!("t{topic}")
}

fn take(cluster: &mut Cluster, step: &Step) {
    match step {
        Step::Create(t, partitions, factor) => {
            cluster.create(NewTopic::new(name(*t), *partitions, *factor)).ok();
        }
        Step::Delete(t) => drop(cluster.run(&Command::DeleteTopics { topics: vec![TopicRef::Name(name(*t))] })),
        Step::Grow(t, count) => {
            let topics = vec![MorePartitions { name: name(*t), count: *count, assignments: None }];
            cluster.run(&Command::CreatePartitions { topics, validate_only: false });
        }
        Step::Register(id, incarnation, unclean) => {
            cluster.register(registration(*id, *incarnation), *unclean).ok();
        }
        Step::Beat(id, want_fence, want_shutdown) => {
            if cluster.image.broker(*id).is_some() {
                cluster.beat(*id, |b| (b.want_fence, b.want_shutdown) = (*want_fence, *want_shutdown));
            }
        }
        Step::Fence(id) => {
            if cluster.image.broker(*id).is_some() {
                cluster.fence(*id);
            }
        }
        Step::Unregister(id) => drop(cluster.run(&Command::UnregisterBroker { broker: *id })),
        Step::Isr(t, members) => change_isr(cluster, &name(*t), *members),
        Step::Elect(unclean) => {
            drop(cluster.run(&Command::ElectLeaders { unclean: *unclean, partitions: None }));
        }
        Step::Reassign(t, replicas) => {
            let partitions = vec![Reassignment { topic: name(*t), partition: 0, replicas: replicas.clone() }];
            cluster.run(&Command::AlterPartitionReassignments { partitions, allow_rf_change: true });
        }
        Step::MinIsr(t, min) => {
            if cluster.image.topic(&name(*t)).is_some() {
                cluster.set(&name(*t), "min.insync.replicas", &min.to_string());
            }
        }
        Step::Sweep(unclean) => {
            let mut draft = Draft::new(cluster.image.clone());
            let sweep = if *unclean { elect_unclean } else { balance_leaders };
            sweep(&mut draft, &cluster.defaults);
            draft.into_records().iter().for_each(|r| cluster.image.apply(r));
        }
    }
}

fn change_isr(cluster: &mut Cluster, topic: &str, members: u8) {
    let Some(found) = cluster.image.topic(topic).cloned() else {
        return;
    };
    let partition = &found.partitions[0];
    if partition.leader == NO_NODE {
        return;
    }
    let chosen =
        partition.replicas.iter().enumerate().filter(|(i, r)| members & (1 << i) != 0 || **r == partition.leader);
    let change = IsrChange {
        topic: found.id,
        partition: 0,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        isr: chosen.map(|(_, r)| (*r, -1)).collect(),
        recovering: false,
    };
    let leader = partition.leader;
    let broker_epoch = cluster.epoch(leader);
    cluster.run(&Command::AlterPartition { broker: leader, broker_epoch, changes: vec![change] });
}

fn check(image: &Image) {
    for topic in image.topics() {
        for partition in &topic.partitions {
            check_partition(image, partition);
        }
    }
    let total: usize = image.topics().map(|t| t.partitions.len()).sum();
    assert_eq!(total, image.partition_count());
}

fn check_partition(image: &Image, p: &PartitionImage) {
    let distinct = |nodes: &[NodeId]| nodes.iter().collect::<std::collections::BTreeSet<_>>().len() == nodes.len();
    assert!(distinct(&p.replicas) && distinct(&p.isr) && distinct(&p.elr), "{p:?}");
    assert!(!p.replicas.is_empty() && p.dirs.len() == p.replicas.len(), "{p:?}");
    assert!(p.isr.iter().all(|r| p.replicas.contains(r)), "{p:?}");
    assert!(p.elr.iter().all(|r| p.replicas.contains(r) && !p.isr.contains(r)), "{p:?}");
    assert!(p.adding.iter().chain(&p.removing).all(|r| p.replicas.contains(r)), "{p:?}");
    if p.leader != NO_NODE {
        assert!(p.isr.contains(&p.leader), "{p:?}");
        let leader = image.broker(p.leader);
        assert!(leader.is_some_and(|b| b.is_active()), "{p:?} is led by {leader:?}");
    }
    for member in &p.isr {
        assert!(image.broker(*member).is_some_and(|b| !b.fenced), "{p:?}: {member} is in sync and fenced");
    }
    // While somebody is in sync, somebody leads.
    assert!(p.isr.is_empty() || p.leader != NO_NODE, "{p:?}");
}

fn epochs(image: &Image) -> Vec<(millrace_metadata::TopicId, usize, i32, i32, NodeId)> {
    let parts = image.topics_by_id().flat_map(|t| t.partitions.iter().enumerate().map(move |(i, p)| (t.id, i, p)));
    parts.map(|(t, i, p)| (t, i, p.leader_epoch, p.partition_epoch, p.leader)).collect()
}

fn check_epochs(before: &Image, after: &Image) {
    for (topic, index, leader_epoch, partition_epoch, leader) in epochs(before) {
        let Some(topic) = after.topic_by_id(&topic) else {
            continue;
        };
        let now = &topic.partitions[index];
        assert!(now.leader_epoch >= leader_epoch && now.partition_epoch >= partition_epoch);
        assert!(now.leader == leader || now.leader_epoch > leader_epoch);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn rules_hold(steps in prop::collection::vec(step(), 1..80)) {
        let mut cluster = Cluster::of(BROKERS);
        for step in &steps {
            let before = cluster.image.clone();
            take(&mut cluster, step);
            check(&cluster.image);
            check_epochs(&before, &cluster.image);
        }
        let mut copy = Image::at(cluster.image.index, cluster.image.term);
        snapshot_records(&cluster.image).for_each(|r| copy.apply(&r));
        prop_assert_eq!(copy, cluster.image);
    }
}
