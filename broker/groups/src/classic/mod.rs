//! Groups of the classic protocol: membership, generations, protocol selection.

mod group;
mod member;
mod subscription;

pub use group::{ClassicGroup, JoinPhase, State, Timeouts};
pub use member::Member;
