//! The QEMU processes of the domains: which are stopped or blocked. Looked at in turn, so that a check stays
//! cheap on hosts with many of them.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::domain::Guest;
use super::process::{Process, Stat, pid_in};
use crate::rpc::message::{Control, Name};

/// A process that stays blocked, and does nothing, for this long is named.
const BLOCKED: Duration = Duration::from_secs(3);

type Uuid = [u8; 16];

/// All domains that run or are paused.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    known: HashMap<Uuid, Entry>,
    /// The one that was looked at longest ago first.
    turn: VecDeque<Uuid>,
    /// The same for their monitors.
    monitors: VecDeque<Uuid>,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    process: Option<Process>,
    /// Was looked for.
    tried: bool,
    state: Option<char>,
    ticks: u64,
    /// Since when it is blocked and does nothing.
    blocked: Option<Instant>,
    control: Option<(Control, Instant)>,
}

/// What is wrong with a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Its QEMU is stopped (T), held by a debugger (t) or blocked (D).
    Process(Guest),
    /// Its monitor is occupied for so many milliseconds.
    Occupied(u64),
    /// libvirt has lost its monitor.
    Broken,
}

impl Guests {
    /// Which domains there are now.
    pub(crate) fn update<'a>(&mut self, domains: impl IntoIterator<Item = &'a Name>) {
        let mut kept = HashMap::new();
        for domain in domains {
            let old = self.known.remove(&domain.uuid).filter(|entry| entry.name == *domain);
            let entry = old.unwrap_or_else(|| {
                self.turn.push_front(domain.uuid);
                self.monitors.push_front(domain.uuid);
                Entry {
                    name: domain.clone(),
                    process: None,
                    tried: false,
                    state: None,
                    ticks: 0,
                    blocked: None,
                    control: None,
                }
            });
            kept.insert(domain.uuid, entry);
        }
        self.known = kept;
        // One that was started anew is in twice; it keeps its first place.
        let mut seen = std::collections::HashSet::with_capacity(self.known.len());
        self.turn.retain(|uuid| self.known.contains_key(uuid) && seen.insert(*uuid));
        seen.clear();
        self.monitors.retain(|uuid| self.known.contains_key(uuid) && seen.insert(*uuid));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Looks at those whose turn it is, so that each has had one within `round`, and again at those in trouble.
    pub(crate) fn look(&mut self, folders: &[PathBuf], now: Instant, round: Duration) {
        let share = match self.looked {
            None => 1.0,
            Some(last) => now.saturating_duration_since(last).as_secs_f64() / round.as_secs_f64().max(0.001),
        };
        self.looked = Some(now);
        let mut again: Vec<Uuid> = Vec::new();
        let mut fresh = 0_usize;
        for (uuid, entry) in &self.known {
            if !entry.tried {
                fresh += 1;
            } else if !matches!(entry.state, None | Some('R' | 'S' | 'I')) {
                again.push(*uuid);
            }
        }
        #[allow(clippy::cast_precision_loss, clippy::cast_sign_loss, clippy::cast_possible_truncation)]
        let count = (self.len() as f64 * share).ceil() as usize;
        // New ones are at the front.
        for _ in 0..count.max(fresh).min(self.turn.len()) {
            let Some(uuid) = self.turn.pop_front() else { break };
            self.turn.push_back(uuid);
            if let Some(entry) = self.known.get_mut(&uuid) {
                entry.look(folders, now);
            }
        }
        for uuid in again {
            if let Some(entry) = self.known.get_mut(&uuid) {
                entry.look(folders, now);
            }
        }
    }

    /// The domains whose monitors' turn it is, and those that are known to be occupied.
    pub(crate) fn monitors(&mut self, count: usize) -> Vec<Name> {
        let occupied = |entry: &Entry| entry.control.is_some_and(|(control, _)| control.state > 1);
        let mut names: Vec<Name> = self
            .known
            .values()
            .filter(|entry| occupied(entry))
            .take(count)
            .map(|entry| entry.name.clone())
            .collect();
        for _ in 0..count.min(self.monitors.len()) {
            let Some(uuid) = self.monitors.pop_front() else { break };
            self.monitors.push_back(uuid);
            if let Some(entry) = self.known.get(&uuid)
                && !occupied(entry)
            {
                names.push(entry.name.clone());
            }
        }
        names
    }

    /// What a domain's monitor does.
    pub(crate) fn told(&mut self, domain: &Name, control: Option<Control>, now: Instant) {
        if let Some(entry) = self.known.get_mut(&domain.uuid) {
            entry.control = control.map(|control| (control, now));
        }
    }

    /// The process of a domain, as seen last.
    pub(crate) fn guest(&self, uuid: &Uuid) -> Option<Guest> {
        let entry = self.known.get(uuid)?;
        Some(Guest { pid: entry.process?.pid, state: entry.state? })
    }

    /// What a domain's monitor did when it was last told.
    pub(crate) fn control(&self, uuid: &Uuid) -> Option<Control> {
        Some(self.known.get(uuid)?.control?.0)
    }

    /// Processes that were found.
    pub(crate) fn processes(&self) -> usize {
        self.known.values().filter(|entry| entry.process.is_some()).count()
    }

    /// What is wrong, in the order of names.
    pub(crate) fn troubles(&self, now: Instant, occupied: Duration) -> Vec<(String, Trouble)> {
        let mut found: Vec<_> = self
            .known
            .values()
            .filter_map(|entry| Some((entry.name.name.clone(), entry.trouble(now, occupied)?)))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }
}

impl Entry {
    fn look(&mut self, folders: &[PathBuf], now: Instant) {
        self.tried = true;
        let stat = match self.process {
            Some(process) => process.stat(),
            None => folders.iter().find_map(|folder| find(folder, &self.name.name)).map(|(process, stat)| {
                self.process = Some(process);
                stat
            }),
        };
        let Some(stat) = stat else {
            // Ended; libvirt will tell. Should there be a new one, it is found the next time.
            self.process = None;
            self.state = None;
            self.blocked = None;
            return;
        };
        self.blocked = match self.blocked {
            _ if stat.letter != 'D' => None,
            Some(since) if stat.ticks == self.ticks => Some(since),
            _ => Some(now),
        };
        self.state = Some(stat.letter);
        self.ticks = stat.ticks;
    }

    fn trouble(&self, now: Instant, occupied: Duration) -> Option<Trouble> {
        if let (Some(process), Some(state)) = (self.process, self.state) {
            let blocked = self.blocked.is_some_and(|since| now.saturating_duration_since(since) >= BLOCKED);
            if matches!(state, 'T' | 't') || (state == 'D' && blocked) {
                return Some(Trouble::Process(Guest { pid: process.pid, state }));
            }
        }
        let (control, told) = self.control?;
        match (control.state, control.details) {
            // Older than this, it may have been done long ago.
            _ if now.saturating_duration_since(told) > STALE => None,
            (2, _) if u128::from(control.since) >= occupied.as_millis() => {
                Some(Trouble::Occupied(control.since))
            }
            (3, _) => Some(Trouble::Broken),
            _ => None,
        }
    }
}

/// What was heard about a monitor longer ago says nothing about now.
const STALE: Duration = Duration::from_secs(60);

/// The QEMU of a domain by libvirt's file.
fn find(folder: &Path, name: &str) -> Option<(Process, Stat)> {
    // A name of libvirt has no slash; a peer's may.
    if name.contains('/') {
        return None;
    }
    let (process, stat) = Process::find(pid_in(&folder.join(format!("{name}.pid")))?)?;
    // The number may be another one's by now, or one of another PID namespace.
    (stat.name.starts_with("qemu") || stat.name.starts_with("kvm")).then_some((process, stat))
}

impl Trouble {
    /// In words.
    pub(crate) fn text(&self, name: &str) -> String {
        match self {
            Self::Process(Guest { state: 'T', .. }) => format!("QEMU of {name} is stopped (state T)"),
            Self::Process(Guest { state: 't', .. }) => {
                format!("QEMU of {name} is held by a debugger (state t)")
            }
            Self::Process(_) => format!("QEMU of {name} is blocked in the kernel (state D)"),
            Self::Occupied(since) => format!("the monitor of {name} is occupied for {} s", since / 1000),
            Self::Broken => format!("libvirt has lost the monitor of {name}"),
        }
    }

    /// What to do.
    pub(crate) fn advice(&self, name: &str) -> String {
        match self {
            Self::Process(Guest { pid, state: 'T' }) => {
                format!("kill -CONT {pid}; find out who sent it SIGSTOP")
            }
            Self::Process(Guest { pid, state: 't' }) => {
                format!("grep TracerPid /proc/{pid}/status names the debugger: end it")
            }
            Self::Process(Guest { pid, .. }) => {
                format!("cat /proc/{pid}/stack shows where: usually the disk of the instance does not answer")
            }
            Self::Occupied(_) | Self::Broken => format!(
                "virsh domcontrol {name} shows it; if it stays so, only stopping this guest helps: virsh destroy {name}"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
