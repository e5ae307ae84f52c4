//! `millrace partitions`.

use std::collections::BTreeMap;

use millrace_metadata::ErrorCode;
use millrace_wire::kp::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use millrace_wire::kp::messages::elect_leaders_request::TopicPartitions;
use millrace_wire::kp::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, ElectLeadersRequest, ListPartitionReassignmentsRequest,
};

use crate::args::PartitionsCommand;
use crate::error::{Error, check};
use crate::output::{list, table};
use crate::placement::Placed;
use crate::session::{Session, topic_name};

/// How long the cluster may take to begin, in milliseconds.
const TIMEOUT_MS: i32 = 30_000;
/// Kinds of elections.
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// A reassignment under way.
pub struct Moving {
    pub topic: String,
    pub partition: i32,
    pub replicas: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
}

/// Runs a command about partitions.
pub async fn run(session: &mut Session, command: PartitionsCommand) -> Result<String, Error> {
    match command {
        PartitionsCommand::Reassign { topic, partition, replicas } => {
            let wanted = Placed { topic, partition, replicas };
            reassign(session, std::slice::from_ref(&wanted)).await?;
            let Placed { topic, partition, replicas } = wanted;
            Ok(format!("partition {topic}-{partition} moves to {}\n", list(replicas)))
        }
        PartitionsCommand::Moving => Ok(show(&moving(session).await?)),
        PartitionsCommand::Cancel { topic } => cancel(session, topic).await,
        PartitionsCommand::Elect { topics, unclean } => elect(session, topics, unclean).await,
    }
}

/// Begins reassignments; fails with the first one that is refused, after all were asked for.
pub async fn reassign(session: &mut Session, wanted: &[Placed]) -> Result<(), Error> {
    let wishes = wanted.iter().map(|placed| (placed.topic.as_str(), placed.partition, Some(&placed.replicas[..])));
    alter(session, wishes).await
}

async fn alter<'a>(
    session: &mut Session,
    wishes: impl Iterator<Item = (&'a str, i32, Option<&'a [i32]>)>,
) -> Result<(), Error> {
    let mut topics: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
    for (topic, partition, replicas) in wishes {
        let replicas = replicas.map(|ids| ids.iter().map(|id| BrokerId(*id)).collect());
        let wish = ReassignablePartition::default().with_partition_index(partition).with_replicas(replicas);
        topics.entry(topic).or_default().push(wish);
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| ReassignableTopic::default().with_name(topic_name(name)).with_partitions(partitions));
    let request =
        AlterPartitionReassignmentsRequest::default().with_topics(topics.collect()).with_timeout_ms(TIMEOUT_MS);
    let answer = session.call(&request).await?;
    check("reassignments", answer.error_code, answer.error_message.as_deref())?;
    for topic in &answer.responses {
        for partition in &topic.partitions {
            let subject = format!("partition {}-{}", &**topic.name, partition.partition_index);
            check(&subject, partition.error_code, partition.error_message.as_deref())?;
        }
    }
    Ok(())
}

/// The reassignments under way, by topic and partition.
pub async fn moving(session: &mut Session) -> Result<Vec<Moving>, Error> {
    let request = ListPartitionReassignmentsRequest::default().with_topics(None).with_timeout_ms(TIMEOUT_MS);
    let answer = session.call(&request).await?;
    check("reassignments", answer.error_code, answer.error_message.as_deref())?;
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|id| id.0).collect();
    let mut all = Vec::new();
    for topic in &answer.topics {
        all.extend(topic.partitions.iter().map(|partition| Moving {
            topic: topic.name.to_string(),
            partition: partition.partition_index,
            replicas: ids(&partition.replicas),
            adding: ids(&partition.adding_replicas),
            removing: ids(&partition.removing_replicas),
        }));
    }
    all.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Ok(all)
}

fn show(moving: &[Moving]) -> String {
    if moving.is_empty() {
        return "no reassignment is under way\n".to_owned();
    }
    let row = |m: &Moving| {
        let ids = |ids: &[i32]| if ids.is_empty() { "-".to_owned() } else { list(ids) };
        vec![m.topic.clone(), m.partition.to_string(), list(&m.replicas), ids(&m.adding), ids(&m.removing)]
    };
    table(&["TOPIC", "#PARTITION", "REPLICAS", "ADDING", "REMOVING"], moving.iter().map(row).collect())
}

async fn cancel(session: &mut Session, topic: Option<String>) -> Result<String, Error> {
    let mut under_way = moving(session).await?;
    under_way.retain(|moving| topic.as_ref().is_none_or(|topic| *topic == moving.topic));
    if under_way.is_empty() {
        return Ok("no reassignment is under way\n".to_owned());
    }
    alter(session, under_way.iter().map(|moving| (moving.topic.as_str(), moving.partition, None))).await?;
    Ok(format!("{} reassignment(s) cancelled\n", under_way.len()))
}

async fn elect(session: &mut Session, topics: Vec<String>, unclean: bool) -> Result<String, Error> {
    let wanted = if topics.is_empty() { None } else { Some(partitions_of(session, &topics).await?) };
    let request = ElectLeadersRequest::default()
        .with_election_type(if unclean { UNCLEAN } else { PREFERRED })
        .with_topic_partitions(wanted)
        .with_timeout_ms(TIMEOUT_MS);
    let answer = session.call(&request).await?;
    check("elections", answer.error_code, None)?;
    let (mut rows, mut failures) = (Vec::new(), 0);
    for topic in &answer.replica_election_results {
        for result in &topic.partition_result {
            let name = format!("{}-{}", &**topic.topic, result.partition_id);
            if result.error_code == ErrorCode::ElectionNotNeeded.code() {
                continue;
            }
            match check(&format!("partition {name}"), result.error_code, result.error_message.as_deref()) {
                Ok(()) => rows.push(format!("partition {name} has a new leader\n")),
                Err(error) => {
                    failures += 1;
                    eprintln!("millrace: {error}");
                }
            }
        }
    }
    match (rows.is_empty(), failures) {
        (true, 0) => Ok("every partition is led as it should be\n".to_owned()),
        (_, 0) => Ok(rows.concat()),
        (_, failures) => {
            print!("{}", rows.concat());
            Err(Error::Usage(format!("{failures} election(s) were not possible")))
        }
    }
}

async fn partitions_of(session: &mut Session, topics: &[String]) -> Result<Vec<TopicPartitions>, Error> {
    let metadata = session.metadata(Some(topics)).await?;
    let mut wanted = Vec::new();
    for topic in &metadata.topics {
        let name = topic.name.as_ref().map_or("", |name| name.as_str());
        check(&format!("topic {name}"), topic.error_code, None)?;
        let indexes = topic.partitions.iter().map(|partition| partition.partition_index).collect();
        wanted.push(TopicPartitions::default().with_topic(topic_name(name)).with_partitions(indexes));
    }
    Ok(wanted)
}
