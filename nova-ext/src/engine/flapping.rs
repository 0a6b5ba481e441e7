//! Hosts that fail too often: when each failed, and which of them wait for the operator's word.
//!
//! Each controller has its own journal. What an engine knows of a host goes from one controller to the next as a
//! [`Record`], in a line of text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::ids::{HostName, IncidentId, ProofId};
use crate::policy::Gates;
use crate::stamp::Stamp;

use super::gates;

/// Hosts that failed within so long failed at once.
const AT_ONCE: Duration = Duration::from_secs(600);
/// More failures of a host than any rule asks for.
const MOST: usize = 32;

/// A failure of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    host: HostName,
    at: Stamp,
    /// The incident that counted it, if it was ours.
    incident: Option<IncidentId>,
    /// What proved it: a proof that is used twice is no second failure.
    proof: Option<ProofId>,
}

/// Failures and quarantine.
#[derive(Debug, Default)]
pub(super) struct Flapping {
    failures: Vec<Failure>,
    quarantine: BTreeSet<HostName>,
    /// When each host was put into quarantine or released last.
    changed: BTreeMap<HostName, Stamp>,
}

/// What is known of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Whether it waits for the operator's word.
    pub quarantined: bool,
    /// Since when it does, or does not any more.
    pub changed: Option<Stamp>,
    /// When it failed, and what proved it.
    pub failures: Vec<(Stamp, Option<ProofId>)>,
}

/// What another controller's record has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    Quarantined,
    Released,
}

impl Flapping {
    /// An incident of the host was taken up.
    pub(super) fn failed(&mut self, incident: IncidentId, host: &HostName, at: Stamp) {
        self.failures.push(Failure { host: host.clone(), at, incident: Some(incident), proof: None });
    }

    /// What proves an incident. One of which another incident was made already is the same failure.
    pub(super) fn proved(&mut self, incident: IncidentId, proof: ProofId) {
        let first = |one: &Failure| one.incident == Some(incident) && one.proof.is_none();
        let Some(at) = self.failures.iter().position(first) else { return };
        if self.failures.iter().any(|one| one.proof == Some(proof)) {
            self.failures.remove(at);
        } else if let Some(one) = self.failures.get_mut(at) {
            one.proof = Some(proof);
        }
    }

    /// Puts a host into quarantine that fails too often; why, if it was not there.
    pub(super) fn judge(&mut self, host: &HostName, now: Stamp, rules: &Gates) -> Option<String> {
        let span = span(rules);
        self.failures.retain(|one| now.since(one.at) <= span.max(AT_ONCE));
        let lately = self.of(host).filter(|one| now.since(one.at) <= span).count();
        let why = gates::flaps(lately, rules)?;
        self.put(host, now).then_some(why)
    }

    /// It is in quarantine from then on; whether it was not.
    pub(super) fn put(&mut self, host: &HostName, at: Stamp) -> bool {
        let new = self.quarantine.insert(host.clone());
        if new {
            self.changed.insert(host.clone(), at);
        }
        new
    }

    /// The operator has released it: what was before does not count.
    pub(super) fn release(&mut self, host: &HostName, at: Stamp) {
        self.failures.retain(|one| one.host != *host);
        self.quarantine.remove(host);
        self.changed.insert(host.clone(), at);
    }

    pub(super) fn quarantine(&self) -> &BTreeSet<HostName> {
        &self.quarantine
    }

    /// Hosts that failed a short time ago.
    pub(super) fn at_once(&self, now: Stamp) -> impl Iterator<Item = &HostName> {
        self.failures.iter().filter(move |one| now.since(one.at) <= AT_ONCE).map(|one| &one.host)
    }

    /// Takes in what another controller knows of a host. The later word counts.
    pub(super) fn merge(&mut self, host: &HostName, record: Record) -> Option<Changed> {
        let later = record.changed.is_some_and(|at| self.changed.get(host).is_none_or(|own| at > *own));
        let mut changed = None;
        if later && let Some(at) = record.changed {
            let was = self.quarantine.contains(host);
            self.changed.insert(host.clone(), at);
            if record.quarantined {
                self.quarantine.insert(host.clone());
                changed = (!was).then_some(Changed::Quarantined);
            } else {
                self.quarantine.remove(host);
                self.failures.retain(|one| one.host != *host || one.at > at);
                changed = was.then_some(Changed::Released);
            }
        }
        // Failures of before a release that is known here only are over.
        let released = self.changed.get(host).copied().filter(|_| !self.quarantine.contains(host));
        for (at, proof) in record.failures {
            let known = |one: &Failure| one.at == at || proof.is_some() && one.proof == proof;
            if !self.of(host).any(known) && released.is_none_or(|released| at > released) {
                self.failures.push(Failure { host: host.clone(), at, incident: None, proof });
            }
        }
        changed
    }

    /// What another controller has to know.
    pub(super) fn records(&self, now: Stamp, rules: &Gates) -> BTreeMap<HostName, Record> {
        let mut records: BTreeMap<HostName, Record> = BTreeMap::new();
        for (host, changed) in &self.changed {
            let quarantined = self.quarantine.contains(host);
            let record = Record { quarantined, changed: Some(*changed), failures: Vec::new() };
            records.insert(host.clone(), record);
        }
        for one in self.failures.iter().filter(|one| now.since(one.at) <= span(rules)) {
            records.entry(one.host.clone()).or_default().failures.push((one.at, one.proof));
        }
        for record in records.values_mut() {
            let more = record.failures.len().saturating_sub(MOST);
            record.failures.drain(..more);
        }
        records
    }

    fn of(&self, host: &HostName) -> impl Iterator<Item = &Failure> {
        self.failures.iter().filter(move |one| one.host == *host)
    }
}

fn span(rules: &Gates) -> Duration {
    Duration::from_secs(rules.flap_seconds.into())
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.quarantined { "quarantine" } else { "free" })?;
        if let Some(changed) = self.changed {
            write!(f, "@{changed}")?;
        }
        for (at, proof) in &self.failures {
            write!(f, ";{at}")?;
            if let Some(proof) = proof {
                write!(f, "/{proof}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Record {
    type Err = String;

    /// As it is written: `quarantine@TIME;TIME/PROOF;…`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(';');
        let time = |text: &str| text.parse::<Stamp>().map_err(|error| format!("{text:?}: {error}"));
        let first = parts.next().unwrap_or_default();
        let (word, changed) = match first.split_once('@') {
            Some((word, at)) => (word, Some(time(at)?)),
            None => (first, None),
        };
        let quarantined = match word {
            "quarantine" => true,
            "free" => false,
            word => return Err(format!("{word:?} is neither quarantine nor free")),
        };
        let proof = |text: &str| text.parse::<ProofId>().map_err(|error| error.to_string());
        let failure = |text: &str| match text.split_once('/') {
            Some((at, by)) => Ok((time(at)?, Some(proof(by)?))),
            None => Ok((time(text)?, None)),
        };
        let failures = parts.take(MOST).map(failure).collect::<Result<_, String>>()?;
        Ok(Self { quarantined, changed, failures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostName {
        "c1".parse().unwrap()
    }

    fn at(minutes: u64) -> Stamp {
        "2026-11-25T10:00:00Z".parse::<Stamp>().unwrap().after(Duration::from_secs(60 * minutes))
    }

    fn fails(flapping: &mut Flapping, minutes: u64, proof: ProofId, rules: &Gates) -> bool {
        let incident = IncidentId::new_random();
        flapping.failed(incident, &host(), at(minutes));
        flapping.proved(incident, proof);
        flapping.judge(&host(), at(minutes), rules).is_some()
    }

    #[test]
    fn a_failure_counts_once_however_often_it_is_asked_for() {
        let (mut flapping, rules) = (Flapping::default(), Gates::default());
        let proofs = [(); 3].map(|()| ProofId::new_random());
        assert!(!fails(&mut flapping, 0, proofs[0], &rules));
        for again in 1..5 {
            assert!(!fails(&mut flapping, again, proofs[0], &rules), "{again}");
        }
        assert!(!fails(&mut flapping, 5, proofs[1], &rules));
        assert!(fails(&mut flapping, 6, proofs[2], &rules));
        assert!(flapping.quarantine().contains(&host()));
    }

    #[test]
    fn a_short_span_does_not_cut_what_failed_at_once() {
        let (mut flapping, rules) = (Flapping::default(), Gates { flap_seconds: 60, ..Gates::default() });
        let other: HostName = "c2".parse().unwrap();
        flapping.failed(IncidentId::new_random(), &other, at(0));
        for minutes in [2, 4, 6] {
            assert!(!fails(&mut flapping, minutes, ProofId::new_random(), &rules), "not within a minute");
        }
        assert!(flapping.at_once(at(9)).any(|host| *host == other));
        assert!(!flapping.at_once(at(11)).any(|host| *host == other));
    }

    #[test]
    fn another_controller_knows_what_this_one_knows() {
        let rules = Gates::default();
        let (mut one, mut other) = (Flapping::default(), Flapping::default());
        let proofs = [(); 3].map(|()| ProofId::new_random());
        fails(&mut one, 0, proofs[0], &rules);
        fails(&mut one, 1, proofs[1], &rules);
        let tell = |from: &Flapping, to: &mut Flapping, minutes| {
            let line = from.records(at(minutes), &rules).remove(&host()).unwrap().to_string();
            to.merge(&host(), line.parse().unwrap())
        };
        assert_eq!(tell(&one, &mut other, 2), None);
        assert_eq!(tell(&one, &mut other, 2), None, "the same again");
        // The incident that is handed over is no new failure there.
        assert!(!fails(&mut other, 2, proofs[1], &rules));
        assert!(fails(&mut other, 3, proofs[2], &rules));
        assert_eq!(tell(&other, &mut one, 4), Some(Changed::Quarantined));
        // The old word of the other does not undo the release here.
        one.release(&host(), at(5));
        assert_eq!(tell(&other, &mut one, 6), None);
        assert!(one.quarantine().is_empty() && !one.records(at(6), &rules)[&host()].quarantined);
        assert!(one.of(&host()).next().is_none());
        assert_eq!(tell(&one, &mut other, 6), Some(Changed::Released));
        assert!(other.quarantine().is_empty() && other.of(&host()).next().is_none());
    }

    #[test]
    fn a_record_is_read_as_it_is_written() {
        let failures = vec![(at(1), None), (at(2), Some(ProofId::new_random()))];
        for record in [
            Record::default(),
            Record { quarantined: true, changed: Some(at(3)), failures: failures.clone() },
            Record { quarantined: false, changed: None, failures },
        ] {
            assert_eq!(record.to_string().parse(), Ok(record));
        }
        for text in ["", "no", "free@soon", "free;", "quarantine@2026-11-25T10:00:00Z;2026-11-25T10:00:00Z/x"]
        {
            assert!(text.parse::<Record>().is_err(), "{text}");
        }
    }
}
