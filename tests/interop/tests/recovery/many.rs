//! A host with 2,000 servers, in pages of 20.
#![allow(clippy::indexing_slicing, reason = "of JSON: what is not there is null")]

use std::time::Instant;

use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::cloud::{Cloud, calls};
use pcmk_interop::error::Context;
use pcmk_interop::wait::secs;
use pcmk_interop::{Result, fail};
use serde_json::{Value, json};

use super::incident::{HOST, Incident, controller, each_once};

const ALL: usize = 2000;
/// So many of them are to be moved: not Nova's own time for 2,000 evacuations is of interest here.
const CHOSEN: usize = 10;

/// All are read and planned; those that are to move do.
pub(crate) fn two_thousand(cloud: &Cloud) -> Result<()> {
    let result = with_copies(cloud);
    cloud.forget_copies()?;
    result
}

fn with_copies(cloud: &Cloud) -> Result<()> {
    let first = cloud.boot(&Wish::new("guest", HOST, 1))?.pop().context("no server")?;
    let copies = cloud.copy_server(&first, ALL - 1)?;
    let (_, chosen) = copies.split_at(copies.len() - CHOSEN);
    cloud.mark_copies(chosen, "HA_Enabled", "true")?;
    let ours = controller(cloud, "engine")?;
    ours.write("policy.toml", "mode = \"opt-in\"\n[storage]\nshared = true\n")?;
    let (mark, began) = (cloud.mark()?, Instant::now());
    let plan: Value = serde_json::from_str(&ours.told(&["plan", HOST, "--json"])?).context("the plan")?;
    let planned = began.elapsed();
    let count = |name: &str| plan[name].as_array().map_or(0, Vec::len);
    if (count("moves"), count("left_out")) != (CHOSEN, ALL - CHOSEN) {
        return fail(format!("planned {} to move and {} to stay", count("moves"), count("left_out")));
    }
    let pages = cloud.calls(&mark)?.iter().filter(|call| call.path.ends_with("/servers/detail")).count();
    if pages < ALL / 20 {
        return fail(format!("{pages} pages only"));
    }
    let incident = Incident::with(cloud, chosen.to_vec(), ours)?.fenced()?;
    incident.wait_moved(secs(300))?;
    each_once(&calls::accepted(&incident.calls()?), CHOSEN)?;
    let times = incident.times()?;
    #[allow(clippy::print_stdout, reason = "figures of interest")]
    {
        println!(
            "{ALL} servers in {pages} pages: planned in {:.1} s; first request {:.1} s after the hand-over",
            planned.as_secs_f64(),
            times.requested.saturating_sub(times.told).as_secs_f64()
        );
    }
    for id in chosen {
        cloud.admin().nova("DELETE", &format!("/servers/{id}"), &json!(null), "2.1")?.ok()?;
    }
    Ok(())
}
