//! Whether a host is still off: its power device's word, and the ledger's.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::{DISK, Shared, alive};
use crate::cloud::Cloud;
use crate::config::Names;
use crate::disk;
use crate::engine::Read;
use crate::engine::Trouble;
use crate::engine::run::Proofs;
use crate::ids::HostName;
use crate::power::{self, Map, PowerState};
use crate::proof::FenceProof;
use crate::proof::ledger;
use crate::stamp::Stamp;

const ONE_LOOK: Duration = Duration::from_secs(10);
const TWO_LOOKS: Duration = Duration::from_secs(20);

/// The engine's view of proofs.
pub(super) struct Known {
    shared: Arc<Shared>,
    cloud: Cloud,
}

impl Known {
    pub(super) fn new(shared: Arc<Shared>, cloud: Cloud) -> Self {
        Self { shared, cloud }
    }
}

impl Proofs for Known {
    async fn current(&self, host: &HostName) -> Read<Option<FenceProof>> {
        // What is found says nothing of a proof that is made meanwhile.
        let begun = Stamp::now();
        let (path, of) = (self.shared.config.files.proofs(), host.clone());
        let (proof, on) = on_disk(move || {
            let proofs = ledger::Proofs::load(&path)?;
            Ok((proofs.current(&of).cloned(), proofs.is_on(&of)))
        })
        .await?;
        let may_be_on = proof.as_ref().is_some_and(|proof| proof.evidence().leaves_power_on());
        if !may_be_on && reads_on(self.shared.map.as_ref(), &self.shared.names, host).await {
            info!(%host, "its power reads on: it is not proven off any more");
            end(self.shared.config.files.proofs(), host.clone(), begun).await?;
            return Ok(None);
        }
        if let Some(known) = &proof
            && let Some(why) = alive::sign(&self.shared, &self.cloud, known, false).await
        {
            info!(%host, "it is not proven off any more: {why}");
            end(self.shared.config.files.proofs(), host.clone(), begun).await?;
            return Ok(None);
        }
        if proof.is_some() || on {
            return Ok(proof);
        }
        // Another controller may have fenced it: what is not known here is no sign that the host is on.
        let found = reads_off(self.shared.map.as_ref(), &self.shared.names, host).await?;
        if let Some(proof) = &found {
            record(self.shared.config.files.proofs(), proof.clone()).await?;
        }
        Ok(found)
    }
}

/// The device's proof, where the ledger knows nothing of the host; none if it is on.
pub(super) async fn reads_off(map: Option<&Map>, names: &Names, host: &HostName) -> Read<Option<FenceProof>> {
    let unknown = |why: &dyn std::fmt::Display| Trouble {
        why: format!(
            "no proof that {host} is off is known on this controller, and its power cannot be read: {why}"
        ),
        hopeless: false,
        overload: false,
    };
    let Some(map) = map else { return Err(unknown(&"there is no map of power devices")) };
    let mut device = map.own_device_of(names, host).map_err(|error| unknown(&error))?;
    power::read_off(device.as_mut(), host, TWO_LOOKS).await.map_err(|error| unknown(&error))
}

/// A device that says nothing says nothing against the proof: boards lose their power with the host.
pub(super) async fn reads_on(map: Option<&Map>, names: &Names, host: &HostName) -> bool {
    reads(map, names, host).await == Some(PowerState::On)
}

/// What its power device says, if it has one that answers.
pub(super) async fn reads(map: Option<&Map>, names: &Names, host: &HostName) -> Option<PowerState> {
    let mut device = map?.device_of(names, host).ok()?;
    match power::status(device.as_mut(), ONE_LOOK).await {
        Ok(outcome) => Some(outcome.state),
        Err(error) => {
            warn!(%host, "its power cannot be read: {error}");
            None
        }
    }
}

/// Keeps a proof.
pub(super) async fn record(path: std::path::PathBuf, proof: FenceProof) -> Read<()> {
    on_disk(move || ledger::Proofs::load(&path)?.record(&proof)).await
}

/// The host was on at that time: no proof of before holds any more.
pub(super) async fn end(path: std::path::PathBuf, host: HostName, at: Stamp) -> Read<()> {
    on_disk(move || ledger::Proofs::load(&path)?.powered_on(&host, at)).await
}

/// The proof that holds.
pub(super) async fn current(path: std::path::PathBuf, host: HostName) -> Read<Option<FenceProof>> {
    on_disk(move || Ok(ledger::Proofs::load(&path)?.current(&host).cloned())).await
}

/// Since when the host is on, if it was not proven off since.
pub(super) async fn on_since(path: std::path::PathBuf, host: HostName) -> Read<Option<Stamp>> {
    on_disk(move || Ok(ledger::Proofs::load(&path)?.on_since(&host))).await
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ledger::LedgerError> + Send + 'static,
) -> Read<T> {
    let done = disk::on_disk(DISK, move || work().map_err(|error| error.to_string())).await;
    done.map_err(|why| Trouble { why, hopeless: false, overload: false })
}
