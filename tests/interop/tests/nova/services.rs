//! Other services of a compute node.

use std::fs;
use std::time::Instant;

use pcmk_interop::nova::main_pid;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::watch::Watch;
use pcmk_interop::{Node, Result};

use super::bed::Bed;

/// Installs and starts a unit that is enabled.
fn install(node: &Node, unit: &str, service: &str) -> Result<()> {
    let text = format!(
        "[Unit]\nDescription=Like an agent of Neutron\nStartLimitIntervalSec=0\n[Service]\n{service}\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    fs::write(node.path(&format!("/etc/systemd/system/{unit}"))?, text)?;
    node.exec(&["systemctl", "daemon-reload"])?;
    node.exec(&["systemctl", "enable", "--now", unit]).map(drop)
}

fn uninstall(node: &Node, unit: &str) -> Result<()> {
    node.exec(&["systemctl", "disable", "--now", unit])?;
    node.run(&["systemctl", "reset-failed", unit])?;
    fs::remove_file(node.path(&format!("/etc/systemd/system/{unit}"))?)?;
    node.exec(&["systemctl", "daemon-reload"]).map(drop)
}

/// systemd starts it again and again: whenever one looks, it runs.
pub(crate) fn restart_loop(bed: &Bed) -> Result<()> {
    let (unit, node) = ("neutron-l3-agent.service", &bed.r1().node);
    install(node, unit, "ExecStart=/bin/sleep infinity\nRestart=always\nRestartSec=100ms")?;
    let watch = Watch::start(node, &["--interval", "1", "services"])?;
    watch.wait(Instant::now(), "services", "ok", secs(20))?;
    let fault = Instant::now();
    for _ in 0..4 {
        node.exec(&["systemctl", "kill", "-s", "KILL", unit])?;
        wait::until(secs(10), &format!("{unit} to run again"), || {
            let active = node.run(&["systemctl", "is-active", unit])?.stdout.trim() == "active";
            Ok(active.then_some(()))
        })?;
    }
    watch.wait(fault, "services", "failed", secs(30))?.expect("unit", unit)?;
    drop(watch);
    uninstall(node, unit)
}

/// The resource of the node's health starts it again here: nobody else hears of a failure.
pub(crate) fn dead_agent(bed: &Bed) -> Result<()> {
    let (unit, node) = ("neutron-openvswitch-agent.service", &bed.r1().node);
    install(node, unit, "ExecStart=/bin/sleep infinity")?;
    bed.watch_health()?;
    let pid = main_pid(node, unit)?;
    node.exec(&["kill", "-KILL", &pid.to_string()])?;
    wait::until(secs(30), &format!("{unit} to run again"), || {
        Ok((main_pid(node, unit)? != pid).then_some(()))
    })?;
    bed.wait_colour("green")?;
    bed.cluster.wait_place("health", "Started on r1", secs(1))?;
    bed.cluster.remove("health")?;
    uninstall(node, unit)
}
