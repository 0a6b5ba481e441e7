//! What the plan needs to know of a server.

use std::collections::BTreeMap;

use crate::ids::{HostName, ServerId};
use crate::stamp::Stamp;

/// A server, as Nova's API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Its id.
    pub id: ServerId,
    /// Its name.
    pub name: String,
    /// The id of its project.
    pub project: String,
    /// Where Nova has it.
    pub host: Option<HostName>,
    /// When it was made.
    pub created: Option<Stamp>,
    /// What Nova takes it for.
    pub vm_state: VmState,
    /// What Nova is doing with it.
    pub task_state: Option<String>,
    /// Whether it ran when its compute last looked.
    pub power: Power,
    /// Whether it is locked.
    pub locked: bool,
    /// What it was made of; none if its root disk is a volume.
    pub image: Option<String>,
    /// How large it is.
    pub flavor: Flavor,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
    /// Its tags.
    pub tags: Vec<String>,
}

/// How large a server is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flavor {
    /// Memory.
    pub ram_mb: u32,
    /// The ephemeral disk.
    pub ephemeral_gb: u32,
    /// Extra specs.
    pub extra_specs: BTreeMap<String, String>,
}

/// Nova's `vm_state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmState {
    /// It runs, or should.
    Active,
    /// It was stopped.
    Stopped,
    /// Something went wrong.
    Error,
    /// It is or is being deleted.
    Deleted,
    /// It is shelved: no host has it.
    Shelved,
    /// Any other; Nova evacuates none of them.
    Other(String),
}

impl VmState {
    /// Nova's word for it.
    pub fn parse(text: &str) -> Self {
        match text {
            "active" => Self::Active,
            "stopped" => Self::Stopped,
            "error" => Self::Error,
            "deleted" | "soft-delete" => Self::Deleted,
            "shelved" | "shelved_offloaded" => Self::Shelved,
            other => Self::Other(other.chars().take(32).collect()),
        }
    }
}

/// Nova's `power_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// It runs.
    Running,
    /// It does not.
    Off,
    /// Nobody knows.
    Unknown,
}

impl Power {
    /// Nova's number for it.
    pub fn parse(number: i64) -> Self {
        match number {
            1 => Self::Running,
            3 | 4 | 6 | 7 => Self::Off,
            _ => Self::Unknown,
        }
    }
}

impl Server {
    /// Whether it ran when its host failed, or its owner wanted it to.
    pub fn ran(&self) -> bool {
        match (&self.vm_state, self.task_state.as_deref()) {
            (_, Some("powering-on")) => true,
            (_, Some("powering-off")) => false,
            (VmState::Error, _) => self.power == Power::Running,
            (state, _) => *state == VmState::Active,
        }
    }
}
