//! Reading a partition: batches, offsets by time, ends of epochs.

use bytes::Bytes;
use millrace_log::{EpochEnd, TimestampOffset};
use millrace_metadata::NodeId;
use millrace_store::{ReadChunk, ReadSpec, TailRead};

use crate::error::{DeleteRecordsError, ReadError};
use crate::partition::{Partition, ProducerInfo};
use crate::remotes::{BadReplica, FetchCx, ReplicaPosition};

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A consumer that reads from the leader.
    Consumer,
    /// A consumer that a follower may serve as well, up to the high watermark that it knows of (KIP-392).
    ConsumerAnywhere,
    /// Another replica. By fetching at an offset it says that it holds everything below it durably.
    Replica {
        id: NodeId,
        /// Of its registration, −1 if it does not say (KIP-903).
        broker_epoch: i64,
        log_start: i64,
        /// ms since 1970.
        now_ms: i64,
    },
}

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
    pub reader: Reader,
    pub offset: i64,
    pub max_bytes: usize,
    /// Return the first batch even if it is larger than `max_bytes` (KIP-74).
    pub at_least_one: bool,
    /// Replicas see everything, whatever this says.
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
        loop {
            let log = self.log().clone();
            match self.begin_read(spec)? {
                Begun::Done(data) => return Ok(data),
                Begun::Disk(mut data, read) => {
                    let chunk = off_thread(move || Ok(log.read(read)?)).await?;
                    fill(&mut data, chunk);
                    return Ok(data);
                }
                Begun::Load => off_thread(move || Ok(log.load()?)).await?,
            }
        }
    }

    /// As [`Partition::read`], and waits for the disk if it must.
    pub fn read_now(&self, spec: FetchSpec) -> Result<FetchData, ReadError> {
        loop {
            match self.begin_read(spec)? {
                Begun::Done(data) => return Ok(data),
                Begun::Disk(mut data, read) => {
                    fill(&mut data, self.log().read(read)?);
                    return Ok(data);
                }
                Begun::Load => self.log().load()?,
            }
        }
    }

    fn check_reader(&self, spec: &FetchSpec) -> Result<(), ReadError> {
        match spec.reader {
            Reader::Consumer => self.check_leader(spec.current_leader_epoch),
            Reader::ConsumerAnywhere => self.check_replica(spec.current_leader_epoch),
            Reader::Replica { id, broker_epoch, log_start, .. } => {
                self.check_leader(spec.current_leader_epoch)?;
                let position = ReplicaPosition { id, broker_epoch, end: spec.offset, log_start };
                self.progress().check_replica(position).map_err(|bad| match bad {
                    BadReplica::Unknown => ReadError::UnknownReplica { id },
                    BadReplica::Stale => ReadError::NotLeader,
                })
            }
        }
    }

    fn begin_read(&self, spec: FetchSpec) -> Result<Begun, ReadError> {
        self.check_reader(&spec)?;
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
            match self.divergence(&spec)? {
                None => return Ok(Begun::Load),
                Some(Divergence::At(end)) => {
                    data.diverging = Some(end);
                    return Ok(Begun::Done(data));
                }
                Some(Divergence::None) => {}
            }
        }
        let until = match (spec.reader, spec.isolation) {
            (Reader::Replica { .. }, _) => {
                self.note_replica(&spec)?;
                // Told as of after this fetch, which may just have moved it.
                data.high_watermark = self.high_watermark();
                // Durable or not: the high watermark waits for this log's own durable end as well, and a leader that
                // lost what was not never leads again at the same epoch.
                self.log_end_offset()
            }
            (_, Isolation::ReadUncommitted) => data.high_watermark,
            (_, Isolation::ReadCommitted) => data.last_stable_offset,
            (_, Isolation::LogEnd) => i64::MAX,
        };
        // The usual case of a reader that waits for more.
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

    /// Takes in how far a replica is that fetches at an offset this log has.
    fn note_replica(&self, spec: &FetchSpec) -> Result<(), ReadError> {
        let Reader::Replica { id, broker_epoch, log_start, now_ms } = spec.reader else {
            return Ok(());
        };
        self.log().check_offset(spec.offset)?;
        let shared = self.shared();
        let brokers = shared.brokers();
        let cx = FetchCx {
            now_ms: shared.saw(now_ms),
            lag_time_max_ms: shared.settings().lag_time_max_ms,
            brokers: &brokers,
        };
        let position = ReplicaPosition { id, broker_epoch, end: spec.offset, log_start };
        if self.progress().replica_fetched(position, &cx) {
            shared.isr.push(self.key());
        }
        Ok(())
    }

    /// Where the reader's last epoch ends here, if its log is not a prefix of this one; `None` if that cannot be told
    /// without waiting.
    fn divergence(&self, spec: &FetchSpec) -> Result<Option<Divergence>, ReadError> {
        let Some(found) = self.log().try_end_offset_for_epoch(self.led_epoch(), spec.last_fetched_epoch) else {
            return Ok(None);
        };
        if found.epoch < 0 {
            let (log_start, end) = (self.log_start_offset(), self.log_end_offset());
            return Err(ReadError::OutOfRange { offset: spec.offset, log_start, end });
        }
        let diverges = found.epoch < spec.last_fetched_epoch || found.end < spec.offset;
        Ok(Some(if diverges { Divergence::At(found) } else { Divergence::None }))
    }

    /// The epoch that begins at the end of the log as long as it has no batch: none on a follower.
    fn led_epoch(&self) -> i32 {
        if self.is_leader() { self.leader_epoch() } else { -1 }
    }

    /// Where `epoch` ends here; (−1, −1) if that is not known.
    pub async fn end_offset_for_epoch(&self, current_leader_epoch: i32, epoch: i32) -> Result<EpochEnd, ReadError> {
        self.check_leader(current_leader_epoch)?;
        let (log, current) = (self.log().clone(), self.led_epoch());
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
                let current = self.led_epoch();
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
        let moved = moved.await;
        self.progress().log_start_moved();
        moved.map_err(|error| match error {
            ReadError::Storage(error) => DeleteRecordsError::Storage(error),
            _ => DeleteRecordsError::NotLeader,
        })
    }
}

enum Begun {
    Done(FetchData),
    Disk(FetchData, ReadSpec),
    /// The log's epochs must be loaded first.
    Load,
}

enum Divergence {
    None,
    At(EpochEnd),
}

fn fill(data: &mut FetchData, chunk: ReadChunk) {
    data.bytes = chunk.bytes;
    data.batches = chunk.batches;
}
