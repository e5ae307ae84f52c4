//! Those who wait for a partition to move on: parked fetches, and produce requests for their commit.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

use crate::error::CommitError;

/// A parked fetch over any number of partitions. It wakes once: when enough bytes have become readable, or when
/// something happened to one of the partitions that it should look at.
///
/// Partitions hold it weakly: dropping the last `Arc` ends all registrations.
#[derive(Debug)]
pub struct Waiter {
    /// Bytes that are still missing.
    missing: AtomicI64,
    fired: AtomicBool,
    waker: AtomicWaker,
}

impl Waiter {
    /// Wakes when `min_bytes` more have become readable in the watched partitions together.
    pub fn new(min_bytes: usize) -> Arc<Waiter> {
        let missing = AtomicI64::new(i64::try_from(min_bytes.max(1)).unwrap_or(i64::MAX));
        Arc::new(Waiter { missing, fired: AtomicBool::new(false), waker: AtomicWaker::new() })
    }

    /// Counts bytes that became readable.
    pub(crate) fn credit(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.missing.fetch_sub(bytes, Ordering::AcqRel) <= bytes {
            self.fire();
        }
    }

    /// Wakes at once.
    pub fn fire(&self) {
        if !self.fired.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    pub fn has_fired(&self) -> bool {
        self.fired.load(Ordering::Acquire)
    }

    /// Resolves when the waiter was woken. For one task at a time.
    pub async fn woken(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_fired() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if self.has_fired() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A produce request's wait for one partition.
#[derive(Debug, Default)]
pub(crate) struct CommitWait {
    outcome: AtomicU8,
    waker: AtomicWaker,
}

const PENDING: u8 = 0;
const DONE: u8 = 1;
const FEW_REPLICAS: u8 = 2;
const STORAGE: u8 = 3;
const NOT_LEADER: u8 = 4;

impl CommitWait {
    pub(crate) fn resolve(&self, result: Result<(), CommitError>) {
        let outcome = match result {
            Ok(()) => DONE,
            Err(CommitError::NotEnoughReplicas) => FEW_REPLICAS,
            Err(CommitError::Storage) => STORAGE,
            Err(CommitError::NotLeader | CommitError::TimedOut) => NOT_LEADER,
        };
        self.outcome.store(outcome, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) async fn wait(&self) -> Result<(), CommitError> {
        poll_fn(|cx| {
            if let Some(result) = self.result() {
                return Poll::Ready(result);
            }
            self.waker.register(cx.waker());
            self.result().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    fn result(&self) -> Option<Result<(), CommitError>> {
        match self.outcome.load(Ordering::Acquire) {
            PENDING => None,
            DONE => Some(Ok(())),
            FEW_REPLICAS => Some(Err(CommitError::NotEnoughReplicas)),
            STORAGE => Some(Err(CommitError::Storage)),
            _ => Some(Err(CommitError::NotLeader)),
        }
    }
}
