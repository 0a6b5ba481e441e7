//! Servers: what is needed to decide whether, where and when to evacuate one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};
use tracing::info;

use super::error::{CloudError, RequestId};
use super::http::Answer;
use super::microversion::Microversion;
use super::pages::Link;
use super::{Cloud, Page, wire};
use crate::ids::{HostName, ServerId};
use crate::stamp::Stamp;

/// Servers in one page: so few that a page has its answer in time on a busy cloud.
const PAGE: &str = "500";

/// What the hypervisor last said about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerState {
    /// Nothing.
    NoState,
    /// It runs.
    Running,
    /// It is paused.
    Paused,
    /// It is shut down.
    Shutdown,
    /// It has crashed.
    Crashed,
    /// It is suspended.
    Suspended,
}

impl PowerState {
    fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Running,
            3 => Self::Paused,
            4 => Self::Shutdown,
            6 => Self::Crashed,
            7 => Self::Suspended,
            _ => Self::NoState,
        }
    }
}

/// The flavor as it was when the server was made or last resized.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flavor {
    /// Its name then.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: u64,
    /// Memory, MiB.
    pub ram_mb: u64,
    /// Root disk, GiB.
    pub disk_gb: u64,
    /// Ephemeral disk, GiB.
    pub ephemeral_gb: u64,
    /// Swap, MiB.
    pub swap_mb: u64,
    /// Extra specs.
    pub extra_specs: BTreeMap<String, String>,
}

/// A volume of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its id at Cinder.
    pub id: String,
    /// Whether it ends with the server.
    pub delete_on_termination: bool,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its id.
    pub id: ServerId,
    /// Its cell does not answer: nothing but id, project and time of creation is known (2.69 and later).
    pub unknown: bool,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub project: String,
    /// `ACTIVE`, `SHUTOFF`, `ERROR`, …, or `UNKNOWN`.
    pub status: String,
    /// What is being done with it.
    pub task_state: Option<String>,
    /// What it is in Nova's records: `active`, `stopped`, `error`, …
    pub vm_state: Option<String>,
    /// What the hypervisor last said.
    pub power_state: PowerState,
    /// Where it is; nowhere if it is shelved or not yet scheduled.
    pub host: Option<HostName>,
    /// The hypervisor there.
    pub node: Option<String>,
    /// Its flavor.
    pub flavor: Flavor,
    /// The image that it was made of; none if it boots from a volume.
    pub image: Option<String>,
    /// That image's properties as the server keeps them (2.98 and later); else ask [`Cloud::image_properties`].
    pub image_properties: Option<BTreeMap<String, String>>,
    /// Metadata.
    pub metadata: BTreeMap<String, String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// Whether somebody has locked it.
    pub locked: bool,
    /// Why (2.73 and later).
    pub locked_reason: Option<String>,
    /// Its availability zone.
    pub zone: Option<String>,
    /// The zone that it was asked to be in (2.96 and later).
    pub pinned_zone: Option<String>,
    /// When it was made.
    pub created: Option<Stamp>,
    /// When it was last changed.
    pub updated: Option<Stamp>,
    /// What went wrong with it last.
    pub fault: Option<String>,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { write!(f, "{}", self.id) } else { write!(f, "{} ({})", self.name, self.id) }
    }
}

/// What a server's record can be set to by force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTo {
    /// As if nothing had happened.
    Active,
    /// As failed.
    Error,
}

#[derive(Deserialize)]
struct One {
    server: Raw,
}

#[derive(Deserialize)]
struct List {
    servers: Vec<Raw>,
    #[serde(default)]
    servers_links: Vec<Link>,
}

impl Page for List {
    type Item = Raw;

    fn split(self) -> (Vec<Raw>, Vec<Link>) {
        (self.servers, self.servers_links)
    }
}

#[derive(Deserialize)]
struct Raw {
    id: ServerId,
    status: String,
    #[serde(default, deserialize_with = "wire::text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "wire::text")]
    tenant_id: Option<String>,
    #[serde(rename = "OS-EXT-STS:task_state", default, deserialize_with = "wire::text")]
    task_state: Option<String>,
    #[serde(rename = "OS-EXT-STS:vm_state", default, deserialize_with = "wire::text")]
    vm_state: Option<String>,
    #[serde(rename = "OS-EXT-STS:power_state", default, deserialize_with = "wire::number")]
    power_state: Option<u64>,
    #[serde(rename = "OS-EXT-SRV-ATTR:host", default)]
    host: Place,
    #[serde(rename = "OS-EXT-SRV-ATTR:hypervisor_hostname", default, deserialize_with = "wire::text")]
    node: Option<String>,
    flavor: Option<RawFlavor>,
    #[serde(default)]
    image: Value,
    #[serde(default, deserialize_with = "wire::map")]
    metadata: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "wire::texts")]
    tags: Vec<String>,
    #[serde(rename = "os-extended-volumes:volumes_attached", default)]
    volumes: Vec<RawVolume>,
    #[serde(default, deserialize_with = "wire::flag")]
    locked: Option<bool>,
    #[serde(default, deserialize_with = "wire::text")]
    locked_reason: Option<String>,
    #[serde(rename = "OS-EXT-AZ:availability_zone", default, deserialize_with = "wire::text")]
    zone: Option<String>,
    #[serde(rename = "pinned_availability_zone", default, deserialize_with = "wire::text")]
    pinned_zone: Option<String>,
    #[serde(default, deserialize_with = "wire::stamp")]
    created: Option<Stamp>,
    #[serde(default, deserialize_with = "wire::stamp")]
    updated: Option<Stamp>,
    #[serde(default)]
    fault: Value,
}

/// Where a server is.
#[derive(Default)]
enum Place {
    /// The role may not see it.
    #[default]
    Hidden,
    /// There, or nowhere.
    At(Option<HostName>),
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(from)?.filter(|text| !text.is_empty());
        let host = text.map(|text| text.parse().map_err(de::Error::custom));
        host.transpose().map(Self::At)
    }
}

#[derive(Deserialize)]
struct RawFlavor {
    #[serde(default, deserialize_with = "wire::text")]
    original_name: Option<String>,
    #[serde(default, deserialize_with = "wire::number")]
    vcpus: Option<u64>,
    #[serde(default, deserialize_with = "wire::number")]
    ram: Option<u64>,
    #[serde(default, deserialize_with = "wire::number")]
    disk: Option<u64>,
    #[serde(default, deserialize_with = "wire::number")]
    ephemeral: Option<u64>,
    #[serde(default, deserialize_with = "wire::number")]
    swap: Option<u64>,
    /// Absent if the role may not see them.
    #[serde(default, deserialize_with = "wire::map")]
    extra_specs: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawVolume {
    #[serde(default)]
    id: String,
    #[serde(default, deserialize_with = "wire::flag")]
    delete_on_termination: Option<bool>,
}

impl Raw {
    /// The server, if the credentials can see all of it.
    fn known(self) -> Result<Server, CloudError> {
        let unknown = self.status == "UNKNOWN" && self.vm_state.is_none();
        let role = |what: &str, policy| CloudError::Role { what: what.into(), policy };
        let host = match self.host {
            Place::At(host) => host,
            Place::Hidden if unknown => None,
            Place::Hidden => {
                let policy = "os_compute_api:os-extended-server-attributes";
                return Err(role("they do not show on which host a server is", policy));
            }
        };
        let flavor = self.flavor.map(|flavor| {
            (
                flavor.extra_specs.is_some(),
                Flavor {
                    name: flavor.original_name.unwrap_or_default(),
                    vcpus: flavor.vcpus.unwrap_or_default(),
                    ram_mb: flavor.ram.unwrap_or_default(),
                    disk_gb: flavor.disk.unwrap_or_default(),
                    ephemeral_gb: flavor.ephemeral.unwrap_or_default(),
                    swap_mb: flavor.swap.unwrap_or_default(),
                    extra_specs: flavor.extra_specs.unwrap_or_default(),
                },
            )
        });
        if !unknown && flavor.as_ref().is_none_or(|(specs, _)| !specs) {
            // Without them an opt-out would be overlooked.
            let policy = "os_compute_api:servers:show:flavor-extra-specs";
            return Err(role("they do not show the extra specs of flavors", policy));
        }
        Ok(Server {
            id: self.id,
            unknown,
            name: self.name.unwrap_or_default(),
            project: self.tenant_id.unwrap_or_default(),
            status: self.status,
            task_state: self.task_state,
            vm_state: self.vm_state,
            power_state: PowerState::from_number(self.power_state.unwrap_or_default()),
            host,
            node: self.node,
            flavor: flavor.map(|(_, flavor)| flavor).unwrap_or_default(),
            image: self.image.get("id").and_then(Value::as_str).map(str::to_owned),
            image_properties: self
                .image
                .get("properties")
                .and_then(|map| wire::map(map.clone()).ok().flatten()),
            metadata: self.metadata.unwrap_or_default(),
            tags: self.tags,
            volumes: self
                .volumes
                .into_iter()
                .map(|volume| Volume {
                    id: volume.id,
                    delete_on_termination: volume.delete_on_termination.unwrap_or_default(),
                })
                .collect(),
            locked: self.locked.unwrap_or_default(),
            locked_reason: self.locked_reason,
            zone: self.zone,
            pinned_zone: self.pinned_zone,
            created: self.created,
            updated: self.updated,
            fault: self.fault.get("message").and_then(Value::as_str).map(super::http::plain),
        })
    }
}

impl Cloud {
    /// All servers on a host, of all projects.
    ///
    /// Never silently too few or too many: a host that Nova does not know, a cell that does not answer and a role
    /// that is too small are errors, because each would make a list that looks complete.
    pub async fn servers_on(&self, host: &HostName) -> Result<Vec<Server>, CloudError> {
        let query = [("all_tenants", "1"), ("host", host.as_str()), ("limit", PAGE)];
        // With a filter Nova leaves out what is in a cell that is down, and says nothing. The list of services
        // says it.
        let tells = self.microversion() >= Microversion::DOWN_CELLS;
        let cell = async { if tells { self.compute_service(host).await.map(|_| ()) } else { Ok(()) } };
        let (raw, cell) = tokio::join!(self.get_pages::<List>("/servers/detail", &query, |_| false), cell);
        let raw = raw?;
        cell?;
        let mut seen = BTreeSet::new();
        let mut servers = Vec::with_capacity(raw.len());
        for raw in raw {
            let server = raw.known()?;
            let is_there = server.host.as_ref() == Some(host);
            let nearly =
                server.host.as_ref().is_some_and(|on| on.as_str().eq_ignore_ascii_case(host.as_str()));
            if !is_there && !nearly && !server.unknown {
                let what = "a list of one host's servers has those of others too".into();
                return Err(CloudError::Role { what, policy: "os_compute_api:servers:allow_all_filters" });
            }
            // The database may not tell C1 from c1, and pages may overlap.
            if (is_there || server.unknown) && seen.insert(server.id) {
                servers.push(server);
            }
        }
        if servers.is_empty() && !tells {
            // Is there such a host at all?
            self.compute_service(host).await?;
        }
        Ok(servers)
    }

    /// One server.
    pub async fn server(&self, id: &ServerId) -> Result<Server, CloudError> {
        let answer = self.get(&format!("/servers/{id}"), &[]).await?;
        one(&answer)
    }

    /// Whether there is a server that fits, which can then be seen as a whole.
    pub(super) async fn one_server(&self, query: &[(&str, &str)]) -> Result<bool, CloudError> {
        let List { servers, .. } = self.get_list("/servers/detail", query).await?.parse()?;
        let first = servers.into_iter().next().map(Raw::known).transpose()?;
        Ok(first.is_some())
    }

    /// Starts a server that is stopped.
    pub async fn start_server(&self, id: &ServerId) -> Result<RequestId, CloudError> {
        self.act(id, &json!({"os-start": null})).await
    }

    /// Sets a server's record by force; what it was doing goes on or not, whatever the record says.
    pub async fn reset_state(&self, id: &ServerId, to: ResetTo) -> Result<RequestId, CloudError> {
        let state = match to {
            ResetTo::Active => "active",
            ResetTo::Error => "error",
        };
        self.act(id, &json!({"os-resetState": {"state": state}})).await
    }

    /// One action on a server: one POST, never repeated.
    pub(super) async fn act(&self, id: &ServerId, body: &Value) -> Result<RequestId, CloudError> {
        let answer = self.post(&format!("/servers/{id}/action"), body, self.microversion()).await?;
        info!(server = %id, request_id = %answer.id, action = name(body), "accepted");
        Ok(answer.id)
    }
}

fn name(body: &Value) -> &str {
    body.as_object().and_then(|body| body.keys().next()).map_or("", String::as_str)
}

fn one(answer: &Answer) -> Result<Server, CloudError> {
    let One { server } = answer.parse()?;
    server.known()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn read_one(body: &[u8]) -> Option<Server> {
        serde_json::from_slice::<One>(body).ok()?.server.known().ok()
    }

    pub(crate) fn read_list(body: &[u8]) -> Option<Vec<Server>> {
        let (servers, _) = serde_json::from_slice::<List>(body).ok()?.split();
        servers.into_iter().map(|raw| raw.known().ok()).collect()
    }
}
