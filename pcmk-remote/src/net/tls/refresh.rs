//! Checks of files that must never keep anybody waiting for long.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use super::lock;

/// How long a handshake waits for a check of the files.
pub(super) const DEADLINE: Duration = Duration::from_secs(1);

/// Something in files that is looked at again and again.
pub(super) trait Source: Send + Sync + 'static {
    /// What it is, for the log.
    const WHAT: &'static str;

    /// Looks at the files, and takes over what has changed. May block.
    fn check(&self);
}

/// Runs the checks of one source on a blocking thread, one at a time, and waits for each no longer than
/// [`DEADLINE`]: the files may lie on a disk that hangs.
pub(super) struct Refresh<S> {
    source: Arc<S>,
    state: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    flags: Mutex<Flags>,
    checked: watch::Sender<u64>,
}

#[derive(Default)]
struct Flags {
    checking: bool,
    late: bool,
}

impl<S: Source> Refresh<S> {
    pub(super) fn new(source: S) -> Self {
        Self { source: Arc::new(source), state: Arc::default() }
    }

    pub(super) fn source(&self) -> &S {
        &self.source
    }

    /// After this the files have been looked at, unless their disk hangs.
    pub(super) async fn run(&self) {
        let mut checked = self.state.checked.subscribe();
        let begin = !std::mem::replace(&mut lock(&self.state.flags).checking, true);
        if begin {
            let (source, done) = (Arc::clone(&self.source), Done(Arc::clone(&self.state)));
            tokio::task::spawn_blocking(move || {
                let _done = done;
                source.check();
            });
        }
        let late = timeout(DEADLINE, checked.changed()).await.is_err();
        if late && !std::mem::replace(&mut lock(&self.state.flags).late, true) {
            warn!("Could not check {} within {DEADLINE:?}: does the disk hang?", S::WHAT);
        }
    }
}

/// Ends a check even if it panics.
struct Done(Arc<Progress>);

impl Drop for Done {
    fn drop(&mut self) {
        *lock(&self.0.flags) = Flags::default();
        self.0.checked.send_modify(|count| *count = count.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Source for Counter {
        const WHAT: &'static str = "the counter";

        fn check(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A disk that hangs: the check under way does not come back.
    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_is_not_waited_for() {
        let refresh = Refresh::new(Counter::default());
        refresh.run().await;
        assert_eq!(refresh.source().0.load(Ordering::SeqCst), 1);

        lock(&refresh.state.flags).checking = true;
        let begin = tokio::time::Instant::now();
        for _ in 0..3 {
            refresh.run().await;
        }
        assert_eq!(begin.elapsed(), 3 * DEADLINE);
        assert_eq!(refresh.source().0.load(Ordering::SeqCst), 1, "no second check beside it");
        assert!(lock(&refresh.state.flags).late);
        drop(Done(Arc::clone(&refresh.state)));
        assert!(!lock(&refresh.state.flags).late);
        refresh.run().await;
        assert_eq!(refresh.source().0.load(Ordering::SeqCst), 2);
    }
}
