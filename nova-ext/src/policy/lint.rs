//! What is wrong with the words about servers, over a whole cloud: misspelt, not understood, contradicting.
//!
//! Nova refuses a wrong extra spec from microversion 2.86 on; with an older one, and on images, servers and aggregates,
//! it takes anything. Pure: what the cloud has comes in, findings go out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::keys::{self, KeyError, NAMESPACE};
use super::words::truth;
use super::{Policy, Source};

/// Where something was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Flavor, image, server or aggregate.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// Its name, for people.
    pub name: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.kind, self.name, self.id)
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// It counts otherwise than somebody may think.
    Note,
    /// It does not count.
    Wrong,
}

/// One thing that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Where.
    pub at: Place,
    /// How bad it is.
    pub weight: Weight,
    /// What it is.
    pub text: String,
}

/// What somebody has set on one thing.
#[derive(Debug, Clone)]
pub struct Words<'a> {
    /// The thing.
    pub at: Place,
    /// Who speaks there.
    pub source: Source,
    /// Keys and what they say; tags as `name` or `name=value`.
    pub words: &'a BTreeMap<String, String>,
}

impl Policy {
    /// What is wrong with the words of one thing.
    pub fn lint(&self, words: &Words<'_>) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut add = |weight, text| found.push(Finding { at: words.at.clone(), weight, text });
        let on_hosts = words.source == Source::Aggregate;
        for (key, value) in words.words {
            if self.is_named(key) && !key.starts_with(&format!("{NAMESPACE}:")) {
                if let Some(text) = self.misread(key, value) {
                    add(Weight::Wrong, text);
                }
                continue;
            }
            let checked = if on_hosts { keys::check_on_hosts(key, value) } else { keys::check(key, value) };
            match checked {
                Ok(()) if self.counts(key) => {}
                Ok(()) => add(
                    Weight::Note,
                    format!("{key} does not count: the policy's [names] have other names instead"),
                ),
                // A key of somebody else's.
                Err(KeyError::Unknown { meant: None, .. }) if !is_ours(key) => {}
                Err(error) => add(Weight::Wrong, error.to_string()),
            }
        }
        if let Some(text) = self.contradiction(words.words) {
            add(Weight::Wrong, text);
        }
        if !self.precedence.contains(&words.source) && words.words.keys().any(|key| self.is_named(key)) {
            add(Weight::Note, format!("the policy's precedence does not ask for a {}", words.source));
        }
        found
    }

    /// Aggregates of one host that contradict each other.
    pub fn lint_host(&self, host: &str, aggregates: &[(&str, &BTreeMap<String, String>)]) -> Vec<Finding> {
        let at = Place { kind: "host", id: host.to_owned(), name: host.to_owned() };
        let ours = |key: &str| self.is_named(key) || is_ours(key);
        let keys: BTreeSet<&String> =
            aggregates.iter().flat_map(|(_, words)| words.keys()).filter(|key| ours(key)).collect();
        let mut found = Vec::new();
        for key in keys {
            let said: Vec<(&str, &String)> =
                aggregates.iter().filter_map(|(name, words)| Some((*name, words.get(key)?))).collect();
            let meanings: BTreeSet<String> = said.iter().map(|(_, value)| meaning(value)).collect();
            if meanings.len() > 1 {
                let list: Vec<String> =
                    said.iter().map(|(name, value)| format!("{name} says {value:?}")).collect();
                let text = format!(
                    "its aggregates contradict each other about {key}: {}; the most cautious counts",
                    list.join(", ")
                );
                found.push(Finding { at: at.clone(), weight: Weight::Note, text });
            }
        }
        found
    }

    fn is_named(&self, key: &str) -> bool {
        let Self { names, .. } = self;
        [&names.evacuate, &names.priority, &names.group].into_iter().flatten().any(|name| name == key)
    }

    /// Whether somebody reads a key of the namespace.
    fn counts(&self, key: &str) -> bool {
        let of_hosts = |known: &keys::Key| {
            known.on == keys::On::Hosts && key.strip_prefix(NAMESPACE) == Some(&format!(":{}", known.name))
        };
        self.is_named(key) || keys::KEYS.iter().any(of_hosts)
    }

    /// What the name that is configured for something says instead of it.
    fn misread(&self, key: &str, value: &str) -> Option<String> {
        let names = &self.names;
        let wrong = |not: &str| Some(format!("{key} = {value:?} is {not}: it is ignored"));
        let has = |names: &[String]| names.iter().any(|name| name == key);
        if has(&names.evacuate) && truth(value).is_none() {
            wrong(keys::Kind::Truth.misread())
        } else if has(&names.priority) && super::words::priority(value).is_none() {
            wrong(keys::Kind::Priority.misread())
        } else if has(&names.group) && keys::group(value).is_none() {
            wrong(keys::Kind::Name.misread())
        } else {
            None
        }
    }

    /// Several names for the same, of which one says yes and another no.
    fn contradiction(&self, words: &BTreeMap<String, String>) -> Option<String> {
        let said: Vec<(&String, bool)> =
            self.names.evacuate.iter().filter_map(|name| Some((name, truth(words.get(name)?)?))).collect();
        let (first, counts) = said.first()?;
        let (other, _) = said.iter().find(|(_, value)| value != counts)?;
        let (first_says, other_says) = if *counts { ("yes", "no") } else { ("no", "yes") };
        Some(format!("{first} says {first_says} and {other} says {other_says}: {first} counts"))
    }
}

/// A key in our namespace.
fn is_ours(key: &str) -> bool {
    key.split(':').next().is_some_and(|space| space.eq_ignore_ascii_case(NAMESPACE))
}

/// Tags as keys: `name` means yes, `name=value` says it.
pub fn tags(tags: &[String]) -> BTreeMap<String, String> {
    let word = |tag: &String| match tag.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (tag.clone(), "true".to_owned()),
    };
    tags.iter().map(word).collect()
}

fn meaning(value: &str) -> String {
    truth(value).map_or_else(|| value.trim().to_owned(), |yes| yes.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::*;

    fn lint(source: Source, words: &[(&str, &str)]) -> Vec<String> {
        let words = words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let at = Place { kind: "flavor", id: "1".into(), name: "m1".into() };
        let policy = Policy::of(Mode::OptIn);
        policy.lint(&Words { at, source, words: &words }).into_iter().map(|found| found.text).collect()
    }

    #[test]
    fn what_is_well_is_not_mentioned() {
        let words = [("instance_ha:evacuate", "yes"), ("hw:cpu_policy", "dedicated"), ("HA_Enabled", "True")];
        assert_eq!(lint(Source::Flavor, &words), Vec::<String>::new());
        assert_eq!(lint(Source::Aggregate, &[("instance_ha:reserved", "nobody")]), Vec::<String>::new());
    }

    #[test]
    fn slips_are_named() {
        assert_eq!(
            lint(Source::Flavor, &[("instance_ha:evacuat", "yes"), ("instance-ha:priority", "5")]),
            [
                "there is no key \"instance-ha:priority\": did you mean instance_ha:priority?",
                "there is no key \"instance_ha:evacuat\": did you mean instance_ha:evacuate?"
            ]
        );
        assert_eq!(
            lint(Source::Image, &[("evacuable", "sure")]),
            ["evacuable = \"sure\" is neither yes nor no: it is ignored"]
        );
        assert_eq!(
            lint(Source::Metadata, &[("instance_ha:evacuate", "maybe")]),
            ["instance_ha:evacuate = \"maybe\" is neither yes nor no"]
        );
        assert_eq!(lint(Source::Flavor, &[("instance_ha:domain", "r1")]).len(), 1);
    }

    #[test]
    fn contradictions_are_named() {
        assert_eq!(
            lint(Source::Flavor, &[("instance_ha:evacuate", "no"), ("evacuable", "true")]),
            ["instance_ha:evacuate says no and evacuable says yes: instance_ha:evacuate counts"]
        );
        let map = |value: &str| BTreeMap::from([("instance_ha:domain".to_owned(), value.to_owned())]);
        let (one, other) = (map("r1"), map("r2"));
        let policy = Policy::of(Mode::All);
        assert!(policy.lint_host("c1", &[("a", &one), ("b", &one)]).is_empty());
        let found = policy.lint_host("c1", &[("a", &one), ("b", &other)]);
        assert_eq!(
            found[0].text,
            "its aggregates contradict each other about instance_ha:domain: a says \"r1\", b says \"r2\"; the most cautious counts"
        );
    }

    #[test]
    fn names_that_do_not_count() {
        let mut policy = Policy::of(Mode::OptIn);
        policy.names.evacuate = vec!["evacuable".into()];
        policy.precedence = vec![Source::Image];
        let words = BTreeMap::from([("instance_ha:evacuate".to_owned(), "yes".to_owned())]);
        let at = Place { kind: "flavor", id: "1".into(), name: "m1".into() };
        let found = policy.lint(&Words { at: at.clone(), source: Source::Flavor, words: &words });
        assert_eq!((found.len(), found[0].weight), (1, Weight::Note));
        let words = tags(&["evacuable".into()]);
        let found = policy.lint(&Words { at, source: Source::Tags, words: &words });
        assert_eq!(found[0].text, "the policy's precedence does not ask for a server tag");
    }
}
