//! Which host is meant: by the configuration, by what Nova said last, by Nova now, by the map.

use std::time::Duration;

use super::told::Told;
use crate::cloud::Cloud;
use crate::config::{Config, NameError, Names, known_hosts, remember_hosts};
use crate::ids::HostName;

/// Found without Nova: by the configuration, or by the names that Nova had last. `None` if only Nova can say it.
pub(super) fn offline(
    told: &Told,
    plug: &str,
    config: &Config,
    names: &Names,
) -> Result<Option<HostName>, NameError> {
    match names.configured(plug) {
        Some(host) => Ok(Some(host.clone())),
        None => among(told, plug, names, &known_hosts(&config.files.known_hosts())),
    }
}

/// Found among these.
pub(super) fn among(
    told: &Told,
    plug: &str,
    names: &Names,
    hosts: &[HostName],
) -> Result<Option<HostName>, NameError> {
    match names.resolve(plug, told.domain.as_deref(), hosts) {
        Ok(host) => Ok(Some(host)),
        Err(NameError::Unknown(_)) => Ok(None),
        Err(error) => Err(error),
    }
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
