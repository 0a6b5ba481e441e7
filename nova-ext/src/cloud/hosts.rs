//! Groups of hosts, and hypervisors.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::error::CloudError;
use super::pages::Link;
use super::{Cloud, Page, wire};
use crate::ids::{HostName, ServiceId};

/// A host aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The availability zone that it makes.
    pub zone: Option<String>,
    /// Its hosts.
    pub hosts: Vec<HostName>,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
}

/// A hypervisor: one for each host, but for bare metal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hypervisor {
    /// Its UUID, which is that of its resource provider at Placement.
    pub id: String,
    /// Its own name, often fully qualified.
    pub name: String,
    /// The nova-compute that manages it.
    pub host: HostName,
    /// That service.
    pub service: Option<ServiceId>,
    /// Its address.
    pub address: Option<String>,
    /// `QEMU`, `ironic`, `fake`, …
    pub kind: String,
    /// Whether its service is up.
    pub up: bool,
    /// Whether its service is enabled.
    pub enabled: bool,
}

#[derive(Deserialize)]
struct Aggregates {
    aggregates: Vec<RawAggregate>,
}

#[derive(Deserialize)]
struct RawAggregate {
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "wire::text")]
    availability_zone: Option<String>,
    #[serde(default)]
    hosts: Vec<HostName>,
    #[serde(default, deserialize_with = "wire::map")]
    metadata: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Hypervisors {
    hypervisors: Vec<RawHypervisor>,
    #[serde(default)]
    hypervisors_links: Vec<Link>,
}

impl Page for Hypervisors {
    type Item = RawHypervisor;

    fn split(self) -> (Vec<RawHypervisor>, Vec<Link>) {
        (self.hypervisors, self.hypervisors_links)
    }
}

#[derive(Deserialize)]
struct RawHypervisor {
    id: String,
    hypervisor_hostname: String,
    service: RawService,
    #[serde(default, deserialize_with = "wire::text")]
    host_ip: Option<String>,
    #[serde(default, deserialize_with = "wire::text")]
    hypervisor_type: Option<String>,
    #[serde(default)]
    state: String,
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
struct RawService {
    host: HostName,
    id: Option<ServiceId>,
}

impl Cloud {
    /// All host aggregates.
    pub async fn aggregates(&self) -> Result<Vec<Aggregate>, CloudError> {
        let Aggregates { aggregates } = self.get_list("/os-aggregates", &[]).await?.parse()?;
        let known = |raw: RawAggregate| Aggregate {
            id: raw.id,
            name: raw.name,
            zone: raw.availability_zone,
            hosts: raw.hosts,
            metadata: raw.metadata.unwrap_or_default(),
        };
        Ok(aggregates.into_iter().map(known).collect())
    }

    /// All hypervisors.
    pub async fn hypervisors(&self) -> Result<Vec<Hypervisor>, CloudError> {
        let raw =
            self.get_pages::<Hypervisors>("/os-hypervisors/detail", &[("limit", "500")], |_| false).await?;
        let known = |raw: RawHypervisor| Hypervisor {
            id: raw.id,
            name: raw.hypervisor_hostname,
            host: raw.service.host,
            service: raw.service.id,
            address: raw.host_ip,
            kind: raw.hypervisor_type.unwrap_or_default(),
            up: raw.state == "up",
            enabled: raw.status == "enabled",
        };
        Ok(raw.into_iter().map(known).collect())
    }
}
