//! What a client asks of the executor.

use crate::types::{AgentSpec, Params, ResourceId};
use crate::xml::Element;

/// One request, as any supported release sends it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// `lrmd_remote_msg_id`: the reply must carry the same number.
    pub msg_id: i64,
    /// `lrmd_clientname`: a client that has sent it once receives notifications.
    pub client_name: Option<String>,
    /// `lrmd_async_id`: the token of releases up to 2.1; never verified.
    pub token: Option<String>,
    /// `lrmd_timeout` of the envelope: how long the peer waits for the call, milliseconds.
    pub call_timeout_ms: Option<i64>,
    /// `lrmd_callopt` of the envelope.
    pub options: Option<CallOptions>,
    /// How this peer writes its requests; kept so that a request can be written back as it came.
    pub style: Style,
    /// What is asked.
    pub operation: Operation,
}

/// Marks in the envelope that differ between releases and carry no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// `__name__` repeated as an attribute (releases up to 2.1.7).
    pub name_attribute: bool,
    /// `t="lrmd"` present (absent on forwarded IPC).
    pub t_attribute: bool,
}

/// `lrmd_callopt`, a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallOptions(pub i64);

impl CallOptions {
    /// Exec: tell only the client that asked.
    pub fn notify_orig_only(self) -> bool {
        self.0 & 2 != 0
    }

    /// Register: recurring operations end when the last client leaves.
    pub fn drop_recurring(self) -> bool {
        self.0 & 3 == 3
    }

    /// Exec: report a recurring operation only when its result changes.
    pub fn notify_changes_only(self) -> bool {
        self.0 & 4 != 0
    }
}

/// The operation of a request. Attributes that a peer left out are `None`: the executor decides what
/// to answer to that.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// `register`: the client introduces itself.
    Register {
        /// `lrmd_protocol_version`; missing means "1.0".
        protocol_version: Option<String>,
        /// `lrmd_is_ipc_provider`, as written by the peer.
        is_ipc_provider: Option<bool>,
    },
    /// `lrmd_rsc_register`.
    ResourceRegister {
        /// `lrmd_origin` of the peer: informational.
        origin: Option<String>,
        /// Resource name.
        id: Option<ResourceId>,
        /// Agent, empty strings where the peer left an attribute out.
        agent: AgentSpec,
    },
    /// `lrmd_rsc_info`.
    ResourceInfo {
        /// `lrmd_origin` of the peer: informational.
        origin: Option<String>,
        /// Resource name.
        id: Option<ResourceId>,
    },
    /// `lrmd_rsc_unregister`.
    ResourceUnregister {
        /// `lrmd_origin` of the peer: informational.
        origin: Option<String>,
        /// Resource name.
        id: Option<ResourceId>,
    },
    /// `lrmd_rsc_exec`.
    Exec(Box<ExecRequest>),
    /// `lrmd_rsc_cancel`.
    Cancel {
        /// `lrmd_origin` of the peer: informational.
        origin: Option<String>,
        /// Action of the operation to cancel.
        action: Option<String>,
        /// Resource name.
        id: Option<ResourceId>,
        /// Interval of the operation to cancel, milliseconds.
        interval_ms: u32,
    },
    /// `lrmd_rsc_poke`: the heartbeat.
    Poke {
        /// `lrmd_origin` of the peer: informational.
        origin: Option<String>,
    },
    /// `lrmd_check`: does this node meet the cluster's settings?
    Check {
        /// `lrmd_origin` of the peer: informational.
        origin: Option<String>,
        /// The cluster's watchdog timeout in Pacemaker's interval syntax.
        watchdog: Option<String>,
    },
    /// `lrmd_get_recurring`.
    Recurring {
        /// `lrmd_origin` of the peer, where it sent a filter.
        origin: Option<String>,
        /// Only this resource.
        id: Option<ResourceId>,
    },
    /// `lrmd_alert_exec`.
    Alert(Box<AlertRequest>),
    /// `ipc_fwd`: the cluster's side of the IPC proxy.
    IpcForward(Box<IpcForward>),
    /// An operation that this release does not know.
    Other(String),
}

/// Payload of `lrmd_rsc_exec`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExecRequest {
    /// `lrmd_origin` of the peer: informational.
    pub origin: Option<String>,
    /// Resource name.
    pub id: Option<ResourceId>,
    /// Action to run.
    pub action: Option<String>,
    /// Opaque text that the result must carry unchanged (the transition key).
    pub userdata: Option<String>,
    /// 0 for one-shot operations, milliseconds.
    pub interval_ms: u32,
    /// Timeout of the action itself, milliseconds; 0 is no limit.
    pub timeout_ms: u32,
    /// Wait before the first run, milliseconds.
    pub start_delay_ms: u32,
    /// Parameters, in order.
    pub params: Params,
}

/// Payload of `lrmd_alert_exec`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlertRequest {
    /// `lrmd_origin` of the peer: informational.
    pub origin: Option<String>,
    /// Alert id.
    pub id: Option<String>,
    /// Program to run.
    pub path: Option<String>,
    /// Milliseconds.
    pub timeout_ms: u32,
    /// Environment of the program.
    pub params: Params,
}

/// `ipc_fwd`: what the cluster sends to a local tool.
#[derive(Debug, Clone, PartialEq)]
pub struct IpcForward {
    /// `lrmd_ipc_op`.
    pub kind: IpcForwardKind,
    /// `lrmd_ipc_session`, absent on the answers to a shutdown request.
    pub session: Option<String>,
    /// `lrmd_ipc_msg_id`.
    pub msg_id: Option<i64>,
    /// The element inside `lrmd_ipc_msg`.
    pub payload: Option<Element>,
}

/// `lrmd_ipc_op` of a forwarded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IpcForwardKind {
    /// Answer to a tool's request.
    Response,
    /// Unsolicited message for a tool.
    Event,
    /// End of a session.
    Destroy,
    /// The cluster will stop our resources and then disconnect.
    ShutdownAck,
    /// The cluster refuses: stop without waiting.
    ShutdownNack,
    /// Anything else.
    Other(String),
}
