//! A controller that is lost for good is replaced while the cluster works.

use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::{DescribeQuorumRequest, RemoveRaftVoterRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use millrace_tests::cluster::{Cluster, Plan};
use millrace_tests::harness::Peer;
use uuid::Uuid;

use super::steady::Steady;
use super::{LIMIT, TOPIC, alone};

const LOST: i32 = 103;
const NEW: i32 = 104;

/// Id and directory of the voters.
fn voters(cluster: &Cluster) -> anyhow::Result<Vec<(i32, Uuid)>> {
    cluster.ask(|conn| {
        let name = TopicName(StrBytes::from_static_str("__cluster_metadata"));
        let partitions = vec![PartitionData::default().with_partition_index(0)];
        let topics = vec![TopicData::default().with_topic_name(name).with_partitions(partitions)];
        let answer = conn.request(2, &DescribeQuorumRequest::default().with_topics(topics))?;
        let part = &answer.topics[0].partitions[0];
        anyhow::ensure!(part.error_code == 0, "DescribeQuorum: error {}", part.error_code);
        Ok(part.current_voters.iter().map(|voter| (voter.replica_id.0, voter.replica_directory_id)).collect())
    })
}

fn ids(voters: &[(i32, Uuid)]) -> Vec<i32> {
    let mut ids: Vec<i32> = voters.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_lost_controller_is_replaced() -> anyhow::Result<()> {
    let _alone = alone();
    let plan = Plan::split(Peer::Millrace, 3, 3).controller(NEW);
    let plan = plan.set_on(NEW, "controller.quorum.auto.join.enable", "true");
    let mut cluster = plan.lay_out()?;
    let first: Vec<i32> = cluster.ids().into_iter().filter(|id| *id != NEW).collect();
    first.iter().try_for_each(|id| cluster.spawn(*id))?;
    cluster.wait_whole(LIMIT)?;
    cluster.create_topic(TOPIC, 3, 3, &[])?;
    let steady = Steady::start(&cluster, TOPIC)?;
    let before = voters(&cluster)?;
    assert_eq!(ids(&before), [101, 102, LOST]);
    cluster.kill9(LOST)?;
    // The new one finds the quorum by the addresses of the others and joins by itself.
    cluster.spawn(NEW)?;
    cluster.wait("a fourth voter", LIMIT, |cluster| Ok(ids(&voters(cluster)?).contains(&NEW).then_some(())))?;
    let (_, dir) = before.iter().find(|(id, _)| *id == LOST).copied().unwrap();
    let remove =
        RemoveRaftVoterRequest::default().with_cluster_id(None).with_voter_id(LOST).with_voter_directory_id(dir);
    let error = cluster.ask(|conn| Ok(conn.request(0, &remove)?.error_code))?;
    assert_eq!(error, 0);
    assert_eq!(ids(&voters(&cluster)?), [101, 102, NEW]);
    // It counts: with it, two of three are enough.
    cluster.kill9(101)?;
    steady.go_on(&mut cluster, 100)?;
    cluster.create_topic("another", 1, 3, &[])?;
    steady.check(&cluster, TOPIC)?;
    assert_eq!(cluster.alarms(), Vec::<String>::new());
    Ok(())
}
