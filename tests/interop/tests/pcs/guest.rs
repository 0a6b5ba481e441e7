//! `pcs cluster node add-guest` and `remove-guest`. The "virtual machine" is a resource of the test agent, the
//! guest a machine that is switched on anyway: to the cluster that is the same.

use std::time::SystemTime;

use pcmk_interop::Result;
use pcmk_interop::wait::{self, secs};

use super::bed::{Bed, expect};
use super::remote::is;

pub(crate) fn add_and_remove(bed: &Bed) -> Result<()> {
    bed.nothing("g1")?;
    let before = SystemTime::now();
    bed.witness("vm1", "c2")?;
    let address = bed.node("g1")?.address();
    let line =
        format!("cluster node add-guest g1 vm1 remote-addr={address} remote-connect-timeout=20s --wait=90");
    let said = bed.pcs(&line)?;
    expect(
        &said,
        &[
            "g1: successful distribution of the file 'pacemaker authkey'",
            "g1: successful run of 'pacemaker_remote enable'",
            "g1: successful run of 'pacemaker_remote start'",
        ],
    )?;
    bed.connected("g1")?;
    is(&bed.machine("g1")?, "enabled active authkey 256 400 hacluster:haclient")?;
    expect(&bed.pcs("status")?, &["GuestOnline: [ g1 ]"])?;
    bed.witness("w_guest", "g1")?;
    bed.goes_on("g1", "w_guest")?;
    expect(
        &bed.ok("g1", "pcs status")?,
        &["GuestOnline: [ g1 ]", "w_guest\t(ocf:rig:witness):\t Started g1"],
    )?;
    bed.ok("g1", "pcs resource debug-monitor w_guest")?;

    bed.pcs("resource disable w_guest --wait=60")?;
    bed.expect_deeds("g1", "w_guest", &["start=0", "stop=0"])?;
    let said = bed.pcs("cluster node remove-guest g1")?;
    expect(&said, &["g1: successful run of 'pacemaker_remote stop'", "g1: successful removal of the file"])?;
    is(&bed.machine("g1")?, "disabled inactive")?;
    bed.cluster.settle()?;
    wait::until(secs(60), "the cluster to forget g1", || {
        let said = bed.pcs("status")?;
        Ok((!said.contains("g1")).then_some(()))
    })?;
    bed.not_fenced(before)
}
