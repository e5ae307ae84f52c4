//! What is asked of a cluster: who leads what, and changes of it.

use anyhow::Context;
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, CreateTopicsRequest, DescribeQuorumRequest, ElectLeadersRequest,
    ListPartitionReassignmentsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::Cluster;
use crate::raw::Conn;

const TIMEOUT_MS: i32 = 30_000;
const METADATA_VERSION: i16 = 12;
const CREATE_VERSION: i16 = 7;
const QUORUM_TOPIC: &str = "__cluster_metadata";

/// A topic that does not exist yet.
#[derive(Clone, Debug)]
pub struct NewTopic<'a> {
    pub name: &'a str,
    pub partitions: i32,
    pub replicas: i16,
    /// Replicas by partition; if there are any, the two numbers above do not count.
    pub assignment: Vec<Vec<i32>>,
    pub configs: Vec<(&'a str, &'a str)>,
}

/// What a broker says about a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    pub index: i32,
    /// −1 if nobody leads.
    pub leader: i32,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
}

/// What a broker says about the controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// The active controller, −1 if there is none.
    pub leader: i32,
    pub epoch: i32,
    /// Node and end of its log, −1 if that is not known.
    pub voters: Vec<(i32, i64)>,
    pub observers: Vec<(i32, i64)>,
}

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

fn ids(list: &[BrokerId]) -> Vec<i32> {
    list.iter().map(|id| id.0).collect()
}

fn whole(list: &[i32]) -> Vec<BrokerId> {
    list.iter().copied().map(BrokerId).collect()
}

impl Conn {
    /// Brokers that Metadata names.
    pub fn brokers(&mut self) -> anyhow::Result<Vec<i32>> {
        let request = MetadataRequest::default().with_topics(Some(Vec::new())).with_allow_auto_topic_creation(false);
        let answer = self.request(METADATA_VERSION, &request)?;
        Ok(answer.brokers.iter().map(|b| b.node_id.0).collect())
    }

    /// The partitions of a topic in order; none if it is not known.
    pub fn partitions(&mut self, topic: &str) -> anyhow::Result<Vec<PartitionView>> {
        let topics = vec![MetadataRequestTopic::default().with_name(Some(name(topic)))];
        let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
        let answer = self.request(METADATA_VERSION, &request)?;
        let topic = answer.topics.first().context("no topic in the answer")?;
        let mut views: Vec<PartitionView> = topic
            .partitions
            .iter()
            .map(|p| PartitionView {
                index: p.partition_index,
                leader: p.leader_id.0,
                leader_epoch: p.leader_epoch,
                replicas: ids(&p.replica_nodes),
                isr: ids(&p.isr_nodes),
            })
            .collect();
        views.sort_by_key(|p| p.index);
        Ok(views)
    }

    /// DescribeQuorum.
    pub fn quorum(&mut self) -> anyhow::Result<Quorum> {
        let partitions = vec![PartitionData::default().with_partition_index(0)];
        let topics = vec![TopicData::default().with_topic_name(name(QUORUM_TOPIC)).with_partitions(partitions)];
        let answer = self.request(1, &DescribeQuorumRequest::default().with_topics(topics))?;
        anyhow::ensure!(answer.error_code == 0, "DescribeQuorum: error {}", answer.error_code);
        let part = answer.topics.first().and_then(|t| t.partitions.first()).context("no quorum in the answer")?;
        anyhow::ensure!(part.error_code == 0, "DescribeQuorum: error {}", part.error_code);
        let nodes = |list: &[kafka_protocol::messages::describe_quorum_response::ReplicaState]| {
            list.iter().map(|r| (r.replica_id.0, r.log_end_offset)).collect()
        };
        Ok(Quorum {
            leader: part.leader_id.0,
            epoch: part.leader_epoch,
            voters: nodes(&part.current_voters),
            observers: nodes(&part.observers),
        })
    }

    /// CreateTopics; returns the error code.
    pub fn create(&mut self, topic: &NewTopic<'_>) -> anyhow::Result<i16> {
        let configs = topic.configs.iter().map(|(key, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string((*key).to_owned()))
                .with_value(Some(StrBytes::from_string((*value).to_owned())))
        });
        let assignment = topic.assignment.iter().zip(0..).map(|(replicas, index)| {
            CreatableReplicaAssignment::default().with_partition_index(index).with_broker_ids(whole(replicas))
        });
        let manual = !topic.assignment.is_empty();
        let wanted = CreatableTopic::default()
            .with_name(name(topic.name))
            .with_num_partitions(if manual { -1 } else { topic.partitions })
            .with_replication_factor(if manual { -1 } else { topic.replicas })
            .with_assignments(assignment.collect())
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(TIMEOUT_MS);
        let answer = self.request(CREATE_VERSION, &request)?;
        Ok(answer.topics.first().context("no topic in the answer")?.error_code)
    }

    /// AlterPartitionReassignments of one partition; no replicas cancel what is under way. Returns the error code.
    pub fn reassign(&mut self, topic: &str, partition: i32, replicas: Option<&[i32]>) -> anyhow::Result<i16> {
        let part = ReassignablePartition::default().with_partition_index(partition).with_replicas(replicas.map(whole));
        let topics = vec![ReassignableTopic::default().with_name(name(topic)).with_partitions(vec![part])];
        let request = AlterPartitionReassignmentsRequest::default().with_topics(topics).with_timeout_ms(TIMEOUT_MS);
        let answer = self.request(0, &request)?;
        if answer.error_code != 0 {
            return Ok(answer.error_code);
        }
        let part = answer.responses.first().and_then(|t| t.partitions.first());
        Ok(part.context("no partition in the answer")?.error_code)
    }

    /// Partitions that are being reassigned: topic and index.
    pub fn reassigning(&mut self) -> anyhow::Result<Vec<(String, i32)>> {
        let request = ListPartitionReassignmentsRequest::default().with_topics(None).with_timeout_ms(TIMEOUT_MS);
        let answer = self.request(0, &request)?;
        anyhow::ensure!(answer.error_code == 0, "ListPartitionReassignments: error {}", answer.error_code);
        let all = answer.topics.iter();
        Ok(all.flat_map(|t| t.partitions.iter().map(|p| (t.name.to_string(), p.partition_index))).collect())
    }

    /// ElectLeaders for all partitions whose leader is not the preferred one; returns the error code.
    pub fn elect_preferred(&mut self) -> anyhow::Result<i16> {
        let request = ElectLeadersRequest::default()
            .with_election_type(0)
            .with_topic_partitions(None)
            .with_timeout_ms(TIMEOUT_MS);
        Ok(self.request(2, &request)?.error_code)
    }
}

impl Cluster {
    /// Creates a topic and waits until each partition has a leader and all its replicas in sync.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        replicas: i16,
        configs: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        self.create(&NewTopic { name, partitions, replicas, assignment: Vec::new(), configs: configs.to_vec() })
    }

    /// Like [`Cluster::create_topic`], with everything that can be said about a topic.
    pub fn create(&mut self, topic: &NewTopic<'_>) -> anyhow::Result<()> {
        const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);
        const EXISTS: i16 = 36;
        let error = self.ask(|conn| conn.create(topic))?;
        // A first try whose answer was lost may have created it.
        anyhow::ensure!(error == 0 || error == EXISTS, "create {}: error {error}", topic.name);
        self.wait_in_sync(topic.name, LIMIT)?;
        let partitions = self.leaders(topic.name)?;
        for part in partitions {
            // A leader is named a moment before it accepts requests.
            self.wait("a new partition", LIMIT, |cluster| {
                let answer = cluster.connect(part.leader).and_then(|mut c| c.list_offset(topic.name, part.index, -1));
                Ok(matches!(answer, Ok((0, _))).then_some(()))
            })?;
        }
        Ok(())
    }

    /// The partitions of a topic in order.
    pub fn leaders(&self, topic: &str) -> anyhow::Result<Vec<PartitionView>> {
        self.ask(|conn| conn.partitions(topic))
    }

    /// The broker that leads a partition; fails if none does.
    pub fn leader(&self, topic: &str, partition: i32) -> anyhow::Result<i32> {
        let leaders = self.leaders(topic)?;
        let found = leaders.iter().find(|p| p.index == partition).context("no such partition")?;
        anyhow::ensure!(found.leader >= 0, "{topic}-{partition} has no leader");
        Ok(found.leader)
    }

    /// Waits until every replica of a topic is in sync and every partition has a leader.
    pub fn wait_in_sync(&mut self, topic: &str, limit: std::time::Duration) -> anyhow::Result<()> {
        self.wait(&format!("all replicas of {topic} in sync"), limit, |cluster| {
            let partitions = cluster.leaders(topic)?;
            let fine = |p: &PartitionView| p.leader >= 0 && p.isr.len() == p.replicas.len();
            Ok((!partitions.is_empty() && partitions.iter().all(fine)).then_some(()))
        })
    }

    /// The active controller, asked from a broker that is well; waits until there is one.
    pub fn active_controller(&self) -> anyhow::Result<i32> {
        self.ask(|conn| {
            let leader = conn.quorum()?.leader;
            anyhow::ensure!(leader >= 0, "there is no active controller");
            Ok(leader)
        })
    }
}
