//! What must happen: the executor's decisions, without doing any of it.
//!
//! [`Executor::handle`] takes what happened ([`Input`]) and when ([`Now`]) and returns what to do
//! ([`Action`]). It owns resources, operations, clients, providers and deadlines. It never opens a
//! socket, starts a process or looks at a clock, so every behaviour can be tested in virtual time.
//!
//! Rules that hold after every input:
//! * at most one agent runs per resource name, whatever registrations come and go;
//! * every accepted operation gets exactly one final result per run, and a one-shot exactly one;
//! * every running agent with a timeout has a deadline;
//! * nothing is decided after [`Action::Exit`];
//! * no agent is started that the policy in force does not allow.

mod arrivals;
mod clients;
mod core;
mod operation;
mod permit;
mod record;
mod run;
mod text;
mod timers;
pub mod watchdog;

#[cfg(any(test, fuzzing))]
pub mod sim;
#[cfg(test)]
mod tests;

pub use self::core::Executor;
pub use self::text::readable_interval;

use std::sync::Arc;

use pcmk_proto::lrmd::{IpcForward, Message, Request};
use pcmk_proto::types::ResourceId;

use crate::agent::{AgentCall, AlertCall, Outcome};
use crate::audit::Origin;
use crate::ids::{ClientId, OpId};
use crate::policy::Policy;

/// A moment: on the clock that never steps, for deadlines and durations, and on the wall, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a monotonic clock.
    pub mono: Mono,
    /// Seconds since the epoch.
    pub wall: u64,
}

/// Milliseconds on a monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// Milliseconds from `earlier` to this moment, 0 if that is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment plus `ms` milliseconds.
    #[must_use]
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// What the executor needs to know about this node.
#[derive(Debug, Clone)]
pub struct Settings {
    /// When the daemon started, for `uptime` in the answer to `register`.
    pub started: Mono,
    /// `PCMK_node_start_state`, where it is set.
    pub node_start_state: Option<String>,
    /// Most resources that may be registered at a time.
    pub max_resources: usize,
    /// Most operations that may be queued, waiting or running at a time.
    pub max_operations: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { started: Mono(0), node_start_state: None, max_resources: 65_536, max_operations: 65_536 }
    }
}

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A client completed its TLS handshake, or a local tool opened the executor's own IPC.
    Connected {
        /// Its number.
        client: ClientId,
        /// Token given to it at registration (a UUID).
        token: String,
        /// Where it comes from.
        origin: Origin,
    },
    /// A client asks for something.
    Request {
        /// Who asks.
        client: ClientId,
        /// What.
        request: Request,
    },
    /// A client asks for something that cannot be made out.
    Unreadable {
        /// Who asks.
        client: ClientId,
        /// The number that the answer must carry.
        msg_id: i64,
    },
    /// A client is gone.
    Disconnected {
        /// Which.
        client: ClientId,
    },
    /// The process of a run exists.
    Spawned {
        /// Which run.
        op: OpId,
        /// Its process.
        pid: u32,
    },
    /// A run has ended; its process, if it had one, is reaped.
    Finished {
        /// Which run.
        op: OpId,
        /// How it ended.
        outcome: Outcome,
    },
    /// There is bad news about a resource: its recurring monitor is run now, if it waits for its interval.
    Hurry {
        /// Which.
        resource: ResourceId,
    },
    /// Time has passed: see [`Executor::next_deadline`].
    Tick,
    /// The operator wants the daemon to stop (SIGTERM).
    Terminate,
    /// What this node refuses has changed. Before the first one it refuses nothing.
    Policy(Arc<Policy>),
}

/// Something to do, in the order given.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Send one message to each of these clients.
    Send {
        /// Receivers.
        to: Vec<ClientId>,
        /// What to say.
        message: Message,
    },
    /// Run an agent; exactly one [`Input::Finished`] must follow.
    Start {
        /// Number of the run.
        op: OpId,
        /// What to run.
        call: AgentCall,
    },
    /// Kill a run; its [`Input::Finished`] still follows.
    Kill {
        /// Number of the run.
        op: OpId,
    },
    /// A resource of an agent that is part of this program is registered no more: nothing of it is kept.
    Forget {
        /// Which.
        resource: ResourceId,
    },
    /// Run an alert program; nobody waits for its result.
    Alert(AlertCall),
    /// Compare the cluster's watchdog timeout with this node, see [`watchdog::judge`].
    CheckWatchdog {
        /// The cluster's setting, where it sent one.
        timeout: Option<String>,
    },
    /// A client speaks to a local tool.
    Forward {
        /// Who.
        from: ClientId,
        /// What it says.
        forward: IpcForward,
    },
    /// A new provider can send the schemas that this node does not have.
    FetchSchemas {
        /// Which.
        provider: ClientId,
    },
    /// Accept no further connections; keep those that exist.
    StopListening,
    /// End the daemon.
    Exit(ExitReason),
}

/// Why the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// Asked to stop while no cluster was connected.
    NotConnected,
    /// The cluster stopped our resources and disconnected.
    Drained,
    /// The cluster refused to stop our resources (maintenance mode).
    Refused,
}
