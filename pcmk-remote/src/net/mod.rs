//! The cluster's side: TCP, TLS, frames and XML in; typed requests out, and documents back.
//!
//! This floor knows nothing of resources. It reports [`NetEvent`]s through one channel and takes
//! answers through one [`Outbox`] per connection.

mod connection;
mod failures;
mod handshakes;
mod listener;
mod meter;
mod outbox;
#[cfg(feature = "test-client")]
pub mod test_client;
pub mod tls;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pcmk_proto::limits::Limits;
use pcmk_proto::lrmd::Request;
use tokio::sync::watch;

use crate::ids::ClientId;
use crate::policy::{Policy, Refusal};

pub use listener::{Server, ServerHandle, bind};
pub use meter::Meter;
pub use outbox::Outbox;

/// What happens on the cluster's side.
#[derive(Debug)]
pub enum NetEvent {
    /// A peer has proved that it belongs to the cluster. Nothing more is asked of it: it may run any agent.
    Connected {
        /// Its name from now on.
        client: ClientId,
        /// Where it is and how it proved itself.
        peer: Peer,
        /// Where to put what it shall read.
        outbox: Outbox,
    },
    /// It asks something.
    Request {
        /// Who.
        client: ClientId,
        /// What.
        request: Request,
    },
    /// It asks something that cannot be made out, but it waits for an answer.
    Unreadable {
        /// Who.
        client: ClientId,
        /// Number of the request.
        msg_id: i64,
    },
    /// It is gone: exactly one for each `Connected`, after its last request.
    Closed {
        /// Who.
        client: ClientId,
        /// Why.
        reason: CloseReason,
    },
}

/// The other end of an authenticated connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// How it proved itself.
    pub identity: PeerIdentity,
}

impl Peer {
    /// Whether a policy lets a peer in that proved itself so; its address is asked about before that.
    pub fn admitted_by(&self, policy: &Policy) -> Result<(), Refusal> {
        policy.admit_names(match &self.identity {
            PeerIdentity::Key => None,
            PeerIdentity::Certificate(certificate) => Some(&certificate.names),
        })
    }
}

/// How a peer proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerIdentity {
    /// It has the cluster's key: any node that has it looks the same.
    Key,
    /// It has a certificate of the cluster's authority.
    Certificate(Box<PeerCertificate>),
}

/// What is said of a peer's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Subject, as `CN=controller1,O=Example`.
    pub subject: String,
    /// The names by which policy may know it: DNS names and addresses among its alternative names, then
    /// its common name.
    pub names: Vec<String>,
    /// SHA-256 of the certificate, lower-case hex.
    pub sha256: String,
    /// When it expires, seconds since the epoch.
    pub not_after: u64,
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed it.
    PeerClosed,
    /// We did, through [`Outbox::close`].
    Requested,
    /// The peer sent something that is not the protocol.
    Protocol(String),
    /// The peer stopped in the middle of a message.
    PeerStalled,
    /// The peer stopped reading what we sent.
    PeerStoppedReading,
    /// The network or TLS failed.
    Lost(String),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("closed by the peer"),
            Self::Requested => f.write_str("closed by this node"),
            Self::Protocol(error) => f.write_str(error),
            Self::PeerStalled => f.write_str("the peer stopped in the middle of a message"),
            Self::PeerStoppedReading => f.write_str("the peer stopped reading"),
            Self::Lost(error) => write!(f, "connection lost: {error}"),
        }
    }
}

/// What an operator or a test may want otherwise.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// From accept to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// Unfinished handshakes at once; see [`Server`] for who is dropped beyond.
    pub max_handshakes: usize,
    /// Bounds on received messages.
    pub limits: Limits,
    /// Bytes that may wait for one peer to read them.
    pub outbox_bytes: usize,
    /// Longest silence of a peer in the middle of a message, and longest wait for it to read.
    pub stall_timeout: Duration,
    /// Who is let in.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// `TCP_USER_TIMEOUT`: half of `SBD_WATCHDOG_TIMEOUT` where that is set.
    pub user_timeout: Option<Duration>,
    /// Where what happens is counted.
    pub meter: Arc<Meter>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10), // the peer gives up after 5
            max_handshakes: 128,
            limits: Limits::default(),
            outbox_bytes: 32 << 20,
            stall_timeout: Duration::from_secs(60),
            policy: watch::channel(Arc::default()).1,
            user_timeout: None,
            meter: Arc::default(),
        }
    }
}

/// Why the cluster's side cannot start, or a key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The address in the configuration means nothing.
    #[error("Could not resolve PCMK_remote_address \"{address}\": {source}")]
    Resolve {
        /// As configured.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Every address was tried in vain.
    #[error("Could not listen on {address} port {port}: {source}")]
    Bind {
        /// The last one tried.
        address: String,
        /// Port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// Pre-shared keys do not work in this build.
    #[error("Could not set up TLS with pre-shared keys: {0}")]
    Psk(String),
    /// The certificate files cannot be used.
    #[error("Could not set up TLS with certificates: {0}")]
    Certificates(String),
    /// No key could be read so far.
    #[error("{0}")]
    NoKey(String),
}
