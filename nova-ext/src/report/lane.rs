//! One server's way through an incident.

use serde::Serialize;

use super::ms;
use crate::engine::journal::{Entry, Event};
use crate::ids::{HostName, ServerId};
use crate::stamp::Stamp;

/// How a server's way ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is on its way.
    Open,
    /// It is as it was, elsewhere.
    Moved,
    /// It stayed on purpose.
    LeftOut,
    /// It could not be moved.
    GivenUp,
    /// It was deleted meanwhile.
    Gone,
    /// Its new host has failed as well, and another incident goes on with it.
    PassedOn,
}

/// What a server was waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Its turn.
    Waiting,
    /// Nova's answer to the request.
    Asking,
    /// Its migration.
    Moving,
    /// The next attempt.
    Retrying,
    /// Its start.
    Starting,
}

impl Phase {
    /// For legends.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Asking => "asking Nova",
            Self::Moving => "moving",
            Self::Retrying => "waiting for another attempt",
            Self::Starting => "starting",
        }
    }

    /// All of them.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Asking, Self::Moving, Self::Retrying, Self::Starting];
}

/// A piece of a server's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    /// What was waited for.
    pub phase: Phase,
    /// From when.
    pub from: Stamp,
    /// Until when; none if it still lasts.
    pub to: Option<Stamp>,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// Its id.
    pub server: ServerId,
    /// Its name.
    pub name: String,
    /// How its way ended.
    pub fate: Fate,
    /// Where it is now, if it was moved.
    pub destination: Option<HostName>,
    /// Evacuations that were asked for.
    pub attempts: u32,
    /// What decided its fate, for people.
    pub why: String,
    /// From the beginning of its way to its end.
    pub took_ms: Option<u64>,
    /// Its way.
    pub spans: Vec<Span>,
    /// The phase that lasts.
    #[serde(skip)]
    now: Option<(Phase, Stamp)>,
    #[serde(skip)]
    running: bool,
}

impl Lane {
    fn new(server: ServerId) -> Self {
        Self {
            server,
            name: String::new(),
            fate: Fate::Open,
            destination: None,
            attempts: 0,
            why: String::new(),
            took_ms: None,
            spans: Vec::new(),
            now: None,
            running: false,
        }
    }

    fn begin(&mut self, phase: Phase, at: Stamp) {
        if self.now.is_some_and(|(now, _)| now == phase) {
            return;
        }
        self.close(at);
        self.now = Some((phase, at));
    }

    fn close(&mut self, at: Stamp) {
        if let Some((phase, from)) = self.now.take() {
            self.spans.push(Span { phase, from, to: Some(at.max(from)) });
        }
    }

    fn end(&mut self, fate: Fate, at: Stamp) {
        self.close(at);
        self.fate = fate;
        self.took_ms = self.spans.first().map(|span| ms(at, span.from));
    }

    fn follow(&mut self, event: &Event, at: Stamp) {
        match event {
            Event::Queued { name, ran, why, .. } => {
                self.name.clone_from(name);
                self.why.clone_from(why);
                self.running = ran.unwrap_or(true);
                self.begin(Phase::Waiting, at);
            }
            Event::LeftOut { name, why, .. } => {
                self.name.clone_from(name);
                self.why.clone_from(why);
                self.end(Fate::LeftOut, at);
            }
            Event::Posting { attempt, .. } => {
                self.attempts = self.attempts.max(*attempt);
                self.begin(Phase::Asking, at);
            }
            Event::Posted { .. } | Event::Unheard { .. } => self.begin(Phase::Moving, at),
            Event::Migration { destination, .. } => {
                if destination.is_some() {
                    self.destination.clone_from(destination);
                }
                if self.fate == Fate::Open {
                    self.begin(Phase::Moving, at);
                }
            }
            Event::Refused { why, .. } | Event::Failed { why, .. } | Event::WrittenOff { why, .. } => {
                self.why.clone_from(why);
                self.begin(Phase::Retrying, at);
            }
            Event::Moved { destination, .. } => {
                if destination.is_some() {
                    self.destination.clone_from(destination);
                }
                self.close(at);
            }
            Event::Starting { .. } => self.begin(Phase::Starting, at),
            Event::Started { .. } => self.close(at),
            Event::Done { .. } => self.end(Fate::Moved, at),
            Event::Gone { .. } => self.end(Fate::Gone, at),
            Event::PassedOn { to, .. } => {
                self.why = format!("incident {to} goes on with it");
                self.end(Fate::PassedOn, at);
            }
            Event::GaveUp { why, .. } => {
                self.why.clone_from(why);
                self.end(Fate::GivenUp, at);
            }
            _ => {}
        }
    }
}

/// The servers of an incident, in the order in which their ways began. What still lasted when it ended, ends then.
pub(super) fn lanes(entries: &[&Entry], ended: Option<Stamp>) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for entry in entries {
        let Some(server) = entry.event.server() else { continue };
        let place = *places.entry(server).or_insert_with(|| {
            lanes.push(Lane::new(server));
            lanes.len() - 1
        });
        if let Some(lane) = lanes.get_mut(place) {
            lane.follow(&entry.event, entry.at);
        }
    }
    for lane in &mut lanes {
        if let Some((phase, from)) = lane.now.take() {
            lane.spans.push(Span { phase, from, to: ended.map(|at| at.max(from)) });
        }
    }
    lanes
}
