//! What systemd says about units, and how it names them.

use std::time::Duration;

use serde::Serialize;
use zbus::{Message, OwnedObjectPath};

use super::Error;

const UNIT_PATH: &str = "/org/freedesktop/systemd1/unit/";

/// Whether systemd has a unit's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// It has.
    Loaded,
    /// There is none.
    NotFound,
    /// It is not to be started by anybody.
    Masked,
    /// There is something wrong with it.
    Broken,
}

/// What a unit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Active {
    /// It runs, also while it reloads.
    Active,
    /// It does not run.
    Inactive,
    /// It does not run because it came to a bad end.
    Failed,
    /// It is being started, or waits for its next start after a bad end.
    Activating,
    /// It is being stopped.
    Deactivating,
    /// Something that this version does not know.
    Other,
}

impl Active {
    /// In systemd's words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
            Self::Activating => "activating",
            Self::Deactivating => "deactivating",
            Self::Other => "other",
        }
    }
}

/// How a unit is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// Whether there is a file.
    pub load: Load,
    /// What it does.
    pub active: Active,
    /// In more detail and in systemd's words, such as `auto-restart`.
    pub sub: String,
    /// The job that is queued or done for it.
    pub job: Option<String>,
    /// Its object on the bus.
    pub path: OwnedObjectPath,
}

/// More about a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its main process.
    pub main_pid: Option<u32>,
    /// How often systemd has started it again since somebody did.
    pub restarts: u32,
    /// Its control group, below `/sys/fs/cgroup`.
    pub group: Option<String>,
    /// How it ended, in systemd's words; `success` if it has not or has well.
    pub result: String,
    /// When it became active last, since boot.
    pub active_since: Option<Duration>,
}

/// An installed unit that is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Whether it is enabled itself. If not, it runs when something else wants it.
    pub enabled: bool,
}

/// A unit's full name: a service unless something else is said.
pub fn full_name(name: &str) -> String {
    const KINDS: [&str; 11] = [
        ".service",
        ".socket",
        ".target",
        ".timer",
        ".path",
        ".mount",
        ".automount",
        ".device",
        ".swap",
        ".slice",
        ".scope",
    ];
    if KINDS.iter().any(|kind| name.ends_with(kind)) { name.to_owned() } else { format!("{name}.service") }
}

type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// Reads the answer to `ListUnitsByNames`.
pub(super) fn listed(reply: &Message) -> Result<Vec<Unit>, Error> {
    let listed: Vec<Listed> = reply.body().deserialize().map_err(|error| Error::Odd(error.to_string()))?;
    Ok(listed.into_iter().map(unit).collect())
}

fn unit((name, _, load, active, sub, _, path, job, job_type, _): Listed) -> Unit {
    let load = match load.as_str() {
        "loaded" | "merged" => Load::Loaded,
        "not-found" => Load::NotFound,
        "masked" => Load::Masked,
        _ => Load::Broken,
    };
    let active = match active.as_str() {
        "active" | "reloading" | "refreshing" => Active::Active,
        "inactive" => Active::Inactive,
        "failed" => Active::Failed,
        "activating" => Active::Activating,
        "deactivating" => Active::Deactivating,
        _ => Active::Other,
    };
    Unit { name, load, active, sub, job: (job != 0).then_some(job_type), path }
}

/// Reads the answer to `ListUnitFilesByPatterns`.
pub(super) fn files(reply: &Message) -> Result<Vec<Installed>, Error> {
    let files: Vec<(String, String)> =
        reply.body().deserialize().map_err(|error| Error::Odd(error.to_string()))?;
    Ok(files.into_iter().filter_map(|(file, state)| installed(&file, &state)).collect())
}

fn installed(file: &str, state: &str) -> Option<Installed> {
    let name = file.rsplit('/').next()?.to_owned();
    // A template runs under other names only.
    if name.contains("@.") {
        return None;
    }
    match state {
        "enabled" | "enabled-runtime" => Some(Installed { name, enabled: true }),
        "indirect" | "static" | "generated" | "linked" | "linked-runtime" => {
            Some(Installed { name, enabled: false })
        }
        _ => None,
    }
}

/// A unit's object on the bus: its name with everything but letters and digits as `_` and two hex digits.
pub(super) fn path_of(unit: &str) -> String {
    let mut path = UNIT_PATH.to_owned();
    for (index, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()) {
            path.push(byte.into());
        } else {
            let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
            path.extend(['_', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    path
}

/// The unit that an object is for.
pub(super) fn name_of(path: &str) -> Option<String> {
    let mut bytes = path.strip_prefix(UNIT_PATH)?.bytes();
    let mut name = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'_' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            name.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            name.push(byte);
        }
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn objects_are_named_as_systemd_does() {
        let path = path_of("neutron-l3@1.service");
        assert_eq!(path, "/org/freedesktop/systemd1/unit/neutron_2dl3_401_2eservice");
        assert_eq!(path_of("1.service"), "/org/freedesktop/systemd1/unit/_31_2eservice");
    }

    #[test]
    fn what_is_to_run() {
        let enabled = |file, state| installed(file, state).map(|unit| (unit.name, unit.enabled));
        assert_eq!(enabled("/lib/systemd/system/a.service", "enabled"), Some(("a.service".into(), true)));
        assert_eq!(enabled("a.service", "indirect"), Some(("a.service".into(), false)));
        assert_eq!(enabled("a@.service", "enabled"), None);
        for state in ["disabled", "masked", "bad", "alias", ""] {
            assert_eq!(enabled("a.service", state), None);
        }
    }

    #[test]
    fn names_are_completed() {
        assert_eq!(full_name("nova-compute"), "nova-compute.service");
        assert_eq!(full_name("a.b"), "a.b.service");
        assert_eq!(full_name("virtlogd.socket"), "virtlogd.socket");
    }

    proptest! {
        #[test]
        fn every_name_is_found_again(name in "[ -~]{1,40}") {
            prop_assert_eq!(name_of(&path_of(&name)), Some(name));
        }

        #[test]
        fn nothing_panics(path in "(/org/freedesktop/systemd1/unit/)?[ -~_]{0,40}") {
            name_of(&path);
        }
    }
}
