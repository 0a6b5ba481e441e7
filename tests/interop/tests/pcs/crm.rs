//! crmsh. It distributes no keys and starts no daemons on remote nodes: that is the operator's part.

use std::time::SystemTime;

use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

use super::bed::{Bed, expect};

/// Remote nodes by `crm configure`, with a daemon that has been running without a key and gets it late.
pub(crate) fn remote(bed: &Bed) -> Result<()> {
    bed.nothing("r1")?;
    let before = SystemTime::now();
    bed.ok("r1", "systemctl enable --now pacemaker_remote")?;
    give_key(bed, "r1")?;
    let address = bed.node("r1")?.address();
    bed.crm(&format!(
        "configure primitive r1 ocf:pacemaker:remote params server={address} reconnect_interval=2s \
         op monitor interval=3s timeout=30s"
    ))?;
    bed.connected("r1")?;
    expect(&bed.crm("status")?, &["RemoteOnline: [ r1 ]"])?;
    expect(&bed.crm("configure show r1")?, &["primitive r1 ocf:pacemaker:remote"])?;
    bed.crm("configure primitive w_byhand ocf:rig:witness op monitor interval=1s timeout=20s")?;
    bed.crm("configure location l_byhand w_byhand 1000: r1")?;
    wait::until(secs(40), "w_byhand to run on r1", || {
        Ok((bed.cluster.status()?.place("w_byhand") == "Started on r1").then_some(()))
    })?;
    bed.goes_on("r1", "w_byhand")?;

    bed.crm("resource stop r1")?;
    wait::until(secs(40), "r1 to be stopped", || {
        Ok((bed.cluster.status()?.place("r1") == "Stopped").then_some(()))
    })?;
    bed.cluster.settle()?;
    bed.crm("configure delete r1")?;
    bed.cluster.settle()?;
    bed.ok("r1", "systemctl disable --now pacemaker_remote && rm /etc/pacemaker/authkey")?;
    bed.not_fenced(before)
}

/// A guest node by `crm configure`.
pub(crate) fn guest(bed: &Bed) -> Result<()> {
    bed.nothing("g1")?;
    let before = SystemTime::now();
    give_key(bed, "g1")?;
    bed.ok("g1", "systemctl enable --now pacemaker_remote")?;
    let address = bed.node("g1")?.address();
    bed.crm(&format!(
        "configure primitive vm2 ocf:rig:witness op monitor interval=1s timeout=20s \
         meta remote-node=g1 remote-addr={address} remote-connect-timeout=20s"
    ))?;
    bed.connected("g1")?;
    expect(&bed.crm("status")?, &["GuestOnline: [ g1 ]"])?;
    bed.crm("resource stop vm2")?;
    wait::until(secs(40), "vm2 to be stopped", || {
        Ok((bed.cluster.status()?.place("vm2") == "Stopped").then_some(()))
    })?;
    bed.cluster.settle()?;
    bed.crm("configure delete vm2")?;
    bed.ok("g1", "systemctl disable --now pacemaker_remote && rm /etc/pacemaker/authkey")?;
    bed.not_fenced(before)
}

/// What `crm node` can do with a remote node. (Standby, online and `crm resource failcount` are for cluster nodes
/// only, and `crm node show` of 4.6 crashes on remote nodes.)
pub(crate) fn node(bed: &Bed) -> Result<()> {
    bed.remote()?;
    bed.witness("w_node", "r1")?;
    bed.crm("node attribute r1 set rack 9")?;
    expect(&bed.crm("node attribute r1 show rack")?, &["value=9"])?;
    bed.crm("node attribute r1 delete rack")?;
    bed.crm("node status-attr r1 set load 3")?;
    expect(&bed.crm("node status-attr r1 show load")?, &["value=3"])?;
    bed.crm("node status-attr r1 delete load")?;
    bed.crm("node utilization r1 set cpu 4")?;
    expect(&bed.crm("node utilization r1 show cpu")?, &["value=4"])?;

    bed.crm("node attribute r1 set standby on")?;
    bed.expect_deeds("r1", "w_node", &["start=0", "stop=0"])?;
    bed.crm("node attribute r1 delete standby")?;
    bed.cluster.wait_place("w_node", "Started on r1", secs(40))?;
    bed.cluster.settle()?;
    bed.crm("node maintenance r1")?;
    bed.cluster.wait_place("w_node", "Started on r1 unmanaged", secs(40))?;
    bed.crm("node ready r1")?;
    bed.cluster.wait_place("w_node", "Started on r1", secs(40))?;
    bed.goes_on("r1", "w_node")?;
    bed.expect_deeds("r1", "w_node", &["start=0", "stop=0", "start=0"])
}

pub(crate) fn resource(bed: &Bed) -> Result<()> {
    bed.remote()?;
    bed.witness("w_res", "r1")?;
    expect(&bed.crm("resource status w_res")?, &["w_res", "r1"])?;
    bed.crm("resource ban w_res r1")?;
    bed.expect_deeds("r1", "w_res", &["start=0", "stop=0"])?;
    bed.crm("resource clear w_res")?;
    bed.cluster.wait_place("w_res", "Started on r1", secs(40))?;
    bed.cluster.settle()?;
    bed.crm("resource restart w_res")?;
    bed.expect_deeds("r1", "w_res", &["start=0", "stop=0", "start=0", "stop=0", "start=0"])?;
    bed.cluster.settle()?;
    bed.crm("resource param w_res set soft two")?;
    wait::until(secs(30), "the reload", || {
        Ok(bed.cluster.deeds("r1", "w_res", 0)?.contains(&"reload-agent=0".to_owned()).then_some(()))
    })?;
    bed.ok("r1", "rm /run/witness-w_res")?;
    wait::until(secs(40), "the failure to be counted", || {
        Ok(bed.cluster.status()?.failures.iter().any(|failure| failure.node == "r1").then_some(()))
    })?;
    bed.cluster.wait_place("w_res", "Started on r1", secs(40))?;
    bed.cluster.settle()?;
    bed.crm("resource cleanup w_res r1")?;
    bed.cluster.settle()?;
    let failures = bed.cluster.status()?.failures;
    if !failures.is_empty() {
        return fail(format!("failures are left: {failures:?}"));
    }
    bed.crm("resource refresh w_res r1")?;
    bed.cluster.settle()?;
    bed.cluster.wait_place("w_res", "Started on r1", secs(40))
}

/// Copies the cluster's key to a machine, as an operator does with scp. There is one: pcs made it.
fn give_key(bed: &Bed, name: &str) -> Result<()> {
    let key = bed.ok(
        "c1",
        "test -s /etc/pacemaker/authkey || head -c 4096 /dev/urandom >/etc/pacemaker/authkey; \
                            base64 -w0 /etc/pacemaker/authkey",
    )?;
    bed.ok("c2", &format!("echo {key} | base64 -d >/etc/pacemaker/authkey"))?;
    let line = format!(
        "umask 077; echo {key} | base64 -d >/etc/pacemaker/authkey; \
                        chgrp haclient /etc/pacemaker/authkey; chmod 640 /etc/pacemaker/authkey"
    );
    bed.ok(name, &line).map(drop)
}
