//! nova-compute's process: gone, frozen.

use std::time::Instant;

use pcmk_interop::nova::{UNIT, main_pid};
use pcmk_interop::wait::secs;
use pcmk_interop::{Result, fail};

use super::bed::Bed;

/// The only one of these faults that a list of processes shows.
pub(crate) fn killed(bed: &Bed) -> Result<()> {
    let r1 = bed.r1();
    let watch = r1.watch()?;
    let pid = main_pid(&r1.node, UNIT)?;
    let fault = Instant::now();
    r1.node.exec(&["kill", "-KILL", &pid.to_string()])?;
    let words = format!("process {pid} has ended");
    watch.wait(fault, "nova-compute", "failed", secs(1))?.expect("process", &words)?;
    if !r1.seen_by_ps()?.is_empty() {
        return fail("it is still in the list of processes");
    }
    r1.node.exec(&["systemctl", "start", UNIT])?;
    r1.wait_restarted(&bed.control, pid)
}

/// The cluster hears of it at once and not at the next monitor, and starts it again.
pub(crate) fn killed_in_a_cluster(bed: &Bed) -> Result<()> {
    let r1 = bed.r1();
    bed.manage("restart")?;
    let pid = main_pid(&r1.node, UNIT)?;
    let fault = Instant::now();
    r1.node.exec(&["kill", "-KILL", &pid.to_string()])?;
    let reason = bed.wait_failure(r1, fault, secs(6))?;
    if !reason.starts_with("process: ") {
        return fail(reason);
    }
    r1.wait_restarted(&bed.control, pid)
}

pub(crate) fn frozen(bed: &Bed) -> Result<()> {
    let r1 = bed.r1();
    bed.manage("restart")?;
    let watch = r1.watch()?;
    let pid = main_pid(&r1.node, UNIT)?;
    let fault = Instant::now();
    r1.node.exec(&["kill", "-STOP", &pid.to_string()])?;
    r1.ps_is_content()?;
    watch.wait(fault, "nova-compute", "failed", secs(15))?.expect("process", "is stopped")?;
    let reason = bed.wait_failure(r1, fault, secs(15))?;
    if !reason.contains("is stopped") {
        return fail(reason);
    }
    r1.wait_restarted(&bed.control, pid)
}
