//! Hosts that were switched on, as `fence-proof = on TIME` says: what was proven before that is void here as well, and a host
//! that is forced down returns.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::takeup::host_of;
use super::{Shared, proofs};
use crate::cloud::{Cloud, OURS, Service};
use crate::config::known_hosts;
use crate::engine::comeback::{Happened, Wanted};
use crate::engine::run::Order;
use crate::handover::{Value, is_on};
use crate::ids::{HostName, IncidentId};
use crate::stamp::Stamp;

/// So long after a host was switched on nobody has forced it down for another reason.
const FRESH: Duration = Duration::from_secs(600);
/// Clocks may differ by so much.
const AHEAD: Duration = Duration::from_secs(5);
/// For Nova's list of hosts.
const NOVA: Duration = Duration::from_secs(15);

/// What was heard.
#[derive(Default)]
pub(super) struct SwitchedOn {
    /// What is dealt with.
    known: BTreeMap<String, Stamp>,
    /// Nodes about whose host Nova was asked.
    asked: BTreeMap<String, Stamp>,
    /// What is not believed, as was said.
    ahead: BTreeMap<String, Stamp>,
    /// Hosts that may return.
    back: BTreeMap<HostName, Stamp>,
}

impl SwitchedOn {
    /// Reads the attributes.
    pub(super) async fn hear(&mut self, shared: &Shared, cloud: &Cloud, proofs: &[Value]) {
        for proof in proofs {
            let Some(since) = is_on(&proof.value) else { continue };
            if self.known.get(&proof.node) == Some(&since) {
                continue;
            }
            if since > Stamp::now().after(AHEAD) {
                // Believed, it would void every proof until then.
                if self.ahead.insert(proof.node.clone(), since) != Some(since) {
                    warn!(
                        node = %proof.node,
                        "it was switched on at {since}, in the future, so that is not believed: the controllers' clocks differ"
                    );
                }
                continue;
            }
            let Some(host) = self.host(shared, cloud, &proof.node, since).await else { continue };
            match powered_on(shared, &host, since).await {
                Some(true) => drop(self.back.insert(host, since)),
                Some(false) => {}
                // Once more.
                None => continue,
            }
            self.known.insert(proof.node.clone(), since);
        }
    }

    /// The host of a node. Nova is asked once.
    async fn host(&mut self, shared: &Shared, cloud: &Cloud, node: &str, since: Stamp) -> Option<HostName> {
        let known = known_hosts(&shared.config.files.known_hosts());
        if let Ok(host) = shared.names.resolve(node, None, &known) {
            return Some(host);
        }
        if self.asked.insert(node.to_owned(), since) == Some(since) {
            return None;
        }
        timeout(NOVA, host_of(shared, cloud, node, None)).await.ok()?.ok()
    }

    /// Lets them return: the wish for that is in the folder of the controller where it was done, and is read there alone.
    /// All of them at once; while Nova does not answer they wait.
    pub(super) async fn let_return(&mut self, cloud: &Cloud, wanted: &mpsc::Sender<Happened>) {
        if self.back.is_empty() {
            return;
        }
        // Whatever else the cluster asks for does not wait as long as Nova may take.
        let services = match timeout(NOVA, cloud.compute_services()).await {
            Ok(Ok(services)) => services,
            Ok(Err(error)) => return debug!("hosts that were switched on wait for Nova: {error}"),
            Err(_) => {
                return debug!("hosts that were switched on wait for Nova, which does not answer in time");
            }
        };
        let on = std::mem::take(&mut self.back);
        let may = |service: &Service| {
            on.get(&service.host).is_some_and(|since| returns_by(service, *since, Stamp::now()))
        };
        for service in services.into_iter().filter(may) {
            let (by, incident) = ("whoever has switched it on".into(), IncidentId::new_random());
            let wish = Wanted { host: service.host, incident, power_on: false, by };
            let _ = wanted.send(Happened::Wanted(wish)).await;
        }
    }
}

/// The host was on then: the engine and the ledger must know, whether or not it failed again later. Whether it did not;
/// none if they do not know yet.
async fn powered_on(shared: &Shared, host: &HostName, since: Stamp) -> Option<bool> {
    let path = shared.config.files.proofs();
    let ended = async {
        proofs::end(path.clone(), host.clone(), since).await?;
        proofs::current(path, host.clone()).await
    };
    match ended.await {
        Ok(Some(_)) => Some(false),
        Ok(None) => {
            shared.orders.send(Order::PoweredOn { host: host.clone(), since }).await.ok().map(|()| true)
        }
        Err(trouble) => {
            warn!(%host, "{}", trouble.why);
            None
        }
    }
}

/// Whether a host returns by the word of its having been switched on at `since`. One that is not forced down has returned.
/// The word stays for long after that: what an operator has forced down since then is not ours to undo.
fn returns_by(service: &Service, since: Stamp, now: Stamp) -> bool {
    let ours = service.disabled_reason.as_deref().is_some_and(|reason| reason.starts_with(OURS));
    service.forced_down && (ours || now.since(since) <= FRESH)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, host, stamp};
    use super::*;

    #[tokio::test]
    async fn an_old_word_that_it_is_on_does_not_end_a_newer_proof() {
        let mut bench = Bench::new();
        let c1 = host("c1");
        bench.prove("c1", 10);
        assert_eq!(powered_on(&bench.shared, &c1, stamp(5)).await, Some(false));
        assert_eq!(bench.proven("c1"), Some(stamp(10)));
        assert!(bench.order().is_none());
        assert_eq!(powered_on(&bench.shared, &c1, stamp(15)).await, Some(true));
        assert_eq!(bench.proven("c1"), None);
        let order = bench.order();
        assert!(matches!(&order, Some(Order::PoweredOn { since, .. }) if *since == stamp(15)), "{order:?}");
        // Told of late.
        bench.prove("c1", 20);
        assert_eq!(powered_on(&bench.shared, &c1, stamp(15)).await, Some(false));
        assert_eq!(bench.proven("c1"), Some(stamp(20)));
        std::fs::remove_file(bench.shared.config.files.proofs()).unwrap();
        std::fs::create_dir(bench.shared.config.files.proofs()).unwrap();
        assert_eq!(powered_on(&bench.shared, &c1, stamp(25)).await, None, "it is tried again");
    }

    #[tokio::test]
    async fn what_a_clock_that_is_ahead_says_is_not_believed() {
        let (_fake, cloud) = super::super::tests::compute(true).await;
        let bench = Bench::new();
        bench.prove("c1", 10);
        let mut heard = SwitchedOn::default();
        let said = |since: Stamp| [Value { node: "c1".into(), value: crate::handover::on_since(since) }];
        let ahead = Stamp::now().after(Duration::from_secs(1200));
        heard.hear(&bench.shared, &cloud, &said(ahead)).await;
        assert_eq!(bench.proven("c1"), Some(stamp(10)));
        heard.hear(&bench.shared, &cloud, &said(Stamp::now())).await;
        assert_eq!(bench.proven("c1"), None);
    }

    #[test]
    fn a_host_that_is_on_returns_unless_an_operator_keeps_it_down() {
        let now = Stamp::now();
        let service = |forced_down: bool, reason: Option<&str>| Service {
            id: "69fdce77-581d-44b8-813d-3e451870fb45".parse().unwrap(),
            binary: "nova-compute".into(),
            host: "c1".parse().unwrap(),
            zone: None,
            status_enabled: reason.is_none(),
            disabled_reason: reason.map(str::to_owned),
            up: !forced_down,
            forced_down,
            updated_at: None,
        };
        let day = now.after(Duration::from_secs(86_400));
        for (service, later, returns) in [
            (service(true, Some("nova-ha: off a")), now, true),
            (service(true, Some("nova-ha: off a")), day, true),
            // The operator had disabled it before it was fenced.
            (service(true, Some("disk swap, ann")), now, true),
            // What was done long after it was on has another reason.
            (service(true, Some("disk swap, ann")), day, false),
            (service(true, None), day, false),
            // It has returned.
            (service(false, Some("nova-ha: off a")), now, false),
            (service(false, None), now, false),
        ] {
            assert_eq!(returns_by(&service, now, later), returns, "{service:?}");
        }
    }
}
