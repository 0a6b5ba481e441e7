//! What is left on disk for the engine: the proof in the ledger, and the request in the queue. Either does without the other.

use std::time::{Duration, Instant};

use super::{Work, on_disk, this_node};
use crate::engine::journal::Entry;
use crate::fence::decide::Input;
use crate::fence::say::Say;
use crate::fence::{Action, HAND_OVER, keep};
use crate::handover::{Marked, Request, Wish, asks};
use crate::proof::FenceProof;
use crate::stamp::Stamp;

/// What is noted.
pub(super) struct Note {
    /// What is left to do in Nova.
    pub(super) open: Option<String>,
    /// Whether this agent still works on it.
    pub(super) working: bool,
    /// Whether the engine is to switch the host on in the end.
    pub(super) power_on: bool,
    /// Limit.
    pub(super) within: Duration,
}

impl Work {
    pub(super) async fn note(&mut self, note: Note, proof: Option<&FenceProof>, say: &mut Say) -> Input {
        let (working, within) = (note.working, note.within);
        let unkept = proof.filter(|_| !self.in_ledger).cloned();
        let ledger = self.keep.ledger();
        let record = async {
            let Some(proof) = unkept else { return Ok(()) };
            on_disk(within, move || keep::record(&ledger, &proof)).await
        };
        let (recorded, put) = tokio::join!(record, self.put(note));
        self.in_ledger |= proof.is_some() && recorded.is_ok();
        let Err(why) = recorded else { return Input::Noted(put) };
        // The last word: what the cluster and Nova are told is no proof without a signature.
        if let (false, Err(queue), Some(key)) = (working, &put, self.keep.problem()) {
            return Input::ProofLost(format!("{why}; {queue}; {key}"));
        }
        say.warning(format!("the proof is not in the ledger: {why}"));
        Input::Noted(put)
    }

    /// The request.
    async fn put(&mut self, note: Note) -> Result<(), String> {
        let Note { open, working, power_on, within } = note;
        self.power_on = power_on;
        let marked = open.map_or(Marked::Done, |why| Marked::Open { why });
        self.asks = asks(self.scene.told.evacuates, &marked, power_on);
        let until = Instant::now() + within;
        let wish = if self.scene.told.action == Action::On { Wish::Return } else { Wish::Evacuate };
        let queued = self.queued(within).await?;
        let mut same_host = queued.iter().filter(|it| it.host == self.host);
        if let Some(same) = same_host.clone().find(|it| it.wish == wish) {
            // Asked for before and not finished: the same incident.
            self.incident = same.id;
        }
        // Whoever fences does not want the host back, whatever was wanted before.
        let superseded =
            same_host.find(|it| wish == Wish::Evacuate && it.wish == Wish::Return).map(|it| it.id);
        let entries = self.story.iter().zip(&self.stamps);
        let request = Request {
            id: self.incident,
            wish,
            // Of a wish for its return: not before the proof has ended, for what ended before that is another one.
            at: self.ended.unwrap_or(self.at),
            by: format!("fence_nova on {}", this_node()),
            node: self.node.clone(),
            host: self.host.clone(),
            proof: self.proof.clone(),
            marked,
            power_on,
            evacuates: self.scene.told.evacuates,
            shared_storage: self.scene.told.shared_storage,
            not_before: working.then(|| Stamp::now().after(self.scene.told.nova_timeout + HAND_OVER)),
            story: entries.map(|(event, at)| Entry::new(*at, self.incident, event.clone())).collect(),
        };
        let left = until.saturating_duration_since(Instant::now());
        let queue = self.queue.clone();
        let put = move || {
            queue.put(&request)?;
            superseded.map_or(Ok(()), |id| queue.remove(id))
        };
        on_disk(left, move || put().map_err(|error| error.to_string())).await
    }
}
