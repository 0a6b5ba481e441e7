//! nova-compute in three views: its process, its connections to the message bus, and what Nova has heard
//! from it. What they say together is in `table.rs`.
//!
//! Nothing is asked of nova-compute itself and no log is read: a process that hangs cannot tell.

mod bus;
mod find;
mod process;
mod table;

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep, sleep_until};

use self::bus::View;
use self::process::Followed;
use self::table::{Ages, Nova, Views};
use crate::config::span;
use crate::sys::diag;
use crate::sys::proc::{Roots, State};
use crate::units::{Systemd, Watch, full_name};
use crate::verdict::{Finding, Health, Report, Step, Subject};

pub use self::bus::Cause;

/// Between looks at the process while nothing else is going on.
const PULSE: Duration = Duration::from_secs(2);
/// The bus is looked at every so many of them.
const BUS_EVERY: u32 = 2;
/// After something suspicious.
const SECOND_LOOK: Duration = Duration::from_secs(3);
/// Sockets of others that are remembered.
const OTHERS: usize = 16_384;

/// What is looked at, and the limits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Names that its unit has, by distribution; the first that is installed counts.
    pub units: Vec<String>,
    /// A file with the number of its process, for installations without a unit: systemd is not asked then.
    pub pid_file: Option<PathBuf>,
    /// Name of the program, by which the process is found within the unit, or where no unit is installed.
    pub program: String,
    /// Whether the connections to the message bus are looked at.
    pub bus: bool,
    /// Ports of the message bus.
    pub ports: Vec<u16>,
    /// The limits.
    pub limits: Limits,
    /// How systemd is reached.
    pub systemd: crate::units::Settings,
    /// Where the kernel's files are.
    #[serde(skip)]
    pub roots: Roots,
}

/// How long what may last.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// After its start, before it must be connected.
    #[serde(with = "span")]
    pub start: Duration,
    /// The unit being started, before that is a failure.
    #[serde(with = "span")]
    pub starting: Duration,
    /// The process waiting for a device.
    #[serde(with = "span")]
    pub blocked: Duration,
    /// The process held by a debugger.
    #[serde(with = "span")]
    pub traced: Duration,
    /// No connection to the message bus.
    #[serde(with = "span")]
    pub closed: Duration,
    /// Nothing read of what has arrived.
    #[serde(with = "span")]
    pub unread: Duration,
    /// Nothing confirmed of what was sent.
    #[serde(with = "span")]
    pub unanswered: Duration,
    /// Nothing arriving. A broker sends a heartbeat every 30 s by default.
    #[serde(with = "span")]
    pub silence: Duration,
    /// Nova not having heard from it.
    #[serde(with = "span")]
    pub last_seen: Duration,
    /// Whether that alone is a failure. Nova's conductor or database may be to blame.
    pub last_seen_fails: bool,
    /// So many ends of the process …
    pub restarts: usize,
    /// … within this time are a failure.
    #[serde(with = "span")]
    pub restart_window: Duration,
    /// For looking through processes.
    #[serde(with = "span")]
    pub find: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let units = [
            "openstack-nova-compute.service",
            "nova-compute.service",
            "tripleo_nova_compute.service",
            "edpm_nova_compute.service",
            "devstack@n-cpu.service",
        ];
        Self {
            units: units.map(str::to_owned).into(),
            pid_file: None,
            program: "nova-compute".to_owned(),
            bus: true,
            ports: vec![5671, 5672],
            limits: Limits::default(),
            systemd: crate::units::Settings::default(),
            roots: Roots::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            start: seconds(60),
            starting: seconds(180),
            blocked: seconds(15),
            traced: seconds(30),
            closed: seconds(8),
            unread: seconds(30),
            unanswered: seconds(45),
            silence: seconds(75),
            last_seen: seconds(60),
            last_seen_fails: false,
            restarts: 3,
            restart_window: seconds(600),
            find: seconds(2),
        }
    }
}

impl Settings {
    /// Whether systemd is asked.
    fn is_managed(&self) -> bool {
        !self.units.is_empty() && self.pid_file.is_none()
    }
}

/// What Nova says about the service, when it was asked last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastSeen {
    /// The age, now, of its last report (`last_seen_up`).
    Ago(Duration),
    /// Nobody knows.
    Unknown(String),
}

/// Tells what Nova says. Must not block: whoever asks Nova does so in its own time.
pub type AskNova = Arc<dyn Fn() -> LastSeen + Send + Sync>;

/// The probe.
pub struct NovaCompute {
    settings: Settings,
    systemd: Systemd,
    nova: Option<AskNova>,
    process: process::Process,
    /// News of its unit, under all names that it may have.
    unit: Option<Watch>,
    connections: Connections,
    /// When to look again even if nothing else happens.
    due: Option<Instant>,
    /// What the last check has said about the bus.
    told: Option<(Cause, Health)>,
}

/// Its connections to the bus.
#[derive(Debug, Default)]
struct Connections {
    watch: bus::Watch,
    own: HashSet<u32>,
    others: HashSet<u32>,
}

impl fmt::Debug for NovaCompute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NovaCompute").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl NovaCompute {
    /// Nothing is looked at yet.
    pub fn new(settings: Settings) -> Self {
        let systemd = Systemd::new(settings.systemd.clone());
        Self::with(settings, systemd)
    }

    /// The same, with a connection to systemd that others use as well.
    pub fn with(mut settings: Settings, systemd: Systemd) -> Self {
        settings.units.iter_mut().for_each(|name| *name = full_name(name));
        let process = process::Process::default();
        let connections = Connections::default();
        let unit = settings.is_managed().then(|| systemd.watch(settings.units.clone()));
        Self { settings, systemd, nova: None, process, unit, connections, due: None, told: None }
    }

    /// Has Nova's view as well.
    pub fn set_nova(&mut self, nova: Option<AskNova>) {
        self.nova = nova;
    }

    /// Number of its process, if it is known and runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.followed().map(|followed| followed.pid)
    }

    /// Looks at everything.
    pub async fn check(&mut self) -> Report {
        let begun = Instant::now();
        if let Some(unit) = &mut self.unit {
            unit.begin().await;
        }
        let first = self.process.check(&self.settings, &self.systemd).await;
        self.due = suspicious(first.health).then(|| Instant::now() + SECOND_LOOK);
        let mut findings = vec![first];
        let mut grace = None;
        if let Some(followed) = self.process.followed() {
            grace = starting(followed, &self.settings, findings.first());
            let state = findings.first().map_or(Health::Unknown, |finding| finding.health);
            let (bus, bus_for) = self.look_at_bus();
            findings.extend(self.settle(state, bus, bus_for));
        } else {
            self.connections = Connections::default();
            self.told = None;
        }
        Report { subject: Subject::NovaCompute, findings, elapsed: begun.elapsed(), grace }
    }

    /// Returns when something has happened that deserves a check now: the process has ended or stopped, its
    /// unit is in another state, a limit is over, the bus looks different.
    pub async fn changed(&mut self) {
        let Self { settings, process, connections, due, told, unit, .. } = self;
        let followed = process.followed();
        let limit = async {
            match *due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let exit = async {
            match followed {
                Some(followed) => followed.exit.exited().await,
                None => std::future::pending().await,
            }
        };
        let news = async {
            match unit {
                Some(unit) => unit.changed().await,
                None => std::future::pending().await,
            }
        };
        let pulse = async {
            let Some(followed) = followed else { return std::future::pending().await };
            for beat in 1_u32.. {
                sleep(PULSE).await;
                let state = followed.state(&settings.roots);
                if state.is_none_or(|state| state != followed.told && is_odd(state)) {
                    return;
                }
                if beat % BUS_EVERY == 0
                    && let Some(Ok(view)) = connections.look(settings, followed)
                {
                    let fault = view.fault(&settings.limits).map(|fault| (fault.cause, fault.health));
                    if fault != *told {
                        return;
                    }
                }
            }
        };
        tokio::select! {
            () = exit => {}
            () = limit => {}
            () = news => {}
            () = pulse => {}
        }
        // Not again for the same reason, should there be no check.
        self.due = None;
    }

    /// The finding about the bus, if it is to be looked at, and how long its fault lasts.
    fn look_at_bus(&mut self) -> (Option<Finding>, Duration) {
        let begun = Instant::now();
        self.told = None;
        let Some(followed) = self.process.followed() else { return (None, Duration::ZERO) };
        let view = match self.connections.look(&self.settings, followed) {
            None => return (None, Duration::ZERO),
            Some(Err(blind)) => {
                let finding = Finding::new(Step::Bus, Health::Unknown, blind.reason, begun.elapsed());
                return (Some(finding.advise(blind.advice)), Duration::ZERO);
            }
            Some(Ok(view)) => view,
        };
        let limits = &self.settings.limits;
        let fault = view.fault(limits);
        self.told = fault.map(|fault| (fault.cause, fault.health));
        if let Some(left) = view.next_limit(limits) {
            let next = begun + left + Duration::from_millis(50);
            self.due = Some(self.due.map_or(next, |due| due.min(next)));
        }
        let elapsed = begun.elapsed();
        let finding = match fault {
            None => Finding::ok(Step::Bus, elapsed),
            Some(fault) => {
                let finding = Finding::new(Step::Bus, fault.health, fault.reason(&view), elapsed);
                let finding = finding.advise(fault.cause.advice()).with("cause", fault.cause);
                // It has been looked at for long enough.
                if fault.health == Health::Failed { finding.at_once() } else { finding }
            }
        };
        (Some(evidence(finding, &view)), fault.map_or(Duration::ZERO, |fault| fault.lasts))
    }

    /// The findings about the bus and about Nova, by the table.
    fn settle(&self, process: Health, bus: Option<Finding>, bus_for: Duration) -> Vec<Finding> {
        let asked = Instant::now();
        let limits = &self.settings.limits;
        let said = self.nova.as_ref().map(|ask| ask());
        let nova = match said {
            Some(LastSeen::Ago(age)) => Nova::Heard(age),
            Some(LastSeen::Unknown(_)) | None => Nova::NotAsked,
        };
        let alone = if limits.last_seen_fails { Health::Failed } else { Health::Degraded };
        let ages = Ages { stale: limits.last_seen, alone, report: Duration::from_secs(15) };
        let seen = bus.as_ref().map_or(Health::Unknown, |finding| finding.health);
        let settled = table::settle(Views { process, bus: seen, bus_for, nova }, ages);
        let mut findings = Vec::new();
        if let Some(mut bus) = bus {
            if bus.health != settled.bus {
                bus.certain = settled.bus == Health::Failed;
            }
            bus.health = settled.bus;
            if let Some(note) = settled.note {
                bus.reason =
                    if bus.reason.is_empty() { String::new() } else { format!("{}; {note}", bus.reason) };
            }
            findings.push(bus);
        }
        match said {
            None => {}
            Some(LastSeen::Unknown(why)) => {
                let reason = format!("what Nova has heard is not known: {why}");
                findings.push(Finding::new(Step::Api, Health::Ok, reason, asked.elapsed()));
            }
            Some(LastSeen::Ago(age)) => {
                let mut finding = Finding::ok(Step::Api, asked.elapsed()).with("last_seen_s", age.as_secs());
                if settled.nova != Health::Ok {
                    let note = settled.note.unwrap_or_default();
                    finding.health = settled.nova;
                    finding.reason = format!("Nova has not heard from it for {} s; {note}", age.as_secs());
                    finding = finding.advise(
                        "see whether it is so for other hosts as well (openstack compute service list): then \
                         the control plane; else restart it",
                    );
                }
                findings.push(finding);
            }
        }
        findings
    }
}

/// Why the bus cannot be looked at.
struct Blind {
    reason: String,
    advice: &'static str,
}

impl Connections {
    /// `None` if it is not wanted.
    fn look(&mut self, settings: &Settings, followed: &Followed) -> Option<Result<View, Blind>> {
        if !settings.bus || settings.ports.is_empty() {
            return None;
        }
        Some(self.sockets(settings, followed).map(|sockets| self.watch.look(Instant::now(), &sockets)))
    }

    /// Those that are the process's own. What belongs to whom is remembered; descriptors are gone through
    /// only when there are connections that are not known yet.
    fn sockets(&mut self, settings: &Settings, followed: &Followed) -> Result<Vec<diag::Socket>, Blind> {
        let roots = &settings.roots;
        if followed.is_stand_in {
            let (program, pid) = (&settings.program, followed.pid);
            return Err(Blind {
                reason: format!("process {pid} of the unit does not run {program}, nor does one below it"),
                advice: "set nova-compute.program to the name of the program that the unit runs",
            });
        }
        if followed.elsewhere {
            return Err(Blind {
                reason: "it runs in another network, its connections cannot be seen from here".to_owned(),
                advice: "set bus = false in [nova-compute], or run the probe in its network namespace",
            });
        }
        let sockets = diag::connections(&settings.ports).map_err(|error| Blind {
            reason: format!("connections cannot be listed: {error}"),
            advice: "the kernel needs tcp_diag (modprobe tcp_diag)",
        })?;
        let listed: HashSet<u32> = sockets.iter().map(|socket| socket.inode).collect();
        self.own.retain(|inode| listed.contains(inode));
        self.others.retain(|inode| listed.contains(inode));
        if listed.iter().any(|inode| !self.own.contains(inode) && !self.others.contains(inode)) {
            let mut held = HashSet::new();
            for pid in followed.members(roots) {
                match roots.sockets(pid, &mut held) {
                    Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                        return Err(Blind {
                            reason: format!("no permission to see the connections of process {pid}"),
                            advice: "run as root",
                        });
                    }
                    // Gone since; a look at the process tells more.
                    Ok(()) | Err(_) => {}
                }
            }
            self.own = listed.intersection(&held).copied().collect();
            self.others = listed.difference(&held).copied().take(OTHERS).collect();
        }
        Ok(sockets.into_iter().filter(|socket| self.own.contains(&socket.inode)).collect())
    }
}

fn evidence(finding: Finding, view: &View) -> Finding {
    let mut finding = finding.with("connections", view.established).with("unread_bytes", view.unread);
    if view.connecting > 0 {
        finding = finding.with("connecting", view.connecting);
    }
    if let Some(silent) = view.silent_for {
        finding = finding.with("last_data_ms", silent.as_millis());
    }
    if view.retransmits > 0 {
        finding = finding.with("retransmits", view.retransmits);
    }
    finding
}

/// What a start excuses: having no connection yet, or a Nova that has not heard yet. An end of the process
/// is not excused.
fn starting(followed: &Followed, settings: &Settings, process: Option<&Finding>) -> Option<String> {
    let age = followed.age(&settings.roots)?;
    let fine = process.is_some_and(|finding| finding.health == Health::Ok);
    (fine && age < settings.limits.start).then(|| format!("started {} s ago", age.as_secs()))
}

fn suspicious(health: Health) -> bool {
    matches!(health, Health::Degraded | Health::Failed)
}

fn is_odd(state: State) -> bool {
    !matches!(state, State::Alive | State::Blocked)
}

#[cfg(test)]
mod tests;
