//! What the simulated Nova has, and what is going to happen in it.

use std::collections::BTreeMap;

use super::super::values::{Action, Input, Mono, Row};
use crate::ids::{HostName, ServerId};

/// A server in the simulated Nova.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Guest {
    pub(in crate::engine) host: HostName,
    pub(in crate::engine) vm_state: &'static str,
    pub(in crate::engine) task: Option<&'static str>,
    pub(in crate::engine) running: bool,
    pub(in crate::engine) stopped_by_owner: bool,
    pub(in crate::engine) fault: Option<String>,
    pub(in crate::engine) metadata: BTreeMap<String, String>,
    pub(in crate::engine) deleted: bool,
}

#[derive(Debug, Clone)]
pub(in crate::engine) struct SimRow {
    pub(in crate::engine) row: Row,
    pub(in crate::engine) source: HostName,
}

/// Decides what goes wrong, by number and call.
pub(in crate::engine) type Faults = Box<dyn FnMut(u64, &Action) -> Option<Fault>>;

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Fault {
    /// No connection.
    NotSent,
    /// 503 before anything was done.
    Busy,
    /// The connection breaks before Nova has done it.
    LostBefore,
    /// The connection breaks after Nova has done it.
    LostAfter,
}

#[derive(Debug, Clone)]
pub(super) enum Ev {
    Arrive(u32, Action),
    Reply(u32, Input),
    Pickup(i64),
    Finish(i64),
    Settle(i64),
    Running(ServerId, bool),
}

pub(super) struct Timed(pub(super) Mono, pub(super) u64, pub(super) Ev);

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Timed {}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}
