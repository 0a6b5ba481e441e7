//! The host itself: its disks, its clock, its memory, its load, and what it does in a panic.

mod clock;
mod kernel;
mod memory;
mod mounts;
mod pressure;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::config::span;
use crate::storage;
use crate::sys::proc::Roots;
use crate::verdict::{Finding, Health, Report, Subject};

/// Where Nova keeps its guests' disks by default.
const INSTANCES: &str = "/var/lib/nova/instances";
/// Directories that are written to at most.
const PATHS: usize = 8;

/// What is looked at. Each can be turned off.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The root file system.
    pub root: Root,
    /// Directories that must be writable.
    pub storage: Storage,
    /// The clock.
    pub clock: Clock,
    /// Memory.
    pub memory: Memory,
    /// Waiting for CPU, memory and disks.
    pub pressure: Pressure,
    /// The kernel: what it does in a panic, and whether it has had an accident.
    pub panic: Panic,
    /// Where the kernel's files are.
    #[serde(skip)]
    pub roots: Roots,
}

/// The root file system.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Root {
    /// Whether it is looked at.
    pub on: bool,
}

/// Directories that must be writable.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Whether they are written to.
    pub on: bool,
    /// Which; without any, Nova's instances' path if there is one.
    pub paths: Vec<PathBuf>,
    /// A write that takes longer has failed.
    #[serde(with = "span")]
    pub limit: Duration,
    /// A write that takes longer is slow.
    #[serde(with = "span")]
    pub slow: Duration,
    /// Between writes while somebody waits for news.
    #[serde(with = "span")]
    pub every: Duration,
}

/// The clock.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clock {
    /// Whether it is looked at.
    pub on: bool,
    /// A jump this far or farther is told.
    #[serde(with = "span")]
    pub step: Duration,
    /// For so long.
    #[serde(with = "span")]
    pub hold: Duration,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Whether it is looked at.
    pub on: bool,
    /// Available memory, in MiB, below which the host is degraded.
    pub low: u64,
    /// And below which it has failed; 0 for never.
    pub critical: u64,
    /// For how long a process killed by the kernel for want of memory is told.
    #[serde(with = "span")]
    pub hold: Duration,
}

/// How much of the last minute, in percent, all tasks (CPU: some) have waited. Above 100 is off.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pressure {
    /// Whether it is looked at.
    pub on: bool,
    /// Some have waited for CPU, degraded.
    pub cpu: f64,
    /// All have waited for memory, degraded.
    pub memory: f64,
    /// All have waited for memory, failed.
    pub memory_failed: f64,
    /// All have waited for disks, degraded.
    pub io: f64,
}

/// The kernel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Panic {
    /// Whether it is looked at.
    pub on: bool,
    /// Whether a kernel that would hang in a panic (no reboot, no crash kernel) is degraded.
    pub must_end: bool,
}

impl Default for Root {
    fn default() -> Self {
        Self { on: true }
    }
}

impl Default for Storage {
    /// 4 s and every 4 s: a disk that hangs is found within 10 s, also on a busy host.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { on: true, paths: Vec::new(), limit: seconds(4), slow: seconds(2), every: seconds(4) }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self { on: true, step: Duration::from_secs(2), hold: Duration::from_secs(300) }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self { on: true, low: 256, critical: 0, hold: Duration::from_secs(300) }
    }
}

impl Default for Pressure {
    fn default() -> Self {
        Self { on: true, cpu: 101.0, memory: 20.0, memory_failed: 60.0, io: 80.0 }
    }
}

impl Default for Panic {
    fn default() -> Self {
        Self { on: true, must_end: false }
    }
}

/// The probe.
#[derive(Debug)]
pub struct Host {
    settings: Settings,
    clock: clock::Watch,
    memory: memory::Watch,
    /// What was said about each directory last.
    told: Vec<(PathBuf, Health)>,
}

impl Host {
    /// Nothing is looked at yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, clock: clock::Watch::default(), memory: memory::Watch::default(), told: Vec::new() }
    }

    /// Looks at everything.
    pub async fn check(&mut self) -> Report {
        let begun = Instant::now();
        let Settings { root, clock, memory, pressure, panic, roots, .. } = &self.settings;
        let mut findings = Vec::new();
        if root.on {
            findings.push(mounts::look(roots).await);
        }
        let written = self.write().await;
        self.told = written.iter().map(|(path, finding)| (path.clone(), finding.health)).collect();
        findings.extend(written.into_iter().map(|(_, finding)| finding));
        if clock.on {
            findings.push(self.clock.look(clock));
        }
        if memory.on {
            findings.push(self.memory.look(memory, roots));
        }
        if pressure.on {
            findings.push(pressure::look(pressure, roots));
        }
        if panic.on {
            findings.push(kernel::look(panic, roots));
        }
        Report { subject: Subject::Host, findings, elapsed: begun.elapsed(), grace: None }
    }

    /// Returns when a directory that could be written to no longer can, or the other way round.
    pub async fn changed(&mut self) {
        if !self.settings.storage.on {
            return std::future::pending().await;
        }
        loop {
            sleep(self.settings.storage.every).await;
            let now = self.write().await;
            let same = |(path, finding): &(PathBuf, Finding)| {
                self.told.iter().any(|(told, health)| told == path && *health == finding.health)
            };
            if !now.iter().all(same) {
                return;
            }
        }
    }

    async fn write(&self) -> Vec<(PathBuf, Finding)> {
        let Storage { on, paths, limit, slow, .. } = &self.settings.storage;
        let mut findings = Vec::new();
        if !on {
            return findings;
        }
        // A directory that nobody has named need not be there.
        let default = [PathBuf::from(INSTANCES)];
        let (paths, must_exist) = if paths.is_empty() { (&default[..], false) } else { (&paths[..], true) };
        for path in paths.iter().take(PATHS) {
            let canary = storage::Canary { dir: path, must_exist, limit: *limit, slow: *slow };
            findings.push((path.clone(), canary.write(&self.settings.roots).await));
        }
        findings
    }
}

#[cfg(test)]
mod tests;
