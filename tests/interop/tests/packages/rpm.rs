//! The .rpm, on a Debian 12 machine to which dnf and rpm were added (`tests/rig/rpm-layer`).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pcmk_interop::error::Context;
use pcmk_interop::images;
use pcmk_interop::run::Output;
use pcmk_interop::{Node, Result, Suite, World, fail, run};

use super::machine::{Files, Machine, UNIT, same};
use super::{probe, recovery};

/// What stands in for the C package of RHEL: Debian's program and unit, and scripts that do what RHEL's do.
const STAND_IN: &str = r"
Name: pacemaker-remote
Version: 2.1.7
Release: 5
Summary: The C daemon
License: none
%global debug_package %{nil}
%global __os_install_post %{nil}
%global _build_id_links none
%global flag /var/lib/rpm-state/stand-in
AutoReqProv: no
%description
The C daemon.
%install
install -D -m 755 %{from}/usr/sbin/pacemaker-remoted %{buildroot}/usr/sbin/pacemaker-remoted
install -D -m 644 %{from}/usr/lib/systemd/system/pacemaker_remote.service %{buildroot}/usr/lib/systemd/system/pacemaker_remote.service
mkdir -p %{buildroot}/etc/sysconfig
echo '# settings of the C daemon' >%{buildroot}/etc/sysconfig/pacemaker
%pre
mkdir -p /var/lib/rpm-state
rm -f %{flag}
if systemctl --quiet is-active pacemaker_remote; then
    : >%{flag}
    systemctl stop pacemaker_remote
fi
%post
if [ $1 -eq 1 ]; then systemctl --no-reload preset pacemaker_remote.service || :; fi
%preun
if [ $1 -eq 0 ]; then systemctl --no-reload disable --now pacemaker_remote.service || :; fi
%postun
systemctl daemon-reload || :
%posttrans
if [ -e %{flag} ]; then
    systemctl daemon-reload
    systemctl start pacemaker_remote
    rm -f %{flag}
fi
%files
%config(noreplace) /etc/sysconfig/pacemaker
/usr/sbin/pacemaker-remoted
/usr/lib/systemd/system/pacemaker_remote.service
";

/// What the package says of itself, and that it holds what the Debian package holds.
pub(crate) fn contents(_: &World, files: &Files) -> Result<()> {
    let provides = query(files, "--provides")?;
    for wanted in ["pacemaker-remote = ", "pcmk-cluster-manager = "] {
        if !provides.lines().any(|line| line.starts_with(wanted)) {
            return fail(format!("it does not provide {wanted}: {provides}"));
        }
    }
    same("conflicts", "pacemaker-remote", query(files, "--conflicts")?.trim())?;
    same("obsoletes", "", query(files, "--obsoletes")?.trim())?;
    same(
        "configuration files",
        "/etc/logrotate.d/pcmk-remote\n/etc/sysconfig/pacemaker\n/etc/sysconfig/pcmk-remote-exporter",
        query(files, "--configfiles")?.trim(),
    )?;
    let owners = query(files, "--queryformat=[%{FILEUSERNAME}:%{FILEGROUPNAME}\n]")?;
    if let Some(line) = owners.lines().find(|line| *line != "root:root") {
        return fail(format!("something belongs to {line}"));
    }
    // No scriptlet restarts or stops the daemon of a node, but for the package's removal.
    let scripts = query(files, "--scripts")?;
    let stops = |line: &&str| ["--now", "stop", "restart"].iter().any(|word| line.contains(word));
    let lines = scripts.lines().filter(|line| line.contains("pacemaker_remote") && !line.contains("echo"));
    same("lines that stop the daemon", "1", &lines.filter(stops).count().to_string())?;

    same_files(&files.deb, &files.rpm)
}

/// The probes' package: it wants nothing of Pacemaker, fits beside either daemon, and is the Debian package's twin.
pub(crate) fn probe_contents(_: &World, files: &Files) -> Result<()> {
    let ask = |what| query_package(&files.probe_rpm, what);
    for what in ["--conflicts", "--obsoletes", "--scripts", "--configfiles"] {
        same(what, "", ask(what)?.trim())?;
    }
    let requires = ask("--requires")?;
    if let Some(line) = requires.lines().find(|line| line.contains("pacemaker") || line.contains("libvirt")) {
        return fail(format!("it requires {line}"));
    }
    same_files(&files.probe_deb, &files.probe_rpm)
}

/// The recovery's package: no Python, nothing of Pacemaker that must be there, and the Debian package's twin.
pub(crate) fn recovery_contents(_: &World, files: &Files) -> Result<()> {
    let ask = |what| query_package(&files.recovery_rpm, what);
    for what in ["--conflicts", "--obsoletes"] {
        same(what, "", ask(what)?.trim())?;
    }
    let requires = ask("--requires")?;
    if let Some(line) =
        requires.lines().find(|line| ["python", "pacemaker", "fence"].iter().any(|it| line.contains(it)))
    {
        return fail(format!("it requires {line}"));
    }
    same(
        "configuration files",
        "/etc/logrotate.d/nova-ha\n/etc/pcmk-remote/nova-ha.toml\n/etc/pcmk-remote/nova-policy.toml\n/etc/pcmk-remote/power.toml",
        ask("--configfiles")?.trim(),
    )?;
    let modes = ask("--queryformat=[%{FILENAMES} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILEMODES:perms}\n]")?;
    if !modes.lines().any(|line| line == "/etc/pcmk-remote/power.toml root:root -rw-------") {
        return fail(format!("the map of power devices is open: {modes}"));
    }
    if let Some(line) = modes.lines().find(|line| !line.contains(" root:root ")) {
        return fail(format!("something belongs to somebody else: {line}"));
    }
    same_files(&files.recovery_deb, &files.recovery_rpm)
}

/// Both packages hold the same.
fn same_files(deb: &Path, rpm: &Path) -> Result<()> {
    let deb = run::host(&["sh", "-c", &format!("dpkg-deb --fsys-tarfile {} | tar -t", deb.display())])?;
    let deb: BTreeSet<_> = deb.lines().map(|line| comparable(line.trim_start_matches('.'))).collect();
    let rpm = query_package(rpm, "--list")?;
    let rpm: BTreeSet<_> = rpm.lines().map(comparable).collect();
    let apart = |path: &&String| {
        ["/doc/", "/licenses/", "/lintian/", "/needrestart/", "/pacemaker_remoted", "/etc/"]
            .iter()
            .any(|it| path.contains(it))
            || path.ends_with('/')
            || *path == "/usr/share/pcmk-remote/pacemaker_remote.service"
    };
    let differences: Vec<_> = deb.symmetric_difference(&rpm).filter(|path| !apart(path)).collect();
    // Folders have no slash at the end in rpm's list.
    let differences: Vec<_> =
        differences.into_iter().filter(|path| !deb.contains(&format!("{path}/"))).collect();
    if differences.is_empty() {
        Ok(())
    } else {
        fail(format!("only in one of the packages: {differences:?}"))
    }
}

/// Where the two families have a different place for the same thing.
fn comparable(path: &str) -> String {
    path.replace("/site-functions", "/vendor-completions")
}

/// A first installation leaves the unit to the administrator, as the C package does; then it serves.
pub(crate) fn fresh(world: &World, files: &Files) -> Result<()> {
    let machine = start(world, files, "fresh")?;
    let node = &machine.node;
    node.exec(&["userdel", "hacluster"])?;
    dnf(&machine, &["install", &machine.bring(&files.rpm)?])?;
    machine.expect_unit("installed", ["disabled", "inactive"])?;
    node.exec(&["getent", "passwd", "hacluster"])?;
    node.exec(&["getent", "passwd", "pcmk-remote-exporter"])?;
    node.exec(&[
        "chown",
        "hacluster:haclient",
        "/var/log/pacemaker",
        "/var/lib/pacemaker/cores",
        "/var/lib/pacemaker/blackbox",
    ])?;
    same("rpm --verify", "", run_rpm(node, &["--verify", "pcmk-remote"])?.stdout.trim())?;
    node.exec(&["systemctl", "enable", "--now", UNIT])?;
    let (code, said) = machine.check()?;
    if code != 0 || said.contains("WARN") {
        return fail(format!("the check ended with {code}: {said}"));
    }

    let pid = || node.exec(&["systemctl", "show", "--value", "-p", "MainPID", UNIT]);
    let before = pid()?;
    let said = dnf(&machine, &["reinstall", &machine.bring(&files.rpm)?])?;
    same("PID after a reinstallation", &before, &pid()?)?;
    if !format!("{}{}", said.stdout, said.stderr).contains("the running daemon was left alone") {
        return fail(format!("nothing was said about the running daemon: {}{}", said.stdout, said.stderr));
    }
    // The probes beside it, and alone.
    dnf(&machine, &["install", &machine.bring(&files.probe_rpm)?])?;
    probe::says_that_there_is_no_libvirt(node)?;
    dnf(&machine, &["remove", "pcmk-remote"])?;
    probe::says_that_there_is_no_libvirt(node)?;
    dnf(&machine, &["remove", "libvirt-probe"])?;
    dnf(&machine, &["install", &machine.bring(&files.recovery_rpm)?])?;
    recovery::is_installed(&machine)?;
    node.sh("echo '# edited' >>/etc/pcmk-remote/nova-ha.toml")?;
    dnf(&machine, &["remove", "nova-ha"])?;
    same(
        "edited configuration",
        "/etc/pcmk-remote/nova-ha.toml.rpmsave",
        node.sh("ls -d /etc/pcmk-remote/*")?.trim(),
    )?;
    node.exec(&["rm", "-r", "/etc/pcmk-remote"])?;
    same("daemons after the removal", "[]", &format!("{:?}", node.pids_of("pacemaker-remoted")?))?;
    let left = node.run(&["systemctl", "cat", UNIT])?;
    if left.status.success() { fail(format!("the unit is left: {}", left.stdout)) } else { Ok(()) }
}

/// Over the C package and back, in dnf's one transaction: the unit goes on running, settings stay.
pub(crate) fn replaces(world: &World, files: &Files) -> Result<()> {
    let machine = start(world, files, "replaces")?;
    let node = &machine.node;
    let theirs = machine.bring(&stand_in(world)?)?;
    dnf(&machine, &["install", &theirs])?;
    node.sh("echo PCMK_logpriority=info >>/etc/sysconfig/pacemaker")?;
    node.exec(&["systemctl", "enable", "--now", UNIT])?;
    machine.expect_program(false)?;

    let ours = machine.bring(&files.rpm)?;
    let refused = node.run(&["dnf", "--disablerepo=*", "--releasever=9", "-y", "install", &ours])?;
    if refused.status.success() {
        return fail("the C package was replaced although nobody said that it may be");
    }
    dnf(&machine, &["install", "--allowerasing", &ours])?;
    machine.expect_unit("ours over theirs", ["enabled", "active"])?;
    machine.expect_program(true)?;
    node.exec(&["grep", "-q", "PCMK_logpriority=info", "/etc/sysconfig/pacemaker"])?;
    let (code, said) = machine.check()?;
    if code != 0 || said.contains("WARN") {
        return fail(format!("the check ended with {code}: {said}"));
    }

    dnf(&machine, &["install", "--allowerasing", &theirs])?;
    // Its own first installation disables the unit, as the presets of RHEL want it.
    machine.expect_unit("theirs over ours", ["disabled", "active"])?;
    machine.expect_program(false)?;
    node.exec(&["grep", "-q", "PCMK_logpriority=info", "/etc/sysconfig/pacemaker"]).map(drop)
}

/// A machine with dnf, without Debian's package of the daemon, and with RHEL's presets.
pub(crate) fn start(world: &World, files: &Files, name: &str) -> Result<Machine> {
    let machine = Machine::with_layer(world, Suite::Bookworm, Some(images::rpm_layer()?))?;
    let node = &machine.node;
    node.exec(&["dpkg", "--purge", "--force-depends", "pacemaker-remote"])?;
    node.sh(
        "mkdir -p /etc/systemd/system-preset && echo 'disable *' >/etc/systemd/system-preset/99-rhel.preset",
    )?;
    dnf(&machine, &["install", &machine.bring(&system(world, files, name)?)?])?;
    Ok(machine)
}

/// A package that stands for the rest of the system: it provides what ours wants.
fn system(world: &World, files: &Files, name: &str) -> Result<PathBuf> {
    let mut spec =
        "Name: system\nVersion: 1\nRelease: 1\nSummary: x\nLicense: none\nBuildArch: noarch\n".to_owned();
    let wanted = query(files, "--requires")?
        + &query_package(&files.probe_rpm, "--requires")?
        + &query_package(&files.recovery_rpm, "--requires")?;
    for line in wanted.lines().filter(|line| !line.starts_with("rpmlib(") && !line.starts_with("config(")) {
        writeln!(spec, "Provides: {line}").context("a line")?;
    }
    spec += "%description\nx\n%files\n";
    build(world, &format!("system-{name}"), &spec, &[])
}

fn stand_in(world: &World) -> Result<PathBuf> {
    let from = Suite::Bookworm.layer("remote")?;
    build(world, "stand-in", STAND_IN, &[&format!("from {}", from.display())])
}

fn build(world: &World, name: &str, spec: &str, defines: &[&str]) -> Result<PathBuf> {
    let dir = world.dir().join("rpm").join(name);
    fs::create_dir_all(&dir)?;
    let path = dir.join("x.spec");
    fs::write(&path, spec)?;
    let (path, top, out) =
        (path.display().to_string(), format!("_topdir {}", dir.display()), dir.join("out"));
    let rpmdir = format!("_rpmdir {}", out.display());
    let mut words = vec!["rpmbuild", "--quiet", "-bb", &path, "--define", &top, "--define", &rpmdir];
    words.extend(["--define", "_rpmfilename %{NAME}.rpm"]);
    for define in defines {
        words.extend(["--define", define]);
    }
    run::host(&words).context("rpmbuild (apt-get install rpm)")?;
    let built = fs::read_dir(&out)?.next().context("rpmbuild made nothing")??.path();
    Ok(built)
}

fn dnf(machine: &Machine, words: &[&str]) -> Result<Output> {
    machine.run(&[&["dnf", "--disablerepo=*", "--releasever=9", "-y"], words].concat())
}

pub(crate) fn run_rpm(node: &Arc<Node>, words: &[&str]) -> Result<Output> {
    node.run(&[&["rpm"], words].concat())
}

fn query(files: &Files, what: &str) -> Result<String> {
    query_package(&files.rpm, what)
}

pub(crate) fn query_package(rpm: &Path, what: &str) -> Result<String> {
    run::host(&["rpm", "--query", "--package", what, &rpm.display().to_string()])
        .context("apt-get install rpm")
}
