//! Deadlines in order; each key has at most one.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use super::Mono;

/// A set of deadlines.
#[derive(Debug)]
pub(super) struct Timers<K> {
    queue: BTreeSet<(Mono, K)>,
    armed: HashMap<K, Mono>,
}

impl<K: Copy + Ord + Hash> Timers<K> {
    pub(super) fn new() -> Self {
        Self { queue: BTreeSet::new(), armed: HashMap::new() }
    }

    /// Sets the deadline of `key`, replacing an earlier one.
    pub(super) fn arm(&mut self, key: K, at: Mono) {
        self.disarm(key);
        self.queue.insert((at, key));
        self.armed.insert(key, at);
    }

    pub(super) fn disarm(&mut self, key: K) {
        if let Some(at) = self.armed.remove(&key) {
            self.queue.remove(&(at, key));
        }
    }

    /// Removes and returns the first key that is due.
    pub(super) fn pop_due(&mut self, now: Mono) -> Option<K> {
        let &(at, key) = self.queue.first()?;
        if at > now {
            return None;
        }
        self.disarm(key);
        Some(key)
    }

    pub(super) fn deadline(&self, key: K) -> Option<Mono> {
        self.armed.get(&key).copied()
    }

    pub(super) fn next(&self) -> Option<Mono> {
        self.queue.first().map(|(at, _)| *at)
    }
}
