//! In-sync sets, elections, reassignments.

use millrace_metadata::command::{IsrChange, NewTopic, Reassignment};
use millrace_metadata::record::BrokerRegistration;
use millrace_metadata::{ApiError, Command, DirId, ErrorCode, NodeId, Reply};

use super::{Cluster, code, registration};
use crate::{Draft, balance_leaders, elect_unclean};

fn isr_change(cluster: &Cluster, topic: &str, isr: &[NodeId]) -> IsrChange {
    let partition = cluster.partition(topic);
    IsrChange {
        topic: cluster.image.topic_id(topic).unwrap(),
        partition: 0,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        isr: isr.iter().map(|id| (*id, cluster.epoch(*id))).collect(),
        recovering: false,
    }
}

fn alter(cluster: &mut Cluster, broker: NodeId, change: IsrChange) -> Option<ErrorCode> {
    let command = Command::AlterPartition { broker, broker_epoch: cluster.epoch(broker), changes: vec![change] };
    let Reply::AlterPartition(Ok(mut results)) = cluster.run(&command) else { panic!() };
    code(results.remove(0).1)
}

fn shrink(cluster: &mut Cluster, topic: &str, isr: &[NodeId]) {
    let leader = cluster.partition(topic).leader;
    let change = isr_change(cluster, topic, isr);
    assert_eq!(alter(cluster, leader, change), None);
}

#[test]
fn the_leader_changes_the_in_sync_set() {
    let mut cluster = Cluster::of(3);
    cluster.assigned("a", &[1, 2, 3]);
    let before = cluster.partition("a").clone();
    shrink(&mut cluster, "a", &[1, 3]);
    let after = cluster.partition("a");
    assert_eq!(after.isr[..], [1, 3]);
    assert_eq!((after.leader_epoch, after.partition_epoch), (before.leader_epoch, before.partition_epoch + 1));
    shrink(&mut cluster, "a", &[1, 2, 3]);
    assert_eq!(cluster.partition("a").isr[..], [1, 2, 3]);
}

#[test]
fn a_wrong_in_sync_set_is_refused_in_kafkas_order() {
    use ErrorCode::*;
    let mut cluster = Cluster::of(4);
    cluster.assigned("a", &[1, 2, 3]);
    shrink(&mut cluster, "a", &[1, 2]);
    let good = isr_change(&cluster, "a", &[1, 2]);
    let cases = [
        (1, IsrChange { topic: millrace_metadata::TopicId([1; 16]), ..good.clone() }, UnknownTopicId),
        (1, IsrChange { partition: 7, ..good.clone() }, UnknownTopicOrPartition),
        (1, IsrChange { leader_epoch: 9, ..good.clone() }, NotController),
        (1, IsrChange { partition_epoch: 99, ..good.clone() }, NotController),
        (2, IsrChange { leader_epoch: -1, ..good.clone() }, FencedLeaderEpoch),
        (2, good.clone(), InvalidRequest),
        (1, IsrChange { partition_epoch: 0, ..good.clone() }, InvalidUpdateVersion),
        (1, isr_change(&cluster, "a", &[1, 4]), InvalidRequest),
        (1, isr_change(&cluster, "a", &[2, 3]), InvalidRequest),
        (1, isr_change(&cluster, "a", &[1, 1]), InvalidRequest),
        (1, IsrChange { recovering: true, ..good.clone() }, InvalidRequest),
        (1, IsrChange { isr: vec![(1, -1), (2, 1)], ..good.clone() }, IneligibleReplica),
    ];
    for (broker, change, expected) in cases {
        assert_eq!(alter(&mut cluster, broker, change.clone()), Some(expected), "{change:?}");
    }
    cluster.fence(3);
    let change = isr_change(&cluster, "a", &[1, 2, 3]);
    assert_eq!(alter(&mut cluster, 1, change), Some(IneligibleReplica));
}

#[test]
fn a_lost_leader_is_followed_by_the_next_in_sync_replica() {
    let mut cluster = Cluster::of(3);
    cluster.assigned("a", &[1, 2, 3]);
    shrink(&mut cluster, "a", &[1, 3]);
    let epoch = cluster.partition("a").leader_epoch;
    cluster.fence(1);
    let partition = cluster.partition("a");
    assert_eq!((partition.leader, &partition.isr[..], partition.leader_epoch), (3, &[3][..], epoch + 1));
}

#[test]
fn who_leaves_below_the_minimum_stays_eligible() {
    let mut cluster = Cluster::of(3);
    cluster.assigned("a", &[1, 2, 3]);
    cluster.set("a", "min.insync.replicas", "2");
    shrink(&mut cluster, "a", &[1, 2]);
    assert!(cluster.partition("a").elr.is_empty());
    cluster.fence(2);
    let partition = cluster.partition("a");
    assert_eq!((&partition.isr[..], &partition.elr[..]), (&[1][..], &[2][..]));
    cluster.fence(1);
    let partition = cluster.partition("a");
    assert_eq!((partition.leader, partition.isr.len()), (-1, 0));
    assert_eq!(partition.elr.len(), 2);
    assert_eq!(partition.last_known_elr[..], [1]);
    // Replica 3 was never eligible.
    cluster.beat(3, |_| {});
    assert_eq!(cluster.partition("a").leader, -1);
    cluster.beat(2, |_| {});
    let partition = cluster.partition("a");
    assert_eq!((partition.leader, &partition.isr[..], &partition.elr[..]), (2, &[2][..], &[1][..]));
    assert!(!partition.recovering && partition.last_known_elr.is_empty());
    // Enough in sync again: nobody else needs to be eligible.
    shrink(&mut cluster, "a", &[2, 3]);
    assert!(cluster.partition("a").elr.is_empty());
}

#[test]
fn an_unclean_stop_ends_eligibility() {
    let mut cluster = Cluster::of(2);
    cluster.assigned("a", &[1, 2]);
    cluster.set("a", "min.insync.replicas", "2");
    cluster.fence(2);
    assert_eq!(cluster.partition("a").elr[..], [2]);
    cluster.register(registration(2, 2), true).unwrap();
    assert!(cluster.partition("a").elr.is_empty());
}

#[test]
fn a_lower_minimum_ends_eligibility() {
    // In sync alone is enough from now on, and what is committed then is not on those who were eligible before.
    let mut cluster = Cluster::of(2);
    cluster.assigned("led", &[1, 2]);
    cluster.assigned("lost", &[1, 2]);
    for topic in ["led", "lost"] {
        cluster.set(topic, "min.insync.replicas", "2");
    }
    cluster.fence(2);
    assert_eq!(cluster.partition("led").elr[..], [2]);
    cluster.set("led", "min.insync.replicas", "1");
    assert!(cluster.partition("led").elr.is_empty());
    // The same while nobody leads: it takes effect with the election.
    cluster.fence(1);
    cluster.set("lost", "min.insync.replicas", "1");
    assert_eq!(cluster.partition("lost").elr.len(), 2);
    cluster.beat(1, |_| {});
    let partition = cluster.partition("lost");
    assert_eq!((partition.leader, &partition.isr[..], partition.elr.len()), (1, &[1][..], 0));
}

#[test]
fn what_was_in_a_lost_directory_is_not_eligible() {
    let mut cluster = Cluster::of(2);
    cluster.assigned("a", &[2, 1]);
    cluster.set("a", "min.insync.replicas", "2");
    cluster.fence(2);
    assert_eq!(cluster.partition("a").elr[..], [2]);
    let other = BrokerRegistration { dirs: vec![DirId([99; 16])], ..registration(2, 2) };
    cluster.register(other, false).unwrap();
    assert!(cluster.partition("a").elr.is_empty());
}

#[test]
fn a_replaced_disk_is_not_led_from_while_others_have_something() {
    let mut cluster = Cluster::of(2);
    cluster.assigned("a", &[2, 1]);
    cluster.assigned("alone", &[2]);
    shrink(&mut cluster, "a", &[2]);
    cluster.fence(2);
    let replaced = BrokerRegistration { dirs: vec![DirId([99; 16])], ..registration(2, 2) };
    cluster.register(replaced, false).unwrap();
    cluster.beat(2, |_| {});
    assert_eq!(cluster.partition("a").leader, -1);
    assert!(cluster.partition("a").last_known_elr.is_empty());
    // Where the log lies now is for the broker to say: a second start with the same disk loses nothing more.
    assert_eq!(cluster.partition("a").dir_of(2), Some(DirId::UNASSIGNED));
    // Nobody else has anything of this one.
    assert_eq!(cluster.partition("alone").leader, 2);
}

#[test]
fn a_dead_last_known_leader_is_not_elected() {
    let mut cluster = Cluster::of(2);
    cluster.assigned("a", &[1, 2]);
    shrink(&mut cluster, "a", &[1]);
    cluster.register(registration(1, 2), true).unwrap();
    assert_eq!(cluster.partition("a").last_known_elr[..], [1]);
    // Another broker comes while the last known leader is still away.
    cluster.fence(2);
    cluster.beat(2, |_| {});
    assert_eq!(cluster.partition("a").leader, -1);
    cluster.beat(1, |_| {});
    assert_eq!(cluster.partition("a").leader, 1);
}

#[test]
fn unclean_elections_only_where_configured() {
    let mut cluster = Cluster::of(2);
    cluster.assigned("safe", &[1, 2]);
    cluster.assigned("fast", &[1, 2]);
    shrink(&mut cluster, "safe", &[1]);
    shrink(&mut cluster, "fast", &[1]);
    cluster.fence(1);
    assert_eq!((cluster.partition("safe").leader, cluster.partition("fast").leader), (-1, -1));
    cluster.set("fast", "unclean.leader.election.enable", "true");
    let partition = cluster.partition("fast");
    assert_eq!((partition.leader, &partition.isr[..], partition.recovering), (2, &[2][..], true));
    assert_eq!(cluster.partition("safe").leader, -1);
    // A setting of the controller's file changes with a restart: the sweep finds what it concerns.
    let mut draft = Draft::new(cluster.image.clone());
    elect_unclean(&mut draft, &cluster.defaults);
    assert!(draft.is_empty());
    cluster.defaults.topic.0.unclean_leader_election_enable = true;
    elect_unclean(&mut draft, &cluster.defaults);
    assert_eq!(draft.image().partition("safe", 0).unwrap().leader, 2);
}

fn elect(cluster: &mut Cluster, unclean: bool, topic: &str, partition: i32) -> Option<ErrorCode> {
    let partitions = Some(vec![(topic.to_owned(), vec![partition])]);
    let Reply::ElectLeaders(results) = cluster.run(&Command::ElectLeaders { unclean, partitions }) else { panic!() };
    code(results[&(topic.to_owned(), partition)].clone())
}

#[test]
fn elections_on_demand() {
    use ErrorCode::*;
    use Option::None;
    let mut cluster = Cluster::of(2);
    cluster.assigned("a", &[1, 2]);
    assert_eq!(elect(&mut cluster, false, "a", 0), Some(ElectionNotNeeded));
    assert_eq!(elect(&mut cluster, true, "a", 0), Some(ElectionNotNeeded));
    assert_eq!(elect(&mut cluster, false, "a", 5), Some(UnknownTopicOrPartition));
    assert_eq!(elect(&mut cluster, false, "none", 0), Some(UnknownTopicOrPartition));
    cluster.fence(1);
    assert_eq!(cluster.partition("a").leader, 2);
    assert_eq!(elect(&mut cluster, false, "a", 0), Some(PreferredLeaderNotAvailable));
    cluster.beat(1, |_| {});
    shrink(&mut cluster, "a", &[2, 1]);
    assert_eq!(elect(&mut cluster, false, "a", 0), None);
    assert_eq!(cluster.partition("a").leader, 1);
    shrink(&mut cluster, "a", &[1]);
    cluster.fence(1);
    assert_eq!(elect(&mut cluster, true, "a", 0), None);
    assert_eq!((cluster.partition("a").leader, cluster.partition("a").recovering), (2, true));
    cluster.fence(2);
    assert_eq!(elect(&mut cluster, true, "a", 0), Some(EligibleLeadersNotAvailable));
}

#[test]
fn all_partitions_means_those_that_need_it() {
    let mut cluster = Cluster::of(2);
    cluster.assigned("a", &[1, 2]);
    cluster.assigned("b", &[2, 1]);
    cluster.fence(1);
    cluster.beat(1, |_| {});
    let Reply::ElectLeaders(results) = cluster.run(&Command::ElectLeaders { unclean: false, partitions: None }) else {
        panic!()
    };
    assert_eq!(results.keys().map(|(t, _)| t.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn leadership_goes_back_to_preferred_leaders() {
    let mut cluster = Cluster::of(2);
    cluster.assigned("a", &[1, 2]);
    cluster.fence(1);
    cluster.beat(1, |_| {});
    shrink(&mut cluster, "a", &[2, 1]);
    let mut draft = Draft::new(cluster.image.clone());
    balance_leaders(&mut draft, &cluster.defaults);
    assert_eq!(draft.image().partition("a", 0).unwrap().leader, 1);
}

fn reassign(cluster: &mut Cluster, topic: &str, replicas: Option<&[NodeId]>) -> Result<(), ApiError> {
    let partitions =
        vec![Reassignment { topic: topic.into(), partition: 0, replicas: replicas.map(<[NodeId]>::to_vec) }];
    let command = Command::AlterPartitionReassignments { partitions, allow_rf_change: true };
    let Reply::AlterPartitionReassignments(mut results) = cluster.run(&command) else { panic!() };
    results.remove(0).1
}

#[test]
fn a_reassignment_adds_waits_and_removes() {
    let mut cluster = Cluster::of(4);
    cluster.assigned("a", &[1, 2]);
    assert_eq!(reassign(&mut cluster, "a", Some(&[3, 4])), Ok(()));
    let partition = cluster.partition("a");
    assert_eq!(partition.replicas[..], [3, 4, 1, 2]);
    assert_eq!((&partition.adding[..], &partition.removing[..]), (&[3, 4][..], &[1, 2][..]));
    assert_eq!(partition.leader, 1);
    assert_eq!(partition.dirs.len(), 4);
    shrink(&mut cluster, "a", &[1, 2, 3]);
    assert!(cluster.partition("a").is_reassigning());
    // The last one joins: the old ones leave, and with them the leader that reported it.
    let change = isr_change(&cluster, "a", &[1, 2, 3, 4]);
    assert_eq!(alter(&mut cluster, 1, change), Some(ErrorCode::NewLeaderElected));
    let partition = cluster.partition("a");
    assert_eq!((&partition.replicas[..], &partition.isr[..], partition.leader), (&[3, 4][..], &[3, 4][..], 3));
    assert!(!partition.is_reassigning());
    assert_eq!(partition.dirs.len(), 2);
}

#[test]
fn a_reassignment_can_be_cancelled() {
    let mut cluster = Cluster::of(3);
    cluster.assigned("a", &[1, 2]);
    assert_eq!(code(reassign(&mut cluster, "a", None)), Some(ErrorCode::NoReassignmentInProgress));
    reassign(&mut cluster, "a", Some(&[3, 2])).unwrap();
    reassign(&mut cluster, "a", None).unwrap();
    let partition = cluster.partition("a");
    assert_eq!((&partition.replicas[..], partition.is_reassigning()), (&[2, 1][..], false));
    assert_eq!(partition.isr.len(), 2);
}

#[test]
fn a_second_reassignment_replaces_the_first() {
    let mut cluster = Cluster::of(5);
    cluster.assigned("a", &[1, 2]);
    reassign(&mut cluster, "a", Some(&[3, 4])).unwrap();
    shrink(&mut cluster, "a", &[1, 2, 3]);
    // 4 was not in sync yet and is forgotten; 3 was and stays until the new ones are there.
    reassign(&mut cluster, "a", Some(&[5, 2])).unwrap();
    let partition = cluster.partition("a");
    assert_eq!(partition.replicas[..], [5, 2, 1, 3]);
    assert_eq!((&partition.adding[..], &partition.removing[..]), (&[3, 5][..], &[1, 3][..]));
    // Back to where it began.
    reassign(&mut cluster, "a", None).unwrap();
    let partition = cluster.partition("a");
    assert_eq!((&partition.replicas[..], &partition.isr[..]), (&[2, 1][..], &[1, 2][..]));
    assert!(!partition.is_reassigning());
}

#[test]
fn a_cancellation_that_needs_an_unclean_election_is_refused() {
    let mut cluster = Cluster::of(3);
    cluster.assigned("a", &[1, 2]);
    reassign(&mut cluster, "a", Some(&[3, 2])).unwrap();
    shrink(&mut cluster, "a", &[1, 3]);
    cluster.fence(1);
    assert_eq!(cluster.partition("a").isr[..], [3]);
    assert_eq!(code(reassign(&mut cluster, "a", None)), Some(ErrorCode::InvalidReplicaAssignment));
    cluster.set("a", "unclean.leader.election.enable", "true");
    reassign(&mut cluster, "a", None).unwrap();
    let partition = cluster.partition("a");
    assert_eq!((&partition.replicas[..], partition.leader, partition.recovering), (&[2, 1][..], 2, true));
}

#[test]
fn reassignments_on_one_node() {
    use ErrorCode::*;
    let mut cluster = Cluster::of(1);
    cluster.create(NewTopic::new("a", 1, 1)).unwrap();
    assert_eq!(reassign(&mut cluster, "a", Some(&[1])), Ok(()));
    assert_eq!(code(reassign(&mut cluster, "a", Some(&[2]))), Some(InvalidReplicaAssignment));
    assert_eq!(code(reassign(&mut cluster, "a", Some(&[]))), Some(InvalidReplicaAssignment));
    assert_eq!(code(reassign(&mut cluster, "none", Some(&[1]))), Some(UnknownTopicOrPartition));
}

#[test]
fn the_replication_factor_changes_only_if_allowed() {
    let mut cluster = Cluster::of(2);
    cluster.assigned("a", &[1]);
    let partitions = vec![Reassignment { topic: "a".into(), partition: 0, replicas: Some(vec![1, 2]) }];
    let command = Command::AlterPartitionReassignments { partitions, allow_rf_change: false };
    let Reply::AlterPartitionReassignments(mut results) = cluster.run(&command) else { panic!() };
    assert_eq!(code(results.remove(0).1), Some(ErrorCode::InvalidReplicationFactor));
    assert_eq!(reassign(&mut cluster, "a", Some(&[1, 2])), Ok(()));
    // During a reassignment, what counts is the factor that it leads to.
    let Reply::AlterPartitionReassignments(mut results) = cluster.run(&command) else { panic!() };
    assert_eq!(results.remove(0).1, Ok(()));
    shrink(&mut cluster, "a", &[1, 2]);
    assert_eq!(cluster.partition("a").replicas[..], [1, 2]);
    assert_eq!(reassign(&mut cluster, "a", Some(&[2])), Ok(()));
    let partition = cluster.partition("a");
    assert_eq!((&partition.replicas[..], partition.leader), (&[2][..], 2));
}
