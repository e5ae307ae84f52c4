//! UnregisterBroker (`ReplicationControlManager.unregisterBroker`): a broker that does not come back is forgotten.

use std::future::Future;

use millrace_metadata::command::{Command, Reply};
use millrace_metadata::error::{ApiError, ErrorCode};
use millrace_wire::kp::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::convert::{error_fields, text};
use super::{Answer, Cx};

/// Takes a broker's registration away. One that runs registers again by itself.
pub fn handle(
    cx: Cx,
    request: UnregisterBrokerRequest,
) -> impl Future<Output = Answer<UnregisterBrokerResponse>> + Send + 'static {
    async move {
        let command = Command::UnregisterBroker { broker: request.broker_id.0 };
        let result = match cx.broker.submit_and_serve(command).await {
            Ok(Reply::UnregisterBroker(result)) => result,
            Ok(_) => Err(ErrorCode::UnknownServerError.into()),
            Err(error) => Err(error),
        };
        Answer::Send(answer(&result))
    }
}

fn answer(result: &Result<(), ApiError>) -> UnregisterBrokerResponse {
    let mut response = UnregisterBrokerResponse::default();
    (response.error_code, response.error_message) = error_fields(result);
    response
}

/// Answers with the error.
pub fn refuse(_request: &UnregisterBrokerRequest, _version: i16, error: ErrorCode) -> UnregisterBrokerResponse {
    let mut response = UnregisterBrokerResponse::default();
    response.error_code = error.code();
    response.error_message = Some(text(error.default_message()));
    response
}
