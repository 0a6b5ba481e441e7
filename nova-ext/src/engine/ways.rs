//! What becomes of each server of an incident.

use std::sync::Arc;
use std::time::Duration;

use super::incident::{Incident, Phase};
use super::journal::Event;
use super::limit::Ending;
use super::server::{Judgement, Stage};
use super::shared::{Shared, Timer};
use super::values::{Action, Fate, Look, Point, PostFailed, Read};
use crate::ids::{HostName, IncidentId, ServerId};
use crate::plan::VmState;

/// Between looks at a server.
const LOOK: Duration = Duration::from_millis(500);
/// Between looks at a server when the cloud gives no answer.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Nova's record of a server follows its migration within so long.
const LANDING: Duration = Duration::from_secs(15);
/// So long must the control plane have lived before a migration that it has not picked up is dead.
const ALIVE: Duration = Duration::from_secs(60);
/// Why a server is not asked for any more.
pub(super) const IS_BACK: &str = "its host is on again: it is there, or starts there";

impl Incident {
    /// The first server that may be asked for now, with its priority.
    pub(super) fn next_to_post(&self, shared: &Shared) -> Option<(i32, ServerId)> {
        if self.phase != Phase::Running || self.proof.is_none() {
            return None;
        }
        self.queue
            .iter()
            .filter_map(|(_, server)| Some((*server, self.ways.get(server)?)))
            .find(|(_, way)| {
                // Where servers arrive stopped, their starts wait for each other and their moves need not.
                shared.to_stopped
                    || shared.group_may_go(way.group.as_deref(), shared.now.mono.saturating_sub(way.queued))
            })
            .filter(|(_, way)| self.has_read_since(way.fresh_after, shared.now.mono))
            .map(|(server, way)| (way.priority, server))
    }

    /// Takes a server out of the queue and asks for it; resets its state before, if need be.
    pub(super) fn post(&mut self, server: ServerId, shared: &mut Shared) {
        let (incident, now) = (self.id, shared.now.mono);
        let (Some(way), Some(proof)) = (self.ways.get_mut(&server), self.proof.clone()) else { return };
        self.queue.remove(&(way.place, server));
        if way.judge() == Judgement::Alive || way.judge() == Judgement::Moved {
            self.follow(server, shared);
            return;
        }
        if way.lane.is_none() {
            way.lane = Some(now);
            shared.limiter.begin(&self.host, now);
        }
        if way.reset {
            way.stage = Stage::Resetting;
            way.busy = true;
            shared.record(incident, Event::Resetting { server, to: "active".to_owned() });
            shared.out.push(Action::Reset { incident, server });
            return;
        }
        way.forget_the_past();
        way.attempt = way.attempt.saturating_add(1);
        way.stage = Stage::Posting { at: now };
        // The lane's time is the evacuation's, without what came before it.
        way.lane = Some(now);
        let attempt = way.attempt;
        shared.record(incident, Event::Posting { server, attempt });
        shared.out.push(Action::Post { incident, server, proof: Arc::clone(&proof) });
    }

    pub(super) fn posted(
        &mut self,
        server: ServerId,
        took: Duration,
        result: Result<Option<String>, PostFailed>,
        shared: &mut Shared,
    ) {
        let (incident, now) = (self.id, shared.now.mono);
        let Some(way) = self.ways.get_mut(&server) else { return };
        let Stage::Posting { at } = way.stage else { return };
        let attempt = way.attempt;
        way.fresh_after = now;
        let failed = match result {
            Ok(request_id) => {
                let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                shared.record(incident, Event::Posted { server, attempt, request_id, took_ms });
                way.stage = Stage::Flying { since: at, heard: true };
                self.flying.insert(server);
                self.follow(server, shared);
                return;
            }
            Err(failed) => failed,
        };
        let overload = matches!(failed.status, Some(429 | 500..)) || failed.status.is_none();
        if overload {
            shared.limiter.overloaded(now);
        }
        if failed.fate == Fate::Unheard {
            shared.record(incident, Event::Unheard { server, attempt, why: failed.why });
            way.stage = Stage::Flying { since: now, heard: false };
            self.flying.insert(server);
            self.follow(server, shared);
            return;
        }
        let why = failed.why.clone();
        shared.record(
            incident,
            Event::Refused { server, attempt, why: failed.why, request_id: failed.request_id },
        );
        self.leave_lane(server, Ending::Neutral, shared);
        if overload || failed.fate == Fate::NotSent {
            // Nothing is wrong with the server.
            self.pause(server, shared);
            return;
        }
        let in_use = failed.status == Some(400) && why.contains("in use");
        if let Some(way) = self.ways.get_mut(&server).filter(|_| !in_use) {
            way.failures = way.failures.saturating_add(1);
        }
        self.check(server, shared);
        if in_use {
            self.service_is_up(shared);
        }
    }

    /// Decides by the migrations about a server whose request may be alive.
    pub(super) fn follow(&mut self, server: ServerId, shared: &mut Shared) {
        let now = shared.now.mono;
        let patience = shared.policy.patience;
        let Some(way) = self.ways.get_mut(&server) else { return };
        let judgement = way.judge();
        match (way.stage, judgement) {
            // Somebody else's request, or one of ours from before a restart: it is followed like any other.
            (Stage::Waiting | Stage::Pausing { .. } | Stage::Checking, Judgement::Alive) => {
                self.queue.remove(&(way.place, server));
                way.stage = Stage::Flying { since: now, heard: true };
                if way.lane.is_none() {
                    way.lane = Some(now);
                    shared.limiter.begin(&self.host, now);
                }
                self.flying.insert(server);
            }
            (
                Stage::Waiting | Stage::Pausing { .. } | Stage::Checking | Stage::Flying { .. },
                Judgement::Moved,
            ) => {
                self.land(server, shared);
            }
            (Stage::Flying { .. }, Judgement::Failed) => {
                self.leave_lane(server, Ending::Failed, shared);
                self.check(server, shared);
            }
            (Stage::Flying { since, heard }, Judgement::Unseen) => {
                // Migrations that were read long after the request, and know nothing of it.
                let unheard = Duration::from_secs(patience.unheard_seconds.into());
                if self.rows_begun.is_some_and(|begun| begun >= since.saturating_add(unheard)) {
                    if let Some(way) = self.ways.get_mut(&server).filter(|_| heard) {
                        way.failures = way.failures.saturating_add(1);
                    }
                    self.leave_lane(server, Ending::Neutral, shared);
                    self.check(server, shared);
                }
            }
            (Stage::Flying { since, .. }, Judgement::Alive) => {
                let accepted = Duration::from_secs(patience.accepted_seconds.into());
                let dead = way
                    .bound_for(&shared.off)
                    .map(|(number, host)| (number, format!("its destination {host} is proven off")))
                    .or_else(|| {
                        let number = way.stuck(now.saturating_sub(accepted))?;
                        let seconds = accepted.as_secs();
                        let why = format!(
                            "nobody has picked it up for {seconds} s, while scheduler and conductor live"
                        );
                        (patience.write_off && shared.alive_for(ALIVE)).then_some((number, why))
                    });
                if let Some((number, why)) = dead {
                    way.write_off(number);
                    shared.record(self.id, Event::WrittenOff { server, number, why });
                    if way.alive() == 0 {
                        self.leave_lane(server, Ending::Failed, shared);
                        self.check(server, shared);
                    }
                } else if !way.slow
                    && now.saturating_sub(since) >= Duration::from_secs(patience.migrating_seconds.into())
                {
                    way.slow = true;
                    let why = format!("its evacuation is alive after {} s", patience.migrating_seconds);
                    shared.record(self.id, Event::Slow { server, why });
                    // It is followed for as long as it lives, and holds nobody else up.
                    self.leave_lane(server, Ending::Neutral, shared);
                }
            }
            _ => {}
        }
    }

    fn leave_lane(&mut self, server: ServerId, ending: Ending, shared: &mut Shared) {
        let Some(way) = self.ways.get_mut(&server) else { return };
        if let Some(since) = way.lane.take() {
            let took = shared.now.mono.saturating_sub(since);
            let bound = way.bound.take();
            shared.limiter.end(&self.host, bound.as_ref(), took, ending, shared.now.mono);
            if let Some(why) = shared.limiter.change() {
                let limit = shared.limiter.limit();
                shared.record(self.id, Event::Limit { limit, why: why.to_owned() });
            }
        }
    }

    /// An attempt has ended: the server is looked at before another.
    fn check(&mut self, server: ServerId, shared: &mut Shared) {
        self.flying.remove(&server);
        if let Some(way) = self.ways.get_mut(&server) {
            way.stage = Stage::Checking;
            way.fresh_after = shared.now.mono;
            shared.at(Duration::ZERO, Timer::Look(self.id, server));
        }
    }

    fn pause(&mut self, server: ServerId, shared: &mut Shared) {
        if self.came_back {
            self.give_up(server, IS_BACK, shared);
            return;
        }
        self.flying.remove(&server);
        if let Some(way) = self.ways.get_mut(&server) {
            let pause = shared.policy.patience.pause(way.attempt);
            way.stage = Stage::Pausing { until: shared.now.mono.saturating_add(pause) };
            shared.at(pause, Timer::Pause(self.id, server));
        }
    }

    pub(super) fn pause_over(&mut self, server: ServerId, shared: &mut Shared) {
        let Some(way) = self.ways.get_mut(&server) else { return };
        if matches!(way.stage, Stage::Pausing { until } if until <= shared.now.mono) {
            self.enqueue(server, shared);
        }
    }

    /// It is to be asked for when it may.
    fn enqueue(&mut self, server: ServerId, shared: &mut Shared) {
        if self.came_back {
            // There will be no proof to ask with.
            self.give_up(server, IS_BACK, shared);
            return;
        }
        let Some(way) = self.ways.get_mut(&server) else { return };
        way.stage = Stage::Waiting;
        way.queued = shared.now.mono;
        self.queue.insert((way.place, server));
        self.want_rows(shared);
    }

    fn land(&mut self, server: ServerId, shared: &mut Shared) {
        self.leave_lane(server, Ending::Moved, shared);
        self.flying.remove(&server);
        if let Some(way) = self.ways.get_mut(&server) {
            self.queue.remove(&(way.place, server));
            way.stage = Stage::Landing { since: shared.now.mono };
            shared.at(Duration::ZERO, Timer::Look(self.id, server));
        }
    }

    /// A look at a server is due; whether it is still wanted.
    pub(super) fn wants_look(&self, server: ServerId) -> bool {
        self.ways.get(&server).is_some_and(|way| {
            !way.busy
                && matches!(
                    way.stage,
                    Stage::Checking | Stage::Landing { .. } | Stage::Starting { .. } | Stage::Stopping { .. }
                )
        })
    }

    /// Looks at a server.
    pub(super) fn look(&mut self, server: ServerId, shared: &mut Shared) {
        let incident = self.id;
        if let Some(way) = self.ways.get_mut(&server) {
            way.busy = true;
            shared.looks_open = shared.looks_open.saturating_add(1);
            shared.out.push(Action::Look { incident, server, history: way.ran_unknown });
        }
    }

    pub(super) fn looked(&mut self, server: ServerId, read: Read<Option<Look>>, shared: &mut Shared) {
        let Some(way) = self.ways.get_mut(&server) else { return };
        if !std::mem::take(&mut way.busy) {
            return;
        }
        let look = match read {
            Ok(Some(look)) => look,
            Ok(None) => {
                self.finish(server, Stage::Gone, Event::Gone { server }, shared);
                return;
            }
            Err(trouble) => {
                if trouble.overload {
                    shared.limiter.overloaded(shared.now.mono);
                }
                shared.at(LOOK_AGAIN, Timer::Look(self.id, server));
                return;
            }
        };
        let going = matches!(look.task_state.as_deref(), Some("deleting" | "soft-deleting"));
        if look.vm_state == VmState::Deleted || going {
            self.finish(server, Stage::Gone, Event::Gone { server }, shared);
            return;
        }
        match way.stage {
            Stage::Checking => self.checked(server, &look, shared),
            Stage::Landing { .. } | Stage::Starting { .. } | Stage::Stopping { .. } => {
                self.arrived(server, look, shared);
            }
            _ => {}
        }
    }

    /// After an attempt that failed: again, or not.
    fn checked(&mut self, server: ServerId, look: &Look, shared: &mut Shared) {
        let patience = shared.policy.patience;
        let now = shared.now.mono;
        let Some(way) = self.ways.get_mut(&server) else { return };
        if look.host.as_ref() != Some(&self.host) && look.host.is_some() {
            self.land(server, shared);
            return;
        }
        let fault = look.fault.clone().unwrap_or_else(|| "its evacuation failed".to_owned());
        let told = std::mem::take(&mut way.told);
        if !told {
            way.count_failure(&fault, now);
        }
        way.forget_the_past();
        way.reset = look.vm_state == VmState::Error || look.task_state.is_some();
        let too_long = Duration::from_secs(patience.no_room_seconds.into());
        let hopeless = way.failures >= patience.attempts
            || way.no_room_since.is_some_and(|since| now.saturating_sub(since) >= too_long);
        let retry = (!hopeless && !self.came_back).then(|| patience.pause(way.attempt));
        let retry_ms = retry.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        let attempt = way.attempt;
        if !told {
            shared.record(self.id, Event::Failed { server, attempt, why: fault.clone(), retry_ms });
        }
        if retry.is_some() {
            self.pause(server, shared);
        } else if hopeless {
            self.give_up(server, &fault, shared);
        } else {
            self.give_up(server, "its host is on again: it is there, or starts there", shared);
        }
    }

    /// On another host, or on its way into its state there.
    fn arrived(&mut self, server: ServerId, look: Look, shared: &mut Shared) {
        let incident = self.id;
        let now = shared.now.mono;
        let Some(way) = self.ways.get_mut(&server) else { return };
        let (Stage::Landing { since } | Stage::Starting { since } | Stage::Stopping { since }) = way.stage
        else {
            return;
        };
        let waited = now.saturating_sub(since);
        let Some(host) = look.host.clone().filter(|host| *host != self.host) else {
            // A source whose nova-compute starts calls evacuations completed that are still under way.
            let under_way = Duration::from_secs(shared.policy.patience.migrating_seconds.into());
            if waited < if look.task_state.is_some() { under_way.max(LANDING) } else { LANDING } {
                shared.at(LOOK, Timer::Look(incident, server));
            } else {
                let why = "Nova says that it has moved and has it here: look at it";
                self.give_up(server, why, shared);
            }
            return;
        };
        way.destination = Some(host.clone());
        if !way.moved {
            way.moved = true;
            shared.record(incident, Event::Moved { server, destination: Some(host.clone()) });
        }
        if way.ran_unknown {
            let Some(stopped) = look.was_stopped else {
                shared.at(LOOK_AGAIN, Timer::Look(incident, server));
                return;
            };
            way.ran = !stopped;
            way.ran_unknown = false;
        }
        let ran = way.ran;
        let busy = look.task_state.is_some();
        let stage = way.stage;
        match (&look.vm_state, busy) {
            (VmState::Error, false) => {
                let fault = look.fault.unwrap_or_else(|| "no reason given".to_owned());
                self.give_up(server, &format!("it is on {host}, in ERROR: {fault}"), shared);
            }
            (VmState::Active, false) if ran => {
                if matches!(stage, Stage::Starting { .. }) {
                    self.started(server, &host, shared);
                }
                shared.record(incident, Event::Started { server });
                self.done(server, shared);
            }
            (VmState::Active, false) if !matches!(stage, Stage::Stopping { .. }) => {
                way.stage = Stage::Stopping { since: now };
                way.busy = true;
                shared.record(incident, Event::Stopping { server });
                shared.out.push(Action::Stop { incident, server });
            }
            (VmState::Stopped, false) if !ran => self.done(server, shared),
            (VmState::Stopped, false) if matches!(stage, Stage::Landing { .. }) => {
                way.stage = Stage::ToStart { since: now };
                self.to_start.insert((way.place, server));
                shared.at(Duration::ZERO, Timer::Pump);
            }
            _ => self.wait_for_state(server, &look, waited, shared),
        }
    }

    /// It is in between two states, or was told and has not begun.
    fn wait_for_state(&mut self, server: ServerId, look: &Look, waited: Duration, shared: &mut Shared) {
        let incident = self.id;
        let patience = Duration::from_secs(shared.policy.patience.start_seconds.into());
        let Some(way) = self.ways.get_mut(&server) else { return };
        if waited >= patience {
            let why = format!("it is elsewhere, and not as it was after {} s", patience.as_secs());
            self.give_up(server, &why, shared);
            return;
        }
        // Told, and nothing has come of it: again, while there is time.
        let again = look.task_state.is_none() && waited >= LOOK_AGAIN.saturating_mul(2);
        match way.stage {
            Stage::Starting { .. } if again && look.vm_state == VmState::Stopped => {
                way.busy = true;
                shared.out.push(Action::Start { incident, server });
            }
            Stage::Stopping { .. } if again && look.vm_state == VmState::Active => {
                way.busy = true;
                shared.out.push(Action::Stop { incident, server });
            }
            _ => shared.at(LOOK, Timer::Look(incident, server)),
        }
    }

    /// The first server that may be started now.
    pub(super) fn next_to_start(&self, shared: &Shared) -> Option<ServerId> {
        self.to_start
            .iter()
            .filter_map(|(_, server)| Some((*server, self.ways.get(server)?)))
            .find(|(_, way)| {
                let Stage::ToStart { since } = way.stage else { return false };
                way.destination.as_ref().is_some_and(|host| shared.may_start(host))
                    && shared.group_may_go(way.group.as_deref(), shared.now.mono.saturating_sub(since))
            })
            .map(|(server, _)| server)
    }

    pub(super) fn start(&mut self, server: ServerId, shared: &mut Shared) {
        let incident = self.id;
        let Some(way) = self.ways.get_mut(&server) else { return };
        self.to_start.remove(&(way.place, server));
        way.stage = Stage::Starting { since: shared.now.mono };
        way.busy = true;
        if let Some(host) = way.destination.clone() {
            let count = shared.starting.entry(host).or_default();
            *count = count.saturating_add(1);
        }
        shared.record(incident, Event::Starting { server });
        shared.out.push(Action::Start { incident, server });
    }

    fn started(&mut self, server: ServerId, host: &HostName, shared: &mut Shared) {
        let known = self.ways.get(&server).and_then(|way| way.destination.clone());
        if let Some(count) = shared.starting.get_mut(known.as_ref().unwrap_or(host)) {
            *count = count.saturating_sub(1);
        }
        shared.at(Duration::ZERO, Timer::Pump);
    }

    /// A reset, start or stop was answered.
    pub(super) fn told(&mut self, server: ServerId, read: Read<()>, shared: &mut Shared) {
        let Some(way) = self.ways.get_mut(&server) else { return };
        if !std::mem::take(&mut way.busy) {
            return;
        }
        let overload = read.as_ref().is_err_and(|trouble| trouble.overload);
        if overload {
            shared.limiter.overloaded(shared.now.mono);
        }
        match way.stage {
            Stage::Resetting => match read {
                Ok(()) => {
                    way.reset = false;
                    // Whatever has changed meanwhile counts: it is asked for as any other.
                    way.fresh_after = shared.now.mono;
                    self.leave_lane(server, Ending::Neutral, shared);
                    self.enqueue(server, shared);
                }
                Err(trouble) => {
                    if !overload {
                        way.failures = way.failures.saturating_add(1);
                    }
                    let hopeless = way.failures >= shared.policy.patience.attempts;
                    let why = format!("its state cannot be reset: {}", trouble.why);
                    self.leave_lane(server, Ending::Neutral, shared);
                    if hopeless {
                        self.give_up(server, &why, shared);
                    } else {
                        self.pause(server, shared);
                    }
                }
            },
            Stage::Starting { .. } | Stage::Stopping { .. } => {
                let pause = if read.is_ok() { LOOK } else { LOOK_AGAIN };
                shared.at(pause, Timer::Look(self.id, server));
            }
            _ => {}
        }
    }

    fn done(&mut self, server: ServerId, shared: &mut Shared) {
        self.finish(server, Stage::Done, Event::Done { server }, shared);
    }

    pub(super) fn give_up(&mut self, server: ServerId, why: &str, shared: &mut Shared) {
        self.finish(server, Stage::GaveUp, Event::GaveUp { server, why: why.to_owned() }, shared);
    }

    /// Its new host has failed as well; what that host's incident must know: whether it is to run.
    pub(super) fn pass_on(
        &mut self,
        host: &HostName,
        to: IncidentId,
        shared: &mut Shared,
    ) -> Vec<(ServerId, bool)> {
        let passed: Vec<(ServerId, bool)> = self
            .ways
            .iter()
            .filter(|(_, way)| way.moved && way.destination.as_ref() == Some(host) && !way.stage.is_end())
            .map(|(server, way)| (*server, way.ran))
            .collect();
        for (server, _) in &passed {
            self.finish(*server, Stage::PassedOn, Event::PassedOn { server: *server, to }, shared);
        }
        self.perhaps_end(shared);
        passed
    }

    fn finish(&mut self, server: ServerId, stage: Stage, event: Event, shared: &mut Shared) {
        self.leave_lane(server, Ending::Neutral, shared);
        let Some(way) = self.ways.get_mut(&server) else { return };
        if way.stage.is_end() {
            return;
        }
        let was = way.stage;
        way.stage = stage;
        way.rows = Vec::new();
        self.queue.remove(&(way.place, server));
        self.to_start.remove(&(way.place, server));
        self.flying.remove(&server);
        self.open = self.open.saturating_sub(1);
        let group = way.group.clone();
        let destination = way.destination.clone();
        if let (Stage::Starting { .. }, Some(host), true) =
            (was, way.destination.clone(), stage != Stage::Done)
        {
            self.started(server, &host, shared);
        }
        shared.leave_group(group.as_deref());
        shared.record(self.id, event);
        let point = match stage {
            Stage::Done => Some(Point::ServerDone),
            Stage::GaveUp => Some(Point::ServerFailed),
            _ => None,
        };
        if let Some(point) = point {
            let (incident, host) = (self.id, self.host.clone());
            shared.out.push(Action::Hook { incident, host, point, server: Some((server, destination)) });
        }
        shared.at(Duration::ZERO, Timer::Pump);
    }
}
