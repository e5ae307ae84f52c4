//! Wall clocks that are set: a small library, loaded into the process, adds an offset that the test chooses.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::harness::cache_dir;

const SOURCE: &str = include_str!("clock.c");

/// The wall clock of one process.
pub struct Clock {
    file: File,
    path: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// A clock that is right; `dir` is for its file.
    pub fn new(dir: &Path) -> anyhow::Result<Clock> {
        fs::create_dir_all(dir)?;
        let path = dir.join("clock");
        let file = File::create(&path)?;
        let clock = Clock { file, path, library: library()? };
        clock.set(0)?;
        Ok(clock)
    }

    /// What the environment of the process needs.
    pub fn env(&self) -> [(String, String); 2] {
        let text = |path: &Path| path.display().to_string();
        [("LD_PRELOAD".to_owned(), text(&self.library)), ("MILLRACE_CLOCK".to_owned(), text(&self.path))]
    }

    /// Seconds that the clock is ahead, from now on.
    pub fn set(&self, seconds: i64) -> anyhow::Result<()> {
        Ok(self.file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }
}

/// Compiled once for each version of its source.
fn library() -> anyhow::Result<PathBuf> {
    let library = cache_dir().join(format!("clock-{:08x}.so", crc32c::crc32c(SOURCE.as_bytes())));
    if !library.exists() {
        fs::create_dir_all(cache_dir())?;
        let part = library.with_extension(std::process::id().to_string());
        let source = part.with_extension("c");
        fs::write(&source, SOURCE)?;
        let done = Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&part).arg(&source).status();
        fs::remove_file(&source)?;
        anyhow::ensure!(done.context("cc")?.success(), "the clock's library does not compile");
        // Renamed when it is complete: tests run side by side.
        fs::rename(&part, &library)?;
    }
    Ok(library)
}
