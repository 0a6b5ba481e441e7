//! The power of hosts, by the map. What switches keeps the ledger of proofs true.

use std::time::Duration;

use tracing::warn;

use super::{ClientError, hosts, proof};
use crate::config::{Config, NameError, Names};
use crate::handover::{self, AttributeError, Attributes, EVACUATE, PROOF, Queue, Value, Wish, on_since};
use crate::ids::{HostName, NodeName};
use crate::power::map::Finding;
use crate::power::{self, Device, Map, PowerState};
use crate::proof::FenceProof;
use crate::serve;
use crate::stamp::Stamp;

/// For a tool of the cluster.
const TOOL: Duration = Duration::from_secs(5);

fn map(config: &Config) -> Result<Map, ClientError> {
    serve::map(config)?.ok_or_else(|| ClientError::NoMap(config.files.map.clone()))
}

fn device(config: &Config, host: &str, own: bool) -> Result<(HostName, Box<dyn Device>), ClientError> {
    find(config, &map(config)?, host, own)
}

/// The host that a name of Nova, of the cluster or of the map means, as Nova calls it, and its device. One that several
/// hosts share can be read alone.
pub(crate) fn find(
    config: &Config,
    map: &Map,
    name: &str,
    own: bool,
) -> Result<(HostName, Box<dyn Device>), ClientError> {
    let names = Names::new(&config.hosts)?;
    let host = named(config, &names, map, name)?;
    // A map may have hosts as they were called here, unless the configuration calls them, or others, otherwise.
    let is_anothers = |asked: &HostName| {
        names.is_power_of_another(asked.as_str(), &host)
            || names.configured(asked.as_str()).is_some_and(|of| *of != host)
    };
    let asked = name
        .parse()
        .ok()
        .filter(|asked| names.node(&host).is_none() && map.entry(asked).is_ok() && !is_anothers(asked));
    let called = map.name(&names, &host).or(asked).map_or_else(|| map.named(&names, &host), Ok)?;
    let device = if own { map.own_device(&called) } else { map.device(&called) };
    Ok((host, device?))
}

fn named(config: &Config, names: &Names, map: &Map, name: &str) -> Result<HostName, ClientError> {
    let configured = names.configured(name);
    if let (None, Some(host)) = (configured, names.of_power(name)) {
        return Ok(host.clone());
    }
    let known = hosts::known_here(name, config);
    if !matches!(known, Err(ClientError::Names(NameError::Unknown(_)))) {
        return known;
    }
    // It is switched before Nova has it, or after.
    let host = configured.cloned().map_or_else(|| name.parse(), Ok);
    let in_map = |host: &HostName| map.name(names, host).is_some();
    host.ok().filter(in_map).map_or(known, Ok)
}

/// What the device reads.
pub async fn status(config: &Config, host: &str, within: Duration) -> Result<PowerState, ClientError> {
    let (_, mut device) = device(config, host, false)?;
    Ok(power::status(device.as_mut(), within).await?.state)
}

/// Switches the host off, unless it is off, and proves it; the proof is kept where the engine looks for it.
pub async fn off(config: &Config, host: &str, within: Duration) -> Result<FenceProof, ClientError> {
    let (host, mut device) = device(config, host, true)?;
    let proven = power::confirm_off(device.as_mut(), &host, within).await?;
    proof::record(&config.files.proofs(), &proven)?;
    Ok(proven)
}

/// Switches the host on, unless it is being evacuated. Before that, no proof of it holds any more. With `force` nobody asks
/// about evacuations.
pub async fn on(
    config: &Config,
    host: &str,
    within: Duration,
    force: bool,
) -> Result<PowerState, ClientError> {
    let (host, mut device) = device(config, host, true)?;
    before_on(config, &host, force).await?;
    Ok(power::confirm_on(device.as_mut(), within).await?.state)
}

/// Off until that is read, then on; as [`on`] otherwise.
pub async fn cycle(
    config: &Config,
    host: &str,
    within: Duration,
    force: bool,
) -> Result<PowerState, ClientError> {
    let (host, mut device) = device(config, host, true)?;
    before_on(config, &host, force).await?;
    Ok(power::cycle(device.as_mut(), within).await?.state)
}

/// What comes before a host is switched on: nobody evacuates it, and no proof that it is off holds any more, here and for
/// the engines of the other controllers.
pub(crate) async fn before_on(config: &Config, host: &HostName, force: bool) -> Result<(), ClientError> {
    let names = Names::new(&config.hosts)?;
    let node = names.node_of(host);
    let attributes = Attributes::new(TOOL);
    if !force && is_evacuated(config, host, node.as_ref(), &attributes).await? {
        return Err(ClientError::Evacuated(host.clone()));
    }
    let now = Stamp::now();
    proof::end(&config.files.proofs(), host, now)?;
    let Some(node) = node else { return Ok(()) };
    if let Err(error) = attributes.set(PROOF, &node, &on_since(now)).await
        && !error.is_no_cluster()
    {
        warn!(%host, "the other controllers do not know yet that it is to be on: {error}");
    }
    Ok(())
}

async fn is_evacuated(
    config: &Config,
    host: &HostName,
    node: Option<&NodeName>,
    attributes: &Attributes,
) -> Result<bool, ClientError> {
    let queue = Queue::new(config.files.queue());
    let (evacuate, proofs) = tokio::join!(attributes.values(EVACUATE), attributes.values(PROOF));
    let said = |read: Result<Vec<Value>, AttributeError>| match read {
        // It may be another controller's engine that is at it.
        Err(error) if error.is_late() => {
            Err(ClientError::Untellable { host: host.clone(), why: error.to_string() })
        }
        // A cluster that does not run has no other controllers.
        read => Ok(read.unwrap_or_default()),
    };
    let (evacuate, proofs) = (said(evacuate)?, said(proofs)?);
    let queued = queue.list()?.requests;
    let Some(node) = node else {
        return Ok(queued.iter().any(|one| one.wish == Wish::Evacuate && one.host == *host));
    };
    Ok(handover::is_evacuated((host, node), &evacuate, &proofs, &queued))
}

/// The hosts of the map, with what is wrong with their devices.
pub fn hosts(config: &Config) -> Result<String, ClientError> {
    let findings: Vec<Finding> = map(config)?.validate(None);
    serde_json::to_string(&findings)
        .map_err(|error| ClientError::Io(config.files.map.clone(), std::io::Error::from(error)))
}
