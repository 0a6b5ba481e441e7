//! A compute: a remote node with libvirtd, QEMU and the official client on it, its guests, and what goes wrong there.
//!
//! Guests are real QEMU processes of 8 MiB without an operating system. Those that are created paused cost no CPU; those
//! with a disk read from it ten times a second, over a server that can be ended under them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::daemon::{put, put_rig_file, tool};
use crate::error::{Context, Result, fail};
use crate::images::Suite;
use crate::node::Node;
use crate::run::Output;
use crate::wait::{self, secs};
use crate::{Cluster, Daemon, World};

/// The daemon's socket.
pub const SOCKET: &str = "/run/libvirt/libvirt-sock";
/// How many clients that have not said who they are it accepts, by default.
pub const ANONYMOUS: usize = 20;

const SCRIPT: &str = "/usr/local/bin/guests";
const COST: &str = "/usr/local/bin/guests_cost.py";
const CONF: &str = "/etc/libvirt/libvirtd.conf";
/// All of systemd's units that would start libvirtd.
const UNITS: [&str; 4] =
    ["libvirtd.service", "libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket"];
/// How long something may take that creates or ends guests.
const PATIENCE: Duration = secs(180);

/// A node that is a compute.
#[derive(Clone)]
pub struct Compute {
    node: Arc<Node>,
    /// The configuration that libvirtd came with.
    conf: String,
}

/// What `libvirt-probe check --json` said.
#[derive(Clone, Debug)]
pub struct Check {
    /// The fields that are fixed for scripts.
    pub said: Said,
    /// All of it.
    pub json: String,
    /// Its exit code.
    pub code: i32,
    /// How long it took, with its start in the node.
    pub took: Duration,
}

/// The fields of a check's answer that are fixed for scripts.
#[derive(Clone, Debug, Deserialize)]
pub struct Said {
    /// `ok`, `unknown`, `degraded` or `failed`.
    pub verdict: String,
    /// The step that decided.
    pub step: String,
    /// Why.
    pub reason: String,
    /// How long the probe took.
    pub elapsed_ms: f64,
}

/// A domain, as the official binding tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Its UUID, in the usual notation.
    pub uuid: String,
    /// Its number while it runs, else -1.
    pub id: i32,
    /// Its state, in libvirt's numbers.
    pub state: i32,
    /// Why it is in it, in libvirt's numbers.
    pub reason: i32,
}

/// What the official binding says of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Official {
    /// The version of its libvirt, as one number.
    pub library: u64,
    /// Its domains by name.
    pub domains: Vec<Domain>,
}

impl Compute {
    /// Switches on a machine like that of remote node number `n` (from 1), with libvirt on it. Neither libvirtd nor the
    /// remote daemon is started.
    pub fn add(cluster: &Cluster, world: &World, name: &str, n: u8, daemon: Daemon) -> Result<Self> {
        let suite = cluster.suite();
        let node = cluster.add_machine_with(world, name, n, daemon, suite, &layers(suite)?)?;
        Self::new(node)
    }

    /// Makes a compute of a node whose file system has [`layers`]: brings the probe and what makes guests.
    pub fn new(node: Arc<Node>) -> Result<Self> {
        let compute = Self::bare(node)?;
        let node = &compute.node;
        put_rig_file("libvirt/guests", &node.path(SCRIPT)?, 0o755)?;
        put_rig_file("libvirt/guests_cost.py", &node.path(COST)?, 0o755)?;
        let unit = node.path("/etc/systemd/system/rig-storage.service")?;
        put_rig_file("libvirt/rig-storage.service", &unit, 0o644)?;
        node.exec(&["systemctl", "daemon-reload"])?;
        let conf = fs::read_to_string(node.path(CONF)?).context(CONF)?;
        Ok(Self { conf, ..compute })
    }

    /// A node with the probe and without libvirt.
    pub fn bare(node: Arc<Node>) -> Result<Self> {
        put(&tool("libvirt-probe")?, &node.path("/usr/bin/libvirt-probe")?, 0o755)?;
        Ok(Self { node, conf: String::new() })
    }

    /// The node.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Starts libvirtd with its sockets and waits until it answers.
    pub fn start(&self) -> Result<()> {
        wait::until(secs(30), "libvirtd's units to be started", || {
            // systemd counts starts, and gives up after a few.
            self.node.run(&[&["systemctl", "reset-failed"], &UNITS[..]].concat())?;
            let started = self.node.run(&[&["systemctl", "start"], &UNITS[..]].concat())?;
            if started.code() == 0 {
                return Ok(Some(()));
            }
            // Somebody connected to the first socket before the others were there: systemd then refuses them.
            self.stop()?;
            fail(started.stderr)
        })?;
        wait::until(secs(30), "libvirtd to answer", || {
            let said = self.official_tool(2, &["virsh", "-q", "list"])?;
            if said.code() == 0 { Ok(Some(())) } else { fail(said.stderr) }
        })
    }

    /// Ends libvirtd and takes its sockets away. Guests live on.
    pub fn stop(&self) -> Result<()> {
        self.node.exec(&[&["systemctl", "stop"], &UNITS[..]].concat()).map(drop)
    }

    /// Ends libvirtd and starts it again with new sockets.
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// Restarts libvirtd with these lines as its configuration.
    pub fn configure(&self, lines: &str) -> Result<()> {
        self.write_configuration(lines)?;
        self.restart()
    }

    /// Writes what libvirtd reads when it is started next.
    pub fn write_configuration(&self, lines: &str) -> Result<()> {
        fs::write(self.node.path(CONF)?, lines).context(CONF)
    }

    /// Mends everything: libvirtd runs as it was installed, without guests.
    pub fn reset(&self) -> Result<()> {
        if self.pid().is_ok() {
            self.signal("CONT")?;
        }
        if fs::read_to_string(self.node.path(CONF)?)? != self.conf {
            self.configure(&self.conf)?;
        }
        let whole = self.node.run(&[&["systemctl", "is-active"], &UNITS[..]].concat())?.code() == 0
            && self.node.path(SOCKET)?.exists();
        if !whole {
            self.restart()?;
        }
        self.destroy()?;
        self.node.exec(&["systemctl", "stop", "rig-storage"]).map(drop)
    }

    /// The PID of libvirtd, in the node.
    pub fn pid(&self) -> Result<u32> {
        let pid = self.node.exec(&["systemctl", "show", "-P", "MainPID", "libvirtd"])?;
        match pid.trim().parse().context("libvirtd's PID")? {
            0 => fail("libvirtd does not run"),
            pid => Ok(pid),
        }
    }

    /// Sends a signal to libvirtd.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.node.exec(&["kill", &format!("-{signal}"), &self.pid()?.to_string()]).map(drop)
    }

    /// Sends a signal to the QEMU of a guest.
    pub fn signal_guest(&self, name: &str, signal: &str) -> Result<()> {
        self.node.sh(&format!("kill -{signal} $(cat /run/libvirt/qemu/{name}.pid)")).map(drop)
    }

    /// Creates guests; `more`: see `tests/rig/libvirt/guests`.
    pub fn create(&self, count: usize, more: &[&str]) -> Result<()> {
        self.guests(&[&["create", &count.to_string()], more].concat()).map(drop)
    }

    /// Lets all guests run that are paused.
    pub fn resume(&self) -> Result<()> {
        self.guests(&["resume"]).map(drop)
    }

    /// Ends all guests.
    pub fn destroy(&self) -> Result<()> {
        self.guests(&["destroy"]).map(drop)
    }

    /// What the official binding says, of this URI.
    pub fn official(&self, uri: &str) -> Result<Official> {
        serde_json::from_str(&self.guests(&["states", uri])?).context("what the binding says")
    }

    /// Starts the server of the guests' disk.
    pub fn start_storage(&self) -> Result<()> {
        let disk = "/var/lib/libvirt/images/rig.raw";
        self.node.sh(&format!("mkdir -p $(dirname {disk}); [ -e {disk} ] || {SCRIPT} boot-disk {disk}"))?;
        self.node.exec(&["systemctl", "start", "rig-storage"])?;
        wait::until(secs(10), "the guests' storage", || {
            self.node.exec(&["test", "-S", "/run/rig-storage.sock"]).map(Some)
        })
        .map(drop)
    }

    /// Ends the server of the guests' disk, at once.
    pub fn lose_storage(&self) -> Result<()> {
        self.node.exec(&["systemctl", "kill", "-s", "KILL", "rig-storage"])?;
        self.node.exec(&["systemctl", "stop", "rig-storage"]).map(drop)
    }

    /// Waits until a guest has read from its disk.
    pub fn wait_reading(&self, guest: &str) -> Result<()> {
        wait::until(secs(30), &format!("{guest} to read from its disk"), || {
            let said = self.node.exec(&["virsh", "-q", "domblkstat", guest])?;
            let reads =
                said.lines().find_map(|line| line.split_once("rd_req ")?.1.trim().parse::<u64>().ok());
            if reads.is_some_and(|reads| reads > 5) { Ok(Some(())) } else { fail(said) }
        })
    }

    /// Lets guests run until they do. (The first read after a loss only finds that the disk is there again.)
    pub fn resume_until_all_run(&self, within: Duration) -> Result<()> {
        wait::until(within, "all guests to run", || {
            self.resume()?;
            std::thread::sleep(Duration::from_millis(300));
            let domains = self.official("qemu:///system")?.domains;
            if domains.iter().all(|domain| domain.state == 1) {
                Ok(Some(()))
            } else {
                fail(format!("{domains:?}"))
            }
        })
    }

    /// Starts a load on libvirtd that stays until [`Compute::end_load`]: words for `guests`. When this returns it is in
    /// place.
    pub fn load(&self, name: &str, words: &[&str]) -> Result<()> {
        let unit = format!("--unit={name}");
        let run = ["systemd-run", "--quiet", "--collect", "-p", "Type=notify", "-p", "NotifyAccess=all"];
        self.node.exec(&[&run[..], &[&unit, SCRIPT], words].concat()).map(drop)
    }

    /// Ends a load, at once.
    pub fn end_load(&self, name: &str) -> Result<()> {
        self.node.run(&["systemctl", "kill", "-s", "KILL", name])?;
        self.node.run(&["systemctl", "stop", name])?;
        wait::until(secs(20), &format!("{name} to be gone"), || {
            let state = self.node.run(&["systemctl", "is-active", name])?.stdout;
            if state.trim() == "inactive" { Ok(Some(())) } else { fail(state) }
        })
    }

    /// Waits until calls wait because none of libvirtd's ordinary workers is free. (Calls that come at once have it make
    /// fewer workers than it may have.)
    pub fn wait_workers_taken(&self) -> Result<()> {
        wait::until(secs(30), "all workers of libvirtd to be taken", || {
            let info = self.node.exec(&["virt-admin", "server-threadpool-info", "--server", "libvirtd"])?;
            let field = |name: &str| {
                let line = info.lines().find(|line| line.trim_start().starts_with(name))?;
                line.rsplit(' ').next()?.trim().parse::<usize>().ok()
            };
            let waiting = field("jobQueueDepth").is_some_and(|waiting| waiting > 0);
            if waiting && field("freeWorkers") == Some(0) { Ok(Some(())) } else { fail(info) }
        })
    }

    /// Asks the probe; any verdict is fine.
    pub fn check(&self, more: &[&str]) -> Result<Check> {
        self.check_as(&[], more)
    }

    /// Asks the probe as somebody: words that come before it.
    pub fn check_as(&self, before: &[&str], more: &[&str]) -> Result<Check> {
        let words = [before, &["libvirt-probe", "check", "--json"], more].concat();
        let began = Instant::now();
        let output = self.node.run(&words)?;
        let took = began.elapsed();
        let Output { stdout, stderr, .. } = &output;
        let said =
            serde_json::from_str(stdout).context(format!("`{}` said {stdout}{stderr}", words.join(" ")))?;
        Ok(Check { said, json: stdout.clone(), code: output.code(), took })
    }

    /// Waits until the probe's verdict is this one.
    pub fn wait_verdict(&self, verdict: &str, within: Duration) -> Result<Check> {
        wait::until(within, &format!("the verdict {verdict}"), || {
            let check = self.check(&[])?;
            if check.said.verdict == verdict { Ok(Some(check)) } else { fail(check.json) }
        })
    }

    /// Runs a command that uses C libvirt, with a limit after which it counts as hung: its exit code is 124 then.
    pub fn official_tool(&self, limit: u32, words: &[&str]) -> Result<Output> {
        let limit = limit.to_string();
        self.node.run(&[&["timeout", "-s", "KILL", &limit], words].concat())
    }

    fn guests(&self, words: &[&str]) -> Result<String> {
        let output = self.node.run_long(&[&[SCRIPT], words].concat(), PATIENCE)?;
        if output.code() == 0 {
            return Ok(output.stdout);
        }
        fail(format!("guests {}: {}{}", words.join(" "), output.stdout, output.stderr))
    }
}

impl Check {
    /// Fails unless the verdict, the step and the time are these.
    pub fn expect(&self, verdict: &str, steps: &[&str], within: Duration) -> Result<&Self> {
        let right =
            self.said.verdict == verdict && (steps.is_empty() || steps.contains(&self.said.step.as_str()));
        if right && self.took <= within && self.said.elapsed_ms <= within.as_secs_f64() * 1e3 {
            return Ok(self);
        }
        fail(format!(
            "not {verdict} at {} within {} s, but after {:.2} s: {}",
            steps.join(" or "),
            within.as_secs_f32(),
            self.took.as_secs_f32(),
            self.json
        ))
    }

    /// Fails unless the reason has these words.
    pub fn says(&self, words: &str) -> Result<&Self> {
        if self.said.reason.contains(words) {
            Ok(self)
        } else {
            fail(format!("no '{words}' in {}", self.json))
        }
    }
}

/// What is laid over the file system of a remote node to make a compute of it.
pub fn layers(suite: Suite) -> Result<Vec<PathBuf>> {
    Ok(vec![suite.libvirt()?])
}
