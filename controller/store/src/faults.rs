//! A journal file layer that fails on demand, for the tests of this crate and of those above it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::journal::io::{ALIGN, DiskIo, JournalFile, JournalIo};

/// The switches; shared by all files of a [`FaultyIo`].
#[derive(Default)]
pub struct Faults {
    /// Writes to the journal that still succeed; negative: no limit.
    writes_left: AtomicI64,
    syncs_left: AtomicI64,
    /// A failing write leaves this many of its bytes on the disk (rounded down to blocks).
    torn_bytes: AtomicU64,
    full: AtomicBool,
    syncs: AtomicU64,
}

impl Faults {
    /// The `n`-th write from now on fails, and all after it; its first `torn_bytes` reach the disk.
    pub fn fail_writes_after(&self, n: u32, torn_bytes: u64) {
        self.torn_bytes.store(torn_bytes, Ordering::SeqCst);
        self.writes_left.store(i64::from(n), Ordering::SeqCst);
    }

    /// The `n`-th sync from now on fails, and all after it.
    pub fn fail_syncs_after(&self, n: u32) {
        self.syncs_left.store(i64::from(n), Ordering::SeqCst);
    }

    /// The file system reports no free space, and no new segment can be made.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// Everything works again.
    pub fn clear(&self) {
        self.writes_left.store(-1, Ordering::SeqCst);
        self.syncs_left.store(-1, Ordering::SeqCst);
        self.full.store(false, Ordering::SeqCst);
    }

    /// Syncs that succeeded.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }
}

fn spend(left: &AtomicI64) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n > 0).then_some(n - 1)).is_ok()
        || left.load(Ordering::SeqCst) < 0
}

/// The disk with [`Faults`] in front of it.
#[derive(Clone)]
pub struct FaultyIo {
    pub faults: Arc<Faults>,
}

impl FaultyIo {
    pub fn new() -> Self {
        let faults = Faults::default();
        faults.clear();
        FaultyIo { faults: Arc::new(faults) }
    }
}

impl Default for FaultyIo {
    fn default() -> Self {
        Self::new()
    }
}

struct FaultyFile {
    file: Box<dyn JournalFile>,
    faults: Arc<Faults>,
}

impl JournalIo for FaultyIo {
    fn create(&self, path: &Path, size: u64, zero: bool) -> io::Result<Box<dyn JournalFile>> {
        if self.faults.full.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let file = DiskIo.create(path, size, zero)?;
        Ok(Box::new(FaultyFile { file, faults: self.faults.clone() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn JournalFile>> {
        Ok(Box::new(FaultyFile { file: DiskIo.open(path)?, faults: self.faults.clone() }))
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        let (total, free) = DiskIo.space(path)?;
        Ok((total, if self.faults.full.load(Ordering::SeqCst) { 0 } else { free }))
    }
}

impl JournalFile for FaultyFile {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        if spend(&self.faults.writes_left) {
            return self.file.write_at(bytes, position);
        }
        let torn = self.faults.torn_bytes.swap(0, Ordering::SeqCst) as usize / ALIGN * ALIGN;
        self.file.write_at(&bytes[..torn.min(bytes.len())], position)?;
        Err(io::Error::from_raw_os_error(libc::EIO))
    }

    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        if !spend(&self.faults.syncs_left) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.file.sync()?;
        self.faults.syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}
