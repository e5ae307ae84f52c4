//! Features: named, numbered behaviours that a cluster switches on as a whole once every node knows them (KIP-584).

use std::collections::BTreeMap;
use std::fmt;

use crate::record::{FeatureRange, Nodes, Record};

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

/// Records and calls of Millrace's own, beyond what a level of Kafka's `metadata.version` stands for: Kafka's numbers
/// keep their meaning, and its tools their names for them.
pub const MILLRACE_VERSION: &str = "millrace.version";
/// Level of [`MILLRACE_VERSION`] from which controllers are registered.
pub const CONTROLLERS_REGISTERED: i16 = 1;

/// Every feature, sorted by name. Kafka 4.3 calls metadata level 30 4.3-IV0, and level 7 3.3-IV3, the oldest one
/// that a Kafka 4 cluster can run at.
pub const TABLE: &[Feature] = &[
    Feature { name: ELIGIBLE_LEADER_REPLICAS, min: 0, max: 1, default: 1 },
    Feature { name: METADATA_VERSION, min: 7, max: 30, default: 30 },
    Feature { name: MILLRACE_VERSION, min: 0, max: CONTROLLERS_REGISTERED, default: CONTROLLERS_REGISTERED },
];

/// What a controller knows that does not say it: the software before controllers said so.
pub const UNSAID: &[Feature] = &[
    Feature { name: ELIGIBLE_LEADER_REPLICAS, min: 0, max: 1, default: 1 },
    Feature { name: METADATA_VERSION, min: 7, max: 30, default: 30 },
];

/// The feature of this name.
pub fn find<'a>(table: &'a [Feature], name: &str) -> Option<&'a Feature> {
    table.iter().find(|f| f.name == name)
}

/// The levels of these features, as a node tells others.
pub fn ranges(table: &[Feature]) -> Vec<FeatureRange> {
    table.iter().map(|f| FeatureRange { name: f.name.to_owned(), min: f.min, max: f.max }).collect()
}

/// A level that a cluster runs at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooNew {
    pub name: String,
    pub level: i16,
    /// The highest level that this software knows; 0 if it does not know the feature.
    pub known: i16,
}

/// The first of these levels that software with this table does not know: its records cannot be trusted to be
/// understood here.
pub fn too_new<'a>(table: &[Feature], levels: impl IntoIterator<Item = (&'a String, &'a i16)>) -> Option<TooNew> {
    let known = |name: &str| find(table, name).map_or(0, |f| f.max);
    let beyond = levels.into_iter().find(|(name, level)| **level > known(name));
    beyond.map(|(name, level)| TooNew { name: name.clone(), level: *level, known: known(name) })
}

/// Why a node cannot take part: the cluster runs the feature at a level that it does not support.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    pub name: String,
    pub level: i16,
    pub min: i16,
    pub max: i16,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unsupported { name, level, min, max } = self;
        write!(f, "The cluster runs {name} at level {level}; this node supports {min} to {max}.")
    }
}

/// The levels of the feature that a node supports which told this; 0 alone if it does not know the feature.
pub fn range_of(ranges: &[FeatureRange], name: &str) -> (i16, i16) {
    ranges.iter().find(|f| f.name == name).map_or((0, 0), |f| (f.min, f.max))
}

/// The first of the cluster's levels that a node with these ranges does not support.
pub fn unsupported(levels: &BTreeMap<String, i16>, ranges: &[FeatureRange]) -> Option<Unsupported> {
    levels.iter().find_map(|(name, level)| {
        let (min, max) = range_of(ranges, name);
        let fits = (min..=max).contains(level);
        (!fits).then(|| Unsupported { name: name.clone(), level: *level, min, max })
    })
}

/// Feature and level that a cluster must have before this record may be written. A kind of record, or a field of one,
/// that is added gets its row here: older software would not understand it, or drop it.
pub fn needed(record: &Record) -> Option<(&'static str, i16)> {
    let some = |nodes: &Option<Nodes>| nodes.as_ref().is_some_and(|nodes| !nodes.is_empty());
    match record {
        Record::RegisterController(_) => Some((MILLRACE_VERSION, CONTROLLERS_REGISTERED)),
        Record::Partition { partition, .. } if !partition.elr.is_empty() => Some((ELIGIBLE_LEADER_REPLICAS, 1)),
        Record::PartitionChange { delta, .. } if some(&delta.elr) || some(&delta.last_known_elr) => {
            Some((ELIGIBLE_LEADER_REPLICAS, 1))
        }
        Record::ClusterId { .. }
        | Record::RegisterBroker { .. }
        | Record::BrokerChange { .. }
        | Record::UnregisterBroker { .. }
        | Record::Topic { .. }
        | Record::Partition { .. }
        | Record::PartitionChange { .. }
        | Record::RemoveTopic { .. }
        | Record::Config { .. }
        | Record::FeatureLevel { .. }
        | Record::ProducerIds { .. }
        | Record::Counters { .. } => None,
    }
}

/// Feature and level that a cluster with these levels would have to have for these records, which follow on each
/// other: a level that one of them sets counts for those behind it.
pub fn too_early<'a>(
    levels: &BTreeMap<String, i16>,
    records: impl IntoIterator<Item = &'a Record>,
) -> Option<(&'static str, i16)> {
    let mut changed: BTreeMap<&str, i16> = BTreeMap::new();
    records.into_iter().find_map(|record| {
        if let Record::FeatureLevel { name, level } = record {
            changed.insert(name, *level);
        }
        let now = |name| changed.get(name).or_else(|| levels.get(name)).copied().unwrap_or(0);
        needed(record).filter(|(name, level)| now(*name) < *level)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::DirId;
    use crate::record::ControllerRegistration;

    fn levels(of: &[(&str, i16)]) -> BTreeMap<String, i16> {
        of.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect()
    }

    #[test]
    fn levels_of_newer_software_are_found() {
        let own: BTreeMap<String, i16> = TABLE.iter().map(|f| (f.name.to_owned(), f.max)).collect();
        assert_eq!(too_new(TABLE, &own), None);
        let newer = too_new(TABLE, &levels(&[(METADATA_VERSION, 31)]));
        assert_eq!(newer, Some(TooNew { name: METADATA_VERSION.to_owned(), level: 31, known: 30 }));
        assert_eq!(too_new(TABLE, &levels(&[("new.feature", 1)])).map(|n| n.known), Some(0));
        assert_eq!(too_new(UNSAID, &own).map(|n| n.name), Some(MILLRACE_VERSION.to_owned()));
    }

    #[test]
    fn who_does_not_support_a_level_is_found() {
        let running = levels(&[(METADATA_VERSION, 30), (MILLRACE_VERSION, 1)]);
        assert_eq!(unsupported(&running, &ranges(TABLE)), None);
        let found = unsupported(&running, &ranges(UNSAID)).unwrap();
        assert_eq!((&*found.name, found.level, found.min, found.max), (MILLRACE_VERSION, 1, 0, 0));
        assert!(found.to_string().contains("millrace.version at level 1"), "{found}");
        assert_eq!(unsupported(&levels(&[(METADATA_VERSION, 30)]), &ranges(UNSAID)), None);
    }

    #[test]
    fn a_record_comes_only_after_its_level() {
        let me = ControllerRegistration { id: 1, dir: DirId([1; 16]), features: vec![] };
        let new = Record::RegisterController(Box::new(me));
        let raise = |level| Record::FeatureLevel { name: MILLRACE_VERSION.to_owned(), level };
        let (before, after) = (levels(&[(METADATA_VERSION, 30)]), levels(&[(MILLRACE_VERSION, 1)]));
        assert_eq!(too_early(&before, [&new]), Some((MILLRACE_VERSION, 1)));
        assert_eq!(too_early(&after, [&new]), None);
        assert_eq!(too_early(&before, [&raise(1), &new]), None);
        assert_eq!(too_early(&before, [&new, &raise(1)]), Some((MILLRACE_VERSION, 1)));
        assert_eq!(too_early(&after, [&raise(0), &new]), Some((MILLRACE_VERSION, 1)));
    }
}
