//! Pressure: how much of the last minute tasks have waited for CPU, memory and disks.

use std::time::Instant;

use super::Pressure;
use crate::sys::proc::{Roots, read_text};
use crate::verdict::{Finding, Health, Step};

pub(super) fn look(settings: &Pressure, roots: &Roots) -> Finding {
    let begun = Instant::now();
    let read = |what: &str, who| {
        let text = read_text(&roots.proc.join("pressure").join(what)).ok()?;
        last_minute(&text, who)
    };
    let (cpu, memory, io) = (read("cpu", "some"), read("memory", "full"), read("io", "full"));
    if (cpu, memory, io) == (None, None, None) {
        let finding = Finding::ok(Step::Pressure, begun.elapsed());
        return Finding {
            reason: "the kernel does not measure it (psi=1 turns it on)".to_owned(),
            ..finding
        };
    }
    let above = |value: Option<f64>, limit| value.filter(|value| *value >= limit);
    let found = |health, value: f64, who, what| {
        let reason = format!("{who} have waited for {what} for {value:.0} % of the last minute");
        Finding::new(Step::Pressure, health, reason, begun.elapsed())
    };
    let finding = if let Some(value) = above(memory, settings.memory_failed) {
        found(Health::Failed, value, "all tasks", "memory")
            .advise("see what takes it (ps -eo rss,args --sort -rss)")
    } else if let Some(value) = above(memory, settings.memory) {
        found(Health::Degraded, value, "all tasks", "memory")
            .advise("see what takes it (ps -eo rss,args --sort -rss)")
    } else if let Some(value) = above(io, settings.io) {
        found(Health::Degraded, value, "all tasks", "disks").advise("see which disk (iostat -x 1)")
    } else if let Some(value) = above(cpu, settings.cpu) {
        found(Health::Degraded, value, "tasks", "CPU").advise("see what uses it (top)")
    } else {
        Finding::ok(Step::Pressure, begun.elapsed())
    };
    let all = [("cpu_some", cpu), ("memory_full", memory), ("io_full", io)];
    let known = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
    known.fold(finding, |finding, (name, value)| finding.with(name, format!("{value:.2}")))
}

/// The share of the last minute, in percent.
fn last_minute(text: &str, who: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(who)?.strip_prefix(' '))?;
    let value = line.split(' ').find_map(|word| word.strip_prefix("avg60="))?;
    value.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(cpu: f64, memory: f64, io: f64) -> Finding {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { proc: dir.path().into(), sys: dir.path().into() };
        let pressure = dir.path().join("pressure");
        std::fs::create_dir(&pressure).unwrap();
        let line = |who, value: f64| format!("{who} avg10=99.00 avg60={value:.2} avg300=99.00 total=1\n");
        std::fs::write(pressure.join("cpu"), line("some", cpu)).unwrap();
        std::fs::write(pressure.join("memory"), line("some", 99.0) + &line("full", memory)).unwrap();
        std::fs::write(pressure.join("io"), line("some", 99.0) + &line("full", io)).unwrap();
        look(&Pressure { cpu: 90.0, ..Pressure::default() }, &roots)
    }

    #[test]
    fn each_has_its_limit() {
        assert_eq!(with(89.9, 19.9, 79.9).health, Health::Ok);
        for (finding, health, word) in [
            (with(90.0, 0.0, 0.0), Health::Degraded, "tasks have waited for CPU for 90 %"),
            (with(0.0, 0.0, 80.0), Health::Degraded, "all tasks have waited for disks for 80 %"),
            (with(99.0, 20.0, 99.0), Health::Degraded, "all tasks have waited for memory for 20 %"),
            (with(99.0, 60.5, 99.0), Health::Failed, "all tasks have waited for memory for 60 %"),
        ] {
            assert_eq!(finding.health, health);
            assert!(finding.reason.starts_with(word), "{finding:?}");
            assert_eq!(finding.evidence.len(), 3);
        }
    }

    #[test]
    fn a_kernel_without_it_is_fine() {
        let nowhere = Roots { proc: "/nonexistent".into(), sys: "/".into() };
        let finding = look(&Pressure::default(), &nowhere);
        assert!(finding.health == Health::Ok && finding.reason.contains("psi=1"), "{finding:?}");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(some |full )?[ -~\n]{0,80}") {
            last_minute(&text, "some");
        }
    }
}
