//! What holds an incident up. Each rule says in writing what it does when its own input is missing.
//!
//! | gate | holds when | if it cannot tell |
//! |---|---|---|
//! | proof | the host is not proven off | closed |
//! | frozen | the operator has frozen the engine | open: no freeze file, no freeze |
//! | maintenance | the host, or the whole cloud, is in maintenance | open |
//! | too-many-hosts | more hosts are down than `most_hosts` or `most_hosts_percent` | closed until Nova says how many there are |
//! | scheduler | no scheduler or no conductor is alive | closed after 30 s without an answer |
//! | service-up | Nova does not hold the host for down | closed |
//! | flapping | never: the host is evacuated and put into quarantine | - |

use std::time::Duration;

use super::journal::Gate;
use super::values::{ControlPlane, Mono};
use crate::policy::Gates;

/// An answer of the control plane counts for so long.
const CONTROL_HOLDS: Duration = Duration::from_secs(30);

/// What the gates look at.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// Why the operator has frozen everything, if so.
    pub frozen: Option<&'a str>,
    /// Whether this host is in maintenance.
    pub maintenance: bool,
    /// Hosts that are down at once, this one included.
    pub down: usize,
    /// The operator has looked at it: this host is down, however many are.
    pub many_are_fine: bool,
    /// What is known of the control plane, and since when.
    pub control: Option<(Mono, ControlPlane)>,
    /// Now.
    pub now: Mono,
}

/// What holds a new incident up; nothing: it may begin.
pub fn enter(facts: &Facts<'_>, rules: &Gates) -> Option<(Gate, String)> {
    if let Some(why) = facts.frozen {
        return Some((Gate::Frozen, format!("the operator has frozen recovery: {why}")));
    }
    if facts.maintenance {
        return Some((
            Gate::Maintenance,
            "it is in maintenance: nova-ha maintenance off ends that".to_owned(),
        ));
    }
    too_many(facts, rules).map(|why| (Gate::TooManyHosts, why))
}

/// What holds requests for evacuations up; nothing: they may be sent.
pub fn post(facts: &Facts<'_>) -> Option<(Gate, String)> {
    if let Some(why) = facts.frozen {
        return Some((Gate::Frozen, format!("the operator has frozen recovery: {why}")));
    }
    let closed = |why: &str| Some((Gate::Scheduler, why.to_owned()));
    match facts.control {
        Some((at, _)) if facts.now.saturating_sub(at) > CONTROL_HOLDS => {
            closed("Nova has not told for 30 s whether a scheduler is alive")
        }
        Some((_, plane)) if plane.schedulers == 0 => {
            closed("no nova-scheduler is alive: evacuations would stay accepted for ever")
        }
        Some((_, plane)) if plane.conductors == 0 => {
            closed("no nova-conductor is alive: evacuations would stay accepted for ever")
        }
        Some(_) => None,
        None => closed("Nova has not told yet whether a scheduler is alive"),
    }
}

/// Whether a host that failed so often of late goes into quarantine.
pub fn flaps(failures_lately: usize, rules: &Gates) -> Option<String> {
    let most = usize::try_from(rules.flap_failures).unwrap_or(usize::MAX);
    (failures_lately >= most).then(|| {
        format!(
            "it failed {failures_lately} times in {} minutes: find out why, then release it",
            rules.flap_seconds / 60
        )
    })
}

fn too_many(facts: &Facts<'_>, rules: &Gates) -> Option<String> {
    if facts.many_are_fine {
        return None;
    }
    let most = usize::try_from(rules.most_hosts).unwrap_or(usize::MAX);
    let look = "is the network or the control plane at fault? If they are really down, let the engine go on (nova-ha go-ahead)";
    if rules.most_hosts > 0 && facts.down > most {
        return Some(format!("{} hosts are down at once, more than most_hosts = {most}: {look}", facts.down));
    }
    // One host alone is never too many.
    if facts.down <= 1 || rules.most_hosts_percent == 100 {
        return None;
    }
    let Some((_, plane)) = facts.control else {
        return Some("Nova has not told yet how many hosts there are".to_owned());
    };
    let percent = usize::try_from(rules.most_hosts_percent).unwrap_or(100);
    (facts.down.saturating_mul(100) > plane.computes.saturating_mul(percent)).then(|| {
        format!("{} of {} hosts are down at once, more than {percent} %: {look}", facts.down, plane.computes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANE: ControlPlane = ControlPlane { schedulers: 1, conductors: 1, computes: 10 };

    fn facts() -> Facts<'static> {
        Facts {
            frozen: None,
            maintenance: false,
            down: 1,
            many_are_fine: false,
            control: Some((Duration::ZERO, PLANE)),
            now: Duration::from_secs(1),
        }
    }

    fn gate(held: Option<(Gate, String)>) -> Option<Gate> {
        held.map(|(gate, _)| gate)
    }

    #[test]
    fn each_gate_holds_for_its_reason() {
        let rules = Gates::default();
        let enter = |facts: &Facts<'_>| gate(enter(facts, &rules));
        assert_eq!(enter(&facts()), None);
        assert_eq!(enter(&Facts { frozen: Some("x"), ..facts() }), Some(Gate::Frozen));
        assert_eq!(enter(&Facts { maintenance: true, ..facts() }), Some(Gate::Maintenance));
        assert_eq!(enter(&Facts { down: 5, ..facts() }), None);
        assert_eq!(enter(&Facts { down: 6, ..facts() }), Some(Gate::TooManyHosts));
        assert_eq!(enter(&Facts { down: 6, many_are_fine: true, ..facts() }), None);
        assert_eq!(enter(&Facts { down: 2, control: None, ..facts() }), Some(Gate::TooManyHosts));
        assert_eq!(enter(&Facts { control: None, ..facts() }), None);
        let absolute = Gates { most_hosts: 2, most_hosts_percent: 100, ..rules };
        assert_eq!(gate(super::enter(&Facts { down: 3, ..facts() }, &absolute)), Some(Gate::TooManyHosts));
        assert_eq!(gate(super::enter(&Facts { down: 2, ..facts() }, &absolute)), None);
    }

    #[test]
    fn without_scheduler_or_word_of_it_nothing_is_sent() {
        let with = |control| gate(post(&Facts { control, ..facts() }));
        assert_eq!(with(Some((Duration::ZERO, PLANE))), None);
        assert_eq!(with(None), Some(Gate::Scheduler));
        let none = ControlPlane { schedulers: 0, ..PLANE };
        assert_eq!(with(Some((Duration::ZERO, none))), Some(Gate::Scheduler));
        let none = ControlPlane { conductors: 0, ..PLANE };
        assert_eq!(with(Some((Duration::ZERO, none))), Some(Gate::Scheduler));
        let late = Facts { now: Duration::from_secs(31), ..facts() };
        assert_eq!(gate(post(&late)), Some(Gate::Scheduler));
    }

    #[test]
    fn three_failures_in_an_hour_are_a_flapping_host() {
        assert_eq!(flaps(2, &Gates::default()), None);
        assert!(
            flaps(3, &Gates::default()).is_some_and(|why| why.starts_with("it failed 3 times in 60 minutes"))
        );
    }
}
