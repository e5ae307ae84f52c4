//! What happens now and then: retention, expiry of producers, giving space back.

use std::sync::Arc;
use std::time::Duration;

use millrace_log::rows;
use millrace_store::{KvBatch, StoreError};

use crate::manager::ReplicaManager;

/// Producer rows that are looked at before the sweep lets others have the store.
const SWEEP_CHUNK: usize = 10_000;

/// Kafka's settings for the background work, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaintenanceOptions {
    /// `log.initial.task.delay.ms`
    pub initial_delay_ms: u64,
    /// `log.retention.check.interval.ms`
    pub retention_check_interval_ms: u64,
    /// `producer.id.expiration.check.interval.ms`
    pub producer_expiry_check_interval_ms: u64,
    /// `producer.id.expiration.ms`
    pub producer_expiration_ms: i64,
}

impl Default for MaintenanceOptions {
    /// Kafka's defaults.
    fn default() -> MaintenanceOptions {
        MaintenanceOptions {
            initial_delay_ms: 30_000,
            retention_check_interval_ms: 300_000,
            producer_expiry_check_interval_ms: 600_000,
            producer_expiration_ms: 86_400_000,
        }
    }
}

impl ReplicaManager {
    /// Deletes what retention no longer keeps, and gives space back. Waits for the disk. Returns how many logs were
    /// shortened.
    pub fn apply_retention(&self, now_ms: i64) -> usize {
        let mut shortened = 0;
        for partition in self.partitions().iter().filter(|p| p.is_leader() && p.failure().is_none()) {
            match partition.log().retain(partition.high_watermark(), now_ms) {
                Ok(Some(log_start)) => {
                    shortened += 1;
                    partition.progress().log_start_moved();
                    let (topic, index) = (partition.topic(), partition.index());
                    tracing::info!(%topic, partition = index, log_start, "retention moved the log start");
                }
                Ok(None) => {}
                Err(StoreError::Closed) => {}
                Err(error) => {
                    tracing::warn!(topic = %partition.topic(), partition = partition.index(), %error, "retention failed");
                }
            }
        }
        self.logs().reclaim();
        shortened
    }

    /// Forgets producers that have been silent for `expiration_ms`: in memory, and in the rows of all directories.
    /// Waits for the disk. Returns how many were forgotten.
    pub fn expire_producers(&self, now_ms: i64, expiration_ms: i64) -> usize {
        let mut removed = 0;
        for partition in self.partitions() {
            match partition.log().expire_producers(now_ms, expiration_ms) {
                Ok(n) => removed += n,
                Err(error) => {
                    tracing::warn!(topic = %partition.topic(), partition = partition.index(), %error, "producers could not be expired");
                }
            }
        }
        for dir in self.dirs().iter().filter(|d| !d.is_offline()) {
            match dir.rows().and_then(|rows| sweep(&*rows, now_ms, expiration_ms)) {
                Ok(n) => removed += n,
                Err(error) => {
                    tracing::warn!(dir = %dir.path().display(), %error, "producers could not be expired")
                }
            }
        }
        removed
    }

    /// Notes the high watermarks of replicated partitions, so that a restart goes on from there. Not synced: it is a
    /// hint, and an older one does. Returns how many were noted.
    pub fn checkpoint_high_watermarks(&self) -> usize {
        let mut noted = 0;
        for dir in self.dirs() {
            let Ok(rows) = dir.rows() else { continue };
            let mut batch = KvBatch::default();
            for partition in self.partitions().iter().filter(|p| Arc::ptr_eq(&p.log_dir(), dir)) {
                noted += usize::from(partition.note_high_watermark(&mut batch));
            }
            if !batch.is_empty()
                && let Err(error) = rows.write(batch, false)
            {
                tracing::warn!(dir = %dir.path().display(), %error, "high watermarks could not be noted");
            }
        }
        noted
    }

    /// Runs the background work until the future is dropped. `now_ms` is the time of day; `options` are asked for
    /// before each wait, so that changed settings count from the next one on.
    pub async fn maintain(self: Arc<Self>, now_ms: impl Fn() -> i64, options: impl Fn() -> MaintenanceOptions) {
        pause(options().initial_delay_ms).await;
        let retention = async {
            loop {
                let (manager, now) = (self.clone(), now_ms());
                off_thread(move || manager.apply_retention(now)).await;
                pause(options().retention_check_interval_ms).await;
            }
        };
        let expiry = async {
            loop {
                let (manager, now) = (self.clone(), now_ms());
                let expiration_ms = options().producer_expiration_ms;
                off_thread(move || manager.expire_producers(now, expiration_ms)).await;
                pause(options().producer_expiry_check_interval_ms).await;
            }
        };
        let checkpoints = async {
            loop {
                pause(self.replication().checkpoint_interval_ms).await;
                let manager = self.clone();
                off_thread(move || manager.checkpoint_high_watermarks()).await;
            }
        };
        futures::join!(retention, expiry, checkpoints);
    }
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms.max(1))).await;
}

async fn off_thread(work: impl FnOnce() -> usize + Send + 'static) {
    // Fails when the runtime is shutting down, or after a panic, which has been reported.
    let _ = tokio::task::spawn_blocking(work).await;
}

/// Removes expired producers from the rows of logs that are not loaded as well.
fn sweep(kv: &dyn millrace_store::Kv, now_ms: i64, expiration_ms: i64) -> Result<usize, StoreError> {
    let mut at = Some((0, 0));
    let mut removed = 0;
    while let Some(from) = at {
        let mut batch = KvBatch::default();
        at = rows::sweep_producers(kv, from, SWEEP_CHUNK, &mut |plog, id, producer| {
            if producer.is_expired(now_ms, expiration_ms) {
                rows::delete_producer(&mut batch, plog, id);
                removed += 1;
            }
        })?;
        if !batch.is_empty() {
            kv.write(batch, false)?;
        }
    }
    Ok(removed)
}
