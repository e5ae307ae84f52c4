//! A replica that follows: takes batches as the leader numbered them, and cuts back what the leader does not have
//! (KIP-101, KIP-279; `ReplicaFetcherThread.scala`, `AbstractFetcherThread.scala`).

use bytes::Bytes;
use millrace_log::{AppendError, EpochEnd, FollowerAppended};
use millrace_store::StoreError;

use crate::partition::{Partition, PartitionState};
use crate::progress::{Reporter, Role};

/// Where a follower's log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerEnd {
    /// One past the last appended offset, durable or not.
    pub offset: i64,
    /// Leader epoch of the newest batch, −1 if there never was one.
    pub epoch: i32,
    /// Bytes that were appended.
    pub bytes: usize,
}

/// What a leader answered for one partition.
#[derive(Debug, Clone)]
pub struct LeaderData {
    /// Whole batches, back to back. They are kept as they are, so this buffer lives as long as they are in memory.
    pub records: Bytes,
    /// The leader's.
    pub high_watermark: i64,
    /// The leader's.
    pub log_start: i64,
}

/// Why a follower could not do what its leader said.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FollowError {
    /// The replica does not follow at this epoch any more: the answer is of no use.
    #[error("the partition is not followed at this leader epoch any more")]
    Stale,
    /// Nothing of this batch was kept.
    #[error(transparent)]
    Append(AppendError),
    #[error(transparent)]
    Storage(#[from] StoreError),
}

impl Partition {
    /// Fails unless another broker leads at `epoch`.
    fn check_following(&self, state: &PartitionState, epoch: i32) -> Result<(), FollowError> {
        if let Some(error) = self.progress().failure() {
            return Err(FollowError::Storage(error));
        }
        match state.leader_epoch == epoch && self.progress().role() == Role::Following {
            true => Ok(()),
            false => Err(FollowError::Stale),
        }
    }

    /// Where this replica's log ends; may wait for the disk once.
    pub fn follower_end(&self) -> Result<FollowerEnd, StoreError> {
        let (offset, epoch) = self.log().written_end()?;
        Ok(FollowerEnd { offset, epoch, bytes: 0 })
    }

    /// Appends what the leader of `leader_epoch` sent for the end of this log, without a copy, and takes over its high
    /// watermark and log start. Returns before the batches are durable. Batches before a faulty one stay.
    pub fn append_as_follower(&self, data: LeaderData, leader_epoch: i32) -> Result<FollowerEnd, FollowError> {
        let state = self.locked_state();
        self.check_following(&state, leader_epoch)?;
        let mut end = FollowerEnd { offset: self.log().end(), epoch: -1, bytes: 0 };
        let mut stopped = None;
        if !data.records.is_empty() {
            let mut appended = self.log().append_as_follower(data.records.clone(), leader_epoch)?;
            if let Some(base) = self.start_within(&appended) {
                self.renew(base)?;
                appended = self.log().append_as_follower(data.records, leader_epoch)?;
            }
            if appended.bytes > 0 {
                self.progress().appended(appended.end, appended.bytes as u64);
            }
            end = FollowerEnd { offset: appended.end, epoch: appended.epoch, bytes: appended.bytes };
            stopped = appended.stopped;
        }
        self.progress().follow(data.high_watermark, end.offset);
        // Never beyond what there is: a leader that starts later than that is met by starting anew.
        if data.log_start > self.log_start_offset() && data.log_start <= end.offset {
            self.log().set_log_start(data.log_start)?;
        }
        match stopped {
            Some(error) => Err(FollowError::Append(error)),
            None => Ok(end),
        }
    }

    /// Where the batch begins that was refused because this empty log starts within it: the leader's log start lies
    /// there, too (`Partition.appendRecordsToFollowerOrFutureReplica`).
    fn start_within(&self, appended: &FollowerAppended) -> Option<i64> {
        match appended.stopped {
            Some(AppendError::UnexpectedOffset { base_offset, end })
                if appended.bytes == 0 && base_offset < end && self.log_start_offset() == end =>
            {
                Some(base_offset)
            }
            _ => None,
        }
    }

    /// Puts an empty log that starts at `at` in the place of this one.
    fn renew(&self, at: i64) -> Result<(), StoreError> {
        let reporter = Reporter::new(self.progress().clone(), self.log_dir(), false);
        self.shared().logs.renew(self.key(), self.log(), at, reporter.clone())?;
        self.report_by(reporter);
        // Nothing that the committer had to say of the old log comes after this.
        self.log_dir().store()?.sync()?;
        self.progress().truncated(at);
        self.progress().durable(self.log().bounds().durable_end);
        Ok(())
    }

    /// Cuts back what the leader of `leader_epoch` does not have, which says that the last fetched epoch ends at
    /// `leader`. Waits for the disk. The answer is where to go on; the leader may then name an earlier point.
    pub fn follow_divergence(&self, leader: EpochEnd, leader_epoch: i32) -> Result<FollowerEnd, FollowError> {
        let state = self.locked_state();
        self.check_following(&state, leader_epoch)?;
        let (log_start, end) = (self.log_start_offset(), self.log().end());
        let own = self.log().end_offset_for_epoch(leader.epoch)?;
        let to = match own {
            EpochEnd::UNKNOWN => leader.end.min(end),
            own if own.epoch == leader.epoch => own.end.min(leader.end).min(end),
            own => own.end.min(end),
        };
        let (topic, partition) = (self.topic(), self.index());
        if to < self.high_watermark() {
            let high_watermark = self.high_watermark();
            tracing::warn!(%topic, partition, to, high_watermark, "the leader lacks committed records; they are cut off");
        } else if to < end {
            tracing::info!(%topic, partition, from = end, to, leader_epoch, "cutting off what the leader does not have");
        }
        if to < log_start {
            self.renew(to)?;
        } else {
            self.log().truncate(to)?;
            self.after_cut();
        }
        Ok(self.follower_end()?)
    }

    /// The leader of `leader_epoch` starts later than this log ends: drops everything and goes on at its start.
    pub fn follow_from(&self, log_start: i64, leader_epoch: i32) -> Result<FollowerEnd, FollowError> {
        let state = self.locked_state();
        self.check_following(&state, leader_epoch)?;
        if log_start > self.log().end() {
            let (topic, partition) = (self.topic(), self.index());
            tracing::info!(%topic, partition, end = self.log().end(), log_start, "starting anew where the leader's log starts");
            self.log().restart(log_start)?;
            self.after_cut();
        }
        Ok(self.follower_end()?)
    }

    fn after_cut(&self) {
        let bounds = self.log().bounds();
        self.reporter().truncated(bounds.end);
        self.progress().truncated(bounds.end);
        self.progress().durable(bounds.durable_end);
    }
}
