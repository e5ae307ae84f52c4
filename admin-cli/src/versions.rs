//! `millrace api-versions`.

use millrace_wire::kp::messages::ApiKey;

use crate::error::Error;
use crate::output::table;
use crate::session::Session;

/// Lists what the broker serves.
pub async fn run(session: &mut Session) -> Result<String, Error> {
    let versions = session.any().api_versions().await?;
    let rows = versions
        .into_iter()
        .map(|(key, (min, max))| {
            let name = ApiKey::try_from(key).map_or("?".to_owned(), |api| format!("{api:?}"));
            vec![key.to_string(), name, min.to_string(), max.to_string()]
        })
        .collect();
    Ok(table(&["#KEY", "API", "#FROM", "#TO"], rows))
}
