//! The cluster, the machine with the bus, and the compute nodes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pcmk_interop::cib::Primitive;
use pcmk_interop::daemon::{put, tool};
use pcmk_interop::error::Context;
use pcmk_interop::nova::{self, Backend, Control, UNIT};
use pcmk_interop::status::Failure;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::watch::{self, Watch};
use pcmk_interop::{Cluster, Daemon, Node, Result, Suite, World, fail, images, libvirt};

/// A trial.
pub(crate) type Test = fn(&Bed) -> Result<()>;

/// A remote node with nova-compute.
pub(crate) struct Compute {
    pub(crate) node: Arc<Node>,
}

/// All of it.
pub(crate) struct Bed {
    pub(crate) cluster: Cluster,
    pub(crate) control: Control,
    /// The one with threads of the system, and the one with eventlet.
    pub(crate) computes: [Compute; 2],
    /// Looks at r2 from the start on.
    pub(crate) quiet: Watch,
    /// Since when nova-compute reports on both.
    pub(crate) ready: Instant,
    /// One trial at a time.
    turn: Mutex<()>,
}

impl Bed {
    /// Starts everything and waits until both nova-computes report.
    pub(crate) fn start(world: &World, suite: Suite, daemon: Daemon) -> Result<Self> {
        let started = Instant::now();
        let cluster = Cluster::start(world, suite, 1).context(suite)?;
        let control = Control::start(world, &cluster, 9)?;
        let compute =
            |name, n, backend| Compute::start(world, &cluster, &control, (name, n), daemon, backend);
        let computes = [compute("r1", 1, Backend::Threading)?, compute("r2", 2, Backend::Eventlet)?];
        let took = started.elapsed().as_secs();
        println!(
            "cluster of {suite} with two nova-computes and daemons of {} is up after {took} s",
            daemon.name()
        );
        let [_, r2] = &computes;
        let (quiet, ready) = (r2.watch()?, Instant::now());
        Ok(Self { cluster, control, computes, quiet, ready, turn: Mutex::new(()) })
    }

    /// Runs a trial. No node may be fenced by any.
    pub(crate) fn run(&self, test: Test) -> Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (started, began) = (Instant::now(), SystemTime::now());
        let result = test(self);
        if std::env::var_os("PCMK_RIG_TIMES").is_some() {
            println!("({:.1} s)", started.elapsed().as_secs_f32());
        }
        if let Err(error) = &result {
            println!("{}: {error}", self.cluster.suite());
        }
        result?;
        for name in self.cluster.node_names() {
            let fenced = self.cluster.fenced_since(began, &name);
            if !fenced.is_empty() {
                return fail(format!("fenced: {fenced:?}"));
            }
        }
        Ok(())
    }

    /// Adds the resource `nova`, a clone that stands for nova-compute on both compute nodes, if it is not there;
    /// `on_fail`: what the cluster does about a failed monitor. nova-compute that runs is left alone.
    pub(crate) fn manage(&self, on_fail: &str) -> Result<()> {
        let op = |name: &str, interval: &str, more: &str| {
            format!("<op id='nova-{name}' name='{name}' interval='{interval}' {more}/>")
        };
        let monitor = op("monitor", "10s", &format!("timeout='30s' on-fail='{on_fail}'"));
        let (start, stop) = (op("start", "0s", "timeout='120s'"), op("stop", "0s", "timeout='90s'"));
        let place = |node| {
            format!("<rsc_location id='loc-nova-{node}' rsc='nova-clone' node='{node}' score='1000'/>")
        };
        self.cluster.configure(&format!(
            "<configuration><resources><clone id='nova-clone'>\
             <primitive id='nova' class='ocf' provider='pcmk-remote' type='nova-compute'>\
             <operations>{monitor}{start}{stop}</operations></primitive></clone></resources>\
             <constraints>{}{}</constraints></configuration>",
            place("r1"),
            place("r2")
        ))?;
        self.cluster.wait_place("nova", "Started on r1, Started on r2", secs(60))?;
        self.cluster.settle()?;
        self.cluster.exec(&["crm_resource", "--cleanup", "-r", "nova"])?;
        self.cluster.settle()
    }

    /// Adds the resource `health` on r1: all that may be wrong there, and a fence if it fails.
    pub(crate) fn watch_health(&self) -> Result<()> {
        let resource = Primitive::new("health", "ocf:pcmk-remote:compute-health")
            .param("checks", "nova-compute services")
            .param("restarts", "1")
            .param("then", "fail")
            .op("monitor", "10s", "timeout='30s' on-fail='fence'");
        self.cluster.add(&resource.on("r1", 1000))?;
        self.cluster.wait_place("health", "Started on r1", secs(60))?;
        self.cluster.settle()
    }

    /// Waits until r1's health has this colour.
    pub(crate) fn wait_colour(&self, colour: &str) -> Result<()> {
        wait::until(secs(40), &format!("r1's health to be {colour}"), || {
            let words = ["attrd_updater", "-Q", "-n", "#health-compute", "-N", "r1"];
            let said = self.cluster.member()?.run(&words)?.stdout;
            if said.contains(&format!("value=\"{colour}\"")) { Ok(Some(())) } else { fail(said) }
        })
    }

    /// Waits until cluster status shows that the monitor of nova-compute on a compute node has failed, and why.
    pub(crate) fn wait_failure(&self, on: &Compute, fault: Instant, within: Duration) -> Result<String> {
        let (left, node) = (within.saturating_sub(fault.elapsed()), on.node.name());
        wait::until(left, &format!("the failure of nova-compute on {node}"), || {
            let failures = self.cluster.status()?.failures;
            let seen = format!("{failures:?}");
            let is_it = |failure: &Failure| failure.op_key == "nova_monitor_10000" && failure.node == node;
            match failures.into_iter().find(is_it) {
                Some(failure) if !is_degraded(&failure.status) => Ok(Some(failure.reason)),
                _ => fail(seen),
            }
        })
    }

    /// The compute node with threads of the system.
    pub(crate) fn r1(&self) -> &Compute {
        let [r1, _] = &self.computes;
        r1
    }

    /// The compute node with eventlet.
    pub(crate) fn r2(&self) -> &Compute {
        let [_, r2] = &self.computes;
        r2
    }
}

impl Compute {
    fn start(
        world: &World,
        cluster: &Cluster,
        control: &Control,
        (name, n): (&str, u8),
        daemon: Daemon,
        backend: Backend,
    ) -> Result<Self> {
        // One of them is a whole compute.
        let mut layers = vec![images::nova_layer()?];
        if backend == Backend::Threading {
            layers.extend(libvirt::layers(nova::SUITE)?);
        }
        let node = cluster.add_machine_with(world, name, n, daemon, nova::SUITE, &layers)?;
        put(&tool("libvirt-probe")?, &node.path("/usr/bin/libvirt-probe")?, 0o755)?;
        control.configure(&node, backend)?;
        node.exec(&["systemctl", "start", UNIT])?;
        control.wait_reports(&node)?;
        cluster.join(&node)?;
        Ok(Self { node })
    }

    /// Has the probe look at nova-compute from now on, once it has said that it is well.
    pub(crate) fn watch(&self) -> Result<Watch> {
        let watch = Watch::start(&self.node, &["--interval", "1", "nova-compute"])?;
        is_fine(&watch)?;
        Ok(watch)
    }

    /// What a check sees that looks for nova-compute in the list of processes.
    pub(crate) fn seen_by_ps(&self) -> Result<Vec<u32>> {
        let said = self.node.sh("ps axf | grep 'python.*nova-compute' | grep -v grep | awk '{print $1}'")?;
        Ok(said.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// Fails unless that check is content.
    pub(crate) fn ps_is_content(&self) -> Result<()> {
        if self.seen_by_ps()?.is_empty() { fail("the list of processes has no nova-compute") } else { Ok(()) }
    }

    /// Waits until another process than this is nova-compute, and reports.
    pub(crate) fn wait_restarted(&self, control: &Control, pid: u32) -> Result<()> {
        wait::until(secs(60), "another nova-compute", || {
            Ok((nova::main_pid(&self.node, UNIT)? != pid).then_some(()))
        })?;
        control.wait_reports(&self.node)
    }
}

/// Whether a monitor has found restrictions only, which cluster status shows as well: as 2.1.5 and 3.0.0 call it.
pub(crate) fn is_degraded(status: &str) -> bool {
    status == "OCF_DEGRADED" || status.contains("might fail soon")
}

/// Waits until the probe says that nova-compute is well.
pub(crate) fn is_fine(watch: &Watch) -> Result<()> {
    watch.wait(Instant::now(), "nova-compute", "ok", secs(90)).map(drop)
}

/// Fails if the probe has found anything wrong since then.
pub(crate) fn was_fine_since(watch: &Watch, when: Instant) -> Result<()> {
    let lines = watch.since(when, "nova-compute");
    let odd: Vec<_> = lines.iter().filter(|line| line.said.verdict != "ok").cloned().collect();
    if lines.is_empty() || !odd.is_empty() {
        return fail(format!("of {} looks: {}", lines.len(), watch::shown(&odd)));
    }
    Ok(())
}
