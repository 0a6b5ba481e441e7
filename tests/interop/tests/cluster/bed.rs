//! The cluster that the trials of a suite share, and what is done around each of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use pcmk_interop::cib::Primitive;
use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Cluster, Daemon, Node, Result, Suite, World, fail};

/// A trial.
pub(crate) type Test = fn(&Bed) -> Result<()>;

/// A cluster with remote nodes.
pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    /// The remote nodes: r1, r2 and, if there is one, `ref`.
    pub(crate) remotes: Vec<&'static str>,
    /// One trial at a time.
    turn: Mutex<()>,
}

impl Bed {
    /// Starts the cluster.
    pub(crate) fn start(world: &World, suite: Suite, daemon: Daemon) -> Result<Self> {
        let started = Instant::now();
        let cluster = Cluster::start(world, suite, 2).context(suite)?;
        let mut remotes = vec![("r1", daemon), ("r2", daemon)];
        if daemon == Daemon::Ours {
            remotes.push(("ref", Daemon::Theirs));
        }
        for ((name, daemon), n) in remotes.iter().zip(1..) {
            cluster.add_remote(world, name, n, *daemon).context(suite)?;
        }
        let took = started.elapsed().as_secs();
        println!("cluster of {suite} with remote nodes of {} is up after {took} s", daemon.name());
        let remotes = remotes.into_iter().map(|(name, _)| name).collect();
        Ok(Self { cluster, remotes, turn: Mutex::new(()) })
    }

    pub(crate) fn suite(&self) -> Suite {
        self.cluster.suite()
    }

    /// Whether there is a C daemon to compare with.
    pub(crate) fn reference(&self) -> Option<&'static str> {
        self.remotes.iter().copied().find(|name| *name == "ref")
    }

    pub(crate) fn r1(&self) -> Result<Arc<Node>> {
        self.cluster.node("r1")
    }

    /// Runs a trial and leaves the cluster as it was.
    pub(crate) fn run(&self, test: Test, known: Option<&str>) -> Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let started = Instant::now();
        let result = test(self);
        let took = started.elapsed().as_secs_f32();
        let reset = self.reset().context("putting the cluster back in order");
        if std::env::var_os("PCMK_RIG_TIMES").is_some() {
            println!("({took:.1} s, order again after {:.1} s)", started.elapsed().as_secs_f32() - took);
        }
        if let Err(error) = &result {
            println!("{}: {error}", self.suite());
        }
        match (result, known) {
            (Ok(()), Some(reason)) => return fail(format!("passed although it is listed as: {reason}")),
            (Err(_), Some(reason)) => println!("(failed as listed: {reason})"),
            (result, None) => result?,
        }
        reset
    }

    /// Takes a trial's resources away and waits until all nodes are there and the cluster is idle.
    fn reset(&self) -> Result<()> {
        let cluster = &self.cluster;
        for name in cluster.node_names() {
            cluster.stay_off(&name, false);
            let node = cluster.node(&name)?;
            node.link(true).ok();
            if !node.is_on() {
                cluster.switch_on(&name)?;
            }
        }
        let ours = "@id='power' or @id='r1' or @id='r2' or @id='ref'";
        let places = "starts-with(@id,'loc-r') or starts-with(@id,'power')";
        cluster.set_property("maintenance-mode", "false")?;
        for xpath in
            [format!("//constraints/*[not({places})]"), format!("//configuration/resources/*[not({ours})]")]
        {
            cluster.exec(&["cibadmin", "--delete-all", "--force", "--xpath", &xpath])?;
        }
        for name in &self.remotes {
            let node = cluster.node(name)?;
            wait::until(secs(60), &format!("the daemon on {name} to run"), || {
                node.exec(&["systemctl", "start", "pacemaker_remote"]).map(Some)
            })?;
        }
        cluster.settle()?;
        cluster.exec(&["crm_resource", "--cleanup"])?;
        for name in cluster.node_names() {
            if !cluster.status()?.online(&name) && self.remotes.contains(&name.as_str()) {
                cluster.exec(&["crm_resource", "--refresh", "-r", &name])?;
            }
            cluster.wait_online(&name, secs(90))?;
        }
        cluster.settle()
    }

    /// Starts a resource on r1 and waits for its start and its first monitor.
    pub(crate) fn started(&self, resource: &Primitive) -> Result<()> {
        self.cluster.add(resource)?;
        self.cluster.wait_place(resource.id(), "Started on r1", secs(40))?;
        self.cluster.settle()
    }

    /// How often a recurring monitor of this interval (milliseconds) was called on a node.
    pub(crate) fn monitors(&self, node: &str, resource: &str, interval: u32) -> Result<usize> {
        let wanted = format!("interval={interval}");
        let calls = self.cluster.calls(node)?.into_iter();
        Ok(calls.filter(|call| call.resource == resource && call.details == wanted).count())
    }

    /// Waits until a recurring monitor was called `more` times from now on.
    pub(crate) fn goes_on(&self, node: &str, resource: &str, interval: u32, more: usize) -> Result<()> {
        let before = self.monitors(node, resource, interval)?;
        wait::until(secs(30), &format!("{more} more monitors of {resource} on {node}"), || {
            Ok((self.monitors(node, resource, interval)? >= before + more).then_some(()))
        })
    }

    /// Waits until the calls of a resource on a node since call number `from` (without recurring monitors) are
    /// these.
    pub(crate) fn expect_deeds(&self, node: &str, resource: &str, from: usize, deeds: &[&str]) -> Result<()> {
        let wanted: Vec<_> = deeds.iter().map(|deed| (*deed).to_owned()).collect();
        wait::until_eq(secs(30), &format!("the calls of {resource} on {node}"), &wanted, || {
            self.cluster.deeds(node, resource, from)
        })
    }

    /// Says whether a resource was started or stopped on a node since call number `from`.
    pub(crate) fn untouched(&self, node: &str, resource: &str, from: usize) -> Result<()> {
        let deeds = self.cluster.deeds(node, resource, from)?;
        if deeds.iter().any(|deed| deed.starts_with("start=") || deed.starts_with("stop=")) {
            return fail(format!("{resource} on {node} was touched: {deeds:?}"));
        }
        Ok(())
    }
}
