//! Why the broker does not start.

use std::path::PathBuf;

/// One clear line each: what is wrong, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: cannot be read: {why}", path = path.display())]
    File { path: PathBuf, why: String },
    #[error("{path}: {why}", path = path.display())]
    Syntax { path: PathBuf, why: String },
    #[error("unknown setting {key} ({from}){hint}")]
    Unknown { key: String, from: String, hint: String },
    #[error("{key}={value} ({from}): {why}")]
    Value { key: String, value: String, from: String, why: String },
    /// Settings that do not go together.
    #[error("{0}")]
    Together(String),
}
