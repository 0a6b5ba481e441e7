//! What is to be done about the servers of a failed host: a pure function of what Nova says and of the policy.
//!
//! Every server is either in the moves or left out with a reason, and the same input gives the same plan, in whatever
//! order Nova lists it.

pub mod capacity;
mod reason;
mod server;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{HostName, ServerId};
use crate::policy::{Choice, Facts, Order, Policy};

pub use reason::Reason;
pub use server::{Flavor, Power, Server, VmState};

/// All that Nova says about a host.
#[derive(Debug, Clone, PartialEq)]
pub struct Inventory {
    /// The host that failed.
    pub host: HostName,
    /// Its servers.
    pub servers: Vec<Server>,
    /// The metadata of each aggregate that it is in.
    pub aggregates: Vec<BTreeMap<String, String>>,
    /// The properties of the servers' images, by image id.
    pub images: BTreeMap<String, BTreeMap<String, String>>,
    /// Servers whose last evacuation from this host failed: that is why they are in ERROR.
    pub tried: BTreeSet<ServerId>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In this order.
    pub moves: Vec<Move>,
    /// Who stays, by id.
    pub left_out: Vec<LeftOut>,
}

/// A server that is to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The server.
    pub server: ServerId,
    /// Its name, for people.
    pub name: String,
    /// Whether it ran when the host failed, so that it must run again.
    pub ran: bool,
    /// Its state must be reset before Nova evacuates it.
    pub reset: bool,
    /// Higher goes first.
    pub priority: i32,
    /// Its group.
    pub group: Option<String>,
    /// What decided it, and what was noticed.
    pub why: String,
}

/// A server that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The server.
    pub server: ServerId,
    /// Its name, for people.
    pub name: String,
    /// Why.
    pub reason: Reason,
}

/// Who is moved, in which order, and who stays and why.
pub fn plan(inventory: &Inventory, policy: &Policy) -> Plan {
    let nothing = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut plan = Plan::default();
    let mut moves = Vec::new();
    for server in &inventory.servers {
        // A server that changes while Nova's pages are read can be on two of them.
        if !seen.insert(server.id) {
            continue;
        }
        let image = server.image.as_ref().and_then(|id| inventory.images.get(id)).unwrap_or(&nothing);
        let choice = policy.choose(&Facts {
            metadata: &server.metadata,
            tags: &server.tags,
            image,
            flavor: &server.flavor.extra_specs,
            aggregates: &inventory.aggregates,
            project: &server.project,
        });
        match reason::to_stay(server, image, inventory, &choice, policy) {
            Some(reason) => {
                plan.left_out.push(LeftOut { server: server.id, name: server.name.clone(), reason });
            }
            None => moves.push((rank(server, &choice, policy), to_move(server, choice, policy))),
        }
    }
    moves.sort_unstable_by_key(|(rank, _)| *rank);
    plan.moves = moves.into_iter().map(|(_, one)| one).collect();
    plan.left_out.sort_unstable_by_key(|one| one.server);
    plan
}

/// What a move is sorted by; ends with the id, so that no two are the same.
/// Groups go in the policy's order, and before servers without a group.
type Rank = (Reverse<i32>, usize, u64, ServerId);

fn rank(server: &Server, choice: &Choice, policy: &Policy) -> Rank {
    let place = |name: &str| policy.groups.iter().position(|group| group.name == name);
    let group = choice.group.as_ref().and_then(|group| place(&group.value)).unwrap_or(usize::MAX);
    let memory = u64::from(server.flavor.ram_mb);
    let within = match policy.order {
        Order::Oldest => server.created.map_or(u64::MAX, crate::stamp::Stamp::as_secs),
        Order::Largest => u64::MAX - memory,
        Order::Smallest => memory,
    };
    (Reverse(choice.priority.value), group, within, server.id)
}

fn to_move(server: &Server, choice: Choice, policy: &Policy) -> Move {
    let mut why = choice.evacuate.to_string();
    if !policy.storage.shared && server.flavor.ephemeral_gb > 0 {
        why.push_str("; its ephemeral disk starts empty");
    }
    if reason::root_is_lost(server, policy) {
        why.push_str("; it is built anew from its image");
    }
    for note in &choice.notes {
        why.push_str("; ");
        why.push_str(note);
    }
    Move {
        server: server.id,
        name: server.name.clone(),
        ran: server.ran(),
        reset: server.task_state.is_some() || server.vm_state == VmState::Error,
        priority: choice.priority.value,
        group: choice.group.map(|group| group.value),
        why,
    }
}

#[cfg(test)]
mod tests;
