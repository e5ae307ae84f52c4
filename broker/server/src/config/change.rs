//! Changes of configurations: what this broker checks before it asks the controller (`ConfigAdminManager.scala`).

use std::collections::{BTreeMap, BTreeSet};

use millrace_metadata::command::{ConfigChange, ConfigOp, ConfigOpKind};
use millrace_metadata::config::{self, Kind, broker, group, list_items};
use millrace_metadata::{ApiError, ConfigResource, ErrorCode, Image, NodeId, ResourceKind};

use super::live::LiveConfig;
use super::settings::definition;

/// One resource of a request, not looked at yet. Codes are those of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    pub kind: i8,
    pub name: String,
    pub ops: Vec<RequestedOp>,
    /// The values named replace all others (the old AlterConfigs request).
    pub replace: bool,
}

/// One change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedOp {
    pub key: String,
    pub op: i8,
    pub value: Option<String>,
}

/// What the broker makes of a requested change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// For the controller.
    Submit(ConfigChange),
    /// Levels of this broker's loggers; `None` follows the root logger.
    Loggers(Vec<(String, Option<String>)>),
}

/// The operation codes (`AlterConfigOp.OpType`).
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn invalid_request(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, text)
}

fn invalid_config(text: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidConfig, text)
}

/// Resources that the request names more than once; each of their mentions is refused.
pub fn repeated(requested: &[Requested]) -> BTreeSet<(i8, String)> {
    let mut seen = BTreeSet::new();
    let key = |r: &Requested| (r.kind, r.name.clone());
    requested.iter().map(key).filter(|key| !seen.insert(key.clone())).collect()
}

/// Checks one resource in Kafka's order and says what is to be done.
pub fn plan(requested: &Requested, node_id: NodeId, image: &Image, live: &LiveConfig) -> Result<Plan, ApiError> {
    let mut keys = BTreeSet::new();
    if requested.ops.iter().any(|op| !keys.insert(op.key.as_str())) {
        return Err(invalid_request("The request changes a key more than once."));
    }
    let nulls: Vec<&str> =
        requested.ops.iter().filter(|op| op.op != DELETE && op.value.is_none()).map(|op| op.key.as_str()).collect();
    if !nulls.is_empty() {
        return Err(invalid_request(format!("The request has no value for {}.", nulls.join(", "))));
    }
    let Some(kind) = ResourceKind::from_code(requested.kind) else {
        return Err(unknown_kind(requested.kind));
    };
    match kind {
        // The old request does not know loggers.
        ResourceKind::BrokerLogger if requested.replace => Err(unknown_kind(requested.kind)),
        ResourceKind::BrokerLogger => {
            check_this_node(&requested.name, node_id)?;
            loggers(requested).map(Plan::Loggers)
        }
        ResourceKind::Broker => {
            if !requested.name.is_empty() {
                check_this_node(&requested.name, node_id)?;
            }
            let change = change(kind, requested)?;
            check_broker(&change, live)?;
            Ok(Plan::Submit(change))
        }
        ResourceKind::Group => {
            let change = change(kind, requested)?;
            check_group(&change, image, live)?;
            Ok(Plan::Submit(change))
        }
        ResourceKind::Topic | ResourceKind::ClientMetrics => Ok(Plan::Submit(change(kind, requested)?)),
    }
}

fn unknown_kind(code: i8) -> ApiError {
    invalid_request(format!("There is no resource type {code} that could be changed."))
}

/// A broker resource must name the broker that is asked: clients route these requests.
pub fn check_this_node(name: &str, node_id: NodeId) -> Result<(), ApiError> {
    match name.parse::<NodeId>() {
        Err(_) => Err(invalid_request(format!("'{name}' is not a broker id."))),
        Ok(id) if id != node_id => {
            Err(invalid_request(format!("This is broker {node_id}; changes of broker {id} must be sent to it.")))
        }
        Ok(_) => Ok(()),
    }
}

fn change(kind: ResourceKind, requested: &Requested) -> Result<ConfigChange, ApiError> {
    let op = |op: &RequestedOp| {
        Ok(ConfigOp {
            key: op.key.clone(),
            op: match op.op {
                SET => ConfigOpKind::Set,
                DELETE => ConfigOpKind::Delete,
                APPEND => ConfigOpKind::Append,
                SUBTRACT => ConfigOpKind::Subtract,
                other => return Err(invalid_request(format!("There is no operation {other}."))),
            },
            value: op.value.clone(),
        })
    };
    Ok(ConfigChange {
        resource: ConfigResource::new(kind, requested.name.clone()),
        ops: requested.ops.iter().map(op).collect::<Result<_, ApiError>>()?,
        replace: requested.replace,
    })
}

/// Type and default of a setting, or why there is none.
type DefaultOf<'a> = &'a dyn Fn(&str) -> Result<(Kind, String), ApiError>;

/// The values that the resource would have after the change, and the keys that the change sets.
fn after(
    change: &ConfigChange,
    before: BTreeMap<String, String>,
    default_of: DefaultOf<'_>,
) -> Result<(BTreeMap<String, String>, BTreeSet<String>), ApiError> {
    let mut values = if change.replace { BTreeMap::new() } else { before };
    let mut set = BTreeSet::new();
    for op in &change.ops {
        let given = op.value.clone().unwrap_or_default();
        match op.op {
            ConfigOpKind::Delete => {
                values.remove(&op.key);
                continue;
            }
            ConfigOpKind::Set => values.insert(op.key.clone(), given),
            ConfigOpKind::Append | ConfigOpKind::Subtract => {
                let (kind, default) = default_of(&op.key)?;
                if kind != Kind::List {
                    return Err(invalid_config(format!(
                        "{} is not a list: nothing can be appended or subtracted.",
                        op.key
                    )));
                }
                let current = values.get(&op.key).cloned().unwrap_or(default);
                let mut items: Vec<&str> = list_items(&current);
                for item in list_items(&given) {
                    items.retain(|i| *i != item);
                    if op.op == ConfigOpKind::Append {
                        items.push(item);
                    }
                }
                values.insert(op.key.clone(), items.join(","))
            }
        };
        set.insert(op.key.clone());
    }
    Ok((values, set))
}

fn check_broker(change: &ConfigChange, live: &LiveConfig) -> Result<(), ApiError> {
    let one_broker = !change.resource.name.is_empty();
    let before = if one_broker { live.broker_values() } else { live.cluster_values() };
    let default_of = |key: &str| match definition(key) {
        Some(def) => {
            Ok((def.kind, live.settings().own(key).map_or(def.default.unwrap_or("").to_owned(), |s| s.value.clone())))
        }
        None => Err(invalid_config(format!("{key} is not a broker setting"))),
    };
    for op in change.ops.iter().filter(|op| op.op == ConfigOpKind::Delete) {
        if let Some(why) = broker::refuse_dynamic(&op.key, one_broker) {
            return Err(invalid_request(why));
        }
    }
    let (values, set) = after(change, before, &default_of)?;
    for key in &set {
        if let Some(value) = values.get(key) {
            config::validate_broker(key, value, one_broker)?;
        }
    }
    live.try_change(&values, one_broker).map_err(|error| invalid_request(error.to_string()))
}

fn check_group(change: &ConfigChange, image: &Image, live: &LiveConfig) -> Result<(), ApiError> {
    let before = image.config(&change.resource).map(|values| (**values).clone()).unwrap_or_default();
    let default_of = |key: &str| match config::find(group::TABLE, key) {
        Some(def) => Ok((def.kind, def.default.unwrap_or("").to_owned())),
        None => Err(invalid_config(format!("Unknown group config name: {key}"))),
    };
    let (values, set) = after(change, before, &default_of)?;
    let number = |key: &str| live.broker_number(key);
    for key in &set {
        let Some(value) = values.get(key) else {
            continue;
        };
        config::validate_group(key, value)?;
        let (low, high) = group::bounds(key);
        let Ok(given) = value.trim().parse::<i64>() else {
            continue;
        };
        let outside = |bound: Option<&'static str>, wrong: &dyn Fn(i64) -> bool| {
            bound.and_then(|name| Some((name, number(name)?))).filter(|(_, limit)| wrong(*limit))
        };
        if let Some((name, limit)) = outside(low, &|limit| given < limit) {
            return Err(invalid_config(format!("{key} must not be less than {name}={limit}")));
        }
        if let Some((name, limit)) = outside(high, &|limit| given > limit) {
            return Err(invalid_config(format!("{key} must not be greater than {name}={limit}")));
        }
    }
    check_sessions(&values, &number)
}

/// A member must be able to send more than one heartbeat within its session.
fn check_sessions(values: &BTreeMap<String, String>, number: &dyn Fn(&str) -> Option<i64>) -> Result<(), ApiError> {
    for kind in ["consumer", "share", "streams"] {
        let (session, beat) = (format!("{kind}.session.timeout.ms"), format!("{kind}.heartbeat.interval.ms"));
        let value = |key: &str| {
            let inherited = || group::synonym(key).and_then(number);
            values.get(key).and_then(|v| v.trim().parse::<i64>().ok()).or_else(inherited)
        };
        if let (Some(a), Some(b)) = (value(&session), value(&beat))
            && a <= b
        {
            return Err(invalid_config(format!("{session}={a} must be greater than {beat}={b}")));
        }
    }
    Ok(())
}

fn loggers(requested: &Requested) -> Result<Vec<(String, Option<String>)>, ApiError> {
    let one = |op: &RequestedOp| match op.op {
        SET => Ok((op.key.clone(), op.value.clone())),
        DELETE => Ok((op.key.clone(), None)),
        APPEND | SUBTRACT => {
            Err(invalid_request("Levels of loggers can be set and deleted, not appended or subtracted."))
        }
        other => Err(invalid_request(format!("There is no operation {other}."))),
    };
    requested.ops.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn live() -> LiveConfig {
        LiveConfig::new(Settings::gather(None, std::iter::empty(), &[]).unwrap()).unwrap()
    }

    fn request(kind: i8, name: &str, ops: &[(&str, i8, Option<&str>)]) -> Requested {
        let op = |(key, op, value): &(&str, i8, Option<&str>)| RequestedOp {
            key: (*key).to_owned(),
            op: *op,
            value: value.map(str::to_owned),
        };
        Requested { kind, name: name.to_owned(), ops: ops.iter().map(op).collect(), replace: false }
    }

    fn code(requested: &Requested) -> ErrorCode {
        plan(requested, 1, &Image::default(), &live()).err().map_or(ErrorCode::None, |e| e.code)
    }

    #[test]
    fn broker_changes() {
        let broker = |name: &str, ops: &[(&str, i8, Option<&str>)]| code(&request(4, name, ops));
        assert_eq!(broker("", &[("log.retention.ms", SET, Some("1000"))]), ErrorCode::None);
        assert_eq!(broker("1", &[("log.retention.ms", DELETE, None)]), ErrorCode::None);
        assert_eq!(broker("2", &[("log.retention.ms", SET, Some("1000"))]), ErrorCode::InvalidRequest);
        assert_eq!(broker("x", &[]), ErrorCode::InvalidRequest);
        assert_eq!(broker("1", &[("log.retention.ms", SET, Some("soon"))]), ErrorCode::InvalidRequest);
        assert_eq!(broker("1", &[("num.partitions", SET, Some("2"))]), ErrorCode::InvalidRequest);
        assert_eq!(broker("1", &[("log.retention.ms", APPEND, Some("2"))]), ErrorCode::InvalidConfig);
        assert_eq!(broker("1", &[("log.retention.ms", SET, None)]), ErrorCode::InvalidRequest);
        assert_eq!(broker("1", &[("log.retention.ms", 9, Some("1"))]), ErrorCode::InvalidRequest);
        assert_eq!(broker("1", &[("a", DELETE, None), ("a", DELETE, None)]), ErrorCode::InvalidRequest);
        assert_eq!(broker("1", &[("log.cleaner.max.compaction.lag.ms", SET, Some("1"))]), ErrorCode::None);
        let clash = [
            ("log.cleaner.max.compaction.lag.ms", SET, Some("1")),
            ("log.cleaner.min.compaction.lag.ms", SET, Some("2")),
        ];
        assert_eq!(broker("1", &clash), ErrorCode::InvalidRequest);
    }

    #[test]
    fn group_changes() {
        let group = |ops: &[(&str, i8, Option<&str>)]| code(&request(32, "g", ops));
        assert_eq!(group(&[("consumer.session.timeout.ms", SET, Some("50000"))]), ErrorCode::None);
        assert_eq!(group(&[("consumer.session.timeout.ms", SET, Some("60001"))]), ErrorCode::InvalidConfig);
        assert_eq!(group(&[("consumer.session.timeout.ms", SET, Some("1"))]), ErrorCode::InvalidConfig);
        assert_eq!(group(&[("nonsense", SET, Some("1"))]), ErrorCode::InvalidConfig);
        assert_eq!(group(&[("consumer.session.timeout.ms", APPEND, Some("1"))]), ErrorCode::InvalidConfig);
    }

    #[test]
    fn kinds_and_repetitions() {
        assert_eq!(code(&request(99, "x", &[])), ErrorCode::InvalidRequest);
        let logger = request(8, "1", &[("root", SET, Some("INFO")), ("millrace_log", DELETE, None)]);
        assert!(matches!(plan(&logger, 1, &Image::default(), &live()), Ok(Plan::Loggers(list)) if list.len() == 2));
        assert_eq!(code(&Requested { replace: true, ..logger.clone() }), ErrorCode::InvalidRequest);
        let twice = [request(2, "a", &[]), request(2, "b", &[]), request(2, "a", &[])];
        assert_eq!(repeated(&twice), BTreeSet::from([(2, "a".to_owned())]));
    }
}
