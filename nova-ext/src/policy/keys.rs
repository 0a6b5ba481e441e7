//! The keys of the namespace `instance_ha:`: what each may say, checked where it is written and looked for by `lint`.
//!
//! Nova checks extra specs from microversion 2.86 on, and those of flavors alone. So whoever reads a key must not rely
//! on that: [`Policy::choose`](super::Policy::choose) reads with the same [`Kind`]s and ignores what it cannot read.

use strsim::damerau_levenshtein;

use super::words::{priority, truth};

/// What all keys begin with.
pub const NAMESPACE: &str = "instance_ha";
/// The longest group name.
pub(super) const LONGEST_GROUP: usize = 64;
/// Names this many slips away are taken for the one that was meant.
const SLIPS: usize = 2;
/// Of what was said, so much is repeated.
const SHOWN: usize = 64;

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Yes or no.
    Truth,
    /// A priority.
    Priority,
    /// A name.
    Name,
    /// Whether hosts are kept for evacuations: yes, no or `nobody`.
    Reserve,
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// On a server, its image or flavor; on an aggregate, too.
    Guests,
    /// On aggregates alone.
    Hosts,
}

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Behind the namespace.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Where it stands.
    pub on: On,
    /// What it is for, in one line.
    pub about: &'static str,
}

/// All keys.
pub const KEYS: [Key; 6] = [
    Key {
        name: "evacuate",
        kind: Kind::Truth,
        on: On::Guests,
        about: "Whether the server is evacuated when its host fails",
    },
    Key {
        name: "priority",
        kind: Kind::Priority,
        on: On::Guests,
        about: "Servers with a higher priority are evacuated first",
    },
    Key {
        name: "group",
        kind: Kind::Name,
        on: On::Guests,
        about: "Servers that belong together; the policy says what groups wait for each other",
    },
    Key {
        name: "reserved",
        kind: Kind::Reserve,
        on: On::Hosts,
        about: "Hosts that evacuations alone may use; nobody: not even these",
    },
    Key {
        name: "domain",
        kind: Kind::Name,
        on: On::Hosts,
        about: "Hosts that fail together: a rack, a power feed",
    },
    Key {
        name: "failover",
        kind: Kind::Name,
        on: On::Hosts,
        about: "Hosts that take each other's servers, of which any one can be lost",
    },
];

/// For whom hosts are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reserve {
    /// Nobody in particular.
    #[default]
    No,
    /// Evacuated servers.
    Evacuations,
    /// Nobody, whatever asks.
    Nobody,
}

impl Reserve {
    /// What people write.
    pub fn read(text: &str) -> Option<Self> {
        if text.trim().eq_ignore_ascii_case("nobody") {
            return Some(Self::Nobody);
        }
        truth(text).map(|yes| if yes { Self::Evacuations } else { Self::No })
    }
}

/// What is wrong with a key or with what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no such key.
    #[error("there is no key {key:?}{}", instead(.meant.as_deref()))]
    Unknown {
        /// What was written.
        key: String,
        /// What was probably meant.
        meant: Option<String>,
    },
    /// It stands where nobody looks for it.
    #[error("{NAMESPACE}:{key} is for aggregates of hosts: nobody looks for it here")]
    Misplaced {
        /// The key.
        key: &'static str,
    },
    /// It says what cannot be.
    #[error("{NAMESPACE}:{key} = {said:?} is {not}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was said.
        said: String,
        /// What it is not.
        not: &'static str,
    },
}

fn instead(meant: Option<&str>) -> String {
    meant.map(|meant| format!(": did you mean {meant}?")).unwrap_or_default()
}

impl Kind {
    /// What a text that is none is said to be.
    pub fn misread(self) -> &'static str {
        match self {
            Self::Truth => "neither yes nor no",
            Self::Priority => "no whole number from -1000 to 1000",
            Self::Name => "no name of 1 to 64 bytes",
            Self::Reserve => "neither yes, no nor nobody",
        }
    }

    fn holds(self, text: &str) -> bool {
        match self {
            Self::Truth => truth(text).is_some(),
            Self::Priority => priority(text).is_some(),
            Self::Name => group(text).is_some(),
            Self::Reserve => Reserve::read(text).is_some(),
        }
    }
}

/// A group's name.
pub(super) fn group(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= LONGEST_GROUP && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// Whether a key of the namespace, written with it, may say this on a flavor, an image or a server.
pub fn check(key: &str, said: &str) -> Result<(), KeyError> {
    check_on(key, said, On::Guests)
}

/// The same for an aggregate, where all keys may stand.
pub fn check_on_hosts(key: &str, said: &str) -> Result<(), KeyError> {
    check_on(key, said, On::Hosts)
}

fn check_on(key: &str, said: &str, place: On) -> Result<(), KeyError> {
    let unknown = || KeyError::Unknown { key: shown(key), meant: meant(key) };
    let name = key.strip_prefix(NAMESPACE).and_then(|rest| rest.strip_prefix(':')).ok_or_else(unknown)?;
    let known = KEYS.iter().find(|known| known.name == name).ok_or_else(unknown)?;
    if known.on == On::Hosts && place == On::Guests {
        return Err(KeyError::Misplaced { key: known.name });
    }
    if known.kind.holds(said) {
        return Ok(());
    }
    Err(KeyError::Value { key: known.name, said: shown(said), not: known.kind.misread() })
}

/// The key that was probably meant by one that does not exist.
pub fn meant(key: &str) -> Option<String> {
    let full = |known: &Key| format!("{NAMESPACE}:{}", known.name);
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '.'], "_");
    let key = plain(key);
    let near = KEYS.iter().map(|known| (damerau_levenshtein(&plain(&full(known)), &key), known));
    let (slips, known) = near.min_by_key(|(slips, _)| *slips)?;
    // Behind the right namespace a whole word may be the wrong one.
    let more = usize::from(key.starts_with("instance_ha:"));
    (slips <= SLIPS + more).then(|| full(known))
}

fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(key: &str, value: &str) -> String {
        check(key, value).map_or_else(|error| error.to_string(), |()| "ok".into())
    }

    #[test]
    fn what_may_be_said() {
        for (key, value, answer) in [
            ("instance_ha:evacuate", "Yes", "ok"),
            ("instance_ha:evacuate", "perhaps", "instance_ha:evacuate = \"perhaps\" is neither yes nor no"),
            ("instance_ha:priority", "-1000", "ok"),
            (
                "instance_ha:priority",
                "1001",
                "instance_ha:priority = \"1001\" is no whole number from -1000 to 1000",
            ),
            ("instance_ha:group", "databases", "ok"),
            ("instance_ha:group", " ", "instance_ha:group = \" \" is no name of 1 to 64 bytes"),
            (
                "instance_ha:evacuat",
                "yes",
                "there is no key \"instance_ha:evacuat\": did you mean instance_ha:evacuate?",
            ),
            ("instance_ha:zzz", "yes", "there is no key \"instance_ha:zzz\""),
            (
                "instance_ha:reserved",
                "yes",
                "instance_ha:reserved is for aggregates of hosts: nobody looks for it here",
            ),
        ] {
            assert_eq!(said(key, value), answer);
        }
        assert_eq!(check_on_hosts("instance_ha:reserved", "nobody"), Ok(()));
        assert_eq!(check_on_hosts("instance_ha:evacuate", "no"), Ok(()));
        assert!(check_on_hosts("instance_ha:reserved", "some").is_err());
    }

    #[test]
    fn slips_of_the_namespace_are_seen() {
        assert_eq!(meant("instance-ha:evacuate").as_deref(), Some("instance_ha:evacuate"));
        assert_eq!(meant("instanceha:priority").as_deref(), Some("instance_ha:priority"));
        assert_eq!(meant("Instance_HA:Evacuate").as_deref(), Some("instance_ha:evacuate"));
        assert_eq!(meant("hw:cpu_policy"), None);
        assert_eq!(meant("evacuable"), None);
    }

    #[test]
    fn it_is_what_the_rules_read() {
        assert_eq!(Reserve::read("NOBODY"), Some(Reserve::Nobody));
        assert_eq!(Reserve::read("on"), Some(Reserve::Evacuations));
        assert_eq!(Reserve::read("0"), Some(Reserve::No));
        assert_eq!(Reserve::read("x"), None);
        let defaults = super::super::Names::default();
        for (name, names) in
            [("evacuate", defaults.evacuate), ("priority", defaults.priority), ("group", defaults.group)]
        {
            assert!(names.contains(&format!("{NAMESPACE}:{name}")), "{name}");
        }
    }
}
