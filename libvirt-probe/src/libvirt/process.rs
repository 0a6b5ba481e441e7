//! Processes that are told from all others that ever had their number.

use std::path::Path;
use std::time::Duration;

use crate::sys::proc::{Roots, parse_stat, read, read_text};
pub(crate) use crate::sys::proc::{Stat, State};

/// Ticks of a second in `/proc`, the same on all machines that libvirt runs on.
const TICKS: u64 = 100;

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    /// Its number.
    pub(crate) pid: i32,
    /// When it was started, in ticks since the machine was.
    pub(crate) started: u64,
}

impl Process {
    /// The process that has this number now.
    pub(crate) fn find(pid: i32) -> Option<(Self, Stat)> {
        let stat = Roots::default().stat(pid.try_into().ok()?).ok()?;
        Some((Self { pid, started: stat.started }, stat))
    }

    /// The process that has this number now, if it has not ended.
    pub(crate) fn alive(pid: i32) -> Option<(Self, Stat)> {
        Self::find(pid).filter(|(_, stat)| stat.state != State::Dead)
    }

    /// What it does; none if it is gone.
    pub(crate) fn stat(self) -> Option<Stat> {
        Self::find(self.pid).filter(|(process, _)| *process == self).map(|(_, stat)| stat)
    }

    /// What its first thread does, which in libvirt's daemons is the event loop: its time is its own.
    pub(crate) fn main_thread(self) -> Option<Stat> {
        let pid = self.pid;
        let text = read(Path::new(&format!("/proc/{pid}/task/{pid}/stat"))).ok()?;
        parse_stat(&text).filter(|stat| stat.started == self.started)
    }

    /// Where in the kernel its first thread sleeps; none if that is not told.
    pub(crate) fn wait_channel(self) -> Option<String> {
        Roots::default().wait_channel(self.pid.try_into().ok()?)
    }

    /// For how long it has been there.
    pub(crate) fn age(self) -> Option<Duration> {
        let started = Duration::from_millis(self.started.saturating_mul(1000 / TICKS));
        Some(Roots::default().uptime()?.saturating_sub(started))
    }
}

/// The number in a file such as `libvirtd.pid`.
pub(crate) fn pid_in(path: &Path) -> Option<i32> {
    read_text(path).ok()?.trim().parse().ok().filter(|pid| *pid > 0)
}

/// The youngest process of these names: of a daemon and its helpers, of an old one and a new one. Reads a file of
/// each process there is: only for when something is wrong.
pub(crate) fn named(names: &[String]) -> Option<Process> {
    let roots = Roots::default();
    let is_named = |pid: &u32| {
        read_text(&roots.of(*pid, "comm"))
            .is_ok_and(|comm| names.iter().any(|name| is_program(comm.trim_end(), name)))
    };
    let found = roots.processes().ok()?.filter(is_named);
    let alive = found.filter_map(|pid| Process::alive(pid.try_into().ok()?));
    alive.map(|(process, _)| process).max_by_key(|process| process.started)
}

/// Whether a name in `/proc`, which is cut, is that of a program.
pub(crate) fn is_program(comm: &str, program: &str) -> bool {
    comm == program || (comm.len() == 15 && program.starts_with(comm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_there_and_young() {
        let (process, stat) = Process::find(std::process::id().try_into().unwrap()).unwrap();
        assert!(stat.state == State::Alive && matches!(stat.letter, 'R' | 'S'), "{stat:?}");
        assert!(process.age().unwrap() < Duration::from_secs(3600));
        assert_eq!(process.stat().unwrap().started, process.started);
        assert!(process.main_thread().is_some());
        assert_eq!(Process { started: process.started + 1, ..process }.stat(), None);
        assert!(named(&[stat.name]).unwrap().started >= process.started);
        assert_eq!(named(&["no such program".into()]), None);
    }

    #[test]
    fn long_names_are_cut() {
        assert!(is_program("libvirtd", "libvirtd") && is_program("qemu-system-x86", "qemu-system-x86_64"));
        assert!(!is_program("libvirt", "libvirtd") && !is_program("libvirtd2", "libvirtd"));
    }
}
