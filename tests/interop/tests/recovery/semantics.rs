//! What Nova does, as far as the engine leans on it: asked with plain calls. If a release of Nova changes one of
//! these, the engine is to be looked at.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use std::time::{Duration, Instant};

use pcmk_interop::cloud::Cloud;
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::error::Context;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};
use serde_json::json;

/// The only server of a trial, on a host.
fn one(cloud: &Cloud, host: &str) -> Result<String> {
    cloud.boot(&Wish::new("guest", host, 1))?.pop().context("no server")
}

/// Waits until an evacuation of a host has this status.
fn wait_status(cloud: &Cloud, host: &str, status: &str, within: Duration) -> Result<()> {
    wait::until(within, &format!("an evacuation that is {status}"), || {
        let all = cloud.evacuations(host)?;
        if all.iter().any(|evacuation| evacuation.status == status) {
            return Ok(Some(()));
        }
        fail(format!("{all:?}"))
    })
}

fn expect(what: &str, seen: u16, wanted: u16) -> Result<()> {
    if seen == wanted { Ok(()) } else { fail(format!("{what}: {seen} instead of {wanted}")) }
}

/// A host whose nova-compute was killed is up for Nova until it is forced down; that counts at once, and may be said
/// twice.
pub(crate) fn up_until_forced_down(cloud: &Cloud) -> Result<()> {
    let id = one(cloud, "compute1")?;
    cloud.kill_compute("compute1")?;
    expect("evacuating from a host that is up", cloud.evacuate(&id, "2.95")?.status, 400)?;
    for _ in 0..2 {
        let reply = cloud.set_compute_service("compute1", &json!({"forced_down": true}))?;
        expect("forcing down", reply.status, 200)?;
        let service = cloud.compute_service("compute1")?;
        if service["state"] != "down" {
            return fail(format!("not down at once: {service}"));
        }
    }
    expect("evacuating", cloud.evacuate(&id, "2.95")?.status, 200)?;
    wait_status(cloud, "compute1", "done", secs(60))
}

/// Nova accepts a second request for a server while the first is under way.
pub(crate) fn second_request_is_accepted(cloud: &Cloud) -> Result<()> {
    let id = one(cloud, "compute1")?;
    for host in ["compute2", "compute3", "compute4"] {
        cloud.guests(host, 4.0, false)?;
    }
    cloud.fence("compute1")?;
    for _ in 0..2 {
        expect("evacuating", cloud.evacuate(&id, "2.95")?.status, 200)?;
    }
    wait::until(secs(30), "two evacuations of one server", || {
        let all = cloud.evacuations("compute1")?;
        if all.len() == 2 { Ok(Some(())) } else { fail(format!("{all:?}")) }
    })?;
    // And that ends badly: never do both end as one alone does.
    let deadline = Instant::now() + secs(30);
    wait::until(secs(60), "the two to end or to be stuck", || {
        let all = cloud.evacuations("compute1")?;
        let ended = all.iter().all(|one| ["done", "failed", "error"].contains(&one.status.as_str()));
        Ok((ended || Instant::now() > deadline).then_some(()))
    })?;
    let all = cloud.evacuations("compute1")?;
    let server = cloud.server(&id)?;
    let clean =
        all.iter().all(|one| one.status == "done") && server.status == "SHUTOFF" && server.task.is_none();
    if clean { fail(format!("two requests did no harm: {all:?} {server:?}")) } else { Ok(()) }
}

/// A host is not forced up while an evacuation from it is `done`; nova-compute's start there makes it `completed`.
pub(crate) fn force_up_is_refused(cloud: &Cloud) -> Result<()> {
    let id = one(cloud, "compute1")?;
    cloud.fence("compute1")?;
    expect("evacuating", cloud.evacuate(&id, "2.95")?.status, 200)?;
    wait_status(cloud, "compute1", "done", secs(60))?;
    let up = json!({"forced_down": false});
    expect("forcing up too early", cloud.set_compute_service("compute1", &up)?.status, 400)?;
    let enable = json!({"status": "enabled"});
    expect("enabling too early", cloud.set_compute_service("compute1", &enable)?.status, 200)?;
    cloud.start_compute("compute1")?;
    wait_status(cloud, "compute1", "completed", secs(90))?;
    expect("forcing up", cloud.set_compute_service("compute1", &up)?.status, 200)?;
    cloud.wait_up(&["compute1".to_owned()])
}

/// Up to 2.94 an evacuated server runs again, from 2.95 on it stays stopped.
pub(crate) fn stopped_from_2_95_on(cloud: &Cloud) -> Result<()> {
    let ids = cloud.boot(&Wish::new("guest", "compute1", 2))?;
    cloud.fence("compute1")?;
    for (id, (version, wanted)) in ids.iter().zip([("2.94", "ACTIVE"), ("2.95", "SHUTOFF")]) {
        expect(version, cloud.evacuate(id, version)?.status, 200)?;
        wait::until_eq(secs(60), &format!("what {version} makes of it"), &(wanted, true, true), || {
            let server = cloud.server(id)?;
            let same = server.status == wanted;
            Ok((if same { wanted } else { "another" }, server.task.is_none(), server.host != "compute1"))
        })?;
    }
    Ok(())
}

/// Without capacity the request is accepted all the same; the evacuation then fails and the server is in ERROR where it
/// was. Reset, it can be evacuated when there is room.
pub(crate) fn no_valid_host(cloud: &Cloud) -> Result<()> {
    let id = one(cloud, "compute1")?;
    let others = ["compute2", "compute3", "compute4"];
    for host in others {
        cloud.set_compute_service(host, &json!({"status": "disabled"}))?.ok()?;
    }
    cloud.fence("compute1")?;
    expect("evacuating", cloud.evacuate(&id, "2.95")?.status, 200)?;
    wait_status(cloud, "compute1", "error", secs(60))?;
    wait::until_eq(secs(30), "the server's state", &("ERROR".to_owned(), "compute1".to_owned()), || {
        let server = cloud.server(&id)?;
        Ok((server.status, server.host))
    })?;
    for host in others {
        cloud.set_compute_service(host, &json!({"status": "enabled"}))?.ok()?;
    }
    cloud.act(&id, &json!({"os-resetState": {"state": "active"}}), "2.95")?.ok()?;
    expect("evacuating again", cloud.evacuate(&id, "2.95")?.status, 200)?;
    wait_status(cloud, "compute1", "done", secs(60))
}

/// With no scheduler, an accepted evacuation stays `accepted` for good, and the server in its task.
pub(crate) fn scheduler_dead(cloud: &Cloud) -> Result<()> {
    let id = one(cloud, "compute1")?;
    cloud.kill_service("nova-scheduler")?;
    cloud.fence("compute1")?;
    expect("evacuating", cloud.evacuate(&id, "2.95")?.status, 200)?;
    // The conductor waits 30 s for the scheduler's answer.
    let looked = Instant::now();
    wait::until(secs(60), "the conductor to have given up", || {
        let (all, server) = (cloud.evacuations("compute1")?, cloud.server(&id)?);
        let stuck = all.iter().all(|one| one.status == "accepted") && server.status == "REBUILD";
        if !stuck {
            return Ok(Some(Some(format!("{all:?} {server:?}"))));
        }
        Ok((looked.elapsed() > secs(45)).then_some(None))
    })?
    .map_or(Ok(()), |moved| fail(format!("it did not stay: {moved}")))
}
