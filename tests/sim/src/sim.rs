//! Deterministic simulation of a cluster: see `README.md`.
#![allow(clippy::unwrap_used)]

mod calls;
mod cases;
mod check;
mod clients;
mod controller;
mod faults;
mod fetches;
mod groups;
mod lifecycle;
mod mistakes;
mod mutation;
mod net;
mod node;
mod plan;
mod replication;
mod rules;
mod run;
mod seeds;
mod trace;
mod world;
