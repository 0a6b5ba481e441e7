//! What happened, from the journal: as text, as JSON, and as a page with a picture.
//!
//! Pure: entries in, documents out.

mod html;
mod lane;
mod picture;
mod say;
mod scale;
mod text;

use serde::Serialize;

pub use html::html;
pub use lane::{Fate, Lane, Phase, Span};
pub use say::say;
pub use text::{overview, text};

use crate::engine::journal::{Entry, Event, Outcome};
use crate::ids::{HostName, IncidentId};
use crate::stamp::Stamp;

/// An incident in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its name.
    pub incident: IncidentId,
    /// The host.
    pub host: Option<HostName>,
    /// The first that is known of it.
    pub began: Stamp,
    /// The last.
    pub last: Stamp,
    /// How it ended, once it has.
    pub outcome: Option<Outcome>,
    /// Servers that are elsewhere.
    pub moved: usize,
    /// Servers that could not be moved.
    pub failed: usize,
    /// Servers that stayed on purpose.
    pub left_out: usize,
    /// Servers on their way.
    pub open: usize,
}

/// A point of the host's story that the picture shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// When.
    pub at: Stamp,
    /// What, in a word or two.
    pub name: &'static str,
    /// How long after the beginning.
    pub after_ms: u64,
}

/// A line of the story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When.
    pub at: Stamp,
    /// What happened, for people.
    pub said: String,
}

/// An incident as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// In one line.
    pub summary: Summary,
    /// The host's story.
    pub marks: Vec<Mark>,
    /// One for each server.
    pub servers: Vec<Lane>,
    /// Everything.
    pub lines: Vec<Line>,
}

/// The incidents of a journal that the engine has taken up, in the order in which they began.
pub fn incidents(entries: &[Entry]) -> Vec<Summary> {
    let mut ids = Vec::new();
    for entry in entries {
        if !ids.contains(&entry.incident) {
            ids.push(entry.incident);
        }
    }
    // A host that returns by itself has no failure to tell of.
    let taken = |timeline: &Timeline| timeline.marks.iter().any(|mark| mark.name == "taken up");
    ids.into_iter().filter_map(|id| timeline(entries, id)).filter(taken).map(|it| it.summary).collect()
}

/// One incident; none if the journal knows nothing of it.
pub fn timeline(entries: &[Entry], incident: IncidentId) -> Option<Timeline> {
    let entries: Vec<&Entry> = entries.iter().filter(|entry| entry.incident == incident).collect();
    // What is known of the failure may be older than the first entry.
    let seen = entries.iter().map(|entry| match &entry.event {
        Event::Detected { seen, .. } => *seen,
        Event::Proved { since, .. } => *since,
        _ => entry.at,
    });
    let began = seen.min()?;
    let last = entries.iter().map(|entry| entry.at).max()?;
    let outcome = entries.iter().rev().find_map(|entry| match &entry.event {
        Event::Ended { outcome, .. } => Some(*outcome),
        _ => None,
    });
    let ended = outcome.and_then(|_| {
        entries.iter().rev().find(|entry| matches!(entry.event, Event::Ended { .. })).map(|entry| entry.at)
    });
    let servers = lane::lanes(&entries, ended);
    let count = |wanted: fn(Fate) -> bool| servers.iter().filter(|lane| wanted(lane.fate)).count();
    let summary = Summary {
        incident,
        host: entries.iter().find_map(|entry| entry.event.host().cloned()),
        began,
        last,
        outcome,
        moved: count(|fate| fate == Fate::Moved),
        failed: count(|fate| fate == Fate::GivenUp),
        left_out: count(|fate| fate == Fate::LeftOut),
        open: count(|fate| fate == Fate::Open),
    };
    let marks = marks(&entries, began);
    let lines = entries.iter().map(|entry| Line { at: entry.at, said: say(&entry.event) }).collect();
    Some(Timeline { summary, marks, servers, lines })
}

/// In the order of time. What the engine finds done when it takes up the host was done by the agent, and has its mark.
fn marks(entries: &[&Entry], began: Stamp) -> Vec<Mark> {
    let mut marks: Vec<Mark> = Vec::new();
    for entry in entries {
        let Some(mark) = mark(entry, began) else { continue };
        let again = marks.iter().any(|earlier| earlier.name == mark.name);
        let known = match &entry.event {
            Event::ForcedDown { already, .. } => *already && again,
            _ => marks.contains(&mark),
        };
        if !known {
            marks.push(mark);
        }
    }
    marks.sort_by_key(|mark| mark.at);
    marks
}

fn mark(entry: &Entry, began: Stamp) -> Option<Mark> {
    let (at, name) = match &entry.event {
        Event::Detected { seen, .. } => (*seen, "detected"),
        Event::Proved { since, .. } => (*since, "proven off"),
        Event::ForcedDown { .. } => (entry.at, "forced down"),
        Event::HandedOver { .. } => (entry.at, "handed over"),
        Event::TakenUp { .. } => (entry.at, "taken up"),
        Event::Planned { .. } => (entry.at, "planned"),
        Event::Resumed { .. } => (entry.at, "resumed"),
        Event::Ended { .. } => (entry.at, "ended"),
        Event::Quarantined { .. } => (entry.at, "quarantined"),
        Event::ForcedUp { .. } => (entry.at, "forced up"),
        Event::Enabled { .. } => (entry.at, "enabled"),
        Event::Returned { .. } => (entry.at, "back in service"),
        _ => return None,
    };
    Some(Mark { at, name, after_ms: ms(at, began) })
}

fn ms(at: Stamp, began: Stamp) -> u64 {
    u64::try_from(at.since(began).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
