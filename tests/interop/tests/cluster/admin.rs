//! What an administrator does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pcmk_interop::cib::Primitive;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

use super::basics::WISH;
use super::bed::Bed;

pub(crate) fn cleanup_and_refresh(bed: &Bed) -> Result<()> {
    let cluster = &bed.cluster;
    bed.started(&Primitive::witness("w_clean").monitor("1s", "20s").on("r1", WISH))?;
    bed.goes_on("r1", "w_clean", 1000, 1)?;
    bed.r1()?.exec(&["rm", "/run/witness-w_clean"])?;
    bed.expect_deeds("r1", "w_clean", 0, &["monitor=7", "start=0", "stop=0", "start=0"])?;
    cluster.settle()?;

    let from = cluster.count("r1", "w_clean")?;
    cluster.exec(&["crm_resource", "--cleanup", "-r", "w_clean", "--node", "r1"])?;
    bed.expect_deeds("r1", "w_clean", from, &["monitor=0"])?;
    cluster.settle()?;
    let status = cluster.status()?;
    if !status.failures.is_empty() {
        return fail(format!("failures are left: {:?}", status.failures));
    }

    let from = cluster.count("r1", "w_clean")?;
    cluster.exec(&["crm_resource", "--refresh", "-r", "w_clean", "--node", "r1"])?;
    bed.expect_deeds("r1", "w_clean", from, &["monitor=0"])?;
    cluster.wait_place("w_clean", "Started on r1", secs(20))?;
    bed.goes_on("r1", "w_clean", 1000, 2)
}

pub(crate) fn unmanage(bed: &Bed) -> Result<()> {
    let cluster = &bed.cluster;
    bed.started(&Primitive::witness("w_un").monitor("1s", "20s").on("r1", WISH))?;
    let from = cluster.count("r1", "w_un")?;
    cluster.set_meta("w_un", "is-managed", "false")?;
    cluster.set_meta("w_un", "target-role", "Stopped")?;
    cluster.settle()?;
    cluster.wait_place("w_un", "Started on r1 unmanaged", secs(20))?;
    bed.goes_on("r1", "w_un", 1000, 2)?;
    bed.expect_deeds("r1", "w_un", from, &[])?;
    cluster.set_meta("w_un", "is-managed", "true")?;
    cluster.wait_place("w_un", "Stopped", secs(20))?;
    bed.expect_deeds("r1", "w_un", from, &["stop=0"])
}

pub(crate) fn maintenance_mode(bed: &Bed) -> Result<()> {
    let cluster = &bed.cluster;
    bed.started(&Primitive::witness("w_maint").monitor("1s", "20s").on("r1", WISH))?;
    bed.goes_on("r1", "w_maint", 1000, 1)?;
    let from = cluster.count("r1", "w_maint")?;
    cluster.set_property("maintenance-mode", "true")?;
    wait::until(secs(20), "the recurring monitor to be silent for 3 s", || {
        let last =
            cluster.calls("r1")?.iter().rfind(|call| call.resource == "w_maint").map_or(0, |call| call.at);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok((now.saturating_sub(Duration::from_millis(last)) > secs(3)).then_some(()))
    })?;
    bed.r1()?.exec(&["rm", "/run/witness-w_maint"])?;
    cluster.settle()?;
    bed.expect_deeds("r1", "w_maint", from, &[])?;
    cluster.set_property("maintenance-mode", "false")?;
    // Now the cluster finds out what happened meanwhile.
    bed.expect_deeds("r1", "w_maint", from, &["stop=0", "start=0"])?;
    bed.goes_on("r1", "w_maint", 1000, 2)
}
