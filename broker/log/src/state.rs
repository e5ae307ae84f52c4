//! What follows from a log's batches: leader epochs and producers. Persisted as rows whenever a journal segment is
//! done, loaded when first needed, brought up to date by reading the batches behind the rows.

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_store::{Derive, Kv, KvBatch, Plog, PlogId, ReadSpec, StoreError};

use crate::batch::BatchView;
use crate::epochs::Epochs;
use crate::producer::{Producer, Producers};
use crate::rows::{self, StateRow};

/// Bytes that are read at a time to bring the state up to date.
const FOLD_CHUNK: usize = 1 << 20;
/// Attempts to read rows that do not change meanwhile.
const LOAD_ATTEMPTS: usize = 100;

/// Epochs and producers of a log up to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogState {
    pub epochs: Epochs,
    pub producers: Producers,
}

impl LogState {
    /// Takes in a batch that is in the log.
    pub fn take(&mut self, batch: BatchView<'_>) {
        self.epochs.assign(batch.leader_epoch(), batch.base_offset());
        self.producers.take(batch);
    }

    /// State of the end of `plog`, from its rows and the batches behind them, and whether the rows reach beyond the end
    /// and must be corrected before the log grows.
    pub fn load(plog: &dyn Plog, rows: &dyn Kv) -> Result<(LogState, bool), StoreError> {
        let bounds = plog.bounds();
        let (row, producers) = read_rows(rows, plog.id())?;
        let mut state = LogState { epochs: row.epochs, producers };
        let cut = row.end > bounds.end;
        if cut {
            // The log was cut after the rows were written, and the process ended before they were corrected.
            state.truncate(plog, bounds.end)?;
        } else {
            state.fold(plog, row.end.max(bounds.log_start), bounds.end)?;
        }
        state.epochs.truncate_start(bounds.log_start);
        Ok((state, cut))
    }

    fn fold(&mut self, plog: &dyn Plog, from: i64, to: i64) -> Result<(), StoreError> {
        each_batch(plog, from, to, &mut |batch| self.take(batch))
    }

    /// The state as it was when the log ended at `to`.
    pub fn truncate(&mut self, plog: &dyn Plog, to: i64) -> Result<(), StoreError> {
        self.epochs.truncate_end(to);
        let before = self.producers.clone();
        if !self.producers.truncate(to) {
            return Ok(());
        }
        // Batches that slid out of a producer's window are part of it again: look them up.
        let mut found: BTreeMap<i64, Producer> = BTreeMap::new();
        each_batch(plog, plog.bounds().log_start, to, &mut |batch| {
            let id = batch.producer_id();
            if batch.has_producer_id() && before.get(id) != self.producers.get(id) && !batch.is_control() {
                found.entry(id).or_default().take(batch);
            }
        })?;
        for (id, producer) in found {
            let kept = self.producers.get(id).map_or(0, |p| p.marks().len());
            if producer.marks().len() >= kept {
                self.producers.insert(id, producer);
            }
        }
        self.producers.drop_unknown();
        Ok(())
    }

    /// Rows that hold this state, as of `end`, in place of whatever is there.
    pub fn put(&self, plog: PlogId, end: i64, out: &mut KvBatch) {
        rows::delete_state(out, plog);
        rows::put_state(out, plog, &StateRow { end, epochs: self.epochs.clone() });
        for (id, producer) in self.producers.iter() {
            rows::put_producer(out, plog, id, producer);
        }
    }
}

/// State row and producers that belong together: a segment may be finished while they are read.
fn read_rows(rows: &dyn Kv, plog: PlogId) -> Result<(StateRow, Producers), StoreError> {
    for _ in 0..LOAD_ATTEMPTS {
        let before = rows::get_state(rows, plog)?;
        let producers = rows::scan_producers(rows, plog)?;
        if rows::get_state(rows, plog)? == before {
            return Ok((before.unwrap_or_default(), producers));
        }
    }
    Err(StoreError::Corrupt {
        path: String::from("rows"),
        what: format!("the state of log {plog} does not come to rest"),
    })
}

/// Visits the batches of `[from, to)`.
pub(crate) fn each_batch(
    plog: &dyn Plog,
    from: i64,
    to: i64,
    visit: &mut dyn FnMut(BatchView<'_>),
) -> Result<(), StoreError> {
    let mut at = from;
    while at < to {
        let chunk = plog.read(ReadSpec { from: at, until: to, max_bytes: FOLD_CHUNK, at_least_one: true })?;
        let before = at;
        for bytes in &chunk.batches {
            let Some(batch) = BatchView::new(bytes) else {
                continue;
            };
            visit(batch);
            at = batch.last_offset() + 1;
        }
        if at <= before {
            return Ok(());
        }
    }
    Ok(())
}

/// Folds the batches of a finished journal segment into the rows.
#[derive(Debug, Default)]
pub struct LogDerive;

impl Derive for LogDerive {
    fn derive(&self, plog: PlogId, batches: &[Bytes], rows: &dyn Kv, out: &mut KvBatch) -> Result<(), StoreError> {
        let mut state = rows::get_state(rows, plog)?.unwrap_or_default();
        let mut touched = Producers::default();
        for bytes in batches {
            let Some(batch) = BatchView::new(bytes) else {
                continue;
            };
            // After a crash the same segment comes again.
            if batch.base_offset() < state.end {
                continue;
            }
            state.epochs.assign(batch.leader_epoch(), batch.base_offset());
            state.end = batch.last_offset() + 1;
            let id = batch.producer_id();
            if batch.has_producer_id() {
                if touched.get(id).is_none()
                    && let Some(known) = rows::get_producer(rows, plog, id)?
                {
                    touched.insert(id, known);
                }
                touched.take(batch);
            }
        }
        rows::put_state(out, plog, &state);
        for (id, producer) in touched.iter() {
            rows::put_producer(out, plog, id, producer);
        }
        Ok(())
    }
}
