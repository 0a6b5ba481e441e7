//! A probe together with what is believed of its subject.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::parameters::{Told, UnitName};
use super::policy::Reaction;
use crate::config::Config;
use crate::host::Host;
use crate::libvirt::{self, Libvirt};
use crate::nova_compute::NovaCompute;
use crate::services::Services;
use crate::units::Systemd;
use crate::verdict::{Health, Judge, Report, Rules, Step, Subject, Verdict};

/// Between looks that confirm a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// One subject that a resource watches.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) subject: Subject,
    probe: Probe,
    judge: Judge,
    /// What is believed.
    pub(super) verdict: Option<Verdict>,
    /// What the last check found.
    pub(super) report: Option<Report>,
}

#[derive(Debug)]
enum Probe {
    Libvirt(Box<Libvirt>),
    NovaCompute(Box<NovaCompute>),
    Services(Box<Services>),
    Host(Box<Host>),
}

impl Watched {
    /// A probe that has not looked yet. No check of it takes much longer than `limit`. One that lives on starts
    /// failed services again by itself, where the policy wants that.
    pub(super) fn new(
        subject: Subject,
        told: &Told,
        config: &Config,
        systemd: &Systemd,
        limit: Duration,
        lives_on: bool,
    ) -> Self {
        let probe = match subject {
            Subject::Libvirt => {
                let mut settings = config.libvirt.clone();
                if let Some(socket) = &told.socket {
                    settings = libvirt::Settings { sockets: vec![socket.clone()], by_hand: true, ..settings };
                }
                settings.deadlines = settings.deadlines.within(limit);
                Probe::Libvirt(Box::new(Libvirt::new(settings)))
            }
            Subject::NovaCompute => {
                let mut settings = config.nova_compute.clone();
                if let UnitName::Named(unit) = &told.unit {
                    settings.units = vec![unit.clone()];
                }
                settings.limits.find = settings.limits.find.min(limit / 2);
                Probe::NovaCompute(Box::new(NovaCompute::with(settings, systemd.clone())))
            }
            Subject::Services => {
                let (policy, mut settings) = (&told.policy, config.services.clone());
                let heals = lives_on && policy.services == Reaction::Restart;
                if heals {
                    settings.heal = usize::try_from(policy.restarts).unwrap_or(usize::MAX);
                    settings.restart_window = policy.window;
                }
                let probe = Services::with(settings, systemd.clone());
                Probe::Services(Box::new(if heals { probe.healing() } else { probe }))
            }
            Subject::Host => {
                let mut settings = config.host.clone();
                settings.storage.limit = settings.storage.limit.min(limit.mul_f64(0.7));
                Probe::Host(Box::new(Host::new(settings)))
            }
        };
        let mut rules: Rules = config.verdict;
        rules.failures = told.failures.unwrap_or(rules.failures);
        Self { subject, probe, judge: Judge::new(rules), verdict: None, report: None }
    }

    /// Looks once.
    pub(super) async fn look(&mut self) {
        let report = match &mut self.probe {
            Probe::Libvirt(probe) => probe.check().await,
            Probe::NovaCompute(probe) => probe.check().await,
            Probe::Services(probe) => probe.check().await,
            Probe::Host(probe) => probe.check().await,
        };
        self.verdict = Some(self.judge.hear(&report, SystemTime::now()));
        self.report = Some(report);
    }

    /// Looks until a failure is believed or disproved, or the time is over.
    pub(super) async fn look_closely(&mut self, deadline: Instant) {
        loop {
            self.look().await;
            let begun = Instant::now();
            if !self.is_suspect() || begun + AGAIN * 2 > deadline {
                return;
            }
            sleep(AGAIN).await;
        }
    }

    /// Whether the last check found a failure that is not believed yet.
    pub(super) fn is_suspect(&self) -> bool {
        self.found() == Health::Failed && self.believed() == Health::Degraded
    }

    /// What the last check found by itself; a failure that a start excuses, too.
    pub(super) fn found(&self) -> Health {
        self.report.as_ref().map_or(Health::Unknown, Report::health)
    }

    /// What is believed.
    pub(super) fn believed(&self) -> Health {
        self.verdict.as_ref().map_or(Health::Unknown, |verdict| verdict.health)
    }

    /// Whether failures are excused now, as the subject has just been started.
    pub(super) fn is_excused(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.grace.is_some())
    }

    /// Whether it does not run at all: that is certain, and no process was looked at.
    pub(super) fn is_gone(&self) -> bool {
        let Some(finding) = self.report.as_ref().and_then(Report::worst) else { return false };
        let gone = match finding.step {
            Step::Socket | Step::Connect => true,
            Step::Process => !finding.evidence.iter().any(|fact| fact.name == "pid"),
            _ => false,
        };
        gone && finding.certain && finding.health == Health::Failed
    }

    /// Whether what cannot be told is missing rather than out of sight.
    pub(super) fn is_missing(&self) -> bool {
        let worst = self.report.as_ref().and_then(Report::worst);
        worst.is_some_and(|finding| {
            finding.health == Health::Unknown && matches!(finding.step, Step::Socket | Step::Process)
        })
    }

    /// Resolves when a look at once is worth it.
    pub(super) async fn changed(&mut self) {
        match &mut self.probe {
            Probe::Libvirt(probe) => probe.changed().await,
            Probe::NovaCompute(probe) => probe.changed().await,
            Probe::Services(probe) => probe.changed().await,
            Probe::Host(probe) => probe.changed().await,
        }
    }
}
