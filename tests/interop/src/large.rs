//! A configuration as large as that of a cloud with a thousand computes.

use std::fmt::Write;
use std::fs;
use std::time::SystemTime;

use crate::cluster::Cluster;
use crate::error::{Context, Result};
use crate::node::Node;
use crate::wait::{self, secs};

/// What administrators of large clusters set (up to 3.0.0 Pacemaker's IPC has no other way to long messages).
pub const IPC_BUFFER: u32 = 20 * 1024 * 1024;
/// How many remote nodes there are.
pub const NODES: usize = 1000;
/// The length of the CIB, at least.
pub const LENGTH: usize = 8 * 1024 * 1024;

/// Remote nodes, each with a few long attributes. (Many short ones cost the cluster node's own daemons more than the
/// test has time for.)
fn nodes() -> String {
    const ATTRIBUTES: usize = 4;
    let mut xml = String::new();
    let mut noise = 1_u64;
    for n in 1..=NODES {
        let name = format!("compute-{n}");
        let _ =
            write!(xml, "<node id='{name}' type='remote' uname='{name}'><instance_attributes id='{name}-a'>");
        for number in 1..=ATTRIBUTES {
            let _ = write!(xml, "<nvpair id='{name}-a-{number}' name='traits-{number}' value='");
            let end = xml.len() + LENGTH.div_ceil(NODES * ATTRIBUTES);
            while xml.len() < end {
                // Words that compress about as well as real ones.
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let _ = write!(xml, "COMPUTE_TRAIT_{} ", noise >> 52);
            }
            xml.push_str("'/>");
        }
        xml.push_str("</instance_attributes></node>");
    }
    xml
}

/// The connections to some of the remote nodes: 2.1.5's scheduler takes longer for all of them, on a busy machine, than
/// its launcher waits for it. They stay stopped: nobody is there.
fn connections() -> String {
    let mut xml = String::new();
    for n in 1..=NODES / 20 {
        let _ = write!(
            xml,
            "<primitive id='compute-{n}' class='ocf' provider='pacemaker' type='remote'>\
             <meta_attributes id='compute-{n}-ma'>\
             <nvpair id='compute-{n}-tr' name='target-role' value='Stopped'/></meta_attributes>\
             <operations><op id='compute-{n}-monitor' name='monitor' interval='10s' timeout='15s'/></operations>\
             </primitive>"
        );
    }
    xml
}

/// Makes a cluster of one cluster node one of a thousand computes, with more than 8 MiB of CIB.
pub fn load(cluster: &Cluster) -> Result<()> {
    let node = cluster.member()?;
    // The scheduler need not keep what it was asked: to compress that much takes it longer than to decide, and from 3.0.1
    // on the controller fails if the scheduler does not read its next question soon.
    for series in ["input", "warn", "error"] {
        cluster.set_property(&format!("pe-{series}-series-max"), "0")?;
    }
    node.run_long(&["systemctl", "stop", "pacemaker"], secs(120))?;
    // Its daemons read it when they start; its tools need it, too.
    node.sh(&format!("echo PCMK_ipc_buffer={IPC_BUFFER} >>/etc/default/pacemaker"))?;
    node.set_environment(format!("PCMK_ipc_buffer={IPC_BUFFER}"));
    let file = node.path("/var/lib/pacemaker/cib/cib.xml")?;
    let cib = fs::read_to_string(&file).context(file.display())?;
    // Nobody need look whether they run.
    let never = "<rsc_location id='computes' rsc-pattern='^compute-' node='c1' score='-INFINITY' \
                 resource-discovery='never'/></constraints>";
    for end in ["</nodes>", "</resources>", "</constraints>"] {
        if !cib.contains(end) {
            return crate::fail(format!("the configuration has no {end}"));
        }
    }
    let cib = cib
        .replace("</nodes>", &format!("{}</nodes>", nodes()))
        .replace("</resources>", &format!("{}</resources>", connections()))
        .replace("</constraints>", never);
    fs::write(&file, cib)?;
    fs::remove_file(file.with_extension("xml.sig")).context("the configuration's signature")?;
    node.run_long(&["systemctl", "start", "pacemaker"], secs(120))?;
    wait::until(secs(120), "the cluster to be up again", || Ok(cluster.status()?.dc.map(drop)))?;
    cluster.settle()
}

/// Gives the daemon of a remote node the same limit, and waits until it is connected again.
pub fn raise_limit(cluster: &Cluster, node: &Node) -> Result<()> {
    let start = SystemTime::now();
    node.sh(&format!("echo PCMK_ipc_buffer={IPC_BUFFER} >>/etc/default/pacemaker"))?;
    let name = node.name();
    cluster.set_meta(name, "target-role", "Stopped")?;
    cluster.wait_place(name, "Stopped", secs(180))?;
    node.run_long(&["systemctl", "restart", "pacemaker_remote"], secs(60))?;
    cluster.set_meta(name, "target-role", "Started")?;
    cluster.wait_online(name, secs(180))?;
    let fenced = cluster.fenced_since(start, name);
    if fenced.is_empty() { Ok(()) } else { crate::fail(format!("{name} was fenced: {fenced:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_large_and_well_formed() {
        assert!(nodes().len() >= LENGTH, "{}", nodes().len());
        for xml in [nodes(), connections()] {
            roxmltree::Document::parse(&format!("<all>{xml}</all>")).unwrap();
        }
    }
}
