//! Room for the servers of any one host of a group, kept free: a new server that would take it is refused.
//!
//! What the scheduler is shown of the hosts is not all: Placement leaves out those that have no room for the server at
//! hand. So what was shown before is remembered, for a while, and what was placed since ([`Rooms::note`] takes a host by
//! itself); but of a host that is not shown now, no more is believed to
//! be free than the server needs. The rule is about sums: what the lost host's servers need
//! together, and what is free on the hosts that are left. A sum that is too small is a certain no; that large servers may
//! not fit although the sum does is what `nova-ha capacity` looks at, server by server.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Host;
use crate::plan::capacity::Amount;
use crate::policy::keys::Reserve;

/// What is free on a host is believed for so long.
const FREE: Duration = Duration::from_secs(60);
/// What servers have of a host is believed for so long: that it could be lost is no good news, and is kept longer.
const USED: Duration = Duration::from_secs(3600);
/// More hosts than a cell has; the oldest are forgotten.
const MOST: usize = 20_000;

/// What was seen of a host, and when.
#[derive(Debug, Clone)]
struct Seen {
    at: Duration,
    group: String,
    /// It is of no use to the others, whatever becomes of it.
    aside: bool,
    takes: bool,
    used: Amount,
    free: Amount,
}

/// What is known of the hosts.
#[derive(Debug, Clone, Default)]
pub struct Rooms {
    hosts: BTreeMap<String, Seen>,
}

/// A group of hosts, as far as head-room goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Group {
    /// How many hosts it has; those that are reserved for nobody do not count.
    hosts: usize,
    /// What is free on all of them together.
    free: [u64; 3],
    /// Of each part, the most that goes with one host that has servers: what they have, and what is free there.
    worst: [u64; 3],
}

fn parts(amount: Amount) -> [u64; 3] {
    [amount.vcpus, amount.memory_mb, amount.disk_gb]
}

impl Rooms {
    /// Notes what the scheduler is shown.
    pub fn note(&mut self, hosts: &[Host], now: Duration) {
        for host in hosts {
            let seen = Seen {
                at: now,
                group: host.failover.clone().unwrap_or_default(),
                aside: host.reserve == Reserve::Nobody,
                takes: host.takes(),
                used: host.used,
                free: host.free(),
            };
            self.hosts.insert(host.name.clone(), seen);
        }
        self.hosts.retain(|_, seen| now.saturating_sub(seen.at) <= USED);
        while self.hosts.len() > MOST {
            let oldest = self.hosts.iter().min_by_key(|(_, seen)| seen.at).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { break };
            self.hosts.remove(&oldest);
        }
    }

    /// A host is down: nothing of what it had free is there.
    pub fn down(&mut self, host: &str) {
        if let Some(seen) = self.hosts.get_mut(host) {
            seen.takes = false;
        }
    }

    /// The groups, as they are for servers that need so much, of which the hosts were noted just now.
    pub fn groups(&self, needs: Amount, now: Duration) -> BTreeMap<String, Group> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for seen in self.hosts.values() {
            if !groups.contains_key(&seen.group) {
                groups.insert(seen.group.clone(), Group::default());
            }
            let Some(group) = groups.get_mut(&seen.group) else { continue };
            group.hosts += usize::from(!seen.aside);
            let fresh = seen.takes && now.saturating_sub(seen.at) <= FREE;
            let free = if fresh { parts(seen.free) } else { [0; 3] };
            let each = group.free.iter_mut().zip(&mut group.worst).zip(free).zip(parts(seen.used));
            for ((((sum, worst), free), used), need) in each.zip(parts(needs)) {
                let believed = if seen.at == now { free } else { free.min(need) };
                *sum = sum.saturating_add(believed);
                if used > 0 {
                    *worst = used.saturating_add(free).max(*worst);
                }
            }
        }
        groups
    }
}

impl Group {
    /// Whether any host of the group could be lost after `host`, which was noted just now, has taken servers that need
    /// so much.
    ///
    /// With a host go its servers, and what was free there. So what they have and what was free must together fit into
    /// what is free now, less what the new servers need: whether these are on the lost host and have to be placed again,
    /// or on another one where they have taken room.
    pub fn affords(&self, host: &Host, needs: Amount) -> bool {
        // Nobody else could take its servers, whatever is kept free.
        if self.hosts < 2 {
            return true;
        }
        let own = if host.takes() { parts(host.free()) } else { [0; 3] };
        let own = own.into_iter().zip(parts(host.used)).map(|(free, used)| used.saturating_add(free));
        let mut each = parts(needs).into_iter().zip(own).zip(self.free).zip(self.worst);
        each.all(|(((need, own), free), worst)| need == 0 || worst.max(own).saturating_add(need) <= free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(10_000);

    fn memory(gib: u64) -> Amount {
        Amount { vcpus: 0, memory_mb: gib * 1024, disk_gb: 0 }
    }

    fn host(name: &str, used: u64) -> Host {
        let (used, total) = (memory(used), memory(100));
        Host { name: name.into(), used, total, ..Host::default() }
    }

    fn affords(rooms: &Rooms, host: &Host, gib: u64, now: Duration) -> bool {
        let needs = memory(gib);
        rooms.groups(needs, now)[host.failover.as_deref().unwrap_or_default()].affords(host, needs)
    }

    #[test]
    fn the_servers_of_any_one_host_still_fit() {
        // Three hosts of 100 with 60 each: 120 free, and with each go 60 and its 40.
        let hosts = [host("a", 60), host("b", 60), host("c", 60)];
        let mut rooms = Rooms::default();
        rooms.note(&hosts, NOW);
        assert!(affords(&rooms, &hosts[0], 20, NOW));
        assert!(!affords(&rooms, &hosts[0], 21, NOW));
        // What it does not need is no reason.
        assert!(affords(&rooms, &hosts[0], 0, NOW));
        // An empty host can be lost whatever the others have: nothing is on it. Not once the server is there.
        let hosts = [host("a", 10), host("b", 0), host("c", 10)];
        let mut rooms = Rooms::default();
        rooms.note(&hosts, NOW);
        assert!(affords(&rooms, &hosts[1], 180, NOW));
        assert!(!affords(&rooms, &hosts[1], 181, NOW));
    }

    #[test]
    fn by_brute_force() {
        // Every loss, after the server was placed.
        let fits = |hosts: &[Host; 3], at: usize, need: u64| {
            let used = |n: usize| hosts[n].used.memory_mb / 1024 + if n == at { need } else { 0 };
            (0..3).all(|lost| {
                let free: u64 = (0..3).filter(|n| *n != lost).map(|n| 100_u64.saturating_sub(used(n))).sum();
                used(lost) <= free
            })
        };
        for a in (0..=100).step_by(10) {
            for b in (0..=100).step_by(10) {
                for c in (0..=100).step_by(10) {
                    let hosts = [host("a", a), host("b", b), host("c", c)];
                    let mut rooms = Rooms::default();
                    rooms.note(&hosts, NOW);
                    for at in 0..3 {
                        for need in [5, 10, 20, 40] {
                            // Where it does not fit, Placement has left the host out.
                            if hosts[at].free().memory_mb / 1024 >= need {
                                let says = affords(&rooms, &hosts[at], need, NOW);
                                assert_eq!(says, fits(&hosts, at, need), "{a} {b} {c}: {need} on {at}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_seen_before_counts_for_a_while() {
        let hosts = [host("a", 0), host("b", 60), host("c", 60)];
        let mut rooms = Rooms::default();
        rooms.note(&hosts, NOW);
        // Of a request for more than the others have, one host alone is shown.
        let soon = NOW + Duration::from_secs(30);
        rooms.note(&hosts[..1], soon);
        assert!(affords(&rooms, &hosts[0], 50, soon));
        // What is free elsewhere is not believed for ever, what could be lost there is.
        let later = NOW + Duration::from_secs(120);
        rooms.note(&hosts[..1], later);
        assert!(!affords(&rooms, &hosts[0], 50, later));
        let much_later = NOW + Duration::from_secs(4000);
        rooms.note(&hosts[..1], much_later);
        // Alone as far as anybody knows.
        assert!(affords(&rooms, &hosts[0], 50, much_later));
    }

    #[test]
    fn a_host_that_is_not_shown_has_less_than_is_needed() {
        // It took the last server since it was shown.
        let hosts = [host("a", 60), host("b", 60), host("c", 60)];
        let mut rooms = Rooms::default();
        rooms.note(&hosts, NOW);
        assert!(affords(&rooms, &hosts[0], 20, NOW));
        let soon = NOW + Duration::from_secs(1);
        rooms.note(&hosts[..2], soon);
        assert!(!affords(&rooms, &hosts[0], 20, soon));
    }

    #[test]
    fn what_is_down_has_nothing_free() {
        let hosts = [host("a", 60), host("b", 60), host("c", 60), host("d", 0)];
        let mut rooms = Rooms::default();
        rooms.note(&hosts, NOW);
        assert!(affords(&rooms, &hosts[0], 40, NOW));
        rooms.down("d");
        assert!(!affords(&rooms, &hosts[0], 40, NOW));
        let off = Host { forced_down: true, ..host("d", 0) };
        rooms.note(&[off], NOW);
        assert!(!affords(&rooms, &hosts[0], 40, NOW));
    }

    #[test]
    fn what_is_reserved_for_nobody_has_nothing_free() {
        let aside = |used| Host { reserve: Reserve::Nobody, ..host("d", used) };
        let hosts = [host("a", 60), host("b", 60), host("c", 60), aside(0)];
        let mut rooms = Rooms::default();
        rooms.note(&hosts, NOW);
        assert!(affords(&rooms, &hosts[0], 20, NOW));
        assert!(!affords(&rooms, &hosts[0], 21, NOW));
        // Servers that are there from before need room as all others do.
        rooms.note(&[aside(90)], NOW);
        assert!(affords(&rooms, &hosts[0], 20, NOW));
        rooms.note(&[Host { total: memory(200), ..aside(110) }], NOW);
        assert!(!affords(&rooms, &hosts[0], 20, NOW));
        // Beside it, a host is alone: nobody could take its servers, whatever is kept free.
        let hosts = [host("a", 60), aside(0)];
        let mut rooms = Rooms::default();
        rooms.note(&hosts, NOW);
        assert!(affords(&rooms, &hosts[0], 30, NOW));
        // One for evacuated servers has room for them.
        let spare = Host { reserve: Reserve::Evacuations, ..host("d", 0) };
        let mut rooms = Rooms::default();
        rooms.note(&[host("a", 60), spare], NOW);
        assert!(affords(&rooms, &host("a", 60), 40, NOW));
    }

    #[test]
    fn what_was_placed_counts_although_the_host_is_not_shown_any_more() {
        // Five hosts for two large servers each. Of a full one nothing is shown, and it has less than it had when it was.
        let mut hosts: Vec<Host> = ["a", "b", "c", "d", "e"].map(|name| host(name, 0)).into();
        let mut rooms = Rooms::default();
        let mut placed = 0;
        for second in 1..20 {
            let now = NOW + Duration::from_secs(second);
            let shown: Vec<Host> =
                hosts.iter().filter(|it| it.free().memory_mb >= memory(49).memory_mb).cloned().collect();
            rooms.note(&shown, now);
            // As Nova does it: where most is free.
            let Some(chosen) = shown.iter().min_by_key(|it| it.used.memory_mb) else { break };
            if !affords(&rooms, chosen, 49, now) {
                break;
            }
            let chosen = hosts.iter_mut().find(|it| it.name == chosen.name).unwrap();
            chosen.used.memory_mb += 49 * 1024;
            rooms.note(std::slice::from_ref(chosen), now);
            placed += 1;
        }
        assert_eq!(placed, 8);
    }

    #[test]
    fn groups_do_not_help_each_other() {
        let of = |name: &str, group: &str, used| Host { failover: Some(group.into()), ..host(name, used) };
        let hosts = [of("a", "x", 60), of("b", "x", 60), of("c", "y", 0), of("d", "y", 0)];
        let mut rooms = Rooms::default();
        rooms.note(&hosts, NOW);
        assert!(!affords(&rooms, &hosts[0], 5, NOW));
        assert!(affords(&rooms, &hosts[2], 90, NOW));
    }
}
