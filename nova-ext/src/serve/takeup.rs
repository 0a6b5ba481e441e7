//! Requests: found, checked, and given to the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::complaints::Complaints;
use super::elsewhere::{self, Whose};
use super::failures::Failures;
use super::follow::{self, Taken};
use super::looks::Looks;
use super::watchers::Watcher;
use super::{Shared, alive, controller, evidence, proofs, switched_on};
use crate::cloud::Cloud;
use crate::config::{NameError, known_hosts, remember_hosts};
use crate::engine::comeback::Happened;
use crate::handover::{
    Attributes, EVACUATE, Evacuate, Marked, PROOF, Queue, Request, Value, Wish, is_on, value_of,
};
use crate::ids::{HostName, IncidentId, NodeName};
use crate::proof::FenceProof;
use crate::proof::signed::Signer;
use crate::stamp::Stamp;

/// Between looks at the folder.
const FILES: Duration = Duration::from_millis(200);
/// Between looks at the attributes.
const ATTRIBUTES: Duration = Duration::from_secs(1);
/// The same while there is no cluster.
const NO_CLUSTER: Duration = Duration::from_secs(10);
/// For a tool of the cluster.
const TOOL: Duration = Duration::from_secs(5);
/// Between questions to the cluster about a request that is not ours now.
const ASK: Duration = Duration::from_secs(1);

/// What is known of the folder.
#[derive(Default)]
struct Folder {
    complaints: Complaints,
    /// Wishes to return that were handed on. They stay until the host has returned.
    handed_on: BTreeMap<IncidentId, Request>,
    /// When a request was last found to wait.
    waited: BTreeMap<IncidentId, Instant>,
}

/// What came of a look at a request.
enum Looked {
    /// It is taken up, or forgotten.
    Done,
    /// It waits for another controller.
    Waits(String),
    /// Nothing proves that its host is off.
    NotProven(String),
}

impl Folder {
    /// Whether a wish to return is to be handed on: once, and again if it has changed, and not while the host is to be
    /// evacuated.
    fn wants_back(&mut self, request: &Request, evacuated: bool) -> bool {
        if evacuated {
            self.handed_on.remove(&request.id);
            return false;
        }
        self.handed_on.get(&request.id) != Some(request)
    }

    /// Whether it is time to look at a request that waits.
    fn is_due(&self, id: IncidentId) -> bool {
        self.waited.get(&id).is_none_or(|at| at.elapsed() >= ASK)
    }

    /// What came of a look.
    fn looked(&mut self, request: &Request, looked: Result<Looked, String>) {
        let (Request { id, host, .. }, what) = (request, looked.unwrap_or_else(Looked::NotProven));
        let (Looked::Waits(why) | Looked::NotProven(why)) = &what else { return };
        self.waited.insert(*id, Instant::now());
        if !self.complaints.is_news(&id.to_string(), why) {
            return;
        }
        if matches!(what, Looked::NotProven(_)) {
            warn!(incident = %id, %host, "not evacuated: {why}");
        } else {
            info!(incident = %id, %host, "it waits: {why}");
        }
    }

    /// Forgets what does not lie there any more.
    fn keep(&mut self, requests: &[Request], bad: &BTreeSet<String>) {
        let ids: BTreeSet<IncidentId> = requests.iter().map(|request| request.id).collect();
        self.handed_on.retain(|id, _| ids.contains(id));
        self.waited.retain(|id, _| ids.contains(id));
        let names: BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
        self.complaints.keep(|of| of == FOLDER || names.contains(of) || bad.contains(of));
    }
}

/// What is said of the folder itself, and of the cluster.
const FOLDER: &str = "the folder";
const CLUSTER: &str = "the cluster";

/// Watches the folder.
pub(super) async fn files(
    watcher: Watcher,
    shared: Arc<Shared>,
    cloud: Cloud,
    wanted: mpsc::Sender<Happened>,
) {
    let queue = Queue::new(shared.config.files.queue());
    let mut folder = Folder::default();
    let mut looks = Looks::new();
    loop {
        for (request, looked) in looks.ended() {
            folder.looked(&request, looked);
        }
        match follow::list(&queue).await {
            Ok(queued) => {
                folder.complaints.forget(FOLDER);
                let mut bad = BTreeSet::new();
                for (path, why) in queued.bad {
                    let name = path.display().to_string();
                    if folder.complaints.is_news(&name, &why) {
                        warn!("{name} is no request: {why}");
                    }
                    bad.insert(name);
                }
                folder.keep(&queued.requests, &bad);
                let evacuated: BTreeSet<HostName> = queued
                    .requests
                    .iter()
                    .filter(|request| request.wish == Wish::Evacuate)
                    .map(|request| request.host.clone())
                    .collect();
                let due = queued.requests.into_iter().filter(|request| request.is_due(Stamp::now()));
                for request in due {
                    match request.wish {
                        Wish::Return => {
                            let evacuated =
                                evacuated.contains(&request.host) || follow::is_busy(&request.host);
                            if folder.wants_back(&request, evacuated) {
                                let wish = Happened::Wanted(follow::wish(request.clone()));
                                if wanted.try_send(wish).is_ok() {
                                    folder.handed_on.insert(request.id, request);
                                }
                            }
                        }
                        Wish::Evacuate if follow::is_busy(&request.host) || !folder.is_due(request.id) => {}
                        Wish::Evacuate => {
                            let (shared, cloud) = (Arc::clone(&shared), cloud.clone());
                            let (wanted, queue, of) = (wanted.clone(), queue.clone(), request.clone());
                            looks.begin(&request, async move {
                                one_file(&shared, &cloud, &wanted, &queue, of).await
                            });
                        }
                    }
                }
                watcher.well();
            }
            Err(why) => {
                watcher.trouble(&why);
                if folder.complaints.is_news(FOLDER, &why) {
                    warn!("{why}");
                }
            }
        }
        sleep(FILES).await;
    }
}

/// Whom a request is about.
fn of(request: &Request) -> (&HostName, &NodeName) {
    (&request.host, &request.node)
}

async fn one_file(
    shared: &Arc<Shared>,
    cloud: &Cloud,
    wanted: &mpsc::Sender<Happened>,
    queue: &Queue,
    request: Request,
) -> Looked {
    let forget = async |why: &str| {
        info!(incident = %request.id, host = %request.host, "{why}");
        follow::remove(queue, request.id).await;
        Looked::Done
    };
    match elsewhere::whose(&request, &controller(), shared.stale).await {
        Whose::Ours => {}
        Whose::Over => return forget("the engine of another controller has done it").await,
        Whose::Theirs(why) => return Looked::Waits(why),
    }
    let told = request.marked == Marked::Done;
    match proof(shared, cloud, of(&request), request.proof.as_deref(), told).await {
        // Another controller's engine has done it, or somebody has switched the host on.
        Ok(None) => forget("the host is not off any more").await,
        Ok(Some(proof)) => {
            let taken = Taken {
                incident: request.id,
                host: request.host,
                node: request.node,
                proof,
                by: request.by,
                story: request.story,
                power_on: request.power_on,
                evacuates: request.evacuates,
                shared_storage: request.shared_storage,
                file: true,
            };
            follow::take(shared, cloud, wanted, taken);
            Looked::Done
        }
        Err(why) => Looked::NotProven(why),
    }
}

/// Watches the attributes.
pub(super) async fn attributes(
    watcher: Watcher,
    shared: Arc<Shared>,
    cloud: Cloud,
    wanted: mpsc::Sender<Happened>,
) {
    let attributes = Attributes::new(TOOL);
    let mut complaints = Complaints::default();
    let mut failures = Failures::default();
    let mut switched_on = switched_on::SwitchedOn::default();
    let mut looks = Looks::<String, _>::new();
    loop {
        for (node, looked) in looks.ended() {
            if let Err(why) = looked.unwrap_or_else(Err)
                && complaints.is_news(&node, &why)
            {
                warn!(%node, "not evacuated: {why}");
            }
        }
        let values = match attributes.values(EVACUATE).await {
            Ok(values) => values,
            Err(error) => {
                watcher.trouble(&error.to_string());
                failures.no_cluster(&shared, &error);
                if complaints.is_news(CLUSTER, "it is not there") {
                    warn!(
                        "node attributes are not watched, requests come from this controller alone: {error}"
                    );
                }
                sleep(NO_CLUSTER).await;
                continue;
            }
        };
        if complaints.forget(CLUSTER) {
            info!("node attributes are watched");
        }
        failures.keep(&shared, &cloud, &attributes).await;
        let me = controller();
        let open: Vec<Value> = values
            .into_iter()
            .filter(|value| is_open(&value.value, &me, Stamp::now(), shared.stale))
            .collect();
        complaints.keep(|of| open.iter().any(|value| value.node == of));
        let proofs = match attributes.values(PROOF).await {
            Ok(proofs) => proofs,
            Err(error) => {
                // Without them an old line in Nova would be taken for the last word.
                watcher.trouble(&error.to_string());
                sleep(ATTRIBUTES).await;
                continue;
            }
        };
        switched_on.hear(&shared, &cloud, &proofs).await;
        switched_on.let_return(&cloud, &wanted).await;
        for value in open {
            let line = proofs.iter().find(|proof| proof.node == value.node).map(|proof| proof.value.clone());
            let line = line.filter(|line| is_on(line).is_none());
            let (shared, cloud, wanted) = (Arc::clone(&shared), cloud.clone(), wanted.clone());
            let node = value.node.clone();
            looks.begin(&node, async move { one_attribute(&shared, &cloud, &wanted, &value, line).await });
        }
        watcher.well();
        sleep(ATTRIBUTES).await;
    }
}

fn is_open(value: &str, me: &str, now: Stamp, stale: u64) -> bool {
    match Evacuate::parse(value) {
        Evacuate::Wanted | Evacuate::Down => true,
        Evacuate::Over => false,
        // Ours of an earlier life, or another controller's that has stopped.
        Evacuate::Begun { by, since } => by == me || !elsewhere::is_fresh(since, now, stale),
    }
}

async fn one_attribute(
    shared: &Arc<Shared>,
    cloud: &Cloud,
    wanted: &mpsc::Sender<Happened>,
    value: &Value,
    line: Option<String>,
) -> Result<(), String> {
    let node: NodeName = value.node.parse().map_err(|error: crate::ids::BadName| error.to_string())?;
    let (host, said) = (host_of(shared, cloud, &value.node, line.as_deref()).await?, line.clone());
    if follow::is_busy(&host) {
        return Ok(());
    }
    let mut line = line;
    if line.is_none() {
        // Whoever fenced told Nova at least.
        let service = cloud.compute_service(&host).await.map_err(|error| error.to_string())?;
        line = service.disabled_reason;
    }
    let Some(proof) = proof(shared, cloud, (&host, &node), line.as_deref(), false).await? else {
        forget(value, said.as_deref()).await;
        return Ok(());
    };
    let taken = Taken {
        incident: IncidentId::of(proof.id()),
        host,
        node,
        proof,
        by: "a node attribute".into(),
        story: Vec::new(),
        power_on: false,
        evacuates: Evacuate::parse(&value.value) != Evacuate::Down,
        shared_storage: None,
        file: false,
    };
    follow::take(shared, cloud, wanted, taken);
    Ok(())
}

/// What a node asked for is over, unless it asks for something else by now: looking has taken its time, and the host may
/// have failed again meanwhile.
async fn forget(value: &Value, proof: Option<&str>) {
    let (attributes, Ok(node)) = (Attributes::new(TOOL), value.node.parse::<NodeName>()) else { return };
    let (evacuate, proofs) = tokio::join!(attributes.values(EVACUATE), attributes.values(PROOF));
    let (Ok(evacuate), Ok(proofs)) = (evacuate, proofs) else { return };
    let line = value_of(&proofs, &node).filter(|line| is_on(line).is_none());
    if value_of(&evacuate, &node) == Some(&value.value) && line == proof {
        let _ = attributes.set(EVACUATE, &node, &Evacuate::Over.value()).await;
    }
}

/// The host of a node, by the configuration or by Nova's list.
pub(super) async fn host_of(
    shared: &Shared,
    cloud: &Cloud,
    node: &str,
    line: Option<&str>,
) -> Result<HostName, String> {
    let path = shared.config.files.known_hosts();
    if let Ok(host) = shared.names.resolve(node, None, &known_hosts(&path)) {
        return Ok(host);
    }
    let services = cloud.compute_services().await.map_err(|error| error.to_string())?;
    let hosts: Vec<HostName> = services.into_iter().map(|service| service.host).collect();
    let _ = remember_hosts(&path, &hosts);
    let found = shared.names.resolve(node, None, &hosts);
    found.or_else(|error| signed_for(&error, shared.signer.as_ref(), line).ok_or_else(|| error.to_string()))
}

/// Of several hosts that a node could be, the one that the proof is signed for: whoever fenced knew its domain.
fn signed_for(error: &NameError, signer: Option<&Signer>, line: Option<&str>) -> Option<HostName> {
    let (NameError::Ambiguous { candidates, .. }, Some(signer), Some(line)) = (error, signer, line) else {
        return None;
    };
    let hosts = candidates.iter().filter_map(|name| name.parse().ok());
    hosts.into_iter().find(|host| signer.verify(host, line).is_ok())
}

/// The proof that the host is off: the ledger's, the signed line's, or what is found now. None: it was off, and is on
/// again.
async fn proof(
    shared: &Arc<Shared>,
    cloud: &Cloud,
    (host, node): (&HostName, &NodeName),
    line: Option<&str>,
    told: bool,
) -> Result<Option<FenceProof>, String> {
    // What is found says nothing of a proof that is made meanwhile.
    let begun = Stamp::now();
    let proof = match recorded(shared, host, line).await? {
        Recorded::Holds(proof) => proof,
        Recorded::Over => {
            info!(%host, "not evacuated: it was powered on after it was proven off");
            return Ok(None);
        }
        Recorded::Nothing(why) => return Err(format!("{why}; {}", evidence::ask(shared, cloud, host, node))),
    };
    let Some(why) = alive::sign(shared, cloud, &proof, told).await else {
        // Asking takes its time, and it may have been switched on meanwhile.
        let path = shared.config.files.proofs();
        return proofs::current(path, host.clone()).await.map_err(|trouble| trouble.why);
    };
    info!(%host, "what was asked for while it was off is over: {why}");
    proofs::end(shared.config.files.proofs(), host.clone(), begun).await.map_err(|trouble| trouble.why)?;
    Ok(None)
}

/// What was written down.
#[derive(Debug)]
enum Recorded {
    Holds(FenceProof),
    /// The host was on since.
    Over,
    /// Whoever has fenced it has left no proof that counts, and why.
    Nothing(String),
}

async fn recorded(shared: &Shared, host: &HostName, line: Option<&str>) -> Result<Recorded, String> {
    let path = shared.config.files.proofs();
    let known = proofs::current(path.clone(), host.clone()).await.map_err(|trouble| trouble.why)?;
    let signed = match (line, &shared.signer) {
        (None, _) => Err("there is no proof that the host is off".to_owned()),
        (_, None) => Err("no proof on this controller, and no key to check those of others".into()),
        (Some(line), Some(signer)) => {
            signer.verify(host, line).map_err(|refused| format!("the proof is not valid: {refused}"))
        }
    };
    let proof = match (known, signed) {
        // It may have failed again since, and have been fenced from another controller.
        (Some(known), Ok(signed)) if signed.at() > known.at() => signed,
        (Some(known), _) => return Ok(Recorded::Holds(known)),
        (None, Ok(signed)) => signed,
        (None, Err(why)) => return Ok(Recorded::Nothing(why)),
    };
    // So that powering on ends it here as well.
    proofs::record(path.clone(), proof).await.map_err(|trouble| trouble.why)?;
    let known = proofs::current(path, host.clone()).await.map_err(|trouble| trouble.why)?;
    Ok(known.map_or(Recorded::Over, Recorded::Holds))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, host, stamp};
    use super::*;

    #[tokio::test]
    async fn the_newer_of_ledger_and_signed_line_counts() {
        let bench = Bench::new();
        let (old, new) = (bench.line("c1", 5), bench.line("c1", 20));
        bench.prove("c1", 10);
        let at = async |line: Option<&str>| match recorded(&bench.shared, &host("c1"), line).await.unwrap() {
            Recorded::Holds(proof) => Some(proof.at()),
            Recorded::Over | Recorded::Nothing(_) => None,
        };
        assert_eq!(at(Some(&old)).await, Some(stamp(10)));
        assert_eq!(at(Some("nova-ha: off, said somebody")).await, Some(stamp(10)));
        assert_eq!(at(None).await, Some(stamp(10)));
        assert_eq!(at(Some(&new)).await, Some(stamp(20)));
        assert_eq!(bench.proven("c1"), Some(stamp(20)));
    }

    #[test]
    fn a_wish_to_return_is_handed_on_once_and_again_when_it_has_changed() {
        let mut folder = Folder::default();
        let request = super::super::tests::request(Wish::Return, "c1", 0);
        assert!(!folder.wants_back(&request, true), "it is being evacuated");
        assert!(folder.wants_back(&request, false));
        folder.handed_on.insert(request.id, request.clone());
        folder.keep(std::slice::from_ref(&request), &BTreeSet::new());
        assert!(!folder.wants_back(&request, false));
        assert!(folder.wants_back(&Request { power_on: true, ..request.clone() }, false));
        // It fails meanwhile, and the wish is still there afterwards.
        assert!(!folder.wants_back(&request, true) && folder.wants_back(&request, false));
        folder.handed_on.insert(request.id, request.clone());
        folder.keep(&[], &BTreeSet::new());
        assert!(folder.handed_on.is_empty());
    }

    #[test]
    fn what_another_controller_renews_is_not_open() {
        let begun = format!("ctl1@{}", stamp(0).as_secs());
        let open = |value: &str, me: &str, now| is_open(value, me, stamp(now), 90);
        assert!(open("yes", "ctl2", 0) && !open("no", "ctl2", 0));
        assert!(!open(&begun, "ctl2", 90) && open(&begun, "ctl2", 91) && open(&begun, "ctl1", 1));
    }
}
