//! The Raft log on the small store. Recent entries stay in memory, so that applying and replicating them reads no
//! disk; an entry leaves memory only when it is durable.

mod writer;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use millrace_rpc::{decode, encode, pb};
use millrace_store::{Kv, KvBatch, StoreError};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;

use self::writer::{Done, Job, Writer};
use crate::codec::{entry_from_pb, entry_to_pb, log_id_from_pb, log_id_to_pb, unreadable, vote_from_pb, vote_to_pb};
use crate::keys;
use crate::raft::{Entry, LogId, Types, Vote};

/// Encoded bytes of recent entries that stay in memory.
const RECENT_BYTES: usize = 1 << 20;
/// Encoded bytes of entries that one read hands out, the first entry excepted.
const READ_BYTES: usize = 4 << 20;

struct State {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// The newest entries, without gaps, and their encoded lengths.
    recent: VecDeque<(Entry, usize)>,
    recent_bytes: usize,
    /// Entries up to here are durable.
    durable: u64,
}

impl State {
    fn next_index(&self) -> u64 {
        self.last.as_ref().or(self.purged.as_ref()).map_or(0, |id| id.index() + 1)
    }

    fn first_index(&self) -> u64 {
        self.purged.as_ref().map_or(0, |id| id.index() + 1)
    }

    fn push(&mut self, entry: Entry, bytes: usize) {
        self.last = Some(entry.log_id);
        self.recent_bytes += bytes;
        self.recent.push_back((entry, bytes));
        while self.recent_bytes > RECENT_BYTES
            && self.recent.len() > 1
            && self.recent.front().is_some_and(|(e, _)| e.log_id.index() <= self.durable)
        {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some((_, bytes)) = self.recent.pop_front() {
            self.recent_bytes -= bytes;
        }
    }

    fn pop_back(&mut self) {
        if let Some((_, bytes)) = self.recent.pop_back() {
            self.recent_bytes -= bytes;
        }
    }
}

/// The log, shared by its readers.
#[derive(Clone)]
pub struct Log {
    kv: Arc<dyn Kv>,
    writer: Writer,
    state: Arc<Mutex<State>>,
}

fn failed(error: StoreError) -> io::Error {
    io::Error::other(error)
}

fn row<M: millrace_rpc::Message + Default>(kv: &dyn Kv, key: &[u8], what: &str) -> io::Result<Option<M>> {
    let bytes = kv.get(key).map_err(failed)?;
    bytes.map(|b| decode(&b).map_err(|e| unreadable(what, &e))).transpose()
}

fn decode_entry(bytes: &[u8]) -> io::Result<Entry> {
    let entry: Result<Entry, _> = decode::<pb::Entry>(bytes).and_then(entry_from_pb);
    entry.map_err(|e| unreadable("a log entry", &e))
}

impl Log {
    /// Opens the log that is in the store. Blocks on the disk.
    pub fn open(kv: Arc<dyn Kv>) -> io::Result<Log> {
        let vote = row::<pb::Vote>(&*kv, keys::VOTE, "the vote")?.map(|v| vote_from_pb(&v));
        let purged = row::<pb::LogId>(&*kv, keys::PURGED, "the purged log id")?.map(|id| log_id_from_pb(&id));
        let first = purged.as_ref().map_or(0, |id: &LogId| id.index() + 1);
        let mut newest = None;
        // The log is short: it is cut after every snapshot.
        kv.scan(&keys::entry(first), &keys::entries_end(), &mut |_, value| {
            newest = Some(value.to_vec());
            true
        })
        .map_err(failed)?;
        let last = newest.map(|bytes| decode_entry(&bytes)).transpose()?.map(|e| e.log_id).or(purged);
        let durable = last.as_ref().map_or(0, |id| id.index());
        let state = State { vote, purged, last, recent: VecDeque::new(), recent_bytes: 0, durable };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let writer = Writer::start(Arc::clone(&kv), move |index| shared.lock().durable = index)?;
        Ok(Log { kv, writer, state })
    }

    /// Whether anything was ever agreed or voted here.
    pub fn is_pristine(&self) -> bool {
        let state = self.state.lock();
        state.vote.is_none() && state.last.is_none()
    }

    /// The newest entry, durable or not.
    pub fn last_id(&self) -> Option<LogId> {
        self.state.lock().last
    }

    /// Term and index of the newest entry; both 0 if there is none.
    pub fn last(&self) -> (u64, u64) {
        self.last_id().map_or((0, 0), |id| (id.committed_leader_id().term, id.index()))
    }

    /// The entries of `[from, to)` that memory does not have.
    fn read_disk(kv: &dyn Kv, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        let (mut entries, mut bytes, mut bad) = (Vec::new(), 0, None);
        kv.scan(&keys::entry(from), &keys::entry(to), &mut |_, value| {
            bytes += value.len();
            match decode_entry(value) {
                Ok(entry) => entries.push(entry),
                Err(error) => bad = Some(error),
            }
            bad.is_none() && bytes < READ_BYTES
        })
        .map_err(failed)?;
        bad.map_or(Ok(entries), Err)
    }

    async fn read(&self, from: u64, to: u64, whole: bool) -> io::Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut from = from;
        loop {
            let in_memory = {
                let state = self.state.lock();
                from = from.max(state.first_index());
                let to = to.min(state.next_index());
                if from >= to {
                    return Ok(entries);
                }
                let oldest = state.recent.front().map_or(state.next_index(), |(e, _)| e.log_id.index());
                if from >= oldest {
                    let skip = (from - oldest) as usize;
                    let count = (to - from) as usize;
                    entries.extend(state.recent.iter().skip(skip).take(count).map(|(e, _)| e.clone()));
                    return Ok(entries);
                }
                oldest.min(to)
            };
            let kv = Arc::clone(&self.kv);
            let read = tokio::task::spawn_blocking(move || Log::read_disk(&*kv, from, in_memory));
            let mut read = read.await.map_err(io::Error::other)??;
            // Raft itself finds and reports what is missing.
            from = read.last().map_or(in_memory, |last| last.log_id.index() + 1);
            entries.append(&mut read);
            if !whole {
                return Ok(entries);
            }
        }
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(n) => *n,
        Bound::Excluded(n) => n.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(n) => n.saturating_add(1),
        Bound::Excluded(n) => *n,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        let (from, to) = bounds(&range);
        self.read(from, to, true).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.state.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, false).await
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let mut batch = KvBatch::default();
        batch.put(keys::VOTE, encode(&vote_to_pb(vote)));
        self.writer.write(batch).await?;
        self.state.lock().vote = Some(*vote);
        Ok(())
    }

    /// A hint that shortens what a restarted controller must hear from the leader; it is worth no sync.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut batch = KvBatch::default();
        match committed {
            Some(id) => batch.put(keys::COMMITTED, encode(&log_id_to_pb(&id))),
            None => batch.delete(keys::COMMITTED),
        };
        self.writer.submit(Job { batch, durable: false, done: Done::Nobody, flushed: None })
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(row::<pb::LogId>(&*self.kv, keys::COMMITTED, "the committed log id")?.map(|id| log_id_from_pb(&id)))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = KvBatch::default();
        let mut flushed = None;
        for entry in entries {
            let bytes = encode(&entry_to_pb(&entry));
            let index = entry.log_id().index();
            flushed = Some(index);
            let length = bytes.len();
            batch.put(keys::entry(index), bytes);
            self.state.lock().push(entry, length);
        }
        self.writer.submit(Job { batch, durable: true, done: Done::Raft(callback), flushed })
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.as_ref().map_or(0, |id| id.index() + 1);
        {
            let mut state = self.state.lock();
            while state.recent.back().is_some_and(|(e, _)| e.log_id.index() >= from) {
                state.pop_back();
            }
            if state.next_index() > from {
                state.last = last;
            }
        }
        let mut batch = KvBatch::default();
        batch.delete_range(keys::entry(from), keys::entries_end());
        self.writer.write(batch).await?;
        // What comes next at these indexes is not durable yet, and must stay in memory until it is.
        let mut state = self.state.lock();
        state.durable = state.durable.min(from.saturating_sub(1));
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        {
            let mut state = self.state.lock();
            while state.recent.front().is_some_and(|(e, _)| e.log_id.index() <= upto.index()) {
                state.pop_front();
            }
            state.purged = Some(upto);
            if state.last.as_ref().is_none_or(|last| last.index() < upto.index()) {
                state.last = Some(upto);
            }
        }
        let mut batch = KvBatch::default();
        batch.put(keys::PURGED, encode(&log_id_to_pb(&upto)));
        batch.delete_range(keys::entry(0), keys::entry(upto.index() + 1));
        self.writer.submit(Job { batch, durable: false, done: Done::Nobody, flushed: None })
    }
}
