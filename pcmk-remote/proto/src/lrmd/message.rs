//! What the executor says: replies and notifications.

use crate::types::{AgentSpec, ExecStatus, OcfRc, Params, ResourceId};
use crate::xml::Element;

/// One message from the daemon to a client.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Answer to one request.
    Reply(Reply),
    /// Told to every client that has a name.
    Notify(Notify),
    /// IPC proxy traffic towards the cluster.
    Proxy(ProxyNotify),
}

/// Answer to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// `lrmd_origin`: informational.
    pub origin: String,
    /// 0 or a call id, or a negative errno.
    pub rc: i32,
    /// The daemon's counter of requests.
    pub call_id: i32,
    /// Number of the request that this answers.
    pub msg_id: i64,
    /// What the operation adds.
    pub body: ReplyBody,
}

/// What an operation adds to its reply.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyBody {
    /// Nothing.
    Plain,
    /// Answer to `register`.
    Registered {
        /// Token for the client.
        client_id: String,
        /// Our protocol version.
        protocol_version: String,
        /// Seconds since the daemon started (releases from 2.1.8 on).
        uptime_s: Option<u64>,
        /// `PCMK_node_start_state`, where it is set.
        node_start_state: Option<String>,
    },
    /// Answer to `lrmd_rsc_info`.
    ResourceInfo {
        /// Resource name.
        id: ResourceId,
        /// Its agent.
        agent: AgentSpec,
    },
    /// Answer to `lrmd_get_recurring`.
    Recurring(Vec<RecurringOps>),
}

/// Recurring operations of one resource.
#[derive(Debug, Clone, PartialEq)]
pub struct RecurringOps {
    /// Resource name.
    pub id: ResourceId,
    /// Each operation: action, interval and timeout in milliseconds.
    pub ops: Vec<(String, u32, u32)>,
}

/// An unsolicited message.
#[derive(Debug, Clone, PartialEq)]
pub enum Notify {
    /// Another client connected.
    NewClient {
        /// `lrmd_origin`: informational.
        origin: String,
    },
    /// A request of some client was carried out: register, unregister, poke.
    Done {
        /// `lrmd_origin`: informational.
        origin: String,
        /// Result of the request.
        rc: i32,
        /// Call id of the request.
        call_id: i32,
        /// Operation: `lrmd_rsc_register`, `lrmd_rsc_unregister` or `lrmd_rsc_poke`.
        op: String,
        /// Resource concerned.
        id: Option<ResourceId>,
    },
    /// Result of an operation.
    Result(Box<OpResult>),
}

/// Result of one run of an operation (`lrmd_rsc_exec` notification).
#[derive(Debug, Clone, PartialEq)]
pub struct OpResult {
    /// `lrmd_origin`: informational.
    pub origin: String,
    /// Timeout as requested, milliseconds.
    pub timeout_ms: u32,
    /// Interval as requested, milliseconds.
    pub interval_ms: u32,
    /// Start delay as requested, milliseconds.
    pub start_delay_ms: u32,
    /// Exit code in OCF terms.
    pub rc: OcfRc,
    /// How the execution went.
    pub status: ExecStatus,
    /// Call id that the exec reply gave.
    pub call_id: i32,
    /// The resource was unregistered meanwhile.
    pub rsc_deleted: bool,
    /// Epoch seconds when the run began; 0 if it never ran.
    pub run_time: u64,
    /// Epoch seconds of the last change of the exit code; 0 if it never changed from 0.
    pub rcchange_time: u64,
    /// Milliseconds that the run took.
    pub exec_time_ms: u64,
    /// Milliseconds between queueing and the run.
    pub queue_time_ms: u64,
    /// Resource name.
    pub id: ResourceId,
    /// Action as requested.
    pub action: String,
    /// Opaque text of the request.
    pub userdata: Option<String>,
    /// Last exit reason that an OCF agent gave.
    pub exit_reason: Option<String>,
    /// Standard error if there was any, else standard output.
    pub output: Option<String>,
    /// Parameters of the request, in order.
    pub params: Params,
}

/// IPC proxy traffic towards the cluster.
#[derive(Debug, Clone, PartialEq)]
pub enum ProxyNotify {
    /// A local tool connected.
    New {
        /// Session id.
        session: String,
        /// IPC server that the tool asked for.
        server: String,
    },
    /// A local tool asks something.
    Request {
        /// Session id.
        session: String,
        /// Name made up for the tool.
        client: String,
        /// Account of the tool.
        user: String,
        /// The tool's request number.
        msg_id: i64,
        /// The tool's flags.
        flags: u32,
        /// The element that the tool sent.
        payload: Element,
    },
    /// A local tool left.
    Destroy {
        /// Session id.
        session: String,
    },
    /// This node wants to stop: the cluster should move its resources away.
    ShutdownRequest,
}
