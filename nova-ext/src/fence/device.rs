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

/// A host's device, and what the map calls it.
pub(super) struct Found {
    pub(super) name: HostName,
    pub(super) device: Box<dyn Device>,
}

/// Whether this agent switches the power of the hosts in its map.
pub(super) fn switches(told: &Told) -> bool {
    told.record == Record::No || told.power == Power::Yes
}

/// The device of a host; none if its power is left to others.
pub(super) fn device(
    told: &Told,
    map: Option<&Map>,
    names: &Names,
    host: &HostName,
) -> Result<Option<Found>, NoDevice> {
    let Some(map) = map.filter(|_| switches(told)) else { return Ok(None) };
    let Some(name) = map.name(names, host).or_else(|| as_asked(told, map, names, host)) else {
        return if told.power == Power::Yes {
            Err(map.named(names, host).err().map_or(NoDevice::None, NoDevice::Map))
        } else {
            Ok(None)
        };
    };
    // Switching a device that others hang on would switch off what is not to be fenced.
    let device = map.own_device(&name)?;
    Ok(Some(Found { name, device }))
}

/// By the cluster's name for it, by which the host was found, where the configuration says nothing of the host, and calls no
/// other one so.
fn as_asked(told: &Told, map: &Map, names: &Names, host: &HostName) -> Option<HostName> {
    let asked = [told.plug.as_deref(), told.node.as_ref().map(NodeName::as_str)];
    let asked = asked.into_iter().flatten().filter_map(|name| name.parse().ok());
    let is_anothers = |name: &HostName| {
        names.is_power_of_another(name.as_str(), host)
            || names.configured(name.as_str()).is_some_and(|of| of != host)
    };
    let mut asked = names.node(host).is_none().then_some(asked)?;
    asked.find(|name| map.entry(name).is_ok() && !is_anothers(name))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::Host;
    use crate::fence::given::Given;

    fn map() -> Map {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("power.toml");
        let text = "[host.n2]\ndriver = \"ipmi\"\naddress = \"192.0.2.2\"\nuser = \"u\"\npassword = \"p\"\nkdump = [\"198.51.100.2\"]\n";
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        Map::load(&path).unwrap()
    }

    fn found(host: &str, asked: &str, hosts: &[Host]) -> Option<Found> {
        let told =
            Told::new(&mut Given::from_stdin(&format!("action=off\nport=p\nnodename={asked}\n"))).unwrap();
        device(&told, Some(&map()), &Names::new(hosts).unwrap(), &host.parse().unwrap()).unwrap()
    }

    fn listed(nova: &str, node: &str, power: Option<&str>) -> Host {
        Host { nova: nova.parse().unwrap(), node: node.parse().unwrap(), power: power.map(str::to_owned) }
    }

    #[test]
    fn a_host_is_found_as_it_was_asked_for() {
        let found = found("c2", "n2", &[]).unwrap();
        assert_eq!((found.name.as_str(), found.device.name().as_str()), ("n2", "ipmi 192.0.2.2"));
        // Its crash kernel is known by the same name.
        let host = "c2".parse().unwrap();
        assert!(map().kdump_senders(&found.name, &host).has(&host));
    }

    #[test]
    fn but_not_by_what_is_another_hosts() {
        for other in [
            listed("c9", "n9", Some("n2")),
            listed("c9", "n2", None),
            listed("n2", "n9", None),
            // It is the host itself, and called otherwise in the map.
            listed("c2", "n2", Some("bmc-2")),
        ] {
            assert!(found("c2", "n2", std::slice::from_ref(&other)).is_none(), "{other:?}");
        }
    }
}
