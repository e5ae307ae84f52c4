//! The data directory: who may open it, and in which shape it is.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::api::StoreError;

/// Format of the directory that this code writes. Older ones are read or converted, newer ones refused.
const FORMAT: u32 = 1;
const FORMAT_PREFIX: &str = "millrace-store ";

/// Holds the directory for this process until dropped.
pub(crate) struct Directory {
    /// The lock is the kernel's and goes with the descriptor, however the process ends.
    _lock: File,
    /// Whether the last use ended with [`leave_clean_mark`].
    pub clean: bool,
}

pub(crate) fn refused(path: &Path, what: impl Into<String>) -> StoreError {
    StoreError::Refused { path: path.display().to_string(), what: what.into() }
}

/// Makes the directory if need be, locks it and checks its format; takes the clean-shutdown mark away.
pub(crate) fn claim(path: &Path) -> Result<Directory, StoreError> {
    let unwritable = |e: io::Error| {
        refused(
            path,
            format!("cannot be written ({e}); give the broker's user the right to, or choose another directory"),
        )
    };
    for sub in ["", "journal", "ingest", "db"] {
        std::fs::create_dir_all(path.join(sub)).map_err(unwritable)?;
    }
    let lock_path = path.join("LOCK");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock_path).map_err(unwritable)?;
    // SAFETY: the descriptor is open for the duration of the call.
    if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        return Err(refused(path, "is in use by another process; stop it, or choose another directory"));
    }
    check_format(path, &unwritable)?;
    let clean = match std::fs::remove_file(path.join("CLEAN")) {
        Ok(()) => true,
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(unwritable(e)),
    };
    for leftover in std::fs::read_dir(path.join("ingest")).map_err(unwritable)?.flatten() {
        std::fs::remove_file(leftover.path()).map_err(unwritable)?;
    }
    Ok(Directory { _lock: lock, clean })
}

fn check_format(path: &Path, unwritable: &dyn Fn(io::Error) -> StoreError) -> Result<(), StoreError> {
    let file = path.join("FORMAT");
    match std::fs::read_to_string(&file) {
        Ok(text) => match text.trim().strip_prefix(FORMAT_PREFIX).and_then(|n| n.parse::<u32>().ok()) {
            Some(FORMAT) => Ok(()),
            Some(n) if n > FORMAT => Err(refused(
                &file,
                format!("the data has format {n}, this version reads up to {FORMAT}; use a newer version of Millrace"),
            )),
            _ => Err(refused(&file, "not a format that Millrace knows; is this the data directory of something else?")),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            write_durably(path, "FORMAT", &format!("{FORMAT_PREFIX}{FORMAT}\n")).map_err(unwritable)
        }
        Err(e) => Err(unwritable(e)),
    }
}

/// Marks that everything was written before the store was closed.
pub(crate) fn leave_clean_mark(path: &Path) -> io::Result<()> {
    write_durably(path, "CLEAN", "")
}

fn write_durably(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, dir.join(name))?;
    File::open(dir)?.sync_all()
}
