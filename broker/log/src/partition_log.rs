//! The log of one partition: numbers and stores batches, finds them again, forgets the old ones.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use millrace_metadata::config::TopicConfig;
use millrace_store::{Batch, BatchMeta, Bounds, Extent, KvBatch, Plog, ReadChunk, ReadSpec, StoreError, TailRead};
use parking_lot::{Mutex, MutexGuard};

use crate::batch::{self, BatchView, NO_TIMESTAMP};
use crate::config::retention_class;
use crate::dir::LogDir;
use crate::epochs::EpochEnd;
use crate::error::{AppendError, LogError};
use crate::producer::{Producer, Verdict};
use crate::rows;
use crate::state::LogState;
use crate::validate::{Origin, ValidateSpec, validate};

/// Circumstances of an append.
#[derive(Debug, Clone, Copy)]
pub struct LeaderAppend {
    pub origin: Origin,
    /// Produce version; `i16::MAX` for the broker's own batches.
    pub api_version: i16,
    pub now_ms: i64,
    pub leader_epoch: i32,
}

/// Where a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: i64,
    pub last_offset: i64,
    /// Time that the broker stamped (ms), −1 with CreateTime. For a resend: the stored batch's largest timestamp.
    pub log_append_time: i64,
    pub log_start_offset: i64,
    /// Bytes stored; 0 for a resend of a batch that was there already.
    pub bytes: usize,
}

/// What became of batches that another replica numbered.
#[derive(Debug, Clone)]
pub struct FollowerAppended {
    /// One past the last appended offset of the log.
    pub end: i64,
    /// Bytes that were appended.
    pub bytes: usize,
    /// Leader epoch of the newest batch, −1 in a log that never had one.
    pub epoch: i32,
    /// Why the batches from `end` on were not taken; those before it were.
    pub stopped: Option<AppendError>,
}

/// Where a log is: changes when it is moved to another directory.
pub struct Place {
    pub dir: Arc<LogDir>,
    pub plog: Arc<dyn Plog>,
}

/// One partition's log. All methods may be called from any thread; those that may wait for the disk say so.
pub struct PartitionLog {
    place: ArcSwap<Place>,
    config: ArcSwap<TopicConfig>,
    inner: Mutex<Inner>,
}

/// What writers hold while they choose offsets.
struct Inner {
    /// One past the last appended offset.
    end: i64,
    /// Loaded by the first append or question that needs it; an idle partition has none.
    state: Option<Box<LogState>>,
    /// Lowest offset that the log was cut to since a copier last asked, `i64::MAX` if it was not.
    cut_to: i64,
}

impl PartitionLog {
    pub fn new(dir: Arc<LogDir>, plog: Arc<dyn Plog>, config: Arc<TopicConfig>) -> PartitionLog {
        let end = plog.bounds().end;
        PartitionLog {
            place: ArcSwap::from_pointee(Place { dir, plog }),
            config: ArcSwap::new(config),
            inner: Mutex::new(Inner { end, state: None, cut_to: i64::MAX }),
        }
    }

    pub fn place(&self) -> Arc<Place> {
        self.place.load_full()
    }

    pub fn config(&self) -> Arc<TopicConfig> {
        self.config.load_full()
    }

    /// Takes effect with the next append, retention check and new data.
    pub fn set_config(&self, config: Arc<TopicConfig>) {
        let class = retention_class(&config);
        if class != retention_class(&self.config.load()) {
            self.place.load().plog.set_class(class);
        }
        self.config.store(config);
    }

    pub fn bounds(&self) -> Bounds {
        self.place.load().plog.bounds()
    }

    pub fn log_start(&self) -> i64 {
        self.bounds().log_start
    }

    /// One past the last appended offset, durable or not.
    pub fn end(&self) -> i64 {
        self.inner.lock().end
    }

    /// The state, loaded if it is not there yet; loading may wait for the disk.
    fn state<'a>(&self, inner: &'a mut MutexGuard<'_, Inner>) -> Result<&'a mut LogState, StoreError> {
        if inner.state.is_none() {
            let place = self.place.load();
            let rows = place.dir.rows()?;
            let (state, cut) = LogState::load(&*place.plog, &*rows)?;
            if cut {
                // Or the next finished segment would be folded into rows that reach beyond it.
                let mut out = KvBatch::default();
                state.put(place.plog.id(), place.plog.bounds().end, &mut out);
                rows.write(out, true)?;
            }
            inner.state = Some(Box::new(state));
        }
        inner.state.as_deref_mut().ok_or(StoreError::Closed)
    }

    /// Validates one batch, gives it the next offsets and queues it. Returns before it is durable.
    pub fn append_as_leader(&self, mut records: BytesMut, cx: LeaderAppend) -> Result<Appended, AppendError> {
        let config = self.config.load();
        let spec = ValidateSpec { config: &config, origin: cx.origin, api_version: cx.api_version, now_ms: cx.now_ms };
        let validated = validate(&mut records, spec)?;
        let mut inner = self.inner.lock();
        let base_offset = inner.end;
        let place = self.place.load();
        let state = self.state(&mut inner)?;
        let log_start_offset = place.plog.bounds().log_start;
        let view = BatchView::new(&records).ok_or(AppendError::Corrupt("the batch is smaller than its header"))?;
        match state.producers.check(view, cx.origin)? {
            Verdict::Append => {}
            Verdict::Duplicate(mark) => {
                return Ok(Appended {
                    base_offset: mark.first_offset(),
                    last_offset: mark.last_offset,
                    log_append_time: mark.timestamp,
                    log_start_offset,
                    bytes: 0,
                });
            }
        }
        let bytes = records.len();
        batch::patch(&mut records, base_offset, cx.leader_epoch);
        let last_offset = append(&*place.plog, state, records.freeze())?;
        inner.end = last_offset + 1;
        let log_append_time = validated.log_append_time;
        Ok(Appended { base_offset, last_offset, log_append_time, log_start_offset, bytes })
    }

    /// Appends whole batches as another replica numbered them, shared and not copied. Checks shape, checksums, order and
    /// epochs, nothing else; batches of an epoch above `leader_epoch` are not the leader's to hand out and are left
    /// (`UnifiedLog.appendAsFollower`). A last batch that is not whole is left as well.
    pub fn append_as_follower(&self, mut records: Bytes, leader_epoch: i32) -> Result<FollowerAppended, StoreError> {
        let mut inner = self.inner.lock();
        let place = self.place.load();
        self.state(&mut inner)?;
        let Inner { end, state: Some(state), .. } = &mut *inner else {
            return Err(StoreError::Closed);
        };
        let mut bytes = 0;
        let mut stopped = None;
        while !records.is_empty() {
            match replicated(&mut records, *end, leader_epoch, state) {
                Ok(None) => break,
                Ok(Some(batch)) => {
                    let size = batch.len();
                    match append(&*place.plog, state, batch) {
                        Ok(last) => *end = last + 1,
                        Err(error) => stopped = Some(error),
                    }
                    bytes += if stopped.is_none() { size } else { 0 };
                }
                Err(error) => stopped = Some(error),
            }
            if stopped.is_some() {
                break;
            }
        }
        let epoch = state.epochs.latest().unwrap_or(batch::NO_EPOCH);
        Ok(FollowerAppended { end: *end, bytes, epoch, stopped })
    }

    /// Fails with `OffsetOutOfRange` outside of `[log start, end]`.
    fn check_range(bounds: Bounds, offset: i64) -> Result<(), LogError> {
        if offset < bounds.log_start || offset > bounds.end {
            let Bounds { log_start, end, .. } = bounds;
            return Err(LogError::OffsetOutOfRange { offset, log_start, end });
        }
        Ok(())
    }

    /// Fails with `OffsetOutOfRange` unless the log starts at or before `offset` and ends at or after it.
    pub fn check_offset(&self, offset: i64) -> Result<(), LogError> {
        Self::check_range(self.bounds(), offset)
    }

    /// Loads what is kept of epochs and producers; may wait for the disk.
    pub fn load(&self) -> Result<(), StoreError> {
        self.state(&mut self.inner.lock()).map(|_| ())
    }

    /// Reads what is in memory; `Below` means that [`PartitionLog::read`] must be used.
    pub fn read_tail(&self, spec: ReadSpec) -> Result<TailRead, LogError> {
        let place = self.place.load();
        Self::check_range(place.plog.bounds(), spec.from)?;
        Ok(place.plog.read_tail(spec))
    }

    /// Reads from wherever the batches are; may wait for the disk.
    pub fn read(&self, spec: ReadSpec) -> Result<ReadChunk, LogError> {
        let place = self.place.load_full();
        let read = Self::read_at(&place, spec);
        // The log may have moved to another directory meanwhile.
        let now = self.place.load_full();
        if matches!(read, Err(LogError::Storage(StoreError::Closed))) && !Arc::ptr_eq(&place, &now) {
            return Self::read_at(&now, spec);
        }
        read
    }

    fn read_at(place: &Place, spec: ReadSpec) -> Result<ReadChunk, LogError> {
        Self::check_range(place.plog.bounds(), spec.from)?;
        Ok(place.plog.read(spec)?)
    }

    pub(crate) fn extents(&self, from: i64, limit: usize) -> Result<Vec<Extent>, StoreError> {
        self.place.load().plog.extents(from, limit)
    }

    pub(crate) fn index(&self, from: i64, limit: usize) -> Result<Vec<BatchMeta>, StoreError> {
        self.place.load().plog.index(from, limit)
    }

    /// Where `epoch` ends in this log; may wait for the disk once.
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Result<EpochEnd, StoreError> {
        let mut inner = self.inner.lock();
        let end = inner.end;
        Ok(self.state(&mut inner)?.epochs.end_offset_for(epoch, end))
    }

    /// As [`PartitionLog::end_offset_for_epoch`] in a log that leads at `current`, if that can be told without waiting.
    pub fn try_end_offset_for_epoch(&self, current: i32, epoch: i32) -> Option<EpochEnd> {
        let mut inner = self.inner.lock();
        let end = inner.end;
        let epochs = &mut inner.state.as_mut()?.epochs;
        epochs.begin(current, end);
        Some(epochs.end_offset_for(epoch, end))
    }

    /// The epoch that wrote `offset`; −1 if unknown.
    pub fn epoch_of(&self, offset: i64) -> Result<i32, StoreError> {
        let mut inner = self.inner.lock();
        Ok(self.state(&mut inner)?.epochs.epoch_of(offset).unwrap_or(batch::NO_EPOCH))
    }

    /// Epoch of the newest batch, `None` in a log that never had one.
    pub fn latest_epoch(&self) -> Result<Option<i32>, StoreError> {
        let mut inner = self.inner.lock();
        Ok(self.state(&mut inner)?.epochs.latest())
    }

    /// End of the log and the epoch of its newest batch, −1 if there never was one. Epochs that it led without writing
    /// anything are forgotten, as nobody else has them. Waits for the disk unless the log is empty or in use.
    pub fn written_end(&self) -> Result<(i64, i32), StoreError> {
        let mut inner = self.inner.lock();
        let (log_start, end) = (self.log_start(), inner.end);
        if end == 0 && inner.state.is_none() {
            return Ok((0, batch::NO_EPOCH));
        }
        let epochs = &mut self.state(&mut inner)?.epochs;
        // In a log whose batches were all deleted, the last entry may be the only trace of who wrote them.
        if log_start < end || end == 0 {
            epochs.truncate_end(end);
        }
        Ok((end, epochs.latest().unwrap_or(batch::NO_EPOCH)))
    }

    /// Notes that a new leader's epoch starts at the end of the log, before it takes its first batch. Not persisted
    /// by itself: as long as the epoch has no batch, it starts at the end of the log again after a restart. An epoch
    /// that is not newer than the log's changes nothing: the caller has been overtaken.
    pub fn assign_epoch(&self, epoch: i32) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        let end = inner.end;
        self.state(&mut inner)?.epochs.begin(epoch, end);
        Ok(())
    }

    /// First offset of the earliest open transaction that is known; does not load anything.
    pub fn first_open_txn(&self) -> Option<i64> {
        self.inner.lock().state.as_ref().and_then(|s| s.producers.first_open_txn())
    }

    /// All producers, sorted by id; may wait for the disk once.
    pub fn producers(&self) -> Result<Vec<(i64, Producer)>, StoreError> {
        let mut inner = self.inner.lock();
        Ok(self.state(&mut inner)?.producers.iter().map(|(id, p)| (id, *p)).collect())
    }

    /// Forgets the producers that have been silent for `expiration_ms`, if they are loaded.
    pub fn expire_producers(&self, now_ms: i64, expiration_ms: i64) -> Result<usize, StoreError> {
        let mut inner = self.inner.lock();
        let Some(state) = inner.state.as_deref_mut() else {
            return Ok(0);
        };
        let expired = state.producers.expire(now_ms, expiration_ms);
        if !expired.is_empty() {
            let place = self.place.load();
            let mut out = KvBatch::default();
            expired.iter().for_each(|id| rows::delete_producer(&mut out, place.plog.id(), *id));
            place.dir.rows()?.write(out, false)?;
        }
        Ok(expired.len())
    }

    /// Moves the log start up to `offset`; lower values change nothing. What lies below is never served again.
    pub fn set_log_start(&self, offset: i64) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        let place = self.place.load();
        if offset <= place.plog.bounds().log_start {
            return Ok(());
        }
        place.plog.set_log_start(offset)?;
        inner.end = inner.end.max(offset);
        if let Some(state) = inner.state.as_deref_mut() {
            state.epochs.truncate_start(offset);
        }
        Ok(())
    }

    /// Drops everything and goes on at `offset`, which is beyond the end; waits for the disk. Producers are forgotten, as
    /// what they wrote is.
    pub fn restart(&self, offset: i64) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        let place = self.place.load();
        if offset <= inner.end {
            return Ok(());
        }
        place.plog.set_log_start(offset)?;
        inner.end = offset;
        let state = Box::new(LogState::default());
        let mut out = KvBatch::default();
        state.put(place.plog.id(), offset, &mut out);
        inner.state = Some(state);
        place.dir.store()?.sync()?;
        place.dir.rows()?.write(out, true)
    }

    /// Cuts the log back to `to` and its state with it; waits for the disk. `to` beyond the end only drops epochs
    /// that start there.
    pub fn truncate(&self, to: i64) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        let place = self.place.load();
        let state = self.state(&mut inner)?;
        state.epochs.truncate_end(to);
        if to >= inner.end {
            return Ok(());
        }
        inner.cut_to = inner.cut_to.min(to);
        place.plog.truncate(to)?;
        inner.end = place.plog.bounds().end;
        let end = inner.end;
        let state = self.state(&mut inner)?;
        state.truncate(&*place.plog, end)?;
        let mut out = KvBatch::default();
        state.put(place.plog.id(), end, &mut out);
        place.dir.rows()?.write(out, true)
    }

    /// Runs `change` while no append can happen; it may put the log into another place that holds the same batches.
    /// `change` is told the end of the log, and where it was cut as [`PartitionLog::take_cut`] would tell.
    pub(crate) fn relocate(
        &self,
        change: impl FnOnce(&Place, &LogState, (i64, i64)) -> Result<Place, StoreError>,
    ) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        let place = self.place.load_full();
        let ends = (inner.end, std::mem::replace(&mut inner.cut_to, i64::MAX));
        let state = self.state(&mut inner)?;
        let next = change(&place, state, ends)?;
        self.place.store(Arc::new(next));
        Ok(())
    }

    /// Runs `change`, which makes an empty log that starts at `at`, while no append can happen, and goes on there.
    pub(crate) fn replace(
        &self,
        at: i64,
        change: impl FnOnce(&Place) -> Result<Arc<dyn Plog>, StoreError>,
    ) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        let place = self.place.load_full();
        let plog = change(&place)?;
        inner.end = at;
        inner.cut_to = inner.cut_to.min(at);
        inner.state = Some(Box::default());
        self.place.store(Arc::new(Place { dir: place.dir.clone(), plog }));
        Ok(())
    }

    /// The lowest offset that the log was cut to since the last call, `i64::MAX` if it was not: what was copied from
    /// at or above it is not to be trusted.
    pub(crate) fn take_cut(&self) -> i64 {
        std::mem::replace(&mut self.inner.lock().cut_to, i64::MAX)
    }

    /// What was committed at least, as noted before the last restart; may wait for the disk.
    pub fn noted_high_watermark(&self) -> Result<Option<i64>, StoreError> {
        let place = self.place.load();
        rows::get_high_watermark(&*place.dir.rows()?, place.plog.id())
    }

    /// Adds a row that notes the high watermark to a batch for [`LogDir::rows`] of the log's directory.
    pub fn note_high_watermark(&self, out: &mut KvBatch, high_watermark: i64) {
        rows::put_high_watermark(out, self.place.load().plog.id(), high_watermark);
    }
}

/// Splits the next batch off `records`, if it is whole and may follow a log that ends at `end`.
fn replicated(
    records: &mut Bytes,
    end: i64,
    leader_epoch: i32,
    state: &LogState,
) -> Result<Option<Bytes>, AppendError> {
    let Some(view) = BatchView::new(records) else {
        return Ok(None);
    };
    let size = usize::try_from(view.length_field()).map_or(0, |n| n + batch::LENGTH_PREFIX);
    if size < batch::HEADER {
        return Err(AppendError::Corrupt("a batch is smaller than its header"));
    }
    if size > records.len() || view.leader_epoch() > leader_epoch {
        return Ok(None);
    }
    let bytes = records.split_to(size);
    let view = BatchView::new(&bytes).ok_or(AppendError::Corrupt("a batch is smaller than its header"))?;
    if !view.crc_matches() {
        return Err(AppendError::Corrupt("the batch's checksum does not match its content"));
    }
    if view.base_offset() < end || view.last_offset() < view.base_offset() {
        return Err(AppendError::UnexpectedOffset { base_offset: view.base_offset(), end });
    }
    if state.epochs.latest().is_some_and(|latest| view.leader_epoch() < latest) {
        return Err(AppendError::Corrupt("the batch's leader epoch is older than the log's"));
    }
    Ok(Some(bytes))
}

/// Queues a batch that carries its offsets, and takes it into the state. Returns its last offset.
fn append(plog: &dyn Plog, state: &mut LogState, bytes: Bytes) -> Result<i64, AppendError> {
    let view = BatchView::new(&bytes).ok_or(AppendError::Corrupt("the batch is smaller than its header"))?;
    let last_offset = view.last_offset();
    plog.append(Batch {
        base_offset: view.base_offset(),
        last_offset,
        leader_epoch: view.leader_epoch(),
        max_timestamp: view.max_timestamp().max(NO_TIMESTAMP),
        bytes: bytes.clone(),
    })?;
    state.take(view);
    Ok(last_offset)
}
