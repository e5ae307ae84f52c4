//! UpdateFeatures (KIP-584, KIP-1022; `FeatureControlManager.java`).

use std::future::Future;

use millrace_metadata::command::{Command, FeatureChange, FeatureChangeKind, Reply};
use millrace_metadata::{ApiError, ErrorCode};
use millrace_wire::kp::messages::update_features_request::FeatureUpdateKey;
use millrace_wire::kp::messages::update_features_response::UpdatableFeatureResult;
use millrace_wire::kp::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::convert::text;
use super::{Answer, Cx};

/// Last version that answers each feature by itself.
const RESULT_PER_FEATURE: i16 = 1;

/// Sets the finalised levels of features, all of them or none.
pub fn handle(
    cx: Cx,
    request: UpdateFeaturesRequest,
) -> impl Future<Output = Answer<UpdateFeaturesResponse>> + Send + 'static {
    async move {
        let result = update(&cx, &request).await;
        Answer::Send(match result {
            Ok(()) => done(&request, cx.version()),
            Err(error) => failed(&error),
        })
    }
}

async fn update(cx: &Cx, request: &UpdateFeaturesRequest) -> Result<(), ApiError> {
    let changes = request.feature_updates.iter().map(change).collect::<Result<Vec<_>, ApiError>>()?;
    let command = Command::UpdateFeatures { changes, validate_only: request.validate_only };
    match cx.broker.submit_within(command, request.timeout_ms).await? {
        Reply::UpdateFeatures(result) => result,
        _ => Err(ErrorCode::UnknownServerError.into()),
    }
}

fn change(update: &FeatureUpdateKey) -> Result<FeatureChange, ApiError> {
    let kind = match update.upgrade_type {
        1 => FeatureChangeKind::Upgrade,
        2 => FeatureChangeKind::SafeDowngrade,
        3 => FeatureChangeKind::UnsafeDowngrade,
        other => {
            let text = format!("There is no upgrade type {other} for feature {}.", &*update.feature);
            return Err(ApiError::new(ErrorCode::InvalidUpdateVersion, text));
        }
    };
    Ok(FeatureChange { name: update.feature.to_string(), level: update.max_version_level, kind })
}

fn done(request: &UpdateFeaturesRequest, version: i16) -> UpdateFeaturesResponse {
    let mut response = UpdateFeaturesResponse::default();
    response.error_message = None;
    if version <= RESULT_PER_FEATURE {
        response.results = request
            .feature_updates
            .iter()
            .map(|update| {
                let mut result = UpdatableFeatureResult::default();
                result.feature = update.feature.clone();
                result.error_message = None;
                result
            })
            .collect();
    }
    response
}

fn failed(error: &ApiError) -> UpdateFeaturesResponse {
    let mut response = UpdateFeaturesResponse::default();
    response.error_code = error.code.code();
    response.error_message = Some(text(&error.message));
    response
}

/// Answers with the error alone.
pub fn refuse(_request: &UpdateFeaturesRequest, _version: i16, error: ErrorCode) -> UpdateFeaturesResponse {
    failed(&error.into())
}
