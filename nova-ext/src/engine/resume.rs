//! What a journal says about the past, and how an engine goes on with it.
//!
//! Nothing in the journal is taken for the present: a proof is looked for again, the host's service is read again, and
//! a server whose request may have been sent is in flight until migrations, read now, say otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::core::Engine;
use super::flapping::Flapping;
use super::incident::Incident;
use super::journal::{Entry, Event, Outcome};
use super::server::{Judgement, Known, Stage, Way};
use super::shared::Timer;
use super::values::{Action, Mono, Now, RowState};
use crate::ids::{HostName, IncidentId, ProofId, ServerId};
use crate::plan::Move;

/// What a journal says.
#[derive(Debug, Default)]
pub struct Past {
    incidents: BTreeMap<IncidentId, Story>,
    order: Vec<IncidentId>,
    flapping: Flapping,
    ended: Vec<(IncidentId, Outcome)>,
}

/// An incident's story so far.
#[derive(Debug, Default)]
struct Story {
    host: Option<HostName>,
    servers: Vec<(ServerId, Told)>,
    index: BTreeMap<ServerId, usize>,
    left_out: u32,
    newest: Option<i64>,
    /// What has proven it.
    proofs: BTreeSet<ProofId>,
    /// The host was on again.
    came_back: bool,
}

/// What is told of a server.
#[derive(Debug)]
struct Told {
    way: Way,
    /// Something may be alive in Nova.
    asked: bool,
}

impl Past {
    /// The incidents that had not ended, and their hosts.
    pub fn open(&self) -> impl Iterator<Item = (IncidentId, &HostName)> {
        self.incidents.iter().filter_map(|(id, story)| Some((*id, story.host.as_ref()?)))
    }
}

/// Reads a journal. The entries of incidents that have ended count for hosts that fail too often only.
pub fn past<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Past {
    let mut past = Past::default();
    for Entry { at, incident, event } in entries {
        match event {
            Event::TakenUp { host, .. } => {
                let story = past.incidents.entry(*incident).or_default();
                story.host = Some(host.clone());
                past.order.push(*incident);
                past.flapping.failed(*incident, host, *at);
            }
            Event::Proved { proof, .. } => {
                past.flapping.proved(*incident, *proof);
                if let Some(story) = past.incidents.get_mut(incident) {
                    story.proofs.insert(*proof);
                }
            }
            Event::Ended { outcome, .. } => {
                past.incidents.remove(incident);
                past.ended.push((*incident, *outcome));
            }
            Event::Quarantined { host, .. } => drop(past.flapping.put(host, *at)),
            Event::Released { host, .. } => past.flapping.release(host, *at),
            event => {
                if let Some(story) = past.incidents.get_mut(incident) {
                    story.add(event);
                }
            }
        }
    }
    past
}

impl Story {
    fn add(&mut self, event: &Event) {
        match event {
            Event::Planned { left_out, newest_migration, .. } => {
                self.left_out = *left_out;
                self.newest = Some(*newest_migration);
            }
            Event::ProofEnded { .. } => self.came_back = true,
            // A plan that was not finished is made again: nothing is left of it.
            Event::Resumed { .. } if self.newest.is_none() => {
                self.servers.clear();
                self.index.clear();
            }
            Event::Queued { server, name, ran, priority, group, why } => {
                let one = Move {
                    server: *server,
                    name: name.clone(),
                    ran: ran.unwrap_or(true),
                    reset: false,
                    priority: *priority,
                    group: group.clone(),
                    why: why.clone(),
                };
                let place = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
                let mut told = Told { way: Way::new(&one, place, Mono::ZERO), asked: false };
                told.way.ran_unknown = ran.is_none();
                if !self.index.contains_key(server) {
                    self.index.insert(*server, self.servers.len());
                    self.servers.push((*server, told));
                }
            }
            event => {
                let server = event.server().and_then(|server| self.index.get(&server));
                if let Some((_, told)) = server.and_then(|at| self.servers.get_mut(*at)) {
                    told.add(event);
                }
            }
        }
    }
}

impl Told {
    fn add(&mut self, event: &Event) {
        let way = &mut self.way;
        let zero = Mono::ZERO;
        match event {
            Event::Posting { attempt, .. } => {
                way.attempt = *attempt;
                way.told = false;
                self.asked = true;
                way.stage = Stage::Flying { since: zero, heard: false };
            }
            Event::Posted { .. } => way.stage = Stage::Flying { since: zero, heard: true },
            Event::Migration { number, status, destination, .. } => {
                let state = RowState::parse(status);
                match way.rows.iter_mut().find(|row| row.number == *number) {
                    Some(row) => {
                        row.state = state;
                        row.destination.clone_from(destination);
                    }
                    None => way.rows.push(Known {
                        number: *number,
                        state,
                        since: zero,
                        old: false,
                        dead: false,
                        destination: destination.clone(),
                    }),
                }
                way.destination.clone_from(destination);
                if way.attempt == 0 && state.is_alive() {
                    way.stage = Stage::Flying { since: zero, heard: true };
                }
            }
            // Nothing came of it: what has ended so far belongs to the past.
            Event::Refused { .. } => {
                way.forget_the_past();
                way.stage = Stage::Checking;
            }
            // As it was counted then. It is looked at once more, for nobody has written down what it was like.
            Event::Failed { why, .. } => {
                if matches!(way.stage, Stage::Flying { heard: true, .. }) && way.judge() == Judgement::Unseen
                {
                    way.failures = way.failures.saturating_add(1);
                }
                way.count_failure(why, zero);
                way.told = true;
                way.forget_the_past();
                way.stage = Stage::Checking;
            }
            Event::WrittenOff { number, .. } => way.write_off(*number),
            Event::Resetting { .. } => way.stage = Stage::Checking,
            Event::Moved { destination, .. } => {
                way.moved = true;
                way.destination.clone_from(destination);
                way.stage = Stage::Landing { since: zero };
            }
            Event::Starting { .. } | Event::Started { .. } | Event::Stopping { .. } => {
                way.stage = Stage::Landing { since: zero };
            }
            Event::Done { .. } => way.stage = Stage::Done,
            Event::Gone { .. } => way.stage = Stage::Gone,
            Event::PassedOn { .. } => way.stage = Stage::PassedOn,
            Event::GaveUp { .. } => way.stage = Stage::GaveUp,
            _ => {}
        }
    }
}

impl Engine {
    /// Goes on with what the journal says had not ended. Before any request, so that nothing is taken up twice.
    pub fn resume(&mut self, past: Past, now: Now) -> Vec<Action> {
        self.shared.now = now;
        let Past { mut incidents, order, flapping, ended } = past;
        for (incident, outcome) in ended {
            self.shared.remember_end(incident, outcome);
        }
        self.shared.flapping = flapping;
        for id in order {
            let Some(story) = incidents.remove(&id) else { continue };
            let Some(host) = story.host.clone() else { continue };
            self.shared.record(id, Event::Resumed { on: self.shared.controller.clone(), journal: true });
            let incident = self.remember(id, host, story);
            self.incidents.push(incident);
            self.shared.at(Duration::ZERO, Timer::Phase(id));
            self.shared.at(Duration::ZERO, Timer::Control);
        }
        self.handle(super::values::Input::Tick, now)
    }

    fn remember(&mut self, id: IncidentId, host: HostName, story: Story) -> Incident {
        let shared = &mut self.shared;
        let mut incident = Incident::new(id, host, None, shared.now.mono);
        incident.remembered = Some(story.proofs);
        // Without a finished plan nothing was asked for: it is made anew.
        let Some(newest) = story.newest else {
            if story.came_back {
                incident.is_back_already(shared);
            }
            return incident;
        };
        incident.planned = true;
        incident.newest = newest;
        incident.left_out = story.left_out;
        for (server, Told { mut way, asked }) in story.servers {
            let now = shared.now.mono;
            way.fresh_after = now;
            way.queued = now;
            for row in &mut way.rows {
                row.since = now;
            }
            match &mut way.stage {
                Stage::Flying { since, .. } => {
                    *since = now;
                    way.lane = Some(now);
                    shared.limiter.begin(&incident.host, now);
                    incident.flying.insert(server);
                }
                Stage::Landing { since } => {
                    *since = now;
                    shared.at(Duration::ZERO, Timer::Look(id, server));
                }
                // It may have been asked for and reset since: it is looked at first.
                Stage::Checking => shared.at(Duration::ZERO, Timer::Look(id, server)),
                Stage::Waiting if asked => way.stage = Stage::Checking,
                _ => {}
            }
            if way.stage.is_end() {
                way.rows = Vec::new();
                incident.ways.insert(server, way);
            } else {
                incident.admit(server, way, shared);
            }
        }
        if story.came_back {
            incident.is_back_already(shared);
        }
        incident
    }
}
