//! One look at a subject that is believed: a failure is confirmed by a second one, and all within a deadline.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until, timeout_at};

use crate::verdict::{Finding, Health, Judge, Report, Rules, Subject, Verdict};

/// Between a failure and the look that confirms it: a daemon that is being restarted is back by then.
pub(super) const PAUSE: Duration = Duration::from_millis(250);

/// What can be checked.
pub(super) trait Look {
    /// What it is.
    fn subject(&self) -> Subject;
    /// One check.
    fn check(&mut self) -> impl Future<Output = Report> + Send;
}

/// What is believed, and what it rests on.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) verdict: Verdict,
    /// The last check that came to an end.
    pub(super) report: Report,
    /// Checks that came to an end.
    pub(super) looks: u32,
    /// All of it.
    pub(super) elapsed: Duration,
}

impl Seen {
    /// A single check.
    pub(super) fn of(report: Report, rules: Rules) -> Self {
        let verdict = Judge::new(rules).hear(&report, SystemTime::now());
        Self { verdict, looks: 1, elapsed: report.elapsed, report }
    }
}

/// Looks until a verdict can be believed, or the deadline has passed.
pub(super) async fn look(probe: &mut impl Look, rules: Rules, deadline: Duration) -> Seen {
    let began = Instant::now();
    let end = began + deadline;
    let mut judge = Judge::new(rules);
    let mut looks = 0_u32;
    let mut last: Option<(Verdict, Report)> = None;
    loop {
        let Ok(report) = timeout_at(end, probe.check()).await else { break };
        looks = looks.saturating_add(1);
        let verdict = judge.hear(&report, SystemTime::now());
        // As long as a failure is not believed, the subject is called degraded.
        let doubtful = report.health() == Health::Failed && verdict.health == Health::Degraded;
        last = Some((verdict, report));
        let again = Instant::now() + PAUSE;
        if !doubtful || again >= end {
            break;
        }
        sleep_until(again).await;
    }
    let elapsed = began.elapsed();
    let (verdict, report) = match last {
        // It had failed, and another look at it did not come to an end: that is no better.
        Some((_, report)) if report.health() == Health::Failed && report.grace.is_none() => {
            let verdict = Judge::new(Rules { failures: 1 }).hear(&report, SystemTime::now());
            (verdict, report)
        }
        Some(seen) => seen,
        None => {
            let report = too_short(probe.subject(), deadline, elapsed);
            (judge.hear(&report, SystemTime::now()), report)
        }
    };
    Seen { verdict, report, looks, elapsed }
}

/// For a check whose own deadlines did not end it.
fn too_short(subject: Subject, deadline: Duration, elapsed: Duration) -> Report {
    let step = crate::verdict::Step::Call;
    let reason = format!("the check had not ended after {} ms", deadline.as_millis());
    let finding =
        Finding::new(step, Health::Unknown, reason, elapsed).advise("give it more time: --deadline");
    Report { subject, findings: vec![finding], elapsed, grace: None }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::verdict::Step;

    /// Takes so long and finds that; then it hangs.
    struct Script(VecDeque<(u64, Health, bool)>);

    impl Script {
        fn new<const N: usize>(checks: [(u64, Health, bool); N]) -> Self {
            Self(checks.into())
        }
    }

    impl Look for Script {
        fn subject(&self) -> Subject {
            Subject::Libvirt
        }

        async fn check(&mut self) -> Report {
            let Some((ms, health, certain)) = self.0.pop_front() else { return std::future::pending().await };
            let elapsed = Duration::from_millis(ms);
            tokio::time::sleep(elapsed).await;
            let mut finding = Finding::new(Step::Connect, health, "why", elapsed);
            finding.certain = certain;
            Report { subject: Subject::Libvirt, findings: vec![finding], elapsed, grace: None }
        }
    }

    async fn seen<const N: usize>(checks: [(u64, Health, bool); N]) -> (Health, u32, u128) {
        let seen = look(&mut Script::new(checks), Rules::default(), Duration::from_secs(4)).await;
        (seen.verdict.health, seen.looks, seen.elapsed.as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_well_needs_one_look() {
        assert_eq!(seen([(5, Health::Ok, false)]).await, (Health::Ok, 1, 5));
        assert_eq!(seen([(5, Health::Degraded, false)]).await, (Health::Degraded, 1, 5));
        assert_eq!(seen([(5, Health::Unknown, false)]).await, (Health::Unknown, 1, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_confirmed() {
        let failed = (1000, Health::Failed, false);
        assert_eq!(seen([failed, failed]).await, (Health::Failed, 2, 2250));
        assert_eq!(seen([failed, (5, Health::Ok, false)]).await, (Health::Ok, 2, 1255));
        assert_eq!(seen([(1, Health::Failed, true)]).await, (Health::Failed, 1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_kept() {
        // A second look that hangs, and no time for a second look.
        assert_eq!(seen([(1000, Health::Failed, false)]).await, (Health::Failed, 1, 4000));
        assert_eq!(seen([(3900, Health::Failed, false)]).await, (Health::Failed, 1, 3900));
        let hangs = look(&mut Script::new([]), Rules::default(), Duration::from_secs(4)).await;
        assert_eq!((hangs.verdict.health, hangs.looks, hangs.elapsed.as_secs()), (Health::Unknown, 0, 4));
        assert_eq!(hangs.verdict.reason, "the check had not ended after 4000 ms");
    }

    #[tokio::test(start_paused = true)]
    async fn grace_is_kept() {
        struct Starting;
        impl Look for Starting {
            fn subject(&self) -> Subject {
                Subject::Libvirt
            }
            async fn check(&mut self) -> Report {
                let mut report = Script::new([(1, Health::Failed, true)]).check().await;
                report.grace = Some("just started".to_owned());
                report
            }
        }
        let seen = look(&mut Starting, Rules::default(), Duration::from_secs(4)).await;
        assert_eq!((seen.verdict.health, seen.verdict.reason.as_str()), (Health::Ok, "just started: why"));
    }
}
