//! The requests. Each does its transition before it returns its future, so that requests of one connection take effect
//! in the order in which they came; the future only waits.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use millrace_metadata::ErrorCode;
use tokio::sync::oneshot;

use super::cell::{Cell, Gate};
use super::{GroupCoordinator, Live};
use crate::effects::Effects;
use crate::shard::Shard;
use crate::timers::Now;
use crate::types::*;

impl GroupCoordinator {
    fn cell(&self, group_id: &str) -> Result<Arc<Cell>, ErrorCode> {
        let partition = self.partition_for(group_id);
        self.shared.cells.read().get(&partition).cloned().ok_or(ErrorCode::NotCoordinator)
    }

    /// As [`cell`](Self::cell), for requests that may not leave the group id empty.
    fn cell_of(&self, group_id: &str) -> Result<Arc<Cell>, ErrorCode> {
        if group_id.is_empty() { Err(ErrorCode::InvalidGroupId) } else { self.cell(group_id) }
    }

    /// A transition whose answer waits until its records are committed; [`finish`] does that.
    fn begin<R>(
        &self,
        cell: &Cell,
        transition: impl FnOnce(&mut Shard<Live>, Now, &mut Effects<Live>) -> Result<R, ErrorCode>,
    ) -> Result<Started<R>, ErrorCode> {
        let (result, gate) = cell.run(&self.shared, true, transition)?;
        let timeout = Duration::from_millis(self.shared.settings.read().commit_timeout_ms);
        Ok(Started { answer: result?, gate, timeout })
    }

    /// JoinGroup.
    pub fn join(&self, join: Join) -> impl Future<Output = JoinAnswer> + Send + 'static + use<> {
        let (to, answer) = oneshot::channel();
        let member_id = join.member_id.clone();
        let started = self
            .cell_of(&join.group_id)
            .and_then(|cell| cell.run(&self.shared, false, |shard, now, out| shard.join(join, to, now, out)).map(drop));
        async move {
            match started {
                Ok(()) => answer.await.unwrap_or_else(|_| JoinAnswer::error(ErrorCode::NotCoordinator, member_id)),
                Err(error) => JoinAnswer::error(error, member_id),
            }
        }
    }

    /// SyncGroup.
    pub fn sync(&self, sync: Sync) -> impl Future<Output = SyncAnswer> + Send + 'static + use<> {
        let (to, answer) = oneshot::channel();
        let started = self
            .cell_of(&sync.group_id)
            .and_then(|cell| cell.run(&self.shared, false, |shard, now, out| shard.sync(sync, to, now, out)).map(drop));
        async move {
            match started {
                Ok(()) => answer.await.unwrap_or_else(|_| SyncAnswer::error(ErrorCode::NotCoordinator)),
                Err(error) => SyncAnswer::error(error),
            }
        }
    }

    /// Heartbeat. While the group is loaded, members are taken to be alive.
    pub fn heartbeat(&self, beat: &Heartbeat) -> ErrorCode {
        let run = |cell: Arc<Cell>| cell.run(&self.shared, false, |shard, now, out| shard.heartbeat(beat, now, out));
        match self.cell_of(&beat.group_id).and_then(run) {
            Ok((Ok(()), _)) | Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
            Ok((Err(error), _)) | Err(error) => error,
        }
    }

    /// LeaveGroup.
    pub fn leave(
        &self,
        group_id: &str,
        leavers: Vec<Leaver>,
    ) -> impl Future<Output = Result<Vec<LeftMember>, ErrorCode>> + Send + 'static + use<> {
        finish(
            self.cell_of(group_id)
                .and_then(|cell| self.begin(&cell, |shard, now, out| shard.leave(group_id, leavers, now, out))),
        )
    }

    /// OffsetCommit.
    pub fn commit(
        &self,
        commit: Commit,
    ) -> impl Future<Output = Result<Vec<TopicResult>, ErrorCode>> + Send + 'static + use<> {
        finish(self.cell(&commit.group_id).and_then(|cell| {
            if !cell.has_room() {
                return Err(ErrorCode::CoordinatorNotAvailable);
            }
            self.begin(&cell, |shard, now, out| shard.commit(commit, now, out))
        }))
    }

    /// OffsetFetch of one group.
    pub fn fetch(
        &self,
        fetch: &Fetch,
    ) -> impl Future<Output = Result<Vec<FetchedTopic>, ErrorCode>> + Send + 'static + use<> {
        finish(self.cell(&fetch.group_id).and_then(|cell| self.begin(&cell, |shard, _, _| Ok(shard.fetch(fetch)))))
    }

    /// OffsetDelete.
    pub fn delete_offsets(
        &self,
        group_id: &str,
        topics: Vec<(String, Vec<i32>)>,
    ) -> impl Future<Output = Result<Vec<TopicResult>, ErrorCode>> + Send + 'static + use<> {
        finish(
            self.cell_of(group_id)
                .and_then(|cell| self.begin(&cell, |shard, _, out| shard.delete_offsets(group_id, topics, out))),
        )
    }

    /// DeleteGroups, for one group.
    pub fn delete_group(&self, group_id: &str) -> impl Future<Output = Result<(), ErrorCode>> + Send + 'static + use<> {
        finish(self.cell(group_id).and_then(|cell| self.begin(&cell, |shard, _, out| shard.delete(group_id, out))))
    }

    /// DescribeGroups, for one group; None if there is no such group.
    pub fn describe(&self, group_id: &str) -> Result<Option<Described>, ErrorCode> {
        let run = |cell: Arc<Cell>| cell.run(&self.shared, false, |shard, _, _| shard.describe(group_id));
        Ok(self.cell(group_id).and_then(run)?.0)
    }

    /// ListGroups: the groups of all partitions that this broker leads. Fails while one of them is loaded.
    pub fn list(&self, filter: &ListFilter) -> Result<Vec<Listed>, ErrorCode> {
        let cells: Vec<Arc<Cell>> = self.shared.cells.read().values().cloned().collect();
        let mut groups = Vec::new();
        for cell in cells {
            match cell.run(&self.shared, false, |shard, _, _| shard.list(filter)) {
                Ok((listed, _)) => groups.extend(listed),
                // Given up while we looked.
                Err(ErrorCode::NotCoordinator) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(groups)
    }
}

/// An answer that waits for its records.
struct Started<R> {
    answer: R,
    gate: Gate,
    timeout: Duration,
}

async fn finish<R>(started: Result<Started<R>, ErrorCode>) -> Result<R, ErrorCode> {
    let Started { answer, gate, timeout } = started?;
    let Gate::Wait(gate) = gate else {
        return Ok(answer);
    };
    match tokio::time::timeout(timeout, gate).await {
        Ok(Ok(Ok(()))) => Ok(answer),
        Ok(Ok(Err(error))) => Err(error),
        // The coordinator went away.
        Ok(Err(_)) => Err(ErrorCode::NotCoordinator),
        // The records may still be committed.
        Err(_) => Err(ErrorCode::CoordinatorNotAvailable),
    }
}
