//! The nodes' file systems: which there are, and building them when they are not there.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context, Result, fail};

/// A Debian release, and with it a release of Pacemaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// Debian 12, Pacemaker 2.1.5.
    Bookworm,
    /// Debian 13, Pacemaker 3.0.0.
    Trixie,
}

impl Suite {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Trixie];

    /// Debian's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// The release of Pacemaker in it.
    pub const fn pacemaker(self) -> &'static str {
        match self {
            Self::Bookworm => "2.1.5",
            Self::Trixie => "3.0.0",
        }
    }

    /// A layer of its file systems.
    pub fn layer(self, layer: &str) -> Result<PathBuf> {
        Ok(cache()?.join("images").join(self.name()).join(layer))
    }

    /// Pacemaker's own executor tests, as built by `tests/rig/cts-build`.
    pub fn cts(self) -> Result<PathBuf> {
        Ok(cache()?.join("cts").join(self.name()))
    }

    /// The suites to test: those that the environment variable `PCMK_RIG_SUITES` names, else all.
    pub fn chosen() -> Result<Vec<Self>> {
        let Ok(names) = env::var("PCMK_RIG_SUITES") else {
            return Ok(Self::ALL.to_vec());
        };
        names.split_whitespace().map(Self::named).collect()
    }

    fn named(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.name() == name)
            .context(format!("PCMK_RIG_SUITES: no such suite: {name} (bookworm, trixie)"))
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pacemaker {}", self.pacemaker())
    }
}

/// Where the rig keeps what it builds.
pub fn cache() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("PCMK_RIG_CACHE") {
        return Ok(dir.into());
    }
    if let Some(dir) = env::var_os("XDG_CACHE_HOME") {
        return Ok(Path::new(&dir).join("pcmk-remote"));
    }
    let home = env::var_os("HOME").context("neither PCMK_RIG_CACHE nor HOME is set")?;
    Ok(Path::new(&home).join(".cache/pcmk-remote"))
}

/// A file of `tests/rig`.
pub fn rig_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rig").join(name)
}

/// The top of the source tree.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds the images of these suites if they are missing or of an older recipe.
pub fn ensure(suites: &[Suite]) -> Result<()> {
    script("images", suites)
}

/// Builds Pacemaker's executor tests of these suites if they are missing or of an older recipe.
pub fn ensure_cts(suites: &[Suite]) -> Result<()> {
    script("cts-build", suites)
}

fn script(name: &str, suites: &[Suite]) -> Result<()> {
    let path = rig_file(name);
    // The first build takes minutes and says so on its standard error.
    let status = Command::new(&path)
        .args(suites.iter().map(|suite| suite.name()))
        .stdin(Stdio::null())
        .spawn()
        .and_then(|mut child| child.wait())
        .context(path.display())?;
    if status.success() { Ok(()) } else { fail(format!("{} failed: see above", path.display())) }
}
