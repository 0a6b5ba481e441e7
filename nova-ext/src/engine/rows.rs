//! The evacuations from an incident's host: when they are read, and what is new in them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::incident::{Incident, Phase};
use super::journal::Event;
use super::shared::{Shared, Timer};
use super::values::{Action, Mono, Read, Row, RowState};
use crate::ids::ServerId;

/// Between looks at migrations while some are under way.
const LOOK: Duration = Duration::from_millis(500);
/// The same if each takes long.
const LOOK_SELDOM: Duration = Duration::from_secs(5);
/// The same when Nova says that there is something to be seen.
const LOOK_HEARD: Duration = Duration::from_millis(50);
/// A reading of migrations allows requests for so long after it has come.
const FRESH: Duration = Duration::from_secs(5);

impl Incident {
    /// Whether migrations were read a short time ago, and not before `after`. How long Nova took to tell does not count:
    /// where that is longer, nothing would ever be asked for.
    pub(super) fn has_read_since(&self, after: Mono, now: Mono) -> bool {
        self.rows_begun.is_some_and(|begun| {
            begun >= after && now.saturating_sub(begun) <= FRESH.saturating_add(self.rows_took)
        })
    }

    /// Asks for the migrations, unless that is under way.
    pub(super) fn read_rows(&mut self, shared: &mut Shared) {
        if self.phase != Phase::Running || self.rows_busy || shared.now.mono < self.rows_due {
            return;
        }
        if self.flying.is_empty() && self.queue.is_empty() {
            // Nothing to be told now; soon there may be.
            self.rows_due = shared.now.mono.saturating_add(LOOK);
            shared.at(LOOK, Timer::Rows(self.id));
            return;
        }
        self.rows_busy = true;
        self.heard = false;
        shared.out.push(Action::ReadRows { incident: self.id, host: self.host.clone() });
    }

    /// Nova says that something has happened to a server: if it is on its way, that is looked at sooner.
    pub(super) fn heard(&mut self, server: ServerId, shared: &mut Shared) {
        if self.phase != Phase::Running || !self.flying.contains(&server) {
            return;
        }
        self.heard = true;
        if self.rows_busy {
            return;
        }
        let due = self.rows_soonest.max(shared.now.mono);
        if due < self.rows_due {
            self.rows_due = due;
            shared.at(due.saturating_sub(shared.now.mono), Timer::Rows(self.id));
        }
    }

    /// Migrations are needed now.
    pub(super) fn want_rows(&mut self, shared: &mut Shared) {
        self.rows_due = self.rows_due.min(shared.now.mono);
        shared.at(Duration::ZERO, Timer::Rows(self.id));
    }

    pub(super) fn rows(&mut self, begun: Mono, read: Read<Vec<Row>>, shared: &mut Shared) {
        if !self.rows_busy {
            return;
        }
        self.rows_busy = false;
        if self.phase != Phase::Running {
            return;
        }
        // An API that is slow is asked less often.
        let took = shared.now.mono.saturating_sub(begun);
        let shortest = if self.heard { LOOK_HEARD } else { LOOK };
        let pause = shortest.max(took.saturating_mul(4)).min(LOOK_SELDOM);
        self.rows_soonest = shared.now.mono.saturating_add(LOOK_HEARD.max(took));
        self.rows_due = shared.now.mono.saturating_add(pause);
        shared.at(pause, Timer::Rows(self.id));
        let rows = match read {
            Ok(rows) => rows,
            Err(trouble) => {
                if trouble.overload {
                    shared.limiter.overloaded(shared.now.mono);
                }
                return;
            }
        };
        self.rows_begun = Some(begun);
        self.rows_took = took;
        let mut touched: BTreeSet<ServerId> = self.flying.clone();
        for row in &rows {
            let Some(way) = self.ways.get_mut(&row.server) else { continue };
            if way.stage.is_end() || !way.see(row, self.newest, shared.now.mono) {
                continue;
            }
            touched.insert(row.server);
            let alive = RowState::parse(&row.status).is_alive();
            if let Some(destination) = row.destination.as_ref().filter(|_| alive || way.alive() == 0) {
                if way.lane.is_some() && way.bound.is_none() {
                    shared.limiter.bound_for(destination);
                    way.bound = Some(destination.clone());
                }
                way.destination = Some(destination.clone());
            }
            if way.rows.iter().any(|known| known.number == row.number && known.old) {
                continue;
            }
            shared.record(
                self.id,
                Event::Migration {
                    server: row.server,
                    number: row.number,
                    migration: row.id,
                    status: row.status.chars().take(32).collect(),
                    destination: row.destination.clone(),
                },
            );
        }
        for server in touched {
            self.follow(server, shared);
        }
    }
}
