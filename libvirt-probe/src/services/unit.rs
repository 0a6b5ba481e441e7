//! One unit: how it is by what systemd says and by what it said before. Decisions only.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Settings;
use crate::units::{Active, Load, Service, Unit};
use crate::verdict::{Finding, Health, Step};

/// Counts and tries that are remembered.
const KEPT: usize = 128;

/// What was seen of a unit.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Starts by systemd, when they were counted.
    counts: VecDeque<(Instant, u32)>,
    /// Starts by us.
    tries: VecDeque<Instant>,
    /// Since when it is being started or stopped.
    pending: Option<Instant>,
}

/// What is said about it and what is to be done.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) finding: Finding,
    /// It may be started again: it has failed, and nobody has wanted that.
    pub(super) start_again: bool,
}

/// Whether there is more to know about it.
pub(super) fn is_loaded(unit: &Unit) -> bool {
    unit.load == Load::Loaded
}

impl History {
    pub(super) fn judge(
        &mut self,
        unit: &Unit,
        service: Option<&Service>,
        must_run: bool,
        settings: &Settings,
        now: Instant,
    ) -> Judged {
        let name = &unit.name;
        let is_pending = matches!(unit.active, Active::Activating | Active::Deactivating);
        self.pending = is_pending.then(|| self.pending.unwrap_or(now));
        let restarts = self.restarts(service, settings, now);
        let result = service.map_or("", |service| service.result.as_str());
        let finding = |health, how: String| {
            let finding = Finding::new(Step::Unit, health, format!("{name} {how}"), now.elapsed());
            finding.advise(format!("journalctl -u {name} -n 50; systemctl restart {name}"))
        };
        let (judged, start_again) = match (unit.load, unit.active) {
            (Load::NotFound, _) => {
                let finding = finding(Health::Unknown, "is not installed".to_owned());
                (finding.advise(format!("take {name} out of services.units, or install it")), false)
            }
            (Load::Masked, Active::Inactive) => {
                let finding = finding(Health::Unknown, "is masked: it is not meant to run".to_owned());
                (finding.advise(format!("systemctl unmask {name}")), false)
            }
            (_, Active::Failed) => (finding(Health::Failed, format!("has failed ({result})")), true),
            (_, Active::Inactive) if unit.job.is_some() => {
                (finding(Health::Degraded, "waits for its start".to_owned()), false)
            }
            (_, Active::Inactive) if must_run => {
                let finding = finding(Health::Degraded, "does not run: somebody has stopped it".to_owned());
                (finding.advise(format!("systemctl start {name}")), false)
            }
            (_, Active::Inactive) => (Finding::ok(Step::Unit, now.elapsed()), false),
            _ if restarts >= settings.restarts && settings.restarts > 0 => {
                let minutes = settings.restart_window.as_secs() / 60;
                let how = format!("was started again {restarts} times within {minutes} min ({result})");
                (finding(Health::Failed, how), false)
            }
            (_, Active::Activating) if unit.sub.starts_with("auto-restart") => {
                let how = format!("has ended ({result}), systemd is about to start it again");
                (finding(Health::Degraded, how), false)
            }
            (_, Active::Activating | Active::Deactivating) => {
                let since = self.pending.map_or(Duration::ZERO, |since| now - since);
                let health = if since >= settings.pending { Health::Failed } else { Health::Degraded };
                (finding(health, format!("is {} for {} s", unit.active.name(), since.as_secs())), false)
            }
            (_, Active::Active | Active::Other) => (Finding::ok(Step::Unit, now.elapsed()), false),
        };
        let state = format!("{} ({})", unit.active.name(), unit.sub);
        let judged = judged.with("unit", name).with("state", state);
        let judged = match service {
            Some(service) => judged.with("restarts", service.restarts),
            None => judged,
        };
        Judged { finding: judged, start_again }
    }

    /// Starts by systemd within the window.
    fn restarts(&mut self, service: Option<&Service>, settings: &Settings, now: Instant) -> u32 {
        let Some(count) = service.map(|service| service.restarts) else { return 0 };
        // Somebody has started it anew.
        if self.counts.back().is_some_and(|(_, last)| *last > count) {
            self.counts.clear();
        }
        if self.counts.back().is_none_or(|(_, last)| *last != count) {
            self.counts.push_back((now, count));
        }
        // The last one before the window is what those within are counted from.
        while self.counts.len() > KEPT
            || self.counts.get(1).is_some_and(|(at, _)| now - *at >= settings.restart_window)
        {
            self.counts.pop_front();
        }
        self.counts.front().map_or(0, |(_, first)| count - first)
    }

    /// The number of the try, if there may be one more.
    pub(super) fn try_again(&mut self, now: Instant, settings: &Settings) -> Option<usize> {
        self.tries.retain(|at| now - *at < settings.restart_window);
        (self.tries.len() < settings.heal.min(KEPT)).then(|| {
            self.tries.push_back(now);
            self.tries.len()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(load: Load, active: Active, sub: &str) -> Unit {
        let path = zbus::ObjectPath::try_from("/x").unwrap().into();
        Unit { name: "x.service".into(), load, active, sub: sub.into(), job: None, path }
    }

    fn service(restarts: u32) -> Service {
        Service { main_pid: None, restarts, group: None, result: "exit-code".into(), active_since: None }
    }

    fn judge(unit: &Unit, must_run: bool) -> (Health, bool, String) {
        let mut history = History::default();
        let judged = history.judge(unit, Some(&service(0)), must_run, &Settings::default(), Instant::now());
        (judged.finding.health, judged.start_again, judged.finding.reason)
    }

    #[test]
    fn only_what_has_failed_is_started_again() {
        let table = [
            (Load::Loaded, Active::Active, "running", Health::Ok, false),
            (Load::Loaded, Active::Failed, "failed", Health::Failed, true),
            (Load::Loaded, Active::Inactive, "dead", Health::Degraded, false),
            (Load::Loaded, Active::Activating, "start", Health::Degraded, false),
            (Load::Loaded, Active::Activating, "auto-restart", Health::Degraded, false),
            (Load::Loaded, Active::Deactivating, "stop", Health::Degraded, false),
            (Load::Masked, Active::Inactive, "dead", Health::Unknown, false),
            (Load::Masked, Active::Active, "running", Health::Ok, false),
            (Load::NotFound, Active::Inactive, "dead", Health::Unknown, false),
            (Load::NotFound, Active::Failed, "failed", Health::Unknown, false),
        ];
        for (load, active, sub, health, start_again) in table {
            let judged = judge(&unit(load, active, sub), true);
            assert_eq!((judged.0, judged.1), (health, start_again), "{load:?} {active:?} {judged:?}");
        }
        let (health, start_again, _) = judge(&unit(Load::Loaded, Active::Inactive, "dead"), false);
        assert_eq!((health, start_again), (Health::Ok, false));
    }

    #[test]
    fn a_loop_of_restarts_is_a_failure_until_it_is_over() {
        let mut history = History::default();
        let settings = Settings::default();
        let begin = Instant::now();
        let running = unit(Load::Loaded, Active::Active, "running");
        let mut at = |seconds: u64, restarts| {
            let now = begin + Duration::from_secs(seconds);
            history.judge(&running, Some(&service(restarts)), true, &settings, now).finding.health
        };
        // What was before the first look does not count.
        assert_eq!(at(0, 40), Health::Ok);
        assert_eq!(at(100, 41), Health::Ok);
        assert_eq!(at(200, 42), Health::Ok);
        assert_eq!(at(300, 43), Health::Failed);
        assert_eq!(at(699, 43), Health::Failed);
        assert_eq!(at(700, 43), Health::Ok);
        assert_eq!(at(710, 44), Health::Failed);
        assert_eq!(at(720, 0), Health::Ok);
        assert_eq!(at(730, 3), Health::Failed);
    }

    #[test]
    fn a_start_that_does_not_end_is_a_failure() {
        let mut history = History::default();
        let settings = Settings::default();
        let begin = Instant::now();
        let starting = unit(Load::Loaded, Active::Activating, "start");
        for (seconds, health) in [(0, Health::Degraded), (119, Health::Degraded), (120, Health::Failed)] {
            let now = begin + Duration::from_secs(seconds);
            assert_eq!(history.judge(&starting, None, true, &settings, now).finding.health, health);
        }
    }

    #[test]
    fn tries_are_counted_within_the_window() {
        let mut history = History::default();
        let settings = Settings::default();
        let begin = Instant::now();
        let mut at = |seconds| history.try_again(begin + Duration::from_secs(seconds), &settings);
        assert_eq!([at(0), at(10), at(20), at(599)], [Some(1), Some(2), None, None]);
        assert_eq!([at(600), at(601), at(610), at(620)], [Some(2), None, Some(2), None]);
    }
}
