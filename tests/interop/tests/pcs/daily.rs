//! What operators do with pcs on a cluster node, day by day.

use std::time::SystemTime;

use pcmk_interop::cib::Primitive;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

use super::bed::{Bed, expect};

pub(crate) fn status(bed: &Bed) -> Result<()> {
    bed.remote()?;
    bed.witness("w_status", "r1")?;
    expect(
        &bed.pcs("status")?,
        &[
            "RemoteOnline: [ r1 ]",
            "r1\t(ocf:pacemaker:remote):\t Started c",
            "w_status\t(ocf:rig:witness):\t Started r1",
        ],
    )?;
    let nodes = bed.pcs("status nodes")?;
    let remote = nodes.split_once("Pacemaker Remote Nodes:").map_or("", |(_, remote)| remote);
    expect(remote, &[" Online: r1\n"])?;
    expect(&bed.pcs("status resources w_status")?, &["Started r1"])?;
    expect(&bed.pcs("resource config r1")?, &["ocf", "pacemaker", "remote", "reconnect_interval=2s"])?;
    expect(&bed.pcs("status pcsd r1")?, &["r1: Online"])
}

/// Permanent, transient and utilization attributes of the remote node, and a rule that uses one.
pub(crate) fn node_attributes(bed: &Bed) -> Result<()> {
    bed.remote()?;
    bed.pcs("node attribute r1 rack=7")?;
    expect(&bed.pcs("node attribute")?, &["r1: rack=7"])?;
    bed.pcs("node utilization r1 cpu=4")?;
    expect(&bed.pcs("node utilization")?, &["r1: cpu=4"])?;
    bed.cluster.add(&Primitive::witness("w_attr").monitor("1s", "20s"))?;
    bed.pcs("constraint location w_attr rule score=1000 rack eq 7")?;
    bed.cluster.wait_place("w_attr", "Started on r1", secs(40))?;
    bed.goes_on("r1", "w_attr")?;
    bed.pcs("node attribute r1 rack=")?;
    let left = bed.pcs("node attribute")?;
    if left.contains("rack") { fail(format!("the attribute is still there: {left}")) } else { Ok(()) }
}

pub(crate) fn standby_and_maintenance(bed: &Bed) -> Result<()> {
    bed.remote()?;
    let before = SystemTime::now();
    bed.witness("w_standby", "r1")?;
    bed.pcs("node standby r1 --wait=60")?;
    bed.expect_deeds("r1", "w_standby", &["start=0", "stop=0"])?;
    let nodes = bed.pcs("status nodes")?;
    let remote = nodes.split_once("Pacemaker Remote Nodes:").map_or("", |(_, remote)| remote);
    expect(remote, &[" Standby: r1\n"])?;
    bed.pcs("node unstandby r1 --wait=60")?;
    bed.cluster.wait_place("w_standby", "Started on r1", secs(40))?;

    bed.pcs("node maintenance r1 --wait=60")?;
    bed.cluster.wait_place("w_standby", "Started on r1 unmanaged", secs(40))?;
    bed.pcs("resource disable w_standby")?;
    bed.cluster.settle()?;
    bed.expect_deeds("r1", "w_standby", &["start=0", "stop=0", "start=0"])?;
    bed.pcs("resource enable w_standby")?;
    bed.pcs("node unmaintenance r1 --wait=60")?;
    bed.cluster.wait_place("w_standby", "Started on r1", secs(40))?;
    bed.goes_on("r1", "w_standby")?;
    bed.expect_deeds("r1", "w_standby", &["start=0", "stop=0", "start=0"])?;
    bed.not_fenced(before)
}

/// Move, clear, ban, restart, failures and their cleanup, refresh, update of a parameter.
pub(crate) fn resource_commands(bed: &Bed) -> Result<()> {
    bed.remote()?;
    let before = SystemTime::now();
    bed.witness("w_cmd", "r1")?;
    bed.pcs("resource ban w_cmd r1 --wait=60")?;
    bed.expect_deeds("r1", "w_cmd", &["start=0", "stop=0"])?;
    bed.pcs("resource clear w_cmd")?;
    bed.cluster.wait_place("w_cmd", "Started on r1", secs(40))?;
    bed.cluster.settle()?;

    bed.pcs("resource restart w_cmd --wait=60")?;
    bed.expect_deeds("r1", "w_cmd", &["start=0", "stop=0", "start=0", "stop=0", "start=0"])?;
    bed.cluster.settle()?;

    bed.pcs("resource update w_cmd soft=two --wait=60")?;
    wait::until(secs(30), "the reload", || {
        Ok(bed.cluster.deeds("r1", "w_cmd", 0)?.contains(&"reload-agent=0".to_owned()).then_some(()))
    })?;
    bed.ok("r1", "rm /run/witness-w_cmd")?;
    wait::until(secs(40), "the failure to be counted", || {
        let said = bed.pcs("resource failcount show w_cmd")?;
        Ok(said.contains("r1: 1").then_some(()))
    })?;
    bed.cluster.wait_place("w_cmd", "Started on r1", secs(40))?;
    bed.cluster.settle()?;
    expect(&bed.pcs("resource cleanup w_cmd node=r1")?, &["Cleaned up w_cmd on r1"])?;
    bed.cluster.settle()?;
    expect(&bed.pcs("resource failcount show w_cmd")?, &["No failcounts"])?;
    expect(&bed.pcs("resource refresh w_cmd node=r1")?, &["Cleaned up w_cmd on r1"])?;
    bed.cluster.settle()?;
    bed.cluster.wait_place("w_cmd", "Started on r1", secs(40))?;

    bed.pcs("resource delete w_cmd")?;
    let stopped = bed.deeds("r1", "w_cmd")?;
    if stopped.last().map(String::as_str) != Some("stop=0") {
        return fail(format!("deleted, but not stopped: {stopped:?}"));
    }
    bed.not_fenced(before)
}

/// `pcs resource debug-*` runs the agent where pcs runs, which is not where the resource is.
pub(crate) fn debug_actions(bed: &Bed) -> Result<()> {
    bed.remote()?;
    bed.witness("w_debug", "r1")?;
    let said = bed.refused("c1", "pcs resource debug-monitor w_debug --full")?;
    expect(&said.to_lowercase(), &["w_debug", "returned 7 (not running)"])?;
    bed.goes_on("r1", "w_debug")?;
    bed.expect_deeds("r1", "w_debug", &["start=0"])
}
