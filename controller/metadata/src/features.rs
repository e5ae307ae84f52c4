//! Features: named, numbered behaviours that a cluster switches on as a whole once every node knows them (KIP-584).

/// A feature that this software knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    /// Levels that this software can run at; level 0 means that the feature is off.
    pub min: i16,
    pub max: i16,
    /// Level of a new cluster.
    pub default: i16,
}

/// Kafka's feature of this name says which records and requests a cluster uses; clients and tools expect it.
pub const METADATA_VERSION: &str = "metadata.version";
/// Eligible leader replicas (KIP-966).
pub const ELIGIBLE_LEADER_REPLICAS: &str = "eligible.leader.replicas.version";

/// Every feature, sorted by name. Kafka 4.3 calls metadata level 30 4.3-IV0, and level 7 3.3-IV3, the oldest one
/// that a Kafka 4 cluster can run at.
pub const TABLE: &[Feature] = &[
    Feature { name: ELIGIBLE_LEADER_REPLICAS, min: 0, max: 1, default: 1 },
    Feature { name: METADATA_VERSION, min: 7, max: 30, default: 30 },
];

/// The feature of this name.
pub fn find(name: &str) -> Option<&'static Feature> {
    TABLE.iter().find(|f| f.name == name)
}
