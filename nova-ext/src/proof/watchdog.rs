//! A host whose watchdog nobody has fed for longer than its timeout has been reset by it.
//!
//! Holds only where every host has a working watchdog that is fed by what the cluster listens to (sbd in watchdog-only
//! mode): it is off unless configured.

use std::time::Duration;

use serde::Deserialize;

use super::{Evidence, FenceProof};
use crate::ids::HostName;
use crate::stamp::Stamp;

/// A host that lives shows it to Nova every 10 s (`report_interval`): only a silence that is longer shows that it does not.
const LEAST: Duration = Duration::from_secs(15);
/// Nobody waits longer.
const MOST: Duration = Duration::from_secs(3600);

/// The watchdog of the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watchdog {
    /// It resets a host that has not fed it for so many seconds.
    pub timeout_secs: u64,
    /// So many seconds are waited beyond that: for clocks that differ, and for the reset itself. As long as the
    /// timeout if not set.
    pub margin_secs: Option<u64>,
}

/// Why there is no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// The time is not over.
    #[error("the watchdog has reset the host in {} s at the latest", .0.as_secs().saturating_add(1))]
    Wait(Duration),
    /// A watchdog of no time does not exist.
    #[error("a watchdog's timeout is at least 1 s: set timeout_secs to what the hosts have")]
    NoTimeout,
    /// Nothing follows from a time that is so short, or it never comes.
    #[error(
        "a watchdog of {0} s and a margin of {1} s: together they must be 15 s at least, as a host shows every 10 s that it \
         lives, and an hour at most. Set margin_secs"
    )]
    Span(u64, u64),
    /// The host was seen in the future.
    #[error("the host was last seen in the future: the clocks differ, so nothing follows from the time")]
    Clock,
}

impl Watchdog {
    /// How long after its last sign of life a host has been reset.
    pub fn due(self) -> Result<Duration, NotYet> {
        if self.timeout_secs == 0 {
            return Err(NotYet::NoTimeout);
        }
        let margin = self.margin_secs.unwrap_or(self.timeout_secs);
        let due = Duration::from_secs(self.timeout_secs.saturating_add(margin));
        if due < LEAST || due > MOST { Err(NotYet::Span(self.timeout_secs, margin)) } else { Ok(due) }
    }

    /// The proof, if the time is over.
    pub fn proof(self, host: &HostName, last_seen: Stamp, now: Stamp) -> Result<FenceProof, NotYet> {
        let due = self.due()?;
        if now < last_seen {
            return Err(NotYet::Clock);
        }
        let passed = now.since(last_seen);
        if passed <= due {
            return Err(NotYet::Wait(due.saturating_sub(passed)));
        }
        let evidence = Evidence::Watchdog { last_seen, timeout_secs: self.timeout_secs };
        Ok(FenceProof::new(host.clone(), evidence, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_when_the_time_is_over() {
        let host = "compute-1".parse().unwrap();
        let seen: Stamp = "2026-11-30T10:00:00Z".parse().unwrap();
        let after = |secs| seen.after(Duration::from_secs(secs));
        let watchdog = Watchdog { timeout_secs: 10, margin_secs: Some(5) };
        assert_eq!(watchdog.proof(&host, seen, after(12)), Err(NotYet::Wait(Duration::from_secs(3))));
        assert_eq!(watchdog.proof(&host, seen, after(15)), Err(NotYet::Wait(Duration::ZERO)));
        assert!(watchdog.proof(&host, seen, after(16)).is_ok());
        let cautious = Watchdog { timeout_secs: 10, margin_secs: None };
        assert!(
            cautious.proof(&host, seen, after(20)).is_err() && cautious.proof(&host, seen, after(21)).is_ok()
        );
        assert_eq!(watchdog.proof(&host, after(1), seen), Err(NotYet::Clock));
        assert_eq!(
            Watchdog { timeout_secs: 0, margin_secs: None }.proof(&host, seen, after(99)),
            Err(NotYet::NoTimeout)
        );
        let endless = Watchdog { timeout_secs: u64::MAX, margin_secs: Some(u64::MAX) };
        assert!(endless.proof(&host, seen, after(99)).is_err());
        let short = Watchdog { timeout_secs: 5, margin_secs: None };
        assert_eq!(short.proof(&host, seen, after(99)), Err(NotYet::Span(5, 5)));
    }
}
