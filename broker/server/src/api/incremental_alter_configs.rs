//! IncrementalAlterConfigs (KIP-339, KIP-412; `ConfigAdminManager.scala`).

use std::future::Future;

use millrace_metadata::ErrorCode;
use millrace_wire::kp::messages::incremental_alter_configs_request::AlterConfigsResource;
use millrace_wire::kp::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use millrace_wire::kp::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::convert::{error_fields, text};
use super::{Answer, Cx};
use crate::config::change::{Requested, RequestedOp};
use crate::config_changes::alter;

/// Sets, deletes, appends and subtracts values.
pub fn handle(
    cx: Cx,
    request: IncrementalAlterConfigsRequest,
) -> impl Future<Output = Answer<IncrementalAlterConfigsResponse>> + Send + 'static {
    async move {
        let requested = request.resources.iter().map(requested).collect();
        let results = alter(&cx, requested, request.validate_only).await;
        let mut response = IncrementalAlterConfigsResponse::default();
        for (resource, result) in request.resources.iter().zip(&results) {
            let mut out = AlterConfigsResourceResponse::default();
            (out.error_code, out.error_message) = error_fields(result);
            out.resource_type = resource.resource_type;
            out.resource_name = resource.resource_name.clone();
            response.responses.push(out);
        }
        Answer::Send(response)
    }
}

fn requested(resource: &AlterConfigsResource) -> Requested {
    let ops = resource.configs.iter().map(|config| RequestedOp {
        key: config.name.to_string(),
        op: config.config_operation,
        value: config.value.as_ref().map(|value| value.to_string()),
    });
    Requested {
        kind: resource.resource_type,
        name: resource.resource_name.to_string(),
        ops: ops.collect(),
        replace: false,
    }
}

/// Answers every resource of the request with the error.
pub fn refuse(
    request: &IncrementalAlterConfigsRequest,
    _version: i16,
    error: ErrorCode,
) -> IncrementalAlterConfigsResponse {
    let mut response = IncrementalAlterConfigsResponse::default();
    for resource in &request.resources {
        let mut out = AlterConfigsResourceResponse::default();
        out.error_code = error.code();
        out.error_message = Some(text(error.default_message()));
        out.resource_type = resource.resource_type;
        out.resource_name = resource.resource_name.clone();
        response.responses.push(out);
    }
    response
}
