//! Who may ask Nova for an evacuation, and in which order a host returns: what a guard in front of Nova's API decides.
//!
//! Nova evacuates on anybody's word once a service is down, and forces a host up while servers are on their way from it.
//! Pure: what Nova's database says comes in.

use std::time::Duration;

use crate::cloud::OURS;
use crate::ids::HostName;
use crate::proof::FenceProof;
use crate::proof::signed::{Refused, Signer};
use crate::stamp::Stamp;

/// A report is written down when a conductor gets to it, by its clock: so much later than the host has made it. A host
/// that is really on again goes on reporting.
const LATE: Duration = Duration::from_secs(30);

/// What is asked of Nova.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// To build a server of this host elsewhere.
    Evacuate,
    /// To take the host's nova-compute for up again.
    ForceUp,
    /// To schedule on the host again.
    Enable,
}

/// What Nova's database says of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The host.
    pub host: HostName,
    /// Whether its service is forced down.
    pub forced_down: bool,
    /// Whether its service is disabled.
    pub disabled: bool,
    /// Why, in the words of who disabled it.
    pub reason: Option<String>,
    /// When its nova-compute reported last.
    pub last_seen: Option<Stamp>,
    /// Evacuations from it that have not begun or are under way (`accepted`, `pre-migrating`, …).
    pub alive: usize,
    /// Evacuations from it that its own nova-compute has not cleaned up after (`done`).
    pub done: usize,
}

/// What counts as a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A proof older than this has to be made again.
    pub longest: Duration,
}

/// Why something is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody has proven anything.
    #[error(
        "host {0} is not proven off: its servers may still run. Fence it (nova-ha, fence_nova), or let an administrator \
         confirm it: nova-ha evacuate {0} --operator-confirms-off NAME"
    )]
    NotProven(HostName),
    /// What is said to be a proof is none.
    #[error("the fence proof of host {0} is not valid: {1}")]
    Invalid(HostName, Refused),
    /// There is no key.
    #[error("the fence proof of host {0} cannot be checked: this nova-api has no key (instance_ha.key_file)")]
    NoKey(HostName),
    /// The host was on after it.
    #[error(
        "the fence proof of host {host} has expired: it was off at {proven}, and its nova-compute reported at {seen}"
    )]
    Expired {
        /// The host.
        host: HostName,
        /// The proof's time.
        proven: Stamp,
        /// The report's time.
        seen: Stamp,
    },
    /// It is old.
    #[error("the fence proof of host {host} is from {proven}, too long ago to be believed: fence it again")]
    Old {
        /// The host.
        host: HostName,
        /// The proof's time.
        proven: Stamp,
    },
    /// Servers are on their way from it.
    #[error(
        "host {host} cannot be forced up: {alive} evacuations from it are under way, and its nova-compute would destroy \
         their disks or run the servers twice. Wait until they have ended"
    )]
    Alive {
        /// The host.
        host: HostName,
        /// How many.
        alive: usize,
    },
    /// Its nova-compute has not been started.
    #[error(
        "host {host} cannot be forced up: {done} evacuations from it wait for its nova-compute to clean up. Start \
         nova-compute there while it is forced down, and wait until they are completed"
    )]
    Done {
        /// The host.
        host: HostName,
        /// How many.
        done: usize,
    },
    /// First up, then enabled.
    #[error("host {0} cannot be enabled: it is forced down. First force it up, then enable it")]
    StillDown(HostName),
    /// It was us who disabled it, and servers are on their way.
    #[error("host {host} cannot be enabled: {open} evacuations from it have not ended")]
    StillOpen {
        /// The host.
        host: HostName,
        /// How many.
        open: usize,
    },
}

/// Whether this may be asked now; for an evacuation with the proof that it rests on. `line`: a proof that came with the
/// request, beside the one in the reason for which the service is disabled.
pub fn judge(
    ask: Ask,
    known: &Known,
    line: Option<&str>,
    signer: Option<&Signer>,
    rules: Rules,
    now: Stamp,
) -> Result<Option<FenceProof>, Refusal> {
    let host = || known.host.clone();
    match ask {
        Ask::Evacuate => proven(known, line, signer, rules, now).map(Some),
        Ask::ForceUp if known.alive > 0 => Err(Refusal::Alive { host: host(), alive: known.alive }),
        Ask::ForceUp if known.done > 0 => Err(Refusal::Done { host: host(), done: known.done }),
        Ask::ForceUp => Ok(None),
        Ask::Enable if known.forced_down => Err(Refusal::StillDown(host())),
        Ask::Enable => {
            let ours = known.reason.as_deref().is_some_and(|reason| reason.starts_with(OURS));
            let open = known.alive.saturating_add(known.done);
            if ours && open > 0 { Err(Refusal::StillOpen { host: host(), open }) } else { Ok(None) }
        }
    }
}

fn proven(
    known: &Known,
    line: Option<&str>,
    signer: Option<&Signer>,
    rules: Rules,
    now: Stamp,
) -> Result<FenceProof, Refusal> {
    let host = &known.host;
    let recorded = known.reason.as_deref().filter(|reason| reason.starts_with(OURS));
    if !known.forced_down || (line.is_none() && recorded.is_none()) {
        return Err(Refusal::NotProven(host.clone()));
    }
    let signer = signer.ok_or_else(|| Refusal::NoKey(host.clone()))?;
    let mut wrong = Refused::Other;
    let mut newest: Option<FenceProof> = None;
    for line in line.into_iter().chain(recorded) {
        match signer.verify(host, line) {
            Ok(proof) if newest.as_ref().is_none_or(|known| proof.at() > known.at()) => newest = Some(proof),
            Ok(_) => {}
            Err(refused) => wrong = refused,
        }
    }
    let proof = match newest {
        Some(proof) => proof,
        // Ours, and no proof: what we write when there is no key.
        None if wrong == Refused::Other => return Err(Refusal::NotProven(host.clone())),
        None => return Err(Refusal::Invalid(host.clone(), wrong)),
    };
    if let Some(seen) = known.last_seen
        && seen > proof.at().after(LATE)
    {
        return Err(Refusal::Expired { host: host.clone(), proven: proof.at(), seen });
    }
    if now.since(proof.at()) > rules.longest {
        return Err(Refusal::Old { host: host.clone(), proven: proof.at() });
    }
    Ok(proof)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::proof::operator;

    fn at(text: &str) -> Stamp {
        format!("2026-11-30T{text}Z").parse().unwrap()
    }

    fn known() -> Known {
        Known {
            host: "c1".parse().unwrap(),
            forced_down: true,
            disabled: true,
            reason: None,
            last_seen: Some(at("09:59:00")),
            alive: 0,
            done: 0,
        }
    }

    pub(crate) fn signer() -> (tempfile::TempDir, Signer) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "k".repeat(40)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let signer = Signer::from_file(&path).unwrap();
        (folder, signer)
    }

    const RULES: Rules = Rules { longest: Duration::from_secs(3600) };

    fn evacuate(known: &Known, line: Option<&str>, signer: Option<&Signer>, now: &str) -> String {
        match judge(Ask::Evacuate, known, line, signer, RULES, at(now)) {
            Ok(proof) => proof.unwrap().evidence().to_string(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn no_evacuation_without_a_proof_that_holds() {
        let (_folder, signer) = signer();
        let proof = operator::confirms(&"c1".parse().unwrap(), "Ann", at("10:00:00")).unwrap();
        let line = signer.sign(&proof);
        let with = |reason: &str| Known { reason: Some(reason.to_owned()), ..known() };
        assert_eq!(evacuate(&with(&line), None, Some(&signer), "10:00:05"), "Ann confirms it");
        // Its last report has waited for a conductor.
        let late = Known { last_seen: Some(at("10:00:20")), ..with(&line) };
        assert_eq!(evacuate(&late, None, Some(&signer), "10:00:35"), "Ann confirms it");
        // Somebody had disabled it before: the proof comes with the request.
        assert_eq!(evacuate(&with("new disks"), Some(&line), Some(&signer), "10:00:05"), "Ann confirms it");
        for (known, line, signer, now, why) in [
            (known(), None, Some(&signer), "10:00:05", "is not proven off"),
            (with("new disks"), None, Some(&signer), "10:00:05", "is not proven off"),
            (with("nova-ha: fenced, not signed"), None, Some(&signer), "10:00:05", "is not proven off"),
            (
                Known { forced_down: false, ..with(&line) },
                None,
                Some(&signer),
                "10:00:05",
                "is not proven off",
            ),
            (with(&line), None, None, "10:00:05", "has no key"),
            (with(&line.replace("Ann", "Bob")), None, Some(&signer), "10:00:05", "signature is wrong"),
            (
                Known { host: "c2".parse().unwrap(), ..with(&line) },
                None,
                Some(&signer),
                "10:00:05",
                "signature is wrong",
            ),
            (
                Known { last_seen: Some(at("10:00:31")), ..with(&line) },
                None,
                Some(&signer),
                "10:00:35",
                "has expired",
            ),
            (with(&line), None, Some(&signer), "11:00:05", "too long ago"),
        ] {
            let said = evacuate(&known, line, signer, now);
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn a_host_returns_in_order() {
        let (_folder, signer) = signer();
        let ask = |ask, known: &Known| {
            judge(ask, known, None, Some(&signer), RULES, at("10:00:00")).map_err(|it| it.to_string())
        };
        assert_eq!(ask(Ask::ForceUp, &known()), Ok(None));
        let said = ask(Ask::ForceUp, &Known { alive: 2, ..known() }).unwrap_err();
        assert!(said.contains("2 evacuations from it are under way"), "{said}");
        let said = ask(Ask::ForceUp, &Known { done: 1, ..known() }).unwrap_err();
        assert!(said.contains("Start nova-compute there while it is forced down"), "{said}");
        assert!(ask(Ask::Enable, &known()).unwrap_err().contains("First force it up"));
        let up = Known { forced_down: false, ..known() };
        assert_eq!(ask(Ask::Enable, &up), Ok(None));
        // What somebody else has disabled is theirs to enable.
        assert_eq!(
            ask(Ask::Enable, &Known { done: 1, reason: Some("new disks".into()), ..up.clone() }),
            Ok(None)
        );
        let ours = Known { done: 1, reason: Some("nova-ha: off …".into()), ..up };
        assert!(ask(Ask::Enable, &ours).unwrap_err().contains("have not ended"));
    }
}
