//! `millrace topics`.

use std::collections::BTreeMap;
use std::fmt::Write;

use millrace_metadata::{ErrorCode, TopicId};
use millrace_wire::ClientError;
use millrace_wire::kp::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use millrace_wire::kp::messages::delete_topics_request::DeleteTopicState;
use millrace_wire::kp::messages::describe_configs_request::DescribeConfigsResource;
use millrace_wire::kp::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use millrace_wire::kp::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use millrace_wire::kp::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest, DescribeTopicPartitionsRequest,
};
use millrace_wire::kp::protocol::StrBytes;

use crate::args::{CreateTopic, TopicsCommand};
use crate::error::{Error, check};
use crate::output::{list, table};
use crate::session::{Session, topic_name};

/// How long the cluster may take, in milliseconds.
const TIMEOUT_MS: i32 = 30_000;

/// First version that deletes by name or id.
const FIRST_DELETE_WITH_ID: i16 = 6;

/// Topics whose settings are asked for at once.
const TOPICS_PER_CALL: usize = 200;

/// Partitions of one page of DescribeTopicPartitions.
const PARTITIONS_PER_PAGE: i32 = 2000;

/// By topic and partition.
type Eligible = BTreeMap<(String, i32), Vec<i32>>;

/// Number of topics among the kinds of resources.
const TOPIC_RESOURCE: i8 = 2;

/// Where a setting comes from when it was set on the topic itself.
const SOURCE_TOPIC: i8 = 1;

/// Runs a command about topics.
pub async fn run(session: &mut Session, command: TopicsCommand) -> Result<String, Error> {
    match command {
        TopicsCommand::List { internal } => show_list(session, internal).await,
        TopicsCommand::Create(topic) => create(session, topic).await,
        TopicsCommand::Describe { topics } => describe(session, topics).await,
        TopicsCommand::Delete { topics } => delete(session, topics).await,
    }
}

async fn show_list(session: &mut Session, internal: bool) -> Result<String, Error> {
    let metadata = session.metadata(None).await?;
    check("topics", metadata.error_code, None)?;
    let mut rows: Vec<Vec<String>> = metadata
        .topics
        .iter()
        .filter(|topic| internal || !topic.is_internal)
        .map(|topic| {
            let replicas = topic.partitions.iter().map(|p| p.replica_nodes.len()).max();
            vec![name_of(topic).to_owned(), topic.partitions.len().to_string(), replicas.unwrap_or(0).to_string()]
        })
        .collect();
    rows.sort();
    Ok(table(&["TOPIC", "#PARTITIONS", "#REPLICAS"], rows))
}

async fn create(session: &mut Session, topic: CreateTopic) -> Result<String, Error> {
    let configs = topic.config.iter().map(|(key, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_string(key.clone()))
            .with_value(Some(StrBytes::from_string(value.clone())))
    });
    let wanted = CreatableTopic::default()
        .with_name(topic_name(&topic.topic))
        .with_num_partitions(topic.partitions)
        .with_replication_factor(topic.replication_factor)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![wanted])
        .with_timeout_ms(TIMEOUT_MS)
        .with_validate_only(topic.validate_only);
    let answer = session.call(&request).await?;
    let result = answer.topics.first().ok_or_else(|| Error::Usage("the answer names no topic".to_owned()))?;
    let exists = ErrorCode::TopicAlreadyExists.code();
    if topic.if_not_exists && result.error_code == exists {
        return Ok(format!("topic {} exists\n", topic.topic));
    }
    check(&format!("topic {}", topic.topic), result.error_code, result.error_message.as_deref())?;
    if topic.validate_only {
        return Ok(format!("topic {} could be created\n", topic.topic));
    }
    Ok(format!(
        "topic {} created: {} partitions, {} replicas each\n",
        topic.topic, result.num_partitions, result.replication_factor
    ))
}

async fn delete(session: &mut Session, topics: Vec<String>) -> Result<String, Error> {
    let version = session.any().version_of::<DeleteTopicsRequest>().await?;
    let mut request = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS);
    if version >= FIRST_DELETE_WITH_ID {
        request.topics =
            topics.iter().map(|name| DeleteTopicState::default().with_name(Some(topic_name(name)))).collect();
    } else {
        request.topic_names = topics.iter().map(|name| topic_name(name)).collect();
    }
    let answer = session.any().call(version, &request).await?;
    let (mut text, mut failure) = (String::new(), None);
    for result in &answer.responses {
        let name = result.name.as_ref().map_or("?", |name| name.as_str());
        match check(&format!("topic {name}"), result.error_code, result.error_message.as_deref()) {
            Ok(()) => text.push_str(&format!("topic {name} deleted\n")),
            // Every topic gets its line; the last failure decides the exit.
            Err(error) => {
                if let Some(earlier) = failure.replace(error) {
                    eprintln!("millrace: {earlier}");
                }
            }
        }
    }
    match failure {
        None => Ok(text),
        Some(error) => {
            print!("{text}");
            Err(error)
        }
    }
}

async fn describe(session: &mut Session, topics: Vec<String>) -> Result<String, Error> {
    let wanted = (!topics.is_empty()).then_some(topics.as_slice());
    let mut metadata = session.metadata(wanted).await?;
    check("topics", metadata.error_code, None)?;
    metadata.topics.retain(|topic| wanted.is_some() || !topic.is_internal);
    metadata.topics.sort_by(|a, b| name_of(a).cmp(name_of(b)));
    for topic in &metadata.topics {
        check(&format!("topic {}", name_of(topic)), topic.error_code, None)?;
    }
    let mut pages = Vec::with_capacity(metadata.topics.len());
    for chunk in metadata.topics.chunks(TOPICS_PER_CALL) {
        let settings = settings(session, chunk).await?;
        let eligible = eligible(session, chunk).await?;
        for topic in chunk {
            let own = settings.get(name_of(topic)).map_or(&[][..], Vec::as_slice);
            pages.push(page(topic, own, &eligible));
        }
    }
    Ok(pages.join("\n"))
}

/// Eligible leader replicas (KIP-966) of the partitions that have some, by topic and index. Empty where the cluster
/// does not tell.
async fn eligible(session: &mut Session, topics: &[MetadataResponseTopic]) -> Result<Eligible, Error> {
    let mut eligible = Eligible::new();
    let wanted = topics.iter().map(|topic| TopicRequest::default().with_name(topic_name(name_of(topic))));
    let mut request = DescribeTopicPartitionsRequest::default()
        .with_topics(wanted.collect())
        .with_response_partition_limit(PARTITIONS_PER_PAGE);
    loop {
        let answer = match session.call(&request).await {
            Ok(answer) => answer,
            Err(Error::Call(ClientError::Unsupported(_))) => return Ok(eligible),
            Err(error) => return Err(error),
        };
        for topic in &answer.topics {
            let name = topic.name.as_ref().map_or("", |name| name.as_str());
            for partition in &topic.partitions {
                let nodes = partition.eligible_leader_replicas.iter().flatten().map(|id| id.0);
                eligible.insert((name.to_owned(), partition.partition_index), nodes.collect());
            }
        }
        let Some(next) = answer.next_cursor else {
            return Ok(eligible);
        };
        let cursor = Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index);
        request.cursor = Some(cursor);
    }
}

/// What was set on the topics themselves, as `key=value`.
async fn settings(
    session: &mut Session,
    topics: &[MetadataResponseTopic],
) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let resources = topics.iter().map(|topic| {
        DescribeConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(StrBytes::from_string(name_of(topic).to_owned()))
            .with_configuration_keys(None)
    });
    let request = DescribeConfigsRequest::default().with_resources(resources.collect());
    let answer = session.call(&request).await?;
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for result in &answer.results {
        let topic = result.resource_name.to_string();
        check(&format!("settings of topic {topic}"), result.error_code, result.error_message.as_deref())?;
        let own = settings.entry(topic).or_default();
        for config in result.configs.iter().filter(|c| c.config_source == SOURCE_TOPIC) {
            let value = config.value.as_deref().unwrap_or("(hidden)");
            own.push(format!("{}={value}", &*config.name));
        }
    }
    Ok(settings)
}

fn page(topic: &MetadataResponseTopic, settings: &[String], eligible: &Eligible) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "topic    {}\nid       {}\nsettings {}",
        name_of(topic),
        TopicId(*topic.topic_id.as_bytes()),
        if settings.is_empty() { "(defaults)".to_owned() } else { settings.join(", ") },
    );
    let mut partitions: Vec<_> = topic.partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.partition_index);
    let rows = partitions
        .into_iter()
        .map(|p| {
            vec![
                p.partition_index.to_string(),
                if p.leader_id.0 < 0 { "none".to_owned() } else { p.leader_id.0.to_string() },
                list(p.replica_nodes.iter().map(|id| id.0)),
                list(p.isr_nodes.iter().map(|id| id.0)),
                match eligible.get(&(name_of(topic).to_owned(), p.partition_index)) {
                    Some(nodes) if !nodes.is_empty() => list(nodes),
                    _ => "-".to_owned(),
                },
                state(p).to_owned(),
            ]
        })
        .collect();
    text.push_str(&table(&["#PARTITION", "#LEADER", "REPLICAS", "IN SYNC", "ELIGIBLE", "STATE"], rows));
    text
}

fn state(partition: &MetadataResponsePartition) -> &'static str {
    if partition.leader_id.0 < 0 {
        "offline"
    } else if partition.isr_nodes.len() < partition.replica_nodes.len() {
        "under-replicated"
    } else if partition.replica_nodes.first() != Some(&partition.leader_id) {
        "not led by the preferred replica"
    } else {
        "ok"
    }
}

fn name_of(topic: &MetadataResponseTopic) -> &str {
    topic.name.as_ref().map_or("", |name| name.as_str())
}
