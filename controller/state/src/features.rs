//! Finalised features (`FeatureControlManager`) and the first records of a cluster.

use millrace_metadata::command::{FeatureChange, FeatureChangeKind};
use millrace_metadata::features::{self, Feature};
use millrace_metadata::record::{ControllerRegistration, FeatureRange};
use millrace_metadata::{ApiError, DirId, ErrorCode, Image, NodeId, Record};

use crate::elect::sweep_topics;
use crate::{Cx, Draft};

/// A controller of the quorum, when a level is about to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: NodeId,
    pub dir: DirId,
    pub votes: bool,
    /// What it just said that it supports. `None` if it did not answer: then its registration counts.
    pub said: Option<Vec<FeatureRange>>,
}

/// The records that a new cluster starts with: each feature at its default, and the controller that founds it, if
/// there is a record for that.
pub fn bootstrap(cluster_id: &str, table: &[Feature], founder: Option<ControllerRegistration>) -> Vec<Record> {
    let mut records = vec![Record::ClusterId { id: cluster_id.to_owned() }];
    let on = table.iter().filter(|f| f.default > 0);
    records.extend(on.map(|f| Record::FeatureLevel { name: f.name.to_owned(), level: f.default }));
    let own = features::find(table, features::MILLRACE_VERSION).map_or(0, |f| f.default);
    if own >= features::CONTROLLERS_REGISTERED {
        records.extend(founder.map(Box::new).map(Record::RegisterController));
    }
    records
}

/// Whether eligible leader replicas are on (KIP-966).
pub(crate) fn elr_enabled(image: &Image) -> bool {
    image.level(features::ELIGIBLE_LEADER_REPLICAS) >= 1
}

/// Changes all features or none.
pub(crate) fn update(draft: &mut Draft, changes: &[FeatureChange], cx: &Cx<'_>) -> Result<(), ApiError> {
    for change in changes {
        check(draft.image(), change, cx).map_err(|why| {
            let text = format!("Invalid update version {} for feature {}. {why}", change.level, change.name);
            ApiError::new(ErrorCode::InvalidUpdateVersion, text)
        })?;
    }
    for change in changes {
        draft.push(Record::FeatureLevel { name: change.name.clone(), level: change.level });
        if change.name == features::ELIGIBLE_LEADER_REPLICAS {
            sweep_topics(draft, cx.defaults, |_| true, |p| !p.elr.is_empty());
        }
    }
    Ok(())
}

fn check(image: &Image, change: &FeatureChange, cx: &Cx<'_>) -> Result<(), String> {
    let level = change.level;
    if level < 0 {
        return Err("A feature level is not below 0.".to_owned());
    }
    let Some(feature) = features::find(cx.defaults.features, &change.name) else {
        return Err("The controllers do not know this feature.".to_owned());
    };
    if level != 0 && !(feature.min..=feature.max).contains(&level) || level < feature.min {
        return Err(format!("The controllers support levels {} to {}.", feature.min, feature.max));
    }
    let current = image.level(&change.name);
    check_nodes(image, change, (current, cx.quorum))?;
    if level < current && change.kind == FeatureChangeKind::Upgrade {
        return Err("A lower level needs the upgrade type for a safe or an unsafe downgrade.".to_owned());
    }
    if level > current && change.kind != FeatureChangeKind::Upgrade {
        return Err("A downgrade does not lead to a higher level.".to_owned());
    }
    if level < current && [features::METADATA_VERSION, features::MILLRACE_VERSION].contains(&&*change.name) {
        // Records of the higher level may be in use already, and older software cannot read them.
        return Err("This version cannot be lowered: what was recorded at the higher level would be lost.".to_owned());
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

/// Every broker that is registered, fenced ones too, and every controller of the quorum must support the level
/// (`FeatureControlManager.reasonNotSupported`).
fn check_nodes(image: &Image, change: &FeatureChange, (current, quorum): (i16, &[Member])) -> Result<(), String> {
    let level = change.level;
    let fits = |what: &str, id: NodeId, ranges: &[FeatureRange]| {
        let (min, max) = features::range_of(ranges, &change.name);
        match level == 0 || (min..=max).contains(&level) {
            true => Ok(()),
            false => Err(format!("{what} {id} supports levels {min} to {max}.")),
        }
    };
    for broker in image.brokers() {
        fits("Broker", broker.id, &broker.features)?;
    }
    for member in quorum {
        let registered = image.controller(member.id).filter(|c| c.dir == member.dir).map(|c| &c.features);
        match member.said.as_ref().or(registered) {
            Some(ranges) => fits("Controller", member.id, ranges)?,
            // Whoever has no vote yet is asked before it gets one.
            None if !member.votes || level <= current => {}
            None => {
                let id = member.id;
                return Err(format!(
                    "Controller {id} cannot be asked what it supports; start it, or remove it from the quorum."
                ));
            }
        }
    }
    Ok(())
}

/// Registers a controller (KIP-919, `ClusterControlManager.registerController`). Nothing is recorded as long as the
/// cluster has no record for it.
///
/// # Errors
/// `UNSUPPORTED_VERSION` if it does not support what the cluster runs at.
pub(crate) fn register(draft: &mut Draft, registration: &ControllerRegistration) -> Result<(), ApiError> {
    supports(draft.image(), &registration.features)?;
    let is_known = draft.image().controller(registration.id).is_some_and(|known| **known == *registration);
    if !is_known && draft.image().level(features::MILLRACE_VERSION) >= features::CONTROLLERS_REGISTERED {
        draft.push(Record::RegisterController(Box::new(registration.clone())));
    }
    Ok(())
}

/// Whether a node with these ranges may take part.
pub(crate) fn supports(image: &Image, ranges: &[FeatureRange]) -> Result<(), ApiError> {
    match features::unsupported(&image.features, ranges) {
        Some(why) => Err(ApiError::new(ErrorCode::UnsupportedVersion, why.to_string())),
        None => Ok(()),
    }
}
