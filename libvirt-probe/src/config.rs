//! The configuration file: every setting of every probe, each with a default.
//!
//! A table per subject, deserialized straight into the probe's `Settings`. Such a struct derives `Deserialize` with
//! `#[serde(default, deny_unknown_fields)]`; its time spans are read by [`span`].

pub mod span;

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use strsim::damerau_levenshtein;

use crate::verdict::{Rules, Subject};

/// Where the file is looked for unless another one is named. It need not exist.
pub const DEFAULT_FILE: &str = "/etc/pcmk-remote/probes.toml";
/// Largest file.
const LARGEST: u64 = 1 << 20;
/// A name this many slips away is taken for the one that was meant.
const SLIPS: usize = 3;

/// The settings of all probes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What `all` stands for.
    pub subjects: Vec<Subject>,
    /// When a failure is believed.
    pub verdict: Rules,
    /// The probe of libvirt.
    pub libvirt: crate::libvirt::Settings,
    /// The probe of nova-compute.
    #[serde(rename = "nova-compute")]
    pub nova_compute: crate::nova_compute::Settings,
    /// The probe of other services.
    pub services: crate::services::Settings,
    /// The probe of the host.
    pub host: crate::host::Settings,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named is not there.
    #[error("{0} is missing: create it, or do without --config")]
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

impl Default for Config {
    fn default() -> Self {
        Self {
            subjects: Subject::ALL.to_vec(),
            verdict: Rules::default(),
            libvirt: crate::libvirt::Settings::default(),
            nova_compute: crate::nova_compute::Settings::default(),
            services: crate::services::Settings::default(),
            host: crate::host::Settings::default(),
        }
    }
}

impl Config {
    /// Reads the file that was named, else the usual one; without that one everything has its default. Blocks
    /// while the disk does.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_FILE));
        let io = |source| ConfigError::Io { path: path.to_owned(), source };
        // Opening a pipe must not wait for its writer.
        let file = match OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match named {
                    Some(path) => Err(ConfigError::Missing(path.to_owned())),
                    None => Ok(Self::default()),
                };
            }
            opened => opened.map_err(io)?,
        };
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(ConfigError::NotAFile(path.to_owned()));
        }
        // Root runs the probes and writes where the file says.
        let owner = metadata.uid();
        if metadata.mode() & 0o022 != 0 || ![0, nix::unistd::geteuid().as_raw()].contains(&owner) {
            return Err(ConfigError::Unsafe(path.to_owned()));
        }
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > LARGEST {
            return Err(ConfigError::TooLarge(path.to_owned()));
        }
        let text = String::from_utf8(bytes).map_err(|_| ConfigError::NotText(path.to_owned()))?;
        Self::parse(&text).map_err(|error| ConfigError::Wrong { path: path.to_owned(), error })
    }

    /// Reads a configuration.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1);
            let message = error.message().lines().collect::<Vec<_>>().join(" ");
            SyntaxError { line, message: unknown(&message).unwrap_or(message) }
        })
    }
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
    fn without_a_file_everything_has_its_default() {
        for text in ["", "# nothing\n", "[verdict]\n"] {
            assert_eq!(Config::parse(text), Ok(Config::default()));
        }
        assert_eq!(Config::parse("[verdict]\nfailures = 3\n").unwrap().verdict, Rules { failures: 3 });
    }

    #[test]
    fn what_does_not_exist_is_told_with_what_was_meant() {
        assert_eq!(
            wrong("\n[verdict]\nfailure = 3\n"),
            "line 3: there is no setting `failure`, did you mean `failures`?"
        );
        assert!(wrong("[verdict]\nspeed = 3\n").ends_with("`speed`; there are: failures"));
        assert!(wrong("[verdicts]\n").contains("did you mean `verdict`?"));
        assert_eq!(wrong("[verdict]\nfailures = 0\n"), "line 2: failures is 0 and must be at least 1");
    }

    #[test]
    fn files_that_cannot_be_trusted_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("probes.toml");
        let load = || Config::load(Some(&path));
        assert!(load().unwrap_err().to_string().ends_with("is missing: create it, or do without --config"));
        fs::write(&path, "[verdict]\nfailures = 5\n").unwrap();
        for (mode, fine) in [(0o644, true), (0o600, true), (0o664, false), (0o646, false)] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(load().is_ok(), fine, "{mode:o}");
        }
        set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(load().unwrap().verdict.failures, 5);
        fs::write(&path, "\n\nx\n").unwrap();
        assert!(load().unwrap_err().to_string().starts_with(&format!("{}: line 3: ", path.display())));
        fs::write(&path, [0xff]).unwrap();
        assert!(matches!(load(), Err(ConfigError::NotText(_))));
        fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(matches!(load(), Err(ConfigError::TooLarge(_))));
        assert!(matches!(Config::load(Some(dir.path())), Err(ConfigError::NotAFile(_))));
    }
}
