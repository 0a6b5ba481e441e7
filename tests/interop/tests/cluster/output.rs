//! Agents that print what does not fit into XML.

use pcmk_interop::cib::Primitive;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

use super::basics::WISH;
use super::bed::Bed;

pub(crate) fn utf8(bed: &Bed) -> Result<()> {
    prints(bed, "utf8")
}

pub(crate) fn binary(bed: &Bed) -> Result<()> {
    prints(bed, "binary")
}

pub(crate) fn large(bed: &Bed) -> Result<()> {
    prints(bed, "large")
}

/// A resource whose start and monitors print something starts and is monitored all the same.
fn prints(bed: &Bed, what: &str) -> Result<()> {
    let id = format!("w_{what}");
    bed.started(&Primitive::witness(&id).param("output", what).monitor("1s", "20s").on("r1", WISH))?;
    bed.goes_on("r1", &id, 1000, 2)?;
    bed.expect_deeds("r1", &id, 0, &["monitor=7", "start=0"])?;
    let status = bed.cluster.status()?;
    if status.failures.is_empty() && status.online("r1") {
        return Ok(());
    }
    fail(format!("{:?}", status.failures))
}

pub(crate) fn exit_reason_utf8(bed: &Bed) -> Result<()> {
    bed.started(&Primitive::witness("w_reason").monitor("1s", "20s").on("r1", WISH))?;
    let reason = "told to fail: größer ✗ <&>";
    bed.r1()?.sh(&format!("echo '1 {reason}' >/run/witness-w_reason.monitor.rc"))?;
    let seen = wait::until(secs(30), "the failure to be shown", || {
        let failures = bed.cluster.status()?.failures;
        Ok(failures.into_iter().find(|failure| failure.op_key == "w_reason_monitor_1000"))
    });
    bed.r1()?.sh("rm /run/witness-w_reason.monitor.rc")?;
    let seen = seen?;
    if seen.reason == reason { Ok(()) } else { fail(format!("{:?} instead of {reason:?}", seen.reason)) }
}
