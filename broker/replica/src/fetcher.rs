//! What one fetcher asks one leading broker for, and what it makes of the answers: a step machine without IO. Whoever
//! drives it sends the requests (`AbstractFetcherThread.scala`, incremental sessions: KIP-227).
//!
//! ```text
//! loop { synced().await; match request(now) { Some(r) => send → response(now, …) or failed(now); None => woken().await } }
//! ```
//!
//! There is one request under way at a time. The next one waits until all that the answer brought is durable, as a
//! fetch at an offset tells the leader just that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use millrace_log::{EpochEnd, PartitionKey};
use millrace_metadata::{ErrorCode, NodeId, TopicId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::follow::{FollowError, FollowerEnd, LeaderData};
use crate::partition::Partition;
use crate::shared::Shared;

/// First pause of a partition whose fetch failed; it doubles up to `replica.fetch.backoff.ms`. Short, as the usual
/// reason is a leader that has not yet heard that it leads.
const FIRST_BACKOFF_MS: i64 = 10;

/// A request for the leader.
#[derive(Debug, Clone, Default)]
pub struct ReplicaFetch {
    /// Partitions whose position changed since the last request, or all of them.
    pub partitions: Vec<ReplicaFetchPartition>,
    /// Partitions that were asked for and are not any more.
    pub forgotten: Vec<PartitionKey>,
}

/// Where to fetch one partition from.
#[derive(Debug, Clone)]
pub struct ReplicaFetchPartition {
    pub topic_id: TopicId,
    pub topic: Arc<str>,
    pub index: i32,
    pub offset: i64,
    /// −1 in an empty log.
    pub last_fetched_epoch: i32,
    pub leader_epoch: i32,
    pub log_start: i64,
    pub max_bytes: usize,
}

/// The leader's answer.
#[derive(Debug, Clone, Default)]
pub struct ReplicaFetched {
    /// Those that the leader has something to say about.
    pub partitions: Vec<ReplicaFetchedPartition>,
}

/// The leader's answer for one partition.
#[derive(Debug, Clone)]
pub struct ReplicaFetchedPartition {
    pub topic_id: TopicId,
    pub index: i32,
    pub error: ErrorCode,
    pub high_watermark: i64,
    /// With OFFSET_OUT_OF_RANGE, too, if the leader says it; −1 else.
    pub log_start: i64,
    pub diverging: Option<EpochEnd>,
    /// Whole batches, back to back.
    pub records: Bytes,
}

/// One stream of fetches from one leading broker.
pub struct Fetcher {
    leader: NodeId,
    id: usize,
    shared: Arc<Shared>,
    inner: Mutex<Inner>,
    assigned: Notify,
}

#[derive(Default)]
struct Inner {
    following: BTreeMap<PartitionKey, Following>,
    /// To be named in the next request.
    due: BTreeSet<PartitionKey>,
    forgotten: BTreeSet<PartitionKey>,
    /// Pauses by their end, ms since 1970.
    paused: BTreeSet<(i64, PartitionKey)>,
    /// Partitions that may have something appended which is not durable.
    unsynced: Vec<PartitionKey>,
    /// The leader's session, if it has one, is not to be relied on.
    full: bool,
}

/// A partition that is followed.
struct Following {
    partition: Arc<Partition>,
    leader_epoch: i32,
    /// End of the log here.
    offset: i64,
    last_epoch: i32,
    /// The leader knows `offset` from a request.
    asked: bool,
    paused_until: Option<i64>,
    failures: u32,
}

impl Inner {
    fn pause(&mut self, key: PartitionKey, now_ms: i64, longest_ms: i64) {
        if self.following.get(&key).is_some_and(|following| following.partition.failure().is_some()) {
            // Its directory stays offline until a restart.
            return self.remove(&key);
        }
        let Some(following) = self.following.get_mut(&key) else {
            return;
        };
        let pause = FIRST_BACKOFF_MS.saturating_mul(1 << following.failures.min(16)).min(longest_ms.max(1));
        following.failures += 1;
        self.pause_until(key, now_ms + pause);
    }

    fn pause_until(&mut self, key: PartitionKey, until_ms: i64) {
        let Some(following) = self.following.get_mut(&key) else {
            return;
        };
        if let Some(before) = following.paused_until.replace(until_ms) {
            self.paused.remove(&(before, key));
        }
        self.paused.insert((until_ms, key));
        self.due.remove(&key);
        if std::mem::take(&mut following.asked) {
            self.forgotten.insert(key);
        }
    }

    fn resume_paused(&mut self, now_ms: i64) {
        while let Some((until, key)) = self.paused.first().copied()
            && until <= now_ms
        {
            self.paused.pop_first();
            if let Some(following) = self.following.get_mut(&key) {
                following.paused_until = None;
                self.due.insert(key);
                self.unsynced.push(key);
            }
        }
    }

    fn remove(&mut self, key: &PartitionKey) {
        if let Some(before) = self.following.remove(key) {
            self.due.remove(key);
            if let Some(until) = before.paused_until {
                self.paused.remove(&(until, *key));
            }
            if before.asked {
                self.forgotten.insert(*key);
            }
        }
    }

    /// Everything is to be asked for anew.
    fn start_over(&mut self) {
        self.full = false;
        self.forgotten.clear();
        for (key, following) in &mut self.following {
            following.asked = false;
            if following.paused_until.is_none() {
                self.due.insert(*key);
            }
        }
    }

    /// Forgets what has become durable; the first partition that has not.
    fn first_unsynced(&mut self) -> Option<(Arc<Partition>, i64)> {
        while let Some(key) = self.unsynced.last() {
            if let Some(following) = self.following.get(key)
                && following.paused_until.is_none()
                && following.partition.failure().is_none()
                && following.partition.durable_end_offset() < following.offset
            {
                return Some((following.partition.clone(), following.offset));
            }
            self.unsynced.pop();
        }
        None
    }
}

impl Fetcher {
    pub(crate) fn new(leader: NodeId, id: usize, shared: Arc<Shared>) -> Fetcher {
        let inner = Mutex::new(Inner { full: true, ..Inner::default() });
        Fetcher { leader, id, shared, inner, assigned: Notify::new() }
    }

    /// The broker that leads.
    pub fn leader(&self) -> NodeId {
        self.leader
    }

    /// Which of the fetchers for this leader, from 0 on.
    pub fn id(&self) -> usize {
        self.id
    }

    /// How many partitions it follows.
    pub fn len(&self) -> usize {
        self.inner.lock().following.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Follows `partition` at `leader_epoch` from `end` on.
    pub(crate) fn assign(&self, partition: Arc<Partition>, leader_epoch: i32, end: FollowerEnd) {
        let key = partition.key();
        let mut inner = self.inner.lock();
        inner.remove(&key);
        if partition.failure().is_some() {
            return;
        }
        inner.forgotten.remove(&key);
        let following = Following {
            partition,
            leader_epoch,
            offset: end.offset,
            last_epoch: end.epoch,
            asked: false,
            paused_until: None,
            failures: 0,
        };
        inner.following.insert(key, following);
        inner.due.insert(key);
        inner.unsynced.push(key);
        drop(inner);
        self.assigned.notify_one();
    }

    pub(crate) fn unassign(&self, key: &PartitionKey) {
        self.inner.lock().remove(key);
    }

    /// Whether all that was appended is durable, so that the next request may be made.
    pub fn is_synced(&self) -> bool {
        self.inner.lock().first_unsynced().is_none()
    }

    /// Resolves when [`Fetcher::is_synced`].
    pub async fn synced(&self) {
        loop {
            let Some((partition, offset)) = self.inner.lock().first_unsynced() else {
                return;
            };
            if partition.stored(offset).await.is_err() {
                // It changed its role, or its storage failed: it is assigned anew or left out. Not looked at again here.
                let mut inner = self.inner.lock();
                let key = partition.key();
                inner.pause(key, self.shared.now_ms(), self.shared.settings().fetch_backoff_ms);
            }
        }
    }

    /// The next request; `None` if there is nothing to fetch now, or [`Fetcher::is_synced`] is false. With `full`, and
    /// after a failure, it names every partition; else those that are not as the leader's session has them, possibly
    /// none. `now_ms`: ms since 1970.
    pub fn request(&self, now_ms: i64, full: bool) -> Option<ReplicaFetch> {
        self.shared.saw(now_ms);
        let max_bytes = self.shared.settings().fetch_max_bytes;
        let mut inner = self.inner.lock();
        inner.resume_paused(now_ms);
        if inner.first_unsynced().is_some() {
            return None;
        }
        if inner.following.len() == inner.paused.len() {
            inner.full = true;
            return None;
        }
        if full || inner.full {
            inner.start_over();
        }
        let mut request = ReplicaFetch::default();
        for key in std::mem::take(&mut inner.due) {
            let Some(following) = inner.following.get_mut(&key) else {
                continue;
            };
            // To ask says that all before is durable. What failed never is again.
            if following.partition.failure().is_some() {
                inner.remove(&key);
                continue;
            }
            if following.partition.durable_end_offset() < following.offset {
                inner.due.insert(key);
                inner.unsynced.push(key);
                continue;
            }
            following.asked = true;
            request.partitions.push(following.ask(key, max_bytes));
        }
        request.forgotten = std::mem::take(&mut inner.forgotten).into_iter().collect();
        // What is named again needs not be forgotten first.
        request.forgotten.retain(|key| !inner.following.get(key).is_some_and(|following| following.asked));
        Some(request)
    }

    /// The whole request failed: everything pauses, and the next request is a full one.
    pub fn failed(&self, now_ms: i64) {
        let longest_ms = self.shared.settings().fetch_backoff_ms;
        let mut inner = self.inner.lock();
        let keys: Vec<PartitionKey> = inner.following.keys().copied().collect();
        for key in keys {
            inner.pause(key, now_ms, longest_ms);
        }
        inner.full = true;
    }

    /// The request that is under way is given up, without a fault of the leader's. Its answer must not be used, and the
    /// next request is a full one.
    pub fn abandoned(&self) {
        self.inner.lock().full = true;
    }

    /// Leaves the partitions alone until `until_ms`, as a throttle has it.
    pub fn hold(&self, keys: &[PartitionKey], until_ms: i64) {
        let mut inner = self.inner.lock();
        keys.iter().for_each(|key| inner.pause_until(*key, until_ms));
    }

    /// When the next pause ends, ms since 1970.
    pub fn wake_at(&self) -> Option<i64> {
        self.inner.lock().paused.first().map(|(until, _)| *until)
    }

    /// Resolves when a partition was assigned since the last call. For one task at a time.
    pub async fn woken(&self) {
        self.assigned.notified().await;
    }

    /// Takes in an answer. Waits for the disk only where one has a diverging epoch or OFFSET_OUT_OF_RANGE.
    pub fn response(&self, now_ms: i64, fetched: ReplicaFetched) {
        self.shared.saw(now_ms);
        for answer in fetched.partitions {
            let key = (answer.topic_id, answer.index);
            let Some((partition, leader_epoch)) = self.asked(&key) else {
                continue;
            };
            let outcome = take_in(&partition, leader_epoch, answer);
            self.note(now_ms, key, leader_epoch, outcome);
        }
    }

    /// The partition and its epoch, if the leader was asked for it as it is followed now.
    fn asked(&self, key: &PartitionKey) -> Option<(Arc<Partition>, i32)> {
        let inner = self.inner.lock();
        let following = inner.following.get(key).filter(|following| following.asked)?;
        Some((following.partition.clone(), following.leader_epoch))
    }

    fn note(&self, now_ms: i64, key: PartitionKey, leader_epoch: i32, outcome: Result<Outcome, FollowError>) {
        let longest_ms = self.shared.settings().fetch_backoff_ms;
        let mut inner = self.inner.lock();
        let Some(following) = inner.following.get_mut(&key).filter(|f| f.leader_epoch == leader_epoch) else {
            return;
        };
        match outcome {
            Ok(Outcome::Idle) => following.failures = 0,
            Ok(Outcome::Moved(end)) => {
                following.failures = 0;
                following.offset = end.offset;
                following.last_epoch = end.epoch;
                inner.due.insert(key);
                inner.unsynced.push(key);
            }
            Ok(Outcome::Retry) | Err(FollowError::Stale) => inner.pause(key, now_ms, longest_ms),
            Err(error) => {
                let (topic, index) = (following.partition.topic().clone(), key.1);
                if following.failures == 0 {
                    tracing::warn!(%topic, partition = index, leader = self.leader, %error, "following stopped; it is tried again");
                }
                // Part of the answer may have been appended.
                if let Ok(end) = following.partition.follower_end() {
                    following.offset = end.offset;
                    following.last_epoch = end.epoch;
                    inner.unsynced.push(key);
                }
                inner.pause(key, now_ms, longest_ms);
            }
        }
    }
}

impl Following {
    fn ask(&self, key: PartitionKey, max_bytes: usize) -> ReplicaFetchPartition {
        ReplicaFetchPartition {
            topic_id: key.0,
            topic: self.partition.topic().clone(),
            index: key.1,
            offset: self.offset,
            last_fetched_epoch: self.last_epoch,
            leader_epoch: self.leader_epoch,
            log_start: self.partition.log_start_offset(),
            max_bytes,
        }
    }
}

/// What an answer did to a partition.
enum Outcome {
    /// Nothing that changes the next request.
    Idle,
    Moved(FollowerEnd),
    /// Ask again after a pause.
    Retry,
}

fn take_in(partition: &Partition, leader_epoch: i32, answer: ReplicaFetchedPartition) -> Result<Outcome, FollowError> {
    let moved = match (answer.error, answer.diverging) {
        (ErrorCode::None, Some(end)) => partition.follow_divergence(end, leader_epoch)?,
        (ErrorCode::None, None) => {
            let nothing = answer.records.is_empty();
            let before = partition.log_start_offset();
            let (high_watermark, log_start) = (answer.high_watermark, answer.log_start);
            let data = LeaderData { records: answer.records, high_watermark, log_start };
            let end = partition.append_as_follower(data, leader_epoch)?;
            if nothing {
                // The leader learns of the new log start.
                let started = partition.log_start_offset() != before;
                return if started { Ok(Outcome::Moved(partition.follower_end()?)) } else { Ok(Outcome::Idle) };
            }
            end
        }
        (ErrorCode::OffsetOutOfRange, _) if answer.log_start > partition.log_end_offset() => {
            partition.follow_from(answer.log_start, leader_epoch)?
        }
        _ => return Ok(Outcome::Retry),
    };
    Ok(Outcome::Moved(moved))
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("leader", &self.leader).field("id", &self.id).finish_non_exhaustive()
    }
}
