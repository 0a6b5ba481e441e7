//! Whether a host has been silent since the fencing began: only then does the time of its watchdog show anything. A host
//! that lives feeds its watchdog, is online in the cluster, and reports to Nova.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::cloud::settings;
use super::told::Told;
use crate::cloud::Cloud;
use crate::config::Config;
use crate::ids::{HostName, NodeName};
use crate::power::evidence::is_lost;
use crate::proof::FenceProof;
use crate::proof::watchdog::Watchdog;
use crate::stamp::Stamp;

/// For the cluster to say how its nodes are.
const CLUSTER: Duration = Duration::from_secs(5);

/// A silence that is listened to.
pub(super) struct Silence {
    watchdog: Watchdog,
    node: NodeName,
    began: (Instant, Stamp),
    first: JoinHandle<Result<First, String>>,
}

struct First {
    cloud: Cloud,
    seen: Stamp,
    at: Instant,
}

impl Silence {
    /// Begins to listen, with a first look at what the cluster and Nova say.
    pub(super) fn begin(
        watchdog: Watchdog,
        host: &HostName,
        node: &NodeName,
        told: &Told,
        config: &Config,
    ) -> Self {
        let (host, told, config) = (host.clone(), told.clone(), config.clone());
        let (node, asked) = (node.clone(), node.clone());
        let began = (Instant::now(), Stamp::now());
        let nova = async move {
            let settings = settings(&told, &config).await.map_err(|error| error.to_string())?;
            let cloud = Cloud::connect(&settings).await.map_err(|error| error.to_string())?;
            let seen = last_report(&cloud, &host).await?;
            Ok(First { cloud, seen, at: Instant::now() })
        };
        let first =
            tokio::spawn(async move { tokio::try_join!(lost(&asked), nova).map(|((), first)| first) });
        Self { watchdog, node, began, first }
    }

    /// The proof, once the watchdog's time is over; if the host has been silent all the while, by what the cluster and Nova
    /// say.
    pub(super) async fn proof(self, host: &HostName, within: Duration) -> Result<FenceProof, String> {
        let until = Instant::now() + within;
        let proven = timeout_at(until, self.wait(host)).await;
        proven
            .unwrap_or_else(|_| Err("the cluster and Nova do not say in time whether it is silent".into()))
            .map_err(|why| format!("its watchdog proves nothing: {why}"))
    }

    async fn wait(self, host: &HostName) -> Result<FenceProof, String> {
        let Self { watchdog, node, began: (began, stamp), first } = self;
        let due = watchdog.due().map_err(|error| error.to_string())?;
        let First { cloud, seen, at } = first.await.map_err(|error| error.to_string())??;
        if seen >= stamp {
            return Err(format!("its nova-compute reported at {seen}, after the fencing began"));
        }
        sleep_until((began + due).max(at + watchdog.apart())).await;
        let ((), now) = tokio::try_join!(lost(&node), last_report(&cloud, host))?;
        if now != seen {
            return Err(format!("its nova-compute reported at {now}, while the watchdog was waited for"));
        }
        // The time on the wall is as exact as it is stored.
        sleep_until(began + due + Duration::from_millis(50)).await;
        watchdog.proof(host, stamp, Stamp::now()).map_err(|error| error.to_string())
    }
}

async fn lost(node: &NodeName) -> Result<(), String> {
    is_lost(node, CLUSTER).await.map_err(|error| error.to_string())
}

async fn last_report(cloud: &Cloud, host: &HostName) -> Result<Stamp, String> {
    let service = cloud.compute_service(host).await.map_err(|error| error.to_string())?;
    service.updated_at.ok_or_else(|| "Nova does not say when it last heard from its nova-compute".into())
}
