//! The graded response of a node's health.

use pcmk_interop::nova::{UNIT, main_pid};
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

use super::bed::{Bed, is_degraded};

/// A dead nova-compute is restarted. If that does not help, the operator's `fail`, with a fence behind it, is held back
/// as long as guests run, for whom nova-compute is not needed.
pub(crate) fn guests_are_spared(bed: &Bed) -> Result<()> {
    let r1 = bed.r1();
    // QEMU alone: libvirt's users are not those of this node's file system.
    let guest = ["-machine", "none", "-nodefaults", "-display", "none", "-S"];
    let qemu = ["systemd-run", "-q", "--unit=guest", "--collect", "qemu-system-x86_64"];
    r1.node.exec(&[&qemu[..], &guest].concat())?;
    bed.watch_health()?;
    bed.wait_colour("green")?;

    let pid = main_pid(&r1.node, UNIT)?;
    r1.node.exec(&["kill", "-KILL", &pid.to_string()])?;
    r1.wait_restarted(&bed.control, pid)?;
    bed.wait_colour("green")?;

    // One restart is all that is allowed here.
    r1.node.exec(&["kill", "-KILL", &main_pid(&r1.node, UNIT)?.to_string()])?;
    bed.wait_colour("red")?;
    let shown = wait::until(secs(20), "what cluster status says of it", || {
        let failures = bed.cluster.status()?.failures;
        Ok(failures.into_iter().find(|failure| failure.op_key == "health_monitor_10000"))
    })?;
    if !is_degraded(&shown.status) || !shown.reason.contains("held back, as 1 guest runs") {
        return fail(format!("{shown:?}"));
    }
    bed.cluster.settle()?;
    bed.cluster.wait_place("health", "Started on r1", secs(1))?;

    r1.node.exec(&["systemctl", "start", UNIT])?;
    bed.wait_colour("green")?;
    bed.control.wait_reports(&r1.node)?;
    r1.node.exec(&["systemctl", "stop", "guest"])?;
    bed.cluster.remove("health")
}
