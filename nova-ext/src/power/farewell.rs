//! What is still to be said to devices when nobody waits for the answer any more: a device has few sessions, and one that
//! is left open is kept for half an hour.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// More at a time are not waited for.
const MOST: usize = 64;

static OPEN: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Goes on with it although nobody waits. It has a limit of its own.
pub(super) fn later(rest: impl Future<Output = ()> + Send + 'static) {
    let Ok(runtime) = Handle::try_current() else { return };
    let task = runtime.spawn(rest);
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|task| !task.is_finished());
    if open.len() < MOST {
        open.push(task);
    }
}

/// Waits until all of it is said: a program calls this before it ends, also when it is told to end in the middle.
pub async fn farewells(within: Duration) {
    let all = async {
        loop {
            let next = OPEN.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(task) = next else { break };
            let _ = task.await;
        }
    };
    let _ = timeout(within, all).await;
}
