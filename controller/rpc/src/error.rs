//! Why bytes are not what they should be.

/// Bytes that were written by something else, or are damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("version {found} of the format is newer than {known}, the newest one that this software reads")]
    Version { found: u8, known: u8 },
    #[error("there are no bytes")]
    Empty,
    #[error("malformed: {0}")]
    Malformed(String),
    /// A field that must be there is not, or has a value that nobody knows: written by newer software.
    #[error("{0} is missing, or newer software wrote it")]
    Unknown(&'static str),
}

impl From<prost::DecodeError> for DecodeError {
    fn from(error: prost::DecodeError) -> Self {
        DecodeError::Malformed(error.to_string())
    }
}
