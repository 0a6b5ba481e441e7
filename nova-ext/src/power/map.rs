//! Which power device each host has: a TOML file of mode 0600.
//!
//! ```toml
//! [host."compute-1"]
//! driver = "ipmi"
//! address = "192.0.2.11"
//! user = "fencer"
//! password_file = "/etc/pcmk-remote/bmc.password"
//! ```

mod entry;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{Device, PowerError, confirm};
use crate::config::Names;
use crate::ids::HostName;
use crate::proof::kdump;
use crate::secret::{SecretError, read_private};
pub use entry::{Driver, Entry};

/// Where the file is, unless the configuration says otherwise.
pub const FILE: &str = "/etc/pcmk-remote/power.toml";

/// Devices that can be asked at the same time at all.
const MOST_AT_ONCE: usize = 4096;

/// How devices are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Each for so long.
    pub within: Duration,
    /// So many of them at a time.
    pub at_once: usize,
}

/// The devices of all hosts.
#[derive(Debug)]
pub struct Map {
    path: PathBuf,
    hosts: BTreeMap<HostName, Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    host: BTreeMap<HostName, Entry>,
}

/// Why the map cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] SecretError),
    /// It is no such file.
    #[error("{path}: {why}", path = .0.display(), why = .1)]
    Syntax(PathBuf, String),
    /// Two hosts with one device: switching one off would switch off the other.
    #[error("{path}: {one} and {other} both have {device}. If that is so, set shared = true in both: then neither can be fenced without the other", path = .path.display())]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// A host.
        one: HostName,
        /// Another.
        other: HostName,
        /// What they have in common.
        device: String,
    },
    /// A host that is not in it.
    #[error("{path} has no host {host}: it has {known}", path = .path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The host.
        host: HostName,
        /// What there is.
        known: String,
    },
    /// A name that the configuration does not mean for this host.
    #[error("{path} has {name}, but by [[host]] of the configuration that is not the device of {host}", path = .path.display())]
    Another {
        /// The file.
        path: PathBuf,
        /// What is in it.
        name: HostName,
        /// The host.
        host: HostName,
    },
    /// A host that is off only if another one is.
    #[error("{host} shares its power device with {others}: switching it off would switch them off as well")]
    Shared {
        /// The host.
        host: HostName,
        /// The others.
        others: String,
    },
    /// The device cannot be used.
    #[error("{host}: {error}")]
    Device {
        /// The host.
        host: HostName,
        /// Why.
        #[source]
        error: PowerError,
    },
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, and should be changed.
    Warning,
    /// This host cannot be fenced.
    Error,
}

/// What was found about a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The host.
    pub host: HostName,
    /// Its device; empty if there is none to be named.
    pub device: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub text: String,
}

impl Map {
    /// Reads it; refuses what is ambiguous.
    pub fn load(path: &Path) -> Result<Self, MapError> {
        let text = read_private(path)?;
        let file: File = toml::from_str(&text).map_err(|error| {
            // The message alone: the text around it may hold a password.
            let line =
                error.span().map(|span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
            let at = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            MapError::Syntax(path.to_owned(), format!("{at}{}", error.message()))
        })?;
        let map = Self { path: path.to_owned(), hosts: file.host };
        map.check()?;
        Ok(map)
    }

    fn check(&self) -> Result<(), MapError> {
        let mut devices: BTreeMap<String, (&HostName, &Entry)> = BTreeMap::new();
        let mut bases: BTreeMap<String, (&HostName, &Entry)> = BTreeMap::new();
        let mut boards: BTreeMap<_, BTreeMap<String, (&HostName, &Entry)>> = BTreeMap::new();
        let mut addresses = kdump::Senders::default();
        let mut names: BTreeMap<String, &HostName> = BTreeMap::new();
        for (host, entry) in &self.hosts {
            let ambiguous = |one: &HostName, device: String| MapError::Ambiguous {
                path: self.path.clone(),
                one: one.clone(),
                other: host.clone(),
                device,
            };
            if let Some(one) = names.insert(host.as_str().to_ascii_lowercase(), host) {
                return Err(ambiguous(one, "the same name".into()));
            }
            let (identity, base) = (entry.identity(), entry.base());
            // A device without a system named may be the system that another host names.
            let whole = if identity == base { bases.get(&base) } else { devices.get(&base) };
            let other = devices.get(&identity).or(whole).copied();
            if let Some((one, other)) = other
                && !(entry.shared && other.shared)
            {
                return Err(ambiguous(one, format!("the device {identity}")));
            }
            devices.insert(identity, (host, entry));
            bases.insert(base, (host, entry));
            if let Some(board) = entry.board() {
                let (kind, at) = (entry.kind(), board.0.clone());
                let known = boards.entry(board).or_default();
                let strange =
                    known.iter().find(|(other, (_, of))| **other != kind && !(entry.shared && of.shared));
                if let Some((_, (one, _))) = strange {
                    return Err(ambiguous(one, format!("the device at {at}, by different drivers")));
                }
                // The next ones are held against the one that is less lenient.
                if known.get(&kind).is_none_or(|(_, of)| of.shared) {
                    known.insert(kind, (host, entry));
                }
            }
            for address in &entry.kdump {
                if let Err(kdump::Ambiguous { one, address, .. }) = addresses.add(host, *address) {
                    return Err(ambiguous(&one, format!("the kdump address {address}")));
                }
            }
        }
        Ok(())
    }

    /// All hosts, with their devices.
    pub fn hosts(&self) -> impl Iterator<Item = (&HostName, &Entry)> {
        self.hosts.iter()
    }

    /// A host's entry.
    pub fn entry(&self, host: &HostName) -> Result<&Entry, MapError> {
        self.hosts.get(host).ok_or_else(|| {
            let known: Vec<_> = self.hosts.keys().take(5).map(HostName::as_str).collect();
            let more = if self.hosts.len() > known.len() { " …" } else { "" };
            let known = if known.is_empty() { "none".into() } else { known.join(", ") + more };
            MapError::Unknown { path: self.path.clone(), host: host.clone(), known }
        })
    }

    /// A host's device. A device that several hosts share can be read; [`Map::own_device`] is for what switches.
    pub fn device(&self, host: &HostName) -> Result<Box<dyn Device>, MapError> {
        self.entry(host)?.device().map_err(|error| MapError::Device { host: host.clone(), error })
    }

    /// A host's device, if it is of this host alone.
    pub fn own_device(&self, host: &HostName) -> Result<Box<dyn Device>, MapError> {
        let entry = self.entry(host)?;
        // Without the word of both it was refused when the map was read.
        let others = self
            .hosts
            .iter()
            .filter(|(other, of)| *other != host && entry.shared && of.shared && entry.is(of));
        let others: Vec<_> = others.map(|(other, _)| other.as_str()).collect();
        if others.is_empty() {
            self.device(host)
        } else {
            Err(MapError::Shared { host: host.clone(), others: others.join(", ") })
        }
    }

    /// What the map calls a host of Nova: what the configuration says, and nothing else then; or its name in Nova, or that of
    /// its node, unless the configuration calls another host so.
    pub fn name(&self, names: &Names, host: &HostName) -> Option<HostName> {
        if let Some(name) = names.power_of(host) {
            return name.parse().ok().filter(|name| self.hosts.contains_key(name));
        }
        let node = names.node(host).and_then(|node| node.as_str().parse().ok());
        let mut known = [Some(host.clone()), node].into_iter().flatten();
        known.find(|name| self.hosts.contains_key(name) && !names.is_power_of_another(name.as_str(), host))
    }

    /// [`Map::name`]; the error says why there is none.
    pub fn named(&self, names: &Names, host: &HostName) -> Result<HostName, MapError> {
        if let Some(name) = self.name(names, host) {
            return Ok(name);
        }
        let called = names.power_of(host).and_then(|name| name.parse().ok());
        let called = called.unwrap_or_else(|| host.clone());
        self.entry(&called)?;
        Err(MapError::Another { path: self.path.clone(), name: called, host: host.clone() })
    }

    /// [`Map::device`] of a host of Nova.
    pub fn device_of(&self, names: &Names, host: &HostName) -> Result<Box<dyn Device>, MapError> {
        self.device(&self.named(names, host)?)
    }

    /// [`Map::own_device`] of a host of Nova.
    pub fn own_device_of(&self, names: &Names, host: &HostName) -> Result<Box<dyn Device>, MapError> {
        self.own_device(&self.named(names, host)?)
    }

    /// The addresses from which the crash kernel of a host of Nova may speak, which has this name in the map.
    pub fn kdump_senders(&self, name: &HostName, host: &HostName) -> kdump::Senders {
        let mut senders = kdump::Senders::default();
        let entry = self.hosts.get(name);
        for address in entry.iter().flat_map(|entry| &entry.kdump) {
            // What is ambiguous was refused when the map was read.
            let _ = senders.add(host, *address);
        }
        senders
    }

    /// Whether each device could be used, and whether hosts of Nova are missing (`nova`: all of them, if known, and how
    /// they are called).
    pub fn validate(&self, nova: Option<(&Names, &BTreeSet<HostName>)>) -> Vec<Finding> {
        let mut found: Vec<Finding> =
            self.hosts.iter().map(|(host, entry)| self.judge(host, entry)).collect();
        if let Some((names, nova)) = nova {
            let lacking = |host: &HostName, text: &str| Finding {
                host: host.clone(),
                device: String::new(),
                severity: Severity::Error,
                text: text.to_owned(),
            };
            let missing = nova.iter().filter(|host| self.name(names, host).is_none());
            found.extend(missing.map(|host| lacking(host, "it has no power device in the map")));
            let known: BTreeSet<HostName> = nova.iter().filter_map(|host| self.name(names, host)).collect();
            let strange = self.hosts.keys().filter(|host| !known.contains(*host));
            found.extend(
                strange.map(|host| lacking(host, "Nova has no such host: is it spelled as Nova has it?")),
            );
        }
        found
    }

    fn judge(&self, host: &HostName, entry: &Entry) -> Finding {
        let finding = |device, severity, text| Finding { host: host.clone(), device, severity, text };
        match (self.own_device(host), entry.weakness()) {
            (Err(error), _) => finding(entry.identity(), Severity::Error, error.to_string()),
            (Ok(device), Some(weak)) => finding(device.name(), Severity::Warning, weak),
            (Ok(device), None) => finding(device.name(), Severity::Ok, "it can be used".into()),
        }
    }

    /// The same, and asks each device for its power.
    pub async fn validate_live(
        &self,
        nova: Option<(&Names, &BTreeSet<HostName>)>,
        boards: Pace,
        agents: Pace,
    ) -> Vec<Finding> {
        let mut found = self.validate(nova);
        let [board_places, agent_places] =
            [boards, agents].map(|pace| Arc::new(Semaphore::new(pace.at_once.clamp(1, MOST_AT_ONCE))));
        let mut asked = tokio::task::JoinSet::new();
        for (number, finding) in found.iter().enumerate() {
            if finding.severity == Severity::Error {
                continue;
            }
            let Ok(mut device) = self.device(&finding.host) else { continue };
            let is_agent = self.hosts.get(&finding.host).is_some_and(|entry| entry.driver == Driver::Agent);
            let (pace, places) = if is_agent { (agents, &agent_places) } else { (boards, &board_places) };
            let places = Arc::clone(places);
            asked.spawn(async move {
                let _place = places.acquire().await;
                (number, confirm::status(device.as_mut(), pace.within).await)
            });
        }
        while let Some(answer) = asked.join_next().await {
            let Ok((number, answer)) = answer else { continue };
            let Some(finding) = found.get_mut(number) else { continue };
            match answer {
                Ok(outcome) if finding.severity == Severity::Ok => {
                    finding.text = format!("it reads {}", outcome.state);
                }
                Ok(outcome) => finding.text = format!("it reads {}; {}", outcome.state, finding.text),
                Err(error) => {
                    finding.severity = Severity::Error;
                    finding.text = error.to_string();
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
