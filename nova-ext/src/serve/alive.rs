//! Signs of life of a host that this controller holds for off: somebody else may have let it return since.
//!
//! Each controller has its own queue, ledger and journal. What the engine of another controller has finished, they still
//! say here; so what is not new is asked about before it is believed.

use std::time::Duration;

use tokio::time::timeout;

use super::{Shared, proofs, returns};
use crate::cloud::Cloud;
use crate::power::PowerState;
use crate::process::Program;
use crate::proof::FenceProof;
use crate::proof::pacemaker::is_online;
use crate::stamp::Stamp;

/// Until then a fencing may be under way, with a cluster and a Nova that have not heard of its end.
const NEW: Duration = Duration::from_secs(60);
/// Longer than Nova takes a nova-compute for up that does not report.
const LONG: Duration = Duration::from_secs(600);
/// For the cluster, and for Nova, to answer.
const ASK: Duration = Duration::from_secs(10);
/// The largest answer of the cluster that is read.
const LARGEST: usize = 16 << 20;

/// Why the host must be taken for on in spite of the proof, if so. `told`: Nova held it for down when it was proven off.
/// Who does not answer says nothing.
pub(super) async fn sign(shared: &Shared, cloud: &Cloud, proof: &FenceProof, told: bool) -> Option<String> {
    let host = proof.host();
    let age = Stamp::now().since(proof.at());
    if age < NEW {
        return None;
    }
    // A crash kernel runs with the power on.
    if !proof.evidence().leaves_power_on() {
        match proofs::reads(shared.map.as_ref(), &shared.names, host).await {
            Some(PowerState::On) => return Some("its power reads on".into()),
            Some(_) => return None,
            None => {}
        }
    }
    // A cluster that reboots has its node back while the evacuation goes on, where that is allowed.
    if !shared.config.fence.reboot_counts
        && let Some(node) = returns::node(shared, host)
    {
        let mut monitor = Program::new("crm_mon").with(["-1", "--output-as=xml"]);
        monitor.kept = LARGEST;
        let said = monitor.run(ASK).await.ok().filter(|ended| ended.is_ok() && !ended.cut);
        if said.is_some_and(|ended| is_online(&ended.output, &node).unwrap_or(false)) {
            return Some(format!("the cluster has node {node} online"));
        }
    }
    let service = timeout(ASK, cloud.compute_service(host)).await.ok()?.ok()?;
    if service.forced_down {
        None
    } else if told {
        Some("somebody has forced it up in Nova since".into())
    } else {
        (age > LONG && service.up).then(|| "its nova-compute reports to Nova".into())
    }
}
