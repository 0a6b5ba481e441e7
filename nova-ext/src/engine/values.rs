//! What goes into the engine and what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::flapping::Record;
use super::journal::{Event, Outcome};
use crate::ids::{HostName, IncidentId, MigrationId, ServerId, ServiceId};
use crate::plan::{Inventory, VmState};
use crate::proof::FenceProof;
use crate::stamp::Stamp;

/// Time since the engine began; no clock that somebody can set.
pub type Mono = Duration;

/// The time, of both kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For decisions.
    pub mono: Mono,
    /// For what people read.
    pub wall: Stamp,
}

/// A host whose servers are to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The host.
    pub host: HostName,
    /// The incident, if it has a name already.
    pub incident: IncidentId,
    /// That it is off.
    pub proof: FenceProof,
    /// Who asks.
    pub by: String,
}

/// What is worked on: requests for it wait.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maintenance {
    /// All of the cloud.
    pub whole: bool,
    /// These hosts.
    pub hosts: BTreeSet<HostName>,
}

impl Maintenance {
    /// Whether this host is worked on.
    pub fn holds(&self, host: &HostName) -> bool {
        self.whole || self.hosts.contains(host)
    }
}

/// What the engine says to a request at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It has taken it up under this name.
    TakenUp(IncidentId),
    /// It is at it already, under this name.
    Already(IncidentId),
    /// It was at it, and that has ended.
    Ended(Outcome),
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What went wrong, for people.
    pub why: String,
    /// Trying again makes no sense.
    pub hopeless: bool,
    /// The cloud cannot keep up.
    pub overload: bool,
}

/// What a call that reads something brought.
pub type Read<T> = Result<T, Trouble>;

/// What a failed request for an evacuation has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: it never left.
    NotSent,
    /// Nothing: Nova said no.
    Refused,
    /// Perhaps everything.
    Unheard,
}

/// A request for an evacuation that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostFailed {
    /// What it has done.
    pub fate: Fate,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// What went wrong, for people.
    pub why: String,
    /// Nova's id of the request.
    pub request_id: Option<String>,
}

/// A compute service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// Its id.
    pub id: ServiceId,
    /// Whether somebody has forced it down.
    pub forced_down: bool,
    /// Whether Nova schedules on it.
    pub enabled: bool,
}

/// The control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlPlane {
    /// Schedulers that are up.
    pub schedulers: usize,
    /// Conductors that are up.
    pub conductors: usize,
    /// Computes in all.
    pub computes: usize,
}

/// How far an evacuation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowState {
    /// Asked for; nobody has begun.
    Accepted,
    /// Under way, or in a state that this version does not know.
    Alive,
    /// Its server is on the destination.
    Moved,
    /// Its server is on the destination, and the source has been there since and cleaned up.
    Completed,
    /// It did not work.
    Failed,
}

impl RowState {
    /// Nova's word for it. A word that is not known may mean that it is alive.
    pub fn parse(status: &str) -> Self {
        match status {
            "accepted" => Self::Accepted,
            "done" => Self::Moved,
            "completed" => Self::Completed,
            "failed" | "error" | "cancelled" => Self::Failed,
            _ => Self::Alive,
        }
    }

    /// Whether it may still do something.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Accepted | Self::Alive)
    }
}

/// An evacuation in Nova's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its number: larger is later.
    pub number: i64,
    /// Its id, where Nova tells it.
    pub id: Option<MigrationId>,
    /// Its server.
    pub server: ServerId,
    /// Nova's word for how far it is.
    pub status: String,
    /// Where it goes.
    pub destination: Option<HostName>,
}

/// The servers whose last evacuation failed.
pub(super) fn tried(rows: &[Row]) -> BTreeSet<ServerId> {
    let mut last: BTreeMap<ServerId, (i64, RowState)> = BTreeMap::new();
    for row in rows {
        let known = last.entry(row.server).or_insert((row.number, RowState::Alive));
        if row.number >= known.0 {
            *known = (row.number, RowState::parse(&row.status));
        }
    }
    last.into_iter().filter(|(_, (_, state))| *state == RowState::Failed).map(|(server, _)| server).collect()
}

/// One server, looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Where Nova has it.
    pub host: Option<HostName>,
    /// What Nova takes it for.
    pub vm_state: VmState,
    /// What Nova is doing with it.
    pub task_state: Option<String>,
    /// What went wrong with it last.
    pub fault: Option<String>,
    /// Whether its owner had stopped it before it was evacuated; looked up only when asked for.
    pub was_stopped: Option<bool>,
}

/// Where hooks are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Before Nova is told that the host is down.
    BeforeForceDown,
    /// After it.
    AfterForceDown,
    /// A server is as it was, elsewhere.
    ServerDone,
    /// A server could not be moved.
    ServerFailed,
    /// The incident has ended.
    End,
}

impl Point {
    /// Its name for hooks and in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeForceDown => "before-force-down",
            Self::AfterForceDown => "after-force-down",
            Self::ServerDone => "server-done",
            Self::ServerFailed => "server-failed",
            Self::End => "end",
        }
    }

    /// Whether the engine waits for it.
    pub fn is_waited_for(self) -> bool {
        matches!(self, Self::BeforeForceDown | Self::AfterForceDown)
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Somebody asks for a host.
    Request(Request),
    /// Nova says that something has happened to a server. A hint: what is true is read.
    Heard {
        /// The server.
        server: ServerId,
    },
    /// The host's service was read, or changed and read.
    Service {
        /// Whose.
        incident: IncidentId,
        /// What it says, and the request's id.
        read: Read<(ServiceView, Option<String>)>,
    },
    /// Everything about the host was read: first its migrations, then its servers.
    Inventory {
        /// Whose.
        incident: IncidentId,
        /// When reading began.
        begun: Mono,
        /// What it says.
        read: Read<(Inventory, Vec<Row>)>,
    },
    /// The evacuations from the host were read.
    Rows {
        /// Whose.
        incident: IncidentId,
        /// When reading began.
        begun: Mono,
        /// All of them, or those that are alive or have changed since the last reading.
        read: Read<Vec<Row>>,
    },
    /// A request for an evacuation was answered.
    Posted {
        /// Whose.
        incident: IncidentId,
        /// Which server.
        server: ServerId,
        /// How long it took.
        took: Duration,
        /// Nova's id of the request.
        result: Result<Option<String>, PostFailed>,
    },
    /// A server was looked at; nothing: Nova does not know it.
    Looked {
        /// Whose.
        incident: IncidentId,
        /// Which server.
        server: ServerId,
        /// What it says.
        read: Read<Option<Look>>,
    },
    /// A server's state was reset, or it was told to start or stop.
    Told {
        /// Whose.
        incident: IncidentId,
        /// Which server.
        server: ServerId,
        /// Whether Nova took it.
        read: Read<()>,
    },
    /// The control plane was looked at.
    Control(Read<ControlPlane>),
    /// A proof was looked for again.
    Proof {
        /// The host.
        host: HostName,
        /// When looking began.
        begun: Mono,
        /// The proof that holds; none if the host is not known to be off any more.
        read: Read<Option<FenceProof>>,
    },
    /// A host was powered on, or is about to be: proofs of before do not hold any more.
    PoweredOn {
        /// The host.
        host: HostName,
        /// When.
        since: Stamp,
    },
    /// What another controller knows of a host's failures.
    Failures {
        /// The host.
        host: HostName,
        /// What is known.
        record: Record,
    },
    /// Hooks that are waited for have run.
    Hooked {
        /// Whose.
        incident: IncidentId,
        /// At which point.
        point: Point,
        /// One that must succeed has failed.
        stop: Option<String>,
    },
    /// The operator's switches.
    Switches {
        /// Why everything is frozen, if it is.
        frozen: Option<String>,
        /// Hosts in maintenance.
        maintenance: Maintenance,
        /// The operator has looked at it: so many hosts are really down.
        go_ahead: BTreeSet<HostName>,
        /// Hosts that the operator has released from quarantine.
        released: Vec<HostName>,
    },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Write it down. On disk before the actions that follow are carried out.
    Record(IncidentId, Event),
    /// Read the host's service.
    ReadService {
        /// Whose.
        incident: IncidentId,
        /// The host.
        host: HostName,
    },
    /// Tell Nova that the host is down, and why it is disabled.
    ForceDown {
        /// Whose.
        incident: IncidentId,
        /// The service.
        service: ServiceId,
        /// For people.
        reason: String,
    },
    /// Read everything about the host: first its migrations, then its servers.
    TakeInventory {
        /// Whose.
        incident: IncidentId,
        /// The host.
        host: HostName,
    },
    /// Read the evacuations from the host.
    ReadRows {
        /// Whose.
        incident: IncidentId,
        /// The host.
        host: HostName,
    },
    /// Ask for an evacuation, once.
    Post {
        /// Whose.
        incident: IncidentId,
        /// Which server.
        server: ServerId,
        /// That its host is off.
        proof: Arc<FenceProof>,
    },
    /// Look at a server.
    Look {
        /// Whose.
        incident: IncidentId,
        /// Which server.
        server: ServerId,
        /// Find out as well whether its owner had stopped it.
        history: bool,
    },
    /// Reset a server's state to active.
    Reset {
        /// Whose.
        incident: IncidentId,
        /// Which server.
        server: ServerId,
    },
    /// Start a server.
    Start {
        /// Whose.
        incident: IncidentId,
        /// Which server.
        server: ServerId,
    },
    /// Stop a server.
    Stop {
        /// Whose.
        incident: IncidentId,
        /// Which server.
        server: ServerId,
    },
    /// Look at the control plane.
    ReadControl,
    /// Look whether the host is still off.
    CheckProof {
        /// The host.
        host: HostName,
    },
    /// Run hooks.
    Hook {
        /// Whose.
        incident: IncidentId,
        /// The host.
        host: HostName,
        /// At which point.
        point: Point,
        /// For which server, and where it is now.
        server: Option<(ServerId, Option<HostName>)>,
    },
}
