//! DescribeConfigs (KIP-133, KIP-226, KIP-569; `ConfigHelper.scala`).

use std::collections::BTreeMap;
use std::future::{Future, ready};

use millrace_metadata::names::validate_topic_name;
use millrace_metadata::{ApiError, ConfigResource, ErrorCode, ResourceKind};
use millrace_security::Operation;
use millrace_wire::kp::messages::describe_configs_request::DescribeConfigsResource;
use millrace_wire::kp::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use millrace_wire::kp::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::convert::text;
use super::{Answer, Cx};
use crate::config::change::check_this_node;
use crate::config::view::{self, Entry, Origin, Synonym};

/// Tells the settings of topics, brokers, groups and loggers.
pub fn handle(
    cx: Cx,
    request: DescribeConfigsRequest,
) -> impl Future<Output = Answer<DescribeConfigsResponse>> + Send + 'static {
    // A kind of resource that does not exist spoils the whole request.
    if request.resources.iter().any(|r| ResourceKind::from_code(r.resource_type).is_none()) {
        return ready(Answer::Send(refuse(&request, cx.version(), ErrorCode::InvalidRequest)));
    }
    let mut response = DescribeConfigsResponse::default();
    for resource in &request.resources {
        response.results.push(describe(&cx, &request, resource));
    }
    ready(Answer::Send(response))
}

fn describe(cx: &Cx, request: &DescribeConfigsRequest, resource: &DescribeConfigsResource) -> DescribeConfigsResult {
    let entries = match allowed(cx, resource) {
        Ok(()) => entries(cx, resource),
        Err(code) => Err(code.into()),
    };
    let mut result = DescribeConfigsResult::default();
    result.resource_type = resource.resource_type;
    result.resource_name = resource.resource_name.clone();
    match entries {
        Ok(entries) => {
            let keys = resource.configuration_keys.as_deref().unwrap_or_default();
            let wanted = |entry: &Entry| keys.is_empty() || keys.iter().any(|key| **key == *entry.name);
            result.configs = entries.into_iter().filter(wanted).map(|entry| config(request, entry)).collect();
        }
        Err(error) => {
            result.error_code = error.code.code();
            // Kafka answers an unknown topic without a word.
            if error.code != ErrorCode::UnknownTopicOrPartition {
                result.error_message = Some(text(&error.message));
            }
        }
    }
    result
}

fn allowed(cx: &Cx, resource: &DescribeConfigsResource) -> Result<(), ErrorCode> {
    let operation = Operation::DescribeConfigs;
    match ResourceKind::from_code(resource.resource_type) {
        Some(ResourceKind::Topic) if !cx.may_topic(operation, &resource.resource_name) => {
            Err(ErrorCode::TopicAuthorizationFailed)
        }
        Some(ResourceKind::Group) if !cx.may_group(operation, &resource.resource_name) => {
            Err(ErrorCode::GroupAuthorizationFailed)
        }
        Some(ResourceKind::Broker | ResourceKind::BrokerLogger | ResourceKind::ClientMetrics)
            if !cx.may_cluster(operation) =>
        {
            Err(ErrorCode::ClusterAuthorizationFailed)
        }
        Some(_) | None => Ok(()),
    }
}

fn entries(cx: &Cx, resource: &DescribeConfigsResource) -> Result<Vec<Entry>, ApiError> {
    let name: &str = &resource.resource_name;
    let config = &*cx.broker.config;
    let Some(kind) = ResourceKind::from_code(resource.resource_type) else {
        return Err(ErrorCode::InvalidRequest.into());
    };
    let image = cx.broker.image();
    let own = image.config(&ConfigResource::new(kind, name)).map(|own| (**own).clone()).unwrap_or_default();
    let named = |what: &str| match name.is_empty() {
        true => Err(ApiError::new(ErrorCode::InvalidRequest, format!("{what} must not be empty."))),
        false => Ok(()),
    };
    match kind {
        ResourceKind::Topic => {
            validate_topic_name(name)?;
            match image.topic(name) {
                Some(_) => Ok(view::topic(config, &own)),
                None => Err(ErrorCode::UnknownTopicOrPartition.into()),
            }
        }
        ResourceKind::Broker if name.is_empty() => Ok(view::cluster(config)),
        ResourceKind::Broker => {
            check_this_node(name, cx.broker.node_id)?;
            Ok(view::broker(config))
        }
        ResourceKind::BrokerLogger => {
            named("The broker id")?;
            check_this_node(name, cx.broker.node_id)?;
            Ok(cx
                .broker
                .loggers
                .levels()
                .into_iter()
                .map(|(logger, level)| plain(logger, level, Origin::Logger))
                .collect())
        }
        ResourceKind::Group => {
            named("The group id")?;
            Ok(view::group(config, &own))
        }
        ResourceKind::ClientMetrics => {
            named("The subscription name")?;
            Ok(metrics(own))
        }
    }
}

/// Subscriptions are not kept, so that there is nothing to tell about any of them.
fn metrics(own: BTreeMap<String, String>) -> Vec<Entry> {
    own.iter().map(|(key, value)| plain(key, value, Origin::Default)).collect()
}

fn plain(name: &str, value: &str, origin: Origin) -> Entry {
    Entry {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        origin,
        read_only: false,
        sensitive: false,
        kind: None,
        doc: Some(""),
        synonyms: Vec::new(),
    }
}

fn config(request: &DescribeConfigsRequest, entry: Entry) -> DescribeConfigsResourceResult {
    let mut result = DescribeConfigsResourceResult::default();
    result.name = text(&entry.name);
    result.value = entry.value.as_deref().map(text);
    result.read_only = entry.read_only;
    result.config_source = entry.origin as i8;
    result.is_sensitive = entry.sensitive;
    if request.include_synonyms {
        result.synonyms = entry.synonyms.into_iter().map(synonym).collect();
    }
    result.config_type = entry.kind.map_or(0, |kind| kind.wire());
    // The levels of loggers have an empty text, asked for or not.
    let told = request.include_documentation || entry.doc == Some("");
    result.documentation = entry.doc.filter(|_| told).map(text);
    result
}

fn synonym(synonym: Synonym) -> DescribeConfigsSynonym {
    let mut out = DescribeConfigsSynonym::default();
    out.name = text(&synonym.name);
    out.value = synonym.value.as_deref().map(text);
    out.source = synonym.origin as i8;
    out
}

/// Answers every resource of the request with the error.
pub fn refuse(request: &DescribeConfigsRequest, _version: i16, error: ErrorCode) -> DescribeConfigsResponse {
    let mut response = DescribeConfigsResponse::default();
    for resource in &request.resources {
        let mut result = DescribeConfigsResult::default();
        result.error_code = error.code();
        result.error_message = Some(text(error.default_message()));
        result.resource_type = resource.resource_type;
        result.resource_name = resource.resource_name.clone();
        response.results.push(result);
    }
    response
}
