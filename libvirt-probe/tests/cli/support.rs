//! Runs the program.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::fake::Fake;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A busy machine may be late, but not by much.
pub(crate) const MARGIN: Duration = Duration::from_millis(1500);

/// The same, in milliseconds, for what it measures itself.
pub(crate) const LATE: f64 = 500.0;

/// What it said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
    pub(crate) took: Duration,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its lines, with times replaced by `T`.
    pub(crate) fn timeless(&self) -> String {
        let mut text = String::new();
        let mut rest = self.out.as_str();
        while let Some(place) = rest.find(|c: char| c.is_ascii_digit()) {
            text.push_str(&rest[..place]);
            rest = &rest[place..];
            let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (digits, after) = rest.split_at(number);
            let unit = after.strip_prefix(" ms");
            text.push_str(if unit.is_some() { "T" } else { digits });
            rest = unit.unwrap_or(after);
        }
        text + rest
    }
}

/// Its command line.
pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_libvirt-probe"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

pub(crate) async fn finish(mut command: Command) -> Said {
    let began = Instant::now();
    let output = timeout(PATIENCE, command.output()).await.expect("it never hangs").unwrap();
    Said {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap_or(-1),
        took: began.elapsed(),
    }
}

pub(crate) async fn probe(words: &[&str]) -> Said {
    finish(command(words)).await
}

/// A folder with a configuration by which this process is a libvirt daemon.
pub(crate) struct Config {
    dir: TempDir,
}

impl Config {
    pub(crate) fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = std::fs::read_to_string("/proc/self/comm").unwrap();
        let (name, folder) = (name.trim(), dir.path().display());
        std::fs::write(dir.path().join(name), "").unwrap();
        let text = format!(
            "{more}\n[libvirt]\nprograms = [\"{name}\"]\nfolders = [\"{folder}\"]\npid_files = []\ngrace = \"1ms\"\n",
        );
        write(&dir.path().join("probes.toml"), &text);
        Self { dir }
    }

    pub(crate) fn path(&self) -> String {
        self.dir.path().join("probes.toml").display().to_string()
    }

    /// Runs a command against a fake libvirtd.
    pub(crate) async fn run(&self, fake: &Fake, words: &[&str]) -> Said {
        let (config, socket) = (self.path(), fake.path().display().to_string());
        let (first, more) = words.split_first().unwrap();
        probe(&[&["-c", &config, first, "--socket", &socket], more].concat()).await
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

/// The program where everybody may run it.
pub(crate) fn program_for_all(dir: &TempDir) -> PathBuf {
    let mode = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    mode(dir.path());
    let path = dir.path().join("libvirt-probe");
    std::fs::copy(env!("CARGO_BIN_EXE_libvirt-probe"), &path).unwrap();
    mode(&path);
    path
}
