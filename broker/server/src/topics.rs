//! Topics in the image as clients of one listener see them: leaders, offline replicas, and errors.

use millrace_metadata::error::ErrorCode;
use millrace_metadata::ids::{DirId, NodeId};
use millrace_metadata::image::{BrokerImage, Image, PartitionImage};
use millrace_metadata::names::validate_topic_name;
use millrace_metadata::record::Nodes;

/// The error for a topic that does not exist: names that cannot exist are told apart.
pub fn missing_topic_error(name: &str) -> ErrorCode {
    match validate_topic_name(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    }
}

/// Looks up brokers for one listener; Metadata asks for every replica of every partition.
pub struct Reachable<'a> {
    image: &'a Image,
    listener: &'a str,
}

/// Whether a partition's leader can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leader {
    /// Yes.
    Known(NodeId),
    /// The leader is no registered broker, or there is none.
    Missing,
    /// The leader is registered, but fenced or without the client's listener.
    NoListener,
}

impl<'a> Reachable<'a> {
    /// A view for clients of `listener`.
    pub fn new(image: &'a Image, listener: &'a str) -> Self {
        Self { image, listener }
    }

    /// The partition's leader.
    pub fn leader(&self, partition: &PartitionImage) -> Leader {
        match self.image.broker(partition.leader) {
            None => Leader::Missing,
            Some(broker) if broker.endpoint(self.listener).is_some() => Leader::Known(broker.id),
            Some(_) => Leader::NoListener,
        }
    }

    /// Replicas that cannot be reached: broker gone, fenced, without the listener, or with the directory offline.
    pub fn offline_replicas(&self, partition: &PartitionImage) -> Nodes {
        let mut offline = Nodes::new();
        for (at, id) in partition.replicas.iter().enumerate() {
            let dir = partition.dirs.get(at).copied().unwrap_or(DirId::UNASSIGNED);
            if !self.image.broker(*id).is_some_and(|broker| self.serves(broker) && has_dir(broker, dir)) {
                offline.push(*id);
            }
        }
        offline
    }

    /// Those of the nodes that are alive and have the listener (what Metadata v0 shows).
    pub fn alive(&self, nodes: &Nodes) -> Nodes {
        nodes.iter().copied().filter(|id| self.image.broker(*id).is_some_and(|b| self.serves(b))).collect()
    }

    fn serves(&self, broker: &BrokerImage) -> bool {
        !broker.fenced && broker.endpoint(self.listener).is_some()
    }
}

/// A replica whose directory is not settled yet counts as online (`BrokerRegistration.hasOnlineDir`).
fn has_dir(broker: &BrokerImage, dir: DirId) -> bool {
    dir != DirId::LOST && (dir == DirId::UNASSIGNED || broker.dirs.is_empty() || broker.dirs.contains(&dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_metadata::record::{BrokerRegistration, Endpoint, Record};
    use millrace_metadata::{IncarnationId, TopicId};

    const DIR: DirId = DirId([7; 16]);

    fn register(id: NodeId, listener: &str, fenced: bool) -> Record {
        let endpoint = Endpoint { listener: listener.to_owned(), host: "h".to_owned(), port: 1, security_protocol: 0 };
        let registration = BrokerRegistration {
            id,
            incarnation: IncarnationId([1; 16]),
            endpoints: vec![endpoint],
            rack: None,
            dirs: vec![DIR],
            features: Vec::new(),
        };
        Record::RegisterBroker {
            registration: registration.into(),
            epoch: 1,
            fenced,
            in_controlled_shutdown: false,
            index: 1,
            shutdown_at: 0,
        }
    }

    fn image() -> Image {
        let mut image = Image::default();
        for record in [
            register(1, "PLAINTEXT", false),
            register(2, "OTHER", false),
            register(3, "PLAINTEXT", true),
            Record::Topic { name: "t".to_owned(), id: TopicId([1; 16]) },
        ] {
            image.apply(&record);
        }
        image
    }

    fn partition(leader: NodeId, replicas: &[NodeId], dir: DirId) -> PartitionImage {
        let mut partition = PartitionImage::new(replicas, &vec![dir; replicas.len()]);
        partition.leader = leader;
        partition
    }

    #[test]
    fn leaders_are_named_if_they_have_the_listener() {
        let image = image();
        let reachable = Reachable::new(&image, "PLAINTEXT");
        let leader = |id| reachable.leader(&partition(id, &[1, 2, 3], DIR));
        assert_eq!(leader(1), Leader::Known(1));
        assert_eq!(leader(2), Leader::NoListener);
        assert_eq!(leader(4), Leader::Missing);
        assert_eq!(leader(-1), Leader::Missing);
    }

    #[test]
    fn replicas_are_offline_for_many_reasons() {
        let image = image();
        let reachable = Reachable::new(&image, "PLAINTEXT");
        let offline = |dir| reachable.offline_replicas(&partition(1, &[1, 2, 3, 4], dir)).to_vec();
        assert_eq!(offline(DIR), [2, 3, 4]);
        assert_eq!(offline(DirId::UNASSIGNED), [2, 3, 4]);
        assert_eq!(offline(DirId::LOST), [1, 2, 3, 4]);
        assert_eq!(reachable.alive(&Nodes::from_slice(&[3, 1, 9])).to_vec(), [1]);
    }

    #[test]
    fn impossible_names_are_told_apart() {
        assert_eq!(missing_topic_error("t"), ErrorCode::UnknownTopicOrPartition);
        assert_eq!(missing_topic_error("a b"), ErrorCode::InvalidTopicException);
    }
}
