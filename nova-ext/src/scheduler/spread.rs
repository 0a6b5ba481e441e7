//! Which host rather than another: servers of a failed host are spread, over hosts and over what fails together.
//!
//! Nova's own weighers look at what a host has free: the emptiest one gets server after server until another one is
//! emptier. So a host that took fifty evacuated servers is the next one whose failure hurts. What counts here is how many
//! servers a host, and its failure domain, have got lately.
//!
//! Whoever can says which host was chosen ([`Arrivals::arrived`]). Where nobody does, Nova's count of a host's servers has
//! to do: it counts one more as soon as it has chosen the host. But one that is evacuated is not counted any more when the
//! host reports for the next time, which may be before the next look, and is again when it is there. A fall is not believed
//! for that: what is under way would not count, and all would go to one host. So a server may count twice, on whichever host
//! it is, and one that has failed counts for a while.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Errand, Host};

/// Arrivals count for so long.
const LATELY: Duration = Duration::from_secs(600);
/// Of one host, so many arrivals are remembered.
const MOST: usize = 1000;
/// Hosts that were not shown for so long are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// How much what counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Arrivals on the host.
    pub host: f64,
    /// Arrivals in its failure domain, for each of the domain's hosts.
    pub domain: f64,
    /// What it is busy with.
    pub busy: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { host: 1.0, domain: 2.0, busy: 0.5 }
    }
}

/// What has arrived where.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    hosts: BTreeMap<String, Known>,
    told: bool,
}

#[derive(Debug, Clone)]
struct Known {
    seen: Duration,
    servers: u64,
    arrived: VecDeque<Duration>,
}

impl Arrivals {
    /// A server was placed on a host: from now on these count, and Nova's counts do not.
    pub fn arrived(&mut self, host: &str, now: Duration) {
        self.told = true;
        if let Some(known) = self.hosts.get_mut(host) {
            known.arrived.push_back(now);
        } else {
            let known = Known { seen: now, servers: 0, arrived: VecDeque::from([now]) };
            self.hosts.insert(host.to_owned(), known);
        }
    }

    /// Notes what the scheduler is shown.
    pub fn note(&mut self, hosts: &[Host], now: Duration) {
        for host in hosts {
            let Some(known) = self.hosts.get_mut(&host.name) else {
                let known = Known { seen: now, servers: host.servers, arrived: VecDeque::new() };
                self.hosts.insert(host.name.clone(), known);
                continue;
            };
            let more = if self.told { 0 } else { host.servers.saturating_sub(known.servers) };
            for _ in 0..more.min(MOST as u64) {
                known.arrived.push_back(now);
            }
            known.servers = host.servers;
            known.seen = now;
            while known.arrived.len() > MOST
                || known.arrived.front().is_some_and(|at| now.saturating_sub(*at) > LATELY)
            {
                known.arrived.pop_front();
            }
        }
        self.hosts.retain(|_, known| now.saturating_sub(known.seen) <= FORGOTTEN);
    }

    fn of(&self, host: &str) -> u32 {
        let arrived = self.hosts.get(host).map_or(0, |known| known.arrived.len());
        u32::try_from(arrived).unwrap_or(u32::MAX)
    }

    /// The weights of hosts that were noted just now, in their order: the highest is the best. All the same for a server
    /// that is not to be spread.
    pub fn weigh(&self, hosts: &[Host], errand: Errand, is_protected: bool, weights: &Weights) -> Vec<f64> {
        if errand != Errand::Evacuation && !is_protected {
            return vec![0.0; hosts.len()];
        }
        // Arrivals and hosts of each domain.
        let mut domains: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        let arrived: Vec<f64> = hosts.iter().map(|host| f64::from(self.of(&host.name))).collect();
        for (host, arrived) in hosts.iter().zip(&arrived) {
            if let Some(domain) = &host.domain {
                let (sum, count) = domains.entry(domain).or_default();
                *sum += arrived;
                *count += 1.0;
            }
        }
        let weigh = |(host, arrived): (&Host, &f64)| {
            let domain = host.domain.as_deref().and_then(|domain| domains.get(domain));
            let domain = domain.map_or(0.0, |(sum, count)| sum / count);
            let busy = f64::from(u32::try_from(host.busy).unwrap_or(u32::MAX));
            -(weights.host * arrived + weights.domain * domain + weights.busy * busy)
        };
        hosts.iter().zip(&arrived).map(weigh).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(domains: &[&str]) -> Vec<Host> {
        let host = |(n, domain): (usize, &&str)| Host {
            name: format!("c{n}"),
            domain: (!domain.is_empty()).then(|| (*domain).to_owned()),
            servers: 3,
            ..Host::default()
        };
        domains.iter().enumerate().map(host).collect()
    }

    /// As Nova does it: the best host takes the server, and counts it.
    fn place(hosts: &mut [Host], servers: u64, errand: Errand) -> Vec<u64> {
        let mut arrivals = Arrivals::default();
        for n in 0..servers {
            let now = Duration::from_secs(n);
            arrivals.note(hosts, now);
            let weights = arrivals.weigh(hosts, errand, false, &Weights::default());
            let best = weights.iter().copied().fold(f64::MIN, f64::max);
            // Of equal ones the first, as a stable sort has it.
            let chosen = weights.iter().position(|it| (it - best).abs() < 1e-9).unwrap();
            hosts[chosen].servers += 1;
        }
        hosts.iter().map(|host| host.servers - 3).collect()
    }

    #[test]
    fn fifty_servers_are_spread_evenly() {
        let mut five = hosts(&["", "", "", "", ""]);
        assert_eq!(place(&mut five, 50, Errand::Evacuation), [10; 5]);
        // Other servers are Nova's to place.
        let mut five = hosts(&["", "", "", "", ""]);
        assert_eq!(place(&mut five, 50, Errand::Boot), [50, 0, 0, 0, 0]);
    }

    #[test]
    fn domains_are_filled_evenly_for_their_size() {
        let mut four = hosts(&["r1", "r1", "r1", "r2"]);
        let placed = place(&mut four, 40, Errand::Evacuation);
        assert_eq!(placed.iter().sum::<u64>(), 40);
        assert!(placed.iter().all(|count| (9..=11).contains(count)), "{placed:?}");
    }

    #[test]
    fn a_busy_host_comes_later_and_the_past_is_forgotten() {
        let mut two = hosts(&["", ""]);
        two[0].busy = 4;
        let mut arrivals = Arrivals::default();
        arrivals.note(&two, Duration::ZERO);
        let weigh =
            |arrivals: &Arrivals, two: &[Host]| arrivals.weigh(two, Errand::Boot, true, &Weights::default());
        assert_eq!(weigh(&arrivals, &two), [-2.0, 0.0]);
        two[1].servers += 7;
        arrivals.note(&two, Duration::from_secs(1));
        assert_eq!(weigh(&arrivals, &two), [-2.0, -7.0]);
        // What came long ago counts no more.
        arrivals.note(&two, LATELY + Duration::from_secs(2));
        assert_eq!(weigh(&arrivals, &two), [-2.0, 0.0]);
    }

    #[test]
    fn what_is_under_way_counts_although_the_host_does_not_report_it() {
        let mut four = hosts(&["", "", "", ""]);
        let mut arrivals = Arrivals::default();
        let mut chosen: Vec<usize> = Vec::new();
        for step in 0..48 {
            let there = chosen.len().saturating_sub(8);
            // The one that was chosen a moment ago is counted, and not any more when its host has reported.
            for (half, last) in [chosen.last().copied(), None].into_iter().enumerate() {
                for (place, host) in four.iter_mut().enumerate() {
                    let seen = chosen.iter().take(there).filter(|it| **it == place).count();
                    host.servers = 3 + seen as u64 + u64::from(last == Some(place));
                }
                arrivals.note(&four, Duration::from_millis(step * 1000 + half as u64 * 500));
            }
            let weights = arrivals.weigh(&four, Errand::Evacuation, false, &Weights::default());
            let best = weights.iter().copied().fold(f64::MIN, f64::max);
            chosen.push(weights.iter().position(|it| (it - best).abs() < 1e-9).unwrap());
        }
        let counts: Vec<_> = (0..4).map(|place| chosen.iter().filter(|it| **it == place).count()).collect();
        assert_eq!(counts, [12; 4]);
    }

    #[test]
    fn what_is_told_counts_and_nothing_else() {
        // Hosts that report before the next look, and without what was placed there.
        let mut four = hosts(&["", "", "", ""]);
        let mut arrivals = Arrivals::default();
        let mut placed = [0; 4];
        for second in 0..48 {
            let now = Duration::from_secs(second);
            arrivals.note(&four, now);
            let weights = arrivals.weigh(&four, Errand::Evacuation, false, &Weights::default());
            let best = weights.iter().copied().fold(f64::MIN, f64::max);
            let chosen = weights.iter().rposition(|it| (it - best).abs() < 1e-9).unwrap();
            arrivals.arrived(&four[chosen].name, now);
            placed[chosen] += 1;
            // All at once, a minute later.
            if second == 30 {
                four[3].servers += 7;
            }
        }
        assert_eq!(placed, [12; 4]);
        arrivals.note(&four, Duration::from_secs(48) + LATELY);
        assert_eq!(arrivals.of("c0"), 0);
    }
}
