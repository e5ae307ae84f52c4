//! Transaction coordinator (`TransactionStateManagerConfig.java`, `TransactionLogConfig.java`).

use super::def;
use crate::config::def::Kind::{Bool, Int, Short};
use crate::config::def::{Check, ConfigDef};

#[rustfmt::skip]
pub static TABLE: &[ConfigDef] = &[
    def("add.partitions.to.txn.retry.backoff.max.ms", Int, "100", Check::AtLeast(0),
        "Longest pause between attempts to add partitions to a transaction.").high().unused(),
    def("add.partitions.to.txn.retry.backoff.ms", Int, "20", Check::AtLeast(1),
        "Pause between attempts to add partitions to a transaction.").high().unused(),
    def("transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, "10000", Check::AtLeast(1),
        "How often transactions that ran out of time are looked for.").low().unused(),
    def("transaction.max.timeout.ms", Int, "900000", Check::AtLeast(1),
        "Longest timeout that a transactional producer may ask for.").high().unused(),
    def("transaction.partition.verification.enable", Bool, "true", Check::Any,
        "Checks with the coordinator before a partition takes part in a transaction.").low().cluster_wide().unused(),
    def("transaction.remove.expired.transaction.cleanup.interval.ms", Int, "3600000", Check::AtLeast(1),
        "How often expired transactional ids are looked for.").low().unused(),
    def("transaction.state.log.load.buffer.size", Int, "5242880", Check::AtLeast(1),
        "Bytes read at once when transactions are loaded.").high().unused(),
    def("transaction.state.log.min.isr", Int, "2", Check::AtLeast(1),
        "In-sync replicas that writes of the transaction topic need.").high().unused(),
    def("transaction.state.log.num.partitions", Int, "50", Check::AtLeast(1),
        "Partitions of the transaction topic.").high().unused(),
    def("transaction.state.log.replication.factor", Short, "3", Check::AtLeast(1),
        "Replicas of the transaction topic.").high().unused(),
    def("transaction.state.log.segment.bytes", Int, "104857600", Check::AtLeast(1),
        "Segment size of the transaction topic.").high().unused(),
    def("transaction.two.phase.commit.enable", Bool, "false", Check::Any,
        "Lets producers take part in transactions of an outside coordinator.").low().unused(),
    def("transactional.id.expiration.ms", Int, "604800000", Check::AtLeast(1),
        "Time after which an unused transactional id is forgotten.").high().unused(),
];
