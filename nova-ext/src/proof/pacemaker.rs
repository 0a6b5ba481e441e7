//! Pacemaker's own record of fencing as evidence.
//!
//! Its history says what was done to which node, and not by which device. So there are two ways to read it:
//!
//! - A *completed* entry (`status` success, action `off`, or `reboot` where that is accepted) that is newer than the
//!   node's last sign of life, where whatever the cluster can have fenced the node with switches power.
//! - A *pending* entry, seen by a fence agent that the fencer runs inside a topology level. The fencer goes on to the
//!   next device of a level only after the one before has succeeded, so the devices listed before ours in the level
//!   have switched the node off. That holds only if our device never comes first: each level of the node that has it
//!   must have another device before it.
//!
//! What a person has confirmed (`stonith_admin --confirm`) is in the history as well; it is no evidence here, for it
//! names nobody.

mod topology;
mod xml;

use super::{Evidence, FenceProof};
use crate::ids::{HostName, NodeName};
use crate::stamp::Stamp;
pub use topology::{Level, Topology};
pub use xml::BadXml;

/// Whom the fencer names when a person has confirmed.
const HUMAN: &str = "a human";

/// How an entry of the history stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is done.
    Success,
    /// It has failed.
    Failed,
    /// It runs.
    Pending,
}

/// An entry of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceEvent {
    /// The node.
    pub target: String,
    /// `off`, `reboot`, `on`.
    pub action: String,
    /// How it stands.
    pub state: State,
    /// Who asked for it.
    pub client: String,
    /// The node that carried it out.
    pub delegate: Option<String>,
    /// When it was done.
    pub completed: Option<Stamp>,
}

/// Why the history proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoProof {
    /// Nothing was done to the node.
    #[error("Pacemaker's fence history has no success of {0}")]
    Nothing(NodeName),
    /// Something was done, but the node was seen after.
    #[error("Pacemaker fenced {node} at {done}, but it was seen at {seen}: it has come back since")]
    Before {
        /// The node.
        node: NodeName,
        /// When it was fenced.
        done: Stamp,
        /// When it was seen.
        seen: Stamp,
    },
    /// A reboot, where only off counts.
    #[error(
        "Pacemaker rebooted {0}: it may run again. Set the fence action to off, or accept reboots in the policy"
    )]
    Reboot(NodeName),
    /// A person has confirmed it.
    #[error("{0} was confirmed off by stonith_admin, which names nobody: confirm it by name here")]
    Human(NodeName),
    /// What did it may not switch power.
    #[error(
        "Pacemaker fenced {node}, but perhaps with {by}, which does not show that its power is off: have a power device in \
         each level of the node"
    )]
    NotPower {
        /// The node.
        node: NodeName,
        /// What may have done it.
        by: String,
    },
    /// Nothing is under way.
    #[error("the fencer is not fencing {0} now")]
    NotNow(NodeName),
    /// No device comes before ours.
    #[error(
        "no power device comes before {agent} in a topology level of {node}: put one before it in the same level"
    )]
    First {
        /// The node.
        node: NodeName,
        /// Our agent.
        agent: String,
    },
    /// The cluster has not lost it.
    #[error("the cluster has node {0} online")]
    Online(NodeName),
    /// The cluster does not know it.
    #[error("the cluster has no node {0}")]
    NoNode(NodeName),
}

/// The entries in the output of `stonith_admin --history NODE --verbose --output-as=xml`.
pub fn history(text: &str) -> Result<Vec<FenceEvent>, BadXml> {
    xml::history(text)
}

/// Whether the output of `crm_mon -1 --output-as=xml` has the node online and clean.
pub fn is_online(text: &str, node: &NodeName) -> Result<bool, BadXml> {
    xml::is_online(text, node.as_str())
}

/// Whether the cluster has lost the node, by the output of `crm_mon -1 --output-as=xml`: it is nowhere both online and
/// clean. None if it is not listed.
pub fn is_lost(text: &str, node: &NodeName) -> Result<Option<bool>, BadXml> {
    xml::is_lost(text, node.as_str())
}

/// The proof of a completed entry that is newer than `seen`, the node's last sign of life.
pub fn completed(
    events: &[FenceEvent],
    topology: &Topology,
    node: &NodeName,
    host: &HostName,
    seen: Stamp,
    reboot_counts: bool,
) -> Result<FenceProof, NoProof> {
    let done = events.iter().filter(|event| event.state == State::Success && event.is_of(node));
    let mut done: Vec<_> = done.filter_map(|event| Some((event.completed?, event))).collect();
    done.sort_by_key(|(at, _)| *at);
    let (at, last) = done.pop().ok_or_else(|| NoProof::Nothing(node.clone()))?;
    if at <= seen {
        return Err(NoProof::Before { node: node.clone(), done: at, seen });
    }
    if last.delegate.as_deref() == Some(HUMAN) {
        return Err(NoProof::Human(node.clone()));
    }
    match last.action.as_str() {
        "off" => {}
        "reboot" if reboot_counts => {}
        "reboot" => return Err(NoProof::Reboot(node.clone())),
        // Switched on after: whatever came before does not hold.
        _ => return Err(NoProof::Nothing(node.clone())),
    }
    if let Some(by) = topology.doubt(node) {
        return Err(NoProof::NotPower { node: node.clone(), by });
    }
    let by = last.delegate.as_ref().map_or_else(String::new, |delegate| format!(" on {delegate}"));
    let evidence = Evidence::Pacemaker {
        device: format!("fencer{by}"),
        action: last.action.clone(),
        client: last.client.clone(),
        done: at,
    };
    Ok(FenceProof::new(host.clone(), evidence, at))
}

/// The proof that follows from being run by the fencer behind other devices of a level.
///
/// `agent` is the type of our devices in the configuration (`fence_nova`). Call it only from an agent that the fencer
/// itself has started for `off`.
pub fn behind_others(
    events: &[FenceEvent],
    topology: &Topology,
    node: &NodeName,
    host: &HostName,
    agent: &str,
    now: Stamp,
) -> Result<FenceProof, NoProof> {
    let pending = events
        .iter()
        .find(|event| {
            // A reboot by a level with several devices is off for all and then on for all. The node that asks for it
            // shows the step, the others what was asked for.
            let off = event.action == "off" || event.action == "reboot";
            event.state == State::Pending && event.is_of(node) && off
        })
        .ok_or_else(|| NoProof::NotNow(node.clone()))?;
    let first = || NoProof::First { node: node.clone(), agent: agent.to_owned() };
    let device = topology.before(node, agent).ok_or_else(first)?;
    let evidence = Evidence::Pacemaker {
        device,
        action: pending.action.clone(),
        client: pending.client.clone(),
        done: now,
    };
    Ok(FenceProof::new(host.clone(), evidence, now))
}

impl FenceEvent {
    fn is_of(&self, node: &NodeName) -> bool {
        self.target.eq_ignore_ascii_case(node.as_str())
    }
}

#[cfg(test)]
mod tests;
