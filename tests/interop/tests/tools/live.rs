//! `crm_mon` that stays and is told of changes.

use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Node, Result, fail};

use super::bed::{Bed, Pair};

const SCREEN: &str = "/run/live-crm_mon";

/// A `crm_mon` that would ask again only after ten minutes shows what happens: a new attribute, a node that is
/// fenced.
pub(crate) fn shows_events(bed: &Bed, pair: &Pair) -> Result<()> {
    for node in [&pair.theirs, &pair.tested] {
        let _mon = Mon::start(node, 600)?;
        let value = format!("told-{}", node.name());
        bed.cluster.exec(&["crm_attribute", "-N", "c1", "-n", "live", "-v", &value])?;
        shown(node, &value)?;
        bed.cluster.wait_back("v1")?;
        bed.cluster.exec(&["stonith_admin", "--reboot", "v1", "-t", "40"])?;
        let told = ["sh", "-c", &format!("cat {SCREEN}.events")];
        wait::until(secs(30), &format!("crm_mon on {} to be told of the fencing", node.name()), || {
            let events = node.run(&told)?.stdout;
            let seen = events.lines().any(|line| line.starts_with("v1 ") && line.contains("fence"));
            if seen { Ok(Some(())) } else { fail(events) }
        })?;
        bed.cluster.wait_back("v1")?;
        bed.cluster.exec(&["stonith_admin", "-H", "v1", "--cleanup"])?;
        bed.cluster.exec(&["crm_attribute", "-N", "c1", "-n", "live", "-D"])?;
    }
    Ok(())
}

/// When the connection moves to another cluster node, a `crm_mon` that stays finds its way back.
pub(crate) fn survives_a_move(bed: &Bed, pair: &Pair) -> Result<()> {
    for node in [&pair.theirs, &pair.tested] {
        let _mon = Mon::start(node, 2)?;
        bed.move_connection(node.name())?;
        let value = format!("moved-{}", node.name());
        bed.cluster.exec(&["crm_attribute", "-N", "c1", "-n", "live", "-v", &value])?;
        shown(node, &value)?;
        bed.cluster.exec(&["crm_attribute", "-N", "c1", "-n", "live", "-D"])?;
    }
    Ok(())
}

/// A `crm_mon` that runs on a node; it is ended when dropped.
struct Mon<'a> {
    node: &'a Node,
}

impl<'a> Mon<'a> {
    /// Starts it and waits for its first picture. It asks by itself after so many seconds.
    fn start(node: &'a Node, interval: u32) -> Result<Self> {
        node.sh(&format!(
            "rm -f {SCREEN} {SCREEN}.events
             printf '#!/bin/sh\necho \"$CRM_notify_node $CRM_notify_task\" >>{SCREEN}.events\n' >{SCREEN}.sh
             chmod 755 {SCREEN}.sh
             crm_mon --daemonize --pid-file {SCREEN}.pid -A --output-as=text --output-to={SCREEN} \
             --external-agent={SCREEN}.sh --watch-fencing --interval={interval}"
        ))
        .context("crm_mon")?;
        let mon = Self { node };
        shown(node, "RemoteOnline:")?;
        Ok(mon)
    }
}

impl Drop for Mon<'_> {
    fn drop(&mut self) {
        let _ = self.node.sh(&format!("kill $(cat {SCREEN}.pid)"));
    }
}

fn shown(node: &Node, text: &str) -> Result<()> {
    let within = secs(30);
    wait::until(within, &format!("crm_mon on {} to show {text}", node.name()), || {
        let screen = node.exec(&["cat", SCREEN])?;
        Ok(screen.contains(text).then_some(()))
    })
}
