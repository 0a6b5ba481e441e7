//! `pcs cluster node add-remote` and `remove-remote`.

use std::time::SystemTime;

use pcmk_interop::wait::secs;
use pcmk_interop::{Result, fail};

use super::bed::{Bed, expect};

/// What pcs leaves on a machine that has become a remote node.
const ADDED: &str = "enabled active authkey 256 400 hacluster:haclient";
/// What it leaves on one that is none any more.
const REMOVED: &str = "disabled inactive";

pub(crate) fn first_gets_a_key(bed: &Bed) -> Result<()> {
    let before = SystemTime::now();
    for node in ["c1", "c2", "r1"] {
        bed.ok(node, "test ! -e /etc/pacemaker/authkey")?;
    }
    let said = bed.pcs(&format!("{} --wait=90", bed.add_remote_line()?))?;
    expect(
        &said,
        &[
            "c1: successful distribution of the file 'pacemaker authkey'",
            "c2: successful distribution of the file 'pacemaker authkey'",
            "r1: successful distribution of the file 'pacemaker authkey'",
            "r1: successful run of 'pacemaker_remote enable'",
            "r1: successful run of 'pacemaker_remote start'",
            "resource 'r1' is running on node",
        ],
    )?;
    bed.connected("r1")?;
    is(&bed.machine("r1")?, ADDED)?;
    for node in ["c2", "r1"] {
        has_the_key(bed, node)?;
    }
    bed.witness("w_first", "r1")?;
    bed.goes_on("r1", "w_first")?;
    bed.not_fenced(before)
}

/// A machine whose daemon runs may be a node of another cluster: pcs wants it stopped. Then it overwrites a key
/// that is there.
pub(crate) fn running_daemon_is_refused(bed: &Bed) -> Result<()> {
    bed.nothing("r1")?;
    bed.ok("r1", "head -c 4096 /dev/urandom >/etc/pacemaker/authkey; systemctl start pacemaker_remote")?;
    let said = bed.refused("c1", &format!("pcs {}", bed.add_remote_line()?))?;
    expect(&said, &["r1: ", "'pacemaker_remote'"])?;
    if !bed.machine("r1")?.contains(" authkey 4096 ") {
        return fail("the key was replaced although the machine was refused");
    }
    bed.ok("r1", "systemctl stop pacemaker_remote")?;
    bed.pcs(&bed.add_remote_line()?)?;
    bed.connected("r1")?;
    has_the_key(bed, "r1")
}

/// In the order that every release of pcs takes: stop the connection, then remove the node. And it can come back.
pub(crate) fn remove(bed: &Bed) -> Result<()> {
    bed.remote()?;
    let before = SystemTime::now();
    bed.witness("w_remove", "r1")?;
    bed.pcs("resource disable r1 --wait=60")?;
    bed.expect_deeds("r1", "w_remove", &["start=0", "stop=0"])?;
    let said = bed.pcs("cluster node remove-remote r1")?;
    expect(
        &said,
        &[
            "r1: successful run of 'pacemaker_remote disable'",
            "r1: successful run of 'pacemaker_remote stop'",
            "r1: successful removal of the file 'pacemaker authkey'",
        ],
    )?;
    bed.cluster.settle()?;
    gone(bed)?;
    bed.not_fenced(before)?;
    bed.pcs(&bed.add_remote_line()?)?;
    bed.connected("r1")?;
    is(&bed.machine("r1")?, ADDED)?;
    bed.not_fenced(before)
}

/// With `--force`, pcs stops the daemon of a node in use; what runs there moves away first.
pub(crate) fn remove_running(bed: &Bed) -> Result<()> {
    bed.remote()?;
    let before = SystemTime::now();
    bed.witness("w_running", "r1")?;
    bed.pcs("cluster node remove-remote r1 --force")?;
    bed.cluster.settle()?;
    gone(bed)?;
    bed.expect_deeds("r1", "w_running", &["start=0", "stop=0"])?;
    let place = bed.cluster.status()?.place("w_running");
    if !place.starts_with("Started on c") {
        return fail(format!("w_running is {place}"));
    }
    bed.not_fenced(before)
}

/// Nothing of r1 is left, on the machine and in the cluster.
fn gone(bed: &Bed) -> Result<()> {
    is(&bed.machine("r1")?, REMOVED)?;
    pcmk_interop::wait::until(secs(30), "the cluster to forget r1", || {
        let status = bed.cluster.status()?;
        let known = status.nodes.iter().any(|node| node.name == "r1");
        let resource = status.resources.iter().any(|resource| resource.id == "r1");
        Ok((!known && !resource).then_some(()))
    })
}

/// Whether a node has the key that c1 has.
fn has_the_key(bed: &Bed, node: &str) -> Result<()> {
    let sum = "sha256sum </etc/pacemaker/authkey";
    is(&bed.ok(node, sum)?, &bed.ok("c1", sum)?)
}

/// Says whether two texts are the same.
pub(super) fn is(seen: &str, wanted: &str) -> Result<()> {
    if seen == wanted { Ok(()) } else { fail(format!("{seen:?} instead of {wanted:?}")) }
}
