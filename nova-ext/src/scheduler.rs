//! What Nova's scheduler is told: which hosts may take a server, and which of them rather than others.
//!
//! Pure, and quick: called for every server that is placed, in Nova's own process. What Nova knows of the hosts comes in
//! as plain values, time as well; no file, no socket, no clock. What has to be remembered between calls is in
//! [`Rooms`] and [`Arrivals`].

mod errand;
mod headroom;
mod spread;

pub use errand::{Errand, Request};
pub use headroom::{Group, Rooms};
pub use spread::{Arrivals, Weights};

use crate::cloud::OURS;
use crate::plan::capacity::Amount;
use crate::policy::keys::Reserve;

/// A host that could take the server, as Nova's scheduler knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Whether its service is forced down.
    pub forced_down: bool,
    /// Whether its service is disabled.
    pub disabled: bool,
    /// Why, in the words of who disabled it.
    pub reason: Option<String>,
    /// For whom it is kept.
    pub reserve: Reserve,
    /// Hosts that fail together with it: rack, power feed.
    pub domain: Option<String>,
    /// Hosts that take each other's servers.
    pub failover: Option<String>,
    /// What servers have of it.
    pub used: Amount,
    /// What servers may have of it.
    pub total: Amount,
    /// Its servers.
    pub servers: u64,
    /// What it is building, moving or rebuilding.
    pub busy: u64,
}

impl Host {
    /// What is free.
    fn free(&self) -> Amount {
        Amount {
            vcpus: self.total.vcpus.saturating_sub(self.used.vcpus),
            memory_mb: self.total.memory_mb.saturating_sub(self.used.memory_mb),
            disk_gb: self.total.disk_gb.saturating_sub(self.used.disk_gb),
        }
    }

    /// Whether servers can be put there at all, if only evacuated ones.
    fn takes(&self) -> bool {
        !self.forced_down && !self.disabled && self.reserve != Reserve::Nobody
    }
}

/// Why a host does not take a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// Its nova-compute is forced down: it is being fenced, or is off.
    #[error("its service is forced down: it is fenced")]
    Fenced,
    /// It was fenced and is not back in service.
    #[error("it was fenced and has not returned to service")]
    Returning,
    /// Evacuated servers alone may use it.
    #[error("it is reserved for evacuations")]
    Reserved,
    /// Nobody may.
    #[error("it is reserved for nobody")]
    Nobody,
    /// Then a host of its group could not be lost any more.
    #[error("a host of its group could not be evacuated any more: too little room would be left")]
    Headroom,
}

/// How strict a rule is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strictness {
    /// It is not looked at.
    #[default]
    Off,
    /// It is said, and nothing else.
    Warn,
    /// It counts.
    Enforce,
}

impl std::str::FromStr for Strictness {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "warn" => Ok(Self::Warn),
            "enforce" => Ok(Self::Enforce),
            _ => Err(format!("{text:?} is neither off, warn nor enforce")),
        }
    }
}

/// Whether a host may take a server on this errand, whatever the room.
pub fn refuses(host: &Host, errand: Errand) -> Option<Refusal> {
    if errand == Errand::Rebuild {
        // It is there already.
        return None;
    }
    if host.forced_down {
        return Some(Refusal::Fenced);
    }
    if host.disabled && host.reason.as_deref().is_some_and(|reason| reason.starts_with(OURS)) {
        return Some(Refusal::Returning);
    }
    match host.reserve {
        Reserve::No => None,
        Reserve::Nobody => Some(Refusal::Nobody),
        Reserve::Evacuations => (errand != Errand::Evacuation).then_some(Refusal::Reserved),
    }
}

#[cfg(test)]
mod tests {
    use super::Errand::{Boot, Evacuation, Move, Rebuild};
    use super::*;

    #[test]
    fn who_may_go_where() {
        let fenced = Host { forced_down: true, ..Host::default() };
        let returning =
            Host { disabled: true, reason: Some("nova-ha: off 2026-…".into()), ..Host::default() };
        // ComputeFilter is for that one.
        let maintained = Host { disabled: true, reason: Some("new disks".into()), ..Host::default() };
        let spare = Host { reserve: Reserve::Evacuations, ..Host::default() };
        let nobody = Host { reserve: Reserve::Nobody, ..Host::default() };
        let plain = Host::default();
        for (host, errand, refusal) in [
            (&plain, Boot, None),
            (&fenced, Boot, Some(Refusal::Fenced)),
            (&fenced, Evacuation, Some(Refusal::Fenced)),
            (&fenced, Rebuild, None),
            (&returning, Evacuation, Some(Refusal::Returning)),
            (&maintained, Move, None),
            (&spare, Boot, Some(Refusal::Reserved)),
            (&spare, Move, Some(Refusal::Reserved)),
            (&spare, Evacuation, None),
            (&spare, Rebuild, None),
            (&nobody, Evacuation, Some(Refusal::Nobody)),
        ] {
            assert_eq!(refuses(host, errand), refusal, "{host:?} {errand:?}");
        }
    }
}
