//! What the cluster does with resources every day.

use pcmk_interop::cib::{self, Primitive};
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

use super::bed::Bed;

/// A strong wish to be on a node.
pub(crate) const WISH: i32 = 1000;

pub(crate) fn online(bed: &Bed) -> Result<()> {
    let status = bed.cluster.status()?;
    for name in &bed.remotes {
        if !status.nodes.iter().any(|node| node.name == *name && node.online && node.kind == "remote") {
            return fail(format!("{name} is not an online remote node: {:?}", status.nodes));
        }
    }
    Ok(())
}

pub(crate) fn probe_start_monitor(bed: &Bed) -> Result<()> {
    bed.started(&Primitive::witness("w_start").monitor("1s", "20s").on("r1", WISH))?;
    bed.expect_deeds("r1", "w_start", 0, &["monitor=7", "start=0"])?;
    bed.expect_deeds("r2", "w_start", 0, &["monitor=7"])?;
    bed.goes_on("r1", "w_start", 1000, 3)
}

pub(crate) fn failed_monitor_recovers(bed: &Bed) -> Result<()> {
    bed.started(&Primitive::witness("w_fail").monitor("1s", "20s").on("r1", WISH))?;
    bed.goes_on("r1", "w_fail", 1000, 1)?;
    bed.r1()?.exec(&["rm", "/run/witness-w_fail"])?;
    bed.expect_deeds("r1", "w_fail", 0, &["monitor=7", "start=0", "stop=0", "start=0"])?;
    bed.cluster.settle()?;
    let status = bed.cluster.status()?;
    let failure = status.failures.iter().find(|failure| failure.op_key == "w_fail_monitor_1000");
    match failure {
        Some(failure) if failure.node == "r1" && failure.status.eq_ignore_ascii_case("not running") => {}
        _ => return fail(format!("the failure is not shown: {:?}", status.failures)),
    }
    bed.goes_on("r1", "w_fail", 1000, 2)
}

pub(crate) fn failed_start_moves_on(bed: &Bed) -> Result<()> {
    bed.r1()?.sh("echo 1 >/run/witness-w_bad.start.rc")?;
    let resource = Primitive::witness("w_bad").on("r1", WISH).on("r2", WISH / 2);
    bed.cluster.add(&resource)?;
    bed.cluster.wait_place("w_bad", "Started on r2", secs(40))?;
    bed.expect_deeds("r1", "w_bad", 0, &["monitor=7", "start=1", "stop=0"])
}

pub(crate) fn soft_parameter_reloads(bed: &Bed) -> Result<()> {
    bed.started(&Primitive::witness("w_soft").param("soft", "one").monitor("1s", "20s").on("r1", WISH))?;
    let from = bed.cluster.count("r1", "w_soft")?;
    bed.cluster.set_param("w_soft", "soft", "two")?;
    bed.expect_deeds("r1", "w_soft", from, &["reload-agent=0"])?;
    bed.cluster.settle()?;
    bed.expect_deeds("r1", "w_soft", from, &["reload-agent=0"])?;
    let calls = bed.cluster.calls("r1")?;
    if !calls.iter().any(|call| call.action == "reload-agent" && call.details == "soft=two") {
        return fail("the agent did not see the new value");
    }
    bed.goes_on("r1", "w_soft", 1000, 2)
}

pub(crate) fn hard_parameter_restarts(bed: &Bed) -> Result<()> {
    bed.started(&Primitive::witness("w_hard").param("hard", "one").monitor("1s", "20s").on("r1", WISH))?;
    let from = bed.cluster.count("r1", "w_hard")?;
    bed.cluster.set_param("w_hard", "hard", "two")?;
    bed.expect_deeds("r1", "w_hard", from, &["stop=0", "start=0"])?;
    let calls = bed.cluster.calls("r1")?;
    if !calls.iter().any(|call| call.action == "start" && call.details == "soft=one hard=two") {
        return fail("the agent did not see the new value, or not the default of the other parameter");
    }
    bed.goes_on("r1", "w_hard", 1000, 2)
}

pub(crate) fn changed_interval(bed: &Bed) -> Result<()> {
    bed.started(&Primitive::witness("w_every").monitor("1s", "20s").on("r1", WISH))?;
    bed.goes_on("r1", "w_every", 1000, 2)?;
    let from = bed.cluster.count("r1", "w_every")?;
    bed.cluster.change_op("w_every-monitor-1s", "interval='1500ms'")?;
    wait::until(secs(20), "a monitor of the new interval", || {
        Ok((bed.monitors("r1", "w_every", 1500)? > 0).then_some(()))
    })?;
    bed.cluster.settle()?;
    let old = bed.monitors("r1", "w_every", 1000)?;
    bed.goes_on("r1", "w_every", 1500, 3)?;
    if bed.monitors("r1", "w_every", 1000)? != old {
        return fail("the monitor of the old interval goes on");
    }
    bed.expect_deeds("r1", "w_every", from, &[])
}

pub(crate) fn promote_demote_notify(bed: &Bed) -> Result<()> {
    let clone = Primitive::witness("w_two")
        .promotable()
        .op("monitor", "1500ms", "role='Promoted' timeout='20s'")
        .op("monitor", "2s", "role='Unpromoted' timeout='20s'")
        .on("r1", WISH)
        .on("r2", WISH);
    bed.cluster.add(&clone)?;
    bed.cluster.configure(&cib::prefer_promoted("w_two-clone", "r1"))?;
    bed.cluster.wait_place("w_two", "Promoted on r1, Unpromoted on r2", secs(40))?;
    bed.goes_on("r1", "w_two", 1500, 2)?;
    bed.goes_on("r2", "w_two", 2000, 2)?;
    notified(bed, "r1", "pre-promote promote:r1")?;
    notified(bed, "r2", "post-promote promote:r1")?;

    bed.cluster.configure(&cib::prefer_promoted("w_two-clone", "r2"))?;
    bed.cluster.wait_place("w_two", "Unpromoted on r1, Promoted on r2", secs(40))?;
    notified(bed, "r2", "pre-demote promote:r2")?;
    notified(bed, "r1", "post-promote promote:r2")?;
    let deeds = bed.cluster.deeds("r1", "w_two", 0)?;
    if !deeds.contains(&"demote=0".to_owned()) || deeds.contains(&"stop=0".to_owned()) {
        return fail(format!("r1 was not just demoted: {deeds:?}"));
    }
    bed.goes_on("r2", "w_two", 1500, 2)?;
    bed.goes_on("r1", "w_two", 2000, 2)
}

fn notified(bed: &Bed, node: &str, details: &str) -> Result<()> {
    let calls = bed.cluster.calls(node)?;
    let seen: Vec<_> =
        calls.iter().filter(|call| call.action == "notify").map(|call| &call.details).collect();
    if seen.iter().any(|seen| *seen == details) {
        return Ok(());
    }
    fail(format!("{node} was not notified of {details}: {seen:?}"))
}

pub(crate) fn move_between_nodes(bed: &Bed) -> Result<()> {
    let cluster = &bed.cluster;
    let resource = Primitive::witness("w_move").monitor("1s", "20s");
    bed.started(&resource.on("r1", WISH).on("r2", WISH / 2).on("c1", WISH / 4))?;
    for node in ["r2", "c1"] {
        cluster.exec(&["crm_resource", "--move", "-r", "w_move", "--node", node])?;
        cluster.wait_place("w_move", &format!("Started on {node}"), secs(40))?;
        bed.goes_on(node, "w_move", 1000, 2)?;
    }
    cluster.exec(&["crm_resource", "--clear", "-r", "w_move"])?;
    cluster.wait_place("w_move", "Started on r1", secs(40))?;
    for (node, last) in [("r1", "start=0"), ("r2", "stop=0")] {
        // A move to a third node takes the wish for the second away first: the resource may come back in between.
        let deeds = bed.cluster.deeds(node, "w_move", 0)?;
        let turns =
            deeds.iter().skip(1).zip(["start=0", "stop=0"].iter().cycle()).all(|(deed, turn)| deed == turn);
        if !turns || deeds.last().is_none_or(|deed| deed != last) {
            return fail(format!("not one start and one stop in turn on {node}: {deeds:?}"));
        }
    }
    Ok(())
}

pub(crate) fn delete_while_running(bed: &Bed) -> Result<()> {
    bed.started(&Primitive::witness("w_gone").monitor("1s", "20s").on("r1", WISH))?;
    let from = bed.cluster.count("r1", "w_gone")?;
    bed.cluster.remove("w_gone")?;
    bed.cluster.settle()?;
    bed.expect_deeds("r1", "w_gone", from, &["stop=0"])?;
    let status = bed.cluster.status()?;
    if status.resources.iter().any(|resource| resource.id == "w_gone") {
        return fail("the cluster still knows it");
    }
    // The same name again: the daemon must have forgotten the old one.
    let from = bed.cluster.count("r1", "w_gone")?;
    bed.started(&Primitive::witness("w_gone").on("r1", WISH))?;
    bed.expect_deeds("r1", "w_gone", from, &["monitor=7", "start=0"])
}
