//! Recovery of a host, side by side.

#![allow(clippy::print_stderr, reason = "it talks to whoever runs it")]

use std::time::Instant;

use serde_json::{Value, json};

use crate::cloud::ours::Ours;
use crate::cloud::race::Outcome;
use crate::cloud::servers::Wish;
use crate::cloud::{Cloud, Options};
use crate::error::Result;
use crate::run::Output;
use crate::wait::secs;
use crate::{World, fail};

/// The host that dies.
const HOST: &str = "compute1";

/// Measures all ways, one after the other: theirs, with fixed numbers in flight, ours.
pub fn recovery(world: &World, servers: usize, limits: &[usize]) -> Result<Value> {
    let cloud = Cloud::up(world, 3, &Options::default())?;
    cloud.start_boards()?;
    let theirs = theirs(&cloud, servers)?;
    let mut fixed = Vec::new();
    for limit in limits {
        let outcome = race(&cloud, servers, |ids| {
            cloud.fence(HOST)?;
            cloud.evacuate_fixed(HOST, ids, *limit, "2.94")
        })?;
        eprintln!("at most {limit} in flight: {outcome:?}");
        fixed.push(json!({"in_flight": limit, "outcome": outcome}));
    }
    let ours = ours(&cloud, servers)?;
    Ok(json!({"benchmark": "recovery", "servers": servers, "theirs": theirs, "fixed": fixed, "ours": ours}))
}

/// The agents, one after the other at once: without the wait until the resource agent between the last two looks again
/// (up to ten seconds).
fn theirs(cloud: &Cloud, servers: usize) -> Result<Value> {
    let mut steps = Vec::new();
    let outcome = race(cloud, servers, |_| {
        let mut step = |agent: &str, run: &dyn Fn() -> Result<Output>| {
            let began = Instant::now();
            let output = run()?;
            steps.push(
                json!({"agent": agent, "code": output.code(), "seconds": began.elapsed().as_secs_f64()}),
            );
            Result::Ok(())
        };
        step("fence_ipmilan", &|| cloud.their_switch("off", HOST))?;
        step("fence_compute", &|| cloud.their_agent("fence_compute", "off", HOST))?;
        step("fence_evacuate", &|| cloud.their_agent("fence_evacuate", "off", HOST))
    })?;
    eprintln!("theirs: {outcome:?} {steps:?}");
    Ok(json!({"agents": steps, "outcome": outcome}))
}

/// `fence_nova` with the host's board, and the engine that takes up its request.
fn ours(cloud: &Cloud, servers: usize) -> Result<Value> {
    let ours = Ours::new(cloud, "bench")?;
    ours.use_boards(cloud)?;
    let engine = ours.engine()?;
    let mut fenced = 0.0;
    let outcome = race(cloud, servers, |_| {
        let began = Instant::now();
        let output = ours.fence_nova("off", HOST, "")?;
        fenced = began.elapsed().as_secs_f64();
        if output.code() == 0 { engine.check() } else { fail(format!("fence_nova: {}", output.stderr)) }
    })?;
    eprintln!("ours: {outcome:?}, fenced after {fenced:.2} s");
    Ok(json!({"fence_seconds": fenced, "outcome": outcome}))
}

/// Makes the servers, lets a way do its work, says what became of them, and cleans up.
fn race(cloud: &Cloud, servers: usize, way: impl FnOnce(&[String]) -> Result<()>) -> Result<Outcome> {
    let wish = Wish { flavor: "marked", ..Wish::new("guest", HOST, servers) };
    let ids = cloud.boot(&wish)?;
    let start = cloud.start_race(HOST, ids.clone())?;
    way(&ids)?;
    let outcome = cloud.end_race(&start, secs(600))?;
    if outcome.servers != outcome.well + outcome.error + outcome.left {
        return fail(format!("they do not add up: {outcome:?}"));
    }
    cloud.reset()?;
    Ok(outcome)
}
