//! Retention by size and by time, on whole extents and never past the high watermark.
//! Kafka: `UnifiedLog.deleteOldSegments`.

use millrace_store::{Extent, StoreError};

use crate::partition_log::PartitionLog;

/// Extents that are looked at in one go.
const CHUNK: usize = 1024;

impl PartitionLog {
    /// Moves the log start past the extents that the topic's configuration no longer keeps. Returns the new log start
    /// if it moved; may wait for the disk.
    pub fn retain(&self, high_watermark: i64, now_ms: i64) -> Result<Option<i64>, StoreError> {
        let config = self.config();
        let bounds = self.bounds();
        let by_size = config.retention_bytes >= 0 && bounds.bytes > config.retention_bytes as u64;
        let by_time = config.retention_ms >= 0;
        if !config.cleanup_policy.delete || bounds.bytes == 0 || !(by_size || by_time) {
            return Ok(None);
        }
        let mut due = Due {
            high_watermark,
            surplus: if by_size { (bounds.bytes - config.retention_bytes as u64) as i64 } else { 0 },
            expired_before: if by_time { now_ms.saturating_sub(config.retention_ms) } else { i64::MIN },
            by_time: true,
            new_start: bounds.log_start,
        };
        let mut from = bounds.log_start;
        loop {
            let extents = self.extents(from, CHUNK)?;
            let all = extents.iter().all(|extent| due.take(*extent));
            match extents.last() {
                Some(last) if all && extents.len() == CHUNK => from = last.last_offset + 1,
                _ => break,
            }
        }
        if due.new_start <= bounds.log_start {
            return Ok(None);
        }
        self.set_log_start(due.new_start)?;
        Ok(Some(due.new_start))
    }
}

/// What may go, found while walking the extents from the oldest on.
struct Due {
    high_watermark: i64,
    /// Bytes above `retention.bytes`.
    surplus: i64,
    /// Extents whose newest record is older than this have expired.
    expired_before: i64,
    /// No extent so far was too young.
    by_time: bool,
    new_start: i64,
}

impl Due {
    /// False when nothing behind this extent may go either.
    fn take(&mut self, extent: Extent) -> bool {
        let end = extent.last_offset + 1;
        if end > self.high_watermark {
            return false;
        }
        self.surplus -= extent.bytes as i64;
        if self.surplus >= 0 {
            self.new_start = end;
        }
        // Without any timestamp an extent is as old as its successor, which decides.
        if self.by_time && extent.max_timestamp >= 0 {
            self.by_time = extent.max_timestamp < self.expired_before;
            if self.by_time {
                self.new_start = end;
            }
        }
        self.surplus > 0 || self.by_time
    }
}
