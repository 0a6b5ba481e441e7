//! The native client and libvirt's own say the same.

use std::collections::BTreeMap;

use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};
use serde::Deserialize;

use super::bed::Bed;

/// A domain as `libvirt-probe domains --json` tells it.
#[derive(Debug, Deserialize)]
struct Native {
    name: String,
    uuid: String,
    id: Option<i32>,
    state: String,
    reason: String,
}

/// Domains, their numbers, states and reasons, and the daemon's version, over a table of situations.
pub(crate) fn agrees(bed: &Bed) -> Result<()> {
    let (compute, node) = (&bed.compute, bed.compute.node());
    let sh = |line: &str| node.sh(line).map(drop);
    same(bed, "no guest")?;
    compute.create(2, &[])?;
    same(bed, "paused by their creator")?;
    compute.start_storage()?;
    compute.create(1, &["--first", "3", "--run", "--disk"])?;
    compute.create(1, &["--first", "4", "--run"])?;
    same(bed, "running")?;
    sh("virsh -q suspend instance-00000004")?;
    same(bed, "paused by somebody")?;
    sh("virsh -q resume instance-00000004")?;
    same(bed, "running again")?;
    sh("virsh dumpxml --inactive instance-00000004 | sed '/<uuid>/d; s/instance-00000004/büro \"1\"/' >/run/p.xml
        virsh -q define /run/p.xml")?;
    same(bed, "defined and never started, with a name beyond ASCII")?;
    sh("virsh -q start 'büro \"1\"'")?;
    same(bed, "started")?;
    sh("virsh -q destroy 'büro \"1\"'")?;
    same(bed, "destroyed")?;
    sh("kill -9 $(cat /run/libvirt/qemu/instance-00000004.pid)")?;
    wait::until(secs(20), "libvirt to notice that a guest is gone", || {
        Ok((!node.run(&["virsh", "-q", "domid", "instance-00000004"])?.stdout.contains(char::is_numeric))
            .then_some(()))
    })?;
    same(bed, "one killed")?;
    compute.wait_reading("instance-00000003")?;
    compute.lose_storage()?;
    wait::until(secs(20), "a guest to be paused by an I/O error", || {
        let state = node.run(&["virsh", "-q", "domstate", "--reason", "instance-00000003"])?.stdout;
        if state.contains("I/O error") { Ok(Some(())) } else { fail(state) }
    })?;
    same(bed, "paused by an I/O error")?;
    sh("virsh -q undefine 'büro \"1\"'")?;
    compute.restart()?;
    same(bed, "read anew after a restart")
}

fn same(bed: &Bed, situation: &str) -> Result<()> {
    let (compute, node) = (&bed.compute, bed.compute.node());
    let said = node.exec(&["libvirt-probe", "domains", "--json"])?;
    let native: Vec<Native> = serde_json::from_str(&said).context(format!("{situation}: {said}"))?;
    let binding = compute.official("qemu:///system")?;
    let mut official = BTreeMap::new();
    for domain in &binding.domains {
        let words = node.exec(&["virsh", "-q", "domstate", "--reason", &domain.name])?;
        let id = (domain.id >= 0).then_some(domain.id);
        official.insert(domain.uuid.clone(), (domain.name.clone(), id, words.trim().to_owned()));
    }
    let ours: BTreeMap<_, _> = native
        .into_iter()
        .map(|domain| {
            (domain.uuid, (domain.name, domain.id, format!("{} ({})", domain.state, domain.reason)))
        })
        .collect();
    if ours != official {
        return fail(format!("{situation}: the probe says {ours:?}, libvirt's own clients {official:?}"));
    }
    let (major, minor, release) =
        (binding.library / 1_000_000, binding.library / 1000 % 1000, binding.library % 1000);
    let version = format!("{major}.{minor}.{release}");
    let check = compute.check(&[])?;
    if check.json.contains(&format!("\"{version}\"")) {
        return Ok(());
    }
    fail(format!("{situation}: libvirt is {version}, the probe says {}", check.json))
}
