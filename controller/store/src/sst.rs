//! Writes one SST file for ingestion and hands it to RocksDB.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rocksdb::{IngestExternalFileOptions, SstFileWriter};

use crate::api::StoreError;
use crate::engine::{Engine, write_failed};
use crate::extent::BucketId;

/// Dirty pages are handed to the device in steps of this many bytes, one step behind the writer, so that the journal
/// never waits behind a whole file's writeback.
const WRITEBACK_STEP: u64 = 1 << 20;

/// A file that is being filled with rows in key order.
pub(crate) struct SstFile<'a> {
    writer: SstFileWriter<'a>,
    path: PathBuf,
    pace: Option<Pace>,
}

impl<'a> SstFile<'a> {
    /// `path` must not exist.
    pub(crate) fn with<T>(
        engine: &Engine,
        path: &Path,
        fill: impl FnOnce(&mut SstFile<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        crate::page_cache::link();
        let writer = SstFileWriter::create(&engine.data_options);
        writer.open(path).map_err(|e| write_failed(path, &e))?;
        let pace = OpenOptions::new().write(true).open(path).ok().map(Pace::new);
        let mut file = SstFile { writer, path: path.to_owned(), pace };
        let out = fill(&mut file)?;
        file.writer.finish().map_err(|e| write_failed(path, &e))?;
        Ok(out)
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.writer.put(key, value).map_err(|e| write_failed(&self.path, &e))?;
        if let Some(pace) = &mut self.pace {
            pace.wrote(value.len() as u64);
        }
        Ok(())
    }
}

/// Moves a finished file into its bucket; durable with the next synced write of RocksDB at the latest.
pub(crate) fn ingest(engine: &Engine, bucket: BucketId, path: &Path) -> Result<(), StoreError> {
    let mut options = IngestExternalFileOptions::default();
    options.set_move_files(true);
    options.set_snapshot_consistency(false);
    let family = engine.family(&bucket.name())?;
    engine.db.ingest_external_file_cf_opts(&family, &options, vec![path]).map_err(|e| write_failed(path, &e))
}

struct Pace {
    file: File,
    written: u64,
    handed: u64,
}

impl Pace {
    fn new(file: File) -> Self {
        Pace { file, written: 0, handed: 0 }
    }

    fn wrote(&mut self, bytes: u64) {
        self.written += bytes;
        // RocksDB holds back up to a step in its own buffer.
        while self.written - self.handed >= 2 * WRITEBACK_STEP {
            self.sync_range(self.handed, libc::SYNC_FILE_RANGE_WRITE);
            if self.handed >= WRITEBACK_STEP {
                let wait =
                    libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
                self.sync_range(self.handed - WRITEBACK_STEP, wait);
            }
            self.handed += WRITEBACK_STEP;
        }
    }

    fn sync_range(&self, at: u64, flags: libc::c_uint) {
        // SAFETY: the descriptor is open. The result does not matter: this only spreads out the work of the sync
        // that follows, and that one reports errors.
        let _ = unsafe {
            libc::sync_file_range(self.file.as_raw_fd(), at as libc::off64_t, WRITEBACK_STEP as libc::off64_t, flags)
        };
    }
}
