//! Placement: what each host has, and how much of it is used.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Cloud;
use super::catalog::{Service, below};
use super::error::CloudError;
use super::microversion::Microversion;

/// Trees of providers (Rocky, 2018).
const TREES: Microversion = Microversion::new(1, 14);
/// The first version.
const FIRST: Microversion = Microversion::new(1, 0);

/// Something that has resources: a host, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Provider {
    /// Its UUID; a host's is that of its hypervisor.
    pub uuid: String,
    /// Its name; a host's is that of its hypervisor.
    pub name: String,
    /// What it is a part of.
    #[serde(default, rename = "parent_provider_uuid")]
    pub parent: Option<String>,
}

/// What there is of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Inventory {
    /// All of it.
    pub total: u64,
    /// Kept for the host itself.
    #[serde(default)]
    pub reserved: u64,
    /// The most that one server can have.
    #[serde(default = "unlimited")]
    pub max_unit: u64,
    /// How often it may be given away.
    #[serde(default = "once")]
    pub allocation_ratio: f64,
}

fn unlimited() -> u64 {
    u64::MAX
}

fn once() -> f64 {
    1.0
}

impl Inventory {
    /// How much servers can have of it together.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn capacity(&self) -> u64 {
        let real = self.total.saturating_sub(self.reserved) as f64;
        let ratio = if self.allocation_ratio.is_finite() { self.allocation_ratio.max(0.0) } else { 0.0 };
        (real * ratio) as u64
    }
}

/// What a provider has and what is used of it, by resource class (`VCPU`, `MEMORY_MB`, `DISK_GB`, …).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resources {
    /// What there is.
    pub inventories: BTreeMap<String, Inventory>,
    /// What is used.
    pub usages: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Providers {
    resource_providers: Vec<Provider>,
}

#[derive(Deserialize)]
struct Inventories {
    inventories: BTreeMap<String, Inventory>,
}

#[derive(Deserialize)]
struct Usages {
    usages: BTreeMap<String, u64>,
}

impl Cloud {
    /// All providers.
    pub async fn resource_providers(&self) -> Result<Vec<Provider>, CloudError> {
        let base = self.endpoint(Service::Placement).await?;
        let url = below(&base, "resource_providers");
        let call = "GET placement/resource_providers";
        let answer = match self.get_at(url.clone(), call, Some(("placement", TREES))).await {
            // A Placement without trees says that it does not know the version.
            Err(CloudError::Refused { status: 406, .. }) => {
                self.get_at(url, call, Some(("placement", FIRST))).await?
            }
            other => other?,
        };
        let Providers { resource_providers } = answer.parse()?;
        Ok(resource_providers)
    }

    /// What one provider has, and how much of it is used.
    pub async fn resources(&self, provider: &Provider) -> Result<Resources, CloudError> {
        let base = self.endpoint(Service::Placement).await?;
        let uuid: crate::ids::ServerId = provider
            .uuid
            .parse()
            .map_err(|_| CloudError::Senseless(format!("provider {:?} has no UUID", provider.name)))?;
        let version = Some(("placement", FIRST));
        let at = |part: &str| below(&base, &format!("resource_providers/{uuid}/{part}"));
        let inventories = self.get_at(at("inventories"), "GET placement/inventories", version).await?;
        let usages = self.get_at(at("usages"), "GET placement/usages", version).await?;
        let Inventories { inventories } = inventories.parse()?;
        let Usages { usages } = usages.parse()?;
        Ok(Resources { inventories, usages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_what_is_left_times_the_ratio() {
        let text = r#"{"total": 64, "reserved": 2, "max_unit": 64, "min_unit": 1, "step_size": 1, "allocation_ratio": 4.0}"#;
        let inventory: Inventory = serde_json::from_str(text).unwrap();
        assert_eq!(inventory.capacity(), 248);
        let over: Inventory = serde_json::from_str(r#"{"total": 1, "reserved": 2}"#).unwrap();
        assert_eq!(over.capacity(), 0);
    }
}
