//! The fence agent `fence_nova`: the contract of fence agents, and the steps of a fencing.
//!
//! Proof that the host is off, then force-down and disable in Nova, then the durable hand-over of its evacuation. It
//! returns within its budget even when Nova hangs: what could not be done is queued for the engine.

mod action;
mod cloud;
mod decide;
mod device;
mod earlier;
mod given;
mod host;
mod keep;
mod look;
mod metadata;
mod program;
mod run;
mod say;
mod silence;
mod table;
mod told;

use std::time::Duration;

pub use action::Action;
pub(crate) use cloud::mark;
pub use given::{Given, UsageError};
pub use metadata::{metadata, usage};
pub use program::main;
pub use told::{Endpoint, Login, ParameterError, Password, Power, Record, Told};

/// For the hand-over, beside the limits that parameters set.
pub const HAND_OVER: Duration = Duration::from_secs(5);
