//! Nova's services: who is up, and taking a dead one out.

use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::info;

use super::error::CloudError;
use super::{Cloud, near_all, wire};
use crate::ids::{HostName, ServiceId};
use crate::stamp::Stamp;

/// The longest reason that Nova keeps.
pub const LONGEST_REASON: usize = 255;

/// What the reason of each service begins with that we have disabled: what somebody else has disabled is theirs.
pub const OURS: &str = "nova-ha: ";

/// One service on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name for changes.
    pub id: ServiceId,
    /// `nova-compute`, `nova-scheduler`, …
    pub binary: String,
    /// Where it runs.
    pub host: HostName,
    /// Its availability zone.
    pub zone: Option<String>,
    /// Whether the scheduler may put servers there.
    pub status_enabled: bool,
    /// Why not, in the words of who disabled it.
    pub disabled_reason: Option<String>,
    /// Whether Nova holds it for alive: it reports, and nobody has forced it down.
    pub up: bool,
    /// Whether somebody has forced it down.
    pub forced_down: bool,
    /// When its record was last written: by its own reports, or by a change.
    pub updated_at: Option<Stamp>,
}

/// What Nova says about its services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Services {
    /// Those that it knows about.
    pub known: Vec<Service>,
    /// Hosts of nova-computes whose cell does not answer: what they do cannot be told (2.69 and later; older
    /// clouds leave them out).
    pub unknown: Vec<HostName>,
}

/// What to change of a service, in one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceChange {
    /// Force it down, or take that back.
    pub forced_down: Option<bool>,
    /// Enable or disable it.
    pub enabled: Option<bool>,
    /// Why it is disabled; goes with `enabled: Some(false)` alone.
    pub disabled_reason: Option<String>,
}

impl ServiceChange {
    /// What Nova takes.
    fn body(&self) -> Result<Value, CloudError> {
        let senseless = |why: &str| Err(CloudError::Senseless(format!("change of a service: {why}")));
        let mut body = Map::new();
        if let Some(down) = self.forced_down {
            body.insert("forced_down".into(), down.into());
        }
        if let Some(enabled) = self.enabled {
            body.insert("status".into(), if enabled { "enabled" } else { "disabled" }.into());
        }
        if let Some(reason) = &self.disabled_reason {
            if self.enabled != Some(false) {
                return senseless("a reason goes with disabling alone");
            }
            if reason.trim().is_empty() || reason.chars().count() > LONGEST_REASON {
                return senseless("a reason has 1 to 255 characters");
            }
            body.insert("disabled_reason".into(), reason.as_str().into());
        }
        if body.is_empty() {
            return senseless("nothing is to be changed");
        }
        Ok(Value::Object(body))
    }
}

#[derive(Deserialize)]
struct List {
    services: Vec<Raw>,
}

#[derive(Deserialize)]
struct One {
    service: Raw,
}

#[derive(Deserialize)]
struct Raw {
    id: Option<ServiceId>,
    binary: String,
    host: HostName,
    #[serde(default, deserialize_with = "wire::text")]
    zone: Option<String>,
    status: String,
    #[serde(default, deserialize_with = "wire::text")]
    state: Option<String>,
    #[serde(default, deserialize_with = "wire::text")]
    disabled_reason: Option<String>,
    #[serde(default)]
    forced_down: bool,
    #[serde(default, deserialize_with = "wire::stamp")]
    updated_at: Option<Stamp>,
}

impl Raw {
    /// The service; without an id it is one in a cell that does not answer.
    fn known(self) -> Result<Service, HostName> {
        let Some(id) = self.id else { return Err(self.host) };
        if self.status == "UNKNOWN" {
            return Err(self.host);
        }
        Ok(Service {
            id,
            binary: self.binary,
            host: self.host,
            zone: self.zone,
            status_enabled: self.status == "enabled",
            disabled_reason: self.disabled_reason,
            up: self.state.as_deref() == Some("up"),
            forced_down: self.forced_down,
            updated_at: self.updated_at,
        })
    }
}

impl Cloud {
    /// The services of a binary, all hosts or one.
    pub async fn services(&self, binary: &str, host: Option<&HostName>) -> Result<Services, CloudError> {
        let mut query = vec![("binary", binary)];
        query.extend(host.map(|host| ("host", host.as_str())));
        let answer = self.get_list("/os-services", &query).await?;
        let List { services } = answer.parse()?;
        let mut out = Services::default();
        for raw in services {
            // Whatever the filter did: what was not asked for is not taken for it.
            if raw.binary != binary || host.is_some_and(|host| *host != raw.host) {
                continue;
            }
            match raw.known() {
                Ok(service) => out.known.push(service),
                Err(host) => out.unknown.push(host),
            }
        }
        Ok(out)
    }

    /// All nova-computes that Nova can tell about.
    pub async fn compute_services(&self) -> Result<Vec<Service>, CloudError> {
        let services = self.services("nova-compute", None).await?;
        if !services.unknown.is_empty() {
            tracing::warn!(
                hosts = services.unknown.len(),
                "a cell of Nova is down: nothing is known of its hosts"
            );
        }
        Ok(services.known)
    }

    /// The nova-compute of a host.
    pub async fn compute_service(&self, host: &HostName) -> Result<Service, CloudError> {
        let services = self.services("nova-compute", Some(host)).await?;
        if let Some(service) = services.known.into_iter().next() {
            return Ok(service);
        }
        if !services.unknown.is_empty() {
            return Err(CloudError::CellDown { host: host.clone() });
        }
        let all = self.services("nova-compute", None).await?;
        let names = all.known.iter().map(|service| service.host.as_str());
        let near = near_all(host.as_str(), names.chain(all.unknown.iter().map(HostName::as_str)));
        Err(CloudError::UnknownHost { host: host.clone(), near })
    }

    /// Changes a service and returns it as it is then. Repeating it is harmless.
    pub async fn set_service(&self, id: ServiceId, change: &ServiceChange) -> Result<Service, CloudError> {
        let body = change.body()?;
        let answer = self.put(&format!("/os-services/{id}"), &body).await?;
        let One { service } = answer.parse()?;
        let service = service.known().map_err(|host| CloudError::CellDown { host })?;
        info!(
            host = %service.host, service = %id, enabled = service.status_enabled,
            forced_down = service.forced_down, up = service.up, request_id = %answer.id, "service changed"
        );
        if change.forced_down.is_some_and(|down| down != service.forced_down)
            || change.enabled.is_some_and(|enabled| enabled != service.status_enabled)
        {
            return Err(answer.malformed("the service is not as it was asked to be"));
        }
        Ok(service)
    }

    /// Forces the nova-compute of a host down and, with a reason, disables it.
    pub async fn force_down(&self, host: &HostName, reason: Option<&str>) -> Result<Service, CloudError> {
        let service = self.compute_service(host).await?;
        let change = ServiceChange {
            forced_down: Some(true),
            enabled: reason.map(|_| false),
            disabled_reason: reason.map(str::to_owned),
        };
        self.set_service(service.id, &change).await
    }

    /// How many schedulers are up: without one every evacuation stays `accepted` for ever.
    pub async fn schedulers_alive(&self) -> Result<usize, CloudError> {
        let services = self.services("nova-scheduler", None).await?;
        Ok(services.known.iter().filter(|service| service.up).count())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn read(body: &[u8]) -> Result<Services, serde_json::Error> {
        let List { services } = serde_json::from_slice(body)?;
        let mut out = Services::default();
        for raw in services {
            match raw.known() {
                Ok(service) => out.known.push(service),
                Err(host) => out.unknown.push(host),
            }
        }
        Ok(out)
    }

    pub(crate) fn read_one(body: &[u8]) -> Option<Service> {
        serde_json::from_slice::<One>(body).ok()?.service.known().ok()
    }
}
