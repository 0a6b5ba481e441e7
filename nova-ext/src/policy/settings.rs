//! How many at a time, how long, and when to hold back.

use std::time::Duration;

use serde::Deserialize;

use super::PolicyError;

/// How many evacuations may be in flight: asked for and not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// To begin with.
    pub initial: u32,
    /// At least.
    pub minimum: u32,
    /// At most.
    pub maximum: u32,
    /// From one host.
    pub per_source: u32,
    /// To one host, as migrations show it.
    pub per_destination: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { initial: 12, minimum: 2, maximum: 32, per_source: 256, per_destination: 24 }
    }
}

/// How many servers are started at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Start {
    /// Whether servers arrive stopped and are started by the engine (microversion 2.95) or keep their state.
    pub stopped_first: bool,
    /// In all.
    pub at_once: u32,
    /// On one host.
    pub per_host: u32,
}

impl Default for Start {
    fn default() -> Self {
        Self { stopped_first: true, at_once: 24, per_host: 12 }
    }
}

/// How long things may take, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Patience {
    /// An unheard request has not been taken by Nova if no migration shows up for so long.
    pub unheard_seconds: u32,
    /// A migration that nobody has picked up for so long, while scheduler and conductor live, is dead.
    pub accepted_seconds: u32,
    /// Whether such a migration is given up, its server's state reset and the server asked for again.
    pub write_off: bool,
    /// A migration under way for so long is reported; it is never asked for a second time.
    pub migrating_seconds: u32,
    /// A started server must run after so long.
    pub start_seconds: u32,
    /// The first pause before a retry; each further one is twice as long.
    pub retry_seconds: u32,
    /// The longest pause before a retry.
    pub retry_longest_seconds: u32,
    /// Attempts that Nova refused or that failed; waiting for room does not count.
    pub attempts: u32,
    /// How long to wait for room in the cloud.
    pub no_room_seconds: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            unheard_seconds: 60,
            accepted_seconds: 180,
            write_off: true,
            migrating_seconds: 1800,
            start_seconds: 300,
            retry_seconds: 5,
            retry_longest_seconds: 60,
            attempts: 5,
            no_room_seconds: 3600,
        }
    }
}

/// When to hold back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gates {
    /// More hosts than so many down at once: a person must look first. 0: not looked at.
    pub most_hosts: u32,
    /// More than so many percent of the cloud's hosts down at once.
    pub most_hosts_percent: u32,
    /// So many failures within [`Gates::flap_seconds`] put a host into quarantine.
    pub flap_failures: u32,
    /// See [`Gates::flap_failures`].
    pub flap_seconds: u32,
}

impl Default for Gates {
    fn default() -> Self {
        Self { most_hosts: 0, most_hosts_percent: 50, flap_failures: 3, flap_seconds: 3600 }
    }
}

fn wrong(key: &str, why: &str) -> Result<(), PolicyError> {
    Err(PolicyError::Value { key: key.to_owned(), why: why.to_owned() })
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let Self { initial, minimum, maximum, per_source, per_destination } = *self;
        if minimum < 1 || initial < minimum || maximum < initial || maximum > 256 {
            return wrong("limits", "minimum, initial and maximum must be in this order, from 1 to 256");
        }
        if per_source < 1 || per_destination < 1 {
            return wrong("limits", "per_source and per_destination must be at least 1");
        }
        Ok(())
    }
}

impl Start {
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        if self.at_once < 1 || self.per_host < 1 || self.at_once > 256 {
            return wrong("start", "at_once must be from 1 to 256 and per_host at least 1");
        }
        Ok(())
    }
}

impl Patience {
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let spans = [
            ("unheard_seconds", self.unheard_seconds),
            ("accepted_seconds", self.accepted_seconds),
            ("migrating_seconds", self.migrating_seconds),
            ("start_seconds", self.start_seconds),
            ("retry_seconds", self.retry_seconds),
            ("retry_longest_seconds", self.retry_longest_seconds),
            ("attempts", self.attempts),
            ("no_room_seconds", self.no_room_seconds),
        ];
        match spans.iter().find(|(_, span)| !(1..=86_400).contains(span)) {
            Some((key, _)) => wrong(&format!("patience.{key}"), "1 to 86400"),
            None if self.unheard_seconds < 10 => wrong("patience.unheard_seconds", "at least 10"),
            None if self.accepted_seconds < 60 => wrong(
                "patience.accepted_seconds",
                "at least 60: Nova's own services wait so long for each other",
            ),
            None => Ok(()),
        }
    }

    /// The pause before the retry after so many attempts.
    pub fn pause(&self, attempts: u32) -> Duration {
        let doubled = u64::from(self.retry_seconds) << attempts.saturating_sub(1).min(16);
        Duration::from_secs(doubled.min(u64::from(self.retry_longest_seconds)))
    }
}

impl Gates {
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        if !(1..=100).contains(&self.most_hosts_percent) {
            return wrong("gates.most_hosts_percent", "1 to 100");
        }
        if self.flap_failures < 2 || self.flap_seconds < 60 {
            return wrong("gates", "flap_failures must be at least 2 and flap_seconds at least 60");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_longest() {
        let patience = Patience::default();
        let pauses: Vec<u64> = (1..=6).map(|n| patience.pause(n).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
        assert_eq!(patience.pause(u32::MAX).as_secs(), 60);
    }
}
