//! Who is evacuated, in what order and how carefully: the operator's rules, read from one TOML file.
//!
//! A [`Policy`] is read from text and asked; it knows no file, no clock and no cloud. `mode` must be stated: there is no
//! "nothing is tagged, so everything goes".

pub mod keys;
pub mod lint;
mod rules;
mod settings;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use strsim::damerau_levenshtein;

pub use rules::{Choice, Facts, Said, Source};
pub use settings::{Gates, Limits, Patience, Start};
pub use words::{priority, truth};

/// The largest policy file.
pub const LARGEST: usize = 256 * 1024;
/// The most entries that a list of it may have.
const MOST_ENTRIES: usize = 10_000;
/// The most groups.
const MOST_GROUPS: usize = 64;
/// The longest name.
const LONGEST: usize = 255;
/// How many slips of the finger a suggestion may be away.
const SLIPS: usize = 3;

/// All rules.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What happens to a server of which nobody says anything. Must be stated.
    pub mode: Mode,
    /// Who is asked, and whose word counts more: the first that says something decides.
    #[serde(default = "Source::usual")]
    pub precedence: Vec<Source>,
    /// In what order servers of the same priority and group go.
    #[serde(default)]
    pub order: Order,
    /// The names of the keys and tags.
    #[serde(default)]
    pub names: Names,
    /// Where disks are.
    #[serde(default)]
    pub storage: Storage,
    /// What stays, whatever the mode and the keys say.
    #[serde(default)]
    pub leave_out: LeaveOut,
    /// Rules by project.
    #[serde(default)]
    pub projects: Projects,
    /// Servers that belong together.
    #[serde(default, rename = "group")]
    pub groups: Vec<Group>,
    /// How many evacuations at a time.
    #[serde(default)]
    pub limits: Limits,
    /// How many starts at a time.
    #[serde(default)]
    pub start: Start,
    /// How long things may take.
    #[serde(default)]
    pub patience: Patience,
    /// When to hold back.
    #[serde(default)]
    pub gates: Gates,
}

/// What happens to a server of which nobody says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It is evacuated, and so is one that somebody says no to: keys are not looked at.
    All,
    /// It stays.
    OptIn,
    /// It is evacuated.
    OptOut,
}

/// In what order servers of the same priority and group go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Those first that exist longest.
    #[default]
    Oldest,
    /// Those first that need most memory: they are the hardest to place.
    Largest,
    /// Those first that need least memory.
    Smallest,
}

/// The names of keys and tags. Of several names in one place, the first that says something decides.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// Whether to evacuate: yes or no.
    pub evacuate: Vec<String>,
    /// The priority: a whole number, higher goes first.
    pub priority: Vec<String>,
    /// The group: a name.
    pub group: Vec<String>,
}

impl Default for Names {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            evacuate: list(&["instance_ha:evacuate", "evacuable", "HA_Enabled"]),
            priority: list(&["instance_ha:priority"]),
            group: list(&["instance_ha:group"]),
        }
    }
}

/// Where disks are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// The computes share the storage of their instances' disks (NFS, Ceph): nothing is lost.
    pub shared: bool,
    /// A server whose root disk was on the host may be built anew from its image: its data is lost.
    pub rebuild_from_image: bool,
}

/// What stays, whatever the mode and the keys say.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct LeaveOut {
    /// Octavia's load balancers: Octavia replaces them itself.
    pub amphorae: bool,
    /// Projects (by id) whose servers are all amphorae.
    pub amphora_projects: BTreeSet<String>,
    /// Images (by id) whose servers are all amphorae.
    pub amphora_images: BTreeSet<String>,
    /// Servers with encrypted disks on the host's own storage.
    pub encrypted_local_disks: bool,
    /// Locked servers.
    pub locked: bool,
    /// Servers that were in ERROR and not running before.
    pub in_error: bool,
}

impl Default for LeaveOut {
    fn default() -> Self {
        Self {
            amphorae: true,
            amphora_projects: BTreeSet::new(),
            amphora_images: BTreeSet::new(),
            encrypted_local_disks: true,
            locked: false,
            in_error: true,
        }
    }
}

/// Rules by project id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Projects {
    /// Their servers are evacuated.
    pub evacuate: BTreeSet<String>,
    /// Their servers stay.
    pub leave: BTreeSet<String>,
}

/// Servers that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// As the key says it.
    pub name: String,
    /// For members that say nothing of their own.
    #[serde(default)]
    pub priority: Option<i32>,
    /// Its members wait for these groups.
    #[serde(default)]
    pub after: Vec<String>,
    /// Seconds that pass, once its last member runs, before it counts as ready.
    #[serde(default)]
    pub settle_seconds: u32,
    /// Seconds that others wait for it at most.
    #[serde(default = "Group::wait")]
    pub wait_seconds: u32,
}

impl Group {
    const fn wait() -> u32 {
        300
    }
}

/// Text that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is larger than any policy.
    #[error("it has more than 256 KiB: is this the right file?")]
    Large,
    /// It is not TOML, or says something that does not exist.
    #[error("line {line}: {message}")]
    Syntax {
        /// Where, counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// It says something that cannot be.
    #[error("{key}: {why}")]
    Value {
        /// Where.
        key: String,
        /// What is wrong.
        why: String,
    },
}

impl Policy {
    /// Reads a policy.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > LARGEST {
            return Err(PolicyError::Large);
        }
        let policy: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1);
            PolicyError::Syntax { line, message: explain(error.message()) }
        })?;
        policy.check()?;
        Ok(policy)
    }

    /// A policy that says nothing but its mode.
    pub fn of(mode: Mode) -> Self {
        Self {
            mode,
            precedence: Source::usual(),
            order: Order::default(),
            names: Names::default(),
            storage: Storage::default(),
            leave_out: LeaveOut::default(),
            projects: Projects::default(),
            groups: Vec::new(),
            limits: Limits::default(),
            start: Start::default(),
            patience: Patience::default(),
            gates: Gates::default(),
        }
    }

    /// The rules of a group.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    fn check(&self) -> Result<(), PolicyError> {
        let wrong =
            |key: &str, why: &str| Err(PolicyError::Value { key: key.to_owned(), why: why.to_owned() });
        let mut seen = BTreeSet::new();
        if !self.precedence.iter().all(|source| seen.insert(source)) {
            return wrong("precedence", "it names a source twice");
        }
        for (key, names) in [
            ("names.evacuate", &self.names.evacuate),
            ("names.priority", &self.names.priority),
            ("names.group", &self.names.group),
        ] {
            if names.len() > 16 || names.iter().any(|name| name.is_empty() || name.len() > LONGEST) {
                return wrong(key, "at most 16 names of 1 to 255 bytes");
            }
        }
        for (key, list) in [
            ("projects.evacuate", &self.projects.evacuate),
            ("projects.leave", &self.projects.leave),
            ("leave_out.amphora_projects", &self.leave_out.amphora_projects),
            ("leave_out.amphora_images", &self.leave_out.amphora_images),
        ] {
            if list.len() > MOST_ENTRIES || list.iter().any(|id| id.is_empty() || id.len() > LONGEST) {
                return wrong(key, "at most 10000 ids of 1 to 255 bytes");
            }
        }
        if let Some(both) = self.projects.evacuate.intersection(&self.projects.leave).next() {
            return wrong("projects", &format!("{both} is to be evacuated and to be left"));
        }
        self.check_groups()?;
        self.limits.check()?;
        self.start.check()?;
        self.patience.check()?;
        self.gates.check()
    }

    fn check_groups(&self) -> Result<(), PolicyError> {
        let wrong = |why: String| Err(PolicyError::Value { key: "group".to_owned(), why });
        if self.groups.len() > MOST_GROUPS {
            return wrong(format!("at most {MOST_GROUPS} groups"));
        }
        let mut after: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for group in &self.groups {
            if group.name.is_empty() || group.name.len() > LONGEST {
                return wrong("a name has 1 to 255 bytes".to_owned());
            }
            let waits_for = group.after.iter().map(String::as_str).collect();
            if after.insert(&group.name, waits_for).is_some() {
                return wrong(format!("{} is there twice", group.name));
            }
        }
        if let Some(unknown) = after.values().flatten().find(|name| !after.contains_key(*name)) {
            return wrong(format!("no group is called {unknown}, and one waits for it"));
        }
        // Take away what waits for nothing until nothing is left; what stays waits in a circle.
        while let Some(free) = after.iter().find(|(_, waits)| waits.is_empty()).map(|(name, _)| *name) {
            after.remove(free);
            for waits in after.values_mut() {
                waits.remove(free);
            }
        }
        match after.keys().next() {
            Some(name) => wrong(format!("{name} waits for itself, through others")),
            None => Ok(()),
        }
    }
}

/// The parser's words, with what was probably meant.
fn explain(message: &str) -> String {
    let message = message.lines().collect::<Vec<_>>().join(" ");
    let mut quoted = message.split('`').skip(1).step_by(2);
    let suggestion = match quoted.next() {
        Some(wrong) if message.starts_with("unknown") => quoted
            .map(|known| (damerau_levenshtein(wrong, known), known))
            .min()
            .filter(|(slips, _)| *slips <= SLIPS)
            .map(|(_, known)| known),
        Some("mode") if message.starts_with("missing") => {
            return "mode must be stated: \"all\", \"opt-in\" or \"opt-out\"".to_owned();
        }
        _ => None,
    };
    match suggestion {
        Some(known) => format!("{message}: did you mean `{known}`?"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Policy::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_mode_must_be_stated() {
        assert_eq!(Policy::parse("mode = \"opt-in\"\n"), Ok(Policy::of(Mode::OptIn)));
        assert_eq!(refused(""), "line 1: mode must be stated: \"all\", \"opt-in\" or \"opt-out\"");
    }

    #[test]
    fn slips_are_named_with_what_was_probably_meant() {
        let error = refused("mode = \"all\"\n[leave_out]\namphoras = true\n");
        assert!(error.starts_with("line 3: unknown field `amphoras`"), "{error}");
        assert!(error.ends_with("did you mean `amphorae`?"), "{error}");
        let error = refused("mode = \"opt_in\"\n");
        assert!(error.ends_with("did you mean `opt-in`?"), "{error}");
        assert!(refused("mode = \"all\"\nzzzzzzzzzzzz = 1\n").contains("unknown field `zzzzzzzzzzzz`"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (text, why) in [
            ("precedence = [\"image\", \"image\"]", "precedence: it names a source twice"),
            (
                "[projects]\nevacuate = [\"a\"]\nleave = [\"a\"]",
                "projects: a is to be evacuated and to be left",
            ),
            ("[[group]]\nname = \"a\"\nafter = [\"b\"]", "group: no group is called b, and one waits for it"),
            (
                "[[group]]\nname = \"a\"\nafter = [\"b\"]\n[[group]]\nname = \"b\"\nafter = [\"a\"]",
                "group: a waits for itself, through others",
            ),
            ("[[group]]\nname = \"a\"\n[[group]]\nname = \"a\"", "group: a is there twice"),
            ("[names]\nevacuate = [\"\"]", "names.evacuate: at most 16 names of 1 to 255 bytes"),
            (
                "[limits]\ninitial = 40",
                "limits: minimum, initial and maximum must be in this order, from 1 to 256",
            ),
            ("[gates]\nmost_hosts_percent = 101", "gates.most_hosts_percent: 1 to 100"),
        ] {
            assert_eq!(refused(&format!("mode = \"all\"\n{text}\n")), why, "{text}");
        }
        assert_eq!(Policy::parse(&" ".repeat(LARGEST + 1)), Err(PolicyError::Large));
    }

    #[test]
    fn groups_may_wait_for_each_other() {
        let text = "mode = \"all\"\n[[group]]\nname = \"app\"\nafter = [\"db\"]\n[[group]]\nname = \"db\"\n";
        let policy = Policy::parse(text).unwrap();
        assert_eq!(policy.group("app").map(|group| group.after.clone()), Some(vec!["db".to_owned()]));
        assert_eq!(policy.group("db").map(|group| group.wait_seconds), Some(300));
    }
}
