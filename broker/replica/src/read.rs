//! Reading a partition: batches, offsets by time, ends of epochs.

use bytes::Bytes;
use millrace_log::{EpochEnd, TimestampOffset};
use millrace_store::{ReadChunk, ReadSpec, TailRead};

use crate::error::{DeleteRecordsError, ReadError};
use crate::partition::{Partition, ProducerInfo};

/// Which records a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Below the high watermark.
    ReadUncommitted,
    /// Below the last stable offset.
    ReadCommitted,
    /// Everything: for replicas.
    LogEnd,
}

/// One partition of a Fetch.
#[derive(Debug, Clone, Copy)]
pub struct FetchSpec {
    pub offset: i64,
    pub max_bytes: usize,
    /// Return the first batch even if it is larger than `max_bytes` (KIP-74).
    pub at_least_one: bool,
    pub isolation: Isolation,
    /// −1: not checked.
    pub current_leader_epoch: i32,
    /// −1: not checked (KIP-320).
    pub last_fetched_epoch: i32,
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct FetchData {
    /// Whole batches in offset order; the first may begin before the offset asked for.
    pub batches: Vec<Bytes>,
    /// Sum of their lengths.
    pub bytes: usize,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// The client's log differs from this one: where its last fetched epoch ends here. Then there are no batches.
    pub diverging: Option<EpochEnd>,
    /// State of the partition for [`Partition::watch`].
    pub seen: u64,
}

/// What a ListOffsets asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// −1: the end of what the reader may see.
    Latest,
    /// −2: the log start.
    Earliest,
    /// −3: the record with the largest timestamp.
    MaxTimestamp,
    /// −4: the log start, as nothing is tiered.
    EarliestLocal,
    /// −5: nothing is tiered.
    LatestTiered,
    /// The first record with this timestamp (ms since 1970) or a later one.
    Timestamp(i64),
}

/// One partition of a ListOffsets.
#[derive(Debug, Clone, Copy)]
pub struct OffsetQuery {
    pub spec: OffsetSpec,
    pub isolation: Isolation,
    /// −1: not checked.
    pub current_leader_epoch: i32,
    /// Answer even if another broker leads (replica id −2).
    pub any_replica: bool,
}

/// An offset that was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    /// −1 unless it was looked up by time.
    pub timestamp: i64,
    pub offset: i64,
    /// Leader epoch of the offset, −1 if unknown.
    pub leader_epoch: i32,
}

/// Runs something that may wait for the disk where it holds nobody up.
async fn off_thread<T, F>(work: F) -> Result<T, ReadError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, ReadError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The runtime is shutting down, or the work panicked, which has been reported.
        Err(_) => Err(ReadError::Storage(millrace_store::StoreError::Closed)),
    }
}

impl Partition {
    /// Reads what is in memory at once, and what is not on another thread.
    pub async fn read(&self, spec: FetchSpec) -> Result<FetchData, ReadError> {
        let (mut data, read) = match self.begin_read(spec).await? {
            Begun::Done(data) => return Ok(data),
            Begun::Disk(data, read) => (data, read),
        };
        let log = self.log().clone();
        let chunk = off_thread(move || Ok(log.read(read)?)).await?;
        fill(&mut data, chunk);
        Ok(data)
    }

    async fn begin_read(&self, spec: FetchSpec) -> Result<Begun, ReadError> {
        self.check_leader(spec.current_leader_epoch)?;
        let seen = self.progress().readable();
        let high_watermark = self.high_watermark();
        let mut data = FetchData {
            high_watermark,
            last_stable_offset: self.last_stable_offset().min(high_watermark),
            log_start_offset: self.log_start_offset(),
            seen,
            ..FetchData::default()
        };
        if spec.last_fetched_epoch >= 0 {
            data.diverging = self.divergence(spec).await?;
            if data.diverging.is_some() {
                return Ok(Begun::Done(data));
            }
        }
        let until = match spec.isolation {
            Isolation::ReadUncommitted => data.high_watermark,
            Isolation::ReadCommitted => data.last_stable_offset,
            Isolation::LogEnd => i64::MAX,
        };
        // The usual case of a consumer that waits for more.
        if spec.offset == until {
            return Ok(Begun::Done(data));
        }
        let read = ReadSpec { from: spec.offset, until, max_bytes: spec.max_bytes, at_least_one: spec.at_least_one };
        match self.log().read_tail(read)? {
            TailRead::Hit(chunk) => {
                fill(&mut data, chunk);
                Ok(Begun::Done(data))
            }
            TailRead::Below => Ok(Begun::Disk(data, read)),
        }
    }

    /// Where the reader's last epoch ends here, if its log is not a prefix of this one.
    async fn divergence(&self, spec: FetchSpec) -> Result<Option<EpochEnd>, ReadError> {
        let found = self.epoch_end(spec.last_fetched_epoch).await?;
        if found.epoch < 0 {
            let (log_start, end) = (self.log_start_offset(), self.log_end_offset());
            return Err(ReadError::OutOfRange { offset: spec.offset, log_start, end });
        }
        let diverges = found.epoch < spec.last_fetched_epoch || found.end < spec.offset;
        Ok(diverges.then_some(found))
    }

    /// Where `epoch` ends here; (−1, −1) if that is not known.
    pub async fn end_offset_for_epoch(&self, current_leader_epoch: i32, epoch: i32) -> Result<EpochEnd, ReadError> {
        self.check_leader(current_leader_epoch)?;
        self.epoch_end(epoch).await
    }

    async fn epoch_end(&self, epoch: i32) -> Result<EpochEnd, ReadError> {
        let (log, current) = (self.log().clone(), self.leader_epoch());
        off_thread(move || {
            log.assign_epoch(current)?;
            Ok(log.end_offset_for_epoch(epoch)?)
        })
        .await
    }

    /// Looks an offset up by time or meaning (`Partition.fetchOffsetForTimestamp`); `None` if there is none.
    pub async fn list_offset(&self, query: OffsetQuery) -> Result<Option<ListedOffset>, ReadError> {
        match self.check_leader(query.current_leader_epoch) {
            Err(ReadError::NotLeader) if query.any_replica => {}
            result => result?,
        }
        let limit = match query.isolation {
            Isolation::ReadUncommitted => self.high_watermark(),
            Isolation::ReadCommitted => self.last_stable_offset(),
            Isolation::LogEnd => self.log_end_offset(),
        };
        let behind = query.isolation != Isolation::LogEnd && self.epoch_start() > self.high_watermark();
        let log = self.log().clone();
        let found = match query.spec {
            OffsetSpec::Latest if behind => return Err(ReadError::OffsetNotAvailable),
            OffsetSpec::Latest => {
                let leader_epoch = self.leader_epoch();
                return Ok(Some(ListedOffset { timestamp: -1, offset: limit, leader_epoch }));
            }
            OffsetSpec::LatestTiered => return Ok(None),
            OffsetSpec::Earliest | OffsetSpec::EarliestLocal => {
                let current = self.leader_epoch();
                return off_thread(move || {
                    // An empty log starts in the epoch of its leader.
                    log.assign_epoch(current)?;
                    let offset = log.log_start();
                    Ok(Some(ListedOffset { timestamp: -1, offset, leader_epoch: log.epoch_of(offset)? }))
                })
                .await;
            }
            OffsetSpec::MaxTimestamp => off_thread(move || Ok(log.max_timestamp()?)).await?,
            OffsetSpec::Timestamp(target) => off_thread(move || Ok(log.offset_for_timestamp(target)?)).await?,
        };
        match found {
            Some(TimestampOffset { timestamp, offset, leader_epoch }) if offset < limit => {
                Ok(Some(ListedOffset { timestamp, offset, leader_epoch }))
            }
            _ if behind => Err(ReadError::OffsetNotAvailable),
            _ => Ok(None),
        }
    }

    /// Producers whose state is kept, sorted by id.
    pub async fn producers(&self) -> Result<Vec<ProducerInfo>, ReadError> {
        let log = self.log().clone();
        let producers = off_thread(move || Ok(log.producers()?)).await?;
        Ok(producers.into_iter().map(|(id, producer)| ProducerInfo::new(id, &producer)).collect())
    }

    /// Moves the log start up to `offset`, −1 for the high watermark. Returns the new log start.
    pub async fn delete_records(&self, offset: i64) -> Result<i64, DeleteRecordsError> {
        if self.is_leader() && !self.log().config().cleanup_policy.delete {
            return Err(DeleteRecordsError::NotDeletable);
        }
        self.trim(offset).await
    }

    /// As [`Partition::delete_records`], whatever the topic's policy: for coordinators that rewrite their own log.
    pub async fn trim(&self, offset: i64) -> Result<i64, DeleteRecordsError> {
        if !self.is_leader() {
            return Err(DeleteRecordsError::NotLeader);
        }
        let log = self.log().clone();
        let high_watermark = self.high_watermark();
        let to = if offset == -1 { high_watermark } else { offset };
        if to < 0 || to > high_watermark {
            return Err(DeleteRecordsError::OutOfRange { offset, high_watermark });
        }
        let moved = off_thread(move || {
            log.set_log_start(to)?;
            Ok(log.log_start())
        });
        moved.await.map_err(|error| match error {
            ReadError::Storage(error) => DeleteRecordsError::Storage(error),
            _ => DeleteRecordsError::NotLeader,
        })
    }
}

enum Begun {
    Done(FetchData),
    Disk(FetchData, ReadSpec),
}

fn fill(data: &mut FetchData, chunk: ReadChunk) {
    data.bytes = chunk.bytes;
    data.batches = chunk.batches;
}
