//! Files of `/proc` and of control groups.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A file of the kernel that is longer is not read to its end.
const FILE_LIMIT: u64 = 64 << 10;
/// A process may have up to a million descriptors; whoever has more than this is not looked through.
const DESCRIPTORS: usize = 65_536;
/// A control group that has more is not looked through.
const PROCESSES: usize = 1024;

/// Where the kernel's file systems are mounted; somewhere else in tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// `/proc`
    pub proc: PathBuf,
    /// `/sys`
    pub sys: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into() }
    }
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// R, S, I: runs or waits for something to do.
    Alive,
    /// D: waits for a device and cannot be interrupted.
    Blocked,
    /// T: was sent SIGSTOP.
    Stopped,
    /// t: a debugger holds it.
    Traced,
    /// Z, X: has ended.
    Dead,
}

impl State {
    /// By its letter.
    fn of(letter: u8) -> Option<Self> {
        Some(match letter {
            b'R' | b'S' | b'I' | b'P' | b'W' | b'K' => Self::Alive,
            b'D' => Self::Blocked,
            b'T' => Self::Stopped,
            b't' => Self::Traced,
            b'Z' | b'X' | b'x' => Self::Dead,
            _ => return None,
        })
    }
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Name of the program, cut after 15 bytes by the kernel.
    pub name: String,
    /// What its first thread does.
    pub state: State,
    /// The letter that says so.
    pub letter: char,
    /// Its parent.
    pub parent: u32,
    /// CPU time used, in ticks.
    pub ticks: u64,
    /// Number of threads.
    pub threads: u32,
    /// When it was started, in ticks since boot. With the number, this tells it from all others.
    pub started: u64,
}

/// Reads `/proc/PID/stat`.
pub fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The name may contain anything, brackets as well.
    let open = text.iter().position(|&byte| byte == b'(')?;
    let close = text.iter().rposition(|&byte| byte == b')')?;
    let name = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().take(20).collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        name,
        state: State::of(*fields.first()?.as_bytes().first()?)?,
        letter: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        ticks: number(11)?.checked_add(number(12)?)?,
        threads: number(17)?.try_into().ok()?,
        started: number(19)?,
    })
}

/// Reads `cgroup.procs` or `/proc/PID/task/PID/children`: numbers and white space.
pub fn parse_pids(text: &[u8]) -> Vec<u32> {
    let text = String::from_utf8_lossy(text);
    let pids = text.split_ascii_whitespace().filter_map(|word| word.parse().ok());
    // 0: of another PID namespace
    pids.filter(|&pid| pid != 0).take(PROCESSES).collect()
}

/// The inode of a socket by what `/proc/PID/fd/N` points to.
pub fn parse_socket(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The value of a line `NAME VALUE` (as in `cgroup.events`, `vmstat`) or `NAME: VALUE kB` (as in `meminfo`).
pub fn parse_value(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = rest.strip_prefix(':').or_else(|| rest.strip_prefix(' '))?;
        rest.split_ascii_whitespace().next()?.parse().ok()
    })
}

/// The file's beginning.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Most are shorter, and read at once.
    let mut text = Vec::with_capacity(1024);
    File::open(path)?.take(FILE_LIMIT).read_to_end(&mut text)?;
    Ok(text)
}

/// The file's beginning, as text.
pub fn read_text(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read(path)?).into_owned())
}

impl Roots {
    /// A file of a process. None of those read here waits for what the process does; `cmdline` would.
    pub fn of(&self, pid: u32, file: &str) -> PathBuf {
        self.proc.join(pid.to_string()).join(file)
    }

    /// A process that is there.
    pub fn stat(&self, pid: u32) -> io::Result<Stat> {
        let text = read(&self.of(pid, "stat"))?;
        parse_stat(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is not what it was")))
    }

    /// Where in the kernel its first thread waits.
    pub fn wait_channel(&self, pid: u32) -> Option<String> {
        let name = read_text(&self.of(pid, "wchan")).ok()?;
        (!name.is_empty() && name != "0").then_some(name)
    }

    /// The inodes of its sockets.
    pub fn sockets(&self, pid: u32, found: &mut HashSet<u32>) -> io::Result<()> {
        for entry in std::fs::read_dir(self.of(pid, "fd"))?.take(DESCRIPTORS) {
            // Closed since.
            let Ok(link) = std::fs::read_link(entry?.path()) else { continue };
            found.extend(link.to_str().and_then(parse_socket));
        }
        Ok(())
    }

    /// Its children; empty where the kernel does not say.
    pub fn children(&self, pid: u32) -> Vec<u32> {
        let file = self.of(pid, "task").join(pid.to_string()).join("children");
        read(&file).map(|text| parse_pids(&text)).unwrap_or_default()
    }

    /// Its network namespace, as text to compare.
    pub fn network(&self, pid: u32) -> io::Result<PathBuf> {
        std::fs::read_link(self.of(pid, "ns/net"))
    }

    /// The network namespace of the calling thread, in which it asks for sockets.
    pub fn own_network(&self) -> io::Result<PathBuf> {
        std::fs::read_link(self.proc.join("thread-self/ns/net"))
    }

    /// A file of a control group, by the path that systemd or `/proc/PID/cgroup` gives.
    pub fn group(&self, group: &str, file: &str) -> PathBuf {
        self.sys.join("fs/cgroup").join(group.trim_start_matches('/')).join(file)
    }

    /// Processes of a control group, without those of groups in it.
    pub fn members(&self, group: &str) -> io::Result<Vec<u32>> {
        Ok(parse_pids(&read(&self.group(group, "cgroup.procs"))?))
    }

    /// The control group of a process (version 2 of them).
    pub fn group_of(&self, pid: u32) -> Option<String> {
        let text = read_text(&self.of(pid, "cgroup")).ok()?;
        text.lines().find_map(|line| Some(line.strip_prefix("0::")?.to_owned()))
    }

    /// Whether a control group is frozen (`systemctl freeze`, `podman pause`).
    pub fn is_frozen(&self, group: &str) -> bool {
        let events = read_text(&self.group(group, "cgroup.events"));
        events.is_ok_and(|events| parse_value(&events, "frozen") == Some(1))
    }

    /// Numbers of all processes.
    pub fn processes(&self) -> io::Result<impl Iterator<Item = u32>> {
        let entries = std::fs::read_dir(&self.proc)?.take(DESCRIPTORS);
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
    }

    /// Time since boot.
    pub fn uptime(&self) -> Option<std::time::Duration> {
        let text = read_text(&self.proc.join("uptime")).ok()?;
        let seconds: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
        std::time::Duration::try_from_secs_f64(seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_may_contain_brackets_and_blanks() {
        let text = b"4242 (a) S (b) T 1 4242 4242 0 -1 4194304 9 8 7 6 11 22 33 44 20 0 22 0 98765 1 2 3\n";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.name.as_str(), stat.state, stat.parent), ("a) S (b", State::Stopped, 1));
        assert_eq!((stat.ticks, stat.threads, stat.started), (33, 22, 98_765));
    }

    #[test]
    fn this_process_is_read() {
        let roots = Roots::default();
        let stat = roots.stat(std::process::id()).unwrap();
        assert_eq!(stat.state, State::Alive);
        assert!(stat.threads >= 1 && stat.started > 0);
        assert_eq!(roots.network(std::process::id()).unwrap(), roots.own_network().unwrap());
        assert!(roots.processes().unwrap().any(|pid| pid == std::process::id()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sockets = HashSet::new();
        roots.sockets(std::process::id(), &mut sockets).unwrap();
        assert!(!sockets.is_empty());
        drop(listener);
    }

    #[test]
    fn values_are_found_by_their_whole_name() {
        assert_eq!(parse_value("MemTotal:  5 kB\nMemAvailable:    77 kB\n", "MemAvailable"), Some(77));
        assert_eq!(parse_value("oom_kill_x 4\noom_kill 3\n", "oom_kill"), Some(3));
        assert_eq!(parse_value("populated 1\nfrozen 1", "frozen"), Some(1));
        assert_eq!(parse_value("frozen", "frozen"), None);
    }

    #[test]
    fn pids_and_sockets() {
        assert_eq!(parse_pids(b"12\n0\n7 x 9\n"), [12, 7, 9]);
        assert_eq!(parse_socket("socket:[4026]"), Some(4026));
        assert_eq!(parse_socket("anon_inode:[eventpoll]"), None);
        assert_eq!(parse_socket("socket:[99999999999]"), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in prop::collection::vec(any::<u8>(), 0..400)) {
            parse_stat(&text);
            parse_pids(&text);
            let text = String::from_utf8_lossy(&text);
            parse_socket(&text);
            parse_value(&text, "frozen");
        }

        #[test]
        fn every_name_is_read_back(name in "[^\\x00]{1,15}", pid in 1_u32.., ticks in any::<u32>()) {
            let text = format!("{pid} ({name}) D 7 1 1 0 -1 4 9 8 7 6 {ticks} 1 33 44 20 0 3 0 5 1 2 3\n");
            let stat = parse_stat(text.as_bytes()).unwrap();
            prop_assert_eq!(stat.name, name);
            prop_assert_eq!((stat.state, stat.ticks), (State::Blocked, u64::from(ticks) + 1));
        }
    }
}
