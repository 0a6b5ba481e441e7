//! Whether an incident's host is still off: its proof is looked for again and again, and what ends it ends the requests.

use std::sync::Arc;
use std::time::Duration;

use super::incident::{Incident, Phase};
use super::journal::{Event, Gate};
use super::server::Progress;
use super::shared::{Shared, Timer};
use super::values::{Action, Mono, Read};
use super::ways::IS_BACK;
use crate::ids::ServerId;
use crate::proof::FenceProof;

/// Between looks for the proof.
const PROOF: Duration = Duration::from_secs(10);

impl Incident {
    /// Whether the proof was seen to hold a short time ago.
    pub(super) fn is_proven_now(&self, now: Mono) -> bool {
        self.proof.is_some() && now.saturating_sub(self.proof_seen) <= PROOF
    }

    /// The proof is looked for again after a while, whatever the incident waits for.
    pub(super) fn watch_proof(&mut self, shared: &mut Shared) {
        self.proof_due = shared.now.mono.saturating_add(PROOF);
        shared.at(PROOF, Timer::Proof(self.id));
    }

    /// It may be time to look for the proof again.
    pub(super) fn proof_due(&mut self, shared: &mut Shared) {
        if self.proof_due <= shared.now.mono {
            self.check_proof(shared);
        }
    }

    pub(super) fn check_proof(&mut self, shared: &mut Shared) {
        if !self.proof_busy && self.is_on() {
            self.proof_busy = true;
            shared.out.push(Action::CheckProof { host: self.host.clone() });
        }
    }

    /// A look for the proof, begun then, has ended.
    pub(super) fn proven(&mut self, begun: Mono, read: Read<Option<FenceProof>>, shared: &mut Shared) {
        if !std::mem::take(&mut self.proof_busy) || self.phase == Phase::Ended {
            return;
        }
        // A look that began before the last proof came says nothing of it.
        if begun >= self.proof_since {
            match read {
                Ok(Some(proof)) if self.proof.is_none() || self.phase == Phase::Proving => {
                    self.renew(proof, shared);
                }
                // The proof that there is keeps its name.
                Ok(Some(_)) => self.proof_seen = shared.now.mono,
                Ok(None) => self.host_is_back("nothing proves any more that it is off", shared),
                Err(trouble) if self.phase == Phase::Proving => {
                    let why = format!("nothing proves that it is still off: {}", trouble.why);
                    self.hold(Gate::Proof, why, shared);
                }
                // It holds while nothing contradicts it.
                Err(_) => {}
            }
        }
        if self.phase == Phase::Proving {
            self.again(shared);
        }
        if self.is_on() {
            self.watch_proof(shared);
        }
    }

    /// Takes over a proof that is newer, or the first.
    pub(super) fn renew(&mut self, proof: FenceProof, shared: &mut Shared) {
        if self.remembered.take().is_some_and(|known| self.planned && !known.contains(&proof.id())) {
            // The plan is of a failure that is over, whoever has dealt with it.
            self.host_is_back(
                "it was proven off anew while no engine saw it: that is another failure",
                shared,
            );
            return;
        }
        if self.proof.as_ref().is_none_or(|known| known.id() != proof.id()) {
            shared.record(self.id, Event::proved(&proof));
            self.proof_since = shared.now.mono;
        }
        self.proof_seen = shared.now.mono;
        shared.off.insert(self.host.clone());
        self.proof = Some(Arc::new(proof));
        if self.phase == Phase::Proving {
            self.let_go(shared);
            // What was planned has passed the gates and the first hooks already.
            self.enter(if self.planned { Phase::ReadingService } else { Phase::Held }, shared);
        }
    }

    /// Nova takes the host for up. Perhaps it is: that is looked at before Nova is told again.
    pub(super) fn service_is_up(&mut self, shared: &mut Shared) {
        if self.phase == Phase::Running && !self.came_back {
            self.hold(Gate::ServiceUp, "Nova takes the host for up".to_owned(), shared);
            self.proof_since = shared.now.mono;
            self.enter(Phase::Proving, shared);
        }
    }

    /// The host is on again, or may be: nothing more is asked for. What was asked for is followed to its end.
    pub(super) fn host_is_back(&mut self, why: &str, shared: &mut Shared) {
        if self.phase == Phase::Ended || self.came_back {
            return;
        }
        self.came_back = true;
        self.proof = None;
        shared.off.remove(&self.host);
        shared.record(self.id, Event::ProofEnded { host: self.host.clone(), why: why.to_owned() });
        self.finish_without_proof(shared);
    }

    /// Goes on with one whose host an earlier engine has seen come back.
    pub(super) fn is_back_already(&mut self, shared: &mut Shared) {
        self.came_back = true;
        self.finish_without_proof(shared);
    }

    fn finish_without_proof(&mut self, shared: &mut Shared) {
        let waiting: Vec<ServerId> = self
            .ways
            .iter()
            .filter(|(_, way)| way.stage.progress() == Progress::Waiting)
            .map(|(server, _)| *server)
            .collect();
        for server in waiting {
            self.give_up(server, IS_BACK, shared);
        }
        match self.phase {
            Phase::Running => self.perhaps_end(shared),
            // Nothing is posted without a proof.
            _ if self.planned => self.run(shared),
            _ => self.end(shared),
        }
    }
}
