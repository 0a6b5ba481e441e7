//! From the fence agent to the engine: a request that outlives both.
//!
//! It is a file in a folder of this controller, and a node attribute that all controllers see. The engine takes up
//! whichever it sees first; both name the same incident.

mod attributes;
mod queue;

use serde::{Deserialize, Serialize};

pub use attributes::{
    AttributeError, Attributes, EVACUATE, Evacuate, FAILURES, POWER, PROOF, Value, power_wish, value_of,
};
pub use queue::{Queue, QueueError, Queued};

use crate::engine::journal::Entry;
use crate::ids::{HostName, IncidentId, NodeName};
use crate::stamp::Stamp;

/// What the engine is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// Evacuate the host.
    Evacuate,
    /// Let the host return to service.
    Return,
}

/// How far marking the host in Nova has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Marked {
    /// Down, and disabled by us or by somebody before us.
    Done,
    /// Not yet.
    Open {
        /// Why.
        why: String,
    },
}

/// A request to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The incident, from fence to last guest.
    pub id: IncidentId,
    /// What is wanted.
    pub wish: Wish,
    /// When it was asked for.
    pub at: Stamp,
    /// By whom: program and controller.
    pub by: String,
    /// The node, as the cluster calls it.
    pub node: NodeName,
    /// The host, as Nova calls it.
    pub host: HostName,
    /// The proof that the host is off, in its signed form.
    pub proof: Option<String>,
    /// Whether Nova knows that the host is down.
    pub marked: Marked,
    /// Whether the engine powers the host on once its guests are elsewhere.
    pub power_on: bool,
    /// Whether the host's servers are to be evacuated at all.
    pub evacuates: bool,
    /// Whether the computes share storage for ephemeral disks, if it was said. Kept for people: the plan takes the
    /// policy's word, which an engine that resumes has as well.
    pub shared_storage: Option<bool>,
    /// Whoever wrote it still works on it until then: not before that time is it taken up.
    pub not_before: Option<Stamp>,
    /// What has happened so far, for the journal.
    pub story: Vec<Entry>,
}

impl Request {
    /// Whether it can be taken up.
    pub fn is_due(&self, now: Stamp) -> bool {
        self.not_before.is_none_or(|time| time <= now)
    }

    /// What the attribute [`EVACUATE`] tells the other controllers of an evacuation that was asked for.
    pub fn asks(&self) -> Evacuate {
        asks(self.evacuates, &self.marked, self.power_on)
    }

    /// Whether the cluster shows that it has ended elsewhere: the engine of another controller takes up what it sees in
    /// the attributes, and cannot remove the file. `evacuate` and `proof`: the values that the node has.
    ///
    /// Whoever has switched the host on and wants it back writes the same time into both: that is not later.
    pub fn is_over(&self, evacuate: Option<&str>, proof: Option<&str>) -> bool {
        let Some(proof) = proof else { return false };
        match is_on(proof) {
            Some(since) => since > self.at,
            // Of this very request, and done.
            None => {
                self.wish == Wish::Evacuate
                    && self.proof.as_deref() == Some(proof)
                    && evacuate.is_some_and(|value| Evacuate::parse(value) == Evacuate::Over)
            }
        }
    }
}

/// Whether somebody wants, or does, an evacuation of a host: the engine of this controller or of another one. `evacuate`
/// and `proofs`: what the cluster says of all nodes; `queued`: what lies in the folder of requests here.
pub fn is_evacuated(
    (host, node): (&HostName, &NodeName),
    evacuate: &[Value],
    proofs: &[Value],
    queued: &[Request],
) -> bool {
    let names = |value: &Value| value.node == node.as_str() || value.node == host.as_str();
    if evacuate.iter().any(|value| names(value) && Evacuate::parse(&value.value) != Evacuate::Over) {
        return true;
    }
    let (evacuate, proof) = (value_of(evacuate, node), value_of(proofs, node));
    // One that an engine elsewhere has taken up by the attributes is still in the queue here.
    queued.iter().any(|it| {
        it.wish == Wish::Evacuate
            && it.host == *host
            && it.asks() != Evacuate::Over
            && !it.is_over(evacuate, proof)
    })
}

/// What is left for an engine, on whichever controller, once a host is fenced.
pub fn asks(evacuates: bool, marked: &Marked, power_on: bool) -> Evacuate {
    match (evacuates, marked) {
        (true, _) => Evacuate::Wanted,
        (false, Marked::Done) if !power_on => Evacuate::Over,
        (false, _) => Evacuate::Down,
    }
}

/// What the attribute [`PROOF`] says of a host that is on again.
pub fn on_since(time: Stamp) -> String {
    format!("on {time}")
}

/// Since when the host is on again, if the attribute [`PROOF`] says that it is.
pub fn is_on(proof: &str) -> Option<Stamp> {
    proof.strip_prefix("on ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_over_when_the_cluster_says_so_of_it() {
        let time = |text: &str| text.parse::<Stamp>().unwrap();
        let request = Request {
            id: IncidentId::new_random(),
            wish: Wish::Evacuate,
            at: time("2026-11-25T10:00:00Z"),
            by: "fence_nova on ctl1".into(),
            node: "c1".parse().unwrap(),
            host: "c1".parse().unwrap(),
            proof: Some("nova-ha: off a".into()),
            marked: Marked::Done,
            power_on: false,
            evacuates: true,
            shared_storage: None,
            not_before: None,
            story: Vec::new(),
        };
        let ours = Some("nova-ha: off a");
        for (evacuate, proof, over) in [
            (Some("no"), ours, true),
            (Some("yes"), ours, false),
            (Some("ctl2@1700000000"), ours, false),
            // What is left of an earlier failure says nothing of this one.
            (Some("no"), Some("nova-ha: off b"), false),
            (Some("no"), None, false),
            (None, None, false),
            (Some("no"), Some("on 2026-11-25T09:00:00Z"), false),
            (None, Some("on 2026-11-25T10:05:00Z"), true),
            (Some("yes"), Some("on soon"), false),
        ] {
            assert_eq!(request.is_over(evacuate, proof), over, "{evacuate:?} {proof:?}");
        }
        assert_eq!(is_on(&on_since(request.at)), Some(request.at));

        let back = Request { wish: Wish::Return, proof: None, ..request };
        for (proof, over) in [
            (None, false),
            // Its own word.
            (Some("on 2026-11-25T10:00:00Z"), false),
            // It has returned since, or was switched on once more.
            (Some("on 2026-11-25T10:00:00.001Z"), true),
            (Some("nova-ha: off a"), false),
        ] {
            assert_eq!(back.is_over(Some("no"), proof), over, "{proof:?}");
        }
    }

    #[test]
    fn what_is_not_evacuated_asks_for_the_rest_alone() {
        let open = Marked::Open { why: "Nova does not answer".into() };
        for (evacuates, marked, power_on, asked) in [
            (true, &Marked::Done, false, Evacuate::Wanted),
            (true, &open, true, Evacuate::Wanted),
            (false, &Marked::Done, false, Evacuate::Over),
            (false, &open, false, Evacuate::Down),
            (false, &Marked::Done, true, Evacuate::Down),
        ] {
            assert_eq!(asks(evacuates, marked, power_on), asked, "{evacuates} {marked:?} {power_on}");
        }
    }
}
