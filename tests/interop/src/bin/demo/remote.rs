//! The first act: a real cluster and remote nodes that run our daemon.

use std::time::{Duration, Instant, SystemTime};

use pcmk_interop::cib::{self, Primitive};
use pcmk_interop::libvirt::Compute;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Cluster, Daemon, Node, Result, Suite, World, fail};

use crate::story::{Story, short, show};

/// A cluster with two remote nodes.
pub(crate) fn raise(story: &Story, world: &World, suite: Suite, daemon: Daemon) -> Result<Cluster> {
    story.chapter(&format!("A cluster of unmodified {suite} with one cluster node, and two remote nodes"));
    let cluster = Cluster::start(world, suite, 1)?;
    story.say("c1 runs corosync and Pacemaker and is the designated controller");
    for (name, n) in [("r1", 1), ("r2", 2)] {
        let node = cluster.add_remote(world, name, n, daemon)?;
        let version = node.run(&["pacemaker-remoted", "--version"])?.stdout;
        let version = version.lines().next().unwrap_or("no version").to_owned();
        story.say(&format!(
            "{name} ({}) runs `{version}` and is online through ocf:pacemaker:remote",
            node.address()
        ));
    }
    Ok(cluster)
}

/// What works, what breaks, and what the cluster sees.
pub(crate) fn act(story: &Story, world: &World, cluster: &Cluster, daemon: Daemon) -> Result<()> {
    works(story, cluster)?;
    breaks(story, cluster)?;
    // The probes are ours alone.
    if daemon == Daemon::Ours { hangs(story, world, cluster) } else { Ok(()) }
}

fn works(story: &Story, cluster: &Cluster) -> Result<()> {
    story.chapter("Resources: a Dummy, a promotable clone with notifications, a systemd service");
    cluster.add(
        &Primitive::new("dummy", "ocf:pacemaker:Dummy").monitor("1s", "20s").on("r1", 1000).on("r2", 500),
    )?;
    story.say(&place(cluster, "dummy", "Started on r1")?);
    let clone = Primitive::witness("pair")
        .promotable()
        .op("monitor", "10s", "role='Promoted' timeout='20s'")
        .op("monitor", "11s", "role='Unpromoted' timeout='20s'");
    cluster.add(&clone.on("r1", 1000).on("r2", 1000))?;
    cluster.configure(&cib::prefer_promoted("pair-clone", "r1"))?;
    story.say(&place(cluster, "pair", "Promoted on r1, Unpromoted on r2")?);
    let service = Primitive::new("service", "systemd:rigsleep").monitor("1s", "20s");
    cluster.add(&service.on("r2", 1000).on("r1", 500))?;
    story.say(&place(cluster, "service", "Started on r2")?);
    cluster.settle()?;

    story.chapter("A monitor fails: the Dummy's state file vanishes on r1");
    let log = cluster.log_size("c1")?;
    let began = Instant::now();
    cluster.node("r1")?.sh("rm -f /run/Dummy-dummy.state /run/resource-agents/Dummy-dummy.state")?;
    wait::until(secs(40), "the failure to be shown", || {
        Ok(cluster.status()?.failures.iter().any(|f| f.op_key == "dummy_monitor_1000").then_some(()))
    })?;
    cluster.settle()?;
    story.say(&format!(
        "seen and recovered after {}: {}",
        short(began.elapsed()),
        place(cluster, "dummy", "Started on r1")?
    ));
    quote(cluster, log, &["dummy_monitor_1000"])?;

    story.chapter("The systemd service is killed behind the cluster's back on r2");
    let began = Instant::now();
    let r2 = cluster.node("r2")?;
    let unit = || r2.exec(&["systemctl", "show", "-P", "InvocationID", "rigsleep"]);
    let before = unit()?;
    r2.exec(&["systemctl", "kill", "-s", "KILL", "rigsleep"])?;
    wait::until(secs(40), "the unit to be started again", || {
        let again = unit()?;
        Ok((again != before && !again.trim().is_empty()).then_some(()))
    })?;
    story.say(&format!("started again after {}", short(began.elapsed())));
    cluster.settle()?;
    story.say(&place(cluster, "service", "Started on r2")?);

    story.chapter("The promoted role moves to r2");
    cluster.configure(&cib::prefer_promoted("pair-clone", "r2"))?;
    story.say(&place(cluster, "pair", "Unpromoted on r1, Promoted on r2")?);
    cluster.exec(&["crm_resource", "--cleanup"])?;
    cluster.settle()
}

fn breaks(story: &Story, cluster: &Cluster) -> Result<()> {
    type Fault = fn(&Node) -> Result<()>;
    let faults: [(&str, Duration, Fault); 3] = [
        ("kill -9 of the daemon on r1", secs(5), |node| node.signal_daemon("KILL")),
        ("SIGSTOP: the daemon on r1 is frozen, its connection stays open", secs(16), |node| {
            node.signal_daemon("STOP")
        }),
        ("the network cable of r1 is pulled", secs(16), |node| node.link(false)),
    ];
    for (what, within, fault) in faults {
        story.chapter(what);
        let log = cluster.log_size("c1")?;
        let (at, began) = (SystemTime::now(), Instant::now());
        fault(&*cluster.node("r1")?)?;
        let request = wait::until(within, "the cluster to fence r1", || {
            Ok(cluster.fenced_since(at, "r1").into_iter().next())
        })?;
        let took = request.asked.duration_since(at).unwrap_or_default();
        story.say(&format!("the cluster asked for r1's power to be cycled after {}", short(took)));
        story.say(&place(cluster, "dummy", "Started on r2")?);
        story.say(&format!("the Dummy runs again {} after the fault", short(began.elapsed())));
        cluster.wait_online("r1", secs(90))?;
        story.say(&format!("r1 has booted and is online again after {}", short(began.elapsed())));
        story.say(&place(cluster, "dummy", "Started on r1")?);
        quote(
            cluster,
            log,
            &["Lost connection", "Timed Out", "Timed out", "Requesting fencing", "Operation 'reboot'"],
        )?;
        cluster.settle()?;
        cluster.exec(&["crm_resource", "--cleanup"])?;
    }
    stop(story, cluster)
}

fn stop(story: &Story, cluster: &Cluster) -> Result<()> {
    story.chapter("systemctl stop pacemaker_remote on r1: an orderly end");
    let (at, began) = (SystemTime::now(), Instant::now());
    cluster.node("r1")?.run(&["systemctl", "stop", "pacemaker_remote"])?;
    story.say(&format!("stopped after {}", short(began.elapsed())));
    story.say(&place(cluster, "dummy", "Started on r2")?);
    wait::until_eq(secs(40), "the controller to be idle", &true, || cluster.is_idle())?;
    let fenced = !cluster.fenced_since(at, "r1").is_empty();
    story.say(if fenced { "but r1 was fenced" } else { "r1 was not fenced" });
    // The C daemon of 2.1.5 is known for it.
    if fenced && Daemon::under_test()? == Daemon::Ours {
        fail("r1 was fenced after an orderly stop")
    } else {
        Ok(())
    }
}

/// What process lists and today's tools do not see.
fn hangs(story: &Story, world: &World, cluster: &Cluster) -> Result<()> {
    const RESOURCE: &str = "libvirt";
    story.chapter(
        "r3, a remote node with a real libvirtd and three guests, watched by ocf:pcmk-remote:libvirt",
    );
    let compute = Compute::add(cluster, world, "r3", 3, Daemon::Ours)?;
    let node = compute.node();
    compute.start()?;
    compute.create(3, &[])?;
    let guests = node.pids_of("qemu-system-x86_64")?;
    cluster.join(node)?;
    cluster.add(&Primitive::new(RESOURCE, "ocf:pcmk-remote:libvirt").monitor("10s", "30s").on("r3", 1000))?;
    story.say(&place(cluster, RESOURCE, "Started on r3")?);
    cluster.settle()?;

    story.chapter("SIGSTOP: libvirtd on r3 hangs. Its process is there, its sockets take connections");
    let (log, at, began) = (cluster.log_size("c1")?, SystemTime::now(), Instant::now());
    let before = compute.pid()?;
    compute.signal("STOP")?;
    let failure = wait::until(secs(20), "the failure to be shown", || {
        Ok(cluster
            .status()?
            .failures
            .into_iter()
            .find(|failure| failure.op_key.starts_with("libvirt_monitor_1")))
    })?;
    story.say(&format!("crm_mon shows after {}: \"{}\"", short(began.elapsed()), failure.reason));
    wait::until(secs(120), "libvirtd to be started again", || {
        Ok((compute.pid()? != before && compute.check(&[])?.said.verdict == "ok").then_some(()))
    })?;
    story.say(&format!(
        "the cluster has restarted libvirtd, and it works again {} after the fault",
        short(began.elapsed())
    ));
    story.say(&place(cluster, RESOURCE, "Started on r3")?);
    if node.pids_of("qemu-system-x86_64")? != guests {
        return fail("the guests did not survive it");
    }
    story.say("its guests went on running, and nobody was fenced");
    quote(cluster, log, &["libvirt_monitor_10000", "libvirt_stop", "libvirt_start"])?;
    cluster.settle()?;
    if !cluster.fenced_since(at, "r3").is_empty() {
        return fail("r3 was fenced");
    }

    story.chapter("The same without a cluster that mends it: what who finds");
    cluster.set_meta(RESOURCE, "is-managed", "false")?;
    cluster.exec(&["crm_resource", "--cleanup", "-r", RESOURCE])?;
    compute.signal("STOP")?;
    for (tool, words) in [
        ("a list of processes", &["sh", "-c", "ps ax | grep -v grep | grep -q libvirtd"][..]),
        ("virsh list", &["virsh", "-q", "list"]),
    ] {
        let began = Instant::now();
        let said = match compute.official_tool(5, words)?.code() {
            0 => "all is well",
            137 => "nothing yet, it hangs",
            _ => "a failure",
        };
        story.say(&format!("{tool} says after {}: {said}", short(began.elapsed())));
    }
    let check = compute.check(&[])?;
    story.say(&format!(
        "libvirt-probe check says after {}: {} at {}: {}",
        short(check.took),
        check.said.verdict,
        check.said.step,
        check.said.reason
    ));
    compute.signal("CONT")?;
    cluster.set_meta(RESOURCE, "is-managed", "true")
}

/// Waits for a resource to be in a place, and says so.
fn place(cluster: &Cluster, id: &str, place: &str) -> Result<String> {
    cluster.wait_place(id, place, secs(90))?;
    Ok(format!("{id}: {place}"))
}

/// Shows what the controller logged of an event.
fn quote(cluster: &Cluster, from: u64, words: &[&str]) -> Result<()> {
    let log = cluster.log_since("c1", from)?;
    let told = log.lines().filter(|line| line.contains("controld") || line.contains("fenced"));
    for line in told.filter(|line| words.iter().any(|word| line.contains(word))).take(4) {
        let time = line.split(' ').nth(2).unwrap_or_default();
        let text = line.split_once('\t').map_or(line, |(_, text)| text);
        let text = text.split(" | ").next().unwrap_or(text);
        show(&format!("c1 {time} {text}"));
    }
    Ok(())
}
