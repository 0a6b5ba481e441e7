//! Agents that set their own promotion score with `crm_attribute`, through the daemon.

use pcmk_interop::cib::Primitive;
use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Node, Result, fail};

use super::bed::{Bed, Pair};

/// `ocf:pacemaker:Stateful` on both nodes: one is promoted, and each fails over to the other, when it is put into
/// standby and when its daemon dies.
pub(crate) fn stateful(bed: &Bed, pair: &Pair) -> Result<()> {
    let clone = Primitive::new("stateful", "ocf:pacemaker:Stateful")
        .promotable()
        .op("monitor", "3s", "role='Promoted' timeout='20s'")
        .op("monitor", "4s", "role='Unpromoted' timeout='20s'");
    bed.cluster.add(&clone.on(pair.theirs.name(), 100).on(pair.tested.name(), 100))?;
    for _there_and_back in 0..2 {
        let (promoted, other) = roles(bed, pair, "stateful")?;
        score(promoted, "stateful", "10")?;
        score(other, "stateful", "5")?;
        promoted.exec(&["crm_standby", "-N", promoted.name(), "-v", "on"])?;
        let place = format!("Promoted on {}", other.name());
        bed.cluster.wait_place("stateful", &place, secs(40))?;
        score(other, "stateful", "10")?;
        promoted.exec(&["crm_standby", "-N", promoted.name(), "-D"])?;
        roles(bed, pair, "stateful")?;
    }
    let (promoted, other) = roles(bed, pair, "stateful")?;
    promoted.signal_daemon("KILL")?;
    wait::until(secs(60), &format!("{} to be promoted", other.name()), || {
        let place = bed.cluster.status()?.place("stateful");
        if place.contains(&format!("Promoted on {}", other.name())) { Ok(Some(())) } else { fail(place) }
    })?;
    bed.cluster.wait_back(promoted.name())?;
    roles(bed, pair, "stateful")?;
    bed.take_away("stateful")
}

/// A clone with notifications, whose instances set their scores when they start: the other instance is told of
/// promotions.
pub(crate) fn notified(bed: &Bed, pair: &Pair) -> Result<()> {
    let clone = Primitive::witness("scored")
        .promotable()
        .param("score", "20")
        .op("monitor", "3s", "role='Promoted' timeout='20s'")
        .op("monitor", "4s", "role='Unpromoted' timeout='20s'");
    let (a, b) = (pair.theirs.name(), pair.tested.name());
    bed.cluster.add(&clone.on(a, 100).on(b, 100))?;
    for _there_and_back in 0..2 {
        let (promoted, other) = roles(bed, pair, "scored")?;
        score(promoted, "scored", "30")?;
        score(other, "scored", "20")?;
        let (from, name) = (bed.cluster.count(promoted.name(), "scored")?, other.name());
        // It resigns in favour of the other one, as an agent does.
        promoted.exec(&["crm_attribute", "--promotion=scored", "-N", promoted.name(), "-v", "1"])?;
        bed.cluster.wait_place("scored", &both(name, promoted.name()), secs(40))?;
        wait::until(secs(20), &format!("{} to be told of the promotion", promoted.name()), || {
            let calls = bed.cluster.calls(promoted.name())?;
            let mut later = calls.iter().filter(|call| call.resource == "scored").skip(from);
            let told = format!("post-promote promote:{name}");
            Ok(later.any(|call| call.action == "notify" && call.details == told).then_some(()))
        })?;
        promoted.exec(&["crm_attribute", "--promotion=scored", "-N", promoted.name(), "-v", "20"])?;
        bed.cluster.settle()?;
    }
    bed.take_away("scored")
}

/// Waits until one instance is promoted and the other one runs; gives their nodes.
fn roles<'a>(bed: &Bed, pair: &'a Pair, id: &str) -> Result<(&'a Node, &'a Node)> {
    let (a, b) = (&*pair.theirs, &*pair.tested);
    let first = wait::until(secs(60), &format!("one instance of {id} to be promoted"), || {
        let place = bed.cluster.status()?.place(id);
        if place == both(a.name(), b.name()) {
            Ok(Some(true))
        } else if place == both(b.name(), a.name()) {
            Ok(Some(false))
        } else {
            fail(place)
        }
    })?;
    bed.cluster.settle()?;
    Ok(if first { (a, b) } else { (b, a) })
}

/// Where the instances are when this node has the promoted one.
fn both(promoted: &str, other: &str) -> String {
    let mut places = [(promoted, "Promoted"), (other, "Unpromoted")];
    places.sort_unstable();
    places.map(|(node, role)| format!("{role} on {node}")).join(", ")
}

fn score(node: &Node, id: &str, wanted: &str) -> Result<()> {
    let promotion = format!("--promotion={id}");
    let words = ["crm_attribute", &promotion, "-N", node.name(), "-Gq"];
    wait::until_eq(secs(20), &format!("the promotion score on {}", node.name()), &wanted.to_owned(), || {
        Ok(node.exec(&words).context("the score")?.trim().to_owned())
    })
}
