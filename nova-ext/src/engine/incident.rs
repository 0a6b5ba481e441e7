//! One host, from request to end: its phases. What becomes of each server is in `ways`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::gates;
use super::journal::{Event, Gate, Outcome, Verdict};
use super::server::{Progress, Stage, Way};
use super::shared::{Shared, Timer};
use super::values::{Action, Mono, Point, Read, ServiceView};
use crate::ids::{HostName, IncidentId, ProofId, ServerId};
use crate::proof::FenceProof;

/// Between looks at a gate that holds.
const GATE: Duration = Duration::from_secs(2);
/// The longest pause between tries of a phase.
const LONGEST_PAUSE: u64 = 30;

/// Where an incident is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// The proof is looked for again: after a restart, after a long wait, or because Nova takes the host for up.
    Proving,
    /// A gate holds it.
    Held,
    /// Hooks run before Nova is told.
    BeforeForceDown,
    /// Nova's word on the host is read.
    ReadingService,
    /// Nova is being told that the host is down.
    ForcingDown,
    /// Hooks run after Nova was told.
    AfterForceDown,
    /// What is on the host is being read.
    Inventory,
    /// Servers move.
    Running,
    /// It has ended.
    Ended,
}

/// An incident, for status and metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its name.
    pub incident: IncidentId,
    /// The host.
    pub host: HostName,
    /// Where it is.
    pub phase: String,
    /// What holds it up, if something does.
    pub held: Option<String>,
    /// Servers by how far they are.
    pub servers: BTreeMap<Progress, u32>,
    /// Servers that stay on purpose.
    pub left_out: u32,
}

/// One host.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a call under way or a fact of its own")]
pub(super) struct Incident {
    pub(super) id: IncidentId,
    pub(super) host: HostName,
    pub(super) proof: Option<Arc<FenceProof>>,
    pub(super) phase: Phase,
    /// The phase's call is under way.
    pub(super) busy: bool,
    tries: u32,
    pub(super) planned: bool,
    pub(super) ways: BTreeMap<ServerId, Way>,
    /// Servers to ask for, in the plan's order.
    pub(super) queue: BTreeSet<(u32, ServerId)>,
    /// Servers to start, in the plan's order.
    pub(super) to_start: BTreeSet<(u32, ServerId)>,
    /// Servers whose request may be alive.
    pub(super) flying: BTreeSet<ServerId>,
    pub(super) open: u32,
    pub(super) left_out: u32,
    /// When the last reading of migrations began.
    pub(super) rows_begun: Option<Mono>,
    /// How long that took.
    pub(super) rows_took: Duration,
    pub(super) rows_busy: bool,
    /// When they are to be read again.
    pub(super) rows_due: Mono,
    /// When they may be read again at the earliest.
    pub(super) rows_soonest: Mono,
    /// Whether Nova has said something since reading began.
    pub(super) heard: bool,
    /// What last held it up, as the journal has it.
    pub(super) held: Option<(Gate, String)>,
    /// When the proof came. What a look that began before it has found does not count.
    pub(super) proof_since: Mono,
    /// When the proof was last seen to hold.
    pub(super) proof_seen: Mono,
    /// When it is to be looked for again.
    pub(super) proof_due: Mono,
    pub(super) proof_busy: bool,
    pub(super) came_back: bool,
    /// The proofs of which an earlier engine knew, until the first one is seen here.
    pub(super) remembered: Option<BTreeSet<ProofId>>,
    pub(super) newest: i64,
}

impl Incident {
    pub(super) fn new(id: IncidentId, host: HostName, proof: Option<FenceProof>, now: Mono) -> Self {
        Self {
            id,
            host,
            phase: if proof.is_some() { Phase::Held } else { Phase::Proving },
            proof: proof.map(Arc::new),
            busy: false,
            tries: 0,
            planned: false,
            ways: BTreeMap::new(),
            queue: BTreeSet::new(),
            to_start: BTreeSet::new(),
            flying: BTreeSet::new(),
            open: 0,
            left_out: 0,
            rows_begun: None,
            rows_took: Duration::ZERO,
            rows_busy: false,
            rows_due: Mono::ZERO,
            rows_soonest: Mono::ZERO,
            heard: false,
            held: None,
            proof_since: now,
            proof_seen: now,
            proof_due: now,
            proof_busy: false,
            came_back: false,
            remembered: None,
            newest: i64::MIN,
        }
    }

    /// Whether it still asks for servers of its host.
    pub(super) fn is_on(&self) -> bool {
        self.phase != Phase::Ended && !self.came_back
    }

    /// Whether Nova may still get a request that it has not confirmed.
    pub(super) fn is_unsettled(&self) -> bool {
        self.ways
            .values()
            .any(|way| matches!(way.stage, Stage::Posting { .. } | Stage::Flying { heard: false, .. }))
    }

    pub(super) fn summary(&self) -> Summary {
        let mut servers = BTreeMap::new();
        for way in self.ways.values() {
            let count: &mut u32 = servers.entry(way.stage.progress()).or_default();
            *count = count.saturating_add(1);
        }
        Summary {
            incident: self.id,
            host: self.host.clone(),
            phase: serde_json::to_value(self.phase)
                .ok()
                .and_then(|value| value.as_str().map(str::to_owned))
                .unwrap_or_default(),
            held: self.held.as_ref().map(|(_, why)| why.clone()),
            servers,
            left_out: self.left_out,
        }
    }

    /// Does what the phase asks for next.
    /// `unsettled`: requests of an earlier incident of this host may still be on their way.
    pub(super) fn step(&mut self, down: usize, unsettled: bool, shared: &mut Shared) {
        if self.busy {
            return;
        }
        let (incident, host) = (self.id, self.host.clone());
        match self.phase {
            Phase::Proving => self.check_proof(shared),
            Phase::Held => {
                if let Some((gate, why)) = gates::enter(&shared.facts(&self.host, down), &shared.policy.gates)
                {
                    self.hold(gate, why, shared);
                    shared.at(GATE, Timer::Phase(incident));
                } else if !self.is_proven_now(shared.now.mono) {
                    // It has waited for long: the host may be on again.
                    self.let_go(shared);
                    self.enter(Phase::Proving, shared);
                } else {
                    self.let_go(shared);
                    self.enter(Phase::BeforeForceDown, shared);
                }
            }
            Phase::BeforeForceDown | Phase::AfterForceDown => {
                self.busy = true;
                let point = self.point();
                shared.out.push(Action::Hook { incident, host, point, server: None });
            }
            Phase::ReadingService | Phase::ForcingDown => {
                self.busy = true;
                shared.out.push(Action::ReadService { incident, host });
            }
            // Nova would not show them yet, and they would be asked for twice.
            Phase::Inventory if unsettled => {
                let why = "requests of the host's last incident may still be on their way".to_owned();
                self.hold(Gate::Cloud, why, shared);
                shared.at(GATE, Timer::Phase(incident));
            }
            Phase::Inventory => {
                self.busy = true;
                shared.out.push(Action::TakeInventory { incident, host });
            }
            Phase::Running => self.read_rows(shared),
            Phase::Ended => {}
        }
    }

    fn point(&self) -> Point {
        if self.phase == Phase::BeforeForceDown { Point::BeforeForceDown } else { Point::AfterForceDown }
    }

    pub(super) fn enter(&mut self, phase: Phase, shared: &mut Shared) {
        self.phase = phase;
        self.busy = false;
        self.tries = 0;
        shared.at(Duration::ZERO, Timer::Phase(self.id));
    }

    /// The phase's call failed: again, later.
    pub(super) fn again(&mut self, shared: &mut Shared) {
        self.busy = false;
        self.tries = self.tries.saturating_add(1);
        let pause = (1_u64 << self.tries.min(6)).min(LONGEST_PAUSE);
        shared.at(Duration::from_secs(pause), Timer::Phase(self.id));
    }

    /// Writes down what holds it up, once.
    pub(super) fn hold(&mut self, gate: Gate, why: String, shared: &mut Shared) {
        if self.held.as_ref().is_none_or(|(held_by, _)| *held_by != gate) {
            shared.record(self.id, Event::Gate { gate, verdict: Verdict::Hold, why: why.clone() });
        }
        self.held = Some((gate, why));
    }

    /// Writes down that nothing holds it up any more.
    pub(super) fn let_go(&mut self, shared: &mut Shared) {
        if let Some((gate, why)) = self.held.take() {
            shared.record(
                self.id,
                Event::Gate { gate, verdict: Verdict::Open, why: format!("no more: {why}") },
            );
        }
    }

    pub(super) fn hooked(&mut self, point: Point, stop: Option<String>, shared: &mut Shared) {
        if !self.busy
            || !matches!(self.phase, Phase::BeforeForceDown | Phase::AfterForceDown)
            || self.point() != point
        {
            return;
        }
        if let Some(why) = stop {
            // The operator has said that this must work: the hook is run again until it does.
            self.hold(Gate::Hook, why, shared);
            self.again(shared);
            return;
        }
        self.let_go(shared);
        let next = if point == Point::BeforeForceDown { Phase::ReadingService } else { Phase::Inventory };
        self.enter(next, shared);
    }

    pub(super) fn service(&mut self, read: Read<(ServiceView, Option<String>)>, shared: &mut Shared) {
        if !self.busy || !matches!(self.phase, Phase::ReadingService | Phase::ForcingDown) {
            return;
        }
        let (view, request_id) = match read {
            Ok(read) => read,
            Err(trouble) => {
                self.hold(
                    Gate::ServiceUp,
                    format!("Nova does not know that the host is down: {}", trouble.why),
                    shared,
                );
                self.again(shared);
                return;
            }
        };
        if self.proof.is_none() {
            // Nova is told nothing without one.
            self.enter(Phase::Proving, shared);
            return;
        }
        let (incident, host) = (self.id, self.host.clone());
        if view.forced_down {
            let already = self.phase == Phase::ReadingService;
            self.let_go(shared);
            shared.record(incident, Event::ForcedDown { host, service: view.id, already, request_id });
            if self.planned { self.run(shared) } else { self.enter(Phase::AfterForceDown, shared) }
        } else {
            if self.phase == Phase::ReadingService {
                shared.record(incident, Event::ForcingDown { host });
            }
            self.phase = Phase::ForcingDown;
            let reason = format!("{}{} ({incident})", crate::cloud::OURS, self.why_off());
            shared.out.push(Action::ForceDown { incident, service: view.id, reason });
        }
    }

    fn why_off(&self) -> String {
        self.proof.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    pub(super) fn run(&mut self, shared: &mut Shared) {
        self.let_go(shared);
        self.enter(Phase::Running, shared);
        self.perhaps_end(shared);
    }

    pub(super) fn perhaps_end(&mut self, shared: &mut Shared) {
        if self.phase == Phase::Running && self.open == 0 {
            self.end(shared);
        }
    }

    pub(super) fn end(&mut self, shared: &mut Shared) {
        self.phase = Phase::Ended;
        let count = |progress| {
            let ways = self.ways.values().filter(|way| way.stage.progress() == progress);
            u32::try_from(ways.count()).unwrap_or(u32::MAX)
        };
        let (moved, failed) = (count(Progress::Done), count(Progress::Failed));
        let outcome = match (self.came_back, failed) {
            (true, _) => Outcome::CameBack,
            (false, 0) => Outcome::Complete,
            (false, _) => Outcome::Partial,
        };
        // One that came back may have failed again since: then it is another incident's.
        if !self.came_back {
            shared.off.remove(&self.host);
        }
        let left_out = self.left_out;
        shared.remember_end(self.id, outcome);
        shared.record(self.id, Event::Ended { outcome, moved, failed, left_out });
        shared.out.push(Action::Hook {
            incident: self.id,
            host: self.host.clone(),
            point: Point::End,
            server: None,
        });
    }
}
