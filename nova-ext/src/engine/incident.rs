//! One host, from request to end: its phases, and what its migrations say. What becomes of each server is in `ways`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::gates;
use super::journal::{Event, Gate, Outcome, Verdict};
use super::server::{Progress, Stage, Way};
use super::shared::{Shared, Timer};
use super::values::{Action, Mono, Point, Read, Row, RowState, ServiceView, Trouble, tried};
use crate::ids::{HostName, IncidentId, ServerId};
use crate::plan::{Inventory, Move, plan};
use crate::proof::FenceProof;

/// Between looks at migrations while some are under way.
const LOOK: Duration = Duration::from_millis(500);
/// The same if each takes long.
const LOOK_SELDOM: Duration = Duration::from_secs(5);
/// The same when Nova says that there is something to be seen.
const LOOK_HEARD: Duration = Duration::from_millis(50);
/// A reading of migrations allows requests for so long.
pub(super) const FRESH: Duration = Duration::from_secs(5);
/// Between looks for the proof.
const PROOF: Duration = Duration::from_secs(10);
/// Between looks at a gate that holds.
const GATE: Duration = Duration::from_secs(2);
/// The longest pause between tries of a phase.
const LONGEST_PAUSE: u64 = 30;

/// Where an incident is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Phase {
    /// The proof is looked for again, after a restart.
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
    busy: bool,
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
    rows_busy: bool,
    /// When they are to be read again.
    rows_due: Mono,
    /// When they may be read again at the earliest.
    rows_soonest: Mono,
    /// Whether Nova has said something since reading began.
    heard: bool,
    /// What last held it up, as the journal has it.
    pub(super) held: Option<(Gate, String)>,
    proof_busy: bool,
    pub(super) came_back: bool,
    pub(super) newest: i64,
}

impl Incident {
    pub(super) fn new(id: IncidentId, host: HostName, proof: Option<FenceProof>) -> Self {
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
            rows_busy: false,
            rows_due: Mono::ZERO,
            rows_soonest: Mono::ZERO,
            heard: false,
            held: None,
            proof_busy: false,
            came_back: false,
            newest: i64::MIN,
        }
    }

    /// Whether it still asks for servers of its host.
    pub(super) fn is_on(&self) -> bool {
        self.phase != Phase::Ended && !self.came_back
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
    pub(super) fn step(&mut self, down: usize, shared: &mut Shared) {
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

    fn enter(&mut self, phase: Phase, shared: &mut Shared) {
        self.phase = phase;
        self.busy = false;
        self.tries = 0;
        shared.at(Duration::ZERO, Timer::Phase(self.id));
    }

    /// The phase's call failed: again, later.
    fn again(&mut self, shared: &mut Shared) {
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
            self.busy = false;
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

    /// Nova takes the host for up: it must be told again.
    pub(super) fn service_is_up(&mut self, shared: &mut Shared) {
        if self.phase == Phase::Running {
            self.hold(Gate::ServiceUp, "Nova takes the host for up".to_owned(), shared);
            self.enter(Phase::ReadingService, shared);
        }
    }

    /// Plans, writes the plan down and begins. `ran` knows servers better than Nova does: other incidents' that were
    /// on their way to this host.
    pub(super) fn inventory(
        &mut self,
        begun: Mono,
        read: Read<(Inventory, Vec<Row>)>,
        ran: &BTreeMap<ServerId, bool>,
        shared: &mut Shared,
    ) {
        if !self.busy || self.phase != Phase::Inventory {
            return;
        }
        let (mut inventory, rows) = match read {
            Ok(read) => read,
            Err(trouble) => {
                self.trouble(&trouble, shared);
                self.again(shared);
                return;
            }
        };
        let here: BTreeSet<ServerId> = inventory.servers.iter().map(|server| server.id).collect();
        inventory.tried = tried(&rows);
        let plan = plan(&inventory, &shared.policy);
        for one in &plan.left_out {
            shared.record(
                self.id,
                Event::LeftOut {
                    server: one.server,
                    name: one.name.clone(),
                    reason: one.reason.code().to_owned(),
                    why: one.reason.to_string(),
                },
            );
        }
        self.left_out = u32::try_from(plan.left_out.len()).unwrap_or(u32::MAX);
        for mut one in plan.moves {
            one.ran = ran.get(&one.server).copied().unwrap_or(one.ran);
            self.add(&one, false, begun, shared);
        }
        // Moved since the host went down, by an engine whose journal is not here: they may still have to be started.
        let moved: BTreeSet<ServerId> = rows
            .iter()
            .filter(|row| RowState::parse(&row.status) == RowState::Moved && !here.contains(&row.server))
            .map(|row| row.server)
            .collect();
        for server in moved {
            let one = Move {
                server,
                name: String::new(),
                ran: true,
                reset: false,
                priority: 0,
                group: None,
                why: "Nova has moved it already".to_owned(),
            };
            self.add(&one, true, begun, shared);
        }
        self.newest = rows.iter().map(|row| row.number).max().unwrap_or(0);
        shared.record(
            self.id,
            Event::Planned {
                moves: self.open,
                left_out: self.left_out,
                to_stopped: shared.to_stopped,
                newest_migration: self.newest,
            },
        );
        self.planned = true;
        self.seed(&rows, begun, shared);
        self.run(shared);
    }

    fn trouble(&mut self, trouble: &Trouble, shared: &mut Shared) {
        if trouble.overload {
            shared.limiter.overloaded(shared.now.mono);
        }
        self.hold(Gate::Cloud, trouble.why.clone(), shared);
    }

    fn add(&mut self, one: &Move, ran_unknown: bool, begun: Mono, shared: &mut Shared) {
        let place = u32::try_from(self.ways.len()).unwrap_or(u32::MAX);
        shared.record(
            self.id,
            Event::Queued {
                server: one.server,
                name: one.name.clone(),
                ran: (!ran_unknown).then_some(one.ran),
                priority: one.priority,
                group: one.group.clone(),
                why: one.why.clone(),
            },
        );
        let mut way = Way::new(one, place, begun);
        way.ran_unknown = ran_unknown;
        self.admit(one.server, way, shared);
    }

    /// Takes a server in.
    pub(super) fn admit(&mut self, server: ServerId, way: Way, shared: &mut Shared) {
        shared.join_group(way.group.as_deref());
        if way.stage == Stage::Waiting {
            self.queue.insert((way.place, server));
        }
        self.open = self.open.saturating_add(1);
        self.ways.insert(server, way);
    }

    /// What migrations said when the plan was made: what is alive is followed, what failed is the past, and what has
    /// moved a server that is still listed here is looked at.
    fn seed(&mut self, rows: &[Row], begun: Mono, shared: &mut Shared) {
        let mut touched = BTreeSet::new();
        for row in rows {
            let Some(way) = self.ways.get_mut(&row.server) else { continue };
            way.see(row, self.newest, shared.now.mono);
            way.destination.clone_from(&row.destination);
            touched.insert(row.server);
        }
        self.rows_begun = Some(begun);
        for server in touched {
            self.follow(server, shared);
        }
    }

    fn run(&mut self, shared: &mut Shared) {
        self.let_go(shared);
        self.enter(Phase::Running, shared);
        shared.at(PROOF, Timer::Proof(self.id));
        self.perhaps_end(shared);
    }

    /// Asks for the migrations, unless that is under way.
    pub(super) fn read_rows(&mut self, shared: &mut Shared) {
        if self.phase != Phase::Running || self.rows_busy || shared.now.mono < self.rows_due {
            return;
        }
        if self.flying.is_empty() && self.queue.is_empty() {
            // Nothing to be told now; soon there may be.
            self.rows_due = shared.now.mono.saturating_add(LOOK);
            shared.at(LOOK, Timer::Rows(self.id));
            return;
        }
        self.rows_busy = true;
        self.heard = false;
        shared.out.push(Action::ReadRows { incident: self.id, host: self.host.clone() });
    }

    /// Nova says that something has happened to a server: if it is on its way, that is looked at sooner.
    pub(super) fn heard(&mut self, server: ServerId, shared: &mut Shared) {
        if self.phase != Phase::Running || !self.flying.contains(&server) {
            return;
        }
        self.heard = true;
        if self.rows_busy {
            return;
        }
        let due = self.rows_soonest.max(shared.now.mono);
        if due < self.rows_due {
            self.rows_due = due;
            shared.at(due.saturating_sub(shared.now.mono), Timer::Rows(self.id));
        }
    }

    /// Migrations are needed now.
    pub(super) fn want_rows(&mut self, shared: &mut Shared) {
        self.rows_due = self.rows_due.min(shared.now.mono);
        shared.at(Duration::ZERO, Timer::Rows(self.id));
    }

    pub(super) fn rows(&mut self, begun: Mono, read: Read<Vec<Row>>, shared: &mut Shared) {
        if !self.rows_busy {
            return;
        }
        self.rows_busy = false;
        if self.phase != Phase::Running {
            return;
        }
        // An API that is slow is asked less often.
        let took = shared.now.mono.saturating_sub(begun);
        let shortest = if self.heard { LOOK_HEARD } else { LOOK };
        let pause = shortest.max(took.saturating_mul(4)).min(LOOK_SELDOM);
        self.rows_soonest = shared.now.mono.saturating_add(LOOK_HEARD.max(took));
        self.rows_due = shared.now.mono.saturating_add(pause);
        shared.at(pause, Timer::Rows(self.id));
        let rows = match read {
            Ok(rows) => rows,
            Err(trouble) => {
                if trouble.overload {
                    shared.limiter.overloaded(shared.now.mono);
                }
                return;
            }
        };
        self.rows_begun = Some(begun);
        let mut touched: BTreeSet<ServerId> = self.flying.clone();
        for row in &rows {
            let Some(way) = self.ways.get_mut(&row.server) else { continue };
            if way.stage.is_end() || !way.see(row, self.newest, shared.now.mono) {
                continue;
            }
            touched.insert(row.server);
            let alive = RowState::parse(&row.status).is_alive();
            if let Some(destination) = row.destination.as_ref().filter(|_| alive || way.alive() == 0) {
                if way.lane.is_some() && way.bound.is_none() {
                    shared.limiter.bound_for(destination);
                    way.bound = Some(destination.clone());
                }
                way.destination = Some(destination.clone());
            }
            if way.rows.iter().any(|known| known.number == row.number && known.old) {
                continue;
            }
            shared.record(
                self.id,
                Event::Migration {
                    server: row.server,
                    number: row.number,
                    migration: row.id,
                    status: row.status.chars().take(32).collect(),
                    destination: row.destination.clone(),
                },
            );
        }
        for server in touched {
            self.follow(server, shared);
        }
    }

    pub(super) fn check_proof(&mut self, shared: &mut Shared) {
        if !self.proof_busy && self.is_on() {
            self.proof_busy = true;
            shared.out.push(Action::CheckProof { host: self.host.clone() });
        }
    }

    pub(super) fn proven(&mut self, read: Read<Option<FenceProof>>, shared: &mut Shared) {
        if !std::mem::take(&mut self.proof_busy) || self.phase == Phase::Ended {
            return;
        }
        match read {
            Ok(Some(proof)) if self.proof.is_none() => self.renew(proof, shared),
            Ok(None) => self.host_is_back("nothing proves any more that it is off", shared),
            Err(trouble) if self.phase == Phase::Proving => {
                let why = format!("nothing proves after the restart that it is off: {}", trouble.why);
                self.hold(Gate::Proof, why, shared);
                self.again(shared);
            }
            // The proof that there is keeps its name, and holds while nothing contradicts it.
            Ok(Some(_)) | Err(_) => {}
        }
        if self.is_on() {
            shared.at(PROOF, Timer::Proof(self.id));
        }
    }

    /// Takes over a proof that is newer, or the first.
    pub(super) fn renew(&mut self, proof: FenceProof, shared: &mut Shared) {
        if self.proof.as_ref().is_none_or(|known| known.id() != proof.id()) {
            shared.record(self.id, Event::proved(&proof));
        }
        shared.off.insert(self.host.clone());
        self.proof = Some(Arc::new(proof));
        if self.phase == Phase::Proving {
            self.let_go(shared);
            // What was planned has passed the gates and the first hooks already.
            self.enter(if self.planned { Phase::ReadingService } else { Phase::Held }, shared);
        }
    }

    /// The host is on again, or may be: nothing more is asked for.
    pub(super) fn host_is_back(&mut self, why: &str, shared: &mut Shared) {
        if self.phase == Phase::Ended || self.came_back {
            return;
        }
        self.came_back = true;
        self.proof = None;
        shared.off.remove(&self.host);
        shared.record(self.id, Event::ProofEnded { host: self.host.clone(), why: why.to_owned() });
        let waiting: Vec<ServerId> = self
            .ways
            .iter()
            .filter(|(_, way)| way.stage.progress() == Progress::Waiting)
            .map(|(server, _)| *server)
            .collect();
        for server in waiting {
            self.give_up(server, "its host is on again: it is there, or starts there", shared);
        }
        if self.phase == Phase::Running {
            self.perhaps_end(shared);
        } else {
            self.phase = Phase::Ended;
            self.end(shared);
        }
    }

    pub(super) fn perhaps_end(&mut self, shared: &mut Shared) {
        if self.phase == Phase::Running && self.open == 0 {
            self.phase = Phase::Ended;
            self.end(shared);
        }
    }

    fn end(&mut self, shared: &mut Shared) {
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
        shared.off.remove(&self.host);
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
