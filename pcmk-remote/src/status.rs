//! The status document: what the daemon tells `pcmk-remotectl` and `pcmk-remote-exporter`.
//!
//! One JSON object. Fields that end in `_ms`, `_us` or `_s` are milliseconds, microseconds or seconds, those
//! in `_at` seconds since the epoch, those in `_bytes` bytes. A reader must ignore fields that it does not know
//! and take missing ones for empty; [`FORMAT`] changes only when a field changes its meaning.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Number of this document's format.
pub const FORMAT: u32 = 1;

/// Where the daemon listens for questions, unless `PCMK_remote_status_socket` says otherwise.
pub const SOCKET: &str = "/run/pcmk-remote/status.sock";

/// Longest request, in bytes.
pub const MAX_REQUEST: usize = 1024;

/// Most entries of one list in a document; the totals count the others too.
pub const MAX_LISTED: usize = 4096;

/// Upper bounds of the buckets in [`ActionCounters::buckets`], in milliseconds; the last bucket has none.
pub const BUCKETS_MS: [u64; 10] = [10, 50, 100, 250, 500, 1000, 5000, 10_000, 30_000, 60_000];

/// One line to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The whole document.
    Status,
    /// Leave the cluster in order, as on SIGTERM. The answer is [`Answer::Draining`] at once and
    /// [`Answer::Ended`] when the daemon ends. root only.
    Drain,
}

/// One line from the socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The document.
    Status(Box<Status>),
    /// The daemon asks the cluster to move its resources away, or did so before.
    Draining,
    /// The daemon ends.
    Ended(Ended),
    /// Who asked may not have that, for this reason.
    Denied(String),
    /// The request failed, for this reason.
    Error(String),
}

/// Why the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// No cluster was connected: nothing was moved.
    NotConnected,
    /// The cluster stopped the resources here and disconnected.
    Drained,
    /// The cluster refused, as it does in maintenance mode: resources go on running here.
    Refused,
}

/// Everything that the daemon knows of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// [`FORMAT`] of the daemon.
    pub format: u32,
    /// When this was true.
    pub at: u64,
    /// The daemon itself.
    pub daemon: Daemon,
    /// Connected cluster nodes (and whoever else has the key), in the order in which they came.
    pub peers: Vec<Peer>,
    /// Registered resources by name, at most [`MAX_LISTED`].
    pub resources: Vec<Resource>,
    /// All of them, listed or not.
    pub resources_total: u64,
    /// Operations that run, wait or recur, by resource, at most [`MAX_LISTED`].
    pub operations: Vec<Operation>,
    /// All of them, listed or not.
    pub operations_total: u64,
    /// Latest results, oldest first. A recurring operation's is listed when it differs from its last one.
    pub history: Vec<Outcome>,
    /// Programs of this node that talk to the cluster through the daemon, at most [`MAX_LISTED`].
    pub tools: Vec<Tool>,
    /// What the daemon proves its identity with; `None` while it has nothing.
    pub credentials: Option<Credentials>,
    /// What happened since the daemon started.
    pub counters: Counters,
}

/// The daemon itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Daemon {
    /// Version of this project.
    pub version: String,
    /// Process.
    pub pid: u32,
    /// Since its start.
    pub uptime_s: u64,
    /// Address and port of the cluster's side; `None` once it does not listen any more.
    pub listening: Option<String>,
    /// Where it is in its life.
    pub state: State,
    /// `PCMK_node_start_state`, where it is set.
    pub node_start_state: Option<String>,
    /// This node's watchdog and the cluster's wish.
    pub watchdog: Watchdog,
}

/// Where the daemon is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No cluster is connected.
    #[default]
    Waiting,
    /// A cluster is connected.
    Connected,
    /// A stop was asked for, and the cluster moves resources away.
    Draining,
}

/// This node's watchdog and the cluster's wish.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watchdog {
    /// `SBD_WATCHDOG_TIMEOUT`, 0 if it is not set.
    pub sbd_timeout_ms: u64,
    /// The cluster's `stonith-watchdog-timeout` as it last sent it, if it did.
    pub cluster_timeout: Option<String>,
}

/// One connection of the cluster's side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// The daemon's number for it, as in the log.
    pub client: u64,
    /// Address and port.
    pub address: String,
    /// `key`, or `certificate` where it proved itself by one.
    pub identity: String,
    /// Subject of its certificate.
    pub certificate: Option<String>,
    /// Name that it gave.
    pub name: Option<String>,
    /// Version of the executor protocol that it speaks, once it has registered.
    pub protocol_version: Option<String>,
    /// It carries local tools' requests to the cluster.
    pub provider: bool,
    /// Local tools' requests go to this one.
    pub current_provider: bool,
    /// When it connected.
    pub connected_at: u64,
    /// What waits for it to read.
    pub queued_bytes: u64,
}

/// A registered resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resource {
    /// Name.
    pub id: String,
    /// `class[:provider]:type`.
    pub agent: String,
    /// An agent runs for it now.
    pub busy: bool,
    /// Operations that wait for their turn.
    pub waiting: u64,
}

/// What an operation is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits for its start delay.
    Delayed,
    /// Waits for the resource.
    #[default]
    Waiting,
    /// Its agent runs.
    Running,
    /// It was killed at its timeout and does not die.
    Undead,
    /// Recurring: waits for its interval.
    Sleeping,
}

/// One operation that runs, waits or recurs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Operation {
    /// Name of the resource.
    pub resource: String,
    /// Action, for example `monitor`.
    pub action: String,
    /// Call id in the cluster's logs.
    pub call_id: i32,
    /// What it is doing.
    pub phase: Phase,
    /// How long it has been in this phase, if that can be said.
    pub since_ms: Option<u64>,
    /// Interval of a recurring operation, 0 for others.
    pub interval_ms: u64,
    /// Longest that one run may take, 0 for no limit.
    pub timeout_ms: u64,
    /// Process of the agent, while it runs.
    pub pid: Option<u32>,
    /// From now to the next run of a recurring operation that sleeps.
    pub next_in_ms: Option<u64>,
    /// Result of its last run.
    pub last: Option<Outcome>,
}

/// Result of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// Name of the resource.
    pub resource: String,
    /// Action.
    pub action: String,
    /// Call id in the cluster's logs.
    pub call_id: i32,
    /// Interval of a recurring operation, 0 for others.
    pub interval_ms: u64,
    /// Exit code in OCF terms.
    pub rc: i32,
    /// How the execution went: `done`, `cancelled`, `timeout`, `error` …
    pub status: String,
    /// Whether somebody should look: see [`Verdict`].
    pub verdict: Verdict,
    /// What the agent said, cut to 256 characters.
    pub exit_reason: Option<String>,
    /// When it ended.
    pub ended_at: u64,
    /// How long it ran.
    pub ran_ms: u64,
    /// How long it had waited before.
    pub queued_ms: u64,
}

/// What a result amounts to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Success, or running (promoted or not, also where it is about to fail).
    #[default]
    Ok,
    /// A probe or monitor found the resource stopped.
    NotRunning,
    /// The agent said that it failed.
    Failed,
    /// It did not end in time.
    Timeout,
    /// It could not be run at all.
    Error,
    /// It was cancelled.
    Cancelled,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::NotRunning, Self::Failed, Self::Timeout, Self::Error, Self::Cancelled];

    /// As in the document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotRunning => "not_running",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether an operator should look at it.
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::Timeout | Self::Error)
    }
}

/// A program of this node that talks to the cluster through the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tool {
    /// Process.
    pub pid: u32,
    /// Account name.
    pub user: String,
    /// IPC server that it talks to, for example `cib_rw`.
    pub server: String,
    /// Session at the cluster.
    pub session: String,
    /// The connection that carries it, as in [`Peer::client`].
    pub client: Option<u64>,
    /// When it connected.
    pub connected_at: u64,
    /// Requests that the cluster has not answered yet.
    pub outstanding: u64,
}

/// What the daemon proves its identity with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Credentials {
    /// `key` (pre-shared) or `certificate`.
    pub kind: String,
    /// File.
    pub path: String,
    /// SHA-256 of the key file or of the certificate, lower-case hex.
    pub sha256: String,
    /// When the file was last changed.
    pub modified_at: Option<u64>,
    /// Subject of the certificate.
    pub subject: Option<String>,
    /// When the certificate expires.
    pub expires_at: Option<u64>,
    /// When the list of revoked certificates is due for renewal.
    pub crl_next_update_at: Option<u64>,
    /// What is wrong with the files as they are now, while older content stays in use.
    pub problem: Option<String>,
}

/// What happened since the daemon started. Counters only grow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Requests of the cluster, by kind.
    pub requests: BTreeMap<String, u64>,
    /// Runs of agents, by action; what is no usual action counts as `other`.
    pub actions: BTreeMap<String, ActionCounters>,
    /// The cluster's side of the network.
    pub net: NetCounters,
    /// The thread that decides and serves.
    pub event_loop: LoopCounters,
}

/// Runs of one action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActionCounters {
    /// How they ended.
    pub results: BTreeMap<Verdict, u64>,
    /// How many of them took at most so long (see [`BUCKETS_MS`]) and longer than the bucket before; the last
    /// entry is for all that took longer.
    pub buckets: Vec<u64>,
    /// Time they took in all.
    pub total_ms: u64,
}

/// The cluster's side of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetCounters {
    /// Handshakes that succeeded.
    pub handshakes_ok: u64,
    /// Handshakes that failed, by reason.
    pub handshakes_failed: BTreeMap<String, u64>,
    /// Messages of peers.
    pub messages_in: u64,
    /// Messages to peers.
    pub messages_out: u64,
    /// Bytes of peers' messages.
    pub bytes_in: u64,
    /// Bytes of messages to peers.
    pub bytes_out: u64,
}

/// How promptly the thread that decides and serves gets to its work.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoopCounters {
    /// How much later than wished it last woke up (looked at every few seconds).
    pub lag_us: u64,
    /// The worst of these.
    pub lag_max_us: u64,
    /// Longest time that one event took.
    pub turn_max_us: u64,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
