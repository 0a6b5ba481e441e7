//! The daemon as PID 1 of a container, as Pacemaker's bundles start it: a container made from namespaces, the C
//! daemon first, then ours.
#![allow(clippy::print_stderr, reason = "the harness talks to whoever runs it")]

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use libtest_mimic::{Arguments, Trial};
use pcmk_interop::cib::Primitive;
use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Cluster, Daemon, Node, Result, Suite, World, fail};

const DAEMONS: [Daemon; 2] = [Daemon::Theirs, Daemon::Ours];
/// The container's own settings count more than the host's file.
const INIT: &str = "env RIG_SET=container /usr/sbin/pacemaker-remoted";
const ENV_FILE: &str =
    "# The host's settings.\nRIG_FROM_FILE='two words' # quoted\n\nRIG_SET=file\n  PCMK_logpriority=info\n";
const LOG: &str = "/var/log/pcmk-init.log";

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // One cluster for all trials of a suite: one after the other.
    args.test_threads = Some(1);
    let trials = if args.list { Ok((None, listed())) } else { prepared() };
    match trials {
        Ok((_world, trials)) => libtest_mimic::run(&args, trials).exit_code(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prepared() -> Result<(Option<World>, Vec<Trial>)> {
    let suites = Suite::chosen()?;
    let world = World::enter(&suites)?;
    let mut trials = Vec::new();
    for suite in suites {
        let cluster = Arc::new(Cluster::start(&world, suite, 1).context(suite)?);
        for (daemon, n) in DAEMONS.into_iter().zip(1..) {
            let node = cluster.create_container(&world, daemon.name(), n, daemon)?;
            fs::write(node.disk().join("etc/pacemaker/pcmk-init.env"), ENV_FILE)?;
            let agent = node.disk().join("usr/lib/ocf/resource.d/rig/witness");
            let script = fs::read_to_string(&agent)?;
            fs::write(&agent, script.replacen('\n', "\nenv >/run/agent-env\n", 1))?;
            let cluster = Arc::clone(&cluster);
            trials
                .push(Trial::test(full_name(suite, daemon), move || Ok(container(&cluster, &node, daemon)?)));
        }
    }
    Ok((Some(world), trials))
}

fn listed() -> Vec<Trial> {
    let names = Suite::ALL.into_iter().flat_map(|suite| DAEMONS.map(|daemon| full_name(suite, daemon)));
    names.map(|name| Trial::test(name, || Ok(()))).collect()
}

fn full_name(suite: Suite, daemon: Daemon) -> String {
    format!("pacemaker_{}::container_of_{}", suite.pacemaker(), daemon.name())
}

fn container(cluster: &Cluster, node: &Node, daemon: Daemon) -> Result<()> {
    let start = SystemTime::now();
    ends_as_the_daemon_does(node)?;
    interrupt_ends_it(node)?;

    run(node)?;
    orphans_are_reaped(node)?;
    cluster.register(node)?;
    let (name, place) = (node.name(), format!("Started on {}", node.name()));
    cluster.add(&Primitive::witness("w").monitor("1s", "20s").on(name, 1000))?;
    cluster.wait_place("w", &place, secs(60))?;
    settings_come_from_the_file(node)?;
    orphans_are_reaped(node)?;

    node.signal_first("TERM")?;
    match daemon {
        // It is swallowed: whoever stops the container waits in vain.
        Daemon::Theirs => {
            let before = cluster.calls(name)?.len();
            wait::until(secs(30), "three more monitors after SIGTERM", || {
                Ok((cluster.calls(name)?.len() > before + 3).then_some(()))
            })?;
            cluster.remove("w")?;
            cluster.remove(name)?;
            node.signal_first("INT")?;
        }
        // The daemon has the cluster stop what runs there, and ends then.
        Daemon::Ours => {}
    }
    let code = node.wait_end(secs(60))?;
    if code != 0 {
        return fail(format!("the container ended with {code}"));
    }
    let deeds = cluster.deeds(name, "w", 0)?;
    if deeds != ["monitor=7", "start=0", "stop=0"] {
        return fail(format!("the resource's calls: {deeds:?}"));
    }
    let fenced = cluster.fenced_since(start, name);
    if !fenced.is_empty() {
        return fail(format!("the container was fenced: {fenced:?}"));
    }
    cluster.remove("w")?;
    cluster.remove(name)
}

/// Starts the container; gives the daemon's process id in it.
fn run(node: &Node) -> Result<u32> {
    let _ = fs::remove_file(node.disk().join(LOG.trim_start_matches('/')));
    node.start_container(INIT)?;
    wait::until(secs(30), "the daemon in the container to serve", || {
        let log = fs::read_to_string(node.path(LOG)?)?;
        Ok(log.contains("successfully started").then_some(()))
    })?;
    let first = fs::read_to_string(node.path("/proc/1/cmdline")?)?;
    if !first.starts_with("pcmk-init") {
        return fail(format!("the first process calls itself {first:?}"));
    }
    let children = fs::read_to_string(node.path("/proc/1/task/1/children")?)?;
    children.split_whitespace().next().and_then(|pid| pid.parse().ok()).context("PID 1 has no child")
}

/// With the daemon, and with an error if that was killed.
fn ends_as_the_daemon_does(node: &Node) -> Result<()> {
    let child = run(node)?;
    // It ends with the container.
    node.run(&["kill", "-KILL", &child.to_string()])?;
    let code = node.wait_end(secs(20))?;
    if code == 1 {
        Ok(())
    } else {
        fail(format!("the daemon was killed, and the container ended with {code}"))
    }
}

/// Ctrl-C in a container in the foreground.
fn interrupt_ends_it(node: &Node) -> Result<()> {
    run(node)?;
    node.signal_first("INT")?;
    let code = node.wait_end(secs(20))?;
    if code == 0 { Ok(()) } else { fail(format!("after SIGINT the container ended with {code}")) }
}

/// Agents get the daemon's environment; the daemon's own shows in `/proc` only what it was started with.
fn settings_come_from_the_file(node: &Node) -> Result<()> {
    let env = node.exec(&["cat", "/run/agent-env"])?;
    for wanted in [
        "RIG_FROM_FILE=two words",
        "RIG_SET=container",
        "PCMK_logpriority=info",
        "HA_LOGFILE=/var/log/pcmk-init.log",
    ] {
        if !env.lines().any(|line| line == wanted) {
            return fail(format!("{wanted} is not in the agents' environment: {env}"));
        }
    }
    Ok(())
}

/// Processes whose parent has gone become the first process's, and are not left as zombies.
fn orphans_are_reaped(node: &Node) -> Result<()> {
    node.sh("for n in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.3 & ); done")?;
    wait::until(secs(10), "the orphans to be reaped", || {
        let states = node.exec(&["ps", "-eo", "ppid=,stat=,comm="])?;
        let left: Vec<_> =
            states.lines().filter(|line| line.contains("sleep") || line.contains(" Z")).collect();
        if left.is_empty() { Ok(Some(())) } else { fail(format!("{left:?}")) }
    })
}
