//! What waits to be written to one peer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pcmk_proto::frame::{self, EncodedFrame};
use tokio::sync::{Notify, watch};
use tracing::error;

/// The way to one peer. Never blocks; a peer that lets too much pile up is disconnected.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

impl Outbox {
    /// Queues one document. Without effect once the connection is closing.
    pub fn send(&self, xml: impl Into<String>) {
        self.push(xml.into());
    }

    /// Queues one document, unless more than `most` bytes would wait then: `false` if it was not queued.
    pub fn offer(&self, xml: impl Into<String>, most: usize) -> bool {
        let xml = xml.into();
        let fits = self.queued_bytes().saturating_add(cost(&xml)) <= most;
        if fits {
            self.push(xml);
        }
        fits
    }

    fn push(&self, xml: String) {
        let cost = cost(&xml);
        let mut queue = self.0.queue();
        if self.0.end.borrow().is_some() {
            return;
        }
        if queue.bytes.saturating_add(cost) > self.0.limit {
            queue.frames = VecDeque::new();
            self.0.end.send_replace(Some(End::Overflow));
        } else {
            // Numbered under the lock, so that each peer sees growing numbers.
            match frame::encode(NEXT_FRAME.fetch_add(1, Ordering::Relaxed), xml) {
                Ok(frame) => {
                    queue.bytes = queue.bytes.saturating_add(cost);
                    queue.frames.push_back(frame);
                }
                Err(error) => error!("Could not send a message: {error}"),
            }
        }
        drop(queue);
        self.0.changed.notify_one();
    }

    /// What waits for the peer to read it.
    pub fn queued_bytes(&self) -> usize {
        self.0.queue().bytes
    }

    /// Lets what is queued go out, then closes the connection.
    pub fn close(&self) {
        self.end(End::Requested);
    }

    pub(crate) fn new(limit: usize) -> Self {
        let end = watch::Sender::new(None);
        Self(Arc::new(Shared { limit, queue: Mutex::default(), changed: Notify::new(), end }))
    }

    /// The next message, or why there are no more. Safe to cancel; for one reader.
    pub(super) async fn next(&self) -> Result<EncodedFrame, End> {
        loop {
            {
                let mut queue = self.0.queue();
                if let Some(frame) = queue.frames.pop_front() {
                    if queue.frames.is_empty() {
                        queue.frames = VecDeque::new(); // a burst leaves nothing behind
                    }
                    return Ok(frame);
                }
                if let Some(end) = *self.0.end.borrow() {
                    return Err(end);
                }
            }
            self.0.changed.notified().await;
        }
    }

    /// This message went out and counts no longer.
    pub(super) fn written(&self, frame: &EncodedFrame) {
        let text = frame.payload.len().saturating_sub(1);
        let mut queue = self.0.queue();
        queue.bytes = queue.bytes.saturating_sub(text.saturating_add(OVERHEAD));
    }

    /// Waits for the end to be decided; the writer may be in the middle of a message then.
    pub(crate) async fn ended(&self) -> End {
        let mut end = self.0.end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.unwrap_or(End::Requested),
            Err(_) => End::Requested,
        }
    }

    /// The connection is gone: forgets what is queued, now and later.
    pub(super) fn abandon(&self) {
        self.end(End::Requested);
        self.0.queue().frames = VecDeque::new();
    }

    fn end(&self, end: End) {
        self.0.end.send_if_modified(|current| {
            let first = current.is_none();
            current.get_or_insert(end);
            first
        });
        self.0.changed.notify_one();
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("queued", &self.queued_bytes()).finish_non_exhaustive()
    }
}

/// Why nothing more will be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Somebody called [`Outbox::close`].
    Requested,
    /// The peer does not read.
    Overflow,
}

/// What a queued message costs besides its text.
const OVERHEAD: usize = 128;

fn cost(xml: &str) -> usize {
    xml.len().saturating_add(OVERHEAD)
}

/// One counter for the whole process, from 1, as in the C daemon.
static NEXT_FRAME: AtomicU64 = AtomicU64::new(1);

struct Shared {
    limit: usize,
    queue: Mutex<Queue>,
    changed: Notify,
    end: watch::Sender<Option<End>>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<EncodedFrame>,
    /// Of the queued messages and of the one being written.
    bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn documents_leave_in_order_and_a_close_comes_last() {
        let outbox = Outbox::new(1 << 20);
        outbox.send("<a/>");
        outbox.send(String::from("<b/>"));
        outbox.close();
        outbox.send("<late/>");
        let (first, second) = (outbox.next().await.unwrap(), outbox.next().await.unwrap());
        assert_eq!((&first.payload[..], &second.payload[..]), (&b"<a/>\0"[..], &b"<b/>\0"[..]));
        assert_eq!(outbox.next().await, Err(End::Requested));
        assert_eq!(outbox.ended().await, End::Requested);
    }

    #[tokio::test]
    async fn overflow_ends_the_connection_and_frees_the_queue() {
        let outbox = Outbox::new(2000);
        for _ in 0..3 {
            outbox.send("x".repeat(1000));
        }
        assert_eq!(outbox.ended().await, End::Overflow);
        assert_eq!(outbox.next().await, Err(End::Overflow));
    }

    #[tokio::test]
    async fn an_offer_that_does_not_fit_ends_nothing() {
        let outbox = Outbox::new(2000);
        assert!(outbox.offer("x".repeat(800), 1000));
        assert!(!outbox.offer("x".repeat(800), 1000));
        assert!(!outbox.offer("x".repeat(5000), 1000));
        outbox.send("x".repeat(800));
        assert_eq!(outbox.queued_bytes(), 2 * 928);
        assert!(outbox.next().await.is_ok());
    }

    #[tokio::test]
    async fn what_is_written_makes_room() {
        let outbox = Outbox::new(2000);
        for _ in 0..100 {
            outbox.send("x".repeat(1000));
            let frame = outbox.next().await.unwrap();
            outbox.written(&frame);
        }
        assert_eq!(outbox.0.queue().bytes, 0);
    }
}
