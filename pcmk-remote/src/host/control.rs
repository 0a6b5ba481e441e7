//! The switch by which a running call is killed.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

const KILLED: u8 = 1;
const SPAWNING: u8 = 2;

/// Shared by the call's task, the thread that spawns for it, and whoever kills it.
#[derive(Debug, Default)]
pub(super) struct Control {
    state: AtomicU8,
    changed: Notify,
}

impl Control {
    /// Asks for the end.
    pub(super) fn kill(&self) {
        self.state.fetch_or(KILLED, Ordering::AcqRel);
        self.changed.notify_one();
    }

    /// Waits until somebody has asked for the end. For one waiter.
    pub(super) async fn killed(&self) {
        while self.state.load(Ordering::Acquire) & KILLED == 0 {
            self.changed.notified().await;
        }
    }

    /// The spawning thread's last look: from a `true` on, there may be a process.
    pub(super) fn begin_spawning(&self) -> bool {
        self.state.fetch_or(SPAWNING, Ordering::AcqRel) & KILLED == 0
    }

    /// Whether there may be a process.
    pub(super) fn may_have_spawned(&self) -> bool {
        self.state.load(Ordering::Acquire) & SPAWNING != 0
    }
}
