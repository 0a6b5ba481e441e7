//! The parameters of a resource, read: clear words for what cannot be.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::policy::{Policy, Reaction};
use super::table::{Of, described};
use super::{Kind, Outcome, Parameters};
use crate::config::span;
use crate::verdict::Subject;

/// Longest name of an attribute.
const NAME: usize = 128;

/// A parameter that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parameter {name}={value} {problem}")]
pub struct Wrong {
    /// Which.
    pub name: &'static str,
    /// What it is said to be.
    pub value: String,
    /// What is wrong with that.
    pub problem: String,
}

/// What a resource was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Which agent it is.
    pub kind: Kind,
    /// Settings of the probes; the usual file if `None`.
    pub config: Option<PathBuf>,
    pub(super) failures: Option<u32>,
    pub(super) hide_degraded: bool,
    pub(super) attribute: Option<String>,
    pub(super) socket: Option<PathBuf>,
    pub(super) unit: UnitName,
    pub(super) evacuation: Evacuation,
    /// What is looked at; `None` is everything, as far as the host has it.
    pub(super) checks: Option<Vec<Subject>>,
    pub(super) policy: Policy,
    pub(super) health_attribute: Option<String>,
}

/// The unit that a resource stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UnitName {
    /// To be found.
    Auto,
    /// None: starting and stopping is somebody else's.
    None,
    /// This one.
    Named(String),
}

/// How the evacuation of a host is found and waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Evacuation {
    pub(super) host: Option<String>,
    pub(super) domain: Option<String>,
    pub(super) delay: Duration,
}

impl Told {
    /// Reads the parameters. Those that the agent does not know are left alone.
    pub fn new(kind: Kind, parameters: &Parameters) -> Result<Self, Wrong> {
        let mut wrong = None;
        let told = Self::read(kind, &Values { kind, parameters }, &mut wrong);
        wrong.map_or(Ok(told), Err)
    }

    /// Reads what can be read, with defaults for the rest: a resource must be stopped even if nothing else can
    /// be done with it.
    pub fn lenient(kind: Kind, parameters: &Parameters) -> Self {
        Self::read(kind, &Values { kind, parameters }, &mut None)
    }

    /// How a monitor ends while the host's storage hangs and nothing else can be looked at.
    pub(super) fn code_of_storage(&self) -> u8 {
        match self.policy.host {
            Reaction::Fail if self.policy.fail_with_guests => Outcome::ERROR,
            _ => Outcome::DEGRADED,
        }
    }

    fn read(kind: Kind, values: &Values<'_>, wrong: &mut Option<Wrong>) -> Self {
        let unit = match values.text("unit").as_deref() {
            None | Some("auto") => UnitName::Auto,
            Some("none") => UnitName::None,
            Some(name) => UnitName::Named(crate::units::full_name(name)),
        };
        let failures = values.get("failures", wrong, |text| match text.parse() {
            Ok(number @ 1..=100) => Ok(number),
            _ => Err("must be a number from 1 to 100".to_owned()),
        });
        let evacuation = Evacuation {
            host: values.text("host"),
            domain: values.text("domain").map(|domain| domain.trim_start_matches('.').to_owned()),
            delay: values.get("evacuation_delay", wrong, delay).unwrap_or_default(),
        };
        for (name, of) in described(kind).parameters.iter().map(|parameter| (parameter.name, parameter.of)) {
            match of {
                Of::Yes => drop(values.get(name, wrong, yes)),
                Of::One(list) => drop(values.get(name, wrong, |text| one_of(text, list))),
                Of::Text | Of::Number | Of::Time => {}
            }
        }
        Self {
            kind,
            config: values.get("config", wrong, absolute),
            failures,
            hide_degraded: values.text("degraded").as_deref() == Some("hide"),
            attribute: values.get("attribute", wrong, attribute),
            socket: values.get("socket", wrong, absolute),
            unit: if kind == Kind::ComputeHealth { UnitName::None } else { unit },
            evacuation,
            checks: values.get("checks", wrong, subjects),
            policy: policy(values, wrong),
            health_attribute: values.get("health_attribute", wrong, attribute),
        }
    }
}

fn policy(values: &Values<'_>, wrong: &mut Option<Wrong>) -> Policy {
    let mut reaction = |name| values.get(name, wrong, Reaction::parse).unwrap_or(Reaction::Report);
    let (libvirt, nova_compute) = (reaction("on_libvirt"), reaction("on_nova_compute"));
    let (services, host, then) = (reaction("on_services"), reaction("on_host"), reaction("then"));
    let number = |text: &str| match text.parse() {
        Ok(number @ 0..=100) => Ok(number),
        _ => Err("must be a number from 0 to 100".to_owned()),
    };
    Policy {
        libvirt,
        nova_compute,
        services,
        host,
        then,
        restarts: values.get("restarts", wrong, number).unwrap_or_default(),
        window: values.get("restart_window", wrong, time).unwrap_or_default(),
        fail_with_guests: values.get("fail_with_guests", wrong, yes).unwrap_or_default(),
    }
}

/// What was said, or else the default, of the parameters that the agent has.
struct Values<'a> {
    kind: Kind,
    parameters: &'a Parameters,
}

impl Values<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let known = described(self.kind).parameters.iter().find(|parameter| parameter.name == name)?;
        let said = self.parameters.get(name).map(|value| value.trim());
        // An empty value stands for nothing where the default is something.
        let text = match said {
            Some("") if known.name == "health_attribute" => "",
            None | Some("") => known.default,
            Some(value) => value,
        };
        Some(text).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// Reads a parameter. Of one that cannot be read, `wrong` hears, and its default is taken.
    fn get<T>(
        &self,
        name: &'static str,
        wrong: &mut Option<Wrong>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(name)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(problem) => {
                wrong.get_or_insert(Wrong { name, value: text, problem });
                let default =
                    described(self.kind).parameters.iter().find(|known| known.name == name)?.default;
                read(default).ok()
            }
        }
    }
}

fn yes(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Ok(true),
        "0" | "no" | "false" | "off" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

fn one_of(text: &str, list: &[&str]) -> Result<(), String> {
    if list.contains(&text) { Ok(()) } else { Err(format!("must be one of: {}", list.join(", "))) }
}

fn time(text: &str) -> Result<Duration, String> {
    // As Pacemaker writes them, too.
    let plain = match text.trim_end_matches(char::is_alphabetic) {
        number if text.ends_with("msec") => format!("{number}ms"),
        number if text.ends_with("hr") => format!("{number}h"),
        _ => text.to_owned(),
    };
    span::parse(&plain).map_err(|_| "must be a time such as 90s or 10min".to_owned())
}

fn delay(text: &str) -> Result<Duration, String> {
    if text.trim_end_matches(char::is_alphabetic) == "0" { Ok(Duration::ZERO) } else { time(text) }
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('/') { Ok(text.into()) } else { Err("must begin with /".to_owned()) }
}

fn attribute(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "#-_.:".contains(c);
    if text.len() <= NAME && text.chars().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(format!("must be a name of at most {NAME} letters, digits and # - _ . :"))
    }
}

fn subjects(text: &str) -> Result<Vec<Subject>, String> {
    let mut seen = BTreeSet::new();
    text.split([' ', ','])
        .filter(|word| !word.is_empty())
        .map(|word| {
            let subject = Subject::ALL
                .into_iter()
                .find(|subject| subject.name() == word)
                .ok_or("may list libvirt, nova-compute, services and host")?;
            if seen.insert(subject) { Ok(subject) } else { Err(format!("lists {word} twice")) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Kind, list: &[(&str, &str)]) -> Result<Told, Wrong> {
        let parameters = list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Told::new(kind, &parameters)
    }

    fn problem(kind: Kind, name: &str, value: &str) -> String {
        read(kind, &[(name, value)]).unwrap_err().to_string()
    }

    #[test]
    fn without_parameters_everything_has_the_default_of_the_metadata() {
        let told = read(Kind::NovaCompute, &[]).unwrap();
        assert_eq!(told.evacuation.delay, Duration::from_secs(120));
        assert_eq!((told.unit, told.attribute, told.hide_degraded), (UnitName::Auto, None, false));
        let told = Told::new(Kind::ComputeHealth, &Parameters::new()).unwrap();
        assert_eq!(told.health_attribute.as_deref(), Some("#health-compute"));
        assert_eq!((told.policy.restarts, told.policy.window), (2, Duration::from_secs(600)));
        assert_eq!((told.policy.libvirt, told.policy.host), (Reaction::Restart, Reaction::Evict));
        assert!(!told.policy.fail_with_guests);
        assert_eq!(told.checks, None);
    }

    #[test]
    fn values_are_read() {
        let told = read(
            Kind::ComputeHealth,
            &[
                ("checks", "host libvirt"),
                ("on_libvirt", "fail"),
                ("restart_window", "90s"),
                ("fail_with_guests", "Yes"),
                ("health_attribute", ""),
                ("attribute", "compute-health"),
                ("unit", "ignored.service"),
                ("CRM_meta_timeout", "20000"),
            ],
        )
        .unwrap();
        assert_eq!(told.checks, Some(vec![Subject::Host, Subject::Libvirt]));
        assert_eq!((told.policy.libvirt, told.policy.window), (Reaction::Fail, Duration::from_secs(90)));
        assert!(told.policy.fail_with_guests);
        assert_eq!((told.health_attribute, told.unit), (None, UnitName::None));
    }

    #[test]
    fn what_cannot_be_is_said_clearly() {
        let health = |name, value| problem(Kind::ComputeHealth, name, value);
        assert_eq!(
            health("on_host", "restart"),
            "parameter on_host=restart must be one of: report, evict, fail"
        );
        assert_eq!(
            health("checks", "libvrit"),
            "parameter checks=libvrit may list libvirt, nova-compute, services and host"
        );
        assert_eq!(health("checks", "host,host"), "parameter checks=host,host lists host twice");
        assert_eq!(
            health("fail_with_guests", "maybe"),
            "parameter fail_with_guests=maybe must be true or false"
        );
        assert!(health("restarts", "many").ends_with("must be a number from 0 to 100"));
        assert!(health("failures", "0").ends_with("must be a number from 1 to 100"));
        assert!(problem(Kind::Libvirt, "socket", "sock").ends_with("must begin with /"));
        assert!(problem(Kind::Libvirt, "attribute", "a b").contains("must be a name"));
        assert!(
            problem(Kind::NovaCompute, "evacuation_delay", "soon")
                .ends_with("must be a time such as 90s or 10min")
        );
        assert!(problem(Kind::NovaCompute, "insecure", "perhaps").ends_with("must be true or false"));
    }

    #[test]
    fn what_others_write_is_understood() {
        let delay = |text| read(Kind::NovaCompute, &[("evacuation_delay", text)]).unwrap().evacuation.delay;
        assert_eq!(delay("60"), Duration::from_secs(60));
        assert_eq!(delay("500msec"), Duration::from_millis(500));
        assert_eq!(delay("1hr"), Duration::from_secs(3600));
        assert_eq!((delay("0"), delay("0s")), (Duration::ZERO, Duration::ZERO));
        let told = read(Kind::NovaCompute, &[("unit", "my-nova"), ("domain", ".example.org")]).unwrap();
        assert_eq!(told.unit, UnitName::Named("my-nova.service".into()));
        assert_eq!(told.evacuation.domain.as_deref(), Some("example.org"));
    }

    #[test]
    fn a_stop_does_with_what_there_is() {
        let list = [("evacuation_delay".to_owned(), "soon".to_owned()), ("unit".to_owned(), "x".to_owned())];
        let told = Told::lenient(Kind::NovaCompute, &list.into());
        assert_eq!(told.unit, UnitName::Named("x.service".into()));
        assert_eq!(told.evacuation.delay, Duration::from_secs(120));
    }
}
