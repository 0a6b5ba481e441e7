//! Names of things, checked once where they come in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest name that Nova's database keeps.
const LONGEST: usize = 255;

/// A text that cannot be such a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} cannot be {what}: {why}")]
pub struct BadName {
    /// What it should have been.
    pub what: &'static str,
    /// The text, shortened.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// A name without white space and control characters, not empty and not longer than Nova keeps.
fn plain(text: &str, what: &'static str) -> Result<String, BadName> {
    let bad = |why| BadName { what, text: text.chars().take(64).collect(), why };
    if text.is_empty() {
        Err(bad("it is empty"))
    } else if text.len() > LONGEST {
        Err(bad("it is longer than 255 bytes"))
    } else if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        Err(bad("it has spaces or control characters"))
    } else if text.contains('/') || matches!(text, "." | "..") {
        // Names are names of files, too.
        Err(bad("it is the name of a folder"))
    } else {
        Ok(text.to_owned())
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                plain(text, $what).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The `host` of a nova-compute, as `openstack compute service list` shows it.
    HostName, "a Nova host"
}
name! {
    /// A node of the cluster, as `crm_node -l` shows it.
    NodeName, "a Pacemaker node"
}

macro_rules! uuid {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                let text = text.trim();
                let bad = |_| BadName { what: $what, text: text.chars().take(64).collect(), why: "it is not a UUID" };
                Uuid::parse_str(text).map(Self).map_err(bad)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }
    };
}

uuid! {
    /// A server (guest).
    ServerId, "a server"
}
uuid! {
    /// A compute service, as microversion 2.53 and later name it.
    ServiceId, "a compute service"
}
uuid! {
    /// A migration record, as microversion 2.59 and later name it.
    MigrationId, "a migration"
}
uuid! {
    /// One failure of one host, from fence to last guest: in every log line, journal entry and metric of it.
    IncidentId, "an incident"
}
uuid! {
    /// A fence proof.
    ProofId, "a fence proof"
}

impl IncidentId {
    /// A new one, unlike all others.
    pub fn new_random() -> Self {
        Self(Uuid::new_v4())
    }

    /// That of the failure which this proof was made for: whoever has the proof has the incident's name.
    pub fn of(proof: ProofId) -> Self {
        Self(proof.0)
    }
}

impl ProofId {
    /// A new one, unlike all others.
    pub fn new_random() -> Self {
        Self(Uuid::new_v4())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nova_could_not_have_are_refused() {
        assert_eq!(
            "compute-1.example.org".parse::<HostName>().map(String::from),
            Ok("compute-1.example.org".into())
        );
        for bad in ["", "..", "a/b", "a b", "a\n", "\u{7}", &"x".repeat(256)] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<HostName>("\"a b\"").is_err());
    }

    #[test]
    fn a_server_is_a_uuid() {
        let id = "6f70656e-7374-6163-6b20-342065766572".parse::<ServerId>();
        assert_eq!(id.map(|id| id.to_string()), Ok("6f70656e-7374-6163-6b20-342065766572".into()));
        assert!("web-1".parse::<ServerId>().is_err());
    }
}
