//! Requests: found, checked, given to the engine, and forgotten when they have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::watchers::Watcher;
use super::{Shared, alive, controller, evidence, proofs, switches};
use crate::cloud::{Cloud, OURS, Service, ServiceChange};
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
/// So long after a host was switched on nobody has forced it down for another reason.
const FRESH: Duration = Duration::from_secs(600);
/// For a tool of the cluster.
const TOOL: Duration = Duration::from_secs(5);
/// The same when everything is to end.
const LAST: Duration = Duration::from_secs(3);
/// For Nova's list of hosts.
const NOVA: Duration = Duration::from_secs(15);

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

/// Whom a request is about.
fn of(request: &Request) -> (&HostName, &NodeName) {
    (&request.host, &request.node)
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
        Wish::Evacuate => match proof(shared, cloud, of(&request), request.proof.as_deref(), told).await {
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
    let mut back: BTreeMap<HostName, Stamp> = BTreeMap::new();
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
                && powered.insert(proof.node.clone(), since) != Some(since)
                && let Some(host) = powered_on(&shared, &cloud, &proof.node, since).await
            {
                back.insert(host, since);
            }
        }
        let_return(&cloud, &wanted, &mut back).await;
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
        Evacuate::Wanted | Evacuate::Down => true,
        Evacuate::Over => false,
        // Ours of an earlier life, or another controller's that has stopped.
        Evacuate::Begun { by, since } => {
            by == controller() || Stamp::now().as_secs().saturating_sub(since) > STALE
        }
    }
}

/// Its host, unless it has failed again after that.
async fn powered_on(shared: &Shared, cloud: &Cloud, node: &str, since: Stamp) -> Option<HostName> {
    let host = host_of(shared, cloud, node, None).await.ok()?;
    let path = shared.config.files.proofs();
    match proofs::current(path.clone(), host.clone()).await {
        Ok(Some(proof)) if proof.at() > since => return None,
        Ok(_) => {}
        Err(trouble) => warn!(%host, "{}", trouble.why),
    }
    if let Err(trouble) = proofs::end(path, host.clone()).await {
        warn!(%host, "{}", trouble.why);
    }
    let _ = shared.orders.send(Order::PoweredOn { host: host.clone() }).await;
    Some(host)
}

/// Hosts that were switched on: the wish for their return is in the folder of the controller where that was done, and is
/// read there alone. All of them at once; while Nova does not answer they wait.
async fn let_return(cloud: &Cloud, wanted: &mpsc::Sender<Wanted>, back: &mut BTreeMap<HostName, Stamp>) {
    if back.is_empty() {
        return;
    }
    // Whatever else the cluster asks for does not wait as long as Nova may take.
    let services = match timeout(NOVA, cloud.compute_services()).await {
        Ok(Ok(services)) => services,
        Ok(Err(error)) => return debug!("hosts that were switched on wait for Nova: {error}"),
        Err(_) => return debug!("hosts that were switched on wait for Nova, which does not answer in time"),
    };
    let on = std::mem::take(back);
    let may = |service: &Service| {
        on.get(&service.host).is_some_and(|since| returns_by(service, *since, Stamp::now()))
    };
    for service in services.into_iter().filter(may) {
        let (by, incident) = ("whoever has switched it on".into(), IncidentId::new_random());
        let _ = wanted.send(Wanted { host: service.host, incident, power_on: false, by }).await;
    }
}

/// Whether a host returns by the word of its having been switched on at `since`. One that is not forced down has returned.
/// The word stays for long after that: what an operator has forced down since then is not ours to undo.
fn returns_by(service: &Service, since: Stamp, now: Stamp) -> bool {
    let ours = service.disabled_reason.as_deref().is_some_and(|reason| reason.starts_with(OURS));
    service.forced_down && (ours || now.since(since) <= FRESH)
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
    let Some(proof) = proof(shared, cloud, (&host, &node), line.as_deref(), false).await? else {
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
        evacuates: Evacuate::parse(&value.value) != Evacuate::Down,
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

/// The proof that the host is off: the ledger's, the signed line's, or what is found now. None: it was off, and is on
/// again.
async fn proof(
    shared: &Arc<Shared>,
    cloud: &Cloud,
    (host, node): (&HostName, &NodeName),
    line: Option<&str>,
    told: bool,
) -> Result<Option<FenceProof>, String> {
    let proof = match recorded(shared, host, line).await? {
        Recorded::Holds(proof) => proof,
        Recorded::Over => {
            info!(%host, "not evacuated: it was powered on after it was proven off");
            return Ok(None);
        }
        Recorded::Nothing(why) => return Err(format!("{why}; {}", evidence::ask(shared, cloud, host, node))),
    };
    let Some(why) = alive::sign(shared, cloud, &proof, told).await else { return Ok(Some(proof)) };
    info!(%host, "what was asked for while it was off is over: {why}");
    proofs::end(shared.config.files.proofs(), host.clone()).await.map_err(|trouble| trouble.why)?;
    Ok(None)
}

/// What was written down.
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
    if let Some(proof) = known {
        return Ok(Recorded::Holds(proof));
    }
    let nothing = |why: &str| Ok(Recorded::Nothing(why.to_owned()));
    let Some(line) = line else { return nothing("there is no proof that the host is off") };
    let Some(signer) = &shared.signer else {
        return nothing("no proof on this controller, and no key to check those of others");
    };
    let proof = match signer.verify(host, line) {
        Ok(proof) => proof,
        Err(refused) => return nothing(&format!("the proof is not valid: {refused}")),
    };
    // So that powering on ends it here as well.
    proofs::record(path.clone(), proof).await.map_err(|trouble| trouble.why)?;
    let known = proofs::current(path, host.clone()).await.map_err(|trouble| trouble.why)?;
    Ok(known.map_or(Recorded::Over, Recorded::Holds))
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
        // It may take long, and somebody may have switched the host on meanwhile.
        if let Ok(None) = proofs::current(shared.config.files.proofs(), host.clone()).await {
            return Some(Outcome::CameBack);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_on_returns_unless_an_operator_keeps_it_down() {
        let now = Stamp::now();
        let service = |forced_down: bool, reason: Option<&str>| Service {
            id: "69fdce77-581d-44b8-813d-3e451870fb45".parse().unwrap(),
            binary: "nova-compute".into(),
            host: "c1".parse().unwrap(),
            zone: None,
            status_enabled: reason.is_none(),
            disabled_reason: reason.map(str::to_owned),
            up: !forced_down,
            forced_down,
            updated_at: None,
        };
        let day = now.after(Duration::from_secs(86_400));
        for (service, later, returns) in [
            (service(true, Some("nova-ha: off a")), now, true),
            (service(true, Some("nova-ha: off a")), day, true),
            // The operator had disabled it before it was fenced.
            (service(true, Some("disk swap, ann")), now, true),
            // What was done long after it was on has another reason.
            (service(true, Some("disk swap, ann")), day, false),
            (service(true, None), day, false),
            // It has returned.
            (service(false, Some("nova-ha: off a")), now, false),
            (service(false, None), now, false),
        ] {
            assert_eq!(returns_by(&service, now, later), returns, "{service:?}");
        }
    }
}
