//! Resources of the classes systemd, lsb and service.

use pcmk_interop::cib::Primitive;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

use super::basics::WISH;
use super::bed::Bed;

pub(crate) fn systemd_unit(bed: &Bed) -> Result<()> {
    unit(bed, "w_sd", "systemd:rigsleep")
}

pub(crate) fn service_is_systemd_unit(bed: &Bed) -> Result<()> {
    unit(bed, "w_svc", "service:rigsleep")
}

pub(crate) fn lsb_script(bed: &Bed) -> Result<()> {
    script(bed, "w_lsb", "lsb:rig-lsb")
}

pub(crate) fn service_is_lsb_script(bed: &Bed) -> Result<()> {
    script(bed, "w_svclsb", "service:rig-lsb")
}

fn unit(bed: &Bed, id: &str, agent: &str) -> Result<()> {
    let node = bed.r1()?;
    let state = || Ok(node.run(&["systemctl", "is-active", "rigsleep"])?.stdout.trim().to_owned());
    bed.started(&Primitive::new(id, agent).monitor("1s", "20s").on("r1", WISH))?;
    wait::until_eq(secs(10), "the unit's state", &"active".to_owned(), state)?;

    let before = node.exec(&["systemctl", "show", "-P", "InvocationID", "rigsleep"])?;
    node.exec(&["systemctl", "kill", "-s", "KILL", "rigsleep"])?;
    wait::until(secs(30), "the unit to be started again", || {
        let again = node.exec(&["systemctl", "show", "-P", "InvocationID", "rigsleep"])?;
        Ok((again != before && state()? == "active").then_some(()))
    })?;
    bed.cluster.settle()?;
    let failures = bed.cluster.status()?.failures;
    if !failures.iter().any(|failure| failure.op_key == format!("{id}_monitor_1000") && failure.node == "r1")
    {
        return fail(format!("the failure is not shown: {failures:?}"));
    }
    bed.cluster.wait_place(id, "Started on r1", secs(20))?;
    bed.cluster.remove(id)?;
    wait::until_eq(secs(10), "the unit's state", &"inactive".to_owned(), state)
}

fn script(bed: &Bed, id: &str, agent: &str) -> Result<()> {
    let node = bed.r1()?;
    let runs = || Ok(node.run(&["test", "-e", "/run/rig-lsb"])?.status.success());
    bed.started(&Primitive::new(id, agent).monitor("1s", "20s").on("r1", WISH))?;
    if !runs()? {
        return fail("the script was not started");
    }
    if agent.starts_with("lsb:") {
        node.exec(&["rm", "/run/rig-lsb"])?;
        wait::until_eq(secs(30), "the script to be started again", &true, runs)?;
        bed.cluster.wait_place(id, "Started on r1", secs(20))?;
    }
    bed.cluster.remove(id)?;
    wait::until_eq(secs(10), "whether the script's service runs", &false, runs)
}
