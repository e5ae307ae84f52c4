//! Reading many partitions for one fetch: within the byte limits, and waiting while there is too little
//! (`ReplicaManager.fetchMessages`, `DelayedFetch`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_metadata::error::ErrorCode;
use millrace_replica::{FetchData, FetchSpec, Isolation, Partition, ReadError, Reader, Waiter};
use tokio::time::Instant;

use crate::api::codes;
use crate::net::AnswerMemory;
use crate::sessions::Wanted;

/// Bounds of one fetch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes of records in the answer; the first batch comes even if it is larger.
    pub max_bytes: usize,
    /// Fewer bytes than this are worth waiting for more.
    pub min_bytes: usize,
    /// Longest wait.
    pub max_wait: Duration,
    /// What the reader may see.
    pub isolation: Isolation,
    pub who: Who,
}

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A consumer that reads from leaders only.
    Consumer,
    /// A consumer that followers may serve as well (KIP-392).
    ConsumerAnywhere,
    /// A replica that follows.
    Replica {
        id: i32,
        /// Of its registration, -1 if it does not say.
        broker_epoch: i64,
        /// Steady time, in ms.
        now_ms: i64,
    },
}

impl Who {
    fn reader(self, wanted: &Wanted) -> Reader {
        match self {
            Who::Consumer => Reader::Consumer,
            Who::ConsumerAnywhere => Reader::ConsumerAnywhere,
            Who::Replica { id, broker_epoch, now_ms } => {
                Reader::Replica { id, broker_epoch, log_start: wanted.log_start, now_ms }
            }
        }
    }
}

/// A partition to read, or why it cannot be.
#[derive(Debug)]
pub struct Item {
    partition: Result<Arc<Partition>, ErrorCode>,
    wanted: Wanted,
    /// Whether the partition was looked for at all; only then Kafka leaves the list of aborted transactions out.
    looked_up: bool,
    /// Whether its records are not to be read now, for a follower that is throttled.
    held: bool,
    /// The replica that the consumer should read from instead.
    elsewhere: Option<i32>,
}

impl Item {
    /// A partition that is here.
    pub fn new(partition: Arc<Partition>, wanted: Wanted) -> Self {
        Self { partition: Ok(partition), wanted, looked_up: true, held: false, elsewhere: None }
    }

    /// The same, with its records left where they are: only where its log begins and ends is told.
    #[must_use]
    pub fn held(self, held: bool) -> Self {
        Self { held, ..self }
    }

    /// The same, with the replica that the consumer should read from instead: nothing is read then.
    #[must_use]
    pub fn elsewhere(self, elsewhere: Option<i32>) -> Self {
        Self { elsewhere, ..self }
    }

    /// A partition that the client may not read, or that does not exist.
    pub fn unreadable(error: ErrorCode, wanted: Wanted) -> Self {
        Self { partition: Err(error), wanted, looked_up: false, held: false, elsewhere: None }
    }

    /// The partition, if it is here.
    pub fn partition(&self) -> Option<&Arc<Partition>> {
        self.partition.as_ref().ok()
    }

    /// A partition that exists, and cannot be read here.
    pub fn failed(error: ErrorCode, wanted: Wanted) -> Self {
        Self { partition: Err(error), wanted, looked_up: true, held: false, elsewhere: None }
    }
}

/// What was found in one partition.
#[derive(Debug)]
pub struct Found {
    /// `None` (the code) if it was read.
    pub error: ErrorCode,
    /// −1 with an error.
    pub high_watermark: i64,
    /// −1 with an error.
    pub last_stable_offset: i64,
    /// −1 with an error.
    pub log_start_offset: i64,
    /// Epoch and end offset where the client's log leaves this one.
    pub diverging: Option<(i32, i64)>,
    /// Whether the answer has a list of aborted transactions. There are no transactions, so it is empty.
    pub lists_aborted: bool,
    /// Whole batches.
    pub batches: Vec<Bytes>,
    /// Their length.
    pub bytes: usize,
    /// The replica to read from instead, from which nothing was read here.
    pub elsewhere: Option<i32>,
    /// Nothing was read, and the bounds of the whole fetch may be the reason.
    pub starved: bool,
    seen: u64,
}

impl Found {
    fn failed(error: ErrorCode, lists_aborted: bool) -> Self {
        Self {
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging: None,
            lists_aborted,
            batches: Vec::new(),
            bytes: 0,
            elsewhere: None,
            starved: false,
            seen: 0,
        }
    }

    fn data(data: FetchData, isolation: Isolation) -> Self {
        Self {
            error: ErrorCode::None,
            high_watermark: data.high_watermark,
            last_stable_offset: data.last_stable_offset,
            log_start_offset: data.log_start_offset,
            diverging: data.diverging.map(|end| (end.epoch, end.end)),
            lists_aborted: isolation == Isolation::ReadCommitted,
            batches: data.batches,
            bytes: data.bytes,
            elsewhere: None,
            starved: false,
            seen: data.seen,
        }
    }

    /// Whether the client must hear of it without delay.
    pub fn is_urgent(&self) -> bool {
        self.error != ErrorCode::None || self.diverging.is_some() || self.elsewhere.is_some()
    }
}

/// Reads all partitions in order. While they have too little together, waits once, until there is enough, something
/// happens to one of them, or time is up; then reads once more.
pub async fn read(items: &[Item], limits: Limits, answers: &AnswerMemory) -> Vec<Found> {
    let deadline = Instant::now() + limits.max_wait;
    let found = read_once(items, limits, answers).await;
    let bytes: usize = found.iter().map(|found| found.bytes).sum();
    if items.is_empty() || limits.max_wait.is_zero() || is_enough(&found, limits) {
        return found;
    }
    let waiter = Waiter::new(limits.min_bytes - bytes);
    for (item, found) in items.iter().zip(&found) {
        if let Ok(partition) = &item.partition {
            partition.watch(&waiter, found.seen);
        }
    }
    drop(found);
    let _ = tokio::time::timeout_at(deadline, waiter.woken()).await;
    drop(waiter);
    read_once(items, limits, answers).await
}

/// Whether what was found is worth an answer without further delay.
pub fn is_enough(found: &[Found], limits: Limits) -> bool {
    let bytes: usize = found.iter().map(|found| found.bytes).sum();
    bytes >= limits.min_bytes || found.iter().any(Found::is_urgent)
}

/// Reads all partitions in order.
pub async fn read_once(items: &[Item], limits: Limits, answers: &AnswerMemory) -> Vec<Found> {
    let wanted = |item: &Item| usize::try_from(item.wanted.max_bytes).unwrap_or(0);
    let most = items.iter().map(wanted).fold(0, usize::saturating_add);
    let room = answers.hold(most.min(limits.max_bytes));
    let mut left = room.bytes();
    let mut at_least_one = true;
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        let found = read_one(item, limits, left, at_least_one).await;
        left = left.saturating_sub(found.bytes);
        at_least_one &= found.bytes == 0;
        all.push(found);
    }
    all
}

async fn read_one(item: &Item, limits: Limits, left: usize, at_least_one: bool) -> Found {
    let partition = match &item.partition {
        Ok(partition) => partition,
        Err(error) => return Found::failed(*error, !item.looked_up),
    };
    let wanted = usize::try_from(item.wanted.max_bytes).unwrap_or(0);
    let (left, at_least_one) = match item.held || item.elsewhere.is_some() {
        true => (0, false),
        false => (left, at_least_one),
    };
    let spec = FetchSpec {
        offset: item.wanted.offset,
        max_bytes: wanted.min(left),
        at_least_one,
        reader: limits.who.reader(&item.wanted),
        isolation: limits.isolation,
        // Fetch takes every negative epoch for none, unlike the other requests.
        current_leader_epoch: item.wanted.leader_epoch.max(-1),
        last_fetched_epoch: item.wanted.last_fetched_epoch,
    };
    match partition.read(spec).await {
        Ok(data) => {
            let starved = data.bytes == 0 && !at_least_one && left < wanted;
            Found { starved, elsewhere: item.elsewhere, ..Found::data(data, limits.isolation) }
        }
        Err(error) => {
            let mut found = Found::failed(codes::read(&error), false);
            if let (ReadError::OutOfRange { log_start, .. }, Who::Replica { .. }) = (&error, limits.who) {
                // A follower that fell behind the log's start begins again there.
                found.log_start_offset = *log_start;
            }
            found
        }
    }
}
