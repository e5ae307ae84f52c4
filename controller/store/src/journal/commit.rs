//! The commit queue and the thread that drains it: everything queued becomes one group, one write, one sync.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::frame::{Entry, Header, Kind};
use super::pool::{Segment, SegmentFile, Touched};
use super::writer::{GroupWriter, padded_len};
use crate::api::{Batch, FlushPolicy, PlogId, StoreError};
use crate::core::Core;
use crate::options::{GROUP_BYTES, GROUP_FRAMES, TAIL_ENTRY_COST};
use crate::plog::Log;

pub(crate) type Done = Sender<Result<(), StoreError>>;

/// A queued change. Changes of one log are queued in the order in which they were made in memory.
pub(crate) enum Op {
    Append {
        log: Arc<Log>,
        no: u64,
        batch: Batch,
    },
    Truncate {
        log: Arc<Log>,
        to: i64,
        end: i64,
    },
    LogStart {
        log: Arc<Log>,
        offset: i64,
        end: i64,
    },
    Delete {
        log: Arc<Log>,
    },
    /// Answered when everything before it is durable.
    Barrier(Done),
    /// As `Barrier`, and the segment is sealed.
    Roll(Done),
}

impl Op {
    fn body(&self) -> &[u8] {
        match self {
            Op::Append { batch, .. } => &batch.bytes,
            Op::Truncate { .. } | Op::LogStart { .. } | Op::Delete { .. } | Op::Barrier(_) | Op::Roll(_) => &[],
        }
    }

    fn entry(&self) -> Option<Entry> {
        let entry = |kind, log: &Log, base, end| Entry {
            kind,
            log: log.id,
            class: log.class(),
            base,
            last: base,
            max_timestamp: -1,
            leader_epoch: -1,
            end,
            body_len: 0,
            checksum: 0,
            own_crc: false,
        };
        Some(match self {
            Op::Append { log, batch, .. } => Entry {
                last: batch.last_offset,
                max_timestamp: batch.max_timestamp,
                leader_epoch: batch.leader_epoch,
                ..entry(Kind::Append, log, batch.base_offset, batch.last_offset + 1)
            },
            Op::Truncate { log, to, end } => entry(Kind::Truncate, log, *to, *end),
            Op::LogStart { log, offset, end } => entry(Kind::LogStart, log, *offset, *end),
            Op::Delete { log } => entry(Kind::Delete, log, 0, 0),
            Op::Barrier(_) | Op::Roll(_) => return None,
        })
    }
}

#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    filled: Condvar,
}

#[derive(Default)]
struct QueueState {
    ops: VecDeque<Op>,
    bytes: u64,
    stop: Option<Stop>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// After everything queued is written.
    Drain,
    /// At once; what is queued is lost, as if the process had been killed.
    Abandon,
}

impl Queue {
    /// Queues `op`. Memory is bounded by the request budget that the callers hold until their batch is durable.
    pub(crate) fn push(&self, op: Op) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        if state.stop.is_some() {
            return Err(StoreError::Closed);
        }
        state.bytes += op.body().len() as u64;
        state.ops.push_back(op);
        let alone = state.ops.len() == 1;
        drop(state);
        if alone {
            self.filled.notify_one();
        }
        Ok(())
    }

    pub(crate) fn stop(&self, how: Stop) {
        let mut state = self.state.lock();
        state.stop = Some(how);
        drop(state);
        self.filled.notify_all();
    }

    /// Operations and bytes that wait.
    pub(crate) fn depth(&self) -> (usize, u64) {
        let state = self.state.lock();
        (state.ops.len(), state.bytes)
    }

    /// Answers everybody who waits and takes nothing more.
    pub(crate) fn fail(&self, error: &StoreError) {
        let ops = {
            let mut state = self.state.lock();
            state.stop = Some(Stop::Abandon);
            std::mem::take(&mut state.ops)
        };
        fail_waiters(ops, error);
    }

    /// Waits for work and moves a group of it into `group`; false to stop.
    fn take(&self, group: &mut Vec<Op>, limit: u64) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.stop == Some(Stop::Abandon) {
                return false;
            }
            if !state.ops.is_empty() {
                break;
            }
            if state.stop.is_some() {
                return false;
            }
            self.filled.wait(&mut state);
        }
        let mut bytes = 0;
        while let Some(op) = state.ops.front() {
            let more = bytes + op.body().len() as u64;
            if !group.is_empty() && (padded_len(group.len() + 1, more) > limit || group.len() == GROUP_FRAMES) {
                break;
            }
            bytes = more;
            group.extend(state.ops.pop_front());
        }
        state.bytes -= bytes;
        true
    }
}

fn fail_waiters(ops: impl IntoIterator<Item = Op>, error: &StoreError) {
    for op in ops {
        if let Op::Barrier(done) | Op::Roll(done) = op {
            // Nobody waits any more if this fails.
            let _ = done.send(Err(error.clone()));
        }
    }
}

/// State of the committer thread.
pub(crate) struct Committer {
    pub core: Arc<Core>,
    /// The segment that is written; none only while waiting for the next.
    pub active: Option<Segment>,
    pub group: u64,
    pub next_segment: u64,
    pub incarnation: u64,
    /// What the active segment's last block holds.
    pub open_block: Vec<u8>,
}

impl Committer {
    /// Runs until the queue is stopped or a write fails.
    pub(crate) fn run(mut self) {
        let mut writer = GroupWriter::new(self.core.options.trust_batch_crc);
        writer.resume(std::mem::take(&mut self.open_block));
        let mut group = Vec::new();
        let limit = (GROUP_BYTES as u64).min(self.core.options.segment_bytes);
        while self.core.queue.take(&mut group, limit) {
            match self.write(&mut writer, &group) {
                Ok(true) => self.finish(&mut group),
                Ok(false) => break,
                Err(error) => {
                    let path = self.core.path.join("journal").display().to_string();
                    let error = StoreError::Poisoned { path, what: format!("journal: {error}") };
                    self.core.poison(error.clone());
                    fail_waiters(group, &error);
                    return;
                }
            }
        }
        // Stopped: at once, or while waiting for a segment.
        fail_waiters(group, &StoreError::Closed);
        self.core.queue.fail(&StoreError::Closed);
    }

    /// Makes the group durable; false if the store stopped meanwhile.
    fn write(&mut self, writer: &mut GroupWriter, group: &[Op]) -> std::io::Result<bool> {
        writer.clear();
        let (mut frames, mut bytes, mut barrier) = (0, 0, false);
        for op in group {
            match op.entry() {
                Some(entry) => {
                    writer.add(entry, op.body());
                    frames += 1;
                    bytes += op.body().len() as u64;
                }
                None => barrier = true,
            }
        }
        let sync = self.core.options.flush == FlushPolicy::Sync;
        let fits = |a: &Segment| a.position + writer.len() <= a.source.file.size();
        if frames > 0 && !self.active.as_ref().is_some_and(fits) && !self.roll(padded_len(frames, bytes)) {
            return Ok(false);
        }
        let Some(active) = &mut self.active else {
            return Ok(false);
        };
        let file = &*active.source.file;
        if frames > 0 {
            let header = Header {
                segment: active.number,
                group: self.group,
                incarnation: self.incarnation,
                frames: 0,
                body_len: 0,
                directory_crc: 0,
            };
            let started = Instant::now();
            let end = writer.write(header, group.iter().map(Op::body), file, active.position)?;
            let written = Instant::now();
            if sync {
                file.sync()?;
            }
            self.core.stats.group(frames, bytes, writer.len(), written - started, written.elapsed());
            self.group += 1;
            active.next_group = self.group;
            active.position = end;
        }
        if barrier && !sync {
            file.sync()?;
        }
        Ok(true)
    }

    /// Seals the active segment and takes the next one; false if the store stopped while waiting for it.
    fn roll(&mut self, need: u64) -> bool {
        // Sealed first, so that ingestion can free it if it is the only one.
        if let Some(active) = self.active.take() {
            self.core.pool.seal(active);
        }
        let status = &self.core.status;
        let mut full = false;
        let source = self.core.pool.take(need, &mut || {
            status.set_full(true);
            full = true;
        });
        if full {
            status.set_full(false);
        }
        let Some(source) = source else { return false };
        self.active = Some(Segment::empty(source, self.next_segment, self.group));
        self.next_segment += 1;
        true
    }

    /// Records what the durable group changed and tells the observers and waiters.
    fn finish(&mut self, group: &mut Vec<Op>) {
        let mut ends: HashMap<PlogId, (Arc<Log>, i64)> = HashMap::new();
        let mut waiting = Vec::new();
        let mut roll = false;
        let Some(active) = &mut self.active else {
            return;
        };
        for op in group.drain(..) {
            match op {
                Op::Append { log, no, batch } => {
                    active.memory += batch.bytes.len() as u64 + TAIL_ENTRY_COST;
                    active.touch(&log, Some(no), Some(batch.last_offset + 1));
                    ends.insert(log.id, (log, batch.last_offset + 1));
                }
                Op::Truncate { log, to, end } => {
                    let state = &mut *log.state.lock();
                    state.note_cut(to);
                    self.core.mark_dirty(&log, &mut state.dirty);
                    active.touch(&log, None, Some(end));
                    ends.insert(log.id, (log.clone(), end));
                }
                Op::LogStart { log, offset, end } => {
                    {
                        let state = &mut *log.state.lock();
                        state.durable_start = offset;
                        self.core.mark_dirty(&log, &mut state.dirty);
                    }
                    active.touch(&log, None, Some(end));
                    if offset == end {
                        // The log goes on at its new start, and that counts as durable.
                        ends.insert(log.id, (log, end));
                    }
                }
                Op::Delete { log } => {
                    self.core.mark_dirty(&log, &mut log.state.lock().dirty);
                    active.touch(&log, None, None);
                    ends.remove(&log.id);
                }
                Op::Barrier(done) => waiting.push(done),
                Op::Roll(done) => {
                    waiting.push(done);
                    roll = true;
                }
            }
        }
        for (log, end) in ends.into_values() {
            let (observer, durable_end) = {
                let state = &mut *log.state.lock();
                if state.deleted {
                    continue;
                }
                // Never back: a log start beyond the end has moved it at once.
                state.durable_end = state.durable_end.max(end.min(state.end));
                (state.observer.clone(), state.durable_end)
            };
            if let Some(observer) = observer {
                observer.durable(durable_end);
            }
        }
        self.core.pool.prepare();
        let segment_bytes = self.core.options.segment_bytes;
        // Many tiny batches take more memory than room in the segment.
        let heavy = active.memory > segment_bytes + segment_bytes / 2;
        if active.position > 0 && (heavy || roll) {
            self.roll(0);
        }
        for done in waiting {
            // Nobody waits any more if this fails.
            let _ = done.send(Ok(()));
        }
    }
}

impl Segment {
    pub(crate) fn empty(source: SegmentFile, number: u64, next_group: u64) -> Self {
        Segment { source, number, next_group, position: 0, memory: 0, touched: HashMap::new(), gone: Vec::new() }
    }

    /// Notes that the segment has a frame of `log`.
    pub(crate) fn touch(&mut self, log: &Arc<Log>, no: Option<u64>, end: Option<i64>) {
        let touched = self.touched.entry(log.id).or_insert_with(|| Touched { log: log.clone(), last_no: None, end: 0 });
        if !Arc::ptr_eq(&touched.log, log) {
            self.gone.push(std::mem::replace(&mut touched.log, log.clone()));
            touched.last_no = None;
        }
        touched.last_no = no.or(touched.last_no);
        touched.end = end.unwrap_or(touched.end);
    }
}
