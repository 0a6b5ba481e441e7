//! The operator's tools on nodes of a real cluster. They are ours alone: the C daemon has no status to ask for, and
//! takes part only as what `tls-check` looks at.
#![allow(clippy::indexing_slicing, reason = "JSON: what is not there is null")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::SystemTime;

use pcmk_interop::cib::Primitive;
use pcmk_interop::daemon::{self, put};
use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Node, Result, fail};
use serde_json::Value;

use super::basics::WISH;
use super::bed::Bed;

const CTL: &str = "/rig/bin/pcmk-remotectl";

/// Puts the tools where all nodes see them.
fn bring_tools(bed: &Bed) -> Result<()> {
    for name in ["pcmk-remotectl", "pcmk-remote-exporter"] {
        let to = bed.cluster.share().join("bin").join(name);
        if !to.exists() {
            put(&daemon::tool(name)?, &to, 0o755)?;
        }
    }
    Ok(())
}

fn status(node: &Node) -> Result<Value> {
    serde_json::from_str(&node.exec(&[CTL, "--json", "status"])?).context("the status document")
}

fn list<'a>(status: &'a Value, name: &str) -> &'a [Value] {
    status.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn is(value: &Value, field: &str, wanted: &str) -> bool {
    value.get(field).and_then(Value::as_str) == Some(wanted)
}

fn expect(what: &str, is: bool, status: &Value) -> Result<()> {
    if is { Ok(()) } else { fail(format!("{what}: {status}")) }
}

/// What it tells is what the cluster knows: who is connected, what runs, what failed.
pub(crate) fn status_is_the_clusters(bed: &Bed) -> Result<()> {
    bring_tools(bed)?;
    let (cluster, node) = (&bed.cluster, bed.r1()?);
    bed.started(&Primitive::witness("w_status").monitor("1s", "20s").on("r1", WISH))?;
    bed.goes_on("r1", "w_status", 1000, 2)?;
    let told = status(&node)?;
    let host = cluster.status()?.host_of("r1").context("r1's connection runs nowhere")?;
    let from = cluster.node(&host)?.address();
    let connected: Vec<_> = list(&told, "peers").iter().filter_map(|peer| peer["address"].as_str()).collect();
    expect(
        &format!("the one peer is {host}, the node that crm_mon names"),
        matches!(connected[..], [address] if address.rsplit_once(':').is_some_and(|(ip, _)| ip == from)),
        &told,
    )?;
    expect("it carries the tools' requests", told["peers"][0]["current_provider"] == true, &told)?;
    let known: BTreeSet<_> =
        list(&told, "resources").iter().filter_map(|resource| resource["id"].as_str()).collect();
    let here = cluster.status()?.resources;
    let missing = here.iter().find(|r| r.nodes == ["r1"] && !known.contains(r.id.as_str()));
    expect(&format!("no resource of r1 is missing ({missing:?})"), missing.is_none(), &told)?;
    let monitor = list(&told, "operations").iter().find(|op| is(op, "resource", "w_status"));
    let monitor = monitor.context(format!("no operation of w_status: {told}"))?;
    let plain = monitor["interval_ms"] == 1000 && is(&monitor["last"], "verdict", "ok");
    expect("its monitor recurs and is well", plain && is(monitor, "action", "monitor"), &told)?;

    // A tool that stays connected is listed with the cluster node that serves it.
    let watcher = "crm_mon --daemonize --interval=60 --pid-file=/run/live.pid --output-as=html --output-to=/tmp/live.html";
    node.sh(watcher)?;
    let listed = wait::until(secs(20), "the live crm_mon among the local tools", || {
        let told = status(&node)?;
        let mut tools = list(&told, "tools").iter();
        let found = tools.any(|tool| {
            is(tool, "user", "root")
                && tool["server"].as_str().is_some_and(|server| server.starts_with("cib_"))
                && tool["client"] == told["peers"][0]["client"]
        });
        if found { Ok(Some(())) } else { fail(format!("{} {}", told["tools"], told["peers"])) }
    });
    node.sh("kill $(cat /run/live.pid)")?;
    listed?;

    node.exec(&["rm", "/run/witness-w_status"])?;
    wait::until(secs(30), "the failure and the recovery in the history", || {
        let told = status(&node)?;
        let mut history = list(&told, "history").iter().filter(|outcome| is(outcome, "resource", "w_status"));
        let failed = history.any(|o| {
            is(o, "action", "monitor") && is(o, "verdict", "not_running") && o["interval_ms"] == 1000
        });
        Ok((failed && history.any(|o| is(o, "action", "start") && is(o, "verdict", "ok"))).then_some(()))
    })?;
    let ops = node.exec(&[CTL, "ops", "--resource", "w_status"])?;
    if ops.contains("monitor") { who_may_ask(&node) } else { fail(format!("no monitor in: {ops}")) }
}

/// root, `hacluster`, members of `haclient` and of `pcmk-remote` may, others may not; only root may drain.
fn who_may_ask(node: &Node) -> Result<()> {
    node.sh("getent group pcmk-remote >/dev/null || groupadd --system pcmk-remote")?;
    for (who, command, code) in [
        ("--reuid=hacluster --regid=haclient --clear-groups", "status", 0),
        ("--reuid=nobody --regid=nogroup --clear-groups", "status", 4),
        ("--reuid=nobody --regid=pcmk-remote --clear-groups", "status", 0),
        ("--reuid=nobody --regid=nogroup --groups=haclient", "status", 0),
        ("--reuid=nobody --regid=nogroup --groups=pcmk-remote", "ops", 0),
        ("--reuid=hacluster --regid=haclient --clear-groups", "drain", 4),
    ] {
        let done = node.run(&["sh", "-c", &format!("setpriv {who} {CTL} {command}")])?;
        if done.code() != code {
            return fail(format!("{command} with {who} ended with {}: {}", done.code(), done.stderr));
        }
    }
    Ok(())
}

/// Readers that connect and then do nothing keep neither the cluster waiting nor, for long, other readers.
pub(crate) fn frozen_readers_do_not_matter(bed: &Bed) -> Result<()> {
    bring_tools(bed)?;
    let (cluster, node, start) = (&bed.cluster, bed.r1()?, SystemTime::now());
    bed.started(&Primitive::witness("w_frozen").monitor("1s", "20s").on("r1", WISH))?;
    let socket = node.path("/run/pcmk-remote/status.sock")?;
    let frozen = (0..40).map(|_| UnixStream::connect(&socket)).collect::<std::io::Result<Vec<_>>>()?;
    let busy = node.run(&[CTL, "status"])?;
    if busy.code() != 102 || !busy.stderr.contains("busy") {
        return fail(format!("with 40 frozen readers: {} {}", busy.code(), busy.stderr));
    }
    bed.goes_on("r1", "w_frozen", 1000, 5)?;
    wait::until(secs(30), "frozen readers to be given up", || {
        Ok((node.run(&[CTL, "status"])?.code() == 0).then_some(()))
    })?;
    drop(frozen);
    let fenced = cluster.fenced_since(start, "r1");
    if !fenced.is_empty() || !cluster.status()?.online("r1") {
        return fail(format!("r1 is not well: {fenced:?} {:?}", cluster.status()?.nodes));
    }
    Ok(())
}

/// From another node, against our daemon and the C daemon, while the cluster is connected to both.
pub(crate) fn tls_check_is_not_noticed(bed: &Bed) -> Result<()> {
    bring_tools(bed)?;
    let (cluster, start) = (&bed.cluster, SystemTime::now());
    bed.started(&Primitive::witness("w_tls").monitor("1s", "20s").on("r1", WISH))?;
    let from = cluster.count("r1", "w_tls")?;
    fs::write(cluster.share().join("wrong-key"), [7; 4096])?;
    let asker = cluster.node("c1")?;
    for name in ["r1", "ref"] {
        let node = cluster.node(name)?;
        let host = cluster.status()?.host_of(name).context("the connection runs nowhere")?;
        let (size, there) = (cluster.log_size(&host)?, cluster.log_size(name)?);
        let address = node.address();
        let closed = format!("{address}:9");
        for (words, code, wanted) in [
            (&[address.as_str()][..], 0, "key          ok"),
            (&[&address, "--key", "/rig/wrong-key"], 1, "key          BAD"),
            (&[&closed], 1, "network      BAD"),
        ] {
            let done = asker.run(&[&[CTL, "tls-check"], words].concat())?;
            if done.code() != code || !done.stdout.contains(wanted) {
                return fail(format!("{name} {words:?}: {} {}{}", done.code(), done.stdout, done.stderr));
            }
        }
        bed.goes_on("r1", "w_tls", 1000, 2)?;
        cluster.settle()?;
        let log = cluster.log_since(&host, size)?;
        let trouble =
            |line: &&str| line.contains(name) && (line.contains("onnection") || line.contains("error"));
        let noticed: Vec<&str> = log.lines().filter(trouble).collect();
        if !noticed.is_empty() || cluster.status()?.host_of(name) != Some(host) {
            return fail(format!("the cluster noticed tls-check on {name}: {noticed:?}"));
        }
        if !cluster.log_since(name, there)?.contains("TLS handshake with remote client failed") {
            return fail(format!("{name} has not logged the tries"));
        }
        let fenced = cluster.fenced_since(start, name);
        if !fenced.is_empty() {
            return fail(format!("{name} was fenced: {fenced:?}"));
        }
    }
    let told = status(&*bed.r1()?)?;
    expect("the cluster is still the only peer", list(&told, "peers").len() == 1, &told)?;
    bed.untouched("r1", "w_tls", from)
}

/// Scraped while resources fail, as the user that its unit names.
pub(crate) fn exporter_counts_failures(bed: &Bed) -> Result<()> {
    bring_tools(bed)?;
    let node = bed.r1()?;
    node.sh("getent group pcmk-remote >/dev/null || groupadd --system pcmk-remote")?;
    node.exec(&[
        "systemd-run",
        "--quiet",
        "--unit=exporter",
        "--uid=nobody",
        "--gid=pcmk-remote",
        "/rig/bin/pcmk-remote-exporter",
        "--listen",
        "0.0.0.0:9811",
    ])?;
    let scraped = scrape_failures(bed, &node);
    node.exec(&["systemctl", "stop", "exporter"])?;
    scraped
}

fn scrape_failures(bed: &Bed, node: &Node) -> Result<()> {
    let scrape = || {
        let mut stream = TcpStream::connect((node.address(), 9811))?;
        stream.set_read_timeout(Some(secs(20)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        std::io::Result::Ok(text)
    };
    let value = |name: &str| -> Result<f64> {
        let text = scrape().context("scraping")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0))
    };
    wait::until(secs(20), "the exporter to answer", || scrape().context("scraping").map(|_| Some(())))?;
    let failed = "pcmk_remote_operation_results_total{action=\"start\",result=\"failed\"}";
    let before = value(failed)?;
    node.sh("echo 1 >/run/witness-w_scraped.start.rc")?;
    bed.cluster
        .add(&Primitive::witness("w_scraped").monitor("1s", "20s").on("r1", WISH).on("r2", WISH / 2))?;
    wait::until(secs(40), "the failed start to be counted", || Ok((value(failed)? > before).then_some(())))?;
    bed.cluster.wait_place("w_scraped", "Started on r2", secs(40))?;
    let (up, peers) = (value("pcmk_remote_up")?, value("pcmk_remote_peers")?);
    if (up, peers) == (1.0, 1.0) { Ok(()) } else { fail(format!("up {up}, peers {peers}")) }
}

/// As `systemctl stop`, with its end told to whoever asked.
pub(crate) fn drain_moves_resources(bed: &Bed) -> Result<()> {
    bring_tools(bed)?;
    let (cluster, node, start) = (&bed.cluster, bed.r1()?, SystemTime::now());
    bed.started(&Primitive::witness("w_leaves").monitor("1s", "20s").on("r1", WISH).on("r2", WISH / 2))?;
    let done = node.run_long(&[CTL, "drain"], secs(60))?;
    if done.code() != 0 || !done.stdout.contains("Drained") {
        return fail(format!("{} {}{}", done.code(), done.stdout, done.stderr));
    }
    cluster.wait_place("w_leaves", "Started on r2", secs(40))?;
    bed.expect_deeds("r1", "w_leaves", 0, &["monitor=7", "start=0", "stop=0"])?;
    wait::until_eq(secs(40), "the controller to be idle", &true, || cluster.is_idle())?;
    let fenced = cluster.fenced_since(start, "r1");
    if fenced.is_empty() { Ok(()) } else { fail(format!("r1 was fenced: {fenced:?}")) }
}

/// In maintenance mode the cluster refuses, and resources go on.
pub(crate) fn drain_is_refused_in_maintenance(bed: &Bed) -> Result<()> {
    bring_tools(bed)?;
    let (cluster, node) = (&bed.cluster, bed.r1()?);
    bed.started(&Primitive::witness("w_kept").monitor("1s", "20s").on("r1", WISH))?;
    let from = cluster.count("r1", "w_kept")?;
    cluster.set_property("maintenance-mode", "true")?;
    cluster.settle()?;
    let done = node.run_long(&[CTL, "drain"], secs(60))?;
    if done.code() != 1 || !done.stdout.contains("refused") {
        return fail(format!("{} {}{}", done.code(), done.stdout, done.stderr));
    }
    bed.untouched("r1", "w_kept", from)
}
