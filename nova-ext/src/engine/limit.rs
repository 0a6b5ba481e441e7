//! How many evacuations may be in flight at a time.
//!
//! Nova answers every request for an evacuation with 200, and fails most of them if there are too many: what counts is
//! how many are *under way*, from request to end. The best number depends on the cloud and is not known beforehand, so
//! it is looked for: after each round (the limit's half of endings) the limit grows if the last growth brought more
//! endings a second, goes back if it did not, and shrinks at once on an error or if evacuations take much longer.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::HostName;
use crate::policy::Limits;

/// The shortest round: fewer endings say nothing.
const SHORTEST_ROUND: u32 = 6;
/// Rounds without growth after growth did not help.
const REST: u32 = 6;
/// Evacuations that take so many times as long as they did shrink the limit.
const MUCH_LONGER: f64 = 2.5;

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
    total: u32,
    by_source: BTreeMap<HostName, u32>,
    by_destination: BTreeMap<HostName, u32>,
    round: Round,
    /// Endings a second and the limit, of the round before.
    before: Option<(f64, u32)>,
    /// What an evacuation takes when all is well, in seconds.
    usual: Option<f64>,
    /// Rounds without growth that are left, and how many there are next time.
    rest: u32,
    next_rest: u32,
    /// So many endings still come from before the limit shrank, and say nothing about it.
    stale: u32,
    /// The limit at which the last error came.
    broke_at: Option<u32>,
    /// What changed last, for the journal.
    changed: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Round {
    began: Option<Duration>,
    moved: u32,
    took: f64,
    /// Whether as many as allowed were in flight all the time.
    full: bool,
}

impl Limiter {
    /// Nothing in flight, and the limit to begin with.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            limit: limits.initial,
            total: 0,
            by_source: BTreeMap::new(),
            by_destination: BTreeMap::new(),
            round: Round { full: true, ..Round::default() },
            before: None,
            usual: None,
            rest: 0,
            next_rest: REST,
            stale: 0,
            broke_at: None,
            changed: None,
        }
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
        self.total = self.total.saturating_sub(1);
        if let Some(count) = self.by_source.get_mut(source) {
            *count = count.saturating_sub(1);
        }
        self.by_source.retain(|_, count| *count > 0);
        if let Some(count) = destination.and_then(|host| self.by_destination.get_mut(host)) {
            *count = count.saturating_sub(1);
        }
        if ending == Ending::Failed {
            self.shrink(0.5, "an evacuation failed", now);
        }
        self.stale = self.stale.saturating_sub(1);
        match ending {
            Ending::Moved => {
                // What was under way before the limit changed says nothing about the new one.
                if self.round.began.is_none_or(|began| now.saturating_sub(took) < began) {
                    return;
                }
                self.round.moved = self.round.moved.saturating_add(1);
                self.round.took += took.as_secs_f64();
                if self.round.moved >= (self.limit / 2).max(SHORTEST_ROUND) {
                    self.judge(now);
                }
            }
            Ending::Failed | Ending::Neutral => {}
        }
    }

    /// Nova's API cannot keep up (5xx, time-outs).
    pub fn overloaded(&mut self, now: Duration) {
        self.shrink(0.7, "Nova's API cannot keep up", now);
    }

    /// A destination that is full takes no more; one that nobody has seen yet may have room.
    fn some_destination_has_room(&self) -> bool {
        let most = self.limits.per_destination;
        let bound: u32 = self.by_destination.values().sum();
        let room: u32 = self.by_destination.values().map(|count| most.saturating_sub(*count)).sum();
        self.by_destination.is_empty() || self.total.saturating_sub(bound) < room
    }

    fn shrink(&mut self, to: f64, why: &'static str, now: Duration) {
        // What was in flight when the limit shrank tells nothing new.
        if self.stale > 0 {
            return;
        }
        self.stale = self.total;
        self.broke_at = Some(self.limit);
        self.set(f64::from(self.limit) * to, why);
        self.next_round(now);
        self.before = None;
    }

    /// At the end of a round.
    fn judge(&mut self, now: Duration) {
        let round = self.round;
        self.next_round(now);
        let took = round.took / f64::from(round.moved.max(1));
        let usual = self.usual.map_or(took, |usual| usual.min(took));
        self.usual = Some(usual);
        if took > usual * MUCH_LONGER {
            self.set(f64::from(self.limit) * 0.8, "evacuations take much longer than they did");
            self.before = None;
            return;
        }
        // Endings a second are compared between full rounds only.
        if !round.full || took <= 0.0 {
            return;
        }
        let limit = self.limit;
        let now_at = f64::from(limit);
        // As many as are in flight, in the time that each takes.
        let speed = now_at / took;
        match self.before.replace((speed, limit)) {
            Some((slower, smaller)) if smaller < limit => {
                // 1: twice as many bring twice as much; 0: they bring nothing.
                let was_at = f64::from(smaller);
                let gain = ((speed - slower) / slower) / ((now_at - was_at) / was_at);
                if gain > 0.6 {
                    self.set(now_at * 1.5, "more bring more");
                } else if gain > 0.25 {
                    self.set((now_at * 1.15).max(now_at + 1.0), "more bring more");
                } else {
                    self.rest = self.next_rest;
                    self.next_rest = self.next_rest.saturating_mul(2);
                    self.before = None;
                    let back = if gain < -0.1 { was_at } else { f64::midpoint(was_at, now_at) };
                    self.set(back, "more bring no more");
                }
            }
            _ if self.rest > 0 => self.rest = self.rest.saturating_sub(1),
            _ => {
                let cautious = self
                    .broke_at
                    .is_some_and(|broke_at| limit.saturating_mul(4) > broke_at.saturating_mul(3));
                let grown = if cautious { now_at + 1.0 } else { (now_at * 1.4).max(now_at + 1.0) };
                self.set(grown, "as fast as before");
            }
        }
    }

    fn next_round(&mut self, now: Duration) {
        self.round = Round { began: Some(now), full: true, ..Round::default() };
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is clamped to 1..=256 before"
    )]
    fn set(&mut self, to: f64, why: &'static str) {
        let to = to.round().clamp(f64::from(self.limits.minimum), f64::from(self.limits.maximum)) as u32;
        if to != self.limit {
            self.limit = to;
            self.changed = Some(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> HostName {
        "c1".parse().unwrap()
    }

    /// A cloud that works on everything at once: at `n` in flight it gets `speed(n)` servers a second done, and beyond
    /// `breaks_at` everything that ends, ends in an error.
    struct Cloud {
        speed: fn(f64) -> f64,
        breaks_at: u32,
        /// Seconds between looks at migrations.
        look: f64,
    }

    struct Result {
        seconds: f64,
        failed: u32,
        last_limit: u32,
    }

    fn run(cloud: &Cloud, servers: u32, limits: Limits, seed: u64) -> Result {
        let mut limiter = Limiter::new(limits);
        let (mut waiting, mut moved, mut failed) = (servers, 0, 0);
        // Work left and start.
        let mut flying: Vec<(f64, f64)> = Vec::new();
        let mut random = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            f64::from(u32::try_from(random >> 33).unwrap()) / f64::from(1_u32 << 31)
        };
        let (mut now, mut next_look, step) = (0.0, 0.0, 0.05);
        while moved < servers {
            if now > 2_000.0 {
                break;
            }
            while waiting > 0 && limiter.admits(&source()) {
                limiter.begin(&source(), Duration::from_secs_f64(now));
                flying.push((0.75 + 0.5 * next(), now));
                waiting -= 1;
            }
            if waiting == 0 {
                limiter.idle();
            }
            let n = flying.len();
            if n > 0 {
                #[allow(clippy::cast_precision_loss)]
                let each = (cloud.speed)(n as f64) / n as f64 * step;
                for one in &mut flying {
                    one.0 -= each;
                }
            }
            now += step;
            if now < next_look {
                continue;
            }
            next_look = now + cloud.look;
            let broken = n > usize::try_from(cloud.breaks_at).unwrap();
            for (_, began) in flying.extract_if(.., |one| one.0 <= 0.0) {
                let ending = if broken { Ending::Failed } else { Ending::Moved };
                let took = Duration::from_secs_f64(now - began);
                limiter.end(&source(), None, took, ending, Duration::from_secs_f64(now));
                if broken {
                    failed += 1;
                    waiting += 1;
                } else {
                    moved += 1;
                }
            }
        }
        Result { seconds: now, failed, last_limit: limiter.limit() }
    }

    fn fixed(limit: u32) -> Limits {
        Limits { initial: limit, minimum: limit, maximum: limit, ..Limits::default() }
    }

    /// Ours and the best fixed limit's, over some seeds.
    fn compare(cloud: &Cloud, servers: u32) -> (f64, f64, u32) {
        let seeds = 1..=3;
        let mean = |limits: Limits| {
            seeds.clone().map(|seed| run(cloud, servers, limits, seed).seconds).sum::<f64>() / 3.0
        };
        let (best, at) = [4, 8, 12, 14, 16, 18, 20, 24, 32]
            .into_iter()
            .map(|limit| (mean(fixed(limit)), limit))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap();
        (mean(Limits::default()), best, at)
    }

    /// Measured on a small cloud: 1.4 a second with 4 in flight, 1.6 with 8, 2.0 with 16, 1.8 with 24, errors with 50.
    const SMALL: Cloud = Cloud {
        speed: |n| 2.45 * n / (n + 3.2) * (1.0 - 0.014 * (n - 15.0).max(0.0)).max(0.2),
        breaks_at: 30,
        look: 0.5,
    };
    /// Everything takes three seconds, however many there are.
    const LARGE: Cloud = Cloud { speed: |n| n / 3.0, breaks_at: 1000, look: 0.5 };
    /// More than five in flight only wait for each other, and from 14 on they fail.
    const WEAK: Cloud = Cloud { speed: |n| n.min(5.0) / 2.0, breaks_at: 14, look: 0.5 };
    /// Best at 14, and much worse on both sides.
    const SHARP: Cloud = Cloud {
        speed: |n| if n <= 14.0 { n / 4.0 } else { 3.5 * (14.0 / n).powi(2) },
        breaks_at: 40,
        look: 0.5,
    };

    #[test]
    fn it_is_as_fast_as_the_best_fixed_limit_or_nearly() {
        for (name, cloud, servers, allowed) in [
            ("small", SMALL, 50, 1.10),
            ("small", SMALL, 200, 1.10),
            ("weak", WEAK, 50, 1.10),
            ("weak", WEAK, 200, 1.10),
            ("sharp", SHARP, 50, 1.30),
            ("sharp", SHARP, 200, 1.30),
            // With the best limit known beforehand, the first round is larger: that cannot be made up for quickly.
            ("large", LARGE, 50, 1.60),
            ("large", LARGE, 500, 1.20),
        ] {
            let (ours, best, at) = compare(&cloud, servers);
            println!("{name} {servers}: {ours:.1} s, best fixed {best:.1} s at {at}: {:.2}", ours / best);
            assert!(ours <= best * allowed, "{name} {servers}: {ours:.1} s, best fixed {best:.1} s at {at}");
        }
    }

    #[test]
    fn it_grows_while_more_bring_more() {
        assert_eq!(run(&LARGE, 500, Limits::default(), 1).last_limit, 32);
    }

    #[test]
    fn an_error_halves_it_once() {
        let mut limiter = Limiter::new(Limits::default());
        for _ in 0..12 {
            assert!(limiter.admits(&source()));
            limiter.begin(&source(), Duration::ZERO);
        }
        assert!(!limiter.admits(&source()));
        for _ in 0..3 {
            limiter.end(&source(), None, Duration::from_secs(9), Ending::Failed, Duration::from_secs(9));
        }
        assert_eq!(
            (limiter.limit(), limiter.in_flight(), limiter.change()),
            (6, 9, Some("an evacuation failed"))
        );
        assert_eq!(limiter.change(), None);
    }

    #[test]
    fn a_cloud_that_breaks_recovers() {
        let limits = Limits { initial: 32, ..Limits::default() };
        let result = run(&WEAK, 200, limits, 3);
        assert!(result.failed <= 64, "{} failed", result.failed);
        assert!(result.last_limit <= 14, "{}", result.last_limit);
    }

    #[test]
    fn sources_and_destinations_have_their_own() {
        let limits = Limits { per_source: 2, per_destination: 3, ..Limits::default() };
        let mut limiter = Limiter::new(limits);
        let other: HostName = "c2".parse().unwrap();
        let destination: HostName = "d".parse().unwrap();
        for _ in 0..2 {
            limiter.begin(&source(), Duration::ZERO);
            limiter.bound_for(&destination);
        }
        assert!(!limiter.admits(&source()) && limiter.admits(&other));
        limiter.begin(&other, Duration::ZERO);
        // Two are bound for the only destination known and one may be: that is all it takes.
        assert!(!limiter.admits(&other));
        limiter.end(
            &source(),
            Some(&destination),
            Duration::from_secs(1),
            Ending::Moved,
            Duration::from_secs(1),
        );
        assert!(limiter.admits(&other));
    }
}
