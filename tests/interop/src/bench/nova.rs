//! What it costs to know how a real nova-compute is: the probe, and a look at the list of processes.

use serde_json::{Value, json};

use crate::daemon::{put, tool};
use crate::error::{Context, Result};
use crate::node::Node;
use crate::nova::{self, Backend, Control, UNIT};
use crate::wait::secs;
use crate::{Cluster, Daemon, World, images};

/// What is usual in resource agents.
const PROCESS_LIST: &str =
    "ps axf | grep 'python.*nova-compute' | grep -v grep | awk '{print $1}' | grep -q .";
/// Checks of the probe for each look at the list.
const MORE: usize = 20;

/// Measures on one compute node.
pub fn nova(world: &World, rounds: usize) -> Result<Value> {
    let cluster = Cluster::start(world, nova::SUITE, 1)?;
    let control = Control::start(world, &cluster, 9)?;
    let node =
        cluster.add_machine_with(world, "r1", 1, Daemon::Theirs, nova::SUITE, &[images::nova_layer()?])?;
    put(&tool("libvirt-probe")?, &node.path("/usr/bin/libvirt-probe")?, 0o755)?;
    control.configure(&node, Backend::Threading)?;
    node.exec(&["systemctl", "start", UNIT])?;
    control.wait_reports(&node)?;

    let watch = |checks: usize| {
        cpu_ms(&node, &format!("libvirt-probe watch nova-compute --json --interval 1ms --count {checks}"))
    };
    let checks = rounds * MORE;
    let started = watch(1)?;
    let probe = (watch(checks + 1)? - started) / as_f64(checks);
    let list = cpu_ms(&node, &format!("for n in $(seq {rounds}); do {PROCESS_LIST}; done"))?;
    Ok(json!({
        "benchmark": "nova",
        "rounds": rounds,
        "processes": node.sh("ls -d /proc/[0-9]* | wc -l")?.trim(),
        "connections": node.sh("ss -Htn state established dport = :5672 | wc -l")?.trim(),
        "probe_cpu_ms": probe,
        "probe_process_cpu_ms": started,
        "process_list_cpu_ms": list / as_f64(rounds),
    }))
}

/// Processor time of a line of shell with all that it starts.
fn cpu_ms(node: &Node, line: &str) -> Result<f64> {
    let script = format!("TIMEFORMAT='%U %S'; time {{ {line}; }} >/dev/null 2>&1");
    let said = node.run_long(&["bash", "-c", &script], secs(300))?.stderr;
    let times: Vec<f64> = said.split_whitespace().filter_map(|time| time.parse().ok()).collect();
    if let [user, system] = times[..] { Ok((user + system) * 1000.0) } else { Err(crate::Error::new(said)) }
        .context(line)
}

#[allow(clippy::cast_precision_loss, reason = "a number of rounds")]
fn as_f64(number: usize) -> f64 {
    number as f64
}
