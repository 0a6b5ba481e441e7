//! Work on files, beside everything else: a disk may hang.

use std::time::Duration;

use tokio::time::timeout;

/// Does it on a thread of its own, and waits for so long. It may still be done after that.
pub(crate) async fn on_disk<T: Send + 'static>(
    within: Duration,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match timeout(within, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the disk does not answer in time".into()),
    }
}
