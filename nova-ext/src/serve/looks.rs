//! Looks at hosts, each beside the others: one whose devices do not answer holds up no other host.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::timeout;

/// So many at once.
const MOST: usize = 64;
/// For one; all that it asks has less time.
const LONGEST: Duration = Duration::from_secs(300);

/// Looks that are under way, each known by its key, with what they give.
pub(super) struct Looks<K, T> {
    tasks: JoinSet<Result<T, String>>,
    keys: HashMap<Id, K>,
}

impl<K: Clone + PartialEq, T: Send + 'static> Looks<K, T> {
    pub(super) fn new() -> Self {
        Self { tasks: JoinSet::new(), keys: HashMap::new() }
    }

    /// Begins one, unless it is under way already, or too many are: then it is for the next time.
    pub(super) fn begin(&mut self, key: &K, look: impl Future<Output = T> + Send + 'static) {
        if self.keys.len() < MOST && !self.keys.values().any(|known| known == key) {
            let late = |_| format!("it was not looked at within {} s", LONGEST.as_secs());
            let id = self.tasks.spawn(async move { timeout(LONGEST, look).await.map_err(late) }).id();
            self.keys.insert(id, key.clone());
        }
    }

    /// Those that have ended since the last time. One that hung, or has failed as no look should, is an error, and can begin
    /// anew.
    pub(super) fn ended(&mut self) -> Vec<(K, Result<T, String>)> {
        let mut ended = Vec::new();
        while let Some(result) = self.tasks.try_join_next_with_id() {
            let (id, result) = match result {
                Ok((id, given)) => (id, given),
                Err(failure) => (failure.id(), Err(failure.to_string())),
            };
            ended.extend(self.keys.remove(&id).map(|key| (key, result)));
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    async fn next(looks: &mut Looks<&'static str, u32>) -> Vec<(&'static str, Result<u32, String>)> {
        let some = async {
            loop {
                let ended = looks.ended();
                if !ended.is_empty() {
                    return ended;
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(30), some).await.unwrap()
    }

    #[tokio::test]
    async fn one_that_hangs_holds_up_no_other() {
        let mut looks = Looks::new();
        looks.begin(&"hangs", pending());
        looks.begin(&"ends", async { 1 });
        assert_eq!(next(&mut looks).await, [("ends", Ok(1))]);
        // It is still under way, and is not begun twice.
        looks.begin(&"hangs", async { 2 });
        looks.begin(&"ends", async { 3 });
        assert_eq!(next(&mut looks).await, [("ends", Ok(3))]);
        assert!(looks.ended().is_empty());
    }

    #[tokio::test]
    #[allow(clippy::panic, reason = "that is what it is about")]
    async fn one_that_fails_can_begin_anew() {
        let mut looks = Looks::new();
        looks.begin(&"fails", async { panic!("a bug") });
        let ended = next(&mut looks).await;
        assert!(matches!(ended.as_slice(), [("fails", Err(_))]), "{ended:?}");
        looks.begin(&"fails", async { 1 });
        assert_eq!(next(&mut looks).await, [("fails", Ok(1))]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_for_ever_can_begin_anew() {
        let mut looks = Looks::new();
        looks.begin(&"hangs", pending());
        sleep(LONGEST + Duration::from_secs(1)).await;
        let ended = next(&mut looks).await;
        assert!(matches!(ended.as_slice(), [("hangs", Err(_))]), "{ended:?}");
        looks.begin(&"hangs", async { 1 });
        assert_eq!(next(&mut looks).await, [("hangs", Ok(1))]);
    }

    #[tokio::test]
    async fn they_are_bounded() {
        let mut looks = Looks::<usize, ()>::new();
        for key in 0..MOST + 10 {
            looks.begin(&key, pending());
        }
        assert_eq!(looks.keys.len(), MOST);
    }
}
