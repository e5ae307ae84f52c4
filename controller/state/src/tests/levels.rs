//! A mixed cluster: what is new is written only after the last node supports it and somebody said so.

use millrace_metadata::command::{FeatureChange, FeatureChangeKind};
use millrace_metadata::features::{CONTROLLERS_REGISTERED, Feature, MILLRACE_VERSION, TABLE, UNSAID, ranges};
use millrace_metadata::record::{BrokerRegistration, ControllerRegistration};
use millrace_metadata::{ApiError, Command, DirId, ErrorCode, Image, NodeId, Record, Reply};

use super::{Cluster, code, registration};
use crate::{Member, snapshot_records};

/// Software that comes after this one.
const NEXT: &[Feature] = &[
    Feature { name: "eligible.leader.replicas.version", min: 0, max: 1, default: 1 },
    Feature { name: "metadata.version", min: 7, max: 30, default: 30 },
    Feature { name: MILLRACE_VERSION, min: 0, max: CONTROLLERS_REGISTERED + 1, default: 0 },
];

fn broker(cluster: &mut Cluster, id: NodeId, table: &[Feature]) -> Option<ErrorCode> {
    let incarnation = cluster.image.broker(id).map_or(1, |b| b.incarnation.0[0] + 1);
    cluster.sessions.lost(id);
    let registration = BrokerRegistration { features: ranges(table), ..registration(id, incarnation) };
    let done = cluster.register(registration, false);
    if done.is_ok() {
        cluster.beat(id, |_| {});
    }
    code(done)
}

fn controller(id: NodeId, table: &[Feature]) -> ControllerRegistration {
    ControllerRegistration { id, dir: DirId([id as u8; 16]), features: ranges(table) }
}

/// The records that follow from it, and the refusal.
fn register(cluster: &mut Cluster, registration: ControllerRegistration) -> (Vec<Record>, Option<ErrorCode>) {
    let (records, reply) = cluster.decide(&Command::RegisterController(registration));
    cluster.agree(records.clone());
    let Reply::RegisterController(done) = reply else { panic!("wrong reply") };
    (records, code(done))
}

fn update(cluster: &mut Cluster, level: i16, kind: FeatureChangeKind, validate_only: bool) -> Result<(), ApiError> {
    let changes = vec![FeatureChange { name: MILLRACE_VERSION.into(), level, kind }];
    let Reply::UpdateFeatures(done) = cluster.run(&Command::UpdateFeatures { changes, validate_only }) else {
        panic!()
    };
    done
}

fn raise(cluster: &mut Cluster, level: i16) -> Result<(), ApiError> {
    update(cluster, level, FeatureChangeKind::Upgrade, false)
}

fn refusal(done: Result<(), ApiError>) -> String {
    let error = done.expect_err("it was done");
    assert_eq!(error.code, ErrorCode::InvalidUpdateVersion);
    error.message
}

fn member(id: NodeId, said: Option<&[Feature]>) -> Member {
    Member { id, dir: DirId([id as u8; 16]), votes: true, said: said.map(ranges) }
}

/// Two brokers of the first software, and an active controller of this one.
fn mixed() -> Cluster {
    let mut cluster = Cluster::founded(UNSAID);
    for id in 1..=2 {
        assert_eq!(broker(&mut cluster, id, UNSAID), None);
    }
    cluster
}

#[test]
fn a_level_waits_for_the_last_node_and_its_records_for_the_level() {
    let mut cluster = mixed();
    assert_eq!(cluster.image.level(MILLRACE_VERSION), 0);
    // Controllers of this software tell, and it is not recorded yet.
    assert_eq!(register(&mut cluster, controller(1, TABLE)), (vec![], None));
    assert_eq!(register(&mut cluster, controller(2, UNSAID)), (vec![], None));
    assert!(refusal(raise(&mut cluster, 1)).contains("Broker 1 supports levels 0 to 0."));
    assert_eq!(broker(&mut cluster, 1, TABLE), None);
    assert_eq!(broker(&mut cluster, 2, TABLE), None);
    // One of them goes back, which must be possible up to here; whether it runs does not matter.
    assert_eq!(broker(&mut cluster, 1, UNSAID), None);
    cluster.fence(1);
    assert!(refusal(raise(&mut cluster, 1)).contains("Broker 1 supports levels 0 to 0."));
    assert_eq!(broker(&mut cluster, 1, TABLE), None);
    // The controllers are asked.
    cluster.quorum = vec![member(2, Some(TABLE)), member(3, Some(UNSAID))];
    assert!(refusal(raise(&mut cluster, 1)).contains("Controller 3 supports levels 0 to 0."));
    cluster.quorum[1].said = None;
    assert!(refusal(raise(&mut cluster, 1)).contains("Controller 3 cannot be asked"));
    // What changes nothing asks nobody, and who has no vote may be away.
    assert_eq!(update(&mut cluster, 0, FeatureChangeKind::SafeDowngrade, false), Ok(()));
    cluster.quorum[1].votes = false;
    assert_eq!(update(&mut cluster, 1, FeatureChangeKind::Upgrade, true), Ok(()));
    assert_eq!(cluster.image.level(MILLRACE_VERSION), 0);
    cluster.quorum[1] = member(3, Some(TABLE));
    assert_eq!(register(&mut cluster, controller(1, TABLE)), (vec![], None));
    assert_eq!(raise(&mut cluster, 1), Ok(()));

    let own = controller(1, TABLE);
    assert_eq!(register(&mut cluster, own.clone()), (vec![Record::RegisterController(Box::new(own.clone()))], None));
    assert_eq!(register(&mut cluster, own), (vec![], None));
    assert_eq!(register(&mut cluster, controller(4, UNSAID)), (vec![], Some(ErrorCode::UnsupportedVersion)));
    assert_eq!(broker(&mut cluster, 2, UNSAID), Some(ErrorCode::UnsupportedVersion));
    let before = cluster.image.clone();
    for kind in [FeatureChangeKind::SafeDowngrade, FeatureChangeKind::UnsafeDowngrade] {
        assert!(refusal(update(&mut cluster, 0, kind, false)).contains("would be lost"));
    }
    assert_eq!(cluster.image, before);
    let mut copy = Image::at(before.index, before.term);
    snapshot_records(&before).for_each(|record| copy.apply(&record));
    assert_eq!(copy, before);
}

#[test]
fn a_registered_controller_need_not_be_there_to_be_asked() {
    let mut cluster = Cluster::founded(TABLE);
    cluster.defaults.features = NEXT;
    assert_eq!(broker(&mut cluster, 1, NEXT), None);
    cluster.quorum = vec![member(2, None)];
    assert!(refusal(raise(&mut cluster, 2)).contains("Controller 2 cannot be asked"));
    register(&mut cluster, controller(2, TABLE));
    assert!(refusal(raise(&mut cluster, 2)).contains("Controller 2 supports levels 0 to 1."));
    register(&mut cluster, controller(2, NEXT));
    // With another directory it is somebody else.
    cluster.quorum[0].dir = DirId([9; 16]);
    assert!(refusal(raise(&mut cluster, 2)).contains("Controller 2 cannot be asked"));
    cluster.quorum[0].dir = DirId([2; 16]);
    // What it says stands over what it said.
    cluster.quorum[0].said = Some(ranges(TABLE));
    assert!(refusal(raise(&mut cluster, 2)).contains("Controller 2 supports levels 0 to 1."));
    cluster.quorum[0].said = None;
    assert_eq!(raise(&mut cluster, 2), Ok(()));
}
