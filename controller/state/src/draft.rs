//! An image under decision: every record is applied as soon as it is made, so that the next step sees its effect.

use millrace_metadata::{ApiError, BrokerImage, ErrorCode, Image, NodeId, PartitionImage, Record, TopicImage};

use crate::Defaults;

/// Records that are decided and not yet agreed, and the image as it will be with them.
#[derive(Debug, Clone)]
pub struct Draft {
    image: Image,
    records: Vec<Record>,
}

impl Draft {
    pub fn new(image: Image) -> Draft {
        Draft { image, records: Vec::new() }
    }

    pub fn image(&self) -> &Image {
        &self.image
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn into_records(self) -> Vec<Record> {
        self.records
    }

    pub(crate) fn push(&mut self, record: Record) {
        self.image.apply(&record);
        self.records.push(record);
    }

    /// Runs a decision; if it is only a trial, its records are dropped again.
    pub(crate) fn maybe<T>(&mut self, trial: bool, decide: impl FnOnce(&mut Draft) -> T) -> T {
        if !trial {
            return decide(self);
        }
        decide(&mut Draft::new(self.image.clone()))
    }

    /// The broker, if this is its present epoch.
    pub(crate) fn broker_at(&self, id: NodeId, epoch: i64) -> Result<&BrokerImage, ApiError> {
        match self.image.broker(id) {
            None => Err(ApiError::new(ErrorCode::StaleBrokerEpoch, format!("Broker {id} is not registered."))),
            Some(broker) if broker.epoch != epoch => Err(ApiError::new(
                ErrorCode::StaleBrokerEpoch,
                format!("Broker {id} has epoch {}, not {epoch}.", broker.epoch),
            )),
            Some(broker) => Ok(broker),
        }
    }
}

/// The value of a topic setting whose broker setting has the same name: the topic's, else the cluster's.
fn dynamic<'a>(image: &'a Image, topic: &str, key: &str) -> Option<&'a str> {
    let own = image.topic_config(topic).and_then(|c| c.get(key));
    own.or_else(|| image.cluster_config().and_then(|c| c.get(key))).map(String::as_str)
}

/// Replicas of the partition that must be in sync, at most as many as it has (`getTopicEffectiveMinIsr`, which looks at
/// the topic's first partition; leaders look at their own, and here both agree).
pub(crate) fn min_isr(image: &Image, (topic, partition): (&TopicImage, &PartitionImage), defaults: &Defaults) -> usize {
    let set = dynamic(image, &topic.name, "min.insync.replicas").and_then(|v| v.trim().parse::<i32>().ok());
    let wanted = set.unwrap_or(defaults.topic.0.min_insync_replicas);
    usize::try_from(wanted).unwrap_or(1).min(partition.replicas.len())
}

/// Whether a replica that may lack committed records may lead rather than none.
pub(crate) fn unclean_allowed(image: &Image, topic: &TopicImage, defaults: &Defaults) -> bool {
    let set = dynamic(image, &topic.name, "unclean.leader.election.enable");
    set.and_then(millrace_metadata::config::parse_bool).unwrap_or(defaults.topic.0.unclean_leader_election_enable)
}
