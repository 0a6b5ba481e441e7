//! The package of the Python module: installed, imported, looked at by its own doctor, removed.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use std::collections::BTreeSet;

use pcmk_interop::error::Context;
use pcmk_interop::{Node, Result, Suite, World, fail, run};
use serde_json::Value;

use super::machine::{Files, Machine, same};
use super::rpm::{query_package, run_rpm, start};

const RPM_SITE: &str = "/usr/lib64/python3.9/site-packages";
/// Something that only the native part can do, and by which Nova finds what is for it.
const USED: &str = r#"
import json, sys
from importlib import metadata
import nova_ext
points = metadata.entry_points()
print(json.dumps({
    "missing": nova_ext.native_missing(),
    "decided": nova_ext.Policy.parse('mode = "opt-in"').opted_in(flavor={"instance_ha:evacuate": "yes"}).evacuate,
    "found": sorted(group for group in points.groups for point in points.select(group=group)
                    if point.value.startswith("nova_ext.")),
}))
"#;
const WANTED: &str = r#"{"missing": null, "decided": true, "found": ["console_scripts", "console_scripts", "nova.api.extra_spec_validators", "oslo.config.opts", "oslo.messaging.notify.drivers", "paste.filter_factory"]}"#;
/// A controller's settings, which root and Nova alone may read.
const NOVA: &str =
    "mkdir -m 750 /etc/nova && printf '[instance_ha]\\nguard = enforced\\n' >/etc/nova/nova.conf";

/// On Debian, with whichever Python it has.
pub(crate) fn installed(world: &World, suite: Suite, files: &Files) -> Result<()> {
    let machine = Machine::start(world, suite)?;
    let node = &machine.node;
    machine.install(&files.module_deb()?)?;
    works(node, &[])?;
    node.exec(&["test", "-e", "/usr/share/man/man8/nova-ext.8.gz"])?;
    // Python's own files are made when it is installed, not by whoever is first to import it.
    node.sh("ls /usr/lib/python3/dist-packages/nova_ext/__pycache__/doctor.*.pyc")?;
    let said = machine.apt(&["remove", "python3-nova-ext"])?;
    let said = format!("{}{}", said.stdout, said.stderr);
    if said.contains("will not start without it") {
        return fail(format!("nova.conf does not name it: {said}"));
    }
    let left = node.sh("find / -xdev -name '*nova_ext*' -not -path '/proc/*' -not -path '/rig/*' | sort")?;
    same("after the removal", "", &left)?;
    // Who removes it while Nova wants it hears so.
    machine.install(&files.module_deb()?)?;
    node.sh("echo 'weight_classes = nova_ext.weighers.InstanceHAWeigher' >>/etc/nova/nova.conf")?;
    let said = machine.apt(&["purge", "python3-nova-ext"])?;
    let said = format!("{}{}", said.stdout, said.stderr);
    if said.contains("will not start without it") { Ok(()) } else { fail(said) }
}

/// It is imported and decides; its programs say what they are to say, to root and to others.
fn works(node: &Node, environment: &[&str]) -> Result<()> {
    same("its use", WANTED, node.exec(&command(environment, &["python3", "-c", USED]))?.trim())?;
    node.sh(NOVA)?;
    for (who, group) in [("root", "0"), ("nobody", "65534")] {
        let doctor = node.run(&command(
            environment,
            &["setpriv", "--reuid", who, "--regid", group, "--clear-groups", "nova-ext", "doctor", "--json"],
        ))?;
        if doctor.code() != 1 || !doctor.stderr.is_empty() {
            return fail(format!("{who}'s doctor: {}: {}", doctor.code(), doctor.stderr));
        }
        let found: Value = serde_json::from_str(&doctor.stdout).context(&doctor.stdout)?;
        let of = |about: &str| {
            let all = found.as_array().map(Vec::as_slice).unwrap_or_default();
            all.iter().find(|one| one["about"] == about).cloned().unwrap_or_default()
        };
        same("the package", "ok", of("package")["level"].as_str().unwrap_or_default())?;
        let wanted = if who == "root" {
            "guard = enforced cannot be used"
        } else {
            "cannot be read (Permission denied)"
        };
        let conf = of("nova.conf");
        if conf["level"] != "fail" || !conf["text"].to_string().contains(wanted) {
            return fail(format!("{who}: {conf}"));
        }
    }
    let hook = node.run(&command(environment, &["sh", "-c", "echo '{}' | nova-ext-hook"]))?;
    same("what is no occasion", "64", &hook.code().to_string())
}

fn command<'a>(environment: &[&'a str], words: &[&'a str]) -> Vec<&'a str> {
    [&["env"], environment, words].concat()
}

/// Both packages hold the same, and the RPM owns its folders.
pub(crate) fn rpm_contents(_: &World, files: &Files) -> Result<()> {
    let (deb, rpm) = (files.module_deb()?, files.module_rpm()?);
    let ask = |what| query_package(&rpm, what);
    for what in ["--conflicts", "--obsoletes", "--configfiles"] {
        same(what, "", ask(what)?.trim())?;
    }
    let deb = run::host(&["sh", "-c", &format!("dpkg-deb --fsys-tarfile {} | tar -t", deb.display())])?;
    let deb: BTreeSet<_> = deb
        .lines()
        .filter_map(|line| line.strip_prefix("./usr/lib/python3/dist-packages/"))
        .map(|line| line.trim_end_matches('/').to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    let listed = ask("--queryformat=[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\n]")?;
    let own: BTreeSet<_> = listed
        .lines()
        .filter_map(|line| line.split_once(&format!("{RPM_SITE}/")))
        .map(|(_, path)| path.to_owned())
        .collect();
    if deb != own {
        return fail(format!(
            "only in one of the packages: {:?}",
            deb.symmetric_difference(&own).collect::<Vec<_>>()
        ));
    }
    let folder = format!("drwxr-xr-x root:root {RPM_SITE}/nova_ext");
    if listed.lines().any(|line| line == folder) { Ok(()) } else { fail(format!("no {folder}: {listed}")) }
}

/// As on RHEL, as far as this machine's Python is another one.
pub(crate) fn rpm_installed(world: &World, files: &Files) -> Result<()> {
    let machine = start(world, files, "python-module")?;
    let node = &machine.node;
    let package = machine.bring(&files.module_rpm()?)?;
    let well = |words: &[&str]| {
        let said = run_rpm(node, words)?;
        if said.code() == 0 { Ok(said) } else { fail(format!("{words:?}: {}{}", said.stdout, said.stderr)) }
    };
    // Of Python 3.9 there is none here.
    well(&["--install", "--nodeps", &package])?;
    works(node, &[&format!("PYTHONPATH={RPM_SITE}")])?;
    same("rpm --verify", "", well(&["--verify", "--nodeps", "python3-nova-ext"])?.stdout.trim())?;
    let said = well(&["--erase", "python3-nova-ext"])?;
    // Debian's rpm itself says that it is not to be used.
    let said = format!("{}{}", said.stdout, said.stderr);
    let said: Vec<_> = said.lines().filter(|line| !line.starts_with("rpm: ")).collect();
    same("what the removal says", "", &said.join("\n"))?;
    same("after the removal", "", &node.sh(&format!("find {RPM_SITE} -name '*nova_ext*'"))?)
}
