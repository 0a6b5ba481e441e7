//! What the engine of this controller has written down.

use super::ClientError;
use crate::config::Config;
use crate::engine::journal::Journal;
use crate::ids::IncidentId;
use crate::report::{self, Summary, Timeline};

/// The incidents, in the order in which they began.
pub fn incidents(config: &Config) -> Result<Vec<Summary>, ClientError> {
    Ok(report::incidents(&Journal::read(&config.files.state)?))
}

/// One incident; without an id the last one.
pub fn timeline(config: &Config, incident: Option<&str>) -> Result<Timeline, ClientError> {
    let entries = Journal::read(&config.files.state)?;
    let wanted: Option<IncidentId> = match incident {
        Some(id) => Some(id.parse()?),
        None => report::incidents(&entries).last().map(|summary| summary.incident),
    };
    wanted.and_then(|id| report::timeline(&entries, id)).ok_or(ClientError::NoIncident(wanted))
}
