//! AddRaftVoter (KIP-853; `KafkaRaftClient.handleAddVoterRequest`). Any broker takes it and asks the active controller.

use std::future::Future;
use std::time::Duration;

use millrace_controller::NewVoter;
use millrace_metadata::error::{ApiError, ErrorCode};
use millrace_metadata::ids::DirId;
use millrace_wire::kp::messages::{AddRaftVoterRequest, AddRaftVoterResponse};

use super::convert::{error_fields, text};
use super::{Answer, Cx};

/// Makes a controller a voter; answers when the quorum has agreed.
pub fn handle(
    cx: Cx,
    request: AddRaftVoterRequest,
) -> impl Future<Output = Answer<AddRaftVoterResponse>> + Send + 'static {
    async move { Answer::Send(answer(&add(&cx, &request).await)) }
}

async fn add(cx: &Cx, request: &AddRaftVoterRequest) -> Result<(), ApiError> {
    cx.check_cluster_id(request.cluster_id.as_deref())?;
    let invalid = |why: &str| Err(ApiError::new(ErrorCode::InvalidRequest, why));
    if request.voter_id < 0 || request.voter_directory_id.is_nil() {
        return invalid("Add voter request didn't include a valid voter");
    }
    // Controllers talk to each other through one listener; the others are for clients that this quorum does not serve.
    let own = &cx.broker.config.current().controller_listeners;
    let ours = |name: &str| own.first().is_none_or(|listener| listener.name == name);
    let Some(listener) = request.listeners.iter().find(|l| ours(&l.name)).or_else(|| request.listeners.first()) else {
        return invalid("Add voter request didn't include the endpoint of the controller's listener");
    };
    let voter = NewVoter {
        id: request.voter_id,
        dir: DirId(*request.voter_directory_id.as_bytes()),
        host: listener.host.to_string(),
        port: listener.port,
    };
    cx.broker.controller.add_voter(voter, cx.limit(request.timeout_ms)).await
}

impl Cx {
    /// Kafka lets a request name the cluster that it is meant for.
    pub(super) fn check_cluster_id(&self, wanted: Option<&str>) -> Result<(), ApiError> {
        let own = &self.broker.cluster_id;
        match wanted.filter(|wanted| wanted != own) {
            None => Ok(()),
            Some(wanted) => {
                let text = format!("The given id \"{wanted}\" doesn't match the cluster id \"{own}\"");
                Err(ApiError::new(ErrorCode::InconsistentClusterId, text))
            }
        }
    }

    /// How long a client waits; `request.timeout.ms` if it does not say.
    pub(super) fn limit(&self, timeout_ms: i32) -> Duration {
        let ms = if timeout_ms > 0 { timeout_ms } else { self.broker.config.current().request_timeout_ms };
        Duration::from_millis(u64::try_from(ms).unwrap_or_default())
    }
}

fn answer(result: &Result<(), ApiError>) -> AddRaftVoterResponse {
    let mut response = AddRaftVoterResponse::default();
    (response.error_code, response.error_message) = error_fields(result);
    response
}

/// Answers with the error.
pub fn refuse(_request: &AddRaftVoterRequest, _version: i16, error: ErrorCode) -> AddRaftVoterResponse {
    let mut response = AddRaftVoterResponse::default();
    response.error_code = error.code();
    response.error_message = Some(text(error.default_message()));
    response
}
