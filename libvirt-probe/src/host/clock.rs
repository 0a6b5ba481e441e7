//! Jumps of the clock: what it says is compared with the time since boot.
//!
//! NTP that makes the clock faster or slower does so to both; only a jump moves them apart. Sleep of the host
//! counts in both.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::Clock;
use crate::verdict::{Finding, Health, Step};

/// Jumps that are remembered.
const JUMPS: usize = 32;
/// Readings that were interrupted for longer are taken again.
const APART: i128 = 50_000_000;
const TRIES: usize = 5;

/// What both clocks say at one moment, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Reading {
    real: i128,
    since_boot: i128,
}

/// Keeps what was read before.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Option<Reading>,
    /// When, by the time since boot, and how far.
    jumps: VecDeque<(i128, i128)>,
}

impl Watch {
    pub(super) fn look(&mut self, settings: &Clock) -> Finding {
        let begun = Instant::now();
        let finding = self.judge(read(), settings);
        Finding { elapsed: begun.elapsed(), ..finding }
    }

    fn judge(&mut self, now: Reading, settings: &Clock) -> Finding {
        if let Some(last) = self.last.replace(now) {
            let jump = (now.real - last.real) - (now.since_boot - last.since_boot);
            if jump.unsigned_abs() >= settings.step.as_nanos() {
                self.jumps.push_back((now.since_boot, jump));
            }
        }
        let hold = i128::try_from(settings.hold.as_nanos()).unwrap_or(i128::MAX);
        self.jumps.retain(|(at, _)| now.since_boot - at < hold);
        while self.jumps.len() > JUMPS {
            self.jumps.pop_front();
        }
        let Some((at, jump)) = self.jumps.back().copied() else {
            return Finding::ok(Step::Clock, Duration::ZERO);
        };
        let ago = seconds(now.since_boot - at);
        let others = match self.jumps.len() {
            1 => String::new(),
            number => format!(", {number} times lately"),
        };
        let reason = format!("the clock has jumped by {:+.1} s, {ago:.0} s ago{others}", seconds(jump));
        Finding::new(Step::Clock, Health::Degraded, reason, Duration::ZERO)
            .advise(
                "see how the clock is kept (chronyc tracking, timedatectl); Nova compares clocks of hosts",
            )
            .with("jump_s", format!("{:.3}", seconds(jump)))
    }
}

fn read() -> Reading {
    let mut reading = Reading { real: 0, since_boot: 0 };
    for _ in 0..TRIES {
        let before = nanoseconds(ClockId::Boottime);
        let real = nanoseconds(ClockId::Realtime);
        let after = nanoseconds(ClockId::Boottime);
        reading = Reading { real, since_boot: i128::midpoint(before, after) };
        if after - before < APART {
            break;
        }
    }
    reading
}

fn nanoseconds(clock: ClockId) -> i128 {
    let time = clock_gettime(clock);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

fn seconds(nanoseconds: i128) -> f64 {
    let milliseconds = (nanoseconds / 1_000_000).clamp(i32::MIN.into(), i32::MAX.into());
    f64::from(i32::try_from(milliseconds).unwrap_or_default()) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i128 = 1_000_000_000;

    fn at(real: i128, since_boot: i128) -> Reading {
        Reading { real: real * SECOND, since_boot: since_boot * SECOND }
    }

    #[test]
    fn a_jump_is_told_for_a_while() {
        let mut watch = Watch::default();
        let settings = Clock::default();
        assert_eq!(watch.judge(at(1000, 10), &settings).health, Health::Ok);
        assert_eq!(watch.judge(at(1011, 20), &settings).health, Health::Ok);
        let jumped = watch.judge(at(4621, 30), &settings);
        assert_eq!(jumped.health, Health::Degraded);
        assert_eq!(jumped.reason, "the clock has jumped by +3600.0 s, 0 s ago");
        let back = watch.judge(at(1031, 40), &settings);
        assert_eq!(back.reason, "the clock has jumped by -3600.0 s, 0 s ago, 2 times lately");
        assert_eq!(watch.judge(at(1331, 340), &settings).health, Health::Ok);
    }

    #[test]
    fn a_leap_second_a_slew_and_a_sleep_are_none() {
        let mut watch = Watch::default();
        let settings = Clock::default();
        for (real, since_boot) in [(1000, 10), (1009, 20), (1018, 30), (90_018, 89_030)] {
            assert_eq!(watch.judge(at(real, since_boot), &settings).health, Health::Ok);
        }
    }

    #[test]
    fn many_jumps_take_no_memory() {
        let mut watch = Watch::default();
        for jump in 0..1000 {
            watch.judge(at(jump * 100, jump), &Clock::default());
        }
        assert!(watch.jumps.len() <= JUMPS);
        assert!(seconds(i128::MAX) > 2e6 && seconds(i128::MIN) < -2e6);
    }

    #[test]
    fn the_clock_of_this_machine_stands_still_relative_to_its_boot() {
        let mut watch = Watch::default();
        for _ in 0..1000 {
            assert_eq!(watch.look(&Clock::default()).health, Health::Ok);
        }
    }
}
