//! Offsets by timestamp, exact to the record: extents and batch descriptions narrow the search to one batch, whose
//! records are then walked. Kafka: `UnifiedLog.fetchOffsetByTimestamp`, `LogSegment.findOffsetByTimestamp`.

use millrace_store::{BatchMeta, Extent, ReadSpec};

use crate::batch::BatchView;
use crate::compress::StreamSource;
use crate::config::TimestampType;
use crate::error::LogError;
use crate::partition_log::PartitionLog;
use crate::record::{Malformed, SliceSource, Source, next_record};

/// Extents and batch descriptions that are looked at in one go.
const CHUNK: usize = 1024;

/// A record found by its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// ms since 1970.
    pub timestamp: i64,
    pub offset: i64,
    /// Leader epoch of its batch.
    pub leader_epoch: i32,
}

impl PartitionLog {
    /// The first record at or after the log start whose timestamp is at least `target`; may wait for the disk.
    pub fn offset_for_timestamp(&self, target: i64) -> Result<Option<TimestampOffset>, LogError> {
        let start = self.log_start();
        let mut from = start;
        loop {
            let extents = self.extents(from, CHUNK)?;
            for extent in &extents {
                if extent.max_timestamp < target || extent.last_offset < start {
                    continue;
                }
                if let Some(found) = self.search(*extent, start, target)? {
                    return Ok(Some(found));
                }
            }
            match extents.last() {
                Some(last) if extents.len() == CHUNK => from = last.last_offset + 1,
                _ => return Ok(None),
            }
        }
    }

    /// The record with the largest timestamp, the first one if several have it (KIP-734); may wait for the disk.
    pub fn max_timestamp(&self) -> Result<Option<TimestampOffset>, LogError> {
        let start = self.log_start();
        let mut from = start;
        let mut best: Option<Extent> = None;
        loop {
            let extents = self.extents(from, CHUNK)?;
            for extent in extents.iter().filter(|e| e.last_offset >= start && e.max_timestamp >= 0) {
                if best.is_none_or(|b| extent.max_timestamp > b.max_timestamp) {
                    best = Some(*extent);
                }
            }
            match extents.last() {
                Some(last) if extents.len() == CHUNK => from = last.last_offset + 1,
                _ => break,
            }
        }
        let Some(best) = best else { return Ok(None) };
        let mut top: Option<BatchMeta> = None;
        self.each_meta(best, start, &mut |meta| {
            if meta.max_timestamp >= 0 && top.is_none_or(|t| meta.max_timestamp > t.max_timestamp) {
                top = Some(meta);
            }
            Ok(true)
        })?;
        match top {
            Some(top) => self.search_batch(top, start, top.max_timestamp),
            None => Ok(None),
        }
    }

    fn search(&self, extent: Extent, start: i64, target: i64) -> Result<Option<TimestampOffset>, LogError> {
        let mut found = None;
        self.each_meta(extent, start, &mut |meta| {
            if meta.max_timestamp >= target {
                found = self.search_batch(meta, start, target)?;
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    /// Visits the batches of `extent` that reach to `start` or beyond, until `visit` returns false.
    fn each_meta(
        &self,
        extent: Extent,
        start: i64,
        visit: &mut dyn FnMut(BatchMeta) -> Result<bool, LogError>,
    ) -> Result<(), LogError> {
        let mut from = extent.first_offset.max(start);
        while from <= extent.last_offset {
            let metas = self.index(from, CHUNK)?;
            let Some(last) = metas.last() else {
                return Ok(());
            };
            from = last.last_offset + 1;
            for meta in metas {
                if meta.base_offset > extent.last_offset || !visit(meta)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn search_batch(&self, meta: BatchMeta, start: i64, target: i64) -> Result<Option<TimestampOffset>, LogError> {
        let from = meta.base_offset.max(start);
        let spec = ReadSpec { from, until: meta.last_offset + 1, max_bytes: 1, at_least_one: true };
        let chunk = self.read(spec)?;
        let Some(batch) = chunk.batches.first().and_then(|b| BatchView::new(b)) else {
            return Ok(None);
        };
        Ok(first_at_or_after(batch, start, target))
    }
}

/// The first record of a stored batch at or after offset `start` with at least the timestamp `target`. A batch that
/// cannot be read, which validation rules out, holds none.
fn first_at_or_after(batch: BatchView<'_>, start: i64, target: i64) -> Option<TimestampOffset> {
    let walk = |source: &mut dyn FnMut() -> Result<(i64, i32), Malformed>| {
        for _ in 0..batch.count() {
            let (timestamp_delta, offset_delta) = source().ok()?;
            let offset = batch.base_offset() + i64::from(offset_delta);
            let timestamp = match batch.timestamp_type() {
                TimestampType::CreateTime => batch.base_timestamp().wrapping_add(timestamp_delta),
                TimestampType::LogAppendTime => batch.max_timestamp(),
            };
            if timestamp >= target && offset >= start {
                return Some(TimestampOffset { timestamp, offset, leader_epoch: batch.leader_epoch() });
            }
        }
        None
    };
    fn next<S: Source>(source: &mut S) -> Result<(i64, i32), Malformed> {
        next_record(source).map(|r| (r.timestamp_delta, r.offset_delta))
    }
    match batch.codec() {
        0 => {
            let mut source = SliceSource::new(batch.payload());
            walk(&mut || next(&mut source))
        }
        codec => {
            // The budget was kept to when the batch was taken in.
            let mut source = StreamSource::new(codec, batch.payload(), u64::MAX).ok()?;
            walk(&mut || next(&mut source))
        }
    }
}
