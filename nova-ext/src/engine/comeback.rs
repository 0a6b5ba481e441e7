//! Return to service: from "the host is on again" to "Nova schedules on it again".
//!
//! nova-compute starts while its service is still forced down. It cleans up after its evacuations, which makes their
//! migrations `completed`. Only then is the service forced up: before that Nova refuses it (400), and a nova-compute
//! that Nova takes for up would be given servers whose copies it has not removed. Then the host must be up, pass its
//! canary, and is enabled if it was us who disabled it. So many hosts at once, and no more.
//!
//! Pure: what happened and the time in, what is to be done out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::journal::Event;
use super::values::{Mono, Read};
use crate::ids::{HostName, IncidentId, ServiceId};
use crate::stamp::Stamp;

#[cfg(test)]
mod tests;

/// Between looks at a host that is on its way.
const LOOK: Duration = Duration::from_secs(2);
/// Between looks at a host that takes too long.
const LOOK_SELDOM: Duration = Duration::from_secs(15);
/// Between two tries of a canary.
const CANARY_AGAIN: Duration = Duration::from_secs(15);

/// How hosts return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Hosts that are forced up, tried and enabled at the same time.
    pub at_once: usize,
    /// A step that takes longer is reported.
    pub patience: Duration,
    /// Whether there is a canary.
    pub canary: bool,
}

/// A host that is to return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The host.
    pub host: HostName,
    /// The incident in which it left, or a new one.
    pub incident: IncidentId,
    /// Whether it is to be switched on first.
    pub power_on: bool,
    /// Who asks.
    pub by: String,
}

/// What Nova says of the host's nova-compute.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "Nova's own")]
pub struct ServiceState {
    /// Its id.
    pub id: ServiceId,
    /// Whether Nova takes it for up.
    pub up: bool,
    /// Whether somebody has forced it down.
    pub forced_down: bool,
    /// Whether Nova schedules on it.
    pub enabled: bool,
    /// Whether it was us who disabled it.
    pub ours: bool,
    /// The reason, if it is disabled.
    pub reason: Option<String>,
    /// When its record was last written, by Nova's clock.
    pub updated: Option<Stamp>,
    /// When reading it began, by ours.
    pub read: Stamp,
}

impl ServiceState {
    /// Whether it is set as it was: if not, whoever has set it has written the record.
    fn is_as(&self, other: &Self) -> bool {
        (self.forced_down, self.enabled, &self.reason) == (other.forced_down, other.enabled, &other.reason)
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// Somebody wants a host back.
    Wanted(Wanted),
    /// A host was fenced: it does not return, until somebody wants it back again.
    Fenced(HostName),
    /// Hosts that are being evacuated.
    Evacuating(Vec<HostName>),
    /// Hosts in quarantine.
    Quarantined(Vec<HostName>),
    /// The host was switched on, or not.
    Powered(HostName, Read<()>),
    /// Its service was read.
    Service(HostName, Read<ServiceState>),
    /// The evacuations from it were read: how many are not `completed` and have not failed.
    Open(HostName, Read<usize>),
    /// It was forced up; with the request's id.
    ForcedUp(HostName, Read<Option<String>>),
    /// The hooks and the canary have run; an error says why it must not return.
    Canary(HostName, Result<(), String>),
    /// It was enabled.
    Enabled(HostName, Read<()>),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Do {
    /// Write it down.
    Record(IncidentId, Event),
    /// End the proof and switch the host on.
    PowerOn(HostName),
    /// Read the service.
    ReadService(HostName),
    /// Read the evacuations from the host.
    ReadOpen(HostName),
    /// End the proofs of before the time at which it was on; force it up, unless it was proven off since.
    ForceUp(HostName, ServiceId, Stamp),
    /// Run hooks and canary.
    Canary(HostName, IncidentId),
    /// End the proofs of before the time at which it was on; enable it, unless it was proven off since.
    Enable(HostName, ServiceId, Stamp),
    /// It has returned: end the proofs of before the time at which it was on; forget requests and attributes of it.
    Forget(HostName, Option<Stamp>),
}

/// Where a host is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Its guests are not all elsewhere yet.
    Evacuation,
    /// It is being switched on.
    Power,
    /// nova-compute has to start.
    Compute,
    /// nova-compute has to clean up.
    CleanUp,
    /// The operator has to release it.
    Quarantine,
    /// Others return before it.
    Queue,
    /// It is being forced up.
    ForceUp,
    /// Nova has to take it for up.
    Up,
    /// The canary runs.
    Canary,
    /// It is being enabled.
    Enable,
}

/// Steps at which the service is read.
const READS: &[Step] = &[Step::Power, Step::Compute, Step::ForceUp, Step::Up, Step::Enable];

impl Step {
    fn says(self) -> &'static str {
        match self {
            Self::Evacuation => "waiting until its guests are elsewhere",
            Self::Power => "switching it on",
            Self::Compute => "waiting for its nova-compute to report",
            Self::CleanUp => "waiting for nova-compute to clean up after its evacuations",
            Self::Quarantine => "waiting for the operator to release it from quarantine",
            Self::Queue => "waiting for other hosts to return first",
            Self::ForceUp => "telling Nova that it is up",
            Self::Up => "waiting until Nova takes it for up",
            Self::Canary => "checking it before anything is scheduled on it",
            Self::Enable => "enabling it",
        }
    }

    /// Whether one of the places for hosts that return at once is taken.
    fn counts(self) -> bool {
        matches!(self, Self::ForceUp | Self::Up | Self::Canary | Self::Enable)
    }
}

/// A host for people: `status` and the journal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Standing {
    /// The host.
    pub host: HostName,
    /// What it waits for.
    pub waits: String,
    /// What went wrong last.
    pub trouble: Option<String>,
}

#[derive(Debug)]
struct One {
    wanted: Wanted,
    step: Step,
    /// The step that was written down last.
    told: Step,
    since: Mono,
    /// A question or order is under way.
    busy: bool,
    /// When to do something next.
    due: Mono,
    /// The record as it was last read.
    last: Option<ServiceState>,
    /// It could not be switched on: whether it runs all the same is looked at next.
    look: bool,
    /// Its nova-compute has reported after this time, by our clock: then the host was on.
    alive: Option<Stamp>,
    service: Option<ServiceState>,
    trouble: Option<String>,
    /// Whether it was reported that the step takes too long.
    reported: bool,
}

/// All hosts on their way back.
#[derive(Debug)]
pub struct Comebacks {
    rules: Rules,
    hosts: BTreeMap<HostName, One>,
    evacuating: Vec<HostName>,
    quarantined: Vec<HostName>,
    out: Vec<Do>,
}

impl Comebacks {
    /// Nobody is on the way.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            hosts: BTreeMap::new(),
            evacuating: Vec::new(),
            quarantined: Vec::new(),
            out: Vec::new(),
        }
    }

    /// What is to be done about it.
    pub fn handle(&mut self, happened: Happened, now: Mono) -> Vec<Do> {
        self.take(happened, now);
        let hosts: Vec<HostName> = self.hosts.keys().cloned().collect();
        for host in hosts {
            self.go_on(&host, now);
        }
        std::mem::take(&mut self.out)
    }

    /// When [`Happened::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.hosts.values().filter(|one| !one.busy).map(|one| one.due).min()
    }

    /// Whether this host is on its way.
    pub fn has(&self, host: &HostName) -> bool {
        self.hosts.contains_key(host)
    }

    /// All hosts on their way.
    pub fn standing(&self) -> Vec<Standing> {
        let standing = |(host, one): (&HostName, &One)| Standing {
            host: host.clone(),
            waits: one.step.says().into(),
            trouble: one.trouble.clone(),
        };
        self.hosts.iter().map(standing).collect()
    }

    fn take(&mut self, happened: Happened, now: Mono) {
        match happened {
            Happened::Wanted(wanted) => self.want(wanted, now),
            Happened::Fenced(host) => drop(self.hosts.remove(&host)),
            Happened::Evacuating(hosts) => {
                for host in &hosts {
                    // It has failed again on its way.
                    if let Some(one) = self.hosts.get_mut(host).filter(|one| one.step != Step::Evacuation) {
                        one.back_to_the_beginning(now);
                    }
                }
                self.evacuating = hosts;
            }
            Happened::Quarantined(hosts) => self.quarantined = hosts,
            Happened::Tick => {}
            Happened::Powered(host, read) => self.answer(&host, &[Step::Power], |it| match read {
                Ok(()) => it.enter(Step::Compute, now),
                Err(trouble) => {
                    it.look = true;
                    it.again(trouble.why, now);
                }
            }),
            Happened::Service(host, read) => self.answer(&host, READS, |it| {
                it.look = false;
                match read {
                    Ok(service) => it.service(service, now),
                    Err(trouble) => it.again(trouble.why, now),
                }
            }),
            Happened::Open(host, read) => self.answer(&host, &[Step::CleanUp], |it| match read {
                Ok(0) => it.enter(Step::Quarantine, now),
                // Nova itself does this at no other time.
                Ok(open) => it.again(
                    format!(
                        "{open} evacuations from it are not completed: its nova-compute completes them when it starts, and \
                         has to be started once more for those that ended later"
                    ),
                    now,
                ),
                Err(trouble) => it.again(trouble.why, now),
            }),
            Happened::ForcedUp(host, read) => self.forced_up(&host, read, now),
            Happened::Canary(host, result) => self.answer(&host, &[Step::Canary], |it| match result {
                Ok(()) => it.enable(now),
                Err(why) => {
                    it.again(why, now);
                    it.due = now + CANARY_AGAIN;
                }
            }),
            Happened::Enabled(host, read) => self.enabled(&host, read, now),
        }
    }

    fn want(&mut self, wanted: Wanted, now: Mono) {
        if let Some(one) = self.hosts.get_mut(&wanted.host) {
            match one.step {
                // Asked for once more: power that is wanted now is wanted.
                Step::Evacuation => one.wanted.power_on |= wanted.power_on,
                Step::Compute if wanted.power_on => one.enter(Step::Power, now),
                _ => {}
            }
            one.due = now;
            return;
        }
        let one = One {
            step: Step::Evacuation,
            told: Step::Evacuation,
            since: now,
            busy: false,
            due: now,
            last: None,
            look: false,
            alive: None,
            service: None,
            trouble: None,
            reported: false,
            wanted,
        };
        let step = format!("asked for by {}", one.wanted.by);
        self.out
            .push(Do::Record(one.wanted.incident, Event::Returning { host: one.wanted.host.clone(), step }));
        self.hosts.insert(one.wanted.host.clone(), one);
    }

    fn answer(&mut self, host: &HostName, asked_at: &[Step], what: impl FnOnce(&mut One)) {
        let Some(one) = self.hosts.get_mut(host) else { return };
        one.busy = false;
        // Else it is the answer to a question of before it failed again.
        if asked_at.contains(&one.step) {
            what(one);
        }
    }

    fn forced_up(&mut self, host: &HostName, read: Read<Option<String>>, now: Mono) {
        if let (Some(one), Ok(request_id)) = (self.hosts.get(host), &read) {
            let event = Event::ForcedUp { host: host.clone(), request_id: request_id.clone() };
            self.out.push(Do::Record(one.wanted.incident, event));
        }
        self.answer(host, &[Step::ForceUp], |it| match read {
            Ok(_) => it.enter(Step::Up, now),
            // Somebody has evacuated from it since it was looked at, or it has failed again.
            Err(trouble) => {
                it.anew(now);
                it.again(trouble.why, now);
            }
        });
    }

    fn enabled(&mut self, host: &HostName, read: Read<()>, now: Mono) {
        match read {
            Ok(()) => {
                if let Some(one) = self.hosts.get(host) {
                    self.out.push(Do::Record(one.wanted.incident, Event::Enabled { host: host.clone() }));
                }
                self.returned(host);
            }
            Err(trouble) => self.answer(host, &[Step::Enable], |it| {
                it.service = None;
                it.again(trouble.why, now);
            }),
        }
    }

    fn returned(&mut self, host: &HostName) {
        if let Some(one) = self.hosts.remove(host) {
            self.out.push(Do::Record(one.wanted.incident, Event::Returned { host: host.clone() }));
            self.out.push(Do::Forget(host.clone(), one.alive));
        }
    }

    /// Writes down what it waits for now, not what it has passed at once.
    fn tell(&mut self, host: &HostName, now: Mono) {
        let Some(one) = self.hosts.get_mut(host) else { return };
        let late = now.saturating_sub(one.since) >= self.rules.patience && !one.reported;
        let step = match &one.trouble {
            Some(trouble) if late => {
                one.reported = true;
                format!("{}, for a long time: {trouble}", one.step.says())
            }
            _ if late => {
                one.reported = true;
                format!("{}, for a long time", one.step.says())
            }
            _ if one.step != one.told => one.step.says().to_owned(),
            _ => return,
        };
        one.told = one.step;
        self.out.push(Do::Record(one.wanted.incident, Event::Returning { host: host.clone(), step }));
    }

    fn go_on(&mut self, host: &HostName, now: Mono) {
        let busy_places = self.hosts.values().filter(|one| one.step.counts()).count();
        let (evacuating, held) = (self.evacuating.contains(host), self.quarantined.contains(host));
        let rules = self.rules;
        let Some(one) = self.hosts.get_mut(host) else { return };
        let before = one.step;
        if one.step == Step::Evacuation && !evacuating {
            one.enter(if one.wanted.power_on { Step::Power } else { Step::Compute }, now);
        }
        if one.step == Step::Quarantine && !held {
            one.enter(Step::Queue, now);
        }
        if one.step == Step::Queue && busy_places < rules.at_once {
            one.enter(Step::ForceUp, now);
        }
        let due = !one.busy && one.due <= now;
        let (service, incident) = (one.service.clone(), one.wanted.incident);
        if due {
            one.due = now + one.pause(&rules, now);
        }
        let order = match (one.step, service) {
            _ if !due => None,
            (Step::Evacuation | Step::Quarantine | Step::Queue, _) => None,
            (Step::Power, _) if one.look => Some(Do::ReadService(host.clone())),
            (Step::Power, _) => Some(Do::PowerOn(host.clone())),
            (Step::Compute | Step::Up, _) | (Step::ForceUp | Step::Enable, None) => {
                Some(Do::ReadService(host.clone()))
            }
            (Step::CleanUp, _) => Some(Do::ReadOpen(host.clone())),
            (Step::ForceUp, Some(service)) => one.alive.map(|at| Do::ForceUp(host.clone(), service.id, at)),
            (Step::Canary, _) if rules.canary => Some(Do::Canary(host.clone(), incident)),
            (Step::Canary, _) => {
                one.enable(now);
                None
            }
            (Step::Enable, Some(service)) if !service.enabled && service.ours => {
                one.alive.map(|at| Do::Enable(host.clone(), service.id, at))
            }
            // Enabled already, or disabled by somebody else: that is theirs to undo.
            (Step::Enable, Some(service)) => {
                self.leave(host, &service);
                return;
            }
        };
        one.busy = order.is_some();
        let again = one.step == Step::Enable && before == Step::Canary;
        // Written down before it is done.
        self.tell(host, now);
        self.out.extend(order);
        if again {
            self.go_on(host, now);
        }
    }

    fn leave(&mut self, host: &HostName, service: &ServiceState) {
        if let (false, Some(one)) = (service.enabled, self.hosts.get(host)) {
            let reason = service.reason.as_deref().unwrap_or("no reason given");
            let step = format!("it stays disabled, as it was not disabled by us: {reason}");
            self.out.push(Do::Record(one.wanted.incident, Event::Returning { host: host.clone(), step }));
        }
        self.returned(host);
    }
}

impl One {
    fn enter(&mut self, step: Step, now: Mono) {
        if step != self.step {
            self.since = now;
            self.reported = false;
        }
        self.step = step;
        self.trouble = None;
        self.due = now;
    }

    fn back_to_the_beginning(&mut self, now: Mono) {
        self.enter(Step::Evacuation, now);
        self.wanted.power_on = false;
        self.forget();
    }

    /// It has to report once more.
    fn anew(&mut self, now: Mono) {
        self.enter(Step::Compute, now);
        self.forget();
    }

    fn forget(&mut self) {
        (self.last, self.alive, self.service, self.look) = (None, None, None, false);
    }

    /// Its service is read once more before it is enabled: somebody may have disabled it meanwhile.
    fn enable(&mut self, now: Mono) {
        self.enter(Step::Enable, now);
        self.service = None;
    }

    fn again(&mut self, why: String, now: Mono) {
        self.trouble = Some(why);
        self.due = now + LOOK;
    }

    fn pause(&self, rules: &Rules, now: Mono) -> Duration {
        if now.saturating_sub(self.since) > rules.patience { LOOK_SELDOM } else { LOOK }
    }

    fn service(&mut self, service: ServiceState, now: Mono) {
        // Its own reports alone write the record, and whoever changes its state: a fencing does.
        if let Some(last) = self.last.replace(service.clone())
            && service.updated > last.updated
            && service.is_as(&last)
        {
            self.alive = Some(last.read);
        }
        let (up, forced_down) = (service.up, service.forced_down);
        self.service = Some(service);
        match self.step {
            // Somebody else has switched it on.
            Step::Power if self.alive.is_some() => self.enter(Step::Compute, now),
            // Nobody has forced it down, or somebody has forced it up: nothing is left to clean up for.
            Step::Compute if !forced_down => self.enter(Step::Up, now),
            Step::Compute if self.alive.is_some() => self.enter(Step::CleanUp, now),
            Step::Compute => self.again("nova-compute does not report: is it started?".into(), now),
            // It was fenced again.
            Step::Up | Step::Enable if forced_down => self.anew(now),
            // Nova takes one that has died for up for a while.
            Step::Up if up && self.alive.is_some() => self.enter(Step::Canary, now),
            Step::Up if up => self.again("its nova-compute has to report once more".into(), now),
            Step::Up => self.again("Nova takes it for down".into(), now),
            Step::ForceUp | Step::Enable => self.due = now,
            _ => {}
        }
    }
}
