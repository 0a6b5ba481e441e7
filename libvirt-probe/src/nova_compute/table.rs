//! The three views of nova-compute as one verdict.
//!
//! | process | bus | Nova | verdict |
//! |---|---|---|---|
//! | failed | any | any | failed: process |
//! | unknown | any | any | unknown: process |
//! | runs | failed | has heard since that began | degraded: bus, the views disagree |
//! | runs | failed | has not heard, or not asked | failed: bus |
//! | runs | degraded | has not heard for long | failed: bus, two views agree |
//! | runs | degraded | heard, or not asked | degraded: bus |
//! | runs | fine | has not heard for long | degraded: api (failed if so configured) |
//! | runs | unknown | has not heard for long | degraded: api (failed if so configured) |
//! | runs | unknown | heard lately | as the process: Nova would not hear without the bus |
//! | runs | unknown | not asked | unknown: bus |
//! | runs | fine | heard, or not asked | as the process |

use std::time::Duration;

use crate::verdict::Health;

/// What Nova says about the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nova {
    /// Nobody has asked it, or it has not answered.
    NotAsked,
    /// It has heard from it so long ago.
    Heard(Duration),
}

/// What the single views say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Views {
    pub(super) process: Health,
    pub(super) bus: Health,
    /// How long the bus's fault lasts already.
    pub(super) bus_for: Duration,
    pub(super) nova: Nova,
}

/// What is made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) bus: Health,
    pub(super) nova: Health,
    /// In words, where views disagree or one confirms the other.
    pub(super) note: Option<&'static str>,
}

/// The times that count for Nova's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ages {
    /// Nova not having heard for this long is a fault.
    pub(super) stale: Duration,
    /// How that is if no other view says so.
    pub(super) alone: Health,
    /// How often the service reports, with some delay.
    pub(super) report: Duration,
}

/// The table.
pub(super) fn settle(views: Views, ages: Ages) -> Settled {
    let settled = |bus, nova, note| Settled { bus, nova, note };
    if matches!(views.process, Health::Failed | Health::Unknown) {
        return settled(views.bus, Health::Ok, None);
    }
    let (age, stale) = match views.nova {
        Nova::NotAsked => return settled(views.bus, Health::Ok, None),
        Nova::Heard(age) => (age, age >= ages.stale),
    };
    let heard_since = age.saturating_add(ages.report) < views.bus_for;
    match (views.bus, stale) {
        (Health::Failed, _) if heard_since => settled(
            Health::Degraded,
            Health::Ok,
            Some("Nova has heard from it since: the views disagree, see whether the bus's ports are right"),
        ),
        (Health::Failed | Health::Degraded, true) => {
            settled(Health::Failed, alone(ages), Some("Nova has not heard from it either"))
        }
        (Health::Ok, true) => settled(
            Health::Ok,
            alone(ages),
            Some("process and bus look fine: Nova's conductor or database, or a loop of it that hangs"),
        ),
        (Health::Unknown, true) => settled(Health::Ok, alone(ages), Some("the bus cannot be looked at")),
        (Health::Unknown, false) => {
            settled(Health::Ok, Health::Ok, Some("the bus cannot be looked at, but Nova hears from it"))
        }
        (bus, false) => settled(bus, Health::Ok, None),
    }
}

fn alone(ages: Ages) -> Health {
    ages.alone
}

#[cfg(test)]
mod tests {
    use super::Health::{Degraded, Failed, Ok, Unknown};
    use super::*;

    const AGES: Ages =
        Ages { stale: Duration::from_secs(60), alone: Degraded, report: Duration::from_secs(15) };
    const FRESH: Nova = Nova::Heard(Duration::from_secs(5));
    const STALE: Nova = Nova::Heard(Duration::from_secs(90));

    /// Process, bus, Nova, and what must become of the bus's view and of Nova's.
    const TABLE: [(Health, Health, Nova, Health, Health); 20] = [
        (Ok, Ok, Nova::NotAsked, Ok, Ok),
        (Ok, Ok, FRESH, Ok, Ok),
        (Ok, Ok, STALE, Ok, Degraded),
        (Ok, Degraded, Nova::NotAsked, Degraded, Ok),
        (Ok, Degraded, FRESH, Degraded, Ok),
        (Ok, Degraded, STALE, Failed, Degraded),
        (Ok, Failed, Nova::NotAsked, Failed, Ok),
        (Ok, Failed, FRESH, Degraded, Ok),
        (Ok, Failed, STALE, Failed, Degraded),
        (Ok, Unknown, Nova::NotAsked, Unknown, Ok),
        (Ok, Unknown, FRESH, Ok, Ok),
        (Ok, Unknown, STALE, Ok, Degraded),
        (Degraded, Ok, STALE, Ok, Degraded),
        (Degraded, Failed, FRESH, Degraded, Ok),
        (Failed, Ok, FRESH, Ok, Ok),
        (Failed, Failed, FRESH, Failed, Ok),
        (Failed, Failed, STALE, Failed, Ok),
        (Failed, Unknown, STALE, Unknown, Ok),
        (Unknown, Ok, FRESH, Ok, Ok),
        (Unknown, Unknown, STALE, Unknown, Ok),
    ];

    #[test]
    fn each_row() {
        for (process, bus, nova, want_bus, want_nova) in TABLE {
            let views = Views { process, bus, bus_for: Duration::from_secs(40), nova };
            let settled = settle(views, AGES);
            assert_eq!((settled.bus, settled.nova), (want_bus, want_nova), "{views:?}");
        }
    }

    #[test]
    fn what_nova_heard_before_the_fault_says_nothing_against_it() {
        for (bus_for, bus) in [(10, Failed), (19, Failed), (20, Failed), (21, Degraded)] {
            let views =
                Views { process: Ok, bus: Failed, bus_for: Duration::from_secs(bus_for), nova: FRESH };
            assert_eq!(settle(views, AGES).bus, bus, "{bus_for}");
        }
    }

    #[test]
    fn nova_alone_fails_it_only_if_that_is_wanted() {
        let views = Views { process: Ok, bus: Ok, bus_for: Duration::ZERO, nova: STALE };
        assert_eq!(settle(views, Ages { alone: Failed, ..AGES }).nova, Failed);
    }
}
