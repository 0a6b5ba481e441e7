//! Which engine this resource keeps: found also when its configuration, its files or its socket are gone.
//!
//! What is not found must not be taken for stopped: two engines would recover the same hosts.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Files};
use crate::serve::{self, Health};

/// Where it is written down which engine was started, unless the cluster names another folder for such things.
const RECORDS: &str = "/run/pcmk-remote";
const RECORDS_VARIABLE: &str = "HA_RSCTMP";
/// For the engine's socket to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What outlives a configuration that cannot be read any more: which engine was started, and where its state is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    pid: i32,
    state: PathBuf,
}

/// What is known of the resource.
pub(super) struct Resource {
    /// The configuration that it names.
    path: Option<PathBuf>,
    /// Its state folder, if the configuration can be read.
    configured: Option<PathBuf>,
    record: Option<Record>,
    record_file: PathBuf,
}

/// The engines of the resource.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) pids: BTreeSet<i32>,
    /// Why there may be one although none was found.
    pub(super) doubt: Option<String>,
}

impl Resource {
    /// Whose configuration has this path; `config` if it can be read.
    pub(super) fn new(path: Option<&str>, config: Option<&Config>) -> Self {
        let record_file = record_file();
        let record = read(&record_file);
        Self {
            path: path.map(PathBuf::from),
            configured: config.map(|config| config.files.state.clone()),
            record,
            record_file,
        }
    }

    /// How the engine says that it is; none if nobody knows where to ask.
    pub(super) async fn health(&self) -> Option<io::Result<Health>> {
        let recorded = self.record.as_ref().filter(|record| engine(record.pid).is_some());
        let state = recorded.map(|record| &record.state).or(self.states().next())?;
        Some(ask(state).await)
    }

    /// The engines of this resource: by what was written down, by their command line, by the socket.
    pub(super) async fn find(&self) -> Found {
        let written = self.states().filter_map(|state| {
            fs::read_to_string(pid_file(state)).ok()?.trim().parse().ok().filter(|pid: &i32| *pid > 1)
        });
        let written = written.chain(self.record.as_ref().map(|record| record.pid));
        let mut pids: BTreeSet<i32> = written.filter(|pid| engine(*pid).is_some()).collect();
        let all = match engines() {
            Ok(all) => all,
            Err(error) => return Found { pids, doubt: Some(format!("/proc: {error}")) },
        };
        pids.extend(all.iter().filter(|(_, engine)| engine.config == self.path).map(|(pid, _)| *pid));
        if !pids.is_empty() {
            return Found { pids, doubt: None };
        }
        for state in self.states() {
            let socket = Files { state: state.clone(), ..Files::default() }.socket();
            match ask(state).await {
                Ok(health) => {
                    let Some(pid) = i32::try_from(health.pid).ok().filter(|pid| engine(*pid).is_some())
                    else {
                        let why = format!("{} answers for process {}", socket.display(), health.pid);
                        return Found { pids, doubt: Some(why) };
                    };
                    pids.insert(pid);
                }
                // Nobody listens there.
                Err(error) if is_nobody(&error) => {}
                Err(error) => {
                    return Found { pids, doubt: Some(format!("{}: {error}", socket.display())) };
                }
            }
        }
        // Without the state folder's name, one that runs may be ours.
        let unknown = self.states().next().is_none() && pids.is_empty();
        let others = self.of_others();
        let doubt = all
            .iter()
            .find(|(pid, _)| unknown && !others.contains(pid))
            .map(|(pid, _)| format!("the configuration cannot be read, and process {pid} is an engine"));
        Found { pids, doubt }
    }

    /// The engines of other resources.
    fn of_others(&self) -> BTreeSet<i32> {
        let Some(Ok(files)) = self.record_file.parent().map(fs::read_dir) else { return BTreeSet::new() };
        let files = files.filter_map(|file| Some(file.ok()?.path()));
        let named = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"nova-evacuate-"))
        };
        let files = files.filter(|path| *path != self.record_file && named(path));
        files.filter_map(|path| read(&path)).map(|record| record.pid).collect()
    }

    /// Writes down which engine was started.
    pub(super) fn remember(&self, pid: i32, state: &Path) -> io::Result<()> {
        if let Some(folder) = self.record_file.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        }
        let record = Record { pid, state: state.to_owned() };
        fs::write(&self.record_file, serde_json::to_vec(&record)?)
    }

    /// No engine of this resource runs any more.
    pub(super) fn forget(&self) {
        for file in self.states().map(|state| pid_file(state)).chain([self.record_file.clone()]) {
            // One that stays names a process that is gone.
            let _ = fs::remove_file(file);
        }
    }

    /// Folders in which the engine may have its state.
    fn states(&self) -> impl Iterator<Item = &PathBuf> {
        let recorded = self.record.as_ref().map(|record| &record.state);
        let configured = self.configured.as_ref();
        configured.into_iter().chain(recorded.filter(move |state| Some(*state) != configured))
    }
}

/// Where the agent writes down the engine's process.
pub(super) fn pid_file(state: &Path) -> PathBuf {
    state.join("engine.pid")
}

/// Tells about something that does not keep the engine from running.
pub(super) fn warn(what: &str, error: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "nova-evacuate: {what}: {error}");
}

/// An engine that runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Engine {
    /// The configuration that it was given.
    config: Option<PathBuf>,
}

/// The engine that this process is.
pub(super) fn engine(pid: i32) -> Option<Engine> {
    of_line(&fs::read(format!("/proc/{pid}/cmdline")).ok()?)
}

/// Whether a process sees what we see, and is not one of a container.
fn is_here(pid: i32) -> bool {
    let same = |space: &str| {
        let of = |who: &str| fs::read_link(format!("/proc/{who}/ns/{space}")).ok();
        of(&pid.to_string()).is_none_or(|theirs| Some(theirs) == of("self"))
    };
    same("pid") && same("mnt")
}

/// All of this machine.
fn engines() -> io::Result<Vec<(i32, Engine)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        all.extend(pid.filter(|pid| is_here(*pid)).and_then(|pid| Some((pid, engine(pid)?))));
    }
    Ok(all)
}

/// The engine with this command line.
fn of_line(line: &[u8]) -> Option<Engine> {
    let mut words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    if Path::new(OsStr::from_bytes(words.next()?)).file_name()? != "nova-ha" {
        return None;
    }
    let (mut config, mut command) = (None, None);
    while let Some(word) = words.next() {
        match word {
            b"--config" | b"-c" => config = words.next(),
            _ if word.starts_with(b"--config=") => config = word.get(b"--config=".len()..),
            _ if word.starts_with(b"-") => {}
            _ => command = command.or(Some(word)),
        }
    }
    let config = config.map(|path| PathBuf::from(OsStr::from_bytes(path)));
    (command == Some(b"engine")).then_some(Engine { config })
}

fn read(record_file: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(record_file).ok()?).ok()
}

async fn ask(state: &Path) -> io::Result<Health> {
    serve::ask(Files { state: state.to_owned(), ..Files::default() }.socket(), ANSWER).await
}

pub(super) fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// One file for each resource of the cluster.
fn record_file() -> PathBuf {
    let folder = std::env::var_os(RECORDS_VARIABLE).map(PathBuf::from).filter(|path| path.is_absolute());
    let instance = std::env::var("OCF_RESOURCE_INSTANCE").unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let instance: String = instance.chars().map(plain).collect();
    folder.unwrap_or_else(|| RECORDS.into()).join(format!("nova-evacuate-{instance}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_known_by_its_command_line() {
        let of = |words: &[&str]| of_line(words.join("\0").as_bytes());
        let with = |path: &str| Some(Engine { config: Some(path.into()) });
        assert_eq!(of(&["/usr/bin/nova-ha", "engine", ""]), Some(Engine { config: None }));
        assert_eq!(of(&["/usr/bin/nova-ha", "--config", "/a", "engine", "--from-environment"]), with("/a"));
        assert_eq!(of(&["nova-ha", "engine", "-c", "/a"]), with("/a"));
        assert_eq!(of(&["nova-ha", "engine", "--config=/a"]), with("/a"));
        for other in [
            &["/usr/bin/nova-ha", "agent", "nova-evacuate", "stop"][..],
            &["/usr/bin/nova-ha", "explain", "engine"],
            &["/usr/bin/nova-ha", "--config", "engine", "status"],
            &["/bin/sh", "nova-ha", "engine"],
            &["/usr/bin/not-nova-ha", "engine"],
            &[""],
        ] {
            assert_eq!(of(other), None, "{other:?}");
        }
        assert_eq!(engine(1), None);
    }

    fn resource(folder: &Path, configured: bool) -> Resource {
        Resource {
            path: Some(folder.join("nova-ha.toml")),
            configured: configured.then(|| folder.join("state")),
            record: None,
            record_file: folder.join("run/nova-evacuate-a.json"),
        }
    }

    #[tokio::test]
    async fn what_is_not_known_is_no_success() {
        let folder = tempfile::tempdir().unwrap();
        let one = resource(folder.path(), true);
        assert_eq!(one.find().await, Found::default());
        // Somebody listens there and says nothing.
        fs::create_dir(folder.path().join("state")).unwrap();
        let _silent =
            std::os::unix::net::UnixListener::bind(folder.path().join("state/engine.sock")).unwrap();
        let found = one.find().await;
        assert!(found.pids.is_empty() && found.doubt.is_some(), "{found:?}");
    }

    #[test]
    fn what_was_started_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = resource(folder.path(), false);
        assert_eq!(one.states().count(), 0);
        one.remember(17, Path::new("/s")).unwrap();
        one.record = read(&one.record_file);
        assert_eq!(one.record, Some(Record { pid: 17, state: "/s".into() }));
        assert_eq!(one.states().collect::<Vec<_>>(), [Path::new("/s")]);
        assert!(one.of_others().is_empty());
        let other = Resource {
            record_file: one.record_file.with_file_name("nova-evacuate-b.json"),
            ..resource(folder.path(), true)
        };
        other.remember(18, Path::new("/t")).unwrap();
        assert_eq!(one.of_others(), BTreeSet::from([18]));
        one.forget();
        assert!(!one.record_file.exists() && other.record_file.exists());
    }
}
