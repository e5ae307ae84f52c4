//! Brokers come, live and go; features and producer ids.

use millrace_metadata::command::{
    FeatureChange, FeatureChangeKind, HeartbeatState, IsrChange, NewTopic, ProducerIdBlock,
};
use millrace_metadata::record::BrokerRegistration;
use millrace_metadata::{Command, DirId, ErrorCode, Reply, features};

use super::{Cluster, code, registration};
use crate::{Session, Sessions};

fn heart(reply: Reply) -> HeartbeatState {
    let Reply::BrokerHeartbeat(result) = reply else { panic!("wrong reply") };
    result.unwrap()
}

#[test]
fn a_broker_is_fenced_until_it_has_caught_up() {
    let mut cluster = Cluster::empty();
    cluster.register(registration(1, 1), false).unwrap();
    assert!(cluster.image.broker(1).unwrap().fenced);
    let registered_at = cluster.image.broker(1).unwrap().registered_at;
    let state = heart(cluster.beat(1, |b| b.applied = registered_at - 1));
    assert_eq!((state.caught_up, state.fenced), (false, true));
    let state = heart(cluster.beat(1, |b| b.want_fence = true));
    assert_eq!((state.caught_up, state.fenced), (true, true));
    let state = heart(cluster.beat(1, |_| {}));
    assert_eq!((state.caught_up, state.fenced), (true, false));
    assert!(!cluster.image.broker(1).unwrap().fenced);
}

#[test]
fn the_same_incarnation_keeps_its_state_and_a_new_one_starts_fenced() {
    let mut cluster = Cluster::of(1);
    cluster.create(NewTopic::new("a", 1, 1)).unwrap();
    let epoch = cluster.epoch(1);
    assert_eq!(cluster.register(registration(1, 1), false), Ok(epoch));
    assert!(!cluster.image.broker(1).unwrap().fenced);
    let next = cluster.register(registration(1, 2), false).unwrap();
    assert!(next > epoch);
    assert!(cluster.image.broker(1).unwrap().fenced);
    assert_eq!(cluster.partition("a").leader, -1);
    // What the last in-sync replica holds is known, so it leads again.
    let leader_epoch = cluster.partition("a").leader_epoch;
    heart(cluster.beat(1, |_| {}));
    let partition = cluster.partition("a");
    assert_eq!((partition.leader, &partition.isr[..], partition.recovering), (1, &[1][..], false));
    assert_eq!(partition.leader_epoch, leader_epoch + 1);
}

#[test]
fn after_an_unclean_stop_the_last_known_leader_leads_and_recovers() {
    let mut cluster = Cluster::of(1);
    cluster.create(NewTopic::new("a", 1, 1)).unwrap();
    cluster.register(registration(1, 2), true).unwrap();
    let partition = cluster.partition("a");
    assert_eq!((partition.leader, partition.isr.len(), partition.elr.len()), (-1, 0, 0));
    assert_eq!(partition.last_known_elr[..], [1]);
    heart(cluster.beat(1, |_| {}));
    let partition = cluster.partition("a");
    assert_eq!((partition.leader, &partition.isr[..], partition.recovering), (1, &[1][..], true));
    assert!(partition.last_known_elr.is_empty());
}

#[test]
fn registration_refuses() {
    use ErrorCode::*;
    let mut cluster = Cluster::of(1);
    let base = || registration(2, 1);
    let zero = BrokerRegistration { dirs: vec![DirId::UNASSIGNED], ..base() };
    let twice = BrokerRegistration { dirs: vec![DirId([7; 16]); 2], ..base() };
    let foreign = BrokerRegistration { dirs: registration(1, 1).dirs, ..base() };
    for bad in [BrokerRegistration { dirs: Vec::new(), ..base() }, zero, twice, foreign] {
        assert_eq!(code(cluster.register(bad, false)), Some(InvalidRegistration));
    }
    let old = BrokerRegistration { features: Vec::new(), ..base() };
    assert_eq!(code(cluster.register(old, false)), Some(UnsupportedVersion));
    let elsewhere = Command::RegisterBroker { cluster_id: "x".into(), registration: base(), unclean: false };
    let Reply::RegisterBroker(refused) = cluster.run(&elsewhere) else { panic!() };
    assert_eq!(code(refused), Some(InconsistentClusterId));
    // Somebody alive has the id.
    let session = Session { broker_epoch: cluster.epoch(1), last_heard_ms: cluster.now_ms, applied: 0 };
    cluster.sessions.heard(1, session);
    assert_eq!(code(cluster.register(registration(1, 2), false)), Some(DuplicateBrokerRegistration));
    cluster.now_ms += 9000;
    assert!(cluster.register(registration(1, 2), false).is_ok());
}

#[test]
fn old_epochs_are_refused() {
    let mut cluster = Cluster::of(1);
    let stale = cluster.epoch(1);
    cluster.register(registration(1, 2), false).unwrap();
    let Reply::BrokerHeartbeat(refused) = cluster.beat(1, |b| b.broker_epoch = stale) else { panic!() };
    assert_eq!(code(refused), Some(ErrorCode::StaleBrokerEpoch));
    let Reply::AllocateProducerIds(refused) =
        cluster.run(&Command::AllocateProducerIds { broker: 1, broker_epoch: stale })
    else {
        panic!()
    };
    assert_eq!(code(refused), Some(ErrorCode::StaleBrokerEpoch));
}

#[test]
fn epochs_never_come_back() {
    let mut cluster = Cluster::of(1);
    let epoch = cluster.epoch(1);
    cluster.run(&Command::UnregisterBroker { broker: 1 });
    assert_eq!(cluster.image.brokers().count(), 0);
    assert!(cluster.register(registration(1, 1), false).unwrap() > epoch);
    let Reply::UnregisterBroker(refused) = cluster.run(&Command::UnregisterBroker { broker: 5 }) else { panic!() };
    assert_eq!(code(refused), Some(ErrorCode::BrokerIdNotRegistered));
}

#[test]
fn a_controlled_shutdown_hands_everything_over_first() {
    let mut cluster = Cluster::of(3);
    cluster.assigned("a", &[1, 2, 3]);
    let stop = |b: &mut millrace_metadata::command::Heartbeat| b.want_shutdown = true;
    let at = cluster.image.index;
    let state = heart(cluster.beat(1, stop));
    assert!(!state.should_shutdown && !state.fenced);
    let partition = cluster.partition("a");
    assert_eq!((partition.leader, &partition.isr[..]), (2, &[2, 3][..]));
    // The others have not all seen it.
    let behind = Session { broker_epoch: 0, last_heard_ms: cluster.now_ms, applied: at };
    let ahead = Session { applied: cluster.image.index, ..behind };
    cluster.sessions.heard(2, ahead);
    cluster.sessions.heard(3, behind);
    assert!(!heart(cluster.beat(1, stop)).should_shutdown);
    cluster.sessions.heard(3, ahead);
    // What happens meanwhile keeps nobody waiting.
    cluster.create(NewTopic::new("b", 1, 1)).unwrap();
    let state = heart(cluster.beat(1, stop));
    assert!(state.should_shutdown && state.fenced);
    assert!(cluster.image.broker(1).unwrap().fenced);
}

#[test]
fn a_failed_directory_takes_only_its_replicas() {
    let mut cluster = Cluster::of(2);
    let dirs = vec![DirId([21; 16]), DirId([22; 16])];
    cluster.register(BrokerRegistration { dirs: dirs.clone(), ..registration(3, 1) }, false).unwrap();
    heart(cluster.beat(3, |_| {}));
    cluster.assigned("a", &[3, 1]);
    cluster.assigned("b", &[3, 2]);
    // With two directories the broker chooses.
    assert_eq!(cluster.partition("a").dirs[0], DirId::UNASSIGNED);
    let partition = |cluster: &Cluster, name| vec![(cluster.image.topic_id(name).unwrap(), 0)];
    let assign = |dir, partitions| millrace_metadata::command::DirAssignment { dir, partitions };
    let command = Command::AssignReplicasToDirs {
        broker: 3,
        broker_epoch: cluster.epoch(3),
        dirs: vec![assign(dirs[0], partition(&cluster, "a")), assign(dirs[1], partition(&cluster, "b"))],
    };
    cluster.run(&command);
    assert_eq!(cluster.partition("a").dir_of(3), Some(dirs[0]));
    heart(cluster.beat(3, |b| b.offline_dirs = vec![dirs[0]]));
    assert_eq!(cluster.image.broker(3).unwrap().dirs, [dirs[1]]);
    assert_eq!((cluster.partition("a").leader, cluster.partition("b").leader), (1, 3));
    assert!(!cluster.partition("a").isr.contains(&3));
    // Its leader may still take it for a replica that has everything.
    let partition = cluster.partition("a").clone();
    let change = IsrChange {
        topic: cluster.image.topic_id("a").unwrap(),
        partition: 0,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        isr: vec![(1, cluster.epoch(1)), (3, cluster.epoch(3))],
        recovering: false,
    };
    let command = Command::AlterPartition { broker: 1, broker_epoch: cluster.epoch(1), changes: vec![change] };
    let Reply::AlterPartition(Ok(mut results)) = cluster.run(&command) else { panic!("wrong reply") };
    assert_eq!(code(results.remove(0).1), Some(ErrorCode::IneligibleReplica));
}

#[test]
fn eligible_replicas_are_switched_off_only_while_all_is_in_sync() {
    use FeatureChangeKind::SafeDowngrade;
    let elr = features::ELIGIBLE_LEADER_REPLICAS;
    let mut cluster = Cluster::of(2);
    cluster.assigned("a", &[1, 2]);
    cluster.set("a", "min.insync.replicas", "2");
    cluster.fence(1);
    cluster.fence(2);
    assert_eq!(update(&mut cluster, elr, 0, SafeDowngrade), Some(ErrorCode::InvalidUpdateVersion));
    cluster.beat(2, |_| {});
    assert_eq!(cluster.partition("a").elr[..], [1]);
    assert_eq!(update(&mut cluster, elr, 0, SafeDowngrade), None);
    let partition = cluster.partition("a");
    assert_eq!((partition.leader, partition.elr.len()), (2, 0));
    // As without eligible replicas: the last one in sync stays that.
    cluster.fence(2);
    assert_eq!((cluster.partition("a").leader, &cluster.partition("a").isr[..]), (-1, &[2][..]));
}

#[test]
fn sessions_expire_one_at_a_time_longest_first() {
    let mut sessions = Sessions::new(100);
    let at = |last_heard_ms| Session { broker_epoch: 1, last_heard_ms, applied: 0 };
    sessions.heard(1, at(50));
    sessions.heard(2, at(20));
    assert_eq!(sessions.expired(119), None);
    assert_eq!(sessions.expired(160), Some((2, 1)));
    sessions.lost(2);
    assert_eq!(sessions.expired(160), Some((1, 1)));
    assert!(sessions.is_live(1, 149) && !sessions.is_live(1, 150) && !sessions.is_live(2, 0));
}

#[test]
fn producer_ids_come_in_blocks() {
    let mut cluster = Cluster::of(1);
    let ask = Command::AllocateProducerIds { broker: 1, broker_epoch: cluster.epoch(1) };
    for first in [0, 1000, 2000] {
        let block = ProducerIdBlock { first, len: 1000 };
        assert_eq!(cluster.run(&ask), Reply::AllocateProducerIds(Ok(block)));
    }
}

fn update(cluster: &mut Cluster, name: &str, level: i16, kind: FeatureChangeKind) -> Option<ErrorCode> {
    let changes = vec![FeatureChange { name: name.into(), level, kind }];
    let Reply::UpdateFeatures(result) = cluster.run(&Command::UpdateFeatures { changes, validate_only: false }) else {
        panic!()
    };
    code(result)
}

#[test]
fn features_change_only_where_everybody_can() {
    use FeatureChangeKind::*;
    let refused = Some(ErrorCode::InvalidUpdateVersion);
    let mut cluster = Cluster::of(1);
    let elr = features::ELIGIBLE_LEADER_REPLICAS;
    let index = cluster.image.features_index;
    assert_eq!(update(&mut cluster, "no.such", 1, Upgrade), refused);
    assert_eq!(update(&mut cluster, elr, 2, Upgrade), refused);
    assert_eq!(update(&mut cluster, elr, -1, Upgrade), refused);
    assert_eq!(update(&mut cluster, elr, 0, Upgrade), refused);
    assert_eq!(update(&mut cluster, features::METADATA_VERSION, 20, SafeDowngrade), refused);
    assert_eq!(cluster.image.features_index, index);
    assert_eq!(update(&mut cluster, elr, 0, SafeDowngrade), None);
    assert_eq!(cluster.image.features.get(elr), None);
    assert!(cluster.image.features_index > index);
    assert_eq!(update(&mut cluster, elr, 1, SafeDowngrade), refused);
    assert_eq!(update(&mut cluster, elr, 1, Upgrade), None);
    let mut old = registration(2, 1);
    old.features.retain(|f| f.name != elr);
    update(&mut cluster, elr, 0, SafeDowngrade);
    cluster.register(old, false).unwrap();
    assert_eq!(update(&mut cluster, elr, 1, Upgrade), refused);
}
