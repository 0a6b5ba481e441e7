//! The local tools' side: Pacemaker's IPC names on this node.
//!
//! This floor knows nothing of the cluster. It reports [`IpcEvent`]s through one channel and takes
//! answers through an [`IpcHandle`].

mod callers;
mod connection;
mod folder;
mod handle;
mod names;
mod queue;
mod rings;
mod server;
mod sockets;
mod transport;

use std::io;
use std::path::PathBuf;

use pcmk_proto::limits::Limits;
use pcmk_proto::qb::{IpcName, Transport};
use pcmk_proto::xml::Element;

use crate::caller::Caller;
use crate::ids::ToolId;

pub use handle::{IpcCounters, IpcHandle, ToolStatus};
pub use server::{IpcServer, MOST_DESCRIPTORS};

/// What happens on the local tools' side.
#[derive(Debug)]
pub enum IpcEvent {
    /// A tool wants to connect, and waits to be accepted or refused.
    Connecting {
        /// Its name from now on.
        tool: ToolId,
        /// Whom it wants to talk to.
        server: IpcName,
        /// Who it is.
        caller: Caller,
    },
    /// It asks something; only after it was accepted.
    Request {
        /// Who.
        tool: ToolId,
        /// Its number for this request, which the response must carry.
        msg_id: i32,
        /// What it said of the request, less what only concerns the transport.
        flags: u32,
        /// What.
        payload: Element,
    },
    /// It is gone: exactly one for each `Connecting`, whoever ended it.
    Closed {
        /// Who.
        tool: ToolId,
    },
}

/// What an operator or a test may want otherwise.
#[derive(Debug, Clone)]
pub struct IpcOptions {
    /// The names to serve.
    pub names: Vec<IpcName>,
    /// Bounds on received messages.
    pub limits: Limits,
    /// How messages travel (`PCMK_ipc_type`).
    pub transport: Transport,
    /// The largest message that is offered to every tool (`PCMK_ipc_buffer`).
    pub buffer: u32,
    /// Bytes that may wait for one tool to read them.
    pub queue_bytes: usize,
    /// Events that may wait for a tool that takes none.
    pub event_backlog: usize,
    /// Tools at once; by default as many as this process may have descriptors for.
    pub max_tools: Option<usize>,
    /// Where connections have their files.
    pub folder: PathBuf,
    /// The cluster's user, and the group whose members may talk to it.
    pub user: String,
    /// The name of that group, in case there is no such user.
    pub group: String,
}

impl IpcOptions {
    /// The largest buffer that is offered, whatever is asked for: three such per tool.
    pub const LARGEST_BUFFER: u32 = 256 << 20;
}

impl Default for IpcOptions {
    fn default() -> Self {
        Self {
            names: IpcName::ALL.to_vec(),
            limits: Limits::default(),
            transport: Transport::SharedMemory,
            buffer: 128 << 10,
            queue_bytes: 64 << 20,
            event_backlog: 500,
            max_tools: None,
            folder: PathBuf::from("/dev/shm"),
            user: "hacluster".to_owned(),
            group: "haclient".to_owned(),
        }
    }
}

/// Why the local tools' side cannot start.
#[derive(Debug, thiserror::Error)]
pub enum IpcError {
    /// Somebody else serves this name.
    #[error(
        "The IPC name \"{name}\" is taken: a full cluster stack or another pacemaker-remoted is running here"
    )]
    Taken {
        /// Which.
        name: IpcName,
    },
    /// The system refused it.
    #[error("Could not serve the IPC name \"{name}\": {source}")]
    Bind {
        /// Which.
        name: IpcName,
        /// What the system said.
        source: io::Error,
    },
}
