//! The package of the probes.
#![allow(clippy::indexing_slicing, reason = "JSON: what is not there is null")]

use pcmk_interop::{Node, Result, Suite, World, fail};

use super::machine::{Files, Machine, same};

/// It is installed beside the C daemon and beside ours, works at once, and leaves nothing.
pub(crate) fn beside_either_daemon(world: &World, suite: Suite, files: &Files) -> Result<()> {
    let machine = Machine::start(world, suite)?;
    let node = &machine.node;
    machine.install(&files.probe_deb)?;
    machine.expect_program(false)?;
    says_that_there_is_no_libvirt(node)?;
    // The example is a configuration, and it changes nothing.
    let example = "/usr/share/doc/libvirt-probe/examples/probes.toml";
    node.exec(&["install", "-m", "644", example, "/etc/pcmk-remote/probes.toml"])?;
    says_that_there_is_no_libvirt(node)?;
    node.sh("echo '[libvrt]' >>/etc/pcmk-remote/probes.toml")?;
    let said = node.run(&["libvirt-probe", "check"])?;
    if said.code() != 3 || !said.stderr.contains("`libvrt`, did you mean `libvirt`?") {
        return fail(format!("a wrong configuration: {} {}{}", said.code(), said.stdout, said.stderr));
    }
    node.exec(&["rm", "/etc/pcmk-remote/probes.toml"])?;

    machine.install(&files.deb)?;
    machine.expect_program(true)?;
    same("status of the probes", "installed", &machine.status_of("libvirt-probe")?)?;
    machine.apt(&["purge", "libvirt-probe"])?;
    machine.expect_program(true)?;
    node.exec(&["test", "-d", "/etc/pcmk-remote"])?;
    machine.apt(&["install", &machine.bring(&files.probe_deb)?])?;
    machine.apt(&["purge", "pcmk-remote", "libvirt-probe"])?;
    let left = node.sh("find / -xdev -iname '*libvirt-probe*' -not -path '/proc/*' -not -path '/var/tmp/*' -not -path '/var/cache/*'")?;
    same("after the purge", "", left.trim())?;
    node.exec(&["test", "!", "-e", "/usr/lib/ocf/resource.d/pcmk-remote"])?;
    node.exec(&["test", "!", "-e", "/etc/pcmk-remote"])?;
    Ok(())
}

/// On a machine without libvirt: unknown and not failed, at once, in clear words.
pub(crate) fn says_that_there_is_no_libvirt(node: &Node) -> Result<()> {
    let said = node.run(&["libvirt-probe", "check", "--json"])?;
    let object: serde_json::Value = match serde_json::from_str(&said.stdout) {
        Ok(object) if said.code() == 3 => object,
        _ => return fail(format!("it ended with {}: {}{}", said.code(), said.stdout, said.stderr)),
    };
    let elapsed = object["elapsed_ms"].as_f64().unwrap_or(f64::MAX);
    if object["verdict"] != "unknown" || !object["reason"].as_str().unwrap_or_default().contains("libvirt") {
        return fail(format!("it said {object}"));
    }
    if elapsed > 1000.0 { fail(format!("that took {elapsed} ms")) } else { Ok(()) }
}
