//! What can happen, one kind after the other.

use serde::{Deserialize, Serialize};

use super::{Gate, LONGEST_TEXT, Outcome, Verdict};
use crate::ids::{HostName, IncidentId, MigrationId, ProofId, ServerId, ServiceId};
use crate::proof::{Evidence, FenceProof};
use crate::stamp::Stamp;

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

    /// With its texts cut to what the journal keeps.
    pub(super) fn cut(mut self) -> Self {
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
