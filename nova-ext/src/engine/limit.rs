//! How many evacuations may be in flight at a time.
//!
//! Nova answers every request for an evacuation with 200, and fails most of them if there are too many: what counts is
//! how many are *under way*, from request to end. The best number depends on the cloud and is not known beforehand. It
//! begins with what scheduler and conductors suggest; `search` looks for the best one by what each brings; errors and
//! an API that cannot keep up shrink it at once, and are remembered as a ceiling.

mod search;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::HostName;
use crate::policy::Limits;
use search::Search;

/// The shortest round: fewer endings say nothing.
const SHORTEST_ROUND: u32 = 6;
/// What is to be done is none of yesterday's: after so long without an evacuation the cloud may be another.
const FORGET: Duration = Duration::from_secs(3600);
/// What one pair of scheduler and conductor more adds to the start, in parts of the first one's; and the most parts.
const PARTS: u32 = 2;
const MOST_PARTS: u32 = 4;
/// After growth, endings are counted for so many times as long as each took: less than this part of what there was before
/// is not waited for to its end.
const WINDOW: f64 = 1.5;
const MUCH_FEWER: f64 = 0.6;

/// How an evacuation ended, as far as the limit is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It moved its server.
    Moved,
    /// It failed: perhaps there were too many.
    Failed,
    /// It says nothing about the cloud (refused, deleted meanwhile).
    Neutral,
}

/// The limit and what is in flight.
#[derive(Debug, Clone)]
pub struct Limiter {
    limits: Limits,
    limit: u32,
    search: Search,
    total: u32,
    /// So many were, at the last look at which some had ended.
    flying: u32,
    by_source: BTreeMap<HostName, u32>,
    by_destination: BTreeMap<HostName, u32>,
    round: Round,
    /// What the round before said, if it was followed by growth.
    before: Option<Before>,
    /// So many endings still come from before the limit shrank, and the limit then. One failure among them may be the
    /// server's own; two are the limit's, and so is one more at the same limit.
    stale: u32,
    shrank_at: Option<u32>,
    suspect: Option<u32>,
    /// When the last one ended.
    last: Option<Duration>,
    /// What changed last, for the journal.
    changed: Option<&'static str>,
}

/// Endings at one limit.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    began: Option<Duration>,
    /// Those that were asked for in it: how many, and the sums of what they took and of what was in flight at their end.
    moved: u32,
    took: f64,
    flying: f64,
    /// All of them.
    ended: u32,
    /// Whether as many as allowed were in flight all the time.
    full: bool,
}

/// A round before growth: servers a second, and what each took.
#[derive(Debug, Clone, Copy)]
struct Before {
    speed: f64,
    took: f64,
}

impl Limiter {
    /// Nothing in flight, and the limit to begin with.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            limit: limits.initial,
            search: Search::new(limits.minimum, limits.maximum),
            total: 0,
            flying: 0,
            by_source: BTreeMap::new(),
            by_destination: BTreeMap::new(),
            round: Round { full: true, ..Round::default() },
            before: None,
            stale: 0,
            shrank_at: None,
            suspect: None,
            last: None,
            changed: None,
        }
    }

    /// What is known of the control plane before anything was tried: more of it can do more.
    pub fn control_plane(&mut self, schedulers: usize, conductors: usize) {
        if self.total > 0 || self.last.is_some() || self.round.began.is_some() {
            return;
        }
        let more = schedulers.min(conductors).saturating_sub(1);
        let parts = u32::try_from(more).unwrap_or(u32::MAX).saturating_add(PARTS).min(MOST_PARTS);
        let to = self.limits.initial.saturating_mul(parts) / PARTS;
        self.set(to, "as scheduler and conductors suggest");
    }

    /// The limit.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// How many are in flight.
    pub fn in_flight(&self) -> u32 {
        self.total
    }

    /// Why the limit has changed since this was asked last, if it has.
    pub fn change(&mut self) -> Option<&'static str> {
        self.changed.take()
    }

    /// Whether one more may be asked for, away from `source`.
    pub fn admits(&self, source: &HostName) -> bool {
        self.total < self.limit
            && self.by_source.get(source).copied().unwrap_or(0) < self.limits.per_source
            && self.some_destination_has_room()
    }

    /// One more is under way.
    pub fn begin(&mut self, source: &HostName, now: Duration) {
        if self.total == 0 && self.last.is_some_and(|last| now.saturating_sub(last) >= FORGET) {
            *self = Self::new(self.limits);
        }
        self.total = self.total.saturating_add(1);
        let count = self.by_source.entry(source.clone()).or_default();
        *count = count.saturating_add(1);
        self.round.began.get_or_insert(now);
    }

    /// A migration has got its destination.
    pub fn bound_for(&mut self, destination: &HostName) {
        let count = self.by_destination.entry(destination.clone()).or_default();
        *count = count.saturating_add(1);
    }

    /// Nothing was left to ask for: the number of endings now says nothing about the limit.
    pub fn idle(&mut self) {
        if self.total < self.limit {
            self.round.full = false;
        }
    }

    /// One has ended after `took`.
    pub fn end(
        &mut self,
        source: &HostName,
        destination: Option<&HostName>,
        took: Duration,
        ending: Ending,
        now: Duration,
    ) {
        // Several end in one look: as many were in flight for each of them.
        if self.last != Some(now) {
            self.flying = self.total;
        }
        self.total = self.total.saturating_sub(1);
        if let Some(count) = self.by_source.get_mut(source) {
            *count = count.saturating_sub(1);
        }
        self.by_source.retain(|_, count| *count > 0);
        if let Some(count) = destination.and_then(|host| self.by_destination.get_mut(host)) {
            *count = count.saturating_sub(1);
        }
        self.last = Some(now);
        match ending {
            Ending::Failed => self.trouble(0.75, "an evacuation failed", now),
            Ending::Moved => self.moved(took, now),
            Ending::Neutral => {}
        }
        self.stale = self.stale.saturating_sub(1);
    }

    /// Nova's API cannot keep up (5xx, time-outs).
    pub fn overloaded(&mut self, now: Duration) {
        self.trouble(0.7, "Nova's API cannot keep up", now);
    }

    /// A destination that is full takes no more; one that nobody has seen yet may have room.
    fn some_destination_has_room(&self) -> bool {
        let most = self.limits.per_destination;
        let bound: u32 = self.by_destination.values().sum();
        let room: u32 = self.by_destination.values().map(|count| most.saturating_sub(*count)).sum();
        self.by_destination.is_empty() || self.total.saturating_sub(bound) < room
    }

    /// The first one shrinks the limit: what is in flight may fail as well. If that happens, the limit was at fault; one
    /// alone may be the server's own.
    fn trouble(&mut self, to: f64, why: &'static str, now: Duration) {
        if self.stale == 0 {
            self.stale = self.total.saturating_add(1);
            self.shrank_at = Some(self.limit);
            if self.suspect.is_some_and(|at| self.limit >= at) {
                self.search.broke(self.limit);
            }
            self.suspect = Some(self.limit);
            self.set(search::scaled(self.limit, to), why);
            self.next_round(now);
        } else if let Some(at) = self.shrank_at.take() {
            self.search.broke(at);
            self.set(search::scaled(at, 0.5), why);
            self.next_round(now);
        }
    }

    fn moved(&mut self, took: Duration, now: Duration) {
        self.round.ended = self.round.ended.saturating_add(1);
        if self.search.is_calm(self.limit) {
            self.set(self.search.ceiling(), "no errors for long");
            self.next_round(now);
        }
        if self.is_much_slower(now) {
            let speed = f64::from(self.round.ended) / self.round_took(now);
            self.decide(speed, took.as_secs_f64(), now);
            return;
        }
        // What was under way before the limit changed says nothing about the new one.
        if self.round.began.is_none_or(|began| now.saturating_sub(took) < began) {
            return;
        }
        self.round.moved = self.round.moved.saturating_add(1);
        self.round.took += took.as_secs_f64();
        self.round.flying += f64::from(self.flying);
        if self.round.moved < (self.limit / 2).max(SHORTEST_ROUND) {
            return;
        }
        let Round { moved, took, flying, full, .. } = self.round;
        let (took, flying) = (took / f64::from(moved), flying / f64::from(moved));
        // Only if the limit is what held the others back.
        if full && took > 0.0 && flying >= f64::from(self.limit) * 0.8 {
            // As many as are in flight, in the time that each takes.
            self.decide(flying / took, took, now);
        } else {
            self.next_round(now);
        }
    }

    fn round_took(&self, now: Duration) -> f64 {
        self.round.began.map_or(0.0, |began| now.saturating_sub(began).as_secs_f64())
    }

    /// Whether so few end since the limit grew that it is not worth waiting for those that were asked for since.
    fn is_much_slower(&self, now: Duration) -> bool {
        let Some(before) = self.before.filter(|_| self.round.full) else { return false };
        let span = self.round_took(now);
        span >= before.took * WINDOW && f64::from(self.round.ended) < before.speed * span * MUCH_FEWER
    }

    /// At the end of a round.
    fn decide(&mut self, speed: f64, took: f64, now: Duration) {
        let was = self.limit;
        let (to, why) = self.search.measured(was, speed);
        self.set(to, why);
        self.next_round(now);
        self.before = (self.limit > was).then_some(Before { speed, took });
    }

    fn next_round(&mut self, now: Duration) {
        self.round = Round { began: Some(now), full: true, ..Round::default() };
        self.before = None;
    }

    fn set(&mut self, to: u32, why: &'static str) {
        let to = to.clamp(self.limits.minimum, self.limits.maximum);
        if to != self.limit {
            self.limit = to;
            self.changed = Some(why);
        }
    }
}

#[cfg(test)]
mod tests;
