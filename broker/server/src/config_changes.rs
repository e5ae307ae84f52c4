//! Carries out changes of configurations that clients ask for, one result for each resource.

use millrace_metadata::command::{Command, ConfigChange, Reply};
use millrace_metadata::{ApiError, ErrorCode, ResourceKind};
use millrace_security::Operation;

use crate::api::Cx;
use crate::config::change::{Plan, Requested, plan, repeated};
use crate::run::logging::{ROOT, level_names};

/// Changes each resource as a whole or not at all; results are in the order of the request.
pub async fn alter(cx: &Cx, requested: Vec<Requested>, validate_only: bool) -> Vec<Result<(), ApiError>> {
    let twice = repeated(&requested);
    let image = cx.broker.image();
    let mut results: Vec<Option<Result<(), ApiError>>> = Vec::with_capacity(requested.len());
    let mut changes: Vec<ConfigChange> = Vec::new();
    for resource in &requested {
        let decided = if twice.contains(&(resource.kind, resource.name.clone())) {
            Err(ApiError::new(ErrorCode::InvalidRequest, "The request names this resource more than once."))
        } else {
            allowed(cx, resource).and_then(|()| plan(resource, cx.broker.node_id, &image, &cx.broker.config))
        };
        results.push(match decided {
            Ok(Plan::Submit(change)) => {
                changes.push(change);
                None
            }
            Ok(Plan::Loggers(levels)) => Some(set_levels(cx, &levels, validate_only)),
            Err(error) => Some(Err(error)),
        });
    }
    drop(image);
    let mut submitted = submit(cx, changes, validate_only).await.into_iter();
    let missing = || Err(ErrorCode::UnknownServerError.into());
    results.into_iter().map(|result| result.or_else(|| submitted.next()).unwrap_or_else(missing)).collect()
}

fn allowed(cx: &Cx, resource: &Requested) -> Result<(), ApiError> {
    let operation = Operation::AlterConfigs;
    let (may, code) = match ResourceKind::from_code(resource.kind) {
        Some(ResourceKind::Topic) => (cx.may_topic(operation, &resource.name), ErrorCode::TopicAuthorizationFailed),
        Some(ResourceKind::Group) => (cx.may_group(operation, &resource.name), ErrorCode::GroupAuthorizationFailed),
        Some(ResourceKind::Broker | ResourceKind::BrokerLogger | ResourceKind::ClientMetrics) => {
            (cx.may_cluster(operation), ErrorCode::ClusterAuthorizationFailed)
        }
        None => (true, ErrorCode::None),
    };
    if may { Ok(()) } else { Err(code.into()) }
}

/// The controller answers the changes in their order, since no resource is named twice.
async fn submit(cx: &Cx, changes: Vec<ConfigChange>, validate_only: bool) -> Vec<Result<(), ApiError>> {
    let count = changes.len();
    if count == 0 {
        return Vec::new();
    }
    match cx.broker.submit_and_serve(Command::AlterConfigs { changes, validate_only }).await {
        Ok(Reply::AlterConfigs(results)) => results.into_iter().map(|(_, result)| result).collect(),
        Ok(_) => vec![Err(ErrorCode::UnknownServerError.into()); count],
        Err(error) => vec![Err(error); count],
    }
}

/// Checks all levels before any of them changes (`RuntimeLoggerManager.java`).
fn set_levels(cx: &Cx, levels: &[(String, Option<String>)], validate_only: bool) -> Result<(), ApiError> {
    let mut changes = Vec::with_capacity(levels.len());
    for (name, level) in levels {
        let Some(logger) = cx.broker.loggers.find(name) else {
            return Err(ApiError::new(ErrorCode::InvalidConfig, format!("There is no logger {name}.")));
        };
        match level {
            Some(level) if !level_names().any(|known| known == level) => {
                let known: Vec<&str> = level_names().collect();
                let text = format!("{level} is no level of logger {name}: it is one of {}.", known.join(", "));
                return Err(ApiError::new(ErrorCode::InvalidConfig, text));
            }
            None if logger == ROOT => {
                let text = "The level of the root logger cannot be taken away.";
                return Err(ApiError::new(ErrorCode::InvalidRequest, text));
            }
            _ => changes.push((logger, level.as_deref())),
        }
    }
    if !validate_only {
        cx.broker.loggers.change(&changes);
    }
    Ok(())
}
