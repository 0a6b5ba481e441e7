//! A host that is proven off is handed to the engine, as the fence agent does it, and followed to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{ClientError, hosts, proof as proofs};
use crate::config::{Config, Names};
use crate::engine::journal::{Entry, Event, Journal, Outcome};
use crate::handover::{AttributeError, Attributes, EVACUATE, Evacuate, Marked, PROOF, Queue, Request, Wish};
use crate::ids::{HostName, IncidentId, NodeName};
use crate::proof::FenceProof;
use crate::proof::ledger::Proofs;
use crate::proof::signed::Signer;
use crate::serve;
use crate::stamp::Stamp;

/// Between looks at the journal.
const LOOK: Duration = Duration::from_millis(500);
/// For a tool of the cluster.
const ANSWER: Duration = Duration::from_secs(5);

/// A request that was handed over.
#[derive(Debug)]
pub struct Asked {
    /// The host.
    pub host: HostName,
    /// Its name in the journal, unless the engine was at the host already.
    pub incident: IncidentId,
    /// What the journal said before.
    before: Vec<Entry>,
}

/// Hands a host over, with the proof. The power device's word counts more than the proof.
pub async fn ask_with(config: &Config, host: &str, proof: &FenceProof) -> Result<Asked, ClientError> {
    let node = host.to_owned();
    let host = hosts::find(host, config).await?;
    if proof.host() != &host {
        return Err(ClientError::OtherHost { host, proven: proof.host().clone() });
    }
    if !proof.evidence().leaves_power_on() && serve::reads_on(config, &host).await? {
        return Err(ClientError::IsOn(host));
    }
    // One that ended when the host was powered on does not come back.
    let path = config.files.proofs();
    if Proofs::load(&path)?.current(&host).is_none() {
        proofs::record(&path, proof)?;
        if Proofs::load(&path)?.current(&host).is_none() {
            return Err(ClientError::NotProven(host));
        }
    }
    let line = Signer::from_file(&config.files.key)
        .inspect_err(|error| tracing::warn!("other controllers cannot check the proof: {error}"))
        .ok()
        .map(|signer| signer.sign(proof));
    let names = Names::new(&config.hosts)?;
    let node = match names.node(&host) {
        Some(node) => node.clone(),
        None => node.parse()?,
    };
    let by = format!("{} on {}", serve::who(), serve::controller());
    let asked = ask(config, &host, &node, line.as_deref(), by)?;
    if let Some(line) = &line
        && let Err(error) = announce(&node, line).await
    {
        tracing::warn!("this controller alone knows of the request: {error}");
    }
    Ok(asked)
}

/// Puts the request where the engine finds it; one that is there already is the same incident.
pub(crate) fn ask(
    config: &Config,
    host: &HostName,
    node: &NodeName,
    proof: Option<&str>,
    by: String,
) -> Result<Asked, ClientError> {
    let before = Journal::read(&config.files.state)?;
    let queue = Queue::new(config.files.queue());
    let queued = queue.list()?.requests;
    let of_host = |wish: Wish| queued.iter().find(move |one| one.host == *host && one.wish == wish);
    if let Some(same) = of_host(Wish::Evacuate) {
        return Ok(Asked { host: host.clone(), incident: same.id, before });
    }
    let request = Request {
        id: IncidentId::new_random(),
        wish: Wish::Evacuate,
        at: Stamp::now(),
        by,
        node: node.clone(),
        host: host.clone(),
        proof: proof.map(str::to_owned),
        marked: Marked::Open { why: "the engine does it".into() },
        power_on: false,
        evacuates: true,
        shared_storage: None,
        not_before: None,
        story: Vec::new(),
    };
    queue.put(&request)?;
    // Whoever wants it evacuated does not want it back.
    if let Some(back) = of_host(Wish::Return) {
        queue.remove(back.id)?;
    }
    Ok(Asked { host: host.clone(), incident: request.id, before })
}

/// So that an engine on another controller takes it up, if that is where it runs.
pub(crate) async fn announce(node: &NodeName, line: &str) -> Result<(), AttributeError> {
    let attributes = Attributes::new(ANSWER);
    // The proof first: whoever sees the request has it.
    attributes.set(PROOF, node, line).await?;
    attributes.set(EVACUATE, node, &Evacuate::Wanted.value()).await
}

/// Hands on what the journal says of the host, until the request has ended; then how.
pub async fn follow(
    config: &Config,
    asked: &Asked,
    patience: Duration,
    mut tell: impl FnMut(&Entry) + Send,
) -> Result<Outcome, ClientError> {
    let end = Instant::now() + patience;
    let incident = asked.incident;
    let queue = Queue::new(config.files.queue());
    let mut seen = asked.before.len();
    let mut followed = Followed::new(&asked.host, incident, &asked.before);
    loop {
        // First, so that what was written before it was removed is read.
        let of_ours = |one: &Request| one.id == incident && one.wish == Wish::Evacuate;
        let open = queue.list()?.requests.iter().any(of_ours);
        let entries = Journal::read(&config.files.state)?;
        // A journal that was moved aside and cleaned up begins again.
        seen = if seen > entries.len() { 0 } else { seen };
        for entry in entries.get(seen..).unwrap_or_default() {
            if followed.takes(entry) {
                tell(entry);
            }
        }
        seen = entries.len();
        if !open {
            return followed.outcome.ok_or(ClientError::Untold(incident));
        }
        if Instant::now() >= end {
            return Err(ClientError::Late(incident));
        }
        sleep(LOOK).await;
    }
}

/// The incidents of a host that are followed: the one asked for, and one that the engine was at already.
struct Followed<'a> {
    host: &'a HostName,
    incidents: BTreeSet<IncidentId>,
    outcome: Option<Outcome>,
}

impl<'a> Followed<'a> {
    fn new(host: &'a HostName, incident: IncidentId, before: &[Entry]) -> Self {
        let mut open: BTreeMap<IncidentId, bool> = BTreeMap::new();
        for entry in before {
            match &entry.event {
                Event::TakenUp { host: of, .. } if of == host => drop(open.insert(entry.incident, true)),
                Event::Ended { .. } => drop(open.remove(&entry.incident)),
                _ => {}
            }
        }
        let incidents = open.into_keys().chain([incident]).collect();
        Self { host, incidents, outcome: None }
    }

    fn takes(&mut self, entry: &Entry) -> bool {
        if matches!(&entry.event, Event::TakenUp { host, .. } if host == self.host) {
            self.incidents.insert(entry.incident);
        }
        let ours = self.incidents.contains(&entry.incident);
        if ours && let Event::Ended { outcome, .. } = &entry.event {
            self.outcome = Some(*outcome);
        }
        ours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_was_at_already_is_followed() {
        let host: HostName = "c1".parse().unwrap();
        let id = IncidentId::new_random;
        let (old, open, ours, other) = (id(), id(), id(), id());
        let entry = |incident, event| Entry::new(Stamp::now(), incident, event);
        let taken = |incident, host: &str| {
            entry(incident, Event::TakenUp { host: host.parse().unwrap(), by: "x".into() })
        };
        let ended =
            |incident, outcome| entry(incident, Event::Ended { outcome, moved: 0, failed: 0, left_out: 0 });
        let before = [taken(old, "c1"), ended(old, Outcome::Partial), taken(open, "c1"), taken(other, "c2")];
        let mut followed = Followed::new(&host, ours, &before);
        assert!(
            !followed.takes(&ended(other, Outcome::Partial))
                && !followed.takes(&ended(old, Outcome::Partial))
        );
        assert_eq!(followed.outcome, None);
        assert!(followed.takes(&ended(open, Outcome::Complete)));
        assert_eq!(followed.outcome, Some(Outcome::Complete));
        assert!(followed.takes(&taken(ours, "c1")) && followed.takes(&ended(ours, Outcome::Refused)));
        assert_eq!(followed.outcome, Some(Outcome::Refused));
    }
}
