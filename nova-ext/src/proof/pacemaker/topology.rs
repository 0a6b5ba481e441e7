//! Which devices fence a node, in which order (`fencing-topology` of the configuration).

use std::collections::BTreeMap;

use super::xml::{BadXml, elements};
use crate::ids::NodeName;

/// A level: its devices one after the other, all of which must succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// Whom it is for; none if it is not for a node by name.
    pub target: Option<String>,
    /// When it is tried, lowest first.
    pub index: u32,
    /// Names of devices.
    pub devices: Vec<String>,
}

/// What the configuration says about fencing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// Type of each fence device, by name.
    pub agents: BTreeMap<String, String>,
    /// All levels.
    pub levels: Vec<Level>,
}

impl Topology {
    /// From the output of `cibadmin --query`, or of a part of it that has resources and topology.
    pub fn parse(text: &str) -> Result<Self, BadXml> {
        let mut found = Self::default();
        elements(text, |name, get| {
            match name {
                "primitive" if get("class").as_deref() == Some("stonith") => {
                    if let (Some(id), Some(agent)) = (get("id"), get("type")) {
                        found.agents.insert(id, agent);
                    }
                }
                "fencing-level" => {
                    let devices = get("devices").ok_or_else(|| BadXml("a level has no devices".into()))?;
                    found.levels.push(Level {
                        target: get("target"),
                        index: get("index").and_then(|index| index.parse().ok()).unwrap_or(0),
                        devices: devices.split(',').map(|device| device.trim().to_owned()).collect(),
                    });
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The device that comes right before ours wherever ours is used for the node; none if that is not so everywhere.
    ///
    /// Levels that are for nodes by pattern or by attribute may be for this node. They are held to the same rule, and
    /// the device that is named is one of a level by name if there is one.
    pub(super) fn before(&self, node: &NodeName, agent: &str) -> Option<String> {
        let ours = |device: &String| self.agents.get(device).is_some_and(|kind| kind == agent);
        let mine = |level: &&Level| {
            level.target.as_ref().is_none_or(|target| target.eq_ignore_ascii_case(node.as_str()))
        };
        let mut named = None;
        let mut levels: Vec<&Level> = self.levels.iter().filter(mine).collect();
        levels.sort_by_key(|level| (level.target.is_none(), level.index));
        for level in levels {
            let Some(at) = level.devices.iter().position(ours) else { continue };
            let before = level.devices.get(..at).unwrap_or_default();
            // One that is not in the configuration may be anything.
            let device = before.iter().rev().find(|device| self.is_power(device, agent))?;
            named = named.or_else(|| Some(device.clone()));
        }
        named
    }

    /// Whether a device switches power: not one of ours, nor one that only waits for a message.
    fn is_power(&self, device: &str, agent: &str) -> bool {
        self.agents.get(device).is_some_and(|kind| {
            kind != agent
                && !["fence_kdump", "fence_compute", "fence_evacuate", "fence_nova", "fence_dummy"]
                    .contains(&kind.as_str())
        })
    }
}
