//! Who says what about one server, and whose word counts.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::keys::{self, Kind};
use super::words::{priority, truth};
use super::{Mode, Policy};

/// Who can say something about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The server's metadata.
    Metadata,
    /// The server's tags.
    Tags,
    /// The image's properties.
    Image,
    /// The flavor's extra specs.
    Flavor,
    /// The metadata of the host's aggregates.
    Aggregate,
    /// The policy's lists of projects.
    Project,
}

impl Source {
    /// Nearest to the server first.
    pub(super) fn usual() -> Vec<Self> {
        vec![Self::Metadata, Self::Tags, Self::Image, Self::Flavor, Self::Aggregate, Self::Project]
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "server metadata",
            Self::Tags => "server tag",
            Self::Image => "image property",
            Self::Flavor => "flavor extra spec",
            Self::Aggregate => "aggregate metadata",
            Self::Project => "project",
        })
    }
}

/// What the rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The server's metadata.
    pub metadata: &'a BTreeMap<String, String>,
    /// The server's tags.
    pub tags: &'a [String],
    /// The image's properties.
    pub image: &'a BTreeMap<String, String>,
    /// The flavor's extra specs.
    pub flavor: &'a BTreeMap<String, String>,
    /// The metadata of each aggregate that the host is in.
    pub aggregates: &'a [BTreeMap<String, String>],
    /// The project's id.
    pub project: &'a str,
}

/// A word about a server, and who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<T> {
    /// The word.
    pub value: T,
    /// Who said it; nobody: it is the default.
    pub by: Option<(Source, String)>,
}

/// What the rules make of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Whether it is to be evacuated.
    pub evacuate: Said<bool>,
    /// Higher goes first.
    pub priority: Said<i32>,
    /// Its group.
    pub group: Option<Said<String>>,
    /// What was said and could not be understood.
    pub notes: Vec<String>,
}

impl<T> fmt::Display for Said<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            Some((source, name)) => write!(f, "{source} {name}"),
            None => f.write_str("nobody says anything"),
        }
    }
}

impl Policy {
    /// What the rules make of a server: the first source that says something decides, else the mode.
    pub fn choose(&self, facts: &Facts<'_>) -> Choice {
        let mut notes = Vec::new();
        let evacuate = match self.mode {
            Mode::All => Said { value: true, by: None },
            Mode::OptIn | Mode::OptOut => self
                .ask(facts, &self.names.evacuate, &mut notes, Kind::Truth.misread(), truth)
                .unwrap_or(Said { value: self.mode == Mode::OptOut, by: None }),
        };
        let group = self.ask(facts, &self.names.group, &mut notes, Kind::Name.misread(), keys::group);
        let of_group =
            || group.as_ref().and_then(|group| self.group(&group.value)).and_then(|group| group.priority);
        let priority = self
            .ask(facts, &self.names.priority, &mut notes, Kind::Priority.misread(), priority)
            .unwrap_or_else(|| Said { value: of_group().unwrap_or(0), by: None });
        Choice { evacuate, priority, group, notes }
    }

    fn ask<T: Cautious>(
        &self,
        facts: &Facts<'_>,
        names: &[String],
        notes: &mut Vec<String>,
        not: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Said<T>> {
        for &source in &self.precedence {
            // Of several aggregates, the most cautious word counts.
            let mut said: Option<Said<T>> = None;
            for place in places(source, facts) {
                for name in names {
                    let Some(text) = place.get(name) else { continue };
                    match read(text) {
                        Some(value) => {
                            let word = Said { value, by: Some((source, name.clone())) };
                            said = Some(match said.take() {
                                Some(other) if !word.value.more_cautious(&other.value) => other,
                                _ => word,
                            });
                            break;
                        }
                        None => {
                            notes.push(format!("{source} {name} = {:?} is {not}: ignored", shorten(text)));
                        }
                    }
                }
            }
            if source == Source::Project && said.is_none() {
                said = T::of_project(self, facts.project)
                    .map(|value| Said { value, by: Some((source, facts.project.to_owned())) });
            }
            if said.is_some() {
                return said;
            }
        }
        None
    }
}

/// Words of which one is the more cautious.
trait Cautious: Sized {
    fn more_cautious(&self, other: &Self) -> bool;
    fn of_project(_: &Policy, _: &str) -> Option<Self> {
        None
    }
}

impl Cautious for bool {
    fn more_cautious(&self, other: &Self) -> bool {
        !self && *other
    }

    fn of_project(policy: &Policy, project: &str) -> Option<Self> {
        if policy.projects.leave.contains(project) {
            Some(false)
        } else {
            policy.projects.evacuate.contains(project).then_some(true)
        }
    }
}

impl Cautious for i32 {
    fn more_cautious(&self, other: &Self) -> bool {
        self < other
    }
}

impl Cautious for String {
    fn more_cautious(&self, other: &Self) -> bool {
        self < other
    }
}

/// Where a source keeps its words.
enum Place<'a> {
    Map(&'a BTreeMap<String, String>),
    Tags(&'a [String]),
}

impl<'a> Place<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        match self {
            Self::Map(map) => map.get(name).map(String::as_str),
            // A tag is `name`, which means yes, or `name=value`.
            Self::Tags(tags) => tags.iter().find_map(|tag| match tag.strip_prefix(name)? {
                "" => Some("true"),
                rest => rest.strip_prefix('='),
            }),
        }
    }
}

fn places<'a>(source: Source, facts: &Facts<'a>) -> Vec<Place<'a>> {
    match source {
        Source::Metadata => vec![Place::Map(facts.metadata)],
        Source::Tags => vec![Place::Tags(facts.tags)],
        Source::Image => vec![Place::Map(facts.image)],
        Source::Flavor => vec![Place::Map(facts.flavor)],
        Source::Aggregate => facts.aggregates.iter().map(Place::Map).collect(),
        Source::Project => Vec::new(),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Words {
        metadata: BTreeMap<String, String>,
        tags: Vec<String>,
        image: BTreeMap<String, String>,
        flavor: BTreeMap<String, String>,
        aggregates: Vec<BTreeMap<String, String>>,
    }

    impl Words {
        fn facts(&self) -> Facts<'_> {
            Facts {
                metadata: &self.metadata,
                tags: &self.tags,
                image: &self.image,
                flavor: &self.flavor,
                aggregates: &self.aggregates,
                project: "p1",
            }
        }
    }

    fn map(key: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn the_names_in_use_are_recognised() {
        let policy = Policy::of(Mode::OptIn);
        let yes = |words: &Words| policy.choose(&words.facts()).evacuate.value;
        assert!(!yes(&Words::default()));
        assert!(yes(&Words { flavor: map("evacuable", "true"), ..Words::default() }));
        assert!(yes(&Words { image: map("evacuable", "True"), ..Words::default() }));
        assert!(yes(&Words { metadata: map("HA_Enabled", "True"), ..Words::default() }));
        assert!(yes(&Words { tags: vec!["evacuable".into()], ..Words::default() }));
        assert!(yes(&Words { flavor: map("instance_ha:evacuate", "yes"), ..Words::default() }));
        assert!(yes(&Words { aggregates: vec![map("evacuable", "1")], ..Words::default() }));
        // A key that only contains the word is another key.
        assert!(!yes(&Words { flavor: map("not_evacuable", "true"), ..Words::default() }));
        assert!(!yes(&Words { tags: vec!["evacuables".into()], ..Words::default() }));
    }

    #[test]
    fn the_nearest_word_counts() {
        let mut policy = Policy::of(Mode::OptOut);
        let mut words = Words {
            metadata: map("instance_ha:evacuate", "no"),
            tags: vec!["evacuable".into()],
            image: map("evacuable", "yes"),
            ..Words::default()
        };
        let choice = policy.choose(&words.facts());
        assert!(!choice.evacuate.value);
        assert_eq!(choice.evacuate.to_string(), "server metadata instance_ha:evacuate");
        policy.precedence = vec![Source::Image, Source::Metadata];
        assert!(policy.choose(&words.facts()).evacuate.value);
        // A tag can say no as well.
        words.metadata.clear();
        words.tags = vec!["instance_ha:evacuate=false".into()];
        policy.precedence = Source::usual();
        assert!(!policy.choose(&words.facts()).evacuate.value);
    }

    #[test]
    fn of_contradicting_aggregates_the_cautious_one_counts() {
        let policy = Policy::of(Mode::OptOut);
        for aggregates in [["yes", "no"], ["no", "yes"]] {
            let aggregates = aggregates.iter().map(|value| map("evacuable", value)).collect();
            let words = Words { aggregates, ..Words::default() };
            assert!(!policy.choose(&words.facts()).evacuate.value);
        }
    }

    #[test]
    fn what_cannot_be_understood_is_noted_and_ignored() {
        let policy = Policy::of(Mode::OptIn);
        let words = Words {
            metadata: map("evacuable", "perhaps"),
            flavor: map("instance_ha:priority", "first"),
            image: map("evacuable", "true"),
            ..Words::default()
        };
        let choice = policy.choose(&words.facts());
        assert!(choice.evacuate.value && choice.priority.value == 0);
        assert_eq!(choice.notes.len(), 2);
        assert_eq!(choice.notes[0], "server metadata evacuable = \"perhaps\" is neither yes nor no: ignored");
    }

    #[test]
    fn projects_and_groups() {
        let text =
            "mode = \"opt-in\"\n[projects]\nevacuate = [\"p1\"]\n[[group]]\nname = \"db\"\npriority = 7\n";
        let policy = Policy::parse(text).unwrap();
        let words = Words { tags: vec!["instance_ha:group=db".into()], ..Words::default() };
        let choice = policy.choose(&words.facts());
        assert_eq!(choice.evacuate.to_string(), "project p1");
        assert_eq!(
            (choice.priority.value, choice.group.map(|group| group.value)),
            (7, Some("db".to_owned()))
        );
        let all = Policy { mode: Mode::All, ..policy };
        let words = Words { metadata: map("evacuable", "no"), ..Words::default() };
        assert!(all.choose(&words.facts()).evacuate.value);
    }
}
