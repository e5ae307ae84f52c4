//! InitProducerId: a producer id for an idempotent producer (KIP-98; `KafkaApis.handleInitProducerIdRequest`).

use std::future::Future;

use millrace_metadata::error::ErrorCode;
use millrace_security::Operation;
use millrace_wire::kp::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::{Answer, Cx};

/// Stands for "none" in producer ids and epochs.
const NONE: i16 = -1;

/// Hands out the next producer id.
pub fn handle(
    cx: Cx,
    request: InitProducerIdRequest,
) -> impl Future<Output = Answer<InitProducerIdResponse>> + Send + 'static {
    async move {
        if let Some(error) = refused(&cx, &request) {
            return Answer::Send(refuse(&request, cx.version(), error));
        }
        Answer::Send(match cx.broker.next_producer_id().await {
            Ok(id) => {
                let mut response = InitProducerIdResponse::default();
                response.producer_id = ProducerId(id);
                response.producer_epoch = 0;
                response
            }
            Err(error) => refuse(&request, cx.version(), error),
        })
    }
}

fn refused(cx: &Cx, request: &InitProducerIdRequest) -> Option<ErrorCode> {
    match &request.transactional_id {
        Some(id) if !cx.may_transactional_id(Operation::Write, id) => {
            return Some(ErrorCode::TransactionalIdAuthorizationFailed);
        }
        // Kafka takes a right to write to any topic as well; without rules of that kind both are one.
        None if !cx.may_cluster(Operation::IdempotentWrite) => {
            return Some(ErrorCode::ClusterAuthorizationFailed);
        }
        Some(_) | None => {}
    }
    if (request.producer_id.0 == i64::from(NONE)) != (request.producer_epoch == NONE) {
        return Some(ErrorCode::InvalidRequest);
    }
    match &request.transactional_id {
        None => None,
        Some(id) if id.is_empty() => Some(ErrorCode::InvalidRequest),
        // No transactions here: nobody may use a transactional id. Clients take this one as final and do not retry.
        Some(_) => Some(ErrorCode::TransactionalIdAuthorizationFailed),
    }
}

/// Answers with the error.
pub fn refuse(_request: &InitProducerIdRequest, _version: i16, error: ErrorCode) -> InitProducerIdResponse {
    let mut response = InitProducerIdResponse::default();
    response.error_code = error.code();
    response.producer_id = ProducerId(i64::from(NONE));
    response.producer_epoch = NONE;
    response
}
