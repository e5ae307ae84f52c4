//! ListConfigResources (KIP-1142; version 0 was ListClientMetricsResources of KIP-714).

use std::future::{Future, ready};

use millrace_metadata::{ErrorCode, ResourceKind};
use millrace_wire::kp::messages::list_config_resources_response::ConfigResource;
use millrace_wire::kp::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::convert::text;
use super::{Answer, Cx};

/// First version that lists more than client metrics.
const ALL_KINDS: i16 = 1;

/// Every kind, in the order of their numbers.
const KINDS: [ResourceKind; 5] = [
    ResourceKind::Topic,
    ResourceKind::Broker,
    ResourceKind::BrokerLogger,
    ResourceKind::ClientMetrics,
    ResourceKind::Group,
];

/// Names what can be configured: of the kinds asked for, or of all kinds.
pub fn handle(
    cx: Cx,
    request: ListConfigResourcesRequest,
) -> impl Future<Output = Answer<ListConfigResourcesResponse>> + Send + 'static {
    let mut response = ListConfigResourcesResponse::default();
    let wanted: Result<Vec<ResourceKind>, i8> = if cx.version() < ALL_KINDS {
        Ok(vec![ResourceKind::ClientMetrics])
    } else if request.resource_types.is_empty() {
        Ok(KINDS.to_vec())
    } else {
        request.resource_types.iter().map(|code| ResourceKind::from_code(*code).ok_or(*code)).collect()
    };
    match wanted {
        Ok(wanted) => {
            for kind in KINDS.into_iter().filter(|kind| wanted.contains(kind)) {
                response.config_resources.extend(names(&cx, kind).iter().map(|name| resource(kind, name)));
            }
        }
        Err(_) => response.error_code = ErrorCode::UnsupportedVersion.code(),
    }
    ready(Answer::Send(response))
}

/// Topics and brokers all have a configuration; the other things only if one was set.
fn names(cx: &Cx, kind: ResourceKind) -> Vec<String> {
    let image = cx.broker.image();
    match kind {
        ResourceKind::Topic => image.topics().map(|topic| topic.name.to_string()).collect(),
        ResourceKind::Broker | ResourceKind::BrokerLogger => {
            image.brokers().map(|broker| broker.id.to_string()).collect()
        }
        ResourceKind::ClientMetrics | ResourceKind::Group => image
            .configs()
            .filter(|(resource, _)| resource.kind == kind)
            .map(|(resource, _)| resource.name.clone())
            .collect(),
    }
}

fn resource(kind: ResourceKind, name: &str) -> ConfigResource {
    let mut out = ConfigResource::default();
    out.resource_name = text(name);
    out.resource_type = kind.code();
    out
}

/// Answers with the error alone.
pub fn refuse(_request: &ListConfigResourcesRequest, _version: i16, error: ErrorCode) -> ListConfigResourcesResponse {
    let mut response = ListConfigResourcesResponse::default();
    response.error_code = error.code();
    response
}
