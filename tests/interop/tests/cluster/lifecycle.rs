//! How the daemon begins and ends: what it makes and takes, and every way of stopping it.

use std::time::SystemTime;

use pcmk_interop::cib::Primitive;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Daemon, Node, Result, Suite, fail};

use super::basics::WISH;
use super::bed::Bed;

const UNIT: &str = "pacemaker_remote";

/// Draining with a resource that takes its time: a second TERM changes nothing, local tools go on working, and
/// the daemon ends well once the cluster has left.
pub(crate) fn stop_waits(bed: &Bed) -> Result<()> {
    let (cluster, node, start) = (&bed.cluster, bed.r1()?, SystemTime::now());
    bed.started(&Primitive::witness("w_slow").monitor("1s", "20s").on("r1", WISH))?;
    node.exec(&["touch", "/run/witness-w_slow.stop.wait"])?;
    let log = cluster.log_size("r1")?;
    node.exec(&["systemctl", "stop", "--no-block", UNIT])?;
    wait::until(secs(20), "the resource to be stopping", || {
        Ok(cluster.log_since("r1", log)?.contains("rsc:w_slow action:stop").then_some(()))
    })?;
    node.signal_daemon("TERM")?;
    wait::until(secs(10), "the daemon to say that it waits", || {
        Ok(cluster.log_since("r1", log)?.contains("Waiting for cluster to stop resources").then_some(()))
    })?;
    node.exec(&["attrd_updater", "-n", "draining", "-U", "yes"])?;
    node.exec(&["crm_mon", "-1"])?;
    wait::until(secs(10), "the attribute to be set", || {
        let seen = cluster.exec(&["attrd_updater", "-n", "draining", "-Q", "-A"])?;
        Ok(seen.contains("value=\"yes\"").then_some(()))
    })?;
    node.exec(&["rm", "/run/witness-w_slow.stop.wait"])?;
    ended_well(&node)?;
    bed.expect_deeds("r1", "w_slow", 0, &["monitor=7", "start=0", "stop=0"])?;
    cluster.wait_place("r1", "Stopped", secs(40))?;
    unfenced(bed, start)
}

/// The cluster refuses to stop anything on a node in maintenance: the daemon ends at once and leaves what runs.
pub(crate) fn stop_in_maintenance(bed: &Bed) -> Result<()> {
    let (cluster, node, start) = (&bed.cluster, bed.r1()?, SystemTime::now());
    bed.started(&Primitive::witness("w_left").monitor("1s", "20s").on("r1", WISH))?;
    cluster.exec(&["crm_attribute", "-N", "r1", "-n", "maintenance", "-v", "true"])?;
    cluster.settle()?;
    let from = cluster.count("r1", "w_left")?;
    node.run_long(&["systemctl", "stop", UNIT], secs(20))?;
    ended_well(&node)?;
    node.exec(&["test", "-e", "/run/witness-w_left"])?;
    bed.untouched("r1", "w_left", from)?;
    unfenced(bed, start)?;
    node.exec(&["systemctl", "start", UNIT])?;
    cluster.exec(&["crm_resource", "--refresh", "-r", "r1"])?;
    cluster.wait_online("r1", secs(60))?;
    cluster.exec(&["crm_attribute", "-N", "r1", "-n", "maintenance", "-D"])?;
    cluster.wait_place("w_left", "Started on r1", secs(60))?;
    bed.untouched("r1", "w_left", from)
}

/// A resource that will not stop: the node is fenced, which ends the waiting, too.
pub(crate) fn stop_refused(bed: &Bed) -> Result<()> {
    let (cluster, node, start) = (&bed.cluster, bed.r1()?, SystemTime::now());
    bed.started(&Primitive::witness("w_firm").monitor("1s", "20s").on("r1", WISH).on("r2", WISH / 2))?;
    node.sh("echo 1 never >/run/witness-w_firm.stop.rc")?;
    node.exec(&["systemctl", "stop", "--no-block", UNIT])?;
    wait::until(secs(40), "the cluster to fence r1", || {
        Ok((!cluster.fenced_since(start, "r1").is_empty()).then_some(()))
    })?;
    wait::until(secs(60), "r1 to be on again", || Ok(node.is_on().then_some(())))?;
    wait::until(secs(60), "the daemon on r1 to run", || node.exec(&["systemctl", "start", UNIT]).map(Some))?;
    // It was about to stop: the cluster does not connect to it again by itself.
    cluster.exec(&["crm_resource", "--refresh", "-r", "r1"])?;
    cluster.wait_online("r1", secs(90))?;
    cluster.wait_place("w_firm", "Started on r1", secs(90))
}

/// Without a cluster there is nobody to ask.
pub(crate) fn stop_unconnected(bed: &Bed) -> Result<()> {
    let (cluster, node, start) = (&bed.cluster, bed.r1()?, SystemTime::now());
    cluster.set_meta("r1", "target-role", "Stopped")?;
    cluster.wait_place("r1", "Stopped", secs(40))?;
    let refused = node.run(&["attrd_updater", "-n", "x", "-U", "1"])?;
    if refused.code() == 0 || !refused.stderr.contains("Remote I/O error") {
        return fail(format!("a tool on a node without a cluster: {refused:?}"));
    }
    // There is nobody to wait for.
    node.run_long(&["systemctl", "stop", UNIT], secs(20))?;
    ended_well(&node)?;
    node.exec(&["systemctl", "start", UNIT])?;
    cluster.set_meta("r1", "target-role", "Started")?;
    cluster.wait_online("r1", secs(60))?;
    unfenced(bed, start)
}

/// A second executor on a node finds the names of the local services taken and says that it will not serve.
pub(crate) fn names_taken(bed: &Bed) -> Result<()> {
    let node = bed.r1()?;
    let second = "PCMK_remote_port=4000 PCMK_logfile=/tmp/second.log timeout 20 /usr/sbin/pacemaker-remoted";
    let code = node.run(&["sh", "-c", second])?.code();
    if code != 100 {
        return fail(format!("exit code {code}"));
    }
    // The one that serves does not mind.
    node.exec(&["attrd_updater", "-n", "x", "-U", "1"]).map(drop)
}

/// Files, their owners and modes, and the working directory are those that the C daemon leaves.
pub(crate) fn files(bed: &Bed) -> Result<()> {
    const LOOK: &str = "stat -c '%n %U:%G %a' /var/log/pacemaker/pacemaker.log /run/resource-agents; \
        pid=$(systemctl show -P MainPID pacemaker_remote); readlink /proc/$pid/cwd; grep ^Umask /proc/$pid/status";
    // The agents' package has the folder made before, with one more bit.
    const EXPECTED: &str = "/var/log/pacemaker/pacemaker.log hacluster:haclient 660\n\
        /run/resource-agents root:root 1755\n/var/lib/pacemaker/cores\nUmask:\t0026\n";
    for name in &bed.remotes {
        let seen = bed.cluster.node(name)?.sh(LOOK)?;
        if seen != EXPECTED {
            return fail(format!("{name}: {seen:?} instead of {EXPECTED:?}"));
        }
    }
    Ok(())
}

/// A node that has only old schemas gets the newer ones of a cluster that can send them.
pub(crate) fn schemas(bed: &Bed) -> Result<()> {
    const FETCHED: &str = "/var/lib/pacemaker/schemas";
    let (cluster, node) = (&bed.cluster, bed.r1()?);
    node.sh("mkdir /run/old; cp /usr/share/pacemaker/pacemaker-3.9.rng /run/old/")?;
    reconfigure(bed, &node, "PCMK_schema_directory=/run/old")?;
    if bed.suite() == Suite::Bookworm {
        // A cluster of 2.1.5 has none to send, and is not asked.
        let seen = node.sh(&format!("ls {FETCHED} 2>/dev/null || :"))?;
        if !seen.is_empty() {
            return fail(format!("schemas out of nowhere: {seen}"));
        }
    } else {
        let newest = cluster.exec(&[
            "sh",
            "-c",
            "cd /usr/share/pacemaker; ls pacemaker-?.*.rng | sort -V | tail -1",
        ])?;
        let newest = newest.trim();
        wait::until(secs(30), "the newest schema of the cluster", || {
            node.run(&["test", "-s", &format!("{FETCHED}/{newest}")])
                .map(|test| (test.code() == 0).then_some(()))
        })?;
        wait::until(secs(10), "the daemon to be done", || {
            let log = cluster.log_since("r1", 0)?;
            Ok(log.contains("Fetching extra schema files completed successfully").then_some(()))
        })?;
        let sum = format!("cd {FETCHED} && sha256sum pacemaker-3.10.rng {newest}");
        let (here, there) =
            (node.sh(&sum)?, cluster.exec(&["sh", "-c", &sum.replace(FETCHED, "/usr/share/pacemaker")])?);
        if here != there {
            return fail(format!("{here} instead of {there}"));
        }
        println!(
            "{}: {}",
            bed.suite(),
            node.sh(&format!("stat -c '%n %U:%G %a' {FETCHED} {FETCHED}/{newest}; ls {FETCHED} | wc -l"))?
                .trim()
        );
    }
    node.sh("rm -r /run/old")?;
    reconfigure(bed, &node, "PCMK_remote_prot=3121")?;
    if Daemon::under_test()? == Daemon::Ours {
        let log = cluster.log_since("r1", 0)?;
        if !log.contains("Ignoring PCMK_remote_prot: no such setting; is PCMK_remote_port meant?") {
            return fail("no warning of a setting that means nothing");
        }
        // Everything that an earlier cluster sent is gone, as the local schemas are the newest there are.
        wait::until_eq(secs(10), "fetched schemas", &"0".to_owned(), || {
            Ok(node.sh(&format!("ls {FETCHED} 2>/dev/null | wc -l"))?.trim().to_owned())
        })?;
    }
    reconfigure(bed, &node, "")
}

/// Starts the daemon on a node anew with one more setting, while the cluster does not look.
fn reconfigure(bed: &Bed, node: &Node, setting: &str) -> Result<()> {
    let cluster = &bed.cluster;
    cluster.set_meta("r1", "target-role", "Stopped")?;
    cluster.wait_place("r1", "Stopped", secs(40))?;
    let drop_in = format!("/run/systemd/system/{UNIT}.service.d");
    node.sh(&format!(
        "mkdir -p {drop_in}; printf '[Service]\\nEnvironment={setting}\\n' >{drop_in}/test.conf; systemctl daemon-reload; \
         systemctl restart {UNIT}"
    ))?;
    cluster.set_meta("r1", "target-role", "Started")?;
    cluster.wait_online("r1", secs(60))
}

fn ended_well(node: &Node) -> Result<()> {
    wait::until_eq(secs(30), "the daemon to have ended", &"inactive".to_owned(), || {
        Ok(node.run(&["systemctl", "is-active", UNIT])?.stdout.trim().to_owned())
    })?;
    let result = node.exec(&["systemctl", "show", "-P", "Result", UNIT])?;
    if result.trim() == "success" { Ok(()) } else { fail(format!("the unit's result is {result}")) }
}

fn unfenced(bed: &Bed, since: SystemTime) -> Result<()> {
    let fenced = bed.cluster.fenced_since(since, "r1");
    if fenced.is_empty() { Ok(()) } else { fail(format!("r1 was fenced: {fenced:?}")) }
}
