//! Who may do what: principals, operations, and permission as a type.
//!
//! [`Granted`] can be made only in this crate, by an [`Authorizer`] that has
//! said yes, so that a function which asks for one cannot be reached without
//! the check.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod authorizer;
mod operation;
mod principal;

pub use authorizer::{Authorizer, Denied, Granted, Subject};
pub use operation::{CLUSTER_NAME, Operation, OperationSet, ResourceKind};
pub use principal::Principal;
