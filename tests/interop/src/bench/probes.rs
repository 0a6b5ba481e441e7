//! What it costs to know how a compute is: the native probe, and what is run today.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cib::Primitive;
use crate::error::{Context, Result};
use crate::libvirt::Compute;
use crate::node::Node;
use crate::wait::secs;
use crate::{Cluster, Daemon, Suite, World};

/// Guests on the compute.
const GUESTS: usize = 100;
/// How long the daemon's processor time is measured with and without probes.
const WATCHED: Duration = secs(60);
/// Interval of the resources' monitors.
const INTERVAL: Duration = secs(10);
/// A process such as the check of nova-compute looks for.
const NOVA_COMPUTE: &str = "#!/usr/bin/python3\nimport time\ntime.sleep(86400)\n";
/// The test for nova-compute that is usual in resource agents: in the list of all processes.
const PROCESS_LIST: &str =
    "ps axf | grep 'python.*nova-compute' | grep -v grep | awk '{ print $1 }' | grep -q .";

/// Measures on one compute with `GUESTS` guests.
pub fn probes(world: &World, suite: Suite, rounds: usize) -> Result<Value> {
    let cluster = Cluster::start(world, suite, 1)?;
    let compute = Compute::add(&cluster, world, "r1", 1, Daemon::Ours)?;
    let node = compute.node();
    compute.start()?;
    cluster.join(node)?;
    compute.create(GUESTS, &[])?;
    let script = node.path("/usr/local/bin/nova-compute")?;
    std::fs::write(&script, NOVA_COMPUTE)?;
    node.exec(&["chmod", "755", "/usr/local/bin/nova-compute"])?;
    node.exec(&[
        "systemd-run",
        "--quiet",
        "--unit=nova-compute",
        "/usr/bin/python3",
        "/usr/local/bin/nova-compute",
    ])?;
    node.sh("virsh dumpxml instance-00000001 >/run/guest.xml")?;
    cluster.settle()?;

    let count = rounds.to_string();
    let bench =
        node.run_long(&["libvirt-probe", "bench", "--json", "-n", &(rounds * 10).to_string()], secs(300))?;
    let native: Value = serde_json::from_str(&bench.stdout).context(format!("bench: {}", bench.stderr))?;
    let virtual_domain = "OCF_ROOT=/usr/lib/ocf OCF_RESOURCE_INSTANCE=guest OCF_RESKEY_config=/run/guest.xml \
                          OCF_RESKEY_hypervisor=qemu:///system OCF_RESKEY_CRM_meta_timeout=20000 \
                          OCF_RESKEY_CRM_meta_interval=10000 /usr/lib/ocf/resource.d/heartbeat/VirtualDomain monitor";
    let commands: [(&str, &[&str]); 5] = [
        ("check", &["libvirt-probe", "check"]),
        ("virsh_list", &["virsh", "-q", "list"]),
        ("virtual_domain", &["sh", "-c", virtual_domain]),
        ("process_list", &["sh", "-c", PROCESS_LIST]),
        ("python_process", &["guests", "time", "1", &GUESTS.to_string()]),
    ];
    let mut result = json!({
        "benchmark": "probes", "libvirt": version(node)?, "guests": GUESTS, "rounds": rounds, "native": native,
    });
    let mut put = |name: &str, value: Value| {
        if let Some(object) = result.as_object_mut() {
            object.insert(name.to_owned(), value);
        }
    };
    for (name, words) in commands {
        put(name, cost(node, &[&["guests_cost.py", &count], words].concat())?);
    }
    put("python", cost(node, &["guests", "time", &count, &GUESTS.to_string()])?);
    put("processes", json!(node.sh("ls -d /proc/[0-9]* | wc -l")?.trim()));

    let before = watched(node)?;
    let resource = Primitive::new("health", "ocf:pcmk-remote:compute-health")
        .param("checks", "libvirt nova-compute host");
    let interval = format!("{}s", INTERVAL.as_secs());
    cluster.add(&resource.monitor(&interval, "30s").on("r1", 1000))?;
    cluster.wait_place("health", "Started on r1", secs(40))?;
    cluster.settle()?;
    let after = watched(node)?;
    put(
        "daemon",
        json!({ "without": before.json(), "with": after.json(), "interval_s": INTERVAL.as_secs() }),
    );
    Ok(result)
}

/// What the daemon needed while it was watched.
struct Watched {
    cpu_us: u64,
    rss_kb: u64,
}

impl Watched {
    fn json(&self) -> Value {
        json!({ "cpu_us": self.cpu_us, "seconds": WATCHED.as_secs(), "rss_kb": self.rss_kb })
    }
}

fn watched(node: &Node) -> Result<Watched> {
    let before = daemon_cpu_us(node)?;
    thread::sleep(WATCHED);
    let cpu_us = daemon_cpu_us(node)?.saturating_sub(before);
    let rss = "awk '/^Rss:/ { print $2 }' /proc/$(systemctl show -P MainPID pacemaker_remote)/smaps_rollup";
    let rss_kb = node.sh(rss)?.trim().parse().context("the daemon's memory")?;
    Ok(Watched { cpu_us, rss_kb })
}

/// By the scheduler's own account: the kernel's usual clock ticks a hundred times a second.
fn daemon_cpu_us(node: &Node) -> Result<u64> {
    let said = node.sh("cat /proc/$(systemctl show -P MainPID pacemaker_remote)/task/*/schedstat")?;
    let times = said.lines().filter_map(|line| line.split(' ').next()?.parse::<u64>().ok());
    Ok(times.sum::<u64>() / 1000)
}

/// What a measurement on the node printed, with the median of its times.
fn cost(node: &Node, words: &[&str]) -> Result<Value> {
    let output = node.run_long(words, secs(300))?;
    let mut value: Value = serde_json::from_str(&output.stdout).context(format!(
        "`{}`: {}{}",
        words.join(" "),
        output.stdout,
        output.stderr
    ))?;
    let walls = value.get("wall_us").and_then(Value::as_array).context("no times")?;
    let mut times: Vec<f64> = walls.iter().filter_map(Value::as_f64).collect();
    times.sort_by(f64::total_cmp);
    let middle = times.get(times.len() / 2).copied();
    if let Some(object) = value.as_object_mut() {
        object.insert("wall_us_median".to_owned(), json!(middle));
    }
    Ok(value)
}

fn version(node: &Node) -> Result<String> {
    let said = node.exec(&["libvirtd", "--version"])?;
    Ok(said.trim().rsplit(' ').next().unwrap_or_default().to_owned())
}
