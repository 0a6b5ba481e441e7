//! pcs and crmsh typed on the remote node itself: everything goes through the daemon to the cluster.

use pcmk_interop::Result;
use pcmk_interop::wait::{self, secs};

use super::bed::{Bed, expect};

pub(crate) fn pcs(bed: &Bed) -> Result<()> {
    bed.remote()?;
    bed.witness("w_here", "r1")?;
    let status = bed.ok("r1", "pcs status")?;
    expect(&status, &["RemoteOnline: [ r1 ]", "w_here\t(ocf:rig:witness):\t Started r1"])?;
    expect(&status, &["pacemaker_remote: active/enabled"])?;
    expect(&bed.ok("r1", "pcs status nodes")?, &["Pacemaker Remote Nodes:\n Online: r1\n"])?;
    expect(&bed.ok("r1", "pcs cluster status")?, &["r1"])?;
    expect(&bed.ok("r1", "pcs resource config w_here")?, &["witness"])?;
    expect(&bed.ok("r1", "pcs property config")?, &["symmetric-cluster"])?;
    expect(&bed.ok("r1", "pcs cluster cib")?, &["<primitive id=\"w_here\""])?;

    bed.ok("r1", "pcs node attribute r1 seen=here")?;
    expect(&bed.ok("r1", "pcs node attribute")?, &["r1: seen=here"])?;
    expect(&bed.pcs("node attribute")?, &["r1: seen=here"])?;
    bed.ok("r1", "pcs resource disable w_here --wait=60")?;
    bed.expect_deeds("r1", "w_here", &["start=0", "stop=0"])?;
    bed.ok("r1", "pcs resource enable w_here --wait=60")?;
    bed.expect_deeds("r1", "w_here", &["start=0", "stop=0", "start=0"])?;
    bed.cluster.settle()?;
    expect(&bed.ok("r1", "pcs resource cleanup w_here")?, &["Cleaned up w_here on r1"])?;
    bed.ok("r1", "pcs resource create w_made ocf:rig:witness")?;
    wait::until(secs(40), "w_made to run somewhere", || {
        Ok(bed.cluster.status()?.place("w_made").starts_with("Started").then_some(()))
    })?;
    bed.ok("r1", "pcs resource delete w_made").map(drop)
}

pub(crate) fn debug_actions(bed: &Bed) -> Result<()> {
    bed.remote()?;
    bed.witness("w_force", "r1")?;
    let monitor = "pcs resource debug-monitor w_force --full";
    expect(&bed.ok("r1", monitor)?.to_lowercase(), &["w_force", "returned 0 (ok)"])?;
    bed.pcs("resource unmanage w_force")?;
    bed.cluster.wait_place("w_force", "Started on r1 unmanaged", secs(30))?;
    expect(&bed.ok("r1", "pcs resource debug-stop w_force")?.to_lowercase(), &["returned 0 (ok)"])?;
    bed.expect_deeds("r1", "w_force", &["start=0", "stop=0"])?;
    expect(&bed.refused("r1", monitor)?.to_lowercase(), &["returned 7 (not running)"])?;
    expect(&bed.ok("r1", "pcs resource debug-start w_force")?.to_lowercase(), &["returned 0 (ok)"])?;
    expect(&bed.ok("r1", monitor)?.to_lowercase(), &["returned 0 (ok)"])?;
    bed.expect_deeds("r1", "w_force", &["start=0", "stop=0", "start=0"])
}

/// Not `crm configure`: that of 4.6 wants a running cluster node.
pub(crate) fn crm(bed: &Bed) -> Result<()> {
    bed.remote()?;
    bed.witness("w_crm", "r1")?;
    expect(&bed.ok("r1", "crm status")?, &["RemoteOnline: [ r1 ]", "Started r1"])?;
    expect(&bed.ok("r1", "crm resource status w_crm")?, &["w_crm", "r1"])?;
    bed.ok("r1", "crm node attribute r1 set seen crm")?;
    expect(&bed.crm("node attribute r1 show seen")?, &["value=crm"])?;
    bed.ok("r1", "crm resource stop w_crm")?;
    bed.expect_deeds("r1", "w_crm", &["start=0", "stop=0"])?;
    bed.ok("r1", "crm resource start w_crm")?;
    bed.expect_deeds("r1", "w_crm", &["start=0", "stop=0", "start=0"])
}
