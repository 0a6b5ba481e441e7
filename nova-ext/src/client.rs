//! What tools and scripts ask for: proofs, power, hosts in Nova, evacuations, reports. `nova-ha` and the Python module
//! are two faces of this.

pub mod evacuate;
pub mod hosts;
pub mod power;
pub mod proof;
pub mod reports;

use std::io;
use std::path::PathBuf;

use crate::cloud::{Cloud, CloudError, SettingsError};
use crate::config::{Config, ConfigError, NameError};
use crate::engine::Trouble;
use crate::engine::journal::JournalError;
use crate::handover::QueueError;
use crate::ids::{BadName, HostName, IncidentId};
use crate::power::{MapError, PowerError};
use crate::proof::ledger::LedgerError;
use crate::proof::operator::Nameless;
use crate::proof::signed::{KeyError, Refused};
use crate::serve::ServeError;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its names.
    #[error(transparent)]
    Names(#[from] NameError),
    /// A text that is no name.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The map of power devices.
    #[error(transparent)]
    Map(#[from] MapError),
    /// There is none.
    #[error("{path} is missing: it says which power device each host has", path = .0.display())]
    NoMap(PathBuf),
    /// The credentials.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The policy, and what else the engine needs.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The key under which proofs are signed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The cloud.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// A power device.
    #[error(transparent)]
    Power(#[from] PowerError),
    /// Requests to the engine.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// What the engine has written down.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The proofs that hold.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A line that is no proof.
    #[error("it is not proven that {host} is off: {why}", host = .0.host, why = .0.why)]
    Refused(RefusedLine),
    /// Nobody vouches for it.
    #[error(transparent)]
    Nameless(#[from] Nameless),
    /// The system says no.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Io(PathBuf, #[source] io::Error),
    /// Nothing is known.
    #[error(
        "nothing proves to this controller that {0} is off, so that its servers may still run: fence it \
         (stonith_admin --fence NODE, or nova-ha power off), or look at it and say --operator-confirms-off YOUR-NAME"
    )]
    NotProven(HostName),
    /// It is on.
    #[error("the power device of {0} says that it is on, and no word counts against that: fence it first")]
    IsOn(HostName),
    /// It is alive.
    #[error(
        "the nova-compute of {0} still reports to Nova: if the host is really off, Nova takes it for down after a minute \
         (service_down_time); try again then"
    )]
    Reports(HostName),
    /// Its guests are on their way from it, by the proof that it is off.
    #[error(
        "{0} is being evacuated, or is to be, because it is off: it is not switched on before that has ended \
         (nova-ha status), unless it is forced (--force). To have it switched on then: nova-ha return {0} --power-on"
    )]
    Evacuated(HostName),
    /// Nobody says whether they are.
    #[error(
        "it cannot be told whether {host} is being evacuated, so it is not switched on unless it is forced: {why}"
    )]
    Untellable {
        /// The host.
        host: HostName,
        /// Why not.
        why: String,
    },
    /// A proof of another host.
    #[error("the proof is about {proven}, and this is {host}: nothing is done")]
    OtherHost {
        /// The host.
        host: HostName,
        /// The one that is proven off.
        proven: HostName,
    },
    /// Something that the engine reads as well could not be read.
    #[error("{}", .0.why)]
    Read(Trouble),
    /// Servers are on their way from it.
    #[error(
        "{host} cannot return: {open} evacuations from it have not ended. Start nova-compute there, while it is forced \
         down if it still is, and wait until they are completed"
    )]
    Open {
        /// The host.
        host: HostName,
        /// How many.
        open: usize,
    },
    /// The journal does not have it.
    #[error("the journal has no incident {}: see nova-ha report", .0.as_ref().map_or("at all".to_owned(), ToString::to_string))]
    NoIncident(Option<IncidentId>),
    /// The request is gone, and nothing says why.
    #[error("the request has ended, and the journal does not say how: see nova-ha report {0}")]
    Untold(IncidentId),
    /// It was not followed to its end.
    #[error("it has not ended in time and goes on: see nova-ha report {0}")]
    Late(IncidentId),
}

/// A line, and why it proves nothing.
#[derive(Debug)]
pub struct RefusedLine {
    /// Whose line it should be.
    pub host: HostName,
    /// What is wrong.
    pub why: Refused,
}

/// The cloud, by the configuration's credentials.
pub async fn connect(config: &Config) -> Result<Cloud, ClientError> {
    Ok(Cloud::connect(&config.cloud_settings()?).await?)
}
