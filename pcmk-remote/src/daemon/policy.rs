//! The policy in force: read at the start, and again whenever its file has changed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::Fatal;
use super::config::Config;
use crate::audit::{Entry, Origin};
use crate::net::{Peer, PeerIdentity};
use crate::policy::file::{FileError, PolicyFile};
use crate::policy::{Policy, Refusal};

/// How often the file is looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// Patience with the file's disk: at the start, and until it is complained about.
const DEADLINE: Duration = Duration::from_secs(10);

/// Reads the policy and keeps an eye on its file. A file that cannot be used ends the daemon: somebody
/// wanted to refuse something.
pub(super) async fn start(config: &Config) -> Result<watch::Receiver<Arc<Policy>>, Fatal> {
    let mut file = PolicyFile::new(config.policy_file.as_deref());
    let path = file.path().to_owned();
    let reading = spawn_blocking(move || (file.read(), file));
    let Ok(Ok((policy, file))) = timeout(DEADLINE, reading).await else {
        let source = std::io::ErrorKind::TimedOut.into();
        return Err(Fatal::Policy(FileError::Io { path, source }));
    };
    let policy = policy?;
    if let Some(policy) = &policy {
        describe("Using", &file, policy);
    }
    let (sender, receiver) = watch::channel(Arc::new(policy.unwrap_or_default()));
    tokio::spawn(keep(file, sender));
    Ok(receiver)
}

/// How a peer stands in the audit log and is counted.
pub(super) fn origin(peer: &Peer) -> Origin {
    match &peer.identity {
        PeerIdentity::Key => Origin::peer(peer.address, "key", None),
        PeerIdentity::Certificate(certificate) => {
            Origin::peer(peer.address, "certificate", Some(&certificate.subject))
        }
    }
}

/// Whether a connected peer may stay under a new policy; if not, says so.
pub(super) fn may_stay(policy: &Policy, peer: &Peer) -> bool {
    let Err(refusal) = policy.admit_address(peer.address.ip()).and_then(|()| peer.admitted_by(policy)) else {
        return true;
    };
    report(peer.address, &refusal, &origin(peer));
    false
}

fn report(address: SocketAddr, refusal: &Refusal, origin: &Origin) {
    warn!("Closing the connection of {address}: {refusal}");
    Entry::new("disconnect", "refused").field("reason", refusal).log(origin.fields());
}

async fn keep(mut file: PolicyFile, sender: watch::Sender<Arc<Policy>>) {
    let mut complaint = None;
    while !sender.is_closed() {
        sleep(PERIOD).await;
        let path = file.path().to_owned();
        let mut reading = spawn_blocking(move || (file.read(), file));
        let read = if let Ok(read) = timeout(DEADLINE, &mut reading).await {
            read
        } else {
            warn!("Could not check {} within {DEADLINE:?}: does its disk hang?", path.display());
            reading.await
        };
        let Ok((read, returned)) = read else { return };
        file = returned;
        match read {
            Ok(None) => {}
            Ok(Some(policy)) => {
                complaint = None;
                if *sender.borrow().as_ref() != policy {
                    describe("New", &file, &policy);
                    sender.send_replace(Arc::new(policy));
                }
            }
            Err(error) => {
                let text = error.to_string();
                if complaint.as_ref() != Some(&text) {
                    error!("The policy stays as it was: {text}");
                    complaint = Some(text);
                }
            }
        }
    }
}

fn describe(how: &str, file: &PolicyFile, policy: &Policy) {
    let says = if policy.allows_everything() { ", which refuses nothing" } else { "" };
    info!(target: "notice", "{how} policy from {}{says}", file.path().display());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::PeerCertificate;

    #[test]
    fn peers_that_a_new_policy_does_not_admit_may_not_stay() {
        let certificate = PeerCertificate {
            subject: "CN=c1".into(),
            names: vec!["c1.example.com".into(), "c1".into()],
            sha256: String::new(),
            not_after: 0,
        };
        let address = "192.0.2.1:4000".parse().unwrap();
        let key = Peer { address, identity: PeerIdentity::Key };
        let named = Peer { address, identity: PeerIdentity::Certificate(Box::new(certificate)) };
        for (text, key_stays, named_stays) in [
            ("", true, true),
            ("[peers]\naddresses = ['192.0.2.0/24']", true, true),
            ("[peers]\naddresses = ['192.0.2.2']", false, false),
            ("[peers]\nnames = ['*.example.com']", false, true),
            ("[peers]\nnames = ['c2']", false, false),
        ] {
            let policy = Policy::parse(text).unwrap();
            assert_eq!(
                (may_stay(&policy, &key), may_stay(&policy, &named)),
                (key_stays, named_stays),
                "{text}"
            );
        }
    }
}
