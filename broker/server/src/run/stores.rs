//! Opens the stores of all data directories, at the same time.

use std::path::Path;
use std::sync::Arc;

use millrace_log::LogDerive;
use millrace_replica::DirSetup;
use millrace_store::{FlushPolicy, LogStore, StoreError, StoreOptions, open_log_store};

use super::StartError;
use super::identity::DataDirs;
use crate::config::{self, BrokerConfig};

/// Subdirectory of a data directory that holds its logs.
const STORE: &str = "store";
/// Share of `memory.limit` for data that is durable in the journal and not yet moved into the store.
const TAIL_SHARE: u64 = 2;
/// Journal segments of each directory; with their size the bound of that memory.
const SEGMENTS: u64 = 4;
/// Smallest and largest journal segment, in bytes.
const SEGMENT_BYTES: (u64, u64) = (4 << 20, 32 << 20);

/// The directories with their stores.
pub struct Opened {
    pub dirs: Vec<DirSetup>,
    /// Nothing that was acknowledged can be missing: all were closed in good order, or every write was synced first.
    pub clean: bool,
}

/// Opens all stores; waits for the disks. One directory of several that is damaged is left out and reported; the
/// broker serves the others.
pub fn open(data: &DataDirs, config: &BrokerConfig) -> Result<Opened, StartError> {
    let options = options(config, data.dirs.len());
    let results: Vec<Result<_, StoreError>> = std::thread::scope(|scope| {
        let open_one = |path: &Path| open_log_store(path, options.clone(), Arc::new(LogDerive));
        let threads: Vec<_> = data
            .dirs
            .iter()
            .map(|dir| {
                let path = dir.path.join(STORE);
                scope.spawn(move || open_one(&path))
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap_or(Err(StoreError::Closed))).collect()
    });
    let healthy = results.iter().filter(|r| r.is_ok()).count();
    let mut clean = true;
    let synced = config.flush_policy == config::FlushPolicy::Sync;
    let mut dirs = Vec::with_capacity(results.len());
    for (dir, result) in data.dirs.iter().zip(results) {
        let store = match result {
            Ok(store) => {
                clean &= synced || dir.is_new || store.was_clean();
                Ok(store as Arc<dyn LogStore>)
            }
            Err(error @ (StoreError::Corrupt { .. } | StoreError::Poisoned { .. })) if healthy > 0 => {
                tracing::error!(dir = %dir.path.display(), %error, "the directory stays offline");
                clean = false;
                Err(error)
            }
            Err(error) => return Err(StartError::path(&dir.path, describe(&error))),
        };
        dirs.push(DirSetup { path: dir.path.clone(), id: dir.id, store });
    }
    Ok(Opened { dirs, clean })
}

fn options(config: &BrokerConfig, dirs: usize) -> StoreOptions {
    let tail = config.memory_limit / TAIL_SHARE / (dirs.max(1) as u64);
    StoreOptions {
        flush: match config.flush_policy {
            config::FlushPolicy::Sync => FlushPolicy::Sync,
            config::FlushPolicy::Os => FlushPolicy::Os,
        },
        segment_bytes: (tail / SEGMENTS).clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1),
        segments: SEGMENTS as usize,
        ..StoreOptions::default()
    }
}

/// The store's own text, without a second mention of the directory.
fn describe(error: &StoreError) -> String {
    match error {
        StoreError::Refused { what, .. } | StoreError::Corrupt { what, .. } | StoreError::Poisoned { what, .. } => {
            what.clone()
        }
        StoreError::Full { free, needed, .. } => format!(
            "no space left ({free} bytes free, {needed} needed); free some space, or choose another directory with log.dirs"
        ),
        StoreError::Closed => "the store could not be opened".to_owned(),
    }
}
