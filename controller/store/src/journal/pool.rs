//! The journal's segment files: made ahead, written, sealed, ingested, used again.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::io::{ALIGN, JournalFile, JournalIo};
use crate::api::{PlogId, StoreError};
use crate::options::StoreOptions;
use crate::plog::Log;

/// How long the committer waits for a segment before it looks whether one can be made after all.
const RETRY: Duration = Duration::from_millis(200);

pub(crate) struct SegmentFile {
    pub path: PathBuf,
    pub file: Arc<dyn JournalFile>,
    /// Made for one batch that is larger than a segment, or small for a quick start: not used again.
    pub single_use: bool,
}

/// A log that a segment has frames of.
pub(crate) struct Touched {
    pub log: Arc<Log>,
    /// Entries of the log's tail up to and including this number (if any) are in this segment or an earlier one.
    pub last_no: Option<u64>,
    /// End of the log after the segment's last frame of it.
    pub end: i64,
}

/// A segment that is being written, or waits to be ingested.
pub(crate) struct Segment {
    pub source: SegmentFile,
    pub number: u64,
    /// Number of the group after the last one in it.
    pub next_group: u64,
    pub position: u64,
    /// Memory held by its batches.
    pub memory: u64,
    pub touched: std::collections::HashMap<PlogId, Touched>,
    /// A log was deleted and made again within the segment: the earlier incarnations.
    pub gone: Vec<Arc<Log>>,
}

pub(crate) struct Pool {
    dir: PathBuf,
    io: Arc<dyn JournalIo>,
    segment_bytes: u64,
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    free: Vec<SegmentFile>,
    /// Reserved for batches that are larger than a segment.
    oversize: Vec<SegmentFile>,
    sealed: VecDeque<Segment>,
    /// One has been taken out of `sealed` and not been released yet.
    ingesting: bool,
    /// Ordinary segments that exist or are being made.
    ordinary: usize,
    making: bool,
    /// The last attempt to make one failed for lack of space.
    no_space: bool,
    next_file: u64,
    stopped: bool,
}

impl Pool {
    pub(crate) fn new(dir: PathBuf, options: &StoreOptions) -> Self {
        Pool {
            dir,
            io: options.io.clone(),
            segment_bytes: options.segment_bytes,
            limit: options.segments.max(2),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Registers a file that was found at start; `next_file` stays above its number.
    pub(crate) fn adopt(&self, path: &Path, file: Arc<dyn JournalFile>) -> SegmentFile {
        let state = &mut *self.state.lock();
        let single_use = file.size() != self.segment_bytes;
        if !single_use {
            state.ordinary += 1;
        }
        let number = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
        state.next_file = state.next_file.max(number + 1);
        SegmentFile { path: path.to_owned(), file, single_use }
    }

    fn create(&self, size: u64, zero: bool) -> std::io::Result<SegmentFile> {
        let path = {
            let state = &mut *self.state.lock();
            state.next_file += 1;
            self.dir.join(format!("{:08}.seg", state.next_file - 1))
        };
        let file: Arc<dyn JournalFile> = self.io.create(&path, size, zero)?.into();
        Ok(SegmentFile { path, file, single_use: size != self.segment_bytes })
    }

    /// The small segment of a fresh store.
    pub(crate) fn create_first(&self, size: u64) -> std::io::Result<SegmentFile> {
        let file = self.create(size.min(self.segment_bytes), true)?;
        if !file.single_use {
            self.state.lock().ordinary += 1;
        }
        Ok(file)
    }

    pub(crate) fn fits(&self, bytes: u64) -> bool {
        bytes <= self.segment_bytes
    }

    /// Makes room for one batch that is larger than a segment, so that the committer cannot fail for it.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), StoreError> {
        let size = bytes.next_multiple_of(ALIGN as u64);
        let path = self.dir.display().to_string();
        match self.create(size, false) {
            Ok(file) => {
                self.state.lock().oversize.push(file);
                Ok(())
            }
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => {
                let free = self.io.space(&self.dir).map_or(0, |(_, free)| free);
                Err(StoreError::Full { path, free, needed: size })
            }
            Err(e) => Err(StoreError::Poisoned { path, what: format!("cannot make a journal segment: {e}") }),
        }
    }

    /// The next segment to write to, with room for `bytes`. Waits for ingestion when all are in use, and calls `full`
    /// when it waits because the disk has no room for another one; `None` after [`Pool::stop`].
    pub(crate) fn take(self: &Arc<Self>, bytes: u64, full: &mut dyn FnMut()) -> Option<SegmentFile> {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return None;
            }
            if bytes > self.segment_bytes {
                let fitting = state.oversize.iter().position(|s| s.file.size() >= bytes)?;
                return Some(state.oversize.swap_remove(fitting));
            }
            if let Some(file) = state.free.pop() {
                self.make_ahead(&mut state);
                return Some(file);
            }
            self.make_ahead(&mut state);
            if state.no_space && state.sealed.is_empty() && !state.ingesting {
                full();
            }
            self.changed.wait_for(&mut state, RETRY);
        }
    }

    /// Has a segment made in the background if none is free and there may be one more.
    pub(crate) fn prepare(self: &Arc<Self>) {
        self.make_ahead(&mut self.state.lock());
    }

    fn make_ahead(self: &Arc<Self>, state: &mut State) {
        if state.making || state.stopped || !state.free.is_empty() || state.ordinary >= self.limit {
            return;
        }
        let pool = self.clone();
        let maker = move || {
            let made = pool.create(pool.segment_bytes, true);
            let state = &mut *pool.state.lock();
            state.making = false;
            state.no_space = made.as_ref().is_err_and(|e| e.raw_os_error() == Some(libc::ENOSPC));
            match made {
                Ok(file) => {
                    state.ordinary += 1;
                    state.free.push(file);
                }
                Err(_) if state.no_space => {}
                Err(error) => {
                    tracing::warn!(dir = %pool.dir.display(), %error, "cannot make a journal segment ahead")
                }
            }
            pool.changed.notify_all();
        };
        // Without a thread the segments that exist have to do; the next call tries again.
        state.making = std::thread::Builder::new().name("store-segment".into()).spawn(maker).is_ok();
    }

    pub(crate) fn seal(&self, segment: Segment) {
        self.state.lock().sealed.push_back(segment);
        self.changed.notify_all();
    }

    /// Takes the oldest sealed segment; waits until there is one. `None` after [`Pool::stop`].
    pub(crate) fn next_sealed(&self) -> Option<Segment> {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(segment) = state.sealed.pop_front() {
                state.ingesting = true;
                return Some(segment);
            }
            self.changed.wait(&mut state);
        }
    }

    /// The segment taken last is in RocksDB.
    pub(crate) fn ingested(&self, file: SegmentFile) {
        self.state.lock().ingesting = false;
        self.release(file);
    }

    /// Waits until no sealed segment is left, at most `time`; returns whether that is so.
    pub(crate) fn wait_ingested(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        let busy = |state: &mut State| state.ingesting || !state.sealed.is_empty();
        !self.changed.wait_while_for(&mut state, busy, time).timed_out()
    }

    /// Makes a file available for writing.
    pub(crate) fn release(&self, file: SegmentFile) {
        let state = &mut *self.state.lock();
        if file.single_use {
            if let Err(error) = std::fs::remove_file(&file.path) {
                tracing::warn!(path = %file.path.display(), %error, "cannot remove a journal segment");
            }
        } else {
            state.free.push(file);
        }
        self.changed.notify_all();
    }

    /// Sleeps, but not beyond a stop; returns whether it was stopped.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.stopped {
            self.changed.wait_for(&mut state, time);
        }
        state.stopped
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// After [`Pool::stop`]: waits for a segment that is being made, which whoever opens the directory next must not
    /// meet half finished.
    pub(crate) fn wait_made(&self) {
        self.changed.wait_while(&mut self.state.lock(), |state| state.making);
    }

    /// Disk space of the ordinary segments, bytes.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.state.lock().ordinary as u64 * self.segment_bytes
    }

    pub(crate) fn sealed(&self) -> usize {
        self.state.lock().sealed.len()
    }
}
