//! What was given, as text: from standard input (how Pacemaker calls) or as options (how people call).

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

use super::table::{PARAMETERS, Parameter, Takes};

/// Values by key. Those that were not given are not there.
#[derive(Default)]
pub struct Given {
    values: BTreeMap<&'static str, Zeroizing<String>>,
    /// How often `verbose` was given.
    verbose: u32,
    /// Whether the password stood on the command line.
    exposed: bool,
    /// The node, as Pacemaker names it beside `plug`.
    node: Option<String>,
    /// What was not understood and does not matter.
    pub warnings: Vec<String>,
}

/// A command line that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// No such option.
    #[error("there is no option {0}; see fence_nova --help")]
    Unknown(String),
    /// The beginning of several options.
    #[error("{0} can mean {1}")]
    Ambiguous(String, String),
    /// Nothing behind an option that takes a value.
    #[error("option {0} needs a value")]
    NoValue(String),
    /// A value behind one that takes none.
    #[error("option {0} takes no value")]
    Value(String),
    /// An argument that is no text.
    #[error("an argument is not UTF-8 text")]
    NotText,
}

impl Given {
    /// Reads `name=value` lines. What is not known is left out, with a warning.
    pub fn from_stdin(text: &str) -> Self {
        let mut given = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
            let Some(parameter) = on_stdin(name) else {
                if name == "nodename" {
                    given.node = Some(value.to_owned()).filter(|node| !node.is_empty());
                } else {
                    given.warn(format!("ignoring unknown parameter {}", shown(name)));
                }
                continue;
            };
            if parameter.takes != Takes::Flag {
                given.set(parameter, value);
            } else if is_yes(value) {
                given.set(parameter, "1");
            } else if is_no(value) {
                given.set(parameter, "0");
            } else {
                given.warn(format!("ignoring {name}: it must be yes or no"));
            }
        }
        given.verbose = u32::from(given.is_on("verbose"));
        given
    }

    /// Reads options as getopt does: values attached or behind, long ones also shortened, in any order.
    pub fn from_arguments(arguments: &[String]) -> Result<Self, UsageError> {
        let mut given = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                break;
            } else if let Some(long) = argument.strip_prefix("--") {
                let (name, attached) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                let parameter = by_long(name)?;
                match (takes_value(parameter), attached) {
                    (true, Some(value)) => given.option(parameter, &value),
                    (true, None) => {
                        let value = rest.next().ok_or_else(|| UsageError::NoValue(format!("--{name}")))?;
                        given.option(parameter, value);
                    }
                    (false, Some(_)) => return Err(UsageError::Value(format!("--{name}"))),
                    (false, None) => given.option(parameter, "1"),
                }
            } else if let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                let mut letters = letters.chars();
                while let Some(letter) = letters.next() {
                    let parameter = PARAMETERS
                        .iter()
                        .find(|parameter| parameter.short == Some(letter))
                        .ok_or_else(|| UsageError::Unknown(format!("-{letter}")))?;
                    if !takes_value(parameter) {
                        given.option(parameter, "1");
                        continue;
                    }
                    let attached = letters.as_str();
                    let value = if attached.is_empty() {
                        rest.next().ok_or_else(|| UsageError::NoValue(format!("-{letter}")))?
                    } else {
                        attached
                    };
                    given.option(parameter, value);
                    break;
                }
            } else {
                given.warn(format!("ignoring argument {}", shown(argument)));
            }
        }
        for argument in rest {
            given.warn(format!("ignoring argument {}", shown(argument)));
        }
        Ok(given)
    }

    /// The text of a parameter, if it was given and is not empty.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether a parameter that takes yes or no says yes.
    pub(super) fn is_on(&self, key: &str) -> bool {
        self.text(key).is_some_and(is_yes)
    }

    /// How often more messages were asked for.
    pub(super) fn verbose(&self) -> u32 {
        self.verbose
    }

    /// The node, if Pacemaker has named it.
    pub(super) fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// Whether everybody on this machine can see the password.
    pub(super) fn is_exposed(&self) -> bool {
        self.exposed
    }

    fn option(&mut self, parameter: &'static Parameter, value: &str) {
        match parameter.key {
            "verbose" => self.verbose = self.verbose.saturating_add(1),
            "passwd" => self.exposed = true,
            _ => {}
        }
        self.set(parameter, value);
    }

    fn set(&mut self, parameter: &'static Parameter, value: &str) {
        self.values.insert(parameter.key, Zeroizing::new(value.to_owned()));
    }

    fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given")
            .field("keys", &self.values.keys().collect::<Vec<_>>())
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// As fence agents read it.
pub(super) fn is_yes(value: &str) -> bool {
    ["1", "yes", "on", "true"].iter().any(|yes| yes.eq_ignore_ascii_case(value))
}

fn is_no(value: &str) -> bool {
    ["0", "no", "off", "false"].iter().any(|no| no.eq_ignore_ascii_case(value))
}

/// The name with underscores or hyphens, or the old one.
fn on_stdin(name: &str) -> Option<&'static Parameter> {
    let hyphens = name.replace('_', "-");
    PARAMETERS
        .iter()
        .find(|parameter| parameter.long == hyphens)
        .or_else(|| PARAMETERS.iter().find(|parameter| parameter.key == name))
}

fn by_long(name: &str) -> Result<&'static Parameter, UsageError> {
    if let Some(parameter) = PARAMETERS.iter().find(|parameter| parameter.long == name) {
        return Ok(parameter);
    }
    let begins: Vec<_> = PARAMETERS.iter().filter(|parameter| parameter.long.starts_with(name)).collect();
    match begins[..] {
        [] => Err(UsageError::Unknown(format!("--{}", shown(name)))),
        [parameter] => Ok(parameter),
        _ => {
            let names: Vec<_> = begins.iter().map(|parameter| format!("--{}", parameter.long)).collect();
            Err(UsageError::Ambiguous(format!("--{name}"), names.join(" or ")))
        }
    }
}

fn takes_value(parameter: &Parameter) -> bool {
    parameter.takes != Takes::Flag
}

/// Not all of something that may be a secret in the wrong place.
fn shown(text: &str) -> String {
    let name = text.split('=').next().unwrap_or_default();
    format!("{:?}", name.chars().take(40).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(list: &[&str]) -> Result<Given, UsageError> {
        Given::from_arguments(&list.iter().map(|&it| it.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn lines_are_read_as_pacemaker_writes_them() {
        let given = Given::from_stdin(
            "# comment\n\nnodename=c1\nport=c1\naction=off\nlogin=admin\npasswd=a=b \"c\"\ntenant-name=\"service\"\n\
             project_domain=Default\ninsecure=1\nno-shared-storage=false\nwhat=ever\nquiet=perhaps\nuser-domain\n",
        );
        assert_eq!((given.text("port"), given.node()), (Some("c1"), Some("c1")));
        assert_eq!(given.text("passwd"), Some("a=b \"c\""));
        assert_eq!(given.text("tenant_name"), Some("service"));
        assert_eq!(given.text("project-domain"), Some("Default"));
        assert_eq!(given.text("user-domain"), None);
        assert!(given.is_on("insecure") && !given.is_on("no_shared_storage"));
        assert_eq!(
            given.warnings,
            ["ignoring unknown parameter \"what\"", "ignoring quiet: it must be yes or no"]
        );
        assert!(!given.is_exposed());
    }

    #[test]
    fn the_new_name_and_the_old_name_are_the_same_parameter() {
        for name in ["plug", "port"] {
            assert_eq!(Given::from_stdin(&format!("{name}=c1")).text("port"), Some("c1"), "{name}");
        }
        for name in ["username", "login"] {
            assert_eq!(Given::from_stdin(&format!("{name}=x")).text("login"), Some("x"), "{name}");
        }
        for name in ["auth_url", "auth-url"] {
            assert_eq!(Given::from_stdin(&format!("{name}=x")).text("auth_url"), Some("x"), "{name}");
        }
        for name in ["debug", "debug_file"] {
            assert_eq!(Given::from_stdin(&format!("{name}=x")).text("debug"), Some("x"), "{name}");
        }
    }

    #[test]
    fn options_are_read_as_getopt_does() -> Result<(), UsageError> {
        let given = arguments(&[
            "-o",
            "off",
            "-nc1",
            "--auth-url=http://k",
            "--passw",
            "x",
            "-vvq",
            "stray",
            "--insec",
        ]);
        // `--passw` is the beginning of two.
        assert_eq!(
            given.err(),
            Some(UsageError::Ambiguous("--passw".into(), "--password or --password-script".into()))
        );
        let given = arguments(&[
            "-o",
            "off",
            "-nc1",
            "--auth-url=http://k",
            "--usern",
            "x",
            "-vvq",
            "stray",
            "--insec",
        ])?;
        assert_eq!(given.text("action"), Some("off"));
        assert_eq!(given.text("port"), Some("c1"));
        assert_eq!(given.text("auth_url"), Some("http://k"));
        assert_eq!(given.text("login"), Some("x"));
        assert!(given.is_on("insecure") && given.is_on("quiet"));
        assert_eq!(given.verbose(), 2);
        assert_eq!(given.warnings, ["ignoring argument \"stray\""]);
        assert!(arguments(&["-p", "secret"])?.is_exposed());
        assert_eq!(arguments(&["-x"]).err(), Some(UsageError::Unknown("-x".into())));
        assert_eq!(arguments(&["-n"]).err(), Some(UsageError::NoValue("-n".into())));
        assert_eq!(arguments(&["--quiet=1"]).err(), Some(UsageError::Value("--quiet".into())));
        Ok(())
    }

    #[test]
    fn nothing_that_may_be_a_secret_is_shown() {
        let given = Given::from_stdin("pasword=hunter2\npasswd=hunter2\n");
        assert!(!format!("{given:?}").contains("hunter2"), "{given:?}");
    }
}
