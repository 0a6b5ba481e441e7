//! What a running engine is asked, and what it says of itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tokio::sync::oneshot;

use super::flapping::Record;
use super::incident::Summary;
use super::journal::{Entry, Outcome};
use super::metrics::Counters;
use super::values::{Answer, Maintenance, Request};
use crate::ids::{HostName, ServerId};
use crate::stamp::Stamp;

/// What can be asked of a running engine.
#[derive(Debug)]
pub enum Order {
    /// Move the servers of a host.
    Request {
        /// The host and the proof.
        request: Request,
        /// What happened before, for the journal.
        story: Vec<Entry>,
        /// Answered as soon as the journal has it.
        taken: oneshot::Sender<Answer>,
        /// Answered when it has ended.
        ended: oneshot::Sender<Outcome>,
    },
    /// The operator's switches, as they are now.
    Switches {
        /// Why everything is frozen, if it is.
        frozen: Option<String>,
        /// What is in maintenance.
        maintenance: Maintenance,
        /// Hosts that are really down, however many there are.
        go_ahead: BTreeSet<HostName>,
        /// Hosts released from quarantine, and by whom.
        released: Vec<(HostName, String)>,
    },
    /// The host was powered on, or is about to be.
    PoweredOn {
        /// The host.
        host: HostName,
        /// When: proofs of before do not hold any more.
        since: Stamp,
    },
    /// What another controller knows of hosts that failed.
    Failures {
        /// By host.
        records: Vec<(HostName, Record)>,
        /// Answered when the engine knows it.
        known: oneshot::Sender<()>,
    },
    /// Something that happens elsewhere, for the journal.
    Note {
        /// What happens.
        entry: Entry,
        /// Answered when it is on disk.
        written: oneshot::Sender<()>,
    },
    /// Another controller is to go on.
    Leave,
    /// Nova says that something has happened to a server.
    Heard {
        /// The server.
        server: ServerId,
    },
}

/// What a running engine is at.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Status {
    /// Incidents that have not ended.
    pub incidents: Vec<Summary>,
    /// Evacuations in flight.
    pub in_flight: u32,
    /// Evacuations that may be in flight.
    pub limit: u32,
    /// Hosts in quarantine.
    pub quarantine: BTreeSet<HostName>,
    /// What another controller has to know of the hosts that failed.
    #[serde(skip)]
    pub failures: BTreeMap<HostName, Record>,
    /// Whether the operator has frozen it.
    pub frozen: bool,
    /// What has happened since it began.
    #[serde(skip)]
    pub counters: Counters,
}
