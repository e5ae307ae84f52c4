//! The group coordinator on replicated partitions of `__consumer_offsets`: it moves with them, and committed offsets
//! never go back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use millrace_groups::types::{Commit, CommitPartition, CommitTopic, Fetch, FetchTopic};
use millrace_groups::{Bounds, GroupCoordinator, GroupSettings, LogError, Now, OffsetsLog, Parts, TOPIC};
use millrace_log::batch::LENGTH_PREFIX;
use millrace_log::{BatchView, Origin};
use millrace_metadata::{ErrorCode, NodeId, TopicId};
use millrace_replica::{
    AppendCx, AppendError, CommitError, FetchSpec, Isolation, Partition, ReadError, Reader, ReplicaManager,
};

use crate::calls::{CallId, Refusal, Response};
use crate::check::Violation;
use crate::world::World;

/// The simulation gives up by its own clock.
const FOREVER: Duration = Duration::from_secs(86_400);
/// Small, so that loading takes several reads.
const READ_BYTES: usize = 400;
/// Turns that the coordinators' tasks get after each event.
const TURNS: usize = 12;
/// What is committed for, by every group.
const WORK: &str = "work";

/// `__consumer_offsets` on a simulated broker.
struct Offsets {
    manager: Arc<ReplicaManager>,
    now_ms: Arc<AtomicI64>,
}

/// An offset that was committed or looked up.
type Answer = BoxFuture<'static, Result<i64, Refusal>>;

/// A coordinator with its clock.
pub struct Groups {
    pub coordinator: GroupCoordinator,
    now_ms: Arc<AtomicI64>,
    /// Whose calls wait for which partition.
    waits: Vec<(CallId, i32, Answer)>,
}

impl Groups {
    pub fn start(manager: Arc<ReplicaManager>) -> Groups {
        let now_ms = Arc::new(AtomicI64::new(0));
        let clock_ms = now_ms.clone();
        let clock = move || {
            let now = clock_ms.load(Ordering::Relaxed);
            Now { wall_ms: now, steady_ms: now }
        };
        let coordinator = GroupCoordinator::start(Parts {
            settings: Arc::new(GroupSettings::default()),
            partitions: 1,
            log: Arc::new(Offsets { manager, now_ms: now_ms.clone() }),
            clock: Arc::new(clock),
            uuids: Box::new(|| Box::new(|| [7; 16])),
        });
        Groups { coordinator, now_ms, waits: Vec::new() }
    }

    /// Coordinates what the replicas lead, as the broker does after each image.
    pub fn follow(&self, manager: &ReplicaManager, partitions: i32) {
        self.coordinator.set_partitions(partitions);
        let leads = |index: i32| {
            let partition = manager.partition(TOPIC, index).ok()?;
            partition.is_leader().then(|| partition.leader_epoch())
        };
        for (index, _) in self.coordinator.led() {
            if leads(index).is_none() {
                self.coordinator.resign(index);
            }
        }
        for index in 0..partitions {
            if let Some(epoch) = leads(index) {
                self.coordinator.lead(index, epoch);
            }
        }
    }
}

impl Offsets {
    fn partition(&self, index: i32) -> Result<Arc<Partition>, LogError> {
        self.manager.partition(TOPIC, index).map_err(|_| LogError::NotLeader)
    }
}

impl OffsetsLog for Offsets {
    fn append(&self, partition: i32, epoch: i32, batch: BytesMut) -> BoxFuture<'static, Result<i64, LogError>> {
        let now_ms = self.now_ms.load(Ordering::Relaxed);
        let cx = AppendCx { acks: -1, origin: Origin::Coordinator, api_version: i16::MAX, now_ms };
        let appended = self.partition(partition).and_then(|p| match p.append_at(Some(epoch), batch, cx) {
            Ok(appended) => Ok((p, appended)),
            Err(AppendError::NotLeader) => Err(LogError::NotLeader),
            Err(AppendError::NotEnoughReplicas { .. }) => Err(LogError::NotEnoughReplicas),
            Err(AppendError::Log(error)) => Err(LogError::Storage(error.to_string())),
        });
        match appended {
            Err(error) => ready(Err(error)).boxed(),
            Ok((p, appended)) => {
                let committed = p.committed(appended.last_offset, FOREVER);
                async move { committed.await.map(|()| appended.base_offset).map_err(uncommitted) }.boxed()
            }
        }
    }

    fn committed(&self, partition: i32, offset: i64) -> BoxFuture<'static, Result<(), LogError>> {
        match self.partition(partition) {
            Err(error) => ready(Err(error)).boxed(),
            Ok(p) if !p.is_leader() => ready(Err(LogError::NotLeader)).boxed(),
            Ok(p) if p.high_watermark() >= offset => ready(Ok(())).boxed(),
            Ok(p) => {
                let committed = p.committed(offset - 1, FOREVER);
                async move { committed.await.map_err(uncommitted) }.boxed()
            }
        }
    }

    fn read(&self, partition: i32, offset: i64) -> BoxFuture<'static, Result<Vec<Bytes>, LogError>> {
        let spec = FetchSpec {
            reader: Reader::Consumer,
            offset,
            max_bytes: READ_BYTES,
            at_least_one: true,
            isolation: Isolation::LogEnd,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        };
        let read = self.partition(partition).and_then(|p| p.read_now(spec).map_err(|error| unread(&error)));
        ready(read.map(|data| data.batches.into_iter().flat_map(split).collect())).boxed()
    }

    fn bounds(&self, partition: i32) -> Result<Bounds, LogError> {
        let p = self.partition(partition)?;
        if !p.is_leader() {
            return Err(LogError::NotLeader);
        }
        let (start_offset, end_offset) = (p.log_start_offset(), p.log_end_offset());
        Ok(Bounds { start_offset, end_offset, bytes: p.size_bytes() })
    }

    /// The partition never grows so large here.
    fn delete_before(&self, _partition: i32, _offset: i64) -> BoxFuture<'static, Result<(), LogError>> {
        ready(Ok(())).boxed()
    }
}

/// The batches of a run.
fn split(mut run: Bytes) -> Vec<Bytes> {
    let mut batches = Vec::new();
    while let Some(view) = BatchView::new(&run) {
        let size = view.length_field() as usize + LENGTH_PREFIX;
        batches.push(run.split_to(size.min(run.len())));
    }
    batches
}

fn uncommitted(error: CommitError) -> LogError {
    match error {
        CommitError::TimedOut | CommitError::NotEnoughReplicas => LogError::Unknown(error.to_string()),
        CommitError::Storage => LogError::Storage(error.to_string()),
        CommitError::NotLeader => LogError::NotLeader,
    }
}

fn unread(error: &ReadError) -> LogError {
    match error {
        ReadError::Storage(error) => LogError::Storage(error.to_string()),
        ReadError::OutOfRange { .. } | ReadError::OffsetNotAvailable => LogError::Unknown(error.to_string()),
        _ => LogError::NotLeader,
    }
}

/// What is asked of a coordinator: to commit an offset of the group, or to tell it.
#[derive(Debug, Clone)]
pub struct Ask {
    pub group: String,
    pub commit: Option<i64>,
}

/// What clients know of the groups' offsets.
#[derive(Debug, Default)]
pub struct Known {
    /// The largest offset that was acknowledged or seen.
    floor: BTreeMap<String, i64>,
    /// The largest one that was ever sent.
    sent: BTreeMap<String, i64>,
    pub commits: u64,
}

impl Known {
    pub fn send(&mut self, group: &str) -> i64 {
        let sent = self.sent.entry(group.to_owned()).or_default();
        *sent += 1;
        *sent
    }

    /// What a fetch that begins now must show at least.
    pub fn floor(&self, group: &str) -> i64 {
        self.floor.get(group).copied().unwrap_or(0)
    }

    pub fn acknowledged(&mut self, group: &str, offset: i64) {
        self.commits += 1;
        let floor = self.floor.entry(group.to_owned()).or_default();
        *floor = (*floor).max(offset);
    }

    /// A fetch that began when `floor` was known has shown `offset`.
    pub fn shown(&mut self, group: &str, floor: i64, offset: i64) -> Result<(), Violation> {
        let sent = self.sent.get(group).copied().unwrap_or(0);
        if offset < floor || offset > sent {
            let text = format!("{group}: {offset} is shown, {floor} was committed, {sent} was sent");
            return Err(Violation::new("committed offsets of groups never go back", text));
        }
        let known = self.floor.entry(group.to_owned()).or_default();
        *known = (*known).max(offset);
        Ok(())
    }
}

impl World {
    pub fn serve_groups(&mut self, id: NodeId, call: CallId, ask: Ask) {
        let Some(groups) = self.node(id).process.as_mut().map(|p| &mut p.groups) else {
            return;
        };
        let partition = groups.coordinator.partition_for(&ask.group);
        let refusal = |_: ErrorCode| Refusal::Unknown;
        let done = match ask.commit {
            Some(offset) => {
                let commit = groups.coordinator.commit(commit_of(ask.group, offset));
                async move {
                    let topics = commit.await.map_err(refusal)?;
                    let codes = topics.iter().flat_map(|t| t.partitions.iter().map(|p| p.1));
                    codes.into_iter().find(|code| *code != ErrorCode::None).map_or(Ok(offset), |c| Err(refusal(c)))
                }
                .boxed()
            }
            None => {
                let topic = FetchTopic { name: WORK.to_owned(), id: TopicId::ZERO, partitions: vec![0] };
                let fetch = groups.coordinator.fetch(&Fetch { group_id: ask.group, topics: Some(vec![topic]) });
                async move {
                    let topics = fetch.await.map_err(refusal)?;
                    let found = topics.iter().flat_map(|t| t.partitions.iter()).next();
                    Ok(found.map_or(0, |p| p.offset.max(0)))
                }
                .boxed()
            }
        };
        groups.waits.push((call, partition, done));
        self.touch(id);
    }

    /// Lets the coordinators' tasks run, and answers those who waited for them.
    pub fn pump_groups(&mut self, id: NodeId) {
        let (now_ms, until) = (self.now_ms(), Duration::from_micros(self.now));
        let Some(process) = &mut self.nodes[id as usize - 1].process else {
            return;
        };
        if process.groups.coordinator.led().is_empty() && process.groups.waits.is_empty() {
            return;
        }
        process.groups.now_ms.store(now_ms, Ordering::Relaxed);
        let begun = self.begun;
        let led = process.groups.coordinator.led();
        let manager = process.manager.clone();
        let ends = || -> i64 {
            led.iter().filter_map(|(p, _)| manager.partition(TOPIC, *p).ok()).map(|p| p.log_end_offset()).sum()
        };
        let before = ends();
        let waits = &mut process.groups.waits;
        let mut done = Vec::new();
        self.runtime.block_on(async {
            let behind = until.saturating_sub(begun.elapsed());
            if !behind.is_zero() {
                tokio::time::advance(behind).await;
            }
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            waits.retain_mut(|(call, partition, wait)| match wait.now_or_never() {
                None => true,
                Some(result) => {
                    done.push((*call, *partition, result));
                    false
                }
            });
        });
        for (call, partition, result) in done {
            // A coordinator that does not know yet that it was deposed shows what it knew; Kafka has no lease either.
            // Only one that is the coordinator has to be right, and none may acknowledge what the next one lacks.
            let image = self.controller.image();
            let led = image.partition(TOPIC, partition).map(|p| p.leader);
            let lost = image.topic_id(TOPIC).is_some_and(|topic| self.check.is_lenient(&(topic, partition)));
            let stale = lost || led != Some(id);
            self.answer(call, Response::Group { stale, result });
        }
        if ends() != before {
            self.schedule_sync(id);
        }
    }
}

fn commit_of(group_id: String, offset: i64) -> Commit {
    let partition = CommitPartition { index: 0, offset, leader_epoch: -1, metadata: String::new() };
    let topic = CommitTopic { name: WORK.to_owned(), id: TopicId::ZERO, partitions: vec![partition] };
    Commit {
        group_id,
        generation: -1,
        member_id: String::new(),
        instance_id: None,
        retention_ms: None,
        missing_group: ErrorCode::IllegalGeneration,
        topics: vec![topic],
    }
}
