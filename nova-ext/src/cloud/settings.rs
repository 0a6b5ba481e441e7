//! Where the cloud is, who we are there, and how both sides prove it.
//!
//! Every source becomes a set of named fields first; one function makes settings of them. So all sources know the
//! same fields, and all say in the same way what is missing and where.

mod clouds;
mod environment;
mod fields;
mod file;
mod oslo;
mod text;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};

pub use self::environment::Environment;
use super::microversion::Microversion;
use crate::secret::{Secret, SecretError};

/// The file that is looked for when nothing else is said.
pub const FILE: &str = "/etc/pcmk-remote/cloud.toml";

/// Where settings come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// A TOML file of our own, mode 0600.
    File(PathBuf),
    /// `clouds.yaml` (and `secure.yaml` beside it).
    Clouds {
        /// The file; without it the usual places.
        file: Option<PathBuf>,
        /// The cloud in it; without it `OS_CLOUD`, or the only one.
        cloud: Option<String>,
    },
    /// The variables `OS_*`.
    Environment,
    /// A section of a configuration file as OpenStack's services have it.
    Conf {
        /// The file, as `/etc/nova/nova.conf`.
        file: PathBuf,
        /// The section, as `service_user`.
        section: String,
    },
}

impl Source {
    /// The source that a file is by its name: `*.yaml` is a `clouds.yaml` and `name` a cloud in it, `*.conf` a
    /// service's configuration and `name` a section of it (without one `service_user`), else it is our own.
    pub fn of_file(path: &Path, name: Option<&str>) -> Self {
        let (file, name) = (path.to_owned(), name.map(str::to_owned));
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => Self::Clouds { file: Some(file), cloud: name },
            Some("conf") => Self::Conf { file, section: name.unwrap_or_else(|| "service_user".into()) },
            _ => Self::File(file),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clouds { file: Some(path), cloud: Some(cloud) } => {
                write!(f, "cloud {cloud:?} of {}", path.display())
            }
            Self::File(path) | Self::Clouds { file: Some(path), .. } => write!(f, "{}", path.display()),
            Self::Clouds { cloud: Some(cloud), .. } => write!(f, "cloud {cloud:?} of clouds.yaml"),
            Self::Clouds { .. } => f.write_str("clouds.yaml"),
            Self::Environment => f.write_str("the environment (OS_*)"),
            Self::Conf { file, section } => write!(f, "[{section}] of {}", file.display()),
        }
    }
}

/// Why there are no usable settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Nothing says where the cloud is.
    #[error(
        "no credentials for the cloud: neither {FILE} nor OS_CLOUD, OS_AUTH_URL or a clouds.yaml (looked for in {0})"
    )]
    Nowhere(String),
    /// A file cannot be read.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Read(PathBuf, #[source] io::Error),
    /// A file of secrets is open to others.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file holds a secret and anybody can read it.
    #[error(
        "{path} holds a secret and everybody can read it: chmod o-rwx {path}, or move the secret to secure.yaml \
         beside it", path = .0.display()
    )]
    Public(PathBuf),
    /// A file is not what it should be.
    #[error("{source_of}: {why}")]
    Syntax {
        /// The file, or part of it.
        source_of: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something is missing.
    #[error("{source_of}: {what} is missing")]
    Missing {
        /// Where it should be.
        source_of: String,
        /// Its name there.
        what: String,
    },
    /// Something has a value that cannot be.
    #[error("{source_of}: {what}: {why}")]
    Bad {
        /// Where it is.
        source_of: String,
        /// Its name there.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate or key cannot be used.
    #[error("{path}: {why}", path = .0.display(), why = .1)]
    Certificate(PathBuf, String),
    /// Encrypted connections cannot be made.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// A user, a project or the like: by id, or by name with its domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// By id.
    Id(String),
    /// By name.
    Name {
        /// Its name.
        name: String,
        /// Where the name holds.
        domain: Domain,
    },
}

/// A domain of Keystone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// By id.
    Id(String),
    /// By name.
    Name(String),
}

/// How we log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// A user with a password, for one project.
    Password {
        /// Who.
        user: Named,
        /// The password.
        password: Secret,
        /// For which project.
        project: Named,
    },
    /// An application credential; it knows its project.
    ApplicationCredential {
        /// By id, or by name and user.
        credential: Credential,
        /// Its secret.
        secret: Secret,
    },
}

/// Which application credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// By id.
    Id(String),
    /// By name, which holds for one user.
    Name {
        /// Its name.
        name: String,
        /// Whose it is.
        user: Named,
    },
}

/// Which of a service's endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// For everybody.
    Public,
    /// For the cloud's own services.
    Internal,
    /// For operators.
    Admin,
}

impl Interface {
    /// As the catalog writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().trim_end_matches("URL") {
            "public" => Ok(Self::Public),
            "internal" => Ok(Self::Internal),
            "admin" => Ok(Self::Admin),
            other => {
                let other: String = other.chars().take(32).collect();
                Err(format!("{other:?} is no interface: public, internal or admin"))
            }
        }
    }
}

/// Certificates, theirs and ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The authorities that are trusted, instead of the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate.
    pub certificate: Option<PathBuf>,
    /// Its key; without it the key is in the certificate's file.
    pub key: Option<PathBuf>,
    /// Nobody's certificate is looked at.
    pub insecure: bool,
}

/// Endpoints that are used whatever the catalog says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// Nova.
    pub compute: Option<Url>,
    /// Placement.
    pub placement: Option<Url>,
    /// Glance.
    pub image: Option<Url>,
}

/// How long is waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a connection, with its TLS handshake.
    pub connect: Duration,
    /// For one answer.
    pub request: Duration,
    /// For a call with all its attempts.
    pub call: Duration,
    /// For a list with all its pages.
    pub list: Duration,
    /// Attempts of a call that can be repeated.
    pub attempts: u32,
    /// Pause before the second attempt; each further one is twice as long.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(30),
            call: Duration::from_secs(60),
            list: Duration::from_secs(300),
            attempts: 5,
            pause: Duration::from_millis(250),
        }
    }
}

/// Everything that is needed to talk to a cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where these come from, for messages.
    pub origin: String,
    /// Keystone.
    pub auth_url: Url,
    /// How we log in.
    pub auth: Auth,
    /// The region whose services are used; without it the first of the catalog.
    pub region: Option<String>,
    /// Which endpoints, the best first.
    pub interfaces: Vec<Interface>,
    /// Certificates.
    pub tls: Tls,
    /// Endpoints that are used whatever the catalog says.
    pub endpoints: Endpoints,
    /// How long is waited.
    pub limits: Limits,
    /// Whether `http_proxy` and its kin in the environment count.
    pub proxy: bool,
    /// The highest microversion of Nova that is used; without it the newest that both sides know.
    pub microversion: Option<Microversion>,
}

impl Settings {
    /// A user with a password; everything else as it is usual.
    pub fn password(auth_url: Url, user: Named, password: Secret, project: Named) -> Self {
        Self::new("these settings".into(), auth_url, Auth::Password { user, password, project })
    }

    pub(super) fn new(origin: String, auth_url: Url, auth: Auth) -> Self {
        Self {
            origin,
            auth_url,
            auth,
            region: None,
            interfaces: vec![Interface::Public],
            tls: Tls::default(),
            endpoints: Endpoints::default(),
            limits: Limits::default(),
            proxy: false,
            microversion: None,
        }
    }

    /// Reads one source.
    pub fn load(source: &Source, environment: &Environment) -> Result<Self, SettingsError> {
        match source {
            Source::File(path) => file::read(path),
            Source::Clouds { file, cloud } => clouds::read(file.as_deref(), cloud.as_deref(), environment),
            Source::Environment => environment::read(environment),
            Source::Conf { file, section } => oslo::read(file, section),
        }
    }

    /// The first of: our own file in its usual place, the environment with `OS_CLOUD` or `OS_AUTH_URL`, a
    /// `clouds.yaml` in a usual place.
    pub fn discover(environment: &Environment) -> Result<Self, SettingsError> {
        Self::discover_beside(Path::new(FILE), environment)
    }

    fn discover_beside(own: &Path, environment: &Environment) -> Result<Self, SettingsError> {
        let source = if own.exists() {
            Source::File(own.to_owned())
        } else if environment.get("OS_CLOUD").is_none() && environment.get("OS_AUTH_URL").is_some() {
            Source::Environment
        } else {
            Source::Clouds { file: None, cloud: None }
        };
        Self::load(&source, environment)
    }

    /// What an operator should know about these settings.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.tls.insecure {
            let text =
                "insecure: nobody's certificate is checked, so that anybody on the way can read the password";
            warnings.push(format!("{}: {text}", self.origin));
        }
        if self.auth_url.scheme() == "http" && !is_loopback(&self.auth_url) {
            warnings.push(format!(
                "{}: the password goes to {} unencrypted: use https if the cloud has it",
                self.origin, self.auth_url
            ));
        }
        warnings
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| host == "localhost" || host.starts_with("127.") || host == "[::1]")
}

#[cfg(test)]
mod tests;
