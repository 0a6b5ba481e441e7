//! The process of nova-compute: finding it, following it, and how it is.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Settings;
use super::find::{self, NoProcess};
use crate::aside;
use crate::sys::Exit;
use crate::sys::proc::{Roots, Stat, State};
use crate::units::{Active, Error, Load, Systemd, Unit};
use crate::verdict::{Finding, Health, Step};

/// The kernel's unit of time in these files, whatever its own clock is.
const TICKS: u64 = 100;
/// Workers of it that are looked at.
const WORKERS: usize = 16;
/// Ends that are remembered.
const ENDS: usize = 64;

/// The process that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) pid: u32,
    pub(super) exit: Exit,
    /// What it did when it was looked at last.
    pub(super) told: State,
    /// It lives in another network namespace.
    pub(super) elsewhere: bool,
    /// It does not run the program: below it, the program has not been found yet.
    pub(super) is_stand_in: bool,
    /// The main process of its unit, below which the program was found.
    below: Option<u32>,
    name: String,
    started: u64,
    group: Option<String>,
    /// Since when it waits for a device without getting any CPU time, and its ticks.
    blocked: Option<(Instant, u64)>,
    traced: Option<Instant>,
}

/// What is known of the process.
#[derive(Debug, Default)]
pub(super) struct Process {
    followed: Option<Followed>,
    unit: Option<String>,
    /// The one that was followed before and has ended.
    gone: Option<Gone>,
    ends: VecDeque<Instant>,
    starting_since: Option<Instant>,
}

/// A process that has ended.
#[derive(Debug, Clone, Copy)]
struct Gone {
    pid: u32,
    /// It ran the program below this one.
    below: Option<u32>,
}

/// What systemd says.
enum Managed {
    /// This about its unit.
    As(Unit),
    /// That there is no such unit.
    NotInstalled,
    /// Nothing.
    No(Error),
    /// It was not asked.
    NotAsked,
}

/// A process that was found.
#[derive(Debug, Clone, Copy)]
struct Found {
    pid: u32,
    is_stand_in: bool,
    /// The main process of its unit, if it has one.
    main: Option<u32>,
    /// Whether looking for it came to an end.
    is_sought: bool,
}

/// The program in a unit; its main process for as long as it is not found, whatever hangs there.
async fn below(main: u32, group: Option<String>, settings: &Settings) -> Found {
    let roots = settings.roots.clone();
    let program = settings.program.clone();
    let work = move || find::within(&roots, main, group.as_deref(), &program);
    let found = aside::run("looking for nova-compute", settings.limits.find, work).await;
    let is_sought = found.is_ok();
    let found = found.ok().flatten();
    Found { pid: found.unwrap_or(main), is_stand_in: found.is_none(), main: Some(main), is_sought }
}

impl Process {
    pub(super) fn followed(&self) -> Option<&Followed> {
        self.followed.as_ref()
    }

    /// Looks at the process that is followed, or for one to follow.
    pub(super) async fn check(&mut self, settings: &Settings, systemd: &Systemd) -> Finding {
        let begun = Instant::now();
        let ended = self.take_ended(&settings.roots);
        let managed = self.managed(settings, systemd).await;
        self.replace_stand_in(settings).await;
        let finding = if self.followed.is_some() {
            self.look(settings, &managed, begun)
        } else {
            self.search(settings, systemd, &managed, ended, begun).await
        };
        let finding = self.with_ends(finding, settings, begun);
        let finding = match &managed {
            Managed::As(unit) => finding
                .with("unit", &unit.name)
                .with("unit_state", format!("{} ({})", unit.active.name(), unit.sub)),
            Managed::No(error) => finding.with("systemd", error),
            Managed::NotInstalled | Managed::NotAsked => finding,
        };
        Finding { elapsed: begun.elapsed(), ..finding }
    }

    /// Forgets the process if it has ended.
    fn take_ended(&mut self, roots: &Roots) -> Option<u32> {
        let followed = self.followed.as_ref()?;
        let same = || roots.stat(followed.pid).is_ok_and(|stat| stat.started == followed.started);
        if !followed.exit.has_exited() && same() {
            return None;
        }
        let pid = followed.pid;
        self.gone = Some(Gone { pid, below: followed.below });
        self.followed = None;
        self.ends.push_back(Instant::now());
        if self.ends.len() > ENDS {
            self.ends.pop_front();
        }
        Some(pid)
    }

    async fn managed(&mut self, settings: &Settings, systemd: &Systemd) -> Managed {
        if !settings.is_managed() {
            return Managed::NotAsked;
        }
        let known = self.unit.as_ref().map(std::slice::from_ref);
        let mut units = match systemd.units(known.unwrap_or(&settings.units)).await {
            Ok(units) => units,
            Err(error) => return Managed::No(error),
        };
        units.retain(|unit| unit.load != Load::NotFound);
        // One that runs before those that only are there.
        let place = units.iter().position(|unit| unit.active != Active::Inactive).unwrap_or(0);
        if place >= units.len() {
            self.unit = None;
            return Managed::NotInstalled;
        }
        let unit = units.swap_remove(place);
        self.unit = Some(unit.name.clone());
        Managed::As(unit)
    }

    /// A container's monitor is there before the program in it.
    async fn replace_stand_in(&mut self, settings: &Settings) {
        let Some(followed) = self.followed.as_ref().filter(|followed| followed.is_stand_in) else { return };
        let found = below(followed.pid, followed.group.clone(), settings).await;
        if !found.is_stand_in {
            // If it has ended since, the next look tells.
            let _ = self.follow(found, settings);
        }
    }

    /// A process that is there.
    fn look(&mut self, settings: &Settings, managed: &Managed, begun: Instant) -> Finding {
        let failed = |reason: String| Finding::new(Step::Process, Health::Failed, reason, begun.elapsed());
        let Some(followed) = self.followed.as_mut() else { return failed("it is gone".to_owned()) };
        let limits = &settings.limits;
        let roots = &settings.roots;
        let pid = followed.pid;
        if let Managed::As(unit) = managed
            && unit.active == Active::Deactivating
        {
            return failed(format!("{} is being stopped", unit.name)).with("pid", pid);
        }
        let is_starting = matches!(managed, Managed::As(unit) if unit.active == Active::Activating);
        self.starting_since = is_starting.then(|| self.starting_since.unwrap_or(begun));
        let Ok(stat) = roots.stat(pid) else {
            return failed(format!("process {pid} cannot be looked at")).with("pid", pid);
        };
        let finding = followed.judge(&stat, settings, begun);
        let finding = match self.starting_since {
            Some(since) if finding.health == Health::Ok && begun - since >= limits.starting => {
                let seconds = (begun - since).as_secs();
                failed(format!("it has not come up for {seconds} s"))
                    .advise("see its log and whether nova-conductor answers")
            }
            _ => finding,
        };
        finding.with("pid", pid).with("threads", stat.threads)
    }

    /// No process is known.
    async fn search(
        &mut self,
        settings: &Settings,
        systemd: &Systemd,
        managed: &Managed,
        ended: Option<u32>,
        begun: Instant,
    ) -> Finding {
        let found = match managed {
            Managed::As(unit) => self.search_in(unit, settings, systemd, begun).await,
            _ => self.search_all(settings, managed, begun).await,
        };
        let found = match found {
            Ok(found) => found,
            Err(finding) => {
                return match ended {
                    Some(gone) if finding.health != Health::Unknown => Finding {
                        reason: format!("process {gone} has ended; {}", finding.reason),
                        certain: true,
                        ..finding
                    },
                    _ => finding,
                };
            }
        };
        let pid = found.pid;
        if let Some(gone) = self.gone
            && found.is_stand_in
            && gone.below == Some(pid)
        {
            // The container's monitor outlives the program a little.
            let gone = gone.pid;
            if !found.is_sought {
                let reason = format!("process {gone} has ended; what runs below {pid} is not told in time");
                return Finding::new(Step::Process, Health::Unknown, reason, begun.elapsed());
            }
            let reason = format!("process {gone} has ended, and nothing below {pid} runs it again");
            return Finding::new(Step::Process, Health::Failed, reason, begun.elapsed()).at_once();
        }
        if let Err(error) = self.follow(found, settings) {
            let (health, reason) = match ended {
                // systemd has not seen it yet.
                Some(gone) => (Health::Failed, format!("process {gone} has ended")),
                None => (Health::Unknown, format!("process {pid} cannot be followed: {error}")),
            };
            let finding = Finding::new(Step::Process, health, reason, begun.elapsed());
            return if health == Health::Failed { finding.at_once() } else { finding };
        }
        let before = self.gone.take();
        let finding = self.look(settings, managed, begun);
        match before {
            Some(Gone { pid: gone, .. }) if finding.health == Health::Ok && ended.is_some() => Finding {
                health: Health::Degraded,
                reason: format!("process {gone} has ended and was started again as {pid}"),
                advice: "see its log for why".to_owned(),
                ..finding
            },
            _ => finding,
        }
    }

    /// By its unit.
    async fn search_in(
        &mut self,
        unit: &Unit,
        settings: &Settings,
        systemd: &Systemd,
        begun: Instant,
    ) -> Result<Found, Finding> {
        let name = &unit.name;
        let finding = |health, reason: String| Finding::new(Step::Process, health, reason, begun.elapsed());
        let down = |how: String| {
            finding(Health::Failed, format!("{name} {how}"))
                .at_once()
                .advise(format!("systemctl start {name}; journalctl -u {name}"))
        };
        match (unit.load, unit.active) {
            (Load::Masked, Active::Inactive) => {
                let finding = finding(Health::Unknown, format!("{name} is masked: it is not meant to run"));
                return Err(finding.advise(format!("systemctl unmask {name}")));
            }
            (_, Active::Inactive) => return Err(down("is not running".to_owned())),
            (_, Active::Failed) => return Err(down("has failed".to_owned())),
            (_, Active::Deactivating) => return Err(down("is being stopped".to_owned())),
            (_, Active::Activating) if unit.sub.starts_with("auto-restart") => {
                return Err(down("has ended, systemd is about to start it again".to_owned()));
            }
            (_, Active::Active | Active::Activating | Active::Other) => {}
        }
        let service = systemd.service(unit).await.map_err(|error| {
            finding(Health::Unknown, format!("{name} is active, but its process is not known: {error}"))
        })?;
        let Some(main) = service.main_pid else {
            if unit.active == Active::Activating {
                return Err(finding(Health::Degraded, format!("{name} is being started")));
            }
            return Err(down("has no process".to_owned()));
        };
        Ok(below(main, service.group, settings).await)
    }

    /// Where there is no unit.
    async fn search_all(
        &mut self,
        settings: &Settings,
        managed: &Managed,
        begun: Instant,
    ) -> Result<Found, Finding> {
        let finding = |health, reason: String| Finding::new(Step::Process, health, reason, begun.elapsed());
        let roots = settings.roots.clone();
        let program = settings.program.clone();
        let file = settings.pid_file.clone();
        let work = move || match file {
            Some(file) => find::by_file(&roots, &file).map(Some),
            None => Ok(find::anywhere(&roots, &program)),
        };
        let program = &settings.program;
        match aside::run("looking for nova-compute", settings.limits.find, work).await {
            Ok(Ok(Some(pid))) => Ok(Found { pid, is_stand_in: false, main: None, is_sought: true }),
            Ok(Ok(None)) if self.gone.is_some() => {
                Err(finding(Health::Failed, format!("no process {program} runs")).at_once())
            }
            Ok(Ok(None)) => Err(match managed {
                Managed::No(error) => finding(Health::Unknown, format!("no process {program}, and {error}"))
                    .advise(
                        "see whether this is a compute node and whether systemd works (systemctl status)",
                    ),
                _ => finding(
                    Health::Unknown,
                    format!("no process {program} and no unit of it: not installed?"),
                )
                .advise("name its unit in nova-compute.units"),
            }),
            Ok(Err(NoProcess::File(reason))) if self.gone.is_none() => {
                Err(finding(Health::Unknown, reason).advise("see nova-compute.pid_file"))
            }
            Ok(Err(reason)) => Err(finding(Health::Failed, reason.to_string()).at_once()),
            Err(error) => Err(finding(Health::Unknown, format!("looking for {program} {error}"))),
        }
    }

    fn follow(&mut self, found: Found, settings: &Settings) -> std::io::Result<()> {
        let roots = &settings.roots;
        let Found { pid, is_stand_in, main, .. } = found;
        let before = roots.stat(pid)?;
        let exit = Exit::of(pid)?;
        // Whether the number still is the same one's.
        let stat = roots.stat(pid)?;
        if exit.has_exited() || stat.started != before.started {
            return Err(std::io::Error::other("it has just ended"));
        }
        let elsewhere = match (roots.network(pid), roots.own_network()) {
            (Ok(its), Ok(ours)) => its != ours,
            _ => false,
        };
        let group = roots.group_of(pid).filter(|group| group != "/");
        self.followed = Some(Followed {
            pid,
            exit,
            told: stat.state,
            elsewhere,
            is_stand_in,
            below: main.filter(|&main| main != pid),
            name: stat.name,
            started: stat.started,
            group,
            blocked: None,
            traced: None,
        });
        Ok(())
    }

    /// A process that ends again and again is no good, even while it runs.
    fn with_ends(&mut self, finding: Finding, settings: &Settings, now: Instant) -> Finding {
        let limits = &settings.limits;
        self.ends.retain(|end| now - *end < limits.restart_window);
        if self.ends.is_empty() {
            return finding;
        }
        let ends = self.ends.len();
        let finding = finding.with("ends", ends);
        let young = self.followed.as_ref().and_then(|followed| followed.age(&settings.roots));
        let settled = young.is_some_and(|age| age >= limits.start);
        if limits.restarts == 0 || ends < limits.restarts || settled || finding.health == Health::Failed {
            return finding;
        }
        let minutes = limits.restart_window.as_secs() / 60;
        Finding {
            health: Health::Failed,
            reason: format!("it has ended {ends} times within {minutes} min"),
            advice: "see its log for why".to_owned(),
            ..finding
        }
    }
}

impl Followed {
    /// What it does now; `None` if it is gone.
    pub(super) fn state(&self, roots: &Roots) -> Option<State> {
        let stat = roots.stat(self.pid).ok()?;
        (stat.started == self.started).then_some(stat.state)
    }

    /// How long it has been there.
    pub(super) fn age(&self, roots: &Roots) -> Option<Duration> {
        let started = Duration::from_millis(self.started.saturating_mul(1000 / TICKS));
        roots.uptime()?.checked_sub(started)
    }

    /// It and its workers: children that run the same program.
    pub(super) fn members(&self, roots: &Roots) -> Vec<u32> {
        let children = roots.children(self.pid).into_iter();
        let same = |pid: &u32| roots.stat(*pid).is_ok_and(|stat| stat.name == self.name);
        std::iter::once(self.pid).chain(children.filter(same).take(WORKERS)).collect()
    }

    fn judge(&mut self, stat: &Stat, settings: &Settings, now: Instant) -> Finding {
        let pid = self.pid;
        let limits = &settings.limits;
        let finding = |health, reason: String| Finding::new(Step::Process, health, reason, now.elapsed());
        self.told = stat.state;
        let blocked = self.blocked.filter(|(_, ticks)| *ticks == stat.ticks);
        self.blocked = (stat.state == State::Blocked).then(|| blocked.unwrap_or((now, stat.ticks)));
        self.traced = (stat.state == State::Traced).then(|| self.traced.unwrap_or(now));
        if self.group.as_ref().is_some_and(|group| settings.roots.is_frozen(group)) {
            return finding(Health::Failed, format!("process {pid} is frozen by its control group"))
                .advise("systemctl thaw its unit, or podman unpause its container");
        }
        match stat.state {
            State::Alive => Finding::ok(Step::Process, now.elapsed()),
            State::Dead => {
                finding(Health::Failed, format!("process {pid} has ended and was not cleaned up")).at_once()
            }
            State::Stopped => finding(Health::Failed, format!("process {pid} is stopped"))
                .advise(format!("kill -CONT {pid}, after asking who has stopped it")),
            State::Traced => {
                let since = self.traced.map_or(Duration::ZERO, |since| now - since);
                let health = if since >= limits.traced { Health::Failed } else { Health::Degraded };
                finding(health, format!("process {pid} is held by a debugger for {} s", since.as_secs()))
                    .advise(format!("grep TracerPid /proc/{pid}/status tells whose"))
            }
            State::Blocked => {
                let since = self.blocked.map_or(Duration::ZERO, |(since, _)| now - since);
                if since < limits.blocked {
                    return Finding::ok(Step::Process, now.elapsed());
                }
                let place = settings.roots.wait_channel(pid).unwrap_or_else(|| "unknown".to_owned());
                let reason = format!("process {pid} waits for a device for {} s", since.as_secs());
                finding(Health::Failed, reason)
                    .with("wchan", place)
                    .advise("see disks and mounts (dmesg, df of the instances' path)")
            }
        }
    }
}
