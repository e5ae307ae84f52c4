//! DeleteRecords on a replicated partition answers when all live replicas have done it (`DelayedDeleteRecords.scala`).

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::{DeleteRecordsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use millrace_tests::bench::load::ready_batch;
use millrace_tests::cluster::{Cluster, Plan};
use millrace_tests::harness::Peer;
use millrace_tests::raw::ProducePart;

use super::{LIMIT, TOPIC, alone};

const REQUEST_TIMED_OUT: i16 = 7;

/// Error code and low watermark.
fn delete(cluster: &Cluster, leader: i32, offset: i64, timeout_ms: i32) -> anyhow::Result<(i16, i64)> {
    let part = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
    let name = TopicName(StrBytes::from_static_str(TOPIC));
    let topic = DeleteRecordsTopic::default().with_name(name).with_partitions(vec![part]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms);
    let answer = cluster.connect_patiently(leader)?.request(2, &request)?;
    let part = &answer.topics[0].partitions[0];
    Ok((part.error_code, part.low_watermark))
}

#[test]
fn deleted_records_are_gone_everywhere() -> anyhow::Result<()> {
    let _alone = alone();
    // A paused broker shall count as alive for the whole test.
    let plan = Plan::combined(Peer::from_env(), 3).set("broker.session.timeout.ms", "60000");
    let mut cluster = Cluster::start(&plan)?;
    cluster.create_topic(TOPIC, 1, 3, &[])?;
    let leader = cluster.leader(TOPIC, 0)?;
    let batch = ready_batch(100, 100);
    for _ in 0..10 {
        let part = ProducePart { topic: TOPIC, partition: 0, batch: &batch };
        anyhow::ensure!(cluster.connect(leader)?.produce(&part, -1)?.error == 0);
    }
    assert_eq!(delete(&cluster, leader, 4, LIMIT.as_millis() as i32)?, (0, 4));
    let follower = cluster.brokers().into_iter().find(|id| *id != leader).unwrap();
    cluster.pause(follower)?;
    assert_eq!(delete(&cluster, leader, 7, 300)?.0, REQUEST_TIMED_OUT);
    assert_eq!(cluster.connect(leader)?.list_offset(TOPIC, 0, -2)?, (0, 7), "the leader's own start has moved");
    cluster.resume(follower)?;
    assert_eq!(delete(&cluster, leader, 7, LIMIT.as_millis() as i32)?, (0, 7));
    // Whoever leads next starts there too.
    cluster.wait_in_sync(TOPIC, LIMIT)?;
    cluster.kill9(leader)?;
    let next = cluster
        .wait("another leader", LIMIT, |cluster| Ok(cluster.leader(TOPIC, 0).ok().filter(|next| *next != leader)))?;
    let start = cluster.wait("the start of the log", LIMIT, |cluster| {
        Ok(cluster.connect(next)?.list_offset(TOPIC, 0, -2).ok().filter(|(error, _)| *error == 0))
    })?;
    assert_eq!(start, (0, 7));
    assert_eq!(cluster.alarms(), Vec::<String>::new());
    Ok(())
}
