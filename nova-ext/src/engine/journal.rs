//! What is written down of an incident: every decision before it is carried out, and every outcome.
//!
//! A line of JSON is an [`Entry`]. What an entry announces (`posting`, `resetting`, `starting`, …) is on disk before it is
//! done, so that whoever resumes knows what may have happened. An event of a later version is read as
//! [`Event::Unknown`] and left alone.

mod file;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{HostName, IncidentId, MigrationId, ProofId, ServerId, ServiceId};
use crate::proof::{Evidence, FenceProof};
use crate::stamp::Stamp;
pub use file::{Journal, JournalError};

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

/// What happens to a host, its servers and the engine itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    // The host.
    /// The failure was seen: by the cluster, as far as it is known.
    Detected {
        /// The host.
        host: HostName,
        /// When.
        seen: Stamp,
        /// By whom or what.
        by: String,
    },
    /// A proof that the host is off.
    Proved {
        /// Its name.
        proof: ProofId,
        /// The host.
        host: HostName,
        /// Since when it is off.
        since: Stamp,
        /// What shows it.
        evidence: Evidence,
    },
    /// The proof does not hold any more: the host is on again, or nobody can tell.
    ProofEnded {
        /// The host.
        host: HostName,
        /// Why.
        why: String,
    },
    /// Nova is about to be told that the host is down.
    ForcingDown {
        /// The host.
        host: HostName,
    },
    /// Nova knows that the host is down.
    ForcedDown {
        /// The host.
        host: HostName,
        /// Its compute service.
        service: ServiceId,
        /// Whether it knew before.
        already: bool,
        /// The id of the request that told it.
        request_id: Option<String>,
    },
    /// Nova schedules nothing on the host.
    Disabled {
        /// The host.
        host: HostName,
        /// The reason that operators see.
        reason: String,
    },
    /// Whoever fenced has handed the host over to the engine.
    HandedOver {
        /// The host.
        host: HostName,
        /// How: queue file, node attribute, command.
        how: String,
    },
    /// The engine has taken up the host.
    TakenUp {
        /// The host.
        host: HostName,
        /// Who asked.
        by: String,
    },
    /// A rule that can hold up or refuse an incident.
    Gate {
        /// The rule.
        gate: Gate,
        /// What it says.
        verdict: Verdict,
        /// Why.
        why: String,
    },
    /// Queued and left-out servers are all written down; moves can begin.
    Planned {
        /// Servers to move.
        moves: u32,
        /// Servers that stay.
        left_out: u32,
        /// Whether servers arrive stopped and are started by the engine.
        to_stopped: bool,
        /// The highest number of a migration from this host so far: what has ended up to it belongs to the past.
        newest_migration: i64,
    },

    // One server.
    /// It stays where it is.
    LeftOut {
        /// The server.
        server: ServerId,
        /// Its name, for people.
        name: String,
        /// Short name of the reason, for programs.
        reason: String,
        /// The reason, for people.
        why: String,
    },
    /// It is to be moved.
    Queued {
        /// The server.
        server: ServerId,
        /// Its name, for people.
        name: String,
        /// Whether it ran when the host failed; null: its history must be looked up.
        ran: Option<bool>,
        /// Higher goes first.
        priority: i32,
        /// Its group, if any.
        group: Option<String>,
        /// What decided it, for people.
        why: String,
    },
    /// Its evacuation is about to be asked for.
    Posting {
        /// The server.
        server: ServerId,
        /// Counted from 1.
        attempt: u32,
    },
    /// Nova has accepted its evacuation.
    Posted {
        /// The server.
        server: ServerId,
        /// Counted from 1.
        attempt: u32,
        /// Nova's id of the request.
        request_id: Option<String>,
        /// How long the answer took.
        took_ms: u64,
    },
    /// Nobody knows whether Nova has accepted its evacuation: it is alive until migrations say otherwise.
    Unheard {
        /// The server.
        server: ServerId,
        /// Counted from 1.
        attempt: u32,
        /// What went wrong.
        why: String,
    },
    /// Nova has refused its evacuation, or never got the request.
    Refused {
        /// The server.
        server: ServerId,
        /// Counted from 1.
        attempt: u32,
        /// What Nova said.
        why: String,
        /// Nova's id of the request.
        request_id: Option<String>,
    },
    /// Its migration was seen in a new state.
    Migration {
        /// The server.
        server: ServerId,
        /// The migration: its number, and its id where Nova tells it (2.59).
        number: i64,
        /// See `number`.
        migration: Option<MigrationId>,
        /// Nova's word for the state.
        status: String,
        /// Where it goes, once that is known.
        destination: Option<HostName>,
    },
    /// It is on another host.
    Moved {
        /// The server.
        server: ServerId,
        /// Where.
        destination: Option<HostName>,
    },
    /// An attempt has ended without success.
    Failed {
        /// The server.
        server: ServerId,
        /// Counted from 1.
        attempt: u32,
        /// Why.
        why: String,
        /// When it is tried again; never, if not said.
        retry_ms: Option<u64>,
    },
    /// Its migration will never move: nobody works on it.
    WrittenOff {
        /// The server.
        server: ServerId,
        /// The migration's number.
        number: i64,
        /// What shows that.
        why: String,
    },
    /// Its state is about to be reset, so that it can be asked for again.
    Resetting {
        /// The server.
        server: ServerId,
        /// `active` or `error`.
        to: String,
    },
    /// It is about to be started.
    Starting {
        /// The server.
        server: ServerId,
    },
    /// It runs.
    Started {
        /// The server.
        server: ServerId,
    },
    /// It runs and did not before: it is about to be stopped.
    Stopping {
        /// The server.
        server: ServerId,
    },
    /// Nothing more is to be done: it is as it was, elsewhere.
    Done {
        /// The server.
        server: ServerId,
    },
    /// It was deleted meanwhile.
    Gone {
        /// The server.
        server: ServerId,
    },
    /// It takes unusually long; it is still followed.
    Slow {
        /// The server.
        server: ServerId,
        /// What it waits for.
        why: String,
    },
    /// Its new host has failed as well: another incident goes on with it.
    PassedOn {
        /// The server.
        server: ServerId,
        /// That incident.
        to: IncidentId,
    },
    /// Nothing more can be done.
    GaveUp {
        /// The server.
        server: ServerId,
        /// Why.
        why: String,
    },

    // Around it.
    /// A hook has run.
    Hook {
        /// The program.
        hook: String,
        /// At which point.
        point: String,
        /// For which server.
        server: Option<ServerId>,
        /// `ok`, `failed`, `timeout`.
        outcome: String,
        /// How long it took.
        took_ms: u64,
        /// Whether it must succeed.
        must: bool,
    },
    /// More or fewer evacuations are allowed at a time.
    Limit {
        /// So many from now on.
        limit: u32,
        /// Why.
        why: String,
    },
    /// An engine goes on with what another one, or its former self, had begun.
    Resumed {
        /// The controller.
        on: String,
        /// Whether the journal was there; without it Nova's own state has to do.
        journal: bool,
    },
    /// The incident is at its end.
    Ended {
        /// How.
        outcome: Outcome,
        /// Servers that are as they were, elsewhere.
        moved: u32,
        /// Servers that could not be moved.
        failed: u32,
        /// Servers that stayed on purpose.
        left_out: u32,
    },

    // Return to service.
    /// The host fails too often: it stays out until the operator releases it.
    Quarantined {
        /// The host.
        host: HostName,
        /// Why.
        why: String,
    },
    /// The operator has released the host.
    Released {
        /// The host.
        host: HostName,
        /// Who.
        by: String,
    },
    /// The host is on its way back.
    Returning {
        /// The host.
        host: HostName,
        /// The step that begins.
        step: String,
    },
    /// Nova takes the host for up again.
    ForcedUp {
        /// The host.
        host: HostName,
        /// Nova's id of the request.
        request_id: Option<String>,
    },
    /// Nova schedules on the host again.
    Enabled {
        /// The host.
        host: HostName,
    },
    /// The host is back in service.
    Returned {
        /// The host.
        host: HostName,
    },

    /// An event of a later version.
    #[serde(other)]
    Unknown,
}

/// Rules that can hold up or refuse an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// The operator has frozen the engine.
    Frozen,
    /// The host or the cloud is in maintenance.
    Maintenance,
    /// Too many hosts are down at once.
    TooManyHosts,
    /// The host fails too often.
    Flapping,
    /// No scheduler is alive.
    Scheduler,
    /// The host is not proven off (any more).
    Proof,
    /// Nova takes the host for up.
    ServiceUp,
    /// A hook that must succeed has failed.
    Hook,
    /// Nova does not answer, or says no.
    Cloud,
    /// A rule of a later version.
    #[serde(other)]
    Unknown,
}

/// What a gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Go on.
    Open,
    /// Wait and ask again.
    Hold,
    /// Do not do it.
    Refuse,
}

/// How an incident ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every server that was to be moved is as it was, elsewhere.
    Complete,
    /// Some could not be moved.
    Partial,
    /// A gate or the operator has ended it.
    Refused,
    /// The host came back before all were moved.
    CameBack,
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

impl Event {
    /// The event of a proof.
    pub fn proved(proof: &FenceProof) -> Self {
        Self::Proved {
            proof: proof.id(),
            host: proof.host().clone(),
            since: proof.at(),
            evidence: proof.evidence().clone(),
        }
    }

    /// The server that it is about, if it is about one.
    pub fn server(&self) -> Option<ServerId> {
        match self {
            Self::LeftOut { server, .. }
            | Self::Queued { server, .. }
            | Self::Posting { server, .. }
            | Self::Posted { server, .. }
            | Self::Unheard { server, .. }
            | Self::Refused { server, .. }
            | Self::Migration { server, .. }
            | Self::Moved { server, .. }
            | Self::Failed { server, .. }
            | Self::WrittenOff { server, .. }
            | Self::Resetting { server, .. }
            | Self::Starting { server }
            | Self::Started { server }
            | Self::Stopping { server }
            | Self::Done { server }
            | Self::Gone { server }
            | Self::Slow { server, .. }
            | Self::PassedOn { server, .. }
            | Self::GaveUp { server, .. } => Some(*server),
            Self::Hook { server, .. } => *server,
            _ => None,
        }
    }

    /// The host that it is about, if it names one.
    pub fn host(&self) -> Option<&HostName> {
        match self {
            Self::Detected { host, .. }
            | Self::Proved { host, .. }
            | Self::ProofEnded { host, .. }
            | Self::ForcingDown { host }
            | Self::ForcedDown { host, .. }
            | Self::Disabled { host, .. }
            | Self::HandedOver { host, .. }
            | Self::TakenUp { host, .. }
            | Self::Quarantined { host, .. }
            | Self::Released { host, .. }
            | Self::Returning { host, .. }
            | Self::ForcedUp { host, .. }
            | Self::Enabled { host }
            | Self::Returned { host } => Some(host),
            _ => None,
        }
    }

    fn cut(mut self) -> Self {
        match &mut self {
            Self::Detected { by: text, .. }
            | Self::ProofEnded { why: text, .. }
            | Self::Disabled { reason: text, .. }
            | Self::HandedOver { how: text, .. }
            | Self::TakenUp { by: text, .. }
            | Self::Gate { why: text, .. }
            | Self::LeftOut { why: text, .. }
            | Self::Queued { why: text, .. }
            | Self::Unheard { why: text, .. }
            | Self::Refused { why: text, .. }
            | Self::Failed { why: text, .. }
            | Self::WrittenOff { why: text, .. }
            | Self::GaveUp { why: text, .. }
            | Self::Slow { why: text, .. }
            | Self::Limit { why: text, .. }
            | Self::Quarantined { why: text, .. }
            | Self::Released { by: text, .. } => cut(text),
            _ => {}
        }
        self
    }
}

fn cut(text: &mut String) {
    if text.len() > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frozen => "frozen",
            Self::Maintenance => "maintenance",
            Self::TooManyHosts => "too-many-hosts",
            Self::Flapping => "flapping",
            Self::Scheduler => "scheduler",
            Self::Proof => "proof",
            Self::ServiceUp => "service-up",
            Self::Hook => "hook",
            Self::Cloud => "cloud",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Refused => "refused",
            Self::CameBack => "came-back",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostName {
        "compute-1".parse().unwrap()
    }

    fn server() -> ServerId {
        "6f70656e-7374-6163-6b20-342065766572".parse().unwrap()
    }

    fn migration() -> MigrationId {
        "daa1c5a2-45fc-4e1c-ad4f-6271377a7f86".parse().unwrap()
    }

    #[allow(clippy::too_many_lines, reason = "one of each")]
    fn one_of_each() -> Vec<Event> {
        let proof = FenceProof::new(host(), Evidence::Operator { name: "ann".into() }, Stamp::now());
        let (host, server, migration) = (host(), server(), migration());
        let text = || "why".to_owned();
        vec![
            Event::Detected { host: host.clone(), seen: Stamp::now(), by: text() },
            Event::proved(&proof),
            Event::ProofEnded { host: host.clone(), why: text() },
            Event::ForcingDown { host: host.clone() },
            Event::ForcedDown {
                host: host.clone(),
                service: "69fdce77-581d-44b8-813d-3e451870fb45".parse().unwrap(),
                already: false,
                request_id: Some("req-1".into()),
            },
            Event::Disabled { host: host.clone(), reason: text() },
            Event::HandedOver { host: host.clone(), how: text() },
            Event::TakenUp { host: host.clone(), by: text() },
            Event::Gate { gate: Gate::TooManyHosts, verdict: Verdict::Hold, why: text() },
            Event::Planned { moves: 1, left_out: 2, to_stopped: true, newest_migration: 30 },
            Event::LeftOut { server, name: text(), reason: "amphora".into(), why: text() },
            Event::Queued {
                server,
                name: text(),
                ran: Some(true),
                priority: -3,
                group: Some("db".into()),
                why: text(),
            },
            Event::Posting { server, attempt: 1 },
            Event::Posted { server, attempt: 1, request_id: None, took_ms: 12 },
            Event::Unheard { server, attempt: 1, why: text() },
            Event::Refused { server, attempt: 1, why: text(), request_id: None },
            Event::Migration {
                server,
                number: 29,
                migration: Some(migration),
                status: "accepted".into(),
                destination: Some(host.clone()),
            },
            Event::Moved { server, destination: None },
            Event::Failed { server, attempt: 1, why: text(), retry_ms: Some(5000) },
            Event::WrittenOff { server, number: 29, why: text() },
            Event::Slow { server, why: text() },
            Event::PassedOn { server, to: IncidentId::new_random() },
            Event::Resetting { server, to: "active".into() },
            Event::Starting { server },
            Event::Started { server },
            Event::Stopping { server },
            Event::Done { server },
            Event::Gone { server },
            Event::GaveUp { server, why: text() },
            Event::Hook {
                hook: "10-dns".into(),
                point: "server-moved".into(),
                server: Some(server),
                outcome: "ok".into(),
                took_ms: 3,
                must: false,
            },
            Event::Limit { limit: 12, why: text() },
            Event::Resumed { on: "ctl1".into(), journal: true },
            Event::Ended { outcome: Outcome::Partial, moved: 1, failed: 2, left_out: 3 },
            Event::Quarantined { host: host.clone(), why: text() },
            Event::Released { host: host.clone(), by: text() },
            Event::Returning { host: host.clone(), step: text() },
            Event::ForcedUp { host: host.clone(), request_id: None },
            Event::Enabled { host: host.clone() },
            Event::Returned { host },
        ]
    }

    #[test]
    fn what_is_written_is_read_back() {
        for event in one_of_each() {
            let entry = Entry::new(Stamp::now(), IncidentId::new_random(), event);
            let line = entry.to_line().unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(Entry::from_line(&line).unwrap(), entry, "{line}");
        }
    }

    #[test]
    fn the_shape_of_a_line_is_fixed() {
        let line = r#"{"at":"2026-11-25T10:00:00.000Z","incident":"6f70656e-7374-6163-6b20-342065766572","event":{"kind":"posting","server":"6f70656e-7374-6163-6b20-342065766572","attempt":2}}"#;
        let entry = Entry::from_line(line).unwrap();
        assert_eq!(entry.event, Event::Posting { server: server(), attempt: 2 });
        assert_eq!(entry.event.server(), Some(server()));
        assert_eq!(entry.to_line().unwrap(), line);
    }

    #[test]
    fn an_event_of_a_later_version_is_left_alone() {
        let line = r#"{"at":"2026-11-25T10:00:00Z","incident":"6f70656e-7374-6163-6b20-342065766572","event":{"kind":"teleported","to":"mars"}}"#;
        assert_eq!(Entry::from_line(line).unwrap().event, Event::Unknown);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let why = "ä".repeat(LONGEST_TEXT);
        let entry =
            Entry::new(Stamp::now(), IncidentId::new_random(), Event::GaveUp { server: server(), why });
        assert!(
            matches!(&entry.event, Event::GaveUp { why, .. } if why.len() <= LONGEST_TEXT + 3 && why.ends_with('…'))
        );
        assert!(Entry::from_line(&entry.to_line().unwrap()).is_ok());
    }
}
