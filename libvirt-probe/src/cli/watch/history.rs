//! What has been seen so far: a value.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use crate::verdict::{Health, Report, Step, Subject, Verdict};

/// Checks that are remembered of each subject: more than fit on a screen.
const CHECKS: usize = 400;
/// Changes that are remembered.
const CHANGES: usize = 100;

/// All subjects, and how their verdicts changed.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) subjects: Vec<Past>,
    pub(super) changes: VecDeque<Change>,
}

/// One subject.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) subject: Subject,
    /// The last verdict, and the check it comes from.
    pub(super) last: Option<(Verdict, Report)>,
    /// Since when a check is under way.
    pub(super) checking: Option<SystemTime>,
    pub(super) checks: u64,
    /// Of each step that was ever taken, one point per check, the newest last.
    pub(super) steps: Vec<(Step, VecDeque<Point>)>,
}

/// What a check found in one step; `None` if it did not get there.
pub(super) type Point = Option<(Health, Duration)>;

/// A verdict that is not the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) at: SystemTime,
    pub(super) subject: Subject,
    pub(super) from: Option<Health>,
    pub(super) to: Health,
    pub(super) step: Option<Step>,
    pub(super) reason: String,
}

impl History {
    pub(super) fn of(subjects: &[Subject]) -> Self {
        let past = |&subject| Past { subject, last: None, checking: None, checks: 0, steps: Vec::new() };
        Self { subjects: subjects.iter().map(past).collect(), changes: VecDeque::new() }
    }

    /// A check has begun.
    pub(super) fn begins(&mut self, subject: Subject, now: SystemTime) {
        if let Some(past) = self.past(subject) {
            past.checking = Some(now);
        }
    }

    /// A check has ended; says whether the verdict is another one now.
    pub(super) fn ends(&mut self, verdict: Verdict, report: Report, now: SystemTime) -> Option<Change> {
        let past = self.past(report.subject)?;
        past.checking = None;
        past.checks = past.checks.saturating_add(1);
        past.record(&report);
        let before = past.last.as_ref().map(|(verdict, _)| (verdict.health, verdict.step));
        let now_is = (verdict.health, verdict.step);
        // Of what is well, the step says nothing.
        let same = before.is_some_and(|before| {
            before == now_is || (before.0 == Health::Ok && verdict.health == Health::Ok)
        });
        let change = (!same).then(|| Change {
            at: now,
            subject: report.subject,
            from: before.map(|before| before.0),
            to: verdict.health,
            step: verdict.step.filter(|_| verdict.health != Health::Ok),
            reason: verdict.reason.clone(),
        });
        past.last = Some((verdict, report));
        if let Some(change) = &change {
            self.changes.push_back(change.clone());
            self.changes.drain(..self.changes.len().saturating_sub(CHANGES));
        }
        change
    }

    /// How the worst of them is.
    pub(super) fn worst(&self) -> Health {
        let last = self
            .subjects
            .iter()
            .map(|past| past.last.as_ref().map_or(Health::Unknown, |(verdict, _)| verdict.health));
        last.max().unwrap_or(Health::Unknown)
    }

    fn past(&mut self, subject: Subject) -> Option<&mut Past> {
        self.subjects.iter_mut().find(|past| past.subject == subject)
    }
}

impl Past {
    fn record(&mut self, report: &Report) {
        let length = self.steps.first().map_or(0, |(_, points)| points.len());
        for finding in &report.findings {
            if !self.steps.iter().any(|(step, _)| *step == finding.step) {
                // In the order of steps, whichever came up first.
                let place = self.steps.partition_point(|(step, _)| *step < finding.step);
                self.steps.insert(place, (finding.step, VecDeque::from(vec![None; length])));
            }
        }
        for (step, points) in &mut self.steps {
            // A step may have more than one finding: the worst counts.
            let found = report.findings.iter().filter(|finding| finding.step == *step);
            let worst = found.max_by_key(|finding| finding.health);
            points.push_back(worst.map(|finding| (finding.health, finding.elapsed)));
            points.drain(..points.len().saturating_sub(CHECKS));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::verdict::{Finding, Judge, Rules};

    fn report(steps: &[(Step, Health)]) -> Report {
        let finding = |&(step, health)| Finding::new(step, health, "why", Duration::from_millis(1));
        let findings = steps.iter().map(finding).collect();
        Report { subject: Subject::Libvirt, findings, elapsed: Duration::ZERO, grace: None }
    }

    #[test]
    fn changes_and_points_are_kept_and_bounded() {
        let mut history = History::of(&[Subject::Libvirt]);
        let mut judge = Judge::new(Rules { failures: 1 });
        let mut hear = |steps: &[(Step, Health)]| {
            let report = report(steps);
            history.ends(judge.hear(&report, UNIX_EPOCH), report, UNIX_EPOCH)
        };
        let fine = [(Step::Socket, Health::Ok), (Step::Workers, Health::Ok)];
        let first = hear(&fine).unwrap();
        assert_eq!((first.from, first.to, first.step), (None, Health::Ok, None));
        assert_eq!(hear(&fine[..1]), None);
        let second = hear(&[(Step::Socket, Health::Ok), (Step::Connect, Health::Failed)]).unwrap();
        assert_eq!((second.from, second.step), (Some(Health::Ok), Some(Step::Connect)));
        assert_eq!(history.worst(), Health::Failed);
        let past = &history.subjects[0];
        let seen: Vec<_> = past
            .steps
            .iter()
            .map(|(step, points)| {
                (*step, points.iter().map(|point| point.map(|it| it.0)).collect::<Vec<_>>())
            })
            .collect();
        let (ok, failed) = (Some(Health::Ok), Some(Health::Failed));
        assert_eq!(
            seen,
            [
                (Step::Socket, vec![ok, ok, ok]),
                (Step::Connect, vec![None, None, failed]),
                (Step::Workers, vec![ok, None, None]),
            ]
        );
        for round in 0..CHECKS {
            let health = if round % 2 == 0 { Health::Ok } else { Health::Degraded };
            let report = report(&[(Step::Socket, health)]);
            history.ends(judge.hear(&report, UNIX_EPOCH), report, UNIX_EPOCH);
        }
        assert_eq!(history.changes.len(), CHANGES);
        assert!(history.subjects[0].steps.iter().all(|(_, points)| points.len() == CHECKS));
    }
}
