//! The one call that must not be made twice while the first may be alive, and never without proof.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use tracing::{info, warn};

use super::Cloud;
use super::error::{CloudError, RequestId};
use super::microversion::Microversion;
use crate::ids::{HostName, ServerId};
use crate::proof::FenceProof;

/// Where the guard in front of Nova looks for a proof.
const PROOF: &str = "x-instance-ha-proof";

impl Cloud {
    /// Asks Nova to rebuild a server of a dead host elsewhere: on `target`, or where the scheduler finds room.
    ///
    /// One POST, never repeated here but after two refusals that are said before anything is done: of the token, and
    /// of 2.95 while some nova-compute is too old for it. [`CloudError::fate`] of a failure says what may follow: after `NotSent` it can
    /// be made again, `Refused` is Nova's decision, and after `Unheard` the server's migrations must be read first.
    /// Success means accepted: the migrations say what became of it.
    pub async fn evacuate(
        &self,
        server: &ServerId,
        source: &HostName,
        proof: &FenceProof,
        target: Option<&HostName>,
    ) -> Result<RequestId, CloudError> {
        if proof.host() != source {
            let (host, proven) = (source.clone(), proof.host().clone());
            return Err(CloudError::OtherHost { server: *server, host, proven });
        }
        if target == Some(source) {
            return Err(CloudError::Senseless(format!(
                "server {server} cannot be evacuated to the dead host itself"
            )));
        }
        let path = format!("/servers/{server}/action");
        let body = body(target);
        let mut version = self.evacuate_version();
        let shown = self.shown(proof);
        let mut result = self.post_with(&path, &body, version, shown.clone()).await;
        if result.as_ref().is_err_and(is_too_new) {
            warn!("some nova-compute is older than 27.0 (2023.1): evacuated servers do not end stopped");
            self.no_stopped_evacuation();
            version = self.evacuate_version();
            result = self.post_with(&path, &body, version, shown).await;
        }
        match result {
            Ok(answer) => {
                info!(
                    %server, %source, target = target.map(HostName::as_str), proof = %proof.id(),
                    microversion = %version, request_id = %answer.id, "evacuation accepted"
                );
                Ok(answer.id)
            }
            Err(error) => {
                warn!(%server, %source, fate = ?error.fate(), "evacuation not accepted: {error}");
                Err(error)
            }
        }
    }

    /// The proof for a guard in front of Nova, which believes what is signed. Nova itself does not look at it.
    fn shown(&self, proof: &FenceProof) -> HeaderMap {
        let line = self.signer.as_ref().and_then(|signer| HeaderValue::try_from(signer.sign(proof)).ok());
        line.map(|line| (HeaderName::from_static(PROOF), line)).into_iter().collect()
    }

    /// Whether evacuated servers end stopped (2.95 and later) and have to be started.
    ///
    /// It turns false when Nova refuses that: all nova-computes must be of 27.0 (2023.1) or later.
    pub fn evacuates_stopped(&self) -> bool {
        self.evacuate_version() >= Microversion::EVACUATE_STOPPED
    }
}

/// From 2.14 Nova finds out by itself whether storage is shared, and `force`, gone in 2.68, would pass by the
/// scheduler: so one body fits all versions from 2.53 on.
fn body(target: Option<&HostName>) -> Value {
    let mut evacuate = Map::new();
    if let Some(target) = target {
        evacuate.insert("host".into(), target.as_str().into());
    }
    json!({"evacuate": evacuate})
}

/// Nova's refusal of 2.95 while an old nova-compute is left, by Nova's age as a text or as the name of an exception.
fn is_too_new(error: &CloudError) -> bool {
    let said = match error {
        CloudError::Refused { status: 400, message, .. } => message,
        CloudError::Unheard { status: Some(500), why, .. } => why,
        _ => return false,
    };
    said.contains("microversion 2.95") || said.contains("NotSupportedComputeForEvacuateV295")
}
