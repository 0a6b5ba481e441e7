//! Our package in the place of Debian's own, and back.

use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, Suite, World, fail, images};

use super::machine::{Files, Machine, UNIT, same};

/// What both packages, and those they depend on, own or make.
const COMMON: &[&str] = &[
    "/etc/pacemaker",
    "/etc/pacemaker/authkey",
    "/etc/default/pacemaker",
    "/etc/logrotate.d/pacemaker",
    "/usr/lib/systemd/system/pacemaker_remote.service",
    "/usr/sbin/pacemaker-remoted",
    "/usr/sbin/pacemaker_remoted",
    "/usr/share/man/man8/pacemaker_remoted.8.gz",
    "/var/lib/pacemaker",
    "/var/lib/pacemaker/blackbox",
    "/var/lib/pacemaker/cores",
    "/var/log/pacemaker",
    "/var/log/pacemaker/bundles",
    "/var/log/pacemaker/pacemaker.log",
];

const SETTINGS: &str =
    "cat /etc/default/pacemaker /etc/pacemaker/authkey; getent passwd hacluster; getent group haclient";

/// A node whose unit is enabled and runs: files, owners, settings, key and enablement stay, also when the
/// replaced package is purged, and the same on the way back.
pub(crate) fn enabled(world: &World, suite: Suite, files: &Files) -> Result<()> {
    let machine = Machine::start(world, suite)?;
    let node = &machine.node;
    machine.apt(&["install", "--reinstall", &machine.bring(&images::c_package(suite)?)?])?;
    node.exec(&["systemctl", "enable", "--now", UNIT])?;
    machine.expect_program(false)?;
    wait_for_log(&machine)?;
    let (owners, settings) = (machine.owners(COMMON)?, node.sh(SETTINGS)?);
    if owners.lines().count() < COMMON.len() - 2 {
        return fail(format!("with the C package hardly any file is there: {owners}"));
    }

    machine.install(&files.deb)?;
    machine.expect_unit("ours over theirs", ["enabled", "active"])?;
    machine.expect_program(true)?;
    wait_for_log(&machine)?;
    same_owners(&owners, &machine.owners(COMMON)?)?;
    same("settings", &settings, &node.sh(SETTINGS)?)?;
    same("status of theirs", "config-files", &machine.status_of("pacemaker-remote")?)?;
    same("status of the tools", "installed", &machine.status_of("pacemaker-cli-utils")?)?;
    let (code, said) = machine.check()?;
    if code != 0 || said.contains("WARN") {
        return fail(format!("the check ended with {code}: {said}"));
    }
    versioned_dependency(&machine)?;
    machine.apt(&["purge", "pacemaker-remote"])?;
    machine.expect_unit("theirs purged", ["enabled", "active"])?;
    node.exec(&["systemctl", "daemon-reload"])?;
    machine.expect_unit("after a reload", ["enabled", "active"])?;

    let list = node.exec(&["dpkg-query", "-L", "pcmk-remote"])?;
    machine.install_theirs()?;
    machine.expect_unit("theirs over ours", ["enabled", "active"])?;
    machine.expect_program(false)?;
    same_owners(&owners, &machine.owners(COMMON)?)?;
    same("settings", &settings, &node.sh(SETTINGS)?)?;
    machine.apt(&["purge", "pcmk-remote"])?;
    machine.expect_unit("ours purged", ["enabled", "active"])?;
    for file in list.lines().filter(|file| file.contains("pcmk-remote")) {
        if node.run(&["test", "-e", file])?.status.success() {
            return fail(format!("{file} is left"));
        }
    }
    Ok(())
}

/// A node whose unit is neither enabled nor runs: it stays so.
pub(crate) fn disabled(world: &World, suite: Suite, files: &Files) -> Result<()> {
    let machine = Machine::start(world, suite)?;
    machine.node.exec(&["systemctl", "disable", "--now", UNIT])?;
    machine.apt(&["install", "--reinstall", &machine.bring(&images::c_package(suite)?)?])?;
    machine.expect_unit("theirs installed again", ["disabled", "inactive"])?;
    // Without apt: here dpkg removes theirs after it has unpacked ours.
    machine.run(&["dpkg", "--install", &machine.bring(&files.deb)?])?;
    machine.expect_unit("ours over theirs", ["disabled", "inactive"])?;
    machine.expect_program(true)?;
    let (code, said) = machine.check()?;
    if code != 1 || !said.contains("is not running") || !said.contains("does not start at boot") {
        return fail(format!("the check ended with {code}: {said}"));
    }
    machine.install_theirs()?;
    machine.expect_unit("theirs over ours", ["disabled", "inactive"])
}

/// A node that had neither: after the installation ours is what theirs is.
pub(crate) fn fresh(world: &World, suite: Suite, files: &Files) -> Result<()> {
    let machine = Machine::start(world, suite)?;
    // With the tools still there, apt would bring a full cluster node for them.
    let both = ["purge", "pacemaker-remote", "pacemaker-cli-utils"];
    machine.apt(&both)?;
    machine.install_theirs()?;
    let theirs = machine.unit()?;
    machine.apt(&both)?;
    machine.node.exec(&["rm", "-rf", "/var/log/pacemaker/bundles"])?;
    machine.install(&files.deb)?;
    machine.expect_program(true)?;
    machine.expect_unit("freshly installed", [&theirs[0], &theirs[1]])?;
    let (code, said) = machine.check()?;
    if code == 0 { Ok(()) } else { fail(format!("the check ended with {code}: {said}")) }
}

/// Packages that want a release of pacemaker-remote get it from ours.
fn versioned_dependency(machine: &Machine) -> Result<()> {
    machine.node.sh(
        "mkdir -p /var/tmp/wants/DEBIAN && printf 'Package: wants\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@y.z>\\n\
         Depends: pacemaker-remote (>= 2.1.5)\\nDescription: x\\n' >/var/tmp/wants/DEBIAN/control && \
         dpkg-deb --build /var/tmp/wants /var/tmp/wants.deb",
    )?;
    machine.apt(&["install", "/var/tmp/wants.deb"])?;
    machine.apt(&["purge", "wants"]).map(drop)
}

fn wait_for_log(machine: &Machine) -> Result<()> {
    wait::until(secs(20), "the daemon's log file", || {
        let log =
            machine.node.run(&["grep", "-q", "successfully started", "/var/log/pacemaker/pacemaker.log"])?;
        Ok(log.status.success().then_some(()))
    })
}

/// Everything that was there is there with the same owner and mode.
fn same_owners(before: &str, after: &str) -> Result<()> {
    match before.lines().find(|line| !after.lines().any(|it| it == *line)) {
        None => Ok(()),
        Some(line) => fail(format!("there was {line}, and now: {after}")),
    }
}
