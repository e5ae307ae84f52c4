//! Opens what a directory holds: rows first, then the journal from the checkpoint on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::api::{Batch, FlushPolicy, PlogId, StoreError};
use crate::buckets::{Catalogue, Changes};
use crate::core::Core;
use crate::directory::refused;
use crate::engine::{Engine, META, corrupt};
use crate::extent::Head;
use crate::handle::stored_bytes;
use crate::journal::commit::Committer;
use crate::journal::frame::{Entry, Kind};
use crate::journal::io::JournalFile;
use crate::journal::pool::{Segment, SegmentFile};
use crate::journal::replay::{self, Chain};
use crate::plog::Log;
use crate::upkeep;

/// Logs as of the checkpoint.
pub(crate) fn load_heads(engine: &Engine) -> Result<HashMap<PlogId, Arc<Log>>, StoreError> {
    let mut logs = HashMap::new();
    engine.scan(META, b"H", b"I", &mut |key, value| {
        let id = key.last_chunk::<8>().map(|b| u64::from_be_bytes(*b));
        let (Some(id), Some(head)) = (id, Head::decode(value)) else {
            return Err(corrupt(engine.path(), "a head row has an unknown shape"));
        };
        let log = Log::new(id, head.class);
        {
            let state = &mut *log.state.lock();
            state.log_start = head.log_start;
            state.durable_start = head.log_start;
            state.end = head.end.max(head.log_start);
            state.head_end = head.end;
            state.durable_end = state.end;
            state.stored_end = head.stored_end;
            state.stored_bytes = head.stored_bytes;
            state.counted_from = head.counted_from;
            state.trimmed_to = head.trimmed_to;
        }
        logs.insert(id, Arc::new(log));
        Ok(true)
    })?;
    Ok(logs)
}

/// Removes column families without a row and rows without a column family: traces of a crash amid a change.
pub(crate) fn reconcile_buckets(
    engine: &Engine,
    catalogue: &mut Catalogue,
    names: &[String],
) -> Result<(), StoreError> {
    let known: Vec<String> = catalogue.buckets.keys().map(|id| id.name()).collect();
    for name in names.iter().filter(|n| n.starts_with("d.") && !known.contains(n)) {
        engine.db.drop_cf(name).map_err(|e| crate::engine::write_failed(engine.path(), &e))?;
    }
    let gone = catalogue.buckets.keys().find(|id| engine.db.cf_handle(&id.name()).is_none());
    match gone {
        Some(id) => Err(corrupt(engine.path(), format!("the data of bucket {} is missing", id.name()))),
        None => Ok(()),
    }
}

struct Found {
    path: PathBuf,
    file: Arc<dyn JournalFile>,
    number: u64,
    first_group: u64,
    incarnation: u64,
}

/// Replays the journal into memory and returns the committer, ready to run.
pub(crate) fn journal(core: &Arc<Core>, engine: &Engine) -> Result<Committer, StoreError> {
    let dir = core.path.join("journal");
    let io_error = |e: std::io::Error| refused(&dir, format!("cannot read the journal: {e}"));
    let checkpoint = core.catalogue.lock().checkpoint;
    let (mut found, spare) = segments(core, &dir).map_err(io_error)?;
    found.sort_unstable_by_key(|f| f.number);
    let mut next_segment = found.last().map_or(0, |f| f.number + 1).max(checkpoint.next_segment);
    let mut chain = Chain { next_group: checkpoint.next_group, incarnation: 0 };
    let mut used: Vec<Segment> = Vec::new();
    let mut free = spare;
    for f in found {
        let synced = core.options.flush == FlushPolicy::Sync;
        let newer = f.number >= checkpoint.next_segment && f.incarnation >= chain.incarnation;
        if synced && newer && f.first_group > chain.next_group {
            // Groups are written one after the other, each synced before the next: this is damage, not a torn end.
            let (path, from, to) = (f.path.display(), chain.next_group, f.first_group);
            tracing::error!(%path, from, to, "the journal is damaged: groups before this segment cannot be read");
        }
        let source = core.pool.adopt(&f.path, f.file);
        if f.number < checkpoint.next_segment || f.first_group != chain.next_group {
            free.push(source);
            continue;
        }
        let file = source.file.clone();
        let mut segment = Segment::empty(source, f.number, chain.next_group);
        let replayed = replay::replay(&file, f.number, &mut chain, &mut |entry, body| {
            apply(core, &mut segment, entry, body);
        });
        segment.position = replayed.map_err(io_error)?;
        segment.next_group = chain.next_group;
        if segment.position == 0 {
            free.push(segment.source);
        } else {
            used.push(segment);
        }
    }
    let incarnation = checkpoint.incarnation.max(chain.incarnation) + 1;
    settle(core, engine, incarnation)?;
    let active = match used.pop() {
        // Continues where the last group ended: what may lie behind it has a lower incarnation.
        Some(segment) => segment,
        None => {
            next_segment += 1;
            let file = match free.iter().position(|f| !f.single_use) {
                Some(at) => free.swap_remove(at),
                None => core.pool.create_first(core.options.first_segment_bytes).map_err(|e| first_failed(&dir, &e))?,
            };
            Segment::empty(file, next_segment - 1, chain.next_group)
        }
    };
    free.into_iter().for_each(|file| core.pool.release(file));
    used.into_iter().for_each(|segment| core.pool.seal(segment));
    let open_block = replay::open_block(&*active.source.file, active.position).map_err(io_error)?;
    Ok(Committer {
        core: core.clone(),
        active: Some(active),
        group: chain.next_group,
        next_segment,
        incarnation,
        open_block,
    })
}

fn first_failed(dir: &Path, error: &std::io::Error) -> StoreError {
    refused(dir, format!("cannot make the journal ({error}); free some space, or choose another directory"))
}

/// Segment files that start with a group, and those that do not.
fn segments(core: &Core, dir: &Path) -> std::io::Result<(Vec<Found>, Vec<SegmentFile>)> {
    let mut found = Vec::new();
    let mut spare = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|e| e != "seg") {
            continue;
        }
        let file: Arc<dyn JournalFile> = core.options.io.open(&path)?.into();
        match replay::first_header(&*file)? {
            Some(header) => found.push(Found {
                path,
                file,
                number: header.segment,
                first_group: header.group,
                incarnation: header.incarnation,
            }),
            None => spare.push(core.pool.adopt(&path, file)),
        }
    }
    Ok((found, spare))
}

/// Does again what a journal frame says.
fn apply(core: &Arc<Core>, segment: &mut Segment, entry: Entry, body: Bytes) {
    let logs = &mut *core.logs.write();
    let log = logs.entry(entry.log).or_insert_with(|| Arc::new(Log::new(entry.log, entry.class))).clone();
    log.set_class(entry.class);
    let state = &mut *log.state.lock();
    match entry.kind {
        Kind::Append => {
            let len = body.len() as u64;
            segment.memory += len + crate::options::TAIL_ENTRY_COST;
            core.stats.tail.fetch_add(len, Ordering::Relaxed);
            let no = state.push(Batch {
                base_offset: entry.base,
                last_offset: entry.last,
                leader_epoch: entry.leader_epoch,
                max_timestamp: entry.max_timestamp,
                bytes: body,
            });
            segment.touch(&log, Some(no), Some(entry.end));
        }
        Kind::Truncate => {
            state.cut(entry.base, entry.end);
            state.note_cut(entry.base);
            core.mark_dirty(&log, &mut state.dirty);
            segment.touch(&log, None, Some(entry.end));
        }
        Kind::LogStart => {
            state.raise_start(entry.base);
            state.durable_start = entry.base.max(state.durable_start);
            core.mark_dirty(&log, &mut state.dirty);
            segment.touch(&log, None, Some(entry.end));
        }
        Kind::Delete => {
            state.deleted = true;
            state.tail = Default::default();
            core.mark_dirty(&log, &mut state.dirty);
            segment.touch(&log, None, None);
            logs.remove(&entry.log);
        }
    }
}

/// After the replay: everything read is durable, rows follow what the journal changed, byte counts are right, and the
/// new incarnation is on the disk before anything is written under it.
fn settle(core: &Arc<Core>, engine: &Engine, incarnation: u64) -> Result<(), StoreError> {
    let catalogue = &mut *core.catalogue.lock();
    upkeep::apply_pending(core, engine, catalogue)?;
    for log in core.logs.read().values() {
        let state = &mut *log.state.lock();
        state.durable_end = state.end;
        if state.counted_from != state.log_start {
            state.stored_bytes = stored_bytes(engine, log.id, state.log_start, state.stored_end)?;
            state.counted_from = state.log_start;
        }
    }
    let mut changes = Changes::default();
    changes.set_checkpoint(crate::extent::Checkpoint { incarnation, ..catalogue.checkpoint });
    changes.commit(engine, catalogue, true)
}
