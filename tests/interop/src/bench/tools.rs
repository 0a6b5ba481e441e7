//! What local tools cost: the way through the proxy, memory for their connections, large answers.

use std::time::Duration;

use serde_json::{Value, json};

use super::median;
use crate::error::{Context, Result};
use crate::large;
use crate::node::Node;
use crate::wait::{self, secs};
use crate::{Cluster, Daemon, Suite, World, fail};

/// Queries whose time is taken together, in turns with the other daemon.
const AT_A_TIME: usize = 20;
/// Tools that are connected when memory is measured.
const CONNECTED: usize = 200;

/// Measures the C daemon and ours beside each other in one cluster.
pub fn tools(world: &World, suite: Suite, rounds: usize) -> Result<Value> {
    let cluster = Cluster::start(world, suite, 1)?;
    let daemons = [Daemon::Theirs, Daemon::Ours];
    let mut nodes = Vec::new();
    for (daemon, n) in daemons.iter().zip(1..) {
        let node = cluster.add_remote(world, &format!("r{n}"), n, *daemon)?;
        nodes.push(node);
    }
    cluster.settle()?;
    let mut samples = vec![Samples::default(); daemons.len()];
    for _ in 0..rounds {
        for (node, samples) in nodes.iter().zip(&mut samples) {
            samples.queries(node)?;
        }
    }
    for (node, samples) in nodes.iter().zip(&mut samples) {
        samples.idle_kb = memory(node)?;
        samples.connected_kb = connected(node)?;
    }
    drop(nodes);
    drop(cluster);
    let cluster = Cluster::start(world, suite, 1)?;
    large::load(&cluster)?;
    let mut nodes = Vec::new();
    for (daemon, n) in daemons.iter().zip(1..) {
        let node = cluster.add_remote(world, &format!("r{n}"), n, *daemon)?;
        large::raise_limit(&cluster, &node)?;
        nodes.push(node);
    }
    for _ in 0..rounds.min(7) {
        for (node, samples) in nodes.iter().zip(&mut samples) {
            samples.large_us.push(large_query(node)?);
        }
    }
    let mut result = json!({ "benchmark": "tools", "pacemaker": suite.pacemaker(), "connected": CONNECTED });
    for (daemon, samples) in daemons.iter().zip(&samples) {
        if let Some(object) = result.as_object_mut() {
            object.insert(daemon.name().to_owned(), samples.json());
        }
    }
    Ok(result)
}

/// What was measured of one daemon.
#[derive(Clone, Default)]
struct Samples {
    query_us: Vec<u64>,
    /// The daemon's CPU time for all queries.
    cpu_ms: u64,
    idle_kb: u64,
    connected_kb: u64,
    large_us: Vec<u64>,
}

impl Samples {
    fn queries(&mut self, node: &Node) -> Result<()> {
        let before = cpu_ms(node)?;
        // Timed inside the node: entering it takes longer than the query.
        let line = format!(
            "for i in $(seq {AT_A_TIME}); do a=$EPOCHREALTIME; \
               v=$(crm_attribute -t crm_config -n cluster-name --query --quiet) || exit 1; b=$EPOCHREALTIME; \
               [ \"$v\" = rig ] || exit 1; echo $(( ${{b/./}} - ${{a/./}} )); done"
        );
        let times = node.exec(&["bash", "-c", &line])?;
        self.query_us.extend(times.lines().filter_map(|line| line.parse::<u64>().ok()));
        self.cpu_ms += cpu_ms(node)?.saturating_sub(before);
        Ok(())
    }

    fn json(&self) -> Value {
        let count = u64::try_from(self.query_us.len()).unwrap_or(1).max(1);
        json!({
            "query_us": self.query_us, "query_us_median": median(&self.query_us),
            "cpu_us_per_query": self.cpu_ms * 1000 / count,
            "idle_kb": self.idle_kb, "connected_kb": self.connected_kb,
            "large_us": self.large_us, "large_us_median": median(&self.large_us),
        })
    }
}

fn large_query(node: &Node) -> Result<u64> {
    let line = format!(
        "export PCMK_ipc_buffer={}; a=$EPOCHREALTIME; cibadmin -Q >/run/large.xml || exit 1; b=$EPOCHREALTIME; \
         echo $(( ${{b/./}} - ${{a/./}} )) $(stat -c %s /run/large.xml)",
        large::IPC_BUFFER
    );
    let said = node.run_long(&["bash", "-c", &line], secs(120))?;
    let mut words = said.stdout.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    let (time, size) = words.next().zip(words.next()).context(format!("cibadmin: {}", said.stderr))?;
    if usize::try_from(size).unwrap_or(0) < large::LENGTH {
        return fail(format!("the CIB has only {size} bytes"));
    }
    Ok(time)
}

/// Memory with many tools connected, once it no longer changes.
fn connected(node: &Node) -> Result<u64> {
    let start = format!(
        "for i in $(seq {CONNECTED}); do \
           crm_mon --daemonize --pid-file /run/m$i.pid --output-as=text --output-to=/run/m$i --interval=3600 & \
         done; wait"
    );
    node.run_long(&["bash", "-c", &start], secs(300))?;
    wait::until(secs(120), "all tools to have their first answer", || {
        let done = node.sh("grep -l RemoteOnline /run/m[0-9]* | wc -l")?;
        if done.trim() == CONNECTED.to_string() { Ok(Some(())) } else { fail(done) }
    })?;
    let used = memory(node)?;
    node.sh("kill $(cat /run/m*.pid); rm -f /run/m[0-9]*")?;
    Ok(used)
}

/// The daemon's resident memory, once it no longer changes.
fn memory(node: &Node) -> Result<u64> {
    let line = "awk '/^Rss:/ { print $2 }' /proc/$(systemctl show -P MainPID pacemaker_remote)/smaps_rollup";
    let mut before = 0;
    wait::until(secs(20), "the daemon's memory to stay the same", || {
        std::thread::sleep(Duration::from_millis(500));
        let now: u64 = node.sh(line)?.trim().parse().context("the daemon's memory")?;
        let same = now == before;
        before = now;
        Ok(same.then_some(now))
    })
}

/// The daemon's CPU time so far (the kernel counts in steps of 10 ms).
fn cpu_ms(node: &Node) -> Result<u64> {
    let stat = node.sh("cat /proc/$(systemctl show -P MainPID pacemaker_remote)/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("the daemon's stat")?;
    let fields: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    Ok(fields.iter().sum::<u64>() * 10)
}
