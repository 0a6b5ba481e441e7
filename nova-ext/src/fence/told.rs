//! What was given, understood: every value checked once.

use std::path::PathBuf;
use std::time::Duration;

use super::action::Action;
use super::given::{Given, UsageError, is_yes};
use super::table::{self, Parameter, Takes};
use crate::ids::{BadName, NodeName};
use crate::secret::Secret;

/// Longest wait that a parameter can ask for.
const LONGEST: u64 = 3600;

/// How to log in to Keystone when the parameters say it, as those of the older agents do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Keystone's URL.
    pub auth_url: String,
    /// The user.
    pub username: String,
    /// The password.
    pub password: Password,
    /// The project.
    pub project: String,
    /// Domain of the user.
    pub user_domain: String,
    /// Domain of the project.
    pub project_domain: String,
}

/// Where the password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// In the parameters.
    Here(Secret),
    /// This program prints it.
    Script(PathBuf),
}

/// What `record_only` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// Fence by own means if there are any.
    No,
    /// Another device switches the power; mark the host and hand over its evacuation.
    Only,
    /// Another device switches the power; do nothing else.
    Nothing,
}

/// What `power` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Switch it if the map has the host.
    Auto,
    /// Switch it, and fail if the map does not have the host.
    Yes,
    /// Leave it to others.
    No,
}

/// Which of Nova's endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// For services.
    Internal,
    /// For everybody.
    Public,
    /// For administrators.
    Admin,
}

/// A call of the agent.
#[derive(Debug, Clone)]
pub struct Told {
    /// What to do.
    pub action: Action,
    /// To which host, by its name in Nova or in the cluster.
    pub plug: Option<String>,
    /// Its node in the cluster, if Pacemaker has named it.
    pub node: Option<NodeName>,
    /// How to log in, if the parameters say it.
    pub login: Option<Login>,
    /// Any certificate will do.
    pub insecure: bool,
    /// CA bundle.
    pub cacert: Option<PathBuf>,
    /// Region of Nova.
    pub region: Option<String>,
    /// Which endpoint, if it was said.
    pub endpoint: Option<Endpoint>,
    /// File with credentials.
    pub credentials: Option<PathBuf>,
    /// Which cloud of a clouds.yaml.
    pub cloud: Option<String>,
    /// The configuration.
    pub config: Option<PathBuf>,
    /// The map of power devices.
    pub map: Option<PathBuf>,
    /// DNS domain of Nova's hosts.
    pub domain: Option<String>,
    /// Who switches the power.
    pub power: Power,
    /// What is left to others.
    pub record: Record,
    /// Whether anything is evacuated at all.
    pub evacuates: bool,
    /// Whether the computes share storage for ephemeral disks; `None` if it was not said.
    pub shared_storage: Option<bool>,
    /// Between the columns of list.
    pub separator: String,
    /// Before fencing.
    pub delay: Duration,
    /// For Keystone.
    pub login_timeout: Duration,
    /// For the power device.
    pub power_timeout: Duration,
    /// For Nova.
    pub nova_timeout: Duration,
    /// Tries to power on.
    pub on_tries: u32,
    /// How much is said.
    pub verbosity: u32,
    /// Whether standard error stays empty.
    pub quiet: bool,
    /// A file for messages.
    pub debug_file: Option<PathBuf>,
}

/// Parameters that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ParameterError {
    /// The command line.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// No such action.
    #[error("there is no action {0:?}")]
    Action(String),
    /// No number, or an impossible one.
    #[error("{name} is {value:?} and must be a whole number{range}")]
    Number {
        /// Which parameter.
        name: String,
        /// What it is.
        value: String,
        /// What it may be.
        range: &'static str,
    },
    /// Not one of those that there are.
    #[error("{name} is {value:?} and must be one of {}", of.join(", "))]
    Choice {
        /// Which parameter.
        name: String,
        /// What it is.
        value: String,
        /// What it may be.
        of: &'static [&'static str],
    },
    /// No host.
    #[error("the action {0} needs plug, the host that it is about")]
    NoHost(Action),
    /// A host that cannot be.
    #[error("plug: {0}")]
    Host(#[from] BadName),
    /// Some of what a login needs.
    #[error(
        "the parameters name {have} but not {lacks}: give all of auth_url, username, password and tenant_name, or a credentials file alone"
    )]
    Login {
        /// What was given.
        have: &'static str,
        /// What is missing.
        lacks: &'static str,
    },
}

impl Told {
    /// Understands what was given. Adds to its warnings.
    pub fn new(given: &mut Given) -> Result<Self, ParameterError> {
        let action = given.text("action").or(default("action")).unwrap_or_default();
        let action = Action::named(action).ok_or_else(|| ParameterError::Action(action.to_owned()))?;
        let plug = given.text("port").map(|name| name.trim().to_owned());
        match &plug {
            Some(name) => drop(name.parse::<NodeName>()?),
            None if action.needs_host() => return Err(ParameterError::NoHost(action)),
            None => {}
        }
        let login = login(given)?;
        let text = |key| given.text(key).map(str::to_owned);
        let path = |key| given.text(key).map(PathBuf::from);
        let told = Self {
            action,
            plug,
            node: given.node().map(str::parse).transpose()?,
            login,
            insecure: given.is_on("insecure"),
            cacert: path("cacert"),
            region: text("region_name"),
            endpoint: choice(given, "endpoint_type")?.map(|endpoint| match endpoint {
                "publicURL" | "public" => Endpoint::Public,
                "adminURL" | "admin" => Endpoint::Admin,
                _ => Endpoint::Internal,
            }),
            credentials: path("credentials"),
            cloud: text("cloud"),
            config: path("config"),
            map: path("map"),
            domain: given
                .text("domain")
                .or(given.text("compute-domain"))
                .map(|it| it.trim_matches('.').to_owned()),
            power: match choice(given, "power")? {
                Some("yes") => Power::Yes,
                Some("no") => Power::No,
                _ => Power::Auto,
            },
            record: match given.text("record_only") {
                Some(value) if value == "2" || value.eq_ignore_ascii_case("disabled") => Record::Nothing,
                Some(value) if is_yes(value) => Record::Only,
                _ => Record::No,
            },
            evacuates: given.text("instance_filtering").is_none_or(is_yes),
            shared_storage: given.text("no_shared_storage").map(|value| !is_yes(value)),
            separator: text("separator").or(default("separator").map(str::to_owned)).unwrap_or_default(),
            delay: match (seconds(given, "delay", 0)?, action) {
                (delay, Action::Off | Action::Reboot) => delay,
                // Nothing is won by a host that comes back late.
                _ => Duration::ZERO,
            },
            login_timeout: seconds(given, "login_timeout", 1)?,
            power_timeout: seconds(given, "power_timeout", 1)?,
            nova_timeout: seconds(given, "nova_timeout", 1)?,
            on_tries: number(given, "retry_on", 100)?.saturating_add(1),
            verbosity: if given.text("verbose_level").is_some() {
                number(given, "verbose_level", 100)?
            } else {
                given.verbose()
            },
            quiet: given.is_on("quiet"),
            debug_file: path("debug"),
        };
        told.warn(given);
        Ok(told)
    }

    /// The longest time that a call takes by these limits.
    pub fn budget(&self) -> Duration {
        self.delay + self.power_timeout + self.nova_timeout + super::HAND_OVER
    }

    /// What is allowed and should not be.
    fn warn(&self, given: &mut Given) {
        if given.is_exposed() {
            given.warnings.push(
                "the password is on the command line, where every user of this machine can read it: use credentials or password_script".into(),
            );
        } else if matches!(&self.login, Some(Login { password: Password::Here(_), .. })) {
            given.warnings.push(
                "the password is in the cluster's configuration, where every node can read it: put it into a file of mode 0600 and name that as credentials".into(),
            );
        }
        if self.insecure {
            given.warnings.push("insecure: whoever sits between here and Keystone can read the password; name the CA with cacert".into());
        }
    }
}

fn default(key: &str) -> Option<&'static str> {
    table::named(key).and_then(|parameter| parameter.default)
}

/// All of it or none of it.
fn login(given: &Given) -> Result<Option<Login>, ParameterError> {
    let password = match (given.text("passwd_script"), given.text("passwd")) {
        (Some(script), _) => Some(Password::Script(script.into())),
        (None, Some(password)) => Some(Password::Here(Secret::new(password.to_owned()))),
        (None, None) => None,
    };
    let (auth_url, username, project) =
        (given.text("auth_url"), given.text("login"), given.text("tenant_name"));
    let or_default = |key| given.text(key).or(default(key)).unwrap_or_default().to_owned();
    let parts = [
        ("auth_url", auth_url.is_some()),
        ("username", username.is_some()),
        ("password", password.is_some()),
        ("tenant_name", project.is_some()),
    ];
    match (auth_url, username, password, project) {
        (Some(auth_url), Some(username), Some(password), Some(project)) => Ok(Some(Login {
            auth_url: auth_url.to_owned(),
            username: username.to_owned(),
            password,
            project: project.to_owned(),
            user_domain: or_default("user-domain"),
            project_domain: or_default("project-domain"),
        })),
        _ => match (parts.iter().find(|(_, there)| *there), parts.iter().find(|(_, there)| !there)) {
            // A credentials file has the rest.
            (Some(_), Some(_)) if given.text("credentials").is_some() => Ok(None),
            (Some((have, _)), Some((lacks, _))) => Err(ParameterError::Login { have, lacks }),
            _ => Ok(None),
        },
    }
}

/// The word of the list that was given, in the list's own letters.
fn choice(given: &Given, key: &str) -> Result<Option<&'static str>, ParameterError> {
    let Some(Parameter { takes: Takes::One(of), .. }) = table::named(key) else { return Ok(None) };
    let Some(value) = given.text(key) else { return Ok(None) };
    match of.iter().find(|known| known.eq_ignore_ascii_case(value)) {
        Some(known) => Ok(Some(known)),
        None => Err(ParameterError::Choice { name: name(key), value: value.to_owned(), of }),
    }
}

fn number(given: &Given, key: &str, most: u32) -> Result<u32, ParameterError> {
    let value = given.text(key).or(default(key)).unwrap_or("0");
    match value.parse::<u32>() {
        Ok(number) if number <= most => Ok(number),
        _ => Err(ParameterError::Number { name: name(key), value: value.to_owned(), range: " up to 100" }),
    }
}

fn seconds(given: &Given, key: &str, least: u64) -> Result<Duration, ParameterError> {
    let value = given.text(key).or(default(key)).unwrap_or("0");
    match value.parse::<u64>() {
        // For the older agents 0 is no limit at all. There is always one.
        Ok(0) if least > 0 => {
            Ok(Duration::from_secs(default(key).and_then(|it| it.parse().ok()).unwrap_or(least)))
        }
        Ok(number) if number <= LONGEST => Ok(Duration::from_secs(number)),
        _ => Err(ParameterError::Number {
            name: name(key),
            value: value.to_owned(),
            range: " of seconds, 3600 at most",
        }),
    }
}

fn name(key: &str) -> String {
    table::named(key).map_or_else(|| key.to_owned(), Parameter::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Result<Told, ParameterError> {
        Told::new(&mut Given::from_stdin(text))
    }

    fn error(text: &str) -> String {
        told(text).map(|_| ()).unwrap_err().to_string()
    }

    const LOGIN: &str = "auth_url=http://k:5000/v3\nlogin=admin\npasswd=hunter2\ntenant_name=service\n";

    #[test]
    fn a_call_as_existing_clusters_make_it() {
        let mut given = Given::from_stdin(&format!(
            "{LOGIN}nodename=c1\nport=c1\naction=off\ndomain=example.org\nrecord_only=1\nregion_name=r\nno_shared_storage=1\n"
        ));
        let told = Told::new(&mut given).unwrap();
        assert_eq!((told.action, told.plug.as_deref(), told.record), (Action::Off, Some("c1"), Record::Only));
        assert_eq!((told.power, told.shared_storage, told.evacuates), (Power::Auto, Some(false), true));
        let login = told.login.as_ref().unwrap();
        assert_eq!((login.project.as_str(), login.user_domain.as_str()), ("service", "Default"));
        assert_eq!(login.password, Password::Here(Secret::new("hunter2".into())));
        assert_eq!(told.budget(), Duration::from_secs(20 + 10) + super::super::HAND_OVER);
        assert!(given.warnings[0].contains("cluster's configuration"), "{:?}", given.warnings);
        assert!(!format!("{told:?}{given:?}").contains("hunter2"));
    }

    #[test]
    fn what_cannot_be_is_said() {
        assert_eq!(error("action=diag"), "there is no action \"diag\"");
        assert_eq!(error("action=off"), "the action off needs plug, the host that it is about");
        assert!(error("action=off\nport=a b").contains("cannot be a Pacemaker node"));
        assert!(error("action=monitor\npower_timeout=1.5").starts_with("power_timeout is \"1.5\""));
        assert!(error("action=monitor\ndelay=-1").starts_with("delay is \"-1\""));
        assert!(error("action=monitor\npower=maybe").ends_with("must be one of auto, yes, no"));
        assert!(error("action=monitor\nendpoint_type=x").starts_with("endpoint_type is"));
        assert!(error("action=monitor\nauth_url=http://k").contains("name auth_url but not username"));
        // The rest is in the file.
        assert!(told("action=monitor\nauth_url=http://k\ncredentials=/f").is_ok());
    }

    #[test]
    fn without_an_action_it_fences() {
        assert_eq!(told("port=c1").map(|told| told.action).ok(), Some(Action::Off));
        assert_eq!(told("port=c1\naction=disable").map(|told| told.action).ok(), Some(Action::Off));
    }

    #[test]
    fn limits_hold_even_if_they_are_switched_off() {
        let told = told("port=c1\npower_timeout=0\nnova_timeout=0\ndisable_timeout=1").unwrap();
        assert_eq!((told.power_timeout.as_secs(), told.nova_timeout.as_secs()), (20, 10));
    }

    #[test]
    fn a_delay_is_one_before_fencing() {
        let delay =
            |action: &str| told(&format!("port=c1\naction={action}\ndelay=7")).map(|it| it.delay).ok();
        for (action, seconds) in [("off", 7), ("reboot", 7), ("on", 0), ("status", 0), ("monitor", 0)] {
            assert_eq!(delay(action), Some(Duration::from_secs(seconds)), "{action}");
        }
        assert!(error("port=c1\naction=on\ndelay=soon").starts_with("delay is"));
    }

    #[test]
    fn record_only_has_three_values() {
        let record =
            |value: &str| told(&format!("port=c1\nrecord_only={value}")).map(|told| told.record).ok();
        assert_eq!(record("True"), Some(Record::Only));
        assert_eq!(record("2"), Some(Record::Nothing));
        assert_eq!(record("Disabled"), Some(Record::Nothing));
        assert_eq!(record("False"), Some(Record::No));
        assert_eq!(record(""), Some(Record::No));
    }
}
