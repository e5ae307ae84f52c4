//! Why the broker does not start: one line each that names the setting or path, and the remedy.

use std::path::{Path, PathBuf};

use crate::config::ConfigError;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{path}: {why}", path = path.display())]
    Path { path: PathBuf, why: String },
    #[error("listener {listener}: {why}")]
    Listener { listener: String, why: String },
    /// Anything else that keeps a part from starting.
    #[error("{part}: {why}")]
    Part { part: &'static str, why: String },
}

impl StartError {
    pub fn path(path: &Path, why: String) -> StartError {
        StartError::Path { path: path.to_owned(), why }
    }

    pub fn part(part: &'static str, why: impl std::fmt::Display) -> StartError {
        StartError::Part { part, why: why.to_string() }
    }
}
