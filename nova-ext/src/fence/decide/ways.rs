//! The ways to show that a host is off: which of them, in which order, and how long each may take. All of them together
//! have the time that `power_timeout` sets.

use std::time::Duration;

/// To switch a device and read it.
const SWITCHING: Duration = Duration::from_secs(10);
/// To ask Nova, when the watchdog's time is over.
const ASKING: Duration = Duration::from_secs(5);

/// Who shows that the host is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fence) enum Way {
    /// The host itself: its crash kernel runs.
    Message,
    /// This agent, by a device of the map.
    Own,
    /// An earlier device of the same fencing level has done it.
    Earlier,
    /// The host's watchdog must have reset it.
    Watchdog,
}

/// The ways that are left.
#[derive(Debug)]
pub(in crate::fence) struct Ways {
    within: Duration,
    /// Only before the own device.
    message: Option<Duration>,
    /// Only after the others have shown nothing.
    watchdog: Option<Duration>,
    /// The one that is tried now; none before the first.
    now: Option<Way>,
    own: bool,
}

impl Ways {
    /// By a device of the map. For `message`, if it is not zero, the host's own message is waited for before; if that
    /// leaves no time to switch the power, it is not, and the text says what to raise.
    pub(in crate::fence) fn own(within: Duration, message: Duration) -> (Self, Option<String>) {
        let fits = message + SWITCHING <= within;
        let warning = (!fits && !message.is_zero()).then(|| {
            format!(
                "the host's crash kernel is not waited for: kdump_wait_seconds ({} s) and {} s to switch the power do not fit \
                 into power_timeout ({} s), raise it to {}",
                message.as_secs(),
                SWITCHING.as_secs(),
                within.as_secs(),
                (message + SWITCHING).as_secs()
            )
        });
        let message = Some(message).filter(|message| fits && !message.is_zero());
        (Self { within, message, watchdog: None, now: None, own: true }, warning)
    }

    /// By what the devices before have done; else, if hosts have watchdogs, by these, which reset a host after this time.
    pub(in crate::fence) fn others(within: Duration, watchdog: Option<Duration>) -> Self {
        Self { within, message: None, watchdog, now: None, own: false }
    }

    /// Whether there is time for the watchdog.
    pub(in crate::fence) fn awaits_watchdog(&self) -> bool {
        self.watchdog.is_some_and(|due| due + ASKING <= self.within)
    }

    /// What is to be raised so that there is time for the watchdog.
    pub(in crate::fence) fn misfit(&self) -> Option<String> {
        let due = self.watchdog.filter(|_| !self.awaits_watchdog())?;
        Some(format!(
            "its watchdog has reset it after {} s, which do not fit into power_timeout ({} s): raise that to {}, and \
             pcmk_off_timeout with it",
            due.as_secs(),
            self.within.as_secs(),
            (due + ASKING).as_secs()
        ))
    }

    /// The first way, or the one after that which has failed; `at` is the time since it all began. The error says why
    /// there is none.
    pub(super) fn next(&mut self, failed: Option<String>, at: Duration) -> Result<(Way, Duration), String> {
        let left = self.within.saturating_sub(at);
        let (way, within) = match (self.now, self.message, self.watchdog) {
            (None, Some(message), _) => (Way::Message, message),
            (None, None, _) if self.own => (Way::Own, left),
            (Some(Way::Message), ..) => (Way::Own, left),
            // What hangs there must not take the watchdog's time.
            (None, None, Some(due)) if self.awaits_watchdog() => (Way::Earlier, due.min(left)),
            (None, None, _) => (Way::Earlier, left),
            (Some(Way::Earlier), _, Some(_)) if self.awaits_watchdog() => (Way::Watchdog, left),
            (Some(Way::Earlier), _, Some(_)) => {
                let why = self.misfit().unwrap_or_default();
                return Err(format!("{}; {why}", failed.unwrap_or_default()));
            }
            (Some(_), ..) => return Err(failed.unwrap_or_default()),
        };
        self.now = Some(way);
        Ok((way, within))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// All ways, each of which takes its time and fails; and the last word.
    fn all(mut ways: Ways) -> (Vec<(Way, Duration)>, String) {
        let (mut at, mut failed, mut tried) = (Duration::ZERO, None, Vec::new());
        loop {
            match ways.next(failed.take(), at) {
                Ok((way, within)) => {
                    at += within;
                    failed = Some(format!("{way:?} failed"));
                    tried.push((way, within));
                }
                Err(why) => return (tried, why),
            }
        }
    }

    #[test]
    fn a_device_of_its_own_is_the_last_word() {
        let (ways, warning) = Ways::own(secs(20), Duration::ZERO);
        assert_eq!((all(ways), warning), ((vec![(Way::Own, secs(20))], "Own failed".into()), None));
    }

    #[test]
    fn the_hosts_message_comes_first_and_leaves_time_for_the_power() {
        let (ways, warning) = Ways::own(secs(20), secs(10));
        let tried = vec![(Way::Message, secs(10)), (Way::Own, secs(10))];
        assert_eq!((all(ways), warning), ((tried, "Own failed".into()), None));
        let (ways, warning) = Ways::own(secs(20), secs(11));
        assert_eq!(all(ways).0, [(Way::Own, secs(20))]);
        assert!(warning.unwrap().ends_with("raise it to 21"));
    }

    #[test]
    fn the_watchdog_counts_only_after_the_devices_before() {
        assert_eq!(
            all(Ways::others(secs(20), None)),
            (vec![(Way::Earlier, secs(20))], "Earlier failed".into())
        );
        let ways = Ways::others(secs(25), Some(secs(20)));
        assert!(ways.awaits_watchdog());
        // Whatever the first one takes, there is time to ask Nova.
        let tried = vec![(Way::Earlier, secs(20)), (Way::Watchdog, secs(5))];
        assert_eq!(all(ways), (tried, "Watchdog failed".into()));
    }

    #[test]
    fn a_watchdog_that_takes_too_long_is_said_at_once() {
        let mut ways = Ways::others(secs(20), Some(secs(16)));
        assert!(!ways.awaits_watchdog());
        assert_eq!(ways.next(None, Duration::ZERO), Ok((Way::Earlier, secs(20))));
        let why = ways.next(Some("not proven off".into()), secs(1)).unwrap_err();
        assert!(why.starts_with("not proven off; its watchdog") && why.contains("raise that to 21"), "{why}");
    }
}
