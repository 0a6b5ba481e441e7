//! A host whose watchdog nobody has fed for longer than its timeout has been reset by it.
//!
//! Holds only where every host has a working watchdog that is fed by what the cluster listens to (sbd in watchdog-only
//! mode): it is off unless configured.

use std::time::Duration;

use serde::Deserialize;

use super::{Evidence, FenceProof};
use crate::ids::HostName;
use crate::stamp::Stamp;

/// Nova's default.
const REPORT_INTERVAL: u64 = 10;
/// A host that lives shows it to Nova at each interval: only a silence that is longer by so much shows that it does not.
const SLACK: u64 = 5;
/// Two looks at Nova that are an interval and so much apart see whether there was a report between them.
const APART: u64 = 2;
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
    /// A nova-compute that lives reports to Nova every so many seconds (its `report_interval`). 10 if not set.
    pub report_interval_secs: Option<u64>,
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
    /// A report at all times does not exist.
    #[error(
        "nova-compute's report_interval is at least 1 s: set report_interval_secs to what the hosts have"
    )]
    NoInterval,
    /// Nothing follows from a time that is so short, or it never comes.
    #[error(
        "a watchdog of {timeout} s and a margin of {margin} s: together they must be {} s at least, as a host shows every \
         {interval} s that it lives, and an hour at most. Set margin_secs", interval.saturating_add(SLACK)
    )]
    Span {
        /// The watchdog's.
        timeout: u64,
        /// What is waited beyond that.
        margin: u64,
        /// Between two reports.
        interval: u64,
    },
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
        let interval = self.report_interval();
        if interval == 0 {
            return Err(NotYet::NoInterval);
        }
        let (timeout, margin) = (self.timeout_secs, self.margin_secs.unwrap_or(self.timeout_secs));
        let due = Duration::from_secs(timeout.saturating_add(margin));
        let least = Duration::from_secs(interval.saturating_add(SLACK));
        if due < least || due > MOST { Err(NotYet::Span { timeout, margin, interval }) } else { Ok(due) }
    }

    /// Between two looks at what Nova heard last, at least.
    pub fn apart(self) -> Duration {
        Duration::from_secs(self.report_interval().saturating_add(APART))
    }

    fn report_interval(self) -> u64 {
        self.report_interval_secs.unwrap_or(REPORT_INTERVAL)
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
        let of = |timeout_secs, margin_secs, report_interval_secs| Watchdog {
            timeout_secs,
            margin_secs,
            report_interval_secs,
        };
        let watchdog = of(10, Some(5), None);
        assert_eq!(watchdog.proof(&host, seen, after(12)), Err(NotYet::Wait(Duration::from_secs(3))));
        assert_eq!(watchdog.proof(&host, seen, after(15)), Err(NotYet::Wait(Duration::ZERO)));
        assert!(watchdog.proof(&host, seen, after(16)).is_ok());
        let cautious = of(10, None, None);
        assert!(
            cautious.proof(&host, seen, after(20)).is_err() && cautious.proof(&host, seen, after(21)).is_ok()
        );
        assert_eq!(watchdog.proof(&host, after(1), seen), Err(NotYet::Clock));
        assert_eq!(of(0, None, None).proof(&host, seen, after(99)), Err(NotYet::NoTimeout));
        let endless = of(u64::MAX, Some(u64::MAX), None);
        assert!(endless.proof(&host, seen, after(99)).is_err());
        let short = of(5, None, None);
        let span = NotYet::Span { timeout: 5, margin: 5, interval: 10 };
        assert_eq!(short.proof(&host, seen, after(99)), Err(span));
    }

    #[test]
    fn hosts_that_report_seldom_are_listened_to_for_longer() {
        let of = |margin, interval| Watchdog {
            timeout_secs: 5,
            margin_secs: Some(margin),
            report_interval_secs: interval,
        };
        assert_eq!((of(10, None).apart().as_secs(), of(60, Some(60)).apart().as_secs()), (12, 62));
        assert!(of(10, None).due().is_ok() && of(60, Some(60)).due().is_ok());
        let short = of(59, Some(60)).due().unwrap_err().to_string();
        assert!(short.contains("must be 65 s at least, as a host shows every 60 s"), "{short}");
        assert_eq!(of(10, Some(0)).due(), Err(NotYet::NoInterval));
        assert!(of(10, Some(u64::MAX)).due().is_err());
    }
}
