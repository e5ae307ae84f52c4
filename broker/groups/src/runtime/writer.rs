//! The task of one shard: loads it, then appends what is queued, one append at a time.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::BytesMut;
use futures::future::try_join_all;

use super::cell::{Batches, Cell};
use super::{Shared, load, rewrite};
use crate::storage::LogError;

/// Wait before a failed load is tried again, and what it grows to.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Runs until the cell is closed or the coordinator is gone.
pub async fn run(shared: Weak<Shared>, cell: Arc<Cell>) {
    let mut retry = FIRST_RETRY;
    loop {
        let Some(strong) = shared.upgrade() else {
            return;
        };
        if cell.is_closed() {
            return;
        }
        let error = match load::load(&strong, &cell).await {
            Ok(()) => {
                retry = FIRST_RETRY;
                drop(strong);
                match write(&shared, &cell).await {
                    Ok(()) => return,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        tracing::warn!(partition = cell.partition, %error, "the groups of a partition are read again");
        cell.fail(error.answer());
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(LAST_RETRY);
    }
}

/// Returns when the cell is closed, or with the error of an append.
async fn write(shared: &Weak<Shared>, cell: &Arc<Cell>) -> Result<(), LogError> {
    loop {
        cell.work.notified().await;
        let Some(shared) = shared.upgrade() else {
            return Ok(());
        };
        while let Some(batches) = cell.take_batches() {
            append(&shared, cell, batches).await?;
            rewrite::rewrite_if_worth(&shared, cell).await?;
        }
        if cell.is_closed() {
            return Ok(());
        }
    }
}

/// Appends batches and lets those go who wait for them. Returns where the first one begins.
pub async fn append(shared: &Shared, cell: &Cell, batches: Batches) -> Result<(), LogError> {
    let bytes = bytes_of(&batches.batches);
    append_all(shared, cell, batches.batches).await?;
    cell.committed(batches.upto, bytes);
    Ok(())
}

/// The base offsets of the batches, in order, once all are committed.
pub async fn append_all(shared: &Shared, cell: &Cell, batches: Vec<BytesMut>) -> Result<Vec<i64>, LogError> {
    let appends: Vec<_> =
        batches.into_iter().map(|batch| shared.log.append(cell.partition, cell.epoch(), batch)).collect();
    try_join_all(appends).await
}

pub fn bytes_of(batches: &[BytesMut]) -> u64 {
    batches.iter().map(|batch| batch.len() as u64).sum()
}
