//! Topics come, grow and go.

use millrace_metadata::command::{DeletedTopic, MorePartitions, NewTopic, TopicRef};
use millrace_metadata::{Command, ErrorCode, NodeId, Record, Reply, TopicId};

use super::{Cluster, code};

fn manual(assignments: &[(i32, &[NodeId])]) -> NewTopic {
    let assignments = assignments.iter().map(|(p, r)| (*p, r.to_vec())).collect();
    NewTopic { assignments, ..NewTopic::new("m", -1, -1) }
}

fn config(key: &str, value: Option<&str>) -> NewTopic {
    NewTopic { configs: vec![(key.to_owned(), value.map(str::to_owned))], ..NewTopic::new("c", 1, 1) }
}

#[test]
fn create_makes_a_topic_its_configs_and_its_partitions() {
    let mut cluster = Cluster::of(1);
    let topic = NewTopic { configs: vec![("retention.ms".into(), Some("5".into()))], ..NewTopic::new("a", 2, 1) };
    let (records, reply) = cluster.decide(&Command::CreateTopics { topics: vec![topic], validate_only: false });
    assert!(matches!(
        &records[..],
        [
            Record::Topic { .. },
            Record::Config { .. },
            Record::Partition { index: 0, .. },
            Record::Partition { index: 1, .. },
        ]
    ));
    let Reply::CreateTopics(results) = reply else { panic!() };
    let created = results[0].as_ref().unwrap();
    assert_eq!((created.partitions, created.replication_factor), (2, 1));
    assert_eq!(created.configs, [("retention.ms".to_owned(), "5".to_owned())]);
    assert!(!created.id.is_zero());
}

#[test]
fn create_uses_the_defaults() {
    let mut cluster = Cluster::of(3);
    (cluster.defaults.num_partitions, cluster.defaults.replication_factor) = (4, 2);
    let created = cluster.create(NewTopic::new("a", -1, -1)).unwrap();
    assert_eq!((created.partitions, created.replication_factor), (4, 2));
}

#[test]
fn validate_only_changes_nothing_and_says_what_would_be() {
    let mut cluster = Cluster::of(1);
    let topics = vec![NewTopic::new("a", 3, 1), NewTopic::new("bad name", 1, 1)];
    let (records, reply) = cluster.decide(&Command::CreateTopics { topics, validate_only: true });
    assert_eq!(records, []);
    let Reply::CreateTopics(results) = reply else { panic!() };
    assert_eq!(results[0].as_ref().unwrap().partitions, 3);
    assert_eq!(results[1].as_ref().unwrap_err().1.code, ErrorCode::InvalidTopicException);
}

#[test]
fn create_refuses() {
    use ErrorCode::*;
    use Option::None;
    let mut cluster = Cluster::of(2);
    cluster.create(NewTopic::new("a.b", 1, 1)).unwrap();
    let cases = [
        (NewTopic::new("", 1, 1), InvalidTopicException),
        (NewTopic::new("..", 1, 1), InvalidTopicException),
        (NewTopic::new("a.b", 1, 1), TopicAlreadyExists),
        (NewTopic::new("a_b", 1, 1), InvalidTopicException),
        (NewTopic::new("x", 0, 1), InvalidPartitions),
        (NewTopic::new("x", -2, 1), InvalidPartitions),
        (NewTopic::new("x", 1, 0), InvalidReplicationFactor),
        (NewTopic::new("x", 0, 0), InvalidReplicationFactor),
        (NewTopic::new("x", 1, 3), InvalidReplicationFactor),
        (NewTopic::new("x", 10_001, 1), PolicyViolation),
        (config("retention.ms", None), InvalidConfig),
        (config("retention.ms", Some("soon")), InvalidConfig),
        (config("no.such.key", Some("1")), InvalidConfig),
        (NewTopic { partitions: 1, ..manual(&[(0, &[1])]) }, InvalidRequest),
        (NewTopic { replication_factor: 1, ..manual(&[(0, &[1])]) }, InvalidRequest),
        (manual(&[(0, &[])]), InvalidReplicaAssignment),
        (manual(&[(0, &[1, 1])]), InvalidReplicaAssignment),
        (manual(&[(0, &[7])]), InvalidReplicaAssignment),
        (manual(&[(0, &[1]), (0, &[2])]), InvalidReplicaAssignment),
        (manual(&[(0, &[1]), (2, &[2])]), InvalidReplicaAssignment),
        (manual(&[(1, &[1])]), InvalidReplicaAssignment),
        (manual(&[(0, &[1]), (1, &[1, 2])]), InvalidReplicaAssignment),
    ];
    for (topic, expected) in cases {
        let before = cluster.image.clone();
        assert_eq!(code(cluster.create(topic.clone())), Some(expected), "{topic:?}");
        assert_eq!(cluster.image, before);
    }
}

#[test]
fn names_collide_within_a_request_too() {
    let mut cluster = Cluster::of(1);
    let topics = vec![NewTopic::new("x.y", 1, 1), NewTopic::new("x_y", 1, 1)];
    let Reply::CreateTopics(results) = cluster.run(&Command::CreateTopics { topics, validate_only: false }) else {
        panic!()
    };
    assert!(results[0].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err().1.code, ErrorCode::InvalidTopicException);
}

#[test]
fn a_name_given_twice_is_answered_once() {
    let mut cluster = Cluster::of(1);
    let topics = vec![NewTopic::new("a", 1, 1), NewTopic::new("b", 1, 1), NewTopic::new("a", 2, 1)];
    let Reply::CreateTopics(results) = cluster.run(&Command::CreateTopics { topics, validate_only: false }) else {
        panic!()
    };
    assert_eq!(results.len(), 2);
    assert_eq!(results[0].as_ref().unwrap_err().1.code, ErrorCode::InvalidRequest);
    assert!(results[1].is_ok());
}

#[test]
fn no_live_broker_no_topic() {
    let mut cluster = Cluster::of(1);
    cluster.fence(1);
    assert_eq!(code(cluster.create(NewTopic::new("a", 1, 1))), Some(ErrorCode::InvalidReplicationFactor));
    assert_eq!(code(cluster.create(manual(&[(0, &[1])]))), Some(ErrorCode::InvalidReplicaAssignment));
    assert_eq!(code(Cluster::empty().create(NewTopic::new("a", 1, 1))), Some(ErrorCode::InvalidReplicationFactor));
}

#[test]
fn leaders_and_replicas_are_spread_evenly() {
    let mut cluster = Cluster::of(5);
    cluster.create(NewTopic::new("a", 50, 3)).unwrap();
    let (mut leaders, mut replicas) = ([0; 6], [0; 6]);
    for partition in &cluster.image.topic("a").unwrap().partitions {
        leaders[partition.leader as usize] += 1;
        partition.replicas.iter().for_each(|r| replicas[*r as usize] += 1);
        assert_eq!(partition.leader, partition.replicas[0]);
        assert_eq!(partition.isr, partition.replicas);
    }
    assert_eq!(leaders[1..], [10; 5]);
    assert!(replicas[1..].iter().all(|n| (28..=32).contains(n)), "{replicas:?}");
}

#[test]
fn a_new_broker_does_not_get_every_new_partition() {
    let mut cluster = Cluster::of(3);
    cluster.create(NewTopic::new("old", 300, 1)).unwrap();
    cluster.join(4, None);
    cluster.create(NewTopic::new("new", 12, 1)).unwrap();
    let count =
        |topic: &str, id| cluster.image.topic(topic).unwrap().partitions.iter().filter(|p| p.leader == id).count();
    assert!((1..=4).all(|id| count("new", id) == 3));
    // Topics of one partition go where there is least.
    for i in 0..10 {
        cluster.create(NewTopic::new(format!("one{i}"), 1, 1)).unwrap();
        assert_eq!(cluster.partition(&format!("one{i}")).leader, 4);
    }
}

#[test]
fn racks_first_then_an_even_share_within_each() {
    let mut cluster = Cluster::empty();
    for id in 1..=6 {
        cluster.join(id, Some(["a", "b", "c"][id as usize % 3]));
    }
    cluster.create(NewTopic::new("t", 60, 3)).unwrap();
    grow(&mut cluster, "t", 90, None);
    let mut leaders = std::collections::BTreeMap::<NodeId, usize>::new();
    let mut replicas = leaders.clone();
    for partition in &cluster.image.topic("t").unwrap().partitions {
        let racks: std::collections::BTreeSet<NodeId> = partition.replicas.iter().map(|r| r % 3).collect();
        assert_eq!(racks.len(), 3);
        *leaders.entry(partition.leader).or_default() += 1;
        partition.replicas.iter().for_each(|r| *replicas.entry(*r).or_default() += 1);
    }
    assert!(leaders.values().all(|n| *n == 15), "{leaders:?}");
    assert!(replicas.values().all(|n| *n == 45), "{replicas:?}");
}

#[test]
fn replicas_of_one_partition_are_on_different_racks() {
    let mut cluster = Cluster::empty();
    for (id, rack) in [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c"), (6, "c")] {
        cluster.join(id, Some(rack));
    }
    cluster.create(NewTopic::new("t", 60, 3)).unwrap();
    for partition in &cluster.image.topic("t").unwrap().partitions {
        let mut racks: Vec<i32> = partition.replicas.iter().map(|id| (id - 1) / 2).collect();
        racks.sort_unstable();
        assert_eq!(racks, [0, 1, 2]);
    }
}

#[test]
fn a_fenced_broker_is_the_last_resort() {
    let mut cluster = Cluster::of(3);
    cluster.fence(2);
    cluster.create(NewTopic::new("two", 10, 2)).unwrap();
    assert!(cluster.image.topic("two").unwrap().partitions.iter().all(|p| !p.replicas.contains(&2)));
    cluster.create(NewTopic::new("three", 10, 3)).unwrap();
    for partition in &cluster.image.topic("three").unwrap().partitions {
        assert!(partition.replicas.contains(&2) && !partition.isr.contains(&2) && partition.leader != 2);
    }
}

#[test]
fn delete_by_name_and_by_id() {
    let mut cluster = Cluster::of(1);
    let a = cluster.create(NewTopic::new("a", 1, 1)).unwrap();
    let b = cluster.create(NewTopic::new("b", 1, 1)).unwrap();
    let c = cluster.create(NewTopic::new("c", 1, 1)).unwrap();
    let unknown = TopicId([9; 16]);
    let topics = vec![
        TopicRef::Name("a".into()),
        TopicRef::Id(b.id),
        TopicRef::Name("none".into()),
        TopicRef::Id(unknown),
        TopicRef::Id(TopicId::ZERO),
        TopicRef::Name("c".into()),
        TopicRef::Id(c.id),
    ];
    let Reply::DeleteTopics(results) = cluster.run(&Command::DeleteTopics { topics }) else { panic!() };
    assert_eq!(results[0], Ok(DeletedTopic { name: "a".into(), id: a.id }));
    assert_eq!(results[1], Ok(DeletedTopic { name: "b".into(), id: b.id }));
    let codes: Vec<ErrorCode> = results[2..].iter().map(|r| r.as_ref().unwrap_err().1.code).collect();
    assert_eq!(
        codes,
        [
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::UnknownTopicId,
            ErrorCode::InvalidRequest,
            // Named and numbered in one request: neither wins.
            ErrorCode::InvalidRequest,
        ]
    );
    assert_eq!(cluster.image.topics().map(|t| &*t.name).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn a_deleted_topic_takes_its_configs_along_and_comes_back_as_another() {
    let mut cluster = Cluster::of(1);
    let first = cluster.create(config("retention.ms", Some("5"))).unwrap();
    cluster.run(&Command::DeleteTopics { topics: vec![TopicRef::Id(first.id)] });
    assert_eq!(cluster.image.partition_count(), 0);
    let second = cluster.create(NewTopic::new("c", 1, 1)).unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(cluster.image.topic_config("c"), None);
}

fn grow(cluster: &mut Cluster, name: &str, count: i32, assignments: Option<Vec<Vec<NodeId>>>) -> Option<ErrorCode> {
    let topics = vec![MorePartitions { name: name.into(), count, assignments }];
    let Reply::CreatePartitions(mut results) = cluster.run(&Command::CreatePartitions { topics, validate_only: false })
    else {
        panic!()
    };
    results.remove(0).err().map(|(_, e)| e.code)
}

#[test]
fn partitions_are_added() {
    use ErrorCode::*;
    use Option::None;
    let mut cluster = Cluster::of(3);
    cluster.create(NewTopic::new("a", 2, 2)).unwrap();
    let before = cluster.image.topic("a").unwrap().partitions.clone();
    assert_eq!(grow(&mut cluster, "a", 4, None), None);
    let after = &cluster.image.topic("a").unwrap().partitions;
    assert_eq!(after.len(), 4);
    assert_eq!(after[..2], before[..]);
    assert!(after.iter().all(|p| p.replicas.len() == 2));
    assert_eq!(grow(&mut cluster, "a", 5, Some(vec![vec![3, 1]])), None);
    assert_eq!(cluster.image.partition("a", 4).unwrap().replicas[..], [3, 1]);
    assert_eq!(grow(&mut cluster, "a", 5, None), Some(InvalidPartitions));
    assert_eq!(grow(&mut cluster, "a", 1, None), Some(InvalidPartitions));
    assert_eq!(grow(&mut cluster, "none", 5, None), Some(UnknownTopicOrPartition));
    assert_eq!(grow(&mut cluster, "a", 7, Some(vec![vec![1, 2]])), Some(InvalidReplicaAssignment));
    assert_eq!(grow(&mut cluster, "a", 6, Some(vec![vec![1]])), Some(InvalidReplicaAssignment));
    assert_eq!(grow(&mut cluster, "a", 6, Some(vec![vec![1, 9]])), Some(InvalidReplicaAssignment));
    assert_eq!(grow(&mut cluster, "a", i32::MAX, None), Some(PolicyViolation));
}
