//! The log in memory: the twin of the real one for tests and benches. Appends can be held back and made to fail.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::storage::{Bounds, LogError, OffsetsLog};

/// Where a batch's last offset delta stands.
const LAST_DELTA_AT: usize = 23;

#[derive(Default)]
struct Partition {
    start: i64,
    end: i64,
    /// By base offset.
    batches: BTreeMap<i64, Bytes>,
}

/// See the module.
pub struct MemoryLog {
    partitions: Mutex<BTreeMap<i32, Partition>>,
    /// Appends resolve, and reads return, only while this is true.
    flowing: watch::Sender<bool>,
    /// What the log holds counts as committed only while this is true.
    committing: watch::Sender<bool>,
    /// The next append fails with this, and nothing is kept.
    failure: Mutex<Option<LogError>>,
    /// Leader epochs, where they are known; appends at any other one fail.
    epochs: Mutex<BTreeMap<i32, i32>>,
}

impl Default for MemoryLog {
    fn default() -> Self {
        MemoryLog {
            partitions: Mutex::default(),
            flowing: watch::Sender::new(true),
            committing: watch::Sender::new(true),
            failure: Mutex::default(),
            epochs: Mutex::default(),
        }
    }
}

impl MemoryLog {
    /// Holds everything back from now on.
    pub fn hold(&self) {
        self.flowing.send_replace(false);
    }

    /// Lets everything go on.
    pub fn let_go(&self) {
        self.flowing.send_replace(true);
    }

    /// What is in the log is committed, or not yet.
    pub fn commit(&self, on: bool) {
        self.committing.send_replace(on);
    }

    /// The partition is led at this epoch, and at no other.
    pub fn set_epoch(&self, partition: i32, epoch: i32) {
        self.epochs.lock().insert(partition, epoch);
    }

    /// Makes the next append fail.
    pub fn fail_next(&self, error: LogError) {
        *self.failure.lock() = Some(error);
    }

    /// Batches that a partition holds.
    pub fn batches(&self, partition: i32) -> usize {
        self.partitions.lock().get(&partition).map_or(0, |p| p.batches.len())
    }

    fn flowing(&self) -> BoxFuture<'static, ()> {
        open(&self.flowing)
    }
}

fn open(gate: &watch::Sender<bool>) -> BoxFuture<'static, ()> {
    let mut gate = gate.subscribe();
    // If the log is gone, nobody waits for it.
    async move { drop(gate.wait_for(|open| *open).await) }.boxed()
}

impl OffsetsLog for MemoryLog {
    fn append(&self, partition: i32, epoch: i32, mut batch: BytesMut) -> BoxFuture<'static, Result<i64, LogError>> {
        let flowing = self.flowing();
        if self.epochs.lock().get(&partition).is_some_and(|current| *current != epoch) {
            return std::future::ready(Err(LogError::NotLeader)).boxed();
        }
        if let Some(error) = self.failure.lock().take() {
            return async move {
                flowing.await;
                Err(error)
            }
            .boxed();
        }
        let mut partitions = self.partitions.lock();
        let partition = partitions.entry(partition).or_default();
        let base = partition.end;
        partition.end += i64::from((&batch[LAST_DELTA_AT..]).get_i32()) + 1;
        (&mut batch[..]).put_i64(base);
        partition.batches.insert(base, batch.freeze());
        async move {
            flowing.await;
            Ok(base)
        }
        .boxed()
    }

    fn committed(&self, _partition: i32, _offset: i64) -> BoxFuture<'static, Result<(), LogError>> {
        let committing = open(&self.committing);
        async move {
            committing.await;
            Ok(())
        }
        .boxed()
    }

    fn read(&self, partition: i32, offset: i64) -> BoxFuture<'static, Result<Vec<Bytes>, LogError>> {
        let flowing = self.flowing();
        let partitions = self.partitions.lock();
        let batches = partitions.get(&partition).map_or(Vec::new(), |partition| {
            let first = partition.batches.range(..=offset).next_back().map_or(offset, |(base, _)| *base);
            partition.batches.range(first..).take(2).map(|(_, batch)| batch.clone()).collect()
        });
        async move {
            flowing.await;
            Ok(batches)
        }
        .boxed()
    }

    fn bounds(&self, partition: i32) -> Result<Bounds, LogError> {
        let mut partitions = self.partitions.lock();
        let partition = partitions.entry(partition).or_default();
        let bytes = partition.batches.values().map(|batch| batch.len() as u64).sum();
        Ok(Bounds { start_offset: partition.start, end_offset: partition.end, bytes })
    }

    fn delete_before(&self, partition: i32, offset: i64) -> BoxFuture<'static, Result<(), LogError>> {
        let mut partitions = self.partitions.lock();
        let partition = partitions.entry(partition).or_default();
        partition.start = offset;
        let first = partition.batches.range(..=offset).next_back().map_or(offset, |(base, _)| *base);
        partition.batches = partition.batches.split_off(&first);
        std::future::ready(Ok(())).boxed()
    }
}
