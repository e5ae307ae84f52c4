//! DescribeClientQuotas (KIP-546). No quota can be set yet, so that every valid filter matches nothing.

use std::collections::BTreeSet;
use std::future::{Future, ready};

use millrace_metadata::ErrorCode;
use millrace_wire::kp::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

use super::convert::text;
use super::{Answer, Cx};

/// Kinds of entities that a quota can be for.
const ENTITIES: &[&str] = &["user", "client-id", "ip"];
/// Ways to match a name: exactly, the default entity, any name.
const EXACT: i8 = 0;
const ANY: i8 = 2;

/// Checks the filter and answers with an empty list.
pub fn handle(
    _cx: Cx,
    request: DescribeClientQuotasRequest,
) -> impl Future<Output = Answer<DescribeClientQuotasResponse>> + Send + 'static {
    let response = match check(&request) {
        Ok(()) => DescribeClientQuotasResponse::default(),
        Err((code, why)) => failed(code, &why),
    };
    ready(Answer::Send(response))
}

/// The rules of `ClientQuotasImage.describe`.
fn check(request: &DescribeClientQuotasRequest) -> Result<(), (ErrorCode, String)> {
    let invalid = |why: String| Err((ErrorCode::InvalidRequest, why));
    let mut seen = BTreeSet::new();
    for component in &request.components {
        let kind: &str = &component.entity_type;
        if kind.is_empty() {
            return invalid("The filter has an entity without a type.".to_owned());
        }
        if !(EXACT..=ANY).contains(&component.match_type) {
            return invalid(format!("There is no match type {}.", component.match_type));
        }
        if !ENTITIES.contains(&kind) {
            return Err((ErrorCode::UnsupportedVersion, format!("There are no quotas for {kind}.")));
        }
        if !seen.insert(kind) {
            return invalid(format!("The filter names {kind} twice."));
        }
        let named = component._match.is_some();
        if (component.match_type == EXACT) != named {
            return invalid(format!("The filter for {kind} {} a name.", if named { "must not have" } else { "needs" }));
        }
    }
    if seen.contains("ip") && seen.len() > 1 {
        return invalid("An address cannot be combined with a user or a client id.".to_owned());
    }
    Ok(())
}

fn failed(code: ErrorCode, why: &str) -> DescribeClientQuotasResponse {
    let mut response = DescribeClientQuotasResponse::default();
    response.error_code = code.code();
    response.error_message = Some(text(why));
    response.entries = None;
    response
}

/// Answers with the error alone.
pub fn refuse(_request: &DescribeClientQuotasRequest, _version: i16, error: ErrorCode) -> DescribeClientQuotasResponse {
    failed(error, error.default_message())
}
