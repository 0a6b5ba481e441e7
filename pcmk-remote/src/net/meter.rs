//! Counters of the cluster's side, for the status document.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::status::NetCounters;

/// What happened on the cluster's side so far.
#[derive(Debug, Default)]
pub struct Meter {
    handshakes_ok: AtomicU64,
    handshakes_failed: Mutex<BTreeMap<&'static str, u64>>,
    messages_in: AtomicU64,
    messages_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Meter {
    /// The counters as they are now.
    pub fn read(&self) -> NetCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let failed = self.handshakes_failed.lock().unwrap_or_else(PoisonError::into_inner);
        NetCounters {
            handshakes_ok: read(&self.handshakes_ok),
            handshakes_failed: failed.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
            messages_in: read(&self.messages_in),
            messages_out: read(&self.messages_out),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
        }
    }

    pub(super) fn handshake_ok(&self) {
        add(&self.handshakes_ok, 1);
    }

    /// `reason` is one of a fixed set, never what a peer said.
    pub(super) fn handshake_failed(&self, reason: &'static str) {
        let mut failed = self.handshakes_failed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failed.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn received(&self, bytes: usize) {
        add(&self.messages_in, 1);
        add(&self.bytes_in, bytes);
    }

    pub(super) fn sent(&self, bytes: usize) {
        add(&self.messages_out, 1);
        add(&self.bytes_out, bytes);
    }
}

fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(u64::try_from(n).unwrap_or(0), Ordering::Relaxed);
}
