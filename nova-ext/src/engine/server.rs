//! One server's way, from queue to its end. Pure: what migrations and looks say goes in, the next stage comes out.

use std::collections::BTreeSet;

use serde::Serialize;

use super::values::{Mono, Row, RowState};
use crate::ids::HostName;
use crate::plan::Move;

/// Where a server is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// In the queue.
    Waiting,
    /// In the queue again from then on.
    Pausing { until: Mono },
    /// Its request is being sent.
    Posting { at: Mono },
    /// Its request may be alive. `heard`: Nova has said so.
    Flying { since: Mono, heard: bool },
    /// An attempt has ended; it must be looked at before another.
    Checking,
    /// Its state is being reset before another attempt.
    Resetting,
    /// Migrations say that it has moved; Nova's record of it must follow.
    Landing { since: Mono },
    /// It is to be started when there is room.
    ToStart { since: Mono },
    /// It was told to start.
    Starting { since: Mono },
    /// It was told to stop.
    Stopping { since: Mono },
    /// It is as it was, elsewhere.
    Done,
    /// Another incident goes on with it.
    PassedOn,
    /// It was deleted.
    Gone,
    /// Nothing more can be done.
    GaveUp,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::InFlight => "in-flight",
            Self::Starting => "starting",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Gone => "gone",
        })
    }
}

/// Where a server is, for status and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// Not asked for yet, or to be asked for again.
    Waiting,
    /// Asked for, and not ended.
    InFlight,
    /// On another host, and not as it was yet.
    Starting,
    /// As it was, elsewhere.
    Done,
    /// Could not be moved.
    Failed,
    /// Deleted meanwhile, or another incident's.
    Gone,
}

impl Stage {
    pub(super) fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::PassedOn | Self::Gone | Self::GaveUp)
    }

    pub(super) fn progress(self) -> Progress {
        match self {
            Self::Waiting | Self::Pausing { .. } | Self::Checking | Self::Resetting => Progress::Waiting,
            Self::Posting { .. } | Self::Flying { .. } => Progress::InFlight,
            Self::Landing { .. } | Self::ToStart { .. } | Self::Starting { .. } | Self::Stopping { .. } => {
                Progress::Starting
            }
            Self::Done => Progress::Done,
            Self::GaveUp => Progress::Failed,
            Self::PassedOn | Self::Gone => Progress::Gone,
        }
    }
}

/// A migration of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) number: i64,
    pub(super) state: RowState,
    /// Since when it is seen so.
    pub(super) since: Mono,
    /// It had ended before this incident began.
    pub(super) old: bool,
    /// It looks alive and is known to be dead.
    pub(super) dead: bool,
    pub(super) destination: Option<HostName>,
}

/// What migrations say about a server whose request may be alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It has moved.
    Moved,
    /// No request is alive, and the last one failed.
    Failed,
    /// Nothing was ever seen of it.
    Unseen,
    /// A request is alive.
    Alive,
}

/// One server.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Way {
    pub(super) ran: bool,
    /// Nobody knows whether it ran: its history must be looked up.
    pub(super) ran_unknown: bool,
    pub(super) reset: bool,
    pub(super) priority: i32,
    pub(super) group: Option<Box<str>>,
    pub(super) place: u32,
    pub(super) stage: Stage,
    /// Since when it is in the queue.
    pub(super) queued: Mono,
    /// Requests so far.
    pub(super) attempt: u32,
    /// Attempts that failed for other reasons than want of room.
    pub(super) failures: u32,
    /// Since when there is no room for it.
    pub(super) no_room_since: Option<Mono>,
    pub(super) destination: Option<HostName>,
    pub(super) rows: Vec<Known>,
    /// So many of the migrations that look alive are known to be dead.
    pub(super) written_off: u32,
    /// Migrations must have been read after this time before it is asked for.
    pub(super) fresh_after: Mono,
    /// It counts as in flight since then.
    pub(super) lane: Option<Mono>,
    /// The destination that it counts for.
    pub(super) bound: Option<HostName>,
    pub(super) slow: bool,
    /// That it is elsewhere is written down.
    pub(super) moved: bool,
    /// That its last attempt failed was written down by an engine of before.
    pub(super) told: bool,
    /// A look, reset, start or stop is under way.
    pub(super) busy: bool,
}

impl Way {
    pub(super) fn new(one: &Move, place: u32, now: Mono) -> Self {
        Self {
            ran: one.ran,
            ran_unknown: false,
            reset: one.reset,
            priority: one.priority,
            group: one.group.as_deref().map(Into::into),
            place,
            stage: Stage::Waiting,
            queued: now,
            attempt: 0,
            failures: 0,
            no_room_since: None,
            destination: None,
            rows: Vec::new(),
            written_off: 0,
            fresh_after: now,
            lane: None,
            bound: None,
            slow: false,
            moved: false,
            told: false,
            busy: false,
        }
    }

    /// A migration was seen; whether that is news. What had ended up to number `newest` belongs to the past.
    pub(super) fn see(&mut self, row: &Row, newest: i64, now: Mono) -> bool {
        let state = RowState::parse(&row.status);
        match self.rows.iter_mut().find(|known| known.number == row.number) {
            Some(known) if known.state == state && known.destination == row.destination => false,
            Some(known) => {
                known.destination.clone_from(&row.destination);
                known.state = state;
                known.since = now;
                true
            }
            None => {
                let (number, destination) = (row.number, row.destination.clone());
                let old = number <= newest && matches!(state, RowState::Failed | RowState::Completed);
                self.rows.push(Known { number, state, since: now, old, dead: false, destination });
                true
            }
        }
    }

    /// So many migrations look alive and are not known to be dead.
    pub(super) fn alive(&self) -> u32 {
        let alive = self.rows.iter().filter(|row| row.state.is_alive() && !row.old).count();
        u32::try_from(alive).unwrap_or(u32::MAX).saturating_sub(self.written_off)
    }

    /// What the migrations say.
    pub(super) fn judge(&self) -> Judgement {
        let new = || self.rows.iter().filter(|row| !row.old);
        if new().any(|row| matches!(row.state, RowState::Moved | RowState::Completed)) {
            Judgement::Moved
        } else if self.alive() > 0 {
            Judgement::Alive
        } else if new().next().is_some() {
            Judgement::Failed
        } else {
            Judgement::Unseen
        }
    }

    /// Counts an attempt that migrations show to have failed, by its fault.
    pub(super) fn count_failure(&mut self, fault: &str, now: Mono) {
        let seen = self.rows.iter().any(|row| !row.old && row.state == RowState::Failed);
        if seen && fault.to_ascii_lowercase().contains("no valid host") {
            self.no_room_since.get_or_insert(now);
            return;
        }
        self.no_room_since = None;
        if seen {
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// What has ended so far says nothing about the next attempt.
    pub(super) fn forget_the_past(&mut self) {
        for row in &mut self.rows {
            if !row.state.is_alive() {
                row.old = true;
            }
        }
    }

    /// Notes that a migration which looks alive is dead. One that a host had picked up died with that host. One that
    /// nobody has picked up may yet be taken for the next request's: only how many there are is known.
    pub(super) fn write_off(&mut self, number: i64) {
        for row in self.rows.iter_mut().filter(|row| row.number == number && !row.dead) {
            row.dead = true;
            if row.state == RowState::Accepted {
                self.written_off = self.written_off.saturating_add(1);
            } else {
                row.old = true;
            }
        }
    }

    /// The number of a migration that nobody has picked up since before `before`.
    pub(super) fn stuck(&self, before: Mono) -> Option<i64> {
        let stuck = |row: &&Known| row.state == RowState::Accepted && !row.dead && row.since <= before;
        self.rows.iter().find(stuck).map(|row| row.number)
    }

    /// The number and destination of a migration whose destination is one of these.
    pub(super) fn bound_for(&self, hosts: &BTreeSet<HostName>) -> Option<(i64, HostName)> {
        self.rows
            .iter()
            .filter(|row| row.state.is_alive() && !row.dead)
            .find_map(|row| Some((row.number, row.destination.clone().filter(|host| hosts.contains(host))?)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ids::ServerId;

    fn way() -> Way {
        let server: ServerId = "6f70656e-7374-6163-6b20-342065766572".parse().unwrap();
        let one = Move {
            server,
            name: "s".into(),
            ran: true,
            reset: false,
            priority: 0,
            group: None,
            why: String::new(),
        };
        Way::new(&one, 0, Duration::ZERO)
    }

    fn row(number: i64, status: &str) -> Row {
        Row {
            number,
            id: None,
            server: "6f70656e-7374-6163-6b20-342065766572".parse().unwrap(),
            status: status.into(),
            destination: None,
        }
    }

    fn judged(rows: &[(i64, &str)]) -> Judgement {
        let mut way = way();
        for (number, status) in rows {
            way.see(&row(*number, status), 0, Duration::ZERO);
        }
        way.judge()
    }

    #[test]
    fn ten_thousand_take_little_memory() {
        // With its entry in the map and its place in the queue: under 5 MiB for 10,000 that wait.
        let size = size_of::<Way>();
        println!("{size} bytes for a server");
        assert!(size <= 400, "{size}");
    }

    #[test]
    fn migrations_decide() {
        assert_eq!(judged(&[]), Judgement::Unseen);
        assert_eq!(judged(&[(1, "accepted")]), Judgement::Alive);
        assert_eq!(judged(&[(1, "pre-migrating")]), Judgement::Alive);
        assert_eq!(judged(&[(1, "a-state-of-next-year")]), Judgement::Alive);
        assert_eq!(judged(&[(1, "done")]), Judgement::Moved);
        assert_eq!(judged(&[(1, "completed")]), Judgement::Moved);
        assert_eq!(judged(&[(1, "error")]), Judgement::Failed);
        assert_eq!(judged(&[(1, "failed"), (2, "accepted")]), Judgement::Alive);
    }

    #[test]
    fn one_that_is_written_off_does_not_count_whichever_ends() {
        let mut way = way();
        way.see(&row(1, "accepted"), 0, Duration::ZERO);
        assert_eq!(way.stuck(Duration::ZERO), Some(1));
        way.write_off(1);
        way.write_off(1);
        assert_eq!((way.stuck(Duration::ZERO), way.written_off), (None, 1));
        assert_eq!(way.judge(), Judgement::Failed);
        // The next request makes a second row, and Nova may work on either.
        way.see(&row(2, "accepted"), 0, Duration::ZERO);
        assert_eq!(way.judge(), Judgement::Alive);
        way.see(&row(1, "error"), 0, Duration::ZERO);
        assert_eq!(way.judge(), Judgement::Failed);
        way.see(&row(2, "done"), 0, Duration::ZERO);
        assert_eq!(way.judge(), Judgement::Moved);
    }

    #[test]
    fn one_that_died_with_its_destination_is_out_of_the_reckoning() {
        let mut way = way();
        way.see(&row(1, "pre-migrating"), 0, Duration::ZERO);
        way.write_off(1);
        assert_eq!(way.judge(), Judgement::Unseen);
        way.see(&row(2, "accepted"), 0, Duration::ZERO);
        way.see(&row(1, "failed"), 0, Duration::ZERO);
        assert_eq!(way.judge(), Judgement::Alive);
    }

    #[test]
    fn the_past_does_not_count() {
        let mut way = way();
        way.see(&row(1, "completed"), 0, Duration::ZERO);
        way.see(&row(2, "accepted"), 0, Duration::ZERO);
        way.forget_the_past();
        assert_eq!(way.judge(), Judgement::Alive);
        way.see(&row(2, "failed"), 0, Duration::ZERO);
        assert_eq!(way.judge(), Judgement::Failed);
    }
}
