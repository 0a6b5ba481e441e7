//! The message bus: closed, out of reach.

use std::time::{Duration, Instant};

use pcmk_interop::nova::{UNIT, main_pid};
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

use super::bed::{Bed, Compute, is_fine};

pub(crate) fn closed(bed: &Bed) -> Result<()> {
    lost(
        bed,
        || bed.control.stop_bus(),
        secs(15),
        "no connection to the message bus",
        || bed.control.start_bus(),
    )
}

/// The cable of the machine with the bus is pulled: nothing is refused, nothing is answered.
pub(crate) fn blackholed(bed: &Bed) -> Result<()> {
    let bus = bed.control.node();
    lost(bed, || bus.link(false), secs(90), "out of reach", || bus.link(true))
}

/// Both kinds of nova-compute, and the cluster's view of them. No restart brings the bus back, and the cluster was told
/// to leave them alone.
fn lost(
    bed: &Bed,
    fault: impl Fn() -> Result<()>,
    within: Duration,
    words: &str,
    repair: impl Fn() -> Result<()>,
) -> Result<()> {
    bed.manage("ignore")?;
    let watches = bed.computes.iter().map(Compute::watch).collect::<Result<Vec<_>>>()?;
    for watch in &watches {
        wait::until(secs(90), "the time to be over that a start excuses", || {
            let lines = watch.since(bed.ready, "nova-compute");
            Ok(lines.last().is_some_and(|line| line.said.grace.is_none()).then_some(()))
        })?;
    }
    let pid = main_pid(&bed.r2().node, UNIT)?;
    let begun = Instant::now();
    let seen = fault().and_then(|()| {
        for (compute, watch) in bed.computes.iter().zip(&watches) {
            watch.wait(begun, "nova-compute", "failed", within)?.expect("bus", words)?;
            compute.ps_is_content()?;
        }
        for compute in &bed.computes {
            let reason = bed.wait_failure(compute, begun, within)?;
            if !reason.contains(words) {
                return fail(reason);
            }
        }
        Ok(())
    });
    repair()?;
    seen?;
    for (compute, watch) in bed.computes.iter().zip(&watches) {
        bed.control.wait_reports(&compute.node)?;
        is_fine(watch)?;
    }
    if main_pid(&bed.r2().node, UNIT)? == pid { Ok(()) } else { fail("it was restarted") }
}
