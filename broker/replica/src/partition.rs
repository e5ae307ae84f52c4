//! One partition as this broker holds it.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use millrace_log::{Appended, LeaderAppend, LogDir, Origin, PartitionKey, PartitionLog, Producer};
use millrace_metadata::{DirId, NodeId, Nodes, PartitionImage, TopicId};
use millrace_store::{KvBatch, StoreError};
use parking_lot::{RwLock, RwLockReadGuard};

use crate::error::{AppendError, CommitError, ReadError};
use crate::feed::Feed;
use crate::progress::{Level, Progress, Reporter, Role};
use crate::remotes::Holder;
use crate::shared::Shared;
use crate::waiter::Waiter;

/// Circumstances of an append.
#[derive(Debug, Clone, Copy)]
pub struct AppendCx {
    /// −1, 0 or 1.
    pub acks: i16,
    pub origin: Origin,
    /// Produce version; `i16::MAX` for the broker's own batches.
    pub api_version: i16,
    pub now_ms: i64,
}

/// What the metadata says about a partition, as far as its replica here needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// −1 if there is none.
    pub leader: NodeId,
    pub leader_epoch: i32,
    pub partition_epoch: i32,
    /// The in-sync set that the controller has decided on.
    pub isr: Nodes,
    pub replicas: Nodes,
}

impl PartitionState {
    pub(crate) fn of(image: &PartitionImage) -> PartitionState {
        PartitionState {
            leader: image.leader,
            leader_epoch: image.leader_epoch,
            partition_epoch: image.partition_epoch,
            isr: image.isr.clone(),
            replicas: image.replicas.clone(),
        }
    }

    fn none() -> PartitionState {
        let (isr, replicas) = (Nodes::new(), Nodes::new());
        PartitionState { leader: -1, leader_epoch: -1, partition_epoch: -1, isr, replicas }
    }
}

/// A replica of one partition on this broker.
pub struct Partition {
    topic: Arc<str>,
    topic_id: TopicId,
    index: i32,
    log: Arc<PartitionLog>,
    progress: Arc<Progress>,
    leading: AtomicBool,
    leader_epoch: AtomicI32,
    /// Held for reading by appends and truncations, so that roles do not change under them.
    state: RwLock<PartitionState>,
    reporter: ArcSwap<Reporter>,
    shared: Arc<Shared>,
    /// The high watermark that was noted last, −1 if none was in this place.
    noted: AtomicI64,
}

/// What is known of an idempotent producer (DescribeProducers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerInfo {
    pub id: i64,
    pub epoch: i16,
    pub last_sequence: i32,
    /// ms since 1970.
    pub last_timestamp: i64,
    pub coordinator_epoch: i32,
    /// First offset of its open transaction, −1 if there is none.
    pub txn_start_offset: i64,
}

impl ProducerInfo {
    pub(crate) fn new(id: i64, producer: &Producer) -> ProducerInfo {
        ProducerInfo {
            id,
            epoch: producer.epoch,
            last_sequence: producer.last_sequence(),
            last_timestamp: producer.last_timestamp,
            coordinator_epoch: producer.coordinator_epoch,
            txn_start_offset: producer.txn_first_offset,
        }
    }
}

/// A log with those who watch it.
pub(crate) struct OpenLog {
    pub log: Arc<PartitionLog>,
    pub progress: Arc<Progress>,
    pub reporter: Arc<Reporter>,
    pub shared: Arc<Shared>,
}

impl Partition {
    pub(crate) fn new(topic: Arc<str>, topic_id: TopicId, index: i32, open: OpenLog) -> Partition {
        Partition {
            topic,
            topic_id,
            index,
            log: open.log,
            progress: open.progress,
            reporter: ArcSwap::new(open.reporter),
            leading: AtomicBool::new(false),
            leader_epoch: AtomicI32::new(-1),
            state: RwLock::new(PartitionState::none()),
            shared: open.shared,
            noted: AtomicI64::new(-1),
        }
    }

    /// Takes in what the metadata says. Older partition epochs change nothing.
    pub(crate) fn apply(&self, next: PartitionState) {
        let mut state = self.state.write();
        if next.partition_epoch < state.partition_epoch || *state == next {
            return;
        }
        if next.leader_epoch != state.leader_epoch {
            self.progress.begin_epoch(self.log.end());
            self.leader_epoch.store(next.leader_epoch, Ordering::Release);
        }
        let role = match next.leader {
            leader if leader == self.shared.node_id => Role::Leading,
            leader if leader < 0 => Role::Idle,
            _ => Role::Following,
        };
        let same_leader = (state.leader, state.leader_epoch) == (next.leader, next.leader_epoch);
        self.leading.store(role == Role::Leading, Ordering::Release);
        if role == Role::Leading {
            let needed = self.min_in_sync(next.replicas.len());
            self.progress.lead(self.shared.node_id, &next, needed, self.shared.now_ms());
        } else if !same_leader || self.progress.role() != role {
            self.progress.step_down(role);
        }
        *state = next;
    }

    /// The settings changed: min.insync.replicas may have.
    pub(crate) fn reconfigured(&self) {
        let state = self.state.write();
        if self.is_leader() {
            self.progress.need(self.min_in_sync(state.replicas.len()));
        }
    }

    /// Replicas that must be in sync for acks=all: never more than there are (`Partition.effectiveMinIsr`).
    fn min_in_sync(&self, replicas: usize) -> usize {
        usize::try_from(self.log.config().min_insync_replicas).unwrap_or(1).min(replicas)
    }

    /// The topic is gone: nothing is taken or answered any more.
    pub(crate) fn close(&self) {
        let state = self.state.write();
        self.leading.store(false, Ordering::Release);
        self.progress.step_down(Role::Idle);
        drop(state);
    }

    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }
    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }
    pub fn index(&self) -> i32 {
        self.index
    }
    pub fn is_leader(&self) -> bool {
        self.leading.load(Ordering::Acquire)
    }
    /// Leader epoch of the partition, as this broker knows it.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
    }
    pub fn state(&self) -> PartitionState {
        self.state.read().clone()
    }
    pub(crate) fn locked_state(&self) -> RwLockReadGuard<'_, PartitionState> {
        self.state.read()
    }
    /// Another broker leads, and this replica follows it.
    pub fn is_follower(&self) -> bool {
        self.progress.role() == Role::Following
    }
    /// One past the last durable offset of this replica.
    pub fn durable_end_offset(&self) -> i64 {
        self.progress.durable_end()
    }
    /// One past the last committed offset: consumers read below it.
    pub fn high_watermark(&self) -> i64 {
        self.progress.high_watermark()
    }
    /// First offset that a transaction may still change; the high watermark, as there are none.
    pub fn last_stable_offset(&self) -> i64 {
        self.progress.high_watermark()
    }
    pub fn log_start_offset(&self) -> i64 {
        self.log.log_start()
    }
    /// One past the last appended offset, durable or not.
    pub fn log_end_offset(&self) -> i64 {
        self.log.end()
    }
    /// Bytes of the stored batches.
    pub fn size_bytes(&self) -> u64 {
        self.log.bounds().bytes
    }
    /// Id and path of the directory that holds the log.
    pub fn dir(&self) -> (DirId, PathBuf) {
        let place = self.log.place();
        (place.dir.id(), place.dir.path().clone())
    }
    pub(crate) fn log_dir(&self) -> Arc<LogDir> {
        self.log.place().dir.clone()
    }
    /// Why the storage takes no more writes, if it does not.
    pub fn failure(&self) -> Option<StoreError> {
        self.progress.failure()
    }
    /// The log below: for those that look at a replica from outside. Whoever writes to it goes through the partition.
    pub fn log(&self) -> &Arc<PartitionLog> {
        &self.log
    }
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
    pub(crate) fn reporter(&self) -> Arc<Reporter> {
        self.reporter.load_full()
    }
    pub(crate) fn key(&self) -> PartitionKey {
        (self.topic_id, self.index)
    }
    pub(crate) fn epoch_start(&self) -> i64 {
        self.progress.epoch_start()
    }

    /// Fails unless this broker leads at the epoch that the client knows; −1 is not checked. Fails as well when the
    /// storage has: what it holds could still be read, but a client that waits for more must be told.
    pub(crate) fn check_leader(&self, epoch: i32) -> Result<(), ReadError> {
        self.check_epoch(epoch)?;
        if self.is_leader() { Ok(()) } else { Err(ReadError::NotLeader) }
    }

    /// As [`Partition::check_leader`], for those whom a follower may serve as well.
    pub(crate) fn check_replica(&self, epoch: i32) -> Result<(), ReadError> {
        self.check_epoch(epoch)?;
        if self.progress.role() == Role::Idle { Err(ReadError::NotLeader) } else { Ok(()) }
    }

    fn check_epoch(&self, epoch: i32) -> Result<(), ReadError> {
        if let Some(error) = self.progress.failure() {
            return Err(ReadError::Storage(error));
        }
        let current = self.leader_epoch();
        if epoch != -1 && epoch < current {
            return Err(ReadError::FencedEpoch { current });
        }
        if epoch > current {
            return Err(ReadError::UnknownEpoch { current });
        }
        Ok(())
    }

    /// Validates a batch, gives it the next offsets and queues it. Returns before it is durable; wait with
    /// [`Partition::committed`] or [`Partition::written`]. Calls are appended in the order in which they are made.
    pub fn append_as_leader(&self, records: BytesMut, cx: AppendCx) -> Result<Appended, AppendError> {
        self.append_at(None, records, cx)
    }

    /// As [`Partition::append_as_leader`], only while this broker leads at this epoch, or at any if `None`.
    pub fn append_at(&self, epoch: Option<i32>, records: BytesMut, cx: AppendCx) -> Result<Appended, AppendError> {
        // Leadership cannot move between the check and the append.
        let state = self.state.read();
        if !self.is_leader() || epoch.is_some_and(|epoch| epoch != state.leader_epoch) {
            return Err(AppendError::NotLeader);
        }
        if let Some(error) = self.progress.failure() {
            return Err(millrace_log::AppendError::Storage(error).into());
        }
        if cx.acks == -1 {
            let (in_sync, needed) = (state.isr.len(), self.min_in_sync(state.replicas.len()));
            if in_sync < needed {
                return Err(AppendError::NotEnoughReplicas { in_sync, needed });
            }
        }
        let (origin, api_version, now_ms) = (cx.origin, cx.api_version, cx.now_ms);
        let cx = LeaderAppend { origin, api_version, now_ms, leader_epoch: state.leader_epoch };
        let appended = self.log.append_as_leader(records, cx)?;
        if appended.bytes > 0 {
            self.progress.appended(appended.last_offset + 1, appended.bytes as u64);
        }
        Ok(appended)
    }

    /// Resolves when everything up to `last_offset` is committed (acks=all).
    pub fn committed(
        &self,
        last_offset: i64,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + use<> {
        self.wait(Level::Committed, last_offset, timeout)
    }

    /// Resolves when everything up to `last_offset` is durable in the leader's log (acks=1).
    pub fn written(
        &self,
        last_offset: i64,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + use<> {
        self.wait(Level::Written, last_offset, timeout)
    }

    /// Resolves when everything below `end` is durable in this log, whoever leads.
    pub(crate) fn stored(&self, end: i64) -> impl Future<Output = Result<(), CommitError>> + Send + use<> {
        let wait = self.progress.wait(Level::Stored, end);
        async move {
            match wait? {
                None => Ok(()),
                Some(wait) => wait.wait().await,
            }
        }
    }

    fn wait(
        &self,
        level: Level,
        last_offset: i64,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), CommitError>> + Send + use<> {
        let wait = self.progress.wait(level, last_offset + 1);
        async move {
            match wait? {
                None => Ok(()),
                Some(wait) => match tokio::time::timeout(timeout, wait.wait()).await {
                    Ok(result) => result,
                    Err(_) => Err(CommitError::TimedOut),
                },
            }
        }
    }

    /// Registers a parked fetch; `seen` is that of the [`crate::FetchData`] that was not enough. Leadership that
    /// moves and storage that fails wake it too.
    pub fn watch(&self, waiter: &Arc<Waiter>, seen: u64) {
        self.progress.watch(waiter, seen);
    }

    /// Other replicas in sync that a consumer could read `offset` from; none unless this broker leads.
    pub fn holders(&self, offset: i64) -> Vec<Holder> {
        self.progress.with_remotes(|remotes, _| remotes.holders(offset)).unwrap_or_default()
    }

    /// Registers who is told when there is something new for a follower; replaces who was before. `slot` is told at
    /// once. False if this broker does not lead the partition, or `replica` is none of its replicas.
    pub fn feed(&self, replica: NodeId, feed: &Arc<Feed>, slot: u32) -> bool {
        self.progress.feed(replica, feed, slot)
    }

    /// Rough number of committed bytes at or after `offset`: exact in being zero or not.
    pub fn readable_bytes_from(&self, offset: i64) -> u64 {
        let ahead = self.high_watermark() - offset;
        if ahead <= 0 {
            return 0;
        }
        let bounds = self.log.bounds();
        let offsets = (bounds.end - bounds.log_start).max(1);
        let share = u128::from(bounds.bytes) * ahead as u128 / offsets as u128;
        u64::try_from(share).unwrap_or(u64::MAX).clamp(1, bounds.bytes.max(1))
    }

    /// Whether all that earlier leaders committed is known to be committed: until then the high watermark may stand below
    /// what clients have seen of it.
    pub fn is_settled(&self) -> bool {
        self.is_leader() && self.high_watermark() >= self.epoch_start()
    }

    /// Smallest log start of all live replicas, −1 while one has not told its own (`Partition.lowWatermarkIfLeader`).
    pub fn low_watermark(&self) -> i64 {
        let (own, brokers) = (self.log_start_offset(), self.shared.brokers());
        self.progress.with_remotes(|remotes, _| remotes.lowest_log_start(&brokers)).map_or(own, |low| low.min(own))
    }

    /// Resolves when the logs of all live replicas start at `start` or later (`DelayedDeleteRecords.scala`).
    pub async fn trimmed_everywhere(&self, start: i64, timeout: Duration) -> Result<(), CommitError> {
        let brokers = self.shared.brokers();
        match self.progress.wait_trimmed(start, &brokers)? {
            None => Ok(()),
            Some(wait) => tokio::time::timeout(timeout, wait.wait()).await.unwrap_or(Err(CommitError::TimedOut)),
        }
    }

    /// Adds a row with the high watermark if it moved; a partition without other replicas knows it anyway.
    pub(crate) fn note_high_watermark(&self, out: &mut KvBatch) -> bool {
        let high_watermark = self.high_watermark();
        if self.state.read().replicas.len() <= 1 || self.noted.swap(high_watermark, Ordering::AcqRel) == high_watermark
        {
            return false;
        }
        self.log.note_high_watermark(out, high_watermark);
        true
    }

    /// From now on `reporter` tells of the log's progress, and no other one.
    pub(crate) fn report_by(&self, reporter: Arc<Reporter>) {
        let before = self.reporter.swap(reporter.clone());
        before.mute();
        // It has to be noted again in the new place.
        self.noted.store(-1, Ordering::Release);
        reporter.activate();
    }
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition").field("topic", &self.topic).field("index", &self.index).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_partition_is_small() {
        // With the two counters of an `Arc`, what each of thousands of partitions takes of the allocator's size classes.
        const COUNTERS: usize = 2 * size_of::<usize>();
        assert!(size_of::<Partition>() + COUNTERS <= 160, "{}", size_of::<Partition>());
        assert!(size_of::<Progress>() + COUNTERS <= 112, "{}", size_of::<Progress>());
        assert!(size_of::<PartitionLog>() + COUNTERS <= 64, "{}", size_of::<PartitionLog>());
        assert!(size_of::<Reporter>() + COUNTERS <= 48, "{}", size_of::<Reporter>());
    }
}
