//! The agents of the recovery, as pcs and crmsh see them.

use pcmk_interop::images::workspace;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, daemon, fail, run};

use super::bed::{Bed, expect};

/// A cloud that nobody answers for: fencing has to work all the same.
const CLOUD: &str =
    "auth_url = \"http://127.0.0.1:9/v3\"\nusername = \"u\"\npassword = \"p\"\nproject_name = \"admin\"\n";
/// Parameters that operators know from the agents before it, and its own.
const PARAMETERS: &[&str] = &[
    "auth_url",
    "username",
    "password",
    "tenant_name",
    "record_only",
    "no_shared_storage",
    "domain",
    "credentials",
    "map",
    "power",
    "power_timeout",
    "nova_timeout",
];

/// `pcs stonith`, with levels in both forms that topologies of computes have, and `pcs resource`.
pub(crate) fn pcs(bed: &Bed) -> Result<()> {
    bed.remote()?;
    install(bed)?;
    expect(&bed.pcs("stonith list fence_nova")?, &["fence_nova - "])?;
    expect(&bed.pcs("stonith describe fence_nova")?, PARAMETERS)?;
    bed.pcs(
        "stonith create nova fence_nova power=no record_only=1 nova_timeout=2 pcmk_host_list=r1 \
         op monitor interval=60s timeout=30s",
    )?;
    started(bed, "nova")?;
    expect(&bed.pcs("stonith config nova")?, &["fence_nova", "record_only=1"])?;
    // A switch and then Nova in one level; or a level each, where fence_nova has a power device of its own.
    bed.pcs("stonith level add 1 r1 power nova")?;
    expect(&bed.pcs("stonith level")?, &["power", "nova"])?;
    bed.pcs("stonith level verify")?;
    bed.pcs("stonith level clear")?;
    bed.pcs("stonith level add 1 r1 power")?;
    bed.pcs("stonith level add 2 r1 nova")?;
    bed.pcs("stonith level verify")?;
    bed.pcs("stonith level clear")?;
    let said = bed.refused("c1", "pcs stonith create wrong fence_nova nova_timout=2")?;
    expect(&said, &["nova_timout"])?;
    bed.pcs("stonith delete nova")?;

    expect(&bed.pcs("resource describe ocf:pcmk-remote:nova-evacuate")?, &["nova-evacuate"])?;
    bed.pcs("resource create evacuate ocf:pcmk-remote:nova-evacuate --disabled")?;
    expect(&bed.pcs("resource config evacuate")?, &["provider=pcmk-remote type=nova-evacuate"])?;
    bed.cluster.settle()?;
    bed.pcs("resource delete evacuate").map(drop)
}

/// The same with crmsh.
pub(crate) fn crm(bed: &Bed) -> Result<()> {
    bed.remote()?;
    install(bed)?;
    expect(&bed.crm("ra list stonith")?, &["fence_nova"])?;
    expect(&bed.crm("ra info stonith:fence_nova")?, PARAMETERS)?;
    expect(&bed.crm("ra info ocf:pcmk-remote:nova-evacuate")?, &["nova-evacuate"])?;
    bed.crm(
        "configure primitive nova stonith:fence_nova params power=no record_only=1 nova_timeout=2 pcmk_host_list=r1 \
         op monitor interval=60s timeout=30s",
    )?;
    started(bed, "nova")?;
    // Newer pcs leaves an empty topology behind, which crmsh takes for one. There may be none.
    let _ = bed.cluster.exec(&["cibadmin", "--delete", "--xpath", "//fencing-topology"]);
    bed.crm("configure fencing_topology r1: power,nova")?;
    expect(&bed.crm("configure show")?, &["fencing_topology", "r1: power,nova"])?;
    bed.cluster.exec(&["cibadmin", "--delete", "--force", "--xpath", "//fencing-topology"])?;
    bed.crm("configure primitive evacuate ocf:pcmk-remote:nova-evacuate meta target-role=Stopped")?;
    bed.cluster.settle()?;
    bed.crm("configure delete evacuate")?;
    bed.crm("resource stop nova")?;
    bed.cluster.settle()?;
    bed.crm("configure delete nova").map(drop)
}

/// Lays out on both cluster nodes what the package holds.
fn install(bed: &Bed) -> Result<()> {
    let script = workspace().join("packaging/install").display().to_string();
    let programs = daemon::target_dir().join("daemon").display().to_string();
    for name in ["c1", "c2"] {
        let node = bed.node(name)?;
        run::host(&[&script, &node.path("/")?.display().to_string(), "deb", &programs, "nova-ha"])?;
        node.exec_with(&["sh", "-c", "umask 077; cat >/etc/pcmk-remote/cloud.toml"], CLOUD)?;
        if !node.run(&["test", "-x", "/usr/sbin/fence_nova"])?.status.success() {
            return fail(format!("{name} has no fence_nova"));
        }
    }
    Ok(())
}

fn started(bed: &Bed, id: &str) -> Result<()> {
    wait::until(secs(60), &format!("{id} to be started"), || {
        Ok(bed.cluster.status()?.place(id).starts_with("Started").then_some(()))
    })?;
    bed.cluster.settle()
}
