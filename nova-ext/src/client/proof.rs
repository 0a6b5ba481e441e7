//! Proofs that a host is off: what is known here, what others have signed, what somebody vouches for.

use std::path::Path;

use super::{ClientError, RefusedLine, connect, hosts};
use crate::config::Config;
use crate::ids::HostName;
use crate::proof::FenceProof;
use crate::proof::ledger::Proofs;
use crate::proof::operator;
use crate::proof::signed::Signer;
use crate::serve;
use crate::stamp::Stamp;

/// The proof that this controller knows and that holds.
pub fn current(config: &Config, host: &str) -> Result<Option<FenceProof>, ClientError> {
    let host = hosts::known_here(host, config)?;
    Ok(Proofs::load(&config.files.proofs())?.current(&host).cloned())
}

/// The proof that a signed line of this host holds.
pub fn verify(config: &Config, host: &str, line: &str) -> Result<FenceProof, ClientError> {
    let host: HostName = host.parse()?;
    let signer = Signer::from_file(&config.files.key)?;
    signer.verify(&host, line).map_err(|why| ClientError::Refused(RefusedLine { host, why }))
}

/// The line that other controllers take for a proof.
pub fn sign(config: &Config, proof: &FenceProof) -> Result<String, ClientError> {
    Ok(Signer::from_file(&config.files.key)?.sign(proof))
}

/// Somebody vouches for it by name. Refused while a device says that the host is on, or its nova-compute reports.
pub async fn confirm(config: &Config, host: &str, name: &str) -> Result<FenceProof, ClientError> {
    let host = hosts::find(host, config).await?;
    if serve::reads_on(config, &host).await? {
        return Err(ClientError::IsOn(host));
    }
    vouch(config, &host, name).await
}

/// The same for a host whose power was looked at.
pub(crate) async fn vouch(config: &Config, host: &HostName, name: &str) -> Result<FenceProof, ClientError> {
    let proof = operator::confirms(host, name, Stamp::now())?;
    reports_to_nobody(config, host).await?;
    record(&config.files.proofs(), &proof)?;
    Ok(proof)
}

/// Keeps a proof where the engine looks for it.
pub(crate) fn record(path: &Path, proof: &FenceProof) -> Result<(), ClientError> {
    folder(path)?;
    Ok(Proofs::load(path)?.record(proof)?)
}

/// The host is on, or about to be: no proof of it holds any more.
pub(crate) fn end(path: &Path, host: &HostName, at: Stamp) -> Result<(), ClientError> {
    folder(path)?;
    Ok(Proofs::load(path)?.powered_on(host, at)?)
}

fn folder(path: &Path) -> Result<(), ClientError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|error| ClientError::Io(folder.to_owned(), error))
}

/// A nova-compute that Nova takes for up has reported within the last minute: that speaks against any word.
async fn reports_to_nobody(config: &Config, host: &HostName) -> Result<(), ClientError> {
    let asked = async { Ok::<_, ClientError>(connect(config).await?.compute_service(host).await?) };
    match asked.await {
        Ok(service) if service.up => Err(ClientError::Reports(host.clone())),
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::warn!(%host, "Nova cannot be asked whether it still reports: {error}");
            Ok(())
        }
    }
}
