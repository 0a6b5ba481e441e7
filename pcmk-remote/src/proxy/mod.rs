//! Local tools and the cluster's services: who talks to whom, without doing any of it.
//!
//! A tool that opens one of the cluster's IPC names here gets a *session* with the cluster node that
//! provides the cluster's services at that moment, and keeps it with that node. [`Proxy::handle`] takes
//! what happened ([`Input`]) and returns what to do ([`Action`]); it never opens a socket.
//!
//! Rules that hold after every input:
//! * each tool that connects is accepted or refused, once;
//! * a session's provider hears `new` first, then its requests in order, and `destroy` once, last;
//! * nobody but a session's own provider reaches its tool;
//! * the tools of a provider that is gone are told so at once.

pub mod attributes;
pub mod schemas;
mod sessions;

#[cfg(any(test, fuzzing))]
pub mod sim;
#[cfg(test)]
mod tests;

pub use self::sessions::Proxy;

use pcmk_proto::lrmd::{IpcForward, ProxyNotify};
use pcmk_proto::qb::IpcName;
use pcmk_proto::xml::Element;

use crate::caller::Caller;
use crate::ids::{ClientId, ToolId};

/// No cluster is connected, or there is no such service on this node (`EREMOTEIO`).
pub const NOT_HERE: i32 = -121;
/// The caller is none of those who may talk to the cluster (`EACCES`).
pub const NOT_ALLOWED: i32 = -13;
/// Too many tools (`EAGAIN`: they may try again).
pub const TOO_MANY: i32 = -11;

/// What the proxy may hold.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Most sessions at a time.
    pub max_sessions: usize,
    /// Most requests of one tool that wait for their response.
    pub max_waiting: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_sessions: 4096, max_waiting: 1024 }
    }
}

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A tool wants to connect.
    Connecting {
        /// Which.
        tool: ToolId,
        /// Whom it wants to talk to.
        server: IpcName,
        /// Who it is.
        caller: Caller,
        /// Name of its session, should it get one (a UUID).
        session: String,
        /// The cluster node that provides the cluster's services now.
        provider: Option<ClientId>,
    },
    /// A tool asks something.
    Request {
        /// Which.
        tool: ToolId,
        /// Its number for this request.
        msg_id: i32,
        /// What it said of the request.
        flags: u32,
        /// What.
        payload: Element,
    },
    /// A tool is gone.
    Closed {
        /// Which.
        tool: ToolId,
    },
    /// A client speaks to a tool.
    Forward {
        /// Who.
        from: ClientId,
        /// What it says.
        forward: IpcForward,
    },
    /// A client is gone.
    ClientGone {
        /// Which.
        client: ClientId,
    },
    /// A tool asks for more than can be passed on.
    Overflow {
        /// Which.
        tool: ToolId,
    },
}

/// Something to do, in the order given.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Let a tool in.
    Accept {
        /// Which.
        tool: ToolId,
    },
    /// Turn a tool away.
    Refuse {
        /// Which.
        tool: ToolId,
        /// The negative error number that it gets.
        errno: i32,
    },
    /// Answer a tool's request.
    Respond {
        /// Which.
        tool: ToolId,
        /// The number of its request.
        msg_id: i32,
        /// The answer.
        payload: Element,
    },
    /// Tell a tool something that it did not ask.
    Event {
        /// Which.
        tool: ToolId,
        /// What.
        payload: Element,
    },
    /// End the connection of a tool.
    Close {
        /// Which.
        tool: ToolId,
    },
    /// Tell a provider.
    Send {
        /// Which.
        to: ClientId,
        /// What.
        message: ProxyNotify,
    },
}
