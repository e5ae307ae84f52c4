//! Reads batches that are in RocksDB.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rocksdb::{BoundColumnFamily, DBPinnableSlice, ReadOptions};

use crate::api::{BatchMeta, PlogId, ReadChunk, StoreError};
use crate::engine::{Engine, corrupt, read_failed};
use crate::extent::{ExtentRow, data_key};
use crate::runs::ReadBudget;
use crate::upkeep::extents;

/// Batches of at least this size are looked up one by one and handed on in RocksDB's own buffer. Smaller ones are
/// read in sequence and copied if there are enough of them to pay for an iterator.
const PIN_FROM: u32 = 32 << 10;
const ITERATE_FROM: usize = 4;
/// A block holds more than one batch of less than this: handing on the buffer would keep too much memory.
const COPY_BELOW: usize = 12 << 10;

/// How a read of stored batches ended.
#[derive(PartialEq, Eq)]
pub(crate) enum Stored {
    /// The answer is complete.
    Full,
    /// Everything stored was taken; the tail may continue it.
    Exhausted,
    /// A bucket went away in between (its batches have moved): ask again.
    Moved,
}

/// Adds the stored batches of `log` from offset `from` on, below `until`, to `chunk`.
pub(crate) fn read(
    engine: &Arc<Engine>,
    log: PlogId,
    (from, until): (i64, i64),
    budget: &mut ReadBudget,
    chunk: &mut ReadChunk,
) -> Result<Stored, StoreError> {
    let mut wanted: Vec<(ExtentRow, usize, usize)> = Vec::new();
    let mut end = Stored::Exhausted;
    extents(engine, log, from, &mut |_, row| {
        let first = row.batches.partition_point(|b| b.last_offset < from);
        let mut next = first;
        for batch in &row.batches[first..] {
            if batch.last_offset >= until {
                break;
            }
            if !budget.take(batch.last_offset, batch.size as usize) {
                end = Stored::Full;
                break;
            }
            next += 1;
        }
        let complete = next == row.batches.len();
        if next > first {
            wanted.push((row, first, next));
        }
        Ok(complete)
    })?;
    for (row, first, next) in &wanted {
        if !fetch(engine, log, row, &row.batches[*first..*next], chunk)? {
            return Ok(Stored::Moved);
        }
    }
    Ok(end)
}

/// Reads `batches` of one extent; false if its bucket is gone.
fn fetch(
    engine: &Arc<Engine>,
    log: PlogId,
    row: &ExtentRow,
    batches: &[BatchMeta],
    chunk: &mut ReadChunk,
) -> Result<bool, StoreError> {
    let Some(family) = engine.db.cf_handle(&row.bucket.name()) else {
        return Ok(false);
    };
    // Through the cache, for the sake of values that are handed on where they are.
    let options = ReadOptions::default();
    let mut at = 0;
    while at < batches.len() {
        let small = batches[at..].iter().take_while(|b| b.size < PIN_FROM).count();
        if small >= ITERATE_FROM {
            iterate(engine, &family, log, (row, &batches[at..at + small]), chunk)?;
            at += small;
            continue;
        }
        let key = row.data_key(log, batches[at].last_offset);
        let value = engine.db.get_pinned_cf_opt(&family, key, &options).map_err(|e| read_failed(engine.path(), &e))?;
        let value = value.ok_or_else(|| missing(engine, log, batches[at].last_offset))?;
        chunk.bytes += value.len();
        chunk.batches.push(if value.len() < COPY_BELOW {
            Bytes::copy_from_slice(&value)
        } else {
            Bytes::from_owner(Pinned::new(value, engine))
        });
        at += 1;
    }
    Ok(true)
}

fn missing(engine: &Engine, log: PlogId, offset: i64) -> StoreError {
    corrupt(engine.path(), format!("the batch at offset {offset} of log {log} is missing"))
}

/// Reads neighbouring batches of an extent in one go.
fn iterate(
    engine: &Engine,
    family: &Arc<BoundColumnFamily<'_>>,
    log: PlogId,
    (row, batches): (&ExtentRow, &[BatchMeta]),
    chunk: &mut ReadChunk,
) -> Result<(), StoreError> {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_iterate_upper_bound(data_key(row.segment, log, batches[batches.len() - 1].last_offset + 1));
    let mut rows = engine.db.raw_iterator_cf_opt(family, options);
    let mut buffer = BytesMut::with_capacity(batches.iter().map(|b| b.size as usize).sum());
    rows.seek(row.data_key(log, batches[0].last_offset));
    for batch in batches {
        let key = row.data_key(log, batch.last_offset);
        match rows.item() {
            Some((found, value)) if found == key => {
                buffer.extend_from_slice(value);
                chunk.bytes += value.len();
                chunk.batches.push(buffer.split().freeze());
            }
            _ => {
                rows.status().map_err(|e| read_failed(engine.path(), &e))?;
                return Err(missing(engine, log, batch.last_offset));
            }
        }
        rows.next();
    }
    Ok(())
}

/// A value in RocksDB's memory, which outlives the read.
struct Pinned {
    /// Dropped before `_engine`.
    slice: DBPinnableSlice<'static>,
    _engine: Arc<Engine>,
}

impl Pinned {
    fn new(slice: DBPinnableSlice<'_>, engine: &Arc<Engine>) -> Self {
        // SAFETY: the lifetime only ties the slice to the database that made it. `_engine` keeps that database open
        // and its block cache for as long as the slice exists, and the field order drops the slice first. The bytes
        // themselves are in a cached block that the slice pins, or in memory of its own.
        let slice = unsafe { std::mem::transmute::<DBPinnableSlice<'_>, DBPinnableSlice<'static>>(slice) };
        Pinned { slice, _engine: engine.clone() }
    }
}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        &self.slice
    }
}
