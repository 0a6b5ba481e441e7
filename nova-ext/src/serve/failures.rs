//! What an engine knows of hosts that fail too often, kept where the engine of another controller finds it: a node
//! attribute of each such host.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::warn;

use super::{Shared, returns};
use crate::cloud::Cloud;
use crate::config::{known_hosts, remember_hosts};
use crate::engine::Record;
use crate::engine::run::Order;
use crate::handover::{AttributeError, Attributes, FAILURES, Value};
use crate::ids::{HostName, NodeName};
use crate::process::ProcessError;

/// Between looks whether the cluster still has it: it forgets a node's attributes when the node leaves or joins.
const LOOK: Duration = Duration::from_secs(10);
/// A cluster that says no so often is none.
const PATIENCE: u32 = 3;

/// What is done about it.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// What other controllers knew has been read.
    read: bool,
    /// What was written last.
    told: BTreeMap<HostName, String>,
    looked: Option<Instant>,
    refused: u32,
}

impl Failures {
    /// Reads what others knew, once; then writes what has changed.
    pub(super) async fn keep(&mut self, shared: &Shared, cloud: &Cloud, attributes: &Attributes) {
        if !self.read {
            match self.take_over(shared, cloud, attributes).await {
                Ok(()) => {
                    self.read = true;
                    shared.failures_known.store(true, Ordering::SeqCst);
                }
                Err(why) => {
                    warn!("what other controllers know of hosts that fail too often cannot be read: {why}");
                    return;
                }
            }
        }
        let wanted: BTreeMap<HostName, String> = {
            let status = shared.status.borrow();
            status.failures.iter().map(|(host, record)| (host.clone(), record.to_string())).collect()
        };
        if wanted == self.told && self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        let Ok(values) = attributes.values(FAILURES).await else { return };
        let node = |host: &HostName| returns::node(shared, host);
        let mut all = true;
        for (node, change) in changes(&wanted, &self.told, &values, node) {
            let done = match &change {
                Some(value) => attributes.set(FAILURES, &node, value).await,
                None => attributes.remove(FAILURES, &node).await,
            };
            if let Err(error) = done {
                warn!(%node, "other controllers do not hear of its failures: {error}");
                all = false;
            }
        }
        if all {
            self.told = wanted;
            self.looked = Some(Instant::now());
        }
    }

    /// The cluster does not answer. One that is not there has nothing to say.
    pub(super) fn no_cluster(&mut self, shared: &Shared, error: &AttributeError) {
        self.refused = self.refused.saturating_add(1);
        let missing = matches!(error, AttributeError::Process(ProcessError::Spawn(..)));
        if missing || self.refused >= PATIENCE {
            shared.failures_known.store(true, Ordering::SeqCst);
        }
    }

    async fn take_over(
        &mut self,
        shared: &Shared,
        cloud: &Cloud,
        attributes: &Attributes,
    ) -> Result<(), String> {
        let values = attributes.values(FAILURES).await.map_err(|error| error.to_string())?;
        let path = shared.config.files.known_hosts();
        let mut hosts = known_hosts(&path);
        let known = |hosts: &[HostName]| {
            values.iter().all(|value| shared.names.resolve(&value.node, None, hosts).is_ok())
        };
        if !known(&hosts) {
            let services = cloud.compute_services().await.map_err(|error| error.to_string())?;
            hosts = services.into_iter().map(|service| service.host).collect();
            let _ = remember_hosts(&path, &hosts);
        }
        let mut records = Vec::new();
        for value in &values {
            let host = shared.names.resolve(&value.node, None, &hosts).map_err(|error| error.to_string());
            match host.and_then(|host| Ok((host, value.value.parse::<Record>()?))) {
                Ok(record) => records.push(record),
                Err(why) => warn!(node = %value.node, "its failures are not known: {why}"),
            }
        }
        let (known, is_known) = oneshot::channel();
        let ended = || "the engine has ended".to_owned();
        shared.orders.send(Order::Failures { records, known }).await.map_err(|_| ended())?;
        is_known.await.map_err(|_| ended())
    }
}

/// What is to be written: what nodes do not have as it is to be, and what is over of what was written here.
fn changes(
    wanted: &BTreeMap<HostName, String>,
    told: &BTreeMap<HostName, String>,
    values: &[Value],
    node: impl Fn(&HostName) -> Option<NodeName>,
) -> Vec<(NodeName, Option<String>)> {
    let has = |node: &NodeName| values.iter().find(|value| value.node == node.as_str());
    let written = wanted.iter().filter_map(|(host, text)| {
        let node = node(host)?;
        has(&node).is_none_or(|value| value.value != *text).then(|| (node, Some(text.clone())))
    });
    let over = told.keys().filter(|host| !wanted.contains_key(*host)).filter_map(|host| {
        let node = node(host)?;
        has(&node).is_some().then_some((node, None))
    });
    written.chain(over).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cluster_has_forgotten_is_written_again() {
        let host = |name: &str| name.parse::<HostName>().unwrap();
        let node = |host: &HostName| host.as_str().parse().ok();
        let value = |node: &str, value: &str| Value { node: node.into(), value: value.into() };
        let texts = |pairs: &[(&str, &str)]| -> BTreeMap<HostName, String> {
            pairs.iter().map(|(name, text)| (host(name), (*text).to_owned())).collect()
        };
        let wanted = texts(&[("c1", "free"), ("c2", "quarantine")]);
        let told = texts(&[("c1", "free"), ("c3", "free"), ("c4", "free")]);
        let values = [value("c1", "free"), value("c3", "free"), value("c9", "free")];
        let done = changes(&wanted, &told, &values, node);
        assert_eq!(
            done,
            [("c2".parse().unwrap(), Some("quarantine".into())), ("c3".parse().unwrap(), None)],
            "what others wrote is left alone"
        );
        let again = changes(&wanted, &wanted, &[], node);
        assert_eq!(again.len(), 2, "the nodes have left");
    }
}
