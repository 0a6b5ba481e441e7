//! The actions that change nothing: status, monitor, list, validate-all.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

use super::cloud::settings;
use super::decide::Ways;
use super::run::Scene;
use super::say::Say;
use super::{device, host};
use crate::cloud::Service;
use crate::config::known_hosts;
use crate::handover::{
    AttributeError, Attributes, EVACUATE, Evacuate, POWER, PROOF, Queue, Request, Wish, power_wish, value_of,
};
use crate::ids::HostName;
use crate::power::map::{Pace, Severity};
use crate::power::{self, Map, PowerState};
use crate::secret::read_private;
use crate::stamp::Stamp;

/// For one look at the power of a host.
const ONE_LOOK: Duration = Duration::from_secs(5);
/// For telling the cluster of all requests that wait.
const ANNOUNCING: Duration = Duration::from_secs(5);
/// Boards that are looked at together.
const AT_ONCE: usize = 256;
/// Fence agents that are: each of them is a program.
const AGENTS_AT_ONCE: usize = 32;

/// How a host is, for `status` and `list-status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    On,
    Off,
}

/// Reads the power if this agent switches it; else what Nova says.
pub(super) async fn status(scene: &Scene, say: &mut Say) -> Result<Status, String> {
    let plug = scene.told.plug.clone().unwrap_or_default();
    let host = scene.host(&plug, say).await?;
    let found = device::device(&scene.told, scene.map.as_ref(), &scene.names, &host);
    if let Some(mut found) = found.map_err(|error| error.to_string())? {
        let outcome = power::status(found.device.as_mut(), scene.told.power_timeout).await;
        return match outcome.map_err(|error| error.to_string())?.state {
            PowerState::On => Ok(Status::On),
            PowerState::Off => Ok(Status::Off),
            PowerState::Changing => Err(format!("the power of {host} is changing")),
        };
    }
    let within = scene.told.nova_timeout;
    let service = timeout(within, async {
        let cloud = scene.connect().await?;
        cloud.within(within).compute_service(&host).await.map_err(|error| error.to_string())
    });
    let service = service.await.map_err(|_| "Nova does not answer in time".to_owned())??;
    Ok(of_service(&service))
}

/// Fenced is down and disabled, as `fence_compute` sees it, or forced down.
fn of_service(service: &Service) -> Status {
    if !service.up && (service.forced_down || !service.status_enabled) { Status::Off } else { Status::On }
}

/// Names of hosts with those of their nodes, and what Nova says of them. Without Nova the last known names, those of
/// the map and of the configuration: fencing must work while Nova does not.
pub(super) async fn list(scene: &Scene, say: &mut Say) -> BTreeMap<String, (String, Option<Status>)> {
    let within = scene.told.nova_timeout;
    let services = timeout(within, async {
        let cloud = scene.connect().await?;
        let hosts = host::live(&cloud, &scene.config, within);
        let services = cloud.within(within);
        let services = services.compute_services();
        let (hosts, services) = tokio::join!(hosts, services);
        hosts.and(services.map_err(|error| error.to_string()))
    });
    let mut list = BTreeMap::new();
    let mut add = |host: &HostName, status: Option<Status>| {
        let short = host.as_str().split('.').next().unwrap_or(host.as_str());
        let node = scene.names.node(host).map_or_else(|| short.to_owned(), ToString::to_string);
        list.insert(host.to_string(), (node, status));
    };
    match services.await.unwrap_or_else(|_| Err("Nova does not answer in time".into())) {
        Ok(services) => {
            for service in &services {
                add(&service.host, Some(of_service(service)));
            }
        }
        Err(why) => {
            say.warning(format!(
                "Nova cannot be asked, these are the names that are known without it: {why}"
            ));
            let in_map = scene.hosts_in_map();
            let configured = scene.config.hosts.iter().map(|host| host.nova.clone());
            for host in
                known_hosts(&scene.config.files.known_hosts()).into_iter().chain(in_map).chain(configured)
            {
                add(&host, None);
            }
        }
    }
    list
}

/// Whether fencing will work. What only Nova lacks is a warning: hosts are fenced without it.
pub(super) async fn monitor(scene: &Scene, say: &mut Say) -> Result<(), String> {
    validate(scene, say).await?;
    let queue = Queue::new(scene.config.files.queue());
    queue.check_writable().map_err(|error| error.to_string())?;
    announce_again(&queue, say).await;
    let within = scene.told.nova_timeout;
    let nova = async {
        let cloud = scene.connect().await?;
        host::live(&cloud, &scene.config, within).await.map(|_| ())
    };
    let (nova, devices) = tokio::join!(timeout(within, nova), devices(scene));
    if let Err(why) = nova.unwrap_or_else(|_| Err("Nova does not answer in time".into())) {
        say.warning(format!(
            "Nova cannot be told of failures now; hosts are fenced, and the engine tells it later: {why}"
        ));
    }
    let (well, ill) = devices;
    for why in &ill {
        say.warning(why);
    }
    match ill.first() {
        Some(why) if well == 0 => Err(format!("no power device can be read: {why}")),
        _ => Ok(()),
    }
}

/// Parameters, files and names; no network.
pub(super) async fn validate(scene: &Scene, say: &mut Say) -> Result<(), String> {
    for why in misfits(scene) {
        say.warning(why);
    }
    settings(&scene.told, &scene.config).await.map(|_| ()).map_err(|error| error.to_string())?;
    if let Some(map) = &scene.map
        && let Some(bad) = map.validate(None).iter().find(|finding| finding.severity == Severity::Error)
    {
        return Err(format!("{}: {}", bad.host, bad.text));
    }
    if let Some(path) = &scene.told.credentials
        && path.extension().is_none_or(|extension| extension != "yaml" && extension != "yml")
    {
        read_private(path).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Ways to a proof that `power_timeout` leaves no time for.
fn misfits(scene: &Scene) -> Vec<String> {
    let (within, fence) = (scene.told.power_timeout, &scene.config.fence);
    let hears = |map: &Map| map.hosts().any(|(name, _)| map.kdump_senders(name, name).has(name));
    let map = scene.map.as_ref().filter(|_| device::switches(&scene.told));
    let message = match map {
        Some(map) if hears(map) => Ways::own(within, Duration::from_secs(fence.kdump_wait_seconds)).1,
        _ => None,
    };
    // Hosts with a device need none.
    let watchdog = fence.watchdog.filter(|_| map.is_none()).and_then(|watchdog| watchdog.due().ok());
    message.into_iter().chain(Ways::others(within, watchdog).misfit()).collect()
}

/// How many devices answer, and what is wrong with the others.
async fn devices(scene: &Scene) -> (usize, Vec<String>) {
    let Some(map) = &scene.map else { return (0, Vec::new()) };
    let boards = Pace { within: ONE_LOOK, at_once: AT_ONCE };
    // Some take minutes to switch, and power_timeout is set as long as they need.
    let within = ONE_LOOK.max(scene.told.power_timeout / 2);
    let found = map.validate_live(None, boards, Pace { within, at_once: AGENTS_AT_ONCE }).await;
    let (ill, well): (Vec<_>, Vec<_>) = found.iter().partition(|finding| finding.severity == Severity::Error);
    (well.len(), ill.iter().map(|finding| format!("{}: {}", finding.host, finding.text)).collect())
}

/// Requests that the cluster may not know of, because it could not be told when they were made.
async fn announce_again(queue: &Queue, say: &mut Say) {
    let requests = match queue.list() {
        Ok(queued) => queued.requests,
        Err(error) => return say.warning(error),
    };
    if requests.is_empty() {
        return;
    }
    match timeout(ANNOUNCING, announce_all(queue, requests, say)).await {
        Ok(Ok(())) => {}
        // What the others would have been told would fare no better.
        Ok(Err(error)) => say.warning(error),
        Err(_) => {
            say.warning("the cluster was not told of all waiting requests in time: the next monitor goes on");
        }
    }
}

async fn announce_all(queue: &Queue, requests: Vec<Request>, say: &mut Say) -> Result<(), AttributeError> {
    let attributes = Attributes::new(Duration::from_secs(3));
    let (values, proofs) = tokio::join!(attributes.values(EVACUATE), attributes.values(PROOF));
    let (values, proofs) = (values?, proofs?);
    for request in requests {
        let evacuate = value_of(&values, &request.node);
        let proof = value_of(&proofs, &request.node);
        let nothing_left = request.wish == Wish::Evacuate && request.asks() == Evacuate::Over;
        if request.is_over(evacuate, proof) || nothing_left {
            // The engine of another controller has done it, or Nova knows all that was to be said.
            if let Err(error) = queue.remove(request.id) {
                say.warning(error);
            }
            continue;
        }
        // The cluster knows it, or an engine is at it, or the agent that fences.
        if request.wish != Wish::Evacuate
            || evacuate.is_some_and(|value| Evacuate::parse(value) != Evacuate::Over)
            || !request.is_due(Stamp::now())
        {
            continue;
        }
        attributes.set(PROOF, &request.node, request.proof.as_deref().unwrap_or_default()).await?;
        attributes.set(POWER, &request.node, power_wish(request.power_on)).await?;
        attributes.set(EVACUATE, &request.node, &request.asks().value()).await?;
        say.warning(format!("told the cluster of a waiting request about {}", request.node));
    }
    Ok(())
}
