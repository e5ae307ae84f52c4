//! Group settings (`GroupConfig.java`). Each is stored from the start; the newer group protocols that use them are
//! not offered yet.

use super::def::Kind::{Bool, Int, String};
use super::def::{Check, ConfigDef, Kind};

const fn def(name: &'static str, kind: Kind, default: &'static str, check: Check, doc: &'static str) -> ConfigDef {
    ConfigDef::new(name, kind, default, check, doc).cluster_wide().unused()
}

#[rustfmt::skip]
pub static TABLE: &[ConfigDef] = &[
    def("consumer.assignment.interval.ms", Int, "1000", Check::AtLeast(0),
        "Shortest time between assignments of the group."),
    def("consumer.heartbeat.interval.ms", Int, "5000", Check::AtLeast(1),
        "Heartbeat interval of the group's members."),
    def("consumer.session.timeout.ms", Int, "45000", Check::AtLeast(1),
        "Session timeout of the group's members."),
    def("share.assignment.interval.ms", Int, "1000", Check::AtLeast(0),
        "Shortest time between assignments of the share group."),
    def("share.auto.offset.reset", String, "latest", Check::ShareOffsetReset,
        "Where a new share group begins: latest, earliest, or by_duration: and a duration before now."),
    def("share.delivery.count.limit", Int, "5", Check::AtLeast(2),
        "How often a record is delivered before it is given up."),
    def("share.heartbeat.interval.ms", Int, "5000", Check::AtLeast(1),
        "Heartbeat interval of the share group's members."),
    def("share.isolation.level", String, "read_uncommitted", Check::OneOf(&["read_committed", "read_uncommitted"]),
        "Whether records of transactions that are not committed are delivered."),
    def("share.partition.max.record.locks", Int, "2000", Check::AtLeast(100),
        "Most records of a partition that are locked at one time."),
    def("share.record.lock.duration.ms", Int, "30000", Check::AtLeast(1000),
        "How long a delivered record stays locked for its consumer."),
    def("share.renew.acknowledge.enable", Bool, "true", Check::Any,
        "Lets consumers prolong the lock of a record."),
    def("share.session.timeout.ms", Int, "45000", Check::AtLeast(1),
        "Session timeout of the share group's members."),
    def("streams.assignment.interval.ms", Int, "1000", Check::AtLeast(0),
        "Shortest time between assignments of the streams group."),
    def("streams.heartbeat.interval.ms", Int, "5000", Check::AtLeast(1),
        "Heartbeat interval of the streams group's members."),
    def("streams.initial.rebalance.delay.ms", Int, "3000", Check::AtLeast(0),
        "Wait for more members before the first assignment."),
    def("streams.num.standby.replicas", Int, "0", Check::AtLeast(0),
        "Standby replicas of each task."),
    def("streams.session.timeout.ms", Int, "45000", Check::AtLeast(1),
        "Session timeout of the streams group's members."),
];

/// The broker setting that gives a group setting its default.
pub fn synonym(group_key: &str) -> Option<&'static str> {
    Some(match group_key {
        "streams.assignment.interval.ms" => "group.streams.assignment.interval.ms",
        "share.session.timeout.ms" => "group.share.session.timeout.ms",
        "consumer.heartbeat.interval.ms" => "group.consumer.heartbeat.interval.ms",
        "consumer.assignment.interval.ms" => "group.consumer.assignment.interval.ms",
        "consumer.session.timeout.ms" => "group.consumer.session.timeout.ms",
        "share.record.lock.duration.ms" => "group.share.record.lock.duration.ms",
        "share.partition.max.record.locks" => "group.share.partition.max.record.locks",
        "share.assignment.interval.ms" => "group.share.assignment.interval.ms",
        "streams.num.standby.replicas" => "group.streams.num.standby.replicas",
        "streams.session.timeout.ms" => "group.streams.session.timeout.ms",
        "streams.initial.rebalance.delay.ms" => "group.streams.initial.rebalance.delay.ms",
        "share.heartbeat.interval.ms" => "group.share.heartbeat.interval.ms",
        "streams.heartbeat.interval.ms" => "group.streams.heartbeat.interval.ms",
        "share.delivery.count.limit" => "group.share.delivery.count.limit",
        _ => return None,
    })
}

/// Broker settings that bound a group setting: smallest and largest, where there is one.
pub fn bounds(group_key: &str) -> (Option<&'static str>, Option<&'static str>) {
    match group_key {
        "consumer.session.timeout.ms" => {
            (Some("group.consumer.min.session.timeout.ms"), Some("group.consumer.max.session.timeout.ms"))
        }
        "consumer.heartbeat.interval.ms" => {
            (Some("group.consumer.min.heartbeat.interval.ms"), Some("group.consumer.max.heartbeat.interval.ms"))
        }
        "consumer.assignment.interval.ms" => {
            (Some("group.consumer.min.assignment.interval.ms"), Some("group.consumer.max.assignment.interval.ms"))
        }
        "share.session.timeout.ms" => {
            (Some("group.share.min.session.timeout.ms"), Some("group.share.max.session.timeout.ms"))
        }
        "share.heartbeat.interval.ms" => {
            (Some("group.share.min.heartbeat.interval.ms"), Some("group.share.max.heartbeat.interval.ms"))
        }
        "share.assignment.interval.ms" => {
            (Some("group.share.min.assignment.interval.ms"), Some("group.share.max.assignment.interval.ms"))
        }
        "share.delivery.count.limit" => {
            (Some("group.share.min.delivery.count.limit"), Some("group.share.max.delivery.count.limit"))
        }
        "share.record.lock.duration.ms" => {
            (Some("group.share.min.record.lock.duration.ms"), Some("group.share.max.record.lock.duration.ms"))
        }
        "share.partition.max.record.locks" => {
            (Some("group.share.min.partition.max.record.locks"), Some("group.share.max.partition.max.record.locks"))
        }
        "streams.session.timeout.ms" => {
            (Some("group.streams.min.session.timeout.ms"), Some("group.streams.max.session.timeout.ms"))
        }
        "streams.heartbeat.interval.ms" => {
            (Some("group.streams.min.heartbeat.interval.ms"), Some("group.streams.max.heartbeat.interval.ms"))
        }
        "streams.assignment.interval.ms" => {
            (Some("group.streams.min.assignment.interval.ms"), Some("group.streams.max.assignment.interval.ms"))
        }
        "streams.num.standby.replicas" => (None, Some("group.streams.max.standby.replicas")),
        _ => (None, None),
    }
}
