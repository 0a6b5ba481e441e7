//! What shows that a host is off when whoever has fenced it has left no proof, as `fence_compute` and people do: its own
//! power device, and Pacemaker's history. They are asked beside everything else, for they may take their time; what they
//! show goes to the ledger, where the next look at the request finds it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::info;

use super::{Shared, proofs};
use crate::cloud::{Cloud, Service};
use crate::ids::{HostName, NodeName};
use crate::power::evidence::pacemaker_history;
use crate::proof::FenceProof;
use crate::stamp::Stamp;

/// Between two tries for a host.
const EVERY: Duration = Duration::from_secs(5);
/// For Nova, and for the cluster, to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Whoever fences tells Nova, and that is written where a report of nova-compute is. So soon after the fencing it can have
/// been nobody else: no host has started by then.
const TELLING: Duration = Duration::from_secs(5);
/// A nova-compute that lives has reported again after this (`report_interval` is 10 s).
const REPORTED: Duration = Duration::from_secs(20);
/// Clocks may differ by so much.
const CLOCKS: Duration = Duration::from_secs(5);

/// Hosts that were asked about.
static ASKED: Mutex<BTreeMap<HostName, Asked>> = Mutex::new(BTreeMap::new());

#[derive(Debug, Clone)]
enum Asked {
    /// That is not over.
    Asking,
    /// Then nothing was shown, and why.
    Nothing(Instant, String),
}

fn asked() -> MutexGuard<'static, BTreeMap<HostName, Asked>> {
    ASKED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to ask, if it is time to, and says why there is no proof yet.
pub(super) fn ask(shared: &Arc<Shared>, cloud: &Cloud, host: &HostName, node: &NodeName) -> String {
    match asked().get(host) {
        Some(Asked::Asking) => return waiting(),
        Some(Asked::Nothing(at, why)) if at.elapsed() < EVERY => return why.clone(),
        _ => {}
    }
    asked().insert(host.clone(), Asked::Asking);
    let (shared, cloud, host, node) = (Arc::clone(shared), cloud.clone(), host.clone(), node.clone());
    tokio::spawn(async move {
        let of = host.clone();
        let found = tokio::spawn(async move { keep(&shared, &cloud, &of, &node).await }).await;
        match found.unwrap_or_else(|failure| Err(failure.to_string())) {
            Ok(()) => drop(asked().remove(&host)),
            Err(why) => drop(asked().insert(host, Asked::Nothing(Instant::now(), why))),
        }
    });
    waiting()
}

fn waiting() -> String {
    "nothing shows yet that the host is off: its power device and the cluster are asked".into()
}

async fn keep(shared: &Shared, cloud: &Cloud, host: &HostName, node: &NodeName) -> Result<(), String> {
    let proof = find(shared, cloud, host, node).await?;
    let path = shared.config.files.proofs();
    proofs::record(path.clone(), proof.clone()).await.map_err(|trouble| trouble.why)?;
    let known = proofs::current(path, host.clone()).await.map_err(|trouble| trouble.why)?;
    if known.is_none() {
        return Err(format!("the host was switched on after {}, when it was last off", proof.at()));
    }
    info!(%host, "nobody has left a proof, but: {proof}");
    Ok(())
}

async fn find(
    shared: &Shared,
    cloud: &Cloud,
    host: &HostName,
    node: &NodeName,
) -> Result<FenceProof, String> {
    let device = match proofs::reads_off(shared.map.as_ref(), &shared.names, host).await {
        Ok(Some(proof)) => return Ok(proof),
        // Whatever was done to it before.
        Ok(None) => return Err("its power device does not read off".into()),
        Err(trouble) => trouble.why,
    };
    let history = async {
        let service = timeout(ANSWER, cloud.compute_service(host)).await;
        let service = service.map_err(|_| "Nova does not answer in time".to_owned())?;
        let service = service.map_err(|error| error.to_string())?;
        let seen = last_seen(&service, Stamp::now())?;
        let counts = shared.config.fence.reboot_counts;
        let proof =
            pacemaker_history(node, host, seen, counts, ANSWER).await.map_err(|error| error.to_string())?;
        if proof.at() > Stamp::now().after(CLOCKS) {
            return Err(format!(
                "Pacemaker fenced it at {}, which is to come: the clocks differ",
                proof.at()
            ));
        }
        Ok(proof)
    };
    history.await.map_err(|why| format!("{device}; {why}"))
}

/// The last sign of life of the host, as Nova knows it: a fencing before that shows nothing.
fn last_seen(service: &Service, now: Stamp) -> Result<Stamp, String> {
    let Some(written) = service.updated_at else {
        return Err("Nova does not say when it last heard from its nova-compute".into());
    };
    if service.up {
        return Err("Nova holds its nova-compute for up".into());
    }
    let is_quiet = now.since(written) >= REPORTED;
    Ok(if service.forced_down && is_quiet { written.before(TELLING) } else { written })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_was_last_seen_when_its_nova_compute_last_wrote() {
        let at: Stamp = "2026-11-30T10:00:00Z".parse().unwrap();
        let service = |up: bool, forced_down: bool, updated_at: Option<Stamp>| Service {
            id: "69fdce77-581d-44b8-813d-3e451870fb45".parse().unwrap(),
            binary: "nova-compute".into(),
            host: "c1".parse().unwrap(),
            zone: None,
            status_enabled: false,
            disabled_reason: None,
            up,
            forced_down,
            updated_at,
        };
        let seen = |service: &Service, secs| last_seen(service, at.after(Duration::from_secs(secs)));
        assert_eq!(seen(&service(false, false, Some(at)), 300), Ok(at));
        assert!(seen(&service(false, true, None), 300).is_err());
        assert!(seen(&service(true, false, Some(at)), 1).is_err());
        // Forced down: that was written then, unless a nova-compute that lives has done it.
        assert_eq!(seen(&service(false, true, Some(at)), 19), Ok(at));
        assert_eq!(seen(&service(false, true, Some(at)), 20), Ok(at.before(TELLING)));
    }
}
