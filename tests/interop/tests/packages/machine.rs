//! A machine on which packages are installed, and where the packages are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pcmk_interop::error::Context;
use pcmk_interop::images;
use pcmk_interop::node::{Kind, Spec};
use pcmk_interop::run::Output;
use pcmk_interop::wait::secs;
use pcmk_interop::{Node, Result, Suite, World, daemon, fail, run};

/// How long a package manager may take.
const PATIENCE: Duration = secs(120);
/// The unit of both daemons.
pub(crate) const UNIT: &str = "pacemaker_remote.service";

/// Our packages.
pub(crate) struct Files {
    pub(crate) deb: PathBuf,
    pub(crate) rpm: PathBuf,
    /// The probes.
    pub(crate) probe_deb: PathBuf,
    pub(crate) probe_rpm: PathBuf,
    /// The recovery, for controllers.
    pub(crate) recovery_deb: PathBuf,
    pub(crate) recovery_rpm: PathBuf,
    dir: PathBuf,
}

impl Files {
    /// Finds them where `make packages` puts them.
    pub(crate) fn find() -> Result<Self> {
        let dir = match env::var_os("PCMK_PACKAGES") {
            Some(dir) => PathBuf::from(dir),
            None => daemon::target_dir().join("packages"),
        };
        Ok(Self {
            deb: newest(&dir, "pcmk-remote_", ".deb")?,
            rpm: newest(&dir, "pcmk-remote-", ".rpm")?,
            probe_deb: newest(&dir, "libvirt-probe_", ".deb")?,
            probe_rpm: newest(&dir, "libvirt-probe-", ".rpm")?,
            recovery_deb: newest(&dir, "nova-ha_", ".deb")?,
            recovery_rpm: newest(&dir, "nova-ha-", ".rpm")?,
            dir,
        })
    }

    /// The Python module, which `make packages-python` puts there.
    pub(crate) fn module_deb(&self) -> Result<PathBuf> {
        newest(&self.dir, "python3-nova-ext_", ".deb")
    }

    /// The same for RHEL.
    pub(crate) fn module_rpm(&self) -> Result<PathBuf> {
        newest(&self.dir, "python3-nova-ext-", ".rpm")
    }

    /// The same .deb with a higher version, as a new release would be.
    pub(crate) fn newer_deb(&self, world: &World, name: &str) -> Result<PathBuf> {
        newer(world, &self.deb, name, |_| Ok(()))
    }
}

/// A package with a higher version, and with what else is changed in its files.
pub(crate) fn newer(
    world: &World,
    package: &Path,
    name: &str,
    change: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let tree = world.dir().join("newer").join(name);
    fs::create_dir_all(&tree)?;
    let (from, to) = (package.display().to_string(), tree.display().to_string());
    run::host(&["dpkg-deb", "--raw-extract", &from, &to])?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    fs::write(&control, text.replacen("\nVersion: ", "\nVersion: 99.", 1))?;
    change(&tree)?;
    let newer = tree.with_extension("deb");
    run::host(&["dpkg-deb", "--build", "-Zgzip", "-z1", &to, &newer.display().to_string()])?;
    Ok(newer)
}

fn newest(dir: &Path, begin: &str, end: &str) -> Result<PathBuf> {
    let entries =
        fs::read_dir(dir).map(|entries| entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>());
    let mut found: Vec<_> = entries.unwrap_or_default();
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(begin) && name.ends_with(end)
    });
    found.sort_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok());
    found.pop().context(format!(
        "there is no {begin}…{end} in {}: run `make packages packages-python`",
        dir.display()
    ))
}

/// A machine with Debian's package of the C daemon, and systemd.
pub(crate) struct Machine {
    pub(crate) node: Arc<Node>,
    suite: Suite,
}

impl Machine {
    /// Starts one on a network of its own.
    pub(crate) fn start(world: &World, suite: Suite) -> Result<Self> {
        Self::with_layer(world, suite, None)
    }

    /// The same, with a tree laid over its file system.
    pub(crate) fn with_layer(world: &World, suite: Suite, extra: Option<PathBuf>) -> Result<Self> {
        Self::of_kind(world, suite, Kind::Remote, extra)
    }

    /// Starts a machine with Pacemaker itself, as controllers are.
    pub(crate) fn controller(world: &World, suite: Suite) -> Result<Self> {
        Self::of_kind(world, suite, Kind::Full, None)
    }

    fn of_kind(world: &World, suite: Suite, kind: Kind, extra: Option<PathBuf>) -> Result<Self> {
        let switch = world.add_switch()?;
        let share = world.dir().join("share").join(switch.to_string());
        fs::create_dir_all(&share)?;
        let spec = Spec {
            name: "r1",
            kind,
            suite,
            switch,
            octet: 101,
            share: &share,
            key: b"the key of the cluster",
            extra: extra.into_iter().collect(),
        };
        let node = Arc::new(Node::create(world, &spec)?);
        node.power_on()?;
        Self::of(node, suite)
    }

    /// Makes a node one on which packages are installed as on any machine.
    pub(crate) fn of(node: Arc<Node>, suite: Suite) -> Result<Self> {
        // The rig's images leave out manuals and start nothing.
        node.exec(&["rm", "-f", "/usr/sbin/policy-rc.d", "/etc/dpkg/dpkg.cfg.d/rig"])?;
        // There is no network: apt would try for half a minute to fetch what it has in hand.
        node.sh("rm -rf /etc/apt/sources.list* /var/lib/apt/lists/*")?;
        Ok(Self { node, suite })
    }

    /// Puts a package on the machine's disk.
    pub(crate) fn bring(&self, package: &Path) -> Result<String> {
        let name = package.file_name().context("a package without a name")?.to_string_lossy().into_owned();
        fs::copy(package, self.node.path(&format!("/var/tmp/{name}"))?)?;
        Ok(format!("/var/tmp/{name}"))
    }

    /// Installs a package with apt, and what it is to do besides (`remove` conflicting ones is the default).
    pub(crate) fn install(&self, package: &Path) -> Result<Output> {
        let file = self.bring(package)?;
        self.apt(&["install", &file])
    }

    /// Installs Debian's package of the C daemon.
    pub(crate) fn install_theirs(&self) -> Result<Output> {
        self.install(&images::c_package(self.suite)?)
    }

    /// Runs apt-get, which must succeed and leave everything configured.
    pub(crate) fn apt(&self, words: &[&str]) -> Result<Output> {
        let fixed = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "-q"];
        let output = self.run(&[&fixed[..], words].concat())?;
        let audit = self.node.run(&["dpkg", "--audit"])?;
        if !audit.stdout.trim().is_empty() {
            return fail(format!("dpkg complains after {words:?}: {}", audit.stdout));
        }
        Ok(output)
    }

    /// Runs a command that may take a while and must succeed.
    pub(crate) fn run(&self, words: &[&str]) -> Result<Output> {
        let output = self.node.run_long(words, PATIENCE)?;
        if output.status.success() {
            return Ok(output);
        }
        fail(format!("{words:?} ended with {}: {}\n{}", output.code(), output.stdout, output.stderr))
    }

    /// dpkg's word for a package: `installed`, `config-files`, `not-installed`.
    pub(crate) fn status_of(&self, package: &str) -> Result<String> {
        let said = self.node.run(&["dpkg-query", "-W", "-f=${db:Status-Status}", package])?;
        Ok(if said.status.success() { said.stdout } else { "not-installed".to_owned() })
    }

    /// Whether the unit is enabled and whether it runs, in systemctl's words.
    pub(crate) fn unit(&self) -> Result<[String; 2]> {
        let ask = |question| -> Result<String> {
            Ok(self.node.run(&["systemctl", question, UNIT])?.stdout.trim().to_owned())
        };
        Ok([ask("is-enabled")?, ask("is-active")?])
    }

    /// Fails if the unit is not like this.
    pub(crate) fn expect_unit(&self, when: &str, wanted: [&str; 2]) -> Result<()> {
        let seen = self.unit()?;
        if seen == wanted {
            Ok(())
        } else {
            fail(format!("{when}: the unit is {seen:?} instead of {wanted:?}"))
        }
    }

    /// Fails if the program in place, or the one that runs, is not ours (or not theirs).
    pub(crate) fn expect_program(&self, ours: bool) -> Result<()> {
        let version = self.node.exec(&["pacemaker-remoted", "--version"])?;
        if version.contains("pcmk-remote") != ours {
            return fail(format!("the installed daemon says: {version}"));
        }
        let running = self.node.exec(&["systemctl", "show", "--value", "-p", "MainPID", UNIT])?;
        if running.trim() == "0" {
            return Ok(());
        }
        let exe = self.node.exec(&["readlink", &format!("/proc/{}/exe", running.trim())])?;
        if exe.trim() == "/usr/sbin/pacemaker-remoted" { Ok(()) } else { fail(format!("what runs is {exe}")) }
    }

    /// Runs the post-install check: exit code and what it said.
    pub(crate) fn check(&self) -> Result<(i32, String)> {
        let output = self.node.run(&["/usr/share/pcmk-remote/post-install-check"])?;
        Ok((output.code(), format!("{}{}", output.stdout, output.stderr)))
    }

    /// Owner, mode and kind of these files, one line each.
    pub(crate) fn owners(&self, files: &[&str]) -> Result<String> {
        let words = [&["stat", "-c", "%n %F %U:%G %a"][..], files].concat();
        Ok(self.node.run(&words)?.stdout)
    }
}

/// Fails if two texts differ.
pub(crate) fn same(what: &str, wanted: &str, seen: &str) -> Result<()> {
    if wanted == seen { Ok(()) } else { fail(format!("{what}: {seen}\ninstead of: {wanted}")) }
}
