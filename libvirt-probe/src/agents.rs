//! The probes as Pacemaker resource agents (`ocf:pcmk-remote:…`): what the daemon runs in process and what
//! the executables in `/usr/lib/ocf/resource.d/pcmk-remote` run.

mod agent;
mod attributes;
mod evacuation;
mod guests;
mod managed;
mod metadata;
mod parameters;
mod policy;
pub mod program;
mod state;
mod table;
mod together;
mod watched;

use std::collections::BTreeMap;

pub use agent::{Agent, Call, Context};
pub use attributes::{Answer, AttributeError, Attributes, Value, Wanted};
pub use parameters::{Told, Wrong};
pub use state::FOLDER;

/// The agents there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `ocf:pcmk-remote:libvirt`
    Libvirt,
    /// `ocf:pcmk-remote:nova-compute`
    NovaCompute,
    /// `ocf:pcmk-remote:compute-health`: all probes, with a policy.
    ComputeHealth,
}

impl Kind {
    /// The provider of all of them.
    pub const PROVIDER: &'static str = "pcmk-remote";
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Libvirt, Self::NovaCompute, Self::ComputeHealth];

    /// Its name as an agent.
    pub fn name(self) -> &'static str {
        match self {
            Self::Libvirt => "libvirt",
            Self::NovaCompute => "nova-compute",
            Self::ComputeHealth => "compute-health",
        }
    }

    /// The agent of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What an agent can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Start the resource.
    Start,
    /// Stop it.
    Stop,
    /// Say how it is.
    Monitor,
    /// Take new parameters.
    ReloadAgent,
    /// Say whether the parameters can be used.
    ValidateAll,
    /// Describe the agent.
    MetaData,
}

impl Action {
    /// The action of this name, by which Pacemaker or an operator calls it.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "start" => Self::Start,
            "stop" => Self::Stop,
            "monitor" | "status" => Self::Monitor,
            "reload-agent" | "reload" => Self::ReloadAgent,
            "validate-all" => Self::ValidateAll,
            "meta-data" => Self::MetaData,
            _ => return None,
        })
    }
}

/// Parameters of a resource, without `OCF_RESKEY_`.
pub type Parameters = BTreeMap<String, String>;

/// How a call of an agent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Exit code in OCF's terms.
    pub code: u8,
    /// Why it failed, as `crm_mon` shows it.
    pub reason: Option<String>,
    /// What it has to say on standard output.
    pub output: String,
}

/// Longest reason: more is not shown in one line.
const REASON: usize = 1000;

impl Outcome {
    /// Done, or well.
    pub const OK: u8 = 0;
    /// It does not work.
    pub const ERROR: u8 = 1;
    /// A parameter that cannot be used on this node.
    pub const BAD_ARGUMENT: u8 = 2;
    /// There is no such action.
    pub const UNIMPLEMENTED: u8 = 3;
    /// What it stands for is not installed.
    pub const NOT_INSTALLED: u8 = 5;
    /// A parameter that cannot be used anywhere.
    pub const NOT_CONFIGURED: u8 = 6;
    /// It does not run.
    pub const NOT_RUNNING: u8 = 7;
    /// It works with restrictions, or cannot be told.
    pub const DEGRADED: u8 = 190;

    /// Done, or well.
    pub fn ok() -> Self {
        Self { code: Self::OK, reason: None, output: String::new() }
    }

    /// Ended like this; the reason may be empty.
    pub fn new(code: u8, reason: impl Into<String>) -> Self {
        let reason: String = reason.into();
        let line =
            reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON).collect::<String>();
        Self { code, reason: Some(line).filter(|line| !line.is_empty()), output: String::new() }
    }

    /// Whether it did not work.
    pub fn is_failure(&self) -> bool {
        !matches!(self.code, Self::OK | Self::DEGRADED)
    }

    fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }
}

impl From<Wrong> for Outcome {
    fn from(wrong: Wrong) -> Self {
        Self::new(Self::NOT_CONFIGURED, wrong.to_string())
    }
}

impl From<crate::config::ConfigError> for Outcome {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::new(Self::BAD_ARGUMENT, error.to_string())
    }
}
