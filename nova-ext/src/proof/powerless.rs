//! Fence agents that switch no power: what they call a success, or off, says nothing about whether the host runs.

/// They wait or ask (heuristics, kdump, a person), they take storage or network away, they leave it to the host itself,
/// or they only pretend. What ends with `*` begins so.
const AGENTS: &[&str] = &[
    "fence_ack_manual",
    "fence_aws_vpc_net",
    "fence_brocade",
    "fence_cisco_mds",
    "fence_compute",
    "fence_crosslink",
    "fence_dummy*",
    "fence_evacuate",
    "fence_heuristics_*",
    "fence_ifmib",
    "fence_kdump",
    "fence_legacy",
    "fence_manual",
    "fence_mcdata",
    "fence_mpath",
    "fence_node",
    "fence_nova",
    "fence_pcmk",
    "fence_sanbox2",
    "fence_sbd",
    "fence_scsi",
    "fence_vixel",
    "fence_watchdog",
];

/// The same of the older plug-ins, with or without `external/` before their name.
const PLUGINS: &[&str] = &["kdumpcheck", "meatware", "null", "sbd", "ssh", "suicide"];

/// Whether a fence agent or plug-in is one that switches power, as far as its name says.
pub fn switches_power(agent: &str) -> bool {
    let agent = agent.to_ascii_lowercase();
    let is = |known: &&str| match known.strip_suffix('*') {
        Some(begin) => agent.starts_with(begin),
        None => agent == **known,
    };
    let plugin = agent.strip_prefix("external/").unwrap_or(&agent);
    !AGENTS.iter().any(is) && !PLUGINS.contains(&plugin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_says_that_it_fences_is_known() {
        for agent in ["fence_ipmilan", "fence_apc_snmp", "fence_cisco_ucs", "external/ipmi", "fence_rig"] {
            assert!(switches_power(agent), "{agent}");
        }
        for agent in [
            "fence_heuristics_ping",
            "fence_scsi",
            "fence_mpath",
            "FENCE_KDUMP",
            "fence_ack_manual",
            "fence_dummy_auto_unfence",
            "fence_compute",
            "null",
            "external/null",
            "meatware",
            "suicide",
        ] {
            assert!(!switches_power(agent), "{agent}");
        }
    }
}
