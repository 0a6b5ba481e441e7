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
    /// When its record was last written.
    pub updated: Option<Stamp>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// Somebody wants a host back.
    Wanted(Wanted),
    /// A host was fenced: it does not return.
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
    /// Force it up.
    ForceUp(HostName, ServiceId),
    /// Run hooks and canary.
    Canary(HostName, IncidentId),
    /// Enable it.
    Enable(HostName, ServiceId),
    /// It has returned: forget requests and attributes of it.
    Forget(HostName),
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
    /// Whether the record was read before, and its time then.
    was_read: bool,
    first: Option<Stamp>,
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
            Happened::Powered(host, read) => self.answer(&host, |it| match read {
                Ok(()) => it.enter(Step::Compute, now),
                Err(trouble) => it.again(trouble.why, now),
            }),
            Happened::Service(host, read) => self.answer(&host, |it| match read {
                Ok(service) => it.service(service, now),
                Err(trouble) => it.again(trouble.why, now),
            }),
            Happened::Open(host, read) => self.answer(&host, |it| match read {
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
            Happened::Canary(host, result) => self.answer(&host, |it| match result {
                Ok(()) => it.enter(Step::Enable, now),
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
            was_read: false,
            first: None,
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

    fn answer(&mut self, host: &HostName, what: impl FnOnce(&mut One)) {
        let Some(one) = self.hosts.get_mut(host) else { return };
        one.busy = false;
        // The answer to a question of before it failed again.
        if one.step != Step::Evacuation {
            what(one);
        }
    }

    fn forced_up(&mut self, host: &HostName, read: Read<Option<String>>, now: Mono) {
        if let (Some(one), Ok(request_id)) = (self.hosts.get(host), &read) {
            let event = Event::ForcedUp { host: host.clone(), request_id: request_id.clone() };
            self.out.push(Do::Record(one.wanted.incident, event));
        }
        self.answer(host, |it| match read {
            Ok(_) => it.enter(Step::Up, now),
            // Somebody has evacuated from it since it was looked at: wait for the clean-up once more.
            Err(trouble) => {
                it.enter(Step::CleanUp, now);
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
            Err(trouble) => self.answer(host, |it| it.again(trouble.why, now)),
        }
    }

    fn returned(&mut self, host: &HostName) {
        if let Some(one) = self.hosts.remove(host) {
            self.out.push(Do::Record(one.wanted.incident, Event::Returned { host: host.clone() }));
            self.out.push(Do::Forget(host.clone()));
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
            (Step::Power, _) => Some(Do::PowerOn(host.clone())),
            (Step::Compute | Step::Up, _) | (Step::ForceUp | Step::Enable, None) => {
                Some(Do::ReadService(host.clone()))
            }
            (Step::CleanUp, _) => Some(Do::ReadOpen(host.clone())),
            (Step::ForceUp, Some(service)) => Some(Do::ForceUp(host.clone(), service.id)),
            (Step::Canary, _) if rules.canary => Some(Do::Canary(host.clone(), incident)),
            (Step::Canary, _) => {
                one.enter(Step::Enable, now);
                None
            }
            (Step::Enable, Some(service)) if !service.enabled && service.ours => {
                Some(Do::Enable(host.clone(), service.id))
            }
            // Enabled already, or disabled by somebody else: that is theirs to undo.
            (Step::Enable, Some(service)) => {
                self.leave(host, &service);
                return;
            }
        };
        one.busy = order.is_some();
        let again = one.step == Step::Enable && before == Step::Canary;
        self.out.extend(order);
        self.tell(host, now);
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
        (self.was_read, self.first, self.service) = (false, None, None);
    }

    fn again(&mut self, why: String, now: Mono) {
        self.trouble = Some(why);
        self.due = now + LOOK;
    }

    fn pause(&self, rules: &Rules, now: Mono) -> Duration {
        if now.saturating_sub(self.since) > rules.patience { LOOK_SELDOM } else { LOOK }
    }

    fn service(&mut self, service: ServiceState, now: Mono) {
        let (up, forced_down, updated) = (service.up, service.forced_down, service.updated);
        self.service = Some(service);
        match self.step {
            // Nobody has forced it down, or somebody has forced it up: nothing is left to clean up for.
            Step::Compute if !forced_down => self.enter(Step::Up, now),
            Step::Compute => {
                if !self.was_read {
                    (self.was_read, self.first) = (true, updated);
                }
                // Its own reports alone write the record: nobody else has a reason to.
                if updated > self.first {
                    self.enter(Step::CleanUp, now);
                } else {
                    self.again("nova-compute does not report: is it started?".into(), now);
                }
            }
            Step::Up if up => self.enter(Step::Canary, now),
            Step::Up if forced_down => self.enter(Step::CleanUp, now),
            Step::Up => self.again("Nova takes it for down".into(), now),
            Step::ForceUp | Step::Enable => self.due = now,
            _ => {}
        }
    }
}
