//! Whatever is decided in whatever order, the image keeps its rules, no clean election loses what was committed, and a
//! snapshot of the image is the same image.

use std::collections::{BTreeMap, BTreeSet};

use millrace_metadata::command::{
    DirAssignment, FeatureChange, FeatureChangeKind, IsrChange, MorePartitions, NewTopic, Reassignment, TopicRef,
};
use millrace_metadata::features;
use millrace_metadata::record::{BrokerRegistration, ControllerRegistration};
use millrace_metadata::{Command, DirId, Image, NO_NODE, NodeId, PartitionImage, Record, TopicId, TopicImage};
use proptest::prelude::*;

use super::{Cluster, registration};
use crate::draft::{min_isr, unclean_allowed};
use crate::features::elr_enabled;
use crate::{Draft, balance_leaders, elect_unclean, snapshot_records};

const BROKERS: NodeId = 4;

#[derive(Debug, Clone)]
enum Step {
    Create(u8, i32, i16),
    Delete(u8),
    Grow(u8, i32),
    /// Id, incarnation, whether it lost what it held in memory, and which of its two directories it has, as bits.
    Register(NodeId, u8, bool, u8),
    Beat(NodeId, bool, bool),
    /// One of its two directories fails.
    DirFails(NodeId, u8),
    /// The broker says that its replica is in this directory.
    Assign(u8, NodeId, u8),
    Fence(NodeId),
    Unregister(NodeId),
    /// A leader wants these members of its replicas in sync, as bits.
    Isr(u8, u8),
    Elect(bool),
    Reassign(u8, Option<Vec<NodeId>>),
    MinIsr(u8, u8),
    AllowUnclean(u8, bool),
    Eligible(bool),
    /// Millrace's own level.
    Level(i16),
    /// Controller and its directory.
    Controller(NodeId, u8),
    Sweep(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let broker = 1..=BROKERS;
    let topic = 0u8..3;
    let register = (broker.clone(), 0..4u8, any::<bool>(), 1..4u8);
    let replicas = prop::option::of(prop::collection::vec(broker.clone(), 0..4));
    prop_oneof![
        3 => (topic.clone(), 1..4i32, 1..5i16).prop_map(|(t, p, r)| Step::Create(t, p, r)),
        1 => topic.clone().prop_map(Step::Delete),
        1 => (topic.clone(), 1..6i32).prop_map(|(t, n)| Step::Grow(t, n)),
        4 => register.prop_map(|(b, i, u, d)| Step::Register(b, i, u, d)),
        8 => (broker.clone(), prop::bool::weighted(0.2), prop::bool::weighted(0.2)).prop_map(|(b, f, s)| Step::Beat(b, f, s)),
        1 => (broker.clone(), 0..2u8).prop_map(|(b, d)| Step::DirFails(b, d)),
        2 => (topic.clone(), broker.clone(), 0..2u8).prop_map(|(t, b, d)| Step::Assign(t, b, d)),
        2 => broker.clone().prop_map(Step::Fence),
        1 => broker.prop_map(Step::Unregister),
        8 => (topic.clone(), any::<u8>()).prop_map(|(t, m)| Step::Isr(t, m)),
        1 => any::<bool>().prop_map(Step::Elect),
        2 => (topic.clone(), replicas).prop_map(|(t, r)| Step::Reassign(t, r)),
        1 => (topic.clone(), 1..4u8).prop_map(|(t, m)| Step::MinIsr(t, m)),
        1 => (topic, prop::bool::weighted(0.3)).prop_map(|(t, u)| Step::AllowUnclean(t, u)),
        1 => prop::bool::weighted(0.8).prop_map(Step::Eligible),
        1 => (0..3i16).prop_map(Step::Level),
        1 => (1..4i32, 1..3u8).prop_map(|(id, dir)| Step::Controller(id, dir)),
        1 => any::<bool>().prop_map(Step::Sweep),
    ]
}

fn name(topic: u8) -> String {
    format!("t{topic}")
}

fn dir(broker: NodeId, which: u8) -> DirId {
    DirId([broker as u8 + 10 * (which + 1); 16])
}

fn with_dirs(id: NodeId, incarnation: u8, bits: u8) -> BrokerRegistration {
    let dirs = (0..2).filter(|d| bits & (1 << d) != 0).map(|d| dir(id, d)).collect();
    BrokerRegistration { dirs, ..registration(id, incarnation) }
}

/// The cluster, and what its logs hold.
struct Model {
    cluster: Cluster,
    /// Replicas that hold everything that is committed. With `min.insync.replicas` in sync, only those in sync do: the
    /// worst of what may be.
    holders: BTreeMap<(TopicId, usize), BTreeSet<NodeId>>,
}

impl Model {
    fn new() -> Model {
        let mut cluster = Cluster::founded(features::UNSAID);
        for id in 1..=BROKERS {
            let rack = (id % 3 != 0).then(|| format!("rack{}", id % 2));
            cluster.register(BrokerRegistration { rack, ..with_dirs(id, 1, 3) }, false).unwrap();
            cluster.beat(id, |_| {});
        }
        cluster.log.clear();
        Model { cluster, holders: BTreeMap::new() }
    }

    fn take(&mut self, step: &Step) {
        let mut shadow = self.cluster.image.clone();
        if let Step::Register(id, incarnation, unclean, dirs) = step {
            self.lose(*id, with_dirs(*id, *incarnation, *dirs), *unclean);
        }
        apply(&mut self.cluster, step);
        shadow.index = self.cluster.image.index;
        for record in std::mem::take(&mut self.cluster.log) {
            let before = shadow.clone();
            shadow.apply(&record);
            self.follow(&before, &shadow, &record, step);
        }
        assert_eq!(shadow, self.cluster.image);
        self.commit();
    }

    /// What a new incarnation of a broker does not have any more.
    fn lose(&mut self, id: NodeId, registration: BrokerRegistration, unclean: bool) {
        let image = &self.cluster.image;
        let existing = image.broker(id);
        let another = existing.is_none_or(|b| b.incarnation != registration.incarnation);
        if !another || !elr_enabled(image) {
            return;
        }
        for topic in image.topics_by_id() {
            for (index, partition) in topic.partitions.iter().enumerate() {
                let lost = match partition.dir_of(id) {
                    None => true,
                    Some(DirId::UNASSIGNED) => {
                        existing.is_some_and(|b| b.dirs.iter().any(|d| !registration.dirs.contains(d)))
                    }
                    Some(dir) => !registration.dirs.contains(&dir),
                };
                if lost || unclean {
                    self.holders.entry((topic.id, index)).or_default().remove(&id);
                }
            }
        }
    }

    fn follow(&mut self, before: &Image, after: &Image, record: &Record, step: &Step) {
        let Record::PartitionChange { topic, index, delta } = record else {
            return;
        };
        let topic = after.topic_by_id(topic).unwrap();
        let was = before.topic_by_id(&topic.id).unwrap().partition(*index).unwrap();
        let is = topic.partition(*index).unwrap();
        assert_eq!(is.partition_epoch, was.partition_epoch + 1);
        assert_eq!(is.leader_epoch, was.leader_epoch + i32::from(delta.leader.is_some()));
        let holders = self.holders.entry((topic.id, *index as usize)).or_default();
        if matches!(step, Step::Isr(..)) {
            // Whom a leader reports has caught up with it.
            holders.extend(is.isr.iter());
        }
        if is.leader == was.leader || is.leader == NO_NODE {
            return;
        }
        if !is.recovering {
            assert!(holders.contains(&is.leader), "{step:?}: {was:?} became {is:?}, and only {holders:?} hold all");
            return;
        }
        if !was.recovering {
            let last_known = elr_enabled(after) && was.last_known_elr[..] == [is.leader];
            let allowed = unclean_allowed(after, topic, &self.cluster.defaults);
            assert!(last_known || allowed || matches!(step, Step::Elect(true)), "{step:?}: {is:?}");
        }
        if !holders.contains(&is.leader) {
            *holders = BTreeSet::from([is.leader]);
        }
    }

    fn commit(&mut self) {
        let image = &self.cluster.image;
        self.holders.retain(|(topic, _), _| image.topic_by_id(topic).is_some());
        for topic in image.topics_by_id() {
            for (index, partition) in topic.partitions.iter().enumerate() {
                let nothing_yet = || partition.replicas.iter().copied().collect();
                let holders = self.holders.entry((topic.id, index)).or_insert_with(nothing_yet);
                if partition.leader == NO_NODE {
                    continue;
                }
                // Who is in sync has caught up with the high watermark.
                holders.extend(partition.isr.iter());
                if partition.isr.len() >= min_isr(image, (topic, partition), &self.cluster.defaults) {
                    *holders = partition.isr.iter().copied().collect();
                }
            }
        }
    }

    fn check(&self) {
        let image = &self.cluster.image;
        for topic in image.topics() {
            for partition in &topic.partitions {
                self.check_partition(topic, partition);
            }
        }
        let total: usize = image.topics().map(|t| t.partitions.len()).sum();
        assert_eq!(total, image.partition_count());
    }

    fn check_partition(&self, topic: &TopicImage, p: &PartitionImage) {
        let image = &self.cluster.image;
        let distinct = |nodes: &[NodeId]| nodes.iter().collect::<BTreeSet<_>>().len() == nodes.len();
        assert!([&p.replicas, &p.isr, &p.elr, &p.adding, &p.removing].iter().all(|n| distinct(n)), "{p:?}");
        assert!(!p.replicas.is_empty() && p.dirs.len() == p.replicas.len(), "{p:?}");
        assert!(p.adding.iter().chain(&p.removing).all(|r| p.replicas.contains(r)), "{p:?}");
        assert!(p.isr.iter().all(|r| p.replicas.contains(r)), "{p:?}");
        assert!(p.elr.iter().all(|r| p.replicas.contains(r) && !p.isr.contains(r)), "{p:?}");
        if p.leader != NO_NODE {
            assert!(p.isr.contains(&p.leader), "{p:?}");
        }
        if !elr_enabled(image) {
            assert!(p.elr.is_empty() && !p.isr.is_empty(), "{p:?}");
        } else if !p.elr.is_empty() {
            let min = min_isr(image, (topic, p), &self.cluster.defaults);
            assert!(p.isr.len() < min, "{p:?} needs no eligible replica at a minimum of {min}");
        }
        // A partition without eligible replicas keeps its last in-sync one, whatever becomes of it.
        if p.leader != NO_NODE || p.isr.len() > 1 {
            for member in &p.isr {
                let broker = image.broker(*member);
                assert!(broker.is_some_and(|b| b.is_active()), "{p:?}: {member} is in sync, but {broker:?}");
                let dir = p.dir_of(*member).unwrap();
                assert!(dir == DirId::UNASSIGNED || broker.unwrap().dirs.contains(&dir), "{p:?}");
            }
            assert!(p.leader != NO_NODE, "{p:?} has replicas in sync and no leader");
        }
    }
}

fn apply(cluster: &mut Cluster, step: &Step) {
    let known = |cluster: &Cluster, id: &NodeId| cluster.image.broker(*id).is_some();
    match step {
        Step::Create(t, partitions, factor) => {
            cluster.create(NewTopic::new(name(*t), *partitions, *factor)).ok();
        }
        Step::Delete(t) => drop(cluster.run(&Command::DeleteTopics { topics: vec![TopicRef::Name(name(*t))] })),
        Step::Grow(t, count) => {
            let topics = vec![MorePartitions { name: name(*t), count: *count, assignments: None }];
            cluster.run(&Command::CreatePartitions { topics, validate_only: false });
        }
        Step::Register(id, incarnation, unclean, dirs) => {
            cluster.register(with_dirs(*id, *incarnation, *dirs), *unclean).ok();
        }
        Step::Beat(id, fence, stop) if known(cluster, id) => {
            cluster.beat(*id, |b| (b.want_fence, b.want_shutdown) = (*fence, *stop));
        }
        Step::DirFails(id, which) if known(cluster, id) => {
            // A broker whose directories have all failed stops.
            let failed = dir(*id, *which);
            let last = cluster.image.broker(*id).is_some_and(|b| b.dirs == [failed]);
            cluster
                .beat(*id, |b| (b.offline_dirs, b.want_fence) = (if last { Vec::new() } else { vec![failed] }, last));
        }
        Step::Fence(id) if known(cluster, id) => cluster.fence(*id),
        Step::Beat(..) | Step::DirFails(..) | Step::Fence(_) => {}
        Step::Assign(t, broker, which) => assign(cluster, &name(*t), *broker, dir(*broker, *which)),
        Step::Unregister(id) => drop(cluster.run(&Command::UnregisterBroker { broker: *id })),
        Step::Isr(t, members) => change_isr(cluster, &name(*t), *members),
        Step::Elect(unclean) => {
            drop(cluster.run(&Command::ElectLeaders { unclean: *unclean, partitions: None }));
        }
        Step::Reassign(t, replicas) => {
            let partitions = vec![Reassignment { topic: name(*t), partition: 0, replicas: replicas.clone() }];
            cluster.run(&Command::AlterPartitionReassignments { partitions, allow_rf_change: true });
        }
        Step::MinIsr(t, min) => set(cluster, *t, "min.insync.replicas", &min.to_string()),
        Step::AllowUnclean(t, on) => set(cluster, *t, "unclean.leader.election.enable", &on.to_string()),
        Step::Eligible(on) => update(cluster, features::ELIGIBLE_LEADER_REPLICAS, i16::from(*on)),
        Step::Level(level) => update(cluster, features::MILLRACE_VERSION, *level),
        Step::Controller(id, dir) => {
            let features = features::ranges(features::TABLE);
            let registration = ControllerRegistration { id: *id, dir: DirId([*dir; 16]), features };
            cluster.run(&Command::RegisterController(registration));
        }
        Step::Sweep(unclean) => {
            let mut draft = Draft::new(cluster.image.clone());
            let sweep = if *unclean { elect_unclean } else { balance_leaders };
            sweep(&mut draft, &cluster.defaults);
            cluster.agree(draft.into_records());
        }
    }
}

fn set(cluster: &mut Cluster, topic: u8, key: &str, value: &str) {
    if cluster.image.topic(&name(topic)).is_some() {
        cluster.set(&name(topic), key, value);
    }
}

fn update(cluster: &mut Cluster, feature: &str, level: i16) {
    let up = level >= cluster.image.level(feature);
    let kind = if up { FeatureChangeKind::Upgrade } else { FeatureChangeKind::SafeDowngrade };
    let change = FeatureChange { name: feature.into(), level, kind };
    cluster.run(&Command::UpdateFeatures { changes: vec![change], validate_only: false });
}

fn assign(cluster: &mut Cluster, topic: &str, broker: NodeId, dir: DirId) {
    let Some(topic) = cluster.image.topic(topic).map(|t| t.id) else {
        return;
    };
    // What is where is said by a broker that runs, of directories that it has; a replica moves between two that work.
    let Some(running) = cluster.image.broker(broker).filter(|b| b.is_active() && b.dirs.contains(&dir)) else {
        return;
    };
    let broker_epoch = running.epoch;
    let dirs = vec![DirAssignment { dir, partitions: vec![(topic, 0)] }];
    cluster.run(&Command::AssignReplicasToDirs { broker, broker_epoch, dirs });
}

fn change_isr(cluster: &mut Cluster, topic: &str, members: u8) {
    let Some(found) = cluster.image.topic(topic).cloned() else {
        return;
    };
    let partition = &found.partitions[0];
    if partition.leader == NO_NODE {
        return;
    }
    let wanted = |(i, r): &(usize, &NodeId)| members & (1 << i) != 0 || **r == partition.leader;
    let chosen = partition.replicas.iter().enumerate().filter(wanted);
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    #[test]
    fn rules_hold(steps in prop::collection::vec(step(), 1..100)) {
        let mut model = Model::new();
        for step in &steps {
            model.take(step);
            model.check();
        }
        let image = model.cluster.image;
        let mut copy = Image::at(image.index, image.term);
        snapshot_records(&image).for_each(|r| copy.apply(&r));
        prop_assert_eq!(copy, image);
    }
}
