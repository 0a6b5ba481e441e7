//! The probes as resource agents in a real cluster: in process under our daemon, as executables under the C daemon.
//!
//! Each suite gets a cluster of c1 and c2 with the remote nodes `ours` and `theirs`. Neither has libvirt or
//! nova-compute: a unit that sleeps stands in for the latter, which the agents cannot tell apart from one that does
//! not talk to its bus.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness talks to whoever runs it")]

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use libtest_mimic::{Arguments, Trial};
use pcmk_interop::cib::Primitive;
use pcmk_interop::daemon::{put, tool};
use pcmk_interop::error::Context;
use pcmk_interop::images::workspace;
use pcmk_interop::status::Failure;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Cluster, Daemon, Node, Result, Suite, World, fail};

type Test = fn(&Bed, &str) -> Result<()>;

/// Run on both nodes: theirs first, then ours.
const BOTH: &[(&str, Test)] = &[
    ("not_installed", not_installed),
    ("unit_is_started_watched_and_stopped", unit_is_started_watched_and_stopped),
    ("evacuation_is_waited_for", evacuation_is_waited_for),
    ("wrong_parameter", wrong_parameter),
    ("health_of_the_node", health_of_the_node),
];
/// Run on ours alone.
const OURS: &[(&str, Test)] = &[("bad_news_fast", bad_news_fast), ("no_process", no_process)];

const PROVIDER: &str = "/usr/lib/ocf/resource.d/pcmk-remote";
const UNIT: &str = "\
[Service]
ExecStart=/bin/sleep infinity
";
/// Found by its program, and not expected to be connected to anything.
const SETTINGS: &str = "\
[nova-compute]
program = \"sleep\"
bus = false
[host.storage]
on = false
";
const WISH: i32 = 1000;
const RESOURCE: &str = "p";

struct Bed {
    cluster: Cluster,
    turn: Mutex<()>,
}

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads = Some(Suite::ALL.len());
    let trials = if args.list { Ok((None, listed())) } else { prepared() };
    match trials {
        Ok((_world, trials)) => libtest_mimic::run(&args, trials).exit_code(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tests() -> impl Iterator<Item = (&'static str, &'static str, Test)> {
    let both = BOTH.iter().flat_map(|(name, test)| [("theirs", *name, *test), ("ours", *name, *test)]);
    both.chain(OURS.iter().map(|(name, test)| ("ours", *name, *test)))
}

fn prepared() -> Result<(Option<World>, Vec<Trial>)> {
    let suites = Suite::chosen()?;
    let world = World::enter(&suites)?;
    let mut trials = Vec::new();
    for suite in suites {
        let bed = Arc::new(Bed::start(&world, suite)?);
        let described = Arc::clone(&bed);
        trials.push(Trial::test(full_name("metadata", "c1", suite), move || Ok(metadata(&described)?)));
        for (node, name, test) in tests() {
            let bed = Arc::clone(&bed);
            trials.push(Trial::test(full_name(name, node, suite), move || Ok(bed.run(node, test)?)));
        }
    }
    Ok((Some(world), trials))
}

fn listed() -> Vec<Trial> {
    let all = [("c1", "metadata")].into_iter().chain(tests().map(|(node, name, _)| (node, name)));
    let names = all.flat_map(|(node, name)| Suite::ALL.map(|suite| full_name(name, node, suite)));
    names.map(|name| Trial::test(name, || Ok(()))).collect()
}

fn full_name(test: &str, node: &str, suite: Suite) -> String {
    format!("pacemaker_{}::{test}::{node}", suite.pacemaker())
}

impl Bed {
    fn start(world: &World, suite: Suite) -> Result<Self> {
        let cluster = Cluster::start(world, suite, 2).context(suite)?;
        for (name, daemon, n) in [("theirs", Daemon::Theirs, 1), ("ours", Daemon::Ours, 2)] {
            let node = cluster.add_remote(world, name, n, daemon).context(suite)?;
            let settings = node.path("/etc/pcmk-remote/probes.toml")?;
            node.exec(&["mkdir", "-p", "/etc/pcmk-remote", PROVIDER])?;
            std::fs::write(settings, SETTINGS)?;
            std::fs::write(node.path("/etc/systemd/system/nova-compute.service")?, UNIT)?;
            node.exec(&["chmod", "644", "/etc/pcmk-remote/probes.toml"])?;
            node.exec(&["systemctl", "daemon-reload"])?;
        }
        // Ours needs none of these.
        for name in ["c1", "c2", "theirs"] {
            install(&*cluster.node(name)?)?;
        }
        Ok(Self { cluster, turn: Mutex::new(()) })
    }

    fn run(&self, node: &str, test: Test) -> Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, started) = (SystemTime::now(), Instant::now());
        let size = self.cluster.log_size(node)?;
        let result = test(self, node);
        if std::env::var_os("PCMK_RIG_TIMES").is_some() {
            println!("({node}: {:.1} s)", started.elapsed().as_secs_f32());
        }
        if let Err(error) = &result {
            println!("{}, {node}: {error}", self.cluster.suite());
            let log = self.cluster.log_since(node, size)?;
            let lines: Vec<&str> = log.lines().collect();
            println!("{}", lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n"));
        }
        self.attribute(node, "evacuate", None)?;
        self.cluster.remove(RESOURCE)?;
        self.cluster.settle()?;
        self.cluster.exec(&["crm_resource", "--cleanup"])?;
        result?;
        for name in self.cluster.node_names() {
            let fenced = self.cluster.fenced_since(start, &name);
            if !fenced.is_empty() {
                return fail(format!("{name} was fenced: {fenced:?}"));
            }
        }
        Ok(())
    }

    /// Sets a transient attribute of a node, or removes it.
    fn attribute(&self, node: &str, name: &str, value: Option<&str>) -> Result<()> {
        let change = match value {
            Some(value) => vec!["--update", value],
            None => vec!["--delete"],
        };
        let words = ["attrd_updater", "--name", name, "--node", node];
        self.cluster.exec(&[&words[..], &change[..]].concat()).map(drop)
    }

    fn value(&self, node: &str, name: &str) -> Result<String> {
        let said =
            self.cluster.member()?.run(&["attrd_updater", "--query", "--name", name, "--node", node])?;
        let value = said.stdout.split_once("value=\"").and_then(|(_, rest)| rest.split_once('"'));
        Ok(value.map_or(String::new(), |(value, _)| value.to_owned()))
    }

    fn wait_value(&self, node: &str, name: &str, value: &str) -> Result<()> {
        let what = format!("{name} of {node} to be {value}");
        wait::until_eq(secs(30), &what, &value.to_owned(), || self.value(node, name))
    }

    fn failure(&self, within: u64, what: &str, wanted: impl Fn(&Failure) -> bool) -> Result<Failure> {
        wait::until(secs(within), what, || {
            let status = self.cluster.status()?;
            match status.failures.iter().find(|failure| wanted(failure)) {
                Some(failure) => Ok(Some(failure.clone())),
                None => fail(format!("{:?} {:?}", status.failures, status.place(RESOURCE))),
            }
        })
    }

    fn is_active(&self, node: &str) -> Result<bool> {
        Ok(self.cluster.node(node)?.run(&["systemctl", "-q", "is-active", "nova-compute"])?.code() == 0)
    }
}

/// Brings the executables.
fn install(node: &Node) -> Result<()> {
    put(&tool("libvirt-probe")?, &node.path("/usr/bin/libvirt-probe")?, 0o755)?;
    for agent in ["libvirt", "nova-compute", "compute-health"] {
        let from = workspace().join("packaging/ocf").join(agent);
        put(&from, &node.path(&format!("{PROVIDER}/{agent}"))?, 0o755)?;
    }
    Ok(())
}

fn nova_compute(node: &str) -> Primitive {
    Primitive::new(RESOURCE, "ocf:pcmk-remote:nova-compute")
        .op("start", "0", "timeout='40s'")
        .op("stop", "0", "timeout='40s'")
        .on(node, WISH)
}

/// The cluster's own tool shows what the agents are and take.
fn metadata(bed: &Bed) -> Result<()> {
    let node = bed.cluster.node("c1")?;
    for (agent, parameter) in
        [("libvirt", "socket"), ("nova-compute", "evacuation_delay"), ("compute-health", "fail_with_guests")]
    {
        let xml = node.exec(&["crm_resource", "--show-metadata", &format!("ocf:pcmk-remote:{agent}")])?;
        let document = roxmltree::Document::parse(&xml).context(agent)?;
        let names = |tag| {
            let found = document.descendants().filter(move |element| element.has_tag_name(tag));
            found.filter_map(|element| element.attribute("name")).collect::<Vec<_>>()
        };
        if names("resource-agent") != [agent] || !names("parameter").contains(&parameter) {
            return fail(format!("{agent} is described as {xml}"));
        }
        if !["start", "stop", "monitor", "meta-data"].iter().all(|name| names("action").contains(name)) {
            return fail(format!("actions of {agent}: {:?}", names("action")));
        }
    }
    let listed = node.exec(&["crm_resource", "--list-agents", "ocf:pcmk-remote"])?;
    if listed.split_whitespace().collect::<Vec<_>>() != ["compute-health", "libvirt", "nova-compute"] {
        return fail(format!("listed: {listed}"));
    }
    Ok(())
}

/// What is not installed does not run there, and cannot: no more than that.
fn not_installed(bed: &Bed, node: &str) -> Result<()> {
    let resource = Primitive::new(RESOURCE, "ocf:pcmk-remote:libvirt").monitor("10s", "30s").on(node, WISH);
    bed.cluster.add(&resource)?;
    // No failure, as the cluster sees it, and nothing that could be started.
    let xpath = format!("//node_state[@uname='{node}']//lrm_resource[@id='{RESOURCE}']/lrm_rsc_op");
    let result = wait::until(secs(40), "the result of the probe", || {
        let said = bed.cluster.member()?.run(&["cibadmin", "--query", "--xpath", &xpath])?.stdout;
        Ok(said.contains("rc-code=\"5\"").then_some(said))
    })?;
    if !result.contains("virtqemud.service") || !result.contains("is installed") {
        return fail(result);
    }
    bed.cluster.settle()?;
    bed.cluster.wait_place(RESOURCE, "Stopped", secs(20))
}

fn unit_is_started_watched_and_stopped(bed: &Bed, node: &str) -> Result<()> {
    let reached = format!("Started on {node}");
    bed.cluster.add(&nova_compute(node).monitor("2s", "30s"))?;
    bed.cluster.wait_place(RESOURCE, &reached, secs(40))?;
    if !bed.is_active(node)? {
        return fail("its unit does not run");
    }
    bed.cluster.node(node)?.exec(&["systemctl", "kill", "--signal=KILL", "nova-compute"])?;
    let failure = bed.failure(30, "the end of the process to be noticed", |failure| {
        failure.node == node && failure.op_key == "p_monitor_2000"
    })?;
    if failure.reason.is_empty() {
        return fail(format!("no reason: {failure:?}"));
    }
    wait::until(secs(40), "its unit to run again", || Ok(bed.is_active(node)?.then_some(())))?;
    bed.cluster.wait_place(RESOURCE, &reached, secs(40))?;
    bed.cluster.remove(RESOURCE)?;
    if bed.is_active(node)? { fail("its unit still runs") } else { Ok(()) }
}

fn evacuation_is_waited_for(bed: &Bed, node: &str) -> Result<()> {
    bed.attribute(node, "evacuate", Some("yes"))?;
    bed.cluster.add(&nova_compute(node).param("evacuation_delay", "1s").op("start", "0", "timeout='12s'"))?;
    let failure = bed.failure(40, "the start to be given up", |failure| failure.op_key == "p_start_0")?;
    if !failure.reason.contains("(evacuate=yes): its guests may run elsewhere") {
        return fail(format!("{failure:?}"));
    }
    if bed.is_active(node)? {
        return fail("its unit was started");
    }
    bed.attribute(node, "evacuate", Some("no"))?;
    bed.cluster.exec(&["crm_resource", "--cleanup", "-r", RESOURCE])?;
    bed.cluster.wait_place(RESOURCE, &format!("Started on {node}"), secs(40))?;
    bed.wait_value(node, "evacuate", "")
}

fn wrong_parameter(bed: &Bed, node: &str) -> Result<()> {
    bed.cluster.add(&nova_compute(node).param("failures", "many"))?;
    let failure = bed.failure(40, "the parameter to be refused", |failure| failure.node == node)?;
    if failure.reason.contains("parameter failures=many must be a number from 1 to 100") {
        Ok(())
    } else {
        fail(format!("{failure:?}"))
    }
}

/// What has failed is restarted first, then the node is red, and the resource never fails by itself.
fn health_of_the_node(bed: &Bed, node: &str) -> Result<()> {
    let resource = Primitive::new(RESOURCE, "ocf:pcmk-remote:compute-health")
        .param("checks", "nova-compute host")
        .param("restarts", "1")
        .param("failures", "1")
        .param("attribute", "compute-verdict")
        .monitor("2s", "30s")
        .on(node, WISH);
    let machine = bed.cluster.node(node)?;
    machine.exec(&["systemctl", "start", "nova-compute"])?;
    bed.cluster.add(&resource)?;
    bed.cluster.wait_place(RESOURCE, &format!("Started on {node}"), secs(40))?;
    let kill = || machine.exec(&["systemctl", "kill", "--signal=KILL", "nova-compute"]);
    kill()?;
    let failure =
        bed.failure(30, "the restart to be told", |failure| failure.reason.contains("restart 1 of 1"))?;
    if failure.op_key != "p_monitor_2000" {
        return fail(format!("{failure:?}"));
    }
    wait::until(secs(30), "it to be restarted", || Ok(bed.is_active(node)?.then_some(())))?;
    kill()?;
    bed.wait_value(node, "#health-compute", "red")?;
    bed.wait_value(node, "compute-verdict", "failed")?;
    bed.cluster.wait_place(RESOURCE, &format!("Started on {node}"), secs(10))?;
    let count = bed.cluster.exec(&["crm_failcount", "--query", "-r", RESOURCE, "-N", node])?;
    if !count.contains("value=0") {
        return fail(format!("it failed: {count}"));
    }
    machine.exec(&["systemctl", "reset-failed", "nova-compute"])?;
    machine.exec(&["systemctl", "start", "nova-compute"])?;
    bed.wait_value(node, "compute-verdict", "ok")?;
    machine.exec(&["systemctl", "stop", "nova-compute"])?;
    bed.cluster.remove(RESOURCE)?;
    bed.attribute(node, "#health-compute", None)
}

/// A failure between two monitors brings the next one forward.
fn bad_news_fast(bed: &Bed, node: &str) -> Result<()> {
    bed.cluster.add(&nova_compute(node).monitor("300s", "30s"))?;
    bed.cluster.wait_place(RESOURCE, &format!("Started on {node}"), secs(40))?;
    bed.cluster.settle()?;
    bed.cluster.node(node)?.exec(&["systemctl", "kill", "--signal=KILL", "nova-compute"])?;
    let killed = Instant::now();
    let failure =
        bed.failure(30, "the failure to be told", |failure| failure.op_key == "p_monitor_300000")?;
    let took = killed.elapsed();
    println!("(told after {:.1} s: {})", took.as_secs_f32(), failure.reason);
    wait::until(secs(40), "its unit to run again", || Ok(bed.is_active(node)?.then_some(())))?;
    Ok(())
}

/// No process is needed on our node: there is no executable at all.
fn no_process(bed: &Bed, node: &str) -> Result<()> {
    let machine = bed.cluster.node(node)?;
    machine.exec(&["test", "!", "-e", "/usr/bin/libvirt-probe"])?;
    machine.exec(&["test", "!", "-e", &format!("{PROVIDER}/nova-compute")])?;
    bed.cluster.add(&nova_compute(node).monitor("1s", "30s"))?;
    bed.cluster.wait_place(RESOURCE, &format!("Started on {node}"), secs(40))
}
