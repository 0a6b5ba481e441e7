//! Which devices fence a node, in which order (`fencing-topology` of the configuration).

use std::collections::{BTreeMap, BTreeSet};

use super::xml::{BadXml, elements};
use crate::ids::NodeName;
use crate::proof::powerless::switches_power;

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
    /// Whether the cluster fences by rebooting, which is off and on for a level of several devices.
    pub reboots: bool,
    /// Devices that are asked for off where a reboot is wanted.
    pub off_for_reboot: BTreeSet<String>,
    /// Devices that are asked for something else where off is wanted.
    pub no_off: BTreeSet<String>,
    /// Whether the cluster may leave it to the nodes' watchdogs, and then takes them for fenced.
    pub by_watchdog: bool,
}

impl Topology {
    /// From the output of `cibadmin --query`, or of a part of it that has resources and topology.
    pub fn parse(text: &str) -> Result<Self, BadXml> {
        let mut found = Self { reboots: true, ..Self::default() };
        // Whose parameters these are: a primitive's, or a template's.
        let mut inside = None;
        // A primitive may take its type from a template, which may come after it.
        let (mut templates, mut from_templates) = (BTreeMap::new(), Vec::new());
        elements(text, |name, get| {
            if matches!(name, "primitive" | "template") {
                inside = get("id");
            }
            match name {
                "nvpair" => {
                    let (name, value) = (get("name").unwrap_or_default(), get("value").unwrap_or_default());
                    match (name.as_str(), value.as_str()) {
                        ("stonith-action" | "fencing-action", action) => found.reboots = action == "reboot",
                        ("pcmk_reboot_action", "off") => found.off_for_reboot.extend(inside.clone()),
                        ("pcmk_off_action", action) if action != "off" => found.no_off.extend(inside.clone()),
                        ("stonith-watchdog-timeout" | "fencing-watchdog-timeout", value) => {
                            found.by_watchdog |= value.contains(|c| ('1'..='9').contains(&c));
                        }
                        _ => {}
                    }
                }
                "template" if get("class").as_deref() == Some("stonith") => {
                    if let (Some(id), Some(agent)) = (get("id"), get("type")) {
                        templates.insert(id, agent);
                    }
                }
                "primitive" if get("template").is_some() => {
                    if let (Some(id), Some(template)) = (get("id"), get("template")) {
                        from_templates.push((id, template));
                    }
                }
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
        for (id, template) in from_templates {
            for devices in [&mut found.off_for_reboot, &mut found.no_off] {
                if devices.contains(&template) {
                    devices.insert(id.clone());
                }
            }
            if let Some(agent) = templates.get(&template) {
                found.agents.insert(id, agent.clone());
            }
        }
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

    /// The device of a level of this node that switches it on again as soon as the level is through.
    pub fn switched_on_by(&self, node: &NodeName, agent: &str) -> Option<&str> {
        if !self.reboots {
            return None;
        }
        let ours = |device: &String| self.agents.get(device).is_some_and(|kind| kind == agent);
        let mine = self.levels.iter().filter(|level| {
            level.target.as_ref().is_none_or(|target| target.eq_ignore_ascii_case(node.as_str()))
                && level.devices.iter().any(ours)
        });
        let mut devices = mine.flat_map(|level| &level.devices);
        devices
            .find(|device| self.is_power(device, agent) && !self.off_for_reboot.contains(*device))
            .map(String::as_str)
    }

    /// What may have fenced the node without switching its power off; none if whatever fences it does that. The
    /// history does not say which device it was, so all that it can have been are looked at.
    pub(super) fn doubt(&self, node: &NodeName) -> Option<String> {
        if self.by_watchdog {
            return Some("its watchdog (stonith-watchdog-timeout)".into());
        }
        let power = |device: &String| self.is_power(device, "");
        let named = |level: &&Level| {
            level.target.as_ref().is_some_and(|target| target.eq_ignore_ascii_case(node.as_str()))
        };
        let unnamed = |level: &&Level| level.target.is_none();
        let mine = self.levels.iter().filter(|level| named(level) || unnamed(level));
        let mut without = mine.filter(|level| !level.devices.iter().any(power));
        if let Some(level) = without.next() {
            return Some(format!("the level {}", level.devices.join(",")));
        }
        if self.levels.iter().any(|level| named(&level)) {
            return None;
        }
        // Without a level by its name it may be any device.
        if self.agents.is_empty() {
            return Some("nothing that is configured".into());
        }
        self.agents.keys().find(|device| !power(device)).map(|device| format!("the device {device}"))
    }

    /// Whether a device switches power, and is asked for off where that is wanted; one of ours does not count.
    fn is_power(&self, device: &str, agent: &str) -> bool {
        let switches = |kind: &String| kind != agent && switches_power(kind);
        self.agents.get(device).is_some_and(switches) && !self.no_off.contains(device)
    }
}
