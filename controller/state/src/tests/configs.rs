//! Configurations change.

use millrace_metadata::command::{ConfigChange, ConfigOp, ConfigOpKind, NewTopic};
use millrace_metadata::{Command, ConfigResource, ErrorCode, Record, Reply, ResourceKind};

use super::Cluster;
use ConfigOpKind::{Append, Delete, Set, Subtract};

fn op(key: &str, op: ConfigOpKind, value: &str) -> ConfigOp {
    ConfigOp { key: key.into(), op, value: (op != Delete).then(|| value.to_owned()) }
}

fn alter(cluster: &mut Cluster, resource: ConfigResource, ops: &[ConfigOp], replace: bool) -> Option<ErrorCode> {
    let changes = vec![ConfigChange { resource, ops: ops.to_vec(), replace }];
    let Reply::AlterConfigs(mut results) = cluster.run(&Command::AlterConfigs { changes, validate_only: false }) else {
        panic!()
    };
    results.remove(0).1.err().map(|e| e.code)
}

fn topic() -> ConfigResource {
    ConfigResource::topic("a")
}

fn shown(cluster: &Cluster) -> Vec<(String, String)> {
    let configs = cluster.image.topic_config("a");
    configs.map(|c| c.iter().map(|(k, v)| (k.clone(), v.clone())).collect()).unwrap_or_default()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::of(1);
    cluster.create(NewTopic::new("a", 1, 1)).unwrap();
    cluster
}

#[test]
fn set_and_delete() {
    let mut cluster = cluster();
    let ops = [op("retention.ms", Set, "7"), op("segment.bytes", Set, "1048576")];
    assert_eq!(alter(&mut cluster, topic(), &ops, false), None);
    assert_eq!(shown(&cluster), [pair("retention.ms", "7"), pair("segment.bytes", "1048576")]);
    let ops = [op("retention.ms", Delete, ""), op("flush.ms", Delete, "")];
    assert_eq!(alter(&mut cluster, topic(), &ops, false), None);
    assert_eq!(shown(&cluster), [pair("segment.bytes", "1048576")]);
}

#[test]
fn replace_resets_what_is_not_named() {
    let mut cluster = cluster();
    cluster.set("a", "retention.ms", "7");
    cluster.set("a", "segment.bytes", "1048576");
    assert_eq!(alter(&mut cluster, topic(), &[op("retention.ms", Set, "8")], true), None);
    assert_eq!(shown(&cluster), [pair("retention.ms", "8")]);
    assert_eq!(alter(&mut cluster, topic(), &[], true), None);
    assert_eq!(shown(&cluster), []);
}

#[test]
fn lists_grow_and_shrink() {
    let mut cluster = cluster();
    let key = "leader.replication.throttled.replicas";
    assert_eq!(alter(&mut cluster, topic(), &[op(key, Append, "0:1,1:1")], false), None);
    assert_eq!(alter(&mut cluster, topic(), &[op(key, Append, "1:1,2:1")], false), None);
    assert_eq!(shown(&cluster), [pair(key, "0:1,1:1,2:1")]);
    assert_eq!(alter(&mut cluster, topic(), &[op(key, Subtract, "1:1,9:9")], false), None);
    assert_eq!(shown(&cluster), [pair(key, "0:1,2:1")]);
    let refused = alter(&mut cluster, topic(), &[op("retention.ms", Append, "1")], false);
    assert_eq!(refused, Some(ErrorCode::InvalidConfig));
}

#[test]
fn one_bad_key_refuses_the_resource() {
    let mut cluster = cluster();
    let ops = [op("retention.ms", Set, "7"), op("segment.bytes", Set, "many")];
    assert_eq!(alter(&mut cluster, topic(), &ops, false), Some(ErrorCode::InvalidConfig));
    let ops = [op("retention.ms", Set, "7"), op("retention.ms", Set, "8")];
    assert_eq!(alter(&mut cluster, topic(), &ops, false), Some(ErrorCode::InvalidRequest));
    let ops = [ConfigOp { key: "retention.ms".into(), op: Set, value: None }];
    assert_eq!(alter(&mut cluster, topic(), &ops, false), Some(ErrorCode::InvalidRequest));
    let long = "x".repeat(32_768);
    assert_eq!(alter(&mut cluster, topic(), &[op("retention.ms", Set, &long)], false), Some(ErrorCode::InvalidConfig));
    assert_eq!(shown(&cluster), []);
}

#[test]
fn resources_must_exist_and_have_a_name() {
    let mut cluster = cluster();
    let set = [op("retention.ms", Set, "7")];
    let mut try_it = |kind, name: &str| alter(&mut cluster, ConfigResource::new(kind, name), &set, false);
    assert_eq!(try_it(ResourceKind::Topic, "none"), Some(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(try_it(ResourceKind::Topic, ""), Some(ErrorCode::InvalidRequest));
    assert_eq!(try_it(ResourceKind::Topic, "a b"), Some(ErrorCode::InvalidTopicException));
    assert_eq!(try_it(ResourceKind::Broker, "x"), Some(ErrorCode::InvalidRequest));
    assert_eq!(try_it(ResourceKind::Broker, "-1"), Some(ErrorCode::InvalidRequest));
    assert_eq!(try_it(ResourceKind::Broker, "9"), Some(ErrorCode::BrokerIdNotRegistered));
    assert_eq!(try_it(ResourceKind::BrokerLogger, "1"), Some(ErrorCode::InvalidRequest));
    assert_eq!(try_it(ResourceKind::Group, ""), Some(ErrorCode::InvalidRequest));
}

#[test]
fn the_same_value_again_is_recorded_for_brokers_only() {
    let mut cluster = cluster();
    let change = |resource: ConfigResource, key: &str, value: &str| Command::AlterConfigs {
        changes: vec![ConfigChange { resource, ops: vec![op(key, Set, value)], replace: false }],
        validate_only: false,
    };
    let of_topic = change(topic(), "retention.ms", "7");
    cluster.run(&of_topic);
    assert_eq!(cluster.decide(&of_topic).0, []);
    let of_brokers = change(ConfigResource::new(ResourceKind::Broker, ""), "log.retention.ms", "7");
    cluster.run(&of_brokers);
    assert!(matches!(cluster.decide(&of_brokers).0[..], [Record::Config { .. }]));
}

#[test]
fn a_trial_changes_nothing() {
    let mut cluster = cluster();
    let changes = vec![ConfigChange { resource: topic(), ops: vec![op("retention.ms", Set, "7")], replace: false }];
    let (records, reply) = cluster.decide(&Command::AlterConfigs { changes, validate_only: true });
    assert_eq!(records, []);
    assert_eq!(reply, Reply::AlterConfigs(vec![(topic(), Ok(()))]));
}
