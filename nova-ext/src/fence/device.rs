//! The power device of a host, if this agent has one.

use std::path::Path;

use super::told::{Power, Record, Told};
use crate::config::{Config, Names};
use crate::ids::{HostName, NodeName};
use crate::power::{Device, Map, MapError};

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoDevice {
    /// The map, or the device's settings.
    #[error(transparent)]
    Map(#[from] MapError),
    /// It was demanded, and there is no map.
    #[error("power=yes, but there is no device of the host")]
    None,
}

/// The map of power devices; none if nobody needs one.
pub(super) fn map(told: &Told, config: &Config) -> Result<Option<Map>, MapError> {
    let path = told.map.as_deref().unwrap_or(&config.files.map);
    let wanted = told.power == Power::Yes || told.map.is_some();
    if told.power == Power::No || (!wanted && !Path::new(path).exists()) {
        return Ok(None);
    }
    Map::load(path).map(Some)
}

/// The device of a host; none if its power is left to others.
pub(super) fn device(
    told: &Told,
    map: Option<&Map>,
    names: &Names,
    host: &HostName,
) -> Result<Option<Box<dyn Device>>, NoDevice> {
    if told.record != Record::No && told.power != Power::Yes {
        return Ok(None);
    }
    let Some(map) = map else { return Ok(None) };
    let Some(name) = map.name(names, host).or_else(|| as_asked(told, map, names, host)) else {
        return if told.power == Power::Yes {
            Err(map.entry(host).err().map_or(NoDevice::None, NoDevice::Map))
        } else {
            Ok(None)
        };
    };
    // Switching a device that others hang on would switch off what is not to be fenced.
    Ok(Some(map.own_device(&name)?))
}

/// By the cluster's name for it, by which the host was found, where the configuration says nothing of the host.
fn as_asked(told: &Told, map: &Map, names: &Names, host: &HostName) -> Option<HostName> {
    let asked = [told.plug.as_deref(), told.node.as_ref().map(NodeName::as_str)];
    let asked = asked.into_iter().flatten().filter_map(|name| name.parse().ok());
    names.node(host).is_none().then_some(asked)?.find(|name| map.entry(name).is_ok())
}
