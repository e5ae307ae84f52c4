//! Topics that are deleted and made again, and committed offsets, while brokers of a cluster come and go.
#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{FindCoordinatorRequest, GroupId, OffsetCommitRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use millrace_tests::bench::load::ready_batch;
use millrace_tests::cluster::{Cluster, Plan};
use millrace_tests::harness::Peer;
use millrace_tests::raw::{Conn, ProducePart};

const LIMIT: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 3;
/// Bytes of a batch, which has one record.
const BATCH: usize = 100;
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner())
}

/// Appends `batches` to every partition.
fn fill(cluster: &mut Cluster, topic: &str, batches: usize) -> anyhow::Result<()> {
    let batch = ready_batch(BATCH, BATCH);
    for partition in (0..PARTITIONS).cycle().take(PARTITIONS as usize * batches) {
        cluster.wait("an acknowledged batch", LIMIT, |cluster| {
            let part = ProducePart { topic, partition, batch: &batch };
            let leader = cluster.leader(topic, partition);
            let answer = leader.and_then(|leader| cluster.connect(leader)?.produce(&part, -1));
            Ok(answer.ok().filter(|answer| answer.error == 0))
        })?;
    }
    Ok(())
}

/// Deletes by way of a broker that runs.
fn delete(cluster: &mut Cluster, topic: &str) -> anyhow::Result<()> {
    const UNKNOWN: i16 = 3;
    let mut asked = 0;
    let error = cluster.ask(|conn| {
        asked += 1;
        conn.delete_topic(topic)
    })?;
    // A first try whose answer was lost may have deleted it.
    ensure!(error == 0 || (error == UNKNOWN && asked > 1), "topic {topic} was not deleted: error {error}");
    Ok(())
}

/// Every broker holds the new records and nothing else, and leads with them.
fn only_new(cluster: &mut Cluster, topic: &str) -> anyhow::Result<()> {
    cluster.wait_in_sync(topic, LIMIT)?;
    let ids = cluster.ids();
    let sizes = cluster.wait("equal logs", LIMIT, |cluster| {
        let sizes = ids.iter().map(|id| cluster.connect(*id)?.log_bytes(topic));
        let sizes = sizes.collect::<anyhow::Result<Vec<u64>>>().ok();
        Ok(sizes.filter(|sizes| sizes.windows(2).all(|pair| pair[0] == pair[1])))
    })?;
    ensure!(sizes[0] > 0 && sizes[0] < 2 * (PARTITIONS as u64) * (2 * BATCH as u64), "logs of {sizes:?} bytes");
    for partition in 0..PARTITIONS {
        // Whoever has just begun to lead answers with an error, or does not know yet what is committed.
        let end = cluster.wait("the end of the log", LIMIT, |cluster| {
            let leader = cluster.leader(topic, partition);
            let end = leader.and_then(|leader| cluster.connect(leader)?.list_offset(topic, partition, -1));
            Ok(end.ok().filter(|(error, end)| *error == 0 && *end > 0))
        })?;
        ensure!(end == (0, 1), "{topic}-{partition}: {end:?}");
    }
    Ok(())
}

#[test]
fn a_topic_that_comes_back_under_its_name_has_nothing_of_the_old_one() -> anyhow::Result<()> {
    let _alone = alone();
    let mut cluster = Cluster::start(&Plan::combined(Peer::from_env(), 3))?;
    for (order, away) in
        ["away for both", "away for the deletion", "away for the creation", "all restart"].into_iter().zip([1, 2, 0, 1])
    {
        let topic = "again";
        let away = cluster.ids()[away];
        cluster.create_topic(topic, PARTITIONS, 3, &[])?;
        fill(&mut cluster, topic, 5)?;
        match order {
            "away for both" => {
                cluster.kill9(away)?;
                delete(&mut cluster, topic)?;
                create(&mut cluster, topic)?;
                fill(&mut cluster, topic, 1)?;
                cluster.start_node(away)?;
            }
            "away for the deletion" => {
                cluster.stop(away)?;
                delete(&mut cluster, topic)?;
                cluster.start_node(away)?;
                create(&mut cluster, topic)?;
                fill(&mut cluster, topic, 1)?;
            }
            "away for the creation" => {
                delete(&mut cluster, topic)?;
                cluster.kill9(away)?;
                create(&mut cluster, topic)?;
                fill(&mut cluster, topic, 1)?;
                cluster.start_node(away)?;
            }
            _ => {
                delete(&mut cluster, topic)?;
                create(&mut cluster, topic)?;
                for id in cluster.ids() {
                    cluster.kill9(id)?;
                }
                for id in cluster.ids() {
                    cluster.spawn(id)?;
                }
                cluster.wait_whole(LIMIT)?;
                fill(&mut cluster, topic, 1)?;
            }
        }
        only_new(&mut cluster, topic).with_context(|| format!("a broker was {order}"))?;
        // Whoever was away may lead as well.
        let other = cluster.ids().into_iter().find(|id| *id != away).unwrap();
        cluster.kill9(other)?;
        cluster.start_node(other)?;
        only_new(&mut cluster, topic).with_context(|| format!("a broker was {order}, and another one then"))?;
        delete(&mut cluster, topic)?;
    }
    Ok(())
}

/// Creates while a broker may be away: it is not waited for.
fn create(cluster: &mut Cluster, topic: &str) -> anyhow::Result<()> {
    use millrace_tests::cluster::NewTopic;
    let wanted =
        NewTopic { name: topic, partitions: PARTITIONS, replicas: 3, assignment: Vec::new(), configs: Vec::new() };
    const EXISTS: i16 = 36;
    let mut asked = 0;
    let error = cluster.ask(|conn| {
        asked += 1;
        conn.create(&wanted)
    })?;
    // A first try whose answer was lost may have created it.
    ensure!(error == 0 || (error == EXISTS && asked > 1), "topic {topic} was not created: error {error}");
    Ok(())
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn coordinator(cluster: &Cluster, group: &str) -> anyhow::Result<i32> {
    let request = FindCoordinatorRequest::default().with_key(text(group)).with_key_type(0);
    let answer = cluster.ask(|conn| conn.request(3, &request))?;
    if answer.error_code != 0 {
        bail!("no coordinator: error {}", answer.error_code);
    }
    Ok(answer.node_id.0)
}

fn commit(conn: &mut Conn, group: &str, topic: &str, offset: i64) -> anyhow::Result<i16> {
    let partition = OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(vec![partition.with_committed_metadata(Some(StrBytes::default()))]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let answer = conn.request(8, &request)?;
    Ok(answer.topics[0].partitions[0].error_code)
}

#[test]
fn committed_offsets_do_not_go_back_when_their_coordinator_is_killed() -> anyhow::Result<()> {
    let _alone = alone();
    let mut cluster = Cluster::start(&Plan::combined(Peer::from_env(), 3))?;
    let topic = "committed";
    cluster.create_topic(topic, 1, 3, &[])?;
    let group = "going-on";
    let mut next = 0;
    for round in 0..4 {
        let mut acknowledged = -1;
        for _ in 0..50 {
            next += 1;
            acknowledged = cluster.wait("an acknowledged commit", LIMIT, |cluster| {
                let done =
                    coordinator(cluster, group).and_then(|id| commit(&mut cluster.connect(id)?, group, topic, next));
                Ok(matches!(done, Ok(0)).then_some(next))
            })?;
        }
        let killed = cluster.wait("a coordinator", LIMIT, |cluster| Ok(coordinator(cluster, group).ok()))?;
        cluster.kill9(killed)?;
        let begin = Instant::now();
        let found = cluster.wait("the committed offset", LIMIT, |cluster| {
            let id = coordinator(cluster, group).ok().filter(|id| *id != killed);
            let found = id.map(|id| cluster.connect(id)?.committed(group, topic, 0)).transpose().ok().flatten();
            Ok(found.filter(|(error, _)| *error == 0))
        })?;
        eprintln!("round {round}: offset {} from the new coordinator after {:?}", found.1, begin.elapsed());
        ensure!(found.1 >= acknowledged, "{} was acknowledged, {} is left", acknowledged, found.1);
        cluster.start_node(killed)?;
        cluster.wait_in_sync("__consumer_offsets", LIMIT)?;
    }
    Ok(())
}
