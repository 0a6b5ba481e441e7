//! A request that the engine has: its end is waited for, and then it is forgotten.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::elsewhere::TELLING;
use super::{DISK, Shared, controller, proofs, switches};
use crate::cloud::{Cloud, ServiceChange};
use crate::disk::on_disk;
use crate::engine::comeback::{Happened, Wanted};
use crate::engine::journal::{Entry, Event, Outcome};
use crate::engine::run::Order;
use crate::engine::{Answer, Request as EngineRequest};
use crate::handover::{
    Attributes, EVACUATE, Evacuate, Marked, POWER, PROOF, Queue, Queued, Request, Value, Wish, on_since,
    power_wish, value_of,
};
use crate::ids::{HostName, IncidentId, NodeName};
use crate::proof::FenceProof;
use crate::stamp::Stamp;

/// What is under way is renewed so often, so that no other controller takes it over.
pub(super) const RENEWED: Duration = Duration::from_secs(30);
/// Between looks whether the cluster still shows it.
const LOOK: Duration = Duration::from_secs(5);
/// For a tool of the cluster.
const TOOL: Duration = Duration::from_secs(5);
/// The same when everything is to end.
const LAST: Duration = Duration::from_secs(3);

/// Hosts whose requests are under way here, with the nodes of those that are evacuated.
static BUSY: Mutex<BTreeMap<HostName, Option<NodeName>>> = Mutex::new(BTreeMap::new());
/// Whether this engine ends: from then on it holds nothing any more.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// Whether a request of this host is under way here.
pub(super) fn is_busy(host: &HostName) -> bool {
    busy().contains_key(host)
}

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
pub(super) struct Taken {
    pub(super) incident: IncidentId,
    pub(super) host: HostName,
    pub(super) node: NodeName,
    pub(super) proof: FenceProof,
    pub(super) by: String,
    pub(super) story: Vec<Entry>,
    pub(super) power_on: bool,
    pub(super) evacuates: bool,
    /// Whether the computes share storage, if it was said.
    pub(super) shared_storage: Option<bool>,
    /// Whether it is a file.
    pub(super) file: bool,
}

/// Gives it to the engine and follows it to its end.
pub(super) fn take(shared: &Arc<Shared>, cloud: &Cloud, wanted: &mpsc::Sender<Happened>, taken: Taken) {
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

async fn follow(shared: &Shared, cloud: &Cloud, wanted: &mpsc::Sender<Happened>, taken: Taken) {
    let Taken { incident, host, node, proof, by, story, power_on, evacuates, shared_storage, file } = taken;
    if shared_storage == Some(false) && evacuates && shared.storage_in_common {
        warn!(
            %incident, %host,
            "the fence agent was given no_shared_storage, and the policy says [storage] shared = true: the policy counts"
        );
    }
    let attributes = Attributes::new(TOOL);
    let queue = Queue::new(shared.config.files.queue());
    // Whoever fences it does not want it back, whatever was wanted before.
    let _ = wanted.send(Happened::Fenced(host.clone())).await;
    let proven = proof.at();
    forget_returns(&queue, &host, Some(proven)).await;
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
            // It ended before: the attribute was set once more, by somebody who wants it once more; or the host came back,
            // and is proven off again.
            Some(Asked::Before(outcome)) if !file || outcome == Outcome::CameBack => {
                let request = EngineRequest { incident: IncidentId::new_random(), ..request };
                evacuate(shared, request, story, &node, &attributes).await
            }
            asked => asked,
        }
    } else {
        only_mark(shared, cloud, &host, incident).await.map(Asked::Before)
    };
    let Some(ended) = ended else { return };
    let (Asked::Before(outcome) | Asked::Now { outcome, .. }) = ended;
    switches::no_go_ahead(&shared.config, &host);
    info!(%incident, %host, ?outcome, "the request has ended");
    if outcome == Outcome::CameBack && failed_again(shared, &host, &node, proven, &attributes).await {
        // Its file, if there is one, says so already.
        info!(%incident, %host, "it came back and was proven off again");
        let _ = attributes.set(EVACUATE, &node, &Evacuate::Wanted.value()).await;
        return;
    }
    let once_more = outcome == Outcome::CameBack && matches!(ended, Asked::Now { once_more: true, .. });
    if once_more {
        info!(%incident, %host, "it came back, and the cluster asks for its evacuation again: a proof is looked for");
        no_longer_by(shared, &host, &node, &attributes).await;
    }
    let power_on = power_on || wants_power(&attributes, &node).await;
    let kept = if shared.config.comeback.automatic || power_on {
        // On disk before the other is forgotten: an engine that ends now knows of it when it begins again.
        let back = return_of(incident, host.clone(), node.clone(), power_on);
        let kept = put(&queue, &back).await;
        if let Err(why) = &kept {
            warn!(%incident, "{why}");
            let _ = wanted.send(Happened::Wanted(wish(back))).await;
        }
        kept.is_ok()
    } else {
        false
    };
    let left = if once_more { Evacuate::Wanted } else { Evacuate::Over };
    let _ = attributes.set(EVACUATE, &node, &left.value()).await;
    // A wish to return has taken its place.
    if file && !kept {
        remove(&queue, incident).await;
    }
}

/// The cluster does not show the proof of before the host came back any more.
async fn no_longer_by(shared: &Shared, host: &HostName, node: &NodeName, attributes: &Attributes) {
    if let Ok(Some(since)) = proofs::on_since(shared.config.files.proofs(), host.clone()).await {
        let _ = attributes.set(PROOF, node, &on_since(since)).await;
    }
}

/// The wish that a host returns after its incident.
fn return_of(id: IncidentId, host: HostName, node: NodeName, power_on: bool) -> Request {
    Request {
        id,
        wish: Wish::Return,
        at: Stamp::now(),
        by: format!("the engine on {}", controller()),
        node,
        host,
        proof: None,
        marked: Marked::Done,
        power_on,
        evacuates: false,
        shared_storage: None,
        not_before: None,
        story: Vec::new(),
    }
}

/// The same for whoever lets hosts return.
pub(super) fn wish(request: Request) -> Wanted {
    let Request { host, id: incident, power_on, by, .. } = request;
    Wanted { host, incident, power_on, by }
}

/// Wishes that this host returns are over: all, or those of before a time.
pub(super) async fn forget_returns(queue: &Queue, host: &HostName, before: Option<Stamp>) {
    for one in returns_of(queue, host).await {
        if before.is_none_or(|before| one.at < before) {
            remove(queue, one.id).await;
        }
    }
}

/// The host was switched on: whoever asks for its return once more, after this engine, does not switch it on again.
pub(super) async fn is_powered(queue: &Queue, host: &HostName) {
    for one in returns_of(queue, host).await.into_iter().filter(|one| one.power_on) {
        if let Err(why) = put(queue, &Request { power_on: false, ..one }).await {
            warn!(%host, "{why}");
        }
    }
}

async fn returns_of(queue: &Queue, host: &HostName) -> Vec<Request> {
    let queued = list(queue).await.inspect_err(|why| warn!("{why}")).unwrap_or_default();
    let of_host = |one: &Request| one.wish == Wish::Return && one.host == *host;
    queued.requests.into_iter().filter(of_host).collect()
}

/// What lies in the folder.
pub(super) async fn list(queue: &Queue) -> Result<Queued, String> {
    let queue = queue.clone();
    on_disk(DISK, move || queue.list().map_err(|error| error.to_string())).await
}

async fn put(queue: &Queue, request: &Request) -> Result<(), String> {
    let (queue, request) = (queue.clone(), request.clone());
    on_disk(DISK, move || queue.put(&request).map_err(|error| error.to_string())).await
}

/// Forgets a request.
pub(super) async fn remove(queue: &Queue, incident: IncidentId) {
    let queue = queue.clone();
    let removed = on_disk(DISK, move || queue.remove(incident).map_err(|error| error.to_string())).await;
    if let Err(why) = removed {
        warn!(%incident, "{why}");
    }
}

/// Whether the host was proven off again after the proof of an incident: here, or on another controller.
async fn failed_again(
    shared: &Shared,
    host: &HostName,
    node: &NodeName,
    proven: Stamp,
    attributes: &Attributes,
) -> bool {
    let path = shared.config.files.proofs();
    if let Ok(known) = proofs::current(path, host.clone()).await
        && known.is_some_and(|proof| proof.at() > proven)
    {
        return true;
    }
    let values = attributes.values(PROOF).await.unwrap_or_default();
    let line = value_of(&values, node);
    let signed = line.zip(shared.signer.as_ref()).and_then(|(line, signer)| signer.verify(host, line).ok());
    signed.is_some_and(|proof| proof.at() > proven)
}

/// Whether the host is to be switched on, as whoever fenced it has told the cluster.
async fn wants_power(attributes: &Attributes, node: &NodeName) -> bool {
    let values = attributes.values(POWER).await.unwrap_or_default();
    value_of(&values, node) == Some(power_wish(true))
}

/// How the engine answered.
enum Asked {
    /// The incident had ended already.
    Before(Outcome),
    /// It has ended now, and whether the cluster was asked once more meanwhile.
    Now { outcome: Outcome, once_more: bool },
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
    let (began, mut claim) = (Instant::now(), Claim::default());
    while !LEAVING.load(Ordering::SeqCst) {
        let said = if claim.renewed.is_some() {
            attributes.values(EVACUATE).await.ok().map(|values| said_of(&values, node))
        } else {
            None
        };
        if claim.is_due(said, began.elapsed()) && !LEAVING.load(Ordering::SeqCst) {
            let ours = Evacuate::Begun { by: controller(), since: Stamp::now().as_secs() };
            let _ = attributes.set(EVACUATE, node, &ours.value()).await;
        }
        tokio::select! {
            outcome = &mut end => {
                return outcome.ok().map(|outcome| Asked::Now { outcome, once_more: claim.once_more });
            }
            () = sleep(LOOK) => {}
        }
    }
    None
}

/// What the cluster shows of an evacuation that is under way here.
#[derive(Debug, Default)]
struct Claim {
    /// When it was last told, after the beginning.
    renewed: Option<Duration>,
    /// Whether somebody has asked for it again since.
    once_more: bool,
}

impl Claim {
    /// Whether the cluster is to be told now, so that nobody takes it over; it forgets a node's attributes when it gives
    /// the node up. `said`: what it shows, if it answers; `at`: the time since the beginning.
    fn is_due(&mut self, said: Option<Evacuate>, at: Duration) -> bool {
        // Whoever leaves no proof, as fence_compute, has fenced it again. At first it is this very request.
        self.once_more |= at >= TELLING && said == Some(Evacuate::Wanted);
        let is_old = self.renewed.is_none_or(|renewed| at.saturating_sub(renewed) >= RENEWED);
        let is_due = is_old || said.is_some_and(|said| !is_ours(&said));
        if is_due {
            self.renewed = Some(at);
        }
        is_due
    }
}

fn said_of(values: &[Value], node: &NodeName) -> Evacuate {
    value_of(values, node).map_or(Evacuate::Over, Evacuate::parse)
}

fn is_ours(said: &Evacuate) -> bool {
    matches!(said, Evacuate::Begun { by, .. } if *by == controller())
}

/// Nothing is to be evacuated: Nova is told that the host is down, and that is all.
async fn only_mark(shared: &Shared, cloud: &Cloud, host: &HostName, incident: IncidentId) -> Option<Outcome> {
    let mut announced = false;
    loop {
        // It may take long, and somebody may have switched the host on meanwhile.
        if let Ok(None) = proofs::current(shared.config.files.proofs(), host.clone()).await {
            return Some(Outcome::CameBack);
        }
        let marked = async {
            let service = cloud.compute_service(host).await?;
            if service.forced_down {
                return Ok::<_, crate::cloud::CloudError>(true);
            }
            if !announced {
                return Ok(false);
            }
            let change = ServiceChange {
                forced_down: Some(true),
                enabled: service.status_enabled.then_some(false),
                disabled_reason: service
                    .status_enabled
                    .then(|| "nova-ha: fenced, nothing is evacuated".into()),
            };
            let id = cloud.set_service(service.id, &change).await?.id;
            let event =
                Event::ForcedDown { host: host.clone(), service: id, already: false, request_id: None };
            shared.note(incident, event).await;
            Ok(true)
        };
        match marked.await {
            Ok(true) => return Some(Outcome::Complete),
            Ok(false) => {
                // On disk before it is done.
                announced = shared.note(incident, Event::ForcingDown { host: host.clone() }).await;
                if announced {
                    continue;
                }
            }
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
    use super::super::tests::{Bench, compute, host, request, stamp};
    use super::*;

    #[tokio::test]
    async fn a_wish_to_return_lies_there_until_it_is_over() {
        let bench = Bench::new();
        let queue = Queue::new(bench.shared.config.files.queue());
        let incident = IncidentId::new_random();
        // It takes the place of the request for the evacuation: there is no moment without one of them.
        queue.put(&Request { id: incident, ..request(Wish::Evacuate, "c1", 0) }).unwrap();
        queue.put(&return_of(incident, host("c1"), "c1".parse().unwrap(), true)).unwrap();
        queue.put(&request(Wish::Return, "c2", 0)).unwrap();
        let queued = || queue.list().unwrap().requests;
        assert_eq!(queued().len(), 2);
        is_powered(&queue, &host("c1")).await;
        let back = queued().into_iter().find(|one| one.id == incident).unwrap();
        assert!(back.wish == Wish::Return && !back.power_on);
        assert_eq!(wish(back.clone()).incident, incident);
        // Fenced before it was wanted back.
        forget_returns(&queue, &host("c1"), Some(back.at)).await;
        assert_eq!(queued().len(), 2);
        forget_returns(&queue, &host("c1"), Some(back.at.after(Duration::from_secs(1)))).await;
        assert_eq!(queued().len(), 1);
        forget_returns(&queue, &host("c2"), None).await;
        assert!(queued().is_empty());
    }

    #[test]
    fn the_cluster_shows_what_is_under_way_and_who_asks_again_is_heard() {
        let secs = Duration::from_secs;
        let ours = || Some(Evacuate::Begun { by: controller(), since: 0 });
        let mut claim = Claim::default();
        assert!(claim.is_due(None, secs(0)));
        // Whoever has left the file tells the cluster after that.
        assert!(claim.is_due(Some(Evacuate::Wanted), secs(5)) && !claim.once_more);
        assert!(!claim.is_due(ours(), secs(10)) && !claim.is_due(None, secs(15)));
        assert!(claim.is_due(ours(), secs(35)) && !claim.is_due(ours(), secs(40)));
        assert!(claim.is_due(Some(Evacuate::Over), secs(45)), "the cluster has forgotten it");
        assert!(!claim.once_more);
        assert!(claim.is_due(Some(Evacuate::Wanted), secs(50)));
        assert!(!claim.is_due(ours(), secs(55)) && claim.once_more);
    }

    #[tokio::test]
    async fn one_that_came_back_and_failed_again_is_seen() {
        let bench = Bench::new();
        let node: NodeName = "c1".parse().unwrap();
        let attributes = Attributes::new(TOOL);
        bench.prove("c1", 10);
        assert!(!failed_again(&bench.shared, &host("c1"), &node, stamp(10), &attributes).await);
        bench.prove("c1", 20);
        assert!(failed_again(&bench.shared, &host("c1"), &node, stamp(10), &attributes).await);
    }

    #[tokio::test]
    async fn nova_is_told_only_what_is_written_down() {
        let (fake, cloud) = compute(false).await;
        let mut bench = Bench::new();
        let incident = IncidentId::new_random();
        let back = only_mark(&bench.shared, &cloud, &host("c1"), incident).await;
        assert_eq!(back, Some(Outcome::CameBack), "nothing proves that it is off");
        bench.prove("c1", 10);
        let puts = || fake.all().iter().filter(|seen| seen.method == "PUT").count();
        let (shared, of, at) = (Arc::clone(&bench.shared), host("c1"), cloud.clone());
        let marking = tokio::spawn(async move { only_mark(&shared, &at, &of, incident).await });
        let (entry, written) = bench.note().await;
        assert!(matches!(entry.event, Event::ForcingDown { .. }) && entry.incident == incident);
        sleep(Duration::from_millis(50)).await;
        assert_eq!(puts(), 0, "it is not on disk yet");
        written.send(()).unwrap();
        let (entry, written) = bench.note().await;
        assert!(matches!(entry.event, Event::ForcedDown { already: false, .. }));
        written.send(()).unwrap();
        assert_eq!(marking.await.unwrap(), Some(Outcome::Complete));
        assert_eq!(puts(), 1);
    }
}
