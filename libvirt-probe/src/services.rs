//! Other services of a compute node: whether their units run, and whether they do so for long.
//!
//! If so wanted, a service that has failed is started again here first, a few times, before anybody else
//! hears of a failure. What somebody has stopped is left alone, and what cannot be told is never touched.

mod unit;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use self::unit::{History, Judged};
use crate::config::span;
use crate::units::{self, Error, Installed, Systemd, Task, Unit, Watch, full_name};
use crate::verdict::{Finding, Health, Report, Step, Subject};

/// Units that are looked at.
const UNITS: usize = 64;
/// Between looks at which units are installed.
const REDISCOVER: Duration = Duration::from_secs(300);
/// After something suspicious.
const SECOND_LOOK: Duration = Duration::from_secs(3);

/// What is looked at, and the limits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Units that must run; one that is not installed is unknown.
    pub units: Vec<String>,
    /// Patterns of units that are looked at if they are installed and enabled.
    pub installed: Vec<String>,
    /// So many starts by systemd …
    pub restarts: u32,
    /// … within this time are a failure, even if it runs now.
    #[serde(with = "span")]
    pub restart_window: Duration,
    /// How often in that time a failed service is started again here before it counts as failed; only
    /// where that is wanted at all ([`Services::healing`]).
    pub heal: usize,
    /// Being started or stopped, before that is a failure.
    #[serde(with = "span")]
    pub pending: Duration,
    /// How systemd is reached.
    pub systemd: units::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        let installed = [
            "neutron-*-agent.service",
            "tripleo_neutron_*_agent.service",
            "edpm_neutron_*_agent.service",
            "tripleo_ovn_metadata_agent.service",
            "edpm_ovn_metadata_agent.service",
            "ceilometer-*.service",
            "openstack-ceilometer-*.service",
            "tripleo_ceilometer_*.service",
            "edpm_ceilometer_*.service",
            "virtlogd.service",
            "virtlogd.socket",
        ];
        Self {
            units: Vec::new(),
            installed: installed.map(str::to_owned).into(),
            restarts: 3,
            restart_window: Duration::from_secs(600),
            heal: 2,
            pending: Duration::from_secs(120),
            systemd: units::Settings::default(),
        }
    }
}

/// The probe.
#[derive(Debug)]
pub struct Services {
    settings: Settings,
    systemd: Systemd,
    heals: bool,
    discovered: Option<(Instant, Vec<Installed>)>,
    watch: Option<Watch>,
    histories: BTreeMap<String, History>,
    due: Option<Instant>,
}

impl Services {
    /// Nothing is looked at yet. Checks only look.
    pub fn new(settings: Settings) -> Self {
        let systemd = Systemd::new(settings.systemd.clone());
        Self::with(settings, systemd)
    }

    /// The same, with a connection to systemd that others use as well.
    pub fn with(mut settings: Settings, systemd: Systemd) -> Self {
        settings.units.iter_mut().for_each(|name| *name = full_name(name));
        let histories = BTreeMap::new();
        Self { settings, systemd, heals: false, discovered: None, watch: None, histories, due: None }
    }

    /// Has checks start again what has failed, by [`Settings::heal`].
    #[must_use]
    pub fn healing(mut self) -> Self {
        self.heals = true;
        self
    }

    /// Looks at all of them.
    pub async fn check(&mut self) -> Report {
        let begun = Instant::now();
        self.due = None;
        let findings = match self.look(begun).await {
            Ok(findings) => findings,
            Err(error) => {
                let finding = Finding::new(Step::Unit, Health::Unknown, error.to_string(), begun.elapsed());
                vec![finding.advise("see whether systemd and the message bus work (systemctl status dbus)")]
            }
        };
        if findings.iter().any(|finding| matches!(finding.health, Health::Degraded | Health::Failed)) {
            self.due = Some(Instant::now() + SECOND_LOOK);
        }
        Report { subject: Subject::Services, findings, elapsed: begun.elapsed(), grace: None }
    }

    /// Returns when one of the units is in another state, or when it is time for a second look.
    pub async fn changed(&mut self) {
        let again = async {
            match self.due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let unit = async {
            match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = again => {}
            () = unit => {}
        }
        self.due = None;
    }

    async fn look(&mut self, begun: Instant) -> Result<Vec<Finding>, Error> {
        let enabled = self.discover(begun).await?;
        let names: Vec<String> = enabled.keys().cloned().collect();
        if names.is_empty() {
            self.watch = None;
            let reason = "no such service is installed";
            return Ok(vec![Finding::new(Step::Unit, Health::Ok, reason, begun.elapsed())]);
        }
        let watch = self.watch.take().filter(|watch| watch.names() == names);
        let watch = self.watch.insert(watch.unwrap_or_else(|| self.systemd.watch(names.clone())));
        watch.begin().await;
        let units = self.systemd.units(&names).await?;
        self.histories.retain(|name, _| units.iter().any(|unit| unit.name == *name));
        let mut findings = Vec::with_capacity(units.len());
        for unit in units {
            let must_run = enabled.get(&unit.name).copied().unwrap_or(true);
            findings.push(self.look_at(&unit, must_run).await?);
        }
        Ok(findings)
    }

    /// One that cannot be looked at does not hide the others; a systemd that does not answer is asked no more.
    async fn look_at(&mut self, unit: &Unit, must_run: bool) -> Result<Finding, Error> {
        let begun = Instant::now();
        let service = if unit.name.ends_with(".service") && unit::is_loaded(unit) {
            match self.systemd.service(unit).await {
                Ok(service) => Some(service),
                Err(error @ (Error::Absent(_) | Error::NoAnswer { .. })) => return Err(error),
                Err(error) => {
                    let reason = format!("{}: {error}", unit.name);
                    return Ok(Finding::new(Step::Unit, Health::Unknown, reason, begun.elapsed()));
                }
            }
        } else {
            None
        };
        let history = self.histories.entry(unit.name.clone()).or_default();
        let Judged { mut finding, start_again } =
            history.judge(unit, service.as_ref(), must_run, &self.settings, begun);
        if start_again && self.heals {
            let forget = service.is_some_and(|service| service.result == "start-limit-hit");
            finding = self.heal(unit, forget, finding).await?;
        }
        Ok(Finding { elapsed: begun.elapsed(), ..finding })
    }

    /// Starts a failed unit again, if it may be tried once more.
    async fn heal(&mut self, unit: &Unit, forget: bool, finding: Finding) -> Result<Finding, Error> {
        let name = &unit.name;
        let tries = self.settings.heal;
        let history = self.histories.entry(name.clone()).or_default();
        let because = finding.reason.clone();
        let Some(number) = history.try_again(Instant::now(), &self.settings) else {
            let reason = format!("{because}, {tries} starts here have not helped");
            return Ok(Finding { reason, ..finding });
        };
        let forgotten = if forget { self.systemd.reset_failed(name).await } else { Ok(()) };
        let asked = match forgotten {
            Ok(()) => self.systemd.ask(Task::Restart, name).await,
            refused => refused,
        };
        match asked {
            Ok(()) => {
                let reason = format!("{because}; started again here, try {number} of {tries}");
                tracing::warn!("{reason}");
                Ok(Finding { health: Health::Degraded, reason, ..finding })
            }
            Err(error @ (Error::Absent(_) | Error::NoAnswer { .. })) => Err(error),
            Err(error) => Ok(Finding { reason: format!("{because}; {error}"), ..finding }),
        }
    }

    /// Units that are there, and whether each must run.
    async fn discover(&mut self, now: Instant) -> Result<BTreeMap<String, bool>, Error> {
        let is_old = |since: Instant| now.saturating_duration_since(since) >= REDISCOVER;
        if self.discovered.as_ref().is_none_or(|(since, _)| is_old(*since)) {
            let patterns = &self.settings.installed;
            // Without patterns systemd would list all there are.
            let found =
                if patterns.is_empty() { Vec::new() } else { self.systemd.installed(patterns).await? };
            self.discovered = Some((now, found));
        }
        let named = self.settings.units.iter().map(|name| (name.clone(), true));
        let found = self.discovered.iter().flat_map(|(_, found)| found);
        let found = found.map(|unit| (unit.name.clone(), unit.enabled));
        // Those that are named last, to override what was found.
        Ok(found.take(UNITS).chain(named.take(UNITS)).collect())
    }
}
