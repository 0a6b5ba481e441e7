//! The fence agent `fence_nova`: the contract of fence agents, and the steps of a fencing.

mod action;
mod given;
mod metadata;
mod table;
mod told;

use std::time::Duration;

pub use action::Action;
pub use given::{Given, UsageError};
pub use metadata::{metadata, usage};
pub use told::{Endpoint, Login, ParameterError, Password, Power, Record, Told};

/// For the hand-over, beside the limits that parameters set.
pub const HAND_OVER: Duration = Duration::from_secs(5);
