//! The group coordinator's log: partitions of `__consumer_offsets` on this broker.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use millrace_groups::{Bounds, LogError, OffsetsLog, TOPIC};
use millrace_replica::{
    AppendCx, AppendError, CommitError, DeleteRecordsError, FetchSpec, Isolation, Origin, Partition, PartitionError,
    ReadError, Reader, ReplicaManager,
};

use super::plain::plain;
use crate::clock::Clock;

/// Longest wait for a batch to be committed; after that its fate is unknown.
const COMMIT_TIME: Duration = Duration::from_secs(30);
/// Bytes that are read at once when a partition is loaded.
const READ_BYTES: usize = 1 << 20;
/// Not checked.
const ANY_EPOCH: i32 = -1;

/// Reads and writes `__consumer_offsets`.
pub struct OffsetsPartitions {
    replicas: Arc<ReplicaManager>,
    clock: Clock,
}

impl OffsetsPartitions {
    pub fn new(replicas: Arc<ReplicaManager>, clock: Clock) -> Self {
        Self { replicas, clock }
    }

    fn partition(&self, index: i32) -> Result<Arc<Partition>, LogError> {
        self.replicas.partition(TOPIC, index).map_err(|error| match error {
            PartitionError::Unknown | PartitionError::NotHere => LogError::NotLeader,
            PartitionError::Offline(error) => LogError::Storage(error.to_string()),
        })
    }

    fn enqueue(&self, index: i32, epoch: i32, batch: BytesMut) -> Result<(Arc<Partition>, i64, i64), LogError> {
        let partition = self.partition(index)?;
        let cx = AppendCx { acks: -1, origin: Origin::Coordinator, api_version: i16::MAX, now_ms: self.clock.now_ms() };
        let appended = partition.append_at(Some(epoch), batch, cx).map_err(|error| refused(&error))?;
        Ok((partition, appended.base_offset, appended.last_offset))
    }
}

impl OffsetsLog for OffsetsPartitions {
    fn append(&self, partition: i32, epoch: i32, batch: BytesMut) -> BoxFuture<'static, Result<i64, LogError>> {
        match self.enqueue(partition, epoch, batch) {
            Err(error) => ready(Err(error)).boxed(),
            Ok((partition, base, last)) => {
                let committed = partition.committed(last, COMMIT_TIME);
                if partition.leader_epoch() != epoch {
                    // The wait may have begun under another leader, whose records are not these.
                    return ready(Err(LogError::Unknown("the leadership moved".to_owned()))).boxed();
                }
                async move { committed.await.map(|()| base).map_err(uncommitted) }.boxed()
            }
        }
    }

    fn committed(&self, partition: i32, offset: i64) -> BoxFuture<'static, Result<(), LogError>> {
        match self.partition(partition) {
            Err(error) => ready(Err(error)).boxed(),
            Ok(partition) if !partition.is_leader() => ready(Err(LogError::NotLeader)).boxed(),
            Ok(partition) if partition.high_watermark() >= offset => ready(Ok(())).boxed(),
            Ok(partition) => {
                let committed = partition.committed(offset - 1, COMMIT_TIME);
                async move { committed.await.map_err(uncommitted) }.boxed()
            }
        }
    }

    fn read(&self, partition: i32, offset: i64) -> BoxFuture<'static, Result<Vec<Bytes>, LogError>> {
        let partition = match self.partition(partition) {
            Ok(partition) => partition,
            Err(error) => return ready(Err(error)).boxed(),
        };
        let spec = FetchSpec {
            reader: Reader::Consumer,
            offset,
            max_bytes: READ_BYTES,
            at_least_one: true,
            isolation: Isolation::LogEnd,
            current_leader_epoch: ANY_EPOCH,
            last_fetched_epoch: ANY_EPOCH,
        };
        async move {
            let data = partition.read(spec).await.map_err(|error| unread(&error))?;
            let mut batches = Vec::with_capacity(data.batches.len());
            for run in data.batches {
                plain(run, &mut batches)?;
            }
            Ok(batches)
        }
        .boxed()
    }

    fn bounds(&self, partition: i32) -> Result<Bounds, LogError> {
        let partition = self.partition(partition)?;
        if !partition.is_leader() {
            return Err(LogError::NotLeader);
        }
        Ok(Bounds {
            start_offset: partition.log_start_offset(),
            end_offset: partition.log_end_offset(),
            bytes: partition.size_bytes(),
        })
    }

    fn delete_before(&self, partition: i32, offset: i64) -> BoxFuture<'static, Result<(), LogError>> {
        let partition = match self.partition(partition) {
            Ok(partition) => partition,
            Err(error) => return ready(Err(error)).boxed(),
        };
        async move {
            match partition.trim(offset).await {
                Ok(_) => Ok(()),
                Err(DeleteRecordsError::NotLeader) => Err(LogError::NotLeader),
                Err(DeleteRecordsError::Storage(error)) => Err(LogError::Storage(error.to_string())),
                Err(error @ (DeleteRecordsError::OutOfRange { .. } | DeleteRecordsError::NotDeletable)) => {
                    Err(LogError::Unknown(error.to_string()))
                }
            }
        }
        .boxed()
    }
}

fn refused(error: &AppendError) -> LogError {
    use millrace_log::AppendError as Log;
    match error {
        AppendError::NotLeader => LogError::NotLeader,
        AppendError::NotEnoughReplicas { .. } => LogError::NotEnoughReplicas,
        AppendError::Log(Log::TooLarge { .. } | Log::LargerThanSegment { .. }) => LogError::TooLarge,
        AppendError::Log(error) => LogError::Storage(error.to_string()),
    }
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
        ReadError::NotLeader
        | ReadError::FencedEpoch { .. }
        | ReadError::UnknownEpoch { .. }
        | ReadError::UnknownReplica { .. } => LogError::NotLeader,
        ReadError::OutOfRange { .. } | ReadError::OffsetNotAvailable => LogError::Unknown(error.to_string()),
        ReadError::Storage(error) => LogError::Storage(error.to_string()),
    }
}
