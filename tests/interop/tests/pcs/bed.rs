//! The cluster that the trials of a suite share, and what is done around each of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use pcmk_interop::cib::Primitive;
use pcmk_interop::error::Context;
use pcmk_interop::run::Output;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Cluster, Daemon, Node, Result, Suite, World, fail};

/// A trial.
pub(crate) type Test = fn(&Bed) -> Result<()>;

/// How long a command of pcs or crmsh may take. Some wait until the cluster is idle.
const COMMAND: std::time::Duration = secs(120);
const PASSWORD: &str = "rig-hacluster";

/// A cluster with pcsd on all its nodes, and two machines that are to become nodes of it.
pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    pub(crate) daemon: Daemon,
    /// One trial at a time.
    turn: Mutex<()>,
}

impl Bed {
    /// Starts the cluster and makes its pcs known to all machines.
    pub(crate) fn start(world: &World, suite: Suite, daemon: Daemon) -> Result<Self> {
        let started = Instant::now();
        let cluster = Cluster::start_with_pcs(world, suite, 2).context(suite)?;
        for (name, n) in [("r1", 1), ("g1", 2)] {
            cluster.add_machine(world, name, n, daemon, suite).context(suite)?;
        }
        let bed = Self { cluster, daemon, turn: Mutex::new(()) };
        // As operators have it: resources run wherever nothing forbids it.
        bed.cluster.set_property("symmetric-cluster", "true")?;
        let mut hosts = String::new();
        for name in bed.cluster.node_names() {
            let node = bed.cluster.node(&name)?;
            node.exec(&["rm", "/etc/pacemaker/authkey"])?;
            node.exec_with(&["chpasswd"], &format!("hacluster:{PASSWORD}\n"))?;
            wait::until(secs(60), &format!("pcsd on {name}"), || {
                let listening = node.exec(&["ss", "-Hltn", "sport = :2224"])?;
                Ok((!listening.trim().is_empty()).then_some(()))
            })?;
            hosts = format!("{hosts} {name} addr={}", node.address());
        }
        let said = bed.pcs(&format!("host auth{hosts} -u hacluster -p {PASSWORD}")).context(suite)?;
        for name in bed.cluster.node_names() {
            expect(&said, &[&format!("{name}: Authorized")])?;
        }
        let took = started.elapsed().as_secs();
        println!("cluster of {suite} with pcsd and machines of {} is up after {took} s", daemon.name());
        Ok(bed)
    }

    pub(crate) fn suite(&self) -> Suite {
        self.cluster.suite()
    }

    pub(crate) fn node(&self, name: &str) -> Result<Arc<Node>> {
        self.cluster.node(name)
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

    /// Takes a trial's resources, constraints and node attributes away. The remote node r1 stays if it is
    /// there and well.
    fn reset(&self) -> Result<()> {
        let cluster = &self.cluster;
        for name in cluster.node_names() {
            let node = cluster.node(&name)?;
            if !node.is_on() {
                node.power_on()?;
            }
        }
        cluster.set_property("maintenance-mode", "false")?;
        let keep = if self.is_remote()? { " or @id='r1'" } else { "" };
        for xpath in [
            "//constraints/*[not(starts-with(@id,'power'))]",
            "//nodes/node[@type='remote']",
            &format!("//configuration/resources/*[not(@id='power'{keep})]"),
        ] {
            cluster.exec(&["cibadmin", "--delete-all", "--force", "--xpath", xpath])?;
        }
        cluster.settle()?;
        cluster.exec(&["crm_resource", "--cleanup"])?;
        cluster.settle()
    }

    /// Whether r1 is a remote node of the cluster, connected and with its daemon enabled, as pcs leaves it.
    fn is_remote(&self) -> Result<bool> {
        let enabled = self.node("r1")?.run(&["systemctl", "is-enabled", "pacemaker_remote"])?;
        let status = self.cluster.status()?;
        Ok(enabled.code() == 0 && status.online("r1") && status.place("r1").starts_with("Started"))
    }

    /// Runs a line of shell on a node; any exit code is fine.
    pub(crate) fn line(&self, node: &str, line: &str) -> Result<Output> {
        self.node(node)?.run_long(&["sh", "-c", line], COMMAND)
    }

    /// Runs a line of shell on a node, which must succeed. Gives all that was printed.
    pub(crate) fn ok(&self, node: &str, line: &str) -> Result<String> {
        let output = self.line(node, line)?;
        let said = format!("{}{}", output.stdout, output.stderr);
        if output.code() == 0 {
            Ok(said)
        } else {
            fail(format!("`{line}` on {node}: {}: {said}", output.code()))
        }
    }

    /// Runs a line of shell on a node, which must fail. Gives all that was printed.
    pub(crate) fn refused(&self, node: &str, line: &str) -> Result<String> {
        let output = self.line(node, line)?;
        let said = format!("{}{}", output.stdout, output.stderr);
        if output.code() == 0 { fail(format!("`{line}` on {node} succeeded: {said}")) } else { Ok(said) }
    }

    /// Runs pcs on c1; it must succeed.
    pub(crate) fn pcs(&self, line: &str) -> Result<String> {
        self.ok("c1", &format!("pcs {line}"))
    }

    /// Runs crmsh on c1; it must succeed.
    pub(crate) fn crm(&self, line: &str) -> Result<String> {
        self.ok("c1", &format!("crm {line}"))
    }

    /// The command that makes r1 a remote node.
    pub(crate) fn add_remote_line(&self) -> Result<String> {
        let address = self.node("r1")?.address();
        Ok(format!(
            "cluster node add-remote r1 {address} reconnect_interval=2s op monitor interval=3s timeout=8s"
        ))
    }

    /// Sees to it that r1 is a remote node, added by pcs.
    pub(crate) fn remote(&self) -> Result<()> {
        if self.is_remote()? {
            return Ok(());
        }
        self.nothing("r1")?;
        self.pcs(&self.add_remote_line()?)?;
        self.connected("r1")
    }

    /// Waits until a remote node is online and the cluster has nothing left to do.
    pub(crate) fn connected(&self, name: &str) -> Result<()> {
        self.cluster.wait_online(name, secs(60))?;
        self.cluster.settle()
    }

    /// Sees to it that a machine has nothing to do with the cluster: its daemon is stopped and disabled, and it
    /// has no key.
    pub(crate) fn nothing(&self, name: &str) -> Result<()> {
        let cluster = &self.cluster;
        let xpath = format!("//configuration/resources/*[@id='{name}']");
        cluster.exec(&["cibadmin", "--delete-all", "--force", "--xpath", &xpath])?;
        cluster.settle()?;
        let node = self.node(name)?;
        node.exec(&["systemctl", "disable", "--now", "pacemaker_remote"])?;
        node.exec(&["rm", "-f", "/etc/pacemaker/authkey"])?;
        // What the cluster remembers of it; it says so if that is nothing.
        cluster.member()?.run(&["crm_node", "--force", "--remove", name]).map(drop)
    }

    /// A running resource of the test agent that prefers a node; it is started there.
    pub(crate) fn witness(&self, id: &str, node: &str) -> Result<()> {
        // Not with pcs, which takes its time.
        self.cluster.add(&Primitive::witness(id).monitor("1s", "20s").on(node, 1000))?;
        self.cluster.wait_place(id, &format!("Started on {node}"), secs(40))?;
        self.cluster.settle()
    }

    /// Says whether a node was fenced since then.
    pub(crate) fn not_fenced(&self, since: SystemTime) -> Result<()> {
        let fenced: Vec<_> = self
            .cluster
            .node_names()
            .iter()
            .flat_map(|name| self.cluster.fenced_since(since, name))
            .collect();
        if fenced.is_empty() { Ok(()) } else { fail(format!("fenced: {fenced:?}")) }
    }

    /// What became of a machine's daemon: enabled or not, active or not, the files in /etc/pacemaker.
    pub(crate) fn machine(&self, name: &str) -> Result<String> {
        let node = self.node(name)?;
        let word = |verb| -> Result<String> {
            Ok(node.run(&["systemctl", verb, "pacemaker_remote"])?.stdout.trim().to_owned())
        };
        let (enabled, active) = (word("is-enabled")?, word("is-active")?);
        let files = node.exec(&["find", "/etc/pacemaker", "-type", "f", "-printf", " %f %s %m %u:%g"])?;
        Ok(format!("{enabled} {active}{files}"))
    }

    /// The starts and stops of a resource on a node.
    pub(crate) fn deeds(&self, node: &str, resource: &str) -> Result<Vec<String>> {
        let deeds = self.cluster.deeds(node, resource, 0)?;
        Ok(deeds.into_iter().filter(|deed| deed.starts_with("start=") || deed.starts_with("stop=")).collect())
    }

    /// Waits until the starts and stops of a resource on a node are these.
    pub(crate) fn expect_deeds(&self, node: &str, resource: &str, deeds: &[&str]) -> Result<()> {
        let wanted: Vec<_> = deeds.iter().map(|deed| (*deed).to_owned()).collect();
        wait::until_eq(secs(30), &format!("the starts and stops of {resource} on {node}"), &wanted, || {
            self.deeds(node, resource)
        })
    }

    /// Waits until a recurring monitor of a resource was called twice from now on.
    pub(crate) fn goes_on(&self, node: &str, resource: &str) -> Result<()> {
        let count = || -> Result<usize> {
            let calls = self.cluster.calls(node)?.into_iter();
            Ok(calls.filter(|call| call.resource == resource && call.details == "interval=1000").count())
        };
        let before = count()?;
        wait::until(secs(30), &format!("two more monitors of {resource} on {node}"), || {
            Ok((count()? >= before + 2).then_some(()))
        })
    }
}

/// Says whether all of these are in a text.
pub(crate) fn expect(said: &str, wanted: &[&str]) -> Result<()> {
    match wanted.iter().find(|part| !said.contains(**part)) {
        None => Ok(()),
        Some(part) => fail(format!("{part:?} is not in: {said}")),
    }
}
