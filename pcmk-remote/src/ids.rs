//! Numbers by which the floors speak of a connection, a local tool or a running operation.

use std::fmt;

/// One client of the executor, never reused: an authenticated connection, or a local tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// One connection of a local tool, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ToolId(pub u64);

impl ClientId {
    /// Numbers from here on are local tools'. Connections are counted from 1.
    const LOCAL: u64 = 1 << 63;

    /// The name of a tool that is a client of the executor itself.
    pub const fn local(tool: ToolId) -> Self {
        Self(tool.0 | Self::LOCAL)
    }

    /// The tool that this client is.
    pub const fn tool(self) -> Option<ToolId> {
        if self.0 & Self::LOCAL == 0 { None } else { Some(ToolId(self.0 & !Self::LOCAL)) }
    }
}

impl ToolId {
    /// Numbers from here on are the daemon's own. Connections are counted from 0.
    const OWN: u64 = 1 << 62;

    /// The name of a session that the daemon itself opens, the `n`-th.
    pub const fn own(n: u64) -> Self {
        Self(n | Self::OWN)
    }

    /// Whether it is the daemon itself.
    pub const fn is_own(self) -> bool {
        self.0 & Self::OWN != 0
    }
}

/// One run of an agent, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client-{}", self.0)
    }
}

impl fmt::Display for ToolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tool-{}", self.0)
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op-{}", self.0)
    }
}
