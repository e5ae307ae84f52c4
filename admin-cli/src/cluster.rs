//! `millrace cluster`.

use std::fmt::Write;

use millrace_metadata::ErrorCode;
use millrace_wire::ClientError;
use millrace_wire::kp::messages::describe_quorum_response::ReplicaState;
use millrace_wire::kp::messages::{
    DescribeClusterRequest, DescribeClusterResponse, DescribeQuorumRequest, describe_quorum_request,
    describe_quorum_response,
};

use crate::args::ClusterCommand;
use crate::error::{Error, check};
use crate::output::table;
use crate::session::{Session, topic_name};

/// The topic under which the controllers' log is known.
const CLUSTER_METADATA: &str = "__cluster_metadata";

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
    let mut text = page(answer);
    if let Some(controllers) = controllers(session).await? {
        text.push('\n');
        text.push_str(&controllers);
    }
    Ok(text)
}

/// The metadata quorum; `None` if the cluster does not tell, or not us.
async fn controllers(session: &mut Session) -> Result<Option<String>, Error> {
    let partition = describe_quorum_request::PartitionData::default().with_partition_index(0);
    let topic = describe_quorum_request::TopicData::default()
        .with_topic_name(topic_name(CLUSTER_METADATA))
        .with_partitions(vec![partition]);
    let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let answer = match session.call(&request).await {
        Ok(answer) => answer,
        Err(Error::Call(ClientError::Unsupported(_))) => return Ok(None),
        Err(error) => return Err(error),
    };
    if ErrorCode::from_code(answer.error_code) == Some(ErrorCode::ClusterAuthorizationFailed) {
        return Ok(None);
    }
    check("controllers", answer.error_code, answer.error_message.as_deref())?;
    let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
    Ok(partition.map(quorum))
}

fn quorum(partition: &describe_quorum_response::PartitionData) -> String {
    let leader = partition.leader_id.0;
    let end = |replica: &ReplicaState| replica.log_end_offset;
    let newest = partition.current_voters.iter().map(end).max().unwrap_or(0);
    let voters = partition.current_voters.iter().map(|voter| {
        let role = if voter.replica_id.0 == leader { "leader" } else { "voter" };
        (voter, role)
    });
    let observers = partition.observers.iter().map(|observer| (observer, "observer"));
    let rows = voters.chain(observers).map(|(replica, role)| {
        let lag = if end(replica) < 0 { "?".to_owned() } else { (newest - end(replica)).max(0).to_string() };
        vec![replica.replica_id.0.to_string(), role.to_owned(), lag]
    });
    table(&["#CONTROLLER", "ROLE", "#LAG"], rows.collect())
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
