//! The clusters in which the table is played.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use pcmk_interop::cib::Primitive;
use pcmk_interop::daemon::put;
use pcmk_interop::error::Context;
use pcmk_interop::wait::secs;
use pcmk_interop::{Cluster, Daemon, Node, Result, Suite, World};

use super::row::{Row, User};

/// A cluster and the nodes to compare in it.
pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    pub(crate) pairs: Vec<Pair>,
    /// The daemon under test.
    pub(crate) daemon: Daemon,
    /// What changes nothing may run beside its like, everything else is alone.
    turn: RwLock<()>,
}

/// Two remote nodes of the same suite: one with the C daemon, one with the daemon under test.
pub(crate) struct Pair {
    pub(crate) suite: Suite,
    pub(crate) theirs: Arc<Node>,
    pub(crate) tested: Arc<Node>,
    /// The daemon of `tested`.
    pub(crate) daemon: Daemon,
}

/// A test that is not a row of the table.
pub(crate) type Test = fn(&Bed, &Pair) -> Result<()>;

impl Bed {
    /// Starts a cluster of two cluster nodes, with two remote nodes of each suite, and one (`v1`) to be fenced.
    pub(crate) fn start(world: &World, suite: Suite, nodes: &[Suite], daemon: Daemon) -> Result<Self> {
        let started = Instant::now();
        let cluster = Cluster::start(world, suite, 2).context(suite)?;
        cluster.add_remote(world, "v1", 99, Daemon::Theirs).context(suite)?;
        let mut pairs = Vec::new();
        for (number, of) in (1..).zip(nodes) {
            let first = 2 * number - 1;
            let add = |n: u8, daemon| -> Result<Arc<Node>> {
                let node = cluster.add_remote_of(world, &format!("r{n}"), n, daemon, *of)?;
                furnish(&node, *of)?;
                let name = node.name();
                let dummy = Primitive::new(&format!("dummy-{name}"), "ocf:pacemaker:Dummy");
                cluster.add(&dummy.monitor("10s", "20s").on(name, 1000).on("c1", 10).on("c2", 5))?;
                Ok(node)
            };
            let theirs = add(first, Daemon::Theirs).context(suite)?;
            let tested = add(first + 1, daemon).context(suite)?;
            pairs.push(Pair { suite: *of, theirs, tested, daemon });
        }
        cluster.settle().context(suite)?;
        println!("cluster of {suite} is up after {} s", started.elapsed().as_secs());
        Ok(Self { cluster, pairs, daemon, turn: RwLock::new(()) })
    }

    /// Plays a row of the table.
    pub(crate) fn row(&self, row: &Row, pair: usize) -> Result<()> {
        let pair = self.pairs.get(pair).context("no such pair")?;
        let test = || row.judge(&self.cluster, pair.suite, &pair.theirs, &pair.tested);
        if row.changes() {
            return self.alone(test);
        }
        let _turn = self.turn.read().unwrap_or_else(PoisonError::into_inner);
        self.said(test())
    }

    /// Runs a test on the nodes of the cluster's own suite.
    pub(crate) fn test(&self, test: Test) -> Result<()> {
        let pair = self.pairs.first().context("no nodes")?;
        self.alone(|| {
            self.ready().context("before the test")?;
            test(self, pair)
        })
    }

    /// Moves the connection of a remote node to the other cluster node.
    pub(crate) fn move_connection(&self, remote: &str) -> Result<()> {
        let cluster = &self.cluster;
        let host = cluster.status()?.host_of(remote).context(format!("{remote} is connected to nobody"))?;
        let other = if host == "c1" { "c2" } else { "c1" };
        cluster.exec(&["crm_resource", "--move", "-r", remote, "--node", other])?;
        cluster.wait_place(remote, &format!("Started on {other}"), secs(60))?;
        cluster.exec(&["crm_resource", "--clear", "-r", remote])?;
        cluster.wait_online(remote, secs(30))
    }

    /// Takes a promotable clone away.
    pub(crate) fn take_away(&self, id: &str) -> Result<()> {
        self.cluster.set_meta(&format!("{id}-clone"), "target-role", "Stopped")?;
        self.cluster.settle()?;
        self.cluster.remove(id)?;
        self.cluster.settle()
    }

    /// Waits until all nodes are there and the cluster has nothing left to do, whatever the last test did.
    pub(crate) fn ready(&self) -> Result<()> {
        for name in self.cluster.node_names() {
            self.cluster.wait_back(&name)?;
        }
        self.cluster.settle()
    }

    fn alone(&self, test: impl FnOnce() -> Result<()>) -> Result<()> {
        let _turn = self.turn.write().unwrap_or_else(PoisonError::into_inner);
        self.said(test())
    }

    fn said(&self, result: Result<()>) -> Result<()> {
        if let Err(error) = &result {
            println!("{}: {error}", self.cluster.suite());
        }
        result
    }
}

/// What the table needs on a node: users, and `crm_node`, which Debian packages for cluster nodes only.
fn furnish(node: &Node, suite: Suite) -> Result<()> {
    User::create(node)?;
    put(&suite.layer("full")?.join("usr/sbin/crm_node"), &node.path("/usr/local/sbin/crm_node")?, 0o755)
}
