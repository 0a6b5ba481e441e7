//! Agents as real processes on the real clock.
// All of this is a test, the helpers too.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod alerts;
mod manager;
mod processes;
mod rig;
mod units;
