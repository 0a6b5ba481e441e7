//! Node attributes of the cluster, through Pacemaker's own tool.

use std::io::ErrorKind;
use std::time::Duration;

use crate::ids::NodeName;
use crate::process::{ProcessError, Program};

/// The attribute that asks for an evacuation, as existing set-ups know it.
pub const EVACUATE: &str = "evacuate";
/// The attribute with the signed proof, so that another controller's engine has it too.
pub const PROOF: &str = "fence-proof";

/// The attribute that says whether the host is to be switched on once its guests are elsewhere.
pub const POWER: &str = "fence-power";

/// The attribute that says how often the host failed and whether it is in quarantine, for the engine of another controller.
pub const FAILURES: &str = "fence-failures";

const UPDATER: &str = "attrd_updater";
/// How `attrd_updater` says that there is no such attribute: by its exit code, or (Pacemaker 2.1.5) in words.
const NO_SUCH: i32 = 105;
const NO_SUCH_WORDS: &str = "attribute does not exist";

/// What `evacuate` says of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evacuate {
    /// To be evacuated.
    Wanted,
    /// Nova is to be told that it is down, and nothing is evacuated.
    Down,
    /// Somebody does it.
    Begun {
        /// Which controller.
        by: String,
        /// Since when, in seconds since 1970.
        since: u64,
    },
    /// Nothing is to be done (any more).
    Over,
}

/// A value that a node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The node.
    pub node: String,
    /// Its value.
    pub value: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AttributeError {
    /// The tool did not end.
    #[error("the cluster cannot be told: {0}")]
    Process(#[from] ProcessError),
    /// The tool failed.
    #[error("the cluster cannot be told: {UPDATER}: {0}")]
    Refused(String),
}

impl AttributeError {
    /// Whether this machine is in no cluster: then nobody else is there to be asked or told.
    pub fn is_no_cluster(&self) -> bool {
        matches!(self, Self::Process(ProcessError::Spawn(_, error)) if error.kind() == ErrorKind::NotFound)
    }

    /// Whether the cluster may be there and does not answer.
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Process(ProcessError::Late(..)))
    }
}

impl Evacuate {
    /// Reads a value. What nobody writes is taken for nothing.
    pub fn parse(value: &str) -> Self {
        match value.rsplit_once('@') {
            _ if value == "yes" => Self::Wanted,
            _ if value == "down" => Self::Down,
            Some((by, since)) if !by.is_empty() => match since.parse() {
                Ok(since) => Self::Begun { by: by.to_owned(), since },
                Err(_) => Self::Over,
            },
            _ => Self::Over,
        }
    }

    /// As it is written.
    pub fn value(&self) -> String {
        match self {
            Self::Wanted => "yes".into(),
            Self::Down => "down".into(),
            Self::Begun { by, since } => format!("{by}@{since}"),
            Self::Over => "no".into(),
        }
    }
}

/// The cluster's node attributes.
#[derive(Debug, Clone)]
pub struct Attributes {
    within: Duration,
}

impl Attributes {
    /// Each question and order has so much time.
    pub fn new(within: Duration) -> Self {
        Self { within }
    }

    /// Sets a node's value, in the cluster's memory alone, as existing set-ups do.
    pub async fn set(&self, name: &str, node: &NodeName, value: &str) -> Result<(), AttributeError> {
        self.run(&["-p", "-n", name, "-N", node.as_str(), "-U", value]).await.map(|_| ())
    }

    /// Removes a node's value.
    pub async fn remove(&self, name: &str, node: &NodeName) -> Result<(), AttributeError> {
        self.run(&["-p", "-n", name, "-N", node.as_str(), "-D"]).await.map(|_| ())
    }

    /// The values that nodes have.
    pub async fn values(&self, name: &str) -> Result<Vec<Value>, AttributeError> {
        self.run(&["-n", name, "-Q", "-A"]).await.map(|text| values(&text))
    }

    async fn run(&self, arguments: &[&str]) -> Result<String, AttributeError> {
        let mut program = Program::new(UPDATER).with(arguments.iter().copied());
        program.kept = 4 << 20;
        let ended = program.run(self.within).await?;
        match ended.code {
            Some(0) => Ok(ended.output),
            Some(NO_SUCH) => Ok(String::new()),
            _ if ended.errors.contains(NO_SUCH_WORDS) => Ok(String::new()),
            _ => Err(AttributeError::Refused(ended.why())),
        }
    }
}

/// What [`POWER`] says.
pub fn power_wish(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// The value of a node.
pub fn value_of<'a>(values: &'a [Value], node: &NodeName) -> Option<&'a str> {
    values.iter().find(|value| value.node == node.as_str()).map(|value| value.value.as_str())
}

/// Reads `name="evacuate" host="compute1" value="no"`, one a line.
fn values(text: &str) -> Vec<Value> {
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    text.lines()
        .filter_map(|line| Some(Value { node: field(line, " host")?, value: field(line, " value")? }))
        .filter(|value| value.value != "(null)") // how the tool prints one that was removed
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tool_prints_is_read() {
        let text =
            "name=\"evacuate\" host=\"c1\" value=\"no\"\nname=\"evacuate\" host=\"c2\" value=\"(null)\"\nx\n";
        assert_eq!(values(text), [Value { node: "c1".into(), value: "no".into() }]);
        assert_eq!(values(""), []);
    }

    #[test]
    fn values_mean_what_existing_set_ups_mean() {
        for (text, meaning) in [
            ("yes", Evacuate::Wanted),
            ("down", Evacuate::Down),
            ("ctl1@1700000000", Evacuate::Begun { by: "ctl1".into(), since: 1_700_000_000 }),
            ("no", Evacuate::Over),
        ] {
            assert_eq!(Evacuate::parse(text), meaning);
            assert_eq!(meaning.value(), text);
        }
        for text in ["", "@1", "ctl1@soon", "YES"] {
            assert_eq!(Evacuate::parse(text), Evacuate::Over, "{text}");
        }
    }

    #[test]
    fn only_a_tool_that_is_not_there_means_no_cluster() {
        let spawn = |kind: ErrorKind| {
            AttributeError::Process(ProcessError::Spawn(UPDATER.into(), std::io::Error::from(kind)))
        };
        assert!(spawn(ErrorKind::NotFound).is_no_cluster());
        assert!(!spawn(ErrorKind::PermissionDenied).is_no_cluster());
        assert!(!AttributeError::Process(ProcessError::Late(UPDATER.into(), Duration::ZERO)).is_no_cluster());
        assert!(!AttributeError::Refused("exit code 102".into()).is_no_cluster());
        assert!(AttributeError::Process(ProcessError::Late(UPDATER.into(), Duration::ZERO)).is_late());
        assert!(!AttributeError::Refused("exit code 102".into()).is_late());
    }
}
