//! What a fence agent can be asked for.

use std::fmt;

/// An action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Fence: prove that the host is off, tell Nova, hand over its evacuation.
    Off,
    /// Unfence: power on, and let the host return to service.
    On,
    /// Fence now; the engine powers the host on when its guests are elsewhere.
    Reboot,
    /// Say whether the host is off.
    Status,
    /// Check that fencing will work.
    Monitor,
    /// The hosts that can be fenced.
    List,
    /// The same with their states.
    ListStatus,
    /// Check the parameters.
    ValidateAll,
    /// Describe the agent.
    Metadata,
}

/// Names of actions as the metadata list them, the preferred one first.
pub(super) const LISTED: &[(&str, Action)] = &[
    ("on", Action::On),
    ("off", Action::Off),
    ("reboot", Action::Reboot),
    ("status", Action::Status),
    ("list", Action::List),
    ("list-status", Action::ListStatus),
    ("monitor", Action::Monitor),
    ("metadata", Action::Metadata),
    ("manpage", Action::Metadata),
    ("validate-all", Action::ValidateAll),
];

/// Other names that fence agents take.
const ALIASES: &[(&str, Action)] =
    &[("enable", Action::On), ("disable", Action::Off), ("meta-data", Action::Metadata)];

impl Action {
    /// The action with this name, in any case of letters.
    pub fn named(name: &str) -> Option<Self> {
        LISTED
            .iter()
            .chain(ALIASES)
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, action)| *action)
    }

    /// Whether it is about one host.
    pub fn needs_host(self) -> bool {
        matches!(self, Self::Off | Self::On | Self::Reboot | Self::Status)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LISTED.iter().find(|(_, action)| action == self).map_or("", |(name, _)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_the_names_that_fence_agents_use() {
        for (name, action) in [
            ("OFF", Action::Off),
            ("enable", Action::On),
            ("meta-data", Action::Metadata),
            ("manpage", Action::Metadata),
        ] {
            assert_eq!(Action::named(name), Some(action), "{name}");
        }
        assert_eq!(Action::named("diag"), None);
        assert_eq!(Action::ListStatus.to_string(), "list-status");
    }
}
