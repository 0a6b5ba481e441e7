//! The nodes' file systems: which there are, and building them when they are not there.

use std::env;
use std::fmt;
use std::fs;
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
    /// Debian's unstable (or testing, when unstable cannot be installed): the newest Pacemaker that is packaged.
    /// It moves: which one that is says the image.
    Newest,
}

impl Suite {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bookworm, Self::Trixie, Self::Newest];
    /// Those that do not change any more.
    pub const STABLE: [Self; 2] = [Self::Bookworm, Self::Trixie];

    /// The rig's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Newest => "newest",
        }
    }

    /// The release of Pacemaker in it, as far as it does not change.
    pub const fn pacemaker(self) -> &'static str {
        match self {
            Self::Bookworm => "2.1.5",
            Self::Trixie => "3.0.0",
            Self::Newest => "newest",
        }
    }

    /// The release of Pacemaker that is in its image.
    pub fn release(self) -> Result<String> {
        let path = self.layer("release")?;
        Ok(fs::read_to_string(&path).context(path.display())?.trim().to_owned())
    }

    /// A layer of its file systems.
    pub fn layer(self, layer: &str) -> Result<PathBuf> {
        Ok(cache()?.join("images").join(self.name()).join(layer))
    }

    /// Pacemaker's own executor tests, as built by `tests/rig/cts-build`.
    pub fn cts(self) -> Result<PathBuf> {
        Ok(cache()?.join("cts").join(self.name()))
    }

    /// What the tests with pcs and crmsh lay over the file systems, as built by `tests/rig/images-pcs`: a
    /// folder for each kind of node.
    pub fn pcs(self) -> Result<PathBuf> {
        Ok(cache()?.join("pcs").join(self.name()))
    }

    /// What makes a compute of a remote node, as built by `tests/rig/images-libvirt`: a layer over its file systems.
    pub fn libvirt(self) -> Result<PathBuf> {
        Ok(cache()?.join("libvirt").join(self.name()).join("remote"))
    }

    /// The suites to test: those that the environment variable `PCMK_RIG_SUITES` names, else those that do not
    /// change.
    pub fn chosen() -> Result<Vec<Self>> {
        Self::chosen_or(&Self::STABLE)
    }

    /// The suites to test: those that the environment variable `PCMK_RIG_SUITES` names, else these.
    pub fn chosen_or(default: &[Self]) -> Result<Vec<Self>> {
        let Ok(names) = env::var("PCMK_RIG_SUITES") else {
            return Ok(default.to_vec());
        };
        names.split_whitespace().map(Self::named).collect()
    }

    fn named(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.name() == name)
            .context(format!("PCMK_RIG_SUITES: no such suite: {name} (bookworm, trixie, newest)"))
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

/// Builds what has pcs and crmsh in it, of these suites, if it is missing or of an older recipe.
pub fn ensure_pcs(suites: &[Suite]) -> Result<()> {
    script("images-pcs", suites)
}

/// Builds what has libvirt and QEMU in it, of these suites, if it is missing or of an older recipe.
pub fn ensure_libvirt(suites: &[Suite]) -> Result<()> {
    script("images-libvirt", suites)
}

/// Fetches the C daemon's package of these suites, in the version of the image.
pub fn ensure_c_packages(suites: &[Suite]) -> Result<()> {
    script("c-packages", suites)
}

/// The C daemon's package, as fetched by `tests/rig/c-packages`.
pub fn c_package(suite: Suite) -> Result<PathBuf> {
    Ok(cache()?.join("packages").join(suite.name()).join("pacemaker-remote.deb"))
}

/// Builds the layer with dnf and rpm if it is missing or of an older recipe.
pub fn ensure_rpm_layer() -> Result<()> {
    script("rpm-layer", &[])
}

/// The layer with dnf and rpm, as built by `tests/rig/rpm-layer`.
pub fn rpm_layer() -> Result<PathBuf> {
    Ok(cache()?.join("rpm/bookworm"))
}

/// Builds the layer with RabbitMQ and Nova if it is missing or of an older recipe.
pub fn ensure_nova() -> Result<()> {
    script("images-nova", &[])
}

/// The layer with RabbitMQ and Nova, as built by `tests/rig/images-nova`: for nodes of bookworm.
pub fn nova_layer() -> Result<PathBuf> {
    Ok(cache()?.join("nova/bookworm"))
}

/// Builds the layer with a whole small cloud if it is missing or of an older recipe.
pub fn ensure_cloud() -> Result<()> {
    script("images-cloud", &[])
}

/// The layer with a whole small cloud, as built by `tests/rig/images-cloud`: for nodes of bookworm.
pub fn cloud_layer() -> Result<PathBuf> {
    Ok(cache()?.join("cloud/bookworm"))
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
