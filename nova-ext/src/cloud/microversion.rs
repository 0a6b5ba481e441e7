//! Microversions: what this cloud can do, and what of it is used.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version of an OpenStack API, as in `OpenStack-API-Version: compute 2.95`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Microversion {
    major: u16,
    minor: u16,
}

/// A text that is not a microversion.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a microversion: it is two numbers with a dot, as 2.95")]
pub struct BadMicroversion(String);

impl Microversion {
    /// Services by UUID, and force down, disable and reason in one call: the least that is used.
    pub const LEAST: Self = Self::new(2, 53);
    /// Migrations have UUIDs and pages, and can be asked for by time of change.
    pub const MIGRATION_PAGES: Self = Self::new(2, 59);
    /// Lists have markers for what is in cells that do not answer.
    pub const DOWN_CELLS: Self = Self::new(2, 69);
    /// The last one at which an evacuated server runs on by itself.
    pub const EVACUATE_RUNNING: Self = Self::new(2, 94);
    /// Evacuated servers end stopped.
    pub const EVACUATE_STOPPED: Self = Self::new(2, 95);
    /// The newest one that this program knows.
    pub const NEWEST: Self = Self::new(2, 104);

    /// The version `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Microversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Microversion {
    type Err = BadMicroversion;

    fn from_str(text: &str) -> Result<Self, BadMicroversion> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse::<u16>().ok()).flatten()
        };
        let parts = text.trim().split_once('.').and_then(|(major, minor)| number(major).zip(number(minor)));
        let bad = || BadMicroversion(text.chars().take(32).collect());
        parts.map(|(major, minor)| Self { major, minor }).ok_or_else(bad)
    }
}

impl TryFrom<String> for Microversion {
    type Error = BadMicroversion;

    fn try_from(text: String) -> Result<Self, BadMicroversion> {
        text.parse()
    }
}

impl From<Microversion> for String {
    fn from(version: Microversion) -> Self {
        version.to_string()
    }
}

/// What a cloud offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Lowest.
    pub min: Microversion,
    /// Highest.
    pub max: Microversion,
}

impl Range {
    /// The version to use: the newest that both sides know, not above `limit`.
    pub(super) fn choose(self, limit: Option<Microversion>) -> Option<Microversion> {
        let chosen = self.max.min(Microversion::NEWEST).min(limit.unwrap_or(Microversion::NEWEST));
        (chosen >= Microversion::LEAST && chosen >= self.min).then_some(chosen)
    }
}

/// The version document of an endpoint: its own (`{"version": …}`) or one of several (`{"versions": […]}`).
#[derive(Debug, Deserialize)]
struct Document {
    version: Option<Entry>,
    #[serde(default)]
    versions: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(default)]
    id: String,
    #[serde(default, alias = "max_version")]
    version: String,
    #[serde(default)]
    min_version: String,
}

/// What a version document says, and whether it was the endpoint's own.
pub(super) enum Offer {
    /// The endpoint's own range.
    Here(Range),
    /// The API is one level below, at this path.
    Below(&'static str),
}

/// Reads a version document of Nova.
pub(super) fn read(body: &[u8]) -> Result<Offer, String> {
    let document: Document = serde_json::from_slice(body).map_err(|_| "no version document".to_owned())?;
    if let Some(entry) = document.version {
        if entry.version.is_empty() {
            return Err(format!("version {} has no microversions", entry.id.escape_debug()));
        }
        let part = |text: &str| text.parse().map_err(|error: BadMicroversion| error.to_string());
        return Ok(Offer::Here(Range { min: part(&entry.min_version)?, max: part(&entry.version)? }));
    }
    if document.versions.iter().any(|entry| entry.id == "v2.1") {
        return Ok(Offer::Below("v2.1"));
    }
    Err("no API v2.1".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mv(text: &str) -> Microversion {
        text.parse().unwrap()
    }

    #[test]
    fn minor_numbers_are_numbers() {
        assert!(mv("2.104") > mv("2.95"));
        assert!(mv("2.9") < mv("2.53"));
        for bad in ["", "2", "2.", ".5", "2.5.1", "2.-5", "2.+5", "two.five", "2.99999"] {
            assert!(bad.parse::<Microversion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_newest_that_both_know_is_used() {
        let offers = |min, max| Range { min: mv(min), max: mv(max) };
        assert_eq!(offers("2.1", "2.104").choose(None), Some(mv("2.104")));
        assert_eq!(offers("2.1", "2.120").choose(None), Some(mv("2.104")), "what is not known is not used");
        assert_eq!(offers("2.1", "2.96").choose(None), Some(mv("2.96")));
        assert_eq!(offers("2.1", "2.53").choose(None), Some(mv("2.53")));
        assert_eq!(offers("2.1", "2.104").choose(Some(mv("2.68"))), Some(mv("2.68")));
        assert_eq!(offers("2.1", "2.42").choose(None), None, "older than Pike");
        assert_eq!(offers("2.1", "2.104").choose(Some(mv("2.11"))), None);
        assert_eq!(offers("2.110", "2.130").choose(None), None, "a cloud that dropped what we know");
    }

    #[test]
    fn both_forms_of_the_document() {
        let own = br#"{"version":{"id":"v2.1","version":"2.96","min_version":"2.1","links":[]}}"#;
        assert!(matches!(read(own), Ok(Offer::Here(range)) if range.max == mv("2.96")));
        let list =
            br#"{"versions":[{"id":"v2.0","version":"","min_version":""},{"id":"v2.1","version":"2.96"}]}"#;
        assert!(matches!(read(list), Ok(Offer::Below("v2.1"))));
        for bad in ["", "[]", "{}", r#"{"version":{"id":"v2.0"}}"#, r#"{"version":{"version":"2.x"}}"#] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_document_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&body);
        }

        #[test]
        fn what_is_shown_is_read_back(major in 0u16..9999, minor in 0u16..9999) {
            let version = Microversion::new(major, minor);
            prop_assert_eq!(version.to_string().parse(), Ok(version));
        }
    }
}
