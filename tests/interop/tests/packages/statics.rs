//! The static build of the daemon (`make static`): needs nothing of the system it runs on.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use pcmk_interop::cib::Primitive;
use pcmk_interop::images::rig_file;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Cluster, Daemon, Result, Suite, World, daemon, fail, run};

use super::machine::{Files, UNIT};

/// Where the node keeps the root that holds only the daemon, its key, two users and an agent.
const ROOT: &str = "/srv/empty";

/// The static daemon serves a cluster from such a root.
pub(crate) fn in_empty_root(world: &World, suite: Suite, _: &Files) -> Result<()> {
    let program = match env::var_os("PCMK_STATIC_DAEMON") {
        Some(path) => PathBuf::from(path),
        None => daemon::target_dir().join("static/pacemaker-remoted"),
    };
    if !program.exists() {
        return fail(format!("{} is missing: run `make static`", program.display()));
    }
    let linked = run::host(&["objdump", "-p", &program.display().to_string()])?;
    if linked.contains("NEEDED") || linked.contains("INTERP") {
        return fail(format!("it wants libraries: {linked}"));
    }
    let agent = world.dir().join(format!("still-{}", suite.name()));
    let (source, built) = (rig_file("agents/still.c").display().to_string(), agent.display().to_string());
    run::host(&["gcc", "-static", "-o", &built, &source])?;

    let cluster = Cluster::start(world, suite, 2)?;
    let node = cluster.add_remote(world, "r1", 1, Daemon::Theirs)?;
    let began = SystemTime::now();
    cluster.set_property("maintenance-mode", "true")?;
    cluster.settle()?;
    node.exec(&["systemctl", "stop", UNIT])?;
    node.sh(&format!(
        "mkdir -p {ROOT}/etc/pacemaker {ROOT}/usr/lib/ocf/resource.d/rig && cp -p /etc/passwd /etc/group {ROOT}/etc && \
         cp -p /etc/pacemaker/authkey {ROOT}/etc/pacemaker/ && mkdir -p /run/systemd/system/{UNIT}.d && \
         printf '[Service]\\nType=simple\\nExecStart=\\nExecStart=/pacemaker-remoted\\nRootDirectory={ROOT}\\n' \
         >/run/systemd/system/{UNIT}.d/empty.conf && systemctl daemon-reload"
    ))?;
    let root = node.path(ROOT)?;
    fs::copy(&program, root.join("pacemaker-remoted"))?;
    fs::copy(&agent, root.join("usr/lib/ocf/resource.d/rig/still"))?;
    node.exec(&["systemctl", "start", UNIT])?;
    cluster.set_property("maintenance-mode", "false")?;
    cluster.wait_online("r1", secs(60))?;

    let pid = node.exec(&["systemctl", "show", "--value", "-p", "MainPID", UNIT])?;
    let seen =
        node.exec(&["find", &format!("/proc/{}/root/usr", pid.trim()), "-type", "f", "-printf", "%P\\n"])?;
    if seen.trim() != "lib/ocf/resource.d/rig/still" {
        return fail(format!("in the daemon's root there is {seen}"));
    }

    // Only this node has the agent. Its metadata are read, it is probed, started and watched.
    cluster.add(&Primitive::new("still", "ocf:rig:still").monitor("1s", "20s").on("r1", 1000))?;
    cluster.wait_place("still", "Started on r1", secs(60))?;
    node.exec(&["rm", &format!("{ROOT}/still-runs")])?;
    wait::until(secs(40), "the agent to be started again", || {
        Ok(root.join("still-runs").exists().then_some(()))
    })?;
    cluster.wait_place("still", "Started on r1", secs(40))?;
    let fenced = cluster.fenced_since(began, "r1");
    if fenced.is_empty() { Ok(()) } else { fail(format!("r1 was fenced: {fenced:?}")) }
}
