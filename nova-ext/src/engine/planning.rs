//! An incident's plan: which servers move, which stay, and what became of them before it was made.

use std::collections::{BTreeMap, BTreeSet};

use super::incident::{Incident, Phase};
use super::journal::{Event, Gate};
use super::server::{Stage, Way};
use super::shared::Shared;
use super::values::{Mono, Read, Row, RowState, Trouble, tried};
use crate::ids::ServerId;
use crate::plan::{Inventory, Move, plan};

impl Incident {
    /// Whether everything about the host is being read for it.
    pub(super) fn awaits_inventory(&self) -> bool {
        self.busy && self.phase == Phase::Inventory
    }

    /// Plans, writes the plan down and begins. `ran` knows servers better than Nova does: other incidents' that were
    /// on their way to this host.
    pub(super) fn inventory(
        &mut self,
        begun: Mono,
        read: Read<(Inventory, Vec<Row>)>,
        ran: &BTreeMap<ServerId, bool>,
        shared: &mut Shared,
    ) {
        if !self.awaits_inventory() {
            return;
        }
        let (mut inventory, rows) = match read {
            Ok(read) => read,
            Err(trouble) => {
                self.trouble(&trouble, shared);
                self.again(shared);
                return;
            }
        };
        let here: BTreeSet<ServerId> = inventory.servers.iter().map(|server| server.id).collect();
        inventory.tried = tried(&rows);
        let plan = plan(&inventory, &shared.policy);
        for one in &plan.left_out {
            shared.record(
                self.id,
                Event::LeftOut {
                    server: one.server,
                    name: one.name.clone(),
                    reason: one.reason.code().to_owned(),
                    why: one.reason.to_string(),
                },
            );
        }
        self.left_out = u32::try_from(plan.left_out.len()).unwrap_or(u32::MAX);
        // Asked for before, by an engine whose journal is not here: it may have been reset since, so that a server that its
        // owner had stopped is shown as active.
        let touched: BTreeSet<ServerId> = rows
            .iter()
            .filter(|row| RowState::parse(&row.status) != RowState::Completed)
            .map(|row| row.server)
            .collect();
        for mut one in plan.moves {
            let known = ran.get(&one.server).copied();
            one.ran = known.unwrap_or(one.ran);
            self.add(&one, known.is_none() && touched.contains(&one.server), begun, shared);
        }
        // Moved since the host went down, by an engine whose journal is not here: they may still have to be started.
        let moved: BTreeSet<ServerId> = rows
            .iter()
            .filter(|row| RowState::parse(&row.status) == RowState::Moved && !here.contains(&row.server))
            .map(|row| row.server)
            .collect();
        for server in moved {
            let one = Move {
                server,
                name: String::new(),
                ran: true,
                reset: false,
                priority: 0,
                group: None,
                why: "Nova has moved it already".to_owned(),
            };
            self.add(&one, true, begun, shared);
        }
        self.newest = rows.iter().map(|row| row.number).max().unwrap_or(0);
        shared.record(
            self.id,
            Event::Planned {
                moves: self.open,
                left_out: self.left_out,
                to_stopped: shared.to_stopped,
                newest_migration: self.newest,
            },
        );
        self.planned = true;
        self.seed(&rows, begun, shared);
        self.run(shared);
    }

    fn trouble(&mut self, trouble: &Trouble, shared: &mut Shared) {
        if trouble.overload {
            shared.limiter.overloaded(shared.now.mono);
        }
        self.hold(Gate::Cloud, trouble.why.clone(), shared);
    }

    fn add(&mut self, one: &Move, ran_unknown: bool, begun: Mono, shared: &mut Shared) {
        let place = u32::try_from(self.ways.len()).unwrap_or(u32::MAX);
        shared.record(
            self.id,
            Event::Queued {
                server: one.server,
                name: one.name.clone(),
                ran: (!ran_unknown).then_some(one.ran),
                priority: one.priority,
                group: one.group.clone(),
                why: one.why.clone(),
            },
        );
        let mut way = Way::new(one, place, begun);
        way.ran_unknown = ran_unknown;
        self.admit(one.server, way, shared);
    }

    /// Takes a server in.
    pub(super) fn admit(&mut self, server: ServerId, way: Way, shared: &mut Shared) {
        shared.join_group(way.group.as_deref());
        if way.stage == Stage::Waiting {
            self.queue.insert((way.place, server));
        }
        self.open = self.open.saturating_add(1);
        self.ways.insert(server, way);
    }

    /// What migrations said when the plan was made: what is alive is followed, what failed is the past, and what has
    /// moved a server that is still listed here is looked at.
    fn seed(&mut self, rows: &[Row], begun: Mono, shared: &mut Shared) {
        let mut touched = BTreeSet::new();
        for row in rows {
            let Some(way) = self.ways.get_mut(&row.server) else { continue };
            way.see(row, self.newest, shared.now.mono);
            way.destination.clone_from(&row.destination);
            touched.insert(row.server);
        }
        self.rows_begun = Some(begun);
        self.rows_took = shared.now.mono.saturating_sub(begun);
        for server in touched {
            self.follow(server, shared);
        }
    }
}
