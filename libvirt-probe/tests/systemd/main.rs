//! What asks systemd, on a message bus of its own with a systemd that does as it is told.
// All of this is a test, the helpers too.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod manager;
mod nova_compute;
mod services;
mod units;

use std::time::Duration;

/// Nothing here takes that long, whatever the machine is busy with.
const PATIENCE: Duration = Duration::from_secs(60);
