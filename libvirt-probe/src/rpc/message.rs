//! The calls that are made, what is answered, and the events that are heard.
//!
//! Numbers and layouts: `remote_protocol.x` of libvirt. Numbers are only ever added there.

use bytes::BytesMut;

use super::PeerError;
use super::xdr::{Reader, UUID_LEN, Writer};

/// Most domains in one list.
pub const DOMAINS_MAX: usize = 16384;
/// Most values of one domain.
const VALUES_MAX: usize = 4096;
/// Most ways to authenticate.
const AUTH_MAX: usize = 20;

/// One call: what it is called, what it carries, how its answer reads.
pub trait Procedure {
    /// Its number.
    const NUMBER: u32;
    /// What it is for, in words.
    const NAME: &'static str;
    /// What is answered.
    type Reply;

    /// Writes its arguments.
    fn write(&self, to: &mut Writer<'_>) {
        let _ = to;
    }

    /// Reads its answer.
    fn read(from: &mut Reader<'_>) -> Result<Self::Reply, PeerError>;
}

/// A domain as calls and events name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: [u8; UUID_LEN],
    /// Its number; negative if it does not run.
    pub id: i32,
}

impl Name {
    /// Shortest on the wire.
    const SIZE: usize = 4 + UUID_LEN + 4;

    fn read(from: &mut Reader<'_>) -> Result<Self, PeerError> {
        let name = from.string("a domain's name")?;
        let uuid = from.uuid("a domain's UUID")?;
        let id = from.i32("a domain's number")?;
        Ok(Self { name, uuid, id })
    }

    fn write(&self, to: &mut Writer<'_>) {
        to.string(&self.name);
        to.uuid(&self.uuid);
        to.i32(self.id);
    }
}

/// How clients may authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthList;

/// A way to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Nothing to do.
    None,
    /// With a user name and a password.
    Sasl,
    /// polkit is asked who we are.
    Polkit,
    /// One that came later.
    Other(i32),
}

impl Procedure for AuthList {
    const NUMBER: u32 = 66;
    const NAME: &'static str = "ways to authenticate";
    type Reply = Vec<Auth>;

    fn read(from: &mut Reader<'_>) -> Result<Self::Reply, PeerError> {
        let count = from.count("ways to authenticate", AUTH_MAX, 4)?;
        let kind = |number| match number {
            0 => Auth::None,
            1 => Auth::Sasl,
            2 => Auth::Polkit,
            other => Auth::Other(other),
        };
        (0..count).map(|_| from.i32("a way to authenticate").map(kind)).collect()
    }
}

/// Lets polkit decide; answered when it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthPolkit;

impl Procedure for AuthPolkit {
    const NUMBER: u32 = 70;
    const NAME: &'static str = "authentication by polkit";
    type Reply = bool;

    fn read(from: &mut Reader<'_>) -> Result<Self::Reply, PeerError> {
        from.i32("complete").map(|complete| complete != 0)
    }
}

/// Whether the daemon has pings; it starts with its own when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HasPings;

impl Procedure for HasPings {
    const NUMBER: u32 = 60;
    const NAME: &'static str = "a question for pings";
    type Reply = bool;

    fn write(&self, to: &mut Writer<'_>) {
        to.i32(10);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self::Reply, PeerError> {
        from.i32("supported").map(|supported| supported != 0)
    }
}

/// Opens a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Its URI, as the daemon sees it.
    pub uri: String,
    /// Changes nothing.
    pub read_only: bool,
}

impl Procedure for Open {
    const NUMBER: u32 = 1;
    const NAME: &'static str = "opening the driver";
    type Reply = ();

    fn write(&self, to: &mut Writer<'_>) {
        to.optional_string(Some(&self.uri));
        to.u32(self.read_only.into());
    }

    fn read(_: &mut Reader<'_>) -> Result<(), PeerError> {
        Ok(())
    }
}

/// Version of the daemon's library: the cheapest call there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LibVersion;

/// A version: 1,000,000 × major + 1,000 × minor + release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0 / 1_000_000, self.0 / 1000 % 1000, self.0 % 1000)
    }
}

impl Procedure for LibVersion {
    const NUMBER: u32 = 157;
    const NAME: &'static str = "libvirt's version";
    type Reply = Version;

    fn read(from: &mut Reader<'_>) -> Result<Self::Reply, PeerError> {
        from.u64("version").map(Version)
    }
}

/// All domains, by a worker for short calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListDomains {
    /// Only those that run or are paused.
    pub active: bool,
}

impl Procedure for ListDomains {
    const NUMBER: u32 = 273;
    const NAME: &'static str = "the list of domains";
    type Reply = Vec<Name>;

    fn write(&self, to: &mut Writer<'_>) {
        to.i32(1);
        to.u32(self.active.into());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self::Reply, PeerError> {
        let count = from.count("list of domains", DOMAINS_MAX, Name::SIZE)?;
        let list = (0..count).map(|_| Name::read(from)).collect();
        from.u32("number of domains")?;
        list
    }
}

/// State of one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetState(pub Name);

/// A state and its reason, in libvirt's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct State {
    /// The state.
    pub state: i32,
    /// Why.
    pub reason: i32,
}

impl Procedure for GetState {
    const NUMBER: u32 = 212;
    const NAME: &'static str = "a domain's state";
    type Reply = State;

    fn write(&self, to: &mut Writer<'_>) {
        self.0.write(to);
        to.u32(0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self::Reply, PeerError> {
        Ok(State { state: from.i32("state")?, reason: from.i32("reason")? })
    }
}

/// States of all domains in one call. Of those used here, the only one that ordinary workers do: it is
/// answered only if there are any left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllStates {
    /// Only those that run or are paused.
    pub active: bool,
}

/// A domain and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainState {
    /// Which.
    pub domain: Name,
    /// Its state.
    pub state: State,
}

impl Procedure for AllStates {
    const NUMBER: u32 = 344;
    const NAME: &'static str = "the states of all domains";
    type Reply = Vec<DomainState>;

    fn write(&self, to: &mut Writer<'_>) {
        // No list of domains, which means all; the group with the state; which of them.
        to.u32(0);
        to.u32(1);
        to.u32(self.active.into());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self::Reply, PeerError> {
        let count = from.count("list of domains", DOMAINS_MAX, Name::SIZE + 4)?;
        (0..count).map(|_| DomainState::read(from)).collect()
    }
}

impl DomainState {
    fn read(from: &mut Reader<'_>) -> Result<Self, PeerError> {
        let domain = Name::read(from)?;
        let mut state = State::default();
        for _ in 0..from.count("list of values", VALUES_MAX, 8)? {
            let field = from.string("a value's name")?;
            let value = number(from)?;
            match (field.as_str(), value) {
                ("state.state", Some(value)) => state.state = value,
                ("state.reason", Some(value)) => state.reason = value,
                _ => {}
            }
        }
        Ok(Self { domain, state })
    }
}

/// A typed value, of which only small numbers are of interest.
fn number(from: &mut Reader<'_>) -> Result<Option<i32>, PeerError> {
    match from.u32("a value's type")? {
        1 | 2 | 6 => from.i32("a value").map(Some),
        3..=5 => from.u64("a value").map(|_| None),
        7 => from.string("a value").map(|_| None),
        value => Err(PeerError::Value { what: "a value's type", value }),
    }
}

/// Whether a domain can be worked with, without asking its monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetControl(pub Name);

/// How a domain's monitor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// What it does: 0 nothing, 1 a job, 2 a command, 3 broken.
    pub state: u32,
    /// Of a broken one: why.
    pub details: u32,
    /// For so many milliseconds.
    pub since: u64,
}

impl Procedure for GetControl {
    const NUMBER: u32 = 229;
    const NAME: &'static str = "the state of a domain's monitor";
    type Reply = Control;

    fn write(&self, to: &mut Writer<'_>) {
        self.0.write(to);
        to.u32(0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self::Reply, PeerError> {
        Ok(Control { state: from.u32("state")?, details: from.u32("details")?, since: from.u64("time")? })
    }
}

/// Asks to be told of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscribe {
    /// Domains that start, stop, pause.
    Lifecycle,
    /// Errors of domains' disks.
    IoError,
}

impl Procedure for Subscribe {
    const NUMBER: u32 = 316;
    const NAME: &'static str = "a subscription to events";
    /// Number of the subscription.
    type Reply = i32;

    fn write(&self, to: &mut Writer<'_>) {
        to.i32(match self {
            Self::Lifecycle => 0,
            Self::IoError => 4,
        });
        // Of all domains.
        to.u32(0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self::Reply, PeerError> {
        from.i32("number of a subscription")
    }
}

/// An error that the daemon answers with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (libvirt's error {code})")]
pub struct Refusal {
    /// libvirt's number.
    pub code: i32,
    /// In its words.
    pub message: String,
}

impl Refusal {
    /// Reads it; what follows the text says nothing more.
    pub fn read(from: &mut Reader<'_>) -> Result<Self, PeerError> {
        let code = from.i32("an error's number")?;
        from.i32("an error's domain")?;
        let message = from.optional_string("an error's text")?;
        from.i32("an error's level")?;
        Ok(Self { code, message: message.unwrap_or_else(|| "an error without a text".into()) })
    }

    /// Not allowed to ask.
    pub fn is_permission(&self) -> bool {
        // Operation denied, authentication failed, cancelled or impossible, access denied.
        matches!(self.code, 29 | 45 | 79 | 88 | 94)
    }

    /// The driver is not there, or knows no such call.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.code, 3 | 5 | 67 | 84)
    }

    /// The domain is not there any more.
    pub fn is_gone(&self) -> bool {
        self.code == 42
    }
}

/// Something that happened to a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It started, stopped, was paused…
    Lifecycle {
        /// Which.
        domain: Name,
        /// What, in libvirt's numbers.
        event: i32,
        /// Why.
        detail: i32,
    },
    /// One of its disks failed.
    IoError {
        /// Which.
        domain: Name,
        /// File or device of the disk.
        path: String,
        /// The disk's name.
        device: String,
        /// What is done about it: 1 the domain is paused.
        action: i32,
    },
}

impl Event {
    /// Reads the body of a message; `None` for those that were not asked for.
    pub fn read(procedure: u32, from: &mut Reader<'_>) -> Result<Option<Self>, PeerError> {
        match procedure {
            318 => {
                from.i32("number of a subscription")?;
                let domain = Name::read(from)?;
                let (event, detail) = (from.i32("event")?, from.i32("detail")?);
                Ok(Some(Self::Lifecycle { domain, event, detail }))
            }
            322 => {
                from.i32("number of a subscription")?;
                let domain = Name::read(from)?;
                let (path, device) = (from.string("path of a disk")?, from.string("name of a disk")?);
                Ok(Some(Self::IoError { domain, path, device, action: from.i32("action")? }))
            }
            _ => Ok(None),
        }
    }

    /// Whether it is bad news: a disk failed, or a domain ended that nobody stopped.
    pub fn is_bad(&self) -> bool {
        match self {
            Self::IoError { action, .. } => *action == 1,
            // Paused by an I/O error; stopped by a crash or with its process gone; crashed.
            Self::Lifecycle { event, detail, .. } => matches!((event, detail), (3, 2) | (5, 2 | 5) | (8, _)),
        }
    }
}

/// A call's body, for those who put it on a stream themselves.
pub fn body<P: Procedure>(call: &P, to: &mut BytesMut) {
    call.write(&mut Writer::new(to));
}
