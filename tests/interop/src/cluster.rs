//! A Pacemaker cluster out of nodes, with remote nodes and a power switch.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::calls::{self, Call};
use crate::cib::{self, Primitive};
use crate::daemon::{Daemon, put_rig_file};
use crate::error::{Context, Error, Result, fail};
use crate::fence;
use crate::images::Suite;
use crate::node::{Kind, Node, Spec};
use crate::status::Status;
use crate::wait::{self, secs};
use crate::world::World;

const LOG: &str = "/var/log/pacemaker/pacemaker.log";

/// A cluster.
pub struct Cluster {
    suite: Suite,
    switch: u8,
    share: PathBuf,
    key: Vec<u8>,
    pcs: bool,
    /// Trees that are laid over the cluster nodes' file systems.
    layers: Vec<PathBuf>,
    members: Vec<String>,
    machines: Arc<Machines>,
    power: fence::Server,
}

/// A cluster's nodes, and which of them stay off when the cluster power-cycles them.
#[derive(Default)]
struct Machines {
    nodes: Mutex<BTreeMap<String, Arc<Node>>>,
    stay_off: Mutex<Vec<String>>,
}

impl Cluster {
    /// Starts a cluster of `count` nodes c1, c2 … and waits until it has elected a controller.
    pub fn start(world: &World, suite: Suite, count: u8) -> Result<Self> {
        Self::start_any(world, suite, count, false, &[])
    }

    /// Like [`Cluster::start`], with these trees laid over the file systems of its nodes, uppermost first.
    pub fn start_with(world: &World, suite: Suite, count: u8, layers: &[PathBuf]) -> Result<Self> {
        Self::start_any(world, suite, count, false, layers)
    }

    /// Like [`Cluster::start`], with pcs and crmsh on its nodes (see [`crate::images::ensure_pcs`]).
    pub fn start_with_pcs(world: &World, suite: Suite, count: u8) -> Result<Self> {
        Self::start_any(world, suite, count, true, &[])
    }

    fn start_any(world: &World, suite: Suite, count: u8, pcs: bool, layers: &[PathBuf]) -> Result<Self> {
        let switch = world.add_switch()?;
        let share = world.dir().join("share").join(switch.to_string());
        fs::create_dir_all(share.join("calls"))?;
        let machines = Arc::new(Machines::default());
        let switcher = Arc::clone(&machines);
        let power = fence::Server::start(
            share.join("fence"),
            Box::new(move |node, action| Machines::switch(&switcher, node, action)),
        )?;
        let (key, layers) = (random_key()?, layers.to_vec());
        let members: Vec<_> = (1..=count).map(|n| format!("c{n}")).collect();
        let cluster = Self { suite, switch, share, key, pcs, layers, members, machines, power };
        cluster.boot_members(world)?;
        Ok(cluster)
    }

    fn boot_members(&self, world: &World) -> Result<()> {
        let nodes = self
            .members
            .iter()
            .zip(1..)
            .map(|(name, octet)| {
                let node = self.create(world, name, Kind::Full, octet, self.suite, &self.layers)?;
                self.furnish_member(&node)?;
                Ok(node)
            })
            .collect::<Result<Vec<_>>>()?;
        in_parallel(&nodes, |node| {
            node.power_on()?;
            node.exec(&["systemctl", "start", "corosync"]).map(drop)
        })?;
        for node in &nodes {
            wait::until_eq(secs(60), "all cluster nodes in corosync's membership", &nodes.len(), || {
                let members = node.exec(&["corosync-quorumtool", "-l"])?;
                Ok(members.lines().filter(|line| line.contains(" c")).count())
            })?;
        }
        in_parallel(&nodes, |node| node.exec(&["systemctl", "start", "pacemaker"]).map(drop))?;
        wait::until(secs(120), "a designated controller and all cluster nodes online", || {
            let status = self.status()?;
            let up = status.dc.is_some() && self.members.iter().all(|name| status.online(name));
            Ok((up && status.place("power").starts_with("Started")).then_some(()))
        })
    }

    fn create(
        &self,
        world: &World,
        name: &str,
        kind: Kind,
        octet: u8,
        suite: Suite,
        extra: &[PathBuf],
    ) -> Result<Arc<Node>> {
        let mut extra = extra.to_vec();
        if self.pcs {
            extra.push(suite.pcs()?.join(kind.layer()));
        }
        let spec =
            Spec { name, kind, suite, switch: self.switch, octet, share: &self.share, key: &self.key, extra };
        let node = Arc::new(Node::create(world, &spec)?);
        furnish(&node.disk())?;
        lock(&self.machines.nodes).insert(name.to_owned(), Arc::clone(&node));
        Ok(node)
    }

    /// What only a cluster node has: corosync's configuration, the first cluster configuration, the fence agent.
    fn furnish_member(&self, node: &Node) -> Result<()> {
        let disk = node.disk();
        fs::create_dir_all(disk.join("etc/corosync"))?;
        fs::write(disk.join("etc/corosync/corosync.conf"), self.corosync_conf())?;
        put_rig_file("agents/fence_rig", &disk.join("usr/sbin/fence_rig"), 0o755)?;
        let image = self.suite.layer("full")?;
        let owner = fs::metadata(image.join("var/lib/pacemaker/cib")).context("the image's cib folder")?;
        let (user, group) = {
            use std::os::unix::fs::MetadataExt;
            (owner.uid(), owner.gid())
        };
        let dir = disk.join("var/lib/pacemaker/cib");
        let file = dir.join("cib.xml");
        fs::create_dir_all(&dir)?;
        fs::write(&file, cib::initial())?;
        for (path, mode) in [(dir.parent().unwrap_or(&dir), 0o750), (&dir, 0o750), (&file, 0o600)] {
            chown(path, Some(user), Some(group))?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    fn corosync_conf(&self) -> String {
        let node =
            |n| format!(" node {{\n ring0_addr: 10.77.{}.{n}\n name: c{n}\n nodeid: {n}\n }}\n", self.switch);
        let nodes = (1..=self.members.len()).map(node).collect::<Vec<_>>().concat();
        let two_node = if self.members.len() == 2 { "two_node: 1" } else { "" };
        format!(
            "totem {{\n version: 2\n cluster_name: rig\n transport: knet\n token: 2000\n}}\nnodelist {{\n{nodes}}}\n\
             quorum {{\n provider: corosync_votequorum\n {two_node}\n}}\n\
             logging {{\n to_logfile: yes\n logfile: /var/log/corosync.log\n to_syslog: no\n}}\n"
        )
    }

    /// Starts remote node number `n` (from 1) with a daemon, registers it and waits until it is online.
    pub fn add_remote(&self, world: &World, name: &str, n: u8, daemon: Daemon) -> Result<Arc<Node>> {
        self.add_remote_of(world, name, n, daemon, self.suite)
    }

    /// Like [`Cluster::add_remote`], with a node of another suite than the cluster's.
    pub fn add_remote_of(
        &self,
        world: &World,
        name: &str,
        n: u8,
        daemon: Daemon,
        suite: Suite,
    ) -> Result<Arc<Node>> {
        let node = self.add_machine(world, name, n, daemon, suite)?;
        self.join(&node)?;
        Ok(node)
    }

    /// Starts the daemon of a machine, registers it and waits until it is online.
    pub fn join(&self, node: &Node) -> Result<()> {
        node.exec(&["systemctl", "start", "pacemaker_remote"])?;
        let name = node.name();
        self.register(node)?;
        wait::until(secs(30), &format!("the connection to {name} to be started"), || {
            Ok(self.status()?.place(name).starts_with("Started").then_some(()))
        })
    }

    /// Switches on a machine like that of remote node number `n` (from 1). Its daemon is not started, and the
    /// cluster does not know of it.
    pub fn add_machine(
        &self,
        world: &World,
        name: &str,
        n: u8,
        daemon: Daemon,
        suite: Suite,
    ) -> Result<Arc<Node>> {
        self.add_machine_with(world, name, n, daemon, suite, &[])
    }

    /// Like [`Cluster::add_machine`], with these trees laid over its file system, uppermost first.
    pub fn add_machine_with(
        &self,
        world: &World,
        name: &str,
        n: u8,
        daemon: Daemon,
        suite: Suite,
        extra: &[PathBuf],
    ) -> Result<Arc<Node>> {
        let node = self.create(world, name, Kind::Remote, 100 + n, suite, extra)?;
        daemon.install(&node.disk())?;
        node.power_on()?;
        Ok(node)
    }

    /// Makes a node that is to be a container with a daemon as its first process. It is off, and the cluster does
    /// not know it.
    pub fn create_container(&self, world: &World, name: &str, n: u8, daemon: Daemon) -> Result<Arc<Node>> {
        let node = self.create(world, name, Kind::Remote, 100 + n, self.suite, &[])?;
        daemon.install(&node.disk())?;
        Ok(node)
    }

    /// Registers a remote node whose daemon runs, and waits until it is online.
    pub fn register(&self, node: &Node) -> Result<()> {
        self.add(&cib::remote(node.name(), &node.address(), &self.members))?;
        // A busy machine with a large configuration takes minutes, and nothing is wrong.
        self.wait_online(node.name(), secs(180))
    }

    /// A node by its name.
    pub fn node(&self, name: &str) -> Result<Arc<Node>> {
        lock(&self.machines.nodes).get(name).cloned().context(format!("no node {name}"))
    }

    /// The names of all nodes.
    pub fn node_names(&self) -> Vec<String> {
        lock(&self.machines.nodes).keys().cloned().collect()
    }

    /// The folder that all its nodes see as `/rig`.
    pub fn share(&self) -> &Path {
        &self.share
    }

    /// The Debian suite of its nodes.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// A cluster node that is switched on, for commands.
    pub fn member(&self) -> Result<Arc<Node>> {
        let nodes = lock(&self.machines.nodes);
        let on = self.members.iter().filter_map(|name| nodes.get(name)).find(|node| node.is_on());
        on.cloned().context("no cluster node is switched on")
    }

    /// Runs a command on a cluster node.
    pub fn exec(&self, words: &[&str]) -> Result<String> {
        self.member()?.exec(words)
    }

    /// What `crm_mon` says.
    pub fn status(&self) -> Result<Status> {
        Status::parse(&self.exec(&["crm_mon", "-1r", "--output-as=xml"])?)
    }

    /// Adds a resource and where it may run.
    pub fn add(&self, resource: &Primitive) -> Result<()> {
        self.configure(&resource.xml())
    }

    /// Adds to or changes the configuration.
    pub fn configure(&self, xml: &str) -> Result<()> {
        let words = ["cibadmin", "--modify", "--allow-create", "--xml-pipe"];
        self.member()?.exec_with(&words, xml).map(drop)
    }

    /// Changes an operation's attributes.
    pub fn change_op(&self, op: &str, attributes: &str) -> Result<()> {
        let xml = format!("<op id='{op}' {attributes}/>");
        self.exec(&["cibadmin", "-o", "resources", "--modify", "--xml-text", &xml]).map(drop)
    }

    /// Sets a parameter of a resource.
    pub fn set_param(&self, resource: &str, name: &str, value: &str) -> Result<()> {
        self.exec(&["crm_resource", "-r", resource, "-p", name, "-v", value]).map(drop)
    }

    /// Sets a meta attribute of a resource.
    pub fn set_meta(&self, resource: &str, name: &str, value: &str) -> Result<()> {
        self.exec(&["crm_resource", "-r", resource, "--meta", "-p", name, "-v", value]).map(drop)
    }

    /// Sets a cluster property.
    pub fn set_property(&self, name: &str, value: &str) -> Result<()> {
        self.exec(&["crm_attribute", "-t", "crm_config", "-n", name, "-v", value]).map(drop)
    }

    /// Stops a resource and removes it with its constraints from the configuration.
    pub fn remove(&self, id: &str) -> Result<()> {
        self.forget_constraints(id)?;
        for top in [format!("//clone[@id='{id}-clone']"), format!("//primitive[@id='{id}']")] {
            self.exec(&["cibadmin", "--delete-all", "--force", "--xpath", &top])?;
        }
        wait::until_eq(
            secs(40),
            &format!("{id} to be stopped after its deletion"),
            &"Stopped".to_owned(),
            || Ok(self.status()?.place(id)),
        )
    }

    /// Removes the constraints of a resource: those made here, and bans and moves.
    pub fn forget_constraints(&self, id: &str) -> Result<()> {
        let xpath = format!("//rsc_location[@rsc='{id}' or @rsc='{id}-clone']");
        self.exec(&["cibadmin", "--delete-all", "--force", "--xpath", &xpath]).map(drop)
    }

    /// Waits until the cluster has nothing left to do: the controller is idle, and the scheduler finds no action.
    /// (`crm_resource --wait` says the same, but takes two seconds at least.)
    pub fn settle(&self) -> Result<()> {
        wait::until(secs(90), "the cluster to have nothing left to do", || {
            if !self.is_idle()? {
                return fail("the controller is busy");
            }
            let plan = self.exec(&["crm_simulate", "-LS", "--output-as=xml"])?;
            // The scheduler wants an old failure of a connection cleared also where nothing makes the controller
            // ask it (no fail count, a reconnect interval): nothing else waits for that.
            let left = |line: &&str| line.contains("_action ") && !line.contains("task=\"clear_failcount\"");
            match plan.lines().find(left) {
                None => Ok(Some(())),
                Some(action) => fail(action.trim().to_owned()),
            }
        })
    }

    /// Whether the controller has no transition in hand. (The scheduler may still wish for something that it is
    /// not told to try again for now.)
    pub fn is_idle(&self) -> Result<bool> {
        let dc = self.status()?.dc.context("no designated controller")?;
        Ok(self.exec(&["crmadmin", "-S", &dc])?.contains("S_IDLE"))
    }

    /// Waits until a resource is in this place (see [`Status::place`]).
    pub fn wait_place(&self, id: &str, place: &str, within: Duration) -> Result<()> {
        wait::until_eq(within, &format!("{id} to be {place}"), &place.to_owned(), || {
            let status = self.status()?;
            let seen = status.place(id);
            if seen == place || status.failures.is_empty() {
                return Ok(seen);
            }
            Ok(format!("{seen}, failures: {:?}", status.failures))
        })
    }

    /// Waits until a node is online.
    pub fn wait_online(&self, node: &str, within: Duration) -> Result<()> {
        wait::until(within, &format!("{node} to be online"), || {
            let status = self.status()?;
            if status.online(node) {
                Ok(Some(()))
            } else {
                let seen = status.nodes.iter().find(|seen| seen.name == node);
                fail(format!("{seen:?} {:?}", status.failures))
            }
        })
    }

    /// Waits until a node is there again after it was fenced. A connection that could not be made at the first attempt
    /// (on a busy machine) the cluster does not try again by itself.
    pub fn wait_back(&self, name: &str) -> Result<()> {
        let member = self.members.iter().any(|member| member == name);
        if self.wait_online(name, secs(40)).is_err() && !member {
            self.exec(&["crm_resource", "--refresh", "-r", name])?;
        }
        self.wait_online(name, secs(90))
    }

    /// The calls of test agents on a node.
    pub fn calls(&self, node: &str) -> Result<Vec<Call>> {
        calls::on(&self.share, node)
    }

    /// The calls of a resource on a node, each as `ACTION=CODE`, without recurring monitors; from call number
    /// `from` on.
    pub fn deeds(&self, node: &str, resource: &str, from: usize) -> Result<Vec<String>> {
        let calls = self.calls(node)?.into_iter().filter(|call| call.resource == resource).skip(from);
        let once =
            calls.filter(|call| call.details == "interval=0" || !call.details.starts_with("interval="));
        Ok(once.map(|call| format!("{}={}", call.action, call.code)).collect())
    }

    /// The number of calls of a resource on a node so far.
    pub fn count(&self, node: &str, resource: &str) -> Result<usize> {
        Ok(self.calls(node)?.into_iter().filter(|call| call.resource == resource).count())
    }

    /// What the cluster asked of the power switch since `when` for this node.
    pub fn fenced_since(&self, when: SystemTime, node: &str) -> Vec<fence::Request> {
        self.power.since(when, node)
    }

    /// Another way to the nodes' power switches: serves the requests in this folder, too.
    pub fn switch_by(&self, folder: PathBuf) -> Result<fence::Server> {
        let machines = Arc::clone(&self.machines);
        fence::Server::start(folder, Box::new(move |node, action| Machines::switch(&machines, node, action)))
    }

    /// Leaves a node off when the cluster power-cycles it, or no longer.
    pub fn stay_off(&self, node: &str, off: bool) {
        let mut list = lock(&self.machines.stay_off);
        list.retain(|name| name != node);
        if off {
            list.push(node.to_owned());
        }
    }

    /// Switches a node on and starts its cluster service, as a machine does that boots.
    pub fn switch_on(&self, node: &str) -> Result<()> {
        Machines::start(&*self.node(node)?)
    }

    /// How long a node's Pacemaker log is.
    pub fn log_size(&self, node: &str) -> Result<u64> {
        Ok(fs::metadata(self.node(node)?.path(LOG)?).map_or(0, |meta| meta.len()))
    }

    /// What a node's Pacemaker has logged since the log had this size.
    pub fn log_since(&self, node: &str, size: u64) -> Result<String> {
        let log = fs::read(self.node(node)?.path(LOG)?)?;
        let from = usize::try_from(size).unwrap_or(0);
        Ok(String::from_utf8_lossy(log.get(from..).unwrap_or_default()).into_owned())
    }
}

impl Machines {
    /// Gives whether the node is on, or about to be.
    fn switch(this: &Arc<Self>, name: &str, action: &str) -> Result<&'static str> {
        let node = lock(&this.nodes).get(name).cloned().context(format!("no node {name}"))?;
        if action == "status" {
            return Ok(if node.is_on() { "on" } else { "off" });
        }
        if action != "on" {
            node.power_off()?;
        }
        if action != "off" && !lock(&this.stay_off).contains(&node.name().to_owned()) {
            // The power is on as soon as this returns; booting goes on behind.
            thread::spawn(move || Self::start(&node));
            return Ok("on");
        }
        Ok("off")
    }

    fn start(node: &Node) -> Result<()> {
        node.link(true).ok();
        node.power_on()?;
        let service = if node.name().starts_with('c') { "pacemaker" } else { "pacemaker_remote" };
        node.exec(&["systemctl", "start", service]).map(drop)
    }
}

/// What every node has: the test agents.
fn furnish(disk: &Path) -> Result<()> {
    put_rig_file("agents/witness", &disk.join("usr/lib/ocf/resource.d/rig/witness"), 0o755)?;
    put_rig_file("agents/rig-lsb", &disk.join("etc/init.d/rig-lsb"), 0o755)?;
    put_rig_file("agents/rigsleep.service", &disk.join("etc/systemd/system/rigsleep.service"), 0o644)
}

fn in_parallel(nodes: &[Arc<Node>], work: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = nodes.iter().map(|node| scope.spawn(|| work(node))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(Error::new("a thread that set up a node panicked")))
        })
    })
}

fn random_key() -> Result<Vec<u8>> {
    let mut key = vec![0; 4096];
    fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
