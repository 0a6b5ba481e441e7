//! From what single checks found to what is believed.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Health, Report, Step};

/// When a failure is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// So many failed checks in a row, at least 1; findings that are certain count at once.
    #[serde(deserialize_with = "at_least_one")]
    pub failures: u32,
}

fn at_least_one<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    match u32::deserialize(from)? {
        0 => Err(serde::de::Error::custom("failures is 0 and must be at least 1")),
        number => Ok(number),
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self { failures: 2 }
    }
}

/// What is believed of a subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// How it is.
    #[serde(rename = "verdict")]
    pub health: Health,
    /// The step that decided.
    pub step: Option<Step>,
    /// Why, in words for the operator.
    pub reason: String,
    /// What to do next; empty if nothing.
    pub advice: String,
    /// Since when it is like that.
    #[serde(skip)]
    pub since: SystemTime,
    /// How long the last check took.
    #[serde(rename = "elapsed_ms", serialize_with = "super::milliseconds")]
    pub elapsed: Duration,
    /// Failed checks in a row.
    pub failures: u32,
}

/// Keeps the past of one subject.
#[derive(Debug, Clone)]
pub struct Judge {
    rules: Rules,
    failures: u32,
    believed: Option<(Health, SystemTime)>,
}

impl Judge {
    /// A judge who has seen nothing yet.
    pub fn new(rules: Rules) -> Self {
        Self { rules, failures: 0, believed: None }
    }

    /// What to believe after another check.
    ///
    /// A failure is believed after [`Rules::failures`] in a row, at once if it is certain; until then the
    /// subject is degraded. Within the grace time no failure counts.
    pub fn hear(&mut self, report: &Report, now: SystemTime) -> Verdict {
        let seen = report.health();
        let finding = report.worst();
        let certain = report.findings.iter().any(|f| f.health == Health::Failed && f.certain);
        let mut reason = finding.map(|finding| finding.reason.clone()).unwrap_or_default();
        let health = match (&report.grace, seen) {
            (Some(grace), Health::Degraded | Health::Failed) => {
                self.failures = 0;
                reason = format!("{grace}: {reason}");
                Health::Ok
            }
            (_, Health::Failed) => {
                self.failures = self.failures.saturating_add(1);
                if certain || self.failures >= self.rules.failures {
                    Health::Failed
                } else {
                    reason = format!("failed {} of {} times: {reason}", self.failures, self.rules.failures);
                    Health::Degraded
                }
            }
            (_, health) => {
                self.failures = 0;
                health
            }
        };
        let since = match self.believed {
            Some((before, since)) if before == health => since,
            _ => now,
        };
        self.believed = Some((health, since));
        Verdict {
            health,
            step: finding.map(|finding| finding.step),
            reason,
            advice: finding.map(|finding| finding.advice.clone()).unwrap_or_default(),
            since,
            elapsed: report.elapsed,
            failures: self.failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, Subject};
    use super::*;

    fn report(health: Health, certain: bool) -> Report {
        let mut finding = Finding::new(Step::Connect, health, "why", Duration::from_millis(3));
        finding.certain = certain;
        Report { subject: Subject::Libvirt, findings: vec![finding], elapsed: Duration::ZERO, grace: None }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn two_failures_in_a_row_are_believed() {
        let mut judge = Judge::new(Rules::default());
        assert_eq!(judge.hear(&report(Health::Ok, false), at(1)).health, Health::Ok);
        let first = judge.hear(&report(Health::Failed, false), at(2));
        assert_eq!((first.health, first.reason.as_str()), (Health::Degraded, "failed 1 of 2 times: why"));
        let second = judge.hear(&report(Health::Failed, false), at(3));
        assert_eq!((second.health, second.since, second.failures), (Health::Failed, at(3), 2));
        let third = judge.hear(&report(Health::Failed, false), at(4));
        assert_eq!((third.health, third.since), (Health::Failed, at(3)));
        assert_eq!(judge.hear(&report(Health::Ok, false), at(5)).health, Health::Ok);
        assert_eq!(judge.hear(&report(Health::Failed, false), at(6)).health, Health::Degraded);
    }

    #[test]
    fn certainty_is_believed_at_once() {
        let mut judge = Judge::new(Rules::default());
        assert_eq!(judge.hear(&report(Health::Failed, true), at(1)).health, Health::Failed);
    }

    #[test]
    fn a_start_is_no_failure() {
        let mut judge = Judge::new(Rules::default());
        let starting = Report { grace: Some("just started".into()), ..report(Health::Failed, true) };
        for second in 0..5 {
            let verdict = judge.hear(&starting, at(second));
            assert_eq!((verdict.health, verdict.reason.as_str()), (Health::Ok, "just started: why"));
        }
        assert_eq!(judge.hear(&report(Health::Failed, false), at(6)).health, Health::Degraded);
    }

    #[test]
    fn not_knowing_is_no_failure() {
        let mut judge = Judge::new(Rules { failures: 1 });
        assert_eq!(judge.hear(&report(Health::Unknown, false), at(1)).health, Health::Unknown);
        let nothing = Report { findings: Vec::new(), ..report(Health::Ok, false) };
        assert_eq!(judge.hear(&nothing, at(2)).health, Health::Unknown);
    }
}
