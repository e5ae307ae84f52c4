//! Clients at work on a cluster that is being damaged, and the verdict: faults by seed, a history by the clients,
//! judged by `checker`. A seed gives the same faults in the same order with the same pauses; what they meet is real.

mod faults;
mod final_read;
mod group;
mod load;
mod looks;
mod producers;
mod readers;
mod run;
mod schedule;

pub use faults::{Fault, Which};
pub use final_read::{ends, read_log};
pub use load::{Cx, Load, Running};
pub use run::{Chaos, Summary, chaos};
pub use schedule::{Kind, Schedule, Step};
