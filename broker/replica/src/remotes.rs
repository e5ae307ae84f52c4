//! What a leader knows of the other replicas, and who is in sync (`Partition.scala`, `Replica.scala`).

use std::sync::{Arc, Weak};

use millrace_metadata::command::IsrState;
use millrace_metadata::{NodeId, Nodes};

use crate::feed::{Feed, News};
use crate::partition::PartitionState;
use crate::shared::Brokers;

/// The end of a replica that has not fetched since this leader began.
const UNKNOWN: i64 = -1;
/// Longer ago than any limit.
const NEVER_MS: i64 = i64::MIN / 2;

/// A replica in sync that a consumer may read from (KIP-392).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    pub id: NodeId,
    /// It holds everything below this offset.
    pub end: i64,
    /// When it last had everything, in the time that replication goes by.
    pub caught_up_ms: i64,
}

/// Another replica, by its last fetch.
#[derive(Debug)]
struct Remote {
    id: NodeId,
    /// Registration that it fetched with, −1 if it did not say.
    broker_epoch: i64,
    /// It holds everything below this offset durably.
    end: i64,
    log_start: i64,
    /// When it last had everything, ms since 1970.
    caught_up_ms: i64,
    /// This log's durable end at its last fetch, and when that was.
    leader_end: i64,
    fetched_ms: i64,
    /// Out of sync but about to join: the high watermark waits for it, or it would never reach a moving one.
    joining: bool,
    feed: Option<(Weak<Feed>, u32)>,
}

impl Remote {
    fn new(id: NodeId, caught_up_ms: i64) -> Remote {
        Remote {
            id,
            broker_epoch: -1,
            end: UNKNOWN,
            log_start: UNKNOWN,
            caught_up_ms,
            leader_end: 0,
            fetched_ms: NEVER_MS,
            joining: false,
            feed: None,
        }
    }

    /// It left the in-sync set. That it had everything before says nothing of what it has when it comes back: until it
    /// has caught up once more, nobody waits for it.
    fn left(&mut self) {
        self.caught_up_ms = NEVER_MS;
        self.fetched_ms = NEVER_MS;
    }

    fn is_caught_up(&self, leader_end: i64, cx: &FetchCx<'_>) -> bool {
        self.end >= leader_end || cx.now_ms.saturating_sub(self.caught_up_ms) <= cx.lag_time_max_ms
    }

    fn tell(&self, news: News) {
        if let Some((feed, slot)) = &self.feed
            && let Some(feed) = feed.upgrade()
        {
            feed.push(*slot, news);
        }
    }
}

/// A change of the in-sync set that the controller has not decided yet. What it adds counts at once, what it takes away
/// counts until the controller has agreed: that keeps acknowledged records safe however it decides.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pending {
    isr: Nodes,
    grows: bool,
    in_flight: bool,
}

/// Circumstances of a look at the replicas.
pub(crate) struct FetchCx<'a> {
    pub now_ms: i64,
    pub lag_time_max_ms: i64,
    pub brokers: &'a Brokers,
}

/// What a leader's own log adds to the picture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeaderLog {
    pub durable_end: i64,
    pub high_watermark: i64,
    /// End of the log when the leader's epoch began.
    pub epoch_start: i64,
}

/// A replica's fetch as far as it tells of that replica.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplicaPosition {
    pub id: NodeId,
    pub broker_epoch: i64,
    pub end: i64,
    pub log_start: i64,
}

/// Why a fetch says nothing of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadReplica {
    Unknown,
    /// From before the replica's broker was registered again.
    Stale,
}

/// The other replicas of a partition that this broker leads.
#[derive(Debug)]
pub(crate) struct Remotes {
    node: NodeId,
    leader_epoch: i32,
    partition_epoch: i32,
    isr: Nodes,
    pending: Option<Pending>,
    list: Vec<Remote>,
}

impl Remotes {
    /// At the beginning of a leader epoch.
    pub(crate) fn new(node: NodeId, state: &PartitionState, now_ms: i64) -> Remotes {
        let mut remotes = Remotes {
            node,
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            isr: state.isr.clone(),
            pending: None,
            list: Vec::new(),
        };
        remotes.set_replicas(state, now_ms);
        remotes
    }

    fn set_replicas(&mut self, state: &PartitionState, now_ms: i64) {
        self.list.retain(|remote| state.replicas.contains(&remote.id));
        for id in state.replicas.iter().filter(|id| **id != self.node) {
            if !self.list.iter().any(|remote| remote.id == *id) {
                let caught_up = if state.isr.contains(id) { now_ms } else { NEVER_MS };
                self.list.push(Remote::new(*id, caught_up));
            }
        }
        self.list.shrink_to_fit();
    }

    /// The metadata changed. A new leader epoch forgets what the replicas had; feeds stay registered.
    pub(crate) fn update(&mut self, state: &PartitionState, now_ms: i64) {
        if state.leader_epoch != self.leader_epoch {
            let feeds = std::mem::take(&mut self.list);
            *self = Remotes::new(self.node, state, now_ms);
            for before in feeds {
                if let Some(remote) = self.list.iter_mut().find(|remote| remote.id == before.id) {
                    remote.feed = before.feed;
                    remote.tell(News::Urgent);
                } else {
                    before.tell(News::Urgent);
                }
            }
            return;
        }
        if state.partition_epoch != self.partition_epoch {
            self.partition_epoch = state.partition_epoch;
            let before = std::mem::replace(&mut self.isr, state.isr.clone());
            self.pending = None;
            for remote in &mut self.list {
                if before.contains(&remote.id) && !self.isr.contains(&remote.id) {
                    remote.left();
                }
            }
        }
        for gone in self.list.iter().filter(|remote| !state.replicas.contains(&remote.id)) {
            gone.tell(News::Urgent);
        }
        self.set_replicas(state, now_ms);
        for remote in &mut self.list {
            remote.joining &= !self.isr.contains(&remote.id);
        }
    }

    fn counts(&self, remote: &Remote) -> bool {
        let grown = self.pending.as_ref().is_some_and(|p| p.grows && p.isr.contains(&remote.id));
        grown || remote.joining || self.isr.contains(&remote.id)
    }

    /// The offset below which everybody who counts has everything durably, given this log's own durable end.
    pub(crate) fn floor(&self, own: i64) -> i64 {
        self.list.iter().filter(|remote| self.counts(remote)).map(|remote| remote.end).fold(own, i64::min)
    }

    /// Replicas in sync as the controller has it.
    pub(crate) fn in_sync(&self) -> usize {
        self.isr.len()
    }

    /// Replicas in sync if the pending change is counted as [`Remotes::floor`] does.
    pub(crate) fn most_in_sync(&self) -> usize {
        self.pending.as_ref().filter(|p| p.grows).map_or(self.isr.len(), |p| p.isr.len())
    }

    /// Checks who fetches, before anything is read.
    pub(crate) fn check(&self, position: ReplicaPosition) -> Result<(), BadReplica> {
        let remote = self.list.iter().find(|remote| remote.id == position.id).ok_or(BadReplica::Unknown)?;
        match position.broker_epoch != -1 && position.broker_epoch < remote.broker_epoch {
            true => Err(BadReplica::Stale),
            false => Ok(()),
        }
    }

    /// Takes in that a replica fetches. True if the in-sync set shall change.
    pub(crate) fn fetched(&mut self, position: ReplicaPosition, log: LeaderLog, cx: &FetchCx<'_>) -> bool {
        let Some(at) = self.list.iter().position(|remote| remote.id == position.id) else {
            return false;
        };
        let remote = &mut self.list[at];
        remote.broker_epoch = position.broker_epoch;
        remote.log_start = position.log_start;
        remote.end = position.end;
        if position.end >= log.durable_end {
            remote.caught_up_ms = remote.caught_up_ms.max(cx.now_ms);
        } else if position.end >= remote.leader_end {
            remote.caught_up_ms = remote.caught_up_ms.max(remote.fetched_ms);
        }
        remote.leader_end = log.durable_end;
        remote.fetched_ms = cx.now_ms;
        self.consider(at, log, cx)
    }

    /// Whether the replica at `at` may join, and whether it is about to. True if the in-sync set shall change.
    fn consider(&mut self, at: usize, log: LeaderLog, cx: &FetchCx<'_>) -> bool {
        let remote = &self.list[at];
        if self.isr.contains(&remote.id) {
            self.list[at].joining = false;
            return false;
        }
        let eligible = remote.end != UNKNOWN && cx.brokers.may_join(remote.id, remote.broker_epoch);
        let reached = remote.end >= log.high_watermark.max(log.epoch_start);
        let id = remote.id;
        self.list[at].joining = eligible && remote.is_caught_up(log.durable_end, cx);
        eligible && reached && self.grow(id)
    }

    fn grow(&mut self, id: NodeId) -> bool {
        match &mut self.pending {
            Some(pending) if pending.in_flight || !pending.grows || pending.isr.contains(&id) => return false,
            Some(pending) => pending.isr.push(id),
            None => {
                let mut isr = self.isr.clone();
                isr.push(id);
                self.pending = Some(Pending { isr, grows: true, in_flight: false });
            }
        }
        true
    }

    /// Looks at all replicas again: time passed, or brokers came and went. True if the in-sync set shall change.
    pub(crate) fn review(&mut self, log: LeaderLog, cx: &FetchCx<'_>) -> bool {
        let mut changes = false;
        for at in 0..self.list.len() {
            if self.list[at].end >= log.durable_end {
                self.list[at].caught_up_ms = self.list[at].caught_up_ms.max(cx.now_ms);
            }
            changes |= self.consider(at, log, cx);
        }
        changes | self.shrink(log, cx)
    }

    fn shrink(&mut self, log: LeaderLog, cx: &FetchCx<'_>) -> bool {
        if self.pending.is_some() {
            return false;
        }
        let lags = |id: &NodeId| {
            self.list.iter().any(|r| r.id == *id && self.isr.contains(id) && !r.is_caught_up(log.durable_end, cx))
        };
        let isr: Nodes = self.isr.iter().filter(|id| !lags(id)).copied().collect();
        if isr.len() == self.isr.len() {
            return false;
        }
        self.pending = Some(Pending { isr, grows: false, in_flight: false });
        true
    }

    /// The set to propose, with the epoch that each member is known by, and the partition epoch that it follows on.
    /// It is in flight from then on.
    pub(crate) fn propose(&mut self, brokers: &Brokers) -> Option<(Vec<(NodeId, i64)>, i32)> {
        let pending = self.pending.as_mut().filter(|pending| !pending.in_flight)?;
        pending.in_flight = true;
        let epoch = |id: &NodeId| match self.list.iter().find(|remote| remote.id == *id) {
            // Those that stay may not have fetched yet from this leader.
            Some(remote) if remote.broker_epoch != -1 => remote.broker_epoch,
            _ => brokers.epoch(*id),
        };
        Some((pending.isr.iter().map(|id| (*id, epoch(id))).collect(), self.partition_epoch))
    }

    fn is_stale(&self, leader_epoch: i32, partition_epoch: i32) -> bool {
        leader_epoch != self.leader_epoch || partition_epoch != self.partition_epoch
    }

    /// What became of the proposal is not known, or it was not looked at: it is proposed again. False if it has been
    /// overtaken.
    pub(crate) fn ask_again(&mut self, leader_epoch: i32, partition_epoch: i32) -> bool {
        if self.is_stale(leader_epoch, partition_epoch) {
            return false;
        }
        let pending = self.pending.as_mut().filter(|pending| pending.in_flight);
        pending.map(|pending| pending.in_flight = false).is_some()
    }

    /// The controller refused the proposal for good: the set stays as it was.
    pub(crate) fn refused(&mut self, leader_epoch: i32, partition_epoch: i32) {
        if !self.is_stale(leader_epoch, partition_epoch) {
            self.pending = None;
            self.list.iter_mut().for_each(|remote| remote.joining = false);
        }
    }

    /// The controller decided. What it changed counts once the metadata shows it, together with all that was decided
    /// before: the answer alone could meet an older `min.insync.replicas` here.
    pub(crate) fn decided(&mut self, state: &IsrState) {
        if !self.is_stale(state.leader_epoch, state.partition_epoch) {
            // The set was what the controller had already.
            self.pending = None;
        }
    }

    /// Replicas in sync that hold `offset`.
    pub(crate) fn holders(&self, offset: i64) -> Vec<Holder> {
        let holds = |remote: &&Remote| remote.end >= offset && self.isr.contains(&remote.id);
        let holder = |remote: &Remote| Holder { id: remote.id, end: remote.end, caught_up_ms: remote.caught_up_ms };
        self.list.iter().filter(holds).map(holder).collect()
    }

    /// Registers who is told of news for `replica`; false if there is no such replica.
    pub(crate) fn feed(&mut self, replica: NodeId, feed: &Arc<Feed>, slot: u32) -> bool {
        let Some(remote) = self.list.iter_mut().find(|remote| remote.id == replica) else {
            return false;
        };
        remote.feed = Some((Arc::downgrade(feed), slot));
        remote.tell(News::Urgent);
        true
    }

    /// Tells those feeds whose replica has not everything below `end` of what became readable.
    pub(crate) fn tell_behind(&self, end: i64) {
        self.list.iter().filter(|remote| remote.end < end).for_each(|remote| remote.tell(News::Urgent));
    }

    pub(crate) fn tell_all(&self, news: News) {
        self.list.iter().for_each(|remote| remote.tell(news));
    }

    /// Smallest log start of the replicas whose brokers are alive; none is waited for if there are none.
    pub(crate) fn lowest_log_start(&self, brokers: &Brokers) -> i64 {
        let alive = self.list.iter().filter(|remote| brokers.may_join(remote.id, -1));
        alive.map(|remote| remote.log_start).min().unwrap_or(i64::MAX)
    }
}

impl Drop for Remotes {
    /// Whoever waits for news learns that they do not come from here any more.
    fn drop(&mut self) {
        self.tell_all(News::Urgent);
    }
}
