//! `millrace cluster`.

use std::fmt::Write;

use millrace_wire::kp::messages::{DescribeClusterRequest, DescribeClusterResponse};

use crate::args::ClusterCommand;
use crate::error::{Error, check};
use crate::output::table;
use crate::session::Session;

/// First version in which a broker is asked for by role, and fenced ones told.
const FIRST_WITH_FENCED: i16 = 2;

/// Runs a command about the cluster.
pub async fn run(session: &mut Session, command: ClusterCommand) -> Result<String, Error> {
    match command {
        ClusterCommand::Describe => describe(session).await,
    }
}

async fn describe(session: &mut Session) -> Result<String, Error> {
    let version = session.any().version_of::<DescribeClusterRequest>().await?;
    let mut request = DescribeClusterRequest::default();
    request.include_fenced_brokers = version >= FIRST_WITH_FENCED;
    let answer = session.any().call(version, &request).await?;
    check("cluster", answer.error_code, answer.error_message.as_deref())?;
    Ok(page(answer))
}

fn page(mut answer: DescribeClusterResponse) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "cluster    {}", &*answer.cluster_id);
    let _ = writeln!(text, "controller {}\n", answer.controller_id.0);
    answer.brokers.sort_by_key(|broker| broker.broker_id);
    let rows = answer
        .brokers
        .iter()
        .map(|broker| {
            vec![
                broker.broker_id.0.to_string(),
                format!("{}:{}", &*broker.host, broker.port),
                broker.rack.as_deref().unwrap_or("-").to_owned(),
                if broker.is_fenced { "fenced" } else { "active" }.to_owned(),
            ]
        })
        .collect();
    text.push_str(&table(&["#BROKER", "ADDRESS", "RACK", "STATE"], rows));
    text
}
