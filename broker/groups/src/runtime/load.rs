//! Reads a partition into a new shard.

use std::time::Duration;

use super::cell::Cell;
use super::{Live, Shared};
use crate::batch::for_each_record;
use crate::shard::Shard;
use crate::storage::LogError;

/// Records in error that are reported one by one.
const MAX_REPORTED: usize = 10;
/// Pause before it is asked again whether what was read is committed.
const COMMIT_PAUSE: Duration = Duration::from_millis(50);

/// Waits until all that was read is committed. A coordinator that answered from the rest could show an offset that the
/// next one does not have.
async fn await_commit(shared: &Shared, cell: &Cell, end: i64) -> Result<(), LogError> {
    loop {
        match shared.log.committed(cell.partition, end).await {
            Err(LogError::Unknown(_) | LogError::NotEnoughReplicas) if !cell.is_closed() => {
                tokio::time::sleep(COMMIT_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Reads the whole partition and puts the shard to work.
pub async fn load(shared: &Shared, cell: &Cell) -> Result<(), LogError> {
    let bounds = shared.log.bounds(cell.partition)?;
    let mut shard: Shard<Live> = Shard::new(shared.settings(), (shared.uuids)());
    let wall_ms = shared.now().wall_ms;
    let mut offset = bounds.start_offset;
    let mut errors = 0usize;
    while offset < bounds.end_offset {
        let batches = shared.log.read(cell.partition, offset).await?;
        let before = offset;
        for bytes in batches {
            let next = for_each_record(bytes, |record| {
                // A batch may begin before the start of the log.
                if record.offset < bounds.start_offset {
                    return;
                }
                if let Err(error) = shard.replay(record.key, record.value, wall_ms) {
                    errors += 1;
                    if errors <= MAX_REPORTED {
                        let (partition, offset) = (cell.partition, record.offset);
                        tracing::warn!(partition, offset, %error, "record passed over");
                    }
                }
            });
            match next {
                Ok(next) => offset = offset.max(next.unwrap_or(offset)),
                Err(error) => {
                    return Err(LogError::Unknown(format!("at offset {offset}: {error}")));
                }
            }
        }
        if offset == before {
            return Err(LogError::Unknown(format!("nothing to read at offset {offset}")));
        }
        // Other shards and the connections share this thread.
        tokio::task::yield_now().await;
    }
    await_commit(shared, cell, bounds.end_offset).await?;
    if bounds.end_offset > bounds.start_offset {
        let groups = shard.group_count();
        tracing::debug!(partition = cell.partition, groups, bytes = bounds.bytes, "groups loaded");
    }
    cell.activate(shared, shard, bounds.bytes);
    Ok(())
}
