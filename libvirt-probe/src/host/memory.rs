//! Memory that is left, and processes that the kernel has killed for want of it.

use std::time::Duration;

use tokio::time::Instant;

use super::Memory;
use crate::sys::proc::{Roots, parse_value, read_text};
use crate::verdict::{Finding, Health, Step};

/// Keeps the counter.
#[derive(Debug, Default)]
pub(super) struct Watch {
    killed: Option<u64>,
    /// How many lately, and when the last of them.
    lately: Option<(u64, Instant)>,
}

impl Watch {
    pub(super) fn look(&mut self, settings: &Memory, roots: &Roots) -> Finding {
        let begun = Instant::now();
        let info = read_text(&roots.proc.join("meminfo"));
        let vmstat = read_text(&roots.proc.join("vmstat")).unwrap_or_default();
        let finding = match info {
            Ok(info) => self.judge(&info, &vmstat, settings, begun),
            Err(error) => {
                let reason = format!("memory cannot be looked at: {error}");
                Finding::new(Step::Memory, Health::Unknown, reason, Duration::ZERO)
            }
        };
        Finding { elapsed: begun.elapsed(), ..finding }
    }

    fn judge(&mut self, info: &str, vmstat: &str, settings: &Memory, now: Instant) -> Finding {
        let finding = |health, reason: String| Finding::new(Step::Memory, health, reason, Duration::ZERO);
        let Some(available) = parse_value(info, "MemAvailable").map(|kib| kib / 1024) else {
            return finding(
                Health::Unknown,
                "the kernel does not say how much memory is available".to_owned(),
            );
        };
        if let Some(killed) = parse_value(vmstat, "oom_kill") {
            let new = killed.saturating_sub(self.killed.replace(killed).unwrap_or(killed));
            if new > 0 {
                let before = self.lately.map_or(0, |(number, _)| number);
                self.lately = Some((before + new, now));
            }
        }
        self.lately = self.lately.filter(|(_, at)| now - *at < settings.hold);
        let few = format!("{available} MiB of memory are left");
        let found = match self.lately {
            _ if available < settings.critical => finding(Health::Failed, few),
            Some((number, at)) => {
                let (what, ago) = (processes(number), (now - at).as_secs());
                finding(
                    Health::Degraded,
                    format!("the kernel has killed {what} for want of memory, {ago} s ago"),
                )
            }
            None if available < settings.low => finding(Health::Degraded, few),
            None => Finding::ok(Step::Memory, Duration::ZERO),
        };
        let found = found.with("available_mib", available);
        if found.health == Health::Ok {
            return found;
        }
        found.advise("see what takes it (ps -eo rss,args --sort -rss) and Nova's reserved_host_memory_mb")
    }
}

fn processes(number: u64) -> String {
    if number == 1 { "a process".to_owned() } else { format!("{number} processes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(mib: u64) -> String {
        format!("MemTotal:  99999999 kB\nMemAvailable: {} kB\n", mib * 1024)
    }

    #[test]
    fn little_memory_is_told() {
        let mut watch = Watch::default();
        let settings = Memory { critical: 64, ..Memory::default() };
        for (mib, health) in
            [(9000, Health::Ok), (256, Health::Ok), (255, Health::Degraded), (63, Health::Failed)]
        {
            let finding = watch.judge(&info(mib), "", &settings, Instant::now());
            assert_eq!(finding.health, health, "{mib}");
        }
        assert_eq!(watch.judge("", "", &settings, Instant::now()).health, Health::Unknown);
    }

    #[test]
    fn killed_processes_are_told_for_a_while() {
        let mut watch = Watch::default();
        let begin = Instant::now();
        let mut at = |seconds, killed: u64| {
            let now = begin + Duration::from_secs(seconds);
            let finding = watch.judge(&info(9000), &format!("oom_kill {killed}\n"), &Memory::default(), now);
            (finding.health, finding.reason)
        };
        assert_eq!(at(0, 40).0, Health::Ok);
        let text = "the kernel has killed a process for want of memory, 0 s ago";
        assert_eq!(at(10, 41), (Health::Degraded, text.to_owned()));
        let text = "the kernel has killed 3 processes for want of memory, 0 s ago";
        assert_eq!(at(20, 43), (Health::Degraded, text.to_owned()));
        assert_eq!(at(319, 43).0, Health::Degraded);
        assert_eq!(at(320, 43).0, Health::Ok);
    }

    #[test]
    fn this_machine_says_what_it_has() {
        let finding = Watch::default().look(&Memory { low: 0, ..Memory::default() }, &Roots::default());
        assert_eq!((finding.health, finding.evidence.len()), (Health::Ok, 1));
        let nowhere = Roots { proc: "/nonexistent".into(), sys: "/".into() };
        assert_eq!(Watch::default().look(&Memory::default(), &nowhere).health, Health::Unknown);
    }
}
