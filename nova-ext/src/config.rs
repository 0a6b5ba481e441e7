//! `/etc/pcmk-remote/nova-ha.toml`: where everything is, and how hosts are called.
//!
//! Every setting has a default; without the file all of them hold.

mod known;
mod names;
pub mod span;

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use strsim::damerau_levenshtein;

use crate::cloud::{Environment, Settings, SettingsError, Source};
use crate::ids::{HostName, NodeName};
use crate::proof::watchdog::Watchdog;
pub use known::{known_hosts, remember_hosts};
pub use names::{NameError, Names};

/// Where the file is looked for unless another one is named. It need not exist.
pub const DEFAULT_FILE: &str = "/etc/pcmk-remote/nova-ha.toml";
/// Largest file.
const LARGEST: u64 = 1 << 20;
/// Longest wait for a host's message, in seconds.
const LONGEST_WAIT: u64 = 3600;
/// A name this many slips away is taken for the one that was meant.
const SLIPS: usize = 3;

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the cloud's credentials are: one of `file`, `clouds`, `conf`; without it the usual places.
    pub cloud: Option<Source>,
    /// Where files are.
    pub files: Files,
    /// How hosts are fenced.
    pub fence: Fence,
    /// What is run around a recovery.
    pub hooks: Hooks,
    /// How a host returns to service.
    #[serde(rename = "return")]
    pub comeback: Comeback,
    /// The engine.
    pub engine: Engine,
    /// What Nova's own services tell it.
    pub events: Events,
    /// Hosts whose names do not follow from each other.
    #[serde(rename = "host")]
    pub hosts: Vec<Host>,
}

/// `[files]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// The power device of each host; mode 0600.
    pub map: PathBuf,
    /// What is evacuated, and in which order.
    pub policy: PathBuf,
    /// The key under which proofs are signed, the same on all controllers; mode 0600.
    pub key: PathBuf,
    /// Requests, proofs, journal: what must outlive a process.
    pub state: PathBuf,
}

/// `[fence]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fence {
    /// Whether the proof of another device survives that the host is switched on again at once, as by a cluster that
    /// reboots. Only where nothing but Pacemaker starts nova-compute.
    pub reboot_counts: bool,
    /// So long a host's message that its crash kernel runs is waited for before its power is switched off; not at all if 0.
    /// Only for hosts whose entry in the map has kdump addresses.
    pub kdump_wait_seconds: u64,
    /// The hosts' watchdogs, if their resetting a host counts where nothing else shows that it is off.
    pub watchdog: Option<Watchdog>,
}

/// `[hooks]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hooks {
    /// Where the executables are, one folder per point.
    pub folder: PathBuf,
    /// For one of them to run.
    #[serde(with = "span")]
    pub limit: Duration,
}

/// `[return]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Comeback {
    /// Whether hosts return without being asked to.
    pub automatic: bool,
    /// Hosts that return at the same time.
    pub at_once: u32,
    /// For nova-compute to settle its evacuation migrations, and then to be up.
    #[serde(with = "span")]
    pub patience: Duration,
    /// A program that must succeed before the host is enabled: it gets the host's names in its environment.
    pub canary: Option<PathBuf>,
    /// A node attribute that must have one of [`Comeback::healthy`] before the host is enabled.
    pub attribute: Option<String>,
    /// Values of that attribute that are well.
    pub healthy: Vec<String>,
    /// For the canary.
    #[serde(with = "span")]
    pub canary_limit: Duration,
}

/// `[engine]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// Where metrics are served; nowhere if not said.
    pub metrics: Option<SocketAddr>,
}

/// `[events]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// Where services of Nova on this controller connect; nowhere if not said.
    pub socket: Option<PathBuf>,
    /// Users whose processes may, beside root.
    pub users: Vec<String>,
    /// Where those of other machines connect, with TLS; nowhere if not said.
    pub listen: Option<SocketAddr>,
    /// Our certificate, for these.
    pub certificate: Option<PathBuf>,
    /// Its key; mode 0600.
    pub key: Option<PathBuf>,
    /// The authority of their certificates.
    pub ca: Option<PathBuf>,
}

/// `[[host]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its name in Nova.
    pub nova: HostName,
    /// Its node in the cluster.
    pub node: NodeName,
    /// Its name in the map of power devices, if it is another one.
    pub power: Option<String>,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            map: "/etc/pcmk-remote/power.toml".into(),
            policy: "/etc/pcmk-remote/nova-policy.toml".into(),
            key: "/etc/pcmk-remote/nova-ha.key".into(),
            state: "/var/lib/pcmk-remote/nova-ha".into(),
        }
    }
}

impl Files {
    /// Requests that the engine has not finished.
    pub fn queue(&self) -> PathBuf {
        self.state.join("queue")
    }

    /// The proofs that hold.
    pub fn proofs(&self) -> PathBuf {
        self.state.join("proofs")
    }

    /// What stops the engine from beginning anything.
    pub fn frozen(&self) -> PathBuf {
        self.state.join("frozen")
    }

    /// What is in maintenance, one file each.
    pub fn maintenance(&self) -> PathBuf {
        self.state.join("maintenance")
    }

    /// Hosts that need not wait although too many are down, one file each.
    pub fn go_ahead(&self) -> PathBuf {
        self.state.join("go-ahead")
    }

    /// Where the engine says how it is.
    pub fn socket(&self) -> PathBuf {
        self.state.join("engine.sock")
    }

    /// Names that Nova had when it last answered.
    pub fn known_hosts(&self) -> PathBuf {
        self.state.join("hosts")
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self { folder: "/etc/pcmk-remote/nova-ha.d".into(), limit: Duration::from_secs(10) }
    }
}

impl Default for Events {
    fn default() -> Self {
        let users = vec!["nova".to_owned()];
        Self { socket: None, users, listen: None, certificate: None, key: None, ca: None }
    }
}

impl Default for Comeback {
    fn default() -> Self {
        Self {
            automatic: true,
            at_once: 2,
            patience: Duration::from_secs(600),
            canary: None,
            attribute: None,
            healthy: vec!["ok".into()],
            canary_limit: Duration::from_secs(60),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named is not there.
    #[error("{0} is missing: create it, or do not name it")]
    Missing(PathBuf),
    /// The system says so.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder, a device, a pipe.
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    /// Others than root and the user who reads it may change it.
    #[error("{0} can be changed by others: chown root {0}; chmod 644 {0}")]
    Unsafe(PathBuf),
    /// Too large.
    #[error("{0} is larger than {LARGEST} bytes")]
    TooLarge(PathBuf),
    /// It is no text.
    #[error("{0} is not UTF-8 text")]
    NotText(PathBuf),
    /// It says something that cannot be.
    #[error("{path}: {error}")]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: SyntaxError,
    },
}

/// Text that is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct SyntaxError {
    /// Where, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl Config {
    /// Reads the file that was named, else the usual one; without that one everything has its default.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        match read(path) {
            Err(ConfigError::Missing(_)) if named.is_none() => Ok(Self::default()),
            read => Self::parse(&read?).map_err(|error| ConfigError::Wrong { path: path.to_owned(), error }),
        }
    }

    /// The cloud's settings, from where the configuration says, else from the usual places.
    pub fn cloud_settings(&self) -> Result<Settings, SettingsError> {
        let environment = Environment::of_this_process();
        match &self.cloud {
            Some(source) => Settings::load(source, &environment),
            None => Settings::discover(&environment),
        }
    }

    /// Reads a configuration.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let config: Self = toml::from_str(text).map_err(|error| syntax(text, &error))?;
        let wrong = |what: &str, message: String| SyntaxError { line: line_of(text, what), message };
        if config.comeback.at_once == 0 {
            return Err(wrong("at_once", "at_once is 0: no host could ever return".into()));
        }
        if config.fence.kdump_wait_seconds > LONGEST_WAIT {
            let why = format!("kdump_wait_seconds is more than {LONGEST_WAIT}");
            return Err(wrong("kdump_wait_seconds", why));
        }
        if let Some(error) = config.fence.watchdog.and_then(|watchdog| watchdog.due().err()) {
            let line = if text.contains("[fence.watchdog]") { "[fence.watchdog]" } else { "watchdog" };
            return Err(wrong(line, error.to_string()));
        }
        if config.events.listen.is_some() {
            let Events { certificate, key, ca, .. } = &config.events;
            if certificate.is_none() || key.is_none() || ca.is_none() {
                let why = "listen needs certificate, key and ca: anybody could connect".into();
                return Err(wrong("listen", why));
            }
        }
        for (name, path) in [
            ("map", &config.files.map),
            ("policy", &config.files.policy),
            ("key", &config.files.key),
            ("state", &config.files.state),
            ("folder", &config.hooks.folder),
        ] {
            if !path.is_absolute() {
                return Err(wrong(name, format!("{name} is {} and must begin with /", path.display())));
            }
        }
        Names::new(&config.hosts).map_err(|error| wrong("[[host]]", error.to_string()))?;
        Ok(config)
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> SyntaxError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1);
    let message = error.message().lines().collect::<Vec<_>>().join(" ");
    SyntaxError { line, message: unknown(&message).unwrap_or(message) }
}

/// The first line that begins so.
fn line_of(text: &str, what: &str) -> usize {
    text.lines().position(|line| line.trim_start().starts_with(what)).map_or(1, |line| line.saturating_add(1))
}

/// A text file that nobody else can change.
pub(crate) fn read(path: &Path) -> Result<String, ConfigError> {
    let io = |source| ConfigError::Io { path: path.to_owned(), source };
    // Opening a pipe must not wait for its writer.
    let file = match OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ConfigError::Missing(path.to_owned()));
        }
        opened => opened.map_err(io)?,
    };
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(ConfigError::NotAFile(path.to_owned()));
    }
    // Root writes and runs what the file names.
    let owner = metadata.uid();
    if metadata.mode() & 0o022 != 0 || ![0, nix::unistd::geteuid().as_raw()].contains(&owner) {
        return Err(ConfigError::Unsafe(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > LARGEST {
        return Err(ConfigError::TooLarge(path.to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| ConfigError::NotText(path.to_owned()))
}

/// A better text for a name that does not exist; from serde's, which quotes that name and all that do.
fn unknown(message: &str) -> Option<String> {
    let mut names = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    let known: Vec<_> = names.collect();
    let plain = |name: &str| name.replace('-', "_");
    let slips = |name: &&str| damerau_levenshtein(&plain(name), &plain(unknown));
    let meant = known.iter().copied().min_by_key(slips).filter(|name| slips(name) <= SLIPS);
    Some(match meant {
        Some(meant) => format!("there is no setting `{unknown}`, did you mean `{meant}`?"),
        None => format!("there is no setting `{unknown}`; there are: {}", known.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn wrong(text: &str) -> String {
        Config::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn without_settings_everything_has_its_default() {
        assert_eq!(Config::parse(""), Ok(Config::default()));
        assert_eq!(Config::parse("[return]\n"), Ok(Config::default()));
        let cloud = |text: &str| Config::parse(text).unwrap().cloud;
        assert_eq!(cloud("[cloud]\nfile = \"/a\"\n"), Some(Source::File("/a".into())));
        assert_eq!(
            cloud("[cloud.clouds]\ncloud = \"prod\"\n"),
            Some(Source::Clouds { file: None, cloud: Some("prod".into()) })
        );
        let config = Config::parse(
            "[return]\nat_once = 4\npatience = \"5m\"\n[engine]\nmetrics = \"127.0.0.1:9470\"\n\
             [[host]]\nnova = \"c1.example.org\"\nnode = \"c1\"\n",
        )
        .unwrap();
        assert_eq!((config.comeback.at_once, config.comeback.patience.as_secs()), (4, 300));
        assert_eq!(config.hosts[0].node.as_str(), "c1");
    }

    #[test]
    fn what_cannot_be_is_told_with_its_line() {
        assert_eq!(
            wrong("\n[files]\nstat = \"/x\"\n"),
            "line 3: there is no setting `stat`, did you mean `state`?"
        );
        assert_eq!(wrong("[return]\nat_once = 0\n"), "line 2: at_once is 0: no host could ever return");
        assert_eq!(
            wrong("[files]\nmap = \"power.toml\"\n"),
            "line 2: map is power.toml and must begin with /"
        );
        assert_eq!(
            wrong("[fence]\nkdump_wait_seconds = 3601\n"),
            "line 2: kdump_wait_seconds is more than 3600"
        );
        let short = wrong("[fence]\n[fence.watchdog]\ntimeout_secs = 5\n");
        assert!(
            short.starts_with("line 2: a watchdog of 5 s and a margin of 5 s") && short.contains("15 s"),
            "{short}"
        );
        let none = wrong("[fence]\nwatchdog = { timeout_secs = 0, margin_secs = 30 }\n");
        assert!(none.starts_with("line 2: a watchdog's timeout is at least 1 s"), "{none}");
        let seldom =
            wrong("[fence.watchdog]\ntimeout_secs = 5\nmargin_secs = 10\nreport_interval_secs = 60\n");
        assert!(seldom.starts_with("line 1: a watchdog of 5 s") && seldom.contains("65 s"), "{seldom}");
        assert!(wrong("[cloud]\nfiles = \"/a\"\n").contains("unknown variant `files`"));
        assert!(wrong("[[host]]\nnova = \"a b\"\nnode = \"c\"\n").contains("cannot be a Nova host"));
        let twice = "[[host]]\nnova = \"a\"\nnode = \"x\"\n[[host]]\nnova = \"b\"\nnode = \"x\"\n";
        assert!(wrong(twice).contains("node x stands for both a and b"), "{}", wrong(twice));
    }

    #[test]
    fn files_that_cannot_be_trusted_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nova-ha.toml");
        let load = || Config::load(Some(&path));
        assert!(matches!(load(), Err(ConfigError::Missing(_))));
        fs::write(&path, "[return]\nat_once = 5\n").unwrap();
        for (mode, fine) in [(0o644, true), (0o600, true), (0o664, false), (0o646, false)] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(load().is_ok(), fine, "{mode:o}");
        }
        set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, "\n\nx\n").unwrap();
        assert!(load().unwrap_err().to_string().starts_with(&format!("{}: line 3: ", path.display())));
        fs::write(&path, [0xff]).unwrap();
        assert!(matches!(load(), Err(ConfigError::NotText(_))));
        fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(matches!(load(), Err(ConfigError::TooLarge(_))));
        assert!(matches!(Config::load(Some(dir.path())), Err(ConfigError::NotAFile(_))));
    }
}
