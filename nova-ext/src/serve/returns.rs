//! Hosts that return to service: what [`comeback`](crate::engine::comeback) decides is done here.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::watchers::Watcher;
use super::{Shared, controller, elsewhere, follow, hooks, proofs};
use crate::cloud::{Cloud, MigrationQuery, MigrationStatus, OURS, Service, ServiceChange};
use crate::engine::Trouble;
use crate::engine::comeback::{Comebacks, Do, Happened, Rules, ServiceState, Wanted};
use crate::engine::run::Order;
use crate::handover::{
    Attributes, EVACUATE, Evacuate, POWER, PROOF, Queue, Wish, on_since, power_wish, value_of,
};
use crate::hooks::{Occasion, Point};
use crate::ids::{HostName, IncidentId, ServiceId};
use crate::power::{self, Device};
use crate::process::Program;
use crate::stamp::Stamp;

/// Between looks for hosts that nobody has asked for.
const SCAN: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(1);
const POWERED: Duration = Duration::from_secs(60);
const TOOL: Duration = Duration::from_secs(5);

/// The rules that the configuration sets.
pub(crate) fn rules(config: &crate::config::Comeback) -> Rules {
    Rules {
        at_once: usize::try_from(config.at_once).unwrap_or(1),
        patience: config.patience,
        canary: true, // hooks and checks that are not there pass
    }
}

/// Runs until the wishes end.
pub(super) async fn run(
    watcher: Watcher,
    shared: Arc<Shared>,
    cloud: Cloud,
    wishes: Arc<Mutex<mpsc::Receiver<Happened>>>,
) {
    let mut wishes = wishes.lock().await;
    // A host may be in quarantine of which another controller knows alone.
    while !shared.failures_known.load(Ordering::SeqCst) {
        watcher.well();
        sleep(SOON).await;
    }
    let begun = Instant::now();
    let mut comebacks = Comebacks::new(rules(&shared.config.comeback));
    let mut calls: JoinSet<Vec<Happened>> = JoinSet::new();
    let mut scan = Instant::now() + SOON;
    loop {
        watcher.well();
        let mut happened = Vec::new();
        let wake =
            comebacks.next_deadline().map_or(Instant::now() + SOON, |at| begun + at).max(Instant::now());
        let wake = wake.min(Instant::now() + SOON);
        tokio::select! {
            wish = wishes.recv() => match wish {
                Some(wish) => happened.push(wish),
                None => return,
            },
            Some(called) = calls.join_next() => happened.extend(called.unwrap_or_default()),
            () = sleep_until(wake) => happened.push(Happened::Tick),
        }
        if shared.config.comeback.automatic && Instant::now() >= scan {
            scan = Instant::now() + SCAN;
            let (cloud, shared) = (cloud.clone(), Arc::clone(&shared));
            calls.spawn(async move { left_behind(&cloud, &shared).await });
        }
        // As it is now, and not as it was before the wait.
        for event in standing(&shared).into_iter().chain(happened) {
            for order in comebacks.handle(event, begun.elapsed()) {
                if let Do::Record(incident, event) = order {
                    info!(%incident, "{}", crate::report::say(&event));
                    // What is announced is on disk before it is done.
                    if !shared.note(incident, event).await {
                        return;
                    }
                } else {
                    let (cloud, shared) = (cloud.clone(), Arc::clone(&shared));
                    calls.spawn(async move { carry_out(&cloud, &shared, order).await.into_iter().collect() });
                }
            }
        }
    }
}

/// What the engine is at.
fn standing(shared: &Shared) -> Vec<Happened> {
    let status = shared.status.borrow();
    let evacuating: Vec<HostName> = status.incidents.iter().map(|one| one.host.clone()).collect();
    let quarantined = status.quarantine.iter().cloned().collect();
    // One that is being evacuated is off, whoever wanted it back before.
    vec![Happened::Evacuating(evacuating), Happened::Quarantined(quarantined)]
}

/// Whether we have disabled it, and it has not returned since; it may have been forced up already, by an engine that did
/// not come to the rest.
fn is_left_behind(service: &Service) -> bool {
    let ours = service.disabled_reason.as_deref().is_some_and(|reason| reason.starts_with(OURS));
    ours && (service.forced_down || !service.status_enabled)
}

/// Hosts that we have disabled and forced down, whoever of the controllers it was.
async fn left_behind(cloud: &Cloud, shared: &Shared) -> Vec<Happened> {
    let services = match cloud.compute_services().await {
        Ok(services) => services,
        Err(error) => {
            warn!("hosts that are to return cannot be looked for: {error}");
            return Vec::new();
        }
    };
    // On another controller somebody may have asked for its power, too.
    let power = Attributes::new(TOOL).values(POWER).await.unwrap_or_default();
    let wants_power = |host: &HostName| {
        let asked = |node| value_of(&power, &node) == Some(power_wish(true));
        node(shared, host).is_some_and(asked) && device(shared, host).is_ok()
    };
    let status = shared.status.borrow().clone();
    services
        .into_iter()
        .filter(is_left_behind)
        .filter(|service| !status.incidents.iter().any(|one| one.host == service.host))
        .map(|service| {
            let by = "the engine, which found it in Nova".into();
            let incident = IncidentId::new_random();
            let power_on = wants_power(&service.host);
            Happened::Wanted(Wanted { host: service.host, incident, power_on, by })
        })
        .collect()
}

async fn carry_out(cloud: &Cloud, shared: &Shared, order: Do) -> Option<Happened> {
    Some(match order {
        Do::Record(..) => return None,
        Do::PowerOn(host) => {
            let done = power_on(shared, &host).await;
            Happened::Powered(host, done)
        }
        Do::ReadService(host) => {
            let read = service(cloud, &host).await;
            Happened::Service(host, read)
        }
        Do::ReadOpen(host) => {
            let read = open_evacuations(cloud, &host).await;
            Happened::Open(host, read)
        }
        Do::ForceUp(host, service, alive) => {
            let change = ServiceChange { forced_down: Some(false), ..ServiceChange::default() };
            let done = let_back(cloud, shared, &host, service, alive, change).await;
            Happened::ForcedUp(host, done.map(|()| None))
        }
        Do::Canary(host, incident) => {
            let passed = canary(shared, &host, incident).await;
            Happened::Canary(host, passed)
        }
        Do::Enable(host, service, alive) => {
            let change = ServiceChange { enabled: Some(true), ..ServiceChange::default() };
            let done = let_back(cloud, shared, &host, service, alive, change).await;
            Happened::Enabled(host, done)
        }
        Do::Forget(host, alive) => {
            if let Some(alive) = alive {
                let path = shared.config.files.proofs();
                if let Err(trouble) = proofs::end(path, host.clone(), alive).await {
                    warn!(%host, "{}", trouble.why);
                }
            }
            follow::forget_returns(&Queue::new(shared.config.files.queue()), &host, None).await;
            // It may have failed again at this moment: what is said of that stays.
            if let Some(why) = to_be_evacuated(shared, &host, alive).await {
                info!(%host, "the cluster is not told that it has returned: {why}");
                return None;
            }
            if let Some(node) = node(shared, &host) {
                let attributes = Attributes::new(TOOL);
                let _ = attributes.set(EVACUATE, &node, &Evacuate::Over.value()).await;
                // For the other controllers, whose files still say that it was off.
                let since = alive.unwrap_or_else(Stamp::now);
                let _ = attributes.set(PROOF, &node, &on_since(since)).await;
            }
            return None;
        }
    })
}

fn trouble(why: impl Into<String>) -> Trouble {
    Trouble { why: why.into(), hopeless: false, overload: false }
}

/// Ends the proofs of before a time at which the host was on, and tells the engine. An error if it was proven off since,
/// or is to be evacuated.
async fn was_on(shared: &Shared, host: &HostName, at: Stamp) -> Result<(), Trouble> {
    if let Some(why) = to_be_evacuated(shared, host, Some(at)).await {
        return Err(trouble(why));
    }
    let path = shared.config.files.proofs();
    proofs::end(path.clone(), host.clone(), at).await?;
    if let Some(proof) = proofs::current(path, host.clone()).await? {
        return Err(trouble(format!("it was proven off again: {proof}")));
    }
    let _ = shared.orders.send(Order::PoweredOn { host: host.clone(), since: at }).await;
    Ok(())
}

/// Why a host must not return now: as of this moment, whatever was known when its return was decided. What was asked for
/// before it was on does not count, and a cluster that does not answer is not taken for one that asks for nothing.
async fn to_be_evacuated(shared: &Shared, host: &HostName, on: Option<Stamp>) -> Option<String> {
    let engine = shared.status.borrow().incidents.iter().any(|one| one.host == *host);
    if engine || follow::is_busy(host) {
        return Some("it is being evacuated".into());
    }
    let queue = Queue::new(shared.config.files.queue());
    let queued = match follow::list(&queue).await {
        Ok(queued) => queued.requests,
        Err(why) => return Some(format!("it cannot be told whether it is to be evacuated: {why}")),
    };
    let counts = |at: Stamp| on.is_none_or(|on| at > on);
    let mut of_host = queued.iter().filter(|one| one.wish == Wish::Evacuate && one.host == *host);
    if of_host.any(|one| counts(one.at)) {
        return Some("a request for its evacuation waits".into());
    }
    let node = node(shared, host)?;
    let attributes = Attributes::new(TOOL);
    let (evacuate, proof) = tokio::join!(attributes.values(EVACUATE), attributes.values(PROOF));
    let (evacuate, proof) = match (evacuate, proof) {
        (Ok(evacuate), Ok(proof)) => (evacuate, proof),
        (Err(error), _) | (_, Err(error)) if error.is_late() => {
            return Some(format!("it cannot be told whether it is to be evacuated: {error}"));
        }
        // A cluster that does not run has no other controllers.
        (Err(_), _) | (_, Err(_)) => return None,
    };
    let line = value_of(&proof, &node);
    let signed = line.zip(shared.signer.as_ref()).and_then(|(line, signer)| signer.verify(host, line).ok());
    // One that is not known to be on may be off by a proof that is still looked for.
    let proven = on.is_none() || signed.is_some_and(|proof| counts(proof.at()));
    asked_in_cluster(value_of(&evacuate, &node), proven, Stamp::now(), shared.stale)
        .then(|| format!("the cluster asks for its evacuation ({EVACUATE} of {node})"))
}

/// Whether the values of a node ask for an evacuation that can begin, or that another controller is at.
fn asked_in_cluster(evacuate: Option<&str>, proven: bool, now: Stamp, stale: u64) -> bool {
    match evacuate.map(Evacuate::parse) {
        Some(Evacuate::Wanted | Evacuate::Down) => proven,
        Some(Evacuate::Begun { by, since }) => by != controller() && elsewhere::is_fresh(since, now, stale),
        Some(Evacuate::Over) | None => false,
    }
}

/// Changes the service of a host that is on.
async fn let_back(
    cloud: &Cloud,
    shared: &Shared,
    host: &HostName,
    service: ServiceId,
    alive: Stamp,
    change: ServiceChange,
) -> Result<(), Trouble> {
    was_on(shared, host, alive).await?;
    cloud.set_service(service, &change).await?;
    Ok(())
}

/// What Nova says of the host's nova-compute.
pub(crate) async fn service(cloud: &Cloud, host: &HostName) -> Result<ServiceState, Trouble> {
    let read = Stamp::now();
    let service = cloud.compute_service(host).await?;
    Ok(ServiceState {
        id: service.id,
        up: service.up,
        forced_down: service.forced_down,
        enabled: service.status_enabled,
        ours: service.disabled_reason.as_deref().is_some_and(|reason| reason.starts_with(OURS)),
        reason: service.disabled_reason,
        updated: service.updated_at,
        read,
    })
}

/// Evacuations that Nova counts against forcing the host up.
pub(crate) async fn open_evacuations(cloud: &Cloud, host: &HostName) -> Result<usize, Trouble> {
    let rows = cloud.migrations(&MigrationQuery::evacuations_from(host)).await?;
    let open = |status: &MigrationStatus| status.is_alive() || *status == MigrationStatus::Done;
    Ok(rows.iter().filter(|row| open(&row.status)).count())
}

/// The power device of a host, if it is its own.
fn device(shared: &Shared, host: &HostName) -> Result<Box<dyn Device>, Trouble> {
    let map = shared
        .map
        .as_ref()
        .ok_or_else(|| trouble("there is no map of power devices: switch it on yourself"))?;
    map.own_device_of(&shared.names, host).map_err(|error| trouble(error.to_string()))
}

async fn power_on(shared: &Shared, host: &HostName) -> Result<(), Trouble> {
    let mut device = device(shared, host)?;
    if let Some(why) = to_be_evacuated(shared, host, None).await {
        return Err(trouble(why));
    }
    // Before, for a host that may be on must not be proven off.
    let now = Stamp::now();
    proofs::end(shared.config.files.proofs(), host.clone(), now).await?;
    let _ = shared.orders.send(Order::PoweredOn { host: host.clone(), since: now }).await;
    power::confirm_on(device.as_mut(), POWERED).await.map_err(|error| trouble(error.to_string()))?;
    // Once, and not for every engine that hears of the wish.
    follow::is_powered(&Queue::new(shared.config.files.queue()), host).await;
    if let Some(node) = node(shared, host) {
        let _ = Attributes::new(TOOL).set(POWER, &node, power_wish(false)).await;
    }
    Ok(())
}

/// The hooks, the program and the attribute that say whether the host is fit.
async fn canary(shared: &Shared, host: &HostName, incident: IncidentId) -> Result<(), String> {
    let settings = &shared.config.comeback;
    let occasion = Occasion {
        point: Point::Return,
        incident,
        host: host.clone(),
        node: node(shared, host),
        server: None,
        outcome: None,
        destination: None,
    };
    let (events, stop) = hooks::Configured::new(&shared.config).at(&occasion).await;
    for event in events {
        shared.note(incident, event).await;
    }
    if let Some(why) = stop {
        return Err(why);
    }
    if let Some(program) = &settings.canary {
        run_canary(program.clone(), host, settings.canary_limit).await?;
    }
    if let (Some(name), Some(node)) = (&settings.attribute, node(shared, host)) {
        let values = Attributes::new(TOOL).values(name).await.map_err(|error| error.to_string())?;
        let value = values.iter().find(|value| value.node == node.as_str()).map(|value| value.value.as_str());
        if !value.is_some_and(|value| settings.healthy.iter().any(|healthy| healthy == value)) {
            return Err(format!("its node attribute {name} is {}", value.unwrap_or("not set")));
        }
    }
    Ok(())
}

pub(crate) async fn run_canary(program: PathBuf, host: &HostName, within: Duration) -> Result<(), String> {
    let mut canary = Program::new(program).with([host.as_str()]);
    canary.environment = vec![("NOVA_HA_HOST".into(), host.to_string())];
    match canary.run(within).await {
        Ok(ended) if ended.is_ok() => Ok(()),
        Ok(ended) => Err(format!("canary: {}", ended.why())),
        Err(error) => Err(error.to_string()),
    }
}

/// The host's node in the cluster.
pub(super) fn node(shared: &Shared, host: &HostName) -> Option<crate::ids::NodeName> {
    shared.names.node_of(host)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, compute, host, request, stamp};
    use super::*;
    use crate::cloud::tests::fake::Fake;

    fn puts(fake: &Fake) -> usize {
        fake.all().iter().filter(|seen| seen.method == "PUT").count()
    }

    async fn service_id(cloud: &Cloud) -> ServiceId {
        service(cloud, &host("c1")).await.unwrap().id
    }

    #[tokio::test]
    async fn a_host_that_is_let_back_is_not_proven_off_any_more() {
        let (fake, cloud) = compute(true).await;
        let id = service_id(&cloud).await;
        for n in 0..2 {
            let mut bench = Bench::new();
            bench.prove("c1", 10);
            let order = if n == 0 {
                Do::ForceUp(host("c1"), id, stamp(20))
            } else {
                Do::Enable(host("c1"), id, stamp(20))
            };
            let happened = carry_out(&cloud, &bench.shared, order).await;
            assert!(
                matches!(happened, Some(Happened::ForcedUp(_, Ok(_)) | Happened::Enabled(_, Ok(())))),
                "{happened:?}"
            );
            assert_eq!((bench.proven("c1"), puts(&fake)), (None, n + 1));
            let order = bench.order();
            assert!(matches!(order, Some(Order::PoweredOn { since, .. }) if since == stamp(20)));
        }
        // Nothing was left to be changed in Nova.
        let bench = Bench::new();
        bench.prove("c1", 10);
        carry_out(&cloud, &bench.shared, Do::Forget(host("c1"), Some(stamp(20)))).await;
        assert_eq!(bench.proven("c1"), None);
    }

    #[tokio::test]
    async fn one_that_has_failed_again_is_not_let_back() {
        let (fake, cloud) = compute(true).await;
        let id = service_id(&cloud).await;
        let bench = Bench::new();
        let queue = Queue::new(bench.shared.config.files.queue());
        let force_up =
            async || carry_out(&cloud, &bench.shared, Do::ForceUp(host("c1"), id, stamp(20))).await;
        let refused = |happened: Option<Happened>, why: &str| {
            let Some(Happened::ForcedUp(_, Err(trouble))) = happened else { panic!("{happened:?}") };
            assert!(trouble.why.contains(why), "{}", trouble.why);
        };
        bench.prove("c1", 30);
        refused(force_up().await, "proven off again");
        assert_eq!(bench.proven("c1"), Some(stamp(30)));
        let waiting = request(Wish::Evacuate, "c1", 31);
        queue.put(&waiting).unwrap();
        refused(force_up().await, "request for its evacuation waits");
        queue.remove(waiting.id).unwrap();
        bench.is_evacuating("c1");
        refused(force_up().await, "being evacuated");
        assert_eq!(puts(&fake), 0);
    }

    #[tokio::test]
    async fn a_ledger_that_cannot_be_written_keeps_it_out() {
        let (fake, cloud) = compute(true).await;
        let id = service_id(&cloud).await;
        let bench = Bench::new();
        std::fs::create_dir(bench.shared.config.files.proofs()).unwrap();
        let happened = carry_out(&cloud, &bench.shared, Do::ForceUp(host("c1"), id, stamp(20))).await;
        assert!(matches!(happened, Some(Happened::ForcedUp(_, Err(_)))), "{happened:?}");
        assert_eq!(puts(&fake), 0);
    }

    #[tokio::test]
    async fn one_that_may_be_asked_for_is_not_let_back() {
        let (fake, cloud) = compute(true).await;
        let id = service_id(&cloud).await;
        let bench = Bench::new();
        let queue = bench.shared.config.files.queue();
        std::fs::write(&queue, "no folder").unwrap();
        let happened = carry_out(&cloud, &bench.shared, Do::Enable(host("c1"), id, stamp(20))).await;
        let Some(Happened::Enabled(_, Err(trouble))) = happened else { panic!("{happened:?}") };
        assert!(trouble.why.contains("cannot be told"), "{}", trouble.why);
        assert_eq!(puts(&fake), 0);
    }

    #[test]
    fn one_that_an_engine_has_let_back_by_half_is_found() {
        let service = |forced_down, status_enabled, reason: &str| Service {
            id: "69fdce77-581d-44b8-813d-3e451870fb45".parse().unwrap(),
            binary: "nova-compute".into(),
            host: host("c1"),
            zone: None,
            status_enabled,
            disabled_reason: Some(reason.to_owned()),
            up: true,
            forced_down,
            updated_at: None,
        };
        assert!(is_left_behind(&service(true, false, "nova-ha: off")));
        assert!(is_left_behind(&service(false, false, "nova-ha: off")));
        assert!(!is_left_behind(&service(false, true, "nova-ha: off")));
        assert!(!is_left_behind(&service(false, false, "disk swap, ann")));
        assert!(!is_left_behind(&service(true, false, "disk swap, ann")));
    }

    #[test]
    fn the_cluster_is_asked_whether_it_is_to_be_evacuated() {
        let begun = |by: &str, at: u64| format!("{by}@{}", stamp(at).as_secs());
        let asks = |evacuate: &str, proven, now| asked_in_cluster(Some(evacuate), proven, stamp(now), 90);
        assert!(asks("yes", true, 0) && !asks("yes", false, 0) && !asks("no", true, 0));
        assert!(asks(&begun("elsewhere", 0), false, 90) && !asks(&begun("elsewhere", 0), false, 91));
        assert!(!asks(&begun(&controller(), 0), true, 1), "what is ours is known here");
        assert!(!asked_in_cluster(None, true, stamp(0), 90));
    }

    #[tokio::test]
    async fn nobody_returns_before_it_is_known_who_is_in_quarantine() {
        let (_fake, cloud) = compute(true).await;
        let bench = Bench::new();
        let (wish, wishes) = mpsc::channel(1);
        let watchers = super::super::watchers::Watchers::default();
        let (shared, wishes) = (Arc::clone(&bench.shared), Arc::new(Mutex::new(wishes)));
        shared.failures_known.store(false, Ordering::SeqCst);
        let of = Arc::clone(&shared);
        let running = watchers.keep("returns", Duration::from_secs(900), move |watcher| {
            run(watcher, Arc::clone(&of), cloud.clone(), Arc::clone(&wishes))
        });
        let asked = async {
            wish.send(Happened::Fenced(host("c9"))).await.unwrap();
            sleep(Duration::from_millis(200)).await;
            assert_eq!(wish.capacity(), 0, "it has not begun");
            shared.failures_known.store(true, Ordering::SeqCst);
            tokio::time::timeout(Duration::from_secs(30), wish.reserve()).await.unwrap().unwrap();
        };
        tokio::select! {
            () = running => {}
            () = asked => {}
        }
    }
}
