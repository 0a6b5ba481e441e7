//! The values that every floor shares: identifiers, results, parameters.

use std::fmt;

/// Name of a resource as the cluster registered it, clone instance suffix included.
///
/// Never empty. Compared case-sensitively for look-up, as Pacemaker does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId(Box<str>);

impl ResourceId {
    /// `None` when the name is empty.
    pub fn new(name: impl Into<Box<str>>) -> Option<Self> {
        let name = name.into();
        (!name.is_empty()).then_some(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which agent a resource uses: `class[:provider]:type` in Pacemaker's notation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AgentSpec {
    /// Agent class, for example `ocf` or `systemd`.
    pub class: String,
    /// Provider, for classes that have one.
    pub provider: Option<String>,
    /// Agent type, for example `Dummy` or a unit's name.
    pub kind: String,
}

impl fmt::Display for AgentSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.provider {
            Some(provider) => write!(f, "{}:{provider}:{}", self.class, self.kind),
            None => write!(f, "{}:{}", self.class, self.kind),
        }
    }
}

/// Names and values in the order in which the peer sent them.
pub type Params = Vec<(String, String)>;

/// Exit code of an agent in OCF terms, as reported in `lrmd_exec_rc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OcfRc(pub i32);

impl OcfRc {
    /// Success.
    pub const OK: Self = Self(0);
    /// Generic error.
    pub const UNKNOWN_ERROR: Self = Self(1);
    /// Invalid parameter on this node.
    pub const INVALID_PARAM: Self = Self(2);
    /// The agent does not implement the action.
    pub const UNIMPLEMENT_FEATURE: Self = Self(3);
    /// Insufficient privileges.
    pub const INSUFFICIENT_PRIV: Self = Self(4);
    /// Agent or its software is not installed.
    pub const NOT_INSTALLED: Self = Self(5);
    /// Not configured, wherever it would run.
    pub const NOT_CONFIGURED: Self = Self(6);
    /// Cleanly stopped.
    pub const NOT_RUNNING: Self = Self(7);
    /// Running in the promoted role.
    pub const RUNNING_PROMOTED: Self = Self(8);
    /// Failed in the promoted role.
    pub const FAILED_PROMOTED: Self = Self(9);
    /// Running, but about to fail.
    pub const DEGRADED: Self = Self(190);
    /// Promoted, but about to fail.
    pub const DEGRADED_PROMOTED: Self = Self(191);
    /// No result yet.
    pub const UNKNOWN: Self = Self(193);
}

/// How the execution itself went (`lrmd_exec_op_status`), beside the agent's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum ExecStatus {
    /// Not known.
    Unknown = -2,
    /// Still going on.
    Pending = -1,
    /// The agent ran to its end.
    Done = 0,
    /// Cancelled on request.
    Cancelled = 1,
    /// Did not end within its timeout.
    Timeout = 2,
    /// The agent class or action is not supported here.
    NotSupported = 3,
    /// Could not be executed or died by a signal; may be retried on this node.
    Error = 4,
    /// Failed in a way that rules this node out.
    ErrorHard = 5,
    /// Failed in a way that rules every node out.
    ErrorFatal = 6,
    /// The agent is not installed.
    NotInstalled = 7,
    /// No connection to the executor.
    NotConnected = 8,
    /// The request made no sense.
    Invalid = 9,
    /// No device for the fencing target.
    NoFenceDevice = 10,
    /// Secret parameters could not be read.
    NoSecrets = 11,
}

impl ExecStatus {
    /// The number on the wire.
    pub fn code(self) -> i32 {
        i32::from(self as i8)
    }

    /// The status with this number, if there is one.
    pub fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            -2 => Self::Unknown,
            -1 => Self::Pending,
            0 => Self::Done,
            1 => Self::Cancelled,
            2 => Self::Timeout,
            3 => Self::NotSupported,
            4 => Self::Error,
            5 => Self::ErrorHard,
            6 => Self::ErrorFatal,
            7 => Self::NotInstalled,
            8 => Self::NotConnected,
            9 => Self::Invalid,
            10 => Self::NoFenceDevice,
            11 => Self::NoSecrets,
            _ => return None,
        })
    }
}
