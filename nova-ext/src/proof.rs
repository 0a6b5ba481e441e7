//! The proof that a host is off. Without one nothing is evacuated: the functions that ask for it take no other
//! argument, and only evidence makes one.
//!
//! Nobody outside this crate can make one, and none can be read from a text that is not verified:
//!
//! ```compile_fail,E0624
//! use nova_ext::proof::{Evidence, FenceProof};
//! let host = "compute-1".parse().unwrap();
//! FenceProof::new(host, Evidence::Operator { name: "nobody".into() }, nova_ext::stamp::Stamp::now());
//! ```
//!
//! ```compile_fail,E0277
//! let proof: nova_ext::proof::FenceProof = serde_json::from_str("{}").unwrap();
//! ```
//!
//! A server is evacuated with a proof:
//!
//! ```
//! # use nova_ext::{cloud::Cloud, ids::{HostName, ServerId}, proof::FenceProof};
//! async fn with(cloud: Cloud, server: ServerId, host: HostName, proof: FenceProof) {
//!     let _ = cloud.evacuate(&server, &host, &proof, None).await;
//! }
//! ```
//!
//! Without one the program does not compile:
//!
//! ```compile_fail,E0308
//! # use nova_ext::{cloud::Cloud, ids::{HostName, ServerId}};
//! async fn without(cloud: Cloud, server: ServerId, host: HostName) {
//!     let _ = cloud.evacuate(&server, &host, &true, None).await;
//! }
//! ```

pub mod kdump;
pub mod ledger;
pub mod operator;
pub mod pacemaker;
pub mod powerless;
pub mod signed;
pub mod watchdog;

use std::fmt;

use serde::Serialize;

use crate::ids::{HostName, ProofId};
use crate::stamp::Stamp;

/// One look at a power device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Reading {
    /// When it answered.
    pub at: Stamp,
    /// What it said, in its own words ("Chassis Power is off").
    pub said: String,
}

/// What shows that a host cannot run guests any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Evidence {
    /// A power device read off, at least twice in a row.
    PowerOff {
        /// The device: driver and address, no secrets.
        device: String,
        /// What it said, oldest first.
        readings: Vec<Reading>,
    },
    /// Pacemaker's own record: an earlier device of the topology has fenced it.
    Pacemaker {
        /// The device that did.
        device: String,
        /// The action, `off` or `reboot`.
        action: String,
        /// The node that asked for it.
        client: String,
        /// When it was done.
        done: Stamp,
    },
    /// The host itself said that its crash kernel runs.
    Kdump {
        /// The address that said so.
        from: String,
        /// When the packet came.
        received: Stamp,
    },
    /// The host's watchdog must have reset it by now.
    Watchdog {
        /// When the cluster last heard from it.
        last_seen: Stamp,
        /// The watchdog's timeout, in seconds.
        timeout_secs: u64,
    },
    /// A person vouches for it.
    Operator {
        /// Who.
        name: String,
    },
    /// One of the above, of which the signed short form in Nova is left.
    Recorded {
        /// Which of the above.
        was: String,
        /// What it said.
        said: String,
    },
}

impl Evidence {
    /// Its kind, as it is stored.
    pub fn kind(&self) -> &str {
        match self {
            Self::PowerOff { .. } => "power-off",
            Self::Pacemaker { .. } => "pacemaker",
            Self::Kdump { .. } => "kdump",
            Self::Watchdog { .. } => "watchdog",
            Self::Operator { .. } => "operator",
            Self::Recorded { was, .. } => was,
        }
    }

    /// Whether the host may well read on although its guests are gone: its crash kernel runs, or its watchdog has reset
    /// it. What its power reads says nothing against these.
    pub fn leaves_power_on(&self) -> bool {
        matches!(self.kind(), "kdump" | "watchdog")
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOff { device, readings } => write!(f, "{device} read off {} times", readings.len()),
            Self::Pacemaker { device, action, .. } => write!(f, "Pacemaker's {device} did {action}"),
            Self::Kdump { from, .. } => write!(f, "its crash kernel runs ({from})"),
            Self::Watchdog { timeout_secs, .. } => {
                write!(f, "its watchdog of {timeout_secs} s must have reset it")
            }
            Self::Operator { name } => write!(f, "{name} confirms it"),
            Self::Recorded { said, .. } => f.write_str(said),
        }
    }
}

/// Proof that a host is off. Made by evidence alone; ends when the host is powered on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FenceProof {
    id: ProofId,
    host: HostName,
    at: Stamp,
    evidence: Evidence,
}

impl FenceProof {
    /// What the makers of evidence in this crate call.
    pub(crate) fn new(host: HostName, evidence: Evidence, at: Stamp) -> Self {
        Self { id: ProofId::new_random(), host, at, evidence }
    }

    /// One that was stored, from where nobody else can write.
    pub(crate) fn stored(id: ProofId, host: HostName, evidence: Evidence, at: Stamp) -> Self {
        Self { id, host, at, evidence }
    }

    /// Its name in journal and reports.
    pub fn id(&self) -> ProofId {
        self.id
    }

    /// The host that is off.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Since when it is known.
    pub fn at(&self) -> Stamp {
        self.at
    }

    /// What shows it.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}

impl fmt::Display for FenceProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is off since {}: {}", self.host, self.at, self.evidence)
    }
}
