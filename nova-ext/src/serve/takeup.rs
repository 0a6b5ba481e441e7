//! Requests: found, checked, given to the engine, and forgotten when they have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use super::watchers::Watcher;
use super::{Shared, alive, controller, proofs, switches};
use crate::cloud::{Cloud, ServiceChange};
use crate::config::{NameError, known_hosts, remember_hosts};
use crate::engine::comeback::Wanted;
use crate::engine::journal::{Entry, Event, Outcome};
use crate::engine::run::Order;
use crate::engine::{Answer, Request as EngineRequest};
use crate::handover::{
    Attributes, EVACUATE, Evacuate, Marked, POWER, PROOF, Queue, Request, Value, Wish, is_on, power_wish,
    value_of,
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
/// What another controller has begun and not renewed for so long is taken over.
const STALE: u64 = 60;
/// For a tool of the cluster.
const TOOL: Duration = Duration::from_secs(5);
/// The same when everything is to end.
const LAST: Duration = Duration::from_secs(3);

/// Hosts whose requests are under way here, with the nodes of those that are evacuated.
static BUSY: Mutex<BTreeMap<HostName, Option<NodeName>>> = Mutex::new(BTreeMap::new());
/// Whether this engine ends: from then on it holds nothing any more.
static LEAVING: AtomicBool = AtomicBool::new(false);

fn busy() -> MutexGuard<'static, BTreeMap<HostName, Option<NodeName>>> {
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn begin(taken: &Taken) -> bool {
    let mut busy = busy();
    let free = !busy.contains_key(&taken.host);
    if free {
        busy.insert(taken.host.clone(), taken.evacuates.then(|| taken.node.clone()));
    }
    free
}

fn over(host: &HostName) {
    busy().remove(host);
}

/// What is under way here is for another controller from now on, and not only when it has not been renewed for long.
pub(super) async fn hand_over() {
    LEAVING.store(true, Ordering::SeqCst);
    let nodes: Vec<NodeName> = busy().values().flatten().cloned().collect();
    let told: JoinSet<()> = nodes
        .into_iter()
        .map(|node| async move {
            match Attributes::new(LAST).set(EVACUATE, &node, &Evacuate::Wanted.value()).await {
                Ok(()) => info!(%node, "its evacuation is for another controller now"),
                Err(error) => info!(%node, "no other controller is told: {error}"),
            }
        })
        .collect();
    told.join_all().await;
}

/// A request as far as the engine needs it.
struct Taken {
    incident: IncidentId,
    host: HostName,
    node: NodeName,
    proof: FenceProof,
    by: String,
    story: Vec<Entry>,
    power_on: bool,
    evacuates: bool,
    /// Whether the computes share storage, if it was said.
    shared_storage: Option<bool>,
    /// Whether it is a file.
    file: bool,
}

/// Watches the folder.
pub(super) async fn files(watcher: Watcher, shared: Arc<Shared>, cloud: Cloud, wanted: mpsc::Sender<Wanted>) {
    let queue = Queue::new(shared.config.files.queue());
    let mut complained: BTreeSet<String> = BTreeSet::new();
    loop {
        let list = {
            let queue = queue.clone();
            tokio::task::spawn_blocking(move || queue.list()).await
        };
        match list {
            Ok(Ok(queued)) => {
                for (path, why) in queued.bad {
                    if complained.insert(path.display().to_string()) {
                        warn!("{} is no request: {why}", path.display());
                    }
                }
                let due = queued.requests.into_iter().filter(|request| request.is_due(Stamp::now()));
                for request in due {
                    one_file(&shared, &cloud, &wanted, &queue, request, &mut complained).await;
                    watcher.well();
                }
                watcher.well();
            }
            Ok(Err(error)) => {
                watcher.trouble(&error.to_string());
                if complained.insert(error.to_string()) {
                    warn!("{error}");
                }
            }
            Err(failure) => watcher.trouble(&failure.to_string()),
        }
        sleep(FILES).await;
    }
}

async fn one_file(
    shared: &Arc<Shared>,
    cloud: &Cloud,
    wanted: &mpsc::Sender<Wanted>,
    queue: &Queue,
    request: Request,
    complained: &mut BTreeSet<String>,
) {
    let told = request.marked == Marked::Done;
    match request.wish {
        Wish::Return => {
            let Request { host, id: incident, power_on, by, .. } = request;
            // Known from here on; a host that returns is also found in Nova.
            if wanted.try_send(Wanted { host, incident, power_on, by }).is_ok() {
                let _ = queue.remove(incident);
            }
        }
        // Looked at before the proof: asking takes its time.
        Wish::Evacuate if busy().contains_key(&request.host) => {}
        Wish::Evacuate => match proof(shared, cloud, &request.host, request.proof.as_deref(), told).await {
            Ok(None) => {
                // Another controller's engine has done it, or somebody has switched the host on.
                if let Err(error) = queue.remove(request.id) {
                    warn!(incident = %request.id, "{error}");
                }
            }
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
                take(shared, cloud, wanted, taken);
            }
            Err(why) if complained.insert(format!("{}: {why}", request.id)) => {
                warn!(incident = %request.id, host = %request.host, "not evacuated: {why}");
            }
            Err(_) => {}
        },
    }
}

/// Watches the attributes.
pub(super) async fn attributes(
    watcher: Watcher,
    shared: Arc<Shared>,
    cloud: Cloud,
    wanted: mpsc::Sender<Wanted>,
) {
    let attributes = Attributes::new(TOOL);
    let mut complained: BTreeSet<String> = BTreeSet::new();
    let mut powered: BTreeMap<String, Stamp> = BTreeMap::new();
    loop {
        let values = match attributes.values(EVACUATE).await {
            Ok(values) => values,
            Err(error) => {
                watcher.trouble(&error.to_string());
                if complained.insert("cluster".into()) {
                    warn!(
                        "node attributes are not watched, requests come from this controller alone: {error}"
                    );
                }
                sleep(NO_CLUSTER).await;
                continue;
            }
        };
        if complained.remove("cluster") {
            info!("node attributes are watched");
        }
        let open: Vec<Value> = values.into_iter().filter(|value| is_open(&value.value)).collect();
        let proofs = attributes.values(PROOF).await.unwrap_or_default();
        for proof in &proofs {
            // Somebody has switched it on, on another controller.
            if let Some(since) = is_on(&proof.value)
                && powered.get(&proof.node) != Some(&since)
                && powered_on(&shared, &proof.node, since).await
            {
                powered.insert(proof.node.clone(), since);
            }
        }
        for value in open {
            let line = proofs.iter().find(|proof| proof.node == value.node).map(|proof| proof.value.clone());
            let line = line.filter(|line| is_on(line).is_none());
            if let Err(why) = one_attribute(&shared, &cloud, &wanted, &value, line).await
                && complained.insert(format!("{}: {why}", value.node))
            {
                warn!(node = %value.node, "not evacuated: {why}");
            }
        }
        watcher.well();
        sleep(ATTRIBUTES).await;
    }
}

fn is_open(value: &str) -> bool {
    match Evacuate::parse(value) {
        Evacuate::Wanted => true,
        Evacuate::Over => false,
        // Ours of an earlier life, or another controller's that has stopped.
        Evacuate::Begun { by, since } => {
            by == controller() || Stamp::now().as_secs().saturating_sub(since) > STALE
        }
    }
}

/// The host of a node was on then: the engine and the ledger must know, whether or not it failed again later. Whether they
/// do.
async fn powered_on(shared: &Shared, node: &str, since: Stamp) -> bool {
    let known = known_hosts(&shared.config.files.known_hosts());
    let Ok(host) = shared.names.resolve(node, None, &known) else { return false };
    let path = shared.config.files.proofs();
    let ended = async {
        proofs::end(path.clone(), host.clone(), since).await?;
        proofs::current(path, host.clone()).await
    };
    match ended.await {
        // It has failed again after that.
        Ok(Some(_)) => true,
        Ok(None) => shared.orders.send(Order::PoweredOn { host, since }).await.is_ok(),
        Err(trouble) => {
            warn!(%host, "{}", trouble.why);
            false
        }
    }
}

async fn one_attribute(
    shared: &Arc<Shared>,
    cloud: &Cloud,
    wanted: &mpsc::Sender<Wanted>,
    value: &Value,
    line: Option<String>,
) -> Result<(), String> {
    let node: NodeName = value.node.parse().map_err(|error: crate::ids::BadName| error.to_string())?;
    let host = host_of(shared, cloud, &value.node, line.as_deref()).await?;
    if busy().contains_key(&host) {
        return Ok(());
    }
    let mut line = line;
    if line.is_none() {
        // Whoever fenced told Nova at least.
        let service = cloud.compute_service(&host).await.map_err(|error| error.to_string())?;
        line = service.disabled_reason;
    }
    let Some(proof) = proof(shared, cloud, &host, line.as_deref(), false).await? else {
        let _ = Attributes::new(TOOL).set(EVACUATE, &node, &Evacuate::Over.value()).await;
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
        evacuates: true,
        shared_storage: None,
        file: false,
    };
    take(shared, cloud, wanted, taken);
    Ok(())
}

/// The host of a node, by the configuration or by Nova's list.
async fn host_of(shared: &Shared, cloud: &Cloud, node: &str, line: Option<&str>) -> Result<HostName, String> {
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

/// The proof that the host is off: the ledger's, or the signed line's. None: it was off, and is on again.
async fn proof(
    shared: &Shared,
    cloud: &Cloud,
    host: &HostName,
    line: Option<&str>,
    told: bool,
) -> Result<Option<FenceProof>, String> {
    // What is found says nothing of a proof that is made meanwhile.
    let begun = Stamp::now();
    let Some(proof) = recorded(shared, host, line).await? else {
        info!(%host, "not evacuated: it was powered on after it was proven off");
        return Ok(None);
    };
    let Some(why) = alive::sign(shared, cloud, &proof, told).await else { return Ok(Some(proof)) };
    info!(%host, "what was asked for while it was off is over: {why}");
    proofs::end(shared.config.files.proofs(), host.clone(), begun).await.map_err(|trouble| trouble.why)?;
    Ok(None)
}

async fn recorded(
    shared: &Shared,
    host: &HostName,
    line: Option<&str>,
) -> Result<Option<FenceProof>, String> {
    let path = shared.config.files.proofs();
    let known = proofs::current(path.clone(), host.clone()).await.map_err(|trouble| trouble.why)?;
    if known.is_some() {
        return Ok(known);
    }
    let signer =
        shared.signer.as_ref().ok_or("no proof on this controller, and no key to check those of others")?;
    let line = line.ok_or("there is no proof that the host is off")?;
    let proof = signer.verify(host, line).map_err(|refused| format!("the proof is not valid: {refused}"))?;
    // So that powering on ends it here as well.
    proofs::record(path.clone(), proof).await.map_err(|trouble| trouble.why)?;
    proofs::current(path, host.clone()).await.map_err(|trouble| trouble.why)
}

/// Gives it to the engine and follows it to its end.
fn take(shared: &Arc<Shared>, cloud: &Cloud, wanted: &mpsc::Sender<Wanted>, taken: Taken) {
    if !begin(&taken) {
        return;
    }
    let (shared, cloud, wanted) = (Arc::clone(shared), cloud.clone(), wanted.clone());
    tokio::spawn(async move {
        let host = taken.host.clone();
        follow(&shared, &cloud, &wanted, taken).await;
        over(&host);
    });
}

async fn follow(shared: &Shared, cloud: &Cloud, wanted: &mpsc::Sender<Wanted>, taken: Taken) {
    let Taken { incident, host, node, proof, by, story, power_on, evacuates, shared_storage, file } = taken;
    if shared_storage == Some(false) && evacuates && shared.storage_in_common {
        warn!(
            %incident, %host,
            "the fence agent was given no_shared_storage, and the policy says [storage] shared = true: the policy counts"
        );
    }
    let attributes = Attributes::new(TOOL);
    let ended = if evacuates {
        let how = if file { "queue file" } else { "node attribute" };
        let mut story = story;
        story.push(Entry::new(
            Stamp::now(),
            incident,
            Event::HandedOver { host: host.clone(), how: how.into() },
        ));
        let request = EngineRequest { host: host.clone(), incident, proof, by };
        match evacuate(shared, request.clone(), story.clone(), &node, &attributes).await {
            // It ended before: the attribute was set once more, by somebody who wants it once more.
            Some(Asked::Before(_)) if !file => {
                let request = EngineRequest { incident: IncidentId::new_random(), ..request };
                evacuate(shared, request, story, &node, &attributes).await.map(Asked::outcome)
            }
            asked => asked.map(Asked::outcome),
        }
    } else {
        only_mark(shared, cloud, &host).await
    };
    let Some(outcome) = ended else { return };
    switches::no_go_ahead(&shared.config, &host);
    let _ = attributes.set(EVACUATE, &node, &Evacuate::Over.value()).await;
    if file && let Err(error) = Queue::new(shared.config.files.queue()).remove(incident) {
        warn!(%incident, "{error}");
    }
    info!(%incident, %host, ?outcome, "the request has ended");
    let power_on = power_on || wants_power(&attributes, &node).await;
    if shared.config.comeback.automatic || power_on {
        let _ = wanted.send(Wanted { host, incident, power_on, by: "the engine".into() }).await;
    }
}

/// Whether the host is to be switched on, as whoever fenced it has told the cluster.
async fn wants_power(attributes: &Attributes, node: &NodeName) -> bool {
    let values = attributes.values(POWER).await.unwrap_or_default();
    let wanted = value_of(&values, node) == Some(power_wish(true));
    if wanted {
        // Once.
        let _ = attributes.set(POWER, node, power_wish(false)).await;
    }
    wanted
}

/// How the engine answered.
enum Asked {
    /// The incident had ended already.
    Before(Outcome),
    /// It has ended now.
    Now(Outcome),
}

impl Asked {
    fn outcome(self) -> Outcome {
        match self {
            Self::Before(outcome) | Self::Now(outcome) => outcome,
        }
    }
}

async fn evacuate(
    shared: &Shared,
    request: EngineRequest,
    story: Vec<Entry>,
    node: &NodeName,
    attributes: &Attributes,
) -> Option<Asked> {
    let (taken, answered) = oneshot::channel();
    let (ended, end) = oneshot::channel();
    shared.orders.send(Order::Request { request, story, taken, ended }).await.ok()?;
    if let Answer::Ended(outcome) = answered.await.ok()? {
        return Some(Asked::Before(outcome));
    }
    let mut end = end;
    while !LEAVING.load(Ordering::SeqCst) {
        // Renewed, so that nobody takes it over.
        let begun = Evacuate::Begun { by: controller(), since: Stamp::now().as_secs() };
        let _ = attributes.set(EVACUATE, node, &begun.value()).await;
        tokio::select! {
            outcome = &mut end => return outcome.ok().map(Asked::Now),
            () = sleep(Duration::from_secs(STALE / 2)) => {}
        }
    }
    None
}

/// Nothing is to be evacuated: Nova is told that the host is down, and that is all.
async fn only_mark(shared: &Shared, cloud: &Cloud, host: &HostName) -> Option<Outcome> {
    loop {
        let marked = async {
            let service = cloud.compute_service(host).await?;
            if service.forced_down {
                return Ok(());
            }
            let change = ServiceChange {
                forced_down: Some(true),
                enabled: service.status_enabled.then_some(false),
                disabled_reason: service
                    .status_enabled
                    .then(|| "nova-ha: fenced, nothing is evacuated".into()),
            };
            cloud.set_service(service.id, &change).await.map(|_| ())
        };
        match marked.await {
            Ok(()) => return Some(Outcome::Complete),
            Err(error) => warn!(%host, "Nova cannot be told that it is down: {error}"),
        }
        if shared.orders.is_closed() {
            return None;
        }
        sleep(Duration::from_secs(5)).await;
    }
}
