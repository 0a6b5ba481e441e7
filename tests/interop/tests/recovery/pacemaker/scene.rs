//! A cluster of two controllers beside the cloud, and a remote node that is a host of the cloud with a nova-compute and a
//! board of its own. All trials with a cluster share it.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pcmk_interop::cib::Primitive;
use pcmk_interop::cloud::{Cloud, Mark, calls};
use pcmk_interop::daemon::tool;
use pcmk_interop::error::Context;
use pcmk_interop::fence;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Cluster, Daemon, Node, Result, World, cloud, fail, images, run};

/// The remote node, and its host.
pub(crate) const HOST: &str = "metal1";
/// The controllers. Fence devices prefer the first.
pub(crate) const CONTROLLERS: [&str; 2] = ["c1", "c2"];
/// The engine's resource.
pub(crate) const ENGINE: &str = "nova-evacuate";

const STATE: &str = "/var/lib/pcmk-remote/nova-ha";
/// All servers go. What hangs is given up sooner than usual: here Nova waits 30 s for its own parts.
const POLICY: &str = "mode = \"all\"\n[storage]\nshared = true\n\
                      [patience]\nunheard_seconds = 30\naccepted_seconds = 60\n";
const KEY: &str = "the key under which both controllers sign\n";
/// The attributes through which controllers tell each other.
const ATTRIBUTES: [&str; 4] = ["evacuate", "fence-proof", "fence-power", "fence-failures"];

/// The cluster with its host.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) metal: Arc<Node>,
    /// The board's way to the host's power.
    _board: fence::Server,
    /// What a trial has configured.
    added: Mutex<Vec<String>>,
}

impl Scene {
    /// Starts the machines, makes the remote node a host of the cloud, and installs our package on the controllers.
    pub(crate) fn start(world: &World, cloud: &Cloud) -> Result<Self> {
        let layers = [images::cloud_layer()?];
        let cluster = Cluster::start_with(world, cloud::SUITE, 2, &layers)?;
        let metal = cluster.add_machine_with(world, HOST, 1, Daemon::under_test()?, cloud::SUITE, &layers)?;
        cloud.adopt(&metal)?;
        let board = cloud.start_board_of(&cluster, &metal)?;
        cluster.join(&metal)?;
        cluster.set_property("stonith-action", "off")?;
        let scene = Self { cluster, metal, _board: board, added: Mutex::default() };
        for name in CONTROLLERS {
            let node = scene.cluster.node(name)?;
            cloud.introduce(&node)?;
            // The layer has one that stands in for Pacemaker's where there is none.
            node.exec(&["rm", "/usr/local/sbin/attrd_updater"])?;
            install(&node)?;
            furnish(&node, cloud)?;
        }
        Ok(scene)
    }

    /// Has both controllers know the host's board as its power device.
    pub(crate) fn map_power(&self, cloud: &Cloud) -> Result<()> {
        let map = cloud.board_map_of(&[HOST])?;
        CONTROLLERS.iter().try_for_each(|name| write(&*self.cluster.node(name)?, "power.toml", &map))
    }

    /// Adds a fence device for the host. `unfences`: nodes are unfenced by it when they join.
    pub(crate) fn add_device(
        &self,
        id: &str,
        agent: &str,
        params: &[(&str, &str)],
        unfences: bool,
    ) -> Result<()> {
        let mut device = Primitive::new(id, &format!("stonith:{agent}"))
            .param("pcmk_host_list", HOST)
            .op("start", "0s", "timeout='60s'")
            .monitor("10s", "60s")
            .on("c1", 10)
            .on("c2", 5);
        for (name, value) in params {
            device = device.param(name, value);
        }
        if unfences {
            device = device.meta("provides", "unfencing");
        }
        self.add(&device)?;
        self.cluster.wait_place(id, "Started on c1", secs(90))
    }

    /// Adds lines to the policy of both controllers.
    pub(crate) fn add_to_policy(&self, lines: &str) -> Result<()> {
        let text = format!("{POLICY}{lines}");
        CONTROLLERS.iter().try_for_each(|name| write(&*self.cluster.node(name)?, "nova-policy.toml", &text))
    }

    /// The devices that fence the host, one after the other.
    pub(crate) fn fence_by(&self, devices: &str) -> Result<()> {
        self.cluster.configure(&format!(
            "<configuration><fencing-topology><fencing-level id='level-{HOST}' target='{HOST}' index='1' \
             devices='{devices}'/></fencing-topology></configuration>"
        ))
    }

    /// Adds the engine, which prefers this controller, and waits until it runs.
    pub(crate) fn add_engine(&self, on: &str, params: &[(&str, &str)]) -> Result<()> {
        let mut engine = Primitive::new(ENGINE, "ocf:pcmk-remote:nova-evacuate")
            .monitor("10s", "20s")
            .op("start", "0s", "timeout='30s'")
            .op("stop", "0s", "timeout='40s'");
        for name in CONTROLLERS {
            engine = engine.on(name, if name == on { 20 } else { 10 });
        }
        for (name, value) in params {
            engine = engine.param(name, value);
        }
        // Else its start waits for a probe on the host, and so for a connection to it, which there is none while it is off.
        let no_probe = format!(
            "<configuration><constraints><rsc_location id='loc-{ENGINE}-{HOST}' rsc='{ENGINE}' node='{HOST}' \
             score='-INFINITY' resource-discovery='never'/></constraints></configuration>"
        );
        self.add(&engine)?;
        self.cluster.configure(&no_probe)?;
        self.wait_engine(on)
    }

    /// Waits until the engine runs on this controller and has reached the cloud.
    pub(crate) fn wait_engine(&self, on: &str) -> Result<()> {
        self.cluster.wait_place(ENGINE, &format!("Started on {on}"), secs(90))?;
        let node = self.cluster.node(on)?;
        wait::until(secs(60), "the engine to be ready", || {
            let status = node.exec(&["nova-ha", "status"])?;
            if status.contains("last heartbeat") { Ok(Some(())) } else { fail(status) }
        })
    }

    /// Adds a resource that is gone after the trial.
    pub(crate) fn add(&self, resource: &Primitive) -> Result<()> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner).push(resource.id().to_owned());
        self.cluster.add(resource)
    }

    /// A file in the state folder of a controller; empty if it is not there.
    pub(crate) fn state_file(&self, on: &str, name: &str) -> Result<String> {
        let path = self.cluster.node(on)?.path(&format!("{STATE}/{name}"))?;
        Ok(fs::read_to_string(path).unwrap_or_default())
    }

    /// How many requests for an evacuation wait on a controller. That a host is to return is there until it has.
    pub(crate) fn queued(&self, on: &str) -> Result<usize> {
        let folder = self.cluster.node(on)?.path(&format!("{STATE}/queue"))?;
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        let evacuates = |file: &fs::DirEntry| {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            file.path().extension().is_some_and(|it| it == "json") && !text.contains("\"wish\":\"return\"")
        };
        Ok(files.filter(evacuates).count())
    }

    /// How many entries of this kind a controller's journal has.
    pub(crate) fn journaled(&self, on: &str, kind: &str) -> Result<usize> {
        let kind = format!("\"kind\":\"{kind}\"");
        Ok(self.state_file(on, "journal.jsonl")?.lines().filter(|line| line.contains(&kind)).count())
    }

    /// Waits until a controller has ended its one incident, and has no request any more.
    pub(crate) fn wait_ended(&self, on: &str) -> Result<()> {
        let waited = wait::until(secs(60), "the incident to have ended", || {
            let (ended, queued) = (self.journaled(on, "ended")?, self.queued(on)?);
            if ended == 1 && queued == 0 {
                Ok(Some(()))
            } else {
                fail(format!("{ended}, {queued} in the queue"))
            }
        });
        self.explain(waited)
    }

    /// What a controller's engine and its fencer have said last.
    pub(crate) fn said(&self, on: &str) -> String {
        let log = self.state_file(on, "engine.log").unwrap_or_default();
        let tail = "grep -h fence_nova /var/log/pacemaker/pacemaker.log | tail -n 40";
        let fencer = self.cluster.node(on).and_then(|node| node.sh(tail)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n");
        format!("engine of {on}:\n{last}\nfencer of {on}:\n{fencer}")
    }

    /// A node attribute of the host; empty if it has none.
    pub(crate) fn attribute(&self, name: &str) -> Result<String> {
        let output = self.cluster.member()?.run(&["attrd_updater", "-n", name, "-N", HOST, "-Q"])?.stdout;
        let value = output.split("value=\"").nth(1).and_then(|rest| rest.split('"').next());
        Ok(value.unwrap_or_default().to_owned())
    }

    /// Waits until the host was fenced and Nova knows. It must be off by then.
    #[allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]
    pub(crate) fn wait_fenced(&self, cloud: &Cloud) -> Result<()> {
        let waited = wait::until(secs(120), "Nova to know that the host is down", || {
            let service = cloud.compute_service(HOST)?;
            let down = service["forced_down"] == true && service["status"] == "disabled";
            if down { Ok(Some(())) } else { fail(service.to_string()) }
        });
        self.explain(waited)?;
        if self.metal.is_on() { fail("Nova was told that the host is down, and it is on") } else { Ok(()) }
    }

    /// Waits until these servers run elsewhere.
    pub(crate) fn wait_moved(&self, cloud: &Cloud, servers: &[String], within: Duration) -> Result<()> {
        let waited = wait::until(within, "all servers to run elsewhere", || {
            let there = cloud.servers()?;
            let well = |id: &String| {
                there.iter().any(|server| {
                    let runs = server.status == "ACTIVE" && server.task.is_none();
                    server.id == *id && server.host != HOST && runs
                })
            };
            match servers.iter().find(|id| !well(id)) {
                None => Ok(Some(())),
                Some(id) => {
                    let state = there.iter().find(|server| server.id == *id);
                    fail(format!("{state:?}"))
                }
            }
        });
        self.explain(waited)
    }

    /// Waits until Nova schedules on the host again.
    #[allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]
    pub(crate) fn wait_in_service(&self, cloud: &Cloud, status: &str) -> Result<()> {
        let waited = wait::until(secs(150), "the host to be in service again", || {
            let service = cloud.compute_service(HOST)?;
            let up = service["state"] == "up" && service["forced_down"] == false;
            if up && service["status"] == status { Ok(Some(())) } else { fail(service.to_string()) }
        });
        self.explain(waited)
    }

    /// Adds to a failure what the controllers have said.
    fn explain(&self, result: Result<()>) -> Result<()> {
        result.or_else(|error| fail(format!("{error}\n{}\n{}", self.said("c1"), self.said("c2"))))
    }

    /// Waits until the host is a node of the cluster again. A connection that could not be made while it was off, the
    /// cluster does not try again by itself.
    pub(crate) fn wait_joined(&self) -> Result<()> {
        wait::until(secs(120), "the host to be on", || Ok(self.metal.is_on().then_some(())))?;
        wait::until(secs(60), "its daemon", || {
            let state = self.metal.run(&["systemctl", "is-active", "pacemaker_remote"])?.stdout;
            Ok((state.trim() == "active").then_some(()))
        })?;
        self.cluster.exec(&["crm_resource", "--refresh", "-r", HOST])?;
        self.cluster.wait_online(HOST, secs(90))
    }

    /// Removes what a trial has configured and kept, and brings the host back.
    pub(crate) fn reset(&self, cloud: &Cloud) -> Result<()> {
        self.cluster.exec(&["cibadmin", "--delete-all", "--force", "--xpath", "//fencing-level"])?;
        // First of all: while the cluster tries to connect to a host that is off, it does little else.
        if self.metal.is_on() {
            self.metal.link(true)?;
        } else {
            self.cluster.switch_on(HOST)?;
        }
        self.wait_joined()?;
        let added = std::mem::take(&mut *self.added.lock().unwrap_or_else(PoisonError::into_inner));
        for id in added.iter().rev() {
            self.cluster.remove(id)?;
        }
        self.cluster.set_property("stonith-action", "off")?;
        for name in CONTROLLERS {
            let node = self.cluster.node(name)?;
            node.sh(&format!("rm -rf {STATE}/* /etc/pcmk-remote/power.toml"))?;
            furnish(&node, cloud)?;
        }
        for name in ATTRIBUTES {
            // One that is not there is no matter.
            self.cluster.member()?.run(&["attrd_updater", "-n", name, "-N", HOST, "-D"])?;
        }
        cloud.take_back(HOST)?;
        cloud.delete_servers()?;
        self.cluster.settle()
    }
}

/// Lays out on a controller what the package holds.
fn install(node: &Node) -> Result<()> {
    let script = images::workspace().join("packaging/install").display().to_string();
    let program = tool("nova-ha")?;
    let programs = program.parent().context("a folder")?.display().to_string();
    run::host(&[&script, &node.path("/")?.display().to_string(), "deb", &programs, "nova-ha"])?;
    node.exec(&["install", "-d", "-m", "700", STATE]).map(drop)
}

/// Writes the configuration of a controller, without power devices.
fn furnish(node: &Node, cloud: &Cloud) -> Result<()> {
    let login = fs::read_to_string(cloud.credentials("pacemaker.toml", &cloud.login())?)?;
    write(node, "cloud.toml", &login)?;
    write(node, "nova-policy.toml", POLICY)?;
    write(node, "nova-ha.key", KEY)?;
    node.exec(&["rm", "-f", "/etc/pcmk-remote/power.toml"]).map(drop)
}

/// Writes a file of the configuration that nobody else may read.
fn write(node: &Node, name: &str, text: &str) -> Result<()> {
    let line = format!("umask 077; cat >/etc/pcmk-remote/{name}");
    node.exec_with(&["sh", "-c", &line], text).map(drop)
}

/// Every one of these servers was requested, and accepted, once since then.
pub(crate) fn check_once(cloud: &Cloud, mark: &Mark, servers: &[String]) -> Result<()> {
    let accepted = calls::accepted(&cloud.calls(mark)?);
    let once = |id: &String| accepted.get(id) == Some(&1);
    if accepted.len() == servers.len() && servers.iter().all(once) {
        Ok(())
    } else {
        fail(format!("of {} servers these were requested: {accepted:?}", servers.len()))
    }
}
