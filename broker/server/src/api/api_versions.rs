//! ApiVersions: what this broker serves (KIP-35, KIP-511, KIP-584;
//! `clients/…/requests/ApiVersionsResponse.java`).

use std::future::{Future, ready};

use millrace_metadata::error::ErrorCode;
use millrace_metadata::{Image, features};
use millrace_wire::encode_response;
use millrace_wire::kp::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use millrace_wire::kp::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use millrace_wire::kp::protocol::StrBytes;

use super::table::{self, Row};
use super::{Answer, Cx};
use crate::net::{Outcome, Software};

/// The API's number.
pub const KEY: i16 = ApiKey::ApiVersions as i16;

/// First version in which a client names its software.
const FIRST_WITH_SOFTWARE: i16 = 3;

/// First version whose readers understand a feature that may be off: older ones
/// fail on a lowest level of 0 (KAFKA-17492).
const FIRST_WITH_LEVEL_ZERO: i16 = 4;

/// Longest software name and version kept, in bytes.
const MAX_SOFTWARE_NAME: usize = 255;

/// Answers with the table of served versions.
pub fn handle(
    cx: Cx,
    request: ApiVersionsRequest,
) -> impl Future<Output = Answer<ApiVersionsResponse>> + Send + 'static {
    ready(Answer::Send(answer(&cx, &request)))
}

/// The answer that carries only an error.
pub fn refuse(_: &ApiVersionsRequest, _: i16, error: ErrorCode) -> ApiVersionsResponse {
    ApiVersionsResponse::default().with_error_code(error.code())
}

/// A request in a version from the future is answered in version 0, which every
/// client can read, with nothing but the versions of this API (KIP-511).
pub fn unsupported_version(correlation_id: i32) -> Outcome {
    let own = table::row(KEY).map(version_range).into_iter().collect();
    let response =
        ApiVersionsResponse::default().with_error_code(ErrorCode::UnsupportedVersion.code()).with_api_keys(own);
    match encode_response(KEY, 0, correlation_id, &response) {
        Ok(frame) => Outcome::Send(frame),
        Err(error) => Outcome::Close(error.to_string()),
    }
}

fn answer(cx: &Cx, request: &ApiVersionsRequest) -> ApiVersionsResponse {
    if cx.version() >= FIRST_WITH_SOFTWARE {
        let (name, version) = (&*request.client_software_name, &*request.client_software_version);
        if !is_software_word(name) || !is_software_word(version) {
            return refuse(request, cx.version(), ErrorCode::InvalidRequest);
        }
        cx.conn.set_software(Software { name: name.to_owned(), version: version.to_owned() });
    }
    let image = cx.broker.image();
    ApiVersionsResponse::default()
        .with_api_keys(table::ROWS.iter().map(version_range).collect())
        .with_supported_features(supported_features(cx.version()))
        .with_finalized_features_epoch(i64::try_from(image.features_index).unwrap_or(i64::MAX))
        .with_finalized_features(finalized_features(&image))
}

fn supported_features(version: i16) -> Vec<SupportedFeatureKey> {
    features::TABLE
        .iter()
        .filter(|feature| feature.min > 0 || version >= FIRST_WITH_LEVEL_ZERO)
        .map(|feature| {
            SupportedFeatureKey::default()
                .with_name(StrBytes::from_static_str(feature.name))
                .with_min_version(feature.min)
                .with_max_version(feature.max)
        })
        .collect()
}

/// Features that are on, with the level at which the cluster runs.
fn finalized_features(image: &Image) -> Vec<FinalizedFeatureKey> {
    image
        .features
        .iter()
        .filter(|&(_, &level)| level > 0)
        .map(|(name, &level)| {
            FinalizedFeatureKey::default()
                .with_name(StrBytes::from_string(name.clone()))
                .with_min_version_level(level)
                .with_max_version_level(level)
        })
        .collect()
}

fn version_range(row: &Row) -> ApiVersion {
    ApiVersion::default().with_api_key(row.key).with_min_version(row.advertised_min()).with_max_version(row.max)
}

/// Letters and digits, with `-` and `.` inside only, as in
/// `clients/…/requests/ApiVersionsRequest.java`.
fn is_software_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    word.len() <= MAX_SOFTWARE_NAME
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_words_follow_kafkas_pattern() {
        for good in ["librdkafka", "apache-kafka-java", "4.3.1", "a", "v2.4.0-rc1"] {
            assert!(is_software_word(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "a_b", "é"] {
            assert!(!is_software_word(bad), "{bad}");
        }
    }
}
