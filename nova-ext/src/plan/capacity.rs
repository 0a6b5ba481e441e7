//! Could the hosts that are left take the servers of those that are lost? A pure function of what Placement and Nova
//! say.
//!
//! Servers are placed by *first-fit decreasing*: the largest first, each on the first host that has room. What it can
//! place fits: a yes is a proof, whichever hosts are lost. A no is certain where the sum is larger than all room that is
//! left ([`Lost::short`]); otherwise a better placing might exist, but Nova's scheduler does not look for it either.
//!
//! Every set of `any` hosts is tried if there are at most [`MOST_SETS`] of them (always with one host). With more, the
//! sets that need most or take most room away are tried: one that does not fit is a no; and it is a yes only if even the
//! largest server fits into enough slots whichever hosts are lost. In between it cannot be told.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde::Serialize;

use crate::ids::{HostName, ServerId};

/// Sets of hosts that are all tried.
pub const MOST_SETS: u64 = 20_000;
/// Sets that are reported.
const MOST_TOLD: usize = 1000;

/// VCPUs, memory and disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Amount {
    /// `VCPU`.
    pub vcpus: u64,
    /// `MEMORY_MB`.
    pub memory_mb: u64,
    /// `DISK_GB`.
    pub disk_gb: u64,
}

impl Amount {
    fn parts(self) -> [u64; 3] {
        [self.vcpus, self.memory_mb, self.disk_gb]
    }

    fn with(self, other: Self, what: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            vcpus: what(self.vcpus, other.vcpus),
            memory_mb: what(self.memory_mb, other.memory_mb),
            disk_gb: what(self.disk_gb, other.disk_gb),
        }
    }

    fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn fits(self, room: Self) -> bool {
        self.parts().iter().zip(room.parts()).all(|(need, room)| *need <= room)
    }
}

/// A server of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The server.
    pub server: ServerId,
    /// What it needs.
    pub needs: Amount,
    /// Whose it is.
    pub project: String,
    /// The availability zone that it must stay in, if it must.
    pub zone: Option<String>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    /// Its name in Nova.
    pub host: HostName,
    /// Whether it takes servers: enabled and up.
    pub takes: bool,
    /// What is free: what there is without what is reserved, times the ratio, without what is used.
    pub free: Amount,
    /// The most that one server can have.
    pub most: Amount,
    /// Its availability zone.
    pub zone: Option<String>,
    /// Projects that it is kept for, if it is.
    pub projects: Option<BTreeSet<String>>,
    /// Its servers.
    pub servers: Vec<Load>,
}

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The servers fit, whichever hosts are lost.
    Yes,
    /// There are hosts whose servers do not fit.
    No,
    /// There are too many sets of hosts to try them all.
    Unknown,
}

/// The loss of some hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// The hosts.
    pub hosts: Vec<HostName>,
    /// How many servers they have.
    pub servers: usize,
    /// What these need together.
    pub needs: Amount,
    /// What is free on the hosts that are left.
    pub free: Amount,
    /// Servers that fit nowhere.
    pub unplaced: Vec<ServerId>,
    /// Whether more is needed than there is, so that no placing whatever would do.
    pub short: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// So many hosts are lost at once.
    pub any: usize,
    /// What it comes to.
    pub verdict: Verdict,
    /// Sets of hosts that were tried.
    pub tried: u64,
    /// Whether these are all.
    pub all: bool,
    /// Each loss that does not fit, at most 1000; with one host, the others too.
    pub lost: Vec<Lost>,
}

/// Whether any so many hosts can be lost.
pub fn capacity(rooms: &[Room], any: usize) -> Capacity {
    // One that has no servers takes room away all the same.
    let all = sets(rooms.len(), any) <= MOST_SETS || any <= 1;
    let mut result = Capacity { any, verdict: Verdict::Yes, tried: 0, all, lost: Vec::new() };
    let mut look = |set: &[usize]| {
        let lost = lose(rooms, set);
        result.tried = result.tried.saturating_add(1);
        if !lost.unplaced.is_empty() {
            result.verdict = Verdict::No;
        }
        if (any == 1 || !lost.unplaced.is_empty()) && result.lost.len() < MOST_TOLD.max(rooms.len()) {
            result.lost.push(lost);
        }
    };
    if all {
        each_set(rooms.len(), any, &mut look);
    } else {
        for set in worst(rooms, any) {
            look(&set);
        }
        if result.verdict == Verdict::Yes && !slots_suffice(rooms, any) {
            result.verdict = Verdict::Unknown;
        }
    }
    result
}

/// Places the servers of these hosts on the others.
fn lose(rooms: &[Room], set: &[usize]) -> Lost {
    let gone = |place: &usize| set.contains(place);
    let mut left: Vec<(&Room, Amount)> = rooms
        .iter()
        .enumerate()
        .filter(|(place, room)| !gone(place) && room.takes)
        .map(|(_, room)| (room, room.free))
        .collect();
    let free = left.iter().fold(Amount::default(), |sum, (_, free)| sum.plus(*free));
    let lost: Vec<&Room> = set.iter().filter_map(|place| rooms.get(*place)).collect();
    let mut loads: Vec<&Load> = lost.iter().flat_map(|room| &room.servers).collect();
    loads.sort_by_key(|load| {
        let needs = load.needs;
        (Reverse((needs.memory_mb, needs.vcpus, needs.disk_gb)), load.server)
    });
    let mut unplaced = Vec::new();
    for load in &loads {
        let found = left.iter_mut().find(|(room, free)| may_go(load, room) && load.needs.fits(*free));
        match found {
            Some((_, free)) => *free = free.with(load.needs, u64::saturating_sub),
            None => unplaced.push(load.server),
        }
    }
    let needs = loads.iter().fold(Amount::default(), |sum, load| sum.plus(load.needs));
    Lost {
        hosts: lost.iter().map(|room| room.host.clone()).collect(),
        servers: loads.len(),
        needs,
        free,
        unplaced,
        short: !needs.fits(free),
    }
}

/// Whether Nova would let it, however much room there is.
fn may_go(load: &Load, room: &Room) -> bool {
    load.needs.fits(room.most)
        && load.zone.as_ref().is_none_or(|zone| room.zone.as_ref() == Some(zone))
        && room.projects.as_ref().is_none_or(|projects| projects.contains(&load.project))
}

/// How many sets of `any` there are among `hosts`.
fn sets(hosts: usize, any: usize) -> u64 {
    let (hosts, any) = (hosts as u64, any as u64);
    if any > hosts {
        return 1;
    }
    let mut count: u64 = 1;
    for n in 0..any.min(hosts - any) {
        // Divides without rest: it is a binomial coefficient each time.
        count = count.saturating_mul(hosts - n) / (n + 1);
        if count > MOST_SETS {
            return count;
        }
    }
    count
}

/// All sets of `any` of so many, or the one of all if there are fewer.
fn each_set(hosts: usize, any: usize, look: &mut impl FnMut(&[usize])) {
    let any = any.min(hosts);
    let mut set: Vec<usize> = (0..any).collect();
    loop {
        look(&set);
        // The last one that can go up.
        let Some(up) = (0..any).rev().find(|at| set.get(*at).is_some_and(|it| *it < hosts - any + at)) else {
            return;
        };
        let next = set.get(up).map_or(0, |it| it + 1);
        for (place, next) in set.iter_mut().skip(up).zip(next..) {
            *place = next;
        }
    }
}

/// The sets that need most, or take most room away, by each measure.
fn worst(rooms: &[Room], any: usize) -> BTreeSet<Vec<usize>> {
    let sum = |room: &Room| room.servers.iter().fold(Amount::default(), |sum, load| sum.plus(load.needs));
    let measures: Vec<Vec<u64>> = rooms
        .iter()
        .map(|room| {
            let free = if room.takes { room.free } else { Amount::default() };
            let needs = sum(room);
            let both = needs.plus(free);
            let mut list = vec![room.servers.len() as u64];
            list.extend([needs, free, both].into_iter().flat_map(Amount::parts));
            list
        })
        .collect();
    let count = measures.first().map_or(0, Vec::len);
    (0..count)
        .map(|measure| {
            let mut order: Vec<usize> = (0..rooms.len()).collect();
            let of = |place: &usize| measures.get(*place).and_then(|list| list.get(measure)).copied();
            order.sort_by_key(|place| (Reverse(of(place)), *place));
            let mut set: Vec<usize> = order.into_iter().take(any).collect();
            set.sort_unstable();
            set
        })
        .collect()
}

/// Whether there are enough places in which the largest of all servers would fit, whichever hosts are lost. Servers that
/// may not go everywhere are not counted this way.
fn slots_suffice(rooms: &[Room], any: usize) -> bool {
    let loads = || rooms.iter().flat_map(|room| &room.servers);
    if loads().any(|load| load.zone.is_some())
        || rooms.iter().any(|room| room.takes && room.projects.is_some())
    {
        return false;
    }
    let largest = loads().fold(Amount::default(), |most, load| most.with(load.needs, u64::max));
    let slots = |room: &Room| {
        if !room.takes || !largest.fits(room.most) {
            return 0;
        }
        let parts = room.free.parts().into_iter().zip(largest.parts());
        parts.filter_map(|(free, need)| free.checked_div(need)).min().unwrap_or(u64::MAX)
    };
    let mut slots: Vec<u64> = rooms.iter().map(slots).collect();
    let mut counts: Vec<u64> = rooms.iter().map(|room| room.servers.len() as u64).collect();
    slots.sort_unstable_by_key(|count| Reverse(*count));
    counts.sort_unstable_by_key(|count| Reverse(*count));
    let left = slots.iter().skip(any).fold(0, |sum: u64, count| sum.saturating_add(*count));
    counts.iter().take(any).sum::<u64>() <= left
}

#[cfg(test)]
mod tests;
