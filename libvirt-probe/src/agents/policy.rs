//! The graded response: from what is believed of a compute node to what is done about it.
//!
//! Decisions only: time is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use crate::verdict::{Health, Step, Subject, Verdict};

/// What is done about a failure, from mild to harsh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reaction {
    /// It is shown.
    Report,
    /// The unit is restarted.
    Restart,
    /// The node's health becomes red.
    Evict,
    /// The resource fails.
    Fail,
}

impl Reaction {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "report" => Ok(Self::Report),
            "restart" => Ok(Self::Restart),
            "evict" => Ok(Self::Evict),
            "fail" => Ok(Self::Fail),
            _ => Err("must be one of: report, restart, evict, fail".to_owned()),
        }
    }
}

/// What is done about which failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) libvirt: Reaction,
    pub(super) nova_compute: Reaction,
    pub(super) services: Reaction,
    pub(super) host: Reaction,
    /// Once restarts have not helped.
    pub(super) then: Reaction,
    /// So many restarts of a subject…
    pub(super) restarts: u32,
    /// …within this time.
    pub(super) window: Duration,
    pub(super) fail_with_guests: bool,
}

/// Health of a node in Pacemaker's colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Colour {
    Green,
    Yellow,
    Red,
}

impl Colour {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }
}

/// How a compute node is, and what is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) colour: Colour,
    /// What the resource is.
    pub(super) health: Health,
    /// To be restarted now.
    pub(super) restart: Vec<Subject>,
    /// Why, the gravest first.
    pub(super) reasons: Vec<String>,
}

/// When units were restarted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Restarts(BTreeMap<Subject, VecDeque<SystemTime>>);

/// Remembered of each subject, whatever is allowed.
const REMEMBERED: usize = 100;

impl Restarts {
    /// Those that count at this time.
    pub(super) fn within(&self, subject: Subject, window: Duration, now: SystemTime) -> usize {
        // One of the future (the clock was set back) counts.
        let counts = |at: &&SystemTime| now.duration_since(**at).is_ok_and(|age| age < window) || **at > now;
        self.0.get(&subject).map_or(0, |times| times.iter().filter(counts).count())
    }

    pub(super) fn note(&mut self, subject: Subject, now: SystemTime) {
        let times = self.0.entry(subject).or_default();
        times.push_back(now);
        while times.len() > REMEMBERED {
            times.pop_front();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Subject, SystemTime)> {
        self.0.iter().flat_map(|(subject, times)| times.iter().map(|at| (*subject, *at)))
    }
}

impl Policy {
    fn of(&self, subject: Subject, step: Option<Step>) -> (Subject, Reaction) {
        match (subject, step) {
            // No restart of a daemon brings storage back.
            (Subject::Libvirt, Some(Step::Storage)) | (Subject::Host, _) => (Subject::Host, self.host),
            (Subject::Libvirt, _) => (subject, self.libvirt),
            (Subject::NovaCompute, _) => (subject, self.nova_compute),
            (Subject::Services, _) => (subject, self.services),
        }
    }

    /// Decides. `guests` is how many run here, `None` if that cannot be told. Restarts that are wanted are
    /// noted as done.
    pub(super) fn decide(
        &self,
        believed: &[(Subject, Verdict)],
        guests: Option<usize>,
        past: &mut Restarts,
        now: SystemTime,
    ) -> Decision {
        let mut found = Vec::new();
        let mut restart = Vec::new();
        for (subject, verdict) in believed {
            let says = said(*subject, verdict);
            match verdict.health {
                Health::Ok => {}
                // Whoever did not ask for this subject has left it out.
                Health::Unknown => found.push((Colour::Green, Health::Unknown, says)),
                Health::Degraded => found.push((Colour::Yellow, Health::Degraded, says)),
                Health::Failed => {
                    let (about, mut reaction) = self.of(*subject, verdict.step);
                    let mut note = String::new();
                    if reaction == Reaction::Restart {
                        let before = past.within(about, self.window, now);
                        if before < usize::try_from(self.restarts).unwrap_or(usize::MAX) {
                            past.note(about, now);
                            restart.push(about);
                            note = format!("; restart {} of {}", before + 1, self.restarts);
                        } else {
                            reaction = self.then;
                            note = format!("; restarted {before} times");
                        }
                    }
                    let (colour, health) = match reaction {
                        Reaction::Report | Reaction::Restart => (Colour::Yellow, Health::Degraded),
                        Reaction::Evict => (Colour::Red, Health::Degraded),
                        Reaction::Fail if self.fail_with_guests || guests == Some(0) => {
                            (Colour::Red, Health::Failed)
                        }
                        Reaction::Fail => {
                            note = note + "; held back, as " + &who_runs(guests);
                            (Colour::Red, Health::Degraded)
                        }
                    };
                    found.push((colour, health, says + &note));
                }
            }
        }
        found.sort_by_key(|(colour, health, _)| std::cmp::Reverse((*colour, *health)));
        Decision {
            colour: found.iter().map(|(colour, ..)| *colour).max().unwrap_or(Colour::Green),
            health: found.iter().map(|(_, health, _)| *health).max().unwrap_or(Health::Ok),
            restart,
            reasons: found.into_iter().map(|(.., says)| says).collect(),
        }
    }
}

fn who_runs(guests: Option<usize>) -> String {
    match guests {
        None => "guests may still run".to_owned(),
        Some(1) => "1 guest runs".to_owned(),
        Some(guests) => format!("{guests} guests run"),
    }
}

/// `libvirt: event-loop: why`.
pub(super) fn said(subject: Subject, verdict: &Verdict) -> String {
    let step = verdict.step.map(|step| format!("{step}: ")).unwrap_or_default();
    format!("{}: {step}{}", subject.name(), verdict.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    fn is(subject: Subject, health: Health, step: Step) -> (Subject, Verdict) {
        let verdict = Verdict {
            health,
            step: Some(step),
            reason: "why".into(),
            advice: String::new(),
            since: at(0),
            elapsed: Duration::ZERO,
            failures: 0,
        };
        (subject, verdict)
    }

    fn dead(subject: Subject) -> (Subject, Verdict) {
        is(subject, Health::Failed, Step::Process)
    }

    fn policy() -> Policy {
        Policy {
            libvirt: Reaction::Restart,
            nova_compute: Reaction::Restart,
            services: Reaction::Restart,
            host: Reaction::Evict,
            then: Reaction::Evict,
            restarts: 2,
            window: Duration::from_secs(600),
            fail_with_guests: false,
        }
    }

    /// Health, colour and restarts that are decided on.
    fn decide(
        policy: &Policy,
        believed: &[(Subject, Verdict)],
        guests: Option<usize>,
        past: &mut Restarts,
        now: u64,
    ) -> (Health, Colour, Vec<Subject>) {
        let decision = policy.decide(believed, guests, past, at(now));
        (decision.health, decision.colour, decision.restart)
    }

    #[test]
    fn a_dead_nova_compute_is_restarted_and_never_fails_the_node_by_itself() {
        let (policy, mut past) = (policy(), Restarts::default());
        let believed = [dead(Subject::NovaCompute), is(Subject::Libvirt, Health::Ok, Step::Storage)];
        for second in [0, 30] {
            let decided = decide(&policy, &believed, Some(12), &mut past, second);
            assert_eq!(decided, (Health::Degraded, Colour::Yellow, vec![Subject::NovaCompute]));
        }
        for second in [60, 90, 500] {
            let decided = decide(&policy, &believed, Some(12), &mut past, second);
            assert_eq!(decided, (Health::Degraded, Colour::Red, vec![]), "restarts did not help");
        }
        let decided = decide(&policy, &believed, Some(12), &mut past, 601);
        assert_eq!(decided.2, [Subject::NovaCompute], "the first one is forgotten");
    }

    #[test]
    fn subjects_have_their_own_restarts() {
        let (policy, mut past) = (policy(), Restarts::default());
        let believed = [dead(Subject::NovaCompute), dead(Subject::Libvirt), dead(Subject::Services)];
        let decided = decide(&policy, &believed, None, &mut past, 0);
        assert_eq!(decided.2, [Subject::NovaCompute, Subject::Libvirt, Subject::Services]);
        past.note(Subject::Libvirt, at(1));
        let decided = decide(&policy, &believed, None, &mut past, 2);
        assert_eq!(decided, (Health::Degraded, Colour::Red, vec![Subject::NovaCompute, Subject::Services]));
    }

    #[test]
    fn running_guests_hold_a_failure_back_unless_the_operator_says_so() {
        let mut policy = Policy { host: Reaction::Fail, ..policy() };
        let believed = [is(Subject::Host, Health::Failed, Step::Root)];
        let mut past = Restarts::default();
        for (guests, held) in
            [(Some(3), "3 guests run"), (Some(1), "1 guest runs"), (None, "guests may still run")]
        {
            let decision = policy.decide(&believed, guests, &mut past, at(0));
            assert_eq!((decision.health, decision.colour), (Health::Degraded, Colour::Red));
            assert_eq!(decision.reasons, [format!("host: root: why; held back, as {held}")]);
        }
        let failed = (Health::Failed, Colour::Red, vec![]);
        assert_eq!(decide(&policy, &believed, Some(0), &mut past, 0), failed);
        policy.fail_with_guests = true;
        assert_eq!(decide(&policy, &believed, Some(3), &mut past, 0), failed);
    }

    #[test]
    fn no_restart_brings_storage_back() {
        let (policy, mut past) = (policy(), Restarts::default());
        let believed = [is(Subject::Libvirt, Health::Failed, Step::Storage)];
        let decided = decide(&policy, &believed, Some(5), &mut past, 0);
        assert_eq!(decided, (Health::Degraded, Colour::Red, vec![]));
    }

    #[test]
    fn the_gravest_reason_comes_first_and_what_is_not_known_is_no_failure() {
        let (policy, mut past) = (policy(), Restarts::default());
        let believed = [
            is(Subject::Libvirt, Health::Unknown, Step::Socket),
            is(Subject::Services, Health::Degraded, Step::Unit),
            is(Subject::Host, Health::Failed, Step::Root),
        ];
        let decision = policy.decide(&believed, Some(0), &mut past, at(0));
        let reasons = ["host: root: why", "services: unit: why", "libvirt: socket: why"];
        assert_eq!(decision.reasons, reasons);
        let decided = decide(&policy, &believed[..1], Some(0), &mut past, 0);
        assert_eq!(decided, (Health::Unknown, Colour::Green, vec![]));
        assert_eq!(decide(&policy, &[], None, &mut past, 0), (Health::Ok, Colour::Green, vec![]));
    }

    #[test]
    fn a_clock_that_was_set_back_allows_no_more_restarts() {
        let (policy, mut past) = (policy(), Restarts::default());
        past.note(Subject::Libvirt, at(1000));
        past.note(Subject::Libvirt, at(1001));
        assert_eq!(decide(&policy, &[dead(Subject::Libvirt)], None, &mut past, 5).2, []);
    }
}
