//! Looks for the number in flight at which most servers move a second, by trying. No clock: measurements in, the next
//! number out.
//!
//! It climbs: while more bring more it grows, faster each time; what brings less is bracketed and halved; if all of it is
//! past the best, it goes down. Of two that bring the same the smaller one is taken. Once found, the best one is kept, and
//! a neighbour is looked at now and then, above and below in turn. Where errors came from is not gone to again soon.

use std::collections::BTreeMap;

/// The first growth, the one after growth that was of little use, and the most.
const GROWTH: f64 = 4.0 / 3.0;
const LITTLE: f64 = 7.0 / 6.0;
const MOST: f64 = 1.5;
/// After growth that was worth it, growth grows by this.
const FASTER: f64 = 1.3;
/// How much more a larger number must bring.
const BETTER: f64 = 1.03;
/// A number that brings less than this part of what it did is another cloud's.
const MUCH_LESS: f64 = 0.5;
/// Slopes: twice as many bring twice as much (1), the same (0), half as much (-1: below it nothing is gained by looking in
/// between).
const WORTH_IT: f64 = 0.6;
const PAST_THE_BEST: f64 = -1.2;
/// How far away a neighbour is.
const NEIGHBOUR: f64 = 7.0 / 6.0;
/// Measurements before a neighbour is looked at: at first, and at most.
const REST: u32 = 6;
const LONGEST_REST: u32 = 48;
/// Servers that must move at the ceiling before it rises: at first, and at most.
const CALM: u32 = 60;
const LONGEST_CALM: u32 = 2000;

/// What is known, and where the search is.
#[derive(Debug, Clone)]
pub(super) struct Search {
    smallest: u32,
    largest: u32,
    /// Servers a second, by the number in flight.
    speeds: BTreeMap<u32, f64>,
    mode: Mode,
    growth: f64,
    /// How long it rests next time, and where it looks then.
    rest: u32,
    upwards: bool,
    /// Above this there were errors.
    ceiling: u32,
    /// Servers that moved at the ceiling, and how many must.
    calm: u32,
    calm_for: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Climbing,
    /// So many measurements more.
    Resting(u32),
    /// Looks at a neighbour.
    Looking,
}

/// A number in flight, and servers a second.
type Level = (u32, f64);

impl Search {
    /// Nothing is known.
    pub(super) fn new(smallest: u32, largest: u32) -> Self {
        Self {
            smallest,
            largest,
            speeds: BTreeMap::new(),
            mode: Mode::Climbing,
            growth: GROWTH,
            rest: REST,
            upwards: false,
            ceiling: largest,
            calm: 0,
            calm_for: CALM,
        }
    }

    /// The most that may be tried.
    pub(super) fn ceiling(&self) -> u32 {
        self.ceiling
    }

    /// So many servers a second moved at `limit`: the number to go on with, and why.
    pub(super) fn measured(&mut self, limit: u32, speed: f64) -> (u32, &'static str) {
        if self.speeds.get(&limit).is_some_and(|known| speed < known * MUCH_LESS) {
            self.speeds.clear();
            (self.mode, self.growth) = (Mode::Climbing, LITTLE);
            return (scaled(limit, 0.8), "evacuations take much longer than they did");
        }
        self.speeds.entry(limit).and_modify(|known| *known = f64::midpoint(*known, speed)).or_insert(speed);
        let (to, why) = self.next(limit);
        (to.clamp(self.smallest, self.ceiling), why)
    }

    /// Several failed at this number.
    pub(super) fn broke(&mut self, at: u32) {
        self.speeds.retain(|level, _| *level < at);
        let good = self.speeds.last_key_value().map(|(level, _)| *level);
        let below = good.map_or(scaled(at, 0.75), |good| good.midpoint(at));
        self.ceiling = below.min(at.saturating_sub(1)).clamp(self.smallest, self.largest);
        self.calm = 0;
        self.calm_for = self.calm_for.saturating_mul(2).min(LONGEST_CALM);
        (self.mode, self.growth) = (Mode::Climbing, LITTLE);
    }

    /// A server moved at this number: whether it is the ceiling and has been without errors for so long that one more is
    /// tried.
    pub(super) fn is_calm(&mut self, limit: u32) -> bool {
        if limit < self.ceiling || self.ceiling >= self.largest {
            return false;
        }
        self.calm = self.calm.saturating_add(1);
        if self.calm < self.calm_for {
            return false;
        }
        (self.calm, self.ceiling) = (0, self.ceiling.saturating_add(1));
        true
    }

    fn next(&mut self, limit: u32) -> (u32, &'static str) {
        let Some(best) = self.best() else { return (limit, "") };
        match self.mode {
            Mode::Resting(left) if best.0 == limit && left <= 1 => self.look(limit),
            Mode::Resting(left) => {
                self.mode = Mode::Resting(left.saturating_sub(1).max(1));
                (best.0, "that brought more")
            }
            Mode::Looking if best.0 != limit => self.stay(best.0),
            Mode::Looking | Mode::Climbing => {
                self.mode = Mode::Climbing;
                self.climb(best)
            }
        }
    }

    /// The smallest of those that bring most.
    fn best(&self) -> Option<Level> {
        let levels = self.speeds.iter().map(|(level, speed)| (*level, *speed));
        levels.reduce(|best, one| if one.1 > best.1 * BETTER { one } else { best })
    }

    fn climb(&mut self, best: Level) -> (u32, &'static str) {
        let level = |(level, speed): (&u32, &f64)| (*level, *speed);
        let lower = self.speeds.range(..best.0).next_back().map(level);
        let upper = self.speeds.range(best.0.saturating_add(1)..).next().map(level);
        match (lower, upper) {
            (lower, None) if best.0 < self.ceiling => {
                self.growth = match lower.map(|lower| slope(lower, best)) {
                    None => self.growth,
                    Some(gain) if gain > WORTH_IT => (self.growth * FASTER).min(MOST),
                    Some(_) => LITTLE,
                };
                (scaled(best.0, self.growth).max(best.0.saturating_add(1)), "more bring more")
            }
            (None, Some(upper)) if slope(best, upper) < PAST_THE_BEST && best.0 > self.smallest => {
                (scaled(best.0, 2.0 / 3.0), "more bring less")
            }
            (_, Some(upper)) if is_wide(best, upper) && slope(best, upper) >= PAST_THE_BEST => {
                (best.0.midpoint(upper.0), "the best is in between")
            }
            _ => self.stay(best.0),
        }
    }

    fn stay(&mut self, at: u32) -> (u32, &'static str) {
        self.mode = Mode::Resting(self.rest);
        self.rest = self.rest.saturating_mul(2).min(LONGEST_REST);
        (at, "that brought most")
    }

    /// Is it still the best?
    fn look(&mut self, limit: u32) -> (u32, &'static str) {
        self.speeds.retain(|level, _| *level == limit);
        self.upwards = !self.upwards;
        self.mode = Mode::Looking;
        if self.upwards && limit < self.ceiling {
            (scaled(limit, NEIGHBOUR).max(limit.saturating_add(1)), "more may bring more")
        } else {
            (scaled(limit, 1.0 / NEIGHBOUR).min(limit.saturating_sub(1)), "fewer may bring as much")
        }
    }
}

/// Too far apart to leave out what is between them.
fn is_wide(a: Level, b: Level) -> bool {
    b.0.saturating_sub(a.0) > (a.0.saturating_mul(3) / 20).max(1)
}

/// By how much more a larger number brings, in proportion to how much larger it is.
fn slope(a: Level, b: Level) -> f64 {
    (b.1 / a.1).ln() / (f64::from(b.0) / f64::from(a.0)).ln()
}

/// A part or a multiple.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped before")]
pub(super) fn scaled(n: u32, by: f64) -> u32 {
    (f64::from(n) * by).round().clamp(1.0, 1e6) as u32
}
