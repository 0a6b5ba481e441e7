//! Recovery of a host, side by side.

#![allow(clippy::print_stderr, reason = "it talks to whoever runs it")]

use std::time::Instant;

use serde_json::{Value, json};

use crate::cloud::race::Outcome;
use crate::cloud::servers::Wish;
use crate::cloud::{Cloud, Options};
use crate::error::Result;
use crate::wait::secs;
use crate::{World, fail};

/// The host that dies.
const HOST: &str = "compute1";

/// Measures all ways, one after the other.
pub fn recovery(world: &World, servers: usize, limits: &[usize]) -> Result<Value> {
    let cloud = Cloud::up(world, 3, &Options::default())?;
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
    Ok(json!({"benchmark": "recovery", "servers": servers, "theirs": theirs, "fixed": fixed}))
}

/// Both agents, one after the other at once: without the wait until the resource agent between them looks again (up
/// to ten seconds).
fn theirs(cloud: &Cloud, servers: usize) -> Result<Value> {
    let mut codes = Vec::new();
    let outcome = race(cloud, servers, |_| {
        cloud.kill_compute(HOST)?;
        for agent in ["fence_compute", "fence_evacuate"] {
            let began = Instant::now();
            let output = cloud.their_agent(agent, "off", HOST)?;
            codes.push(
                json!({"agent": agent, "code": output.code(), "seconds": began.elapsed().as_secs_f64()}),
            );
        }
        Ok(())
    })?;
    eprintln!("theirs: {outcome:?} {codes:?}");
    Ok(json!({"agents": codes, "outcome": outcome}))
}

/// Makes the servers, lets a way do its work, says what became of them, and cleans up.
fn race(cloud: &Cloud, servers: usize, way: impl FnOnce(&[String]) -> Result<()>) -> Result<Outcome> {
    let wish = Wish { flavor: "marked", ..Wish::new("guest", HOST, servers) };
    let ids = cloud.boot(&wish)?;
    let start = cloud.start_race(HOST, ids.clone())?;
    way(&ids)?;
    let outcome = cloud.end_race(&start, secs(400))?;
    if outcome.servers != outcome.well + outcome.error + outcome.left {
        return fail(format!("they do not add up: {outcome:?}"));
    }
    cloud.reset()?;
    Ok(outcome)
}
