//! A host whose watchdog nobody has fed for longer than its timeout has been reset by it.
//!
//! Holds only where every host has a working watchdog that is fed by what the cluster listens to (sbd in watchdog-only
//! mode): it is off unless configured.

use std::time::Duration;

use serde::Deserialize;

use super::{Evidence, FenceProof};
use crate::ids::HostName;
use crate::stamp::Stamp;

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

/// Not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// The time is not over.
    #[error("the watchdog has reset the host in {} s at the latest", .0.as_secs().saturating_add(1))]
    Wait(Duration),
    /// A watchdog of no time does not exist.
    #[error("a watchdog's timeout is at least 1 s: set timeout_secs to what the hosts have")]
    NoTimeout,
    /// The host was seen in the future.
    #[error("the host was last seen in the future: the clocks differ, so nothing follows from the time")]
    Clock,
}

impl Watchdog {
    /// The proof, if the time is over.
    pub fn proof(self, host: &HostName, last_seen: Stamp, now: Stamp) -> Result<FenceProof, NotYet> {
        if self.timeout_secs == 0 {
            return Err(NotYet::NoTimeout);
        }
        if now < last_seen {
            return Err(NotYet::Clock);
        }
        let margin = self.margin_secs.unwrap_or(self.timeout_secs);
        let due = Duration::from_secs(self.timeout_secs.saturating_add(margin));
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
    }
}
