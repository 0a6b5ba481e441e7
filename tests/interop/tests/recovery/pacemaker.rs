//! The fence agent and the engine in a real cluster, beside the cloud: a cluster node, and a remote node that is a host
//! of the cloud with a nova-compute of its own.

#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use std::sync::Arc;

use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::cloud::{Cloud, calls};
use pcmk_interop::daemon::{put, tool};
use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Cluster, Daemon, Node, Result, World, cloud, fail, images};

/// The remote node, and its host.
const HOST: &str = "metal1";

/// The cluster with its host.
struct Scene {
    cluster: Cluster,
    metal: Arc<Node>,
}

impl Scene {
    fn start(world: &World, cloud: &Cloud, members: u8) -> Result<Self> {
        let cluster = Cluster::start(world, cloud::SUITE, members)?;
        let layers = [images::cloud_layer()?];
        let metal = cluster.add_machine_with(world, HOST, 1, Daemon::Theirs, cloud::SUITE, &layers)?;
        cloud.adopt(&metal)?;
        cluster.join(&metal)?;
        for name in cluster.node_names() {
            cloud.introduce(&*cluster.node(&name)?)?;
        }
        for n in 1..=members {
            install(&*cluster.node(&format!("c{n}"))?, cloud)?;
        }
        Ok(Self { cluster, metal })
    }

    /// Adds a fence device, and puts it behind the power switch in the topology if wanted.
    fn fence_by(&self, id: &str, agent: &str, params: &[(&str, &str)], behind: bool) -> Result<()> {
        let pair = |(name, value): &(&str, &str)| {
            format!("<nvpair id='{id}-{name}' name='{name}' value='{value}'/>")
        };
        let pairs: String = params.iter().map(pair).collect();
        let level = if behind { format!("power,{id}") } else { id.to_owned() };
        self.cluster.configure(&format!(
            "<configuration><resources><primitive id='{id}' class='stonith' type='{agent}'>\
             <operations><op id='{id}-monitor' name='monitor' interval='600s' timeout='60s'/></operations>\
             <instance_attributes id='{id}-ia'>{pairs}</instance_attributes></primitive></resources>\
             <constraints><rsc_location id='{id}-c1' rsc='{id}' node='c1' score='10'/></constraints>\
             <fencing-topology><fencing-level id='level-{HOST}' target='{HOST}' index='1' devices='{level}'/>\
             </fencing-topology></configuration>"
        ))?;
        self.cluster.wait_place(id, "Started on c1", secs(90))
    }
}

/// Puts our programs and their configuration on a cluster node, where packages put them.
fn install(node: &Node, cloud: &Cloud) -> Result<()> {
    for program in ["fence_nova", "nova-ha"] {
        put(&tool(program)?, &node.path(&format!("/usr/sbin/{program}"))?, 0o755)?;
    }
    let credentials = cloud.credentials("pacemaker.toml", &cloud.login())?;
    put(&credentials, &node.path("/etc/pcmk-remote/cloud.toml")?, 0o600)?;
    let policy = cloud.private_file("policy.toml", "mode = \"all\"\n[storage]\nshared = true\n")?;
    put(&policy, &node.path("/etc/pcmk-remote/nova-policy.toml")?, 0o600)
}

/// What the trials look at in the cluster.
impl Scene {
    fn attribute(&self, name: &str) -> Result<String> {
        let output = self.cluster.member()?.run(&["attrd_updater", "-n", name, "-N", HOST, "-Q"])?.stdout;
        Ok(output
            .split("value=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or_default()
            .to_owned())
    }

    /// Cuts the host's power, and waits until Pacemaker has fenced it and Nova knows.
    fn lose(&self, cloud: &Cloud) -> Result<()> {
        self.metal.power_off()?;
        wait::until(secs(120), "Nova to know that the host is down", || {
            let service = cloud.compute_service(HOST)?;
            Ok((service["forced_down"] == true && service["status"] == "disabled").then_some(()))
        })
    }
}

/// Behind a power switch, as documented set-ups have it: Pacemaker's own record is the proof, the request is handed over,
/// nothing is evacuated yet.
pub(crate) fn behind_a_switch(world: &World, cloud: &Cloud) -> Result<()> {
    let scene = Scene::start(world, cloud, 1)?;
    scene.fence_by("nova", "fence_nova", &[("record_only", "1")], true)?;
    let guest = cloud.boot(&Wish::new("guest", HOST, 1))?.pop().context("no server")?;
    let mark = cloud.mark()?;
    scene.lose(cloud)?;
    wait::until(secs(30), "the request to be handed over", || {
        let value = scene.attribute("evacuate")?;
        if value.is_empty() || value == "no" { fail(format!("{value:?}")) } else { Ok(Some(())) }
    })?;
    let reason = cloud.compute_service(HOST)?["disabled_reason"].as_str().unwrap_or_default().to_owned();
    if reason.is_empty() {
        return fail("disabled without a reason");
    }
    if cloud.server(&guest)?.host != HOST || !calls::evacuations(&cloud.calls(&mark)?).is_empty() {
        return fail("the agent has evacuated by itself");
    }
    cloud.delete_servers()?;
    cloud.disown(HOST)
}
