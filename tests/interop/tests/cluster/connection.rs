//! The connection between cluster and remote node: orderly stop, move, take-over.

use std::time::SystemTime;

use pcmk_interop::cib::Primitive;
use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

use super::basics::WISH;
use super::bed::Bed;

/// `systemctl stop pacemaker_remote`: resources leave in an orderly way, nobody is fenced.
pub(crate) fn stop_drains(bed: &Bed) -> Result<()> {
    let (cluster, node, start) = (&bed.cluster, bed.r1()?, SystemTime::now());
    bed.started(&Primitive::witness("w_drain").monitor("1s", "20s").on("r1", WISH).on("r2", WISH / 2))?;
    node.run_long(&["systemctl", "stop", "pacemaker_remote"], secs(60))?;
    cluster.wait_place("w_drain", "Started on r2", secs(40))?;
    cluster.wait_place("r1", "Stopped", secs(40))?;
    wait::until_eq(secs(40), "the controller to be idle", &true, || cluster.is_idle())?;
    let fenced = cluster.fenced_since(start, "r1");
    if !fenced.is_empty() {
        return fail(format!("r1 was fenced: {fenced:?}"));
    }
    bed.expect_deeds("r1", "w_drain", 0, &["monitor=7", "start=0", "stop=0"])?;
    let result = node.exec(&["systemctl", "show", "-P", "Result", "pacemaker_remote"])?;
    if result.trim() != "success" {
        return fail(format!("the unit's result is {result}"));
    }

    node.exec(&["systemctl", "start", "pacemaker_remote"])?;
    cluster.exec(&["crm_resource", "--refresh", "-r", "r1"])?;
    cluster.wait_online("r1", secs(40))?;
    cluster.wait_place("w_drain", "Started on r1", secs(40))
}

/// `crm_resource --move` of the connection: the resources on the remote node do not notice.
pub(crate) fn moves(bed: &Bed) -> Result<()> {
    let (cluster, start) = (&bed.cluster, SystemTime::now());
    bed.started(&Primitive::witness("w_stay").monitor("1s", "20s").on("r1", WISH))?;
    let from = cluster.count("r1", "w_stay")?;
    for _there_and_back in 0..2 {
        let host = cluster.status()?.host_of("r1").context("r1's connection runs nowhere")?;
        let other = if host == "c1" { "c2" } else { "c1" };
        cluster.exec(&["crm_resource", "--move", "-r", "r1", "--node", other])?;
        cluster.wait_place("r1", &format!("Started on {other}"), secs(40))?;
        cluster.settle()?;
        cluster.exec(&["crm_resource", "--clear", "-r", "r1"])?;
        cluster.settle()?;
        bed.goes_on("r1", "w_stay", 1000, 2)?;
    }
    cluster.wait_place("w_stay", "Started on r1", secs(20))?;
    bed.untouched("r1", "w_stay", from)?;
    let fenced = cluster.fenced_since(start, "r1");
    if fenced.is_empty() { Ok(()) } else { fail(format!("r1 was fenced: {fenced:?}")) }
}

/// The cluster node that holds the connection dies: the other one takes over, and the resources on the
/// remote node do not notice.
pub(crate) fn cluster_node_dies(bed: &Bed) -> Result<()> {
    let (cluster, start) = (&bed.cluster, SystemTime::now());
    bed.started(&Primitive::witness("w_live").monitor("1s", "20s").on("r1", WISH))?;
    let from = cluster.count("r1", "w_live")?;
    let host = cluster.status()?.host_of("r1").context("r1's connection runs nowhere")?;
    let other = if host == "c1" { "c2" } else { "c1" };
    cluster.stay_off(&host, true);
    cluster.node(&host)?.power_off()?;
    cluster.wait_place("r1", &format!("Started on {other}"), secs(90))?;
    cluster.wait_online("r1", secs(30))?;
    cluster.settle()?;
    bed.goes_on("r1", "w_live", 1000, 2)?;
    cluster.wait_place("w_live", "Started on r1", secs(20))?;
    if cluster.fenced_since(start, &host).is_empty() {
        return fail(format!("{host} was not fenced"));
    }
    let fenced = cluster.fenced_since(start, "r1");
    if !fenced.is_empty() {
        return fail(format!("r1 was fenced: {fenced:?}"));
    }
    bed.untouched("r1", "w_live", from)?;
    cluster.stay_off(&host, false);
    cluster.switch_on(&host)?;
    wait::until(secs(60), &format!("{host} to be back"), || Ok(cluster.status()?.online(&host).then_some(())))
}
