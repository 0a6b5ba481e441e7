//! The words of events: rules that hold up, what they say, and how an incident ends.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Rules that can hold up or refuse an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// The operator has frozen the engine.
    Frozen,
    /// The host or the cloud is in maintenance.
    Maintenance,
    /// Too many hosts are down at once.
    TooManyHosts,
    /// The host fails too often.
    Flapping,
    /// No scheduler is alive.
    Scheduler,
    /// The host is not proven off (any more).
    Proof,
    /// Nova takes the host for up.
    ServiceUp,
    /// A hook that must succeed has failed.
    Hook,
    /// Nova does not answer, or says no.
    Cloud,
    /// A rule of a later version.
    #[serde(other)]
    Unknown,
}

/// What a gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Go on.
    Open,
    /// Wait and ask again.
    Hold,
    /// Do not do it.
    Refuse,
}

/// How an incident ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every server that was to be moved is as it was, elsewhere.
    Complete,
    /// Some could not be moved.
    Partial,
    /// A gate or the operator has ended it.
    Refused,
    /// The host came back before all were moved.
    CameBack,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frozen => "frozen",
            Self::Maintenance => "maintenance",
            Self::TooManyHosts => "too-many-hosts",
            Self::Flapping => "flapping",
            Self::Scheduler => "scheduler",
            Self::Proof => "proof",
            Self::ServiceUp => "service-up",
            Self::Hook => "hook",
            Self::Cloud => "cloud",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Refused => "refused",
            Self::CameBack => "came-back",
        })
    }
}
