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

/// A level that a cluster runs at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooNew {
    pub name: String,
    pub level: i16,
    /// The highest level that this software knows; 0 if it does not know the feature.
    pub known: i16,
}

/// The first of these levels that this software does not know: its records cannot be trusted to be understood here.
pub fn too_new<'a>(levels: impl Iterator<Item = (&'a str, i16)>) -> Option<TooNew> {
    let known = |name: &str| find(name).map_or(0, |f| f.max);
    let mut beyond = levels.filter(|(name, level)| *level > known(name));
    beyond.next().map(|(name, level)| TooNew { name: name.to_owned(), level, known: known(name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_newer_software_are_found() {
        assert_eq!(too_new(TABLE.iter().map(|f| (f.name, f.max))), None);
        let newer = too_new([(METADATA_VERSION, 31)].into_iter());
        assert_eq!(newer, Some(TooNew { name: METADATA_VERSION.to_owned(), level: 31, known: 30 }));
        assert_eq!(too_new([("new.feature", 1)].into_iter()).map(|n| n.known), Some(0));
    }
}
