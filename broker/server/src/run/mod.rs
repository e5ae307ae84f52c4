//! From the command line to a running broker and back.

pub mod args;
mod controller;
mod endpoints;
mod error;
pub mod files;
pub mod identity;
mod images;
mod lifecycle;
pub mod logging;
pub mod node;
mod options;
pub mod program;
pub mod start;
mod stores;

pub use error::StartError;
