//! Which host is meant: by the configuration, by what Nova said last, by the map, by Nova now.

use std::time::Duration;

use super::told::Told;
use crate::cloud::Cloud;
use crate::config::{Config, NameError, Names, known_hosts, remember_hosts};
use crate::ids::HostName;

/// Found without Nova; `None` if only Nova can say it.
pub(super) fn offline(
    told: &Told,
    plug: &str,
    config: &Config,
    names: &Names,
    in_map: &[HostName],
) -> Result<Option<HostName>, NameError> {
    if let Some(host) = names.configured(plug) {
        return Ok(Some(host.clone()));
    }
    for known in [known_hosts(&config.files.known_hosts()).as_slice(), in_map] {
        match names.resolve(plug, told.domain.as_deref(), known) {
            Ok(host) => return Ok(Some(host)),
            Err(NameError::Unknown(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// What it is taken for when nobody can say it: the name itself, in the domain if there is one.
pub(super) fn assumed(told: &Told, plug: &str) -> Option<HostName> {
    match &told.domain {
        Some(domain) if !plug.ends_with(&format!(".{domain}")) => format!("{plug}.{domain}").parse().ok(),
        _ => plug.parse().ok(),
    }
}

/// Nova's hosts, also for the next time when it does not answer.
pub(super) async fn live(cloud: &Cloud, config: &Config, within: Duration) -> Result<Vec<HostName>, String> {
    let services = cloud.within(within).compute_services().await.map_err(|error| error.to_string())?;
    let hosts: Vec<HostName> = services.into_iter().map(|service| service.host).collect();
    // The next call asks again.
    let _ = remember_hosts(&config.files.known_hosts(), &hosts);
    Ok(hosts)
}
