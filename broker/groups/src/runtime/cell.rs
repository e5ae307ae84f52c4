//! One shard with its lock, its queue and those who wait for commits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use bytes::BytesMut;
use millrace_metadata::ErrorCode;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use super::queue::{MAX_QUEUED_BYTES, Queue};
use super::{Live, Shared};
use crate::config::GroupSettings;
use crate::effects::{Effects, Release};
use crate::shard::Shard;
use crate::timers::Now;
use crate::types::{JoinAnswer, SyncAnswer};

/// No deadline.
pub const NEVER: i64 = i64::MAX;

pub struct Cell {
    pub partition: i32,
    /// Leader epoch at which the broker leads the partition.
    epoch: AtomicI32,
    inner: Mutex<Inner>,
    /// Wakes the writer: records are queued, or the cell is closed.
    pub work: Notify,
    /// The shard's next deadline by the steady clock, for the timer task to read without the lock.
    pub next_due_ms: AtomicI64,
    loaded: watch::Sender<bool>,
}

enum Phase {
    Loading,
    Active(Box<Shard<Live>>),
    /// The broker does not lead the partition any more.
    Closed,
}

struct Inner {
    phase: Phase,
    queue: Queue,
    /// Kept for its buffer.
    effects: Effects<Live>,
    /// Numbers of the latest records that were queued, and committed.
    queued: u64,
    committed: u64,
    /// In the order of their numbers.
    waiting: VecDeque<(u64, Waiting)>,
    /// Bytes that the partition holds.
    log_bytes: u64,
}

enum Waiting {
    Join(oneshot::Sender<JoinAnswer>, JoinAnswer),
    Sync(oneshot::Sender<SyncAnswer>, SyncAnswer),
    Commit(oneshot::Sender<Result<(), ErrorCode>>),
}

impl Waiting {
    /// A receiver that has gone is a client that does not wait any more.
    fn release(self, result: Result<(), ErrorCode>) {
        match (self, result) {
            (Waiting::Join(to, answer), Ok(())) => drop(to.send(answer)),
            (Waiting::Join(to, answer), Err(error)) => drop(to.send(JoinAnswer::error(error, answer.member_id))),
            (Waiting::Sync(to, answer), Ok(())) => drop(to.send(answer)),
            (Waiting::Sync(to, _), Err(error)) => drop(to.send(SyncAnswer::error(error))),
            (Waiting::Commit(to), result) => drop(to.send(result)),
        }
    }
}

/// When an answer may go out.
#[derive(Debug)]
pub enum Gate {
    Open,
    Wait(oneshot::Receiver<Result<(), ErrorCode>>),
}

/// What the writer is to append.
pub struct Batches {
    pub batches: Vec<BytesMut>,
    /// The number of the last records in them.
    pub upto: u64,
}

impl Cell {
    pub fn new(partition: i32, epoch: i32) -> Cell {
        let inner = Inner {
            phase: Phase::Loading,
            queue: Queue::default(),
            effects: Effects::default(),
            queued: 0,
            committed: 0,
            waiting: VecDeque::new(),
            log_bytes: 0,
        };
        Cell {
            partition,
            epoch: AtomicI32::new(epoch),
            inner: Mutex::new(inner),
            work: Notify::new(),
            next_due_ms: AtomicI64::new(NEVER),
            loaded: watch::Sender::new(false),
        }
    }

    /// A transition. None if the shard is not there.
    pub fn with<R>(
        &self,
        shared: &Shared,
        transition: impl FnOnce(&mut Shard<Live>, Now, &mut Effects<Live>) -> R,
    ) -> Option<R> {
        self.run(shared, false, transition).ok().map(|(result, _)| result)
    }

    /// A transition, and the gate that opens when all records so far are committed, if it is asked for.
    pub fn run<R>(
        &self,
        shared: &Shared,
        gated: bool,
        transition: impl FnOnce(&mut Shard<Live>, Now, &mut Effects<Live>) -> R,
    ) -> Result<(R, Gate), ErrorCode> {
        let now = shared.now();
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let shard = match &mut inner.phase {
            Phase::Active(shard) => shard,
            Phase::Loading => return Err(ErrorCode::CoordinatorLoadInProgress),
            Phase::Closed => return Err(ErrorCode::NotCoordinator),
        };
        let result = transition(shard, now, &mut inner.effects);
        let next_due_ms = shard.next_due().unwrap_or(NEVER);
        let max_batch = shared.settings.read().max_batch_bytes;
        let (ready, wrote) = inner.take_effects(now.wall_ms, max_batch);
        let gate = if gated { inner.gate() } else { Gate::Open };
        drop(guard);
        if wrote {
            self.work.notify_one();
        }
        if self.next_due_ms.swap(next_due_ms, Ordering::AcqRel) > next_due_ms {
            shared.timers.moved_to(next_due_ms);
        }
        for waiting in ready {
            waiting.release(Ok(()));
        }
        Ok((result, gate))
    }

    pub fn epoch(&self) -> i32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The broker goes on leading, at another epoch.
    pub fn set_epoch(&self, epoch: i32) {
        self.epoch.store(epoch, Ordering::Release);
    }

    /// Whether more commits may be queued.
    pub fn has_room(&self) -> bool {
        self.inner.lock().queue.bytes() < MAX_QUEUED_BYTES
    }

    pub fn configure(&self, settings: Arc<GroupSettings>) {
        if let Phase::Active(shard) = &mut self.inner.lock().phase {
            shard.configure(settings);
        }
    }

    /// The shard is loaded. Does nothing if the cell was closed meanwhile.
    pub fn activate(&self, shared: &Shared, shard: Shard<Live>, log_bytes: u64) {
        let mut inner = self.inner.lock();
        if matches!(inner.phase, Phase::Closed) {
            return;
        }
        inner.phase = Phase::Active(Box::new(shard));
        inner.log_bytes = log_bytes;
        drop(inner);
        self.with(shared, |shard, now, out| shard.loaded(now, out));
        self.loaded.send_replace(true);
    }

    pub async fn loaded(&self) {
        // The sender lives in the cell: it cannot be gone.
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.inner.lock().phase, Phase::Closed)
    }

    /// Ends the cell: everybody who waits is told the error.
    pub fn close(&self, error: ErrorCode) {
        self.drop_shard(Phase::Closed, error);
        self.work.notify_one();
        self.loaded.send_replace(true);
    }

    /// An append failed: memory is ahead of the log. The shard is to be read again.
    pub fn fail(&self, error: ErrorCode) {
        self.drop_shard(Phase::Loading, error);
    }

    fn drop_shard(&self, next: Phase, error: ErrorCode) {
        let mut inner = self.inner.lock();
        if matches!(inner.phase, Phase::Closed) {
            return;
        }
        let mut effects = Effects::default();
        if let Phase::Active(mut shard) = std::mem::replace(&mut inner.phase, next) {
            shard.refuse_all(ErrorCode::NotCoordinator, &mut effects);
        }
        inner.queue = Queue::default();
        inner.committed = inner.queued;
        let waiting = std::mem::take(&mut inner.waiting);
        self.next_due_ms.store(NEVER, Ordering::Release);
        drop(inner);
        for (_, waiting) in waiting {
            waiting.release(Err(error));
        }
        for (to, answer, _) in effects.joins {
            Waiting::Join(to, answer).release(Ok(()));
        }
        for (to, answer, _) in effects.syncs {
            Waiting::Sync(to, answer).release(Ok(()));
        }
    }

    /// Takes all that is queued. None if there is nothing.
    pub fn take_batches(&self) -> Option<Batches> {
        let mut inner = self.inner.lock();
        if inner.queue.is_empty() {
            return None;
        }
        Some(inner.take_batches())
    }

    /// If it is worth it: all that is queued, and after it records for everything that the shard holds.
    pub fn take_rewrite(
        &self,
        shared: &Shared,
        worth: impl FnOnce(u64, u64) -> bool,
    ) -> Option<(Batches, Vec<BytesMut>)> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let Phase::Active(shard) = &inner.phase else {
            return None;
        };
        if !shard.can_be_rewritten() || !worth(inner.log_bytes, shard.live_bytes()) {
            return None;
        }
        let mut snapshot = Queue::default();
        snapshot.push(&shard.snapshot(), shared.now().wall_ms, shared.settings.read().max_batch_bytes);
        Some((inner.take_batches(), snapshot.take()))
    }

    /// Everything up to `upto` is committed; `bytes` were added to the log.
    pub fn committed(&self, upto: u64, bytes: u64) {
        let mut inner = self.inner.lock();
        inner.committed = inner.committed.max(upto);
        inner.log_bytes += bytes;
        let end = inner.waiting.partition_point(|(number, _)| *number <= upto);
        let ready: Vec<(u64, Waiting)> = inner.waiting.drain(..end).collect();
        drop(inner);
        for (_, waiting) in ready {
            waiting.release(Ok(()));
        }
    }

    /// The partition holds this much now.
    pub fn set_log_bytes(&self, bytes: u64) {
        self.inner.lock().log_bytes = bytes;
    }
}

impl Inner {
    fn take_batches(&mut self) -> Batches {
        Batches { batches: self.queue.take(), upto: self.queued }
    }

    /// Queues the records; returns the answers that may go out at once.
    fn take_effects(&mut self, wall_ms: i64, max_batch: usize) -> (Vec<Waiting>, bool) {
        let wrote = !self.effects.records.is_empty();
        if wrote {
            self.queue.push(&self.effects.records, wall_ms, max_batch);
            self.effects.records.clear();
            self.queued += 1;
        }
        let mut ready = Vec::new();
        let all_committed = self.queued == self.committed;
        let mut place =
            |release: Release, waiting: Waiting, later: &mut VecDeque<(u64, Waiting)>, number: u64| match release {
                Release::Committed if !all_committed => later.push_back((number, waiting)),
                Release::Now | Release::Committed => ready.push(waiting),
            };
        for (to, answer, release) in self.effects.joins.drain(..) {
            place(release, Waiting::Join(to, answer), &mut self.waiting, self.queued);
        }
        for (to, answer, release) in self.effects.syncs.drain(..) {
            place(release, Waiting::Sync(to, answer), &mut self.waiting, self.queued);
        }
        (ready, wrote)
    }

    fn gate(&mut self) -> Gate {
        if self.queued == self.committed {
            return Gate::Open;
        }
        let (open, wait) = oneshot::channel();
        self.waiting.push_back((self.queued, Waiting::Commit(open)));
        Gate::Wait(wait)
    }
}
