//! A daemon that has just been started may be silent for a while: it reads its domains first.

use std::time::{Duration, Instant};

use super::process::Process;
use super::steps::Met;
use crate::verdict::{Health, Report};

/// A daemon that is started so often within [`WINDOW`] does not start any more, it fails.
const STARTS: usize = 3;
const WINDOW: Duration = Duration::from_secs(300);

/// Which daemons there were, and whether they have ever answered.
#[derive(Debug, Default)]
pub(crate) struct Grace {
    /// The last ones, and when they were seen first.
    seen: Vec<(Process, Instant)>,
    /// The one whose workers have answered.
    proven: Option<Process>,
}

impl Grace {
    /// Its workers have answered: it has started.
    pub(crate) fn prove(&mut self, daemon: Process) {
        self.proven = Some(daemon);
    }

    /// Why what the report says does not count, if it does not.
    pub(crate) fn excuse(
        &mut self,
        grace: Duration,
        met: Met,
        report: &Report,
        now: Instant,
    ) -> Option<String> {
        let age = met.daemon?.age()?;
        self.judge(grace, met, age, report, now)
    }

    fn judge(
        &mut self,
        grace: Duration,
        met: Met,
        age: Duration,
        report: &Report,
        now: Instant,
    ) -> Option<String> {
        let daemon = met.daemon?;
        self.seen.retain(|(_, seen)| now.saturating_duration_since(*seen) < WINDOW);
        if !self.seen.iter().any(|(process, _)| *process == daemon) {
            self.seen.push((daemon, now));
            let surplus = self.seen.len().saturating_sub(STARTS * 2);
            self.seen.drain(..surplus);
        }
        // One that does nothing at all does not start, it hangs.
        let starting = if met.absent { age < grace.min(SOCKET) } else { age < grace && met.worked };
        let known = self.proven == Some(daemon) || self.seen.len() >= STARTS;
        let excused = starting && !known && report.health() == Health::Failed;
        excused.then(|| format!("libvirt was started {:.1} s ago", age.as_secs_f64()))
    }
}

/// The first thing that a daemon makes are its sockets.
const SOCKET: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Finding, Step, Subject};

    const GRACE: Duration = Duration::from_secs(60);
    const YOUNG: Duration = Duration::from_secs(3);

    fn report(health: Health) -> Report {
        let findings = vec![Finding::new(Step::EventLoop, health, "why", Duration::ZERO)];
        Report { subject: Subject::Libvirt, findings, elapsed: Duration::ZERO, grace: None }
    }

    fn met(pid: i32) -> Met {
        Met { daemon: Some(Process { pid, started: 5 }), absent: false, worked: true }
    }

    #[test]
    fn a_start_is_excused_until_the_daemon_has_answered_once() {
        let mut grace = Grace::default();
        let now = Instant::now();
        let failed = report(Health::Failed);
        let judge = |grace: &mut Grace, age, report: &Report| grace.judge(GRACE, met(1), age, report, now);
        assert_eq!(judge(&mut grace, YOUNG, &failed).unwrap(), "libvirt was started 3.0 s ago");
        assert_eq!(judge(&mut grace, YOUNG, &report(Health::Ok)), None);
        assert_eq!(judge(&mut grace, YOUNG, &report(Health::Degraded)), None);
        assert_eq!(judge(&mut grace, GRACE, &failed), None);
        grace.prove(Process { pid: 1, started: 5 });
        assert_eq!(judge(&mut grace, YOUNG, &failed), None);
    }

    #[test]
    fn a_daemon_that_starts_again_and_again_fails() {
        let mut grace = Grace::default();
        let start = Instant::now();
        let failed = report(Health::Failed);
        let mut judge =
            |pid, seconds| grace.judge(GRACE, met(pid), YOUNG, &failed, start + Duration::from_secs(seconds));
        assert!(judge(1, 0).is_some());
        assert!(judge(2, 10).is_some());
        assert!(judge(3, 20).is_none());
        assert!(judge(4, 400).is_some());
    }

    #[test]
    fn one_that_does_nothing_does_not_start() {
        let idle = Met { worked: false, ..met(1) };
        let failed = report(Health::Failed);
        assert_eq!(Grace::default().judge(GRACE, idle, YOUNG, &failed, Instant::now()), None);
    }

    #[test]
    fn sockets_are_made_soon() {
        let absent = Met { absent: true, worked: false, ..met(1) };
        let failed = report(Health::Failed);
        let judge = |age| Grace::default().judge(GRACE, absent, age, &failed, Instant::now());
        assert!(judge(YOUNG).is_some());
        assert!(judge(SOCKET).is_none());
    }
}
