//! Proof that an earlier device of the same fencing level has switched the host off: what Pacemaker's tools say.

use std::time::Duration;

use crate::ids::{HostName, NodeName};
use crate::power::evidence::run_by_fencer;
use crate::process::{Ended, ProcessError, Program};
use crate::proof::FenceProof;
use crate::proof::pacemaker::{Topology, behind_others, history};
use crate::stamp::Stamp;

/// Our type in the cluster's configuration.
const AGENT: &str = "fence_nova";
/// Run by anybody else.
const NOT_FENCER: &str = "not proven off: without a power device of its own, fence_nova goes by the devices before it in \
                          its level, and only Pacemaker's fencer runs them: fence with `pcs stonith fence` or \
                          `stonith_admin --fence`, or give fence_nova the power devices in a map";
/// The largest answer that is read.
const LARGEST: usize = 16 << 20;

/// Asks the cluster for its fencing levels and for what it is fencing now.
///
/// Only for the fencer itself: that it has come to us is what shows that the devices before have succeeded. Run by hand,
/// it may still wait for them.
///
/// With the proof, what will undo it: a device that the cluster switches the host on with right after.
pub(super) async fn prove(
    node: &NodeName,
    host: &HostName,
    within: Duration,
) -> Result<(FenceProof, Option<String>), String> {
    if !run_by_fencer() {
        return Err(NOT_FENCER.into());
    }
    let mut cib = Program::new("cibadmin").with(["--query", "--scope", "configuration"]);
    // Only with --verbose does it say what is under way and what has failed, and not one success alone.
    let history_of = ["--history", node.as_str(), "--verbose", "--output-as", "xml"];
    let mut events = Program::new("stonith_admin").with(history_of);
    cib.kept = LARGEST;
    events.kept = LARGEST;
    let (cib, events) = tokio::join!(cib.run(within), events.run(within));
    let topology = Topology::parse(&output("cibadmin", cib)?).map_err(|error| error.to_string())?;
    let events = history(&output("stonith_admin", events)?).map_err(|error| error.to_string())?;
    let proven = behind_others(&events, &topology, node, host, AGENT, Stamp::now());
    let proof = proven.map_err(|error| {
        format!("not proven off: {error} (or give fence_nova the power devices itself, in a map)")
    })?;
    Ok((proof, topology.switched_on_by(node, AGENT).map(str::to_owned)))
}

fn output(tool: &str, ended: Result<Ended, ProcessError>) -> Result<String, String> {
    let why = match ended {
        Ok(ended) if ended.is_ok() && !ended.cut => return Ok(ended.output),
        Ok(ended) if ended.cut => format!("{tool} says too much"),
        Ok(ended) => format!("{tool}: {}", ended.why()),
        Err(error) => error.to_string(),
    };
    Err(format!("not proven off: the cluster does not say whether another device has fenced the host: {why}"))
}
