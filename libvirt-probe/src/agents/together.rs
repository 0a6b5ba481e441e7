//! Several futures at the same time, in the task that waits for them.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// A future of one of several.
pub(super) type Each<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Waits for all; the results come in the order of the futures.
pub(super) async fn all<T: Send>(futures: Vec<Each<'_, T>>) -> Vec<T> {
    let mut slots: Vec<(Option<Each<'_, T>>, Option<T>)> =
        futures.into_iter().map(|future| (Some(future), None)).collect();
    poll_fn(|cx| {
        let mut pending = false;
        for (future, result) in &mut slots {
            if let Some(running) = future {
                match running.as_mut().poll(cx) {
                    Poll::Ready(value) => (*future, *result) = (None, Some(value)),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    slots.into_iter().filter_map(|(_, result)| result).collect()
}

/// Waits for the first; says which it was. Without any, waits for ever.
pub(super) async fn first(mut futures: Vec<Each<'_, ()>>) -> usize {
    poll_fn(|cx| {
        let ready = futures.iter_mut().position(|future| future.as_mut().poll(cx).is_ready());
        ready.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    fn after(seconds: u64) -> Each<'static, u64> {
        Box::pin(async move {
            sleep(Duration::from_secs(seconds)).await;
            seconds
        })
    }

    #[tokio::test(start_paused = true)]
    async fn all_take_as_long_as_the_slowest() {
        let begun = Instant::now();
        assert_eq!(all(vec![after(3), after(1), after(2)]).await, [3, 1, 2]);
        assert_eq!(begun.elapsed().as_secs(), 3);
        assert!(all::<u8>(Vec::new()).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_ends_the_wait() {
        let quiet = |seconds| -> Each<'static, ()> {
            Box::pin(async move {
                after(seconds).await;
            })
        };
        assert_eq!(first(vec![quiet(3), quiet(1), quiet(2)]).await, 1);
    }
}
