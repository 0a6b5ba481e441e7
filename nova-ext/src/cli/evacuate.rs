//! `nova-ha evacuate`: hands a host that is proven off to the engine, as the fence agent does, and follows it if asked.
#![allow(clippy::doc_markdown, reason = "some of these comments are what --help prints")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::plan::{clean, connect, host_in_nova};
use super::switch::{host, who};
use super::{Exit, Failure, complain, print};
use crate::config::{Config, Names};
use crate::engine::journal::{Entry, Event, Journal, Outcome};
use crate::handover::{Attributes, EVACUATE, Evacuate, Marked, PROOF, Queue, Request, Wish};
use crate::ids::{HostName, IncidentId, NodeName};
use crate::proof::FenceProof;
use crate::proof::ledger::Proofs;
use crate::proof::operator;
use crate::proof::signed::Signer;
use crate::report::say;
use crate::serve;
use crate::stamp::Stamp;

/// Between looks at the journal.
const LOOK: Duration = Duration::from_millis(500);
/// For the engine's socket, and for a tool of the cluster.
const ANSWER: Duration = Duration::from_secs(5);

/// Arguments of `evacuate`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The host, by its name in Nova or in the cluster
    #[arg(value_name = "HOST")]
    host: String,
    /// Who has seen that the host is off, and vouches for it by name; for a host without another proof
    #[arg(long, value_name = "NAME")]
    operator_confirms_off: Option<String>,
    /// Follow it to its end
    #[arg(long)]
    wait: bool,
    /// Seconds to follow it at most; it goes on without us
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, requires = "wait")]
    timeout: u32,
}

pub(super) async fn run(options: &Options, config: &Config) -> Result<Exit, Failure> {
    let host = the_host(&options.host, config).await?;
    let proof = prove(options, config, &host).await?;
    let line = match Signer::from_file(&config.files.key) {
        Ok(signer) => Some(signer.sign(&proof)),
        Err(error) => {
            complain(&format!("other controllers cannot check the proof: {error}"));
            None
        }
    };
    let node = node(options, config, &host)?;
    let before = Journal::read(&config.files.state).map_err(Failure::failed)?;
    let incident = ask(config, &host, &node, line.as_deref())?;
    announce(&node, line.as_deref()).await;
    let engine = serve::ask(config.files.socket(), ANSWER).await;
    if let Err(error) = &engine {
        complain(&format!("no engine answers on this controller, the request waits for one: {error}"));
    }
    let text = format!(
        "the engine is asked to evacuate {host}, incident {incident}\n{proof}\nfollow it: nova-ha status; nova-ha report {incident}\n"
    );
    print(text.as_bytes())?;
    if !options.wait {
        return Ok(Exit::Ok);
    }
    follow(config, &host, incident, &before, Duration::from_secs(options.timeout.into())).await
}

/// The host: by what is known here, else by Nova.
async fn the_host(name: &str, config: &Config) -> Result<HostName, Failure> {
    let known = crate::config::known_hosts(&config.files.known_hosts());
    let names = Names::new(&config.hosts).map_err(Failure::failed)?;
    if names.resolve(name, None, &known).is_ok() || (known.is_empty() && names.configured(name).is_some()) {
        return host(name, config);
    }
    // A slip of the finger must not become a host that is proven off.
    host_in_nova(name, config, &connect(config).await?).await
}

fn node(options: &Options, config: &Config, host: &HostName) -> Result<NodeName, Failure> {
    let names = Names::new(&config.hosts).map_err(Failure::failed)?;
    let node = names.node(host).cloned().or_else(|| options.host.parse().ok());
    node.ok_or_else(|| Failure::failed("it cannot be a node"))
}

/// The proof that holds; a new one if somebody vouches for it.
async fn prove(options: &Options, config: &Config, host: &HostName) -> Result<FenceProof, Failure> {
    let path = config.files.proofs();
    let mut proofs = Proofs::load(&path).map_err(Failure::failed)?;
    let known = proofs.current(host).cloned();
    if known.is_none() && options.operator_confirms_off.is_none() {
        return Err(Failure::failed(format!(
            "nothing proves to this controller that {host} is off, so that its servers may still run: fence it \
             (stonith_admin --fence NODE, or nova-ha power off), or look at it and say --operator-confirms-off YOUR-NAME"
        )));
    }
    if serve::reads_on(config, host).await.map_err(Failure::failed)? {
        return Err(Failure::failed(format!(
            "the power device of {host} says that it is on, and no word counts against that: fence it first"
        )));
    }
    if let Some(proof) = known {
        return Ok(proof);
    }
    let name = options.operator_confirms_off.as_deref().unwrap_or_default();
    let proof = operator::confirms(host, name, Stamp::now()).map_err(Failure::failed)?;
    reports_to_nobody(config, host).await?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::failed(format!("{}: {error}", folder.display())))?;
    }
    proofs.record(&proof).map_err(Failure::failed)?;
    Ok(proof)
}

/// A nova-compute that Nova takes for up has reported within the last minute: that speaks against any word.
async fn reports_to_nobody(config: &Config, host: &HostName) -> Result<(), Failure> {
    let asked = async { connect(config).await?.compute_service(host).await.map_err(Failure::failed) };
    match asked.await {
        Ok(service) if service.up => Err(Failure::failed(format!(
            "the nova-compute of {host} still reports to Nova: if the host is really off, Nova takes it for down after \
             a minute (service_down_time); try again then"
        ))),
        Ok(_) => Ok(()),
        Err(failure) => {
            complain(&format!("Nova cannot be asked whether {host} still reports: {failure}"));
            Ok(())
        }
    }
}

/// Puts the request where the engine finds it; one that is there already is the same incident.
fn ask(
    config: &Config,
    host: &HostName,
    node: &NodeName,
    proof: Option<&str>,
) -> Result<IncidentId, Failure> {
    let queue = Queue::new(config.files.queue());
    let queued = queue.list().map_err(Failure::failed)?.requests;
    let of_host = |wish: Wish| queued.iter().find(move |one| one.host == *host && one.wish == wish);
    if let Some(same) = of_host(Wish::Evacuate) {
        return Ok(same.id);
    }
    let request = Request {
        id: IncidentId::new_random(),
        wish: Wish::Evacuate,
        at: Stamp::now(),
        by: format!("{} on {}", who(), serve::controller()),
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
    queue.put(&request).map_err(Failure::failed)?;
    // Whoever wants it evacuated does not want it back.
    if let Some(back) = of_host(Wish::Return) {
        queue.remove(back.id).map_err(Failure::failed)?;
    }
    Ok(request.id)
}

/// So that an engine on another controller takes it up, if that is where it runs.
async fn announce(node: &NodeName, line: Option<&str>) {
    let Some(line) = line else { return };
    let attributes = Attributes::new(ANSWER);
    let told = async {
        // The proof first: whoever sees the request has it.
        attributes.set(PROOF, node, line).await?;
        attributes.set(EVACUATE, node, &Evacuate::Wanted.value()).await
    };
    if let Err(error) = told.await {
        complain(&format!("this controller alone knows of the request: {error}"));
    }
}

/// Says what the journal says of the host, until the request has ended.
async fn follow(
    config: &Config,
    host: &HostName,
    incident: IncidentId,
    before: &[Entry],
    patience: Duration,
) -> Result<Exit, Failure> {
    let end = Instant::now() + patience;
    let queue = Queue::new(config.files.queue());
    let mut seen = before.len();
    let mut followed = Followed::new(host, incident, before);
    loop {
        // First, so that what was written before it was removed is read.
        let open = queue.list().map_err(Failure::failed)?.requests.iter().any(|one| one.id == incident);
        let entries = Journal::read(&config.files.state).map_err(Failure::failed)?;
        // A journal that was moved aside and cleaned up begins again.
        seen = if seen > entries.len() { 0 } else { seen };
        for entry in entries.get(seen..).unwrap_or_default() {
            if followed.takes(entry) {
                print(format!("{}  {}\n", entry.at, clean(&say(&entry.event))).as_bytes())?;
            }
        }
        seen = entries.len();
        if !open {
            return match followed.outcome {
                Some(Outcome::Complete) => Ok(Exit::Ok),
                Some(_) => Ok(Exit::Failed),
                None => Err(Failure::failed(format!(
                    "the request has ended, and the journal does not say how: see nova-ha report {incident}"
                ))),
            };
        }
        if Instant::now() >= end {
            let text = format!("it has not ended in time and goes on: see nova-ha report {incident}");
            return Err(Failure::failed(text));
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
