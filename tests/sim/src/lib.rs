//! Deterministic simulation of a cluster: see `README.md`.
#![allow(clippy::unwrap_used)]

mod calls;
mod check;
mod clients;
mod controller;
mod faults;
mod lifecycle;
pub mod mutation;
mod net;
mod node;
pub mod plan;
mod replication;
mod rules;
mod run;
mod trace;
mod world;

pub use mutation::Mutation;
pub use plan::Plan;
pub use run::{Failure, Stats, run, run_plan, shrink};
