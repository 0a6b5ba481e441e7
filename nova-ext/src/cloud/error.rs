//! What can go wrong between us and the cloud, and what that says about the call.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::SettingsError;
use crate::ids::{HostName, ServerId};

/// The longest request id that is kept.
const LONGEST_ID: usize = 80;

/// The name of one request in the cloud's own logs (`req-…`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(String);

/// A text that cannot be a request id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this cannot be a request id")]
pub struct BadRequestId;

impl RequestId {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A new one, for a call of ours.
    pub(super) fn new_random() -> Self {
        Self(format!("req-{}", uuid::Uuid::new_v4().as_hyphenated()))
    }
}

impl TryFrom<String> for RequestId {
    type Error = BadRequestId;

    fn try_from(text: String) -> Result<Self, BadRequestId> {
        let fits = !text.is_empty() && text.len() <= LONGEST_ID && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(text)) } else { Err(BadRequestId) }
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether it makes sense to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call fails again.
    Never,
    /// The cloud asks for this pause.
    After(Duration),
    /// Later, and later each time.
    Backoff,
}

/// What a failed call has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: it never left us. Safe to repeat.
    NotSent,
    /// Nothing: the cloud said no.
    Refused,
    /// Perhaps everything: it was sent, and no clear answer came. Read the state before anything is repeated.
    Unheard,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No connection was made, so that nothing was sent.
    #[error("{call}: no connection to {peer}: {why}")]
    NotSent {
        /// The call.
        call: String,
        /// Host and port that were tried.
        peer: String,
        /// What happened instead.
        why: String,
    },
    /// It was sent, and no clear answer came: perhaps it was carried out.
    #[error("{call}: {why}{}", of(.id))]
    Unheard {
        /// The call.
        call: String,
        /// What came instead of an answer.
        why: String,
        /// HTTP status, if one was read.
        status: Option<u16>,
        /// The pause that the cloud asks for.
        after: Option<Duration>,
        /// The request's name in the cloud's logs.
        id: RequestId,
    },
    /// The cloud said no, with a status from 300 to 499 (but 408).
    #[error("{call}: refused with {status}: {message}{}", of(.id))]
    Refused {
        /// The call.
        call: String,
        /// HTTP status.
        status: u16,
        /// The cloud's own words.
        message: String,
        /// The pause that the cloud asks for.
        after: Option<Duration>,
        /// The request's name in the cloud's logs.
        id: RequestId,
    },
    /// The answer is not what this API answers.
    #[error("{call}: the answer cannot be used: {why}{}", of(.id))]
    Malformed {
        /// The call.
        call: String,
        /// What is wrong with it.
        why: String,
        /// The request's name in the cloud's logs.
        id: RequestId,
    },
    /// The list does not end.
    #[error("{call}: {why}")]
    Endless {
        /// The call.
        call: String,
        /// What was seen.
        why: String,
    },
    /// The caller's time was over before the call could be sent.
    #[error("{call}: no time was left for it")]
    Late {
        /// The call.
        call: String,
    },
    /// The log-in failed, so that the call itself was not made.
    #[error("log-in failed: {0}")]
    Login(#[source] Box<CloudError>),
    /// The catalog has no such endpoint.
    #[error(
        "the catalog has no {interfaces} endpoint of {service:?}{}: it has {known} (settings: region, interface, \
         or an endpoint of your own)",
        in_region(.region.as_deref())
    )]
    NoEndpoint {
        /// Type of the service.
        service: &'static str,
        /// The region that was looked for.
        region: Option<String>,
        /// The interfaces that were looked for.
        interfaces: String,
        /// What there is instead.
        known: String,
    },
    /// The cloud is too old.
    #[error(
        "Nova at {url} has microversions {min} to {max}: 2.53 (Pike, 2017) is needed at least, older clouds have no \
         safe way to force a service down and follow evacuations"
    )]
    Old {
        /// The endpoint.
        url: String,
        /// Lowest microversion.
        min: String,
        /// Highest microversion.
        max: String,
    },
    /// Nova does not know the host.
    #[error("Nova has no compute service on host {host:?}{}", instead(.near))]
    UnknownHost {
        /// The host.
        host: HostName,
        /// Names that exist and look like it.
        near: Vec<String>,
    },
    /// The host's cell does not answer, so that its servers cannot be told.
    #[error("Nova's cell of host {host} is down: neither its servers nor its migrations can be read now")]
    CellDown {
        /// The host.
        host: HostName,
    },
    /// The credentials may not do this.
    #[error("these credentials are not enough: {what} (Nova's policy {policy:?}; an admin role has it)")]
    Role {
        /// What is missing.
        what: String,
        /// The rule of the policy that grants it.
        policy: &'static str,
    },
    /// The proof is about another host.
    #[error("server {server} is on {host}, the proof is about {proven}: not evacuated")]
    OtherHost {
        /// The server.
        server: ServerId,
        /// Where it is.
        host: HostName,
        /// The host that is proven off.
        proven: HostName,
    },
    /// The request makes no sense, so that it was not sent.
    #[error("{0}")]
    Senseless(String),
}

fn of(id: &RequestId) -> String {
    format!(" ({id})")
}

fn in_region(region: Option<&str>) -> String {
    region.map(|region| format!(" in region {region:?}")).unwrap_or_default()
}

fn instead(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => format!(": did you mean {}?", near.join(" or ")),
    }
}

impl CloudError {
    /// Whether, and when, to try again. Repeating what must not be done twice is the caller's decision: see
    /// [`fate`](Self::fate).
    pub fn kind(&self) -> Retry {
        match self {
            Self::Login(inner) => inner.kind(),
            Self::Unheard { after: Some(pause), .. }
            | Self::Refused { after: Some(pause), status: 409 | 413 | 425 | 429, .. } => Retry::After(*pause),
            Self::Unheard { status: Some(501 | 505), .. } => Retry::Never,
            Self::Unheard { .. }
            | Self::NotSent { .. }
            | Self::CellDown { .. }
            | Self::Malformed { .. }
            | Self::Late { .. }
            | Self::Refused { status: 409 | 425 | 429, .. } => Retry::Backoff,
            Self::Settings(_)
            | Self::Refused { .. }
            | Self::Endless { .. }
            | Self::NoEndpoint { .. }
            | Self::Old { .. }
            | Self::UnknownHost { .. }
            | Self::Role { .. }
            | Self::OtherHost { .. }
            | Self::Senseless(_) => Retry::Never,
        }
    }

    /// What the failed call has done.
    pub fn fate(&self) -> Fate {
        match self {
            Self::Unheard { .. } | Self::Malformed { .. } => Fate::Unheard,
            Self::Refused { .. } => Fate::Refused,
            Self::NotSent { .. }
            | Self::Late { .. }
            | Self::Login(_)
            | Self::Settings(_)
            | Self::Endless { .. }
            | Self::NoEndpoint { .. }
            | Self::Old { .. }
            | Self::UnknownHost { .. }
            | Self::CellDown { .. }
            | Self::Role { .. }
            | Self::OtherHost { .. }
            | Self::Senseless(_) => Fate::NotSent,
        }
    }

    /// The request's name in the cloud's logs: the cloud's own, or the one we gave it (`X-OpenStack-Request-ID`,
    /// the global request id) when it did not answer.
    pub fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Unheard { id, .. } | Self::Refused { id, .. } | Self::Malformed { id, .. } => Some(id),
            Self::Login(inner) => inner.request_id(),
            _ => None,
        }
    }

    /// The HTTP status, if the cloud answered with one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Unheard { status, .. } => *status,
            Self::Refused { status, .. } => Some(*status),
            Self::Login(inner) => inner.status(),
            _ => None,
        }
    }
}
