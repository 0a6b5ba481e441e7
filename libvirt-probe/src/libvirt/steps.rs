//! The steps of a check, in order.

use std::time::{Duration, Instant};

use super::backlog::{Backlog, Listener};
use super::daemon::Look;
use super::diagnosis::{Asked, SLOTS, Silence, overloaded};
use super::domain::{Domain, PAUSED_BY_IO_ERROR, uuid_text, words};
use super::link::{NoLink, has_worked, inode};
use super::process::Process;
use super::settings::Paused;
use super::{Error, Libvirt};
use crate::rpc::client::{Lost, WaitError, now};
use crate::rpc::message::{
    AllStates, DomainState, GetControl, GetState, LibVersion, ListDomains, Name, Procedure,
};
use crate::rpc::{CallError, Ticket};
use crate::verdict::{Finding, Health, Step};

/// Whom a check has met.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Met {
    /// The daemon.
    pub(crate) daemon: Option<Process>,
    /// It was not to be had.
    pub(crate) absent: bool,
    /// It was at work in the meantime.
    pub(crate) worked: bool,
}

/// Names of domains in one text.
const NAMES: usize = 5;
/// A queue that is not empty is looked at again so many times before it is believed.
const LOOKS: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(80);

impl Libvirt {
    /// Takes all steps.
    pub(super) async fn steps(&mut self, findings: &mut Vec<Finding>) -> Met {
        let started = now();
        let mut met = Met::default();
        // A connection that was lost unnoticed shows itself at the first question: then a new one is tried.
        for _ in 0..2 {
            findings.clear();
            if let Err(no_link) = self.connect().await {
                let NoLink { finding, daemon, absent, path, worked, .. } = *no_link;
                if let Some(path) = path {
                    findings.push(Finding::ok(Step::Socket, Duration::ZERO).with("socket", path.display()));
                }
                findings.push(finding);
                return Met { daemon, absent, worked };
            }
            let daemon = self.link.as_ref().and_then(|link| link.daemon);
            let before = daemon.and_then(Process::stat).map_or(0, |stat| stat.ticks);
            let result = self.ask(findings, started).await;
            met = Met { daemon, absent: false, worked: has_worked(daemon, before) };
            let Err(lost) = result else { break };
            self.lose();
            findings.clear();
            let again = now() < started + self.settings.deadlines.connect;
            let reason = format!("libvirt ends connections: {lost}");
            findings.push(Finding::new(Step::Connect, Health::Failed, reason, now() - started).advise(LOGS));
            if !again {
                break;
            }
        }
        met
    }

    /// What earlier checks asked and nobody waits for any more.
    pub(super) fn tidy(&mut self) {
        let Some(link) = &mut self.link else { return };
        let kept = link.asked.serials();
        link.client.session().forget_all_but(&kept);
        // Removed, or another daemon's by now.
        let moved = link.file.is_some() && inode(&link.path) != link.file;
        if moved || link.client.receive().is_err() {
            self.lose();
            self.watch.due();
        }
        self.take_events();
    }

    /// Everything that is asked over a connection.
    async fn ask(&mut self, findings: &mut Vec<Finding>, started: Instant) -> Result<(), Lost> {
        let deadlines = self.settings.deadlines;
        let Some(link) = &mut self.link else { return Ok(()) };
        let (path, daemon, listener) = (link.path.display().to_string(), link.daemon, link.listener);
        let (connected, link_events) = (now(), link.events);
        // All at once: one turn of the daemon's event loop for all of them.
        if link.client.session().unanswered_ping().is_none() {
            link.client.session().ping(connected);
        }
        let (version, asked) = link.client.call_once(&mut link.asked.version, &LibVersion);
        let states = link.client.call_once(&mut link.asked.states, &AllStates { active: true });

        findings.push(Finding::ok(Step::Socket, Duration::ZERO).with("socket", path));
        let pinged = link.client.session().unanswered_ping().unwrap_or(connected);
        while link.client.session().unanswered_ping().is_some_and(|since| since <= pinged) {
            if link.client.turn(pinged + deadlines.ping).await? {
                continue;
            }
            findings.push(Finding::ok(Step::Connect, connected - started));
            findings.push(self.silent(pinged).await);
            return Ok(());
        }
        self.past.silent = None;
        let mut connect = Finding::ok(Step::Connect, connected - started);
        if let Some(daemon) = daemon {
            connect = connect.with("pid", daemon.pid);
        }
        if !link_events {
            connect = connect.with("events", "none");
        }
        let queue = queue(listener).await;
        let Some(link) = &mut self.link else { return Ok(()) };
        if let Some(queue) = queue {
            connect.health = Health::Degraded;
            connect.reason = overloaded(&link.name, Some(queue));
            connect = connect.advise(SLOTS).with("waiting-connections", queue.waiting);
        }
        findings.push(connect);
        findings.push(Finding::ok(Step::EventLoop, now() - pinged));

        let result = link.client.answer(version, asked + deadlines.call).await;
        let elapsed = now() - asked;
        match result {
            Ok(version) => {
                self.version = Some(version);
                findings.push(Finding::ok(Step::Call, elapsed).with("libvirt", version));
            }
            Err(WaitError::Lost(lost)) => return Err(lost),
            Err(error) => {
                let reason = format!("libvirt answers pings, but not {}: {error}", LibVersion::NAME);
                let finding = Finding::new(Step::Call, Health::Failed, reason, elapsed);
                findings
                    .push(finding.advise("systemctl restart libvirtd or virtqemud (guests go on running)"));
                return Ok(());
            }
        }
        let states = self.workers(states, findings).await?;
        self.guests(states.as_deref(), findings).await?;
        if let Some(states) = states {
            findings.push(storage(&states, self.settings.paused));
        }
        Ok(())
    }

    /// A ping was not answered in time.
    async fn silent(&mut self, since: Instant) -> Finding {
        let (process, listener) =
            self.link.as_ref().map_or((None, None), |link| (link.daemon, link.listener));
        let look = Look::at(process).await;
        let silent = now() - *self.past.silent.get_or_insert(since);
        Silence {
            asked: Asked::Ping,
            look,
            backlog: listener.and_then(|listener| listener.backlog().ok().flatten()),
            waited: now() - since,
            silent,
            patience: self.settings.patience,
        }
        .finding()
    }

    /// The states of all domains, which only an ordinary worker tells.
    async fn workers(
        &mut self,
        (ticket, since): (Ticket<AllStates>, Instant),
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Vec<DomainState>>, Lost> {
        let Some(link) = &mut self.link else { return Ok(None) };
        let result = link.client.answer(ticket, since + self.settings.deadlines.workers).await;
        let elapsed = now() - since;
        match result {
            Ok(mut states) => {
                // A question of `domains` is for all of them.
                states.retain(|state| state.domain.id >= 0);
                if let Some(daemon) = link.daemon {
                    self.grace.prove(daemon);
                }
                findings.push(Finding::ok(Step::Workers, elapsed).with("domains", states.len()));
                Ok(Some(states))
            }
            Err(WaitError::Lost(lost)) => Err(lost),
            Err(WaitError::Late) => {
                let reason = format!(
                    "libvirt can do no work: {} did not come within {:.1} s, all workers are stuck or a domain is \
                     locked",
                    AllStates::NAME,
                    elapsed.as_secs_f64()
                );
                findings.push(Finding::new(Step::Workers, Health::Failed, reason, elapsed).advise(
                    "find the guest they wait for: libvirt-probe domains, virsh domcontrol NAME; let it go on or \
                     kill its QEMU; then systemctl restart libvirtd or virtqemud (guests go on running)",
                ));
                Ok(None)
            }
            Err(WaitError::Call(error)) => {
                findings.push(refused(Step::Workers, AllStates::NAME, &error, elapsed));
                Ok(None)
            }
        }
    }

    /// The processes and monitors of the domains.
    async fn guests(
        &mut self,
        states: Option<&[DomainState]>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Lost> {
        let started = now();
        let until = started + self.settings.deadlines.domains;
        match states {
            Some(states) => self.guests.update(states.iter().map(|state| &state.domain)),
            // One of them may be what the workers wait for; others tell their names.
            None => self.names(until).await?,
        }
        let folders = self.run_folders();
        self.guests.look(&folders, started, self.settings.round);
        let names = self.guests.monitors(self.settings.batch);
        let late = self.ask_monitors(names, until).await?;
        let elapsed = now() - started;
        let mut troubles = self.guests.troubles(now(), self.settings.occupied);
        let mut texts: Vec<String> =
            troubles.iter().take(NAMES).map(|(name, trouble)| trouble.text(name)).collect();
        if let Some(name) = late.first() {
            texts.push(format!("libvirt does not tell of the monitor of {}: it is locked", name.name));
        }
        let finding = if texts.is_empty() {
            Finding::ok(Step::Domains, elapsed).with("qemu-processes", self.guests.processes())
        } else {
            if troubles.len() > NAMES {
                texts.push(format!("and {} more", troubles.len() - NAMES));
            }
            let mut finding = Finding::new(Step::Domains, Health::Degraded, texts.join("; "), elapsed);
            finding = finding.advise(match troubles.first() {
                Some((name, trouble)) => trouble.advice(name),
                None => "a thread of libvirt holds this domain's lock: keep the evidence with gcore, then systemctl \
                         restart libvirtd or virtqemud (guests go on running)"
                    .into(),
            });
            troubles.truncate(NAMES * 4);
            for (name, _) in troubles {
                finding = finding.with("domain", name);
            }
            finding
        };
        findings.push(finding);
        Ok(())
    }

    /// The domains by a worker for short calls; those known before, if even that is not answered.
    async fn names(&mut self, until: Instant) -> Result<(), Lost> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let (ticket, since) = link.client.call_once(&mut link.asked.names, &ListDomains { active: true });
        let until = until.min(since + self.settings.deadlines.call);
        match link.client.answer(ticket, until).await {
            Ok(names) => self.guests.update(&names),
            Err(WaitError::Lost(lost)) => return Err(lost),
            Err(WaitError::Late | WaitError::Call(_)) => {}
        }
        Ok(())
    }

    /// Asks how monitors are; those that were not told in time. While one is late, no others are asked for.
    async fn ask_monitors(&mut self, names: Vec<Name>, until: Instant) -> Result<Vec<Name>, Lost> {
        let deadline = self.settings.deadlines.domains;
        let Some(link) = &mut self.link else { return Ok(Vec::new()) };
        let mut asked = Vec::with_capacity(names.len() + 1);
        if let Some((name, ticket)) = link.asked.monitor.clone() {
            match link.client.session().unanswered(ticket) {
                Some(since) if now() >= since + deadline => return Ok(vec![name]),
                _ => asked.push((name, ticket)),
            }
        }
        for name in names {
            let ticket = link.client.call(&GetControl(name.clone()));
            asked.push((name, ticket));
        }
        let mut late = Vec::new();
        for (name, ticket) in asked {
            let result = link.client.answer(ticket, until).await;
            if link.asked.monitor.as_ref().is_some_and(|(_, other)| other.serial() == ticket.serial()) {
                link.asked.monitor = None;
            }
            match result {
                Ok(control) => self.guests.told(&name, Some(control), now()),
                Err(WaitError::Lost(lost)) => return Err(lost),
                // Gone in the meantime, not supported by the driver, or not for us to know.
                Err(WaitError::Call(_)) => self.guests.told(&name, None, now()),
                Err(WaitError::Late) if link.asked.monitor.is_none() => {
                    link.asked.monitor = Some((name.clone(), ticket));
                    late.push(name);
                }
                Err(WaitError::Late) => {
                    link.client.session().forget(ticket);
                    late.push(name);
                }
            }
        }
        Ok(late)
    }

    /// All domains, also those that do not run.
    pub(super) async fn list(&mut self) -> Result<Vec<Domain>, Error> {
        self.tidy();
        for attempt in 0..2 {
            self.connect().await.map_err(|no_link| Error::NoConnection(no_link.finding))?;
            match self.list_once().await {
                Err(Failed::Lost(lost)) => {
                    self.lose();
                    if attempt == 1 {
                        let reason = format!("libvirt ends connections: {lost}");
                        let finding = Finding::new(Step::Connect, Health::Failed, reason, Duration::ZERO);
                        return Err(Error::NoConnection(finding.advise(LOGS)));
                    }
                }
                Err(Failed::Error(error)) => return Err(error),
                Ok(list) => return Ok(list),
            }
        }
        Ok(Vec::new())
    }

    async fn list_once(&mut self) -> Result<Vec<Domain>, Failed> {
        let deadlines = self.settings.deadlines;
        let Some(link) = &mut self.link else { return Ok(Vec::new()) };
        if let Some(ticket) = link.asked.states
            && link.client.session().unanswered(ticket).is_none()
        {
            link.asked.states = None;
        }
        // One that is on its way may be for the active ones only.
        let partial = link.asked.states.is_some();
        let (ticket, since) = link.client.call_once(&mut link.asked.states, &AllStates { active: false });
        let mut result = link.client.answer(ticket, since + deadlines.workers).await;
        if partial && result.is_ok() {
            let (ticket, since) = link.client.call_once(&mut link.asked.states, &AllStates { active: false });
            result = link.client.answer(ticket, since + deadlines.workers).await;
        }
        let states = match result {
            Ok(states) => states,
            Err(WaitError::Lost(lost)) => return Err(Failed::Lost(lost)),
            // No worker is left for this; others tell the same, one domain at a time.
            Err(WaitError::Late | WaitError::Call(_)) => self.states_one_by_one().await?,
        };
        let active: Vec<Name> =
            states.iter().map(|state| &state.domain).filter(|domain| domain.id >= 0).cloned().collect();
        self.guests.update(&active);
        let folders = self.run_folders();
        self.guests.look(&folders, now(), Duration::ZERO);
        let late = self.ask_monitors(active, now() + deadlines.domains).await.map_err(Failed::Lost)?;
        let mut domains: Vec<Domain> = states
            .into_iter()
            .map(|DomainState { domain, state }| {
                let (text, reason) = words(state);
                let active = domain.id >= 0;
                let told = active && !late.contains(&domain);
                Domain {
                    uuid: uuid_text(domain.uuid),
                    id: active.then_some(domain.id),
                    state: text,
                    reason,
                    numbers: (state.state, state.reason),
                    control: self.guests.control(&domain.uuid).filter(|_| told).map(Into::into),
                    process: self.guests.guest(&domain.uuid).filter(|_| active),
                    name: domain.name,
                }
            })
            .collect();
        domains.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(domains)
    }

    async fn states_one_by_one(&mut self) -> Result<Vec<DomainState>, Failed> {
        let deadlines = self.settings.deadlines;
        let Some(link) = &mut self.link else { return Ok(Vec::new()) };
        let until = now() + deadlines.call;
        let names = match link.client.ask(&ListDomains { active: false }, until).await {
            Ok(names) => names,
            Err(error) => return Err(Failed::of(error, ListDomains::NAME, deadlines.call)),
        };
        let until = now() + deadlines.domains;
        let asked: Vec<_> = names
            .into_iter()
            .map(|name| {
                let ticket = link.client.call(&GetState(name.clone()));
                (name, ticket)
            })
            .collect();
        let mut states = Vec::with_capacity(asked.len());
        for (domain, ticket) in asked {
            match link.client.answer(ticket, until).await {
                Ok(state) => states.push(DomainState { domain, state }),
                Err(WaitError::Call(CallError::Refused(refusal))) if refusal.is_gone() => {}
                Err(error) => return Err(Failed::of(error, GetState::NAME, deadlines.domains)),
            }
        }
        Ok(states)
    }
}

enum Failed {
    Lost(Lost),
    Error(Error),
}

impl Failed {
    fn of(error: WaitError, what: &'static str, waited: Duration) -> Self {
        match error {
            WaitError::Lost(lost) => Self::Lost(lost),
            WaitError::Late => Self::Error(Error::Late { what, waited }),
            WaitError::Call(error) => Self::Error(Error::Refused { what, reason: error.to_string() }),
        }
    }
}

/// An answer that says no.
fn refused(step: Step, what: &'static str, error: &CallError, elapsed: Duration) -> Finding {
    let reason = format!("libvirt refuses {what}: {error}");
    match error {
        CallError::Refused(refusal) if refusal.is_permission() => {
            Finding::new(step, Health::Unknown, reason, elapsed)
                .advise("access_drivers in libvirtd.conf, or polkit, denies it to this user: run as root")
        }
        CallError::Refused(refusal) if refusal.is_unsupported() => {
            Finding::new(step, Health::Unknown, reason, elapsed)
                .advise("this driver cannot be probed that far")
        }
        _ => Finding::new(step, Health::Failed, reason, elapsed).advise(LOGS),
    }
}

/// What waits in front of the socket, if it does not go away.
async fn queue(listener: Option<Listener>) -> Option<Backlog> {
    let listener = listener?;
    let mut last = None;
    for look in 0..LOOKS {
        last = listener.backlog().ok().flatten().filter(|backlog| backlog.waiting > 0);
        last?;
        if look + 1 < LOOKS {
            tokio::time::sleep(BETWEEN).await;
        }
    }
    last
}

/// How many domains are paused by I/O errors.
fn storage(states: &[DomainState], limits: Paused) -> Finding {
    let paused: Vec<&str> = states
        .iter()
        .filter(|domain| (domain.state.state, domain.state.reason) == PAUSED_BY_IO_ERROR)
        .map(|domain| domain.domain.name.as_str())
        .collect();
    let (count, all) = (paused.len(), states.len());
    let percent = (count * 100).checked_div(all).unwrap_or(0);
    let failed = count > 0 && count >= limits.failed && percent >= limits.percent.into();
    if !failed && count < limits.degraded.max(1) {
        let finding = Finding::ok(Step::Storage, Duration::ZERO);
        return if count == 0 { finding } else { finding.with("paused", count) };
    }
    let mut names = paused.iter().take(NAMES).copied().collect::<Vec<_>>().join(", ");
    if count > NAMES {
        names.push_str(", …");
    }
    let verb = if count == 1 { "is" } else { "are" };
    let reason = format!("{count} of {all} domains {verb} paused by I/O errors: {names}");
    let health = if failed { Health::Failed } else { Health::Degraded };
    let mut finding = Finding::new(Step::Storage, health, reason, Duration::ZERO)
        .advise("virsh domblkerror NAME names the disk; repair the storage, then virsh resume NAME")
        .with("paused", count);
    finding.certain = failed;
    finding
}

const LOGS: &str = "journalctl -u libvirtd -u virtqemud -n 50 says why";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::message::State;

    fn states(paused: usize, all: usize) -> Vec<DomainState> {
        (0..all)
            .map(|number| DomainState {
                domain: Name { name: format!("instance-{number}"), uuid: [0; 16], id: 1 },
                state: if number < paused {
                    State { state: 3, reason: 5 }
                } else {
                    State { state: 3, reason: 1 }
                },
            })
            .collect()
    }

    #[test]
    fn paused_domains_count_by_number_and_share() {
        let limits = Paused { degraded: 1, failed: 2, percent: 50 };
        for (paused, all, health) in [
            (0, 0, Health::Ok),
            (0, 10, Health::Ok),
            (1, 1, Health::Degraded),
            (1, 10, Health::Degraded),
            (4, 9, Health::Degraded),
            (2, 4, Health::Failed),
            (10, 10, Health::Failed),
        ] {
            let finding = storage(&states(paused, all), limits);
            assert_eq!(finding.health, health, "{paused} of {all}");
            assert_eq!(finding.certain, health == Health::Failed);
        }
        let text = storage(&states(7, 100), limits).reason;
        assert!(text.starts_with("7 of 100 domains are paused by I/O errors: instance-0, "), "{text}");
        let lenient = Paused { degraded: 3, failed: 9, percent: 0 };
        assert_eq!(storage(&states(2, 2), lenient).health, Health::Ok);
        assert_eq!(storage(&states(9, 900), lenient).health, Health::Failed);
    }
}
