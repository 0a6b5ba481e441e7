//! The proof where others find it: in the ledger of this controller, and as a signed line that goes to Nova and to the
//! other controllers.

use std::path::{Path, PathBuf};

use crate::cloud::OURS;
use crate::config::Config;
use crate::ids::HostName;
use crate::proof::FenceProof;
use crate::proof::ledger::Proofs;
use crate::proof::signed::Signer;
use crate::stamp::Stamp;

/// Where proofs go.
#[derive(Debug)]
pub(super) struct Keep {
    ledger: PathBuf,
    signer: Result<Signer, String>,
}

impl Keep {
    pub(super) fn new(config: &Config) -> Self {
        let signer = Signer::from_file(&config.files.key).map_err(|error| error.to_string());
        Self { ledger: config.files.proofs(), signer }
    }

    /// Why other controllers cannot check our proofs, if they cannot.
    pub(super) fn problem(&self) -> Option<&str> {
        self.signer.as_ref().err().map(String::as_str)
    }

    /// The line: for Nova's `disabled_reason` and the node attribute.
    pub(super) fn line(&self, proof: &FenceProof) -> String {
        match &self.signer {
            Ok(signer) => signer.sign(proof),
            // Nobody can take this for a proof; operators can read it.
            Err(_) => format!("{OURS}fenced {}, proof {}, not signed", proof.at(), proof.id()),
        }
    }

    /// The file with the proofs.
    pub(super) fn ledger(&self) -> PathBuf {
        self.ledger.clone()
    }
}

/// Keeps a proof on disk. Blocks while the disk does.
pub(super) fn record(ledger: &Path, proof: &FenceProof) -> Result<(), String> {
    if let Some(folder) = ledger.parent() {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let record = |mut proofs: Proofs| proofs.record(proof);
    Proofs::load(ledger).and_then(record).map_err(|error| error.to_string())
}

/// The host is about to be switched on: no proof of it holds any more. Blocks while the disk does.
pub(super) fn end(ledger: &Path, host: &HostName) -> Result<(), String> {
    if let Some(folder) = ledger.parent() {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let end = |mut proofs: Proofs| proofs.powered_on(host, Stamp::now());
    Proofs::load(ledger).and_then(end).map_err(|error| error.to_string())
}

/// Whether a service was disabled by us.
pub(super) fn is_ours(reason: &str) -> bool {
    reason.starts_with(OURS)
}
