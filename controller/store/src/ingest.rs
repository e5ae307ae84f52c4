//! Moves full journal segments into RocksDB.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::api::{Batch, KvBatch, PlogId, RetentionClass, StoreError};
use crate::buckets::{Catalogue, Changes, bucket_limit};
use crate::core::Core;
use crate::engine::Engine;
use crate::extent::{self, Checkpoint, ExtentRow, Head};
use crate::journal::pool::Segment;
use crate::options::{EXTENT_BATCHES, EXTENT_BYTES};
use crate::plog::Log;
use crate::rows::Rows;
use crate::sst::{self, SstFile};
use crate::upkeep;

/// Pause between attempts while the disk is full.
const FULL_RETRY: Duration = Duration::from_millis(500);

/// Niceness of the ingestion thread.
const NICE: libc::c_int = 5;

/// What a segment holds of one log.
struct Part {
    log: Arc<Log>,
    last_no: Option<u64>,
    end: i64,
    class: RetentionClass,
    /// All of it, for [`crate::api::Derive`] …
    batches: Vec<Batch>,
    /// … of which these are reachable and go into RocksDB.
    live_from: usize,
}

impl Part {
    fn live(&self) -> &[Batch] {
        &self.batches[self.live_from..]
    }
}

/// Makes the calling thread give way to others, so that the committer is not kept waiting for a core.
fn lower_priority() {
    // SAFETY: takes integers only; 0 is the calling thread. Without effect if it fails, which is harmless.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// The ingestion thread.
pub(crate) fn run(core: &Arc<Core>) {
    lower_priority();
    while let Some(segment) = core.pool.next_sealed() {
        loop {
            match ingest(core, &segment) {
                Ok(()) => break,
                Err(StoreError::Closed) => return,
                Err(StoreError::Full { free, needed, .. }) => {
                    if core.status.set_full(true) {
                        let path = core.path.display().to_string();
                        tracing::error!(path, free, needed, "disk full: appends are refused until there is space");
                    }
                    if core.pool.pause(FULL_RETRY) {
                        return;
                    }
                }
                Err(error) => {
                    core.poison(as_poison(core, error));
                    return;
                }
            }
        }
        if core.status.set_full(false) {
            tracing::info!(path = %core.path.display(), "there is space again: appends are taken");
        }
        core.pool.ingested(segment.source);
    }
}

fn as_poison(core: &Core, error: StoreError) -> StoreError {
    match error {
        StoreError::Poisoned { .. } => error,
        StoreError::Full { .. } | StoreError::Corrupt { .. } | StoreError::Refused { .. } | StoreError::Closed => {
            StoreError::Poisoned { path: core.path.display().to_string(), what: format!("ingestion: {error}") }
        }
    }
}

/// Moves one segment into RocksDB; on an error it can be called again.
fn ingest(core: &Arc<Core>, segment: &Segment) -> Result<(), StoreError> {
    let started = Instant::now();
    let engine = core.engine()?;
    let space = core.options.io.space(&core.path).map_or(u64::MAX, |(_, free)| free);
    if space < core.options.reserve_bytes + segment.position {
        return Err(core.full(core.options.reserve_bytes + segment.position));
    }
    let catalogue = &mut *core.catalogue.lock();
    upkeep::apply_pending(core, &engine, catalogue)?;
    let parts = parts(segment);
    let mut changes = Changes::default();
    let mut bytes = 0;
    for class in RetentionClass::ALL {
        let of_class: Vec<&Part> = parts.iter().filter(|p| p.class == class && !p.live().is_empty()).collect();
        if !of_class.is_empty() {
            bytes += write_class(core, &engine, catalogue, &mut changes, (segment.number, class, &of_class))?;
        }
    }
    let mut rows = KvBatch::default();
    for part in &parts {
        if !part.batches.is_empty() {
            let batches: Vec<Bytes> = part.batches.iter().map(|b| b.bytes.clone()).collect();
            core.derive.derive(part.log.id, &batches, &Rows(core), &mut rows)?;
        }
        let head = part.head();
        changes.put(&engine, &Head::key(part.log.id), &head.encode())?;
    }
    engine.add_ops(&mut changes.batch, rows)?;
    changes.set_checkpoint(Checkpoint {
        next_group: segment.next_group,
        next_segment: segment.number + 1,
        incarnation: catalogue.checkpoint.incarnation,
    });
    changes.commit(&engine, catalogue, true)?;
    let mut freed = 0;
    for part in parts {
        part.finish(&mut freed);
    }
    core.stats.tail.fetch_sub(freed, Ordering::Relaxed);
    upkeep::drop_empty(core, &engine, catalogue)?;
    core.stats.ingest(bytes, started.elapsed());
    Ok(())
}

/// What the segment holds, by log, in key order; logs deleted meanwhile are left out.
fn parts(segment: &Segment) -> Vec<Part> {
    let mut touched: Vec<_> = segment.touched.values().collect();
    touched.sort_unstable_by_key(|t| t.log.id);
    let mut parts = Vec::with_capacity(touched.len());
    for t in touched {
        let state = &mut *t.log.state.lock();
        if state.deleted {
            continue;
        }
        let in_segment = state.tail.iter().take_while(|e| t.last_no.is_some_and(|last| e.no <= last));
        let batches: Vec<Batch> = in_segment.map(|e| e.batch.clone()).collect();
        let live_from = batches.partition_point(|b| b.last_offset < state.durable_start);
        parts.push(Part {
            log: t.log.clone(),
            last_no: t.last_no,
            end: t.end,
            class: t.log.class(),
            batches,
            live_from,
        });
    }
    parts
}

impl Part {
    /// Bounds with this part ingested.
    fn head(&self) -> Head {
        let state = self.log.state.lock();
        Head {
            class: self.class,
            log_start: state.durable_start,
            end: self.end,
            stored_end: self.stored_end(state.stored_end),
            stored_bytes: state.stored_bytes + self.bytes_from(state.log_start),
            counted_from: state.counted_from,
            trimmed_to: state.trimmed_to,
        }
    }

    fn stored_end(&self, before: i64) -> i64 {
        self.batches.last().map_or(before, |b| b.last_offset + 1)
    }

    fn bytes_from(&self, offset: i64) -> u64 {
        self.live().iter().filter(|b| b.last_offset >= offset).map(|b| b.bytes.len() as u64).sum()
    }

    /// Takes the part out of the tail once its rows are durable. The log may have been truncated or its start raised
    /// since the part was taken: a truncation corrects the rows itself afterwards, as it waits for the catalogue.
    fn finish(self, freed: &mut u64) {
        let state = &mut *self.log.state.lock();
        if let Some(last_no) = self.last_no {
            let before = state.tail.len();
            state.pop_stored(last_no);
            let popped = before - state.tail.len();
            *freed += self.batches.iter().take(popped).map(|b| b.bytes.len() as u64).sum::<u64>();
        }
        state.stored_bytes += self.bytes_from(state.log_start);
        state.stored_end = self.stored_end(state.stored_end).min(state.end);
        state.head_end = self.end;
    }
}

fn file_name(core: &Core, segment: u64, class: RetentionClass) -> PathBuf {
    core.path.join("ingest").join(format!("{segment}-{}.sst", class as u8))
}

/// Writes and ingests one class of a segment and adds the extent rows. Returns the bytes of the batches.
fn write_class(
    core: &Core,
    engine: &Engine,
    catalogue: &mut Catalogue,
    changes: &mut Changes,
    (segment, class, parts): (u64, RetentionClass, &[&Part]),
) -> Result<u64, StoreError> {
    let limit = bucket_limit(class, core.options.bucket_bytes);
    let bucket = catalogue.active(engine, changes, class, limit)?;
    let path = file_name(core, segment, class);
    remove_leftover(&path)?;
    let written = SstFile::with(engine, &path, |file| {
        for part in parts {
            for batch in part.live() {
                file.put(&extent::data_key(segment, part.log.id, batch.last_offset), &batch.bytes)?;
            }
        }
        Ok(())
    });
    if let Err(error) = written.and_then(|()| sst::ingest(engine, bucket, &path)) {
        remove_leftover(&path)?;
        return Err(error);
    }
    let mut contents = Vec::new();
    let mut bytes = 0;
    for part in parts {
        for run in runs(part.live()) {
            let batches = run.iter().map(Batch::meta).collect();
            let row = ExtentRow { bucket, segment, batches };
            let last = run[run.len() - 1].last_offset;
            changes.put(engine, &ExtentRow::key(part.log.id, last), &row.encode())?;
            contents.push((part.log.id, run[0].base_offset));
            bytes += row.bytes();
        }
    }
    add_contents(engine, changes, (bucket, segment), contents)?;
    let row = changes.bucket(catalogue, bucket);
    row.total += bytes;
    row.live += bytes;
    Ok(bytes)
}

/// Adds to the list of what a bucket holds of a segment.
pub(crate) fn add_contents(
    engine: &Engine,
    changes: &mut Changes,
    (bucket, segment): (extent::BucketId, u64),
    contents: Vec<(PlogId, i64)>,
) -> Result<(), StoreError> {
    let key = extent::contents_key(bucket, segment);
    let mut all: BTreeMap<(PlogId, i64), ()> = contents.into_iter().map(|c| (c, ())).collect();
    if let Some(row) = engine.get_meta(&key)? {
        all.extend(extent::decode_contents(&row).into_iter().map(|c| (c, ())));
    }
    let all: Vec<_> = all.into_keys().collect();
    changes.put(engine, &key, &extent::encode_contents(&all))
}

/// Splits batches into runs of bounded size, none empty.
fn runs(batches: &[Batch]) -> impl Iterator<Item = &[Batch]> {
    let mut rest = batches;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take(EXTENT_BATCHES).take_while(|b| {
            bytes += b.bytes.len() as u64;
            bytes <= EXTENT_BYTES
        });
        let n = fitting.count().max(1).min(rest.len());
        let (run, after) = rest.split_at(n);
        rest = after;
        (!run.is_empty()).then_some(run)
    })
}

/// Removes what an earlier attempt left.
pub(crate) fn remove_leftover(path: &std::path::Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::Poisoned { path: path.display().to_string(), what: format!("cannot remove: {e}") })
        }
        _ => Ok(()),
    }
}
