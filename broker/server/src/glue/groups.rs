//! The topic of the group coordinator.

use millrace_metadata::command::{Command, NewTopic, Reply};
use millrace_metadata::error::ErrorCode;
use millrace_metadata::names::CONSUMER_OFFSETS;

use crate::broker::Broker;
use crate::config::BrokerConfig;

/// Creates `__consumer_offsets` with the settings that Kafka gives it, and returns when this broker serves it.
///
/// # Errors
/// COORDINATOR_NOT_AVAILABLE: the client asks again.
pub async fn ensure_topic(broker: &Broker) -> Result<(), ErrorCode> {
    if broker.image().topic(CONSUMER_OFFSETS).is_some() {
        return Ok(());
    }
    let image = broker.image();
    let config = broker.config.current();
    let active = image.brokers().filter(|broker| broker.is_active()).count();
    let topic = offsets_topic(&config, active);
    let registered = image.brokers().count();
    if usize::try_from(topic.replication_factor).is_ok_and(|factor| factor > registered) {
        // The controller would refuse it, and clients ask several times a second.
        let factor = topic.replication_factor;
        tracing::debug!(factor, registered, "too few brokers for the topic of committed offsets");
        return Err(ErrorCode::CoordinatorNotAvailable);
    }
    let command = Command::CreateTopics { topics: vec![topic], validate_only: false };
    let refused = match broker.submit_and_serve(command).await {
        Ok(Reply::CreateTopics(results)) => results.into_iter().find_map(|result| match result {
            Err((_, error)) if error.code != ErrorCode::TopicAlreadyExists => Some(error),
            Ok(_) | Err(_) => None,
        }),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    match refused {
        None => Ok(()),
        Some(error) => {
            tracing::warn!(%error, "the topic of committed offsets could not be created");
            Err(ErrorCode::CoordinatorNotAvailable)
        }
    }
}

/// In a cluster the topic gets as many replicas as `offsets.topic.replication.factor` says, or waits for brokers, as in
/// Kafka: the first client of a cluster that is still starting would else leave it with a single replica for ever. A
/// node that is a quorum of its own has as many as there are brokers, unless the setting is given.
fn offsets_topic(config: &BrokerConfig, brokers: usize) -> NewTopic {
    let groups = &config.groups;
    let wanted = groups.offsets_replication_factor;
    let possible = i16::try_from(brokers.max(1)).unwrap_or(i16::MAX);
    let alone = config.roles.controller && config.quorum_voters.len() <= 1 && config.quorum_bootstrap.len() <= 1;
    let factor = if groups.offsets_replication_pinned || !alone { wanted } else { wanted.min(possible) };
    let mut topic = NewTopic::new(CONSUMER_OFFSETS.to_owned(), groups.offsets_partitions, factor);
    topic.configs = [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("segment.bytes", groups.offsets_segment_bytes.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), Some(value)))
    .to_vec();
    topic
}
