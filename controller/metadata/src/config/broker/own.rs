//! Millrace's own settings, and the throttles that Kafka has only as dynamic settings (`QuotaConfig.java`).

use super::def;
use crate::config::def::Kind::{List, Long, String};
use crate::config::def::{Check, ConfigDef};

#[rustfmt::skip]
pub static TABLE: &[ConfigDef] = &[
    def("flush.policy", String, "sync", Check::OneOf(&["sync", "os"]),
        "When a write counts as stored: sync after it is on the disk, os after the operating system has it.").high(),
    def("follower.replication.throttled.rate", Long, "9223372036854775807", Check::AtLeast(0),
        "Most bytes per second of incoming replication for throttled replicas.").cluster_wide(),
    def("http.listeners", List, "", Check::Distinct(true),
        "Addresses, host:port, for health and metrics over HTTP; empty for none.").high(),
    def("leader.replication.throttled.rate", Long, "9223372036854775807", Check::AtLeast(0),
        "Most bytes per second of outgoing replication for throttled replicas.").cluster_wide(),
    def("memory.limit", Long, "268435456", Check::AtLeast(67_108_864),
        "Memory in bytes that requests, unflushed data and caches share.").high(),
    def("replica.alter.log.dirs.io.max.bytes.per.second", Long, "9223372036854775807", Check::AtLeast(0),
        "Most bytes per second that are moved between log directories.").cluster_wide().unused(),
];
