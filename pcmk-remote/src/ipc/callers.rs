//! Who a local client is, and what it may do.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Group, Uid, User};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::caller::{Access, Caller};
use crate::sys;

/// Whom the files of a client's connection belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// root, with root's group.
    Root {
        /// Its group.
        gid: u32,
    },
    /// Somebody of this group.
    Group {
        /// The client.
        uid: u32,
        /// `haclient`, if there is one.
        gid: Option<u32>,
    },
}

/// The kernel's word on a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) pid: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    groups: Vec<u32>,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let known = getsockopt(stream, sockopt::PeerCredentials)?;
        Ok(Self {
            pid: u32::try_from(known.pid()).unwrap_or(0),
            uid: known.uid(),
            gid: known.gid(),
            groups: sys::peer_groups(stream.as_fd())?,
        })
    }
}

/// Looks accounts up. That may take time (LDAP), so it happens on other threads and is remembered a while.
#[derive(Debug)]
pub(super) struct Callers {
    user: String,
    group: String,
    known: Arc<Mutex<Known>>,
    /// Turns: a directory that hangs must not take all threads with it.
    turns: Arc<Semaphore>,
}

/// What was looked up.
#[derive(Debug, Default)]
struct Known {
    cluster: Option<(Instant, Cluster)>,
    names: HashMap<u32, (Instant, String)>,
}

/// The cluster's account.
#[derive(Debug, Clone, Copy, Default)]
struct Cluster {
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Callers {
    pub(super) fn new(user: &str, group: &str) -> Self {
        Self {
            user: user.to_owned(),
            group: group.to_owned(),
            known: Arc::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Who a peer is, and whom its files shall belong to.
    pub(super) async fn identify(&self, peer: &Peer) -> (Caller, Owner) {
        let (name, cluster) = match self.remembered(peer.uid) {
            _ if peer.uid == 0 => ("root".to_owned(), Cluster::default()),
            Some(found) => found,
            None => self.look_up(peer.uid).await,
        };
        let member = cluster.gid.is_some_and(|gid| peer.gid == gid || peer.groups.contains(&gid));
        let access = if peer.uid == 0 || cluster.uid == Some(peer.uid) {
            Access::Privileged
        } else if member {
            Access::Member
        } else {
            Access::None
        };
        let owner = if peer.uid == 0 {
            Owner::Root { gid: peer.gid }
        } else {
            Owner::Group { uid: peer.uid, gid: cluster.gid }
        };
        (Caller { pid: peer.pid, uid: peer.uid, gid: peer.gid, user: name, access }, owner)
    }

    fn remembered(&self, uid: u32) -> Option<(String, Cluster)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |at: &Instant| at.elapsed() < REMEMBER;
        let cluster = known.cluster.filter(|(at, _)| fresh(at))?.1;
        let (_, name) = known.names.get(&uid).filter(|(at, _)| fresh(at))?;
        Some((name.clone(), cluster))
    }

    async fn look_up(&self, uid: u32) -> (String, Cluster) {
        let (user, group, known) = (self.user.clone(), self.group.clone(), Arc::clone(&self.known));
        let turns = Arc::clone(&self.turns);
        let look = async move {
            let turn = turns.acquire_owned().await.ok()?;
            spawn_blocking(move || {
                let _turn = turn;
                let cluster = Cluster::look_up(&user, &group);
                let name = User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|found| found.name);
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                known.cluster = Some((now, cluster));
                let name = name.unwrap_or_else(|| UNKNOWN.to_owned());
                if known.names.len() >= MOST_NAMES {
                    known.names.clear();
                }
                known.names.insert(uid, (now, name.clone()));
                (name, cluster)
            })
            .await
            .ok()
        };
        // root is let in even if the directory of accounts hangs.
        match timeout(PATIENCE, look).await {
            Ok(Some(found)) => found,
            _ => (if uid == 0 { "root" } else { UNKNOWN }.to_owned(), Cluster::default()),
        }
    }
}

impl Cluster {
    /// As the C library does, the group is the account's own; without the account the group's name counts.
    fn look_up(user: &str, group: &str) -> Self {
        if let Ok(Some(found)) = User::from_name(user) {
            return Self { uid: Some(found.uid.as_raw()), gid: Some(found.gid.as_raw()) };
        }
        let group = Group::from_name(group).ok().flatten();
        Self { uid: None, gid: group.map(|found| found.gid.as_raw()) }
    }
}

/// As the C library calls users without an account.
const UNKNOWN: &str = "#unprivileged";
const REMEMBER: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(5);
const AT_ONCE: usize = 4;
const MOST_NAMES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the directory of accounts does.
    #[tokio::test]
    async fn root_is_known_without_looking() {
        let callers = Callers::new("no-such-user", "no-such-group");
        let root = Peer { pid: 1, uid: 0, gid: 7, groups: Vec::new() };
        let (caller, owner) = callers.identify(&root).await;
        assert_eq!((caller.user.as_str(), caller.access), ("root", Access::Privileged));
        assert_eq!(owner, Owner::Root { gid: 7 });
        assert!(callers.known.lock().unwrap().names.is_empty());
    }
}
