//! What a node refuses under a policy, in real clusters: the C daemon does as it is told, ours refuses, and the
//! cluster goes on.
//!
//! Each suite gets a cluster of c1 and c2 with the remote nodes `theirs` (the C daemon), `ours`, and `evil`, which
//! has the cluster's key as every node has.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the harness talks to whoever runs it")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use libtest_mimic::{Arguments, Trial};
use pcmk_interop::cib::Primitive;
use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Cluster, Daemon, Node, Result, Suite, World, fail, run};
use roxmltree::Document;

type Test = fn(&Bed) -> Result<()>;

const TESTS: &[(&str, Test)] = &[
    ("key_alone_does_not_run_agents", key_alone_does_not_run_agents),
    ("forbidden_agent_is_placed_elsewhere", forbidden_agent_is_placed_elsewhere),
    ("what_runs_can_still_be_stopped", what_runs_can_still_be_stopped),
    ("provider_limit_lets_the_connection_move", provider_limit_lets_the_connection_move),
];

const POLICY: &str = "/etc/pcmk-remote/policy.toml";
/// Does no harm, but makes a file wherever it is told to; others of its provider run any command.
const AGENT: &str = "ocf:heartbeat:Dummy";
/// What the attack leaves behind.
const TROPHY: &str = "/root/owned";
const WISH: i32 = 1000;

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

fn prepared() -> Result<(Option<World>, Vec<Trial>)> {
    let suites = Suite::chosen()?;
    let world = World::enter(&suites)?;
    let mut trials = Vec::new();
    for suite in suites {
        let bed = Arc::new(Bed::start(&world, suite)?);
        for (name, test) in TESTS {
            let bed = Arc::clone(&bed);
            trials.push(Trial::test(full_name(name, suite), move || Ok(bed.run(*test)?)));
        }
    }
    Ok((Some(world), trials))
}

fn listed() -> Vec<Trial> {
    let names = TESTS.iter().flat_map(|(name, _)| Suite::ALL.map(|suite| full_name(name, suite)));
    names.map(|name| Trial::test(name, || Ok(()))).collect()
}

fn full_name(test: &str, suite: Suite) -> String {
    format!("pacemaker_{}::{test}", suite.pacemaker())
}

impl Bed {
    fn start(world: &World, suite: Suite) -> Result<Self> {
        let cluster = Cluster::start(world, suite, 2).context(suite)?;
        let nodes = [("theirs", Daemon::Theirs), ("ours", Daemon::Ours), ("evil", Daemon::Theirs)];
        for ((name, daemon), n) in nodes.into_iter().zip(1..) {
            cluster.add_remote(world, name, n, daemon).context(suite)?;
        }
        Ok(Self { cluster, turn: Mutex::new(()) })
    }

    fn run(&self, test: Test) -> Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let start = SystemTime::now();
        let result = test(self);
        if let Err(error) = &result {
            println!("{}: {error}", self.cluster.suite());
        }
        self.policy("", "policy from /etc/pcmk-remote/policy.toml, which refuses nothing")?;
        for id in ["w", "d"] {
            self.cluster.remove(id)?;
        }
        for (name, value) in [("symmetric-cluster", "false"), ("stonith-enabled", "true")] {
            self.cluster.set_property(name, value)?;
        }
        self.cluster.settle()?;
        self.cluster.exec(&["crm_resource", "--cleanup"])?;
        result?;
        for name in ["theirs", "ours", "evil", "c1", "c2"] {
            let fenced = self.cluster.fenced_since(start, name);
            if !fenced.is_empty() {
                return fail(format!("{name} was fenced: {fenced:?}"));
            }
        }
        Ok(())
    }

    /// Writes the policy of `ours` and waits until the log says `answer`.
    fn policy(&self, text: &str, answer: &str) -> Result<()> {
        let node = self.cluster.node("ours")?;
        let path = node.path(POLICY)?;
        if fs::read_to_string(&path).unwrap_or_default() == text {
            return Ok(());
        }
        let size = self.cluster.log_size("ours")?;
        fs::create_dir_all(path.parent().context("a path")?)?;
        fs::write(&path, text)?;
        node.exec(&["chmod", "644", POLICY])?;
        wait::until(secs(20), &format!("the log of ours to say '{answer}'"), || {
            Ok(self.cluster.log_since("ours", size)?.contains(answer).then_some(()))
        })
    }

    /// Has an agent run on a node by somebody who sits on another and has the key.
    fn attack(&self, from: &str, to: &str, agent: &str, params: &[&str]) -> Result<String> {
        let (from, to) = (self.cluster.node(from)?, self.cluster.node(to)?);
        let (pid, key) = (from.pid()?.to_string(), from.path("/etc/pacemaker/authkey")?);
        let (address, key) = (format!("{}:3121", to.address()), key.display().to_string());
        let words =
            ["nsenter", "-t", &pid, "-n", env!("CARGO_BIN_EXE_attack"), &address, &key, agent, "start"];
        Ok(run::host(&[&words, params].concat())?.trim().to_owned())
    }

    /// The attack proper: a file that only root can make.
    fn make_trophy(&self, to: &str) -> Result<(String, bool)> {
        let file = self.cluster.node(to)?.path(TROPHY)?;
        let said = self.attack("evil", to, AGENT, &[&format!("state={TROPHY}")])?;
        let made = fs::metadata(&file).is_ok_and(|file| file.uid() == 0);
        if made {
            fs::remove_file(&file)?;
        }
        Ok((said, made))
    }

    fn controllers(&self) -> Result<String> {
        let addresses =
            ["c1", "c2"].map(|name| self.cluster.node(name).map(|node| format!("'{}'", node.address())));
        Ok(addresses.into_iter().collect::<Result<Vec<_>>>()?.join(", "))
    }

    fn ours(&self) -> Result<Arc<Node>> {
        self.cluster.node("ours")
    }

    /// The transitions whose start of the connection to a node succeeded last, on either cluster node.
    fn connections(&self, to: &str) -> Result<Vec<String>> {
        let cib = self.cluster.exec(&["cibadmin", "--query", "--scope", "status"])?;
        let document = Document::parse(&cib).context("the cluster's status")?;
        let id = format!("{to}_last_0");
        let started = |op: &roxmltree::Node<'_, '_>| {
            op.attribute("id") == Some(&id)
                && op.attribute("operation") == Some("start")
                && op.attribute("rc-code") == Some("0")
        };
        let keys = document.descendants().filter(started).filter_map(|op| op.attribute("transition-key"));
        Ok(keys.map(str::to_owned).collect())
    }

    /// Waits until the cluster has noticed the client that came between, and has made its connection to a node anew.
    /// That the node is online does not say so: it is until the cluster gets round to it.
    fn wait_connected_anew(&self, to: &str, before: &[String]) -> Result<()> {
        wait::until(secs(60), &format!("a new connection to {to}"), || {
            Ok(self.connections(to)?.iter().any(|made| !before.contains(made)).then_some(()))
        })?;
        self.cluster.wait_online(to, secs(60))
    }

    /// The connection to `ours` is taken over by the other cluster node, twice.
    fn move_there_and_back(&self) -> Result<()> {
        let cluster = &self.cluster;
        for _ in 0..2 {
            let host = cluster.status()?.host_of("ours").context("the connection to ours runs nowhere")?;
            let other = if host == "c1" { "c2" } else { "c1" };
            cluster.exec(&["crm_resource", "--move", "-r", "ours", "--node", other])?;
            cluster.wait_place("ours", &format!("Started on {other}"), secs(40))?;
            cluster.settle()?;
            cluster.exec(&["crm_resource", "--clear", "-r", "ours"])?;
            cluster.settle()?;
        }
        Ok(())
    }

    fn monitored(&self, node: &str) -> Result<()> {
        let monitors = || -> Result<usize> {
            let calls = self.cluster.calls(node)?.into_iter();
            Ok(calls.filter(|call| call.resource == "w" && call.details == "interval=1000").count())
        };
        let before = monitors()?;
        wait::until(secs(30), &format!("monitors of w on {node}"), || {
            Ok((monitors()? >= before + 3).then_some(()))
        })
    }
}

/// Any node that has the shared key can run any agent as root on any other; with the controllers' addresses in the
/// policy it cannot even connect.
fn key_alone_does_not_run_agents(bed: &Bed) -> Result<()> {
    let cluster = &bed.cluster;
    // Controllers take any second client for a successor and leave: they would fence the node before long.
    cluster.set_property("stonith-enabled", "false")?;
    let before = [bed.connections("theirs")?, bed.connections("ours")?];
    for (name, why) in [("theirs", "the C daemon"), ("ours", "our daemon without a policy")] {
        let (said, made) = bed.make_trophy(name)?;
        if !made {
            return fail(format!("{why} did not run what any holder of the key asks for: {said}"));
        }
    }
    for (name, before) in ["theirs", "ours"].into_iter().zip(before) {
        bed.wait_connected_anew(name, &before)?;
    }
    cluster.settle()?;
    cluster.set_property("stonith-enabled", "true")?;
    cluster.add(&Primitive::witness("w").monitor("1s", "20s").on("ours", WISH))?;
    cluster.wait_place("w", "Started on ours", secs(40))?;

    let size = cluster.log_size("ours")?;
    bed.policy(&format!("[peers]\naddresses = [{}]\n", bed.controllers()?), "New policy from")?;
    let refused = || -> Result<()> {
        let (said, made) = bed.make_trophy("ours")?;
        if made || !said.starts_with("refused: ") {
            return fail(format!("the attack came through: {said}"));
        }
        Ok(())
    };
    refused()?;
    let log = cluster.log_since("ours", size)?;
    let evil = cluster.node("evil")?.address();
    for line in [
        format!("{evil} is not among the addresses that this node's policy allows"),
        format!("action=connect result=refused reason=\"{evil} is not among"),
    ] {
        if !log.contains(&line) {
            return fail(format!("the log does not say '{line}': {log}"));
        }
    }
    bed.monitored("ours")?;
    // A file with a mistake changes nothing.
    bed.policy("[peers]\nadresses = []\n", "line 2: unknown field `adresses`")?;
    refused()?;
    // The cluster can use both of its nodes.
    let from = cluster.count("ours", "w")?;
    bed.move_there_and_back()?;
    bed.monitored("ours")?;
    let deeds = cluster.deeds("ours", "w", from)?;
    if !deeds.is_empty() {
        return fail(format!("the resource was touched: {deeds:?}"));
    }
    // And a controller's host that was broken into is limited to the agents that are listed.
    let agents = "[agents]\nallow = ['ocf:rig:witness']\n";
    bed.policy(&format!("[peers]\naddresses = [{}]\n{agents}", bed.controllers()?), "New policy from")?;
    cluster.set_property("stonith-enabled", "false")?;
    let before = bed.connections("ours")?;
    let said = bed.attack("c1", "ours", AGENT, &[&format!("state={TROPHY}")])?;
    if said != format!("ran: 5 7 Agent {AGENT} is not allowed by this node's policy") {
        return fail(format!("from a controller's host: {said}"));
    }
    if bed.ours()?.path(TROPHY)?.exists() {
        return fail("the agent was run");
    }
    bed.wait_connected_anew("ours", &before)?;
    cluster.settle()?;
    bed.monitored("ours")
}

/// To the cluster it is as if the agent was not installed: the resource is placed on another node without a try, its
/// history says why, and nobody is fenced. When the agent is allowed again, a cleanup brings the resource back.
fn forbidden_agent_is_placed_elsewhere(bed: &Bed) -> Result<()> {
    let cluster = &bed.cluster;
    bed.policy("[agents]\nallow = ['ocf:rig:*']\n", "New policy from")?;
    let dummy = Primitive::new("d", "ocf:pacemaker:Dummy").monitor("1s", "20s");
    cluster.add(&dummy.on("ours", WISH).on("theirs", WISH / 2))?;
    cluster.wait_place("d", "Started on theirs", secs(60))?;
    cluster.settle()?;
    let failures = cluster.status()?.failures;
    if !failures.is_empty() {
        return fail(format!("there was more than a probe: {failures:?}"));
    }
    let cib = cluster.exec(&["cibadmin", "--query", "--scope", "status"])?;
    let document = Document::parse(&cib).context("the cluster's status")?;
    let is_refusal = |op: &roxmltree::Node<'_, '_>| {
        op.attribute("operation_key") == Some("d_monitor_0")
            && op.attribute("rc-code") == Some("5")
            && op.attribute("exit-reason")
                == Some("Agent ocf:pacemaker:Dummy is not allowed by this node's policy")
    };
    if !document.descendants().any(|op| is_refusal(&op)) {
        return fail(format!("the history does not say why: {cib}"));
    }
    bed.policy("[agents]\nallow = ['ocf:rig:*', 'ocf:pacemaker:*']\n", "New policy from")?;
    cluster.exec(&["crm_resource", "--cleanup", "-r", "d"])?;
    cluster.exec(&["crm_resource", "--refresh", "-r", "d", "--node", "ours"])?;
    cluster.wait_place("d", "Started on ours", secs(60))
}

/// A policy that forbids what runs: it goes on being watched, can be stopped and moved away, and is not started again.
fn what_runs_can_still_be_stopped(bed: &Bed) -> Result<()> {
    let cluster = &bed.cluster;
    // Asymmetric clusters, as the rig's is otherwise, do not show that an agent is not installed.
    cluster.set_property("symmetric-cluster", "true")?;
    cluster.add(&Primitive::witness("w").monitor("1s", "20s").on("ours", WISH).on("theirs", WISH / 2))?;
    cluster.wait_place("w", "Started on ours", secs(40))?;
    cluster.settle()?;
    bed.policy("[agents]\nallow = []\n", "New policy from")?;
    bed.monitored("ours")?;
    let from = cluster.count("ours", "w")?;
    bed.ours()?.exec(&["rm", "/run/witness-w"])?;
    cluster.wait_place("w", "Started on theirs", secs(60))?;
    cluster.settle()?;
    let deeds = cluster.deeds("ours", "w", from)?;
    if deeds != ["stop=0"] {
        return fail(format!("on ours: {deeds:?}"));
    }
    let seen = cluster.exec(&["crm_mon", "-1"])?;
    if !seen.contains("Agent ocf:rig:witness is not allowed by this node") {
        return fail(format!("crm_mon does not show why it was not started again: {seen}"));
    }
    Ok(())
}

/// While a connection moves, both cluster nodes are connected.
fn provider_limit_lets_the_connection_move(bed: &Bed) -> Result<()> {
    let cluster = &bed.cluster;
    bed.policy("[peers]\nmax_providers = 2\n", "New policy from")?;
    bed.move_there_and_back()?;
    cluster.wait_online("ours", secs(20))
}
