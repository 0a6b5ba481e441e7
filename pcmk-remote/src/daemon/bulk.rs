//! Large documents of local tools are written where nobody waits for it; everything stays in order.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pcmk_proto::xml::{Element, Node};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

type Job = Box<dyn FnOnce() + Send>;

/// Does one piece of work after the other: at once while all are small, elsewhere from the first large one
/// until there is none left.
pub(super) struct Bulk {
    jobs: mpsc::UnboundedSender<Job>,
    waiting: Arc<AtomicUsize>,
}

/// Elements, and bytes of text, from which on a document is large: writing it takes about a millisecond.
const LARGE: usize = 2_000;
const LARGE_TEXT: usize = 256 << 10;
/// Pieces of work that may wait before tools are not heard any more.
const CROWDED: usize = 64;

impl Bulk {
    /// Must be called on a runtime.
    pub(super) fn new() -> Self {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let done = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Some(job) = queue.recv().await {
                let _ = spawn_blocking(job).await;
                done.fetch_sub(1, Ordering::Release);
            }
        });
        Self { jobs, waiting }
    }

    /// Does this after everything before it.
    pub(super) fn run(&self, large: bool, job: impl FnOnce() + Send + 'static) {
        if !large && self.waiting.load(Ordering::Acquire) == 0 {
            return job();
        }
        self.waiting.fetch_add(1, Ordering::Release);
        // The other end lives as long as the runtime.
        let _ = self.jobs.send(Box::new(job));
    }

    /// Whether so much waits that there should be no more for now.
    pub(super) fn is_crowded(&self) -> bool {
        self.waiting.load(Ordering::Acquire) >= CROWDED
    }
}

impl fmt::Debug for Bulk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

/// Whether a document takes long to write. Looks at no more of it than is needed to say so.
pub(super) fn is_large(document: &Element) -> bool {
    let (mut elements, mut text) = (0, 0);
    let mut waiting = vec![document];
    while let Some(element) = waiting.pop() {
        elements += 1;
        text += element.attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        for child in &element.children {
            match child {
                Node::Element(child) => waiting.push(child),
                Node::Text(content) | Node::CData(content) => text += content.len(),
            }
        }
        if elements + waiting.len() > LARGE || text > LARGE_TEXT {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn everything_is_done_in_order_and_only_large_work_elsewhere() {
        let bulk = Bulk::new();
        let done: Arc<Mutex<Vec<(u32, bool)>>> = Arc::default();
        let here = thread::current().id();
        let job = |n: u32| {
            let done = Arc::clone(&done);
            move || done.lock().unwrap().push((n, thread::current().id() == here))
        };
        bulk.run(false, job(0));
        bulk.run(true, job(1));
        for n in 2..200 {
            bulk.run(n % 50 == 0, job(n));
        }
        assert!(bulk.is_crowded());
        while bulk.waiting.load(Ordering::Acquire) > 0 {
            tokio::task::yield_now().await;
        }
        bulk.run(false, job(200));
        let done = done.lock().unwrap();
        assert_eq!(done.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (0..=200).collect::<Vec<_>>());
        assert_eq!((done[0].1, done[1].1, done[2].1, done[200].1), (true, false, false, true));
    }

    #[test]
    fn large_is_what_has_many_elements_or_much_text() {
        let with = |count: usize, text: usize| {
            let mut root = Element::new("cib");
            for _ in 0..count {
                root.push_child(Element::new("node"));
            }
            root.set("text", "x".repeat(text));
            root
        };
        assert!(!is_large(&with(100, 1000)));
        assert!(is_large(&with(3_000, 0)));
        assert!(is_large(&with(0, 300_000)));
    }
}
