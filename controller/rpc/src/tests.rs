//! Whatever goes in comes out.

use millrace_metadata::command::*;
use millrace_metadata::ids::IncarnationId;
use millrace_metadata::record::{
    BrokerRegistration, ControllerRegistration, Dirs, FeatureRange, Nodes, PartitionDelta,
};
use millrace_metadata::{
    ApiError, Command, ConfigResource, DirId, Endpoint, ErrorCode, PartitionImage, Record, Reply, ResourceKind, TopicId,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::*;

fn nodes() -> impl Strategy<Value = Nodes> {
    vec(any::<i32>(), 0..6).prop_map(Nodes::from_vec)
}

fn dirs<T: FromIterator<DirId> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    vec(any::<[u8; 16]>().prop_map(DirId), 0..4).prop_map(|d| d.into_iter().collect())
}

fn topic() -> impl Strategy<Value = TopicId> {
    any::<[u8; 16]>().prop_map(TopicId)
}

fn resource() -> impl Strategy<Value = ConfigResource> {
    let kinds = [
        ResourceKind::Topic,
        ResourceKind::Broker,
        ResourceKind::BrokerLogger,
        ResourceKind::ClientMetrics,
        ResourceKind::Group,
    ];
    (proptest::sample::select(kinds.to_vec()), any::<String>()).prop_map(|(kind, name)| ConfigResource { kind, name })
}

fn range() -> impl Strategy<Value = FeatureRange> {
    (any::<String>(), any::<i16>(), any::<i16>()).prop_map(|(name, min, max)| FeatureRange { name, min, max })
}

fn controller() -> impl Strategy<Value = ControllerRegistration> {
    let parts = (any::<i32>(), any::<[u8; 16]>(), vec(range(), 0..3));
    parts.prop_map(|(id, dir, features)| ControllerRegistration { id, dir: DirId(dir), features })
}

fn registration() -> impl Strategy<Value = BrokerRegistration> {
    let endpoint = (any::<String>(), any::<String>(), any::<u16>(), any::<i16>())
        .prop_map(|(listener, host, port, p)| Endpoint { listener, host, port, security_protocol: p });
    (any::<i32>(), any::<[u8; 16]>(), vec(endpoint, 0..3), option::of(any::<String>()), dirs(), vec(range(), 0..3))
        .prop_map(|(id, incarnation, endpoints, rack, dirs, features)| BrokerRegistration {
            id,
            incarnation: IncarnationId(incarnation),
            endpoints,
            rack,
            dirs,
            features,
        })
}

fn partition() -> impl Strategy<Value = PartitionImage> {
    let lists = (nodes(), dirs::<Dirs>(), nodes(), nodes(), nodes(), nodes(), nodes());
    (lists, any::<i32>(), any::<i32>(), any::<i32>(), any::<bool>()).prop_map(
        |(l, leader, epoch, partition_epoch, r)| PartitionImage {
            replicas: l.0,
            dirs: l.1,
            isr: l.2,
            elr: l.3,
            last_known_elr: l.4,
            adding: l.5,
            removing: l.6,
            leader,
            leader_epoch: epoch,
            partition_epoch,
            recovering: r,
        },
    )
}

fn delta() -> impl Strategy<Value = PartitionDelta> {
    let some = || option::of(nodes());
    let lists = (some(), option::of(dirs::<Box<[DirId]>>()), some(), some(), some(), some(), some());
    (lists, option::of(any::<i32>()), option::of(any::<bool>())).prop_map(|(l, leader, recovering)| PartitionDelta {
        replicas: l.0,
        dirs: l.1,
        isr: l.2,
        elr: l.3,
        last_known_elr: l.4,
        adding: l.5,
        removing: l.6,
        leader,
        recovering,
    })
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![
        any::<String>().prop_map(|id| Record::ClusterId { id }),
        (registration(), any::<i64>(), any::<(bool, bool)>(), any::<(u64, u64)>()).prop_map(
            |(registration, epoch, (fenced, in_controlled_shutdown), (index, shutdown_at))| {
                let registration = Box::new(registration);
                Record::RegisterBroker { registration, epoch, fenced, in_controlled_shutdown, index, shutdown_at }
            }
        ),
        (any::<i32>(), any::<i64>(), any::<Option<bool>>(), any::<Option<bool>>(), option::of(dirs())).prop_map(
            |(id, epoch, fenced, in_controlled_shutdown, dirs)| {
                Record::BrokerChange { id, epoch, fenced, in_controlled_shutdown, dirs }
            }
        ),
        (any::<i32>(), any::<i64>()).prop_map(|(id, epoch)| Record::UnregisterBroker { id, epoch }),
        (any::<String>(), topic()).prop_map(|(name, id)| Record::Topic { name, id }),
        (topic(), any::<i32>(), partition()).prop_map(|(topic, index, p)| Record::Partition {
            topic,
            index,
            partition: Box::new(p)
        }),
        (topic(), any::<i32>(), delta()).prop_map(|(topic, index, d)| Record::PartitionChange {
            topic,
            index,
            delta: Box::new(d)
        }),
        topic().prop_map(|id| Record::RemoveTopic { id }),
        (resource(), any::<String>(), any::<Option<String>>())
            .prop_map(|(resource, key, value)| Record::config(resource, key, value)),
        (any::<String>(), any::<i16>()).prop_map(|(name, level)| Record::FeatureLevel { name, level }),
        (any::<i32>(), any::<i64>(), any::<i64>())
            .prop_map(|(broker, broker_epoch, next)| { Record::ProducerIds { broker, broker_epoch, next } }),
        (any::<i64>(), any::<u64>())
            .prop_map(|(last_broker_epoch, features_index)| { Record::Counters { last_broker_epoch, features_index } }),
        controller().prop_map(|c| Record::RegisterController(Box::new(c))),
    ]
}

proptest! {
    #[test]
    fn records(records in vec(record(), 0..5)) {
        let bytes = encode(&pb::Records { records: records_to_pb(&records) });
        let back: pb::Records = decode(&bytes).unwrap();
        prop_assert_eq!(records_from_pb(back.records).unwrap(), records);
    }

    #[test]
    fn damage_is_an_error_and_no_panic(bytes: Vec<u8>) {
        if let Ok(records) = decode::<pb::Records>(&bytes) {
            drop(records_from_pb(records.records));
        }
        if let Ok(command) = decode::<pb::Command>(&bytes) {
            drop(command_from_pb(command));
        }
    }
}

fn error() -> ApiError {
    ApiError::new(ErrorCode::UnknownServerError, "why")
}

fn commands() -> Vec<Command> {
    let resource = ConfigResource::topic("t");
    let ops = [ConfigOpKind::Set, ConfigOpKind::Delete, ConfigOpKind::Append, ConfigOpKind::Subtract];
    let ops = ops.map(|op| ConfigOp { key: "k".into(), op, value: (op != ConfigOpKind::Delete).then(|| "v".into()) });
    let kinds = [FeatureChangeKind::Upgrade, FeatureChangeKind::SafeDowngrade, FeatureChangeKind::UnsafeDowngrade];
    let features = kinds.map(|kind| FeatureChange { name: "f".into(), level: -3, kind });
    let manual = NewTopic {
        assignments: vec![(0, vec![1, 2]), (1, vec![])],
        configs: vec![("a".into(), None), ("b".into(), Some(String::new()))],
        ..NewTopic::new("m", -1, -1)
    };
    let registration = BrokerRegistration {
        id: 3,
        incarnation: IncarnationId([4; 16]),
        endpoints: vec![Endpoint { listener: "L".into(), host: "h".into(), port: 9092, security_protocol: 3 }],
        rack: Some("r".into()),
        dirs: vec![DirId([1; 16]), DirId([2; 16])],
        features: Vec::new(),
    };
    let reassign = |replicas| Reassignment { topic: "t".into(), partition: 2, replicas };
    vec![
        Command::CreateTopics { topics: vec![NewTopic::new("a", 3, 1), manual], validate_only: true },
        Command::DeleteTopics { topics: vec![TopicRef::Name("a".into()), TopicRef::Id(TopicId([7; 16]))] },
        Command::CreatePartitions {
            topics: vec![
                MorePartitions { name: "a".into(), count: 5, assignments: None },
                MorePartitions { name: "b".into(), count: -5, assignments: Some(vec![vec![1], vec![]]) },
            ],
            validate_only: false,
        },
        Command::AlterConfigs {
            changes: vec![ConfigChange { resource, ops: ops.to_vec(), replace: true }],
            validate_only: true,
        },
        Command::ElectLeaders { unclean: true, partitions: None },
        Command::ElectLeaders { unclean: false, partitions: Some(vec![("t".into(), vec![0, 1])]) },
        Command::AlterPartitionReassignments {
            partitions: vec![reassign(None), reassign(Some(vec![])), reassign(Some(vec![1, 2]))],
            allow_rf_change: true,
        },
        Command::UpdateFeatures { changes: features.to_vec(), validate_only: true },
        Command::AllocateProducerIds { broker: 1, broker_epoch: 9 },
        Command::RegisterBroker { cluster_id: "c".into(), registration, unclean: true },
        Command::BrokerHeartbeat(Heartbeat {
            broker: 1,
            broker_epoch: 2,
            applied: 3,
            want_fence: true,
            want_shutdown: true,
            offline_dirs: vec![DirId([3; 16])],
        }),
        Command::UnregisterBroker { broker: 4 },
        Command::FenceBroker { broker: 4, broker_epoch: 5 },
        Command::AlterPartition {
            broker: 1,
            broker_epoch: 2,
            changes: vec![IsrChange {
                topic: TopicId([1; 16]),
                partition: 3,
                leader_epoch: 4,
                partition_epoch: 5,
                isr: vec![(1, -1), (2, 7)],
                recovering: true,
            }],
        },
        Command::AssignReplicasToDirs {
            broker: 1,
            broker_epoch: 2,
            dirs: vec![DirAssignment { dir: DirId([1; 16]), partitions: vec![(TopicId([2; 16]), 3)] }],
        },
        Command::RegisterController(ControllerRegistration {
            id: 7,
            dir: DirId([8; 16]),
            features: vec![FeatureRange { name: "f".into(), min: 0, max: 2 }],
        }),
    ]
}

fn replies() -> Vec<Reply> {
    let key = || ("t".to_owned(), 1);
    let id = TopicId([5; 16]);
    let created = CreatedTopic {
        name: "a".into(),
        id,
        partitions: 3,
        replication_factor: 2,
        configs: vec![("k".into(), "v".into())],
    };
    let state =
        IsrState { leader: -1, leader_epoch: 3, isr: Nodes::from_slice(&[1, 2]), recovering: true, partition_epoch: 4 };
    vec![
        Reply::CreateTopics(vec![Ok(created), Err(("b".into(), error()))]),
        Reply::DeleteTopics(vec![
            Ok(DeletedTopic { name: "a".into(), id }),
            Err((TopicRef::Name("n".into()), error())),
            Err((TopicRef::Id(id), error())),
        ]),
        Reply::CreatePartitions(vec![Ok("a".into()), Err(("b".into(), error()))]),
        Reply::AlterConfigs(vec![(ConfigResource::topic("t"), Ok(())), (ConfigResource::topic("u"), Err(error()))]),
        Reply::ElectLeaders([(key(), Ok(())), (("u".into(), 0), Err(error()))].into()),
        Reply::AlterPartitionReassignments(vec![(key(), Ok(())), (key(), Err(error()))]),
        Reply::UpdateFeatures(Ok(())),
        Reply::UpdateFeatures(Err(error())),
        Reply::AllocateProducerIds(Ok(ProducerIdBlock { first: 1000, len: 1000 })),
        Reply::AllocateProducerIds(Err(error())),
        Reply::RegisterBroker(Ok(Registered { epoch: 7 })),
        Reply::RegisterBroker(Err(error())),
        Reply::BrokerHeartbeat(Ok(HeartbeatState { caught_up: true, fenced: false, should_shutdown: true })),
        Reply::BrokerHeartbeat(Err(error())),
        Reply::UnregisterBroker(Err(error())),
        Reply::FenceBroker(Ok(())),
        Reply::AlterPartition(Ok(vec![((id, 1), Ok(state)), ((id, 2), Err(error()))])),
        Reply::AlterPartition(Err(error())),
        Reply::AssignReplicasToDirs(Ok(vec![((id, 1), Ok(())), ((id, 2), Err(error()))])),
        Reply::AssignReplicasToDirs(Err(error())),
        Reply::RegisterController(Ok(())),
        Reply::RegisterController(Err(error())),
    ]
}

#[test]
fn commands_and_replies() {
    for command in commands() {
        let bytes = encode(&command_to_pb(&command));
        assert_eq!(command_from_pb(decode(&bytes).unwrap()), Ok(command));
    }
    for reply in replies() {
        let bytes = encode(&reply_to_pb(&reply));
        assert_eq!(reply_from_pb(decode(&bytes).unwrap()), Ok(reply));
    }
}

#[test]
fn what_nobody_knows_is_refused() {
    assert_eq!(record_from_pb(pb::Record { kind: None }), Err(DecodeError::Unknown("kind of record")));
    assert!(matches!(command_from_pb(pb::Command { kind: None }), Err(DecodeError::Unknown(_))));
    assert!(matches!(reply_from_pb(pb::Reply { kind: None }), Err(DecodeError::Unknown(_))));
    assert!(error_from_pb(pb::Error { code: 9999, message: String::new() }).is_err());
}
