//! The power of hosts, by the map. What switches keeps the ledger of proofs true.

use std::time::Duration;

use super::{ClientError, hosts, proof};
use crate::config::{Config, Names};
use crate::ids::HostName;
use crate::power::map::Finding;
use crate::power::{self, Device, Map, PowerState};
use crate::proof::FenceProof;
use crate::serve;

fn map(config: &Config) -> Result<Map, ClientError> {
    serve::map(config)?.ok_or_else(|| ClientError::NoMap(config.files.map.clone()))
}

/// The host, and its device. One that several hosts share can be read alone.
fn device(config: &Config, host: &str, own: bool) -> Result<(HostName, Box<dyn Device>), ClientError> {
    let host = hosts::known_here(host, config)?;
    let (names, map) = (Names::new(&config.hosts)?, map(config)?);
    let device = if own { map.own_device_of(&names, &host) } else { map.device_of(&names, &host) };
    Ok((host, device?))
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

/// Switches the host on. Before that, no proof of it holds any more.
pub async fn on(config: &Config, host: &str, within: Duration) -> Result<PowerState, ClientError> {
    let (host, mut device) = device(config, host, true)?;
    proof::end(&config.files.proofs(), &host)?;
    Ok(power::confirm_on(device.as_mut(), within).await?.state)
}

/// Off until that is read, then on.
pub async fn cycle(config: &Config, host: &str, within: Duration) -> Result<PowerState, ClientError> {
    let (host, mut device) = device(config, host, true)?;
    proof::end(&config.files.proofs(), &host)?;
    Ok(power::cycle(device.as_mut(), within).await?.state)
}

/// The hosts of the map, with what is wrong with their devices.
pub fn hosts(config: &Config) -> Result<String, ClientError> {
    let findings: Vec<Finding> = map(config)?.validate(None);
    serde_json::to_string(&findings)
        .map_err(|error| ClientError::Io(config.files.map.clone(), std::io::Error::from(error)))
}
