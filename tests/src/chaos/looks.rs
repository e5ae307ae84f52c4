//! Clients that only look: ends of partitions, and what the group has committed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Cx;
use crate::checker::{Commit, CommitKind, End, History};
use crate::raw::Conn;

const PAUSE: Duration = Duration::from_millis(30);
const LATEST: i64 = -1;
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Asks leaders for the end of their partition, and names the epoch that they must have.
pub fn ends(cx: &Arc<Cx>, _: u32) -> History {
    let mut history = History::default();
    let mut turn = 0;
    while !cx.stop_looking.load(Ordering::Relaxed) {
        std::thread::sleep(PAUSE);
        turn += 1;
        let partition = turn as i32 % cx.load.partitions;
        let Some((leader, epoch)) = cx.leader(partition, turn) else {
            continue;
        };
        let begun = cx.now();
        let answer = cx.connect(leader).and_then(|mut conn| end(cx, &mut conn, partition, epoch));
        if let Ok(Some(offset)) = answer {
            history.ends.push(End { partition, epoch, offset, begun, ended: cx.now() });
        }
    }
    history
}

/// ListOffsets for the latest offset at a leader epoch; `None` if the broker answers with an error.
fn end(cx: &Cx, conn: &mut Conn, partition: i32, epoch: i32) -> anyhow::Result<Option<i64>> {
    const VERSION: i16 = 5;
    let part = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(epoch)
        .with_timestamp(LATEST);
    let name = TopicName(StrBytes::from_string(cx.load.topic.clone()));
    let topic = ListOffsetsTopic::default().with_name(name).with_partitions(vec![part]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let answer = conn.request(VERSION, &request)?;
    let part = answer.topics.first().and_then(|t| t.partitions.first());
    Ok(part.filter(|p| p.error_code == 0).map(|p| p.offset))
}

/// Asks the coordinator what the group has committed. A coordinator that was deposed and does not know it yet may
/// answer with what was true before; an answer counts only if all brokers agree that it still is the coordinator.
pub fn commits(cx: &Arc<Cx>, _: u32) -> History {
    let mut history = History::default();
    let mut turn = 0;
    while !cx.stop_looking.load(Ordering::Relaxed) {
        std::thread::sleep(PAUSE);
        turn += 1;
        let partition = turn % cx.load.partitions;
        let Some((coordinator, epoch)) = coordinator(cx) else {
            continue;
        };
        let begun = cx.now();
        let answer = cx.connect(coordinator).and_then(|mut c| c.committed(&cx.load.group, &cx.load.topic, partition));
        let ended = cx.now();
        if let Ok((0, offset)) = answer
            && self::coordinator(cx) == Some((coordinator, epoch))
        {
            history.commits.push(Commit { partition, offset, kind: CommitKind::Found, begun, ended });
            cx.commits.fetch_add(1, Ordering::Relaxed);
        }
    }
    history
}

/// The coordinator of the group and its epoch, if all brokers answer; the newest epoch is right.
fn coordinator(cx: &Cx) -> Option<(i32, i32)> {
    let mut newest = None;
    for id in cx.addrs.keys() {
        let views = cx.connect(*id).and_then(|mut conn| conn.partitions(OFFSETS_TOPIC)).ok()?;
        let index = partition_of(&cx.load.group, views.len())?;
        let view = views.into_iter().find(|v| v.index == index)?;
        newest = newest.max(Some((view.leader_epoch, view.leader)));
    }
    newest.filter(|(_, leader)| *leader >= 0).map(|(epoch, leader)| (leader, epoch))
}

/// Where a group's offsets are: Java's hash of its name (`Utils.abs(groupId.hashCode()) % partitions`).
fn partition_of(group: &str, partitions: usize) -> Option<i32> {
    let hash = group.encode_utf16().fold(0i32, |h, c| h.wrapping_mul(31).wrapping_add(i32::from(c)));
    (hash & i32::MAX).checked_rem(partitions as i32)
}
