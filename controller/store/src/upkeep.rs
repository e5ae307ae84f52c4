//! Brings RocksDB's rows in line with what logs have become (truncated, trimmed, deleted) and gives space back.

use std::sync::Arc;

use crate::api::{PlogId, StoreError};
use crate::buckets::{Catalogue, Changes, bucket_limit};
use crate::core::Core;
use crate::engine::{Engine, META, corrupt};
use crate::extent::{self, BucketId, BucketRow, ExtentRow, Head, log_key};
use crate::ingest::{add_contents, remove_leftover};
use crate::options::EVACUATE_BELOW_PERCENT;
use crate::plog::Log;
use crate::sst::{self, SstFile};

/// A bucket is given up early, before it is full, when it has at least this share of its size (1/n) and is mostly
/// unreachable.
const EARLY_SEAL_SHARE: u64 = 4;

/// Visits the extent rows of `log` from the one that contains `from` (or follows it) on.
pub(crate) fn extents(
    engine: &Engine,
    log: PlogId,
    from: i64,
    visit: &mut dyn FnMut(i64, ExtentRow) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let end = log_key(b'X', log, i64::MAX);
    engine.scan(META, &log_key(b'X', log, from), &end, &mut |key, value| {
        let last = key.last_chunk::<8>().map(|b| i64::from_be_bytes(*b));
        match (last, ExtentRow::decode(value)) {
            (Some(last), Some(row)) => visit(last, row),
            _ => Err(corrupt(engine.path(), format!("an extent row of log {log} has an unknown shape"))),
        }
    })
}

/// Applies truncations, raised log starts and deletions to the rows. The caller holds the catalogue.
pub(crate) fn apply_pending(core: &Core, engine: &Engine, catalogue: &mut Catalogue) -> Result<(), StoreError> {
    let dirty = std::mem::take(&mut *core.dirty.lock());
    // Deletions first and by themselves: a log made again under the same number must not find the old rows.
    let (mut deleted, changed): (Vec<_>, Vec<_>) = dirty.into_iter().partition(|log| log.state.lock().deleted);
    // Deleted twice under one number: the same rows, to be taken off once.
    deleted.sort_by_key(|log| log.id);
    deleted.dedup_by_key(|log| log.id);
    let first = apply_all(core, engine, catalogue, &deleted);
    if first.is_err() {
        core.dirty.lock().extend(changed);
        return first;
    }
    apply_all(core, engine, catalogue, &changed)
}

fn apply_all(core: &Core, engine: &Engine, catalogue: &mut Catalogue, dirty: &[Arc<Log>]) -> Result<(), StoreError> {
    if dirty.is_empty() {
        return Ok(());
    }
    let mut changes = Changes::default();
    let mut done = Vec::with_capacity(dirty.len());
    let mut applied = Ok(());
    for log in dirty {
        log.state.lock().dirty = false;
        applied = apply(engine, catalogue, &mut changes, log).map(|effect| done.push(effect));
        if applied.is_err() {
            break;
        }
    }
    let applied = applied.and_then(|()| changes.commit(engine, catalogue, true));
    if let Err(error) = applied {
        for log in dirty {
            core.mark_dirty(log, &mut log.state.lock().dirty);
        }
        return Err(error);
    }
    for (log, effect) in dirty.iter().zip(done) {
        let state = &mut *log.state.lock();
        if state.pending_cut.as_deref() == effect.cut.as_ref() {
            state.pending_cut = None;
        }
        state.trimmed_to = effect.trimmed_to;
        state.stored_bytes = state.stored_bytes.saturating_sub(effect.cut_bytes);
        state.head_end = effect.head_end;
    }
    Ok(())
}

struct Effect {
    cut: Option<i64>,
    cut_bytes: u64,
    trimmed_to: i64,
    head_end: i64,
}

fn apply(engine: &Engine, catalogue: &Catalogue, changes: &mut Changes, log: &Arc<Log>) -> Result<Effect, StoreError> {
    let (mut head, cut, deleted) = {
        let state = log.state.lock();
        let head = Head {
            class: log.class(),
            log_start: state.durable_start,
            end: state.head_end,
            stored_end: state.stored_end,
            stored_bytes: state.stored_bytes,
            counted_from: state.counted_from,
            trimmed_to: state.trimmed_to,
        };
        (head, state.pending_cut.as_deref().copied(), state.deleted)
    };
    let mut effect = Effect { cut, cut_bytes: 0, trimmed_to: head.log_start, head_end: head.end };
    if deleted {
        let live = &mut |key: &[u8], row: &ExtentRow| {
            let bucket = changes.bucket(catalogue, row.bucket);
            bucket.live = bucket.live.saturating_sub(row.bytes());
            changes.delete(engine, key)
        };
        extents(engine, log.id, 0, &mut |last, row| live(&ExtentRow::key(log.id, last), &row).map(|()| true))?;
        changes.delete(engine, &Head::key(log.id))?;
        return Ok(effect);
    }
    extents(engine, log.id, head.trimmed_to, &mut |last, row| {
        if last >= head.log_start {
            return Ok(false);
        }
        let bucket = changes.bucket(catalogue, row.bucket);
        bucket.live = bucket.live.saturating_sub(row.bytes());
        changes.delete(engine, &ExtentRow::key(log.id, last))?;
        Ok(true)
    })?;
    if let Some(to) = cut {
        let from = to.max(head.log_start);
        extents(engine, log.id, from, &mut |last, mut row| {
            let all = row.bytes();
            row.batches.retain(|b| {
                let keep = b.last_offset < to;
                if !keep && b.last_offset >= head.log_start {
                    effect.cut_bytes += u64::from(b.size);
                }
                keep
            });
            let bucket = changes.bucket(catalogue, row.bucket);
            bucket.live = bucket.live.saturating_sub(all - row.bytes());
            changes.delete(engine, &ExtentRow::key(log.id, last))?;
            if let Some(kept) = row.batches.last() {
                changes.put(engine, &ExtentRow::key(log.id, kept.last_offset), &row.encode())?;
            }
            Ok(true)
        })?;
        head.end = head.end.min(head.stored_end.max(to));
        effect.head_end = head.end;
    }
    head.trimmed_to = effect.trimmed_to;
    head.stored_bytes = head.stored_bytes.saturating_sub(effect.cut_bytes);
    changes.put(engine, &Head::key(log.id), &head.encode())?;
    Ok(effect)
}

/// Drops sealed buckets in which nothing can be reached any more. The caller holds the catalogue.
pub(crate) fn drop_empty(core: &Core, engine: &Engine, catalogue: &mut Catalogue) -> Result<(), StoreError> {
    let dead = |(id, row): (&BucketId, &BucketRow)| (row.sealed && row.live == 0).then_some(*id);
    let dead: Vec<BucketId> = catalogue.buckets.iter().filter_map(dead).collect();
    for id in dead {
        let mut changes = Changes::default();
        for (key, _) in contents(engine, id)? {
            changes.delete(engine, &key)?;
        }
        changes.delete(engine, &id.key(b'B'))?;
        // Synced before the family goes: a row without its family would be taken for lost data.
        changes.commit(engine, catalogue, true)?;
        catalogue.buckets.remove(&id);
        engine.db.drop_cf(&id.name()).map_err(|e| crate::engine::write_failed(engine.path(), &e))?;
        core.stats.drop_bucket();
    }
    Ok(())
}

/// Rows that list what a bucket holds: key, and segment number.
fn contents(engine: &Engine, id: BucketId) -> Result<Vec<(Vec<u8>, u64)>, StoreError> {
    let mut rows = Vec::new();
    let from = extent::contents_key(id, 0);
    let mut to = extent::contents_key(id, u64::MAX);
    to.push(0);
    engine.scan(META, &from, &to, &mut |key, _| {
        let segment = key.last_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b));
        rows.push((key.to_vec(), segment));
        Ok(true)
    })?;
    Ok(rows)
}

/// Gives back what can be given back now.
pub(crate) fn reclaim(core: &Core) -> Result<(), StoreError> {
    core.status.check()?;
    let engine = core.engine()?;
    let sparse: Vec<BucketId> = {
        let catalogue = &mut *core.catalogue.lock();
        apply_pending(core, &engine, catalogue)?;
        seal_sparse(core, &engine, catalogue)?;
        drop_empty(core, &engine, catalogue)?;
        let sparse = |(id, row): (&BucketId, &BucketRow)| (row.sealed && is_sparse(row)).then_some(*id);
        catalogue.buckets.iter().filter_map(sparse).collect()
    };
    for id in sparse {
        for (_, segment) in contents(&engine, id)? {
            // One segment at a time, so that ingestion gets its turn in between.
            evacuate(core, &engine, id, segment)?;
        }
        let catalogue = &mut *core.catalogue.lock();
        drop_empty(core, &engine, catalogue)?;
    }
    Ok(())
}

fn is_sparse(row: &BucketRow) -> bool {
    row.live * 100 < row.total * EVACUATE_BELOW_PERCENT
}

/// Closes buckets that still take data but are mostly unreachable, and those that take none any more because a newer
/// one was made (and the step that would have closed them failed).
fn seal_sparse(core: &Core, engine: &Engine, catalogue: &mut Catalogue) -> Result<(), StoreError> {
    let mut changes = Changes::default();
    for (id, row) in &catalogue.buckets {
        let newest = catalogue.newest(id.class) == Some(*id);
        let enough = row.total >= bucket_limit(id.class, core.options.bucket_bytes) / EARLY_SEAL_SHARE;
        if !row.sealed && (!newest || (row.total > 0 && (row.live == 0 || (enough && is_sparse(row))))) {
            changes.bucket(catalogue, *id).sealed = true;
        }
    }
    if changes.is_empty() { Ok(()) } else { changes.commit(engine, catalogue, true) }
}

/// Copies what is reachable of one segment in bucket `from` to the active bucket of its class.
fn evacuate(core: &Core, engine: &Engine, from: BucketId, segment: u64) -> Result<(), StoreError> {
    let catalogue = &mut *core.catalogue.lock();
    let key = extent::contents_key(from, segment);
    let Some(list) = engine.get_meta(&key)? else {
        return Ok(());
    };
    let mut live = Vec::new();
    for (log, base) in extent::decode_contents(&list) {
        extents(engine, log, base, &mut |last, row| {
            if row.bucket == from
                && row.segment == segment
                && row.batches.first().is_some_and(|b| b.base_offset == base)
            {
                live.push((log, last, row));
            }
            Ok(false)
        })?;
    }
    let mut changes = Changes::default();
    changes.delete(engine, &key)?;
    let bytes: u64 = live.iter().map(|(_, _, row)| row.bytes()).sum();
    let space = core.options.io.space(&core.path).map_or(u64::MAX, |(_, free)| free);
    if space < core.options.reserve_bytes + bytes {
        return Err(core.full(core.options.reserve_bytes + bytes));
    }
    if !live.is_empty() {
        let limit = bucket_limit(from.class, core.options.bucket_bytes);
        let to = catalogue.active(engine, &mut changes, from.class, limit)?;
        let path = core.path.join("ingest").join(format!("{}-{segment}-moved.sst", from.name()));
        remove_leftover(&path)?;
        copy(engine, &live, &path)?;
        sst::ingest(engine, to, &path)?;
        let moved = live.iter().filter_map(|(log, _, row)| Some((*log, row.batches.first()?.base_offset))).collect();
        add_contents(engine, &mut changes, (to, segment), moved)?;
        for (log, last, row) in live {
            changes.put(engine, &ExtentRow::key(log, last), &ExtentRow { bucket: to, ..row }.encode())?;
        }
        let row = changes.bucket(catalogue, to);
        row.total += bytes;
        row.live += bytes;
        let row = changes.bucket(catalogue, from);
        row.live = row.live.saturating_sub(bytes);
    }
    changes.commit(engine, catalogue, true)?;
    core.stats.evacuate(bytes);
    Ok(())
}

fn copy(engine: &Engine, live: &[(PlogId, i64, ExtentRow)], path: &std::path::Path) -> Result<(), StoreError> {
    SstFile::with(engine, path, |file| {
        for (log, _, row) in live {
            let family = engine.family(&row.bucket.name())?;
            for batch in &row.batches {
                let key = row.data_key(*log, batch.last_offset);
                let value = engine.db.get_pinned_cf(&family, key).map_err(|e| crate::engine::read_failed(path, &e))?;
                let value = value.ok_or_else(|| corrupt(engine.path(), format!("a batch of log {log} is missing")))?;
                file.put(&key, &value)?;
            }
        }
        Ok(())
    })
}
