//! Points in time that are stored and shown: RFC 3339, UTC, milliseconds.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// A point in time, as exact as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Stamp(Duration);

impl Stamp {
    /// Now, by the clock on the wall.
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// The time from `earlier` to this; none if the clock was set back between them.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The stamp so much later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// The stamp so much earlier.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span))
    }

    /// Whole seconds since 1970.
    pub fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

impl Stamp {
    /// Milliseconds since 1970.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl From<SystemTime> for Stamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(Duration::new(since.as_secs(), since.subsec_millis() * 1_000_000))
    }
}

impl From<Stamp> for SystemTime {
    fn from(stamp: Stamp) -> Self {
        Self::UNIX_EPOCH.checked_add(stamp.0).unwrap_or(Self::UNIX_EPOCH)
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis((*self).into()).fmt(f)
    }
}

impl FromStr for Stamp {
    type Err = humantime::TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_rfc3339_weak(text).map(Self::from)
    }
}

impl TryFrom<String> for Stamp {
    type Error = humantime::TimestampError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Stamp> for String {
    fn from(stamp: Stamp) -> Self {
        stamp.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        let now = Stamp::now();
        assert_eq!(now.to_string().parse::<Stamp>().ok(), Some(now));
        assert_eq!(
            "2026-11-25T10:00:00Z".parse::<Stamp>().map(|stamp| stamp.to_string()).ok().as_deref(),
            Some("2026-11-25T10:00:00.000Z")
        );
    }
}
