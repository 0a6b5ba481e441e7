//! What a call of an agent is: which program or unit, with which environment, and what its exit code
//! means. Tables and decisions only; nothing is run here.

pub mod builtin;
pub mod fencing;
pub mod lsb;
pub mod ocf;
mod outcome;
mod plan;
pub mod systemd;

use pcmk_proto::types::{AgentSpec, ExecStatus, OcfRc, Params, ResourceId};

pub use plan::{Plan, plan};

/// One run of one action of one resource, as the executor wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentCall {
    /// Resource name.
    pub id: ResourceId,
    /// Its agent.
    pub agent: AgentSpec,
    /// Action as the cluster named it.
    pub action: String,
    /// Milliseconds; 0 for one-shot operations.
    pub interval_ms: u32,
    /// Milliseconds; 0 is no limit. The executor enforces it; agents that work without a process use it
    /// to plan.
    pub timeout_ms: u32,
    /// Parameters as the cluster sent them.
    pub params: Params,
    /// Kill only the agent's own process, not its group (`on-fail=block`).
    pub leave_group: bool,
}

/// How one run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Exit code in OCF terms.
    pub rc: OcfRc,
    /// Exit code as the agent gave it, before mapping: a change of it moves `lrmd_rcchange_time`.
    pub raw_rc: i32,
    /// How the execution went.
    pub status: ExecStatus,
    /// Reason for a failure, from the agent or from us.
    pub exit_reason: Option<String>,
    /// Standard error if there was any, else standard output.
    pub output: Option<String>,
}

/// One run of an alert program.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertCall {
    /// Alert id.
    pub id: String,
    /// Program to run.
    pub path: String,
    /// Milliseconds; 0 is no limit.
    pub timeout_ms: u32,
    /// Environment added to the daemon's.
    pub params: Params,
}
