//! What proves the broker: a harness that starts and ends brokers, raw-socket clients, checkers,
//! the suites of other people's clients and the bench. See README.md.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bench;
pub mod chaos;
pub mod checker;
pub mod cluster;
pub mod harness;
pub mod raw;
pub mod suites;
