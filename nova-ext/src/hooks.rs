//! What the operator wants to have run around a recovery: executables in folders, one folder per point.
//!
//! Names as `run-parts` takes them, in the order of the alphabet. They are time-limited, cannot outlive their time,
//! and what they print is cut. A failing one is reported and stops nothing, unless its name ends with `.must`. A link to
//! something that is gone fails: whoever has put it there expects it to run.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::engine;
use crate::ids::{HostName, IncidentId, NodeName, ServerId};
use crate::process::{ProcessError, Program};

/// The end of a name whose hook must succeed.
pub const MUST: &str = ".must";
/// More hooks than anybody has at one point.
const MOST: usize = 100;
/// Of what a hook prints, so much is kept for the report.
const KEPT: usize = 4096;

/// When hooks are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Point {
    /// The host is proven off; Nova is about to be told.
    BeforeForceDown,
    /// Nova knows that the host is down.
    AfterForceDown,
    /// A server is as it was, elsewhere.
    ServerDone,
    /// A server could not be moved.
    ServerFailed,
    /// The incident has ended.
    End,
    /// The host is about to return to service.
    Return,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::BeforeForceDown,
        Self::AfterForceDown,
        Self::ServerDone,
        Self::ServerFailed,
        Self::End,
        Self::Return,
    ];

    /// Its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeForceDown => "before-force-down",
            Self::AfterForceDown => "after-force-down",
            Self::ServerDone => "server-done",
            Self::ServerFailed => "server-failed",
            Self::End => "end",
            Self::Return => "return",
        }
    }
}

impl From<engine::Point> for Point {
    fn from(point: engine::Point) -> Self {
        match point {
            engine::Point::BeforeForceDown => Self::BeforeForceDown,
            engine::Point::AfterForceDown => Self::AfterForceDown,
            engine::Point::ServerDone => Self::ServerDone,
            engine::Point::ServerFailed => Self::ServerFailed,
            engine::Point::End => Self::End,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a hook is told: in its environment, and as JSON on its standard input.
#[derive(Debug, Clone, Serialize)]
pub struct Occasion {
    /// The point.
    pub point: Point,
    /// The incident.
    pub incident: IncidentId,
    /// The host.
    pub host: HostName,
    /// Its node in the cluster, if it is known.
    pub node: Option<NodeName>,
    /// The server, at its end.
    pub server: Option<ServerId>,
    /// How the incident ended.
    pub outcome: Option<String>,
    /// Where the server is now.
    pub destination: Option<HostName>,
}

/// What came of one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its name.
    pub hook: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// Whether it must succeed.
    pub must: bool,
}

/// How a hook ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Ok,
    /// Not well, with what it said last.
    Failed(String),
    /// Its time was over.
    Late,
}

impl Outcome {
    /// One word for journals.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(_) => "failed",
            Self::Late => "timeout",
        }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hook {}: ", self.hook)?;
        match &self.outcome {
            Outcome::Ok => f.write_str("ok"),
            Outcome::Failed(why) => write!(f, "failed ({why})"),
            Outcome::Late => write!(f, "killed after {} s", self.took.as_secs()),
        }
    }
}

/// Why hooks cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The folder cannot be read.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Io(PathBuf, #[source] io::Error),
    /// Others can change what is run as root.
    #[error("{0} can be changed by others, so that it is not run: chown root {0}; chmod go-w {0}")]
    Unsafe(PathBuf),
}

/// The hooks of a folder.
#[derive(Debug, Clone)]
pub struct Hooks {
    folder: PathBuf,
    limit: Duration,
}

impl Hooks {
    /// Those below this folder; each may take so long.
    pub fn new(folder: impl Into<PathBuf>, limit: Duration) -> Self {
        Self { folder: folder.into(), limit }
    }

    /// The hooks of a point, in their order. A folder that is not there has none.
    pub fn at(&self, point: Point) -> Result<Vec<PathBuf>, HookError> {
        let folder = self.folder.join(point.name());
        let io = |error| HookError::Io(folder.clone(), error);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io)?,
        };
        safe(&folder)?;
        let mut hooks = Vec::new();
        for entry in entries.take(MOST) {
            let path = entry.map_err(io)?.path();
            let named = path.file_name().and_then(|name| name.to_str()).is_some_and(is_name);
            if !named {
                continue;
            }
            if leads_nowhere(&path) {
                hooks.push(path);
                continue;
            }
            let runs =
                fs::metadata(&path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
            if runs {
                safe(&path)?;
                hooks.push(path);
            }
        }
        hooks.sort();
        Ok(hooks)
    }

    /// Runs the hooks of a point, one after another, within a limit for all of them. One that must succeed and does
    /// not ends the row.
    pub async fn run(&self, occasion: &Occasion, within: Duration) -> Result<Vec<Ran>, HookError> {
        let until = Instant::now() + within;
        let mut all = Vec::new();
        for path in self.at(occasion.point)? {
            let limit = self.limit.min(until.saturating_duration_since(Instant::now()));
            let ran = one(&path, occasion, limit).await;
            let stop = ran.must && ran.outcome != Outcome::Ok;
            all.push(ran);
            if stop {
                break;
            }
        }
        Ok(all)
    }
}

/// Whether a hook is a link to something that is gone.
pub fn leads_nowhere(hook: &Path) -> bool {
    matches!(fs::metadata(hook), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// The first that had to succeed and did not.
pub fn must_failed(ran: &[Ran]) -> Option<&Ran> {
    ran.iter().find(|ran| ran.must && ran.outcome != Outcome::Ok)
}

async fn one(path: &Path, occasion: &Occasion, limit: Duration) -> Ran {
    let hook = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let must = hook.ends_with(MUST);
    let mut program = Program::new(path).with([occasion.point.name()]);
    program.environment = environment(occasion);
    program.input = serde_json::to_vec(occasion).unwrap_or_default();
    program.kept = KEPT;
    let begun = Instant::now();
    let outcome = match program.run(limit).await {
        Ok(ended) if ended.is_ok() => Outcome::Ok,
        Ok(ended) => Outcome::Failed(ended.why()),
        Err(ProcessError::Spawn(..)) if leads_nowhere(path) => Outcome::Failed("a link to nothing".into()),
        Err(ProcessError::Late(..)) => Outcome::Late,
        Err(error @ ProcessError::Spawn(..)) => Outcome::Failed(error.to_string()),
    };
    Ran { hook, outcome, took: begun.elapsed(), must }
}

fn environment(occasion: &Occasion) -> Vec<(String, String)> {
    let Occasion { point, incident, host, node, server, outcome, destination } = occasion;
    let optional = [
        ("NODE", node.as_ref().map(ToString::to_string)),
        ("SERVER", server.map(|it| it.to_string())),
        ("OUTCOME", outcome.clone()),
        ("DESTINATION", destination.as_ref().map(ToString::to_string)),
    ];
    let always =
        [("POINT", point.to_string()), ("INCIDENT", incident.to_string()), ("HOST", host.to_string())];
    let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value?)));
    always.into_iter().chain(optional).map(|(name, value)| (format!("NOVA_HA_{name}"), value)).collect()
}

/// As `run-parts` takes names: no backups of editors and packages. The one suffix is ours.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name = name.strip_suffix(MUST).unwrap_or(name);
    !name.is_empty() && name.chars().all(plain)
}

fn safe(path: &Path) -> Result<(), HookError> {
    let about = fs::metadata(path).map_err(|error| HookError::Io(path.to_owned(), error))?;
    let owner = about.uid();
    if about.mode() & 0o022 != 0 || ![0, nix::unistd::geteuid().as_raw()].contains(&owner) {
        return Err(HookError::Unsafe(path.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(hooks: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("end");
            fs::create_dir(&folder).unwrap();
            for (name, script) in hooks {
                let path = folder.join(name);
                fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            Self(dir)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join("end").join(name)
        }

        async fn run(&self, limit: Duration) -> Vec<Ran> {
            let occasion = Occasion {
                point: Point::End,
                incident: IncidentId::new_random(),
                host: "c1.example.org".parse().unwrap(),
                node: Some("c1".parse().unwrap()),
                server: None,
                outcome: Some("complete".into()),
                destination: None,
            };
            Hooks::new(self.0.path(), limit).run(&occasion, Duration::from_secs(60)).await.unwrap()
        }
    }

    #[tokio::test]
    async fn they_run_in_order_and_know_what_happened() {
        let folder = Folder::new(&[
            (
                "20-b",
                "cat > \"$0.json\"; echo \"$NOVA_HA_POINT $NOVA_HA_HOST $NOVA_HA_NODE $NOVA_HA_OUTCOME $1\" > \"$0.env\"",
            ),
            ("10-a", "exit 3"),
            ("30-c.bak", "exit 1"),
            ("40-d~", "exit 1"),
        ]);
        let ran = folder.run(Duration::from_secs(20)).await;
        let words: Vec<_> = ran.iter().map(|ran| (ran.hook.as_str(), ran.outcome.word())).collect();
        assert_eq!(words, [("10-a", "failed"), ("20-b", "ok")]);
        assert_eq!(
            fs::read_to_string(folder.path("20-b.env")).unwrap(),
            "end c1.example.org c1 complete end\n"
        );
        let json: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(folder.path("20-b.json")).unwrap()).unwrap();
        assert_eq!((&json["point"], &json["host"]), (&"end".into(), &"c1.example.org".into()));
        assert_eq!(must_failed(&ran), None);
    }

    #[tokio::test]
    async fn one_that_must_succeed_ends_the_row() {
        let folder = Folder::new(&[("10-a.must", "echo no; exit 1"), ("20-b", "exit 0")]);
        let ran = folder.run(Duration::from_secs(20)).await;
        assert_eq!(ran.len(), 1);
        assert_eq!(
            must_failed(&ran).map(ToString::to_string).as_deref(),
            Some("hook 10-a.must: failed (exit code 1: no)")
        );
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_and_the_next_one_runs() {
        let folder = Folder::new(&[("10-a", "sleep 1000"), ("20-b", "exit 0")]);
        let ran = folder.run(Duration::from_millis(300)).await;
        let words: Vec<_> = ran.iter().map(|ran| ran.outcome.word()).collect();
        assert_eq!(words[0], "timeout");
        assert_eq!(ran.len(), 2);
    }

    #[tokio::test]
    async fn a_link_to_nothing_fails() {
        let folder = Folder::new(&[("20-b", "exit 0")]);
        std::os::unix::fs::symlink("/usr/bin/no-such-hook", folder.path("10-a")).unwrap();
        std::os::unix::fs::symlink("/usr/bin/no-such-hook", folder.path("10-a.bak")).unwrap();
        let ran = folder.run(Duration::from_secs(20)).await;
        let said: Vec<_> = ran.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["hook 10-a: failed (a link to nothing)", "hook 20-b: ok"]);
    }

    #[test]
    fn what_others_can_change_is_not_run() {
        let folder = Folder::new(&[("10-a", "exit 0")]);
        fs::set_permissions(folder.path("10-a"), fs::Permissions::from_mode(0o777)).unwrap();
        let hooks = Hooks::new(folder.0.path(), Duration::from_secs(1));
        assert!(matches!(hooks.at(Point::End), Err(HookError::Unsafe(_))));
        assert!(hooks.at(Point::ServerDone).unwrap().is_empty());
    }
}
