//! How nodes prove themselves to each other: a new key, certificates instead of a key and back.
//!
//! `docs/operations.md` has these steps; they must not cost a fence, nor a resource its life.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use pcmk_interop::cib::Primitive;
use pcmk_interop::error::Context;
use pcmk_interop::images::rig_file;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Node, Result, fail, run};

use super::basics::WISH;
use super::bed::Bed;

const KEY: &str = "/etc/pacemaker/authkey";
const SETTINGS: &str = "/etc/default/pacemaker";
/// Pacemaker up to 3.0.1 goes on with a key that it has read for this long.
const KEY_CACHE: u64 = 60;

/// A new key on all nodes: existing connections stay, the next ones are made with it, nobody is fenced.
pub(crate) fn new_key_without_a_restart(bed: &Bed) -> Result<()> {
    let (cluster, start) = (&bed.cluster, SystemTime::now());
    bed.started(&Primitive::witness("w_key").monitor("1s", "20s").on("r1", WISH))?;
    let from = cluster.count("r1", "w_key")?;
    let before: Vec<_> =
        bed.remotes.iter().map(|name| daemon_pid(&*cluster.node(name)?)).collect::<Result<_>>()?;
    let old = fs::read(bed.r1()?.path(KEY)?)?;
    let new: Vec<u8> = old.iter().rev().map(|byte| byte ^ 0x5a).collect();
    let installed = Instant::now();
    for name in cluster.node_names() {
        replace(&*cluster.node(&name)?, KEY, &new)?;
    }
    // Until then some of the cluster nodes would still come with the old one.
    wait::until(secs(KEY_CACHE + 20), "cluster nodes to look at their key file again", || {
        Ok((installed.elapsed() > secs(KEY_CACHE + 1)).then_some(()))
    })?;
    bed.goes_on("r1", "w_key", 1000, 2)?;
    for name in &bed.remotes {
        let host = cluster.status()?.host_of(name).context(format!("{name}'s connection runs nowhere"))?;
        let other = if host == "c1" { "c2" } else { "c1" };
        cluster.exec(&["crm_resource", "--move", "-r", name, "--node", other])?;
        cluster.wait_place(name, &format!("Started on {other}"), secs(40))?;
        cluster.settle()?;
        cluster.exec(&["crm_resource", "--clear", "-r", name])?;
        cluster.settle()?;
        cluster.wait_online(name, secs(20))?;
    }
    bed.goes_on("r1", "w_key", 1000, 2)?;
    bed.untouched("r1", "w_key", from)?;
    let after: Vec<_> =
        bed.remotes.iter().map(|name| daemon_pid(&*cluster.node(name)?)).collect::<Result<_>>()?;
    if before != after {
        return fail(format!("a daemon was restarted: {before:?}, {after:?}"));
    }
    unfenced(bed, start)
}

/// From the key to certificates and back. With certificates the cluster does all that it did before, and a
/// revoked cluster node is turned away at its next connection.
pub(crate) fn to_certificates_and_back(bed: &Bed) -> Result<()> {
    let (cluster, start) = (&bed.cluster, SystemTime::now());
    bed.started(&Primitive::witness("w_tls").monitor("1s", "20s").on("r1", WISH))?;
    let from = cluster.count("r1", "w_tls")?;
    let pki = Pki::new(bed)?;
    for name in cluster.node_names() {
        pki.install(&*cluster.node(&name)?)?;
    }

    convert(bed, true)?;
    let log = fs::read_to_string(bed.r1()?.path("/var/log/pacemaker/pacemaker.log")?)?;
    if bed.reference().is_some() && !log.contains("with the certificate of CN=c") {
        return fail(format!("no connection with a certificate in r1's log: {log}"));
    }
    bed.untouched("r1", "w_tls", from)?;
    bed.goes_on("r1", "w_tls", 1000, 2)?;
    bed.started(&Primitive::witness("w_new").monitor("1s", "20s").on("r1", WISH))?;
    cluster.remove("w_new")?;
    if bed.reference().is_some() {
        revoke(bed, &pki)?;
    }

    convert(bed, false)?;
    bed.goes_on("r1", "w_tls", 1000, 2)?;
    bed.untouched("r1", "w_tls", from)?;
    unfenced(bed, start)
}

/// Both ends must change at the same time, and read their settings when they start: so the cluster is
/// stopped in between, with everything left running.
fn convert(bed: &Bed, to_certificates: bool) -> Result<()> {
    let cluster = &bed.cluster;
    cluster.set_property("maintenance-mode", "true")?;
    cluster.settle()?;
    for name in ["c1", "c2"] {
        cluster.node(name)?.run_long(&["systemctl", "stop", "pacemaker"], secs(60))?;
    }
    for name in cluster.node_names() {
        let node = cluster.node(&name)?;
        let settings = fs::read_to_string(node.path(SETTINGS)?)?;
        let mut settings = settings
            .lines()
            .filter(|line| !line.contains("_file=/etc/pacemaker/tls"))
            .fold(String::new(), |text, line| text + line + "\n");
        if to_certificates {
            settings += "PCMK_cert_file=/etc/pacemaker/tls/node.pem\nPCMK_key_file=/etc/pacemaker/tls/node.key\n\
                         PCMK_ca_file=/etc/pacemaker/tls/ca.pem\nPCMK_crl_file=/etc/pacemaker/tls/ca.crl\n";
        }
        fs::write(node.path(SETTINGS)?, settings)?;
        if bed.remotes.contains(&name.as_str()) {
            node.run_long(&["systemctl", "restart", "pacemaker_remote"], secs(60))?;
        }
    }
    for name in ["c1", "c2"] {
        cluster.node(name)?.exec(&["systemctl", "start", "pacemaker"])?;
    }
    wait::until(secs(120), "the cluster nodes to be back", || {
        let status = cluster.status()?;
        Ok((status.dc.is_some() && status.online("c1") && status.online("c2")).then_some(()))
    })?;
    cluster.set_property("maintenance-mode", "false")?;
    for name in &bed.remotes {
        cluster.wait_online(name, secs(90))?;
    }
    cluster.settle()
}

/// c2 has been revoked: when it connects to r2 it is turned away, c1 takes over, and r2 is not fenced. With a new
/// certificate c2 may come in again.
fn revoke(bed: &Bed, pki: &Pki) -> Result<()> {
    let cluster = &bed.cluster;
    let node = cluster.node("r2")?;
    cluster.set_meta("r2", "target-role", "Stopped")?;
    cluster.wait_place("r2", "Stopped", secs(40))?;
    pki.make(&["revoke", "ca", "c2"])?;
    replace(&node, "/etc/pacemaker/tls/ca.crl", &fs::read(pki.path("ca.crl"))?)?;
    // c2 is the first to try. The cluster forgets its failure after the reconnect interval: it must not go back.
    cluster.set_meta("r2", "resource-stickiness", "1000")?;
    cluster.configure(
        "<configuration><constraints><rsc_location id='first-c2' rsc='r2' node='c2' score='100'/>\
         </constraints></configuration>",
    )?;
    let seen = cluster.log_size("r2")?;
    cluster.set_meta("r2", "target-role", "Started")?;
    cluster.wait_place("r2", "Started on c1", secs(60))?;
    let log = cluster.log_since("r2", seen)?;
    if !log.contains("the certificate \"CN=c2,O=Rig\" is not accepted: it has been revoked") {
        return fail(format!("r2 did not turn c2 away: {log}"));
    }
    cluster.settle()?;
    pki.make(&["issue", "ca", "c2"])?;
    pki.install(&*cluster.node("c2")?)?;
    cluster.exec(&["crm_resource", "--move", "-r", "r2", "--node", "c2"])?;
    cluster.wait_place("r2", "Started on c2", secs(60))?;
    cluster.exec(&["crm_resource", "--clear", "-r", "r2"])?;
    cluster.exec(&["crm_resource", "-r", "r2", "--meta", "-d", "resource-stickiness"])?;
    cluster.exec(&["cibadmin", "--delete", "--xpath", "//rsc_location[@id='first-c2']"])?;
    cluster.wait_online("r2", secs(60))?;
    cluster.settle()
}

/// An authority, a certificate for each node, an empty revocation list.
struct Pki(PathBuf);

impl Pki {
    fn new(bed: &Bed) -> Result<Self> {
        let pki = Self(bed.cluster.share().join("pki"));
        pki.make(&["authority", "ca"])?;
        for name in bed.cluster.node_names() {
            pki.make(&["issue", "ca", &name, &format!("subjectAltName=DNS:{name}")])?;
        }
        pki.make(&["list", "ca"])?;
        Ok(pki)
    }

    fn make(&self, words: &[&str]) -> Result<()> {
        let script = rig_file("pki").display().to_string();
        let dir = self.0.display().to_string();
        run::host(&[&[script.as_str(), &dir], words].concat()).map(drop)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    fn install(&self, node: &Node) -> Result<()> {
        node.sh("mkdir -p /etc/pacemaker/tls && chgrp haclient /etc/pacemaker/tls && chmod 750 /etc/pacemaker/tls")?;
        for (from, to) in [
            (format!("{}.pem", node.name()), "node.pem"),
            (format!("{}.key", node.name()), "node.key"),
            ("ca.pem".into(), "ca.pem"),
            ("ca.crl".into(), "ca.crl"),
        ] {
            replace(node, &format!("/etc/pacemaker/tls/{to}"), &fs::read(self.path(&from))?)?;
        }
        Ok(())
    }
}

/// Puts a file in the place of another, readable by the cluster's daemons.
fn replace(node: &Node, path: &str, content: &[u8]) -> Result<()> {
    let new = format!("{path}.new");
    fs::write(node.path(&new)?, content).context(Path::new(&new).display())?;
    node.sh(&format!("chgrp haclient {new} && chmod 640 {new} && mv {new} {path}")).map(drop)
}

fn daemon_pid(node: &Node) -> Result<String> {
    node.exec(&["systemctl", "show", "--property=MainPID", "--value", "pacemaker_remote"])
}

fn unfenced(bed: &Bed, start: SystemTime) -> Result<()> {
    for name in bed.cluster.node_names() {
        let fenced = bed.cluster.fenced_since(start, &name);
        if !fenced.is_empty() {
            return fail(format!("{name} was fenced: {fenced:?}"));
        }
    }
    Ok(())
}
