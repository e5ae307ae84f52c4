//! Ids as bytes.

use millrace_metadata::{DirId, TopicId};

use crate::DecodeError;

pub(crate) const ID_LEN: usize = 16;

pub(crate) fn sixteen(bytes: &[u8], what: &'static str) -> Result<[u8; ID_LEN], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::Unknown(what))
}

pub(crate) fn topic_id(bytes: &[u8]) -> Result<TopicId, DecodeError> {
    sixteen(bytes, "topic id").map(TopicId)
}

/// A directory id of 16 bytes.
pub fn dir_id(bytes: &[u8]) -> Result<DirId, DecodeError> {
    sixteen(bytes, "directory id").map(DirId)
}

/// Several directories, one after the other.
pub(crate) fn dirs_to_bytes<'a>(dirs: impl IntoIterator<Item = &'a DirId>) -> Vec<u8> {
    dirs.into_iter().flat_map(|d| d.0).collect()
}

pub(crate) fn dirs_from_bytes<T: FromIterator<DirId>>(bytes: &[u8]) -> Result<T, DecodeError> {
    if !bytes.len().is_multiple_of(ID_LEN) {
        return Err(DecodeError::Unknown("directory id"));
    }
    bytes.chunks_exact(ID_LEN).map(dir_id).collect()
}
