//! From the fence agent to the engine: a request that outlives both.
//!
//! It is a file in a folder of this controller, and a node attribute that all controllers see. The engine takes up
//! whichever it sees first; both name the same incident.

mod attributes;
mod queue;

use serde::{Deserialize, Serialize};

pub use attributes::{AttributeError, Attributes, EVACUATE, Evacuate, PROOF, Value};
pub use queue::{Queue, QueueError, Queued};

use crate::engine::journal::Entry;
use crate::ids::{HostName, IncidentId, NodeName};
use crate::stamp::Stamp;

/// What the engine is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// Evacuate the host.
    Evacuate,
    /// Let the host return to service.
    Return,
}

/// How far marking the host in Nova has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Marked {
    /// Down, and disabled by us or by somebody before us.
    Done,
    /// Not yet.
    Open {
        /// Why.
        why: String,
    },
}

/// A request to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The incident, from fence to last guest.
    pub id: IncidentId,
    /// What is wanted.
    pub wish: Wish,
    /// When it was asked for.
    pub at: Stamp,
    /// By whom: program and controller.
    pub by: String,
    /// The node, as the cluster calls it.
    pub node: NodeName,
    /// The host, as Nova calls it.
    pub host: HostName,
    /// The proof that the host is off, in its signed form.
    pub proof: Option<String>,
    /// Whether Nova knows that the host is down.
    pub marked: Marked,
    /// Whether the engine powers the host on once its guests are elsewhere.
    pub power_on: bool,
    /// Whether the host's servers are to be evacuated at all.
    pub evacuates: bool,
    /// Whether the computes share storage for ephemeral disks, if it was said. Kept for people: the plan takes the
    /// policy's word, which an engine that resumes has as well.
    pub shared_storage: Option<bool>,
    /// Whoever wrote it still works on it until then: not before that time is it taken up.
    pub not_before: Option<Stamp>,
    /// What has happened so far, for the journal.
    pub story: Vec<Entry>,
}

impl Request {
    /// Whether it can be taken up.
    pub fn is_due(&self, now: Stamp) -> bool {
        self.not_before.is_none_or(|time| time <= now)
    }
}
