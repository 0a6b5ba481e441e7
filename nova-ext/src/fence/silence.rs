//! Whether a host's nova-compute has been silent since the fencing began: only then does the time of its watchdog show
//! anything. A host that lives feeds its watchdog, and reports to Nova.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::cloud::settings;
use super::told::Told;
use crate::cloud::Cloud;
use crate::config::Config;
use crate::ids::HostName;
use crate::proof::FenceProof;
use crate::proof::watchdog::Watchdog;
use crate::stamp::Stamp;

/// Between the two looks at Nova, at least: a nova-compute that lives reports every 10 s.
const APART: Duration = Duration::from_secs(12);

/// A silence that is listened to.
pub(super) struct Silence {
    watchdog: Watchdog,
    began: (Instant, Stamp),
    first: JoinHandle<Result<First, String>>,
}

struct First {
    cloud: Cloud,
    seen: Stamp,
    at: Instant,
}

impl Silence {
    /// Begins to listen, with a first look at what Nova says.
    pub(super) fn begin(watchdog: Watchdog, host: &HostName, told: &Told, config: &Config) -> Self {
        let (host, told, config) = (host.clone(), told.clone(), config.clone());
        let began = (Instant::now(), Stamp::now());
        let first = tokio::spawn(async move {
            let settings = settings(&told, &config).await.map_err(|error| error.to_string())?;
            let cloud = Cloud::connect(&settings).await.map_err(|error| error.to_string())?;
            let seen = last_report(&cloud, &host).await?;
            Ok(First { cloud, seen, at: Instant::now() })
        });
        Self { watchdog, began, first }
    }

    /// The proof, once the watchdog's time is over; if Nova says that the host has been silent all the while.
    pub(super) async fn proof(self, host: &HostName, within: Duration) -> Result<FenceProof, String> {
        let until = Instant::now() + within;
        let proven = timeout_at(until, self.wait(host)).await;
        proven
            .unwrap_or_else(|_| Err("Nova does not say in time whether its nova-compute is silent".into()))
            .map_err(|why| format!("its watchdog proves nothing: {why}"))
    }

    async fn wait(self, host: &HostName) -> Result<FenceProof, String> {
        let Self { watchdog, began: (began, stamp), first } = self;
        let due = watchdog.due().map_err(|error| error.to_string())?;
        let First { cloud, seen, at } = first.await.map_err(|error| error.to_string())??;
        if seen >= stamp {
            return Err(format!("its nova-compute reported at {seen}, after the fencing began"));
        }
        sleep_until((began + due).max(at + APART)).await;
        let now = last_report(&cloud, host).await?;
        if now != seen {
            return Err(format!("its nova-compute reported at {now}, while the watchdog was waited for"));
        }
        // The time on the wall is as exact as it is stored.
        sleep_until(began + due + Duration::from_millis(50)).await;
        watchdog.proof(host, stamp, Stamp::now()).map_err(|error| error.to_string())
    }
}

async fn last_report(cloud: &Cloud, host: &HostName) -> Result<Stamp, String> {
    let service = cloud.compute_service(host).await.map_err(|error| error.to_string())?;
    service.updated_at.ok_or_else(|| "Nova does not say when it last heard from its nova-compute".into())
}
