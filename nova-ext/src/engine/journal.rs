//! What is written down of an incident: every decision before it is carried out, and every outcome.
//!
//! A line of JSON is an [`Entry`]. What an entry announces (`posting`, `resetting`, `starting`, …) is on disk before it is
//! done, so that whoever resumes knows what may have happened. An event of a later version is read as
//! [`Event::Unknown`] and left alone.

mod event;
mod file;
mod words;

use serde::{Deserialize, Serialize};

use crate::ids::IncidentId;
use crate::stamp::Stamp;
pub use event::Event;
pub use file::{Journal, JournalError};
pub use words::{Gate, Outcome, Verdict};

/// The longest text in an entry; longer ones are cut.
pub const LONGEST_TEXT: usize = 2048;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was written.
    pub at: Stamp,
    /// What it belongs to.
    pub incident: IncidentId,
    /// What happened, or is about to.
    pub event: Event,
}

impl Entry {
    /// An entry, with its texts cut to what the journal keeps.
    pub fn new(at: Stamp, incident: IncidentId, event: Event) -> Self {
        Self { at, incident, event: event.cut() }
    }

    /// The line, without its end.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Reads a line.
    pub fn from_line(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }
}

#[cfg(test)]
mod tests;
