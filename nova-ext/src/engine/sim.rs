//! A cloud that behaves as Nova was seen to behave, in virtual time; and the world that an engine runs in.

mod happening;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use super::journal::{Entry, Event};
use super::values::*;
use super::{Engine, Settings};
use crate::ids::{HostName, IncidentId, ServerId};
use crate::plan::{Flavor, Inventory, Power, Server, VmState};
use crate::policy::Policy;
use crate::proof::{Evidence, FenceProof};
use crate::stamp::Stamp;
use happening::{Ev, Timed};
pub(super) use happening::{Fault, Faults, Guest, SimRow};

pub(super) fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

pub(super) fn server_id(n: u64) -> ServerId {
    format!("00000000-0000-4000-8000-{n:012x}").parse().unwrap()
}

pub(super) fn proof(name: &str) -> FenceProof {
    FenceProof::new(host(name), Evidence::Operator { name: "ann".into() }, Stamp::now())
}

/// Engine, journal and cloud.
pub(super) struct World {
    pub(super) now: Mono,
    pub(super) engine: Engine,
    pub(super) settings: Settings,
    pub(super) journal: Vec<Entry>,
    pub(super) guests: BTreeMap<ServerId, Guest>,
    pub(super) rows: Vec<SimRow>,
    pub(super) destinations: Vec<HostName>,
    /// Room on each destination.
    pub(super) room: usize,
    pub(super) scheduler: bool,
    pub(super) scheduler_seen: bool,
    pub(super) computes: usize,
    pub(super) dead: BTreeSet<HostName>,
    pub(super) forced_down: BTreeSet<HostName>,
    /// Hosts of which a proof is found when it is looked for.
    pub(super) off: BTreeSet<HostName>,
    /// The proofs; one that is taken away is made anew by the next failure.
    pub(super) proofs: BTreeMap<HostName, FenceProof>,
    /// Servers that were asked for while a first request was alive.
    pub(super) doubled: Vec<ServerId>,
    /// Servers that were asked for, and how often.
    pub(super) posts: BTreeMap<ServerId, u32>,
    pub(super) most_alive: usize,
    pub(super) most_starting: usize,
    pub(super) actions: Vec<Action>,
    /// So much longer it takes to reset a server, and to read migrations.
    pub(super) reset_takes: Duration,
    pub(super) rows_take: Duration,
    /// Decides what goes wrong, by number and call.
    pub(super) faults: Faults,
    /// Crash after so many journal entries.
    pub(super) crash_at: Option<usize>,
    pub(super) crashed: bool,
    calls: u64,
    epoch: u32,
    /// The engine that made the call which is being answered.
    answers_to: u32,
    sequence: u64,
    random: u64,
    events: BinaryHeap<Reverse<Timed>>,
}

impl World {
    pub(super) fn new(policy: Policy, to_stopped: bool) -> Self {
        let settings = Settings { policy, to_stopped, controller: "ctl1".into() };
        let now = Duration::ZERO;
        Self {
            now,
            engine: Engine::new(settings.clone(), Self::time(now)),
            settings,
            journal: Vec::new(),
            guests: BTreeMap::new(),
            rows: Vec::new(),
            destinations: vec![host("d1"), host("d2")],
            room: 10_000,
            scheduler: true,
            scheduler_seen: true,
            computes: 20,
            dead: BTreeSet::new(),
            forced_down: BTreeSet::new(),
            off: BTreeSet::new(),
            proofs: BTreeMap::new(),
            doubled: Vec::new(),
            posts: BTreeMap::new(),
            most_alive: 0,
            most_starting: 0,
            actions: Vec::new(),
            reset_takes: Duration::ZERO,
            rows_take: Duration::ZERO,
            faults: Box::new(|_, _| None),
            crash_at: None,
            crashed: false,
            calls: 0,
            epoch: 0,
            answers_to: 0,
            sequence: 0,
            random: 42,
            events: BinaryHeap::new(),
        }
    }

    pub(super) fn time(now: Mono) -> Now {
        Now { mono: now, wall: "2026-11-25T10:00:00Z".parse::<Stamp>().unwrap().after(now) }
    }

    /// Servers on a host, the odd ones stopped by their owners.
    pub(super) fn populate(&mut self, name: &str, numbers: std::ops::Range<u64>) {
        for n in numbers {
            let stopped = n % 5 == 4;
            let guest = Guest {
                host: host(name),
                vm_state: if stopped { "stopped" } else { "active" },
                task: None,
                running: !stopped,
                stopped_by_owner: stopped,
                fault: None,
                metadata: BTreeMap::new(),
                deleted: false,
            };
            self.guests.insert(server_id(n), guest);
        }
    }

    pub(super) fn request(&mut self, name: &str) -> Answer {
        self.dead.insert(host(name));
        self.off.insert(host(name));
        let proof = self.proofs.entry(host(name)).or_insert_with(|| proof(name)).clone();
        let request =
            Request { host: host(name), incident: IncidentId::new_random(), proof, by: "test".into() };
        let (answer, actions) = self.engine.request(request, Self::time(self.now));
        self.carry_out(actions);
        answer
    }

    /// A new engine, with or without the journal. Calls that were under way still arrive.
    pub(super) fn restart(&mut self, with_journal: bool) {
        self.crashed = false;
        self.crash_at = None;
        self.epoch += 1;
        self.engine = Engine::new(self.settings.clone(), Self::time(self.now));
        if with_journal {
            let past = super::past(&self.journal);
            let actions = self.engine.resume(past, Self::time(self.now));
            self.carry_out(actions);
        }
    }

    pub(super) fn input(&mut self, input: Input) {
        let actions = self.engine.handle(input, Self::time(self.now));
        self.carry_out(actions);
    }

    fn push(&mut self, after: Duration, ev: Ev) {
        self.sequence += 1;
        self.events.push(Reverse(Timed(self.now + after, self.sequence, ev)));
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            if self.crashed {
                return;
            }
            if let Action::Record(incident, event) = &action {
                self.journal.push(Entry::new(Self::time(self.now).wall, *incident, event.clone()));
                if self.crash_at == Some(self.journal.len()) {
                    self.crashed = true;
                }
            } else {
                self.actions.push(action.clone());
                let latency = self.jitter(20, 80);
                self.push(latency, Ev::Arrive(self.epoch, action));
            }
        }
    }

    fn jitter(&mut self, low: u64, high: u64) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        Duration::from_millis(low + self.random % (high - low))
    }

    /// Lets time pass until the engine is idle, or crashed, or `limit` has passed.
    pub(super) fn run(&mut self, limit: Duration) {
        self.run_until(limit, |world| world.engine.is_idle());
    }

    pub(super) fn run_until(&mut self, limit: Duration, mut enough: impl FnMut(&Self) -> bool) {
        let end = self.now + limit;
        while !self.crashed && !enough(self) {
            let event = self.events.peek().map(|Reverse(Timed(at, ..))| *at);
            let tick = self.engine.next_deadline().map(|at| at.max(self.now));
            let Some(at) = [event, tick].into_iter().flatten().min() else { break };
            if at > end {
                self.now = end;
                break;
            }
            self.now = at;
            if event == Some(at) {
                if let Some(Reverse(Timed(_, _, ev))) = self.events.pop() {
                    self.event(ev);
                }
            } else {
                self.input(Input::Tick);
            }
        }
    }

    /// Lets Nova go on without an engine.
    pub(super) fn drift(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(Reverse(Timed(at, ..))) = self.events.peek() {
            if *at > end {
                break;
            }
            self.now = *at;
            if let Some(Reverse(Timed(_, _, ev))) = self.events.pop()
                && !matches!(ev, Ev::Reply(..))
            {
                self.event(ev);
            }
        }
        self.now = end;
    }

    fn event(&mut self, ev: Ev) {
        match ev {
            Ev::Reply(epoch, input) if epoch == self.epoch => self.input(input),
            Ev::Reply(..) => {}
            Ev::Arrive(epoch, action) => {
                self.answers_to = epoch;
                self.arrive(action);
            }
            Ev::Pickup(number) => self.pickup(number),
            Ev::Finish(number) => self.finish(number),
            Ev::Settle(number) => self.settle(number),
            Ev::Running(server, on) => {
                if let Some(guest) = self.guests.get_mut(&server) {
                    guest.task = None;
                    guest.running = on;
                    guest.vm_state = if on { "active" } else { "stopped" };
                }
            }
        }
    }

    fn reply(&mut self, input: Input) {
        self.reply_after(Duration::ZERO, input);
    }

    fn reply_after(&mut self, longer: Duration, input: Input) {
        let latency = self.jitter(20, 80) + longer;
        self.push(latency, Ev::Reply(self.answers_to, input));
    }

    fn trouble(fault: Fault) -> Trouble {
        Trouble { why: format!("{fault:?}"), hopeless: false, overload: true }
    }

    fn arrive(&mut self, action: Action) {
        self.calls += 1;
        let fault = (self.faults)(self.calls, &action);
        let begun = self.now;
        let lost = fault.map(Self::trouble);
        match action {
            Action::Record(..) => {}
            Action::ReadService { incident, host } => {
                let view = ServiceView {
                    id: "69fdce77-581d-44b8-813d-3e451870fb45".parse().unwrap(),
                    forced_down: self.forced_down.contains(&host),
                    enabled: true,
                };
                self.reply(Input::Service { incident, read: lost.map_or(Ok((view, None)), Err) });
            }
            Action::ForceDown { incident, service, .. } => {
                if !matches!(fault, Some(Fault::NotSent | Fault::Busy | Fault::LostBefore)) {
                    let host =
                        self.engine.incidents().find(|one| one.incident == incident).map(|one| one.host);
                    self.forced_down.extend(host);
                }
                let view = ServiceView { id: service, forced_down: true, enabled: false };
                self.reply(Input::Service { incident, read: lost.map_or(Ok((view, None)), Err) });
            }
            Action::TakeInventory { incident, host } => {
                let read = lost.map_or_else(|| Ok((self.inventory(&host), self.rows_of(&host))), Err);
                self.reply(Input::Inventory { incident, begun, read });
            }
            Action::ReadRows { incident, host } => {
                let read = lost.map_or_else(|| Ok(self.rows_of(&host)), Err);
                self.reply_after(self.rows_take, Input::Rows { incident, begun, read });
            }
            Action::Post { incident, server, proof } => {
                let result = self.post(server, proof.host(), fault);
                self.reply(Input::Posted { incident, server, took: Duration::from_millis(100), result });
            }
            Action::Look { incident, server, history } => {
                let read = lost.map_or_else(|| Ok(self.look(server, history)), Err);
                self.reply(Input::Looked { incident, server, read });
            }
            Action::Reset { incident, server } => {
                let read = self.change(server, fault, |guest| {
                    guest.vm_state = "active";
                    guest.task = None;
                });
                self.reply_after(self.reset_takes, Input::Told { incident, server, read });
            }
            Action::Start { incident, server } => {
                let fits = self.guests.get(&server).is_some_and(|guest| {
                    guest.vm_state == "stopped" && guest.task.is_none() && !self.dead.contains(&guest.host)
                });
                let read = if fits {
                    let read = self.change(server, fault, |guest| guest.task = Some("powering-on"));
                    self.push(Duration::from_secs(2), Ev::Running(server, true));
                    read
                } else {
                    Err(Trouble { why: "409".into(), hopeless: false, overload: false })
                };
                let starting = self.guests.values().filter(|guest| guest.task == Some("powering-on")).count();
                self.most_starting = self.most_starting.max(starting);
                self.reply(Input::Told { incident, server, read });
            }
            Action::Stop { incident, server } => {
                let read = self.change(server, fault, |guest| guest.task = Some("powering-off"));
                self.push(Duration::from_secs(1), Ev::Running(server, false));
                self.reply(Input::Told { incident, server, read });
            }
            Action::ReadControl => {
                let up = usize::from(self.scheduler_seen);
                let plane = ControlPlane { schedulers: up, conductors: 1, computes: self.computes };
                self.reply(Input::Control(lost.map_or(Ok(plane), Err)));
            }
            Action::CheckProof { host } => {
                let known = self.off.contains(&host).then(|| self.proofs.get(&host).cloned()).flatten();
                let read = lost.map_or(Ok(known), Err);
                self.reply(Input::Proof { host, begun, read });
            }
            Action::Hook { incident, point, .. } => {
                if point.is_waited_for() {
                    self.reply(Input::Hooked { incident, point, stop: None });
                }
            }
        }
    }

    fn change(&mut self, server: ServerId, fault: Option<Fault>, how: impl FnOnce(&mut Guest)) -> Read<()> {
        if !matches!(fault, Some(Fault::NotSent | Fault::Busy | Fault::LostBefore))
            && let Some(guest) = self.guests.get_mut(&server)
        {
            how(guest);
        }
        fault.map_or(Ok(()), |fault| Err(Self::trouble(fault)))
    }

    fn inventory(&self, host: &HostName) -> Inventory {
        let servers = self
            .guests
            .iter()
            .filter(|(_, guest)| guest.host == *host && !guest.deleted)
            .map(|(id, guest)| Server {
                id: *id,
                name: format!("s-{id}"),
                project: "p".into(),
                host: Some(host.clone()),
                created: None,
                vm_state: VmState::parse(guest.vm_state),
                task_state: guest.task.map(str::to_owned),
                power: if guest.running { Power::Running } else { Power::Off },
                locked: false,
                image: None,
                flavor: Flavor::default(),
                metadata: guest.metadata.clone(),
                tags: Vec::new(),
            })
            .collect();
        Inventory {
            host: host.clone(),
            servers,
            aggregates: Vec::new(),
            images: BTreeMap::new(),
            tried: BTreeSet::new(),
        }
    }

    fn rows_of(&self, host: &HostName) -> Vec<Row> {
        self.rows.iter().filter(|one| one.source == *host).map(|one| one.row.clone()).collect()
    }

    fn look(&self, server: ServerId, history: bool) -> Option<Look> {
        let guest = self.guests.get(&server).filter(|guest| !guest.deleted)?;
        Some(Look {
            host: Some(guest.host.clone()),
            vm_state: VmState::parse(guest.vm_state),
            task_state: guest.task.map(str::to_owned),
            fault: guest.fault.clone(),
            was_stopped: history.then_some(guest.stopped_by_owner),
        })
    }

    pub(super) fn alive(&self) -> usize {
        self.rows.iter().filter(|one| RowState::parse(&one.row.status).is_alive()).count()
    }

    fn post(
        &mut self,
        server: ServerId,
        source: &HostName,
        fault: Option<Fault>,
    ) -> Result<Option<String>, PostFailed> {
        let failed =
            |fate, status, why: &str| Err(PostFailed { fate, status, why: why.to_owned(), request_id: None });
        match fault {
            Some(Fault::NotSent) => return failed(Fate::NotSent, None, "connection refused"),
            Some(Fault::Busy) => return failed(Fate::Refused, Some(503), "busy"),
            Some(Fault::LostBefore) => return failed(Fate::Unheard, None, "connection reset"),
            Some(Fault::LostAfter) | None => {}
        }
        let Some(guest) = self.guests.get_mut(&server).filter(|guest| !guest.deleted) else {
            return failed(Fate::Refused, Some(404), "no such server");
        };
        if !self.forced_down.contains(&guest.host) {
            return failed(Fate::Refused, Some(400), "Compute service of c1 is still in use.");
        }
        assert!(self.dead.contains(source), "evacuated from a host that is not off");
        *self.posts.entry(server).or_default() += 1;
        let alive = |one: &SimRow| {
            one.row.server == server
                && RowState::parse(&one.row.status).is_alive()
                && one.row.destination.as_ref().is_none_or(|host| !self.dead.contains(host))
        };
        if self.scheduler && self.rows.iter().any(alive) {
            self.doubled.push(server);
        }
        guest.task = Some("rebuilding");
        let number = i64::try_from(self.rows.len()).unwrap() + 1;
        let row = Row { number, id: None, server, status: "accepted".into(), destination: None };
        self.rows.push(SimRow { row, source: guest.host.clone() });
        self.most_alive = self.most_alive.max(self.alive());
        let pickup = self.jitter(50, 250);
        self.push(pickup, Ev::Pickup(number));
        match fault {
            Some(_) => failed(Fate::Unheard, None, "connection reset"),
            None => Ok(Some(format!("req-{number}"))),
        }
    }

    /// Conductor and scheduler, as far as they live: they take the first migration of the server that is accepted.
    fn pickup(&mut self, number: i64) {
        if !self.scheduler {
            return;
        }
        let Some(server) = self.rows.iter().find(|one| one.row.number == number).map(|one| one.row.server)
        else {
            return;
        };
        let load: BTreeMap<&HostName, usize> = self
            .destinations
            .iter()
            .filter(|host| !self.dead.contains(*host))
            .map(|host| {
                let there = self.guests.values().filter(|guest| guest.host == *host).count();
                let coming = self.rows.iter().filter(|one| {
                    one.row.destination.as_ref() == Some(host)
                        && matches!(one.row.status.as_str(), "pre-migrating" | "done")
                        && self.guests.get(&one.row.server).is_some_and(|guest| guest.host == one.source)
                });
                (host, there + coming.count())
            })
            .collect();
        let room = self.room;
        let chosen = load.iter().filter(|(_, count)| **count < room).min_by_key(|(_, count)| **count);
        let chosen = chosen.map(|(host, _)| (*host).clone());
        let Some(one) =
            self.rows.iter_mut().find(|one| one.row.server == server && one.row.status == "accepted")
        else {
            return;
        };
        let number = one.row.number;
        if let Some(host) = chosen {
            one.row.status = "pre-migrating".into();
            one.row.destination = Some(host);
            let alive = u64::try_from(self.alive()).unwrap();
            let took = self.jitter(1000 + 60 * alive, 2000 + 60 * alive);
            self.push(took, Ev::Finish(number));
        } else {
            one.row.status = "error".into();
            if let Some(guest) = self.guests.get_mut(&server) {
                guest.vm_state = "error";
                guest.task = None;
                guest.fault = Some("No valid host was found.".into());
            }
        }
    }

    fn finish(&mut self, number: i64) {
        let dead = self.dead.clone();
        let Some(one) = self.rows.iter_mut().find(|one| one.row.number == number) else { return };
        if one.row.status != "pre-migrating"
            || one.row.destination.as_ref().is_some_and(|host| dead.contains(host))
        {
            return;
        }
        // For a while the migration is done and the server is still shown on its old host.
        one.row.status = "done".into();
        self.push(Duration::from_millis(700), Ev::Settle(number));
    }

    fn settle(&mut self, number: i64) {
        let to_stopped = self.settings.to_stopped;
        let Some(row) = self.rows.iter().find(|one| one.row.number == number).map(|one| one.row.clone())
        else {
            return;
        };
        let (Some(guest), Some(destination)) = (self.guests.get_mut(&row.server), row.destination) else {
            return;
        };
        guest.host = destination;
        guest.task = None;
        guest.fault = None;
        let stays_stopped = guest.vm_state == "stopped" || (to_stopped && guest.vm_state != "error");
        guest.vm_state = if stays_stopped { "stopped" } else { "active" };
        guest.running = !stays_stopped;
    }

    /// A host's nova-compute starts while servers are on their way from it: their migrations are completed for it. They
    /// arrive all the same, so much later.
    pub(super) fn source_starts(&mut self, name: &str, later: Duration) {
        let source = host(name);
        let mut arriving = Vec::new();
        for one in self.rows.iter_mut().filter(|one| one.source == source) {
            if RowState::parse(&one.row.status).is_alive() && one.row.destination.is_some() {
                one.row.status = "completed".into();
                arriving.push(one.row.number);
            }
        }
        for number in arriving {
            self.push(later, Ev::Settle(number));
        }
    }

    /// Every server is on a living host, running if and only if its owner had not stopped it, and was never asked for
    /// twice at a time.
    pub(super) fn check_all_well(&self, context: &str) {
        assert_eq!(self.doubled, [], "{context}: asked for twice at a time");
        for (id, guest) in &self.guests {
            if self.dead.contains(&guest.host) || guest.running == guest.stopped_by_owner {
                let of_it = |entry: &&Entry| entry.event.server().is_none_or(|server| server == *id);
                for entry in self.journal.iter().filter(of_it) {
                    println!("{}", entry.to_line().unwrap());
                }
            }
            assert!(!self.dead.contains(&guest.host), "{context}: {id} is on {}", guest.host);
            assert_eq!(guest.task, None, "{context}: {id}");
            assert_eq!(guest.running, !guest.stopped_by_owner, "{context}: {id} {guest:?}");
            assert_eq!(guest.vm_state, if guest.running { "active" } else { "stopped" }, "{context}: {id}");
        }
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        self.journal.iter().map(|entry| &entry.event)
    }

    pub(super) fn count(&self, what: impl Fn(&Event) -> bool) -> usize {
        self.events().filter(|event| what(event)).count()
    }
}
