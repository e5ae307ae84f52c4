//! FindCoordinator: the broker that leads a group's partition of `__consumer_offsets`
//! (`KafkaApis.handleFindCoordinatorRequest`).
//!
//! Unlike Kafka, the answer waits for a topic that is created on the way, and then names the coordinator at once.

use std::future::Future;

use millrace_metadata::error::ErrorCode;
use millrace_metadata::names::CONSUMER_OFFSETS;
use millrace_security::Operation;
use millrace_wire::kp::messages::find_coordinator_response::Coordinator;
use millrace_wire::kp::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};

use super::convert::text;
use super::{Answer, Cx};
use crate::glue::groups;
use crate::nodes::{self, Node};

/// First version that asks for many keys (KIP-699).
const BATCHED: i16 = 4;
/// First version that may ask for share groups' state.
const SHARE: i16 = 6;

/// What a key names (`FindCoordinatorRequest.CoordinatorType`).
const KEY_GROUP: i8 = 0;
const KEY_TRANSACTION: i8 = 1;
const KEY_SHARE: i8 = 2;

/// Answers with the coordinators of all keys.
pub fn handle(
    cx: Cx,
    request: FindCoordinatorRequest,
) -> impl Future<Output = Answer<FindCoordinatorResponse>> + Send + 'static {
    async move {
        if cx.version() < BATCHED {
            let found = find(&cx, request.key_type, &request.key).await;
            return Answer::Send(single(found));
        }
        let mut response = FindCoordinatorResponse::default();
        for key in &request.coordinator_keys {
            let found = find(&cx, request.key_type, key).await;
            response.coordinators.push(entry(key, found));
        }
        Answer::Send(response)
    }
}

/// Answers with the error, for each key.
pub fn refuse(request: &FindCoordinatorRequest, version: i16, error: ErrorCode) -> FindCoordinatorResponse {
    if version < BATCHED {
        return single(Err(error));
    }
    let entries = request.coordinator_keys.iter().map(|key| entry(key, Err(error)));
    FindCoordinatorResponse::default().with_coordinators(entries.collect())
}

async fn find(cx: &Cx, key_type: i8, key: &str) -> Result<Node, ErrorCode> {
    match key_type {
        KEY_GROUP if !cx.may_group(Operation::Describe, key) => Err(ErrorCode::GroupAuthorizationFailed),
        KEY_GROUP => {
            groups::ensure_topic(&cx.broker).await?;
            let image = cx.broker.image();
            let partition = cx.broker.groups.partition_for(key);
            let leader = image.partition(CONSUMER_OFFSETS, partition).map(|partition| partition.leader);
            leader.and_then(|leader| nodes::live_one(cx, &image, leader)).ok_or(ErrorCode::CoordinatorNotAvailable)
        }
        // There are no transactions yet. Clients take this one as final, and do not ask again and again.
        KEY_TRANSACTION => Err(ErrorCode::TransactionalIdAuthorizationFailed),
        KEY_SHARE if cx.version() >= SHARE && !cx.may_cluster(Operation::ClusterAction) => {
            Err(ErrorCode::ClusterAuthorizationFailed)
        }
        _ => Err(ErrorCode::InvalidRequest),
    }
}

/// Versions 0–3. Kafka's message of success is the name of the code.
fn single(found: Result<Node, ErrorCode>) -> FindCoordinatorResponse {
    let error = found.as_ref().err().copied().unwrap_or(ErrorCode::None);
    let message = if error == ErrorCode::None { error.name() } else { error.default_message() };
    let place = Place::of(found);
    FindCoordinatorResponse::default()
        .with_error_code(error.code())
        .with_error_message(Some(text(message)))
        .with_node_id(BrokerId(place.id))
        .with_host(text(&place.host))
        .with_port(place.port)
}

fn entry(key: &str, found: Result<Node, ErrorCode>) -> Coordinator {
    let error = found.as_ref().err().copied().unwrap_or(ErrorCode::None);
    let message = if error == ErrorCode::None { "" } else { error.default_message() };
    let place = Place::of(found);
    Coordinator::default()
        .with_key(text(key))
        .with_error_code(error.code())
        .with_error_message(Some(text(message)))
        .with_node_id(BrokerId(place.id))
        .with_host(text(&place.host))
        .with_port(place.port)
}

/// A node, or Kafka's "no node".
struct Place {
    id: i32,
    host: String,
    port: i32,
}

impl Place {
    fn of(found: Result<Node, ErrorCode>) -> Self {
        match found {
            Ok(node) => Self { id: node.id, host: node.host, port: node.port },
            Err(_) => Self { id: -1, host: String::new(), port: -1 },
        }
    }
}
