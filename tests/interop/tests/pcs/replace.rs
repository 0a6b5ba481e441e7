//! Replacing the daemon of a node in use, with the commands that `docs/operations.md` gives.

use std::time::SystemTime;

use pcmk_interop::daemon::put;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Daemon, Result};

use super::bed::Bed;

pub(crate) fn with_pcs(bed: &Bed) -> Result<()> {
    there_and_back(
        bed,
        "w_pcs",
        "pcs property set maintenance-mode=true",
        "pcs resource refresh r1",
        "pcs property set maintenance-mode=false",
    )
}

pub(crate) fn with_crm(bed: &Bed) -> Result<()> {
    there_and_back(
        bed,
        "w_crmsh",
        "crm configure property maintenance-mode=true",
        "crm resource refresh r1",
        "crm configure property maintenance-mode=false",
    )
}

/// From the daemon under test to the C one and back; when that is the one under test, it is restarted twice.
fn there_and_back(bed: &Bed, resource: &str, on: &str, refresh: &str, off: &str) -> Result<()> {
    bed.remote()?;
    let before = SystemTime::now();
    bed.witness(resource, "r1")?;
    for daemon in [Daemon::Theirs, bed.daemon] {
        bed.ok("c1", on)?;
        wait::until(secs(30), "the resource to be left alone", || {
            Ok((bed.cluster.status()?.place(resource) == "Started on r1 unmanaged").then_some(()))
        })?;
        bed.cluster.settle()?;
        bed.ok("r1", "systemctl stop pacemaker_remote")?;
        install(bed, daemon)?;
        bed.ok("r1", "systemctl daemon-reload && systemctl start pacemaker_remote")?;
        bed.ok("c1", refresh)?;
        bed.ok("c1", off)?;
        bed.connected("r1")?;
        bed.cluster.wait_place(resource, "Started on r1", secs(40))?;
        bed.goes_on("r1", resource)?;
    }
    bed.expect_deeds("r1", resource, &["start=0"])?;
    bed.not_fenced(before)
}

/// Puts a daemon on r1, as the exchange of the packages does.
fn install(bed: &Bed, daemon: Daemon) -> Result<()> {
    let node = bed.node("r1")?;
    if daemon == Daemon::Ours {
        return daemon.install(&node.path("/")?);
    }
    let theirs = bed.suite().layer("remote")?.join("usr/sbin/pacemaker-remoted");
    put(&theirs, &node.path("/usr/sbin/pacemaker-remoted")?, 0o755)?;
    bed.ok("r1", "rm -f /etc/systemd/system/pacemaker_remote.service").map(drop)
}
