//! Agents as real processes on the real clock.
// All of this is a test, the helpers too.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod alerts;
mod libvirtd;
mod manager;
mod probes;
mod processes;
mod rig;
mod units;
