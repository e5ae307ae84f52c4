//! From the command line to a running broker and back.

pub mod args;
mod endpoints;
mod error;
pub mod files;
pub mod identity;
mod images;
mod lifecycle;
pub mod logging;
mod options;
pub mod start;
mod stores;

pub use error::StartError;
