//! Named bounds of the cluster's metadata. Where Kafka has the same bound, its value is used.

/// Characters of a topic name (`clients/…/common/internals/Topic.java`).
pub const TOPIC_NAME_MAX: usize = 249;
/// Partitions that one request may create (`ReplicationControlManager.MAX_PARTITIONS_PER_BATCH`).
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;
/// Records of one decision, and so of one Raft entry (`QuorumController.MAX_RECORDS_PER_USER_OP`). Creating the
/// partitions above makes some records more.
pub const RECORDS_PER_DECISION_MAX: usize = 12_000;
/// Characters of a configuration value.
pub const CONFIG_VALUE_MAX: usize = 32_767;
/// Producer ids that a broker gets at once (`ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
pub const PRODUCER_ID_BLOCK: i64 = 1000;
/// Replicas of one partition: replica counts are 16 bit numbers on the wire.
pub const REPLICATION_FACTOR_MAX: i16 = i16::MAX;
/// Log directories of one broker.
pub const DIRS_PER_BROKER_MAX: usize = 1024;
/// Elections that one periodic sweep does (`ReplicationControlManager.MAX_ELECTIONS_PER_IMBALANCE`).
pub const ELECTIONS_PER_SWEEP_MAX: usize = 1000;
