//! What the engine hears from: the folder of requests, the cluster, the operator's switches, hosts that return. One of
//! them that ends or hangs is begun anew, with pauses that grow, and the others go on meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info};

use crate::engine::metrics::Watched;

/// Before one that has stopped is begun anew: at first, and at most.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// One that has worked for so long is well again.
const WELL: Duration = Duration::from_secs(300);

/// How they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watchers(Arc<Mutex<BTreeMap<&'static str, State>>>);

#[derive(Debug, Default)]
struct State {
    looked: Option<Instant>,
    stopped: u64,
    trouble: Option<String>,
}

/// One of them: how it tells that it works.
#[derive(Debug, Clone)]
pub(super) struct Watcher {
    name: &'static str,
    all: Watchers,
}

impl Watchers {
    /// Runs one of them for ever. It hangs if it has not looked for `patience`.
    pub(super) async fn keep<F>(&self, name: &'static str, patience: Duration, one: impl Fn(Watcher) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut pause = PAUSE;
        loop {
            let begun = Instant::now();
            self.change(name, |state| state.looked = Some(begun));
            let mut task = tokio::spawn(one(Watcher { name, all: self.clone() }));
            let _ends_with_us = Ended(task.abort_handle());
            let why = loop {
                let due = self.looked(name).unwrap_or(begun) + patience;
                tokio::select! {
                    ended = &mut task => break match ended {
                        Ok(()) => "it has ended".to_owned(),
                        Err(failure) => format!("it has failed: {failure}"),
                    },
                    () = sleep_until(due) => if self.looked(name).is_none_or(|at| at + patience <= Instant::now()) {
                        break format!("it has not looked for {} s", patience.as_secs());
                    },
                }
            };
            if begun.elapsed() >= WELL {
                pause = PAUSE;
            }
            error!(watcher = name, "{why}; begun anew in {} s", pause.as_secs());
            self.change(name, |state| {
                state.stopped = state.stopped.saturating_add(1);
                state.trouble = Some(why);
            });
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// How they are.
    pub(super) fn all(&self) -> Vec<Watched> {
        let one = |(name, state): (&&'static str, &State)| Watched {
            name: (*name).to_owned(),
            looked_ms: state.looked.map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
            stopped: state.stopped,
            trouble: state.trouble.clone(),
        };
        self.lock().iter().map(one).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looked(&self, name: &str) -> Option<Instant> {
        self.lock().get(name).and_then(|state| state.looked)
    }

    fn change(&self, name: &'static str, change: impl FnOnce(&mut State)) {
        change(self.lock().entry(name).or_default());
    }
}

impl Watcher {
    /// It has looked, and all is well.
    pub(super) fn well(&self) {
        let name = self.name;
        self.all.change(name, |state| {
            state.looked = Some(Instant::now());
            if state.trouble.take().is_some() {
                info!(watcher = name, "it works again");
            }
        });
    }

    /// It has looked, and could not see.
    pub(super) fn trouble(&self, why: &str) {
        self.all.change(self.name, |state| {
            state.looked = Some(Instant::now());
            state.trouble = Some(why.to_owned());
        });
    }
}

/// A task that ends with whoever waits for it.
struct Ended(AbortHandle);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// So many lives within the time, and how it is then.
    async fn lives<F>(
        within: Duration,
        life: impl Fn(u32, Watcher) -> F + Send + Sync + 'static,
    ) -> (u32, Watched)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (watchers, lives) = (Watchers::default(), AtomicU32::new(0));
        let kept =
            watchers.keep("queue", PATIENCE, |watcher| life(lives.fetch_add(1, Ordering::Relaxed), watcher));
        assert!(tokio::time::timeout(within, kept).await.is_err(), "it never ends");
        (lives.load(Ordering::Relaxed), watchers.all().remove(0))
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_ends_is_begun_anew_with_pauses_that_grow() {
        let (lives, watched) = lives(Duration::from_secs(600), |_, _| async {}).await;
        // After 1, 2, 4, 8, 16, 32 s, and then each minute.
        assert_eq!((lives, watched.stopped), (15, 15));
        assert_eq!(watched.trouble.as_deref(), Some("it has ended"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_begun_anew_and_is_well_again() {
        let (lives, watched) = lives(Duration::from_secs(200), |life, watcher| async move {
            watcher.well();
            if life > 0 {
                loop {
                    sleep(Duration::from_secs(1)).await;
                    watcher.well();
                }
            }
            std::future::pending::<()>().await;
        })
        .await;
        assert_eq!((lives, watched.stopped, watched.trouble), (2, 1, None));
        assert!(watched.looked_ms.is_some_and(|ms| ms <= 1000));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_is_begun_anew() {
        let (lives, watched) = lives(Duration::from_secs(10), |life, watcher| async move {
            assert!(life > 0, "the first life fails");
            watcher.trouble("no cluster");
            std::future::pending::<()>().await;
        })
        .await;
        assert_eq!((lives, watched.stopped, watched.trouble.as_deref()), (2, 1, Some("no cluster")));
    }

    #[tokio::test]
    async fn it_ends_with_whoever_keeps_it() {
        let (alive, mut gone) = tokio::sync::mpsc::channel::<()>(1);
        let watchers = Watchers::default();
        let kept = watchers.keep("queue", PATIENCE, |_| {
            let alive = alive.clone();
            async move {
                let _alive = alive;
                std::future::pending::<()>().await;
            }
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), kept).await.is_err());
        drop(alive);
        let gone = tokio::time::timeout(Duration::from_secs(10), gone.recv()).await;
        assert!(gone.is_ok_and(|sent| sent.is_none()));
    }
}
