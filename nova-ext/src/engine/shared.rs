//! What all incidents share: the limits, the clock, the operator's switches, and what is to be done next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::flapping::Flapping;
use super::gates::Facts;
use super::journal::{Event, Outcome};
use super::limit::Limiter;
use super::values::{Action, ControlPlane, Maintenance, Mono, Now};
use crate::ids::{HostName, IncidentId, ServerId};
use crate::policy::Policy;

/// Looks at servers at a time.
const LOOKS: usize = 16;

/// What is due at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The next step of an incident's phase.
    Phase(IncidentId),
    /// Migrations are to be read.
    Rows(IncidentId),
    /// A server's pause is over.
    Pause(IncidentId, ServerId),
    /// A server is to be looked at.
    Look(IncidentId, ServerId),
    /// The proof is to be looked for again.
    Proof(IncidentId),
    /// The control plane is to be looked at.
    Control,
    /// Something may have become possible.
    Pump,
}

/// What all incidents share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) now: Now,
    pub(super) policy: Policy,
    pub(super) to_stopped: bool,
    pub(super) controller: String,
    pub(super) limiter: Limiter,
    pub(super) out: Vec<Action>,
    pub(super) timers: BTreeSet<(Mono, Timer)>,
    pub(super) looks: VecDeque<(IncidentId, ServerId)>,
    pub(super) looks_open: usize,
    /// Starts under way, by host.
    pub(super) starting: BTreeMap<HostName, u32>,
    pub(super) groups: BTreeMap<Box<str>, Group>,
    pub(super) control: Option<(Mono, ControlPlane)>,
    /// Since when scheduler and conductor are seen alive without a break.
    pub(super) alive_since: Option<Mono>,
    pub(super) control_busy: bool,
    /// Hosts that are proven off.
    pub(super) off: BTreeSet<HostName>,
    pub(super) frozen: Option<String>,
    pub(super) maintenance: Maintenance,
    pub(super) go_ahead: BTreeSet<HostName>,
    pub(super) flapping: Flapping,
    /// How the last incidents ended, the oldest first.
    pub(super) ended: VecDeque<(IncidentId, Outcome)>,
}

/// Incidents that have ended and are remembered.
const REMEMBERED: usize = 1000;

/// Members of a group.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// That are not as they were yet.
    pub(super) open: u32,
    /// When the last one was.
    pub(super) ended: Mono,
}

impl Shared {
    pub(super) fn record(&mut self, incident: IncidentId, event: Event) {
        self.out.push(Action::Record(incident, event));
    }

    pub(super) fn remember_end(&mut self, incident: IncidentId, outcome: Outcome) {
        if self.ended.len() >= REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back((incident, outcome));
    }

    pub(super) fn at(&mut self, after: Duration, timer: Timer) {
        self.timers.insert((self.now.mono.saturating_add(after), timer));
    }

    pub(super) fn due(&mut self) -> Option<Timer> {
        let (at, _) = self.timers.first()?;
        if *at > self.now.mono {
            return None;
        }
        self.timers.pop_first().map(|(_, timer)| timer)
    }

    pub(super) fn facts(&self, host: &HostName, down: usize) -> Facts<'_> {
        Facts {
            frozen: self.frozen.as_deref(),
            maintenance: self.maintenance.holds(host),
            down,
            many_are_fine: self.go_ahead.contains(host),
            control: self.control,
            now: self.now.mono,
        }
    }

    /// Whether the control plane is seen alive for so long.
    pub(super) fn alive_for(&self, span: Duration) -> bool {
        self.alive_since.is_some_and(|since| self.now.mono.saturating_sub(since) >= span)
    }

    pub(super) fn next_look(&mut self) -> Option<(IncidentId, ServerId)> {
        if self.looks_open >= LOOKS {
            return None;
        }
        self.looks.pop_front()
    }

    /// Whether a member of this group may go on, having been ready for `waited`.
    pub(super) fn group_may_go(&self, name: Option<&str>, waited: Duration) -> bool {
        let Some(group) = name.and_then(|name| self.policy.group(name)) else { return true };
        group.after.iter().all(|before| {
            let Some(rules) = self.policy.group(before) else { return true };
            let settle = Duration::from_secs(rules.settle_seconds.into());
            let ready = self.groups.get(before.as_str()).is_none_or(|members| {
                members.open == 0 && self.now.mono.saturating_sub(members.ended) >= settle
            });
            ready || waited >= Duration::from_secs(rules.wait_seconds.into())
        })
    }

    pub(super) fn join_group(&mut self, name: Option<&str>) {
        if let Some(name) = name {
            let group = self.groups.entry(name.into()).or_default();
            group.open = group.open.saturating_add(1);
        }
    }

    pub(super) fn leave_group(&mut self, name: Option<&str>) {
        if let Some(group) = name.and_then(|name| self.groups.get_mut(name)) {
            group.open = group.open.saturating_sub(1);
            group.ended = self.now.mono;
        }
    }

    /// Whether one more server may be started on a host.
    pub(super) fn may_start(&self, host: &HostName) -> bool {
        let rules = &self.policy.start;
        self.starting.values().sum::<u32>() < rules.at_once
            && self.starting.get(host).copied().unwrap_or(0) < rules.per_host
    }
}
