//! Many hosts at once, hosts that return to service, and hosts that fail again and again.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use std::thread;
use std::time::Instant;

use nova_ext::engine::journal::{Event, Gate, Outcome};
use pcmk_interop::cloud::ours::{Ours, Running};
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::cloud::{Cloud, calls};
use pcmk_interop::error::Error;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};
use serde_json::json;

use super::incident::{self, HOST, controller, fence};

/// Waits until a host's so-manieth incident has ended as it should.
fn wait_complete(ours: &Ours, engine: &Running, host: &str, failure: usize) -> Result<()> {
    let what = format!("incident {failure} of {host} to end");
    let ended = engine.until(secs(120), &what, || {
        let journal = ours.journal()?;
        let taken_up =
            |event: &Event| matches!(event, Event::TakenUp { host: of, .. } if of.as_str() == host);
        let incidents = journal.iter().filter(|entry| taken_up(&entry.event)).count();
        Ok(incident::outcome(&journal, host).filter(|_| incidents == failure))
    })?;
    if ended == Outcome::Complete { Ok(()) } else { fail(format!("{host}: {ended}; {}", engine.log())) }
}

/// Ten hosts of fourteen die together, and may.
pub(crate) fn ten_at_once(cloud: &Cloud) -> Result<()> {
    const EACH: usize = 4;
    let dying = cloud.add_hosts(10)?;
    let wishes: Vec<_> = dying.iter().map(|host| Wish::new("guest", host, EACH)).collect();
    let servers = cloud.boot_all(&wishes)?;
    let ours = controller(cloud, "engine")?;
    ours.add_to_policy("[gates]\nmost_hosts = 10\nmost_hosts_percent = 80\n")?;
    let engine = ours.engine()?;
    let (mark, began) = (cloud.mark()?, Instant::now());
    cloud.kill_computes(&dying)?;
    thread::scope(|scope| {
        let agents: Vec<_> = dying.iter().map(|host| scope.spawn(|| fence(&ours, host))).collect();
        let lost = |_| Error::new("a thread is lost");
        agents.into_iter().try_for_each(|agent| agent.join().map_err(lost)?)
    })?;
    for host in &dying {
        wait_complete(&ours, &engine, host, 1)?;
    }
    let took = began.elapsed();
    incident::each_once(&calls::accepted(&cloud.calls(&mark)?), servers.len())?;
    let there = cloud.servers()?;
    let lost = servers.iter().find_map(|id| {
        let server = there.iter().find(|server| server.id == *id);
        let well =
            server.is_some_and(|it| it.status == "ACTIVE" && it.task.is_none() && !dying.contains(&it.host));
        (!well).then_some(server)
    });
    #[allow(clippy::print_stdout, reason = "a figure of interest")]
    {
        println!("ten hosts with {EACH} servers each: all run elsewhere after {:.1} s", took.as_secs_f64());
    }
    lost.map_or(Ok(()), |server| fail(format!("{server:?}")))
}

/// More hosts than the policy allows: the first is evacuated, the second waits until the operator lets it go ahead.
pub(crate) fn too_many_at_once(cloud: &Cloud) -> Result<()> {
    let second = "compute2";
    cloud.boot(&Wish::new("guest", HOST, 1))?;
    let waiting = cloud.boot(&Wish::new("waiting", second, 2))?;
    let ours = controller(cloud, "engine")?;
    ours.add_to_policy("[gates]\nmost_hosts = 1\n")?;
    let engine = ours.engine()?;
    fence(&ours, HOST)?;
    wait_complete(&ours, &engine, HOST, 1)?;
    let mark = cloud.mark()?;
    fence(&ours, second)?;
    engine.until(secs(30), "the second host to wait", || {
        let held = |event: &Event| matches!(event, Event::Gate { gate: Gate::TooManyHosts, .. });
        Ok(ours.journal()?.iter().any(|entry| held(&entry.event)).then_some(()))
    })?;
    if !calls::evacuations(&cloud.calls(&mark)?).is_empty() {
        return fail("it was evacuated all the same");
    }
    ours.told(&["go-ahead", second])?;
    wait_complete(&ours, &engine, second, 1)?;
    let accepted = calls::accepted(&cloud.calls(&mark)?);
    // What the first host's server made of it does not matter: it may have gone to the second.
    let once = waiting.iter().all(|id| accepted.get(id) == Some(&1));
    if once { Ok(()) } else { fail(format!("{accepted:?}")) }
}

/// What Nova says of a host: whether it is forced down, enabled, up.
fn standing(cloud: &Cloud, host: &str) -> Result<(bool, bool, bool)> {
    let service = cloud.compute_service(host)?;
    Ok((service["forced_down"] == true, service["status"] == "enabled", service["state"] == "up"))
}

fn wait_standing(cloud: &Cloud, engine: &Running, wanted: (bool, bool, bool)) -> Result<()> {
    engine.until(secs(120), &format!("{HOST} to be (forced down, enabled, up) = {wanted:?}"), || {
        let seen = standing(cloud, HOST)?;
        if seen == wanted { Ok(Some(())) } else { fail(format!("{seen:?}")) }
    })
}

/// The way back, all of it: switched on by `nova-ha return`, nova-compute starts while the host is still forced down, its
/// evacuations become completed, it is forced up, tried, and enabled. One that an operator had disabled stays disabled.
pub(crate) fn returns(cloud: &Cloud) -> Result<()> {
    let ours = controller(cloud, "engine")?;
    let canary = ours.dir().join("canary");
    let tried = ours.dir().join("tried");
    // It notes what Nova said of the host when it ran: nothing is scheduled there before.
    ours.write("canary", &format!("#!/bin/sh\necho \"$NOVA_HA_HOST\" >>{}\n", tried.display()))?;
    pcmk_interop::run::host(&["chmod", "700", &canary.display().to_string()])?;
    ours.add_to_configuration(&format!("[return]\ncanary = \"{}\"\n", canary.display()))?;
    let engine = ours.engine()?;
    cloud.boot(&Wish::new("guest", HOST, 2))?;
    let mark = cloud.mark()?;
    fence(&ours, HOST)?;
    wait_complete(&ours, &engine, HOST, 1)?;
    if standing(cloud, HOST)? != (true, false, false) {
        return fail(format!("after the fencing: {}", cloud.compute_service(HOST)?));
    }
    ours.told(&["return", HOST, "--power-on"])?;
    wait_standing(cloud, &engine, (false, true, true))?;
    let open: Vec<_> = cloud.evacuations(HOST)?.into_iter().filter(|one| one.status != "completed").collect();
    if !open.is_empty() {
        return fail(format!("it is back, and these are not completed: {open:?}"));
    }
    if std::fs::read_to_string(&tried)? != format!("{HOST}\n") {
        return fail("the canary has not run once");
    }
    // Nova refuses what comes in the wrong order.
    let refused: Vec<_> = cloud
        .calls(&mark)?
        .into_iter()
        .filter(|call| call.method == "PUT" && call.path.contains("os-services") && call.status >= 400)
        .collect();
    if !refused.is_empty() {
        return fail(format!("refused: {refused:?}"));
    }
    wait_returned(&ours, 1)?;
    // It is usable, and not in name only.
    cloud.boot(&Wish::new("new", HOST, 1))?;

    cloud
        .set_compute_service(HOST, &json!({"status": "disabled", "disabled_reason": "disk swap, ann"}))?
        .ok()?;
    fence(&ours, HOST)?;
    wait_complete(&ours, &engine, HOST, 2)?;
    ours.told(&["return", HOST, "--power-on"])?;
    wait_standing(cloud, &engine, (false, false, true))?;
    wait_returned(&ours, 2)?;
    let service = cloud.compute_service(HOST)?;
    if service["disabled_reason"] == "disk swap, ann" { Ok(()) } else { fail(format!("{service}")) }
}

/// Waits until the journal says so often that the host is back in service.
fn wait_returned(ours: &Ours, times: usize) -> Result<()> {
    wait::until(secs(60), "the journal to say that the host is back in service", || {
        let back = ours.journal()?.iter().filter(|one| matches!(one.event, Event::Returned { .. })).count();
        Ok((back == times).then_some(()))
    })
}

/// The third failure within an hour: evacuated as the others, and not let back before the operator says so.
pub(crate) fn flaps(cloud: &Cloud) -> Result<()> {
    let ours = controller(cloud, "engine")?;
    let engine = ours.engine()?;
    for failure in 1..=3 {
        let server = cloud.boot(&Wish::new("guest", HOST, 1))?;
        fence(&ours, HOST)?;
        wait_complete(&ours, &engine, HOST, failure)?;
        if server.iter().any(|id| cloud.server(id).is_ok_and(|it| it.host == HOST || it.status != "ACTIVE")) {
            return fail(format!("failure {failure}: its server does not run elsewhere"));
        }
        // As unfencing does it.
        let output = ours.fence_nova("on", HOST, "")?;
        if output.code() != 0 {
            return fail(format!("fence_nova on: {}", output.stderr));
        }
        if failure < 3 {
            wait_standing(cloud, &engine, (false, true, true))?;
            wait_returned(&ours, failure)?;
        }
    }
    engine.until(secs(90), "the host to be back but for the operator's word", || {
        let waits =
            |event: &Event| matches!(event, Event::Returning { step, .. } if step.contains("quarantine"));
        Ok(ours.journal()?.iter().any(|one| waits(&one.event)).then_some(()))
    })?;
    let status = ours.told(&["status"])?;
    if standing(cloud, HOST)? != (true, false, false) || !status.contains(&format!("quarantine: {HOST}")) {
        return fail(format!("it is not in quarantine: {}; {status}", cloud.compute_service(HOST)?));
    }
    ours.told(&["return", HOST, "--release"])?;
    wait_standing(cloud, &engine, (false, true, true))?;
    wait_returned(&ours, 3)?;
    let status = ours.told(&["status"])?;
    if status.contains("quarantine") { fail(status) } else { Ok(()) }
}
