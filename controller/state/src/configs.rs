//! AlterConfigs and IncrementalAlterConfigs (`ConfigurationControlManager`).

use std::collections::{BTreeMap, BTreeSet};

use millrace_metadata::command::{ConfigChange, ConfigOp, ConfigOpKind};
use millrace_metadata::config::{self, ConfigDef, Kind, TopicConfig};
use millrace_metadata::names::validate_topic_name;
use millrace_metadata::{ApiError, ConfigResource, ErrorCode, Image, Record, ResourceKind};

use crate::elect::sweep_topics;
use crate::{Defaults, Draft};

const MIN_ISR: &str = "min.insync.replicas";
const UNCLEAN: &str = "unclean.leader.election.enable";

type Values = BTreeMap<String, String>;

/// Changes each resource as a whole or not at all. A resource that is named twice is answered once, with an error.
pub(crate) fn alter(
    draft: &mut Draft,
    changes: &[ConfigChange],
    defaults: &Defaults,
) -> Vec<(ConfigResource, Result<(), ApiError>)> {
    let mut times: BTreeMap<&ConfigResource, usize> = BTreeMap::new();
    changes.iter().for_each(|c| *times.entry(&c.resource).or_default() += 1);
    let mut answered = BTreeSet::new();
    let mut results = Vec::with_capacity(changes.len());
    for change in changes.iter().filter(|c| answered.insert(&c.resource)) {
        let result = if times[&change.resource] > 1 {
            Err(ApiError::new(ErrorCode::InvalidRequest, "The request names this resource more than once."))
        } else {
            one(draft, change, defaults)
        };
        results.push((change.resource.clone(), result));
    }
    results
}

fn one(draft: &mut Draft, change: &ConfigChange, defaults: &Defaults) -> Result<(), ApiError> {
    let resource = &change.resource;
    let before = draft.image().config(resource).map_or_else(Values::new, |c| (**c).clone());
    let mut after = if change.replace { Values::new() } else { before.clone() };
    let mut touched = BTreeSet::new();
    for op in &change.ops {
        if !touched.insert(op.key.clone()) {
            let text = format!("The request changes {} more than once.", op.key);
            return Err(ApiError::new(ErrorCode::InvalidRequest, text));
        }
        match new_value(resource, op, before.get(&op.key), defaults)? {
            Some(value) => after.insert(op.key.clone(), value),
            None => after.remove(&op.key),
        };
    }
    validate(resource, &after, touched.iter(), defaults)?;
    exists(draft.image(), resource)?;
    for (key, value) in &after {
        // A broker reloads what its setting points to, such as a key store, even if the setting is the same.
        let reload = resource.kind == ResourceKind::Broker && touched.contains(key);
        if before.get(key) != Some(value) || reload {
            draft.push(Record::config(resource.clone(), key, Some(value.clone())));
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        draft.push(Record::config(resource.clone(), key, None));
    }
    take_effect(draft, resource, (&before, &after), defaults);
    Ok(())
}

/// What a new value means for partitions, in the same step: with a lower minimum the high watermark moves on without
/// those who were eligible below the old one, so that they are not eligible any more (Kafka:
/// `handleMinIsrConfigUpdate`); and where unclean elections are allowed now, they are held.
fn take_effect(draft: &mut Draft, resource: &ConfigResource, (before, after): (&Values, &Values), defaults: &Defaults) {
    let concerned = |name: &str| match resource.kind {
        ResourceKind::Topic => name == resource.name,
        ResourceKind::Broker => resource.name.is_empty(),
        ResourceKind::Group | ResourceKind::BrokerLogger | ResourceKind::ClientMetrics => false,
    };
    if before.get(MIN_ISR) != after.get(MIN_ISR) {
        sweep_topics(draft, defaults, concerned, |p| !p.elr.is_empty());
    }
    if before.get(UNCLEAN) != after.get(UNCLEAN) {
        sweep_topics(draft, defaults, concerned, |p| !p.has_leader());
    }
}

fn new_value(
    resource: &ConfigResource,
    op: &ConfigOp,
    current: Option<&String>,
    defaults: &Defaults,
) -> Result<Option<String>, ApiError> {
    let value = || {
        op.value.clone().ok_or_else(|| {
            ApiError::new(ErrorCode::InvalidRequest, format!("The request has no value for {}.", op.key))
        })
    };
    match op.op {
        ConfigOpKind::Set => Ok(Some(value()?)),
        ConfigOpKind::Delete => Ok(None),
        ConfigOpKind::Append | ConfigOpKind::Subtract => {
            let value = value()?;
            let Some(default) = list_default(resource, &op.key, defaults) else {
                let text = format!("{} is not a list: nothing can be appended or subtracted.", op.key);
                return Err(ApiError::new(ErrorCode::InvalidConfig, text));
            };
            let mut items: Vec<&str> = config::list_items(current.unwrap_or(&default));
            items.retain(|item| !item.is_empty());
            for item in value.split(',') {
                if op.op == ConfigOpKind::Subtract {
                    items.retain(|i| *i != item);
                } else if !items.contains(&item) {
                    items.push(item);
                }
            }
            Ok(Some(items.join(",")))
        }
    }
}

/// The default of a setting that is a list; `None` if it is not one.
fn list_default(resource: &ConfigResource, key: &str, defaults: &Defaults) -> Option<String> {
    let def = definition(resource.kind, key).filter(|def| def.kind == Kind::List)?;
    if key == "cleanup.policy" && resource.kind == ResourceKind::Topic {
        let policy = defaults.topic.0.cleanup_policy;
        let items = [(policy.compact, "compact"), (policy.delete, "delete")];
        return Some(items.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect::<Vec<_>>().join(","));
    }
    Some(def.default.unwrap_or("").to_owned())
}

/// Checks a resource's name and its values as they will be; `altered` names those that the request touches.
pub(crate) fn validate<'a>(
    resource: &ConfigResource,
    values: &Values,
    altered: impl Iterator<Item = &'a String>,
    defaults: &Defaults,
) -> Result<(), ApiError> {
    validate_name(resource)?;
    for key in altered {
        if let Some(value) = values.get(key) {
            validate_value(resource, key, value)?;
        }
    }
    if resource.kind == ResourceKind::Topic {
        let together = config::check_together(&TopicConfig::resolve(values, &defaults.topic));
        together.map_err(|why| ApiError::new(ErrorCode::InvalidConfig, why))?;
    }
    Ok(())
}

fn definition(kind: ResourceKind, key: &str) -> Option<&'static ConfigDef> {
    match kind {
        ResourceKind::Topic => config::find(config::topic::TABLE, key),
        ResourceKind::Group => config::find(config::group::TABLE, key),
        ResourceKind::Broker => config::broker::find(config::broker::base_name(key).unwrap_or(key)),
        ResourceKind::BrokerLogger | ResourceKind::ClientMetrics => None,
    }
}

fn validate_value(resource: &ConfigResource, key: &str, value: &str) -> Result<(), ApiError> {
    match resource.kind {
        ResourceKind::Topic => config::validate_topic(&resource.name, key, value),
        ResourceKind::Group => config::validate_group(key, value),
        // What a broker setting may be depends on the broker's own file: it checks before it asks.
        ResourceKind::Broker | ResourceKind::BrokerLogger | ResourceKind::ClientMetrics => Ok(()),
    }
}

fn validate_name(resource: &ConfigResource) -> Result<(), ApiError> {
    let bad = |text: String| Err(ApiError::new(ErrorCode::InvalidRequest, text));
    match resource.kind {
        ResourceKind::Topic if resource.name.is_empty() => bad("There are no default topic resources.".to_owned()),
        ResourceKind::Topic => validate_topic_name(&resource.name),
        ResourceKind::Broker if resource.name.is_empty() => Ok(()),
        ResourceKind::Broker => match resource.name.parse::<i32>() {
            Ok(id) if id >= 0 => Ok(()),
            _ => bad(format!("'{}' is not a broker id.", resource.name)),
        },
        ResourceKind::Group if resource.name.is_empty() => bad("There are no default group resources.".to_owned()),
        ResourceKind::Group => Ok(()),
        // Logger levels live in the broker's memory; client metrics are not served.
        ResourceKind::BrokerLogger | ResourceKind::ClientMetrics => {
            bad(format!("The controller keeps no configuration of {} resources.", resource.kind))
        }
    }
}

fn exists(image: &Image, resource: &ConfigResource) -> Result<(), ApiError> {
    match resource.kind {
        ResourceKind::Topic if image.topic(&resource.name).is_none() => {
            let text = format!("The topic '{}' does not exist.", resource.name);
            Err(ApiError::new(ErrorCode::UnknownTopicOrPartition, text))
        }
        ResourceKind::Broker if !resource.name.is_empty() => {
            let known = resource.name.parse().ok().and_then(|id| image.broker(id)).is_some();
            if known {
                Ok(())
            } else {
                let text = format!("No broker with id {} is registered.", resource.name);
                Err(ApiError::new(ErrorCode::BrokerIdNotRegistered, text))
            }
        }
        _ => Ok(()),
    }
}
