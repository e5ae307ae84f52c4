//! The group-commit journal: segment files, groups of frames, one committer thread.

pub(crate) mod commit;
pub(crate) mod frame;
pub mod io;
pub(crate) mod pool;
pub(crate) mod replay;
pub(crate) mod writer;
