//! DescribeCluster (KIP-700, KIP-919): the brokers as clients of this listener reach them.

use std::future::{Future, ready};

use millrace_metadata::error::ErrorCode;
use millrace_security::OperationSet;
use millrace_wire::kp::messages::describe_cluster_response::DescribeClusterBroker;
use millrace_wire::kp::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::convert::text;
use super::{Answer, Cx};
use crate::nodes;

/// Endpoint type of brokers; 2 would be controllers.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Answers with the brokers, their addresses and who is taken for the controller.
pub fn handle(
    cx: Cx,
    request: DescribeClusterRequest,
) -> impl Future<Output = Answer<DescribeClusterResponse>> + Send + 'static {
    ready(Answer::Send(answer(&cx, &request)))
}

fn answer(cx: &Cx, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    if request.endpoint_type != BROKERS {
        return wrong_endpoint(cx.version(), request.endpoint_type);
    }
    let image = cx.broker.image();
    let nodes = match request.include_fenced_brokers {
        true => nodes::registered(cx, &image),
        false => nodes::live(cx, &image),
    };
    // Any live broker takes requests for the controller.
    let controller = nodes.iter().find(|node| !node.fenced).map_or(-1, |node| node.id);
    let brokers = nodes.into_iter().map(|node| {
        let mut broker = DescribeClusterBroker::default();
        broker.broker_id = BrokerId(node.id);
        broker.host = node.host.into();
        broker.port = node.port;
        broker.rack = node.rack.map(Into::into);
        broker.is_fenced = node.fenced;
        broker
    });
    let mut response = DescribeClusterResponse::default();
    response.cluster_id = text(&cx.broker.cluster_id);
    response.controller_id = BrokerId(controller);
    response.brokers = brokers.collect();
    response.endpoint_type = BROKERS;
    response.cluster_authorized_operations = match request.include_cluster_authorized_operations {
        true => cx.cluster_operations(),
        false => OperationSet::NOT_REQUESTED,
    };
    response
}

fn wrong_endpoint(version: i16, endpoint_type: i8) -> DescribeClusterResponse {
    let known = endpoint_type == CONTROLLERS;
    let code = match (version, known) {
        (0, _) => ErrorCode::InvalidRequest,
        (_, true) => ErrorCode::MismatchedEndpointType,
        (_, false) => ErrorCode::UnsupportedEndpointType,
    };
    let message = match known {
        true => "Controllers were asked for at an endpoint of brokers".to_owned(),
        false => format!("There is no endpoint type {endpoint_type}"),
    };
    let mut response = DescribeClusterResponse::default();
    response.error_code = code.code();
    response.error_message = Some(message.into());
    response
}

/// Answers with an error.
pub fn refuse(_request: &DescribeClusterRequest, _version: i16, error: ErrorCode) -> DescribeClusterResponse {
    let mut response = DescribeClusterResponse::default();
    response.error_code = error.code();
    response
}
