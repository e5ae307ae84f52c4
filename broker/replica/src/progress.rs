//! How far a partition has come: what is durable, what is committed, and who waits for more. Moved on by the store's
//! committer thread; nothing here blocks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use millrace_log::LogDir;
use millrace_metadata::NodeId;
use millrace_store::{Observer, StoreError};
use parking_lot::Mutex;

use crate::error::CommitError;
use crate::feed::{Feed, News};
use crate::partition::PartitionState;
use crate::remotes::{BadReplica, FetchCx, LeaderLog, Remotes, ReplicaPosition};
use crate::shared::Brokers;
use crate::waiter::{CommitWait, Waiter};

/// Appends whose bytes are counted one by one until they are committed; more are counted together.
const MAX_UNCOMMITTED: usize = 1024;

/// What a write waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The leader's own log has it durably (acks=1).
    Written,
    /// It is below the high watermark (acks=all).
    Committed,
    /// This log has it durably, whoever leads.
    Stored,
}

/// What the partition is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Role {
    /// Without a leader, or closed.
    #[default]
    Idle,
    Leading,
    Following,
}

/// The part of a partition that the committer thread touches.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// One past the last durable offset of the own log.
    durable: AtomicI64,
    high_watermark: AtomicI64,
    /// End of the log when the current leader's epoch began.
    epoch_start: AtomicI64,
    /// Sum of the bytes that ever became readable here; grows after `high_watermark`.
    readable: AtomicU64,
    /// Whether `state.failure` is set, to be asked without the lock.
    failed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    role: Role,
    /// How many replicas must be in sync for an acknowledgement.
    needed: usize,
    failure: Option<Box<StoreError>>,
    /// What is known of the other replicas while leading, if there are any.
    remotes: Option<Box<Remotes>>,
    /// Made by the first append or wait: an idle partition, of which there may be thousands, has none.
    queues: Option<Box<Queues>>,
}

impl State {
    fn queues(&mut self) -> &mut Queues {
        self.queues.get_or_insert_default()
    }

    /// Replicas in sync as the controller has it.
    fn in_sync(&self) -> usize {
        self.remotes.as_ref().map_or(1, |remotes| remotes.in_sync())
    }

    fn most_in_sync(&self) -> usize {
        self.remotes.as_ref().map_or(1, |remotes| remotes.most_in_sync())
    }

    fn tell(&self, news: News) {
        if let Some(remotes) = &self.remotes {
            remotes.tell_all(news);
        }
    }
}

/// What is under way on a partition, and who waits for it.
#[derive(Debug, Default)]
struct Queues {
    /// Appended and not committed: end offset and bytes, ascending.
    uncommitted: VecDeque<(i64, u64)>,
    /// By the end offset that they wait for, ascending.
    written: VecDeque<(i64, Arc<CommitWait>)>,
    committed: VecDeque<(i64, Arc<CommitWait>)>,
    /// By the log start that all live replicas shall have, ascending.
    trimmed: VecDeque<(i64, Arc<CommitWait>)>,
    watchers: Vec<Weak<Waiter>>,
    /// Size of `watchers` at which those that gave up are removed.
    sweep_at: usize,
}

impl Queues {
    fn wait(queue: &mut VecDeque<(i64, Arc<CommitWait>)>, target: i64) -> Arc<CommitWait> {
        let wait = Arc::new(CommitWait::default());
        let at = queue.partition_point(|(other, _)| *other <= target);
        queue.insert(at, (target, wait.clone()));
        wait
    }

    fn settle(queue: &mut VecDeque<(i64, Arc<CommitWait>)>, end: i64, wakes: &mut Wakes) {
        while queue.front().is_some_and(|(target, _)| *target <= end) {
            wakes.commits.extend(queue.pop_front().map(|(_, wait)| (wait, Ok(()))));
        }
    }
}

/// Calls that are made after the lock is released.
#[derive(Default)]
struct Wakes {
    commits: Vec<(Arc<CommitWait>, Result<(), CommitError>)>,
}

impl Wakes {
    fn run(self) {
        for (wait, result) in self.commits {
            wait.resolve(result);
        }
    }
}

impl Progress {
    pub(crate) fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    /// Sum of the bytes that ever became readable; read it before the high watermark that it goes with.
    pub(crate) fn readable(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    pub(crate) fn failure(&self) -> Option<StoreError> {
        if !self.failed.load(Ordering::Acquire) {
            return None;
        }
        self.state.lock().failure.as_deref().cloned()
    }

    /// One past the last durable offset of the own log.
    pub(crate) fn durable_end(&self) -> i64 {
        self.durable.load(Ordering::Acquire)
    }

    /// End of the log when the current leader's epoch began.
    pub(crate) fn epoch_start(&self) -> i64 {
        self.epoch_start.load(Ordering::Acquire)
    }

    pub(crate) fn begin_epoch(&self, end: i64) {
        self.epoch_start.store(end, Ordering::Release);
    }

    /// Where the high watermark stands at least, from before a restart.
    pub(crate) fn recall(&self, high_watermark: i64) {
        self.high_watermark.fetch_max(high_watermark, Ordering::AcqRel);
    }

    /// Becomes leader, or stays it with other replicas in sync. `needed` of them make an acknowledgement.
    pub(crate) fn lead(&self, node: NodeId, state: &PartitionState, needed: usize, now_ms: i64) {
        let mut wakes = Wakes::default();
        let mut mine = self.state.lock();
        mine.role = Role::Leading;
        mine.needed = needed;
        let alone = state.replicas.len() <= 1 && state.isr.len() <= 1;
        match &mut mine.remotes {
            remotes if alone => *remotes = None,
            Some(remotes) => remotes.update(state, now_ms),
            None => mine.remotes = Some(Box::new(Remotes::new(node, state, now_ms))),
        }
        self.advance(&mut mine, &mut wakes);
        drop(mine);
        wakes.run();
    }

    /// Another number of replicas makes an acknowledgement.
    pub(crate) fn need(&self, needed: usize) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        state.needed = needed;
        self.advance(&mut state, &mut wakes);
        drop(state);
        wakes.run();
    }

    /// Does not lead: whoever waits is told to look elsewhere.
    pub(crate) fn step_down(&self, role: Role) {
        self.end(CommitError::NotLeader, |state| {
            state.role = role;
            state.remotes = None;
        });
    }

    pub(crate) fn role(&self) -> Role {
        self.state.lock().role
    }

    /// The storage failed: nothing is acknowledged from here any more.
    pub(crate) fn fail(&self, error: &StoreError) {
        self.end(CommitError::Storage, |state| {
            state.failure.get_or_insert_with(|| Box::new(error.clone()));
            self.failed.store(true, Ordering::Release);
            state.tell(News::Urgent);
        });
    }

    fn end(&self, error: CommitError, change: impl FnOnce(&mut State)) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        change(&mut state);
        let queues = state.queues.take().unwrap_or_default();
        drop(state);
        for (_, wait) in queues.written.into_iter().chain(queues.committed).chain(queues.trimmed) {
            wakes.commits.push((wait, Err(error)));
        }
        wakes.run();
        queues.watchers.iter().filter_map(Weak::upgrade).for_each(|w| w.fire());
    }

    /// Notes an append of `bytes` that ends at `end`.
    pub(crate) fn appended(&self, end: i64, bytes: u64) {
        let mut state = self.state.lock();
        if let Some(remotes) = &state.remotes {
            remotes.tell_behind(end);
        }
        if end <= self.high_watermark() {
            // The committer was faster than this call.
            self.credit(&mut state, bytes);
            return;
        }
        let uncommitted = &mut state.queues().uncommitted;
        if uncommitted.len() < MAX_UNCOMMITTED {
            uncommitted.push_back((end, bytes));
        } else if let Some(last) = uncommitted.back_mut() {
            *last = (end.max(last.0), last.1 + bytes);
        }
    }

    /// The log's durable end moved.
    pub(crate) fn durable(&self, end: i64) {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        if end <= self.durable.load(Ordering::Acquire) || state.failure.is_some() {
            return;
        }
        self.durable.store(end, Ordering::Release);
        if let Some(queues) = &mut state.queues {
            Queues::settle(&mut queues.written, end, &mut wakes);
        }
        self.advance(&mut state, &mut wakes);
        drop(state);
        wakes.run();
    }

    /// The log was cut back to `end`, which is durable.
    pub(crate) fn truncated(&self, end: i64) {
        let mut state = self.state.lock();
        self.durable.fetch_min(end, Ordering::AcqRel);
        self.high_watermark.fetch_min(end, Ordering::AcqRel);
        if let Some(queues) = &mut state.queues {
            queues.uncommitted.retain(|(to, _)| *to <= end);
        }
    }

    /// A leader told its high watermark; `end` is that of this log. It never goes back.
    pub(crate) fn follow(&self, high_watermark: i64, end: i64) {
        let to = high_watermark.min(end);
        if to <= self.high_watermark() {
            return;
        }
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        if state.role == Role::Following {
            self.commit(&mut state, to, &mut wakes);
        }
        drop(state);
        wakes.run();
    }

    fn leader_log(&self) -> LeaderLog {
        LeaderLog {
            durable_end: self.durable_end(),
            high_watermark: self.high_watermark(),
            epoch_start: self.epoch_start(),
        }
    }

    /// Runs `with` on what is known of the other replicas; `None` unless leading a partition that has some.
    pub(crate) fn with_remotes<T>(&self, with: impl FnOnce(&mut Remotes, LeaderLog) -> T) -> Option<T> {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        let log = self.leader_log();
        let answer = state.remotes.as_mut().map(|remotes| with(remotes, log));
        if answer.is_some() {
            self.advance(&mut state, &mut wakes);
        }
        drop(state);
        wakes.run();
        answer
    }

    /// Checks who fetches.
    pub(crate) fn check_replica(&self, position: ReplicaPosition) -> Result<(), BadReplica> {
        let state = self.state.lock();
        state.remotes.as_ref().ok_or(BadReplica::Unknown)?.check(position)
    }

    /// Takes in a replica's fetch. True if the in-sync set shall change.
    pub(crate) fn replica_fetched(&self, position: ReplicaPosition, cx: &FetchCx<'_>) -> bool {
        self.look(cx, |remotes, log| remotes.fetched(position, log, cx))
    }

    /// Looks at the other replicas again. True if the in-sync set shall change.
    pub(crate) fn review(&self, cx: &FetchCx<'_>) -> bool {
        self.look(cx, |remotes, log| remotes.review(log, cx))
    }

    /// Runs `look`, then lets those go whose log start has come to all replicas.
    fn look(&self, cx: &FetchCx<'_>, look: impl FnOnce(&mut Remotes, LeaderLog) -> bool) -> bool {
        let mut wakes = Wakes::default();
        let mut state = self.state.lock();
        let log = self.leader_log();
        let State { remotes: Some(remotes), queues, .. } = &mut *state else {
            return false;
        };
        let changes = look(remotes, log);
        if let Some(queues) = queues
            && !queues.trimmed.is_empty()
        {
            Queues::settle(&mut queues.trimmed, remotes.lowest_log_start(cx.brokers), &mut wakes);
        }
        self.advance(&mut state, &mut wakes);
        drop(state);
        wakes.run();
        changes
    }

    /// The in-sync set to propose: members with their epochs, and the partition epoch.
    pub(crate) fn propose(&self, brokers: &Brokers) -> Option<(Vec<(NodeId, i64)>, i32)> {
        self.state.lock().remotes.as_mut()?.propose(brokers)
    }

    /// Registers who is told of news for `replica`.
    pub(crate) fn feed(&self, replica: NodeId, feed: &Arc<Feed>, slot: u32) -> bool {
        let mut state = self.state.lock();
        state.remotes.as_mut().is_some_and(|remotes| remotes.feed(replica, feed, slot))
    }

    /// The log start moved, which followers must hear of.
    pub(crate) fn log_start_moved(&self) {
        self.state.lock().tell(News::Watermark);
    }

    /// Moves the high watermark as far as it may go: to the smallest durable end of all replicas in sync, which on a
    /// single replica is its own. It stands while fewer are in sync than acknowledgements need (KIP-966).
    fn advance(&self, state: &mut State, wakes: &mut Wakes) {
        if state.role != Role::Leading || state.in_sync() < state.needed {
            return;
        }
        let own = self.durable_end();
        let to = state.remotes.as_ref().map_or(own, |remotes| remotes.floor(own));
        if to > self.high_watermark() {
            self.commit(state, to, wakes);
        }
    }

    /// The high watermark is `to` from now on.
    fn commit(&self, state: &mut State, to: i64, wakes: &mut Wakes) {
        self.high_watermark.store(to, Ordering::Release);
        state.tell(News::Watermark);
        let Some(queues) = &mut state.queues else {
            return;
        };
        let mut bytes = 0;
        while queues.uncommitted.front().is_some_and(|(end, _)| *end <= to) {
            bytes += queues.uncommitted.pop_front().map_or(0, |(_, n)| n);
        }
        Queues::settle(&mut queues.committed, to, wakes);
        self.credit(state, bytes);
    }

    /// Tells the watchers that `bytes` more can be read, and forgets those that have woken or gone.
    fn credit(&self, state: &mut State, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.readable.fetch_add(bytes, Ordering::AcqRel);
        let Some(queues) = &mut state.queues else {
            return;
        };
        queues.watchers.retain(|watcher| {
            let Some(watcher) = watcher.upgrade() else {
                return false;
            };
            watcher.credit(bytes);
            !watcher.has_fired()
        });
    }

    /// Registers a parked fetch that has seen the partition when `seen` bytes had become readable.
    pub(crate) fn watch(&self, waiter: &Arc<Waiter>, seen: u64) {
        let mut state = self.state.lock();
        if state.failure.is_some() || state.role == Role::Idle {
            drop(state);
            return waiter.fire();
        }
        let queues = state.queues();
        if queues.watchers.len() >= queues.sweep_at {
            queues.watchers.retain(|w| w.strong_count() > 0);
            queues.sweep_at = queues.watchers.len() * 2 + 4;
        }
        queues.watchers.push(Arc::downgrade(waiter));
        let missed = self.readable().saturating_sub(seen);
        drop(state);
        if missed > 0 {
            waiter.credit(missed);
        }
    }

    /// A wait for everything below `end` to reach `level`; an answer at once if that is known.
    pub(crate) fn wait(&self, level: Level, end: i64) -> Result<Option<Arc<CommitWait>>, CommitError> {
        let mut state = self.state.lock();
        let reached = match level {
            Level::Written | Level::Stored => self.durable_end(),
            Level::Committed => self.high_watermark(),
        };
        if end <= reached {
            return match level == Level::Committed && state.most_in_sync() < state.needed {
                true => Err(CommitError::NotEnoughReplicas),
                false => Ok(None),
            };
        }
        if state.failure.is_some() {
            return Err(CommitError::Storage);
        }
        if state.role != Role::Leading && (level != Level::Stored || state.role == Role::Idle) {
            return Err(CommitError::NotLeader);
        }
        let queue = match level {
            Level::Written | Level::Stored => &mut state.queues().written,
            Level::Committed => &mut state.queues().committed,
        };
        Ok(Some(Queues::wait(queue, end)))
    }

    /// A wait until the logs of all live replicas start at `start` or later; `None` if they do.
    pub(crate) fn wait_trimmed(&self, start: i64, brokers: &Brokers) -> Result<Option<Arc<CommitWait>>, CommitError> {
        let mut state = self.state.lock();
        if state.failure.is_some() {
            return Err(CommitError::Storage);
        }
        if state.role != Role::Leading {
            return Err(CommitError::NotLeader);
        }
        if state.remotes.as_ref().is_none_or(|remotes| remotes.lowest_log_start(brokers) >= start) {
            return Ok(None);
        }
        let queue = &mut state.queues().trimmed;
        // Those whose time was up do not come back for theirs.
        queue.retain(|(_, wait)| Arc::strong_count(wait) > 1);
        Ok(Some(Queues::wait(queue, start)))
    }
}

/// Tells a partition what the store says about its log. While a log is being copied to another directory, the copy's
/// reporter only remembers.
#[derive(Debug)]
pub(crate) struct Reporter {
    progress: Arc<Progress>,
    dir: Arc<LogDir>,
    reporting: AtomicBool,
    durable: AtomicI64,
}

impl Reporter {
    pub(crate) fn new(progress: Arc<Progress>, dir: Arc<LogDir>, reporting: bool) -> Arc<Reporter> {
        let reporting = AtomicBool::new(reporting);
        Arc::new(Reporter { progress, dir, reporting, durable: AtomicI64::new(0) })
    }

    /// The log was cut back to `end`.
    pub(crate) fn truncated(&self, end: i64) {
        self.durable.fetch_min(end, Ordering::AcqRel);
    }

    pub(crate) fn mute(&self) {
        self.reporting.store(false, Ordering::Release);
    }

    /// Passes on what it knows and will know.
    pub(crate) fn activate(&self) {
        self.reporting.store(true, Ordering::Release);
        self.progress.durable(self.durable.load(Ordering::Acquire));
        if let Some(error) = self.dir.failure() {
            self.progress.fail(&error);
        }
    }
}

impl Observer for Reporter {
    fn durable(&self, end: i64) {
        self.durable.fetch_max(end, Ordering::AcqRel);
        if self.reporting.load(Ordering::Acquire) {
            self.progress.durable(end);
        }
    }

    fn failed(&self, error: &StoreError) {
        self.dir.fail(error);
        if self.reporting.load(Ordering::Acquire) {
            self.progress.fail(error);
        }
    }
}
