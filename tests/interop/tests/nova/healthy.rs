//! Nothing is wrong.

use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

use super::bed::{Bed, was_fine_since};

/// Two minutes in which nothing was done to nova-compute on r2, in the end by the cluster's resource, too: its connections are silent for up to half a minute,
/// which must not look like a fault.
pub(crate) fn idle(bed: &Bed) -> Result<()> {
    let (since, r2) = (bed.ready, bed.r2());
    wait::until(secs(130), "two quiet minutes", || Ok((since.elapsed() > secs(120)).then_some(())))?;
    was_fine_since(&bed.quiet, since)?;
    // It reports every ten seconds.
    let reports = bed.control.reports(&r2.node)?.unwrap_or(0);
    if reports < 10 { fail(format!("it has reported {reports} times only")) } else { Ok(()) }
}
