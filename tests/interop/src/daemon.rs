//! Which `pacemaker-remoted` a remote node runs.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context, Result, fail};
use crate::images::{rig_file, workspace};

/// A `pacemaker-remoted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Daemon {
    /// This project's.
    Ours,
    /// The C one of the distribution.
    Theirs,
}

impl Daemon {
    /// The one under test: `PCMK_UNDER_TEST=ours|theirs`, default ours.
    pub fn under_test() -> Result<Self> {
        match env::var("PCMK_UNDER_TEST").as_deref() {
            Ok("theirs") => Ok(Self::Theirs),
            Ok("ours") | Err(_) => Ok(Self::Ours),
            Ok(other) => fail(format!("PCMK_UNDER_TEST is {other}: it can be ours or theirs")),
        }
    }

    /// Its name in tests' output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Theirs => "theirs",
        }
    }

    /// Puts it on a node's disk, over the distribution's.
    pub fn install(self, disk: &Path) -> Result<()> {
        if self == Self::Theirs {
            return Ok(());
        }
        put(&binary()?, &disk.join("usr/sbin/pacemaker-remoted"), 0o755)?;
        let unit = workspace().join("packaging/systemd/pacemaker_remote.service");
        if unit.exists() {
            // In /etc, so that it does not matter where the distribution has its own.
            put(&unit, &disk.join("etc/systemd/system/pacemaker_remote.service"), 0o644)?;
        }
        Ok(())
    }
}

/// Copies a file onto a node's disk.
pub fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    // Not over a running program.
    let _ = fs::remove_file(to);
    fs::copy(from, to).context(format!("copying {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Copies a file of `tests/rig` onto a node's disk.
pub(crate) fn put_rig_file(name: &str, to: &Path, mode: u32) -> Result<()> {
    put(&rig_file(name), to, mode)
}

/// Our daemon's program: `PCMK_DAEMON`, else what `cargo build --profile daemon` makes.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("PCMK_DAEMON") {
        return Path::new(&path).canonicalize().context(format!("PCMK_DAEMON ({})", path.display()));
    }
    Ok(target_dir().join("daemon/pacemaker-remoted"))
}

/// Another of our programs: beside the daemon.
pub fn tool(name: &str) -> Result<PathBuf> {
    let path = binary()?.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    fail(format!("{} is missing: make build", path.display()))
}

/// Builds our daemon, unless another one was named or none of ours is wanted.
pub(crate) fn ensure() -> Result<()> {
    if env::var_os("PCMK_DAEMON").is_some() {
        return binary().map(drop);
    }
    if Daemon::under_test()? == Daemon::Theirs {
        return Ok(());
    }
    ensure_ours("pcmk-remote")
}

/// Builds the programs of a package of ours, unless other ones were named.
pub fn ensure_ours(package: &str) -> Result<()> {
    if env::var_os("PCMK_DAEMON").is_some() {
        return Ok(());
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--locked", "--profile", "daemon", "-p", package]);
    build.arg("--target-dir").arg(target_dir());
    let status = build
        .current_dir(workspace())
        .stdin(Stdio::null())
        .spawn()
        .and_then(|mut child| child.wait())
        .context("cargo build")?;
    if status.success() { Ok(()) } else { fail(format!("building {package} failed: see above")) }
}

/// Where cargo builds: the folder above the profile's that this program is in.
pub fn target_dir() -> PathBuf {
    let own = env::current_exe().unwrap_or_default();
    let found = own.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists());
    found.map_or_else(|| workspace().join("target"), Path::to_path_buf)
}
