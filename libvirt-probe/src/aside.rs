//! Work that may hang in the kernel, in threads that are never waited for longer than a deadline.
//!
//! There is at most one such thread for each matter, whoever asks and however often: while it hangs, the
//! others hear since when.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

/// So many may hang at the same time, of whatever matters.
const THREADS: usize = 16;
/// Enough for reading and writing files.
const STACK: usize = 256 << 10;

static AT_WORK: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());
static FREED: Notify = Notify::const_new();

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Aside {
    /// It has not come back in time, or an earlier try has not come back yet.
    #[error("hangs for {:.1} s now", .0.as_secs_f64())]
    Hangs(Duration),
    /// Too many others hang.
    #[error("{THREADS} other tries hang, no more are made")]
    Busy,
    /// No thread could be started, or it came to a bad end.
    #[error("cannot be tried: {0}")]
    NoThread(io::Error),
}

/// Does the work of this matter in a thread of its own. When the limit is over, or when the future is
/// dropped, the thread is left alone, and ends when the kernel lets it go.
///
/// An earlier thread in the same matter is given its own time, as long as that is not over.
pub async fn run<T, F>(matter: &str, limit: Duration, work: F) -> Result<T, Aside>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let place = place(matter, limit).await?;
    let begun = Instant::now();
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("aside".to_owned()).stack_size(STACK).spawn(move || {
        let result = work();
        drop(place);
        // Nobody waits any more: came too late.
        let _ = sender.send(result);
    });
    thread.map_err(Aside::NoThread)?;
    match timeout(limit, receiver).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) => Err(Aside::NoThread(io::Error::other("its thread ended early"))),
        Err(_) => Err(Aside::Hangs(begun.elapsed())),
    }
}

/// Whether some of it has not come back.
pub(crate) fn is_busy() -> bool {
    !AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
}

async fn place(matter: &str, limit: Duration) -> Result<Place, Aside> {
    loop {
        let freed = FREED.notified();
        let since = match Place::take(matter) {
            Ok(place) => return Ok(place),
            Err(Some(since)) => since,
            Err(None) => return Err(Aside::Busy),
        };
        if timeout_at(since + limit, freed).await.is_err() {
            return Err(Aside::Hangs(since.elapsed()));
        }
    }
}

/// Gives the matter free when dropped, also by a panic.
struct Place(String);

impl Place {
    /// If not, since when another has it; nobody has it if there are too many.
    fn take(matter: &str) -> Result<Self, Option<Instant>> {
        let mut at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = at_work.get(matter) {
            return Err(Some(*since));
        }
        if at_work.len() >= THREADS {
            return Err(None);
        }
        at_work.insert(matter.to_owned(), Instant::now());
        Ok(Self(matter.to_owned()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
        FREED.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn one_thread_hangs_however_often_it_is_tried() {
        let (release, wait) = mpsc::channel::<()>();
        let first = run("one thread", SOON, move || wait.recv()).await;
        assert!(matches!(first, Err(Aside::Hangs(_))), "{first:?}");
        for _ in 0..1000 {
            let again = run("one thread", SOON, || panic!("must not be run")).await;
            assert!(matches!(again, Err::<(), _>(Aside::Hangs(_))));
        }
        assert_eq!(run("another matter", PATIENCE, || 7).await.unwrap(), 7);
        drop(release);
        let since = Instant::now();
        while run("one thread", PATIENCE, || 8).await.is_err() {
            assert!(since.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn who_comes_second_waits_for_the_first() {
        let (release, wait) = mpsc::channel::<()>();
        let first = tokio::spawn(run("second", PATIENCE, move || wait.recv().is_err()));
        while !AT_WORK.lock().unwrap().contains_key("second") {
            tokio::task::yield_now().await;
        }
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let second = tokio::spawn(run("second", PATIENCE, || 9));
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(release);
        assert_eq!(second.await.unwrap().unwrap(), 9);
    }

    #[tokio::test]
    async fn a_panic_gives_the_place_free() {
        for _ in 0..3 {
            let result = run("panic", PATIENCE, || panic!("on purpose")).await;
            assert!(matches!(result, Err::<(), _>(Aside::NoThread(_))), "{result:?}");
        }
    }
}
