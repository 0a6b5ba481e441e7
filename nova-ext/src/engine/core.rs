//! The engine: takes requests up, hands what happens to the incident that it belongs to, and decides who goes next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::flapping::{Changed, Flapping, Record};
use super::gates;
use super::incident::{Incident, Phase, Summary};
use super::journal::{Event, Gate};
use super::limit::Limiter;
use super::shared::{Shared, Timer};
use super::values::{Action, Answer, ControlPlane, Input, Maintenance, Mono, Now, Read, Request};
use crate::ids::{HostName, IncidentId, ProofId, ServerId};
use crate::policy::Policy;

/// Between looks at the control plane.
const CONTROL: Duration = Duration::from_secs(5);

/// What an engine is set up with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The operator's rules.
    pub policy: Policy,
    /// Whether Nova leaves evacuated servers stopped (microversion 2.95).
    pub to_stopped: bool,
    /// The controller that it runs on.
    pub controller: String,
}

/// Decides what happens to the servers of failed hosts. See the module's documentation.
#[derive(Debug)]
pub struct Engine {
    pub(super) shared: Shared,
    /// In the order in which they were taken up.
    pub(super) incidents: Vec<Incident>,
}

impl Engine {
    /// An engine without incidents.
    pub fn new(settings: Settings, now: Now) -> Self {
        let limiter = Limiter::new(settings.policy.limits);
        let shared = Shared {
            now,
            policy: settings.policy,
            to_stopped: settings.to_stopped,
            controller: settings.controller,
            limiter,
            out: Vec::new(),
            timers: BTreeSet::new(),
            looks: VecDeque::new(),
            looks_open: 0,
            starting: BTreeMap::new(),
            groups: BTreeMap::new(),
            control: None,
            alive_since: None,
            control_busy: false,
            off: BTreeSet::new(),
            frozen: None,
            maintenance: Maintenance::default(),
            go_ahead: BTreeSet::new(),
            flapping: Flapping::default(),
            ended: VecDeque::new(),
        };
        Self { shared, incidents: Vec::new() }
    }

    /// Takes a request up, or says which incident has it already.
    pub fn request(&mut self, request: Request, now: Now) -> (Answer, Vec<Action>) {
        self.shared.now = now;
        let answer = self.take_up(request);
        self.pump();
        (answer, std::mem::take(&mut self.shared.out))
    }

    /// What is to be done about what happened.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Action> {
        self.shared.now = now;
        self.input(input);
        while let Some(timer) = self.shared.due() {
            self.fire(timer);
        }
        self.pump();
        std::mem::take(&mut self.shared.out)
    }

    /// When [`Input::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.shared.timers.first().map(|(at, _)| *at)
    }

    /// Whether nothing is to be done.
    pub fn is_idle(&self) -> bool {
        self.incidents.is_empty()
    }

    /// The incidents, in the order in which they were taken up.
    pub fn incidents(&self) -> impl Iterator<Item = Summary> + '_ {
        self.incidents.iter().map(Incident::summary)
    }

    /// Evacuations in flight, and how many may be.
    pub fn in_flight(&self) -> (u32, u32) {
        (self.shared.limiter.in_flight(), self.shared.limiter.limit())
    }

    /// Hosts that stay out of service until the operator releases them.
    pub fn quarantine(&self) -> &BTreeSet<HostName> {
        self.shared.flapping.quarantine()
    }

    /// What another controller has to know of the hosts that failed.
    pub fn failures(&self, now: Now) -> BTreeMap<HostName, Record> {
        self.shared.flapping.records(now.wall, &self.shared.policy.gates)
    }

    fn take_up(&mut self, request: Request) -> Answer {
        let Request { host, incident, proof, by } = request;
        let open = self.incidents.iter_mut().find(|one| one.host == host && one.is_on());
        if let Some(one) = open {
            if one.id == incident {
                one.remembered = None;
            }
            one.renew(proof.clone(), &mut self.shared);
            if one.is_on() {
                return Answer::Already(one.id);
            }
        }
        if let Some((_, outcome)) = self.shared.ended.iter().find(|(ended, _)| *ended == incident) {
            return Answer::Ended(*outcome);
        }
        self.shared.record(incident, Event::TakenUp { host: host.clone(), by });
        self.shared.record(incident, Event::proved(&proof));
        self.failed(incident, &host, proof.id());
        self.shared.off.insert(host.clone());
        let mut one = Incident::new(incident, host, Some(proof), self.shared.now.mono);
        one.watch_proof(&mut self.shared);
        self.incidents.push(one);
        self.shared.at(Duration::ZERO, Timer::Phase(incident));
        self.shared.at(Duration::ZERO, Timer::Control);
        // What was on its way to this host has nobody to work on it any more.
        for one in &mut self.incidents {
            for server in one.flying.clone() {
                one.follow(server, &mut self.shared);
            }
        }
        while let Some(timer) = self.shared.due() {
            self.fire(timer);
        }
        Answer::TakenUp(incident)
    }

    /// Counts a failure of a host, and puts it into quarantine if there are too many.
    fn failed(&mut self, incident: IncidentId, host: &HostName, proof: ProofId) {
        let shared = &mut self.shared;
        let now = shared.now.wall;
        shared.flapping.failed(incident, host, now);
        shared.flapping.proved(incident, proof);
        if let Some(why) = shared.flapping.judge(host, now, &shared.policy.gates) {
            shared.record(incident, Event::Quarantined { host: host.clone(), why });
        }
    }

    /// Takes in what another controller knows, and writes down what that changes.
    fn elsewhere(&mut self, host: HostName, record: Record) {
        let event = match self.shared.flapping.merge(&host, record) {
            Some(Changed::Quarantined) => {
                Event::Quarantined { host, why: "it failed too often, as another controller has seen".into() }
            }
            Some(Changed::Released) => Event::Released { host, by: "another controller".into() },
            // With what failed here it may be too often.
            None => {
                let Shared { flapping, policy, now, .. } = &mut self.shared;
                let Some(why) = flapping.judge(&host, now.wall, &policy.gates) else { return };
                Event::Quarantined { host, why }
            }
        };
        self.shared.record(IncidentId::new_random(), event);
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Request(request) => drop(self.take_up(request)),
            Input::Tick => {}
            Input::Heard { server } => {
                for one in &mut self.incidents {
                    one.heard(server, &mut self.shared);
                }
            }
            Input::Control(read) => self.control(read),
            Input::Proof { host, begun, read } => {
                let open = self.incidents.iter_mut().find(|one| one.host == host && one.is_on());
                if let Some(one) = open {
                    one.proven(begun, read, &mut self.shared);
                }
            }
            Input::PoweredOn { host, since } => {
                let open = self.incidents.iter_mut().find(|one| one.host == host && one.is_on());
                // One that was proven off after that has failed again.
                let holds = |one: &Incident| one.proof.as_ref().is_some_and(|proof| proof.at() > since);
                if let Some(one) = open.filter(|one| !holds(one)) {
                    one.host_is_back("it was powered on", &mut self.shared);
                }
            }
            Input::Switches { frozen, maintenance, go_ahead, released } => {
                self.shared.frozen = frozen;
                self.shared.maintenance = maintenance;
                self.shared.go_ahead = go_ahead;
                for host in released {
                    self.shared.flapping.release(&host, self.shared.now.wall);
                }
            }
            Input::Failures { host, record } => self.elsewhere(host, record),
            Input::Service { incident, read } => self.with(incident, |one, shared| one.service(read, shared)),
            Input::Inventory { incident, begun, read } => {
                // An incident that has ended meanwhile takes nothing over.
                let waits = self.incidents.iter().any(|one| one.id == incident && one.awaits_inventory());
                let host = read.as_ref().ok().filter(|_| waits).map(|(inventory, _)| inventory.host.clone());
                let ran = host.map(|host| self.passed_on(&host, incident)).unwrap_or_default();
                self.with(incident, |one, shared| one.inventory(begun, read, &ran, shared));
            }
            Input::Rows { incident, begun, read } => {
                self.with(incident, |one, shared| one.rows(begun, read, shared));
            }
            Input::Posted { incident, server, took, result } => {
                self.with(incident, |one, shared| one.posted(server, took, result, shared));
            }
            Input::Looked { incident, server, read } => {
                self.shared.looks_open = self.shared.looks_open.saturating_sub(1);
                self.with(incident, |one, shared| one.looked(server, read, shared));
            }
            Input::Told { incident, server, read } => {
                self.with(incident, |one, shared| one.told(server, read, shared));
            }
            Input::Hooked { incident, point, stop } => {
                self.with(incident, |one, shared| one.hooked(point, stop, shared));
            }
        }
    }

    fn with(&mut self, incident: IncidentId, what: impl FnOnce(&mut Incident, &mut Shared)) {
        if let Some(one) = self.incidents.iter_mut().find(|one| one.id == incident) {
            what(one, &mut self.shared);
            one.perhaps_end(&mut self.shared);
        }
    }

    /// Servers that other incidents had on their way to this host.
    fn passed_on(&mut self, host: &HostName, to: IncidentId) -> BTreeMap<ServerId, bool> {
        let others = self.incidents.iter_mut().filter(|one| one.id != to);
        others.flat_map(|one| one.pass_on(host, to, &mut self.shared)).collect()
    }

    /// Hosts that are down at once: those with an incident, and those that failed a short time ago.
    fn down(&self) -> usize {
        let now = self.shared.now.wall;
        let lately = self.shared.flapping.at_once(now);
        let open = self.incidents.iter().filter(|one| one.phase != Phase::Ended).map(|one| &one.host);
        lately.chain(open).collect::<BTreeSet<_>>().len()
    }

    fn control(&mut self, read: Read<ControlPlane>) {
        let shared = &mut self.shared;
        shared.control_busy = false;
        let now = shared.now.mono;
        match read {
            Ok(plane) => {
                if shared.control.is_none() {
                    // Who waits for this word need not wait longer.
                    for one in self.incidents.iter().filter(|one| one.phase == Phase::Held) {
                        shared.at(Duration::ZERO, Timer::Phase(one.id));
                    }
                }
                shared.limiter.control_plane(plane.schedulers, plane.conductors);
                shared.control = Some((now, plane));
                if plane.schedulers > 0 && plane.conductors > 0 {
                    shared.alive_since.get_or_insert(now);
                } else {
                    shared.alive_since = None;
                }
            }
            Err(trouble) if trouble.overload => shared.limiter.overloaded(now),
            Err(_) => {}
        }
        if !self.incidents.is_empty() {
            self.shared.at(CONTROL, Timer::Control);
        }
    }

    fn fire(&mut self, timer: Timer) {
        let down = self.down();
        match timer {
            Timer::Phase(incident) => {
                let host = self.incidents.iter().find(|one| one.id == incident).map(|one| one.host.clone());
                let unsettled = |one: &Incident| {
                    one.id != incident && Some(&one.host) == host.as_ref() && one.is_unsettled()
                };
                let unsettled = self.incidents.iter().any(unsettled);
                self.with(incident, |one, shared| one.step(down, unsettled, shared));
            }
            Timer::Rows(incident) => self.with(incident, Incident::read_rows),
            Timer::Pause(incident, server) => {
                self.with(incident, |one, shared| one.pause_over(server, shared));
            }
            Timer::Look(incident, server) => {
                self.with(incident, |one, shared| {
                    if one.wants_look(server) {
                        shared.looks.push_back((incident, server));
                    }
                });
            }
            Timer::Proof(incident) => self.with(incident, Incident::proof_due),
            Timer::Control => {
                if !self.shared.control_busy && !self.incidents.is_empty() {
                    self.shared.control_busy = true;
                    self.shared.out.push(Action::ReadControl);
                }
            }
            Timer::Pump => {}
        }
    }

    /// Lets go on who may.
    fn pump(&mut self) {
        let down = self.down();
        let held = self.incidents.first().and_then(|one| gates::post(&self.shared.facts(&one.host, down)));
        for one in self.incidents.iter_mut().filter(|one| one.phase == Phase::Running) {
            match &held {
                Some((gate, why)) if !one.queue.is_empty() => one.hold(*gate, why.clone(), &mut self.shared),
                None if one
                    .held
                    .as_ref()
                    .is_some_and(|(gate, _)| matches!(gate, Gate::Frozen | Gate::Scheduler)) =>
                {
                    one.let_go(&mut self.shared);
                }
                _ => {}
            }
        }
        if held.is_none() {
            self.post();
        }
        if self.shared.frozen.is_none() {
            self.start();
        }
        while let Some((incident, server)) = self.shared.next_look() {
            self.with(incident, |one, shared| {
                if one.wants_look(server) {
                    one.look(server, shared);
                }
            });
        }
        // Starts and moves that wait for a group are looked for again.
        let waits = self.incidents.iter().any(|one| !one.to_start.is_empty());
        if waits && !self.shared.timers.iter().any(|(_, timer)| *timer == Timer::Pump) {
            self.shared.at(Duration::from_secs(1), Timer::Pump);
        }
        self.incidents.retain(|one| one.phase != Phase::Ended);
    }

    fn post(&mut self) {
        loop {
            let shared = &self.shared;
            let next = self
                .incidents
                .iter()
                .enumerate()
                .filter(|(_, one)| shared.limiter.admits(&one.host))
                .filter_map(|(n, one)| {
                    one.next_to_post(shared).map(|(priority, server)| (priority, n, server))
                })
                // The highest priority, and of those the incident that was there first.
                .max_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
            let Some((_, n, server)) = next else { break };
            let Some(one) = self.incidents.get_mut(n) else { break };
            one.post(server, &mut self.shared);
        }
        if self.incidents.iter().all(|one| one.queue.is_empty()) {
            self.shared.limiter.idle();
        }
    }

    fn start(&mut self) {
        loop {
            let shared = &self.shared;
            let next =
                self.incidents.iter().enumerate().find_map(|(n, one)| Some((n, one.next_to_start(shared)?)));
            let Some((n, server)) = next else { break };
            let Some(one) = self.incidents.get_mut(n) else { break };
            one.start(server, &mut self.shared);
        }
    }
}
