//! Agents that print what does not fit into XML.

use pcmk_interop::cib::Primitive;
use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};
use roxmltree::Document;

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
    gives_reason(bed, "w_reason", "größer als erwartet ✗")
}

pub(crate) fn exit_reason_markup(bed: &Bed) -> Result<()> {
    gives_reason(bed, "w_markup", r#"a < b && "c" > d"#)
}

pub(crate) fn exit_reason_utf8_and_markup(bed: &Bed) -> Result<()> {
    gives_reason(bed, "w_both", "größer ✗ <&>")
}

/// A monitor fails and says why: the cluster's status has exactly these words.
fn gives_reason(bed: &Bed, id: &str, reason: &str) -> Result<()> {
    bed.started(&Primitive::witness(id).monitor("1s", "20s").on("r1", WISH))?;
    let file = format!("/run/witness-{id}.monitor.rc");
    bed.r1()?.exec_with(&["sh", "-c", &format!("cat >{file}")], &format!("1 {reason}\n"))?;
    let seen = wait::until(secs(20), "the failure to be recorded", || {
        // Not from crm_mon: that of 3.0.0 escapes reasons twice.
        let cib = bed.cluster.exec(&["cibadmin", "--query", "--scope", "status"])?;
        let document = Document::parse(&cib).context("the cluster's status")?;
        let key = format!("{id}_monitor_1000");
        let mut failures = document.descendants().filter(|op| op.attribute("operation_key") == Some(&key));
        Ok(failures
            .find_map(|op| op.attribute("exit-reason").filter(|said| !said.is_empty()).map(str::to_owned)))
    });
    bed.r1()?.exec(&["rm", "-f", &file])?;
    let seen = seen?;
    if seen == reason { Ok(()) } else { fail(format!("{seen:?} instead of {reason:?}")) }
}
