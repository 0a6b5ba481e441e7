//! The daemon of a node in use is replaced, inside maintenance mode: nobody notices.

use std::time::SystemTime;

use pcmk_interop::cib::Primitive;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Cluster, Daemon, Result, Suite, World, fail, images};

use super::machine::{Files, Machine, UNIT};

/// From the C package to ours and back while resources run on the node.
pub(crate) fn replacement(world: &World, suite: Suite, files: &Files) -> Result<()> {
    let cluster = Cluster::start(world, suite, 2)?;
    let node = cluster.add_remote(world, "r1", 1, Daemon::Theirs)?;
    let machine = Machine::of(node.clone(), suite)?;
    node.exec(&["systemctl", "enable", UNIT])?;
    cluster.add(&Primitive::witness("w").monitor("1s", "20s").on("r1", 1000))?;
    cluster.add(&Primitive::new("unit", "systemd:rigsleep").monitor("2s", "20s").on("r1", 1000))?;
    for id in ["w", "unit"] {
        cluster.wait_place(id, "Started on r1", secs(40))?;
    }
    cluster.settle()?;
    let invocation = || node.exec(&["systemctl", "show", "-P", "InvocationID", "rigsleep"]);
    let recurring = || -> Result<usize> {
        let calls = cluster.calls("r1")?.into_iter();
        Ok(calls.filter(|call| call.resource == "w" && call.details == "interval=1000").count())
    };
    let (from, unit, began) = (cluster.count("r1", "w")?, invocation()?, SystemTime::now());

    for ours in [true, false] {
        cluster.set_property("maintenance-mode", "true")?;
        cluster.settle()?;
        // Removing the old package stops the daemon, which the cluster lets go; installing the new one starts it.
        let package = if ours { files.deb.clone() } else { images::c_package(suite)? };
        machine.install(&package)?;
        machine.expect_program(ours)?;
        machine.expect_unit("replaced", ["enabled", "active"])?;
        cluster.set_property("maintenance-mode", "false")?;
        cluster.settle()?;

        for id in ["w", "unit"] {
            cluster.wait_place(id, "Started on r1", secs(20))?;
        }
        let deeds = cluster.deeds("r1", "w", from)?;
        if deeds.iter().any(|deed| !deed.starts_with("monitor=0")) {
            return fail(format!("w was touched: {deeds:?}"));
        }
        let before = recurring()?;
        wait::until(secs(30), "the monitor of w to go on", || Ok((recurring()? > before + 1).then_some(())))?;
        if invocation()? != unit {
            return fail("the unit that is a resource was restarted");
        }
        let fenced = cluster.fenced_since(began, "r1");
        if !fenced.is_empty() {
            return fail(format!("r1 was fenced: {fenced:?}"));
        }
    }
    Ok(())
}
