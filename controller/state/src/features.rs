//! Finalised features (`FeatureControlManager`) and the first records of a cluster.

use millrace_metadata::command::{FeatureChange, FeatureChangeKind};
use millrace_metadata::{ApiError, ErrorCode, Image, Record, features};

use crate::elect::sweep_topics;
use crate::{Defaults, Draft};

/// The records that a new cluster starts with.
pub fn bootstrap(cluster_id: &str) -> Vec<Record> {
    let mut records = vec![Record::ClusterId { id: cluster_id.to_owned() }];
    let on = features::TABLE.iter().filter(|f| f.default > 0);
    records.extend(on.map(|f| Record::FeatureLevel { name: f.name.to_owned(), level: f.default }));
    records
}

/// Whether eligible leader replicas are on (KIP-966).
pub(crate) fn elr_enabled(image: &Image) -> bool {
    image.features.get(features::ELIGIBLE_LEADER_REPLICAS).is_some_and(|level| *level >= 1)
}

/// Changes all features or none.
pub(crate) fn update(draft: &mut Draft, changes: &[FeatureChange], defaults: &Defaults) -> Result<(), ApiError> {
    for change in changes {
        check(draft.image(), change).map_err(|why| {
            let text = format!("Invalid update version {} for feature {}. {why}", change.level, change.name);
            ApiError::new(ErrorCode::InvalidUpdateVersion, text)
        })?;
    }
    for change in changes {
        draft.push(Record::FeatureLevel { name: change.name.clone(), level: change.level });
        if change.name == features::ELIGIBLE_LEADER_REPLICAS {
            sweep_topics(draft, defaults, |_| true, |p| !p.elr.is_empty());
        }
    }
    Ok(())
}

fn check(image: &Image, change: &FeatureChange) -> Result<(), String> {
    let level = change.level;
    if level < 0 {
        return Err("A feature level is not below 0.".to_owned());
    }
    let Some(feature) = features::find(&change.name) else {
        return Err("The controllers do not know this feature.".to_owned());
    };
    if level != 0 && !(feature.min..=feature.max).contains(&level) || level < feature.min {
        return Err(format!("The controllers support levels {} to {}.", feature.min, feature.max));
    }
    for broker in image.brokers() {
        let range = broker.features.iter().find(|f| f.name == change.name);
        let (min, max) = range.map_or((0, 0), |f| (f.min, f.max));
        if level != 0 && !(min..=max).contains(&level) {
            return Err(format!("Broker {} supports levels {min} to {max}.", broker.id));
        }
    }
    let current = image.features.get(&change.name).copied().unwrap_or(0);
    if level < current && change.kind == FeatureChangeKind::Upgrade {
        return Err("A lower level needs the upgrade type for a safe or an unsafe downgrade.".to_owned());
    }
    if level > current && change.kind != FeatureChangeKind::Upgrade {
        return Err("A downgrade does not lead to a higher level.".to_owned());
    }
    if level < current && change.name == features::METADATA_VERSION {
        // Records of the higher level may be in use already, and older software cannot read them.
        return Err("The metadata version cannot be lowered.".to_owned());
    }
    if level == 0
        && change.name == features::ELIGIBLE_LEADER_REPLICAS
        && let Some(topic) = image.topics().find(|t| t.partitions.iter().any(|p| p.isr.is_empty()))
    {
        // Without eligible replicas nothing would tell any more who may lead it.
        return Err(format!("A partition of {} has no replica in sync; start its brokers first.", topic.name));
    }
    Ok(())
}
