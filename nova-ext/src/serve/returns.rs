//! Hosts that return to service: what [`comeback`](crate::engine::comeback) decides is done here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::watchers::Watcher;
use super::{Shared, hooks, proofs};
use crate::cloud::{Cloud, MigrationQuery, MigrationStatus, OURS, ServiceChange};
use crate::engine::Trouble;
use crate::engine::comeback::{Comebacks, Do, Happened, Rules, ServiceState, Wanted};
use crate::engine::run::Order;
use crate::handover::{Attributes, EVACUATE, Evacuate, PROOF, on_since};
use crate::hooks::{Occasion, Point};
use crate::ids::{HostName, IncidentId};
use crate::power;
use crate::process::Program;
use crate::stamp::Stamp;

/// Between looks for hosts that nobody has asked for.
const SCAN: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(1);
const POWER: Duration = Duration::from_secs(60);
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
    wishes: Arc<Mutex<mpsc::Receiver<Wanted>>>,
) {
    let mut wishes = wishes.lock().await;
    let begun = Instant::now();
    let mut comebacks = Comebacks::new(rules(&shared.config.comeback));
    let mut calls: JoinSet<Vec<Happened>> = JoinSet::new();
    let mut scan = Instant::now() + SOON;
    loop {
        watcher.well();
        let mut happened = standing(&shared);
        let wake =
            comebacks.next_deadline().map_or(Instant::now() + SOON, |at| begun + at).max(Instant::now());
        let wake = wake.min(Instant::now() + SOON);
        tokio::select! {
            wanted = wishes.recv() => match wanted {
                Some(wanted) => happened.push(Happened::Wanted(wanted)),
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
        for event in happened {
            for order in comebacks.handle(event, begun.elapsed()) {
                if let Do::Record(incident, event) = order {
                    info!(%incident, "{}", crate::report::say(&event));
                    shared.note(incident, event).await;
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

/// Hosts that we have disabled and forced down, whoever of the controllers it was.
async fn left_behind(cloud: &Cloud, shared: &Shared) -> Vec<Happened> {
    let services = match cloud.compute_services().await {
        Ok(services) => services,
        Err(error) => {
            warn!("hosts that are to return cannot be looked for: {error}");
            return Vec::new();
        }
    };
    let status = shared.status.borrow().clone();
    let ours = |reason: &Option<String>| reason.as_deref().is_some_and(|reason| reason.starts_with(OURS));
    services
        .into_iter()
        .filter(|service| service.forced_down && ours(&service.disabled_reason))
        .filter(|service| !status.incidents.iter().any(|one| one.host == service.host))
        .map(|service| {
            let by = "the engine, which found it in Nova".into();
            let incident = IncidentId::new_random();
            Happened::Wanted(Wanted { host: service.host, incident, power_on: false, by })
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
        Do::ForceUp(host, service) => {
            let change = ServiceChange { forced_down: Some(false), ..ServiceChange::default() };
            let done = cloud.set_service(service, &change).await;
            Happened::ForcedUp(host, done.map(|_| None).map_err(Trouble::from))
        }
        Do::Canary(host, incident) => {
            let passed = canary(shared, &host, incident).await;
            Happened::Canary(host, passed)
        }
        Do::Enable(host, service) => {
            let change = ServiceChange { enabled: Some(true), ..ServiceChange::default() };
            let done = cloud.set_service(service, &change).await;
            Happened::Enabled(host, done.map(|_| ()).map_err(Trouble::from))
        }
        Do::Forget(host) => {
            if let Some(node) = node(shared, &host) {
                let attributes = Attributes::new(TOOL);
                let _ = attributes.set(EVACUATE, &node, &Evacuate::Over.value()).await;
                // For the other controllers, whose files still say that it was off.
                let _ = attributes.set(PROOF, &node, &on_since(Stamp::now())).await;
            }
            return None;
        }
    })
}

/// What Nova says of the host's nova-compute.
pub(crate) async fn service(cloud: &Cloud, host: &HostName) -> Result<ServiceState, Trouble> {
    let service = cloud.compute_service(host).await?;
    Ok(ServiceState {
        id: service.id,
        up: service.up,
        forced_down: service.forced_down,
        enabled: service.status_enabled,
        ours: service.disabled_reason.as_deref().is_some_and(|reason| reason.starts_with(OURS)),
        reason: service.disabled_reason,
        updated: service.updated_at,
    })
}

/// Evacuations that Nova counts against forcing the host up.
pub(crate) async fn open_evacuations(cloud: &Cloud, host: &HostName) -> Result<usize, Trouble> {
    let rows = cloud.migrations(&MigrationQuery::evacuations_from(host)).await?;
    let open = |status: &MigrationStatus| status.is_alive() || *status == MigrationStatus::Done;
    Ok(rows.iter().filter(|row| open(&row.status)).count())
}

async fn power_on(shared: &Shared, host: &HostName) -> Result<(), Trouble> {
    let trouble = |why: String| Trouble { why, hopeless: false, overload: false };
    let map = shared
        .map
        .as_ref()
        .ok_or_else(|| trouble("there is no map of power devices: switch it on yourself".into()))?;
    let name = shared.names.power(host).parse().unwrap_or_else(|_| host.clone());
    let mut device = map.own_device(&name).map_err(|error| trouble(error.to_string()))?;
    // Before, for a host that may be on must not be proven off.
    let now = Stamp::now();
    proofs::end(shared.config.files.proofs(), host.clone(), now).await?;
    let _ = shared.orders.send(Order::PoweredOn { host: host.clone(), since: now }).await;
    power::confirm_on(device.as_mut(), POWER).await.map(|_| ()).map_err(|error| trouble(error.to_string()))
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
    let short = || host.as_str().split('.').next().and_then(|name| name.parse().ok());
    shared.names.node(host).cloned().or_else(short)
}
