//! Keeps a partition small: when most of it is superseded, everything that is live is appended anew, and what lies
//! before is given up. A crash in between leaves both, and reading both gives the same state.

use super::cell::Cell;
use super::writer::{append, append_all, bytes_of};
use super::{Shared, cell::Batches};
use crate::config::{REWRITE_FACTOR, REWRITE_MIN_BYTES};
use crate::storage::LogError;

/// Rewrites the partition if it is large and mostly superseded.
pub async fn rewrite_if_worth(shared: &Shared, cell: &Cell) -> Result<(), LogError> {
    let worth = |held: u64, live: u64| held > REWRITE_MIN_BYTES && held / REWRITE_FACTOR > live;
    match cell.take_rewrite(shared, worth) {
        Some((queued, snapshot)) => rewrite(shared, cell, queued, snapshot).await,
        None => Ok(()),
    }
}

async fn rewrite(
    shared: &Shared,
    cell: &Cell,
    queued: Batches,
    snapshot: Vec<bytes::BytesMut>,
) -> Result<(), LogError> {
    if !queued.batches.is_empty() {
        append(shared, cell, queued).await?;
    }
    let bytes = bytes_of(&snapshot);
    let first = append_all(shared, cell, snapshot).await?.first().copied();
    let start = match first {
        Some(first) => first,
        // Nothing is live: nothing needs to be kept.
        None => shared.log.bounds(cell.partition)?.end_offset,
    };
    cell.set_log_bytes(bytes);
    // The records are safe: failing to give up the old ones is no reason to read the shard again.
    if let Err(error) = shared.log.delete_before(cell.partition, start).await {
        tracing::warn!(partition = cell.partition, %error, "superseded group records could not be deleted");
    }
    tracing::debug!(partition = cell.partition, bytes, "group records rewritten");
    Ok(())
}
